//! Headers that an endpoint wants with every request.

use std::fmt;

use zeroize::Zeroizing;

use crate::model::Flaw;

/// What stands for a value that is not shown.
pub const MASK: &str = "***";
/// The most headers of one endpoint.
pub const OWN_HEADERS_MAX: usize = 20;
/// The longest name, in bytes.
pub const OWN_HEADER_NAME_MAX: usize = 128;
/// The longest value, in bytes.
pub const OWN_HEADER_VALUE_MAX: usize = 2048;
/// All names and values together, in bytes.
pub const OWN_HEADERS_BYTES_MAX: usize = 8 * 1024;
/// How much of a name that is refused is told.
const NAME_CHARS_TOLD: usize = 64;

/// Names that are not an endpoint's to give, in lower case: what frames the message, belongs to the
/// connection, or says who sent what and when; what makes a request another one on its way; and
/// what opens the metadata services of clouds.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "alt-used",
    "connection",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "metadata",
    "metadata-flavor",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-aws-ec2-metadata-token",
    "x-aws-ec2-metadata-token-ttl-seconds",
    "x-google-metadata-request",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-real-ip",
];
/// The same for all names that begin so.
const RESERVED_PREFIXES: &[&str] =
    &["ce-", "content-", "proxy-", "sec-", "webhook-", "x-forwarded-", "x-w3block-"];

/// Headers that go with every request to one endpoint: names in lower case and in their order, each
/// once, with the values that only the endpoint is to see.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct OwnHeaders(Vec<(String, Zeroizing<String>)>);

impl OwnHeaders {
    /// Reads headers as they are given. A value `***` ([`MASK`]) means the one that the endpoint has.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read<N, V>(given: impl IntoIterator<Item = (N, V)>) -> Result<Self, Vec<Flaw>>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let (mut headers, mut flaws) = (Vec::new(), Vec::new());
        for (name, value) in given {
            let (name, value) = (name.as_ref(), value.as_ref());
            match check_name(name).and_then(|()| check_value(value)) {
                Ok(()) => {
                    headers.push((name.to_ascii_lowercase(), Zeroizing::new(value.to_owned())));
                }
                Err(reason) => flaws.push(flaw(name, reason)),
            }
        }
        headers.sort_by(|(one, _), (other, _)| one.cmp(other));
        for pair in headers.windows(2) {
            if let [(one, _), (other, _)] = pair
                && one == other
            {
                let reason = "is there twice, in another case; give each name once";
                flaws.push(flaw(one, reason.to_owned()));
            }
        }
        let bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers.len() > OWN_HEADERS_MAX || bytes > OWN_HEADERS_BYTES_MAX {
            let reason = format!(
                "must be at most {OWN_HEADERS_MAX}, with {OWN_HEADERS_BYTES_MAX} bytes of names \
                 and values in all"
            );
            flaws.push(Flaw { field: "headers".to_owned(), reason });
        }
        if flaws.is_empty() { Ok(OwnHeaders(headers)) } else { Err(flaws) }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Does a value stand for the one that the endpoint has?
    pub fn keeps_any(&self) -> bool {
        self.iter().any(|(_, value)| value == MASK)
    }

    /// The same with the values of the `present` ones where they are to be kept.
    ///
    /// # Errors
    /// Where there is none to keep.
    pub fn over(mut self, present: &OwnHeaders) -> Result<Self, Flaw> {
        for (name, value) in self.0.iter_mut().filter(|(_, value)| value.as_str() == MASK) {
            let Some((_, kept)) = present.0.iter().find(|(known, _)| known == name) else {
                let reason = format!(
                    "`{MASK}` stands for the value that the endpoint has, and it has none; give \
                     the value"
                );
                return Err(flaw(name, reason));
            };
            value.clone_from(kept);
        }
        Ok(self)
    }

    /// The same for everybody's eyes.
    #[must_use]
    pub fn masked(&self) -> Self {
        let masked = |(name, _): &(String, _)| (name.clone(), Zeroizing::new(MASK.to_owned()));
        OwnHeaders(self.0.iter().map(masked).collect())
    }

    /// All of them as one text, to be sealed: `name: value`, a line each.
    pub fn to_text(&self) -> Zeroizing<String> {
        let length = self.iter().map(|(name, value)| name.len() + value.len() + 3).sum();
        // Of its final size from the start: a text that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(length));
        for part in self.iter().flat_map(|(name, value)| [name, ": ", value, "\n"]) {
            text.push_str(part);
        }
        text
    }

    /// Reads what [`OwnHeaders::to_text`] wrote, also where the rules have become stricter since.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_owned(), Zeroizing::new(value.to_owned())))
        };
        let headers: Option<Vec<_>> = text.lines().map(header).collect();
        headers.map(OwnHeaders).ok_or_else(|| "the headers are not in their form".to_owned())
    }
}

impl fmt::Debug for OwnHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, _)| (name, MASK))).finish()
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > OWN_HEADER_NAME_MAX || !name.bytes().all(is_token) {
        return Err(format!(
            "a name has 1 to {OWN_HEADER_NAME_MAX} characters, letters, digits and \
             !#$%&'*+-.^_`|~ alone"
        ));
    }
    let name = name.to_ascii_lowercase();
    let reserved = RESERVED.contains(&name.as_str())
        || RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    if reserved {
        return Err("is reserved for what sends the request; choose another name".to_owned());
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), String> {
    if value.is_empty() || value.len() > OWN_HEADER_VALUE_MAX {
        return Err(format!("must have 1 to {OWN_HEADER_VALUE_MAX} characters"));
    }
    if !value.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Err("must be printable ASCII, without line breaks; encode what is not".to_owned());
    }
    if value.trim_matches([' ', '\t']).len() < value.len() {
        return Err("must not begin or end with a blank; leave it out".to_owned());
    }
    Ok(())
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What is wrong with the header of this name, whatever that is.
fn flaw(name: &str, reason: String) -> Flaw {
    let told: String = name.chars().take(NAME_CHARS_TOLD).flat_map(char::escape_debug).collect();
    Flaw { field: format!("headers.{told}"), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(name: &str, value: &str) -> String {
        let flaws = OwnHeaders::read([(name, value)]).unwrap_err();
        flaws.into_iter().map(|flaw| format!("{}: {}", flaw.field, flaw.reason)).collect()
    }

    #[test]
    fn names_are_sent_in_lower_case_and_in_order_each_once() {
        let headers = OwnHeaders::read([("X-B", "2"), ("Authorization", "Bearer a: b")]).unwrap();
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [("authorization", "Bearer a: b"), ("x-b", "2")]);
        assert_eq!(OwnHeaders::from_text(&headers.to_text()).unwrap(), headers);
        assert!(!format!("{headers:?}").contains("Bearer"));
        let twice = OwnHeaders::read([("X-B", "1"), ("x-b", "1")]).unwrap_err();
        assert_eq!((twice.len(), twice[0].field.as_str()), (1, "headers.x-b"));
    }

    #[test]
    fn what_is_not_theirs_to_give_is_refused_in_any_case() {
        for name in RESERVED.iter().chain(&["proxy-authorization", "Content-Type", "CE-id"]) {
            for name in [(*name).to_owned(), name.to_uppercase()] {
                assert!(refused(&name, "1").contains("is reserved"), "{name}");
            }
        }
        for name in ["", ":path", "a b", "a:b", "a\r\nb", "ä", "a\0", &"n".repeat(129)] {
            assert!(refused(name, "1").contains("a name has"), "{name}");
        }
    }

    #[test]
    fn values_hold_nothing_that_could_end_them() {
        let bad = ["", " a", "a ", "\ta", "a\r\nb: c", "a\nb", "a\0", "é", "\u{7f}", "a\u{200b}"];
        for value in bad {
            assert!(refused("x", value).starts_with("headers.x: must "), "{value:?}");
        }
        assert!(refused("x", &"v".repeat(OWN_HEADER_VALUE_MAX + 1)).contains("2048"));
        assert!(OwnHeaders::read([("x", "a \t~!\"")]).is_ok());
    }

    #[test]
    fn there_is_an_end_to_their_number_and_size() {
        let many = |count: usize, length: usize| {
            OwnHeaders::read((0..count).map(|at| (format!("x-{at:03}"), "v".repeat(length))))
        };
        assert!(many(OWN_HEADERS_MAX, 1).is_ok());
        assert_eq!(many(OWN_HEADERS_MAX + 1, 1).unwrap_err()[0].field, "headers");
        assert!(many(4, 2043).is_ok());
        assert_eq!(many(4, 2044).unwrap_err()[0].field, "headers");
    }

    #[test]
    fn a_masked_value_keeps_the_present_one() {
        let present = OwnHeaders::read([("authorization", "one"), ("x-b", "2")]).unwrap();
        let given = OwnHeaders::read([("Authorization", MASK), ("x-c", "3")]).unwrap();
        assert!(given.keeps_any() && !present.keeps_any() && present.masked().keeps_any());
        let kept = given.clone().over(&present).unwrap();
        assert_eq!(kept, OwnHeaders::read([("authorization", "one"), ("x-c", "3")]).unwrap());
        let nothing = given.over(&OwnHeaders::default()).unwrap_err();
        assert_eq!(nothing.field, "headers.authorization");
    }
}
