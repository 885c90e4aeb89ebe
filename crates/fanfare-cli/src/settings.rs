//! Settings: flags, then the environment, then a TOML file, with the same names everywhere. The
//! only file that reads the environment.

mod source;
mod table;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use fanfare::engine::Rules;
use fanfare::keys::Key;
use fanfare::policy::retry::RetryPolicy;
use fanfare::send::GuardPolicy;
use fanfare_server::Rate;
use fanfare_server::auth::JwksSource;
use tracing_subscriber::filter::LevelFilter;
use url::Url;
use zeroize::Zeroizing;

use crate::failure::{Failure, Result};
use crate::keys::JwtSecret;
use source::{Given, Values};

pub(crate) use table::{flags, markdown};
pub(crate) use value::{DatabaseUrl, LogFormat, database_url, duration};

/// The name of the setting that says where settings are; it is no setting itself.
const CONFIG: &str = "config";

/// What the operator wants, every value read and judged.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Address of the API and the dashboard.
    pub listen: SocketAddr,
    /// Where generated keys are, and the embedded store when nothing else is said.
    pub data_dir: PathBuf,
    /// Where everything is kept.
    pub database_url: DatabaseUrl,
    /// Where events are said inside transactions, beside the store.
    pub outbox_urls: Vec<DatabaseUrl>,
    /// HS256 key for tokens; generated when there is none.
    pub jwt_secret: Option<JwtSecret>,
    /// Keys of an identity provider.
    pub jwks: Option<JwksSource>,
    /// What `iss` of a token must be.
    pub jwt_issuer: Option<String>,
    /// What `aud` of a token must be or contain.
    pub jwt_audience: Option<String>,
    /// Seals secrets; generated when there is none.
    pub encryption_key: Option<Key>,
    /// Opens what is still sealed with the key before.
    pub encryption_key_previous: Option<Key>,
    /// Base of the links in answers.
    pub public_url: Option<Url>,
    /// What deliveries may reach.
    pub guard: GuardPolicy,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Requests a second of one address.
    pub address_rate: Option<Rate>,
    /// Requests a second of one company.
    pub company_rate: Option<Rate>,
    /// The engine's numbers.
    pub rules: Rules,
    /// How long a stop waits for attempts in flight.
    pub grace: Duration,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// How much longer than one attempt a stop waits when nothing is said.
const GRACE_BEYOND_TIMEOUT: Duration = Duration::from_secs(1);

impl Settings {
    /// Reads the settings for a command with these flags.
    ///
    /// # Errors
    /// Names the setting that is unknown or has a bad value.
    pub(crate) fn load(flags: &ArgMatches) -> Result<Settings> {
        let environment = environment();
        let flag = |name: &str| flags.try_get_one::<String>(name).ok().flatten().cloned();
        Settings::read(&Values::gather(flag, environment)?)
    }

    fn read(values: &Values) -> Result<Settings> {
        let data_dir = values.required("data_dir", text)?;
        let database_url = values.optional("database_url", database_url)?;
        let request_timeout = values.required("request_timeout", value::some_duration)?;
        let grace = values.optional("grace", duration)?;
        let retention = values.required("retention", value::some_duration)?;
        let payload_retention = values.optional("payload_retention", value::some_duration)?;
        let guard = guard(values)?;
        Ok(Settings {
            listen: values.required("listen", value::address)?,
            database_url: database_url
                .unwrap_or_else(|| DatabaseUrl::new(&format!("sqlite:{data_dir}/fanfare.db"))),
            outbox_urls: values.optional("outbox_url", value::database_urls)?.unwrap_or_default(),
            data_dir: PathBuf::from(data_dir),
            jwt_secret: values.optional("jwt_secret", secret)?,
            jwks: values.optional("jwks", |text| jwks(text, &guard))?,
            jwt_issuer: values.optional("jwt_issuer", text)?,
            jwt_audience: values.optional("jwt_audience", text)?,
            encryption_key: values.optional("encryption_key", value::key)?,
            encryption_key_previous: values.optional("encryption_key_previous", value::key)?,
            public_url: values.optional("public_url", value::base_url)?,
            guard,
            max_connections: values.required("max_connections", value::connections)?,
            address_rate: values.optional("rate_limit_address", str::parse)?,
            company_rate: values.optional("rate_limit_company", str::parse)?,
            rules: Rules {
                retry: RetryPolicy { delays: values.required("retry_schedule", value::durations)? },
                request_timeout,
                max_payload: values.required("max_payload", value::size)?,
                retention,
                payload_retention: payload_retention.unwrap_or(retention),
                disable_after: values.required("disable_after", value::some_duration)?,
                key_retention: key_retention(values, retention)?,
                node_lease: values.required("node_lease", value::lease)?,
            },
            grace: grace.unwrap_or(request_timeout.saturating_add(GRACE_BEYOND_TIMEOUT)),
            log: values.required("log", log_filter)?,
            log_format: values.required("log_format", value::log_format)?,
        })
    }
}

/// What deliveries may reach. Our own sockets are not known yet.
fn guard(values: &Values) -> Result<GuardPolicy> {
    Ok(GuardPolicy {
        allow_http: values.required("allow_http", value::on_off)?,
        allow_networks: values.optional("allow_networks", value::list)?.unwrap_or_default(),
        allow_hosts: values.optional("allow_hosts", value::list)?.unwrap_or_default(),
        nat64_prefix: values.optional("nat64_prefix", str::parse)?,
        egress_proxy: values.optional("egress_proxy", str::parse)?,
        ..GuardPolicy::default()
    })
}

/// How long keys are kept: an event that is still there must be known.
fn key_retention(values: &Values, retention: Duration) -> Result<Duration> {
    let Some(given) = values.optional("idempotency_retention", value::some_duration)? else {
        return Ok(Rules::default().key_retention.max(retention));
    };
    if given < retention {
        return Err(Failure::Usage(
            "FANFARE_IDEMPOTENCY_RETENTION must be at least FANFARE_RETENTION: an event that is \
             still there must be known by its key"
                .to_owned(),
        ));
    }
    Ok(given)
}

/// The variables that begin with `FANFARE_`.
#[expect(clippy::disallowed_methods, reason = "this is the one door the environment comes in by")]
fn environment() -> Vec<Given> {
    let ours = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with(source::PREFIX).then_some((name, value))
    });
    ours.collect()
}

fn text(given: &str) -> std::result::Result<String, String> {
    Ok(given.to_owned())
}

fn secret(given: &str) -> std::result::Result<JwtSecret, String> {
    Ok(Zeroizing::new(given.to_owned()).into())
}

/// A key set is fetched past the guard like everything else; what it would refuse for ever is said
/// at the start.
fn jwks(given: &str, guard: &GuardPolicy) -> std::result::Result<JwksSource, String> {
    let source = given.parse().map_err(|error: fanfare_server::auth::SettingError| error.reason)?;
    if let JwksSource::Url(_) = source {
        guard.parse_url(given).map_err(|refusal| refusal.to_string())?;
    }
    Ok(source)
}

fn log_filter(given: &str) -> std::result::Result<String, String> {
    // A lone word that is no level would be taken for a target, and silence everything else.
    let known = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    match tracing_subscriber::EnvFilter::try_new(given) {
        Ok(_) if given.split(',').all(known) => Ok(given.to_owned()),
        _ => Err(format!("`{given}` is no level: write error, warn, info, debug or trace")),
    }
}

#[cfg(test)]
mod tests;
