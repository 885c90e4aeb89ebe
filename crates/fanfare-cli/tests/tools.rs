//! The small commands, against real processes.

use fanfare_testkit::client::Client;
use fanfare_testkit::process::{Fanfare, Process};
use hyper::Method;
use serde_json::Value;

fn fanfare(dir: &tempfile::TempDir) -> Fanfare {
    Fanfare::new(env!("CARGO_BIN_EXE_fanfare"), dir.path())
}

/// Waits until `fanfare listen` says where it is.
async fn address(listener: &Process) -> String {
    let line = listener.line("Listening on http://").await;
    line.split_whitespace().nth(2).map_or(String::new(), str::to_owned)
}

#[tokio::test]
async fn what_is_emitted_arrives_at_a_listener_that_verifies_it() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo=";
    let listener = fanfare(&dir).spawn(&["listen", "--port=0", "--secret", secret, "--bodies"]);
    let stranger = fanfare(&dir).spawn(&["listen", "--port=0"]);
    let urls = [address(&listener).await, address(&stranger).await];
    let networks = urls.each_ref().map(|url| url.replace("http://127.0.0.1", "127.0.0.1/32"));
    let networks = format!("--allow-networks={}", networks.join(","));
    let server = fanfare(&dir).serve(&["--allow-http", &networks]).await;
    let shop = fanfare(&dir).shop().await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    for (format, url) in [("standard", &urls[0]), ("w3block", &urls[1])] {
        let path = format!("/v1/companies/{}/endpoints", shop.company);
        let body = serde_json::json!({
            "url": url, "events": ["order.*"], "format": format, "secret": secret,
        });
        let answer = client.send(Method::POST, &path, body.to_string()).await.unwrap();
        assert_eq!(answer.0, 201, "{answer:?}");
    }

    let url = format!("http://localhost:{}", server.address.port());
    let emit = ["emit", "--company", &shop.company, "--server", &url, "ORDER_CREATED"];
    let payload = r#"{"total": "19.90", "count": 12345678901234567890, "note": "Größe 🔔"}"#;
    let emitted = fanfare(&dir).run(&[&emit[..], &[payload]].concat()).await;
    assert_eq!(emitted.code, 0, "{}", emitted.stderr);
    let answer: Value = serde_json::from_str(&emitted.stdout).unwrap();
    assert_eq!(answer["type"], "order.created");
    assert_eq!(answer["deliveries"], 2);

    let line = listener.line("order.created").await;
    assert!(line.contains(answer["id"].as_str().unwrap()), "{line}");
    assert!(line.ends_with("  verified"), "{line}");
    assert!(listener.line(payload).await.contains(r#""type":"order.created""#));
    let line = stranger.line("order.created").await;
    assert!(line.ends_with("no --secret was given"), "{line}");

    let replay = ["replay", "--company", &shop.company, "--server", &url, "--type", "order.*"];
    let count = [&replay[..], &["--from", "2020-01-01T00:00:00Z", "--dry-run"]].concat();
    let counted = fanfare(&dir).run(&count).await;
    assert_eq!(counted.code, 0, "{}", counted.stderr);
    assert!(counted.stdout.contains("\"capped\":false"), "{}", counted.stdout);
    let nothing = fanfare(&dir).run(&replay).await;
    assert_eq!(nothing.code, 2, "{}", nothing.stderr);

    let file = dir.path().join("payload.json");
    std::fs::write(&file, "[1.10]").unwrap();
    let at_file = format!("@{}", file.display());
    assert_eq!(fanfare(&dir).run(&[&emit[..], &[&at_file]].concat()).await.code, 0);
    listener.line(r#""data":[1.10]"#).await;
    let ended = fanfare(&dir).run_with(&[&emit[..], &["-"]].concat(), "null").await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    listener.line(r#""data":null"#).await;

    let asked =
        ["--ordering-key=\"7\"", "--expires-at=2999-01-01T00:00:00Z", "--idempotency-key=k"];
    let once = fanfare(&dir).run(&[&emit[..], &asked, &["7"]].concat()).await;
    assert_eq!(once.code, 0, "{}", once.stderr);
    let again = fanfare(&dir).run(&[&emit[..], &asked, &["7"]].concat()).await;
    assert_eq!(again.stdout, once.stdout);
    let late = fanfare(&dir).run(&[&emit[..], &["--deliver-at=soon", "7"]].concat()).await;
    assert!(late.code == 1 && late.stderr.contains("deliverAt: must be a time"), "{}", late.stderr);

    listener.terminate().await;
    assert_eq!(listener.end().await.code, 0);
}

#[tokio::test]
async fn explain_tells_where_an_event_is() {
    let dir = tempfile::tempdir().unwrap();
    let listener = fanfare(&dir).spawn(&["listen", "--port=0", "--status=500"]);
    let url = address(&listener).await;
    let network = url.replace("http://127.0.0.1", "--allow-networks=127.0.0.1/32");
    let server = fanfare(&dir).serve(&["--allow-http", &network]).await;
    let shop = fanfare(&dir).shop().await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    for (url, events) in [(&*url, "order.*"), ("https://other.example/", "payment.*")] {
        let body = serde_json::json!({"url": url, "events": [events]}).to_string();
        assert_eq!(client.send(Method::POST, &path, body).await.unwrap().0, 201);
    }
    let at = format!("http://{}", server.address);
    let asked = ["--company", &shop.company, "--server", &at];
    let emitted = fanfare(&dir).run(&[&["emit", "order.created", "{}"], &asked[..]].concat()).await;
    let event: Value = serde_json::from_str(&emitted.stdout).unwrap();
    let id = event["id"].as_str().unwrap();
    listener.line(id).await;

    let explain = [&["explain", id], &asked[..]].concat();
    let told = loop {
        let told = fanfare(&dir).run(&explain).await;
        assert_eq!(told.code, 0, "{}", told.stderr);
        // The answer has arrived before it is on the server's disk.
        if !told.stdout.contains("(inFlight)") && !told.stdout.contains("(turn)") {
            break told.stdout;
        }
    };
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with(&format!("order.created {id}, emitted at ")), "{told}");
    assert!(lines[1].starts_with(&url), "{told}");
    assert!(lines[2].contains("waiting (dueTime): is tried again at "), "{told}");
    assert!(lines[3].contains("attempt 1, at ") && lines[3].contains("answered 500"), "{told}");
    assert!(lines[3].contains("connect ") && lines[3].contains("first byte "), "{told}");
    assert!(lines[4].contains("not for it: not subscribed to order.created"), "{told}");
    let raw = fanfare(&dir).run(&[&explain[..], &["--json"]].concat()).await;
    let raw: Value = serde_json::from_str(&raw.stdout).unwrap();
    assert_eq!(raw["endpoints"][0]["deliveries"][0]["attempts"][0]["statusCode"], 500);

    let nobody = fanfare(&dir).run(&[&["explain", &shop.company], &asked[..]].concat()).await;
    assert_eq!(nobody.code, 1);
    assert!(nobody.stderr.contains("has no event"), "{}", nobody.stderr);
    let wrong = fanfare(&dir).run(&[&["explain", "x"], &asked[..]].concat()).await;
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("EVENT_ID"), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_listener_tells_what_is_not_verified_and_answers_as_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let listener =
        fanfare(&dir).spawn(&["listen", "--port=0", "--secret", other, "--status", "500"]);
    let url = address(&listener).await;
    let mut stranger =
        Client::connect(url.trim_start_matches("http://").parse().unwrap(), "").await.unwrap();
    let (status, _) = stranger.send(Method::POST, "/", r#"{"type":"a.b"}"#).await.unwrap();
    assert_eq!(status, 500);
    assert!(listener.line("a.b").await.contains("NOT VERIFIED: no header webhook-signature"));
}

#[tokio::test]
async fn emit_tells_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let company = "01980a54-5b5c-7d8e-9f00-112233445566";
    let emit = async |args: &[&str]| {
        let args = [&["emit", "--company", company][..], args].concat();
        fanfare(&dir).run(&args).await
    };
    let no_key = emit(&["order.created", "{}"]).await;
    assert_eq!(no_key.code, 1);
    assert!(no_key.stderr.contains("FANFARE_JWT_SECRET"), "{}", no_key.stderr);

    let server = fanfare(&dir).serve(&["--max-payload=10B"]).await;
    let url = format!("http://{}", server.address);
    let too_large = emit(&["--server", &url, "order.created", r#""01234567890123""#]).await;
    assert_eq!(too_large.code, 1);
    assert!(too_large.stderr.contains("FANFARE_MAX_PAYLOAD"), "{}", too_large.stderr);
    for (wrong, named) in [
        (&["order created", "{}"][..], "TYPE"),
        (&["order.created", r#"1,"id":"x""#], "JSON"),
        (&["order.created", "{}", "--server", "localhost"], "--server"),
    ] {
        let ended = emit(wrong).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
    server.process.kill().await;
    let away = emit(&["--server", &url, "order.created", "{}"]).await;
    assert_eq!(away.code, 1);
    assert!(away.stderr.contains("does not answer"), "{}", away.stderr);
}

#[tokio::test]
async fn a_token_has_a_role_that_administers_and_an_end() {
    let dir = tempfile::tempdir().unwrap();
    fanfare(&dir).serve::<&str>(&[]).await.process.kill().await;
    let company = "01980a54-5b5c-7d8e-9f00-112233445566";
    for (flags, named) in [
        (&["--company", "7"][..], "--company"),
        (&["--company", company, "--role", "owner"], "--role"),
        (&["--company", company, "--ttl", "1"], "--ttl"),
        (&["--company", company, "--ttl", "0s"], "--ttl"),
    ] {
        let ended = fanfare(&dir).run(&[&["token"], flags].concat()).await;
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
    let good = ["token", "--company", company, "--role", "integration", "--ttl", "5m"];
    let token = fanfare(&dir).run(&good).await;
    assert_eq!((token.code, token.stdout.split('.').count()), (0, 3));
}

#[tokio::test]
async fn check_proves_a_store_while_it_is_served_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let none = fanfare(&dir).run(&["check"]).await;
    assert_eq!(none.code, 1, "{}", none.stdout);
    assert!(!dir.path().join("fanfare-data").exists(), "check makes nothing");

    let server = fanfare(&dir).serve::<&str>(&[]).await;
    let shop = fanfare(&dir).shop().await;
    let mut client = Client::connect(server.address, &shop.token).await.unwrap();
    let path = format!("/v1/companies/{}/endpoints", shop.company);
    let body = r#"{"url":"https://example.com/","events":["a"]}"#;
    assert_eq!(client.send(Method::POST, &path, body).await.unwrap().0, 201);
    let while_served = fanfare(&dir).run(&["check"]).await;
    assert_eq!(while_served.code, 0, "{}", while_served.stdout);
    server.process.kill().await;
    let after = fanfare(&dir).run(&["check"]).await;
    assert_eq!(after.code, 0, "{}", after.stdout);
    assert!(after.stdout.contains("every sealed secret opens"), "{}", after.stdout);

    let other = fanfare(&dir)
        .env("FANFARE_ENCRYPTION_KEY", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        .run(&["check"])
        .await;
    assert_eq!(other.code, 1, "{}", other.stdout);
    assert!(other.stdout.contains("FANFARE_ENCRYPTION_KEY"), "{}", other.stdout);
}

#[tokio::test]
async fn openapi_prints_the_document() {
    let dir = tempfile::tempdir().unwrap();
    let printed = fanfare(&dir).run(&["openapi"]).await;
    let document: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    assert!(document["paths"]["/v1/companies/{companyId}/events"]["post"].is_object());
}

#[tokio::test]
async fn the_demo_shows_every_event_verified_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let demo = fanfare(&dir).env("TMPDIR", dir.path().to_str().unwrap());
    let ended = demo.run(&["demo", "--exit"]).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let verified = ended.stdout.lines().filter(|line| line.contains(" verified "));
    let types: std::collections::BTreeSet<_> =
        verified.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(types.len(), 8, "{}", ended.stdout);
    assert!(ended.stdout.contains("8 of 8"), "{}", ended.stdout);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_demo_stays_up_and_shows_what_else_is_emitted() {
    let dir = tempfile::tempdir().unwrap();
    let demo = fanfare(&dir).env("TMPDIR", dir.path().to_str().unwrap()).spawn(&["demo"]);
    let word = |line: String| line.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let company = word(demo.line("  company ").await);
    let token = word(demo.line("  token ").await);
    let address = word(demo.line("  dashboard ").await);
    let address = address.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
    let mut client = Client::connect(address, &token).await.unwrap();
    let path = format!("/v1/companies/{company}/events");
    let body = r#"{"type":"order.created","data":{"total":"19.90"}}"#;
    assert_eq!(client.send(Method::POST, &path, body).await.unwrap().0, 202);
    let shown = demo.lines("order.created          verified", 2).await;
    assert_eq!(shown.len(), 2);
    demo.terminate().await;
    assert_eq!(demo.end().await.code, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
