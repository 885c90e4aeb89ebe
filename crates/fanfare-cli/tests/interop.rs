//! Published clients and verifiers, unchanged, against a real server.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]
#![allow(clippy::disallowed_methods, reason = "cargo xtask test says where the foreign parts are")]

use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::{Arrival, Receiver};
use hyper::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A server, a receiver that it may reach, and a company with a token.
struct Scene {
    server: Server,
    receiver: Receiver,
    shop: Shop,
    directory: TempDir,
}

impl Scene {
    async fn new() -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), directory.path());
        let receiver = Receiver::start().await;
        let server = fanfare.serve(&receiver.allowed()).await;
        let shop = fanfare.shop().await;
        Scene { server, receiver, shop, directory }
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address, &self.shop.token).await.unwrap()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/companies/{}/{rest}", self.shop.company)
    }
}

#[tokio::test]
async fn w3blocks_published_client_performs_all_eight_operations() {
    let scene = Scene::new().await;
    let output = Command::new("node")
        .arg(root().join("tests/interop/node/w3block.mjs"))
        .env("FANFARE_TEST_NODE_MODULES", foreign("FANFARE_TEST_NODE_MODULES"))
        .env("BASE_URL", format!("http://{}", scene.server.address))
        .env("TOKEN", &scene.shop.token)
        .env("COMPANY", &scene.shop.company)
        .env("RECEIVER", scene.receiver.url())
        .output()
        .await
        .unwrap();
    assert_eq!(said(&output), "eight operations");
}

#[tokio::test]
async fn the_published_verifiers_accept_what_arrives() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    let mut secrets = Vec::new();
    for format in ["payload", "standard", "w3block", "cloudevents", "cloudevents-binary"] {
        let url = format!("{}/{format}", scene.receiver.url());
        let body = json!({
            "url": url, "events": ["*"], "format": format, "addAsymmetricSignature": true,
        });
        let body = body.to_string();
        let registered = client.send(Method::POST, &scene.path("endpoints"), body).await.unwrap();
        assert_eq!(registered.0, 201, "{registered:?}");
        let told = |name: &str| registered.1[name].as_str().unwrap().to_owned();
        secrets.push((url, [told("secret"), told("publicKey")]));
    }

    let payloads = payloads();
    for payload in &payloads {
        let body = format!(r#"{{"type":"ORDER_CREATED","data":{payload}}}"#);
        let emitted = client.send(Method::POST, &scene.path("events"), body).await.unwrap();
        assert_eq!(emitted.0, 202, "{emitted:?}");
    }
    scene.receiver.wait_for((payloads.len() * secrets.len()) as u64).await;

    let arrivals = scene.receiver.arrivals();
    for payload in &payloads {
        let whole = |arrival: &&Arrival| contains(&arrival.body, payload.as_bytes());
        assert_eq!(arrivals.iter().filter(whole).count(), secrets.len(), "byte for byte");
    }
    let secret_of = |arrival: &Arrival| -> [String; 2] {
        let secret = secrets.iter().find(|(url, _)| url.ends_with(&arrival.path));
        secret.unwrap_or_else(|| panic!("{}", arrival.path)).1.clone()
    };
    verify_in_rust(&arrivals, |arrival| secret_of(arrival)[0].clone());
    let file = scene.directory.path().join("arrivals.json");
    let listed: Vec<Value> =
        arrivals.iter().map(|arrival| as_json(arrival, &secret_of(arrival))).collect();
    std::fs::write(&file, serde_json::to_vec(&listed).unwrap()).unwrap();
    let verified = format!("{} verified", arrivals.len());
    let mut node = Command::new("node");
    node.arg(root().join("tests/interop/node/verify.mjs")).arg(&file);
    node.env("FANFARE_TEST_NODE_MODULES", foreign("FANFARE_TEST_NODE_MODULES"));
    assert_eq!(said(&node.output().await.unwrap()), verified);
    let mut python = Command::new(foreign("FANFARE_TEST_PYTHON"));
    python.arg(root().join("tests/interop/python/verify.py")).arg(&file);
    assert_eq!(said(&python.output().await.unwrap()), verified);
}

/// JSON that is easily altered on its way.
fn payloads() -> Vec<String> {
    vec![
        r#"{"name":"Çağlar – 東京 🛒","nfd":"e\u0301","escaped":"\ud83d\uded2"}"#.to_owned(),
        r#"{"id":12345678901234567890,"total":1.10,"tiny":1e-9,"zero":-0.0}"#.to_owned(),
        r#"{ "a": 1, "a": 2,  "b" : [ ] }"#.to_owned(),
        format!(r#"{{"blob":"{}"}}"#, "x".repeat(200 * 1024)),
        "[null,1.10]".to_owned(),
        r#""text""#.to_owned(),
    ]
}

fn verify_in_rust(arrivals: &[Arrival], secret_of: impl Fn(&Arrival) -> String) {
    for arrival in arrivals {
        let webhook = standardwebhooks::Webhook::new(&secret_of(arrival)).unwrap();
        webhook.verify(&arrival.body, &arrival.headers).unwrap();
        assert!(webhook.verify(b"{}", &arrival.headers).is_err());
    }
}

fn as_json(arrival: &Arrival, [secret, public_key]: &[String; 2]) -> Value {
    let headers: serde_json::Map<String, Value> = arrival
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().into()))
        .collect();
    let body = STANDARD.encode(&arrival.body);
    json!({ "secret": secret, "publicKey": public_key, "headers": headers, "body": body })
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

fn said(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn foreign(name: &str) -> PathBuf {
    let found = std::env::var_os(name);
    found.unwrap_or_else(|| panic!("{name} is not set: run `cargo xtask test`")).into()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
