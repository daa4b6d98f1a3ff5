//! Activations stored on disk or in memory, read in order or in a seeded, shuffled order.
//!
//! A store is one file, little-endian: rows `[rows, width]` in f16 or f32, then one u32 token id per row. A
//! sealed JSON sidecar beside it (`base::write_sealed`) holds shape, moments, and digests of values and file.

use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::encoding::{Precision, decode, encode};
use super::error::ActivationError;
use super::moments::RunningMoments;
use crate::base::{
    Content, Digest, Digester, FileError, Flaw, HookPoint, Matrix, Sealed, StoredBlock, open_stored, read_at,
};

/// Entries copied or decoded by one task.
const PART: usize = 1 << 16;

/// Version of the store's layout.
pub(super) const VERSION: u32 = 2;

/// Bytes of one token id in the store.
const TOKEN_BYTES: usize = 4;

#[derive(Debug)]
enum Storage {
    Memory { rows: Matrix, tokens: Vec<u32> },
    Disk { file: File, path: PathBuf },
}

/// Description of a store, saved beside it.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct Sidecar {
    pub version: u32,
    pub hook: HookPoint,
    pub rows: usize,
    pub width: usize,
    pub precision: Precision,
    /// Digest of all values. It identifies the activations.
    pub digest: Digest,
    /// What the file holds, token ids included. None in memory.
    pub content: Option<Content>,
    pub mean: Vec<f64>,
    pub mean_square_deviation: f64,
    /// Indices, among the tokens of the pass, of rows left out for their norm, ascending.
    pub left_out: Vec<usize>,
}

impl Sidecar {
    /// Bytes of all rows, before the token ids.
    fn row_bytes(&self) -> usize {
        self.rows * self.width * self.precision.bytes()
    }
}

/// A file of a store that does not hold what was written.
#[derive(Debug)]
pub struct DamagedStore {
    /// The file: the store or its sidecar.
    pub path: PathBuf,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// Activations `[rows, width]` at one hook point. Only dictionaries fitted on equal digests are compared.
#[derive(Debug)]
pub struct ActivationSet {
    sidecar: Sidecar,
    storage: Storage,
}

impl ActivationSet {
    /// A set held in memory, for tests and small corpora. `tokens` may be empty if nobody reads them.
    pub fn from_matrix(hook: HookPoint, rows: Matrix, tokens: Vec<u32>) -> Result<Self, ActivationError> {
        let mut digester = Digester::new("activations");
        let mut sums = RunningMoments::new(hook, rows.cols());
        sums.add(rows.data())?;
        digester.stream(&encode(rows.data(), Precision::F32));
        let (mean, mean_square_deviation) = sums.finish()?;
        digester.text(&format!("{} x {}", rows.rows(), rows.cols()));
        let sidecar = Sidecar {
            version: VERSION,
            hook,
            rows: rows.rows(),
            width: rows.cols(),
            precision: Precision::F32,
            digest: digester.finish(),
            content: None,
            mean,
            mean_square_deviation,
            left_out: Vec::new(),
        };
        Ok(Self { sidecar, storage: Storage::Memory { rows, tokens } })
    }

    /// Opens what an [`ActivationWriter`](super::ActivationWriter) wrote at `path`, and verifies all of it. None if it
    /// is incomplete or of an earlier version.
    pub fn open(path: &Path) -> Result<Option<Self>, DamagedStore> {
        let damaged = |path: PathBuf| move |flaw| DamagedStore { path, flaw };
        let beside = sidecar_path(path);
        let sealed = Sealed::read(&beside).map_err(damaged(beside.clone()))?;
        let sidecar = sealed.as_ref().and_then(Sealed::value::<Sidecar>);
        let Some(sidecar) = sidecar.filter(|sidecar| sidecar.version == VERSION) else { return Ok(None) };
        let bytes = sidecar.row_bytes() + sidecar.rows * TOKEN_BYTES;
        let content = sidecar.content.filter(|content| content.bytes == bytes as u64);
        let content = content.ok_or_else(Flaw::other_content).map_err(damaged(beside))?;
        match content.check(path) {
            Ok(()) => {
                let opened = Self::from_disk(sidecar, path).map_err(Flaw::from);
                opened.map(Some).map_err(damaged(path.to_path_buf()))
            }
            Err(Flaw::Missing) => Ok(None),
            Err(flaw) => Err(damaged(path.to_path_buf())(flaw)),
        }
    }

    /// The store with this digest among those of a folder, verified; none if there is none or it is damaged.
    pub fn find(folder: &Path, digest: Digest) -> Option<Self> {
        let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
        let mut sidecars: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect();
        sidecars.sort();
        let is_it = |path: &&PathBuf| {
            let sidecar = Sealed::read(path).ok().flatten().and_then(|sealed| sealed.value::<Sidecar>());
            sidecar.is_some_and(|sidecar| sidecar.digest == digest)
        };
        Self::open(&sidecars.iter().find(is_it)?.with_extension("act")).ok().flatten()
    }

    /// Where the rows `[rows, width]` lie; none for a set in memory.
    pub fn block(&self) -> Option<StoredBlock> {
        let Storage::Disk { path, .. } = &self.storage else { return None };
        let dtype = match self.sidecar.precision {
            Precision::F16 => "<f2",
            Precision::F32 => "<f4",
        };
        Some(StoredBlock { path: path.clone(), dtype, offset: 0, shape: vec![self.rows(), self.width()] })
    }

    /// A store that this process wrote.
    pub(super) fn from_disk(sidecar: Sidecar, path: &Path) -> Result<Self, FileError> {
        let file = open_stored(path)?;
        Ok(Self { sidecar, storage: Storage::Disk { file, path: path.to_path_buf() } })
    }

    /// Whether a complete store is there; its content is not looked at.
    pub fn is_stored(path: &Path) -> bool {
        sidecar_path(path).exists() && path.exists()
    }

    /// Removes a store from disk, if it exists.
    pub fn remove(path: &Path) {
        let _ = std::fs::remove_file(sidecar_path(path));
        let _ = std::fs::remove_file(path);
    }

    /// Rows left out for their extreme norm: indices among all tokens of the pass, ascending.
    pub fn left_out(&self) -> &[usize] {
        &self.sidecar.left_out
    }

    /// Token ids of rows `start..start + n`, fewer at the end.
    pub fn tokens(&self, start: usize, n: usize) -> Result<Vec<u32>, ActivationError> {
        let n = n.min(self.rows().saturating_sub(start));
        match &self.storage {
            Storage::Memory { tokens, .. } => {
                Ok(tokens[start.min(tokens.len())..(start + n).min(tokens.len())].to_vec())
            }
            Storage::Disk { file, path } => {
                let mut bytes = vec![0u8; n * TOKEN_BYTES];
                read_at(file, path, &mut bytes, (self.sidecar.row_bytes() + start * TOKEN_BYTES) as u64)?;
                Ok(bytes.as_chunks().0.iter().map(|id| u32::from_le_bytes(*id)).collect())
            }
        }
    }

    /// The hook point.
    pub fn hook(&self) -> HookPoint {
        self.sidecar.hook
    }

    /// Number of tokens.
    pub fn rows(&self) -> usize {
        self.sidecar.rows
    }

    /// Width of the hook point, `d_in`.
    pub fn width(&self) -> usize {
        self.sidecar.width
    }

    /// Digest of all values.
    pub fn digest(&self) -> Digest {
        self.sidecar.digest
    }

    /// Mean row `[width]`.
    pub fn mean(&self) -> &[f64] {
        &self.sidecar.mean
    }

    /// Mean over rows and dimensions of the squared deviation from the mean row.
    pub fn mean_square_deviation(&self) -> f64 {
        self.sidecar.mean_square_deviation
    }

    /// Rows `start..start + n`, fewer at the end, as `[n, width]`.
    pub fn read(&self, start: usize, n: usize) -> Result<Matrix, ActivationError> {
        let mut out = Matrix::zeros(n.min(self.rows().saturating_sub(start)), self.width());
        self.read_into(start, out.data_mut())?;
        Ok(out)
    }

    pub(super) fn read_into(&self, start: usize, out: &mut [f32]) -> Result<(), ActivationError> {
        let from = start * self.width();
        match &self.storage {
            Storage::Memory { rows, .. } => {
                let rows = &rows.data()[from..from + out.len()];
                let parts = out.par_chunks_mut(PART).zip(rows.par_chunks(PART));
                parts.for_each(|(out, rows)| out.copy_from_slice(rows));
            }
            Storage::Disk { file, path } => {
                let precision = self.sidecar.precision;
                let mut bytes = vec![0u8; out.len() * precision.bytes()];
                read_at(file, path, &mut bytes, (from * precision.bytes()) as u64)?;
                let parts = out.par_chunks_mut(PART).zip(bytes.par_chunks(PART * precision.bytes()));
                parts.for_each(|(out, bytes)| decode(bytes, precision, out));
            }
        }
        Ok(())
    }

    /// All rows in order, `block_rows` at a time.
    pub fn blocks(&self, block_rows: usize) -> impl Iterator<Item = Result<Matrix, ActivationError>> + '_ {
        (0..self.rows()).step_by(block_rows.max(1)).map(move |start| self.read(start, block_rows))
    }
}

pub(super) fn sidecar_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::ActivationWriter;
    use crate::base::{Stream, write_atomic};

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
        let set = ActivationSet::open(&path).expect("sound").expect("opened");
        assert_eq!(set.read(0, 700).expect("read"), rows);
        assert_eq!(set.tokens(698, 10).expect("read"), vec![698, 699]);
        let memory = ActivationSet::from_matrix(hook(), rows, tokens).expect("held");
        assert_eq!(memory.digest(), written.digest());
        assert_eq!(memory.mean(), set.mean());
    }

    #[test]
    fn a_store_that_was_changed_is_not_opened() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let write = |name: &str, scale: f32| {
            let path = folder.path().join(name);
            let mut writer = ActivationWriter::create(&path, hook(), 5, Precision::F16).expect("created");
            let rows: Vec<f32> = noise(300, 5).data().iter().map(|value| scale * value).collect();
            writer.push(&rows, &(0..300).collect::<Vec<u32>>()).expect("pushed");
            writer.finish().expect("finished");
            (path.clone(), sidecar_path(&path))
        };
        let damage = |path: &Path, alter: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = std::fs::read(path).expect("read");
            alter(&mut bytes);
            write_atomic(path, &bytes).expect("written");
        };
        let flip_value = |bytes: &mut Vec<u8>| bytes[1001] ^= 1;
        let flip_token = |bytes: &mut Vec<u8>| bytes[3000 + 17] ^= 4;
        let cut = |bytes: &mut Vec<u8>| bytes.truncate(4000);
        let flip_any = |bytes: &mut Vec<u8>| bytes[200] ^= 2;
        for (in_sidecar, alter) in [
            (false, &flip_value as &dyn Fn(&mut Vec<u8>)),
            (false, &flip_token),
            (false, &cut),
            (true, &flip_any),
        ] {
            let (path, beside) = write("a.act", 1.0);
            assert!(ActivationSet::open(&path).expect("sound").is_some());
            let altered = if in_sidecar { &beside } else { &path };
            damage(altered, alter);
            assert_eq!(ActivationSet::open(&path).expect_err("damaged").path, *altered);
        }
        // Two stores whose files were swapped, one by one and both.
        let (one, beside_one) = write("a.act", 1.0);
        let (two, beside_two) = write("b.act", 2.0);
        std::fs::copy(&two, &one).expect("copied");
        assert_eq!(ActivationSet::open(&one).expect_err("of another store").path, one);
        std::fs::copy(&beside_two, &beside_one).expect("copied");
        assert_eq!(ActivationSet::open(&one).expect_err("of another store").path, beside_one);
        // What is incomplete or was written by an earlier version is harvested again without a word.
        std::fs::remove_file(&two).expect("removed");
        assert!(ActivationSet::open(&two).expect("missing").is_none());
        write_atomic(&beside_one, b"{\"version\":1}").expect("written");
        assert!(ActivationSet::open(&one).expect("old").is_none());
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
