//! Times single computations on given data. A driver (`tests/bench`) times another program on the same data in turn.
//!
//! In: a description of the work, then one line for each turn.
//! Out: seconds, and numbers that show whether both programs computed the same.
//! Never: changes a result of a run.

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

/// Why some work could not be timed. It does not implement `Error`, so that every error converts into it by `?`.
#[derive(Debug)]
pub struct BenchError(String);

impl BenchError {
    fn new(error: impl Into<String>) -> Self {
        Self(error.into())
    }
}

impl std::fmt::Display for BenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "benchmark: {}", self.0)
    }
}

impl<E: std::error::Error> From<E> for BenchError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What to time. `data` is a safetensors file of f32 tensors.
#[derive(Debug, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case", deny_unknown_fields)]
pub enum Work {
    /// Training steps on batches of rows `x` `[n, d]`, in turn, starting from decoder rows `decoder` `[F, d]`.
    Train {
        /// Rows and starting point.
        data: PathBuf,
        /// Autoencoders.
        methods: Vec<MethodParams>,
        /// Whether all autoencoders take a step on a batch before the next batch is read.
        together: bool,
    },
    /// Whole trainings on rows `x`, read from a store that is first written beside `data`.
    Sweep {
        /// Rows.
        data: PathBuf,
        /// Autoencoders. The turn `{"together": true}` trains all in one pass over the rows.
        methods: Vec<MethodParams>,
    },
    /// Principal components of rows `x`.
    Pca {
        /// Rows.
        data: PathBuf,
    },
    /// Rotation of whitened rows `x` to independent components.
    Ica {
        /// Rows.
        data: PathBuf,
        /// Largest gradient entry at convergence.
        tolerance: f64,
    },
    /// Every residual stream of a model on token ids `[sequences][positions]`.
    Harvest {
        /// Folder of the model.
        model: PathBuf,
        /// JSON file of ids.
        tokens: PathBuf,
    },
    /// Feature records of a ReLU encoder: `x` `[n, d]`, `encoder` `[F, d]`, `bias` `[F]`.
    Records {
        /// Rows and encoder.
        data: PathBuf,
        /// Passes over the rows; each pass counts as new fragments.
        times: usize,
    },
    /// A product of f32 matrices: the peak speed of the machine.
    Peak,
}

/// Runs the work once. The argument is the driver's line; the result is an object with at least `seconds`.
pub type Turn = Box<dyn FnMut(&Value) -> Result<Value, BenchError>>;

impl Work {
    /// Reads the data. Training and harvesting run on `device`, all other work on the CPU.
    pub fn open(self, device: DeviceName) -> Result<Turn, BenchError> {
        match self {
            Self::Train { data, methods, together } => train::steps(&data, &methods, together, device),
            Self::Sweep { data, methods } => train::sweep(&data, &methods, device),
            Self::Pca { data } => decompose::pca(&data),
            Self::Ica { data, tolerance } => decompose::ica(&data, tolerance),
            Self::Harvest { model, tokens } => forward::harvest(&model, &tokens, device),
            Self::Records { data, times } => records::records(&data, times),
            Self::Peak => Ok(Box::new(peak)),
        }
    }
}

fn peak(_: &Value) -> Result<Value, BenchError> {
    let (n, k) = (2048, 512);
    let a = Matrix::from_fn(n, k, |row, col| ((row * 31 + col * 17) % 13) as f32);
    let b = Matrix::from_fn(2 * n, k, |row, col| ((row * 7 + col * 3) % 11) as f32);
    let started = Stopwatch::start();
    std::hint::black_box(matmul_bt(&a, &b));
    let seconds = started.seconds();
    Ok(json!({"seconds": seconds, "gflops": 4.0 * (n * n * k) as f64 / seconds / 1e9}))
}

struct Tensors(Vec<u8>);

impl Tensors {
    fn open(path: &Path) -> Result<Self, BenchError> {
        Ok(Self(read(path)?))
    }

    /// The tensor `name`. A vector becomes one row.
    fn matrix(&self, name: &str) -> Result<Matrix, BenchError> {
        let file = safetensors::SafeTensors::deserialize(&self.0)?;
        let view = file.tensor(name)?;
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(BenchError::new(format!("`{name}` is {:?}; expected F32", view.dtype())));
        }
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (rows, cols) = match *view.shape() {
            [cols] => (1, cols),
            [rows, cols] => (rows, cols),
            _ => {
                return Err(BenchError::new(format!(
                    "`{name}` has {} axes, expected 1 or 2",
                    view.shape().len()
                )));
            }
        };
        Matrix::from_vec(rows, cols, values.collect())
            .ok_or_else(|| BenchError::new(format!("`{name}` is incomplete")))
    }
}
