use std::fs::File;
use std::path::{Path, PathBuf};

use half::f16;

use crate::base::{AtomicFile, Digest, Digester, FileError, HookPoint, Matrix, Stream};

/// Rows that stay neighbours when batches are shuffled: one read from disk.
const BLOCK_ROWS: usize = 256;
/// Blocks mixed with each other in memory before batches are cut from them.
const MIXED_BLOCKS: usize = 64;

/// Trouble with stored activations.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The store could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value that no model should give.
    #[error(
        "activations at `{hook}` hold a NaN or infinite value in row {row}: the model's weights or arithmetic are broken"
    )]
    NotFinite {
        /// Where.
        hook: HookPoint,
        /// Row of the store, from 0.
        row: usize,
    },
    /// Every row is the same, so nothing can be decomposed.
    #[error(
        "activations at `{hook}` are constant over {rows} rows: there is nothing to decompose; choose another hook point"
    )]
    Constant {
        /// Where.
        hook: HookPoint,
        /// How many rows.
        rows: usize,
    },
    /// No rows at all.
    #[error("no activations at `{hook}`: the fit split holds no usable token")]
    Empty {
        /// Where.
        hook: HookPoint,
    },
}

/// How activations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Two bytes a value.
    F16,
    /// Four bytes a value.
    F32,
}

impl Precision {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

#[derive(Debug)]
enum Storage {
    Memory(Matrix),
    Disk { file: File, path: PathBuf, precision: Precision },
}

/// Activations `[rows, width]` at one hook point, with the digest that dictionaries carry as
/// `fitted_on`: two dictionaries are compared only if they were fitted on the same digest.
#[derive(Debug)]
pub struct ActivationSet {
    hook: HookPoint,
    rows: usize,
    width: usize,
    digest: Digest,
    mean: Vec<f64>,
    mean_square_deviation: f64,
    storage: Storage,
}

impl ActivationSet {
    /// A set held in memory: tests and small corpora.
    pub fn from_matrix(hook: HookPoint, rows: Matrix) -> Result<Self, ActivationError> {
        let mut digester = Digester::new("activations");
        let mut sums = RunningMoments::new(hook, rows.cols());
        for row in rows.iter_rows() {
            sums.add(row)?;
            digester.stream(&encode_row(row, Precision::F32));
        }
        let (mean, mean_square_deviation) = sums.finish()?;
        digester.text(&format!("{} x {}", rows.rows(), rows.cols()));
        Ok(Self {
            hook,
            rows: rows.rows(),
            width: rows.cols(),
            digest: digester.finish(),
            mean,
            mean_square_deviation,
            storage: Storage::Memory(rows),
        })
    }

    /// Opens what an [`ActivationWriter`] wrote.
    fn open(
        path: &Path,
        hook: HookPoint,
        width: usize,
        precision: Precision,
        digest: Digest,
        moments: (usize, Vec<f64>, f64),
    ) -> Result<Self, ActivationError> {
        let file = File::open(path).map_err(|source| FileError {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let (rows, mean, mean_square_deviation) = moments;
        let storage = Storage::Disk { file, path: path.to_path_buf(), precision };
        Ok(Self { hook, rows, width, digest, mean, mean_square_deviation, storage })
    }

    /// Where in the model.
    pub fn hook(&self) -> HookPoint {
        self.hook
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of the hook point, `d_in`.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Digest of all values.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Mean row `[width]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Mean over rows and dimensions of the squared deviation from the mean row.
    pub fn mean_square_deviation(&self) -> f64 {
        self.mean_square_deviation
    }

    /// Rows `start..start + n`, fewer at the end, as `[n, width]`.
    pub fn read(&self, start: usize, n: usize) -> Result<Matrix, ActivationError> {
        let n = n.min(self.rows.saturating_sub(start));
        let mut out = Matrix::zeros(n, self.width);
        self.read_into(start, out.data_mut())?;
        Ok(out)
    }

    fn read_into(&self, start: usize, out: &mut [f32]) -> Result<(), ActivationError> {
        match &self.storage {
            Storage::Memory(rows) => {
                let from = start * self.width;
                out.copy_from_slice(&rows.data()[from..from + out.len()]);
            }
            Storage::Disk { file, path, precision } => {
                let mut bytes = vec![0u8; out.len() * precision.bytes()];
                let offset = (start * self.width * precision.bytes()) as u64;
                read_exact_at(file, &mut bytes, offset).map_err(|source| FileError {
                    action: "read",
                    path: path.clone(),
                    source,
                })?;
                decode(&bytes, *precision, out);
            }
        }
        Ok(())
    }

    /// All rows in order, `block_rows` at a time.
    pub fn blocks(&self, block_rows: usize) -> impl Iterator<Item = Result<Matrix, ActivationError>> + '_ {
        (0..self.rows).step_by(block_rows.max(1)).map(move |start| self.read(start, block_rows))
    }

    /// One pass over all rows in a seeded order, `batch_rows` at a time; the last batch is left out
    /// unless it is full. Blocks of neighbours are permuted, then rows are mixed across 64 blocks,
    /// so memory does not depend on the number of rows.
    pub fn shuffled(&self, stream: Stream, batch_rows: usize) -> Batches<'_> {
        let mut stream = stream;
        let blocks = stream.permutation(self.rows.div_ceil(BLOCK_ROWS));
        Batches {
            set: self,
            stream,
            blocks,
            next_block: 0,
            buffer: Vec::new(),
            order: Vec::new(),
            batch_rows,
        }
    }
}

/// Batches of one shuffled pass.
#[derive(Debug)]
pub struct Batches<'a> {
    set: &'a ActivationSet,
    stream: Stream,
    blocks: Vec<usize>,
    next_block: usize,
    buffer: Vec<f32>,
    /// Rows of `buffer` not served yet.
    order: Vec<usize>,
    batch_rows: usize,
}

impl Batches<'_> {
    /// Keeps what was not served and mixes the next blocks in.
    fn refill(&mut self) -> Result<bool, ActivationError> {
        let width = self.set.width;
        let mut buffer = Vec::with_capacity((self.order.len() + MIXED_BLOCKS * BLOCK_ROWS) * width);
        for &row in &self.order {
            buffer.extend_from_slice(&self.buffer[row * width..(row + 1) * width]);
        }
        let until = (self.next_block + MIXED_BLOCKS).min(self.blocks.len());
        let grew = self.next_block < until;
        for &block in &self.blocks[self.next_block..until] {
            let start = block * BLOCK_ROWS;
            let n = BLOCK_ROWS.min(self.set.rows - start);
            let from = buffer.len();
            buffer.resize(from + n * width, 0.0);
            self.set.read_into(start, &mut buffer[from..])?;
        }
        self.next_block = until;
        self.order = self.stream.permutation(buffer.len() / width);
        self.buffer = buffer;
        Ok(grew)
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Matrix, ActivationError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.order.len() < self.batch_rows {
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let width = self.set.width;
        let rows = self.order.split_off(self.order.len() - self.batch_rows);
        let mut batch = Matrix::zeros(rows.len(), width);
        for (slot, row) in rows.into_iter().enumerate() {
            batch.row_mut(slot).copy_from_slice(&self.buffer[row * width..(row + 1) * width]);
        }
        Some(Ok(batch))
    }
}

/// Writes activations to disk as they come, hashing them on the way.
pub struct ActivationWriter {
    hook: HookPoint,
    precision: Precision,
    path: PathBuf,
    file: AtomicFile,
    digester: Digester,
    moments: RunningMoments,
}

impl ActivationWriter {
    /// Starts a store for one hook point.
    pub fn create(
        path: &Path,
        hook: HookPoint,
        width: usize,
        precision: Precision,
    ) -> Result<Self, ActivationError> {
        Ok(Self {
            hook,
            precision,
            path: path.to_path_buf(),
            file: AtomicFile::create(path)?,
            digester: Digester::new("activations"),
            moments: RunningMoments::new(hook, width),
        })
    }

    /// Adds one row.
    pub fn push(&mut self, row: &[f32]) -> Result<(), ActivationError> {
        let bytes = encode_row(row, self.precision);
        // Moments are those of what is stored, so that a reopened set has the same ones.
        let mut stored = vec![0.0; row.len()];
        decode(&bytes, self.precision, &mut stored);
        self.moments.add(&stored)?;
        self.digester.stream(&bytes);
        self.file.write(&bytes)?;
        Ok(())
    }

    /// Completes the store and opens it.
    pub fn finish(mut self) -> Result<ActivationSet, ActivationError> {
        let (rows, width) = (self.moments.rows, self.moments.sum.len());
        let (mean, mean_square_deviation) = self.moments.finish()?;
        self.digester.text(&format!("{rows} x {width}"));
        self.file.commit()?;
        let digest = self.digester.finish();
        ActivationSet::open(
            &self.path,
            self.hook,
            width,
            self.precision,
            digest,
            (rows, mean, mean_square_deviation),
        )
    }
}

/// Sums for the mean row and the total variance, in f64 and shifted by the first row so that a
/// large mean costs no digits.
struct RunningMoments {
    hook: HookPoint,
    rows: usize,
    shift: Vec<f64>,
    sum: Vec<f64>,
    sum_of_squares: Vec<f64>,
}

impl RunningMoments {
    fn new(hook: HookPoint, width: usize) -> Self {
        Self { hook, rows: 0, shift: Vec::new(), sum: vec![0.0; width], sum_of_squares: vec![0.0; width] }
    }

    fn add(&mut self, row: &[f32]) -> Result<(), ActivationError> {
        if row.iter().any(|value| !value.is_finite()) {
            return Err(ActivationError::NotFinite { hook: self.hook, row: self.rows });
        }
        if self.rows == 0 {
            self.shift = row.iter().map(|&value| f64::from(value)).collect();
        }
        for (dim, &value) in row.iter().enumerate() {
            let shifted = f64::from(value) - self.shift[dim];
            self.sum[dim] += shifted;
            self.sum_of_squares[dim] += shifted * shifted;
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&self) -> Result<(Vec<f64>, f64), ActivationError> {
        if self.rows == 0 {
            return Err(ActivationError::Empty { hook: self.hook });
        }
        let n = self.rows as f64;
        let mean = self.sum.iter().zip(&self.shift).map(|(sum, shift)| sum / n + shift).collect();
        let total: f64 = self
            .sum
            .iter()
            .zip(&self.sum_of_squares)
            .map(|(sum, squares)| (squares - sum * sum / n) / n)
            .sum();
        if total <= 0.0 {
            return Err(ActivationError::Constant { hook: self.hook, rows: self.rows });
        }
        Ok((mean, total / self.sum.len() as f64))
    }
}

fn encode_row(row: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => row.iter().flat_map(|value| value.to_le_bytes()).collect(),
        // Beyond f16's range a value would become infinite; it is kept at the largest finite one.
        Precision::F16 => row
            .iter()
            .flat_map(|&value| {
                let limit = f16::MAX.to_f32();
                let stored = if value.is_finite() { value.clamp(-limit, limit) } else { value };
                f16::from_f32(stored).to_le_bytes()
            })
            .collect(),
    }
}

fn decode(bytes: &[u8], precision: Precision, out: &mut [f32]) {
    match precision {
        Precision::F32 => {
            for (slot, four) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *slot = f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
            }
        }
        Precision::F16 => {
            for (slot, two) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *slot = f16::from_le_bytes([two[0], two[1]]).to_f32();
            }
        }
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let n = std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        done += n;
    }
    Ok(())
}
