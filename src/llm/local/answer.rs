use std::sync::Arc;

use super::model::LocalModel;
use super::sampling::{Choice, choose};
use super::shape::{Progress, Shape};
use super::vocabulary::Allowed;
use crate::base::{Digest, Digester};
use crate::llm::{ChatError, ChatReply, ChatRequest, Finish, TokenChoice};
use crate::nn::Sampler;

/// An answer as far as it was generated.
pub(super) struct Answer {
    request: ChatRequest,
    n_prompt: usize,
    /// Tokens at most.
    limit: usize,
    sampler: Sampler,
    form: Option<Form>,
    form_digest: Digest,
    choices: Vec<Choice>,
    /// Choices that the model has read.
    read: usize,
    finish: Option<Finish>,
}

/// What it has to look like.
struct Form {
    shape: Shape,
    progress: Progress,
}

impl Answer {
    /// Nothing yet, or what the schema leaves no choice about. `room` is what the model's context has left.
    pub fn new(
        model: &LocalModel,
        request: ChatRequest,
        n_prompt: usize,
        room: usize,
        structured: bool,
    ) -> Result<Self, ChatError> {
        let schema = request.schema.as_ref().filter(|_| structured);
        let form = match schema.map(|schema| Shape::of(&schema.value)).transpose() {
            Ok(shape) => shape.map(|shape| Form { progress: shape.start(), shape }),
            Err(what) => {
                let detail = format!("cannot hold an answer to {what}; `structured: false` asks without");
                return Err(ChatError::Unsupported { endpoint: model.name.clone(), detail });
            }
        };
        // A form that is known needs as many tokens as it needs: a vocabulary of characters takes one a byte.
        let needed = form.as_ref().map_or(0, |form| form.shape.most_bytes());
        let limit =
            request.max_tokens.max(1).max(needed + if has_text(&form) { request.max_tokens } else { 0 });
        let mut form_digest = Digester::new("form");
        form_digest.json(&request.schema.as_ref().filter(|_| structured));
        let mut digester = Digester::new("local answer");
        digester.json(&request);
        let seed = digester.finish().bytes();
        let seed =
            u64::from_le_bytes([seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6], seed[7]]);
        let sampler = Sampler::new(seed, request.temperature);
        let limit = limit.min(room);
        let mut answer = Self {
            request,
            n_prompt,
            limit,
            sampler,
            form,
            form_digest: form_digest.finish(),
            choices: Vec::new(),
            read: 0,
            finish: None,
        };
        answer.take_certain(model)?;
        Ok(answer)
    }

    /// Tells answers apart that may have the same tokens at the same place.
    pub fn form_digest(&self) -> Digest {
        self.form_digest
    }

    /// Whether there is nothing more to come.
    pub fn is_done(&self) -> bool {
        self.finish.is_some()
    }

    /// The tokens that the model has not read yet, which it now will.
    pub fn take_unread(&mut self) -> Vec<u32> {
        let unread = self.choices[self.read..].iter().map(|choice| choice.token).collect();
        self.read = self.choices.len();
        unread
    }

    /// Adds the token that the logits speak for, and those that then are certain.
    pub fn extend(
        &mut self,
        model: &LocalModel,
        logits: &[f32],
        allowed: &mut Allowed,
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
        let tokens = match &self.form {
            None => None,
            Some(form) => Some(self.tokens_for(form, model, allowed, left)?),
        };
        let allowed = tokens.as_ref().map(|tokens| tokens.as_slice());
        let choice = choose(logits, allowed, &mut self.sampler, n_top)
            .map_err(|error| model.failed(&error.to_string()))?
            .ok_or_else(|| model.failed("has no token that could come next"))?;
        if model.ends.contains(&choice.token) {
            self.finish = Some(Finish::Stop);
            if self.form.is_some() {
                // What else could have followed tells a whole answer from one that goes on.
                self.choices.push(choice);
            }
            return Ok(());
        }
        self.push(model, choice)?;
        self.take_certain(model)
    }

    /// The tokens that may come next. Where little room is left a text is brought to its end.
    fn tokens_for(
        &self,
        form: &Form,
        model: &LocalModel,
        allowed: &mut Allowed,
        left: usize,
    ) -> Result<Arc<Vec<u32>>, ChatError> {
        if left <= form.shape.most_bytes() && form.shape.may_end_text(&form.progress) {
            return match model.vocabulary.longest(b"\"") {
                Some((token, _)) => Ok(Arc::new(vec![token])),
                None => Err(model.failed("has no token for a quotation mark")),
            };
        }
        let tokens = allowed.at(&model.vocabulary, &form.shape, &form.progress);
        let tokens = if form.shape.may_end(&form.progress) {
            let mut tokens = [tokens.as_slice(), &model.ends].concat();
            tokens.sort_unstable();
            Arc::new(tokens)
        } else {
            tokens
        };
        if tokens.is_empty() {
            return Err(model.failed("has no tokens that spell JSON"));
        }
        Ok(tokens)
    }

    fn push(&mut self, model: &LocalModel, choice: Choice) -> Result<(), ChatError> {
        if let Some(form) = &mut self.form {
            for &byte in model.tokenizer.bytes_of(choice.token) {
                form.progress = form
                    .shape
                    .step(&form.progress, byte)
                    .ok_or_else(|| model.failed("left the form of its answer"))?;
            }
            if form.shape.is_whole(&form.progress) {
                self.finish = Some(Finish::Stop);
            }
        }
        self.choices.push(choice);
        Ok(())
    }

    /// Spells out what must come next, as the tokenizer does; each of these tokens then is the only one allowed.
    fn take_certain(&mut self, model: &LocalModel) -> Result<(), ChatError> {
        while self.finish.is_none()
            && let Some(form) = &self.form
        {
            let forced = form.shape.forced(&form.progress);
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

    /// The answer for the one who asked.
    pub fn into_reply(self, model: &LocalModel) -> ChatReply {
        let tokenizer = &model.tokenizer;
        let is_mark = |token: u32| tokenizer.is_special(token) || model.ends.contains(&token);
        let spoken = self.choices.iter().filter(|choice| !is_mark(choice.token));
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

fn has_text(form: &Option<Form>) -> bool {
    form.as_ref().is_some_and(|form| form.shape.has_text())
}
