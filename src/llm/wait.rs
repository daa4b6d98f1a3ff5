//! How long an endpoint asks to wait, from the headers of its answer.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::header::HeaderMap;

/// Seconds until the endpoint wants to be asked again: `retry-after-ms`, else `Retry-After` in
/// seconds or as a date, else the longest of the rate limits' reset times (of those that are
/// exhausted, where the headers say so).
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<f64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
    if let Some(milliseconds) = text("retry-after-ms").and_then(seconds) {
        return Some(milliseconds / 1000.0);
    }
    if let Some(after) = text("retry-after") {
        // The endpoint's own clock, where it tells it, for ours may go wrong.
        let now = text("date").and_then(date_seconds).or_else(clock_seconds);
        let until = || Some((date_seconds(after)? - now?).max(0) as f64);
        return seconds(after).or_else(until);
    }
    let limits = ["requests", "tokens"].map(|what| {
        let reset = text(&format!("x-ratelimit-reset-{what}")).and_then(span_seconds);
        (text(&format!("x-ratelimit-remaining-{what}")) == Some("0"), reset)
    });
    let known = limits.iter().any(|(exhausted, reset)| *exhausted && reset.is_some());
    let counted = limits.iter().filter(|(exhausted, _)| *exhausted || !known);
    counted.filter_map(|(_, reset)| *reset).max_by(f64::total_cmp)
}

/// Seconds that words such as `Please try again in 2.5s.` or `retry after 20 seconds` ask to wait.
pub(super) fn wait_in_words(text: &str) -> Option<f64> {
    const BEFORE: [&str; 5] = ["try again in ", "try again after ", "retry after ", "retry in ", "wait for "];
    let lower = text.to_ascii_lowercase();
    let at = BEFORE.iter().find_map(|before| Some(lower.find(before)? + before.len()))?;
    let mut words =
        lower[at..].split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';', '!', ')']));
    let first = words.next()?;
    if let Some(seconds) = span_seconds(first) {
        return Some(seconds);
    }
    let number: f64 = first.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)?;
    let unit = match words.next().unwrap_or_default() {
        "ms" | "millisecond" | "milliseconds" => 1e-3,
        "minute" | "minutes" | "min" | "m" => 60.0,
        "hour" | "hours" | "h" => 3600.0,
        _ => 1.0,
    };
    Some(number * unit)
}

fn clock_seconds() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// A span such as `1s`, `6m0s`, `120ms` or `1h2m3.5s`.
fn span_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "d" => 86_400.0,
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (!text.is_empty()).then_some(total)
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date_seconds(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAYS_BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let fields: Vec<&str> = text.split_once(", ")?.1.split(' ').collect();
    let [day, month, year, time, "GMT"] = fields[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)?;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<i64> = time.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [hours, minutes, seconds] = clock[..] else { return None };
    let is_time = (0..24).contains(&hours) && (0..60).contains(&minutes) && (0..=60).contains(&seconds);
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || !is_time {
        return None;
    }
    let leap_days = |year: i64| year / 4 - year / 100 + year / 400;
    // The leap day of a year counts from March on.
    let leaps = leap_days(if month >= 2 { year } else { year - 1 }) - leap_days(1969);
    let days = 365 * (year - 1970) + leaps + DAYS_BEFORE[month] + day - 1;
    Some(days * 86_400 + hours * 3600 + minutes * 60 + seconds)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn wait(headers: &[(&'static str, &str)]) -> Option<f64> {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        asked_wait(&headers.iter().map(pair).collect())
    }

    #[test]
    fn waits_are_read_in_every_form_and_nonsense_is_none() {
        assert_eq!(wait(&[("retry-after", "7")]), Some(7.0));
        assert_eq!(wait(&[("retry-after-ms", "1500"), ("retry-after", "9")]), Some(1.5));
        let now = ("date", "Fri, 28 Feb 2025 23:59:50 GMT");
        assert_eq!(wait(&[("retry-after", "Sat, 01 Mar 2025 00:00:05 GMT"), now]), Some(15.0));
        assert_eq!(wait(&[("retry-after", "Fri, 28 Feb 2025 23:00:00 GMT"), now]), Some(0.0));
        assert_eq!(
            wait(&[("x-ratelimit-reset-requests", "1s"), ("x-ratelimit-reset-tokens", "6m0s")]),
            Some(360.0)
        );
        let exhausted = [
            ("x-ratelimit-reset-requests", "120ms"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-ratelimit-remaining-tokens", "100"),
        ];
        assert_eq!(wait(&exhausted), Some(0.12));
        for nonsense in ["soon", "-1", "NaN", "inf", ""] {
            assert_eq!(wait(&[("retry-after", nonsense)]), None, "{nonsense}");
            assert_eq!(wait(&[("x-ratelimit-reset-tokens", nonsense)]), None, "{nonsense}");
        }
        assert_eq!(wait(&[]), None);
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        assert_eq!(date_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(date_seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800));
        assert_eq!(date_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        for nonsense in [
            "yesterday, at noon",
            "Sun, 31 Feb 9999 99999999999999:99:99 GMT",
            "Sun, 06 Nov 2094 9223372036854775807:9223372036854775807:00 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
        ] {
            assert_eq!(date_seconds(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn waits_are_found_in_words() {
        for (words, seconds) in [
            ("Rate limit reached. Please try again in 2.5s.", Some(2.5)),
            ("Please try again in 1m30s, or later", Some(90.0)),
            ("try again in 120ms", Some(0.12)),
            ("Please retry after 20 seconds.", Some(20.0)),
            ("retry in 2 minutes", Some(120.0)),
            ("please try again later", None),
            ("try again in NaN seconds", None),
            ("", None),
        ] {
            assert_eq!(wait_in_words(words), seconds, "{words}");
        }
    }
}
