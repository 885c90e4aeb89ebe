//! Generated headers, hostile ones among them, through the real transport: what arrives is one
//! request, framed by us, with exactly the headers that were let in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what goes wrong in a test's own hands ends the test; it says what it counted"
)]

mod receiver;

use std::collections::BTreeMap;
use std::sync::Arc;

use fanfare::model::{
    Claim, DeliveryId, Format, OWN_HEADERS_BYTES_MAX, OWN_HEADERS_MAX, OwnHeaders, Shape, Timestamp,
};
use fanfare::send::{self, HttpTransport, Own, Transport};
use fanfare::sign::{Keys, Secret, Signers};
use fanfare_testkit::contract;
use fanfare_testkit::dice::Dice;
use receiver::{PATIENT, Receiver, answer, policy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A request as it arrived.
#[derive(Debug)]
struct Arrived {
    method: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

#[tokio::test]
async fn whatever_headers_are_asked_for_what_arrives_is_exactly_one_request() {
    let count = if fanfare_testkit::full() { 10_000 } else { 500 };
    let (receiver, mut arrivals) = strict_receiver().await;
    let transport = HttpTransport::new(policy(&[receiver.port]), PATIENT);
    let mut dice = Dice::new(4);
    let (mut let_in, mut refused) = (0, 0);
    for at in 0..count {
        let (own, turned_away) = accepted(&mut dice);
        let claim = claim(&mut dice, &receiver.url("/hook"));
        let headers = Some(Arc::new(send::own_headers(&own).unwrap()));
        let signers = signers();
        let request = send::request(&claim, &signers, &Own { headers, identity: None }, NOW);
        let bare = send::request(&claim, &signers, &Own::default(), NOW);
        assert_eq!(answer(transport.send(request).await.outcome).status, 204, "request {at}");

        let arrived = arrivals.recv().await.unwrap();
        let mut expected: BTreeMap<String, String> =
            own.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(expected.len(), own.iter().count());
        let ours = bare.headers.iter();
        let ours = ours.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
        let ours: Vec<_> = ours
            .chain([
                ("host".to_owned(), format!("127.0.0.1:{}", receiver.port)),
                ("content-length".to_owned(), bare.body.len().to_string()),
            ])
            .collect();
        for (name, value) in ours {
            assert_eq!(expected.insert(name.clone(), value), None, "{name} is ours alone");
        }
        assert_eq!(arrived.headers, expected, "request {at}");
        assert_eq!(
            (arrived.method.as_str(), &arrived.body[..]),
            (bare.method.as_str(), &bare.body[..])
        );
        let_in += own.iter().count();
        refused += turned_away;
    }
    assert_eq!(receiver.connections(), 1, "all of them on one connection");
    assert!(arrivals.is_empty(), "and nothing beside them");
    assert!(let_in > count && refused > count, "{let_in} were let in, {refused} refused");
    println!("{count} requests, {let_in} headers let in, {refused} refused");
}

/// Of some generated headers those that may be: and how many may not.
fn accepted(dice: &mut Dice) -> (OwnHeaders, usize) {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut refused = 0;
    for _ in 0..dice.below(OWN_HEADERS_MAX + 5) {
        pairs.push((name(dice), value(dice)));
        // Each beside those before it, as they would be given together.
        if OwnHeaders::read(pairs.iter().cloned()).is_err() {
            pairs.pop();
            refused += 1;
        }
    }
    let own = OwnHeaders::read(pairs).unwrap();
    let bytes: usize = own.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(own.iter().count() <= OWN_HEADERS_MAX && bytes <= OWN_HEADERS_BYTES_MAX);
    (own, refused)
}

/// What a request is framed, routed or trusted by, and what we send ourselves.
const TEMPTING: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "proxy-connection",
    "expect",
    "user-agent",
    "date",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "webhook-sequence",
    "webhook-event",
    "webhook-delivery",
    "webhook-attempt",
    "ce-id",
    "ce-source",
    "ce-specversion",
    "x-w3block-commerce-signature",
    "x-forwarded-for",
    "forwarded",
    "metadata-flavor",
];

/// What ends a name, a value, a line or a head, or looks like it.
const HOSTILE: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\0",
    "\r\n\r\n",
    "\r\ncontent-length: 0",
    "\r\ntransfer-encoding: chunked",
    ":",
    ": ",
    " ",
    "\t",
    "\u{85}",
    "\u{2028}",
    "\u{200b}",
    "\u{ff1a}",
    "é",
    "嘊嘍",
    "\u{7f}",
    "\u{b}",
    "\u{1b}",
    "\"",
    "(",
    "@",
];

fn name(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => {
            let tempting = TEMPTING[dice.below(TEMPTING.len())];
            in_some_case(dice, tempting)
        }
        1 => spoilt(dice, "x-token"),
        2 => letters(dice, b"abcXYZ019!#$%&'*+-.^_`|~", 140),
        3 => ["", ":path", ":authority", "x", "X", "Cookie", "Authorization"][dice.below(7)].into(),
        4 => format!("x-{}", dice.below(30)),
        _ => letters(dice, b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-", 24),
    }
}

fn value(dice: &mut Dice) -> String {
    match dice.below(8) {
        0 => spoilt(dice, "a value"),
        1 => letters(dice, b" \t", 6),
        2 => letters(dice, b"v", 2200),
        3 => ["", "chunked", "100-continue", "close", "0", "GET / HTTP/1.1", "a: b", ","]
            [dice.below(8)]
        .into(),
        _ => {
            let printable: Vec<u8> = (b' '..=b'~').chain([b'\t']).collect();
            letters(dice, &printable, 60)
        }
    }
}

fn letters(dice: &mut Dice, of: &[u8], most: usize) -> String {
    (0..dice.below(most)).map(|_| char::from(of[dice.below(of.len())])).collect()
}

fn spoilt(dice: &mut Dice, text: &str) -> String {
    let mut text = text.to_owned();
    text.insert_str(dice.below(text.len() + 1), HOSTILE[dice.below(HOSTILE.len())]);
    text
}

fn in_some_case(dice: &mut Dice, text: &str) -> String {
    let upper = |c: char| c.to_ascii_uppercase();
    text.chars().map(|c| if dice.below(2) == 0 { c } else { upper(c) }).collect()
}

fn claim(dice: &mut Dice, url: &str) -> Claim {
    let company = fanfare::CompanyId::from_uuid(uuid::Uuid::nil());
    let mut endpoint = contract::endpoint(company, &["*"]);
    endpoint.url = url.parse().unwrap();
    let shape = Shape {
        format: Format::ALL[dice.below(Format::ALL.len())].0,
        use_patch: dice.below(2) == 0,
        system_headers: dice.below(2) == 0,
        add_created_at: dice.below(2) == 0,
    };
    Claim {
        delivery: DeliveryId::new(NOW),
        fence: 1,
        due_at: NOW,
        attempts: 0,
        probes: 0,
        sequence: 7,
        ordered: false,
        shape,
        event: Arc::new(contract::event(company, "order.created", NOW)),
        endpoint: Arc::new(endpoint),
    }
}

fn signers() -> Signers {
    let keys = Keys::with(Secret::from_bytes(&[7; 32]), false).unwrap();
    Signers { current: Arc::new(keys), previous: None }
}

/// Reads requests by the letter of RFC 9112 and its own eyes, one for each answer.
async fn strict_receiver() -> (Receiver, mpsc::UnboundedReceiver<Arrived>) {
    let (found, arrivals) = mpsc::unbounded_channel();
    let receiver = Receiver::playing(move |socket, _| {
        let found = found.clone();
        async move {
            let mut stream = socket.into_stream();
            let mut read = Vec::new();
            loop {
                if let Some(request) = whole(&read) {
                    // The next one begins after the answer: whatever else is there is smuggled.
                    read.clear();
                    found.send(request).unwrap();
                    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
                }
                if stream.read_buf(&mut read).await.unwrap() == 0 {
                    assert!(read.is_empty(), "half a request");
                    return;
                }
            }
        }
    })
    .await;
    (receiver, arrivals)
}

/// The request that these bytes are, once they are one; panics when they never will be, or are more.
fn whole(read: &[u8]) -> Option<Arrived> {
    let end = read.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&read[..end]).expect("a head is ASCII");
    let fine = |byte: u8| matches!(byte, b'\t' | b'\r' | b'\n' | b' '..=b'~');
    assert!(head.bytes().all(fine), "{head:?}");
    let mut lines = head.split("\r\n");
    let (method, rest) = lines.next().unwrap().split_once(' ').unwrap();
    assert!(["POST", "PATCH"].contains(&method) && rest == "/hook HTTP/1.1", "{head:?}");
    let mut headers = BTreeMap::new();
    for line in lines {
        assert!(!line.contains(['\r', '\n']), "{line:?}");
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
        let token =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "!#$%&'*+-.^_`|~".contains(c);
        assert!(!name.is_empty() && name.chars().all(token), "{line:?}");
        assert!(!value.is_empty() && value.trim_matches([' ', '\t']) == value, "{line:?}");
        let before = headers.insert(name.to_owned(), value.to_owned());
        assert_eq!(before, None, "{name} comes twice");
    }
    assert!(!headers.contains_key("transfer-encoding"), "{head:?}");
    let length: usize = headers["content-length"].parse().unwrap();
    let body = &read[end + 4..];
    assert!(body.len() <= length, "more than one request: {:?}", String::from_utf8_lossy(body));
    let arrived =
        || Arrived { method: method.to_owned(), headers: headers.clone(), body: body.to_vec() };
    (body.len() == length).then(arrived)
}
