//! The table, for people and as JSON.

use serde_json::{Value, json};

/// What was measured, line by line.
#[derive(Default)]
pub(crate) struct Report {
    lines: Vec<Line>,
}

/// A figure of a run in which something is wrong, beside the same figure when all is well.
pub(crate) struct Pair {
    pub(crate) usual: f64,
    pub(crate) now: f64,
    pub(crate) unit: &'static str,
}

/// How much worse a figure may be than the usual one: by either of the two.
#[derive(Clone, Copy)]
pub(crate) struct Leeway {
    pub(crate) times: f64,
    pub(crate) plus: f64,
}

struct Line {
    name: String,
    /// Or why there is none.
    value: Result<f64, &'static str>,
    unit: &'static str,
    ratio: Option<Ratio>,
    /// What was asked for, and whether it was met.
    target: Option<(String, bool)>,
}

/// A value beside another one.
struct Ratio {
    ratio: f64,
    beside: f64,
    /// What the other one is.
    of: String,
}

impl Report {
    /// A rate a second, as a share of another one that was measured beside it and that is called
    /// `of`. The share should be at least `target`.
    pub(crate) fn share(&mut self, name: &str, rate: f64, of: (&'static str, f64), target: f64) {
        let (of, beside) = of;
        let ratio = rate / beside;
        self.push(Line {
            ratio: Some(Ratio { ratio, beside, of: of.to_owned() }),
            target: Some((format!(">= {target}"), ratio >= target)),
            ..Line::of(name, rate, "/s")
        });
    }

    /// A rate a second as a share of another one, without a target.
    pub(crate) fn compare(&mut self, name: &str, rate: f64, of: (&'static str, f64)) {
        let (of, beside) = of;
        let ratio = Some(Ratio { ratio: rate / beside, beside, of: of.to_owned() });
        self.push(Line { ratio, ..Line::of(name, rate, "/s") });
    }

    /// A figure that should be no worse than the usual one, with some leeway.
    pub(crate) fn beside(&mut self, name: &str, pair: &Pair, leeway: Leeway) {
        let Leeway { times, plus } = leeway;
        let (ratio, beside) = (pair.now / pair.usual, pair.usual);
        let or = if plus > 0.0 { format!(" or +{plus} {}", pair.unit) } else { String::new() };
        let met = ratio <= times || pair.now <= beside + plus;
        self.push(Line {
            ratio: Some(Ratio { ratio, beside, of: format!("{beside:.2} {}", pair.unit) }),
            target: Some((format!("<= {times}{or}"), met)),
            ..Line::of(name, pair.now, pair.unit)
        });
    }

    /// Anything that should be at least `least`.
    pub(crate) fn at_least(&mut self, name: &str, value: f64, unit: &'static str, least: f64) {
        let target = Some((format!(">= {least}"), value >= least));
        self.push(Line { target, ..Line::of(name, value, unit) });
    }

    /// Anything that should be at most `most`.
    pub(crate) fn at_most(&mut self, name: &str, value: f64, unit: &'static str, most: f64) {
        let target = Some((format!("<= {most}"), value <= most));
        self.push(Line { target, ..Line::of(name, value, unit) });
    }

    /// Anything without a target.
    pub(crate) fn note(&mut self, name: &str, value: f64, unit: &'static str) {
        self.push(Line::of(name, value, unit));
    }

    /// What cannot be measured, and why.
    pub(crate) fn absent(&mut self, name: &str, why: &'static str) {
        self.push(Line { value: Err(why), ..Line::of(name, 0.0, "") });
    }

    fn push(&mut self, line: Line) {
        println!("{}", line.show());
        self.lines.push(line);
    }

    /// Writes everything to `target/bench.json`.
    pub(crate) fn finish(&self) {
        let lines: Vec<Value> = self.lines.iter().map(Line::json).collect();
        let text = serde_json::to_string_pretty(&json!({ "lines": lines })).unwrap();
        std::fs::create_dir_all("target").unwrap();
        std::fs::write("target/bench.json", text).unwrap();
        println!("\nas JSON: target/bench.json");
    }
}

impl Line {
    fn of(name: &str, value: f64, unit: &'static str) -> Self {
        Line { name: name.to_owned(), value: Ok(value), unit, ratio: None, target: None }
    }

    fn show(&self) -> String {
        let ratio = self.ratio.as_ref();
        let ratio =
            ratio.map_or(String::new(), |Ratio { ratio, of, .. }| format!("{ratio:.2} of {of}"));
        let (target, met) = match &self.target {
            Some((target, true)) => (format!("({target})"), "ok"),
            Some((target, false)) => (format!("({target})"), "MISSED"),
            None => (String::new(), ""),
        };
        let value = match self.value {
            Ok(value) => format!("{:.*}", if value >= 1000.0 { 0 } else { 2 }, value),
            Err(why) => why.to_owned(),
        };
        let line = format!(
            "{:<58} {value:>10} {:<5} {ratio:<20} {target:<18} {met}",
            self.name, self.unit
        );
        line.trim_end().to_owned()
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value.ok(),
            "absent": self.value.err(),
            "unit": self.unit,
            "ratio": self.ratio.as_ref().map(|ratio| ratio.ratio),
            "beside": self.ratio.as_ref().map(|ratio| ratio.beside),
            "target": self.target.as_ref().map(|(target, _)| target),
            "met": self.target.as_ref().map(|(_, met)| met),
        })
    }
}
