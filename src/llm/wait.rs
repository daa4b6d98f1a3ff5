//! The wait that an endpoint asks for, from an answer's headers or from its message.

use std::time::SystemTime;

use httpdate::parse_http_date;
use reqwest::header::HeaderMap;

/// Seconds to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date, else the longest reset time of the
/// rate limits. If the headers name exhausted limits, only those count.
pub(super) fn asked_wait(headers: &HeaderMap) -> Option<f64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |text: &str| text.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0);
    if let Some(milliseconds) = text("retry-after-ms").and_then(seconds) {
        return Some(milliseconds / 1000.0);
    }
    if let Some(after) = text("retry-after") {
        let date = |text: &str| parse_http_date(text).ok();
        // The endpoint's clock comes first, because the local one may be wrong. Fractions of a second round up.
        let now = || text("date").and_then(date).unwrap_or_else(SystemTime::now);
        let until = || Some(date(after)?.duration_since(now()).unwrap_or_default().as_secs_f64().ceil());
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

/// Seconds to wait from words such as `Please try again in 2.5s.` or `retry after 20 seconds`.
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
        let date_seconds =
            |date: &str| wait(&[("retry-after", date), ("date", "Thu, 01 Jan 1970 00:00:00 GMT")]);
        assert_eq!(date_seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777.0));
        assert_eq!(date_seconds("Thu, 29 Feb 2024 00:00:00 GMT"), Some(1_709_164_800.0));
        assert_eq!(date_seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0.0));
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
