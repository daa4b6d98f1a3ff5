//! One answer of a local model during its generation.

use std::sync::Arc;

use super::grammar::{Grammar, State};
use super::model::LocalModel;
use super::sampling::{Choice, choose};
use super::vocabulary::AllowedTokens;
use crate::base::{Digest, Digester};
use crate::llm::{ChatError, ChatReply, ChatRequest, Finish, TokenChoice};
use crate::nn::Sampler;

/// An answer and the state of its generation.
pub(super) struct Answer {
    request: ChatRequest,
    n_prompt: usize,
    /// Maximum number of tokens.
    limit: usize,
    sampler: Sampler,
    form: Option<Form>,
    schema_digest: Digest,
    choices: Vec<Choice>,
    /// Number of choices that the model has read.
    read: usize,
    finish: Option<Finish>,
}

/// The form of the answer and how much of it is generated.
struct Form {
    grammar: Grammar,
    state: State,
}

impl Answer {
    /// An answer with the tokens that the schema determines. `room` is the number of free positions in the context.
    /// Fails for a schema that cannot be enforced.
    pub fn new(
        model: &LocalModel,
        request: ChatRequest,
        n_prompt: usize,
        room: usize,
        structured: bool,
    ) -> Result<Self, ChatError> {
        let schema = request.schema.as_ref().filter(|_| structured);
        let form = schema.map(|schema| Grammar::of(&schema.value)).transpose().map_err(|what| {
            let detail =
                format!("cannot enforce {what}: `structured: false` in `llm` asks without the schema");
            ChatError::unsupported(&model.name, detail)
        })?;
        let form = form.map(|grammar| Form { state: grammar.start(), grammar });
        // A vocabulary of single bytes needs one token for each byte of the form, whatever `max_tokens` is.
        let needed = form.as_ref().map_or(0, |form| {
            form.grammar.most_bytes() + if form.grammar.has_text() { request.max_tokens } else { 0 }
        });
        let limit = request.max_tokens.max(1).max(needed).min(room);
        let mut schema_digest = Digester::new("form");
        schema_digest.json(&schema);
        let mut digester = Digester::new("local answer");
        digester.json(&request);
        let [a, b, c, d, e, f, g, h, ..] = digester.finish().bytes();
        let sampler = Sampler::new(u64::from_le_bytes([a, b, c, d, e, f, g, h]), request.temperature);
        let mut answer = Self {
            n_prompt,
            limit,
            sampler,
            form,
            schema_digest: schema_digest.finish(),
            request,
            choices: Vec::new(),
            read: 0,
            finish: None,
        };
        answer.take_certain(model)?;
        Ok(answer)
    }

    /// Digest of the enforced schema: equal states of equal schemas allow the same tokens.
    pub fn schema_digest(&self) -> Digest {
        self.schema_digest
    }

    /// Whether the answer is complete.
    pub fn is_done(&self) -> bool {
        self.finish.is_some()
    }

    /// Returns the tokens that the model has not read, and marks them as read.
    pub fn take_unread(&mut self) -> Vec<u32> {
        let unread = self.choices[self.read..].iter().map(|choice| choice.token).collect();
        self.read = self.choices.len();
        unread
    }

    /// Samples one token from the logits `[vocab]` and adds the tokens that the schema then determines.
    pub fn extend(
        &mut self,
        model: &LocalModel,
        logits: &[f32],
        allowed: &mut AllowedTokens,
    ) -> Result<(), ChatError> {
        if self.finish.is_some() {
            return Ok(());
        }
        let left = self.limit.saturating_sub(self.choices.len());
        if left == 0 {
            self.finish = Some(Finish::Length);
            return Ok(());
        }
        let n_top = usize::from(self.request.top_logprobs.unwrap_or(0));
        let tokens = self.form.as_ref().map(|form| form.tokens(model, allowed, left)).transpose()?;
        let allowed = tokens.as_ref().map(|tokens| tokens.as_slice());
        let choice = choose(logits, allowed, &mut self.sampler, n_top)
            .map_err(|error| model.failed(error))?
            .ok_or_else(|| model.failed("has no allowed token with a finite logit"))?;
        if model.ends.contains(&choice.token) {
            self.finish = Some(Finish::Stop);
            if self.form.is_some() {
                // Kept for its alternatives: they show whether a number such as 1 could go on as 10.
                self.choices.push(choice);
            }
            return Ok(());
        }
        self.push(model, choice)?;
        self.take_certain(model)
    }

    fn push(&mut self, model: &LocalModel, choice: Choice) -> Result<(), ChatError> {
        if let Some(form) = &mut self.form {
            for &byte in model.tokenizer.bytes_of(choice.token) {
                let next = form.grammar.step(&form.state, byte);
                form.state = next.ok_or_else(|| model.failed("generated a byte that the schema forbids"))?;
            }
            if form.grammar.is_complete(&form.state) {
                self.finish = Some(Finish::Stop);
            }
        }
        self.choices.push(choice);
        Ok(())
    }

    /// Adds the bytes that the schema determines, in the tokenizer's tokens, with probability 1.
    fn take_certain(&mut self, model: &LocalModel) -> Result<(), ChatError> {
        while self.finish.is_none()
            && let Some(form) = &self.form
        {
            let forced = form.grammar.forced(&form.state);
            if forced.is_empty() {
                return Ok(());
            }
            for token in model.spelled(forced)? {
                self.push(model, Choice { token, logprob: 0.0, top: vec![(token, 0.0)] })?;
                if self.finish.is_none() && self.choices.len() >= self.limit {
                    self.finish = Some(Finish::Length);
                }
                if self.finish.is_some() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The finished reply, without special tokens in its text.
    pub fn into_reply(self, model: &LocalModel) -> ChatReply {
        let tokenizer = &model.tokenizer;
        let is_hidden = |token: u32| tokenizer.is_special(token) || model.ends.contains(&token);
        let spoken = self.choices.iter().filter(|choice| !is_hidden(choice.token));
        let bytes: Vec<u8> = spoken.flat_map(|choice| tokenizer.bytes_of(choice.token)).copied().collect();
        let logprobs = self.request.top_logprobs.map(|_| {
            let of = |choice: &Choice| {
                let (ids, logprobs): (Vec<u32>, Vec<f64>) = choice.top.iter().copied().unzip();
                TokenChoice {
                    token: tokenizer.token_texts(&[choice.token]).remove(0),
                    logprob: choice.logprob,
                    top: tokenizer.token_texts(&ids).into_iter().zip(logprobs).collect(),
                }
            };
            self.choices.iter().map(of).collect()
        });
        ChatReply {
            text: String::from_utf8_lossy(&bytes).into_owned(),
            finish: self.finish.unwrap_or(Finish::Length),
            tokens_in: self.n_prompt as u64,
            tokens_out: self.choices.len() as u64,
            logprobs,
        }
    }
}

impl Form {
    /// The tokens that may come next. If only `left` tokens remain and the rest of the form needs them, an open string
    /// is closed.
    fn tokens(
        &self,
        model: &LocalModel,
        allowed: &mut AllowedTokens,
        left: usize,
    ) -> Result<Arc<Vec<u32>>, ChatError> {
        if left <= self.grammar.most_bytes() && self.grammar.may_end_text(&self.state) {
            return match model.vocabulary.longest(b"\"") {
                Some((token, _)) => Ok(Arc::new(vec![token])),
                None => Err(model.failed("has no token for a quotation mark")),
            };
        }
        let mut tokens = allowed.at(&model.vocabulary, &self.grammar, &self.state);
        if self.grammar.may_end(&self.state) {
            let mut with_ends = [tokens.as_slice(), &model.ends].concat();
            with_ends.sort_unstable();
            tokens = Arc::new(with_ends);
        }
        if tokens.is_empty() {
            return Err(model.failed("has no tokens that spell JSON"));
        }
        Ok(tokens)
    }
}
