//! How a feature's codes are distributed over the tokens of all fragments: by size and by token, as in Figure 4
//! of Cunningham et al. 2023, and how heavy their tails are.
//!
//! Two passes over the codes, block after block, each of which forgets them: the first finds their range, their
//! mean and the tokens that occur most, the second counts. Memory does not grow with the number of fragments.

use serde::{Deserialize, Serialize};

use super::{FeatureError, FragmentSet};
use crate::base::Matrix;
use crate::stats::excess_kurtosis_of_sums;

/// Intervals of a histogram.
pub const HISTOGRAM_BINS: usize = 20;

/// Tokens that are counted by themselves.
pub const HISTOGRAM_TOKENS: usize = 8;

/// The firing tokens (code ≠ 0) by the size of the code, those that occur most among them apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeHistogram {
    /// Lower end of the first interval: 0, or the smallest code where that is negative.
    pub low: f32,
    /// Upper end of the last interval: the largest code, or 0 where all are negative.
    pub high: f32,
    /// Intervals, equally wide; a code between two of them counts in the upper one.
    pub bins: usize,
    /// Tokens with a code other than 0; all counts below add up to it.
    pub n_firing: u64,
    /// The most frequent tokens among those, falling; of equally frequent ones the lower id first.
    pub tokens: Vec<TokenCounts>,
    /// All others together, one count an interval.
    pub rest: Vec<u64>,
}

/// One token's part of a histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Token id.
    pub token: u32,
    /// One count an interval.
    pub counts: Vec<u64>,
}

/// The distribution of one feature's codes over the tokens that count.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeShape {
    /// Tokens that count: the positions that do, of all fragments.
    pub n_tokens: usize,
    /// Of those on which the feature fires.
    pub histogram: CodeHistogram,
    /// Excess kurtosis over all of them; none where the code is the same everywhere.
    pub kurtosis: Option<f64>,
}

/// Which tokens there are, and which positions count.
#[derive(Debug)]
struct Layout<'a> {
    fragments: FragmentSet<'a>,
    first_scored: usize,
    n_features: usize,
    /// Token ids that occur, ascending.
    types: Vec<u32>,
    /// Where each id stands among them.
    place: Vec<u32>,
}

impl<'a> Layout<'a> {
    fn new(fragments: FragmentSet<'a>, first_scored: usize, n_features: usize) -> Self {
        let all = || (0..fragments.len()).flat_map(|fragment| fragments.tokens(fragment));
        let largest = all().max().map_or(0, |&id| id as usize);
        let mut place = vec![0u32; largest + 1];
        all().for_each(|&id| place[id as usize] = 1);
        let types: Vec<u32> = (0..=largest as u32).filter(|&id| place[id as usize] == 1).collect();
        types.iter().enumerate().for_each(|(nth, &id)| place[id as usize] = nth as u32);
        Self { fragments, first_scored, n_features, types, place }
    }

    /// Calls `visit` with the token's place and the codes of each row that counts.
    fn rows<'c>(
        &self,
        first_fragment: usize,
        codes: &'c Matrix,
        mut visit: impl FnMut(usize, &'c [f32]),
    ) -> Result<(), FeatureError> {
        let positions = self.fragments.positions();
        let n_fragments = codes.rows() / positions;
        if codes.rows() != n_fragments * positions || codes.cols() != self.n_features {
            let (rows, cols, n_features) = (codes.rows(), codes.cols(), self.n_features);
            return Err(FeatureError::BlockShape { rows, cols, n_fragments, positions, n_features });
        }
        let (expected, got) = (self.fragments.len(), first_fragment + n_fragments);
        if got > expected {
            return Err(FeatureError::FragmentCount { expected, got });
        }
        for nth in 0..n_fragments {
            let tokens = self.fragments.tokens(first_fragment + nth);
            for position in self.first_scored..positions {
                let place = self.place[tokens[position] as usize] as usize;
                visit(place, codes.row(nth * positions + position));
            }
        }
        Ok(())
    }
}

/// The first pass. Loops over features have no branches, so that they are vector instructions; a code of 0 changes
/// nothing in them.
#[derive(Debug)]
pub struct ShapeSurvey<'a> {
    layout: Layout<'a>,
    n_tokens: usize,
    /// Smallest and largest code of each feature, 0 among them.
    low: Vec<f32>,
    high: Vec<f32>,
    sums: Vec<f64>,
    /// Firing tokens `[types, features]`.
    counts: Vec<u32>,
}

impl<'a> ShapeSurvey<'a> {
    /// For `n_features` features; positions of a fragment before `first_scored` do not count.
    pub fn new(fragments: FragmentSet<'a>, first_scored: usize, n_features: usize) -> Self {
        let layout = Layout::new(fragments, first_scored, n_features);
        let counts = vec![0; layout.types.len() * n_features];
        let (low, high) = (vec![0.0; n_features], vec![0.0; n_features]);
        Self { layout, n_tokens: 0, low, high, sums: vec![0.0; n_features], counts }
    }

    /// Adds the codes `[n · positions, n_features]` of `n` fragments, the first of which is `first_fragment`.
    pub fn add_block(&mut self, first_fragment: usize, codes: &Matrix) -> Result<(), FeatureError> {
        let Self { layout, n_tokens, low, high, sums, counts } = self;
        let n_features = sums.len();
        layout.rows(first_fragment, codes, |place, row| {
            *n_tokens += 1;
            let counts = &mut counts[place * n_features..][..n_features];
            counts.iter_mut().zip(row).for_each(|(count, &code)| *count += u32::from(code != 0.0));
            for ((low, high), &code) in low.iter_mut().zip(high.iter_mut()).zip(row) {
                // One instruction each, where `f32::min` takes care of NaN.
                *low = if code < *low { code } else { *low };
                *high = if code > *high { code } else { *high };
            }
            sums.iter_mut().zip(row).for_each(|(sum, &code)| *sum += f64::from(code));
        })
    }

    /// What the second pass begins with.
    pub fn finish(self) -> ShapeCounter<'a> {
        let Self { layout, n_tokens, low, high, sums, counts } = self;
        let n_features = sums.len();
        let n_types = layout.types.len();
        let mut slots = vec![HISTOGRAM_TOKENS as u8; counts.len()];
        let mut features = Vec::with_capacity(n_features);
        for feature in 0..n_features {
            let count = |place: &usize| counts[place * n_features + feature];
            let mut types: Vec<usize> = (0..n_types).filter(|place| count(place) > 0).collect();
            let firing = types.iter().map(|place| u64::from(count(place))).sum();
            // Stable, so that of equal counts the lower id comes first.
            types.sort_by_key(|place| std::cmp::Reverse(count(place)));
            types.truncate(HISTOGRAM_TOKENS);
            for (slot, place) in types.iter().enumerate() {
                slots[place * n_features + feature] = slot as u8;
            }
            features.push(Tally {
                low: low[feature],
                high: high[feature],
                firing,
                tokens: types.iter().map(|&place| layout.types[place]).collect(),
                counts: [[0; HISTOGRAM_BINS]; HISTOGRAM_TOKENS + 1],
            });
        }
        ShapeCounter {
            layout,
            n_tokens,
            features,
            means: sums.iter().map(|sum| sum / n_tokens.max(1) as f64).collect(),
            squares: vec![0.0; n_features],
            fourths: vec![0.0; n_features],
            slots,
        }
    }
}

/// The second pass, over the same codes.
#[derive(Debug)]
pub struct ShapeCounter<'a> {
    layout: Layout<'a>,
    n_tokens: usize,
    features: Vec<Tally>,
    means: Vec<f64>,
    /// Sums of powers of the deviation from the mean.
    squares: Vec<f64>,
    fourths: Vec<f64>,
    /// Which of a feature's lists of counts a token belongs to, `[types, features]`.
    slots: Vec<u8>,
}

/// What is counted of one feature.
#[derive(Debug)]
struct Tally {
    low: f32,
    high: f32,
    firing: u64,
    tokens: Vec<u32>,
    /// Of each token by itself, and of the others last.
    counts: [[u64; HISTOGRAM_BINS]; HISTOGRAM_TOKENS + 1],
}

impl Tally {
    fn bin(&self, code: f32) -> usize {
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let share = (f64::from(code) - low) / (high - low);
        ((share * HISTOGRAM_BINS as f64) as usize).min(HISTOGRAM_BINS - 1)
    }

    fn histogram(self) -> CodeHistogram {
        let [tokens @ .., rest] = self.counts;
        let counted = self.tokens.into_iter().zip(tokens);
        CodeHistogram {
            low: self.low,
            high: self.high,
            bins: HISTOGRAM_BINS,
            n_firing: self.firing,
            tokens: counted.map(|(token, counts)| TokenCounts { token, counts: counts.to_vec() }).collect(),
            rest: rest.to_vec(),
        }
    }
}

impl ShapeCounter<'_> {
    /// Adds a block, as in the first pass.
    pub fn add_block(&mut self, first_fragment: usize, codes: &Matrix) -> Result<(), FeatureError> {
        let Self { layout, features, means, squares, fourths, slots, .. } = self;
        let n_features = features.len();
        layout.rows(first_fragment, codes, |place, row| {
            let sums = squares.iter_mut().zip(fourths.iter_mut());
            for ((square, fourth), (&code, &mean)) in sums.zip(row.iter().zip(means.iter())) {
                let squared = (f64::from(code) - mean) * (f64::from(code) - mean);
                *square += squared;
                *fourth += squared * squared;
            }
            let slots = &slots[place * n_features..][..n_features];
            for ((tally, &slot), &code) in features.iter_mut().zip(slots).zip(row) {
                if code != 0.0 {
                    let bin = tally.bin(code);
                    tally.counts[slot as usize][bin] += 1;
                }
            }
        })
    }

    /// The shapes, in the order of the columns.
    pub fn finish(self) -> Vec<CodeShape> {
        let Self { n_tokens, features, squares, fourths, .. } = self;
        let sums = squares.into_iter().zip(fourths);
        let shape = |(tally, (squares, fourths)): (Tally, (f64, f64))| {
            let largest = f64::from(tally.low.abs().max(tally.high.abs()));
            let kurtosis = excess_kurtosis_of_sums(n_tokens, squares, fourths, largest);
            CodeShape { n_tokens, histogram: tally.histogram(), kurtosis }
        };
        features.into_iter().zip(sums).map(shape).collect()
    }
}
