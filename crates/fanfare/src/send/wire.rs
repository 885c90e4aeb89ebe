//! An open connection, in the clear or inside TLS.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::send::Identity;
use crate::send::failure::Failure;
use crate::send::tls::ended;

/// A connection that remembers whether the other side has said anything.
pub(super) struct Wire {
    stream: Stream,
    heard: Arc<AtomicBool>,
    ended: Arc<OnceLock<Failure>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>, Option<Arc<Identity>>),
}

impl Wire {
    pub(super) fn plain(socket: TcpStream) -> Self {
        Wire { stream: Stream::Plain(socket), heard: Arc::default(), ended: Arc::default() }
    }

    pub(super) fn tls(session: TlsStream<TcpStream>, own: Option<Arc<Identity>>) -> Self {
        let stream = Stream::Tls(Box::new(session), own);
        Wire { stream, heard: Arc::default(), ended: Arc::default() }
    }

    /// Set when the other side ends the TLS session, with its reason. Whoever speaks HTTP over it
    /// hears of a broken connection alone.
    pub(super) fn ended(&self) -> Arc<OnceLock<Failure>> {
        Arc::clone(&self.ended)
    }

    /// Set when a byte arrives. Whoever cares clears it.
    pub(super) fn heard(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.heard)
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
            self.heard.store(true, Ordering::Relaxed);
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
