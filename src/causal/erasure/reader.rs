//! Activations and codes of a concept's prompts, with the features in their order.

use super::rank::ranked;
use super::{ConceptPrompts, ErasureParams, Positions};
use crate::base::{HookPoint, Matrix};
use crate::causal::patching::changes::{Changes, differences};
use crate::causal::patching::pairs::{batch_of, batches};
use crate::causal::{CausalError, Writer};
use crate::linalg::SparseCodes;
use crate::subject::{SubjectModel, Wanted};

/// Feature, position and minus the code times the factor of the row.
type Entries = Vec<(u32, u32, f32)>;

/// The last position of a prompt.
pub(super) struct Last {
    /// Activations at the hook point that is written `[width]`.
    pub row: Vec<f32>,
    pub changes: Changes,
}

/// A held-out prompt.
pub(super) struct HeldOut {
    /// Its place among all prompts.
    pub place: usize,
    /// Activations at the hook point that is written `[positions, width]`.
    pub rows: Matrix,
    pub changes: Changes,
    /// Unedited logits at the last position.
    pub logits: Vec<f32>,
}

/// A concept's prompts, read.
pub(super) struct Ready<'a> {
    /// Hook point that is written.
    pub hook: HookPoint,
    pub width: usize,
    /// In the order of the prompts.
    pub last: Vec<Last>,
    /// In the order of the held-out prompts.
    pub held_out: Vec<HeldOut>,
    /// One per feature that differs between the labels, by ascending number: a slot.
    pub directions: Vec<&'a [f32]>,
    /// Slots, those that separate the labels best first.
    pub order: Vec<usize>,
    positions: Positions,
    has_prefix: bool,
}

/// A prompt, read; entries of all features.
struct Read {
    place: usize,
    row: Vec<f32>,
    codes: Vec<(u32, f32)>,
    last: Entries,
    held_out: Option<(Matrix, Entries, Vec<f32>)>,
}

impl<'a> Ready<'a> {
    /// Runs every prompt once, and held-out ones a second time from the hook point on.
    pub fn read(
        (subject, writer): (&dyn SubjectModel, &Writer<'a>),
        prompts: &ConceptPrompts,
        params: &ErasureParams,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, CausalError> {
        let (hook, vocab) = (writer.writes(), subject.info().vocab);
        let (width, read) = (subject.width(hook)?, subject.width(writer.reads())?);
        let mut found: Vec<Read> = Vec::with_capacity(prompts.prompts.len());
        let lengths = prompts.prompts.iter().map(Vec::len);
        for (length, batch) in batches(lengths, |length| 4 * (length * (read + 2 * width) + vocab)) {
            if stop() {
                return Err(CausalError::Stopped);
            }
            found.extend(read_batch((subject, writer), prompts, (length, &batch))?);
        }
        found.sort_by_key(|one| one.place);
        let training = prompts.places(false);
        let mut codes = SparseCodes::new(writer.dictionary().info().n_features);
        training.iter().for_each(|&place| codes.push_row(found[place].codes.iter().copied()));
        let labels: Vec<bool> = training.iter().map(|&place| prompts.classes[place]).collect();
        let order = ranked(&codes, &labels);
        let mut active = order.clone();
        active.sort_unstable();
        let all = active.iter().map(|&feature| writer.direction(feature));
        let (directions, factors): (Vec<_>, Vec<_>) = all.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let slots = order.iter().filter_map(|feature| active.binary_search(feature).ok());
        let mut ready = Self {
            hook,
            width,
            last: Vec::with_capacity(found.len()),
            held_out: Vec::new(),
            directions,
            order: slots.collect(),
            positions: params.positions,
            has_prefix: !subject.prefix().is_empty(),
        };
        for one in found {
            ready.last.push(Last { row: one.row, changes: Changes::new(&one.last, &active, &factors) });
            if let Some((rows, entries, logits)) = one.held_out {
                let first = ready.first_edited(rows.rows()) as u32;
                let entries: Entries = entries.into_iter().filter(|entry| entry.1 >= first).collect();
                let changes = Changes::new(&entries, &active, &factors);
                ready.held_out.push(HeldOut { place: one.place, rows, changes, logits });
            }
        }
        Ok(ready)
    }

    /// First edited position of a prompt of so many tokens.
    pub fn first_edited(&self, length: usize) -> usize {
        match self.positions {
            Positions::All => usize::from(!self.has_prefix),
            Positions::Last => length.saturating_sub(1),
        }
    }
}

fn read_batch(
    (subject, writer): (&dyn SubjectModel, &Writer<'_>),
    prompts: &ConceptPrompts,
    (length, batch): (usize, &[usize]),
) -> Result<Vec<Read>, CausalError> {
    let tokens = batch_of(length, batch.iter().map(|&nth| prompts.prompts[nth].as_slice()))?;
    let inputs = subject.activations(&tokens, &[writer.reads()])?.swap_remove(0);
    let codes = writer.dictionary().encode_sparse(&inputs)?;
    let mut nothing = SparseCodes::new(codes.cols());
    (0..codes.rows()).for_each(|_| nothing.push_row([]));
    let factors = writer.row_factors(&inputs);
    let rows = match writer.writes() == writer.reads() {
        true => inputs,
        false => subject.activations(&tokens, &[writer.writes()])?.swap_remove(0),
    };
    let of_place = |nth: usize| (nth * length..(nth + 1) * length).collect::<Vec<usize>>();
    let tests: Vec<usize> = (0..batch.len()).filter(|&nth| prompts.is_test[batch[nth]]).collect();
    let mut logits = Vec::new();
    if !tests.is_empty() {
        let tokens = batch_of(length, tests.iter().map(|&nth| prompts.prompts[batch[nth]].as_slice()))?;
        let given = rows.select_rows(&tests.iter().flat_map(|&nth| of_place(nth)).collect::<Vec<usize>>());
        let found = subject.given(&tokens, (writer.writes(), &given), Wanted::LastLogits)?;
        logits = found.iter_rows().map(<[f32]>::to_vec).collect();
    }
    let mut logits = logits.into_iter();
    let read = batch.iter().enumerate().map(|(nth, &place)| {
        let entries = |first| differences((&codes, &nothing), (nth, length, first), &factors);
        let end = nth * length + length - 1;
        let last = entries(length - 1).into_iter().map(|(feature, _, amount)| (feature, 0, amount));
        let held_out = prompts.is_test[place]
            .then(|| (rows.select_rows(&of_place(nth)), entries(0), logits.next().unwrap_or_default()));
        Read {
            place,
            row: rows.row(end).to_vec(),
            codes: codes.iter_row(end).map(|(feature, code)| (feature as u32, code)).collect(),
            last: last.collect(),
            held_out,
        }
    });
    Ok(read.collect())
}
