//! Ablation effect of a feature: the change of the next-token loss when its contribution is subtracted from the
//! activations.
//!
//!   change = mean over firing tokens of (loss without the feature − loss with it), in nats

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::{Matrix, TokenBatch};
use crate::causal::Writer;
use crate::features::{ActivationRecord, Evidence, Stratum};
use crate::run::RunError;
use crate::run::evaluate::Evaluation;

/// Ablated fragments per feature: the first of its top fragments for explaining. The number is small because each
/// fragment needs a forward pass per feature.
pub const ABLATED_FRAGMENTS: usize = 2;

/// Fragments per forward pass.
const BATCH_FRAGMENTS: usize = 64;

/// Reason for what only a model could compute.
pub(super) const NO_MODEL: &str = "the subject is stored activations, without a model";

const NO_SHARE: &str = "codes of random directions are no shares of an activation";
const NO_NEXT_TOKEN: &str = "fires on no token of these fragments that another one follows";
const NO_TOP_FRAGMENT: &str = "the protocol explains on no top fragment";

/// Mean change of the loss at the tokens where a feature fires.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AblatedLoss {
    /// Loss of the next token without the feature minus the loss with it. Positive: the feature helps.
    loss_change_nats: f64,
    /// Number of firing tokens in the mean.
    n_tokens: usize,
    /// Number of their fragments.
    n_fragments: usize,
}

/// Sums over a feature's firing tokens.
#[derive(Debug, Clone, Default)]
struct Change {
    total: f64,
    n_tokens: usize,
    n_fragments: usize,
}

impl Evaluation<'_> {
    /// Ablation effect of each feature, in the order of `evidence`, or the reason why there is none.
    pub(super) fn ablated_losses(
        &self,
        evidence: &[Evidence],
    ) -> Result<Vec<Result<AblatedLoss, &'static str>>, RunError> {
        if self.pass.subject.without_model().is_some() {
            return Ok(vec![Err(NO_MODEL); evidence.len()]);
        }
        let Some(first) = evidence.first() else { return Ok(Vec::new()) };
        let nothing = Matrix::zeros(0, self.activations.evaluate.width());
        if self.dictionary.contributions(&nothing, first.feature(), &[])?.is_none() {
            return Ok(vec![Err(NO_SHARE); evidence.len()]);
        }
        let writer = Writer::new(self.dictionary)?;
        let mut pairs: Vec<(usize, &ActivationRecord)> = Vec::new();
        for (nth, evidence) in evidence.iter().enumerate() {
            pairs.extend(ablated_fragments(evidence).map(|record| (nth, record)));
        }
        // Features share fragments, so each clean fragment runs once.
        let fragments: BTreeMap<usize, &ActivationRecord> =
            pairs.iter().map(|(_, record)| (record.fragment, *record)).collect();
        let mut clean: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for batch in fragments.into_values().collect::<Vec<_>>().chunks(BATCH_FRAGMENTS) {
            let losses = self.losses(batch, &self.edited_rows(batch)?)?;
            clean.extend(batch.iter().zip(losses.iter_rows()).map(|(of, row)| (of.fragment, row.to_vec())));
        }
        let mut changes = vec![Change::default(); evidence.len()];
        for (done, batch) in pairs.chunks(BATCH_FRAGMENTS).enumerate() {
            self.tell("ablate", done * BATCH_FRAGMENTS, pairs.len(), "fragments");
            let records: Vec<&ActivationRecord> = batch.iter().map(|(_, record)| *record).collect();
            let (inputs, mut rows) = (self.rows_of_records(&records)?, self.edited_rows(&records)?);
            for (place, (nth, record)) in batch.iter().enumerate() {
                let (evidence, first) = (&evidence[*nth], place * record.tokens.len());
                // Minus the code where it fires: what is left is the activation without its contribution.
                let mut changes = vec![0.0; record.tokens.len()];
                firing(record, evidence.first_scored()).for_each(|at| changes[at] = -record.activations[at]);
                let own = inputs.select_rows(&(first..first + changes.len()).collect::<Vec<_>>());
                writer.add(&own, evidence.feature(), &changes, (&mut rows, first))?;
            }
            for ((nth, record), without) in batch.iter().zip(self.losses(&records, &rows)?.iter_rows()) {
                let firing = firing(record, evidence[*nth].first_scored());
                changes[*nth].add(firing, &clean[&record.fragment], without);
            }
        }
        self.tell("ablate", pairs.len(), pairs.len(), "fragments");
        Ok(changes.iter().zip(evidence).map(|(change, evidence)| change.mean(evidence)).collect())
    }

    /// Activations of whole fragments, concatenated.
    fn rows_of_records(&self, records: &[&ActivationRecord]) -> Result<Matrix, RunError> {
        let positions = self.pass.run.tokens.evaluate.cols();
        self.rows_of(&records.iter().map(|record| record.fragment).collect::<Vec<_>>(), positions)
    }

    /// Activations that a feature writes to: its input, or the output of a transcoder.
    fn edited_rows(&self, records: &[&ActivationRecord]) -> Result<Matrix, RunError> {
        let cols = self.pass.run.tokens.evaluate.cols();
        let ids: Vec<u32> = records.iter().flat_map(|record| &record.tokens).copied().collect();
        match (self.dictionary.info().output, TokenBatch::new(ids, cols)) {
            (Some(output), Some(tokens)) => {
                Ok(self.pass.subject.activations(&tokens, &[output])?.swap_remove(0))
            }
            _ => self.rows_of_records(records),
        }
    }

    /// Loss of each token but the first, `[records, positions − 1]`, with `rows` in place of the activations.
    fn losses(&self, records: &[&ActivationRecord], rows: &Matrix) -> Result<Matrix, RunError> {
        self.pass.run.stop.check()?;
        let ids: Vec<u32> = records.iter().flat_map(|record| &record.tokens).copied().collect();
        let cols = self.pass.run.tokens.evaluate.cols();
        let Some(tokens) = TokenBatch::new(ids, cols) else { return Ok(Matrix::zeros(0, cols - 1)) };
        let info = self.dictionary.info();
        let hook = info.output.unwrap_or(info.hook);
        let losses = self.pass.subject.token_losses_given(&tokens, hook, rows)?;
        // With a prefix, column 0 is the loss of the first token, which no position of the text predicts. It is
        // skipped.
        let skipped = losses.cols() + 1 - cols;
        Ok(Matrix::from_fn(losses.rows(), cols - 1, |row, col| losses.at(row, col + skipped)))
    }
}

fn ablated_fragments(evidence: &Evidence) -> impl Iterator<Item = &ActivationRecord> {
    let top = evidence.records().iter().filter(|record| record.stratum == Stratum::Top);
    top.take(ABLATED_FRAGMENTS)
}

/// Scored positions on which the feature fires.
fn firing(record: &ActivationRecord, first_scored: usize) -> impl Iterator<Item = usize> {
    let codes = record.activations.iter().enumerate().skip(first_scored);
    codes.filter(|(_, code)| **code != 0.0).map(|(position, _)| position)
}

impl Change {
    /// Adds a fragment's losses `[positions − 1]` at the firing positions that predict a token.
    fn add(&mut self, firing: impl Iterator<Item = usize>, with: &[f32], without: &[f32]) {
        let before = self.n_tokens;
        for position in firing.filter(|&position| position < with.len()) {
            self.total += f64::from(without[position]) - f64::from(with[position]);
            self.n_tokens += 1;
        }
        self.n_fragments += usize::from(self.n_tokens > before);
    }

    fn mean(&self, evidence: &Evidence) -> Result<AblatedLoss, &'static str> {
        if ablated_fragments(evidence).next().is_none() {
            return Err(NO_TOP_FRAGMENT);
        }
        if self.n_tokens == 0 {
            return Err(NO_NEXT_TOKEN);
        }
        let loss_change_nats = self.total / self.n_tokens as f64;
        Ok(AblatedLoss { loss_change_nats, n_tokens: self.n_tokens, n_fragments: self.n_fragments })
    }
}
