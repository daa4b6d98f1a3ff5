//! Pairs of prompts of the suite's task: read or generated, tokenized, and checked.
//!
//! A pair that cannot be used is left out and counted by reason:
//! - `unequal_lengths`: the two prompts differ in their number of tokens.
//! - `answer_of_several_tokens`: behind its prompt, an answer is not exactly one more token.
//! - `equal_prompts`, `equal_answers`: nothing to patch, or nothing to tell apart.
//! - `no_tokens`, `too_long`: an empty prompt, or one beyond the model's context.
//! - `repeated`: the same pair was drawn before.

mod ioi;
mod lines;
mod pair;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Digest, Digester, TokenBatch};
use crate::causal::TaskPairs;
use crate::nn::Tokenizer;
use crate::run::{Places, RunError};
use crate::subject::{SubjectError, SubjectModel, Wanted};
use crate::suite::{Suite, TaskSpec};

use pair::PairText;
pub use source::{TaskSource, counted};

/// Generated pairs that are drawn for each wanted one before giving up.
const DRAWS: usize = 50;

/// Fewest pairs with which there are intervals.
const FEWEST: usize = 2;

/// Share of rightly answered base prompts below which patching says little.
const SOLVED: f64 = 0.6;

/// The pairs of prompts of a run.
#[derive(Debug)]
pub struct Task {
    /// The usable pairs.
    pub pairs: TaskPairs,
    /// Pairs that were left out, by reason.
    pub skipped: BTreeMap<String, usize>,
    /// Base prompts on which the subject prefers the right answer to the other ones.
    pub n_right: usize,
    /// Digest of the pairs.
    pub digest: Digest,
    /// Digest of the file; none for embedded prompts.
    pub file: Option<Digest>,
    /// What readers of the results must know.
    pub warnings: Vec<String>,
}

/// A usable pair.
struct Tokens {
    prompts: [Vec<u32>; 2],
    answers: [u32; 2],
    /// A wrong answer that the base prompt suggests.
    rival: Option<u32>,
}

/// Opens the task of a suite; none if it has none.
pub fn open_task(
    suite: &Suite,
    places: &Places,
    subject: &dyn SubjectModel,
    tokenizer: &Tokenizer,
) -> Result<Option<Task>, RunError> {
    let Some(spec) = &suite.task else { return Ok(None) };
    let source = TaskSource::open(spec, places)?;
    let one_token = |word: &str| {
        let ids = tokenizer.encode(&format!(" {word}")).map_err(SubjectError::from)?;
        Ok::<bool, RunError>(ids.len() == 1)
    };
    let (texts, file) = source.pairs(suite.seed, spec.pairs * DRAWS, &one_token)?;
    let mut reader = Reader { tokenizer, room: room(subject), seen: BTreeSet::new() };
    let (mut found, mut skipped) = (Vec::new(), BTreeMap::<String, usize>::new());
    for text in texts {
        match reader.tokens(&text)? {
            Ok(tokens) => found.push(tokens),
            Err(reason) => *skipped.entry(reason.to_string()).or_default() += 1,
        }
        if found.len() == spec.pairs {
            break;
        }
    }
    if found.len() < FEWEST {
        return Err(source.too_few(found.len(), &skipped));
    }
    let n_right = right(subject, &found)?;
    let mut pairs = TaskPairs::default();
    for Tokens { prompts: [base, target], answers, .. } in found {
        pairs.base.push(base);
        pairs.target.push(target);
        pairs.answers.push(answers);
    }
    let digest = Digester::new("task").json(&pairs).clone().finish();
    let warnings = warnings(spec, pairs.base.len(), n_right, &skipped);
    Ok(Some(Task { pairs, skipped, n_right, digest, file, warnings }))
}

/// Tokens of a prompt that fit into the model's context.
pub fn room(subject: &dyn SubjectModel) -> usize {
    subject.info().n_ctx.saturating_sub(subject.prefix().len())
}

struct Reader<'a> {
    tokenizer: &'a Tokenizer,
    room: usize,
    seen: BTreeSet<[Vec<u32>; 2]>,
}

impl Reader<'_> {
    /// The tokens of a pair; the inner error is the reason why it is left out.
    fn tokens(&mut self, text: &PairText) -> Result<Result<Tokens, &'static str>, RunError> {
        let encode = |text: &str| self.tokenizer.encode(text).map_err(SubjectError::from);
        let prompts = [encode(&text.base)?, encode(&text.target)?];
        let [base, target] = &prompts;
        if base.is_empty() || target.is_empty() {
            return Ok(Err("no_tokens"));
        }
        if base.len() != target.len() {
            return Ok(Err("unequal_lengths"));
        }
        if base == target {
            return Ok(Err("equal_prompts"));
        }
        if base.len() > self.room {
            return Ok(Err("too_long"));
        }
        // The token that follows a prompt in running text.
        let next = |prompt: &str, ids: &[u32], answer: &str| -> Result<Option<u32>, RunError> {
            let all = encode(&format!("{prompt}{answer}"))?;
            Ok(all.split_last().filter(|(_, before)| *before == ids).map(|(last, _)| *last))
        };
        let to_target = next(&text.target, target, &text.target_answer)?;
        let to_base = next(&text.base, base, &text.base_answer)?;
        let (Some(to_target), Some(to_base)) = (to_target, to_base) else {
            return Ok(Err("answer_of_several_tokens"));
        };
        if to_target == to_base {
            return Ok(Err("equal_answers"));
        }
        let rival = match &text.rival {
            Some(rival) => next(&text.base, base, rival)?,
            None => None,
        };
        if !self.seen.insert(prompts.clone()) {
            return Ok(Err("repeated"));
        }
        Ok(Ok(Tokens { prompts, answers: [to_target, to_base], rival }))
    }
}

/// Number of base prompts on which the right answer has a higher logit than the target's answer and the rival.
fn right(subject: &dyn SubjectModel, pairs: &[Tokens]) -> Result<usize, RunError> {
    let mut by_length: BTreeMap<usize, Vec<&Tokens>> = BTreeMap::new();
    for pair in pairs {
        by_length.entry(pair.prompts[0].len()).or_default().push(pair);
    }
    let mut n = 0;
    for (length, pairs) in by_length {
        let ids = pairs.iter().flat_map(|pair| pair.prompts[0].iter().copied()).collect();
        let Some(batch) = TokenBatch::new(ids, length) else { continue };
        let logits = subject.edited(&batch, &[], Wanted::LastLogits)?;
        let is_right = |&(row, pair): &(usize, &&Tokens)| {
            let logit = |id: u32| logits.at(row, id as usize);
            let [target, base] = pair.answers.map(logit);
            base > target && pair.rival.is_none_or(|rival| base > logit(rival))
        };
        n += pairs.iter().enumerate().filter(is_right).count();
    }
    Ok(n)
}

fn warnings(spec: &TaskSpec, n: usize, n_right: usize, skipped: &BTreeMap<String, usize>) -> Vec<String> {
    let mut warnings = Vec::new();
    if n < spec.pairs {
        warnings.push(format!(
            "task: {n} usable pairs of prompts in place of {}; left out: {}",
            spec.pairs,
            counted(skipped)
        ));
    }
    if (n_right as f64) < SOLVED * n as f64 {
        warnings.push(format!(
            "task: the subject answers {n_right} of {n} base prompts rightly, so patching says little about how it \
             solves the task"
        ));
    }
    warnings
}

impl Task {
    /// A line about the pairs.
    pub fn note(&self, spec: &TaskSpec) -> String {
        format!(
            "task {}: {} pairs of prompts, {} base prompts answered rightly; left out: {}",
            spec.kind_name(),
            self.pairs.base.len(),
            self.n_right,
            counted(&self.skipped)
        )
    }
}
