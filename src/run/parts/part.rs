//! Which part of a run.

use std::fmt;
use std::str::FromStr;

/// Most parts of a run.
const MOST: usize = 10_000;

/// One of the parts of a run: `K/N`, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Part {
    /// Its number, from 1.
    pub nth: usize,
    /// Number of parts.
    pub of: usize,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.nth, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((nth, of)) if (1..=of).contains(&nth) && of <= MOST => Ok(Self { nth, of }),
            _ => Err(format!(
                "expected K/N, part K of N with K from 1 to N and N up to {MOST}: for example 2/8"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_from_one() {
        assert_eq!("2/8".parse(), Ok(Part { nth: 2, of: 8 }));
        assert_eq!(Part { nth: 1, of: 1 }.to_string().parse(), Ok(Part { nth: 1, of: 1 }));
        for wrong in ["", "x", "3", "0/3", "4/3", "0/0", "-1/3", "1/", "/3", "1/2/3", "1/10001", "1.5/3"] {
            assert!(wrong.parse::<Part>().expect_err(wrong).contains("for example 2/8"), "{wrong}");
        }
    }
}
