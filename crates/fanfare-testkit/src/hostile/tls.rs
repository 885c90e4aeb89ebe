//! Where TLS is expected: those that do not speak it.

use super::{Hears, Hostile, Then};

/// They hear the beginning of a handshake and answer with something else.
pub const BEFORE_TLS: &[Hostile] = &[
    answers("tls: stalls", Vec::new, Then::Hold),
    answers("tls: closes", Vec::new, Then::Close),
    answers("tls: resets", Vec::new, Then::Reset),
    answers("tls: plain text", || b"HTTP/1.1 400 No\r\n\r\n".to_vec(), Then::Close),
    answers("tls: zeros", Vec::new, Then::Repeat(|| vec![0])),
    answers("tls: a record too large", || vec![0x16, 3, 3, 0xff, 0xff], FLOOD),
    answers("tls: a message too large", || vec![0x16, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff], FLOOD),
    answers("tls: drips", || vec![0x16, 3, 3, 0, 200], Then::Drip(&[2])),
    answers("tls: alerts without end", Vec::new, Then::Repeat(|| vec![0x15, 3, 3, 0, 2, 1, 90])),
    answers("tls: cipher changes", Vec::new, Then::Repeat(|| vec![0x14, 3, 3, 0, 1, 1])),
];

const FLOOD: Then = Then::Repeat(|| vec![0]);

const fn answers(name: &'static str, says: fn() -> Vec<u8>, then: Then) -> Hostile {
    Hostile { name, hears: Hears::Something, says, then }
}
