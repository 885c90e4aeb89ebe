//! The settings, each on one entry: flags, environment, TOML, help and README all read this table.

use clap::{Arg, ArgAction};

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in TOML; the flag and the environment variable follow from it.
    pub name: &'static str,
    /// What holds when it is not given.
    pub default: Fallback,
    /// What it does, for people.
    pub meaning: &'static str,
    /// What stands for its value in help.
    pub value: &'static str,
}

/// What holds when a setting is not given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fallback {
    /// This value, in the setting's own form.
    Value(&'static str),
    /// What these words say.
    Words(&'static str),
}

use self::Fallback::{Value, Words};

/// The value of a setting that is on or off.
const ON_OFF: &str = "true|false";

/// Every setting, in the order of the documentation.
pub(crate) const TABLE: &[Setting] = &[
    setting("listen", Value("127.0.0.1:8080"), "ADDRESS", "Address of the API and the dashboard"),
    setting(
        "data_dir",
        Value("./fanfare-data"),
        "PATH",
        "Generated keys; the embedded store when no database URL is given",
    ),
    setting(
        "database_url",
        Value("sqlite:{data_dir}/fanfare.db"),
        "URL",
        "Where everything is kept: `sqlite:PATH` or `postgres://…`",
    ),
    setting("jwt_secret", Words("generated"), "KEY", "HS256 key for tokens"),
    setting(
        "jwks",
        Words("none"),
        "FILE|URL",
        "File or https URL of a JWKS: RS256, ES256 and EdDSA tokens of an identity provider",
    ),
    setting("jwt_issuer", Words("none"), "TEXT", "What `iss` of a token must be"),
    setting("jwt_audience", Words("none"), "TEXT", "What `aud` of a token must be or contain"),
    setting("encryption_key", Words("generated"), "KEY", "32 bytes, base64: seals secrets at rest"),
    setting(
        "encryption_key_previous",
        Words("the one beside a generated key, if any"),
        "KEY",
        "The key before that one, until `fanfare rotate-key` has sealed everything anew",
    ),
    setting(
        "public_url",
        Words("from the request's Host"),
        "URL",
        "Base of the links in answers, such as `https://hooks.example.com`",
    ),
    setting(
        "max_connections",
        Value("4096"),
        "NUMBER",
        "Connections to the API at the same time; for one more, the one that has been waiting for \
         a request the longest is closed",
    ),
    setting(
        "rate_limit_company",
        Words("none"),
        "RATE",
        "Requests per second for one company: `50`, or with how many at once, `50:200`; above it \
         429 with `Retry-After`. A batch counts as one",
    ),
    setting(
        "rate_limit_address",
        Words("none"),
        "RATE",
        "The same for one address (or IPv6 /64) that connects, before its token is looked at; \
         behind a proxy, that is the proxy",
    ),
    setting(
        "allow_networks",
        Words("none"),
        "LIST",
        "Networks that deliveries may reach although they are not public, separated by commas; \
         with a port (`10.0.0.0/8:8080`, `[::1]/128:8080`) also lifts the port rules",
    ),
    setting(
        "allow_hosts",
        Words("none"),
        "LIST",
        "Names (`shop`, `*.corp.local`, with `:port`) that the rules for names refuse otherwise, \
         separated by commas; their addresses are still judged",
    ),
    setting("allow_http", Value("false"), ON_OFF, "Accept `http://` endpoints"),
    setting(
        "nat64_prefix",
        Words("none"),
        "PREFIX",
        "Prefix behind which this network translates IPv6 to IPv4 (`64:ff9b::/96`, or one of its \
         own, which is to be named): addresses behind it are judged by the IPv4 address in them",
    ),
    setting(
        "egress_proxy",
        Words("none"),
        "URL",
        "Proxy for all outgoing requests (`http://proxy:3128`): names are resolved and judged here \
         as always, and the proxy is asked for a tunnel (CONNECT) to the judged address",
    ),
    setting(
        "retry_schedule",
        Value("30s,5m,1h,8h,27h"),
        "DURATIONS",
        "Delays before the retries, separated by commas, each lengthened by up to 10 % at random; \
         the last one repeats",
    ),
    setting(
        "request_timeout",
        Value("15s"),
        "DURATION",
        "One attempt, from name resolution to last byte",
    ),
    setting(
        "grace",
        Words("request timeout + 1 s"),
        "DURATION",
        "How long SIGTERM waits for attempts in flight; a second signal cuts them",
    ),
    setting(
        "disable_after",
        Value("5d"),
        "DURATION",
        "An endpoint is disabled once every attempt has failed for so long",
    ),
    setting("max_payload", Value("256KiB"), "SIZE", "The largest body of one event"),
    setting("retention", Value("30d"), "DURATION", "How long concluded history is kept"),
    setting(
        "payload_retention",
        Words("retention"),
        "DURATION",
        "How long payloads are kept, where that is shorter; what waits keeps its own",
    ),
    setting(
        "idempotency_retention",
        Words("60d, or the retention where that is longer"),
        "DURATION",
        "How long an event is known by its id or `Idempotency-Key`; at least as long as `retention`",
    ),
    setting(
        "node_lease",
        Value("15s"),
        "DURATION",
        "Where several nodes share a PostgreSQL: after so long without word of a node the others take \
         over what it had",
    ),
    setting(
        "log",
        Value("info"),
        "LEVEL",
        "What is logged: `error`, `warn`, `info`, `debug`, `trace`, also by target \
         (`info,fanfare=debug`)",
    ),
    setting("log_format", Value("text"), "text|json", "How it is logged, one line each"),
];

const fn setting(
    name: &'static str,
    default: Fallback,
    value: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, default, meaning, value }
}

impl Setting {
    /// The environment variable.
    pub(crate) fn env(&self) -> String {
        format!("FANFARE_{}", self.name.to_uppercase())
    }

    /// The flag, without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// The flag, for clap.
    fn arg(&self) -> Arg {
        let (Value(default) | Words(default)) = self.default;
        let help = format!("{} [env: {}] [default: {default}]", self.meaning, self.env());
        let arg = Arg::new(self.name).long(self.flag()).value_name(self.value).help(help);
        if self.value != ON_OFF {
            return arg;
        }
        arg.num_args(0..=1).default_missing_value("true")
    }
}

/// The flags of the settings that `wanted` names, and `--config`.
pub(crate) fn flags(wanted: impl Fn(&str) -> bool) -> Vec<Arg> {
    let config = Arg::new(super::CONFIG)
        .long(super::CONFIG)
        .value_name("FILE")
        .action(ArgAction::Set)
        .help("TOML file with settings [env: FANFARE_CONFIG] [default: none]");
    let chosen = TABLE.iter().filter(|setting| wanted(setting.name));
    [config].into_iter().chain(chosen.map(Setting::arg)).collect()
}

/// The table as the README shows it.
pub(crate) fn markdown() -> String {
    let mut text = "| environment | default | meaning |\n|---|---|---|\n".to_owned();
    for setting in TABLE {
        let default = match setting.default {
            Value(value) => format!("`{value}`"),
            Words(words) => words.to_owned(),
        };
        let meaning = setting.meaning.replace('|', "\\|");
        text.push_str(&format!("| `{}` | {default} | {meaning} |\n", setting.env()));
    }
    text
}
