mod explanations;
mod protocols;
mod records;
mod sampling;
mod shapes;
mod splits;

use crate::base::{Matrix, Stream, TokenBatch};

use super::{FeatureRecord, FeatureSummary, FragmentSet, Protocol, RecordBuilder};

/// Fragments whose tokens don't matter.
fn blank_tokens(n_fragments: usize, positions: usize) -> TokenBatch {
    TokenBatch::new((0..(n_fragments * positions) as u32).collect(), positions).expect("whole fragments")
}

/// Codes [fragments · positions, features] from a function of (fragment, position, feature).
fn codes(
    n_fragments: usize,
    positions: usize,
    n_features: usize,
    value: impl Fn(usize, usize, usize) -> f32,
) -> Matrix {
    Matrix::from_fn(n_fragments * positions, n_features, |row, feature| {
        value(row / positions, row % positions, feature)
    })
}

/// Some rows of a matrix.
fn rows(matrix: &Matrix, range: std::ops::Range<usize>) -> Matrix {
    matrix.select_rows(&range.collect::<Vec<_>>())
}

/// One pass in blocks of `block` fragments.
fn summarise(
    codes: &Matrix,
    fragments: FragmentSet<'_>,
    protocol: &Protocol,
    seed: u64,
    block: usize,
) -> Vec<FeatureSummary> {
    let mut stream = Stream::new(seed, "records");
    let mut builder =
        RecordBuilder::new(codes.cols(), fragments, protocol, &mut stream).expect("valid protocol");
    let positions = fragments.positions();
    for first in (0..fragments.len()).step_by(block) {
        let last = (first + block).min(fragments.len());
        let block = rows(codes, first * positions..last * positions);
        builder.add_block(first, &block).expect("block fits");
    }
    builder.finish().expect("all fragments given")
}

/// The record of a feature, its activations taken from `codes`.
fn record_of(
    summary: &FeatureSummary,
    codes: &Matrix,
    fragments: FragmentSet<'_>,
    protocol: &Protocol,
) -> FeatureRecord {
    let positions = fragments.positions();
    FeatureRecord::assemble(summary, fragments, protocol.first_scored(), |feature, fragment| {
        (0..positions).map(|position| codes.at(fragment * positions + position, feature)).collect()
    })
    .expect("assembled")
}
