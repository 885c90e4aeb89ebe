//! Secrets and payloads are planted, everything is done with them that can go well or badly, and then
//! they are looked for where they must not be.

#![allow(clippy::expect_used, reason = "a test ends where something is missing")]
#![allow(clippy::cognitive_complexity, reason = "it counts every assertion and await as a branch")]

mod search;

use std::fs;
use std::path::Path;

use fanfare::keys::Key;
use fanfare::model::Purpose;
use fanfare::seal::Seal;
use fanfare::store;
use fanfare_testkit::client::Client;
use fanfare_testkit::postgres::url_of_new_schema;
use fanfare_testkit::process::{Ended, Fanfare, Server};
use fanfare_testkit::producers::Shop;
use fanfare_testkit::receiver::Receiver;
use hyper::Method;
use serde_json::{Value, json};

use search::{Finds, Secret};

const MASTER: &str = "cGxhbnRlZCBtYXN0ZXIga2V5LCAzMiBieXRlcyBsb24=";
const OLD_MASTER: &str = "cGxhbnRlZCBvbGRlciBtYXN0ZXIga2V5LCAzMiBieXQ=";
const JWT_SECRET: &str = "planted-jwt-secret-of-more-than-32-bytes";
const SIGNING: &str = "whsec_cGxhbnRlZCBzaWduaW5nIHNlY3JldCwgMzIgYnl0ZXM=";
const ROTATED: &str = "whsec_cGxhbnRlZCByb3RhdGVkIHNlY3JldCwgMzIgYnl0ZXM=";
const PASSWORD: &str = "planted-database-password";
const IN_A_URL: &str = "planted-password-of-an-endpoint";
const HEADER: &str = "planted-value-of-a-header";
const CARD: &str = "planted-card-4929123412341234";
const MALFORMED: &str = "planted-and-malformed";

/// What an endpoint is given to keep beside its secret: what is added here belongs into [`planted`].
fn own() -> Value {
    json!({ "addAsymmetricSignature": true, "headers": { "x-planted": HEADER } })
}

/// What must be nowhere.
fn planted() -> Vec<Secret> {
    vec![
        Secret::base64("the master key", MASTER),
        Secret::base64("the master key before", OLD_MASTER),
        Secret::text("the key of tokens", JWT_SECRET),
        Secret::base64("a signing secret", SIGNING),
        Secret::base64("a rotated secret", ROTATED),
        Secret::text("the database's password", PASSWORD),
        Secret::text("a password in an endpoint's URL", IN_A_URL),
        Secret::text("a secret that is none", MALFORMED),
        Secret::text("the value of a header", HEADER),
    ]
}

#[tokio::test]
async fn nothing_planted_is_found_around_an_embedded_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let stage = Stage::set(dir.path(), None).await;
    let store = dir.path().join("fanfare-data");
    let url = format!("sqlite:{}", store.join("fanfare.db").display());
    let dump = async || search::files(&store);
    stage.play(&url, dump).await;
}

#[tokio::test]
async fn nothing_planted_is_found_around_postgresql() {
    let dir = tempfile::tempdir().expect("a directory");
    let url = with_password(&url_of_new_schema());
    let stage = Stage::set(dir.path(), Some(&url)).await;
    stage.play(&url, async || search::tables(&url).await).await;
}

/// The same URL with a password, which a server that trusts everybody does not ask for.
fn with_password(url: &str) -> String {
    let mut url = url::Url::parse(url).expect("a URL");
    if url.password().is_none() {
        url.set_password(Some(PASSWORD)).expect("a host");
    }
    url.into()
}

struct Stage {
    fanfare: Fanfare,
    receiver: Receiver,
    server: Option<Server>,
    shop: Shop,
    finds: Finds,
}

impl Stage {
    async fn set(dir: &Path, database: Option<&str>) -> Stage {
        let mut fanfare = Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir)
            .env("FANFARE_JWT_SECRET", JWT_SECRET)
            .env("FANFARE_LOG", "trace")
            .env("FANFARE_RETRY_SCHEDULE", "1ms");
        if let Some(url) = database {
            fanfare = fanfare.env("FANFARE_DATABASE_URL", url);
        }
        let receiver = Receiver::start().await;
        let old = fanfare.clone().env("FANFARE_ENCRYPTION_KEY", OLD_MASTER);
        let server = old.serve(&receiver.allowed()).await;
        let shop = old.shop().await;
        let mut finds = Finds::new(planted());
        finds.add(Secret::text("a bearer token", &shop.token));
        finds.add(Secret::text("a token's signature", shop.token.rsplit('.').next().expect("it")));
        Stage { fanfare: old, receiver, server: Some(server), shop, finds }
    }

    /// Everything, and after it the search.
    async fn play(mut self, url: &str, dump: impl AsyncFn() -> Vec<u8>) {
        let endpoint = self.register().await;
        self.deliver(&endpoint).await;
        self.call_badly(&endpoint).await;
        self.change_key().await;
        self.look_around(&endpoint).await;
        self.complain(url).await;

        // In the store, payloads are kept as they came. In what is opened of it is what else to
        // look for.
        self.finds.add_all(opened(url, [MASTER, OLD_MASTER]).await);
        let kept = dump().await;
        assert!(search::holds(&kept, CARD.as_bytes()), "the dump is that of the store");
        self.finds.search("the store while it is served", &kept);
        let log = self.end_server("serve with another key").await;
        assert!(log.contains("DEBUG"), "{log}");
        self.finds.search("the store", &dump().await);
        self.finds.add(Secret::text("a payload", CARD));
        self.finds.search_seen();
        self.finds.end();
    }

    async fn client(&self, token: &str) -> Client {
        Client::connect(self.address(), token).await.expect("a connection")
    }

    fn path(&self, below: &str) -> String {
        format!("/v1/companies/{}{below}", self.shop.company)
    }

    /// Makes a call that goes well.
    async fn call(&self, method: Method, below: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut client = self.client(&self.shop.token).await;
        let answer = client.send(method, &self.path(below), body).await.expect("an answer");
        assert!((200..300).contains(&answer.0), "{}", answer.1);
        answer.1
    }

    async fn register(&self) -> String {
        let mut body = json!({ "url": self.receiver.url(), "events": ["*"], "secret": SIGNING });
        let own = own();
        let fields = own.as_object().expect("fields").clone();
        body.as_object_mut().expect("fields").extend(fields);
        let made = self.call(Method::POST, "/endpoints", body).await;
        made["id"].as_str().expect("an id").to_owned()
    }

    /// A success, failures, a secret that is rotated, a replay.
    async fn deliver(&self, endpoint: &str) {
        self.receiver.plan(&[204, 500, 400]);
        let event = json!({ "type": "order.created", "data": { "card": CARD } });
        for _ in 0..2 {
            self.call(Method::POST, "/events", event.clone()).await;
        }
        self.receiver.wait_for(4).await;
        let rotate = format!("/endpoints/{endpoint}/secret/rotate");
        self.call(Method::POST, &rotate, json!({ "secret": ROTATED })).await;
        self.call(Method::POST, "/events", event).await;
        self.receiver.wait_for(5).await;
    }

    /// Everything that is refused; what is answered must not repeat a secret or a payload.
    async fn call_badly(&mut self, endpoint: &str) {
        let token = self.shop.token.clone();
        let forged = format!("{}{}", &token[..token.len() - 4], "AAAA");
        let register = self.path("/endpoints");
        let bodies = [
            json!({ "url": format!("https://user:{IN_A_URL}@shop.example/"), "events": ["*"] }),
            json!({ "url": "https://169.254.169.254/", "events": ["*"], "secret": SIGNING }),
            json!({ "url": self.receiver.url(), "events": ["*"], "secret": format!("whsec_{MALFORMED}") }),
            json!({ "url": self.receiver.url(), "events": [], "secret": SIGNING }),
            json!({ "url": self.receiver.url(), "secret": [MALFORMED] }),
            json!({ "url": self.receiver.url(), "headers": { "host": HEADER } }),
            json!({ "url": self.receiver.url(), "tls": { "clientKey": MALFORMED } }),
        ];
        let mut calls: Vec<(String, Method, String, String)> = Vec::new();
        for body in bodies {
            calls.push((token.clone(), Method::POST, register.clone(), body.to_string()));
        }
        let events = self.path("/events");
        for body in [
            format!(r#"{{"type":"no type!","data":{{"card":"{CARD}"}}}}"#),
            format!(r#"{{"type":"a","data":{{"card":"{CARD}"}}"#),
            format!(r#"{{"type":"a","data":"{CARD}","id":"{CARD}"}}"#),
            format!(r#"{{"type":"a","data":"{CARD}{}"}}"#, "x".repeat(300_000)),
            format!(r#""{CARD}""#),
        ] {
            calls.push((token.clone(), Method::POST, events.clone(), body));
        }
        let rotate = self.path(&format!("/endpoints/{endpoint}/secret/rotate"));
        for body in [json!({ "secret": MALFORMED }), json!({ "gracePeriod": ROTATED })] {
            calls.push((token.clone(), Method::POST, rotate.clone(), body.to_string()));
        }
        for wrong in [&forged, MALFORMED, "", JWT_SECRET] {
            calls.push((wrong.to_owned(), Method::GET, register.clone(), String::new()));
        }
        calls.push((token.clone(), Method::POST, "/v1/rotate-key".to_owned(), String::new()));
        calls.push((token, Method::GET, "/v1/nothing".to_owned(), String::new()));
        self.finds.add(Secret::text("a forged token", &forged));
        for (token, method, path, body) in calls {
            let answer = self.client(&token).await.fetch(method, &path, body).await;
            let (status, answer) = answer.expect("an answer");
            assert!((400..500).contains(&status), "{path} answers {status}");
            self.finds.saw(&format!("the refusal of a call to {path}"), &answer);
        }
    }

    /// Another master key, while it is served.
    async fn change_key(&mut self) {
        let fanfare = self.fanfare.clone();
        let both = fanfare
            .env("FANFARE_ENCRYPTION_KEY", MASTER)
            .env("FANFARE_ENCRYPTION_KEY_PREVIOUS", OLD_MASTER);
        let alone = self.fanfare.clone().env("FANFARE_ENCRYPTION_KEY", MASTER);
        self.fanfare = both;
        self.end_server("serve").await;
        self.server = Some(self.fanfare.serve(&self.receiver.allowed()).await);
        let listen = format!("--listen={}", self.address());
        let told = self.fanfare.run(&["rotate-key", &listen]).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        self.saw("rotate-key", &told);
        let refused = alone.run(&["rotate-key", &listen]).await;
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        self.saw("rotate-key, once more", &refused);
        let event = json!({ "type": "order.created", "data": { "card": CARD } });
        self.call(Method::POST, "/events", event).await;
        self.receiver.wait_for(6).await;
    }

    /// Lets the server end, and keeps what it said.
    async fn end_server(&mut self, name: &str) -> String {
        let server = self.server.take().expect("a server");
        server.process.terminate().await;
        let ended = server.process.end().await;
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        self.saw(name, &ended);
        ended.stderr
    }

    fn address(&self) -> std::net::SocketAddr {
        self.server.as_ref().expect("a server").address
    }

    /// Whatever shows something.
    async fn look_around(&mut self, endpoint: &str) {
        let deliveries = format!("/endpoints/{endpoint}/deliveries");
        let page = self.call(Method::GET, &deliveries, Value::Null).await;
        let event = page["items"][0]["eventId"].as_str().expect("an event").to_owned();
        let mut client = self.client("").await;
        for path in [
            "/metrics",
            "/openapi.json",
            "/healthz",
            "/readyz",
            "/",
            "/docs",
            "/.well-known/webhook-keys",
        ] {
            let (status, answer) = client.fetch(Method::GET, path, "").await.expect("an answer");
            assert_eq!(status, 200, "{path}");
            self.finds.saw(path, &answer);
        }
        let listen = format!("--listen={}", self.address());
        let company = format!("--company={}", self.shop.company);
        for args in [
            vec!["check"],
            vec!["explain", &event, &company, &listen],
            vec!["explain", "--json", &event, &company, &listen],
            vec!["help", "serve"],
            vec!["rotate-key", "--help"],
            vec!["settings-table"],
            vec!["openapi"],
        ] {
            let mut ended = self.fanfare.run(&args).await;
            assert_eq!(ended.code, 0, "{args:?}: {}", ended.stderr);
            if args.contains(&"--json") {
                // Who asks for the whole event gets its payload too.
                ended.stdout = ended.stdout.replace(CARD, "");
            }
            self.saw(&args.join(" "), &ended);
        }
    }

    /// Starts that fail.
    async fn complain(&mut self, url: &str) {
        let toml = format!("jwt_secret = '{JWT_SECRET}'\nencryption_key = \"{MALFORMED}\n");
        let config = tempfile::NamedTempFile::new().expect("a file");
        fs::write(config.path(), toml).expect("a file");
        let config = config.path().display().to_string();
        let away = format!("postgres://u:{PASSWORD}@127.0.0.1:1/none");
        let other = format!("mysql://u:{PASSWORD}@127.0.0.1/none");
        let broken = format!("postgres://u:{PASSWORD}@[::1/none?{PASSWORD}");
        for (name, value) in [
            ("FANFARE_CONFIG", config.as_str()),
            ("FANFARE_ENCRYPTION_KEY", MALFORMED),
            ("FANFARE_ENCRYPTION_KEY", OLD_MASTER),
            ("FANFARE_ENCRYPTION_KEY_PREVIOUS", MALFORMED),
            ("FANFARE_DATABASE_URL", &away),
            ("FANFARE_DATABASE_URL", &other),
            ("FANFARE_DATABASE_URL", &broken),
            ("FANFARE_DATABASE_URL", url),
            ("FANFARE_JWT_SECRET", &format!("{JWT_SECRET}-{MALFORMED}")),
        ] {
            let wrong = self.fanfare.clone().env("FANFARE_ENCRYPTION_KEY_PREVIOUS", "");
            let wrong = wrong.env(name, value);
            for command in [&["serve", "--listen=127.0.0.1:0"][..], &["check"]] {
                if value.starts_with("postgres") && value == url && command != ["check"] {
                    continue; // It would be another node.
                }
                let ended = wrong.run(command).await;
                assert!(ended.code > 0 || command == ["check"], "{name}: {}", ended.stdout);
                self.saw(&format!("{command:?} with another {name}"), &ended);
            }
        }
    }

    fn saw(&mut self, what: &str, ended: &Ended) {
        self.finds.saw(&format!("the output of {what}"), ended.stdout.as_bytes());
        self.finds.saw(&format!("the log of {what}"), ended.stderr.as_bytes());
    }
}

/// Whatever the store keeps sealed, opened.
async fn opened(url: &str, keys: [&str; 2]) -> Vec<Secret> {
    let [present, older] = keys.map(|key| Key::parse(key).expect("a key"));
    let seal = Seal::new(present.bytes()).opening(older.bytes());
    let store = store::open_read_only(url).await.expect("the store");
    let sealed = store.secrets(None, 100).await.expect("secrets");
    assert!(sealed.len() >= 2, "the present secret and the one before it");
    let mut opened = Vec::new();
    for (lane, purpose, sealed) in sealed {
        let text = seal.open(lane, purpose, &sealed).expect("it opens");
        if purpose == Purpose::Secret {
            // A secret and a key.
            assert_eq!(text.split(' ').count(), 2);
            opened.extend(text.split(' ').map(|one| Secret::base64("what was sealed", one)));
        }
    }
    opened
}
