mod properties;

use super::*;

fn filter(json: &str) -> Filter {
    Filter::parse(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn document(json: &str) -> Document<'_> {
    Document::parse(json.as_bytes()).unwrap_or_else(|| panic!("{json} is no payload"))
}

/// Asks every filter about one payload: those that pass it, then those that do not.
fn judge(payload: &str, pass: &[&str], fail: &[&str]) {
    let payload = document(payload);
    for (filters, expected) in [(pass, true), (fail, false)] {
        for json in filters {
            let filter = filter(json);
            assert_eq!(filter.matches(&payload), expected, "{json} about {:?}", payload.root);
            assert_eq!(filter.explain(&payload).is_none(), expected, "{json}");
        }
    }
}

#[test]
fn a_value_means_equality() {
    judge(
        r#"{"status": "paid", "total": 5, "test": false, "note": null, "to": {"x": 1, "y": [2]}}"#,
        &[
            "{}",
            r#"{"status": "paid"}"#,
            r#"{"status": "paid", "total": 5}"#,
            r#"{"st\u0061tus": "p\u0061id"}"#,
            r#"{"test": false}"#,
            r#"{"note": null}"#,
            r#"{"to": {"y": [2], "x": 1}}"#,
            r#"{"to.x": 1}"#,
            r#"{"status": {"$eq": "paid"}}"#,
        ],
        &[
            r#"{"status": "PAID"}"#,
            r#"{"status": "paid", "total": 6}"#,
            r#"{"total": "5"}"#,
            r#"{"test": 0}"#,
            r#"{"note": ""}"#,
            r#"{"to": {"x": 1}}"#,
            r#"{"to": {"x": 1, "y": [2], "z": 3}}"#,
            r#"{"to": {}}"#,
            r#"{"to": {"x": 1, "y": 2}}"#,
            r#"{"status.paid": "paid"}"#,
        ],
    );
}

#[test]
fn comparisons_are_between_numbers_or_between_strings() {
    judge(
        r#"{"total": 99.5, "day": "2024-03-01", "low": -3, "yes": true, "no": null, "text": "120"}"#,
        &[
            r#"{"total": {"$gt": 99}}"#,
            r#"{"total": {"$gte": 99.50, "$lte": 99.5}}"#,
            r#"{"total": {"$lt": 100}}"#,
            r#"{"low": {"$lt": -2, "$gt": -4}}"#,
            r#"{"day": {"$gte": "2024-01-01", "$lt": "2025"}}"#,
            r#"{"text": {"$lt": "9"}}"#,
        ],
        &[
            r#"{"total": {"$gt": 99.5}}"#,
            r#"{"total": {"$lt": 99.5}}"#,
            r#"{"total": {"$gt": 99, "$lt": 99.2}}"#,
            r#"{"text": {"$gte": 100}}"#,
            r#"{"text": {"$lt": 1000}}"#,
            r#"{"total": {"$gte": ""}}"#,
            r#"{"yes": {"$gte": 0}}"#,
            r#"{"no": {"$lte": 0}}"#,
            r#"{"missing": {"$lte": 0}}"#,
        ],
    );
}

#[test]
fn numbers_are_exact() {
    judge(
        r#"{"id": 12345678901234567891, "price": 1.10, "e": 1e2, "zero": -0, "tiny": 0.0010e-3,
            "far": 1e999999999, "further": -1E+99999999999999999999, "long": 0.30000000000000000001}"#,
        &[
            r#"{"id": 12345678901234567891}"#,
            r#"{"id": {"$gt": 12345678901234567890, "$lt": 12345678901234567892}}"#,
            r#"{"price": 1.1}"#,
            r#"{"price": 11e-1}"#,
            r#"{"price": {"$in": [3, 1.100, 2]}}"#,
            r#"{"e": 100}"#,
            r#"{"e": 0.01E+4}"#,
            r#"{"zero": 0}"#,
            r#"{"zero": 0e7}"#,
            r#"{"zero": -0.00}"#,
            r#"{"tiny": 1e-6}"#,
            r#"{"tiny": {"$lt": 0.001, "$gt": 0}}"#,
            r#"{"far": {"$gt": 1e999999998}}"#,
            r#"{"far": {"$lt": 1e9999999999}}"#,
            r#"{"far": 10e999999998}"#,
            r#"{"further": {"$lt": -1e999}}"#,
            r#"{"long": {"$gt": 0.3}}"#,
        ],
        &[
            r#"{"id": 12345678901234567890}"#,
            r#"{"id": 12345678901234567892}"#,
            r#"{"id": 1234567890123456789}"#,
            r#"{"price": 1.11}"#,
            r#"{"price": -1.1}"#,
            r#"{"price": 11}"#,
            r#"{"e": 10}"#,
            r#"{"zero": 1e-999999999}"#,
            r#"{"zero": {"$gt": -0}}"#,
            r#"{"far": 1e999999998}"#,
            r#"{"long": 0.3}"#,
        ],
    );
}

#[test]
fn an_array_fits_when_one_of_its_elements_does() {
    judge(
        r#"{"tags": ["a", "b"], "scores": [1, 10], "deep": [["x"], "y"], "none": [],
            "lines": [{"sku": "A-1", "qty": 2}, {"sku": "B-2", "of": [{"id": 7}]}, "text"]}"#,
        &[
            r#"{"tags": "a"}"#,
            r#"{"tags": ["a", "b"]}"#,
            r#"{"tags": {"$in": ["x", "b"]}}"#,
            r#"{"tags": {"$in": [["a", "b"]]}}"#,
            r#"{"tags": {"$nin": ["x", "y"]}}"#,
            r#"{"tags": {"$ne": "c"}}"#,
            r#"{"tags.1": "b"}"#,
            r#"{"scores": {"$gt": 9}}"#,
            r#"{"scores": {"$gt": 9, "$lt": 2}}"#,
            r#"{"tags": {"$startsWith": "b"}}"#,
            r#"{"deep": ["x"]}"#,
            r#"{"deep": "y"}"#,
            r#"{"deep.0": "x"}"#,
            r#"{"deep.0.0": "x"}"#,
            r#"{"lines.sku": "B-2"}"#,
            r#"{"lines.0.sku": "A-1"}"#,
            r#"{"lines.of.id": 7}"#,
            r#"{"lines.1.of.0.id": 7}"#,
            r#"{"lines.qty": null}"#,
            r#"{"lines.qty": {"$exists": true}}"#,
            r#"{"lines": {"sku": "A-1", "qty": 2}}"#,
            r#"{"none": []}"#,
            r#"{"none": {"$exists": true}}"#,
            r#"{"none": {"$ne": null}}"#,
            r#"{"none.sku": {"$exists": false}}"#,
            r#"{"tags.7": null}"#,
        ],
        &[
            r#"{"tags": "c"}"#,
            r#"{"tags": ["b", "a"]}"#,
            r#"{"tags": ["a"]}"#,
            r#"{"tags": {"$ne": "a"}}"#,
            r#"{"tags": {"$nin": ["a", "z"]}}"#,
            r#"{"tags": {"$not": {"$eq": "b"}}}"#,
            r#"{"tags.01": "b"}"#,
            r#"{"tags.7": "b"}"#,
            r#"{"scores": {"$gt": 10}}"#,
            r#"{"deep": "x"}"#,
            r#"{"lines.sku": {"$ne": "B-2"}}"#,
            r#"{"lines.0.sku": "B-2"}"#,
            r#"{"lines.sku": null}"#,
            r#"{"lines.sku": {"$exists": false}}"#,
            r#"{"none.sku": null}"#,
            r#"{"none": null}"#,
            r#"{"tags.x": null}"#,
        ],
    );
}

#[test]
fn what_is_missing_is_like_null_but_does_not_exist() {
    judge(
        r#"{"null": null, "a": {"b": 1}}"#,
        &[
            r#"{"x": null}"#,
            r#"{"x.y.z": null}"#,
            r#"{"a.b.c": null}"#,
            r#"{"x": {"$in": [1, null]}}"#,
            r#"{"x": {"$ne": 1}}"#,
            r#"{"x": {"$nin": [1, 2]}}"#,
            r#"{"x": {"$exists": false}}"#,
            r#"{"null": {"$exists": true}}"#,
            r#"{"a.b": {"$ne": null}}"#,
            r#"{"x": {"$not": {"$gt": 1}}}"#,
        ],
        &[
            r#"{"x": 1}"#,
            r#"{"x": {"$ne": null}}"#,
            r#"{"x": {"$nin": [1, null]}}"#,
            r#"{"x": {"$exists": true}}"#,
            r#"{"null": {"$exists": false}}"#,
            r#"{"a.b": null}"#,
            r#"{"x": {"$startsWith": ""}}"#,
        ],
    );
}

#[test]
fn text_is_found_at_its_ends() {
    judge(
        r#"{"sku": "ÄB-12", "n": 12, "empty": ""}"#,
        &[
            r#"{"sku": {"$startsWith": "ÄB-"}}"#,
            r#"{"sku": {"$prefix": "\u00c4"}}"#,
            r#"{"sku": {"$endsWith": "12"}}"#,
            r#"{"sku": {"$startsWith": "ÄB-12", "$endsWith": "ÄB-12"}}"#,
            r#"{"empty": {"$startsWith": ""}}"#,
        ],
        &[
            r#"{"sku": {"$startsWith": "äB"}}"#,
            r#"{"sku": {"$endsWith": "ÄB-123"}}"#,
            r#"{"n": {"$startsWith": "1"}}"#,
            r#"{"empty": {"$endsWith": " "}}"#,
        ],
    );
}

#[test]
fn filters_are_joined_and_negated() {
    judge(
        r#"{"a": 1, "b": 2}"#,
        &[
            r#"{"$and": [{"a": 1}, {"b": 2}]}"#,
            r#"{"$or": [{"a": 7}, {"b": 2}]}"#,
            r#"{"$nor": [{"a": 7}, {"b": 7}]}"#,
            r#"{"$not": {"a": 1, "b": 7}}"#,
            r#"{"a": 1, "$or": [{"b": 2}, {"b": 3}], "$not": {"b": 3}}"#,
            r#"{"$and": [{"$or": [{"a": 1}, {"a": 2}]}, {"$or": [{"b": 1}, {"b": 2}]}]}"#,
            r#"{"a": {"$not": {"$gt": 0, "$lt": 1}}}"#,
            r#"{"a": {"$not": {"$not": {"$eq": 1}}}}"#,
            r#"{"a": {"$neq": 7, "$exist": true}}"#,
            r#"{"$not": {"$not": {}}}"#,
        ],
        &[
            r#"{"$and": [{"a": 1}, {"b": 7}]}"#,
            r#"{"$or": [{"a": 7}, {"b": 7}]}"#,
            r#"{"$nor": [{"a": 7}, {"b": 2}]}"#,
            r#"{"$not": {"a": 1, "b": 2}}"#,
            r#"{"a": 7, "$or": [{"b": 2}]}"#,
            r#"{"a": {"$not": {"$gt": 0}}}"#,
            r#"{"$not": {}}"#,
        ],
    );
}

#[test]
fn any_json_value_is_a_payload() {
    judge(r#"[{"a": 1}, {"a": 2}]"#, &[r#"{"a": 2}"#, r#"{"0.a": 1}"#], &[r#"{"1.a": 1}"#]);
    judge("7", &["{}", r#"{"a": null}"#], &[r#"{"a": 7}"#]);
    // The last of two members counts, as it does for most receivers.
    judge(r#"{"a": 1, "b": 0, "a": 2}"#, &[r#"{"a": 2}"#], &[r#"{"a": 1}"#]);
    // Half of a surrogate pair is JSON.
    judge(r#"{"a": "\ud800", "b": 1}"#, &[r#"{"b": 1}"#], &[r#"{"a": ""}"#]);
    for no_payload in ["", "{", "nul", "1 2", "\u{feff}1", "01", "{\"a\":1,}"] {
        assert!(Document::parse(no_payload.as_bytes()).is_none(), "{no_payload}");
    }
    assert!(Document::parse(b"\"\xff\"").is_none());
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(Document::parse(nested(128).as_bytes()).is_some());
    assert!(Document::parse(nested(129).as_bytes()).is_none());
    assert!(Document::parse(nested(100_000).as_bytes()).is_none());
}

#[test]
fn a_failure_names_the_first_condition_that_fails() {
    let payload = r#"{"total": 5.00, "status": "draft", "tags": ["a", "b"],
        "lines": [{"sku": "A"}, {"sku": "B"}, {}], "long": [1000000, 2000000, 3000000, 4000000,
        5000000, 6000000, 7000000, 8000000, 9000000]}"#;
    let cut = "[1000000,2000000,3000000,4000000,5000000,6000000,7000000,800…";
    for (json, reason) in [
        (r#"{"total": {"$gt": 1, "$gte": 100}}"#, "total is 5.00, not $gte 100"),
        (r#"{"status": "draft", "total": 6}"#, "total is 5.00, not $eq 6"),
        (r#"{"status": {"$neq": "draft"}}"#, r#"status is "draft", not $ne "draft""#),
        (r#"{"coupon": {"$in": ["x", "b"]}}"#, r#"coupon is missing, not $in ["b","x"]"#),
        (r#"{"coupon": {"$exists": true}}"#, "coupon is missing, not $exists true"),
        (r#"{"total": {"$exists": false}}"#, "total is 5.00, not $exists false"),
        (r#"{"tags": "c"}"#, r#"tags is ["a","b"], not $eq "c""#),
        (r#"{"lines.sku": "C"}"#, r#"lines.sku is "A" (and 1 more), not $eq "C""#),
        (r#"{"lines.sku": {"$ne": "B"}}"#, r#"lines.sku is "B" (and 1 more), not $ne "B""#),
        (r#"{"long": 1}"#, &format!("long is {cut}, not $eq 1")),
        (
            r#"{"$or": [{"total": 1}, {"total": 2}]}"#,
            "nothing in $or holds; first, total is 5.00, not $eq 1",
        ),
        (r#"{"$and": [{"$nor": [{"total": 5}]}]}"#, "what $and[0].$nor excludes holds"),
        (r#"{"total": {"$not": {"$lt": 6}}}"#, "what total.$not excludes holds"),
    ] {
        assert_eq!(filter(json).explain(&document(payload)).as_deref(), Some(reason));
    }
}

/// Each of these is no filter, for the reason beside it.
fn refuse(filters: &[(&str, &str)]) {
    for (json, error) in filters {
        let refused = Filter::parse(json).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some(*error), "{json}");
    }
}

#[test]
fn a_wrong_operand_is_refused_with_its_place_and_remedy() {
    refuse(&[
        ("", "filter: is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{\"a\": 1", "filter: is not JSON: EOF while parsing an object at line 1 column 7"),
        ("[]", "filter: must be an object such as {\"status\": \"paid\"}, not an array"),
        ("null", "filter: must be an object such as {\"status\": \"paid\"}, not null"),
        (
            r#"{"total": {"$gte": {}}}"#,
            "filter.total.$gte: must be a number or a string, not an object",
        ),
        (r#"{"a": {"$lt": null}}"#, "filter.a.$lt: must be a number or a string, not null"),
        (r#"{"a": {"$in": "x"}}"#, "filter.a.$in: must be an array, not a string"),
        (r#"{"a": {"$nin": []}}"#, "filter.a.$nin: must have at least one value"),
        (r#"{"a": {"$startsWith": 1}}"#, "filter.a.$startsWith: must be a string, not a number"),
        (r#"{"a": {"$exists": 1}}"#, "filter.a.$exists: must be true or false, not a number"),
        (
            r#"{"a": {"$not": 1}}"#,
            "filter.a.$not: must be an object of operators such as {\"$gt\": 100}",
        ),
        (
            r#"{"a": {"$not": {}}}"#,
            "filter.a.$not: must be an object of operators such as {\"$gt\": 100}",
        ),
    ]);
}

#[test]
fn what_a_filter_cannot_mean_is_refused_with_its_place_and_remedy() {
    refuse(&[
        (r#"{"$or": {}}"#, "filter.$or: must be an array of filters, not an object"),
        (r#"{"$and": []}"#, "filter.$and: must have at least one filter"),
        (
            r#"{"$or": [{}, 1]}"#,
            "filter.$or[1]: must be an object such as {\"status\": \"paid\"}, not a number",
        ),
        (
            r#"{"$gte": 1}"#,
            "filter.$gte: needs a path around it, such as {\"total\": {\"$gte\": …}}",
        ),
        (
            r#"{"$not": {"a": {"$regex": "^x"}}}"#,
            "filter.$not.a.$regex: patterns are not supported; use $startsWith or $endsWith",
        ),
        (
            r#"{"a": {"$or": [1]}}"#,
            "filter.a.$or: joins filters, not operators; write it around the path",
        ),
        (
            r#"{"a": {"$GT": 1}}"#,
            "filter.a.$GT: is no operator; there are $eq, $ne, $neq, $gt, $gte, $lt, $lte, $in, \
             $nin, $startsWith, $prefix, $endsWith, $exists, $exist, $not, $and, $or and $nor",
        ),
        (
            r#"{"a": {"$gt": 1, "b": 2}}"#,
            "filter.a.b: is no operator, but stands among them; operators start with $",
        ),
        (
            r#"{"data": {"total": {"$gt": 1}}}"#,
            "filter.data.total.$gt: an operator must follow a whole path, such as \
             \"customer.country\"; to compare with an object that has this key, use $eq",
        ),
        (
            r#"{"a": 1, "b": 2, "\u0061": 3}"#,
            "filter.a: stands twice; join conditions on one path with $and",
        ),
        (
            r#"{"$or": [{"a": {"$gt": 1, "$gt": 2}}]}"#,
            "filter.$or[0].a.$gt: stands twice; join conditions on one path with $and",
        ),
        (r#"{"": 1}"#, "filter.: a path must not be empty"),
        (
            r#"{"a..b": 1}"#,
            "filter.a..b: nothing stands beside one of the dots; a path is such as \"a.b\"",
        ),
        (
            r#"{"data.$.sku": 1}"#,
            "filter.data.$.sku: no part of a path may start with $; arrays are searched without it",
        ),
    ]);
}

#[test]
fn a_filter_has_its_limits() {
    let nested = |levels: usize| "{\"$not\":".repeat(levels - 1) + "{}" + &"}".repeat(levels - 1);
    let conditions = |many: usize| format!("{{\"$or\": [{}]}}", vec!["{\"a\":1}"; many].join(","));
    let path = |length: usize| format!("{{\"{}\": 1}}", "ä".repeat(length));
    let sized = |bytes: usize| format!("{{\"a\": \"{}\"}}", "x".repeat(bytes - 9));
    for (fits, too_much, error) in [
        (nested(16), nested(17), "filter: nests deeper than 16 levels"),
        (conditions(100), conditions(101), "filter: has more than 100 conditions"),
        (path(256), path(257), "a path has at most 256 characters"),
        (sized(8192), sized(8193), "filter: has 8193 bytes; at most 8192 are allowed"),
    ] {
        assert_eq!(Filter::parse(&fits).err(), None);
        let refused = Filter::parse(&too_much).unwrap_err().to_string();
        assert!(refused.ends_with(error) && refused.len() < 200, "{refused}");
    }
    assert!(Filter::parse(&"[".repeat(8000)).is_err());
}

#[test]
fn an_object_with_operator_keys_can_be_compared_if_asked_for() {
    judge(
        r##"{"schema": {"$ref": "#/x"}}"##,
        &[r##"{"schema": {"$eq": {"$ref": "#/x"}}}"##],
        &[r##"{"schema": {"$eq": {"$ref": "#/y"}}}"##],
    );
}

#[test]
fn a_filter_is_kept_as_it_was_given() {
    let given = "{ \"a\" :\t1.10 }";
    assert_eq!(filter(&format!(" {given}\n")).as_str(), given);
    assert_eq!(filter(given), filter(given).clone());
}
