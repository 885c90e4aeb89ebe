//! The description of the API is W3Block's where it should be, whole, and true.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod document;
mod run;
mod schema;
#[path = "../support/mod.rs"]
mod support;
mod w3block;

use serde_json::Value;

/// Our own description.
fn ours() -> Value {
    serde_json::from_str(&fanfare_server::openapi()).unwrap()
}

/// Every operation: path, method, description.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let methods = ["get", "put", "post", "patch", "delete"];
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let found = methods.into_iter().filter_map(move |method| Some((method, item.get(method)?)));
        found.map(move |(method, operation)| (path.as_str(), method, operation))
    });
    all.collect()
}

/// The name of the schema that is referred to.
fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}
