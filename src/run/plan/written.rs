//! Texts of the length of those that a run will write with features changed, cut from a sample of the corpus.

use crate::base::TokenBatch;
use crate::causal::effects::EffectSettings;
use crate::features::{OutputEvidence, TokenChange, TokenChanges, WrittenPair};

/// Tokens in each list of raised and lowered ones.
const LISTED: usize = 10;

/// `n` pairs of texts. A text goes on at the beginning of its fragment where that is too short.
pub fn sample_pairs(fragments: &TokenBatch, settings: &EffectSettings, n: usize) -> Vec<WrittenPair> {
    let tokens = |nth: usize, skipped: usize, taken: usize| -> Vec<u32> {
        fragments.row(nth % fragments.rows()).iter().cycle().skip(skipped).take(taken).copied().collect()
    };
    let (prompt, written) = (settings.prompt_tokens, settings.written_tokens);
    let pair = |nth: usize| WrittenPair {
        fragment: nth,
        prompt: tokens(nth, 0, prompt),
        steered: tokens(nth, prompt, written),
        other: tokens(nth + 1, prompt, written),
    };
    (0..n).map(pair).collect()
}

/// What an explainer of the output is shown.
pub fn sample_output(fragments: &TokenBatch, settings: &EffectSettings) -> OutputEvidence {
    let list = |nth: usize| -> Vec<TokenChange> {
        let row = fragments.row(nth % fragments.rows());
        row.iter().take(LISTED).map(|&token| (token, 1.0)).collect()
    };
    let changes = TokenChanges { raised: list(0), lowered: list(1) };
    let texts = sample_pairs(fragments, settings, settings.shown_texts.min(settings.prompts));
    OutputEvidence { direct: Some(changes.clone()), measured: changes, texts }
}
