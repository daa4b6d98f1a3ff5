use std::fs::File;
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;

use rayon::prelude::*;

use crate::base::{AtomicFile, Digest, Digester, FileError, HookPoint, Matrix, Stream, write_atomic};

/// Rows that stay neighbours when batches are shuffled: one read from disk.
const BLOCK_ROWS: usize = 256;
/// Blocks mixed with each other in memory before batches are cut from them.
const MIXED_BLOCKS: usize = 64;
/// Entries that one task copies or decodes.
const PART: usize = 1 << 16;

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
    Memory { rows: Matrix, tokens: Vec<u32> },
    Disk { file: File, path: PathBuf, precision: Precision },
}

/// What stands beside a store on disk, so that it can be opened again.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Sidecar {
    version: u32,
    hook: HookPoint,
    rows: usize,
    width: usize,
    precision: Precision,
    digest: Digest,
    mean: Vec<f64>,
    mean_square_deviation: f64,
    /// Places, in the pass's tokens, of rows left out for their norm, ascending.
    left_out: Vec<usize>,
}

/// Version of the store's layout: rows, then token ids as u32, all little-endian.
const VERSION: u32 = 1;

/// Bytes of one token id in the store.
const TOKEN_BYTES: usize = 4;

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
    left_out: Vec<usize>,
    storage: Storage,
}

impl ActivationSet {
    /// A set held in memory: tests and small corpora. `tokens` may be empty where nobody asks.
    pub fn from_matrix(hook: HookPoint, rows: Matrix, tokens: Vec<u32>) -> Result<Self, ActivationError> {
        let mut digester = Digester::new("activations");
        let mut sums = RunningMoments::new(hook, rows.cols());
        sums.add(rows.data())?;
        digester.stream(&encode(rows.data(), Precision::F32));
        let (mean, mean_square_deviation) = sums.finish()?;
        digester.text(&format!("{} x {}", rows.rows(), rows.cols()));
        Ok(Self {
            hook,
            rows: rows.rows(),
            width: rows.cols(),
            digest: digester.finish(),
            mean,
            mean_square_deviation,
            left_out: Vec::new(),
            storage: Storage::Memory { rows, tokens },
        })
    }

    /// Opens what an [`ActivationWriter`] wrote at `path`; none where nothing complete is there.
    pub fn open(path: &Path) -> Option<Self> {
        let sidecar: Sidecar = serde_json::from_slice(&std::fs::read(sidecar_path(path)).ok()?).ok()?;
        let file = File::open(path).ok()?;
        let bytes = sidecar.rows * (sidecar.width * sidecar.precision.bytes() + TOKEN_BYTES);
        if sidecar.version != VERSION || file.metadata().ok()?.len() != bytes as u64 {
            return None;
        }
        let storage = Storage::Disk { file, path: path.to_path_buf(), precision: sidecar.precision };
        Some(Self {
            hook: sidecar.hook,
            rows: sidecar.rows,
            width: sidecar.width,
            digest: sidecar.digest,
            mean: sidecar.mean,
            mean_square_deviation: sidecar.mean_square_deviation,
            left_out: sidecar.left_out,
            storage,
        })
    }

    /// Removes a store from disk; one that is not there is fine.
    pub fn remove(path: &Path) {
        let _ = std::fs::remove_file(sidecar_path(path));
        let _ = std::fs::remove_file(path);
    }

    /// Rows left out while harvesting because their norm was beyond all others: their places among
    /// all tokens of the pass, ascending.
    pub fn left_out(&self) -> &[usize] {
        &self.left_out
    }

    /// Token ids of rows `start..start + n`, fewer at the end.
    pub fn tokens(&self, start: usize, n: usize) -> Result<Vec<u32>, ActivationError> {
        let n = n.min(self.rows.saturating_sub(start));
        match &self.storage {
            Storage::Memory { tokens, .. } => {
                Ok(tokens[start.min(tokens.len())..(start + n).min(tokens.len())].to_vec())
            }
            Storage::Disk { file, path, precision } => {
                let offset = self.rows * self.width * precision.bytes() + start * TOKEN_BYTES;
                let mut bytes = vec![0u8; n * TOKEN_BYTES];
                read_exact_at(file, &mut bytes, offset as u64).map_err(|source| FileError {
                    action: "read",
                    path: path.clone(),
                    source,
                })?;
                let ids =
                    bytes.chunks_exact(TOKEN_BYTES).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                Ok(ids.collect())
            }
        }
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
            Storage::Memory { rows, .. } => {
                let from = start * self.width;
                let rows = &rows.data()[from..from + out.len()];
                let parts = out.par_chunks_mut(PART).zip(rows.par_chunks(PART));
                parts.for_each(|(out, rows)| out.copy_from_slice(rows));
            }
            Storage::Disk { file, path, precision } => {
                let mut bytes = vec![0u8; out.len() * precision.bytes()];
                let offset = (start * self.width * precision.bytes()) as u64;
                read_exact_at(file, &mut bytes, offset).map_err(|source| FileError {
                    action: "read",
                    path: path.clone(),
                    source,
                })?;
                let parts = out.par_chunks_mut(PART).zip(bytes.par_chunks(PART * precision.bytes()));
                parts.for_each(|(out, bytes)| decode(bytes, *precision, out));
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
    width: usize,
    precision: Precision,
    path: PathBuf,
    file: AtomicFile,
    digester: Digester,
    moments: RunningMoments,
    tokens: Vec<u32>,
    left_out: Vec<usize>,
}

impl ActivationWriter {
    /// Starts a store for one hook point of `width` dimensions.
    pub fn create(
        path: &Path,
        hook: HookPoint,
        width: usize,
        precision: Precision,
    ) -> Result<Self, ActivationError> {
        Ok(Self {
            hook,
            width,
            precision,
            path: path.to_path_buf(),
            file: AtomicFile::create(path)?,
            digester: Digester::new("activations"),
            moments: RunningMoments::new(hook, width),
            tokens: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// Adds rows `[tokens.len(), width]` with the token each belongs to.
    pub fn push(&mut self, rows: &[f32], tokens: &[u32]) -> Result<(), ActivationError> {
        debug_assert_eq!(rows.len(), tokens.len() * self.width);
        let bytes = encode(rows, self.precision);
        // Moments are those of what is stored, so that a reopened set has the same ones.
        match self.precision {
            Precision::F32 => self.moments.add(rows)?,
            Precision::F16 => {
                let mut stored = vec![0.0; rows.len()];
                decode(&bytes, self.precision, &mut stored);
                self.moments.add(&stored)?;
            }
        }
        self.digester.stream(&bytes);
        self.file.write(&bytes)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Notes rows that were left out, by their places among all tokens of the pass; they come in order.
    pub fn leave_out(&mut self, places: impl IntoIterator<Item = usize>) {
        self.left_out.extend(places);
    }

    /// Completes the store and opens it.
    pub fn finish(mut self) -> Result<ActivationSet, ActivationError> {
        let rows = self.tokens.len();
        let (mean, mean_square_deviation) = self.moments.finish()?;
        self.digester.text(&format!("{rows} x {}", self.width));
        for chunk in self.tokens.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|id| id.to_le_bytes()).collect();
            self.file.write(&bytes)?;
        }
        self.file.commit()?;
        let sidecar = Sidecar {
            version: VERSION,
            hook: self.hook,
            rows,
            width: self.width,
            precision: self.precision,
            digest: self.digester.finish(),
            mean,
            mean_square_deviation,
            left_out: self.left_out,
        };
        let json = serde_json::to_vec(&sidecar).unwrap_or_default();
        write_atomic(&sidecar_path(&self.path), &json)?;
        ActivationSet::open(&self.path).ok_or_else(|| {
            let source = std::io::Error::other("what was just written cannot be read back");
            FileError { action: "read", path: self.path.clone(), source }.into()
        })
    }
}

fn sidecar_path(path: &Path) -> PathBuf {
    path.with_extension("json")
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

    /// Adds rows, one after another.
    fn add(&mut self, rows: &[f32]) -> Result<(), ActivationError> {
        let width = self.sum.len();
        for row in rows.chunks_exact(width) {
            if row.iter().any(|value| !value.is_finite()) {
                return Err(ActivationError::NotFinite { hook: self.hook, row: self.rows });
            }
            if self.rows == 0 {
                self.shift = row.iter().map(|&value| f64::from(value)).collect();
            }
            for (((&value, shift), sum), squares) in
                row.iter().zip(&self.shift).zip(&mut self.sum).zip(&mut self.sum_of_squares)
            {
                let shifted = f64::from(value) - shift;
                *sum += shifted;
                *squares += shifted * shifted;
            }
            self.rows += 1;
        }
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

fn encode(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::F16 => {
            // Beyond f16's range a value would become infinite; it is kept at the largest finite one.
            let limit = f16::MAX.to_f32();
            let kept: Vec<f32> = values
                .iter()
                .map(|&value| if value.is_finite() { value.clamp(-limit, limit) } else { value })
                .collect();
            let mut halves = vec![f16::ZERO; kept.len()];
            halves.convert_from_f32_slice(&kept);
            halves.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
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
            // A part at a time: the halves stay in the cache.
            let mut halves = [f16::ZERO; 1024];
            for (out, bytes) in out.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
                let halves = &mut halves[..out.len()];
                for (half, two) in halves.iter_mut().zip(bytes.chunks_exact(2)) {
                    *half = f16::from_le_bytes([two[0], two[1]]);
                }
                halves.convert_to_f32_slice(out);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hook() -> HookPoint {
        "blocks.0.hook_resid_post".parse().expect("a hook point")
    }

    fn noise(rows: usize, width: usize) -> Matrix {
        let mut stream = Stream::new(3, "noise");
        Matrix::from_fn(rows, width, |_, _| stream.normal() as f32)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.act");
        let rows = noise(700, 5);
        let tokens: Vec<u32> = (0..700).collect();
        let mut writer = ActivationWriter::create(&path, hook(), 5, Precision::F32).expect("created");
        writer.push(&rows.data()[..5 * 300], &tokens[..300]).expect("pushed");
        writer.push(&rows.data()[5 * 300..], &tokens[300..]).expect("pushed");
        let written = writer.finish().expect("finished");
        let set = ActivationSet::open(&path).expect("opened");
        assert_eq!(set.read(0, 700).expect("read"), rows);
        assert_eq!(set.tokens(698, 10).expect("read"), vec![698, 699]);
        let memory = ActivationSet::from_matrix(hook(), rows, tokens).expect("held");
        assert_eq!(memory.digest(), written.digest());
        assert_eq!(memory.mean(), set.mean());
    }

    #[test]
    fn a_shuffled_pass_serves_every_row_once_in_a_seeded_order() {
        let rows = Matrix::from_fn(40_000, 1, |row, _| row as f32);
        let set = ActivationSet::from_matrix(hook(), rows, Vec::new()).expect("held");
        let pass = |seed| -> Vec<f32> {
            set.shuffled(Stream::new(seed, "order"), 100)
                .flat_map(|batch| batch.expect("batch").into_vec())
                .collect()
        };
        let (first, again, other) = (pass(1), pass(1), pass(2));
        assert_eq!(first, again);
        assert_ne!(first, other);
        let mut sorted = first;
        sorted.sort_by(f32::total_cmp);
        assert_eq!(sorted, (0..40_000).map(|row| row as f32).collect::<Vec<_>>());
    }

    #[test]
    fn broken_and_constant_activations_are_refused() {
        let mut rows = noise(10, 3);
        rows.row_mut(4)[1] = f32::NAN;
        let broken = ActivationSet::from_matrix(hook(), rows, Vec::new());
        assert!(matches!(broken, Err(ActivationError::NotFinite { row: 4, .. })));
        let same =
            ActivationSet::from_matrix(hook(), Matrix::from_fn(10, 3, |_, col| col as f32), Vec::new());
        assert!(matches!(same, Err(ActivationError::Constant { rows: 10, .. })));
    }
}
