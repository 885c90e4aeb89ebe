//! An open connection, in the clear or inside TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use crate::send::Identity;
use crate::send::failure::Failure;
use crate::send::meter::Meter;
use crate::send::socket::Socket;
use crate::send::tls::ended;

/// The name by which TLS agrees on HTTP/2.
pub(super) const H2: &[u8] = b"h2";

/// A connection, in the clear or inside TLS, that remembers whether the other side has said
/// anything.
pub(super) struct Wire {
    stream: Stream,
    meter: Arc<Meter>,
    ended: Arc<OnceLock<Failure>>,
}

enum Stream {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>, Option<Arc<Identity>>),
}

impl Wire {
    pub(super) fn plain(socket: Socket) -> Self {
        Wire { meter: socket.meter(), stream: Stream::Plain(socket), ended: Arc::default() }
    }

    pub(super) fn tls(session: TlsStream<Socket>, own: Option<Arc<Identity>>) -> Self {
        let meter = session.get_ref().0.meter();
        Wire { meter, stream: Stream::Tls(Box::new(session), own), ended: Arc::default() }
    }

    /// Set when the other side ends the TLS session, with its reason. Whoever speaks HTTP over it
    /// hears of a broken connection alone.
    pub(super) fn ended(&self) -> Arc<OnceLock<Failure>> {
        Arc::clone(&self.ended)
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// Was HTTP/2 agreed upon? Only TLS can; all else speaks HTTP/1.1.
    pub(super) fn is_h2(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(session, _) => session.get_ref().1.alpn_protocol() == Some(H2),
        }
    }
}

impl Stream {
    fn socket(&self) -> &Socket {
        match self {
            Stream::Plain(socket) => socket,
            Stream::Tls(session, _) => session.get_ref().0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Stream::Tls(session, own) => {
                let polled = Pin::new(session).poll_read(cx, buf);
                if let Poll::Ready(Err(error)) = &polled
                    && let Some(failure) = ended(error, own.as_deref())
                {
                    let _ = self.ended.set(failure);
                }
                polled
            }
        };
        if buf.filled().len() > before {
            self.meter.said();
        } else if polled.is_pending() {
            self.meter.silent(|| self.stream.socket().is_waiting());
        }
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.meter.wrote();
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Stream::Tls(session, _) => Pin::new(session).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Stream::Tls(session, _) => Pin::new(session).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Stream::Tls(session, _) => Pin::new(session).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.meter.wrote();
        match &mut self.stream {
            Stream::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Stream::Tls(session, _) => Pin::new(session).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(socket) => socket.is_write_vectored(),
            Stream::Tls(session, _) => session.is_write_vectored(),
        }
    }
}
