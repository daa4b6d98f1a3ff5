//! Tokens in front of every sequence of text, which are context for the model and never data.
//!
//! A model trained with BOS before every text computes something else without it. [`Prefix`] says which tokens are in
//! front and why. Only [`WithPrefix`] puts them there and removes their rows from results.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString};

use super::{Edit, Pullback, SubjectError, SubjectInfo, SubjectModel, Wanted, Writing};
use crate::base::{HookPoint, HookSelector, Matrix, TokenBatch};
use crate::nn::{Device, NnError, PrefixCache, Tokenizer};

/// Whether a BOS token is in front of every sequence of text.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Display, EnumString,
)]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = unknown_bos)]
#[serde(rename_all = "lowercase")]
pub enum Bos {
    /// The tokens that the model's own tokenizer puts there.
    #[default]
    Auto,
    /// The same; if there are none, the tokenizer's BOS, `<|endoftext|>` or end-of-text token.
    Always,
    /// Nothing.
    Never,
}

impl Bos {
    /// Every setting with its name.
    pub const ALL: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("always", Self::Always), ("never", Self::Never)];

    /// True for the default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

fn unknown_bos(text: &str) -> String {
    format!("`{text}` is none of `auto`, `always` and `never`")
}

/// Tokens in front of every sequence of text. They are context, and never fitted on, scored or shown as text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Prefix {
    /// The user's setting.
    pub setting: Bos,
    /// Their ids.
    pub ids: Vec<u32>,
    /// Text of each.
    pub texts: Vec<String>,
    /// Why these tokens.
    pub because: String,
}

impl Prefix {
    /// The tokens under a setting, for the model named `model`. Fails if a BOS token is required and there is none.
    pub fn of(setting: Bos, tokenizer: &Tokenizer, model: &str) -> Result<Self, SubjectError> {
        let lead = tokenizer.lead();
        let (ids, because) = match setting {
            Bos::Never => (Vec::new(), "`bos: never`".to_string()),
            Bos::Always if lead.ids.is_empty() => {
                let id = tokenizer.forced_bos_token();
                let id = id.ok_or_else(|| SubjectError::NoBos { model: model.to_string() })?;
                (vec![id], format!("`bos: always`, though {}", lead.stated))
            }
            Bos::Auto | Bos::Always => (lead.ids.clone(), lead.stated.clone()),
        };
        let texts = tokenizer.token_texts(&ids);
        Ok(Self { setting, ids, texts, because })
    }

    /// True if there are no tokens in front.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The tokens in messages: quoted texts with ids.
    pub fn tokens(&self) -> String {
        let tokens = self.texts.iter().zip(&self.ids).map(|(text, id)| format!("{text:?} ({id})"));
        tokens.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => write!(f, "nothing: {}", self.because),
            false => write!(f, "{}: {}", self.tokens(), self.because),
        }
    }
}

/// A subject with [`Prefix`] tokens in front of every sequence. Input tokens and output rows, logits and losses are those
/// of the text alone. With a prefix the first token of a text has a loss too.
pub struct WithPrefix<'a> {
    subject: &'a dyn SubjectModel,
    prefix: &'a [u32],
    info: SubjectInfo,
    /// Activations of the prefix per hook point. They are the same in every sequence, since nothing precedes it.
    rows: Mutex<HashMap<HookPoint, Arc<Matrix>>>,
}

impl<'a> WithPrefix<'a> {
    /// Puts `prefix` before every sequence given to `subject`.
    pub fn new(subject: &'a dyn SubjectModel, prefix: &'a [u32]) -> Self {
        let mut info = subject.info().clone();
        info.n_ctx = info.n_ctx.saturating_sub(prefix.len());
        info.needs_lead_token &= prefix.is_empty();
        Self { subject, prefix, info, rows: Mutex::default() }
    }

    fn prefixed(&self, tokens: &TokenBatch) -> Result<TokenBatch, SubjectError> {
        let rows = tokens.ids().chunks(tokens.cols());
        let ids = rows.flat_map(|row| self.prefix.iter().chain(row)).copied().collect();
        let cols = self.prefix.len() + tokens.cols();
        TokenBatch::new(ids, cols).ok_or(SubjectError::TooShort { cols: 0 })
    }

    /// Removes the first `prefix_entries` from each of `sequences` equal parts of `entries`.
    fn without_prefix(&self, entries: &mut Vec<f32>, sequences: usize, prefix_entries: usize) {
        let Some(whole) = entries.len().checked_div(sequences) else { return };
        let kept = whole - prefix_entries;
        for nth in 0..sequences {
            let start = nth * whole + prefix_entries;
            entries.copy_within(start..start + kept, nth * kept);
        }
        entries.truncate(sequences * kept);
    }

    /// Removes the prefix's rows.
    fn text_rows(&self, rows: Matrix, tokens: &TokenBatch) -> Matrix {
        let width = rows.cols();
        let mut entries = rows.into_vec();
        self.without_prefix(&mut entries, tokens.rows(), self.prefix.len() * width);
        let n = tokens.ids().len();
        Matrix::from_vec(n, width, entries).unwrap_or_else(|| Matrix::zeros(0, width))
    }

    /// Removes the losses of the prefix's own tokens from `[sequences, prefix + cols − 1]`.
    fn text_losses(&self, losses: Matrix, tokens: &TokenBatch) -> Matrix {
        let mut entries = losses.into_vec();
        self.without_prefix(&mut entries, tokens.rows(), self.prefix.len() - 1);
        let (rows, cols) = (tokens.rows(), tokens.cols());
        Matrix::from_vec(rows, cols, entries).unwrap_or_else(|| Matrix::zeros(0, cols))
    }

    /// An edit of the text's rows, sequences of `cols` positions behind the prefix.
    fn of_text<'e>(&'e self, edit: Edit<'e>, cols: usize) -> impl Fn(&mut Matrix) + Sync + 'e {
        let whole = self.prefix.len() + cols;
        move |rows: &mut Matrix| {
            let places: Vec<usize> = (0..rows.rows() / whole)
                .flat_map(|sequence| (self.prefix.len()..whole).map(move |col| sequence * whole + col))
                .collect();
            let mut text = rows.select_rows(&places);
            (edit.apply)(&mut text);
            if (text.rows(), text.cols()) != (places.len(), rows.cols()) {
                *rows = text; // refused by the pass
                return;
            }
            for (nth, &row) in places.iter().enumerate() {
                rows.row_mut(row).copy_from_slice(text.row(nth));
            }
        }
    }

    /// Activations of whole sequences: those of the prefix, then the given ones of the text.
    fn with_prefix_rows(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &Matrix,
    ) -> Result<Matrix, SubjectError> {
        let (expected, got) = ([tokens.ids().len(), self.width(hook)?], [rows.rows(), rows.cols()]);
        if got != expected {
            return Err(NnError::EditShape { hook, expected, got }.into());
        }
        let own = self.prefix_rows(hook)?;
        let sequences = rows.data().chunks(tokens.cols() * rows.cols());
        let entries: Vec<f32> = sequences.flat_map(|text| own.data().iter().chain(text)).copied().collect();
        let whole = Matrix::from_vec(entries.len() / rows.cols().max(1), rows.cols(), entries);
        Ok(whole.ok_or(NnError::EditShape { hook, expected, got })?)
    }

    /// The values of the text: the last position is the text's own, other rows are those of every position.
    fn text_values(&self, values: Matrix, tokens: &TokenBatch, wanted: Wanted) -> Matrix {
        if wanted == Wanted::LastLogits { values } else { self.text_rows(values, tokens) }
    }

    fn prefix_rows(&self, hook: HookPoint) -> Result<Arc<Matrix>, SubjectError> {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rows) = known.get(&hook) {
            return Ok(rows.clone());
        }
        let alone = TokenBatch::new(self.prefix.to_vec(), self.prefix.len());
        let alone = alone.ok_or(SubjectError::TooShort { cols: 0 })?;
        let rows = Arc::new(self.subject.activations(&alone, &[hook])?.swap_remove(0));
        known.insert(hook, rows.clone());
        Ok(rows)
    }
}

impl SubjectModel for WithPrefix<'_> {
    fn info(&self) -> &SubjectInfo {
        &self.info
    }

    fn prefix(&self) -> &[u32] {
        self.prefix
    }

    fn without_model(&self) -> Option<String> {
        self.subject.without_model()
    }

    fn hooks(&self, selector: &HookSelector) -> Result<Vec<HookPoint>, usize> {
        self.subject.hooks(selector)
    }

    fn is_centred(&self) -> Option<bool> {
        self.subject.is_centred()
    }

    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.activations(tokens, hooks);
        }
        let all = self.subject.activations(&self.prefixed(tokens)?, hooks)?;
        Ok(all.into_iter().map(|rows| self.text_rows(rows, tokens)).collect())
    }

    fn last_token_activations(&self, sequences: &[&[u32]], hook: HookPoint) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.last_token_activations(sequences, hook);
        }
        let prefixed: Vec<Vec<u32>> = sequences.iter().map(|text| [self.prefix, text].concat()).collect();
        let prefixed: Vec<&[u32]> = prefixed.iter().map(Vec::as_slice).collect();
        self.subject.last_token_activations(&prefixed, hook)
    }

    fn token_losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.token_losses(tokens, edit);
        }
        let apply = edit.map(|edit| self.of_text(edit, tokens.cols()));
        let edit = edit.zip(apply.as_ref()).map(|(edit, apply)| Edit { hook: edit.hook, apply });
        let losses = self.subject.token_losses(&self.prefixed(tokens)?, edit)?;
        Ok(self.text_losses(losses, tokens))
    }

    fn token_losses_given(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &Matrix,
    ) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.token_losses_given(tokens, hook, rows);
        }
        let whole = self.with_prefix_rows(tokens, hook, rows)?;
        let tokens_with = self.prefixed(tokens)?;
        let losses = self.subject.token_losses_given(&tokens_with, hook, &whole)?;
        Ok(self.text_losses(losses, tokens))
    }

    fn given(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.given(tokens, (hook, rows), wanted);
        }
        let rows = self.with_prefix_rows(tokens, hook, rows)?;
        let values = self.subject.given(&self.prefixed(tokens)?, (hook, &rows), wanted)?;
        Ok(self.text_values(values, tokens, wanted))
    }

    fn prefix_caches(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        kept: &[usize],
    ) -> Result<Option<Vec<PrefixCache>>, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.prefix_caches(tokens, (hook, rows), kept);
        }
        let rows = self.with_prefix_rows(tokens, hook, rows)?;
        let kept: Vec<usize> = kept.iter().map(|kept| self.prefix.len() + kept).collect();
        self.subject.prefix_caches(&self.prefixed(tokens)?, (hook, &rows), &kept)
    }

    /// Prefix caches begin with the prefix.
    fn given_behind(
        &self,
        past: &[&PrefixCache],
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        match past.is_empty() {
            true => self.given(tokens, given, wanted),
            false => self.subject.given_behind(past, tokens, given, wanted),
        }
    }

    fn logits_at(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        places: &[usize],
    ) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.logits_at(tokens, (hook, rows), places);
        }
        let rows = self.with_prefix_rows(tokens, hook, rows)?;
        let behind = |&place: &usize| place + (place / tokens.cols() + 1) * self.prefix.len();
        let places: Vec<usize> = places.iter().map(behind).collect();
        self.subject.logits_at(&self.prefixed(tokens)?, (hook, &rows), &places)
    }

    fn edited(
        &self,
        tokens: &TokenBatch,
        edits: &[Edit<'_>],
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.edited(tokens, edits, wanted);
        }
        let apply: Vec<_> = edits.iter().map(|&edit| self.of_text(edit, tokens.cols())).collect();
        let edits = edits.iter().zip(&apply).map(|(edit, apply)| Edit { hook: edit.hook, apply });
        let edits: Vec<Edit<'_>> = edits.collect();
        let values = self.subject.edited(&self.prefixed(tokens)?, &edits, wanted)?;
        Ok(self.text_values(values, tokens, wanted))
    }

    fn pullback(
        &self,
        tokens: &TokenBatch,
        (hook, rows): (HookPoint, &Matrix),
        wanted: Wanted,
        weights: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError> {
        if self.prefix.is_empty() {
            return self.subject.pullback(tokens, (hook, rows), wanted, weights);
        }
        let rows = self.with_prefix_rows(tokens, hook, rows)?;
        let whole = self.prefix.len() + tokens.cols();
        // Values at the prefix have the weight 0.
        let of_text = |first: usize, values: &Matrix| {
            if wanted == Wanted::LastLogits {
                return weights(first, values);
            }
            let is_text = |row: usize| row % whole >= self.prefix.len();
            let places: Vec<usize> = (0..values.rows()).filter(|&row| is_text(row)).collect();
            let given = weights(first, &values.select_rows(&places));
            if (given.rows(), given.cols()) != (places.len(), values.cols()) {
                return given; // refused by the pass
            }
            let mut all = Matrix::zeros(values.rows(), values.cols());
            places
                .iter()
                .zip(given.iter_rows())
                .for_each(|(&row, own)| all.row_mut(row).copy_from_slice(own));
            all
        };
        let found = self.subject.pullback(&self.prefixed(tokens)?, (hook, &rows), wanted, &of_text)?;
        Ok(Pullback {
            values: self.text_values(found.values, tokens, wanted),
            gradient: self.text_rows(found.gradient, tokens),
        })
    }

    fn continuation(
        &self,
        tokens: &[u32],
        unedited: usize,
        edits: &[Edit<'_>],
        writing: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError> {
        let whole = [self.prefix, tokens].concat();
        self.subject.continuation(&whole, self.prefix.len().saturating_add(unedited), edits, writing)
    }

    fn direct_logits(&self, directions: &Matrix) -> Result<Matrix, SubjectError> {
        self.subject.direct_logits(directions)
    }

    fn width(&self, hook: HookPoint) -> Result<usize, SubjectError> {
        self.subject.width(hook)
    }

    fn device(&self) -> &Device {
        self.subject.device()
    }

    fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), SubjectError> {
        self.subject.check_tokens(&self.prefixed(tokens)?)
    }
}

#[cfg(test)]
mod tests;
