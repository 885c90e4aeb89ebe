//! Every operation, called with what its description says and with what it does not say.

use axum::body::Body;
use axum::http::Request;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::schema::{any_json, bad, good, misfit};
use super::{operations, ours};
use crate::support::{Bench, COMPANY, NOBODY, Reply, text, v1};

/// Calls of each operation of each sort.
const CALLS: usize = 25;

/// A server with an endpoint and a delivery to ask for.
struct Stage {
    bench: Bench,
    runner: TestRunner,
    schemas: Value,
    endpoint: String,
    delivery: String,
    event: String,
    replay: String,
    api_key: String,
}

impl Stage {
    async fn set() -> Stage {
        let bench = Bench::new().await;
        let runner = TestRunner::deterministic();
        let schemas = ours()["components"]["schemas"].clone();
        let body = json!({"name": "till", "scope": "emit"});
        let made = bench.post(&v1("/api-keys"), &body).await.expect(201);
        let api_key = text(&made, "id").to_owned();
        let [endpoint, delivery, event, replay] = [const { String::new() }; 4];
        let mut stage =
            Stage { bench, runner, schemas, endpoint, delivery, event, replay, api_key };
        stage.make_endpoint().await;
        stage
    }

    async fn make_endpoint(&mut self) {
        let body = json!({"url": "https://shop.example/", "events": ["*"]});
        let made = self.bench.post(&v1("/endpoints"), &body).await.expect(201);
        self.endpoint = text(&made, "id").to_owned();
        self.bench.post(&v1("/events"), &json!({"type": "a", "data": 1})).await.expect(202);
        let path = v1(&format!("/endpoints/{}/deliveries", self.endpoint));
        let page = self.bench.until(&path, |page| page["items"][0]["success"] == true).await;
        self.delivery = text(&page["items"][0], "id").to_owned();
        self.event = text(&page["items"][0], "eventId").to_owned();
        let body = json!({"deliveries": [self.delivery]});
        let replay = self.bench.post(&v1("/replays"), &body).await.expect(202);
        self.replay = text(&replay, "id").to_owned();
    }

    fn draw<T>(&mut self, strategy: &(impl Strategy<Value = T> + ?Sized)) -> T {
        strategy.new_tree(&mut self.runner).unwrap().current()
    }

    fn some(&mut self, schema: &Value, fitting: bool) -> Value {
        let strategy =
            if fitting { good(schema, &self.schemas) } else { bad(schema, &self.schemas) };
        self.draw(&strategy)
    }

    /// The value of a parameter as it stands in a URL or header; `None` leaves it out.
    fn parameter(&mut self, parameter: &Value, fitting: bool) -> Option<String> {
        let name = parameter["name"].as_str().unwrap();
        let in_path = parameter["in"] == "path";
        let spoil = !fitting && self.draw(&(0..3)) == 0;
        if in_path && !spoil {
            return Some(match name {
                "companyId" => COMPANY.to_owned(),
                "endpointId" | "configurationId" => self.endpoint.clone(),
                "eventId" => self.event.clone(),
                "replayId" => self.replay.clone(),
                "apiKeyId" => self.api_key.clone(),
                _ => self.delivery.clone(),
            });
        }
        if name == "companyId" || (!in_path && self.draw(&any::<bool>())) {
            return in_path.then(|| COMPANY.to_owned());
        }
        if name == "sortBy" && fitting {
            return Some("updatedAt".to_owned());
        }
        if name == "Idempotency-Key" {
            return Some(self.draw("[ -~]{1,300}"));
        }
        let value = self.some(&parameter["schema"], fitting);
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if in_path && text.is_empty() { Some(NOBODY.to_owned()) } else { Some(text) }
    }

    async fn call(&mut self, path: &str, method: &str, is: &Value, fitting: bool) -> Reply {
        let (mut path, mut query) = (path.to_owned(), Vec::new());
        let mut request = Request::builder().method(method.to_uppercase().as_str());
        for parameter in is["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            let Some(value) = self.parameter(parameter, fitting) else { continue };
            let encoded: String = byte_serialize(value.as_bytes()).collect();
            match parameter["in"].as_str().unwrap() {
                "path" => path = path.replace(&format!("{{{name}}}"), &encoded.replace('+', "%20")),
                "query" => query.push(format!("{name}={encoded}")),
                _ => request = request.header(name, value),
            }
        }
        let role = if is["operationId"] == "rotateKey" { "superAdmin" } else { "admin" };
        let token = self.bench.token(COMPANY, role);
        request = request.header("authorization", format!("Bearer {token}"));
        request = request.uri(format!("{path}?{}", query.join("&")));
        let body = &is["requestBody"]["content"]["application/json"]["schema"];
        let mut body = if body.is_null() { json!({}) } else { self.some(body, fitting) };
        // The one field that needs another beside it, as its description says.
        if fitting && body["coalesceWindowMs"].is_number() {
            body["coalesce"] = json!("key");
        }
        // Certificates are more than their type says.
        if fitting && !body["tls"].is_null() {
            let tls = &self.schemas["NewWebhook"]["properties"]["tls"]["properties"];
            body["tls"] = json!({"caCertificate": tls["caCertificate"]["examples"][0]});
        }
        if fitting && !body["endpointId"].is_null() {
            body["endpointId"] = json!(self.endpoint);
        }
        self.bench.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// The answer is one that is described, and looks like it is described.
    fn judge(&self, reply: &Reply, is: &Value, place: &str) {
        let answer = &is["responses"][reply.status.to_string()];
        let shown = String::from_utf8_lossy(&reply.body);
        assert!(
            !answer.is_null(),
            "{place} answers {}, which is not described: {shown}",
            reply.status
        );
        if reply.status >= 400 {
            reply.error();
        }
        let schema = &answer["content"]["application/json"]["schema"];
        if !schema.is_null() {
            let wrong = misfit(&reply.json(), schema, &self.schemas);
            assert_eq!(wrong, None, "{place} answers {}: {shown}", reply.status);
        } else if answer["content"].is_null() {
            assert!(reply.body.is_empty(), "{place} answers {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_description_allows_is_answered_as_it_says() {
    let mut stage = Stage::set().await;
    let ours = ours();
    for (path, method, is) in operations(&ours) {
        let place = format!("{method} {path}");
        for _ in 0..CALLS {
            let reply = stage.call(path, method, is, true).await;
            stage.judge(&reply, is, &place);
            let key_too_long = reply.status == 400 && reply.text().contains("Idempotency-Key");
            let shown = reply.text();
            let has_ended = reply.status == 409 && shown.contains("delivery_final");
            assert!(
                reply.status < 400 || key_too_long || has_ended,
                "{place} answers {}: {shown}",
                reply.status
            );
            let rotated = path.ends_with("/secret/rotate");
            if method == "delete" || (reply.status == 200 && (method == "patch" || rotated)) {
                stage.make_endpoint().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_does_not_allow_is_refused_in_the_one_shape() {
    let mut stage = Stage::set().await;
    let ours = ours();
    for (path, method, is) in operations(&ours) {
        let place = format!("{method} {path}");
        for _ in 0..3 * CALLS {
            let reply = stage.call(path, method, is, false).await;
            assert!(reply.status < 500, "{place} answers {}: {}", reply.status, reply.text());
            stage.judge(&reply, is, &place);
            if method == "delete" && reply.status == 204 {
                stage.make_endpoint().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_mean_nothing_are_refused_wherever_a_body_is_read() {
    let mut stage = Stage::set().await;
    let ours = ours();
    for (path, method, is) in operations(&ours) {
        if is["requestBody"].is_null() {
            continue;
        }
        let path = path.replace("{companyId}", COMPANY).replace("{endpointId}", &stage.endpoint);
        let path = path.replace("{configurationId}", &stage.endpoint);
        for _ in 0..CALLS {
            // JSON, cut or spoilt somewhere.
            let mut body = stage.draw(&any_json()).to_string().into_bytes();
            let at = stage.draw(&any::<prop::sample::Index>());
            let byte = stage.draw(&any::<u8>());
            let at = at.index(body.len());
            if byte % 2 == 0 {
                body.truncate(at);
            } else {
                body[at] = byte;
            }
            if body.is_empty() && is["requestBody"]["required"] == false {
                continue;
            }
            let reply = stage.bench.call(&method.to_uppercase(), &path, body).await;
            assert_eq!(reply.error().0, 400, "{method} {path}");
        }
    }
}
