//! Ours against W3Block's own description, thing by thing.

use serde_json::Value;

use super::{operations, ours, referred};

fn theirs() -> Value {
    serde_json::from_str(include_str!("../data/w3block-webhooks.openapi.json")).unwrap()
}

#[test]
fn every_operation_of_w3block_is_ours_with_its_parameters_bodies_and_answers() {
    let (theirs, ours) = (theirs(), ours());
    let all = operations(&theirs);
    assert_eq!(all.len(), 8);
    for (path, method, wanted) in all {
        let found = &ours["paths"][path][method];
        for field in ["operationId", "tags"] {
            assert_eq!(found[field], wanted[field], "{field} of {method} {path}");
        }
        assert_eq!(found["summary"], wanted["description"]);
        assert_eq!(parameters(found), parameters(wanted), "{method} {path}");
        let body = |operation: &Value| {
            let body = &operation["requestBody"];
            let schema = &body["content"]["application/json"]["schema"];
            (body["required"].clone(), referred(schema).map(str::to_owned))
        };
        assert_eq!(body(found), body(wanted), "{method} {path}");
        for (status, answer) in wanted["responses"].as_object().unwrap() {
            let ours = &found["responses"][status];
            if status == "401" {
                assert_eq!(ours["description"], answer["description"]);
                continue;
            }
            let schema = |answer: &Value| {
                let content = answer["content"]["application/json"]["schema"].clone();
                referred(&content).map(str::to_owned)
            };
            assert!(!ours.is_null(), "{status} of {method} {path}");
            assert_eq!(schema(ours), schema(answer), "{status} of {method} {path}");
        }
        let good = |operation: &Value| {
            let all = operation["responses"].as_object().unwrap().keys();
            all.filter(|status| status.starts_with('2')).cloned().collect::<Vec<_>>()
        };
        assert_eq!(good(found), good(wanted), "{method} {path}");
        assert!(found["security"].as_array().unwrap().contains(&wanted["security"][0]));
    }
}

#[test]
fn every_schema_of_w3block_is_ours_field_by_field() {
    let (theirs, ours) = (theirs(), ours());
    for (name, wanted) in theirs["components"]["schemas"].as_object().unwrap() {
        let found = &ours["components"]["schemas"][name];
        assert_eq!(found["type"], wanted["type"], "{name}");
        assert_eq!(found["enum"], wanted["enum"], "{name}");
        assert_eq!(sorted(&found["required"]), sorted(&wanted["required"]), "{name}");
        let Some(properties) = wanted["properties"].as_object() else { continue };
        let mut names: Vec<_> = found["properties"].as_object().unwrap().keys().collect();
        names.sort();
        let mut wanted_names: Vec<_> = properties.keys().collect();
        wanted_names.sort();
        assert_eq!(names, wanted_names, "{name}");
        for (field, wanted) in properties {
            let found = &found["properties"][field];
            let place = format!("{name}.{field}");
            assert_eq!(kind(found, &place), kind(wanted, ""), "{place}");
            // W3Block's default for `data` is `false`, which is no object.
            if field != "data" {
                assert_eq!(found["default"], wanted["default"], "{place}");
            }
            let example = found.get("example").unwrap_or(&found["examples"][0]);
            // What is said of the status is said at its schema, beside which no other word counts.
            if field != "status" {
                assert_eq!(example, &wanted["example"], "{place}");
            }
        }
    }
}

#[test]
fn the_bearer_is_w3blocks() {
    let (theirs, ours) = (theirs(), ours());
    let scheme = |of: &Value| {
        let bearer = &of["components"]["securitySchemes"]["bearer"];
        ["type", "scheme", "bearerFormat"].map(|field| bearer[field].clone())
    };
    assert_eq!(scheme(&ours), scheme(&theirs));
}

/// Name, place, whether it must be there, type and default of each parameter.
fn parameters(operation: &Value) -> Vec<(String, Value, Value, String, Value)> {
    let all = operation["parameters"].as_array().unwrap().iter().map(|parameter| {
        let schema = &parameter["schema"];
        let name = parameter["name"].as_str().unwrap().to_owned();
        // An id is described as any string there.
        let kind = kind(schema, "").trim_end_matches(" uuid").to_owned();
        let (place, required) = (parameter["in"].clone(), parameter["required"].clone());
        (name, place, required, kind, schema["default"].clone())
    });
    let mut all: Vec<_> = all.collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// What a property is: a schema's name, or a type with its format and items. Where the truth is
/// wider than what W3Block says, `place` says so.
fn kind(schema: &Value, place: &str) -> String {
    let schema = if schema["allOf"].is_array() { &schema["allOf"][0] } else { schema };
    if let Some(name) = referred(schema) {
        return name.to_owned();
    }
    let all = ["object", "array", "string", "number", "boolean", "null"];
    let kind = match (place, &schema["type"]) {
        ("WebhookDataDto.body", of) if *of == serde_json::json!(all) => "object",
        ("WebhookEntityDto.lastResult", of) if *of == serde_json::json!(["object", "null"]) => {
            "object"
        }
        (_, of) => of.as_str().unwrap_or_else(|| panic!("{place}: {of}")),
    };
    if kind == "array" {
        return format!("list of {}", self::kind(&schema["items"], ""));
    }
    let format = schema["format"].as_str().map(|format| format!(" {format}"));
    format!("{kind}{}", format.unwrap_or_default())
}

fn sorted(names: &Value) -> Vec<&str> {
    let names = names.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<_> = names.iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}
