//! A bare HTTP client: one connection, kept open.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::request::Builder;
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A connection to a server.
pub struct Client {
    address: SocketAddr,
    token: String,
    http: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects. Every request carries `token`.
    pub async fn connect(address: SocketAddr, token: &str) -> io::Result<Client> {
        let stream = connect(address).await?;
        let (http, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Client { address, token: token.to_owned(), http })
    }

    /// Sends a request, with a JSON body where `body` is not empty. Returns the status and the
    /// body of the answer, `null` where that is not JSON.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> io::Result<(u16, Value)> {
        let (status, body) = self.fetch(method, path, body).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Posts a JSON body under an idempotency key. Returns also the headers of the answer.
    pub async fn post(
        &mut self,
        path: &str,
        body: impl Into<Bytes>,
        key: &str,
    ) -> io::Result<(u16, HeaderMap, Value)> {
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        let (head, body) = self.exchange(request, body.into()).await?;
        let body = serde_json::from_slice(&body).unwrap_or_default();
        Ok((head.status.as_u16(), head.headers, body))
    }

    /// The same with the body of the answer as it came.
    pub async fn fetch(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> io::Result<(u16, Bytes)> {
        let request = self.request(method, path);
        let (head, body) = self.exchange(request, body.into()).await?;
        Ok((head.status.as_u16(), body))
    }

    fn request(&self, method: Method, path: &str) -> Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
    }

    async fn exchange(&mut self, request: Builder, body: Bytes) -> io::Result<(Parts, Bytes)> {
        let request = request.body(Full::new(body)).map_err(io::Error::other)?;
        self.http.ready().await.map_err(io::Error::other)?;
        let answer = self.http.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok((head, body))
    }
}

#[expect(clippy::disallowed_methods, reason = "tests ask servers on their own machine")]
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
