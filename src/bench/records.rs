//! Times the recording of feature activations.

use std::path::Path;

use serde_json::json;

use super::{BenchError, Tensors, Turn};
use crate::base::{Digester, Matrix, Stopwatch, Stream, TokenBatch};
use crate::dictionary::{
    Activation, AffineDictionary, Dictionary, Kind, Label, RowScale, Tensors as DictionaryTensors,
};
use crate::features::{FragmentSet, Protocol, RecordBuilder};

/// Tokens of a fragment.
const POSITIONS: usize = 64;
/// Fragments encoded at once.
const BLOCK_FRAGMENTS: usize = 64;
/// Rows encoded at once.
const BLOCK_ROWS: usize = BLOCK_FRAGMENTS * POSITIONS;

/// Feature records of a ReLU dictionary over rows `x` `[n, d]`, read `times` times.
pub fn records(data: &Path, times: usize) -> Result<Turn, BenchError> {
    let tensors = Tensors::open(data)?;
    let (x, dictionary) = (tensors.matrix("x")?, relu_dictionary(&tensors)?);
    if x.rows() % BLOCK_ROWS != 0 {
        return Err(BenchError::new(format!(
            "`x` has {} rows, expected whole blocks of {BLOCK_ROWS}",
            x.rows()
        )));
    }
    let blocks = x.rows() / BLOCK_ROWS;
    let n = x.rows() / POSITIONS * times;
    let ids = TokenBatch::new(vec![0; n * POSITIONS], POSITIONS);
    let ids = ids.ok_or_else(|| BenchError::new("`x` has no rows"))?;
    let documents: Vec<usize> = (0..n).collect();
    Ok(Box::new(move |_| {
        let started = Stopwatch::start();
        let fragments = FragmentSet::new(&ids, &documents)?;
        let mut stream = Stream::new(1, "benchmark");
        let features = dictionary.info().n_features;
        let mut builder = RecordBuilder::new(features, fragments, &Protocol::standard(), &mut stream)?;
        let width = BLOCK_ROWS * x.cols();
        for block in 0..n / BLOCK_FRAGMENTS {
            let rows = x.data()[block % blocks * width..][..width].to_vec();
            let rows = Matrix::from_vec(BLOCK_ROWS, x.cols(), rows);
            let rows = rows.ok_or_else(|| BenchError::new("a block is incomplete"))?;
            builder.add_sparse_block(block * BLOCK_FRAGMENTS, &dictionary.encode_sparse(&rows)?)?;
        }
        let summaries = builder.finish()?;
        let seconds = started.seconds();
        let maxima: Vec<f32> = summaries.iter().map(|summary| summary.max_activation).collect();
        Ok(json!({"seconds": seconds, "tokens": n * POSITIONS, "maxima": maxima}))
    }))
}

/// A dictionary from `encoder` `[F, d]` and `bias` `[F]`; the decoder equals the encoder.
fn relu_dictionary(tensors: &Tensors) -> Result<AffineDictionary, BenchError> {
    let encoder = tensors.matrix("encoder")?;
    let label = Label {
        method: "relu".into(),
        kind: Kind::SaeUntied,
        hook: "hook_embed".parse()?,
        fitted_on: Digester::new("benchmark").finish(),
        is_reconstruction: true,
        output: None,
    };
    let tensors = DictionaryTensors {
        decoder: encoder.clone(),
        decoder_bias: vec![0.0; encoder.cols()],
        encoder,
        encoder_bias: tensors.matrix("bias")?.into_vec(),
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    Ok(AffineDictionary::new(label, tensors))
}
