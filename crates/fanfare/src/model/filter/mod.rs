//! Filters: which events an endpoint wants, by what stands in their payloads.
//!
//! A filter is a JSON object in the form that MongoDB made known. Each member is a condition, and
//! all of them must hold:
//!
//! ```json
//! {"customer.country": {"$in": ["BR", "PT"]}, "total": {"$gte": 100}, "lines.sku": "A-1"}
//! ```
//!
//! **Paths.** The name of a member is a path into the payload, its parts joined by dots. In an
//! array, a number is an index (`lines.0.sku`), and any other name is looked for in each element
//! that is an object: `lines.sku` is the sku of every line, and a condition on it holds when it
//! holds for one of them. Arrays that lie directly in arrays are not searched. A key of the payload
//! cannot be addressed if it has dots in it, starts with `$`, or is empty.
//!
//! **Values.** A value means equality: `{"status": "paid"}`. Arrays and objects are compared as
//! wholes, objects without regard to the order of their members; part of an object is not enough
//! (write a path for it). Where the payload has an array, an equal element is enough. An object
//! with `$` names is a set of operators, all of which must hold:
//!
//! | operator | holds when the value at the path |
//! |---|---|
//! | `$eq`, `$ne` (`$neq`) | is equal; is not |
//! | `$gt`, `$gte`, `$lt`, `$lte` | is greater, … : numbers with numbers, strings with strings |
//! | `$in`, `$nin` | is equal to one of a list; to none |
//! | `$startsWith` (`$prefix`), `$endsWith` | is a string that does |
//! | `$exists` (`$exist`) | is there (`true`) or is not (`false`); null is there |
//! | `$not` | does not satisfy a set of operators: `{"total": {"$not": {"$gt": 5}}}` |
//!
//! Other types never satisfy a comparison: `"120"` is not `$gte` 100. Numbers are exact decimals of
//! any length. Strings are compared by code point, case included, so dates in ISO 8601 and one time
//! zone compare as dates, but `"9"` is greater than `"10"`.
//!
//! **Several values.** Where the payload has an array, each operator holds when it holds for an
//! element; several operators may be satisfied by different elements. `$ne`, `$nin` and `$not`
//! negate the whole: `{"tags": {"$ne": "x"}}` says that no tag is `x`.
//!
//! **What is missing** is like null: `{"coupon": null}` holds when there is no coupon, and so does
//! `{"coupon": {"$ne": "X"}}`. To tell null from missing, use `$exists`.
//!
//! **Joining.** `$and`, `$or` and `$nor` (not even one) take a list of filters, `$not` takes a
//! filter; they stand where a path may stand. The empty filter `{}` holds for every event.
//!
//! **Limits.** 8 KiB of text, 16 levels, 100 conditions; a path has 1 to 256 characters. Nothing
//! is ignored: what a filter cannot mean, a name that stands twice included, is refused with the
//! place and the remedy.

mod document;
mod number;
mod parse;
#[cfg(test)]
mod tests;

use document::Value;
pub use document::{Document, Subject};

/// A filter on payloads. The form and the meaning are described in [the module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    text: String,
    rule: Rule,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct FilterError {
    /// The place in the filter, such as `filter.total.$gte` or `filter.$or[1]`.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub reason: String,
}

impl Filter {
    /// Compiles a filter from its JSON.
    pub fn parse(json: &str) -> Result<Filter, FilterError> {
        let rule = parse::rule(json)?;
        Ok(Filter { text: json.trim().to_owned(), rule })
    }

    /// The JSON as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Does an event with this payload pass?
    pub fn matches(&self, payload: &Document<'_>) -> bool {
        self.rule.holds(&payload.root)
    }

    /// Why an event with this payload does not pass: the first condition that fails, in a few
    /// words such as `total is 5, not $gte 100`. `None` if it passes.
    pub fn explain(&self, payload: &Document<'_>) -> Option<String> {
        self.rule.failure(&payload.root)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    All(Vec<Rule>),
    Any { place: String, rules: Vec<Rule> },
    Not { place: String, rule: Box<Rule> },
    Is(Condition),
}

impl Rule {
    fn holds(&self, payload: &Value<'_>) -> bool {
        match self {
            Rule::All(rules) => rules.iter().all(|rule| rule.holds(payload)),
            Rule::Any { rules, .. } => rules.iter().any(|rule| rule.holds(payload)),
            Rule::Not { rule, .. } => !rule.holds(payload),
            Rule::Is(condition) => condition.holds(payload),
        }
    }

    fn failure(&self, payload: &Value<'_>) -> Option<String> {
        match self {
            Rule::All(rules) => rules.iter().find_map(|rule| rule.failure(payload)),
            Rule::Any { place, rules } => {
                let failures = rules.iter().map(|rule| rule.failure(payload));
                let failures = failures.collect::<Option<Vec<_>>>()?;
                let first = failures.first().map_or("", String::as_str);
                Some(format!("nothing in {place} holds; first, {first}"))
            }
            Rule::Not { place, rule } => {
                rule.holds(payload).then(|| format!("what {place} excludes holds"))
            }
            Rule::Is(condition) => (!condition.holds(payload)).then(|| condition.failure(payload)),
        }
    }
}

/// An operator at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    path: Path,
    operator: Operator,
    /// Of the type that the operator needs; the list of `$in` is sorted.
    operand: Value<'static>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Nin,
    StartsWith,
    EndsWith,
    Exists,
}

impl Condition {
    fn holds(&self, payload: &Value<'_>) -> bool {
        let found = reach(Some(payload), &self.path.steps, &mut |value| self.fits(value));
        found != self.negates()
    }

    /// Does the condition hold when no value fits?
    fn negates(&self) -> bool {
        match self.operator {
            Operator::Ne | Operator::Nin => true,
            Operator::Exists => self.operand == Value::Bool(false),
            _ => false,
        }
    }

    fn fits(&self, value: Option<&Value<'_>>) -> bool {
        if self.operator == Operator::Exists {
            return value.is_some();
        }
        let value = value.unwrap_or(&Value::Null);
        let any = |elements: &[Value<'_>]| elements.iter().any(|element| self.fits_one(element));
        self.fits_one(value) || matches!(value, Value::Array(elements) if any(elements))
    }

    fn fits_one(&self, value: &Value<'_>) -> bool {
        let order = || match (value, &self.operand) {
            (Value::Number(value), Value::Number(bound)) => Some(value.cmp(bound)),
            (Value::String(value), Value::String(bound)) => Some(value.cmp(bound)),
            _ => None,
        };
        let texts = || match (value, &self.operand) {
            (Value::String(value), Value::String(part)) => Some((value.as_ref(), part.as_ref())),
            _ => None,
        };
        match self.operator {
            Operator::Exists => true,
            Operator::Eq | Operator::Ne => *value == self.operand,
            Operator::In | Operator::Nin => match &self.operand {
                Value::Array(list) => list.binary_search(value).is_ok(),
                _ => false,
            },
            Operator::Gt => order().is_some_and(|order| order.is_gt()),
            Operator::Gte => order().is_some_and(|order| order.is_ge()),
            Operator::Lt => order().is_some_and(|order| order.is_lt()),
            Operator::Lte => order().is_some_and(|order| order.is_le()),
            Operator::StartsWith => texts().is_some_and(|(text, part)| text.starts_with(part)),
            Operator::EndsWith => texts().is_some_and(|(text, part)| text.ends_with(part)),
        }
    }

    /// What is said of a payload for which the condition does not hold.
    fn failure(&self, payload: &Value<'_>) -> String {
        let (mut first, mut others) = (None, 0_usize);
        reach(Some(payload), &self.path.steps, &mut |value| {
            match (value, &first) {
                (Some(value), None) if self.fits(Some(value)) == self.negates() => {
                    first = Some(value.shown());
                }
                (Some(_), _) => others += 1,
                (None, _) => {}
            }
            false
        });
        let others = if others == 0 { String::new() } else { format!(" (and {others} more)") };
        let found = first.unwrap_or_else(|| "missing".to_owned());
        let (name, operand) = (self.operator.name(), self.operand.shown());
        format!("{} is {found}{others}, not {name} {operand}", self.path.text)
    }
}

/// A way into a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    name: String,
    /// The name as a place in an array.
    index: Option<usize>,
}

/// Shows what stands at the end of a path to `accept` until it accepts one; `None` is a value that
/// is missing. From one value each step leads to other values, never twice to the same, so the
/// walk is no longer than the payload.
fn reach<'v>(
    value: Option<&'v Value<'v>>,
    path: &[Step],
    accept: &mut dyn FnMut(Option<&'v Value<'v>>) -> bool,
) -> bool {
    let Some((step, rest)) = path.split_first() else { return accept(value) };
    match (value, step.index) {
        (Some(Value::Object(members)), _) => {
            let at = members.binary_search_by(|(name, _)| name.as_ref().cmp(&step.name));
            let member = at.ok().and_then(|at| members.get(at));
            reach(member.map(|(_, value)| value), rest, accept)
        }
        (Some(Value::Array(elements)), Some(index)) => reach(elements.get(index), rest, accept),
        (Some(Value::Array(elements)), None) => elements
            .iter()
            .filter(|element| matches!(element, Value::Object(_)))
            .any(|element| reach(Some(element), path, accept)),
        _ => accept(None),
    }
}
