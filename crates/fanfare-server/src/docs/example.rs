//! An example for a schema, from the examples, defaults and types it holds.

use serde_json::{Map, Value, json};

/// A value that fits `schema`; `schemas` are those it may refer to.
pub(super) fn of(schema: &Value, schemas: &Value) -> Value {
    if let Some(name) = referred(schema) {
        return of(&schemas[name], schemas);
    }
    if let Some(example) = schema.get("example") {
        return example.clone();
    }
    if let Some(example) = schema["examples"].get(0) {
        return example.clone();
    }
    if let Some(default) = schema.get("default") {
        return default.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if let Some(all) = schema["allOf"].as_array() {
        let objects = all.iter().map(|part| of(part, schemas));
        let fields = objects.filter_map(|part| part.as_object().cloned()).flatten();
        return Value::Object(fields.collect());
    }
    if let Some(first) = schema["oneOf"].get(0) {
        return of(first, schemas);
    }
    by_type(schema, schemas)
}

/// The name of the schema that this one refers to.
pub(super) fn referred(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/components/schemas/")
}

/// The types of a schema.
pub(super) fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn by_type(schema: &Value, schemas: &Value) -> Value {
    let named = types(schema);
    if named.contains(&"null") {
        return Value::Null;
    }
    match named.first().copied() {
        Some("object") => {
            let properties = schema["properties"].as_object();
            let fields = properties.into_iter().flatten();
            Value::Object(
                fields
                    .map(|(name, field)| (name.clone(), of(field, schemas)))
                    .collect::<Map<_, _>>(),
            )
        }
        Some("array") => json!([of(&schema["items"], schemas)]),
        Some("string") => match schema["format"].as_str() {
            Some("uuid") => json!("0197d8a2-52bd-7000-8000-000000000001"),
            Some("date-time") => json!("2025-07-05T01:52:11.613Z"),
            _ => json!("…"),
        },
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}
