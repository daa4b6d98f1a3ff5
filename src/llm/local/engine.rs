use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvError};

use tokio::sync::oneshot;

use super::answer::Answer;
use super::model::{LocalModel, SlotTokens};
use super::prefixes::Prefixes;
use super::sampling::{likeliest, log_sum_exp};
use super::vocabulary::Allowed;
use crate::base::{Digest, Matrix, TokenBatch};
use crate::llm::spec::LOCAL_SIDE_BY_SIDE;
use crate::llm::{ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, PromptToken, Slots};
use crate::nn::{KeysValues, NnError};

/// Bytes of keys and values above which no further answer begins.
const KEPT_AT_ONCE: usize = 1 << 30;
/// Positions of a prompt that are read in one pass.
const ROWS_AT_ONCE: usize = 512;
/// Logits held at once, 32 MB.
const LOGITS_AT_ONCE: usize = 1 << 23;

/// A question with the way back to the one who asks.
pub(super) enum Job {
    Chat(ChatRequest, oneshot::Sender<Result<ChatReply, ChatError>>),
    Prompt(PromptRequest, oneshot::Sender<Result<PromptReply, ChatError>>),
}

/// Answers questions as they come, several at once.
pub(super) struct Engine {
    model: LocalModel,
    structured: bool,
    chats: Prefixes,
    prompts: Prefixes,
    allowed: HashMap<Digest, Allowed>,
    under_way: Vec<UnderWay>,
}

/// An answer that is being generated.
struct UnderWay {
    answer: Answer,
    past: KeysValues,
    /// Of the next token.
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
            under_way: Vec::new(),
        }
    }

    /// Works until nobody can ask any more.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() && self.under_way.is_empty() {
                match jobs.recv() {
                    Ok(job) => waiting.push_back(job),
                    Err(RecvError) => return,
                }
            }
            waiting.extend(jobs.try_iter());
            while self.has_room()
                && let Some(job) = waiting.pop_front()
            {
                self.begin(job);
            }
            self.under_way.retain(|under_way| !under_way.back.is_closed());
            self.step();
        }
    }

    /// Whether another answer may begin.
    fn has_room(&self) -> bool {
        let kept: usize = self.under_way.iter().map(|under_way| under_way.past.bytes()).sum();
        self.under_way.len() < LOCAL_SIDE_BY_SIDE && kept < KEPT_AT_ONCE
    }

    fn begin(&mut self, job: Job) {
        // A closed channel means that nobody waits for the answer any more.
        match job {
            Job::Chat(_, back) if back.is_closed() => {}
            Job::Chat(request, back) => match self.begin_chat(request) {
                Ok((answer, past, logits)) => {
                    self.under_way.push(UnderWay { answer, past, logits, back });
                }
                Err(error) => drop(back.send(Err(error))),
            },
            Job::Prompt(_, back) if back.is_closed() => {}
            Job::Prompt(request, back) => drop(back.send(self.score(&request))),
        }
    }

    /// Reads the question, and of the answer what is certain.
    fn begin_chat(&mut self, request: ChatRequest) -> Result<(Answer, KeysValues, Vec<f32>), ChatError> {
        let ids = self.model.ids_of_chat(&request.messages)?;
        self.check_length(ids.len() + 1)?;
        let room = self.model.transformer.architecture().n_ctx - ids.len();
        let mut answer = Answer::new(&self.model, request, ids.len(), room, self.structured)?;
        let mut past = match self.chats.beginning(&ids) {
            Some(beginning) => beginning.past,
            None => KeysValues::new(&self.model.transformer),
        };
        let mut normed = self.read(&ids[past.positions()..], &mut past)?;
        self.chats.note(&ids, &past, &[]);
        let certain = answer.take_unread();
        if !certain.is_empty() {
            normed = self.read(&certain, &mut past)?;
        }
        let logits = self.logits(normed.row(normed.rows() - 1))?;
        Ok((answer, past, logits))
    }

    /// The final norm's output of the last positions of some tokens, at most of one pass.
    fn read(&self, ids: &[u32], past: &mut KeysValues) -> Result<Matrix, ChatError> {
        let mut last = None;
        for part in ids.chunks(ROWS_AT_ONCE) {
            last = Some(self.pass(part.to_vec(), part.len(), std::slice::from_mut(past))?);
        }
        last.ok_or_else(|| self.model.failed("was asked to read nothing"))
    }

    fn pass(&self, ids: Vec<u32>, cols: usize, past: &mut [KeysValues]) -> Result<Matrix, ChatError> {
        let tokens = TokenBatch::new(ids, cols).ok_or_else(|| self.model.failed("got a ragged batch"))?;
        self.model.transformer.read_on(&tokens, past).map_err(|error| self.broke(&error))
    }

    fn broke(&self, error: &NnError) -> ChatError {
        self.model.failed(&error.to_string())
    }

    /// Logits of outputs of the final norm, row after row.
    fn logits(&self, normed: &[f32]) -> Result<Vec<f32>, ChatError> {
        let logits = self.model.transformer.logits_of(normed).map_err(|error| self.broke(&error))?;
        if logits.data().iter().all(|logit| logit.is_finite()) {
            Ok(logits.into_vec())
        } else {
            Err(self.model.failed("computed logits that are no numbers"))
        }
    }

    fn check_length(&self, length: usize) -> Result<(), ChatError> {
        let n_ctx = self.model.transformer.architecture().n_ctx;
        if length <= n_ctx {
            return Ok(());
        }
        let detail = format!("it has {length} tokens with room for an answer, and the model reads {n_ctx}");
        Err(ChatError::BadRequest { endpoint: self.model.name.clone(), detail })
    }

    /// One more token for every answer, and more where those are certain.
    fn step(&mut self) {
        let mut by_length: BTreeMap<usize, Vec<(UnderWay, Vec<u32>)>> = BTreeMap::new();
        for mut under_way in std::mem::take(&mut self.under_way) {
            let allowed = self.allowed.entry(under_way.answer.form_digest()).or_default();
            if let Err(error) = under_way.answer.extend(&self.model, &under_way.logits, allowed) {
                drop(under_way.back.send(Err(error)));
            } else if under_way.answer.is_done() {
                drop(under_way.back.send(Ok(under_way.answer.into_reply(&self.model))));
            } else {
                let unread = under_way.answer.take_unread();
                by_length.entry(unread.len()).or_default().push((under_way, unread));
            }
        }
        for (length, group) in by_length {
            self.read_on(length, group);
        }
    }

    /// Reads as many new tokens of each answer.
    fn read_on(&mut self, length: usize, group: Vec<(UnderWay, Vec<u32>)>) {
        let (mut group, unread): (Vec<UnderWay>, Vec<Vec<u32>>) = group.into_iter().unzip();
        let mut past: Vec<KeysValues> =
            group.iter_mut().map(|under_way| std::mem::take(&mut under_way.past)).collect();
        match self.read_side_by_side(length, unread.concat(), &mut past) {
            Ok(logits) => {
                let width = logits.len() / group.len().max(1);
                for ((under_way, past), logits) in
                    group.iter_mut().zip(past).zip(logits.chunks_exact(width.max(1)))
                {
                    under_way.past = past;
                    under_way.logits = logits.to_vec();
                }
                self.under_way.extend(group);
            }
            Err(error) => {
                for under_way in group {
                    drop(under_way.back.send(Err(error.clone())));
                }
            }
        }
    }

    /// Logits after the last of `length` new tokens of each sequence.
    fn read_side_by_side(
        &self,
        length: usize,
        ids: Vec<u32>,
        past: &mut [KeysValues],
    ) -> Result<Vec<f32>, ChatError> {
        let normed = self.pass(ids, length, past)?;
        let last: Vec<f32> =
            (1..=past.len()).flat_map(|nth| normed.row(nth * length - 1).iter().copied()).collect();
        self.logits(&last)
    }

    /// What the model expects in a prompt's slots. Nothing else of the prompt is weighed.
    fn weigh(&mut self, prompt: &str, slots: &Slots) -> Result<PromptReply, ChatError> {
        let SlotTokens { ids, begins, texts } = self.model.slots(prompt, slots)?;
        self.check_length(ids.len())?;
        let told: Vec<usize> = begins.iter().flatten().copied().collect();
        let mut weighed = Vec::with_capacity(told.len());
        if let (Some(&first), Some(&last)) = (told.first(), told.last()) {
            let mut past = match self.chats.beginning(&ids[..first]) {
                Some(beginning) => beginning.past,
                None => KeysValues::new(&self.model.transformer),
            };
            while past.positions() < last {
                let start = past.positions();
                let end = last.min(start + ROWS_AT_ONCE);
                let normed =
                    self.pass(ids[start..end].to_vec(), end - start, std::slice::from_mut(&mut past))?;
                let rows = told.iter().filter(|&&begin| (start + 1..=end).contains(&begin));
                let rows: Vec<usize> = rows.map(|begin| begin - 1 - start).collect();
                weighed.extend(self.weighed(&normed, &rows, &texts)?);
            }
            self.chats.note(&ids[..last], &past, &[]);
        }
        let mut weighed = weighed.into_iter();
        let nothing = || vec![None; texts.len()];
        let of_slot = |begin: &Option<usize>| begin.and_then(|_| weighed.next()).unwrap_or_else(nothing);
        let slots = Some(begins.iter().map(of_slot).collect());
        Ok(PromptReply { tokens: Vec::new(), slots, tokens_in: ids.len() as u64 })
    }

    /// Log-probabilities of some tokens after some rows of the final norm's output.
    fn weighed(
        &self,
        normed: &Matrix,
        rows: &[usize],
        tokens: &[Option<u32>],
    ) -> Result<Vec<Vec<Option<f64>>>, ChatError> {
        let vocab = self.model.transformer.architecture().vocab;
        let mut weighed = Vec::with_capacity(rows.len());
        for rows in rows.chunks((LOGITS_AT_ONCE / vocab).max(1)) {
            let of_rows: Vec<f32> = rows.iter().flat_map(|&row| normed.row(row).iter().copied()).collect();
            let logits = self.logits(&of_rows)?;
            for logits in logits.chunks_exact(vocab) {
                let total = self.log_total(logits)?;
                let of_token =
                    |token: &Option<u32>| token.map(|token| f64::from(logits[token as usize]) - total);
                weighed.push(tokens.iter().map(of_token).collect());
            }
        }
        Ok(weighed)
    }

    /// What turns logits into log-probabilities.
    fn log_total(&self, logits: &[f32]) -> Result<f64, ChatError> {
        log_sum_exp(logits.iter().map(|&logit| f64::from(logit)))
            .ok_or_else(|| self.model.failed("computed logits that are no numbers"))
    }

    /// What the model thinks of a text.
    fn score(&mut self, request: &PromptRequest) -> Result<PromptReply, ChatError> {
        if let Some(slots) = &request.slots {
            return self.weigh(&request.prompt, slots);
        }
        let ids = self.model.ids_of_text(&request.prompt)?;
        self.check_length(ids.len())?;
        let Some(&first) = ids.first() else { return Ok(PromptReply::default()) };
        let n_top = usize::from(request.top);
        let known = self.prompts.beginning(&ids);
        // Another number of alternatives was asked for: read it all again.
        let known = known.filter(|known| known.scored.iter().skip(1).all(|token| token.top.len() == n_top));
        let (mut past, mut scored) = match known {
            Some(known) => (known.past, known.scored),
            None => {
                let token = self.texts(&[first]).remove(0);
                let first = PromptToken { token, logprob: None, top: Vec::new() };
                (KeysValues::new(&self.model.transformer), vec![first])
            }
        };
        while past.positions() < ids.len() {
            let start = past.positions();
            let end = ids.len().min(start + ROWS_AT_ONCE);
            let normed = self.pass(ids[start..end].to_vec(), end - start, std::slice::from_mut(&mut past))?;
            let targets = &ids[start + 1..ids.len().min(end + 1)];
            scored.extend(self.scored(&normed, targets, n_top)?);
        }
        self.prompts.note(&ids, &past, &scored);
        Ok(PromptReply { tokens: scored, slots: None, tokens_in: ids.len() as u64 })
    }

    /// What the model thinks of tokens, each given the final norm's output of the one before it.
    fn scored(&self, normed: &Matrix, targets: &[u32], n_top: usize) -> Result<Vec<PromptToken>, ChatError> {
        let vocab = self.model.transformer.architecture().vocab;
        let rows = (LOGITS_AT_ONCE / vocab).max(1);
        let mut scored = Vec::with_capacity(targets.len());
        for (nth, targets) in targets.chunks(rows).enumerate() {
            let width = normed.cols();
            let logits = self.logits(&normed.data()[nth * rows * width..][..targets.len() * width])?;
            for (logits, &target) in logits.chunks_exact(vocab).zip(targets) {
                let of = |logit: f32| f64::from(logit);
                let total = self.log_total(logits)?;
                let all = (0u32..).zip(logits.iter().map(|&logit| of(logit) - total)).collect();
                let (ids, logprobs): (Vec<u32>, Vec<f64>) = likeliest(all, n_top).into_iter().unzip();
                scored.push(PromptToken {
                    token: self.texts(&[target]).remove(0),
                    logprob: Some(of(logits[target as usize]) - total),
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
