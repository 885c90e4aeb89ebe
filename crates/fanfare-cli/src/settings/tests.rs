use std::io::Write;

use super::*;
use crate::failure::Failure;

/// Reads settings as if these were given.
fn read(flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Settings> {
    let flag = |name: &str| {
        flags.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
    };
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into()));
    Settings::read(&Values::gather(flag, variables.collect())?)
}

fn refusal(flags: &[(&str, &str)], variables: &[(&str, &str)]) -> String {
    match read(flags, variables) {
        Err(Failure::Usage(message)) => message,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("was taken"),
    }
}

fn file(text: &str) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.into_temp_path()
}

#[test]
fn without_any_setting_the_documented_defaults_hold() {
    let settings = read(&[], &[]).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(settings.database_url.reveal(), "sqlite:./fanfare-data/fanfare.db");
    let rules = Rules::default();
    assert_eq!(settings.rules.retry, rules.retry);
    assert_eq!(settings.rules.request_timeout, rules.request_timeout);
    assert_eq!(settings.rules.max_payload, rules.max_payload);
    assert_eq!(settings.rules.retention, rules.retention);
    assert_eq!(settings.rules.disable_after, rules.disable_after);
    assert_eq!(settings.grace, rules.request_timeout + Duration::from_secs(1));
    assert!(!settings.guard.allow_http && settings.jwt_secret.is_none());
    assert_eq!(settings.max_connections, fanfare_server::Doors::default().connections_max);
    assert!(settings.address_rate.is_none() && settings.company_rate.is_none());
}

#[test]
fn keys_are_kept_at_least_as_long_as_history() {
    let days = |days: u64| Duration::from_hours(24 * days);
    let kept = |variables: &[(&str, &str)]| {
        let settings = read(&[], variables).unwrap_or_else(|failure| panic!("{failure:?}"));
        settings.rules.key_retention
    };
    assert_eq!(kept(&[]), days(60));
    assert_eq!(kept(&[("FANFARE_RETENTION", "90d")]), days(90));
    assert_eq!(kept(&[("FANFARE_IDEMPOTENCY_RETENTION", "31d")]), days(31));
    let refused = refusal(&[("idempotency_retention", "29d")], &[]);
    assert!(refused.contains("FANFARE_IDEMPOTENCY_RETENTION"), "{refused}");
    assert!(refused.contains("FANFARE_RETENTION"), "{refused}");
}

#[test]
fn flags_come_before_the_environment_and_the_environment_before_the_file() {
    let path = file("retention = '1d'\nlisten = '127.0.0.1:1'\ngrace = '1s'\n");
    let config = path.to_str().unwrap();
    let settings = read(
        &[("config", config), ("retention", "3d")],
        &[("FANFARE_RETENTION", "2d"), ("FANFARE_LISTEN", "127.0.0.1:2")],
    );
    let settings = settings.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(settings.rules.retention, Duration::from_hours(72));
    assert_eq!(settings.listen.port(), 2);
    assert_eq!(settings.grace, Duration::from_secs(1));
}

#[test]
fn an_empty_value_is_the_same_as_none() {
    let path = file("listen = '127.0.0.1:3'\nretention = ''\n");
    let settings = read(
        &[("config", ""), ("listen", "")],
        &[("FANFARE_CONFIG", path.to_str().unwrap()), ("FANFARE_LISTEN", ""), ("FANFARE_JWKS", "")],
    );
    let settings = settings.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(settings.listen.port(), 3);
    assert!(settings.jwks.is_none());
    assert_eq!(settings.rules.retention, Rules::default().retention);
}

#[test]
fn a_file_may_write_lists_booleans_and_numbers_as_toml_does() {
    let path = file(
        "allow_http = true\nallow_networks = ['10.0.0.0/8', '[::1]/128:8080']\n\
         retry_schedule = ['1s', '2s']\n",
    );
    let settings = read(&[("config", path.to_str().unwrap())], &[]);
    let settings = settings.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(settings.guard.allow_http);
    assert_eq!(settings.guard.allow_networks.len(), 2);
    assert_eq!(settings.rules.retry.delays, [1, 2].map(Duration::from_secs));
}

#[test]
fn a_bad_value_is_refused_by_the_name_it_was_given_under() {
    for (name, bad) in [
        ("listen", "8080"),
        ("database_url", "mysql://x"),
        ("outbox_url", "sqlite:a.db,mysql://x"),
        ("jwks", "http://keys.example/jwks.json"),
        ("encryption_key", "short"),
        ("public_url", "hooks.example.com"),
        ("max_connections", "0"),
        ("rate_limit_company", "50/s"),
        ("rate_limit_address", "0"),
        ("allow_networks", "10.0.0.1/8"),
        ("allow_networks", "10.0.0.0/8,"),
        ("allow_hosts", "*"),
        ("allow_http", "yes"),
        ("nat64_prefix", "64:ff9b::/95"),
        ("egress_proxy", "https://proxy:3128"),
        ("retry_schedule", "1s,,2s"),
        ("request_timeout", "0s"),
        ("grace", "soon"),
        ("max_payload", "1GB"),
        ("retention", "30"),
        ("log", "="),
        ("log", "verbose"),
        ("log_format", "xml"),
    ] {
        let setting = table::TABLE.iter().find(|setting| setting.name == name).unwrap();
        let by_flag = refusal(&[(name, bad)], &[]);
        assert!(by_flag.starts_with(&format!("--{}: ", setting.flag())), "{by_flag}");
        let by_variable = refusal(&[], &[(&setting.env(), bad)]);
        assert!(by_variable.starts_with(&format!("{}: ", setting.env())), "{by_variable}");
        let path = file(&format!("{name} = '{bad}'"));
        let by_file = refusal(&[("config", path.to_str().unwrap())], &[]);
        assert!(by_file.starts_with(&format!("{name} in ")), "{by_file}");
    }
}

#[test]
fn an_unknown_name_is_refused_with_the_one_that_was_meant() {
    let refused = refusal(&[], &[("FANFARE_LISTN", "x")]);
    assert!(refused.contains("FANFARE_LISTN") && refused.contains("FANFARE_LISTEN"), "{refused}");
    let refused = refusal(&[], &[("FANFARE_UNHEARD_OF", "x")]);
    assert!(refused.contains("fanfare help serve"), "{refused}");
    for text in ["retry_shedule = '1s'", "config = 'x'", "[server]\nlisten = 'x'"] {
        let path = file(text);
        let refused = refusal(&[("config", path.to_str().unwrap())], &[]);
        assert!(refused.contains("is not a setting"), "{refused}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_its_secrets_are_not_shown() {
    assert!(refusal(&[("config", "/nowhere.toml")], &[]).contains("/nowhere.toml"));
    let path = file("listen = '127.0.0.1:1'\njwt_secret = hush\n");
    let refused = refusal(&[("config", path.to_str().unwrap())], &[]);
    assert!(refused.contains("line 2") && !refused.contains("hush"), "{refused}");
    let path = file("grace = 1.5");
    assert!(refusal(&[("config", path.to_str().unwrap())], &[]).contains("grace in"));
}

#[test]
fn printed_settings_show_no_secret() {
    let key = Key::from([0xA7; 32]).reveal();
    let settings = read(
        &[("encryption_key", &key), ("encryption_key_previous", &key)],
        &[
            ("FANFARE_JWT_SECRET", "planted-secret"),
            ("FANFARE_DATABASE_URL", "postgres://u:planted-password@db.example:5433/shop"),
        ],
    );
    let settings = settings.unwrap_or_else(|failure| panic!("{failure:?}"));
    let keys = crate::keys::Keys::load_or_make(&settings);
    let keys = keys.unwrap_or_else(|failure| panic!("{failure:?}"));
    for text in [format!("{settings:?} {keys:?}"), format!("{settings:#?} {keys:#?}")] {
        assert!(text.contains("***") && text.contains("PostgreSQL at db.example/shop"), "{text}");
        for form in ["planted", "167", "a7", "p6en", key.as_str()] {
            assert!(!text.contains(form), "{form} is in {text}");
        }
    }
}
