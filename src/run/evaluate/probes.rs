//! Activations of short token sequences at one hook point. Each sequence runs once.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::base::{HookPoint, Matrix};
use crate::subject::{SubjectError, SubjectModel};

/// Maximum number of cached values (64 MB of f32). The cache is cleared when it is exceeded.
const MAX_CACHED_VALUES: usize = 16 << 20;

/// Runs token sequences separately and caches the activation at each sequence's last token.
///
/// Each dictionary has its own cache, because few sequences are shared between dictionaries. Also, the last bits of
/// a forward pass depend on the batch: with a shared cache, scores would depend on the order of dictionaries.
pub struct Probes<'a> {
    subject: &'a dyn SubjectModel,
    hook: HookPoint,
    lead: Option<u32>,
    width: usize,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: HashMap<Vec<u32>, usize>,
    values: Vec<f32>,
}

impl<'a> Probes<'a> {
    /// `lead` is prepended to every sequence, to fill position 0.
    pub fn new(
        subject: &'a dyn SubjectModel,
        hook: HookPoint,
        lead: Option<u32>,
    ) -> Result<Self, SubjectError> {
        Ok(Self { subject, hook, lead, width: subject.width(hook)?, known: Mutex::default() })
    }

    /// Activations `[sequences.len(), width]` at the last token of each sequence.
    pub fn last_activations(&self, sequences: &[&[u32]]) -> Result<Matrix, SubjectError> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.values.len() > MAX_CACHED_VALUES {
            *known = Known::default();
        }
        let mut missing: Vec<&[u32]> =
            sequences.iter().copied().filter(|ids| !known.places.contains_key(*ids)).collect();
        missing.sort_unstable();
        missing.dedup();
        let run: Vec<Vec<u32>> =
            missing.iter().map(|ids| self.lead.iter().chain(*ids).copied().collect()).collect();
        let run: Vec<&[u32]> = run.iter().map(Vec::as_slice).collect();
        let rows = self.subject.last_token_activations(&run, self.hook)?;
        for (row, ids) in missing.iter().enumerate() {
            let place = known.values.len() / self.width;
            known.values.extend_from_slice(rows.row(row));
            known.places.insert(ids.to_vec(), place);
        }
        let mut found = Matrix::zeros(sequences.len(), self.width);
        for (row, ids) in sequences.iter().enumerate() {
            let start = known.places[*ids] * self.width;
            found.row_mut(row).copy_from_slice(&known.values[start..start + self.width]);
        }
        Ok(found)
    }
}
