//! The document is whole: everything that is routed is described, and nothing dangles.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{operations, ours, referred};
use crate::support::Bench;

#[test]
fn every_route_is_described_and_every_description_is_routed() {
    let page = include_str!("../../src/app.rs");
    // A route is a path in quotes that begins a call of `route`.
    let routed: BTreeSet<&str> =
        page.split(".route(").skip(1).map(|call| call.split('"').nth(1).unwrap()).collect();
    let ours = ours();
    let described: BTreeSet<&str> = operations(&ours).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(routed, described);
}

#[tokio::test]
async fn the_methods_of_every_path_are_those_that_are_routed() {
    let bench = Bench::new().await;
    let ours = ours();
    for (path, item) in ours["paths"].as_object().unwrap() {
        let reply = bench.call("BREW", path, "").await;
        let allowed: BTreeSet<String> = reply
            .header("allow")
            .split(',')
            .filter(|m| *m != "HEAD")
            .map(str::to_lowercase)
            .collect();
        let described: BTreeSet<String> = item.as_object().unwrap().keys().cloned().collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[test]
fn operations_have_names_of_their_own_and_answers_that_are_described() {
    let ours = ours();
    let mut names = BTreeSet::new();
    let tags: Vec<_> = ours["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, method, operation) in operations(&ours) {
        assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{method} {path}");
        assert!(tags.contains(&&operation["tags"][0]), "{method} {path}");
        for (status, answer) in operation["responses"].as_object().unwrap() {
            assert!(
                !answer["description"].as_str().unwrap_or("").is_empty(),
                "{method} {path} {status}"
            );
            let schema = &answer["content"]["application/json"]["schema"];
            assert_eq!(
                referred(schema) == Some("Error"),
                !status.starts_with('2'),
                "{path} {status}"
            );
        }
        for (n, id) in path.split(['{', '}']).skip(1).step_by(2).enumerate() {
            assert_eq!(operation["parameters"][n]["name"], id, "{method} {path}");
        }
        let with_token = path.contains("{companyId}") || path == "/v1/rotate-key";
        assert_eq!(operation["security"].is_array(), with_token, "{path}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_schema_is_referred_to() {
    let ours = ours();
    let mut found = BTreeSet::new();
    references(&ours, &mut found);
    let schemas = ours["components"]["schemas"].as_object().unwrap();
    let known: BTreeSet<String> = schemas.keys().cloned().collect();
    assert_eq!(found, known);
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    found.extend(referred(value).map(str::to_owned));
    match value {
        Value::Object(fields) => fields.values().for_each(|field| references(field, found)),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_served_as_it_is_printed() {
    let bench = Bench::new().await;
    let reply = bench.call_as(None, "GET", "/openapi.json", "").await;
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.text(), fanfare_server::openapi());
}

#[tokio::test]
async fn the_pages_need_nothing_from_elsewhere_and_show_every_operation() {
    let bench = Bench::new().await;
    let ours = ours();
    for path in ["/", "/docs"] {
        let reply = bench.call_as(None, "GET", path, "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
        let page = reply.text();
        for outside in ["src=", "<script", "@import", "url(", "<link", "href=\"http", "href=\"//"] {
            assert!(!page.contains(outside), "{path} has {outside}");
        }
        if path == "/docs" {
            for (path, method, operation) in operations(&ours) {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("<article id=\"{id}\">")), "{method} {path}");
                assert!(page.contains(&format!("href=\"#{id}\"")), "{method} {path}");
            }
        }
    }
}
