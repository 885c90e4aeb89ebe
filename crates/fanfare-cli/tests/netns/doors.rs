//! The doors that take a URL.

use fanfare::{CompanyId, Fanfare as Library, Options, Update};
use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::wait::{PATIENCE, within};
use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{fanfare, names, urls};

/// A server, and a company on it.
pub(crate) struct House {
    dir: tempfile::TempDir,
    settings: Vec<String>,
    scheme: &'static str,
    server: Server,
    shop: Shop,
}

impl House {
    /// Starts a server with these settings.
    pub(crate) async fn open(settings: &[&str], scheme: &'static str) -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let server = fanfare(&dir).serve(settings).await;
        let shop = fanfare(&dir).shop().await;
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        House { dir, settings, scheme, server, shop }
    }

    /// Tries them all; returns how many times it was refused.
    pub(crate) async fn try_every_door(mut self) -> usize {
        let mut refused = self.type_them_in().await;
        refused += self.name_them().await;
        refused += self.plant_them().await;
        refused
    }

    /// Registers an endpoint and emits an event for it.
    pub(crate) async fn deliver_to(&self, url: &str) {
        let mut client = self.client().await;
        self.register(&mut client, url).await;
        self.emit(&mut client).await;
    }

    async fn client(&self) -> Client {
        Client::connect(self.server.address, &self.shop.token).await.expect("a connection")
    }

    fn native(&self, below: &str) -> String {
        format!("/v1/companies/{}/{below}", self.shop.company)
    }

    fn w3block(&self, below: &str) -> String {
        format!("/admin/companies/{}/webhooks-configurations{below}", self.shop.company)
    }

    /// Registers an endpoint without retries, which must be taken. Returns its id.
    async fn register(&self, client: &mut Client, url: &str) -> String {
        let body = json!({ "url": url, "events": ["*"], "maxRetries": 0 });
        let answer = client.send(Method::POST, &self.native("endpoints"), body.to_string()).await;
        let (status, answer) = answer.expect("an answer");
        assert_eq!(status, 201, "{url}: {answer}");
        text(&answer["id"])
    }

    async fn emit(&self, client: &mut Client) {
        let body = r#"{"type":"order.created","data":1}"#;
        let answer = client.send(Method::POST, &self.native("events"), body).await;
        assert_eq!(answer.expect("an answer").0, 202);
    }

    /// Natively and through W3Block's interface, new and as a change.
    async fn type_them_in(&self) -> usize {
        let mut client = self.client().await;
        let good = format!("{}://example.com/", self.scheme);
        let native = self.register(&mut client, &good).await;
        let body = json!({ "webhookUrl": good }).to_string();
        let made = client.send(Method::POST, &self.w3block(""), body).await.expect("an answer");
        assert_eq!(made.0, 201, "{}", made.1);
        let configuration = text(&made.1["id"]);
        let doors = [
            (Method::POST, self.native("endpoints"), "url"),
            (Method::PATCH, self.native(&format!("endpoints/{native}")), "url"),
            (Method::POST, self.w3block(""), "webhookUrl"),
            (Method::PATCH, self.w3block(&format!("/{configuration}")), "webhookUrl"),
        ];
        let mut refused = 0;
        for url in urls::typed(self.scheme) {
            for (method, path, field) in &doors {
                let mut body = json!({ *field: url });
                if (method, *field) == (&Method::POST, "url") {
                    body["events"] = json!(["*"]);
                }
                let answer = client.send(method.clone(), path, body.to_string()).await;
                let (status, answer) = answer.expect("an answer");
                assert_eq!(status, 400, "{method} {url:?}: {answer}");
                assert!(answer.to_string().contains(field), "{url:?}: {answer}");
                refused += 1;
            }
        }
        for id in [native, configuration] {
            self.expect_unchanged(&mut client, &id, &good).await;
        }
        refused
    }

    /// The endpoint is as it was registered; and goes, so that it hears of nothing that follows.
    async fn expect_unchanged(&self, client: &mut Client, id: &str, url: &str) {
        let path = self.native(&format!("endpoints/{id}"));
        let shown = client.send(Method::GET, &path, "").await.expect("an answer").1;
        assert_eq!(shown["url"], json!(url), "{shown}");
        let deleted = client.send(Method::DELETE, &path, "").await.expect("an answer");
        assert_eq!(deleted.0, 204, "{}", deleted.1);
    }

    /// Names are taken, and refused once they are resolved.
    async fn name_them(&self) -> usize {
        let mut client = self.client().await;
        let mut endpoints = Vec::new();
        for (name, _) in names::HOSTILE {
            let url = format!("{}://{name}/hook", self.scheme);
            endpoints.push((self.register(&mut client, &url).await, url));
        }
        self.emit(&mut client).await;
        let refused = self.expect_refusals(&mut client, &endpoints).await;
        for (id, _) in endpoints {
            let path = self.native(&format!("endpoints/{id}"));
            client.send(Method::DELETE, &path, "").await.expect("an answer");
        }
        refused
    }

    /// Behind the server's back, into the store.
    async fn plant_them(&mut self) -> usize {
        let mut client = self.client().await;
        let mut endpoints = Vec::new();
        for url in urls::typed(self.scheme) {
            let good = format!("{}://example.com/", self.scheme);
            endpoints.push((self.register(&mut client, &good).await, url));
        }
        drop(client);
        self.server.process.terminate().await;
        self.server.process.logged("stopped").await;
        let store = self.dir.path().join("fanfare-data/fanfare.db");
        let mut store = rusqlite::Connection::open(store).expect("the store");
        let tx = store.transaction().expect("a transaction");
        for (id, url) in &endpoints {
            let id: Uuid = id.parse().expect("an id");
            let set = "update endpoints set url = ?1 where id = ?2";
            assert_eq!(tx.execute(set, (url, id)).expect("it is written"), 1);
        }
        tx.commit().expect("it is kept");
        drop(store);

        self.server = fanfare(&self.dir).serve(&self.settings).await;
        let mut client = self.client().await;
        self.emit(&mut client).await;
        self.expect_refusals(&mut client, &endpoints).await
    }

    /// Waits until the delivery for each of these endpoints has been refused.
    async fn expect_refusals(&self, client: &mut Client, endpoints: &[(String, String)]) -> usize {
        for (id, url) in endpoints {
            let path = self.native(&format!("endpoints/{id}/deliveries"));
            let failed = async {
                loop {
                    let answer = client.send(Method::GET, &path, "").await.expect("an answer").1;
                    if answer["items"][0]["state"] == "failed" {
                        return text(&answer["items"][0]["id"]);
                    }
                }
            };
            let delivery = within(PATIENCE, &format!("the end of {url:?}"), failed).await;
            let path = self.native(&format!("deliveries/{delivery}"));
            let shown = client.send(Method::GET, &path, "").await.expect("an answer").1;
            let attempt = &shown["history"][0];
            let error = text(&attempt["error"]);
            assert!(error.starts_with("refused: "), "{url:?}: {error}");
            for (name, addresses) in names::HOSTILE {
                let told = addresses.iter().find(|address| error.contains(**address));
                assert!(!url.contains(name) || told.is_none(), "{url:?}: {error}");
            }
            assert!(attempt["timing"]["connectMs"].is_null(), "{url:?}: {attempt}");
        }
        // The operator hears the rule and what would allow it.
        let logged = self.server.process.logged("a delivery was refused").await;
        assert!(logged.contains("rule") && logged.contains("endpoint.id"), "{logged}");
        endpoints.len()
    }
}

/// The library: a new webhook and a change.
pub(crate) async fn library() -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", dir.path().join("fanfare.db").display());
    let mut options = Options::new(&store, [7; 32]);
    options.guard.allow_http = true;
    let library = Library::open_with(options).await.expect("a store");
    let shop = library.company(CompanyId::from_uuid(Uuid::new_v4()));
    let webhook = shop.register("https://example.com/", &["*"]).await.expect("it is good");
    let mut refused = 0;
    for url in urls::typed("https").into_iter().chain(urls::typed("http")) {
        let new = shop.register(&url, &["*"]).await.map(|webhook| webhook.url);
        let change = Update { url: Some(&url), ..Update::default() };
        let changed = shop.update(webhook.id, change).await.map(|webhook| webhook.url);
        for answer in [new, changed] {
            assert!(matches!(answer, Err(fanfare::Error::Invalid { .. })), "{url:?}: {answer:?}");
            refused += 1;
        }
    }
    library.close().await;
    refused
}

/// The place of an identity provider's keys: what is plainly wrong keeps the server from starting,
/// what a name leads to is refused when it is fetched.
pub(crate) async fn key_sets() -> usize {
    let dir = tempfile::tempdir().expect("a directory");
    let mut refused = 0;
    // Without `://` it is a file's name.
    for url in urls::typed("https").iter().filter(|url| url.contains("://")) {
        let ended = with_keys_at(&dir, url).run(&["serve", "--listen=127.0.0.1:0"]).await;
        assert_eq!(ended.code, 2, "{url:?}: {}", ended.stderr);
        assert!(ended.stderr.contains("FANFARE_JWKS"), "{url:?}: {}", ended.stderr);
        refused += 1;
    }
    let some = if fanfare_testkit::full() { names::HOSTILE.len() } else { 6 };
    for (name, _) in names::HOSTILE.iter().take(some) {
        let server =
            with_keys_at(&dir, &format!("https://{name}/jwks.json")).serve::<&str>(&[]).await;
        let logged = server.process.logged("FANFARE_JWKS cannot be read").await;
        assert!(logged.contains("refused: address_"), "{name}: {logged}");
        server.process.kill().await;
        refused += 1;
    }
    refused
}

fn with_keys_at(dir: &tempfile::TempDir, url: &str) -> Fanfare {
    fanfare(dir).env("FANFARE_JWKS", url)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
