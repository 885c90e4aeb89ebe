use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::*;

/// Payloads in which few names and few values meet often.
fn payload() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Json::Array),
            proptest::collection::hash_map(name(), inner, 0..5)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        (-2..3_i64).prop_map(Json::from),
        proptest::sample::select(&["", "a", "ab", "b", "ä\n\""][..]).prop_map(Json::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(&["a", "b", "0", "1"][..]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 1..4).prop_map(|names| names.join("."))
}

/// The members of a filter.
fn condition() -> impl Strategy<Value = Json> {
    let order = proptest::sample::select(&["$gt", "$gte", "$lt", "$lte"][..]);
    let equal = proptest::sample::select(&["$eq", "$ne"][..]);
    let list = proptest::sample::select(&["$in", "$nin"][..]);
    let text = proptest::sample::select(&["$startsWith", "$endsWith"][..]);
    let asked = prop_oneof![
        (order, -2..3_i64).prop_map(|(name, bound)| json!({ name: bound })),
        (equal, payload()).prop_map(|(name, value)| json!({ name: value })),
        (list, proptest::collection::vec(payload(), 1..4))
            .prop_map(|(name, list)| json!({ name: list })),
        (text, "[ab]{0,2}").prop_map(|(name, part)| json!({ name: part })),
        any::<bool>().prop_map(|there| json!({ "$exists": there })),
    ];
    let negated = |(not, asked): (bool, Json)| if not { json!({ "$not": asked }) } else { asked };
    (path(), (any::<bool>(), asked).prop_map(negated))
        .prop_map(|(path, asked)| json!({ path: asked }))
}

fn rule() -> impl Strategy<Value = Json> {
    condition().prop_recursive(2, 8, 3, |inner| {
        let join = proptest::sample::select(&["$and", "$or", "$nor"][..]);
        prop_oneof![
            (join, proptest::collection::vec(inner.clone(), 1..4))
                .prop_map(|(join, rules)| json!({ join: rules })),
            inner.prop_map(|rule| json!({ "$not": rule })),
        ]
    })
}

/// Text that is JSON more often than chance would have it, with the words of filters.
fn almost_json() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\":",
        "\"$not\":",
        "\"$in\":",
        "\"$gt\":",
        "\"$or\":[",
        "{\"a\":",
        "1",
        "-0.0e9",
        "1e999999999999999999999",
        "null",
        "true",
        "\"\\u0061\"",
        "\"",
        "\\",
        "\"\\ud800\"",
        " ",
        "é",
        "{\"a\":{\"$ne\":1}}",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..12)
        .prop_map(|words| words.concat())
}

fn asks(filter: &Json, payload: &str) -> Result<bool, TestCaseError> {
    let fail = |error: FilterError| TestCaseError::fail(format!("{filter}: {error}"));
    let filter = Filter::parse(&filter.to_string()).map_err(fail)?;
    let payload = Document::parse(payload.as_bytes()).ok_or(TestCaseError::fail("no payload"))?;
    let matches = filter.matches(&payload);
    prop_assert_eq!(filter.explain(&payload).is_none(), matches);
    Ok(matches)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_too_strange(
        text in prop_oneof![almost_json(), any::<String>(), rule().prop_map(|rule| rule.to_string())],
        other in almost_json(),
    ) {
        for (filter, payload) in [(&text, &other), (&other, &text), (&text, &text)] {
            let document = Document::parse(payload.as_bytes());
            let is_json = serde_json::from_str::<&serde_json::value::RawValue>(payload).is_ok();
            prop_assert_eq!(document.is_some(), is_json);
            if let (Ok(filter), Some(document)) = (Filter::parse(filter), document) {
                prop_assert_eq!(filter.explain(&document).is_none(), filter.matches(&document));
            }
        }
    }

    #[test]
    fn a_payload_is_read_as_serde_reads_it(payload in payload(), pretty in any::<bool>()) {
        let text = if pretty { format!("{payload:#}") } else { payload.to_string() };
        let document = Document::parse(text.as_bytes()).map(|document| document.root.to_string());
        let read: Option<Json> = document.and_then(|text| serde_json::from_str(&text).ok());
        prop_assert_eq!(read, Some(payload));
    }

    #[test]
    fn a_payload_equals_itself_only(one in payload(), other in payload()) {
        let payload = json!({ "x": one }).to_string();
        let is_element = one.as_array().is_some_and(|elements| elements.contains(&other));
        let equals_itself = asks(&json!({ "x": { "$eq": one } }), &payload)?;
        let equals_other = asks(&json!({ "x": { "$eq": other } }), &payload)?;
        prop_assert_eq!((equals_itself, equals_other), (true, one == other || is_element));
    }

    #[test]
    fn not_negates_and_joins_join(a in rule(), b in rule(), payload in payload()) {
        let payload = payload.to_string();
        let (is_a, is_b) = (asks(&a, &payload)?, asks(&b, &payload)?);
        prop_assert_eq!(asks(&json!({ "$not": a }), &payload)?, !is_a);
        prop_assert_eq!(asks(&json!({ "$and": [a, b] }), &payload)?, is_a && is_b);
        prop_assert_eq!(asks(&json!({ "$or": [a, b] }), &payload)?, is_a || is_b);
        prop_assert_eq!(asks(&json!({ "$nor": [a, b] }), &payload)?, !is_a && !is_b);
    }

    #[test]
    fn negative_operators_negate_positive_ones(path in path(), value in payload(), payload in payload()) {
        let payload = payload.to_string();
        let equal = asks(&json!({ &path: { "$eq": value } }), &payload)?;
        prop_assert_eq!(asks(&json!({ &path: { "$ne": value } }), &payload)?, !equal);
        prop_assert_eq!(asks(&json!({ &path: { "$in": [value] } }), &payload)?, equal);
        prop_assert_eq!(asks(&json!({ &path: { "$nin": [value] } }), &payload)?, !equal);
        prop_assert_eq!(asks(&json!({ &path: { "$not": { "$eq": value } } }), &payload)?, !equal);
    }

    #[test]
    fn numbers_compare_as_their_values_do(
        (a, any_b) in (long_number(), long_number()),
        near in proptest::option::of(-2..3_i128),
        (a_zeros, b_zeros) in (0..6_u32, 0..6_u32),
        (a_places, b_places) in (0..30_usize, 0..30_usize),
    ) {
        let a = a * 10_i128.pow(a_zeros);
        let b = near.map_or(any_b * 10_i128.pow(b_zeros), |distance| a + distance);
        let number = |text: String| number::Number::new(text.into());
        let (read_a, read_b) = (number(written(a, a_places)), number(written(b, b_places)));
        prop_assert_eq!(read_a.cmp(&read_b), a.cmp(&b), "{:?} {:?}", read_a, read_b);
    }
}

fn long_number() -> impl Strategy<Value = i128> {
    prop_oneof![
        -3000..3000_i128,
        -10_i128.pow(18)..10_i128.pow(19),
        -10_i128.pow(30)..10_i128.pow(30)
    ]
}

/// A number with its point moved to the left, and an exponent to make up for it.
fn written(number: i128, places: usize) -> String {
    let digits = format!("{:0>1$}", number.unsigned_abs(), places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if number < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}E+{places:02}")
}
