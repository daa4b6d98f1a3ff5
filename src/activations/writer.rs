//! Writes activations to a store as they are harvested.

use std::path::{Path, PathBuf};

use super::encoding::{Precision, decode, encode};
use super::error::ActivationError;
use super::moments::RunningMoments;
use super::set::{ActivationSet, Sidecar, VERSION, sidecar_path};
use crate::base::{AtomicFile, ContentHasher, Digester, HookPoint, write_sealed};

/// A store being written, one batch at a time; see `set.rs` for the format.
pub struct ActivationWriter {
    hook: HookPoint,
    width: usize,
    precision: Precision,
    path: PathBuf,
    file: AtomicFile,
    digester: Digester,
    content: ContentHasher,
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
            content: ContentHasher::default(),
            moments: RunningMoments::new(hook, width),
            tokens: Vec::new(),
            left_out: Vec::new(),
        })
    }

    /// Appends rows `[tokens.len(), width]` and their token ids.
    pub fn push(&mut self, rows: &[f32], tokens: &[u32]) -> Result<(), ActivationError> {
        debug_assert_eq!(rows.len(), tokens.len() * self.width);
        let bytes = encode(rows, self.precision);
        // Moments are those of the stored values, so that a reopened set agrees with them.
        match self.precision {
            Precision::F32 => self.moments.add(rows)?,
            Precision::F16 => {
                let mut stored = vec![0.0; rows.len()];
                decode(&bytes, self.precision, &mut stored);
                self.moments.add(&stored)?;
            }
        }
        self.digester.stream(&bytes);
        self.content.add(&bytes);
        self.file.write(&bytes)?;
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Records rows that were left out, by their indices among all tokens of the pass, in ascending order.
    pub fn leave_out(&mut self, indices: impl IntoIterator<Item = usize>) {
        self.left_out.extend(indices);
    }

    /// Completes the store and opens it.
    pub fn finish(mut self) -> Result<ActivationSet, ActivationError> {
        let rows = self.tokens.len();
        let (mean, mean_square_deviation) = self.moments.finish()?;
        self.digester.text(&format!("{rows} x {}", self.width));
        for chunk in self.tokens.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|id| id.to_le_bytes()).collect();
            self.content.add(&bytes);
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
            content: Some(self.content.finish()),
            mean,
            mean_square_deviation,
            left_out: self.left_out,
        };
        write_sealed(&sidecar_path(&self.path), None, Vec::new(), &sidecar)?;
        Ok(ActivationSet::from_disk(sidecar, &self.path)?)
    }
}
