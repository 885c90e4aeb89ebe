//! `fanfare token`: a bearer token for the server that has the same key.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use fanfare::clock::{Clock, SystemClock};
use fanfare::model::CompanyId;
use fanfare_server::auth::{Grant, MintError, mint};

use crate::failure::{Failure, Result};
use crate::settings::{Settings, duration, flags};
use crate::{keys, out};

/// The settings that decide what a token looks like.
pub(super) const SETTINGS: [&str; 4] = ["data_dir", "jwt_secret", "jwt_issuer", "jwt_audience"];
/// The role and the lifetime of a token when nothing else is asked for.
pub(super) const ROLE: &str = "admin";
pub(super) const TTL: Duration = Duration::from_hours(1);

pub(super) fn command() -> Command {
    Command::new("token")
        .about("Prints a bearer token (JWT) for a company")
        .arg(company())
        .arg(
            Arg::new("role")
                .long("role")
                .default_value(ROLE)
                .help("administrator, admin, superAdmin (every company) or integration"),
        )
        .arg(
            Arg::new("ttl")
                .long("ttl")
                .value_name("DURATION")
                .help("How long it lasts [default: 1h]"),
        )
        .args(flags(|setting| SETTINGS.contains(&setting)))
}

pub(super) fn run(matches: &ArgMatches) -> Result {
    let settings = Settings::load(matches)?;
    let company = company_of(matches)?;
    let role = matches.get_one::<String>("role").map_or(ROLE, String::as_str);
    let ttl = match matches.get_one::<String>("ttl") {
        Some(text) => {
            duration(text).map_err(|reason| Failure::Usage(format!("--ttl: {reason}")))?
        }
        None => TTL,
    };
    let secret = keys::jwt_secret(&settings)?;
    out::answer(&sign(&Grant { role, ttl, ..grant(&settings, secret.reveal(), company) })?)
}

/// The flag `--company`.
pub(super) fn company() -> Arg {
    Arg::new("company").long("company").value_name("UUID").required(true).help("Whose it is")
}

/// The company that `--company` names.
pub(super) fn company_of(matches: &ArgMatches) -> Result<CompanyId> {
    let text = matches.get_one::<String>("company").map_or("", String::as_str);
    text.parse().map_err(|_| {
        Failure::Usage(format!(
            "--company: `{text}` is not a UUID such as 01980a54-5b5c-7d8e-9f00-112233445566"
        ))
    })
}

/// What a token says when nothing else is asked for.
pub(super) fn grant<'a>(settings: &'a Settings, secret: &'a str, company: CompanyId) -> Grant<'a> {
    Grant {
        secret: secret.as_bytes(),
        company,
        role: ROLE,
        ttl: TTL,
        issuer: settings.jwt_issuer.as_deref(),
        audience: settings.jwt_audience.as_deref(),
    }
}

/// Signs a token now.
pub(super) fn sign(grant: &Grant<'_>) -> Result<String> {
    mint(grant, SystemClock.now()).map_err(|error| match error {
        MintError::UnknownRole => Failure::Usage(format!("--role: {error}")),
        MintError::TooShort => Failure::Usage(format!("--ttl: {error}")),
        MintError::NoSecret | MintError::Signing => Failure::Failed(error.to_string()),
    })
}
