//! Generation loop of a local model: up to 16 answers in one batch, one token per step.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::Receiver;

use tokio::sync::oneshot;

use super::answer::Answer;
use super::model::{LocalModel, SlotTokens};
use super::prefixes::Prefixes;
use super::sampling::{likeliest, log_sum_exp};
use super::vocabulary::AllowedTokens;
use crate::base::{Digest, Matrix, TokenBatch};
use crate::llm::spec::LOCAL_SIDE_BY_SIDE;
use crate::llm::{ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, PromptToken, Slots};
use crate::nn::PrefixCache;

/// No further answer starts while the keys and values in use exceed this number of bytes.
const MOST_CACHE_BYTES: usize = 1 << 30;
/// Maximum number of prompt tokens in one forward pass.
const CHUNK: usize = 512;
/// Maximum number of logits in memory: 32 MB.
const MOST_LOGITS: usize = 1 << 23;

/// A request and the channel for its reply.
pub(super) enum Job {
    Chat(ChatRequest, oneshot::Sender<Result<ChatReply, ChatError>>),
    Prompt(PromptRequest, oneshot::Sender<Result<PromptReply, ChatError>>),
}

/// Answers requests in the order of arrival, several at a time.
pub(super) struct Engine {
    model: LocalModel,
    structured: bool,
    chats: Prefixes,
    prompts: Prefixes,
    allowed: HashMap<Digest, AllowedTokens>,
    in_flight: Vec<Sequence>,
}

/// An answer during its generation.
struct Sequence {
    answer: Answer,
    past: PrefixCache,
    /// Logits of the next token, `[vocab]`.
    logits: Vec<f32>,
    back: oneshot::Sender<Result<ChatReply, ChatError>>,
}

impl Engine {
    pub fn new(model: LocalModel, structured: bool) -> Self {
        Self {
            model,
            structured,
            chats: Prefixes::default(),
            prompts: Prefixes::default(),
            allowed: HashMap::new(),
            in_flight: Vec::new(),
        }
    }

    /// Runs until the sender of `jobs` is dropped.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() && self.in_flight.is_empty() {
                let Ok(job) = jobs.recv() else { return };
                waiting.push_back(job);
            }
            waiting.extend(jobs.try_iter());
            while self.has_room()
                && let Some(job) = waiting.pop_front()
            {
                self.begin(job);
            }
            self.in_flight.retain(|sequence| !sequence.back.is_closed());
            self.step();
        }
    }

    /// Whether another answer may start.
    fn has_room(&self) -> bool {
        let used: usize = self.in_flight.iter().map(|sequence| sequence.past.bytes()).sum();
        self.in_flight.len() < LOCAL_SIDE_BY_SIDE && used < MOST_CACHE_BYTES
    }

    /// Starts a job, unless its channel is closed because the caller no longer waits.
    fn begin(&mut self, job: Job) {
        match job {
            Job::Chat(request, back) if !back.is_closed() => match self.begin_chat(request) {
                Ok((answer, past, logits)) => {
                    self.in_flight.push(Sequence { answer, past, logits, back });
                }
                Err(error) => drop(back.send(Err(error))),
            },
            Job::Prompt(request, back) if !back.is_closed() => drop(back.send(self.score(&request))),
            Job::Chat(..) | Job::Prompt(..) => {}
        }
    }

    /// Reads the prompt, and the first tokens of the answer if the schema determines them.
    fn begin_chat(&mut self, request: ChatRequest) -> Result<(Answer, PrefixCache, Vec<f32>), ChatError> {
        let ids = self.model.ids_of_chat(&request.messages)?;
        self.check_length(ids.len() + 1)?;
        let room = self.model.transformer.architecture().n_ctx - ids.len();
        let mut answer = Answer::new(&self.model, request, ids.len(), room, self.structured)?;
        let known = self.chats.beginning(&ids);
        let mut past = known.map_or_else(|| self.empty(), |known| known.past);
        let mut normed = self.read(&ids[past.positions()..], &mut past)?;
        self.chats.note(&ids, &past, &[]);
        let certain = answer.take_unread();
        if !certain.is_empty() {
            normed = self.read(&certain, &mut past)?;
        }
        let logits = self.logits(normed.row(normed.rows() - 1))?;
        Ok((answer, past, logits))
    }

    fn empty(&self) -> PrefixCache {
        PrefixCache::new(&self.model.transformer)
    }

    /// Appends tokens to `past`, [`CHUNK`] at a time. `each` gets the chunk's first position and the output of the
    /// final norm, `[chunk, d_model]`.
    fn read_chunks(
        &self,
        ids: &[u32],
        past: &mut PrefixCache,
        mut each: impl FnMut(usize, Matrix) -> Result<(), ChatError>,
    ) -> Result<(), ChatError> {
        for chunk in ids.chunks(CHUNK) {
            let start = past.positions();
            each(start, self.pass(chunk.to_vec(), chunk.len(), std::slice::from_mut(past))?)?;
        }
        Ok(())
    }

    /// Appends tokens to `past`. Returns the output of the final norm for the last chunk.
    fn read(&self, ids: &[u32], past: &mut PrefixCache) -> Result<Matrix, ChatError> {
        let mut last = None;
        self.read_chunks(ids, past, |_, normed| {
            last = Some(normed);
            Ok(())
        })?;
        last.ok_or_else(|| self.model.failed("got no tokens to read"))
    }

    fn pass(&self, ids: Vec<u32>, cols: usize, past: &mut [PrefixCache]) -> Result<Matrix, ChatError> {
        let tokens = TokenBatch::new(ids, cols).ok_or_else(|| self.model.failed("got a ragged batch"))?;
        self.model.transformer.forward_cached(&tokens, past).map_err(|error| self.model.failed(error))
    }

    /// Logits `[rows, vocab]` from rows of the final norm's output, both flattened.
    fn logits(&self, normed: &[f32]) -> Result<Vec<f32>, ChatError> {
        let logits = self.model.transformer.logits_of(normed).map_err(|error| self.model.failed(error))?;
        if logits.data().iter().all(|logit| logit.is_finite()) {
            Ok(logits.into_vec())
        } else {
            Err(self.model.failed(NOT_FINITE))
        }
    }

    fn check_length(&self, length: usize) -> Result<(), ChatError> {
        let n_ctx = self.model.transformer.architecture().n_ctx;
        if length <= n_ctx {
            return Ok(());
        }
        let detail =
            format!("the prompt and its answer need {length} tokens, but the model reads at most {n_ctx}");
        Err(ChatError::BadRequest { endpoint: self.model.name.clone(), detail })
    }

    /// Extends every answer by one token, or by several if the schema determines them.
    fn step(&mut self) {
        let mut by_length: BTreeMap<usize, Vec<(Sequence, Vec<u32>)>> = BTreeMap::new();
        for mut sequence in std::mem::take(&mut self.in_flight) {
            let allowed = self.allowed.entry(sequence.answer.schema_digest()).or_default();
            if let Err(error) = sequence.answer.extend(&self.model, &sequence.logits, allowed) {
                drop(sequence.back.send(Err(error)));
            } else if sequence.answer.is_done() {
                drop(sequence.back.send(Ok(sequence.answer.into_reply(&self.model))));
            } else {
                let unread = sequence.answer.take_unread();
                by_length.entry(unread.len()).or_default().push((sequence, unread));
            }
        }
        for (length, group) in by_length {
            self.read_on(length, group);
        }
    }

    /// Reads `length` new tokens of each answer in one forward pass.
    fn read_on(&mut self, length: usize, group: Vec<(Sequence, Vec<u32>)>) {
        let (mut group, unread): (Vec<Sequence>, Vec<Vec<u32>>) = group.into_iter().unzip();
        let mut past: Vec<PrefixCache> =
            group.iter_mut().map(|sequence| std::mem::take(&mut sequence.past)).collect();
        match self.read_batch(length, unread.concat(), &mut past) {
            Ok(logits) => {
                let width = (logits.len() / group.len().max(1)).max(1);
                for ((sequence, past), logits) in group.iter_mut().zip(past).zip(logits.chunks_exact(width)) {
                    sequence.past = past;
                    sequence.logits = logits.to_vec();
                }
                self.in_flight.extend(group);
            }
            Err(error) => {
                for sequence in group {
                    drop(sequence.back.send(Err(error.clone())));
                }
            }
        }
    }

    /// Logits `[batch, vocab]` after the last of `length` new tokens of each sequence; `ids` is `[batch, length]`.
    fn read_batch(
        &self,
        length: usize,
        ids: Vec<u32>,
        past: &mut [PrefixCache],
    ) -> Result<Vec<f32>, ChatError> {
        let normed = self.pass(ids, length, past)?;
        let last: Vec<f32> =
            (1..=past.len()).flat_map(|nth| normed.row(nth * length - 1).iter().copied()).collect();
        self.logits(&last)
    }

    /// Scores the candidates at a prompt's slots. No other logits are computed.
    fn score_slots(&mut self, prompt: &str, slots: &Slots) -> Result<PromptReply, ChatError> {
        let SlotTokens { ids, begins, texts } = self.model.slots(prompt, slots)?;
        self.check_length(ids.len())?;
        let at: Vec<usize> = begins.iter().flatten().copied().collect();
        let mut scores = Vec::with_capacity(at.len());
        if let (Some(&first), Some(&last)) = (at.first(), at.last()) {
            let known = self.chats.beginning(&ids[..first]);
            let mut past = known.map_or_else(|| self.empty(), |known| known.past);
            self.read_chunks(&ids[past.positions()..last], &mut past, |start, normed| {
                // The output for token t predicts token t + 1.
                let rows = at.iter().filter(|&&begin| (start + 1..=start + normed.rows()).contains(&begin));
                let rows: Vec<usize> = rows.map(|begin| begin - 1 - start).collect();
                scores.extend(self.logprobs_at(&normed, &rows, &texts)?);
                Ok(())
            })?;
            self.chats.note(&ids[..last], &past, &[]);
        }
        let mut scores = scores.into_iter();
        let nothing = || vec![None; texts.len()];
        let of_slot = |begin: &Option<usize>| begin.and_then(|_| scores.next()).unwrap_or_else(nothing);
        let slots = Some(begins.iter().map(of_slot).collect());
        Ok(PromptReply { tokens: Vec::new(), slots, tokens_in: ids.len() as u64 })
    }

    /// Log-probabilities `[rows, tokens]` of some tokens after some rows of the final norm's output.
    fn logprobs_at(
        &self,
        normed: &Matrix,
        rows: &[usize],
        tokens: &[Option<u32>],
    ) -> Result<Vec<Vec<Option<f64>>>, ChatError> {
        let vocab = self.model.transformer.architecture().vocab;
        let mut logprobs = Vec::with_capacity(rows.len());
        for rows in rows.chunks((MOST_LOGITS / vocab).max(1)) {
            let of_rows: Vec<f32> = rows.iter().flat_map(|&row| normed.row(row).iter().copied()).collect();
            let logits = self.logits(&of_rows)?;
            for logits in logits.chunks_exact(vocab) {
                let total = self.log_total(logits)?;
                let of_token =
                    |token: &Option<u32>| token.map(|token| f64::from(logits[token as usize]) - total);
                logprobs.push(tokens.iter().map(of_token).collect());
            }
        }
        Ok(logprobs)
    }

    /// `ln Σ exp(logit)`: subtracting it turns logits into log-probabilities.
    fn log_total(&self, logits: &[f32]) -> Result<f64, ChatError> {
        log_sum_exp(logits.iter().map(|&logit| f64::from(logit))).ok_or_else(|| self.model.failed(NOT_FINITE))
    }

    /// Log-probabilities of a prompt's own tokens.
    fn score(&mut self, request: &PromptRequest) -> Result<PromptReply, ChatError> {
        if let Some(slots) = &request.slots {
            return self.score_slots(&request.prompt, slots);
        }
        let ids = self.model.ids_of_text(&request.prompt)?;
        self.check_length(ids.len())?;
        let Some(&first) = ids.first() else { return Ok(PromptReply::default()) };
        let n_top = usize::from(request.top);
        // A prefix scored with another number of alternatives cannot be reused.
        let has_top = |tokens: &[PromptToken]| tokens.iter().skip(1).all(|token| token.top.len() == n_top);
        let known = self.prompts.beginning(&ids).filter(|known| has_top(&known.scored));
        let (mut past, mut scored) = match known {
            Some(known) => (known.past, known.scored),
            None => {
                let token = self.texts(&[first]).remove(0);
                (self.empty(), vec![PromptToken { token, logprob: None, top: Vec::new() }])
            }
        };
        self.read_chunks(&ids[past.positions()..], &mut past, |start, normed| {
            let targets = &ids[start + 1..ids.len().min(start + normed.rows() + 1)];
            scored.extend(self.scored(&normed, targets, n_top)?);
            Ok(())
        })?;
        self.prompts.note(&ids, &past, &scored);
        Ok(PromptReply { tokens: scored, slots: None, tokens_in: ids.len() as u64 })
    }

    /// Scores each target from the final norm's output of the token before it.
    fn scored(&self, normed: &Matrix, targets: &[u32], n_top: usize) -> Result<Vec<PromptToken>, ChatError> {
        let vocab = self.model.transformer.architecture().vocab;
        let rows = (MOST_LOGITS / vocab).max(1);
        let mut scored = Vec::with_capacity(targets.len());
        for (nth, targets) in targets.chunks(rows).enumerate() {
            let width = normed.cols();
            let logits = self.logits(&normed.data()[nth * rows * width..][..targets.len() * width])?;
            for (logits, &target) in logits.chunks_exact(vocab).zip(targets) {
                let total = self.log_total(logits)?;
                let logprob = |logit: f32| f64::from(logit) - total;
                let all = (0u32..).zip(logits.iter().map(|&logit| logprob(logit))).collect();
                let (ids, logprobs): (Vec<u32>, Vec<f64>) = likeliest(all, n_top).into_iter().unzip();
                scored.push(PromptToken {
                    token: self.texts(&[target]).remove(0),
                    logprob: Some(logprob(logits[target as usize])),
                    top: self.texts(&ids).into_iter().zip(logprobs).collect(),
                });
            }
        }
        Ok(scored)
    }

    fn texts(&self, ids: &[u32]) -> Vec<String> {
        self.model.tokenizer.token_texts(ids)
    }
}

const NOT_FINITE: &str = "computed logits that are NaN or infinite";
