use std::path::Path;

use serde_json::{Value, json};

use super::{BenchError, Tensors, Timed};
use crate::base::{Digester, HookPoint, Matrix, Stopwatch, Stream, TokenBatch};
use crate::dictionary::{
    Activation, AffineDictionary, Dictionary, Kind, Label, RowScale, Tensors as DictionaryTensors,
};
use crate::features::{FragmentSet, Protocol, RecordBuilder};

/// Tokens of a fragment, and fragments encoded at once.
const POSITIONS: usize = 64;
const BLOCK_FRAGMENTS: usize = 64;

/// A ReLU dictionary's records over rows that are read several times.
pub struct Records {
    x: Matrix,
    dictionary: AffineDictionary,
    times: usize,
}

impl Records {
    pub fn open(data: &Path, times: usize) -> Result<Self, BenchError> {
        let tensors = Tensors::open(data)?;
        let (x, encoder) = (tensors.matrix("x")?, tensors.matrix("encoder")?);
        if x.rows() % (POSITIONS * BLOCK_FRAGMENTS) != 0 {
            return Err(BenchError::new(format!("{} rows are no whole blocks of fragments", x.rows())));
        }
        let hook: HookPoint = "hook_embed".parse().map_err(BenchError::new)?;
        let label = Label {
            method: "relu".into(),
            kind: Kind::SaeUntied,
            hook,
            fitted_on: Digester::new("benchmark").finish(),
            is_reconstruction: true,
        };
        let dictionary = AffineDictionary::new(
            label,
            DictionaryTensors {
                decoder: encoder.clone(),
                decoder_bias: vec![0.0; encoder.cols()],
                encoder,
                encoder_bias: tensors.matrix("bias")?.into_vec(),
                subtract_decoder_bias: false,
                activation: Activation::Relu,
                row_scale: RowScale::Plain,
            },
        );
        Ok(Self { x, dictionary, times })
    }
}

impl Timed for Records {
    fn turn(&mut self, _: &Value) -> Result<Value, BenchError> {
        let once = self.x.rows() / POSITIONS;
        let n = once * self.times;
        let ids = TokenBatch::new(vec![0; n * POSITIONS], POSITIONS);
        let ids = ids.ok_or_else(|| BenchError::new("there are no rows"))?;
        let documents: Vec<usize> = (0..n).collect();
        let started = Stopwatch::start();
        let fragments = FragmentSet::new(&ids, &documents).map_err(BenchError::new)?;
        let mut stream = Stream::new(1, "benchmark");
        let features = self.dictionary.info().n_features;
        let mut builder = RecordBuilder::new(features, fragments, &Protocol::standard(), &mut stream)
            .map_err(BenchError::new)?;
        let width = BLOCK_FRAGMENTS * POSITIONS * self.x.cols();
        for block in 0..n / BLOCK_FRAGMENTS {
            let from = block % (once / BLOCK_FRAGMENTS) * width;
            let rows = Matrix::from_vec(
                BLOCK_FRAGMENTS * POSITIONS,
                self.x.cols(),
                self.x.data()[from..from + width].to_vec(),
            );
            let rows = rows.ok_or_else(|| BenchError::new("a block is cut short"))?;
            let codes = self.dictionary.encode_sparse(&rows).map_err(BenchError::new)?;
            builder.add_sparse_block(block * BLOCK_FRAGMENTS, &codes).map_err(BenchError::new)?;
        }
        let summaries = builder.finish().map_err(BenchError::new)?;
        let seconds = started.seconds();
        let maxima: Vec<f32> = summaries.iter().map(|summary| summary.max_activation).collect();
        Ok(json!({"seconds": seconds, "tokens": n * POSITIONS, "maxima": maxima}))
    }
}
