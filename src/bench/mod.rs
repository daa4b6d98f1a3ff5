//! Timing of single paths on data that is handed in, for a driver that times another program on the same
//! data in turn (`tests/bench`).
//!
//! In: a description of the work, then one line for each turn.
//! Out: seconds, and what is needed to check that both did the same.
//! Never: decides a result of a run.

mod decompose;
mod forward;
mod records;
mod train;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::{DeviceName, Matrix, Stopwatch, read};
use crate::dictionary::MethodParams;
use crate::linalg::matmul_bt;

/// Why some work could not be timed.
#[derive(Debug, thiserror::Error)]
#[error("benchmark: {0}")]
pub struct BenchError(String);

impl BenchError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// What is to be timed. `data` is a safetensors file of f32 tensors.
#[derive(Debug, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case", deny_unknown_fields)]
pub enum Work {
    /// Training steps on rows `x` `[n, d]`, in order and again from the start, from decoder rows `decoder`
    /// `[F, d]`, one autoencoder for each of `methods`, one after the other or on the same batches.
    Train {
        /// Rows and starting point.
        data: PathBuf,
        /// Autoencoders.
        methods: Vec<MethodParams>,
        /// Whether all take a step on a batch before the next batch is read.
        together: bool,
    },
    /// Whole trainings on rows `x` in a store on disk, which is written beside `data` first: reading, shuffling,
    /// training and what is measured on the way.
    Sweep {
        /// Rows.
        data: PathBuf,
        /// Autoencoders; `{"together": true}` trains all in one pass over the rows, `false` each in its own.
        methods: Vec<MethodParams>,
    },
    /// Principal components of rows `x`.
    Pca {
        /// Rows.
        data: PathBuf,
    },
    /// Rotation of whitened rows `x` to independent components, until no gradient entry exceeds `tolerance`.
    Ica {
        /// Rows.
        data: PathBuf,
        /// Where to end.
        tolerance: f64,
    },
    /// Every residual stream of a model on token ids `[sequences][positions]`.
    Harvest {
        /// Folder of the model.
        model: PathBuf,
        /// JSON file of ids.
        tokens: PathBuf,
    },
    /// Strongest fragments, samples and densities of every feature of a ReLU encoder: rows `x`, `encoder`
    /// `[F, d]` and `bias` `[F]`, the rows repeated `times` over.
    Records {
        /// Rows and encoder.
        data: PathBuf,
        /// Passes over the rows, counted as so many more fragments.
        times: usize,
    },
    /// Products of f32, for what the machine can do.
    Peak,
}

/// Something that can be timed again and again.
trait Timed {
    /// Does it once; `turn` is the driver's line.
    fn turn(&mut self, turn: &Value) -> Result<Value, BenchError>;
}

/// Work that is ready to be timed.
pub struct Bench(Box<dyn Timed>);

impl Bench {
    /// Reads the data. Training and harvesting are done on `device`, all else in main memory.
    pub fn open(work: Work, device: DeviceName) -> Result<Self, BenchError> {
        Ok(Self(match work {
            Work::Train { data, methods, together } => {
                Box::new(train::open(&data, &methods, together, device)?)
            }
            Work::Sweep { data, methods } => Box::new(train::Sweep::open(&data, &methods, device)?),
            Work::Pca { data } => Box::new(decompose::Pca::open(&data)?),
            Work::Ica { data, tolerance } => Box::new(decompose::Ica::open(&data, tolerance)?),
            Work::Harvest { model, tokens } => Box::new(forward::Harvest::open(&model, &tokens, device)?),
            Work::Records { data, times } => Box::new(records::Records::open(&data, times)?),
            Work::Peak => Box::new(Peak),
        }))
    }

    /// One turn: an object with `seconds` at least.
    pub fn turn(&mut self, turn: &Value) -> Result<Value, BenchError> {
        self.0.turn(turn)
    }
}

struct Peak;

impl Timed for Peak {
    fn turn(&mut self, _: &Value) -> Result<Value, BenchError> {
        let (n, k) = (2048, 512);
        let a = Matrix::from_fn(n, k, |row, col| ((row * 31 + col * 17) % 13) as f32);
        let b = Matrix::from_fn(2 * n, k, |row, col| ((row * 7 + col * 3) % 11) as f32);
        let started = Stopwatch::start();
        std::hint::black_box(matmul_bt(&a, &b));
        let seconds = started.seconds();
        Ok(json!({"seconds": seconds, "gflops": 4.0 * (n * n * k) as f64 / seconds / 1e9}))
    }
}

/// Matrices of a safetensors file.
struct Tensors(Vec<u8>);

impl Tensors {
    fn open(path: &Path) -> Result<Self, BenchError> {
        read(path).map(Self).map_err(BenchError::new)
    }

    /// The tensor `name`; a vector is one row.
    fn matrix(&self, name: &str) -> Result<Matrix, BenchError> {
        let file = safetensors::SafeTensors::deserialize(&self.0).map_err(BenchError::new)?;
        let view = file.tensor(name).map_err(BenchError::new)?;
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(BenchError::new(format!("`{name}` is {:?}; expected F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (rows, cols) = match *view.shape() {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => return Err(BenchError::new(format!("`{name}` has {} axes", view.shape().len()))),
        };
        Matrix::from_vec(rows, cols, values.collect())
            .ok_or_else(|| BenchError::new(format!("`{name}` is cut short")))
    }
}
