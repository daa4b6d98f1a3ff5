//! Names, lists and numbers in sentences.

use crate::report::escape::visible;
use crate::report::number::score;

/// Names that a sentence spells out; more are counted.
pub const NAMED: usize = 3;

/// A name between backticks, every character visible.
pub fn code(name: &str) -> String {
    format!("`{}`", visible(name).replace('`', "'"))
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The first names, then how many more.
pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    listed(names.into_iter().map(code).collect())
}

/// The first items, then how many more.
pub fn listed(mut items: Vec<String>) -> String {
    if items.len() > NAMED + 1 {
        let more = items.len() - NAMED;
        items.truncate(NAMED);
        items.push(format!("{more} more"));
    }
    list(&items)
}

/// `0.12`, or `-0.01 to 0.02`; none without numbers.
pub fn between(values: &[f64]) -> Option<String> {
    let low = values.iter().copied().reduce(f64::min)?;
    let high = values.iter().copied().reduce(f64::max)?;
    let (low, high) = (score(Some(low)), score(Some(high)));
    Some(if low == high { low } else { format!("{low} to {high}") })
}

/// The word for one thing or for several.
pub fn one_or<'w>(n: usize, one: &'w str, several: &'w str) -> &'w str {
    if n == 1 { one } else { several }
}
