//! Over HTTP/2, within TLS.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FIRST, GOAWAY, HEADERS, PADDED, PING,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, STATUS_100, STATUS_200, WINDOW_UPDATE, begin,
    field, frame, head,
};
use super::{Hears, Hostile, Then};

/// Every one of them.
pub const HTTP2: &[Hostile] = &[
    answers("h2: never answers", || begin(&[]), Then::Hold),
    answers("h2: never says a word", Vec::new, Then::Hold),
    answers("h2: no window for a body", no_window, Then::Hold),
    answers("h2: answers like HTTP/1.1", http1, Then::Hold),
    answers("h2: closes without an answer", || begin(&[]), Then::Close),
    // Floods of what is no answer.
    floods("h2: settings", || frame((SETTINGS, 0, 0), &[])),
    floods("h2: settings that were not asked for", || frame((SETTINGS, ACK, 0), &[])),
    floods("h2: pings", || frame((PING, 0, 0), &[0; 8])),
    floods("h2: windows", || frame((WINDOW_UPDATE, 0, 0), &1_u32.to_be_bytes())),
    floods("h2: overflowing windows", || frame((WINDOW_UPDATE, 0, 0), &[0x7f, 0xff, 0xff, 0xff])),
    floods("h2: priorities", || frame((PRIORITY, 0, FIRST), &[0, 0, 0, 0, 1])),
    floods("h2: frames of no known kind", || frame((0xfa, 0, 0), &[0; 1000])),
    floods("h2: interim answers", || head(STATUS_100)),
    floods("h2: resets of what is open", || frame((RST_STREAM, 0, FIRST), &[0, 0, 0, 8])),
    floods("h2: resets of what never was", || frame((RST_STREAM, 0, 99), &[0, 0, 0, 8])),
    floods("h2: farewells", || goodbye(u32::MAX >> 1)),
    // Heads.
    answers("h2: endless head", unfinished_head, Then::Repeat(continuation)),
    answers("h2: head of empty frames", unfinished_head, Then::Repeat(empty_continuation)),
    answers("h2: header bomb", header_bomb, Then::Hold),
    answers("h2: bombs of interim answers", remembered, Then::Repeat(interim_bomb)),
    answers("h2: promises", promise, Then::Hold),
    answers("h2: a stream that nobody opened", || strange_head(3), Then::Hold),
    answers("h2: a header of HTTP/1.1", || awry(&field("connection", "close")), Then::Hold),
    answers("h2: a header in capitals", || awry(&field("X-A", "b")), Then::Hold),
    answers("h2: no status", || begin(&[head(&field("a", "b"))]), Then::Hold),
    answers("h2: an index of nothing", || awry(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Then::Hold),
    answers("h2: a frame too large", huge_frame, Then::Repeat(|| vec![0; 1000])),
    // Ends.
    answers("h2: reset", || reset(8), Then::Hold),
    answers("h2: refused", || reset(7), Then::Hold),
    answers("h2: farewell", || begin(&[goodbye(0)]), Then::Close),
    // Bodies.
    answers("h2: endless body", accepted, Then::Repeat(|| data(&[b'x'; 1000]))),
    answers("h2: drips its body", accepted, Then::Drip(&[0, 0, 1, 0, 0, 0, 0, 0, 1, b'x'])),
    answers("h2: body of nothing", accepted, Then::Repeat(|| data(&[]))),
    answers("h2: body of crumbs", accepted, Then::Repeat(|| data(b"x"))),
    answers("h2: body of padding", accepted, Then::Repeat(padding)),
    answers("h2: pings in its body", accepted, Then::Repeat(|| frame((PING, 0, 0), &[0; 8]))),
    answers("h2: endless trailers", trailers, Then::Repeat(continuation)),
    answers("h2: reset in its body", reset_in_body, Then::Hold),
    answers("h2: wrong length", wrong_length, Then::Hold),
];

const fn answers(name: &'static str, says: fn() -> Vec<u8>, then: Then) -> Hostile {
    Hostile { name, hears: Hears::Head, says, then }
}

const fn floods(name: &'static str, piece: fn() -> Vec<u8>) -> Hostile {
    answers(name, || begin(&[]), Then::Repeat(piece))
}

/// `SETTINGS_INITIAL_WINDOW_SIZE` = 0.
fn no_window() -> Vec<u8> {
    frame((SETTINGS, 0, 0), &[0, 4, 0, 0, 0, 0])
}

fn http1() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()
}

fn goodbye(last_stream: u32) -> Vec<u8> {
    frame((GOAWAY, 0, 0), &[last_stream.to_be_bytes(), [0; 4]].concat())
}

fn reset(reason: u8) -> Vec<u8> {
    begin(&[frame((RST_STREAM, 0, FIRST), &[0, 0, 0, reason])])
}

fn unfinished_head() -> Vec<u8> {
    begin(&[frame((HEADERS, 0, FIRST), STATUS_200)])
}

fn continuation() -> Vec<u8> {
    frame((CONTINUATION, 0, FIRST), &field("x-a", &"a".repeat(100)))
}

fn empty_continuation() -> Vec<u8> {
    frame((CONTINUATION, 0, FIRST), &[])
}

/// A field of 4000 bytes that is to be remembered, as number 62.
fn large_field() -> Vec<u8> {
    // A length from 127 on is 127 and the rest in groups of seven bits, the lowest first.
    let length = [127, 0x80 | 33, 30];
    [&[0x40, 1, b'x'][..], &length, &[b'a'; 4000]].concat()
}

/// One field, and then ten thousand times its number: 40 MB in 14 kB.
fn header_bomb() -> Vec<u8> {
    let fields = [STATUS_200, &large_field(), &[0xbe; 10_000]].concat();
    begin(&[frame((HEADERS, END_HEADERS | END_STREAM, FIRST), &fields)])
}

fn remembered() -> Vec<u8> {
    begin(&[head(&[STATUS_100, &large_field()].concat())])
}

fn interim_bomb() -> Vec<u8> {
    head(&[STATUS_100, &[0xbe; 15]].concat())
}

fn promise() -> Vec<u8> {
    let fields = [0x82, 0x87, 0x84, 0x41, 1, b'a']; // GET https://a/
    let promised = [&2_u32.to_be_bytes()[..], &fields].concat();
    begin(&[frame((PUSH_PROMISE, END_HEADERS, FIRST), &promised)])
}

fn strange_head(stream: u32) -> Vec<u8> {
    begin(&[frame((HEADERS, END_HEADERS | END_STREAM, stream), STATUS_200)])
}

/// A 200 with fields that should not be.
fn awry(fields: &[u8]) -> Vec<u8> {
    begin(&[frame((HEADERS, END_HEADERS | END_STREAM, FIRST), &[STATUS_200, fields].concat())])
}

/// The head of a frame of 16 MB.
fn huge_frame() -> Vec<u8> {
    begin(&[vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]])
}

fn accepted() -> Vec<u8> {
    begin(&[head(STATUS_200)])
}

fn data(payload: &[u8]) -> Vec<u8> {
    frame((DATA, 0, FIRST), payload)
}

fn padding() -> Vec<u8> {
    frame((DATA, PADDED, FIRST), &[&[255][..], &[0; 255]].concat())
}

fn trailers() -> Vec<u8> {
    begin(&[head(STATUS_200), frame((HEADERS, END_STREAM, FIRST), &field("x-a", "b"))])
}

fn reset_in_body() -> Vec<u8> {
    let cancel = frame((RST_STREAM, 0, FIRST), &[0, 0, 0, 8]);
    begin(&[head(STATUS_200), data(b"half"), cancel])
}

fn wrong_length() -> Vec<u8> {
    let fields = [STATUS_200, &field("content-length", "5")].concat();
    begin(&[head(&fields), frame((DATA, END_STREAM, FIRST), b"too much")])
}
