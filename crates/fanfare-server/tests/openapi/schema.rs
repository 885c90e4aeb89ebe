//! Values that fit a schema, values that may not, and whether a value does.

use proptest::prelude::*;
use proptest::string::string_regex;
use serde_json::{Value, json};

use super::referred;

/// Values that fit.
pub(crate) fn good(schema: &Value, schemas: &Value) -> BoxedStrategy<Value> {
    if let Some(name) = referred(schema) {
        return good(&schemas[name], schemas);
    }
    if let Some(all) = schema["enum"].as_array() {
        return proptest::sample::select(all.clone()).boxed();
    }
    if let Some(all) = schema["oneOf"].as_array() {
        let all: Vec<_> = all.iter().map(|one| good(one, schemas)).collect();
        return proptest::strategy::Union::new(all).boxed();
    }
    let types = types(schema);
    let fits = match types.first().copied() {
        Some("object") => good_object(schema, schemas),
        Some("array") => {
            let (least, most) = (number(schema, "minItems", 0), number(schema, "maxItems", 5));
            let count = least..=most.min(least + 3);
            prop::collection::vec(good(&schema["items"], schemas), count)
                .prop_map(Value::from)
                .boxed()
        }
        Some("string") => good_text(schema),
        Some("integer" | "number") => (number(schema, "minimum", 0)
            ..=number(schema, "maximum", 1000))
            .prop_map(Value::from)
            .boxed(),
        Some("boolean") => any::<bool>().prop_map(Value::from).boxed(),
        _ => any_json(),
    };
    if types.contains(&"null") {
        prop_oneof![4 => fits, 1 => Just(Value::Null)].boxed()
    } else {
        fits
    }
}

fn good_object(schema: &Value, schemas: &Value) -> BoxedStrategy<Value> {
    let mut fields = Just(json!({})).boxed();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let name = name.clone();
        let required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
        let field = good(field, schemas);
        let field =
            if required { field.prop_map(Some).boxed() } else { prop::option::of(field).boxed() };
        fields = (fields, field)
            .prop_map(move |(mut fields, field)| {
                if let Some(field) = field {
                    fields[&name] = field;
                }
                fields
            })
            .boxed();
    }
    fields
}

fn good_text(schema: &Value) -> BoxedStrategy<Value> {
    if let Some(pattern) = schema["pattern"].as_str() {
        let most = number(schema, "maxLength", 1000);
        let pattern = pattern.trim_start_matches('^').trim_end_matches('$');
        let text = string_regex(pattern).unwrap();
        let fits = move |text: &String| text.chars().count() <= most;
        return text.prop_filter("too long", fits).prop_map(Value::from).boxed();
    }
    if let Some(example) = schema.get("example") {
        return Just(example.clone()).boxed();
    }
    match schema["format"].as_str() {
        Some("uuid") => {
            any::<[u8; 16]>().prop_map(|id| json!(uuid::Uuid::from_bytes(id).to_string())).boxed()
        }
        _ => {
            let (least, most) = (number(schema, "minLength", 0), number(schema, "maxLength", 40));
            string_regex(&format!("[^\\x00]{{{least},{}}}", most.min(60)))
                .unwrap()
                .prop_map(Value::from)
                .boxed()
        }
    }
}

/// Values that may not fit: of other types, at the edges and beyond, with parts that do.
pub(crate) fn bad(schema: &Value, schemas: &Value) -> BoxedStrategy<Value> {
    if let Some(name) = referred(schema) {
        return bad(&schemas[name], schemas);
    }
    let edges = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(21),
        json!(0.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x".repeat(3000)),
        json!("\u{0}"),
        json!("%_\\'\"; --"),
        json!("\u{202e}\u{feff}🎉"),
        json!([]),
        json!({}),
        json!([[[[[]]]]]),
        json!("http://a.example/"),
        json!("https://10.0.0.1/"),
        json!(["*", null]),
        json!("1e5"),
    ];
    let edges = proptest::sample::select(edges.to_vec());
    let Some(properties) = schema["properties"].as_object() else {
        return prop_oneof![edges, any_json(), good(schema, schemas)].boxed();
    };
    let names: Vec<String> = properties.keys().cloned().chain(["toString".to_owned()]).collect();
    let whole = good(schema, schemas);
    let broken = prop::collection::vec((proptest::sample::select(names), edges.clone()), 1..4);
    let spoilt = (whole, broken).prop_map(|(mut whole, broken)| {
        for (name, value) in broken {
            whole[&name] = value;
        }
        whole
    });
    prop_oneof![6 => spoilt, 1 => edges, 1 => any_json()].boxed()
}

/// Any JSON, not deep.
pub(crate) fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let inner = |inner: BoxedStrategy<Value>| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    };
    leaf.prop_recursive(4, 24, 4, inner).boxed()
}

/// What is wrong with a value, by its schema; `None` if nothing is.
pub(crate) fn misfit(value: &Value, schema: &Value, schemas: &Value) -> Option<String> {
    if let Some(name) = referred(schema) {
        return misfit(value, &schemas[name], schemas).map(|wrong| format!("{name}: {wrong}"));
    }
    if let Some(all) = schema["oneOf"].as_array() {
        let fits = all.iter().filter(|one| misfit(value, one, schemas).is_none()).count();
        return (fits != 1).then(|| format!("{value} fits {fits} of {}", schema["oneOf"]));
    }
    if let Some(all) = schema["allOf"].as_array() {
        // Each part may have fields that another one names.
        let merged = merged(all, schemas);
        return misfit(value, &merged, schemas);
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Some(format!("{value} is none of {}", schema["enum"]));
    }
    let types = types(schema);
    if !types.is_empty() && !types.iter().any(|kind| is(value, kind)) {
        return Some(format!("{value} is not {types:?}"));
    }
    let wrong_format = match (value.as_str(), schema["format"].as_str()) {
        (Some(text), Some("uuid")) => text.parse::<uuid::Uuid>().is_err(),
        (Some(text), Some("date-time")) => text.len() != 24 || !text.ends_with('Z'),
        _ => false,
    };
    if wrong_format {
        return Some(format!("{value} is not a {}", schema["format"]));
    }
    match value {
        Value::Object(fields) => misfit_object(fields, schema, schemas),
        Value::Array(items) => {
            items.iter().find_map(|item| misfit(item, &schema["items"], schemas))
        }
        _ => None,
    }
}

fn misfit_object(
    fields: &serde_json::Map<String, Value>,
    schema: &Value,
    schemas: &Value,
) -> Option<String> {
    let required = schema["required"].as_array().into_iter().flatten();
    if let Some(missing) =
        required.filter_map(Value::as_str).find(|name| !fields.contains_key(*name))
    {
        return Some(format!("{missing} is missing"));
    }
    let properties = schema["properties"].as_object()?;
    fields.iter().find_map(|(name, value)| match properties.get(name) {
        Some(schema) => misfit(value, schema, schemas).map(|wrong| format!("{name}: {wrong}")),
        None => Some(format!("{name} is not described")),
    })
}

fn merged(parts: &[Value], schemas: &Value) -> Value {
    let mut all = json!({"type": "object", "properties": {}, "required": []});
    for part in parts {
        let part = referred(part).map_or(part, |name| &schemas[name]);
        for (name, field) in part["properties"].as_object().unwrap() {
            all["properties"][name] = field.clone();
        }
        let required = part["required"].as_array().unwrap().clone();
        all["required"].as_array_mut().unwrap().extend(required);
    }
    all
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn number(schema: &Value, name: &str, default: usize) -> usize {
    schema[name].as_u64().map_or(default, |number| usize::try_from(number).unwrap())
}
