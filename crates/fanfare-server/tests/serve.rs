//! Connections, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use support::server::Server;
use support::{COMPANY, v1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn emit(server: &Server, headers: &str) -> String {
    let token = server.bench.token(COMPANY, "admin");
    let path = v1("/events");
    format!("POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n{headers}\r\n")
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

#[tokio::test]
async fn a_stop_closes_idle_connections_and_takes_no_more() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.answer().await;
    server.stop.cancel();
    client.is_closed().await;
    server.ends().await;
}

#[tokio::test]
async fn a_stop_lets_a_request_under_way_end_and_tells_its_client_to_go() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let body = r#"{"type":"a","data":1}"#;
    client.send(&emit(&server, &format!("content-length: {}\r\n", body.len()))).await;
    client.send(&body[..5]).await;
    // The server has the head once it answers something that was sent later.
    let mut other = server.connect().await;
    other.send("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    other.answer().await;
    server.stop.cancel();
    other.is_closed().await;
    client.send(&body[5..]).await;
    let answer = client.answer().await.to_lowercase();
    assert!(answer.starts_with("http/1.1 202 accepted"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    client.is_closed().await;
    server.ends().await;
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&emit(&server, "content-length: 1000000000\r\nexpect: 100-continue\r\n")).await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("payload_too_large"), "{answer}");
}

#[tokio::test]
async fn a_body_in_chunks_is_read_whole_and_bounded() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let body = r#"{"type":"a","data":[1]}"#;
    let (one, two) = body.split_at(9);
    client.send(&emit(&server, "transfer-encoding: chunked\r\n")).await;
    client
        .send(&format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len()))
        .await;
    assert!(client.answer().await.starts_with("HTTP/1.1 202 "));

    client.send(&emit(&server, "transfer-encoding: chunked\r\n")).await;
    let piece = "x".repeat(0x1000);
    for _ in 0..8 {
        client.send(&format!("1000\r\n{piece}\r\n")).await;
    }
    assert!(client.answer().await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_event() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send(&emit(&server, "content-length: 30\r\n")).await;
    client.send(r#"{"type":"a","data":1}"#).await;
    client.0.shutdown().await.unwrap();
    let mut answer = String::new();
    let _ = client.0.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("body_incomplete"), "{answer}");
    let (status, ..) = server.bench.get(&v1("")).await.error();
    assert_eq!(status, 404, "the company was never named");
}

#[tokio::test]
async fn a_head_that_is_too_long_or_means_two_things_is_refused() {
    let server = Server::start().await;
    let smuggled = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    let twice = "content-length: 5\r\ncontent-length: 6\r\n";
    let long = format!("x: {}\r\n", "y".repeat(70_000));
    let many = "a: b\r\n".repeat(101);
    for headers in [smuggled, twice, &long, &many] {
        let mut client = server.connect().await;
        let request = emit(&server, headers);
        let _ = client.0.write_all(request.as_bytes()).await;
        let answer = client.answer().await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}
