//! From the JSON of a filter to its rule.

use serde_json::value::RawValue;

use super::document::{Members, Value};
use super::{Condition, FilterError, Operator, Path, Rule, Step};

/// The longest filter, in bytes.
const TEXT_MAX: usize = 8 << 10;
/// The deepest that a filter may nest.
const DEPTH_MAX: usize = 16;
/// The most operators in a filter.
const CONDITIONS_MAX: usize = 100;
/// The longest path, in characters.
const PATH_MAX: usize = 256;
/// The most of a name that an error repeats, in characters.
const NAME_SHOWN_MAX: usize = 60;

/// Every spelling of every operator; the first of its spellings is the one that is shown.
const OPERATORS: &[(&str, Operator)] = &[
    ("$eq", Operator::Eq),
    ("$ne", Operator::Ne),
    ("$neq", Operator::Ne),
    ("$gt", Operator::Gt),
    ("$gte", Operator::Gte),
    ("$lt", Operator::Lt),
    ("$lte", Operator::Lte),
    ("$in", Operator::In),
    ("$nin", Operator::Nin),
    ("$startsWith", Operator::StartsWith),
    ("$prefix", Operator::StartsWith),
    ("$endsWith", Operator::EndsWith),
    ("$exists", Operator::Exists),
    ("$exist", Operator::Exists),
];

/// What others offer and we do not, with what to do instead.
const REMEDIES: &[(&str, &str)] = &[
    ("$regex", "patterns are not supported; use $startsWith or $endsWith"),
    (
        "$elemMatch",
        "is not supported; conditions on an array hold for any of its elements, each on its own",
    ),
    ("$contains", "is not supported; equality with an array holds for any of its elements"),
    (
        "$ref",
        "is not supported; a value is compared with what the filter says, not with another value",
    ),
];

impl Operator {
    fn named(name: &str) -> Option<Operator> {
        OPERATORS.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    pub(super) fn name(self) -> &'static str {
        OPERATORS.iter().find(|(_, operator)| *operator == self).map_or("", |(name, _)| name)
    }
}

/// Compiles the JSON of a filter.
pub(super) fn rule(json: &str) -> Result<Rule, FilterError> {
    let place = Place("filter".to_owned());
    if json.len() > TEXT_MAX {
        return place.refuse(format!("has {} bytes; at most {TEXT_MAX} are allowed", json.len()));
    }
    let raw: &RawValue = match serde_json::from_str(json) {
        Ok(raw) => raw,
        Err(error) => return place.refuse(format!("is not JSON: {error}")),
    };
    let Some(value) = Value::as_written(raw, DEPTH_MAX) else {
        return place.refuse(format!("nests deeper than {DEPTH_MAX} levels"));
    };
    refuse_repetitions(&value, &place)?;
    Compiler { conditions: 0 }.filter(value, &place)
}

/// Where in the filter something stands.
struct Place(String);

impl Place {
    fn member(&self, name: &str) -> Place {
        let brief: String = name.chars().take(NAME_SHOWN_MAX).collect();
        let more = if brief.len() < name.len() { "…" } else { "" };
        Place(format!("{}.{brief}{more}", self.0))
    }

    fn element(&self, index: usize) -> Place {
        Place(format!("{}[{index}]", self.0))
    }

    fn refuse<T>(&self, reason: impl Into<String>) -> Result<T, FilterError> {
        Err(FilterError { path: self.0.clone(), reason: reason.into() })
    }

    /// The place as it is named within the filter.
    fn inside(&self) -> String {
        self.0.strip_prefix("filter.").unwrap_or(&self.0).to_owned()
    }
}

/// A name that stands twice would drop a condition.
fn refuse_repetitions(value: &Value<'_>, place: &Place) -> Result<(), FilterError> {
    match value {
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(at, element)| refuse_repetitions(element, &place.element(at))),
        Value::Object(members) => {
            let mut names = std::collections::HashSet::new();
            members.iter().try_for_each(|(name, value)| {
                let place = place.member(name);
                if !names.insert(name) {
                    return place.refuse("stands twice; join conditions on one path with $and");
                }
                refuse_repetitions(value, &place)
            })
        }
        _ => Ok(()),
    }
}

/// An operator within a value that is compared as a whole would never be asked.
fn refuse_operators(value: &Value<'_>, place: &Place) -> Result<(), FilterError> {
    match value {
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            .try_for_each(|(at, element)| refuse_operators(element, &place.element(at))),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            let place = place.member(name);
            if name.starts_with('$') {
                return place.refuse(
                    "an operator must follow a whole path, such as \"customer.country\"; \
                     to compare with an object that has this key, use $eq",
                );
            }
            refuse_operators(value, &place)
        }),
        _ => Ok(()),
    }
}

struct Compiler {
    conditions: usize,
}

impl Compiler {
    /// An object of paths and of operators that join filters.
    fn filter(&mut self, value: Value<'_>, place: &Place) -> Result<Rule, FilterError> {
        let Value::Object(members) = value else {
            let kind = value.kind();
            return place
                .refuse(format!("must be an object such as {{\"status\": \"paid\"}}, not {kind}"));
        };
        let rules = members.into_iter().map(|(name, value)| {
            let place = place.member(&name);
            match name.as_ref() {
                "$and" => self.filters(value, &place).map(Rule::All),
                "$or" => self.any(value, &place),
                "$nor" => self.any(value, &place).map(|rule| not(rule, &place)),
                "$not" => self.filter(value, &place).map(|rule| not(rule, &place)),
                operator if operator.starts_with('$') => refuse_at_top(operator, &place),
                path => self.at(parse_path(path, &place)?, value, &place),
            }
        });
        rules.collect::<Result<_, _>>().map(Rule::All)
    }

    fn any(&mut self, value: Value<'_>, place: &Place) -> Result<Rule, FilterError> {
        let rules = self.filters(value, place)?;
        Ok(Rule::Any { place: place.inside(), rules })
    }

    fn filters(&mut self, value: Value<'_>, place: &Place) -> Result<Vec<Rule>, FilterError> {
        match value {
            Value::Array(filters) if !filters.is_empty() => filters
                .into_iter()
                .enumerate()
                .map(|(at, filter)| self.filter(filter, &place.element(at)))
                .collect(),
            Value::Array(_) => place.refuse("must have at least one filter"),
            other => place.refuse(format!("must be an array of filters, not {}", other.kind())),
        }
    }

    /// What is asked of the value at a path.
    fn at(&mut self, path: Path, value: Value<'_>, place: &Place) -> Result<Rule, FilterError> {
        match value {
            Value::Object(members) if members.iter().any(|(name, _)| name.starts_with('$')) => {
                self.operators(&path, members, place)
            }
            value => {
                refuse_operators(&value, place)?;
                self.condition(Condition { path, operator: Operator::Eq, operand: value.settled() })
            }
        }
    }

    fn operators(
        &mut self,
        path: &Path,
        members: Members<'_>,
        place: &Place,
    ) -> Result<Rule, FilterError> {
        let rules = members.into_iter().map(|(name, value)| {
            let place = place.member(&name);
            if !name.starts_with('$') {
                return place
                    .refuse("is no operator, but stands among them; operators start with $");
            }
            if name == "$not" {
                return match value {
                    Value::Object(members) if !members.is_empty() => {
                        self.operators(path, members, &place).map(|rule| not(rule, &place))
                    }
                    _ => place.refuse("must be an object of operators such as {\"$gt\": 100}"),
                };
            }
            let Some(operator) = Operator::named(&name) else {
                return refuse_unknown(&name, &place);
            };
            let operand = operand(operator, value, &place)?;
            self.condition(Condition { path: path.clone(), operator, operand })
        });
        rules.collect::<Result<_, _>>().map(Rule::All)
    }

    fn condition(&mut self, condition: Condition) -> Result<Rule, FilterError> {
        self.conditions += 1;
        if self.conditions > CONDITIONS_MAX {
            let place = Place("filter".to_owned());
            return place.refuse(format!("has more than {CONDITIONS_MAX} conditions"));
        }
        Ok(Rule::Is(condition))
    }
}

fn not(rule: Rule, place: &Place) -> Rule {
    Rule::Not { place: place.inside(), rule: Box::new(rule) }
}

fn operand(
    operator: Operator,
    value: Value<'_>,
    place: &Place,
) -> Result<Value<'static>, FilterError> {
    let kind = value.kind();
    match (operator, value.settled()) {
        (Operator::Eq | Operator::Ne, value) => Ok(value),
        (Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte, value) => match value {
            Value::Number(_) | Value::String(_) => Ok(value),
            _ => place.refuse(format!("must be a number or a string, not {kind}")),
        },
        (Operator::In | Operator::Nin, value) => match value {
            Value::Array(list) if list.is_empty() => place.refuse("must have at least one value"),
            Value::Array(mut list) => {
                list.sort();
                list.dedup();
                Ok(Value::Array(list))
            }
            _ => place.refuse(format!("must be an array, not {kind}")),
        },
        (Operator::StartsWith | Operator::EndsWith, value) => match value {
            Value::String(_) => Ok(value),
            _ => place.refuse(format!("must be a string, not {kind}")),
        },
        (Operator::Exists, value) => match value {
            Value::Bool(_) => Ok(value),
            _ => place.refuse(format!("must be true or false, not {kind}")),
        },
    }
}

fn parse_path(text: &str, place: &Place) -> Result<Path, FilterError> {
    if text.is_empty() {
        return place.refuse("a path must not be empty");
    }
    if text.chars().count() > PATH_MAX {
        return place.refuse(format!("a path has at most {PATH_MAX} characters"));
    }
    let mut steps = Vec::new();
    for name in text.split('.') {
        if name.is_empty() {
            return place
                .refuse("nothing stands beside one of the dots; a path is such as \"a.b\"");
        }
        if name.starts_with('$') {
            return place
                .refuse("no part of a path may start with $; arrays are searched without it");
        }
        steps.push(Step { name: name.to_owned(), index: index(name) });
    }
    Ok(Path { text: text.to_owned(), steps })
}

/// A name as an index: digits, and no zero before others.
fn index(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|byte| byte.is_ascii_digit());
    if plain && (name == "0" || !name.starts_with('0')) { name.parse().ok() } else { None }
}

fn refuse_at_top<T>(name: &str, place: &Place) -> Result<T, FilterError> {
    if Operator::named(name).is_none() {
        return refuse_unknown(name, place);
    }
    place.refuse(format!("needs a path around it, such as {{\"total\": {{\"{name}\": …}}}}"))
}

fn refuse_unknown<T>(name: &str, place: &Place) -> Result<T, FilterError> {
    if ["$and", "$or", "$nor"].contains(&name) {
        return place.refuse("joins filters, not operators; write it around the path");
    }
    if let Some((_, remedy)) = REMEDIES.iter().find(|(known, _)| *known == name) {
        return place.refuse(*remedy);
    }
    let known: Vec<&str> = OPERATORS.iter().map(|(known, _)| *known).collect();
    place
        .refuse(format!("is no operator; there are {}, $not, $and, $or and $nor", known.join(", ")))
}
