//! Frames of HTTP/2 (RFC 9113, section 4), written by hand so that they can be wrong.

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;

/// The stream of the first request on a connection.
pub(super) const FIRST: u32 = 1;

/// `:status: 200`, from the table that everybody has (RFC 7541, appendix A).
pub(super) const STATUS_200: &[u8] = &[0x88];
/// `:status: 100`, written out.
pub(super) const STATUS_100: &[u8] = &[0x08, 3, b'1', b'0', b'0'];

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

/// What a frame is, apart from its payload.
pub(super) type Kind = (u8, u8, u32);

pub(super) fn frame((kind, flags, stream): Kind, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// The settings with which every server begins, and these frames.
pub(super) fn begin(frames: &[Vec<u8>]) -> Vec<u8> {
    [frame((SETTINGS, 0, 0), &[]), frames.concat()].concat()
}

/// A head of an answer that is complete, but for its body.
pub(super) fn head(fields: &[u8]) -> Vec<u8> {
    frame((HEADERS, END_HEADERS, FIRST), fields)
}

/// A field written out, never to be remembered.
pub(super) fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap_or(0)], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

/// Where the first frame with the head of a request ends.
pub(super) fn head_end(heard: &[u8]) -> Option<usize> {
    let mut at = if heard.starts_with(PREFACE) { PREFACE.len() } else { 0 };
    loop {
        let head = heard.get(at..at + FRAME_HEAD_BYTES)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        at += FRAME_HEAD_BYTES + length;
        heard.get(..at)?;
        if head[3] == HEADERS {
            return Some(at);
        }
    }
}
