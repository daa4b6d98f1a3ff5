//! Expected value of a number from 0 to 10, from the probabilities of its first token.
//!
//!   E = Σ_v v p(v) / Σ_v p(v),   v over the numbers of the scale among the reported alternatives
//!
//! Where the tokenizer writes 10 as `1` `0`, the probability of `1` is divided between 1 and 10 by the next token.
//! Source: Bills et al. 2023.

use crate::llm::{ReadProblem, TokenChoice, token_at};

use super::STRONGEST;

/// The meaning of a token where a number of the scale starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// A number.
    Number(u8),
    /// `1`: the number 1, or the first digit of 10 if digits are separate tokens.
    OneOrTen,
}

/// The number that follows `before` in a token. `None` for text, for numbers outside the scale and for digits outside
/// ASCII.
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

    /// The mean, normalised by the mass; `None` without any mass.
    pub fn expected(&self) -> Option<f64> {
        Some(self.moment / self.mass).filter(|expected| expected.is_finite())
    }
}

/// The tokens of a reply with their alternatives.
pub(super) struct Choices<'a> {
    choices: &'a [TokenChoice],
    /// Byte offset of the answer in the joined tokens.
    offset: usize,
    /// Whether 10 is written as two tokens, judged by this reply.
    splits_ten: bool,
}

impl<'a> Choices<'a> {
    /// The tokens of a reply that contains `answer`.
    pub fn new(choices: Option<&'a [TokenChoice]>, answer: &str) -> Result<Self, ReadProblem> {
        let choices = choices.ok_or(ReadProblem::NoLogprobs)?;
        let joined: String = choices.iter().map(|choice| choice.token.as_str()).collect();
        let offset = joined.rfind(answer).ok_or(ReadProblem::NoLogprobs)?;
        // With so many alternatives at so many numbers, a token `10` appears if the vocabulary has one.
        let is_ten = |token: &str| token.trim_matches(|c: char| !c.is_ascii_digit()) == "10";
        let seen =
            |choice: &TokenChoice| is_ten(&choice.token) || choice.top.iter().any(|(token, _)| is_ten(token));
        Ok(Self { choices, offset, splits_ten: !choices.iter().any(seen) })
    }

    /// Expected value over 0–10 of the number at byte `at` of the answer.
    ///
    /// If the model wrote the token `1`, the next token divides its probability between 1 and 10. If it wrote another
    /// number and 10 is two tokens, the alternative `1` is ambiguous and left out.
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

    /// The probability of a `0` after a `1`, among the continuations that give a number of the scale.
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
