//! Requests that two readers may take for another number of requests: each is refused or is exactly
//! one, and what hides behind it never happens. Over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::server::Server;
use support::{COMPANY, text, v1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is to come of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Comes {
    /// One refusal, and the end of the connection.
    Refused,
    /// The end of the connection, without a word.
    Cut,
    /// One answer of this status, and the end of the connection.
    One(u16),
    /// Two answers: there is nothing wrong with it.
    Two,
}

use Comes::{Cut, One, Refused, Two};

/// `CARRIER` stands for the request line, `Host` and token of an emit; `LENGTH` and `BODY` for a
/// proper body; `HIDDEN` for a whole second request, `SIZE` for its size and `CHUNK` for it in hex.
const FORMS: &[(&str, Comes)] = &[
    // The measure of the others: these are two requests.
    ("CARRIERContent-Length: LENGTH\r\n\r\nBODYHIDDEN", Two),
    ("CARRIERContent-Length: LENGTH\r\n\r\nBODY\r\nHIDDEN", Two),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0\r\n\r\nHIDDEN", Two),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0\r\nx: y\r\n\r\nHIDDEN", Two),
    // Two lengths, or a length beside chunks.
    ("CARRIERContent-Length: LENGTH\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\nContent-Length: LENGTH\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 0\r\nContent-Length: SIZE\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: SIZE\r\nContent-Length: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: LENGTH\r\nContent-Length: LENGTH\r\n\r\nBODYHIDDEN", Refused),
    ("CARRIERContent-Length: LENGTH, LENGTH\r\n\r\nBODYHIDDEN", Refused),
    // Lengths that are none, or not for everybody.
    ("CARRIERContent-Length: +LENGTH\r\n\r\nBODYHIDDEN", Refused),
    ("CARRIERContent-Length: -1\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 0xff\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 1e1\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 1_0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 18446744073709551616\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 1 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: \r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: \x0b0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length: 0\0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length : 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length\t: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIER Content-Length: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERContent-Length:\r\n 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\r\n Content-Length: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\r\n\tz\r\n\r\nHIDDEN", Refused),
    ("CARRIERConnection: close\r\nContent-Length: SIZE\r\n\r\nHIDDEN", One(400)),
    ("CARRIERConnection: close\r\nContent_Length: SIZE\r\n\r\nHIDDEN", One(400)),
    // Codings that are none, or not for everybody.
    ("CARRIERTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: identity\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: identity\r\nContent-Length: SIZE\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding : chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding:\r\n\r\nHIDDEN", Refused),
    // Lines that end otherwise.
    ("CARRIERX: y\nContent-Length: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\n\nHIDDEN", Refused),
    ("CARRIERX: y\r\n\nHIDDEN", Refused),
    ("CARRIERX: y\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\rContent-Length: 0\r\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\r\r\n\r\nHIDDEN", Refused),
    ("CARRIERX: y\0z\r\n\r\nHIDDEN", Refused),
    ("CARRIERX\0: y\r\n\r\nHIDDEN", Refused),
    ("CARRIERX y\r\n\r\nHIDDEN", Refused),
    ("CARRIER: y\r\n\r\nHIDDEN", Refused),
    ("\nCARRIERContent-Length: LENGTH\r\n\r\nBODYHIDDEN", Refused),
    // Chunks.
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0\n\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0\r\n\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS+0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS-0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0x0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKSg\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS10000000000000000\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS1\r\nab\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS1;a\nb\r\nx\r\n0\r\n\r\nHIDDEN", Refused),
    ("CARRIERTransfer-Encoding: chunked\r\n\r\nCHUNKS0;\r0\r\n\r\nHIDDEN", Refused),
    // Targets and versions.
    ("GET http://evil.example/healthz HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET ftp://x/healthz HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET x:80 HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\nHIDDEN", Refused),
    ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET healthz HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET  /healthz HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz  HTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz\x0bHTTP/1.1\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/0.9\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.2\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/2.0\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nHIDDEN", Cut),
    ("GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.0\r\n\r\nHIDDEN", One(200)),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nHIDDEN", One(200)),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\nHIDDEN", One(200)),
    // Hosts.
    ("GET /healthz HTTP/1.1\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost: x, y\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost: u@x\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost: x/y\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost:\r\n\r\nHIDDEN", Refused),
    ("GET /healthz HTTP/1.1\r\nHost : x\r\n\r\nHIDDEN", Refused),
    // An upgrade that is not taken up.
    (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: h2c\r\n\r\nHIDDEN",
        One(200),
    ),
];

const BODY: &str = r#"{"type":"seen","data":1}"#;

/// The emit that must not happen.
fn hidden(server: &Server) -> String {
    let body = r#"{"type":"smuggled","data":1}"#;
    let length = body.len();
    format!("{}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}", carrier(server))
}

fn carrier(server: &Server) -> String {
    let token = server.bench.token(COMPANY, "admin");
    format!("POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n", v1("/events"))
}

fn fill(form: &str, server: &Server) -> String {
    let hidden = hidden(server);
    let (one, two) = BODY.split_at(9);
    let chunks = format!("{:x}\r\n{one}\r\n{:X};ext=1\r\n{two}\r\n", one.len(), two.len());
    // First what stands alone: the hidden request has a length, too.
    form.replace("CHUNKS", &chunks)
        .replace("LENGTH", &BODY.len().to_string())
        .replace("SIZE", &hidden.len().to_string())
        .replace("BODY", BODY)
        .replace("CARRIER", &carrier(server))
        .replace("HIDDEN", &hidden)
}

/// Everything that is answered until the server ends the connection, as it has to every time.
async fn exchange(server: &Server, request: &str) -> String {
    let mut client = server.connect().await;
    // The server may be gone before all is written.
    let _ = client.0.write_all(request.as_bytes()).await;
    let mut answers = Vec::new();
    let read = client.0.read_to_end(&mut answers);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    assert!(ended.is_ok(), "still open after {request:?}: {}", String::from_utf8_lossy(&answers));
    String::from_utf8_lossy(&answers).into_owned()
}

fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.map(|head| head[2..5].parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hides_behind_a_request() {
    let server = Server::start().await;
    let body = json!({"url": "https://shop.example/", "events": ["smuggled"]});
    let endpoint = server.bench.post(&v1("/endpoints"), &body).await.expect(201);
    let heard = v1(&format!("/endpoints/{}/deliveries?limit=100", text(&endpoint, "id")));
    let mut happened = 0;
    for (form, comes) in FORMS {
        let answers = exchange(&server, &fill(form, &server)).await;
        let statuses = statuses(&answers);
        match comes {
            Refused => {
                let refused = matches!(statuses[..], [400..=499]);
                assert!(refused, "{form:?} is answered {statuses:?}: {answers}");
            }
            Cut => assert_eq!(answers, "", "{form:?}"),
            One(status) => assert_eq!(statuses, [*status], "{form:?}: {answers}"),
            Two => {
                assert_eq!(statuses, [202, 202], "{form:?}: {answers}");
                happened += 1;
            }
        }
        let deliveries: Value = server.bench.get(&heard).await.expect(200);
        assert_eq!(deliveries["items"].as_array().unwrap().len(), happened, "{form:?}");
    }
    assert!(happened > 0, "a second request can be seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_at_the_edge_has_the_one_shape_and_ends_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains(r#""code":"invalid_request""#) && answer.contains("Host: "),
        "{answer}"
    );
    assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
    client.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_url_that_names_the_same_host_is_as_good_as_its_path() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.send("GET http://x:1/healthz HTTP/1.1\r\nHost: x:1\r\n\r\n").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 200 "));
}
