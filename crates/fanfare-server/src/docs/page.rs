//! Draws the API page: operations by tag, each with parameters, body, answers and a call.

use std::fmt::Write as _;

use serde_json::Value;

use super::{STYLE, example};

/// An operation with the method and path it is found under.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    is: &'a Value,
}

/// The page for an OpenAPI document.
pub(super) fn draw(document: &str) -> String {
    let document: Value = serde_json::from_str(document).unwrap_or_default();
    let schemas = &document["components"]["schemas"];
    let operations = operations(&document);
    let tags = document["tags"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (mut nav, mut main) = (String::new(), String::new());
    for tag in tags {
        let name = text(&tag["name"]);
        put(&mut nav, &format!("<strong>{}</strong>", escape(name)));
        put(&mut main, &format!("<h2>{}</h2>", escape(name)));
        put(&mut main, &prose(text(&tag["description"])));
        for operation in operations.iter().filter(|op| op.is["tags"][0].as_str() == Some(name)) {
            let (id, title) = (text(&operation.is["operationId"]), escape(title(operation)));
            put(&mut nav, &format!(r##"<a href="#{id}">{title}</a>"##));
            put(&mut main, &article(operation, schemas));
        }
    }
    put(&mut nav, r##"<strong><a href="#schemas">Schemas</a></strong>"##);
    put(&mut main, r#"<h2 id="schemas">Schemas</h2>"#);
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        put(&mut main, &format!(r#"<article id="{0}"><h3>{0}</h3>"#, escape(name)));
        put(&mut main, &form(schema));
        put(&mut main, "</article>");
    }
    let info = &document["info"];
    let (title, intro) = (escape(text(&info["title"])), prose(text(&info["description"])));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title} API</title><style>{STYLE}</style></head><body><div class=\"layout\">\
         <nav><a href=\"/\">{title}</a>{nav}</nav><main><h1>{title} API</h1>{intro}{main}</main>\
         </div></body></html>\n"
    )
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let paths = document["paths"].as_object().into_iter().flatten();
    let all = paths.flat_map(|(path, item)| {
        let methods = ["get", "post", "put", "patch", "delete"];
        methods
            .into_iter()
            .filter_map(move |method| item.get(method).map(|is| Operation { method, path, is }))
    });
    all.collect()
}

fn article(operation: &Operation<'_>, schemas: &Value) -> String {
    let Operation { method, path, is } = operation;
    let mut out = format!(
        "<article id=\"{}\"><h3>{}</h3><p class=\"line\"><span class=\"method {method}\">{method}\
         </span><code>{}</code></p>",
        escape(text(&is["operationId"])),
        escape(title(operation)),
        escape(path)
    );
    put(&mut out, &prose(text(&is["description"])));
    put(&mut out, &parameters(is));
    let body = &is["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        put(&mut out, &format!("<h4>Body</h4><p>{}</p>", kind(body)));
        put(&mut out, &form(example::referred(body).map_or(body, |name| &schemas[name])));
    }
    put(&mut out, "<h4>Answers</h4><table>");
    for (status, answer) in is["responses"].as_object().into_iter().flatten() {
        let content = answer["content"].as_object().and_then(|content| content.values().next());
        let of = content.map(|content| kind(&content["schema"])).unwrap_or_default();
        let description = inline(text(&answer["description"]));
        put(&mut out, &format!("<tr><td>{status}</td><td>{description} {of}</td></tr>"));
    }
    put(&mut out, "</table>");
    put(&mut out, &call(operation, schemas));
    put(&mut out, "</article>");
    out
}

fn parameters(is: &Value) -> String {
    let Some(all) = is["parameters"].as_array().filter(|all| !all.is_empty()) else {
        return String::new();
    };
    let mut out = "<h4>Parameters</h4><table>".to_owned();
    for parameter in all {
        let place = escape(text(&parameter["in"]));
        let must = parameter["required"] == true;
        let name = name(text(&parameter["name"]), must);
        let about = about(&parameter["schema"], text(&parameter["description"]));
        let row = format!("<tr><td>{name}</td><td class=\"dim\">{place}</td><td>{about}</td></tr>");
        put(&mut out, &row);
    }
    out + "</table>"
}

/// The fields of a schema.
fn form(schema: &Value) -> String {
    let mut out = prose(text(&schema["description"]));
    let parts = schema["allOf"].as_array().into_iter().flatten();
    for part in parts.chain([schema]) {
        if example::referred(part).is_some() {
            put(&mut out, &format!("<p>Everything of {}, and:</p>", kind(part)));
        }
        let Some(properties) = part["properties"].as_object() else { continue };
        let required = part["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        put(&mut out, "<table>");
        for (field, is) in properties {
            let name = name(field, required.iter().any(|required| required == field));
            let about = about(is, text(&is["description"]));
            put(&mut out, &format!("<tr><td>{name}</td><td>{about}</td></tr>"));
        }
        put(&mut out, "</table>");
    }
    if let Some(names) = schema.get("enum") {
        put(&mut out, &format!("<p><code>{}</code></p>", escape(&names.to_string())));
    }
    out
}

fn name(name: &str, must: bool) -> String {
    let must = if must { " <span class=\"must\">required</span>" } else { "" };
    format!("<code>{}</code>{must}", escape(name))
}

/// A schema's type and bounds, and what it means.
fn about(schema: &Value, description: &str) -> String {
    const BOUNDS: [(&str, &str); 8] = [
        ("minimum", "from"),
        ("maximum", "to"),
        ("minLength", "characters from"),
        ("maxLength", "characters to"),
        ("minItems", "items from"),
        ("maxItems", "items to"),
        ("default", "default"),
        ("enum", "one of"),
    ];
    let mut out = format!("<span class=\"dim\">{}", kind(schema));
    for (key, word) in BOUNDS {
        if let Some(bound) = schema.get(key) {
            put(&mut out, &format!(", {word} {}", escape(&bound.to_string())));
        }
    }
    out + "</span><br>" + &inline(description)
}

/// The type of a schema, with a link to what it refers to.
fn kind(schema: &Value) -> String {
    if let Some(name) = example::referred(schema) {
        return format!("<a href=\"#{0}\">{0}</a>", escape(name));
    }
    let types = example::types(schema);
    if types.contains(&"array") && types.len() == 1 {
        return format!("list of {}", kind(&schema["items"]));
    }
    let several = ["oneOf", "anyOf", "allOf"].iter().find_map(|key| schema[*key].as_array());
    if let Some(several) = several {
        return several.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let format = schema["format"].as_str().map(|format| format!(" ({})", escape(format)));
    let types = if types.is_empty() { "any value".to_owned() } else { types.join(" or ") };
    types + &format.unwrap_or_default()
}

/// The operation as a command to copy.
fn call(operation: &Operation<'_>, schemas: &Value) -> String {
    let path = operation.path.replace('{', "$").replace('}', "");
    let mut command = format!("curl \"$FANFARE{path}\"");
    if operation.method != "get" {
        let _ = write!(command, " \\\n  -X {}", operation.method.to_uppercase());
    }
    if operation.path.contains("{companyId}") {
        put(&mut command, " \\\n  -H \"Authorization: Bearer $TOKEN\"");
    }
    let body = &operation.is["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let example = example::of(body, schemas);
        let example = serde_json::to_string_pretty(&example).unwrap_or_default();
        let _ = write!(command, " \\\n  -d '{}'", example.replace('\'', "'\\''"));
    }
    let answers = operation.is["responses"].as_object().into_iter().flatten();
    let good = answers.filter(|(status, _)| status.starts_with('2')).find_map(|(_, answer)| {
        answer["content"].get("application/json").map(|content| &content["schema"])
    });
    let answer = good.map(|schema| {
        let answer = serde_json::to_string_pretty(&example::of(schema, schemas));
        let answer = escape(&answer.unwrap_or_default());
        format!("<details><summary>An answer</summary><pre><code>{answer}</code></pre></details>")
    });
    let command = escape(&command);
    format!("<h4>Call</h4><pre><code>{command}</code></pre>{}", answer.unwrap_or_default())
}

fn title<'a>(operation: &Operation<'a>) -> &'a str {
    let summary = text(&operation.is["summary"]);
    if summary.is_empty() { text(&operation.is["operationId"]) } else { summary }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn put(out: &mut String, html: &str) {
    out.push_str(html);
}

/// Paragraphs.
fn prose(text: &str) -> String {
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs.map(|paragraph| format!("<p>{}</p>", inline(paragraph))).collect()
}

/// Text with its code between backticks.
fn inline(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = escape(part);
        out.push_str(&if at % 2 == 1 { format!("<code>{part}</code>") } else { part });
    }
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
