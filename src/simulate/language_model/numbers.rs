use crate::llm::{ReadProblem, TokenChoice, token_at};

use super::STRONGEST;

/// What a token says at the place where a number of the scale starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// This number.
    Number(u8),
    /// A bare `1`: the number one, or the first digit of ten where digits are tokens of their own.
    OneOrTen,
}

/// The number that a token starts with after `before`, the text it carries ahead of the number; none
/// for text, for other numbers and for anything but ASCII digits.
pub(super) fn reading(token: &str, before: &str) -> Option<Reading> {
    let number = token.strip_prefix(before)?;
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    let (digits, after) = number.split_at(end);
    if after.starts_with(['.', 'e', 'E']) || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    match digits.parse::<u8>().ok().filter(|&value| value <= STRONGEST)? {
        1 if after.is_empty() => Some(Reading::OneOrTen),
        value => Some(Reading::Number(value)),
    }
}

/// Probability mass on the numbers of the scale.
#[derive(Debug, Clone, Default)]
pub(super) struct Distribution {
    mass: f64,
    moment: f64,
}

impl Distribution {
    pub fn add(&mut self, value: u8, probability: f64) {
        self.mass += probability;
        self.moment += f64::from(value) * probability;
    }

    /// Mean over the mass that there is; without any, the endpoint has not told.
    pub fn expected(&self) -> Option<f64> {
        Some(self.moment / self.mass).filter(|expected| expected.is_finite())
    }
}

/// Tokens of a reply with the alternatives of each, to take expected values at the numbers in it.
pub(super) struct Choices<'a> {
    choices: &'a [TokenChoice],
    /// Where the answer starts in the joined tokens.
    offset: usize,
    /// Whether ten is written as two tokens, as far as the reply shows.
    splits_ten: bool,
}

impl<'a> Choices<'a> {
    /// Tokens that belong to `answer`, which may be a part of the reply.
    pub fn new(choices: Option<&'a [TokenChoice]>, answer: &str) -> Result<Self, ReadProblem> {
        let choices = choices.ok_or(ReadProblem::NoLogprobs)?;
        let joined: String = choices.iter().map(|choice| choice.token.as_str()).collect();
        let offset = joined.rfind(answer).ok_or(ReadProblem::NoLogprobs)?;
        // Among so many alternatives at so many numbers, a token `10` shows up if there is one.
        let is_ten = |token: &str| token.trim_matches(|c: char| !c.is_ascii_digit()) == "10";
        let seen =
            |choice: &TokenChoice| is_ten(&choice.token) || choice.top.iter().any(|(token, _)| is_ten(token));
        Ok(Self { choices, offset, splits_ten: !choices.iter().any(seen) })
    }

    /// Expected value over 0–10 of the number that starts at byte `at` of the answer.
    ///
    /// Where the model wrote `1` as a token, what follows it divides that probability between one and
    /// ten. Where it wrote another number and digits are tokens of their own, nothing tells what the
    /// alternative `1` stood for, so it is left out.
    pub fn expected(&self, at: usize) -> Result<f64, ReadProblem> {
        let tokens = self.choices.iter().map(|choice| choice.token.as_str());
        let (number, before) = token_at(tokens, self.offset + at).ok_or(ReadProblem::NoLogprobs)?;
        let choice = &self.choices[number];
        let mut distribution = Distribution::default();
        for (token, probability) in choice.alternatives()? {
            match reading(token, before) {
                Some(Reading::Number(value)) => distribution.add(value, probability),
                Some(Reading::OneOrTen) if token == choice.token => {
                    let ten = self.share_of_zero(number + 1)?;
                    distribution.add(10, probability * ten);
                    distribution.add(1, probability * (1.0 - ten));
                }
                Some(Reading::OneOrTen) if !self.splits_ten => distribution.add(1, probability),
                Some(Reading::OneOrTen) | None => {}
            }
        }
        distribution.expected().ok_or(ReadProblem::NoLogprobs)
    }

    /// After a `1`: the probability of a `0` among what makes a number of the scale.
    fn share_of_zero(&self, number: usize) -> Result<f64, ReadProblem> {
        let Some(choice) = self.choices.get(number) else { return Ok(0.0) };
        let (mut zero, mut end) = (0.0, 0.0);
        for (token, probability) in choice.alternatives()? {
            match reading(token, "") {
                Some(Reading::Number(0)) => zero += probability,
                _ if token.starts_with(|c: char| c.is_ascii_digit()) => {}
                _ => end += probability,
            }
        }
        if zero + end > 0.0 { Ok(zero / (zero + end)) } else { Err(ReadProblem::NoLogprobs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_of_the_scale_are_read() {
        for (token, before, expected) in [
            ("7", "", Some(Reading::Number(7))),
            (" 7", " ", Some(Reading::Number(7))),
            (":10,", ":", Some(Reading::Number(10))),
            ("1", "", Some(Reading::OneOrTen)),
            ("1,", "", Some(Reading::Number(1))),
            ("0", "", Some(Reading::Number(0))),
            (" 7", "", None),
            ("7", " ", None),
            ("11", "", None),
            ("100", "", None),
            ("07", "", None),
            ("7.", "", None),
            ("-1", "", None),
            ("７", "", None),
            ("x", "", None),
            ("", "", None),
        ] {
            assert_eq!(reading(token, before), expected, "{token:?} after {before:?}");
        }
    }
}
