//! Ranges of numbers, as the schema states them: for the reader's check, its messages and the field reference.

use serde_json::Value as Json;

use super::node::shown_number;

/// Whether a number is inside the range of its schema. NaN and infinity never are.
pub fn is_inside(schema: &Json, value: f64) -> bool {
    value.is_finite()
        && schema["minimum"].as_f64().is_none_or(|low| value >= low)
        && schema["maximum"].as_f64().is_none_or(|high| value <= high)
}

/// The number that a schema expects, in words.
pub fn expectation(schema: &Json, whole: bool) -> String {
    let noun = if whole { "a whole number" } else { "a number" };
    match (bound(&schema["minimum"]), bound(&schema["maximum"])) {
        (Some(low), Some(high)) => format!("{noun} from {low} to {high}"),
        (Some(low), None) => format!("{noun}, at least {low}"),
        (None, Some(high)) => format!("{noun}, at most {high}"),
        (None, None) => noun.to_string(),
    }
}

/// A bound as text: whole numbers without a point, also those that f64 would round.
pub fn bound(bound: &Json) -> Option<String> {
    match (bound.as_i64(), bound.as_f64()) {
        (Some(whole), _) => Some(whole.to_string()),
        (None, number) => number.map(shown_number),
    }
}
