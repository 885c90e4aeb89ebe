//! The table, for people and as JSON.

use serde_json::{Value, json};

/// What was measured, line by line.
#[derive(Default)]
pub(crate) struct Report {
    ceiling: Option<f64>,
    lines: Vec<Line>,
}

struct Line {
    name: String,
    value: f64,
    unit: &'static str,
    ratio: Option<f64>,
    target: Option<(&'static str, f64)>,
}

impl Report {
    /// A rate in requests or deliveries a second. The first one is the ceiling; the others are
    /// shown as a share of `ceiling`, measured beside them, which should be at least `target`.
    pub(crate) fn rate(&mut self, name: &str, value: f64, beside: Option<(f64, f64)>) {
        self.ceiling.get_or_insert(value);
        let ratio = beside.map(|(ceiling, _)| value / ceiling);
        let target = beside.map(|(_, target)| (">=", target));
        self.push(Line { name: name.to_owned(), value, unit: "/s", ratio, target });
    }

    /// Anything that should be at most `most`.
    pub(crate) fn at_most(&mut self, name: &str, value: f64, unit: &'static str, most: f64) {
        let target = Some(("<=", most));
        self.push(Line { name: name.to_owned(), value, unit, ratio: None, target });
    }

    /// Anything without a target.
    pub(crate) fn note(&mut self, name: &str, value: f64, unit: &'static str) {
        self.push(Line { name: name.to_owned(), value, unit, ratio: None, target: None });
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
    fn met(&self) -> Option<bool> {
        let measured = self.ratio.unwrap_or(self.value);
        self.target
            .map(|(sign, bound)| if sign == ">=" { measured >= bound } else { measured <= bound })
    }

    fn show(&self) -> String {
        let ratio = self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2} of the ceiling"));
        let target = self.target.map_or(String::new(), |(sign, bound)| format!("({sign} {bound})"));
        let met = match self.met() {
            Some(true) => "ok",
            Some(false) => "MISSED",
            None => "",
        };
        let value = format!("{:.*}", if self.value >= 1000.0 { 0 } else { 2 }, self.value);
        format!("{:<52} {value:>10} {:<5} {ratio:<20} {target:<10} {met}", self.name, self.unit)
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "ratio": self.ratio,
            "target": self.target.map(|(sign, bound)| format!("{sign} {bound}")),
            "met": self.met(),
        })
    }
}
