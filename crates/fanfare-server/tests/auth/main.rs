//! Who may call (contract, section 2): tokens, keys, claims, and how keys are kept up to date.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod keyset;
#[cfg(test)]
mod rotation;
