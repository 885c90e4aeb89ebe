//! Where one request ends and the next begins, watched before the parser sees it.
//!
//! The parser takes what RFC 9112 lets a server take: a line that ends in a lone LF, a length beside
//! chunks. Somebody on the way may read those as another number of requests, so they are spoilt
//! here, and the parser refuses them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much of a line as is looked at; what says where a request ends is shorter.
const LINE_BYTES_MAX: usize = 64;
/// A byte that is allowed nowhere in a head, nor between chunks.
const SPOILT: u8 = 0;

/// A connection whose requests have one reading only.
pub(super) struct Strict<T> {
    stream: T,
    framing: Framing,
}

impl<T> Strict<T> {
    pub(super) fn new(stream: T) -> Strict<T> {
        Strict { stream, framing: Framing::default() }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Strict<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // The parser may still wait for the end of what it has got.
        if self.framing.place == Place::Spoilt {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            self.framing.watch(new);
        }
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Strict<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Follows the bytes of a connection, line by line where there are lines.
#[derive(Default)]
struct Framing {
    place: Place,
    /// The beginning of the present line.
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    is_long: bool,
    /// The last byte was a CR, which only an LF may follow.
    after_cr: bool,
    body: BodyEnd,
}

/// What comes next.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    RequestLine,
    Field,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    /// Nothing: what came before has more than one reading.
    Spoilt,
}

/// What the head says about where the body ends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum BodyEnd {
    #[default]
    Unsaid,
    Length(u64),
    Chunks,
}

/// Has more than one reading.
struct Ambiguous;

impl Framing {
    /// Takes note of the next bytes and spoils them from the place on where they are ambiguous.
    fn watch(&mut self, mut bytes: &mut [u8]) {
        while let Some(first) = bytes.first_mut() {
            let taken = match self.place {
                Place::Body(left) => self.pass(left, bytes.len(), Place::Body),
                Place::Chunk(left) => self.pass(left, bytes.len(), Place::Chunk),
                Place::Spoilt => {
                    *first = SPOILT;
                    1
                }
                _ => {
                    if self.take(*first).is_err() {
                        *first = SPOILT;
                        self.place = Place::Spoilt;
                    }
                    1
                }
            };
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Passes over content, of which so many bytes are left and so many are here.
    fn pass(&mut self, left: u64, here: usize, rest: impl Fn(u64) -> Place) -> usize {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(here);
        self.place = match (left.saturating_sub(taken as u64), self.body) {
            (0, BodyEnd::Chunks) => Place::ChunkEnd,
            (0, _) => Place::RequestLine,
            (left, _) => rest(left),
        };
        taken
    }

    fn take(&mut self, byte: u8) -> Result<(), Ambiguous> {
        match (self.after_cr, byte) {
            (true, b'\n') => {
                let ended = self.end_line();
                (self.after_cr, self.is_long) = (false, false);
                self.line.clear();
                return ended;
            }
            (true, _) | (false, b'\n') => return Err(Ambiguous),
            (false, b'\r') => self.after_cr = true,
            (false, byte) if self.line.len() < LINE_BYTES_MAX => self.line.push(byte),
            (false, _) => self.is_long = true,
        }
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), Ambiguous> {
        let is_empty = self.line.is_empty();
        self.place = match self.place {
            // Clients of old end a body in a line that does not count.
            Place::RequestLine if is_empty => Place::RequestLine,
            Place::RequestLine => {
                self.body = BodyEnd::Unsaid;
                Place::Field
            }
            Place::Field if is_empty => match self.body {
                BodyEnd::Unsaid | BodyEnd::Length(0) => Place::RequestLine,
                BodyEnd::Length(length) => Place::Body(length),
                BodyEnd::Chunks => Place::ChunkSize,
            },
            Place::Field => {
                self.read_field()?;
                Place::Field
            }
            Place::ChunkSize => match self.read_size()? {
                0 => Place::Trailer,
                size => Place::Chunk(size),
            },
            Place::ChunkEnd if is_empty => Place::ChunkSize,
            Place::Trailer if is_empty => Place::RequestLine,
            Place::Trailer => Place::Trailer,
            _ => return Err(Ambiguous),
        };
        Ok(())
    }

    /// Keeps what a header says about the body's end, which one header may say once.
    fn read_field(&mut self) -> Result<(), Ambiguous> {
        let Some(colon) = self.line.iter().position(|byte| *byte == b':') else { return Ok(()) };
        let (name, value) = self.line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let said = if name.eq_ignore_ascii_case(b"content-length") {
            number(value, 10).map(BodyEnd::Length)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            value.eq_ignore_ascii_case(b"chunked").then_some(BodyEnd::Chunks)
        } else {
            return Ok(());
        };
        if self.is_long || self.body != BodyEnd::Unsaid {
            return Err(Ambiguous);
        }
        self.body = said.ok_or(Ambiguous)?;
        Ok(())
    }

    /// The size of a chunk; what extends it says nothing to us.
    fn read_size(&self) -> Result<u64, Ambiguous> {
        let digits = self.line.split(|byte| *byte == b';').next().unwrap_or_default();
        number(digits, 16).filter(|_| !self.is_long).ok_or(Ambiguous)
    }
}

/// A number of digits and nothing else.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = str::from_utf8(digits).ok()?;
    // A sign would be taken for part of a number.
    let plain = text.chars().all(|digit| digit.is_digit(radix));
    u64::from_str_radix(text, radix).ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the parser gets to see, however the bytes arrive.
    fn seen(text: &str) -> String {
        let whole = watched(text, text.len());
        for piece in 1..text.len().min(40) {
            assert_eq!(watched(text, piece), whole, "in pieces of {piece}");
        }
        whole
    }

    fn watched(text: &str, piece: usize) -> String {
        let mut framing = Framing::default();
        let mut bytes = text.as_bytes().to_vec();
        bytes.chunks_mut(piece.max(1)).for_each(|piece| framing.watch(piece));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn requests_with_one_reading_pass_as_they_are() {
        for text in [
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "\r\nGET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-LENGTH: \t7 \r\n\r\n{\n\r\r\n\n}GET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
             0A;x=y\r\n{\n\n\n\n\n\n\n\n}\r\n1\r\n\n\r\n0\r\nt: u\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(seen(text), text);
        }
        let long = format!("GET /{} HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(999), "b".repeat(999));
        assert_eq!(watched(&long, 7), long);
    }

    #[test]
    fn what_has_two_readings_is_spoilt_from_there_on() {
        let head = "POST / HTTP/1.1\r\n";
        let chunks = "Transfer-Encoding: chunked\r\n\r\n";
        for text in [
            "|\nHost: x\r\n\r\n",
            "X: a|\n\r\n",
            "X: a\r|b\r\n\r\n",
            "X: a\r|\r\n\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r|\n\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r|\n\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r|\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r|\n\r\n",
            "Transfer-Encoding: gzip, chunked\r|\n\r\n",
            "Content-Length: +5\r|\n\r\n",
            "Content-Length: 5, 5\r|\n\r\n",
            "Content-Length:\r|\n\r\n",
            "Content-Length: 18446744073709551616\r|\n\r\n",
        ] {
            assert_spoilt(head, text);
        }
        let padded = format!("Content-Length:{}5\r|\n\r\n", " ".repeat(99));
        assert_spoilt(head, &padded);
        let head = format!("{head}{chunks}");
        for text in [
            "1|\nx\r\n",
            "+1\r|\nx\r\n",
            "0x1\r|\nx\r\n",
            " 1\r|\nx\r\n",
            "1 \r|\nx\r\n",
            "\r|\nx\r\n",
            "10000000000000001\r|\nx\r\n",
            "1\r\nxy\r|\n",
            "1\r\nx|\n0\r\n\r\n",
            "0\r\n|\nGET / HTTP/1.1\r\n\r\n",
        ] {
            assert_spoilt(&head, text);
        }
    }

    /// `|` stands before the byte from which on nothing passes.
    #[track_caller]
    fn assert_spoilt(head: &str, text: &str) {
        let (good, bad) = text.split_once('|').unwrap();
        let wanted = format!("{head}{good}{}", "\0".repeat(bad.len()));
        assert_eq!(seen(&format!("{head}{good}{bad}")), wanted, "{text}");
    }
}
