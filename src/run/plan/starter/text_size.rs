//! How much of a text both splits of a suite can have, found by cutting it as a run does.

use crate::corpus::{CorpusError, CorpusParams, Source, TokenSets, TooLittleText, prepare};
use crate::nn::Tokenizer;
use crate::report::count;
use crate::run::inputs::prepare::{SubjectEncoder, corpus_params};
use crate::run::inputs::shape::ModelShape;
use crate::run::{Places, RunError};
use crate::subject::{Prefix, embedded};
use crate::suite::{Suite, resolve};

/// Fit tokens and evaluation fragments of a small model, and of a wide one.
const USUAL: [[usize; 2]; 2] = [[300_000, 4_000], [200_000, 2_500]];

/// Fewest fit tokens and evaluation fragments of a suite.
const FEWEST: [usize; 2] = [1_000, 40];

/// Times that sizes are reduced: documents are assigned to splits by their hash, so one estimate may be too high.
const ATTEMPTS: usize = 8;

/// Share of what was found that is asked for next.
const CAUTION: f64 = 0.95;

/// The sizes of a suite's corpus.
#[derive(Debug, Clone)]
pub struct TextSize {
    pub fit_tokens: usize,
    pub eval_fragments: usize,
    /// The line between documents, where the default finds none.
    pub separator: Option<&'static str>,
    /// What the reader of the suite should know.
    pub note: Option<String>,
}

impl TextSize {
    /// The sizes where there is text enough.
    pub fn usual(is_small: bool) -> Self {
        let [fit_tokens, eval_fragments] = if is_small { USUAL[0] } else { USUAL[1] };
        Self { fit_tokens, eval_fragments, separator: None, note: None }
    }

    fn of(params: &CorpusParams) -> Self {
        let (fit_tokens, eval_fragments) = (params.fit_tokens, params.eval_fragments);
        Self { fit_tokens, eval_fragments, separator: None, note: None }
    }
}

/// The sizes that a draft's text has room for, at most those of the draft. None if the draft has them, or if the text
/// is not on this disk.
pub fn text_size(
    draft: &Suite,
    shape: &ModelShape,
    tokenizer: &Tokenizer,
    places: &Places,
) -> Result<Option<TextSize>, RunError> {
    let spec = &draft.corpus;
    if spec.source == embedded::NAME {
        return Ok(None);
    }
    let prefix = Prefix::of(draft.subject.bos, tokenizer, &shape.header.name)?;
    let params = corpus_params(draft, shape.header.architecture.n_ctx, tokenizer, &prefix)?;
    if spec.source.starts_with("hub:") {
        let note = "the text is on the hub and was not counted; `plan` does not fetch it either".to_string();
        return Ok(Some(TextSize { note: Some(note), ..TextSize::of(&params) }));
    }
    let path = resolve(&spec.source, &places.suite_folder);
    let needed = draft.protocol.min_firing_fragments;
    let cut = |separator: Option<&str>| {
        let source = Source::from_path(&path, spec.field.as_deref(), separator)?;
        largest(&source, tokenizer, &params)
    };
    let plain = cut(None);
    if is_undivided(&plain, needed)
        && let Ok((size, sets)) = cut(Some(""))
        && sets.counts.eval_documents >= needed
    {
        return Ok(Some(TextSize { separator: Some(""), ..size }));
    }
    let (size, sets) = plain?;
    let counts = sets.counts;
    let found = counts.eval_documents;
    if found >= needed {
        return Ok(Some(size));
    }
    if let Some(text) = counts.undivided {
        return Err(
            CorpusError::Undivided { name: format!("`{}`", path.display()), text, found, needed }.into()
        );
    }
    let few = format!(
        "the text gives {found} documents to evaluate on, and a feature is scored on {needed} of them: give more \
         documents, or most features will have no score"
    );
    Ok(Some(TextSize { note: Some(few), ..size }))
}

/// Whether a text has no separator and too few documents without one.
fn is_undivided(plain: &Result<(TextSize, TokenSets), CorpusError>, needed: usize) -> bool {
    match plain {
        Ok((_, sets)) => sets.counts.undivided.is_some() && sets.counts.eval_documents < needed,
        Err(CorpusError::TooLittleText(found)) => found.counts.undivided.is_some(),
        Err(_) => false,
    }
}

/// The largest sizes, up to those of `params`, for which there is text enough.
fn largest(
    source: &Source<'_>,
    tokenizer: &Tokenizer,
    params: &CorpusParams,
) -> Result<(TextSize, TokenSets), CorpusError> {
    let mut asked = params.clone();
    let mut attempts = 0;
    let sets = loop {
        attempts += 1;
        match prepare(source, &SubjectEncoder(tokenizer), &asked, &|_| ()) {
            Ok(sets) => break sets,
            Err(CorpusError::TooLittleText(found)) if attempts < ATTEMPTS => {
                let Some([fit_tokens, eval_fragments]) = reduced(&asked, &found) else {
                    return Err(CorpusError::TooLittleText(found));
                };
                asked = CorpusParams { fit_tokens, eval_fragments, ..asked };
            }
            Err(error) => return Err(error),
        }
    };
    let note = (asked.fit_tokens < params.fit_tokens).then(|| {
        format!(
            "the text is small: {} tokens to fit on and {} fragments, where {} and {} are usual",
            count(asked.fit_tokens),
            count(asked.eval_fragments),
            count(params.fit_tokens),
            count(params.eval_fragments)
        )
    });
    Ok((TextSize { note, ..TextSize::of(&asked) }, sets))
}

/// Both sizes in the same proportion, so that the share of each split stays as it is. None below the fewest that a suite
/// may have.
fn reduced(asked: &CorpusParams, found: &TooLittleText) -> Option<[usize; 2]> {
    let share = |found: usize, needed: usize| found as f64 / needed.max(1) as f64;
    let share = share(found.fit_found, found.fit_needed)
        .min(share(found.fragments_found, found.fragments_needed))
        .min(CAUTION);
    let less = |n: usize| two_digits((n as f64 * share * CAUTION) as usize);
    let sizes = [less(asked.fit_tokens), less(asked.eval_fragments)];
    let is_enough = sizes.iter().zip(FEWEST).all(|(size, fewest)| *size >= fewest);
    is_enough.then_some(sizes)
}

/// Two leading digits, rounded down.
fn two_digits(n: usize) -> usize {
    let mut unit = 1;
    while n / unit >= 100 {
        unit *= 10;
    }
    n / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_down() {
        for (n, rounded) in [(0, 0), (7, 7), (99, 99), (101, 100), (12_345, 12_000), (299_999, 290_000)] {
            assert_eq!(two_digits(n), rounded);
        }
    }
}
