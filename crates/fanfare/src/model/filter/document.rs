//! A payload as filters see it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::sync::OnceLock;

use serde_json::value::RawValue;

use super::Filter;
use super::number::Number;

/// The deepest that a payload may nest.
const DEPTH_MAX: usize = 128;
/// The most of a value that is shown, in characters.
const SHOWN_MAX: usize = 60;

/// A payload, parsed once for all the filters that are asked about it.
///
/// Of a member that stands twice in an object, the last one counts.
#[derive(Debug, Clone)]
pub struct Document<'a> {
    pub(super) root: Value<'a>,
}

impl<'a> Document<'a> {
    /// Parses one JSON value in UTF-8, at most 128 levels deep; `None` for anything else.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let json: &RawValue = serde_json::from_slice(payload).ok()?;
        let root = Reader { rest: json.get(), settles: true }.value(DEPTH_MAX)?;
        Some(Document { root })
    }
}

/// A payload that may be asked about: parsed when the first filter asks, and then never again.
#[derive(Debug)]
pub struct Subject<'a> {
    payload: &'a [u8],
    document: OnceLock<Option<Document<'a>>>,
}

impl<'a> Subject<'a> {
    /// This payload.
    pub fn new(payload: &'a [u8]) -> Self {
        Subject { payload, document: OnceLock::new() }
    }

    /// Does the payload pass this filter? One that is no JSON passes none.
    pub fn passes(&self, filter: &Filter) -> bool {
        self.document().is_some_and(|document| filter.matches(document))
    }

    /// Why the payload does not pass this filter, in a few words; `None` if it does.
    pub fn objection(&self, filter: &Filter) -> Option<String> {
        match self.document() {
            Some(document) => filter.explain(document),
            None => Some("the payload is not JSON".to_owned()),
        }
    }

    fn document(&self) -> Option<&Document<'a>> {
        self.document.get_or_init(|| Document::parse(self.payload)).as_ref()
    }
}

/// A JSON value. The order between values of one type is the obvious one; the other orders exist
/// so that lists can be searched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number<'a>),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    /// Sorted by name and without repetitions, once settled.
    Object(Members<'a>),
}

pub(super) type Members<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

impl<'a> Value<'a> {
    /// Reads JSON with all members in the order and number in which they were written; `None` for
    /// what nests deeper than `depth_max`.
    pub(super) fn as_written(json: &'a RawValue, depth_max: usize) -> Option<Self> {
        Reader { rest: json.get(), settles: false }.value(depth_max)
    }

    /// The value as values are compared, on its own.
    pub(super) fn settled(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Number(number) => Value::Number(number.into_owned()),
            Value::String(text) => Value::String(text.into_owned().into()),
            Value::Array(elements) => {
                Value::Array(elements.into_iter().map(Value::settled).collect())
            }
            Value::Object(members) => {
                let owned = |(name, value): (Cow<'_, str>, Value<'_>)| {
                    (Cow::Owned(name.into_owned()), value.settled())
                };
                Value::Object(settle(members.into_iter().map(owned).collect()))
            }
        }
    }

    /// What it is, with its article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }

    /// Its JSON, cut off where it gets long.
    pub(super) fn shown(&self) -> String {
        let mut brief = Brief { text: String::new(), room: SHOWN_MAX };
        if write!(brief, "{self}").is_err() {
            brief.text.push('…');
        }
        brief.text
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(number) => f.write_str(number.as_str()),
            Value::String(text) => write_text(f, text),
            Value::Array(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    f.write_str(if at == 0 { "[" } else { "," })?;
                    element.fmt(f)?;
                }
                f.write_str(if elements.is_empty() { "[]" } else { "]" })
            }
            Value::Object(members) => {
                for (at, (name, value)) in members.iter().enumerate() {
                    f.write_str(if at == 0 { "{" } else { "," })?;
                    write_text(f, name)?;
                    f.write_str(":")?;
                    value.fmt(f)?;
                }
                f.write_str(if members.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// The first characters of what is written to it; full is an error.
struct Brief {
    text: String,
    room: usize,
}

impl fmt::Write for Brief {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.room = self.room.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

/// Sorts members by name; of those with the same name the last one stays.
fn settle(mut members: Members<'_>) -> Members<'_> {
    if members.is_sorted_by(|(a, _), (b, _)| a < b) {
        return members;
    }
    members.reverse();
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    members.dedup_by(|(a, _), (b, _)| a == b);
    members
}

/// Reads what is known to be JSON, and so need not say what is wrong with it. (A parser of our
/// own, because serde's turn numbers into floats.)
struct Reader<'a> {
    rest: &'a str,
    settles: bool,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth_left: usize) -> Option<Value<'a>> {
        match self.peek()? {
            b'{' => self.object(depth_left.checked_sub(1)?).map(Value::Object),
            b'[' => self.array(depth_left.checked_sub(1)?).map(Value::Array),
            b'"' => self.string().map(Value::String),
            b't' => self.take("true".len()).map(|_| Value::Bool(true)),
            b'f' => self.take("false".len()).map(|_| Value::Bool(false)),
            b'n' => self.take("null".len()).map(|_| Value::Null),
            _ => self.number().map(Value::Number),
        }
    }

    fn object(&mut self, depth_left: usize) -> Option<Members<'a>> {
        let mut members = Vec::new();
        self.take(1)?;
        if self.peek()? == b'}' {
            self.take(1)?;
            return Some(members);
        }
        loop {
            self.peek()?;
            let name = self.string()?;
            self.punctuation()?;
            members.push((name, self.value(depth_left)?));
            if self.punctuation()? == b'}' {
                return Some(if self.settles { settle(members) } else { members });
            }
        }
    }

    fn array(&mut self, depth_left: usize) -> Option<Vec<Value<'a>>> {
        let mut elements = Vec::new();
        self.take(1)?;
        if self.peek()? == b']' {
            self.take(1)?;
            return Some(elements);
        }
        loop {
            elements.push(self.value(depth_left)?);
            if self.punctuation()? == b']' {
                return Some(elements);
            }
        }
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let mut escapes = false;
        let mut bytes = self.rest.bytes().enumerate().skip(1);
        let end = loop {
            match bytes.next()? {
                (end, b'"') => break end,
                (_, b'\\') => {
                    escapes = true;
                    bytes.next();
                }
                _ => {}
            }
        };
        let quoted = self.take(end + 1)?;
        let written = quoted.get(1..end)?;
        if escapes {
            // Half a surrogate pair is JSON, but no text: it stays as it is written.
            return Some(serde_json::from_str(quoted).map_or(written.into(), Cow::Owned));
        }
        Some(written.into())
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let ends = |byte: u8| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let end = self.rest.bytes().position(ends).unwrap_or(self.rest.len());
        self.take(end).map(|text| Number::new(text.into()))
    }

    /// The next byte that is no white space, which stays.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_ascii_start();
        self.rest.bytes().next()
    }

    /// The next byte that is no white space.
    fn punctuation(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.take(1)?;
        byte
    }

    fn take(&mut self, bytes: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(taken)
    }
}
