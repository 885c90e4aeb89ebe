//! Over HTTP/1.1, in the clear.

use super::{Hears, Hostile, Then};

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Every one of them.
pub const PLAIN: &[Hostile] = &[
    Hostile { hears: Hears::Never, ..silent("never accepts") },
    Hostile { hears: Hears::Nothing, then: Then::Close, ..silent("closes at once") },
    Hostile { hears: Hears::Nothing, then: Then::Reset, ..silent("resets at once") },
    silent("never answers"),
    Hostile { then: Then::Close, ..silent("closes without an answer") },
    // Heads.
    answers("drips its head", || text(OK), Then::Drip(b"x-a: b\r\n")),
    answers("endless head", || text(OK), Then::Repeat(|| text("x-a: b\r\n"))),
    answers("endless header", || text("HTTP/1.1 200 OK\r\nx-a: "), Then::Repeat(|| text("a"))),
    answers("endless status line", || text("HTTP/1.1 200 "), Then::Repeat(|| text("a"))),
    answers("thousands of headers", many_headers, Then::Again),
    answers("huge header", huge_header, Then::Again),
    answers("floods of interim answers", Vec::new, Then::Repeat(|| text(CONTINUE))),
    answers("endless interim answers", Vec::new, Then::Repeat(large_interim)),
    answers("nine interim answers", || text(&(CONTINUE.repeat(9) + EMPTY)), Then::Again),
    answers("switches protocols", || text(SWITCHES), Then::Repeat(|| text("x"))),
    answers("reset in its head", || text("HTTP/1.1 200 OK\r\nx-a"), Then::Reset),
    answers("closes in its head", || text("HTTP/1.1 200 OK\r\nx-a"), Then::Close),
    answers("HTTP/0.9", || text("<html>hello</html>"), Then::Close),
    answers("HTTP/2 unasked", || text("HTTP/2 200\r\ncontent-length: 0\r\n\r\n"), Then::Again),
    answers("garbage", || vec![0x16, 0x03, 0x00, 0xff, 0x80], Then::Repeat(|| vec![0x80])),
    answers("control bytes in a header", || text("HTTP/1.1 200 OK\r\na: \0\r\n\r\n"), Then::Again),
    answers("folded header", || text("HTTP/1.1 200 OK\r\na: b\r\n c: d\r\n\r\n"), Then::Again),
    answers("space before a colon", || text("HTTP/1.1 200 OK\r\na : b\r\n\r\n"), Then::Again),
    // Bodies.
    answers("drips its body", || with("content-length: 99", ""), Then::Drip(b"x")),
    answers("endless body", || with("x-a: b", ""), Then::Repeat(|| text("xxxxxxxx"))),
    answers("endless chunks", || chunked(""), Then::Repeat(large_chunk)),
    answers("tiny chunks", || chunked(""), Then::Repeat(|| text("1\r\nx\r\n"))),
    answers("chunk extensions", || chunked(""), Then::Repeat(extended_chunk)),
    answers("endless chunk extension", || chunked("1;a="), Then::Repeat(|| text("a"))),
    answers("endless chunk size", || chunked(""), Then::Repeat(|| text("0"))),
    answers("vast chunk", || chunked("7fffffffffffffff\r\n"), Then::Repeat(|| text("x"))),
    answers("negative chunk", || chunked("-1\r\nx\r\n0\r\n\r\n"), Then::Again),
    answers("endless trailers", || chunked("0\r\n"), Then::Repeat(|| text("x-a: b\r\n"))),
    answers("drips its trailers", || chunked("2\r\nok\r\n0\r\n"), Then::Drip(b"x-a: b\r\n")),
    answers("gzip bomb", gzip_bomb, Then::Again),
    answers("reset in its body", || with("content-length: 9", "half"), Then::Reset),
    answers("closes in its body", || with("content-length: 9", "half"), Then::Close),
    answers("closes in a chunk", || chunked("9\r\nhalf"), Then::Close),
    // Lengths.
    answers("length too short", || with("content-length: 2", "okay"), Then::Again),
    answers("two lengths", || with("content-length: 2\r\ncontent-length: 3", "oka"), Then::Again),
    answers("negative length", || with("content-length: -1", ""), Then::Again),
    answers("length beyond numbers", || with("content-length: 99999999999999999999", ""), DRIP),
    answers("vast length", || with("content-length: 9223372036854775807", ""), FLOOD),
    answers("length and chunks", length_and_chunks, Then::Again),
    answers("two encodings", || with("transfer-encoding: chunked, x", "2\r\nok"), Then::Close),
    // Second answers.
    answers("smuggled answer", || with("content-length: 2", &(owned("ok") + EVIL)), Then::Again),
    answers("smuggled in chunks", || chunked(&(owned("0\r\n\r\n") + EVIL)), Then::Again),
    answers("endless answers", || text(EMPTY), Then::Repeat(|| text(EVIL))),
    // Heads that ask for something.
    answers("redirects with 301", || redirect(301), Then::Again),
    answers("redirects with 302", || redirect(302), Then::Again),
    answers("redirects with 303 to itself", || redirect(303), Then::Again),
    answers("redirects with 307", || redirect(307), Then::Again),
    answers("redirects with 308", || redirect(308), Then::Again),
    answers("wants to wait for ever", || retry_after("99999999999999999999999"), Then::Again),
    answers("wants to wait backwards", || retry_after("-5"), Then::Again),
    answers("wants to wait an age", || retry_after("Fri, 31 Dec 9999 23:59:59 GMT"), Then::Again),
    answers("wants to wait long ago", || retry_after("Thu, 01 Jan 1601 00:00:00 GMT"), Then::Again),
    answers("waits in words", || retry_after("soon\u{85}ish"), Then::Again),
    answers("sets cookies", || with("content-length: 0\r\nset-cookie: id=1", ""), Then::Again),
];

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const EVIL: &str = "HTTP/1.1 500 Evil\r\ncontent-length: 0\r\n\r\n";
const SWITCHES: &str =
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n";
const DRIP: Then = Then::Drip(b"x");
const FLOOD: Then = Then::Repeat(|| text("x"));

const fn answers(name: &'static str, says: fn() -> Vec<u8>, then: Then) -> Hostile {
    Hostile { name, hears: Hears::Request, says, then }
}

const fn silent(name: &'static str) -> Hostile {
    answers(name, Vec::new, Then::Hold)
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn owned(text: &str) -> String {
    text.to_owned()
}

/// An answer with these headers and this body.
fn with(headers: &str, body: &str) -> Vec<u8> {
    text(&format!("{OK}{headers}\r\n\r\n{body}"))
}

fn chunked(body: &str) -> Vec<u8> {
    with("transfer-encoding: chunked", body)
}

fn many_headers() -> Vec<u8> {
    let headers: String = (0..5000).map(|number| format!("x-{number}: a\r\n")).collect();
    text(&format!("{OK}{headers}content-length: 0\r\n\r\n"))
}

fn huge_header() -> Vec<u8> {
    with(&format!("x: {}\r\ncontent-length: 0", "a".repeat(1024 * 1024)), "")
}

fn large_interim() -> Vec<u8> {
    text(&format!("HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n", "a".repeat(30 * 1024)))
}

fn large_chunk() -> Vec<u8> {
    text(&format!("3e8\r\n{}\r\n", "x".repeat(1000)))
}

fn extended_chunk() -> Vec<u8> {
    text(&format!("1;{}\r\nx\r\n", "a".repeat(1000)))
}

/// Ten megabytes of zeros, twice packed by hand: the blocks of a stream of zeros.
fn gzip_bomb() -> Vec<u8> {
    let mut bomb = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bomb.extend([0xed, 0xc1, 0x01, 0x0d, 0, 0, 0, 0xc2, 0xa0, 0xf7, 0x4f, 0x6d].repeat(800));
    let head = format!("{OK}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len());
    [head.into_bytes(), bomb].concat()
}

/// A body of two by its length, and one of none by its chunks.
fn length_and_chunks() -> Vec<u8> {
    with("content-length: 2\r\ntransfer-encoding: chunked", "0\r\n\r\n")
}

fn redirect(status: u16) -> Vec<u8> {
    // To itself, so that whoever follows comes back.
    text(&format!("HTTP/1.1 {status} Away\r\nlocation: /hook\r\ncontent-length: 0\r\n\r\n"))
}

fn retry_after(value: &str) -> Vec<u8> {
    let head = "HTTP/1.1 503 Later\r\ncontent-length: 0\r\n";
    text(&format!("{head}retry-after: {value}\r\n\r\n"))
}

/// Where the first request in `heard` ends.
pub(super) fn request_end(heard: &[u8]) -> Option<usize> {
    let head = heard.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&heard[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let end = head + length.and_then(|length| length.parse().ok()).unwrap_or(0);
    (heard.len() >= end).then_some(end)
}
