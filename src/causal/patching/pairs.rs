//! Checks of pairs of prompts, and their grouping into batches of one length.

use std::collections::BTreeMap;

use super::TaskPairs;
use crate::base::TokenBatch;
use crate::causal::CausalError;
use crate::subject::SubjectModel;

/// Most bytes of activations and logits of a batch.
const BATCH_BYTES: usize = 64 << 20;

/// Fails on pairs that the subject cannot run or whose outputs cannot be compared.
pub(super) fn check(subject: &dyn SubjectModel, pairs: &TaskPairs) -> Result<(), CausalError> {
    let [base, target, answers] = [pairs.base.len(), pairs.target.len(), pairs.answers.len()];
    if base != target || base != answers {
        return Err(CausalError::PairCounts { base, target, answers });
    }
    if base == 0 {
        return Err(CausalError::NoPairs);
    }
    let all = pairs.base.iter().zip(&pairs.target).zip(&pairs.answers).enumerate();
    for (pair, ((base, target), &answers)) in all {
        check_pair(subject, base, target, answers).map_err(|problem| CausalError::Pair { pair, problem })?;
    }
    Ok(())
}

fn check_pair(
    subject: &dyn SubjectModel,
    base: &[u32],
    target: &[u32],
    answers: [u32; 2],
) -> Result<(), String> {
    if base.len() != target.len() {
        return Err(format!(
            "its prompts have {} and {} tokens, and positions are patched one by one; choose words of equally many \
             tokens",
            base.len(),
            target.len()
        ));
    }
    for prompt in [base, target] {
        let tokens = TokenBatch::new(prompt.to_vec(), prompt.len());
        let tokens = tokens.ok_or("its prompts are empty; give at least one token")?;
        subject.check_tokens(&tokens).map_err(|error| error.to_string())?;
    }
    let vocab = subject.info().vocab;
    if let Some(id) = answers.iter().find(|&&id| id as usize >= vocab) {
        return Err(format!("its answer is token id {id}, and the vocabulary has ids 0 to {}", vocab - 1));
    }
    if answers[0] == answers[1] {
        return Err(format!(
            "both answers are token id {}, and the logit difference needs two; choose another target",
            answers[0]
        ));
    }
    Ok(())
}

/// Indices of sequences of one length, at most [`BATCH_BYTES`] together; shorter ones first. `bytes` of a sequence
/// follow from its length.
pub(in crate::causal) fn batches(
    lengths: impl Iterator<Item = usize>,
    bytes: impl Fn(usize) -> usize,
) -> Vec<(usize, Vec<usize>)> {
    let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    lengths.enumerate().for_each(|(nth, length)| by_length.entry(length).or_default().push(nth));
    let parts = by_length.into_iter().flat_map(|(length, all)| {
        let most = (BATCH_BYTES / bytes(length).max(1)).max(1);
        all.chunks(most).map(|part| (length, part.to_vec())).collect::<Vec<_>>()
    });
    parts.collect()
}

/// The same in rounds: batches that are run at the same time, at most [`BATCH_BYTES`] together.
pub(super) fn rounds(
    lengths: impl Iterator<Item = usize>,
    bytes: impl Fn(usize) -> usize,
) -> Vec<Vec<(usize, Vec<usize>)>> {
    let (mut rounds, mut room) = (Vec::<Vec<_>>::new(), 0);
    for (length, batch) in batches(lengths, &bytes) {
        let needed = batch.len() * bytes(length);
        match rounds.last_mut().filter(|_| needed <= room) {
            Some(round) => round.push((length, batch)),
            None => {
                rounds.push(vec![(length, batch)]);
                room = BATCH_BYTES;
            }
        }
        room = room.saturating_sub(needed);
    }
    rounds
}

/// Prompts, or their ends, of one length as a batch.
pub(in crate::causal) fn batch_of<'p>(
    length: usize,
    prompts: impl Iterator<Item = &'p [u32]>,
) -> Result<TokenBatch, CausalError> {
    let ids = prompts.flat_map(|prompt| prompt.iter().copied()).collect();
    TokenBatch::new(ids, length).ok_or(CausalError::NoPairs)
}
