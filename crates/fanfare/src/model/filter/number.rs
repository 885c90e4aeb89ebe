//! Numbers as JSON writes them, compared exactly.

use std::borrow::Cow;
use std::cmp::Ordering;

/// A number of JSON, kept as it was written: ids of twenty digits and prices are no floats.
///
/// Numbers are equal when their values are: `1.10` and `1.1`, `1e2` and `100`, `-0` and `0`.
/// Exponents count up to 18 digits; beyond, all are alike.
#[derive(Debug, Clone)]
pub(super) struct Number<'a> {
    text: Cow<'a, str>,
    /// The digits from the first that is not zero, as many as there is room for, with the sign.
    head: i64,
    /// Where the decimal point stands, counted from that digit: the value is 0.ddd times ten to
    /// this power.
    magnitude: i64,
}

/// How many digits a head has, in a short number by zeros at its end.
const HEAD_DIGITS: u32 = 18;

impl<'a> Number<'a> {
    /// Takes the text of a number that is known to be one.
    pub(super) fn new(text: Cow<'a, str>) -> Self {
        let (mantissa, exponent) = split_exponent(&text);
        let (mut head, mut room) = (0_i64, HEAD_DIGITS);
        let (mut point, mut in_fraction) = (0_i64, false);
        for byte in mantissa.bytes() {
            match byte {
                b'.' => in_fraction = true,
                b'0' if head == 0 => point -= i64::from(in_fraction),
                b'0'..=b'9' => {
                    point += i64::from(!in_fraction);
                    if room > 0 {
                        head = head * 10 + i64::from(byte - b'0');
                        room -= 1;
                    }
                }
                _ => {}
            }
        }
        if head == 0 {
            return Number { text, head, magnitude: 0 };
        }
        let sign = if mantissa.starts_with('-') { -1 } else { 1 };
        let magnitude = exponent.map_or(0, power).saturating_add(point);
        Number { head: sign * head * 10_i64.pow(room), magnitude, text }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_owned(self) -> Number<'static> {
        Number { text: self.text.into_owned().into(), ..self }
    }

    /// The digits from the first to the last that is not zero.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let (mantissa, _) = split_exponent(&self.text);
        let from = mantissa.trim_start_matches(['-', '0', '.']);
        from.trim_end_matches(['0', '.']).bytes().filter(|byte| *byte != b'.')
    }

    /// Compares what is left of two numbers whose signs are the same.
    fn cmp_size(&self, other: &Self) -> Ordering {
        let by_head = self.head.unsigned_abs().cmp(&other.head.unsigned_abs());
        let size = self.magnitude.cmp(&other.magnitude).then(by_head);
        let head_is_all = |number: &Self| number.text.len() <= HEAD_DIGITS as usize;
        if size.is_ne() || head_is_all(self) && head_is_all(other) {
            return size;
        }
        self.digits().cmp(other.digits())
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.head.signum().cmp(&other.head.signum()).then_with(|| {
            let size = self.cmp_size(other);
            if self.head < 0 { size.reverse() } else { size }
        })
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Number<'_> {}

fn split_exponent(text: &str) -> (&str, Option<&str>) {
    let parts = text.split_once(['e', 'E']);
    parts.map_or((text, None), |(mantissa, exponent)| (mantissa, Some(exponent)))
}

/// An exponent as a number; what has no room is as far out as there is room for.
fn power(exponent: &str) -> i64 {
    let furthest = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
    exponent.parse().unwrap_or(furthest)
}
