/// What is wrong with something that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The field, by its path: `headers.x-token`, `tls.clientKey`.
    pub field: String,
    /// What is wrong with it and what would be right, for people.
    pub reason: String,
}
