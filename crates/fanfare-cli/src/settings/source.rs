//! Where values come from, which one counts, and what is no setting at all.

use std::collections::BTreeMap;
use std::ffi::OsString;

use zeroize::Zeroizing;

use super::CONFIG;
use super::table::{Fallback, Setting, TABLE};
use crate::failure::{Failure, Result};

/// What our environment variables begin with.
pub(super) const PREFIX: &str = "FANFARE_";

/// A variable of the environment.
pub(super) type Given = (String, OsString);

/// The values that count, by the name of their setting.
pub(super) struct Values(BTreeMap<&'static str, Value>);

/// A value and who said so.
struct Value {
    text: Zeroizing<String>,
    source: String,
}

impl Values {
    /// Gathers what is given: flags over the environment over the TOML file. An empty value is the
    /// same as none.
    pub(super) fn gather(
        flag: impl Fn(&str) -> Option<String>,
        environment: Vec<Given>,
    ) -> Result<Values> {
        let environment = known_variables(environment)?;
        let variable = |setting: &str| {
            let found = environment.iter().find(|(name, _)| name == setting);
            found.map(|(_, text)| text.clone()).filter(|text| !text.is_empty())
        };
        let given_flag =
            |setting: &str| flag(setting).map(Zeroizing::new).filter(|text| !text.is_empty());
        let config = given_flag(CONFIG).or_else(|| variable(CONFIG));
        let mut file = config.map(|path| read_file(&path)).transpose()?.unwrap_or_default();

        let mut values = BTreeMap::new();
        for setting in TABLE {
            let from_file = file.remove(setting.name).filter(|value| !value.text.is_empty());
            let from_env = variable(setting.name).map(|text| Value { text, source: setting.env() });
            let from_flag = given_flag(setting.name)
                .map(|text| Value { text, source: format!("--{}", setting.flag()) });
            if let Some(value) = from_flag.or(from_env).or(from_file) {
                values.insert(setting.name, value);
            }
        }
        Ok(Values(values))
    }

    /// A setting's value, read by `parse`.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let parsed = parse(&value.text).map_err(|reason| wrong(&value.source, &reason))?;
        Ok(Some(parsed))
    }

    /// A setting's value or its default, read by `parse`.
    pub(super) fn required<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        if let Some(given) = self.optional(name, &parse)? {
            return Ok(given);
        }
        let default = TABLE.iter().find(|setting| setting.name == name).map(|s| s.default);
        let Some(Fallback::Value(default)) = default else {
            return Err(wrong(name, "is missing"));
        };
        parse(default).map_err(|reason| wrong(name, &reason))
    }
}

/// The variables by the name of their setting.
fn known_variables(environment: Vec<Given>) -> Result<Vec<(String, Zeroizing<String>)>> {
    let mut known = Vec::with_capacity(environment.len());
    for (name, value) in environment {
        let setting = TABLE.iter().map(Setting::env).any(|env| env == name);
        if !setting && name != format!("{PREFIX}CONFIG") {
            let names = TABLE.iter().map(Setting::env).chain([format!("{PREFIX}CONFIG")]);
            return Err(unknown(&name, "the environment", names));
        }
        let value = value.into_string().map_err(|_| wrong(&name, "is not UTF-8"))?;
        known.push((name[PREFIX.len()..].to_lowercase(), Zeroizing::new(value)));
    }
    Ok(known)
}

/// The settings of a TOML file.
fn read_file(path: &str) -> Result<BTreeMap<String, Value>> {
    let refuse = |reason: String| Failure::Usage(format!("{path}: {reason}"));
    let text = std::fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(|error| refuse(format!("the settings cannot be read: {error}")))?;
    // Only the message and the line: what stands there may be a secret.
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let end = error.span().map_or(0, |span| span.start).min(text.len());
        let line = text.as_bytes()[..end].iter().filter(|byte| **byte == b'\n').count() + 1;
        refuse(format!("line {line}: {}", error.message()))
    })?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        if !TABLE.iter().any(|setting| setting.name == name) {
            let names = TABLE.iter().map(|setting| setting.name.to_owned());
            return Err(unknown(&name, path, names));
        }
        let source = format!("{name} in {path}");
        let text = plain(value)
            .ok_or_else(|| wrong(&source, "must be a string, a boolean, a number or a list"))?;
        let text = Zeroizing::new(text);
        values.insert(name, Value { text, source });
    }
    Ok(values)
}

/// A TOML value in the form that flags and variables have.
fn plain(value: toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Array(entries) => {
            let entries: Option<Vec<&str>> = entries.iter().map(toml::Value::as_str).collect();
            entries.map(|entries| entries.join(","))
        }
        _ => None,
    }
}

fn wrong(source: &str, reason: &str) -> Failure {
    Failure::Usage(format!("{source}: {reason}"))
}

fn unknown(name: &str, place: &str, names: impl Iterator<Item = String>) -> Failure {
    let bare = |name: &str| name.trim_start_matches(PREFIX).to_lowercase();
    let typos = |other: &String| strsim::damerau_levenshtein(&bare(name), &bare(other));
    // One letter in three may be wrong before it is another word.
    let nearest = names.min_by_key(typos).filter(|nearest| typos(nearest) * 3 <= bare(name).len());
    let remedy = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => "`fanfare help serve` lists them all".to_owned(),
    };
    Failure::Usage(format!("`{name}` in {place} is not a setting; {remedy}"))
}
