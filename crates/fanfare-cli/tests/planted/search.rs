//! Looking for secrets in bytes, however they are written.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use tokio_postgres::NoTls;

/// Something that must not be found.
pub(crate) struct Secret {
    name: String,
    /// Every way to write it.
    forms: Vec<Vec<u8>>,
}

/// What was seen, and what was found in it.
pub(crate) struct Finds {
    secrets: Vec<Secret>,
    seen: Vec<(String, Vec<u8>)>,
    found: Vec<String>,
}

impl Secret {
    /// One that is text.
    pub(crate) fn text(name: &str, text: &str) -> Secret {
        let mut forms = forms(text.as_bytes());
        forms.push(text.bytes().flat_map(|byte| format!("%{byte:02X}").into_bytes()).collect());
        Secret { name: name.to_owned(), forms }
    }

    /// One that is base64, perhaps behind a prefix such as `whsec_`: as it is and as its bytes. Any
    /// other text is taken as it is.
    pub(crate) fn base64(name: &str, text: &str) -> Secret {
        let mut secret = Secret::text(name, text);
        let encoded = text.rsplit('_').next().unwrap_or(text);
        secret.forms.extend(Secret::text(name, encoded).forms);
        if let Ok(bytes) = STANDARD.decode(encoded) {
            // Of a key that is seed and public half, the seed alone.
            secret.forms.extend(forms(&bytes[..bytes.len().min(32)]));
            let escaped = bytes.iter().flat_map(|byte| format!("%{byte:02X}").into_bytes());
            secret.forms.push(escaped.collect());
        }
        secret
    }
}

/// As they are, in hex, and in base64 wherever in a longer text they begin.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![bytes.to_vec(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for shift in 0..3 {
        let shifted = [&vec![0; shift][..], bytes].concat();
        // Only the letters that no neighbour changes.
        let (from, to) = ((shift * 8).div_ceil(6), (shift + bytes.len()) * 8 / 6);
        for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            forms.push(encoded.as_bytes()[from..to].to_vec());
        }
    }
    forms
}

impl Finds {
    pub(crate) fn new(secrets: Vec<Secret>) -> Finds {
        Finds { secrets, seen: Vec::new(), found: Vec::new() }
    }

    /// Looks for another one from here on.
    pub(crate) fn add(&mut self, secret: Secret) {
        self.secrets.push(secret);
    }

    /// The same for several.
    pub(crate) fn add_all(&mut self, secrets: Vec<Secret>) {
        self.secrets.extend(secrets);
    }

    /// Keeps what was seen until everything to be looked for is known.
    pub(crate) fn saw(&mut self, place: &str, bytes: &[u8]) {
        self.seen.push((place.to_owned(), bytes.to_vec()));
    }

    /// Looks into what was seen.
    pub(crate) fn search_seen(&mut self) {
        for (place, bytes) in std::mem::take(&mut self.seen) {
            self.search(&place, &bytes);
        }
    }

    /// Looks into this.
    pub(crate) fn search(&mut self, place: &str, bytes: &[u8]) {
        let bytes = letters(bytes);
        for secret in &self.secrets {
            if let Some(form) = secret.forms.iter().find(|form| bytes.contains(&letters(form))) {
                let form = String::from_utf8_lossy(form);
                self.found.push(format!("{} is in {place}, as {form}", secret.name));
            }
        }
    }

    /// # Panics
    /// When something was found.
    pub(crate) fn end(self) {
        assert!(self.found.is_empty(), "{}", self.found.join("\n"));
    }
}

pub(crate) fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    letters(bytes).contains(&letters(wanted))
}

/// A letter for each byte: the standard library looks for text much faster than for bytes.
fn letters(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Every file of a directory, one after the other.
pub(crate) fn files(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("a file").path();
        all.extend(if path.is_dir() { files(&path) } else { std::fs::read(path).expect("a file") });
    }
    all
}

/// Every row of a schema, as text. Bytes are in hex there.
pub(crate) async fn tables(url: &str) -> Vec<u8> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database");
    tokio::spawn(connection);
    let tables = "select quote_ident(tablename) from pg_tables where schemaname = current_schema()";
    let mut all = Vec::new();
    for table in client.query(tables, &[]).await.expect("tables") {
        let rows = format!("select t::text from {} t", table.get::<_, String>(0));
        for row in client.query(&rows, &[]).await.expect("rows") {
            let text: String = row.get(0);
            all.extend(text.as_bytes());
            all.extend(unescaped(&text));
        }
    }
    all
}

/// The bytes that stand in a row in hex, so that text among them is found too.
fn unescaped(row: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for hex in row.split("\\x").skip(1) {
        let digits: Vec<u8> = hex.bytes().take_while(u8::is_ascii_hexdigit).collect();
        for pair in digits.chunks_exact(2) {
            let pair = std::str::from_utf8(pair).ok();
            all.extend(pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()));
        }
        all.push(b' ');
    }
    all
}

#[test]
fn a_secret_is_found_however_it_is_written() {
    for secret in ["planted-text", "pl\u{e4}nted+/text?"] {
        let bytes = secret.as_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        let long = |shift: usize| ["#".repeat(shift).as_bytes(), bytes, b"behind"].concat();
        let mut written = vec![format!("a {secret} b"), hex.to_lowercase(), hex];
        written.extend((0..6).map(|shift| STANDARD.encode(long(shift))));
        written.extend((0..6).map(|shift| URL_SAFE_NO_PAD.encode(long(shift))));
        written.push(bytes.iter().map(|byte| format!("%{byte:02X}")).collect());
        for text in written {
            let mut finds = Finds::new(vec![Secret::text("it", secret)]);
            finds.search("the text", text.as_bytes());
            assert_eq!(finds.found.len(), 1, "{text}");
        }
        let mut finds = Finds::new(vec![Secret::text("it", secret)]);
        finds.search("another text", b"planted, but another");
        finds.end();
    }
}
