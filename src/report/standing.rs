//! The place of a feature's score among all features of its cell: same hook point, method, explainer, simulator and
//! control, all trainings together.

use std::collections::BTreeMap;

use super::number::count;

/// Reason of a null score that enters means as 0: the truth varies and the prediction does not.
const CONSTANT_PREDICTION: &str = "constant_prediction";

/// Scores of one line of `scores.jsonl`.
#[derive(Debug, Clone, Copy)]
pub struct LineScores<'a> {
    pub scores: &'a BTreeMap<String, Option<f64>>,
    /// Why a score is null.
    pub reasons: &'a BTreeMap<String, String>,
    /// Why the line has no score at all.
    pub reason: Option<&'a str>,
}

impl<'a> LineScores<'a> {
    /// The score, if it is a finite number.
    pub fn score(self, scorer: &str) -> Option<f64> {
        self.scores.get(scorer).copied().flatten().filter(|score| score.is_finite())
    }

    /// The score as it enters a mean: 0 for a constant prediction, none where there is no score.
    pub fn entering(self, scorer: &str) -> Option<f64> {
        self.scores.get(scorer)?;
        self.score(scorer).or_else(|| self.is_constant(scorer).then_some(0.0))
    }

    fn is_constant(self, scorer: &str) -> bool {
        self.reasons.get(scorer).is_some_and(|why| why == CONSTANT_PREDICTION)
    }

    /// The place of this line's score in words, `4th of 40; higher than 90 %`, or why it has none.
    pub fn standing(self, scorer: &str, cell: &CellScores) -> String {
        let Some(entering) = self.entering(scorer) else {
            let reason = self.reasons.get(scorer).map(String::as_str).or(self.reason);
            return reason.map_or_else(|| "no score".to_string(), |reason| format!("undefined: {reason}"));
        };
        let place = cell.place_of(entering);
        match self.score(scorer) {
            Some(_) => place,
            None => format!("{CONSTANT_PREDICTION}, counts as 0: {place}"),
        }
    }
}

/// All scores of a cell under one scorer, as they enter its mean.
#[derive(Debug, Default)]
pub struct CellScores {
    /// Best first.
    sorted: Vec<f64>,
    higher_is_better: bool,
}

impl CellScores {
    /// `values` are finite.
    pub fn new(values: impl IntoIterator<Item = f64>, higher_is_better: bool) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(|a, b| gain(*b, higher_is_better).total_cmp(&gain(*a, higher_is_better)));
        Self { sorted, higher_is_better }
    }

    /// `4th of 40; higher than 90 %`. Equal scores share the best of their places. The share is that of strictly
    /// worse scores among all, rounded down.
    fn place_of(&self, score: f64) -> String {
        let n = self.sorted.len();
        let own = gain(score, self.higher_is_better);
        let better = self.sorted.partition_point(|other| gain(*other, self.higher_is_better) > own);
        let not_worse = self.sorted.partition_point(|other| gain(*other, self.higher_is_better) >= own);
        let (equal, worse) = (not_worse - better, n - not_worse);
        let mut words = format!("{} of {}", ordinal(better + 1), count(n));
        if equal > 1 {
            words.push_str(&format!(
                ", level with {} other{}",
                count(equal - 1),
                if equal == 2 { "" } else { "s" }
            ));
        }
        if worse > 0 {
            let side = if self.higher_is_better { "higher" } else { "lower" };
            words.push_str(&format!("; {side} than {} %", 100 * worse / n));
        }
        words
    }
}

/// The score with the sign with which larger is better. Adding 0 turns −0 into 0.
fn gain(score: f64, higher_is_better: bool) -> f64 {
    if higher_is_better { score + 0.0 } else { 0.0 - score }
}

/// `1st`, `22nd`, `113th`.
fn ordinal(n: usize) -> String {
    let ending = match (n % 100, n % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        _ => "th",
    };
    format!("{}{ending}", count(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(values: &[f64]) -> CellScores {
        CellScores::new(values.iter().copied(), true)
    }

    #[test]
    fn a_place_counts_the_better_ones_and_the_share_the_worse_ones() {
        let forty: Vec<f64> = (1..=40).map(f64::from).collect();
        assert_eq!(cell(&forty).place_of(37.0), "4th of 40; higher than 90 %");
        assert_eq!(cell(&forty).place_of(40.0), "1st of 40; higher than 97 %");
        assert_eq!(cell(&forty).place_of(1.0), "40th of 40");
        assert_eq!(cell(&[0.3]).place_of(0.3), "1st of 1");
        let lower = CellScores::new(forty, false);
        assert_eq!(lower.place_of(2.0), "2nd of 40; lower than 95 %");
    }

    #[test]
    fn equal_scores_share_a_place() {
        let tied = cell(&[0.9, 0.5, 0.5, 0.5, 0.1]);
        assert_eq!(tied.place_of(0.5), "2nd of 5, level with 2 others; higher than 20 %");
        assert_eq!(cell(&[0.5, 0.5]).place_of(0.5), "1st of 2, level with 1 other");
        assert_eq!(cell(&[0.0, -0.0, -1.0]).place_of(0.0), "1st of 3, level with 1 other; higher than 33 %");
    }

    #[test]
    fn a_missing_score_has_its_reason_and_a_constant_one_counts_as_zero() {
        let scores =
            BTreeMap::from([("a".to_string(), None), ("b".to_string(), None), ("c".to_string(), Some(0.2))]);
        let reasons = BTreeMap::from([
            ("a".to_string(), "truth_is_token_identity".to_string()),
            ("b".to_string(), CONSTANT_PREDICTION.to_string()),
        ]);
        let line = LineScores { scores: &scores, reasons: &reasons, reason: Some("refused") };
        let cell = cell(&[0.2, 0.0, -0.1]);
        assert_eq!(line.standing("a", &cell), "undefined: truth_is_token_identity");
        assert_eq!(line.standing("b", &cell), "constant_prediction, counts as 0: 2nd of 3; higher than 33 %");
        assert_eq!(line.standing("c", &cell), "1st of 3; higher than 66 %");
        assert_eq!(line.standing("none", &cell), "undefined: refused");
        let silent = LineScores { reason: None, ..line };
        assert_eq!(silent.standing("none", &cell), "no score");
    }

    #[test]
    fn ordinals_are_english() {
        let all: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111, 1003].map(ordinal).into();
        assert_eq!(
            all,
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th", "1,003rd"]
        );
    }
}
