//! Numbers as tables and pages print them. A missing number is a dash, never 0 and never NaN.

use super::schema::Cell;

/// Printed where there is no number.
pub const DASH: &str = "—";

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|v| v.is_finite())
}

fn or_dash(value: Option<f64>, print: impl Fn(f64) -> String) -> String {
    finite(value).map_or_else(|| DASH.to_string(), print)
}

/// `decimals` decimal places; no negative zero.
pub fn fixed(value: Option<f64>, decimals: usize) -> String {
    or_dash(value, |value| {
        let text = format!("{value:.decimals$}");
        match text.strip_prefix('-') {
            Some(rest) if rest.chars().all(|c| matches!(c, '0' | '.')) => rest.to_string(),
            _ => text,
        }
    })
}

/// A score: two decimals.
pub fn score(value: Option<f64>) -> String {
    fixed(value, 2)
}

/// `0.28 [0.20, 0.37]`; without an interval the mean alone.
pub fn estimate(mean: Option<f64>, low: Option<f64>, high: Option<f64>) -> String {
    match (finite(mean), finite(low), finite(high)) {
        (Some(_), Some(_), Some(_)) => format!("{} [{}, {}]", score(mean), score(low), score(high)),
        _ => score(mean),
    }
}

/// A cell's mean with its interval.
pub fn estimate_of(cell: &Cell) -> String {
    estimate(cell.mean, cell.ci_low, cell.ci_high)
}

/// `0.28±0.09`, half the width of the interval, where there is no room for both ends.
pub fn plus_minus(cell: &Cell) -> String {
    match (finite(cell.mean), finite(cell.ci_low), finite(cell.ci_high)) {
        (mean @ Some(_), Some(low), Some(high)) => {
            format!("{}±{}", score(mean), score(Some((high - low) / 2.0)))
        }
        (mean, _, _) => score(mean),
    }
}

/// The cells of a control: one by `print`, several as their lowest and highest mean, `-0.02…0.08`.
pub fn range(cells: &[&Cell], print: impl Fn(&Cell) -> String) -> String {
    if let [only] = cells {
        return print(only);
    }
    let mut means: Vec<f64> = cells.iter().filter_map(|cell| finite(cell.mean)).collect();
    means.sort_by(f64::total_cmp);
    match (means.first(), means.last()) {
        (Some(low), Some(high)) => format!("{}…{}", score(Some(*low)), score(Some(*high))),
        _ => DASH.to_string(),
    }
}

/// A p-value: three decimals, `< 0.001` below.
pub fn p_value(value: Option<f64>) -> String {
    match finite(value) {
        Some(p) if p < 0.001 => "< 0.001".to_string(),
        other => fixed(other, 3),
    }
}

/// Three significant digits.
pub fn significant(value: Option<f64>) -> String {
    or_dash(value, |value| match value.abs() {
        0.0 => "0".to_string(),
        size if size >= 99.95 => thousands(&format!("{value:.0}")),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    })
}

/// `83 %`.
pub fn percent(value: Option<f64>) -> String {
    or_dash(value, |share| format!("{:.0} %", share * 100.0))
}

/// A count with thousands separated.
pub fn count(value: usize) -> String {
    thousands(&value.to_string())
}

/// A count that may be missing.
pub fn count_or_dash(value: Option<usize>) -> String {
    value.map_or_else(|| DASH.to_string(), count)
}

/// `38 to 40`, or `40` where all counts are equal; none without counts.
pub fn span(counts: &[usize], print: impl Fn(usize) -> String) -> Option<String> {
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    Some(if least == most { print(least) } else { format!("{} to {}", print(least), print(most)) })
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_is_a_dash() {
        assert_eq!(score(None), DASH);
        assert_eq!(score(Some(f64::NAN)), DASH);
        assert_eq!(estimate(None, Some(0.1), Some(0.2)), DASH);
        assert_eq!(percent(None), DASH);
        assert_eq!(count_or_dash(None), DASH);
        assert_eq!(p_value(Some(f64::INFINITY)), DASH);
    }

    #[test]
    fn numbers_are_rounded_without_surprises() {
        assert_eq!(score(Some(-0.004)), "0.00");
        assert_eq!(score(Some(-0.006)), "-0.01");
        assert_eq!(estimate(Some(0.28), Some(0.2), Some(0.37)), "0.28 [0.20, 0.37]");
        assert_eq!(estimate(Some(0.28), None, None), "0.28");
        assert_eq!(p_value(Some(0.0004)), "< 0.001");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        assert_eq!(significant(Some(12.345)), "12.3");
        assert_eq!(significant(Some(1234.5)), "1,234");
        assert_eq!(significant(Some(0.00042)), "4.2e-4");
    }
}
