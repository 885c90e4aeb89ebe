//! The roads out of a server: its own sockets, proxies that nobody named and one that somebody did.

#![allow(clippy::expect_used, clippy::panic, reason = "a test ends where something is missing")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fanfare_testkit::client::Client;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::Receiver;
use fanfare_testkit::wait::{PATIENCE, within};
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}

async fn client(server: SocketAddr, shop: &Shop) -> Client {
    Client::connect(server, &shop.token).await.expect("a connection")
}

/// Registers an endpoint without retries, and tells what was answered.
async fn register(client: &mut Client, shop: &Shop, url: &str) -> (u16, Value) {
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let body = json!({ "url": url, "events": ["*"], "maxRetries": 0 });
    client.send(Method::POST, &path, body.to_string()).await.expect("an answer")
}

async fn emit(client: &mut Client, shop: &Shop) {
    let path = format!("/v1/companies/{}/events", shop.company);
    let answer = client.send(Method::POST, &path, r#"{"type":"a","data":1}"#).await;
    assert_eq!(answer.expect("an answer").0, 202);
}

/// Why the only delivery of an endpoint failed, once it has.
async fn failure(client: &mut Client, shop: &Shop, endpoint: &Value) -> String {
    let endpoint = endpoint["id"].as_str().expect("an id");
    let path = format!("/v1/companies/{}/endpoints/{endpoint}/deliveries", shop.company);
    let failed = async {
        loop {
            let answer = client.send(Method::GET, &path, "").await.expect("an answer").1;
            if let Some(reason) = answer["items"][0]["failedReason"].as_str() {
                return reason.to_owned();
            }
        }
    };
    within(PATIENCE, "the end of the delivery", failed).await
}

/// A listener, and the first line of whatever comes to it.
struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// A proxy that opens every tunnel, or says this instead.
    async fn start(refusal: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, refusal, Arc::clone(&heard)));
            }
        });
        Proxy { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panicked").clone()
    }
}

async fn serve(
    mut socket: TcpStream,
    refusal: Option<&'static str>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    let target = line.split(' ').nth(1).and_then(|target| target.parse::<SocketAddr>().ok());
    asked.lock().expect("nobody panicked").push(line);
    let answer = refusal.unwrap_or("HTTP/1.1 200 Connection established\r\n\r\n");
    let _ = socket.write_all(answer.as_bytes()).await;
    if let (None, Some(target)) = (refusal, target) {
        let tunnel = TcpSocket::new_v4().expect("a socket").connect(target).await;
        let _ = copy_bidirectional(&mut socket, &mut tunnel.expect("it listens")).await;
    }
}

#[tokio::test]
async fn proxies_in_the_environment_are_ignored() {
    let dir = tempfile::tempdir().expect("a directory");
    let (receiver, trap) = (Receiver::start().await, Proxy::start(None).await);
    let mut command = fanfare(&dir);
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"]
    {
        command = command.env(name, &format!("http://{}", trap.address));
    }
    let server = command.serve(&receiver.allowed()).await;
    let shop = fanfare(&dir).shop().await;
    let mut client = client(server.address, &shop).await;
    assert_eq!(register(&mut client, &shop, &receiver.url()).await.0, 201);
    emit(&mut client, &shop).await;
    receiver.wait_for(1).await;
    assert!(trap.asked().is_empty(), "{:?}", trap.asked());
}

#[tokio::test]
async fn an_egress_proxy_is_asked_for_the_judged_address_and_is_no_target_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let (receiver, proxy) = (Receiver::start().await, Proxy::start(None).await);
    let network =
        format!("127.0.0.1/32:{},127.0.0.1/32:{}", receiver.address().port(), proxy.address.port());
    let server = fanfare(&dir)
        .serve(&[
            "--allow-http".to_owned(),
            format!("--allow-networks={network}"),
            "--allow-hosts=localhost".to_owned(),
            format!("--egress-proxy=http://{}", proxy.address),
        ])
        .await;
    let shop = fanfare(&dir).shop().await;
    let mut client = client(server.address, &shop).await;
    let url = format!("http://localhost:{}/webhooks", receiver.address().port());
    let registered = register(&mut client, &shop, &url).await;
    assert_eq!(registered.0, 201, "{}", registered.1);
    emit(&mut client, &shop).await;
    // `localhost` is ::1 too, which nothing allows.
    let refused = failure(&mut client, &shop, &registered.1).await;
    assert!(refused.contains("address_not_public"), "{refused}");
    assert!(proxy.asked().is_empty(), "what is refused does not reach the proxy");

    assert_eq!(register(&mut client, &shop, &receiver.url()).await.0, 201);
    emit(&mut client, &shop).await;
    receiver.wait_for(1).await;
    assert_eq!(proxy.asked(), [format!("CONNECT {} HTTP/1.1", receiver.address())]);

    let (status, answer) =
        register(&mut client, &shop, &format!("http://{}/", proxy.address)).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer.to_string().contains("own_socket"), "{answer}");
}

#[tokio::test]
async fn what_an_egress_proxy_refuses_is_told_as_its_refusal() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let proxy = Proxy::start(Some("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")).await;
    let [http, network] = receiver.allowed();
    let proxied = format!("--egress-proxy=http://{}", proxy.address);
    let server = fanfare(&dir).serve(&[http, network, proxied]).await;
    let shop = fanfare(&dir).shop().await;
    let mut client = client(server.address, &shop).await;
    let endpoint = register(&mut client, &shop, &receiver.url()).await.1;
    emit(&mut client, &shop).await;
    let reason = failure(&mut client, &shop, &endpoint).await;
    assert!(reason.contains("connect: the egress proxy refused the connection"), "{reason}");
    assert_eq!(receiver.count(), 0);
}

/// Registers these URLs, which must be refused as sockets of the server's own.
async fn expect_own(server: SocketAddr, shop: &Shop, urls: &[String]) {
    let mut client = client(server, shop).await;
    for url in urls {
        let (status, answer) = register(&mut client, shop, url).await;
        assert_eq!(status, 400, "{url}: {answer}");
        assert!(answer.to_string().contains("own_socket"), "{url}: {answer}");
    }
}

#[tokio::test]
async fn the_port_of_the_api_is_refused_at_every_address_that_it_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let arguments =
        ["serve", "--listen=0.0.0.0:0", "--allow-http", "--allow-networks=127.0.0.0/8,::1/128"];
    let process = fanfare(&dir).spawn(&arguments);
    let line = process.line(" listens on http://0.0.0.0:").await;
    let port: u16 = line.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let shop = fanfare(&dir).shop().await;
    let urls = ["127.0.0.1", "127.9.9.9", "[::1]"].map(|host| format!("http://{host}:{port}/"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    expect_own(address, &shop, &urls).await;
    let mut client = client(address, &shop).await;
    let other = register(&mut client, &shop, "http://127.0.0.1:8080/").await;
    assert_eq!(other.0, if port == 8080 { 400 } else { 201 }, "{}", other.1);
}

#[tokio::test]
async fn the_database_is_refused_inside_an_allowed_network() {
    let dir = tempfile::tempdir().expect("a directory");
    let database = url_of_new_schema();
    let url: url::Url = database.parse().expect("a URL");
    let port = url.port().unwrap_or(5432);
    let network = format!("--allow-networks=127.0.0.0/8:{port}");
    let stored = format!("--database-url={database}");
    let server: Server = fanfare(&dir).serve(&["--allow-http", &network, &stored]).await;
    let shop = fanfare(&dir).shop().await;
    let host = url.host_str().unwrap_or_default();
    expect_own(server.address, &shop, &[format!("http://{host}:{port}/")]).await;
    server.process.terminate().await;
    assert_eq!(server.process.end().await.code, 0);
}
