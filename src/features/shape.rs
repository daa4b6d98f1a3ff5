//! Distribution of a feature's codes over all scored tokens: histograms (Cunningham et al. 2023, Figure 4)
//! and kurtosis.
//!
//! Two streaming passes over blocks of codes. The first finds ranges, means and the most frequent tokens; the
//! second counts. Memory does not depend on the number of fragments.

use serde::{Deserialize, Serialize};

use super::{FeatureError, FragmentSet};
use crate::base::Matrix;
use crate::stats::excess_kurtosis_of_sums;

/// Bins of a histogram.
pub const HISTOGRAM_BINS: usize = 20;

/// Tokens that are counted separately.
pub const HISTOGRAM_TOKENS: usize = 8;

/// Histogram of the non-zero codes, with the most frequent tokens counted separately.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeHistogram {
    /// Lower end of the first bin: the smallest code, at most 0.
    pub low: f32,
    /// Upper end of the last bin: the largest code, at least 0.
    pub high: f32,
    /// Bins of equal width; a code on a boundary counts in the upper bin.
    pub bins: usize,
    /// Tokens with a non-zero code; the sum of all counts below.
    pub n_firing: u64,
    /// The most frequent tokens among those, descending; ties by lower id.
    pub tokens: Vec<TokenCounts>,
    /// All other tokens together, one count per bin.
    pub rest: Vec<u64>,
}

/// One token's counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenCounts {
    /// Token id.
    pub token: u32,
    /// One count per bin.
    pub counts: Vec<u64>,
}

/// The distribution of one feature's codes over the scored tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeShape {
    /// Scored tokens of all fragments.
    pub n_tokens: usize,
    /// Histogram of the firing tokens.
    pub histogram: CodeHistogram,
    /// Excess kurtosis over all scored tokens; none if the code is constant.
    pub kurtosis: Option<f64>,
}

/// The token types that occur, and the scored positions.
#[derive(Debug)]
struct Layout<'a> {
    fragments: FragmentSet<'a>,
    first_scored: usize,
    n_features: usize,
    /// Token ids that occur, ascending.
    types: Vec<u32>,
    /// Index of each id in `types`.
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

    /// Calls `visit` with (index of the token type, codes) of each scored row.
    fn rows<'c>(
        &self,
        first_fragment: usize,
        codes: &'c Matrix,
        mut visit: impl FnMut(usize, &'c [f32]),
    ) -> Result<(), FeatureError> {
        let positions = self.fragments.positions();
        let n_fragments = codes.rows() / positions;
        FeatureError::check_shape([codes.rows(), codes.cols()], n_fragments, positions, self.n_features)?;
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

/// The first pass. Loops over features are branch-free, so that they vectorise; a code of 0 changes nothing.
#[derive(Debug)]
pub struct ShapeSurvey<'a> {
    layout: Layout<'a>,
    n_tokens: usize,
    /// Smallest and largest code of each feature, including 0.
    low: Vec<f32>,
    high: Vec<f32>,
    sums: Vec<f64>,
    /// Firing tokens `[types, features]`.
    counts: Vec<u32>,
}

impl<'a> ShapeSurvey<'a> {
    /// For `n_features` features; positions before `first_scored` are ignored.
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
                // One instruction each; `f32::min` also handles NaN.
                *low = if code < *low { code } else { *low };
                *high = if code > *high { code } else { *high };
            }
            sums.iter_mut().zip(row).for_each(|(sum, &code)| *sum += f64::from(code));
        })
    }

    /// Starts the second pass.
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
    /// The count list of a token type for each feature, `[types, features]`.
    slots: Vec<u8>,
}

/// Counts of one feature.
#[derive(Debug)]
struct Tally {
    low: f32,
    high: f32,
    firing: u64,
    tokens: Vec<u32>,
    /// One list per separately counted token, and last the list of the others.
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
