//! Stored fragments, and the codes of every dictionary on them.

use crate::base::{HookPoint, TokenBatch, distinct};
use crate::linalg::SparseCodes;
use crate::subject::{SubjectError, SubjectModel};

use super::{TraceError, TraceFeature};
use crate::causal::Writer;

/// Fragments per forward pass.
const AT_ONCE: usize = 64;

/// Fragments among which those of each feature are chosen.
pub struct Pool {
    tokens: TokenBatch,
    /// One for each dictionary; a row for each position of each fragment.
    codes: Vec<SparseCodes>,
}

/// Fragments of one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// Index of each, and its strongest position.
    pub places: Vec<(usize, usize)>,
    /// Those with at least half of the feature's largest activation.
    pub in_upper_half: usize,
}

impl Pool {
    /// Encodes the fragments with every dictionary. `on` gets the fragments done and in total.
    pub fn new(
        subject: &dyn SubjectModel,
        writers: &[Writer<'_>],
        tokens: TokenBatch,
        on: &dyn Fn(usize, usize),
    ) -> Result<Self, TraceError> {
        let hooks: Vec<HookPoint> = distinct(writers.iter().map(Writer::reads));
        let mut codes: Vec<SparseCodes> =
            writers.iter().map(|writer| SparseCodes::new(writer.dictionary().info().n_features)).collect();
        for (nth, ids) in tokens.ids().chunks(AT_ONCE * tokens.cols()).enumerate() {
            on(nth * AT_ONCE, tokens.rows());
            let part = TokenBatch::new(ids.to_vec(), tokens.cols());
            let part = part.ok_or(SubjectError::TooShort { cols: 0 })?;
            let found = subject.activations(&part, &hooks)?;
            for (writer, codes) in writers.iter().zip(&mut codes) {
                for (_, x) in hooks.iter().zip(&found).filter(|(hook, _)| **hook == writer.reads()) {
                    codes.append(&writer.dictionary().encode_sparse(x)?);
                }
            }
        }
        on(tokens.rows(), tokens.rows());
        Ok(Self { tokens, codes })
    }

    /// The fragments.
    pub fn tokens(&self) -> &TokenBatch {
        &self.tokens
    }

    /// A feature's code at each position of each fragment.
    pub fn codes_of(&self, id: TraceFeature) -> Vec<f32> {
        let codes = &self.codes[id.dictionary];
        let code = |row| {
            let (features, values) = codes.row(row);
            features.binary_search(&(id.feature as u32)).map_or(0.0, |at| values[at])
        };
        (0..codes.rows()).map(code).collect()
    }

    /// At most `n` fragments of a feature; none if it never fires.
    pub(super) fn choose(&self, id: TraceFeature, n: usize, first_scored: usize) -> Option<Chosen> {
        let codes = self.codes_of(id);
        let strongest = codes.chunks(self.tokens.cols()).map(|codes| {
            let scored = codes.iter().copied().enumerate().skip(first_scored);
            scored.fold((0, 0.0f32), |best, (at, code)| if code > best.1 { (at, code) } else { best })
        });
        let mut firing: Vec<(usize, (usize, f32))> =
            strongest.enumerate().filter(|(_, (_, code))| *code > 0.0).collect();
        firing.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
        let half = firing.first()?.1.1 / 2.0;
        let upper = firing.partition_point(|(_, (_, code))| *code >= half);
        let taken: Vec<usize> = match upper >= n {
            true => (0..n).map(|rank| rank * upper / n).collect(),
            false => (0..firing.len().min(n)).collect(),
        };
        let in_upper_half = taken.iter().filter(|rank| **rank < upper).count();
        let place = |rank: usize| (firing[rank].0, firing[rank].1.0);
        Some(Chosen { places: taken.into_iter().map(place).collect(), in_upper_half })
    }
}
