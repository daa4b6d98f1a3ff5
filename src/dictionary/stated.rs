//! What a dictionary file says of its training, compared with this run.

use serde::{Deserialize, Serialize};

use crate::base::{HookPoint, Site};

/// How the subject model ran the texts of the activations.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextInput {
    /// Whether each context began with BOS, or with the token that the tokenizer puts there.
    pub bos: bool,
    /// Positions of a fitting context, BOS included; 0 where nothing is known of the texts.
    pub ctx_tokens: usize,
    /// Whether the mean over dimensions was subtracted from all weights that write to the residual stream
    /// (`center_writing_weights`). None where that would change the model's output, or is unknown.
    pub centred: Option<bool>,
}

/// What a file says of the activations that the dictionary was trained on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stated {
    /// Model.
    pub model: Option<String>,
    /// Hook point of the input, in the file's own spelling.
    pub hook: Option<String>,
    /// Hook point of the output, where it differs: a transcoder.
    pub hook_out: Option<String>,
    /// Dataset.
    pub dataset: Option<String>,
    /// Whether contexts began with BOS.
    pub prepend_bos: Option<bool>,
    /// Tokens of a context.
    pub context_size: Option<usize>,
    /// Whether rows of special tokens were left out.
    pub excludes_special_tokens: Option<bool>,
    /// Whether the model's writing weights were centred.
    pub centred: Option<bool>,
    /// Mean number of active features.
    pub l0: Option<f64>,
}

/// The hook point that a name means: TransformerLens's names, and module paths of Hugging Face models, whose output is
/// meant. None for names that mean no hook point of this program.
pub fn hook_of(name: &str) -> Option<HookPoint> {
    if let Ok(hook) = name.parse() {
        return Some(hook);
    }
    let path = name.strip_suffix(".output").unwrap_or(name);
    let path = ["model.", "gpt_neox.", "transformer.", "language_model.", "model.language_model."]
        .iter()
        .fold(path, |path, prefix| path.strip_prefix(prefix).unwrap_or(path));
    let mut parts = path.split('.');
    let (Some("layers" | "h" | "blocks"), Some(layer)) = (parts.next(), parts.next()) else { return None };
    let site = match (parts.next(), parts.next()) {
        (None, None) => Site::ResidPost,
        (Some("mlp" | "post_feedforward_layernorm"), None) => Site::MlpOut,
        (Some("self_attn" | "attn" | "attention"), None) => Site::AttnOut,
        _ => return None,
    };
    Some(HookPoint::Block { layer: layer.parse().ok()?, site })
}

impl Stated {
    /// Differences that change the input of the dictionary's features.
    pub(super) fn warnings(&self, input: TextInput) -> Vec<String> {
        let bos = match (self.prepend_bos, input.bos) {
            _ if input.ctx_tokens == 0 => None,
            (Some(true), false) => Some(
                "was trained with BOS at the start of every context (`prepend_bos: true`), and contexts here have none: \
                 set `subject.bos: always`, or `auto` where the tokenizer adds one",
            ),
            (Some(false), true) => Some(
                "was trained without BOS at the start (`prepend_bos: false`), and contexts here begin with one: set \
                 `subject.bos: never`",
            ),
            _ => None,
        };
        let centring = match (self.centred, input.centred) {
            (Some(true), Some(false)) => Some(
                "was trained on a model whose writing weights were centred (`model_from_pretrained_kwargs: \
                 {center_writing_weights: true}`), and they are not here: set `subject.processing: \
                 [center_writing_weights]`",
            ),
            (Some(false), Some(true)) => Some(
                "was trained on a model whose writing weights were not centred (`model_from_pretrained_kwargs: \
                 {center_writing_weights: false}`), and here they are: leave `center_writing_weights` out of \
                 `subject.processing`",
            ),
            _ => None,
        };
        [bos, centring].into_iter().flatten().map(String::from).collect()
    }

    /// Other differences.
    pub(super) fn notes(&self, input: TextInput) -> Vec<String> {
        if input.ctx_tokens == 0 {
            return Vec::new();
        }
        let here = input.ctx_tokens;
        let context = self.context_size.filter(|&size| size != here).map(|size| {
            format!(
                "trained on contexts of {size} tokens (`context_size`); fitting contexts here have {here}"
            )
        });
        let special = match self.excludes_special_tokens {
            Some(true) => Some(
                "trained without rows of special tokens (`exclude_special_tokens`); here BOS at the start is left out, \
                 and special tokens inside the text count",
            ),
            Some(false) if input.bos => Some(
                "trained on rows of special tokens too (`exclude_special_tokens: false`); here BOS at the start is left \
                 out",
            ),
            _ => None,
        };
        context.into_iter().chain(special.map(String::from)).collect()
    }
}
