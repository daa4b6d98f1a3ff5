//! Strided splits of fragments for explaining, calibrating, scoring and testing (Bills et al. 2023).

use serde::{Deserialize, Serialize};

use super::ScoreError;

/// Number of splits of the top fragments.
const TOP_SPLITS: usize = 4;

/// Number of splits of the random fragments, which are not used for explaining.
const RANDOM_SPLITS: usize = 3;

/// Ranks of one split in the two lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Ranks in the list of top fragments, strongest first.
    pub top: Vec<usize>,
    /// Indices in the list of random fragments.
    pub random: Vec<usize>,
}

/// Interleaved splits: adjacent ranks go to different splits, so that all splits are similar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Splits {
    /// Ranks of the top fragments for explaining.
    pub explain: Vec<usize>,
    /// For calibrating a simulator.
    pub calibration: Part,
    /// For scoring.
    pub score: Part,
    /// For a final test.
    pub test: Part,
}

/// Strided splits of Bills et al. 2023. Every fourth top fragment is for explaining; the others serve calibration,
/// scoring and testing. Random fragments serve the last three in turn.
///
/// Each split takes `per_split` fragments of each list, by default a quarter of the top list and a third of the
/// random list.
///
/// # Errors
/// [`ScoreError::TooFewForSplits`] if a list is too short.
pub fn interleaved(n_top: usize, n_random: usize, per_split: Option<usize>) -> Result<Splits, ScoreError> {
    for (list, got, splits) in [("top", n_top, TOP_SPLITS), ("random", n_random, RANDOM_SPLITS)] {
        let per_split = per_split.unwrap_or(1);
        let need = per_split.saturating_mul(splits);
        if got < need {
            return Err(ScoreError::TooFewForSplits { list, per_split, need, got });
        }
    }
    let top = |split| stride(n_top, TOP_SPLITS, split, per_split);
    let random = |split| stride(n_random, RANDOM_SPLITS, split, per_split);
    let part = |split| Part { top: top(split + 1), random: random(split) };
    Ok(Splits { explain: top(0), calibration: part(0), score: part(1), test: part(2) })
}

fn stride(length: usize, splits: usize, split: usize, per_split: Option<usize>) -> Vec<usize> {
    (split..length).step_by(splits).take(per_split.unwrap_or(length / splits)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_published_case() {
        let splits = interleaved(20, 20, Some(5)).expect("enough");
        assert_eq!(splits.explain, vec![0, 4, 8, 12, 16]);
        assert_eq!(splits.score.top, vec![2, 6, 10, 14, 18]);
        assert_eq!(splits.score.random, vec![1, 4, 7, 10, 13]);
    }

    #[test]
    fn too_few_are_refused() {
        let error = interleaved(19, 20, Some(5)).expect_err("refused").to_string();
        assert_eq!(error, "5 fragments per split need 20 top fragments, got 19");
        assert!(interleaved(20, 14, Some(5)).is_err());
        assert!(interleaved(3, 3, None).is_err());
    }

    proptest! {
        #[test]
        fn splits_do_not_overlap(n_top in 4usize..90, n_random in 3usize..90, per_split in prop::option::of(1usize..20)) {
            if let Ok(splits) = interleaved(n_top, n_random, per_split) {
                let parts = [&splits.calibration, &splits.score, &splits.test];
                let mut top: Vec<usize> = parts.iter().flat_map(|part| part.top.clone()).collect();
                top.extend(&splits.explain);
                let mut random: Vec<usize> = parts.iter().flat_map(|part| part.random.clone()).collect();
                for (list, length) in [(&mut top, n_top), (&mut random, n_random)] {
                    let count = list.len();
                    list.sort_unstable();
                    list.dedup();
                    prop_assert_eq!(list.len(), count);
                    prop_assert!(list.iter().all(|rank| *rank < length));
                }
            }
        }
    }
}
