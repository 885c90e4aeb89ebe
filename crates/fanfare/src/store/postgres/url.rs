//! What stands in a database's URL beyond what the driver reads.

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use url::form_urlencoded;

use crate::store::postgres::tls::Wanted;
use crate::store::{Result, StoreError};

/// A URL as it was read.
pub(super) struct Parsed {
    /// For each host one, in their order.
    pub(super) hosts: Vec<Config>,
    pub(super) tls: Wanted,
}

/// Reads a URL. Errors name the parameter, never the URL: it may hold a password.
pub(super) fn parse(url: &str) -> Result<Parsed> {
    let (rest, asked) = take_ours(url);
    let mut config: Config = rest.parse().map_err(|error| unusable(&error))?;
    let tls = asked.apply(&mut config)?;
    let hosts = each_host(&config)?;
    Ok(Parsed { hosts, tls })
}

/// The parameters that say how TLS is done.
#[derive(Default)]
struct Ours {
    mode: Option<String>,
    wanted: Wanted,
}

/// Splits a URL into what the driver reads and what it refuses to.
fn take_ours(url: &str) -> (String, Ours) {
    let mut ours = Ours::default();
    let Some((place, query)) = url.split_once('?') else { return (url.to_owned(), ours) };
    let mut theirs = Vec::new();
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let field = match name {
            "sslmode" => &mut ours.mode,
            "sslrootcert" => &mut ours.wanted.root_certificate,
            "sslcert" => &mut ours.wanted.certificate,
            "sslkey" => &mut ours.wanted.key,
            _ => {
                theirs.push(parameter);
                continue;
            }
        };
        *field = Some(decoded(value)).filter(|value| !value.is_empty());
    }
    let mark = if theirs.is_empty() { "" } else { "?" };
    (format!("{place}{mark}{}", theirs.join("&")), ours)
}

/// A plus is a plus here, as everywhere outside of forms.
fn decoded(value: &str) -> String {
    let value = format!("v={}", value.replace('+', "%2B"));
    let mut pairs = form_urlencoded::parse(value.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

impl Ours {
    fn apply(self, config: &mut Config) -> Result<Wanted> {
        let (mode, verified) = match self.mode.as_deref() {
            Some("disable") => (SslMode::Disable, false),
            // What to trust was named, so that it be asked for.
            None | Some("prefer") if self.wanted.root_certificate.is_none() => {
                (SslMode::Prefer, false)
            }
            None | Some("require" | "verify-ca" | "verify-full") => (SslMode::Require, true),
            Some("prefer") => {
                return Err(refused(
                    "sslrootcert needs sslmode=require, verify-ca or verify-full: with prefer \
                     nothing is verified",
                ));
            }
            Some(_) => {
                return Err(refused(
                    "sslmode must be disable, prefer, require, verify-ca or verify-full",
                ));
            }
        };
        config.ssl_mode(mode);
        Ok(Wanted { verified, ..self.wanted })
    }
}

/// Where there are several hosts, the one is wanted that takes writes.
fn each_host(config: &Config) -> Result<Vec<Config>> {
    let (names, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let count = names.len().max(addresses.len());
    let ports = config.get_ports();
    if count == 0 {
        return Err(refused("names no host"));
    }
    if !(names.is_empty() || addresses.is_empty() || names.len() == addresses.len()) {
        return Err(refused("host and hostaddr must name equally many"));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(refused("port must name one for all hosts, or one for each"));
    }
    let one = |at: usize| {
        let mut one = bare(config);
        match (names.get(at), addresses.get(at)) {
            (Some(Host::Tcp(name)), _) => one.host(name),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => one.host_path(path),
            // A certificate may be of the address.
            (None, Some(address)) => one.host(address.to_string()),
            (None, None) => &mut one,
        };
        if let Some(address) = addresses.get(at) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(at).or(ports.first()) {
            one.port(*port);
        }
        if count > 1 && config.get_target_session_attrs() == TargetSessionAttrs::Any {
            one.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        one
    };
    Ok((0..count).map(one).collect())
}

/// Everything but the hosts: those can be added to a configuration, not taken from it.
fn bare(config: &Config) -> Config {
    let mut bare = Config::new();
    bare.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle());
    if let Some(user) = config.get_user() {
        bare.user(user);
    }
    if let Some(password) = config.get_password() {
        bare.password(password);
    }
    if let Some(name) = config.get_dbname() {
        bare.dbname(name);
    }
    if let Some(options) = config.get_options() {
        bare.options(options);
    }
    if let Some(name) = config.get_application_name() {
        bare.application_name(name);
    }
    if let Some(timeout) = config.get_connect_timeout() {
        bare.connect_timeout(*timeout);
    }
    if let Some(timeout) = config.get_tcp_user_timeout() {
        bare.tcp_user_timeout(*timeout);
    }
    if let Some(interval) = config.get_keepalives_interval() {
        bare.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        bare.keepalives_retries(retries);
    }
    bare
}

fn unusable(error: &tokio_postgres::Error) -> StoreError {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    refused(&format!("{error}{}", cause.unwrap_or_default()))
}

fn refused(reason: &str) -> StoreError {
    StoreError::Taken(format!("FANFARE_DATABASE_URL: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(query: &str) -> std::result::Result<(SslMode, bool), String> {
        let parsed = parse(&format!("postgres://u:hunter2@h/d{query}"));
        let parsed = parsed.map_err(|error| error.to_string())?;
        Ok((parsed.hosts[0].get_ssl_mode(), parsed.tls.verified))
    }

    #[test]
    fn whoever_wants_tls_has_it_verified() {
        assert_eq!(mode(""), Ok((SslMode::Prefer, false)));
        assert_eq!(mode("?sslmode=disable"), Ok((SslMode::Disable, false)));
        assert_eq!(mode("?sslmode=prefer"), Ok((SslMode::Prefer, false)));
        for strict in ["require", "verify-ca", "verify-full"] {
            let asked = format!("?application_name=x&sslmode={strict}");
            assert_eq!(mode(&asked), Ok((SslMode::Require, true)));
        }
        assert_eq!(mode("?sslrootcert=/a.pem"), Ok((SslMode::Require, true)));
    }

    #[test]
    fn a_refusal_names_the_parameter_and_not_the_url() {
        for (query, named) in [
            ("?sslmode=allow", "sslmode"),
            ("?sslmode=prefer&sslrootcert=/a.pem", "sslrootcert"),
            ("?sslmod=require", "sslmod"),
            ("?port=1,2", "port"),
        ] {
            let refused = mode(query).unwrap_err();
            assert!(refused.contains(named) && !refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn of_several_hosts_the_one_is_wanted_that_takes_writes() {
        let read = |url: &str| -> Vec<(Vec<Host>, Vec<u16>, TargetSessionAttrs)> {
            let parsed = parse(url).unwrap().hosts;
            let of = |one: &Config| {
                let target = one.get_target_session_attrs();
                (one.get_hosts().to_vec(), one.get_ports().to_vec(), target)
            };
            parsed.iter().map(of).collect()
        };
        let host = |name: &str| vec![Host::Tcp(name.to_owned())];
        let two = read("postgres://a:6000,b:6001/d");
        let writes = TargetSessionAttrs::ReadWrite;
        assert_eq!(two, [(host("a"), vec![6000], writes), (host("b"), vec![6001], writes)]);
        let one = read("postgres://a/d");
        assert_eq!(one[0].2, TargetSessionAttrs::Any);
    }

    #[test]
    fn a_file_is_read_as_it_is_written_in_a_url() {
        let parsed = parse("postgres://h/d?sslrootcert=/a%20b/c+d.pem").unwrap();
        assert_eq!(parsed.tls.root_certificate.as_deref(), Some("/a b/c+d.pem"));
    }
}
