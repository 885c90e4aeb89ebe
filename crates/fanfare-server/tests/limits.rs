//! What a caller may cost: time, connections and requests, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use fanfare_server::Doors;
use serde_json::json;
use support::never::Never;
use support::server::{Client, Server};
use support::{Bench, COMPANY, Made, OTHER, v1, w3block};

/// A limit that is meant to be reached.
const SHORT: Duration = Duration::from_millis(300);
const ASK: &str = "GET /docs HTTP/1.1\r\nhost: x\r\n\r\n";
const EVENT: &str = r#"{"type":"a","data":1}"#;

/// The head of an emit with a body of that many bytes.
fn emit(server: &Server, length: usize) -> String {
    let (path, token) = (v1("/events"), server.bench.token(COMPANY, "admin"));
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: {length}\r\nexpect: 100-continue\r\n\r\n"
    )
}

impl Client {
    async fn is_served(&mut self) {
        self.send(ASK).await;
        let answer = self.answer().await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }

    /// Begins an emit; the server waits for the rest of its body.
    async fn begins(&mut self, server: &Server) {
        self.send(&emit(server, EVENT.len())).await;
        assert!(self.answer().await.starts_with("HTTP/1.1 100 "));
        self.send(&EVENT[..5]).await;
    }

    async fn ends(&mut self) {
        self.send(&EVENT[5..]).await;
        assert!(self.answer().await.starts_with("HTTP/1.1 202 "));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_time_however_it_drips() {
    let server = Server::behind(Doors { head_timeout: SHORT, ..Doors::default() }).await;
    let mut silent = server.connect().await;
    silent.is_closed().await;
    for begun in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut client = server.connect().await;
        client.send(begun).await;
        let answer = client.drips().await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_next_request_has_the_time_of_a_head() {
    // Time enough for one request also on a machine that is busy.
    let server = Server::behind(Doors { head_timeout: 5 * SHORT, ..Doors::default() }).await;
    let mut idle = server.connect().await;
    idle.is_served().await;
    idle.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_its_time_however_it_drips() {
    let server = Server::behind(Doors { body_timeout: SHORT, ..Doors::default() }).await;
    let mut client = server.connect().await;
    client.send(&emit(&server, 10_000)).await;
    assert!(client.answer().await.starts_with("HTTP/1.1 100 "));
    let answer = client.drips().await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_the_longest_makes_room_for_a_new_connection() {
    let server = Server::behind(Doors { connections_max: 2, ..Doors::default() }).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    one.is_served().await;
    two.is_served().await;
    one.is_served().await;
    let mut three = server.connect().await;
    three.is_served().await;
    two.is_closed().await;
    one.is_served().await;
    let mut four = server.connect().await;
    four.is_served().await;
    three.is_closed().await;
    one.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_never_end_keep_nobody_out() {
    let server = Server::behind(Doors { connections_max: 8, ..Doors::default() }).await;
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = server.connect().await;
        if number % 2 == 0 {
            // What is closed meanwhile cannot be written to.
            let _ =
                tokio::io::AsyncWriteExt::write_all(&mut client.0, b"GET / HTTP/1.1\r\nx").await;
        }
        slow.push(client);
    }
    server.connect().await.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_not_cut_for_a_new_connection() {
    let server = Server::behind(Doors { connections_max: 2, ..Doors::default() }).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    one.begins(&server).await;
    two.begins(&server).await;
    let mut three = server.connect().await;
    three.send(ASK).await;
    two.ends().await;
    assert!(three.answer().await.starts_with("HTTP/1.1 200 "));
    one.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_whom_there_is_no_place() {
    let server = Server::behind(Doors { connections_max: 1, ..Doors::default() }).await;
    let mut one = server.connect().await;
    one.begins(&server).await;
    let _two = server.connect().await;
    server.stop.cancel();
    one.ends().await;
    server.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_held_to_its_rate_whoever_calls() {
    let bench = Bench::new().await;
    let clock = bench.clock.clone();
    let rate = Some("2:3".parse().unwrap());
    let doors = Doors { address_rate: rate, clock, ..Doors::default() };
    let server = Server::of(bench, doors).await;
    for _ in 0..3 {
        server.connect().await.is_served().await;
    }
    // Neither a token nor what a header says of an address makes a difference, and no body is read.
    let mut client = server.connect().await;
    let forwarded = "x-forwarded-for: 192.0.2.7\r\nforwarded: for=192.0.2.7\r\nexpect";
    client.send(&emit(&server, 1000).replace("expect", forwarded)).await;
    let answer = client.answer().await.to_lowercase();
    assert!(answer.starts_with("http/1.1 429 too many requests\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"rate_limited""#), "{answer}");
    assert!(answer.contains(r#""statuscode":429"#), "{answer}");
    for path in ["/healthz", "/readyz", "/metrics"] {
        let mut client = server.connect().await;
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        assert!(client.answer().await.starts_with("HTTP/1.1 200 "), "{path}");
    }
    server.bench.pass(Duration::from_secs(1));
    let mut client = server.connect().await;
    client.is_served().await;
    client.is_served().await;
    client.send(ASK).await;
    assert!(client.answer().await.starts_with("HTTP/1.1 429 "));
}

#[tokio::test]
async fn a_company_is_held_to_its_rate_and_nobody_else_uses_it_up() {
    let rate = Some("1:4".parse().unwrap());
    let bench = Bench::made(Made { company_rate: rate, ..Made::default() }).await;
    let (admin, other) = (bench.token(COMPANY, "admin"), bench.token(OTHER, "admin"));
    for _ in 0..20 {
        for (token, status) in [(None, 401), (Some("x.y.z"), 401), (Some(other.as_str()), 403)] {
            let reply = bench.call_as(token, "POST", &v1("/events"), EVENT).await;
            assert_eq!(reply.status, status);
        }
    }
    // A batch is one request, and all operations of both interfaces count alike.
    let batch = json!({"events": vec![json!({"type": "a", "data": 1}); 100]});
    bench.post(&v1("/events/batch"), &batch).await.expect(202);
    bench.get(&w3block("")).await.expect(200);
    let chief = bench.token(OTHER, "superAdmin");
    bench.call_as(Some(&chief), "GET", &v1("/endpoints"), "").await.expect(200);
    assert_eq!(bench.get(&v1("/endpoints/x")).await.status, 400);

    let request = Request::post(v1("/events")).header("authorization", format!("Bearer {admin}"));
    let reply = bench.send(request.body(Body::new(Never)).unwrap()).await;
    let (status, code, message) = reply.error();
    assert_eq!((status, code.as_str(), reply.header("retry-after")), (429, "rate_limited", "1"));
    assert!(message.contains("this company"), "{message}");
    let theirs = v1("/endpoints").replace(COMPANY, OTHER);
    bench.call_as(Some(&other), "GET", &theirs, "").await.expect(200);
    bench.call_as(None, "GET", "/docs", "").await;

    bench.pass(Duration::from_secs(1));
    bench.post(&v1("/events"), &json!({"type": "a", "data": 1})).await.expect(202);
    assert_eq!(bench.get(&v1("/endpoints")).await.status, 429);
}

#[tokio::test]
async fn without_a_setting_there_is_no_limit() {
    let bench = Bench::new().await;
    for _ in 0..500 {
        bench.get(&v1("/endpoints")).await.expect(200);
    }
}
