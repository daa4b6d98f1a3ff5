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
/// meant unless they end in `.input`. None for names that mean no hook point of this program, such as the normalised
/// input of an MLP (`ln2.hook_normalized`, `mlp.hook_in`, `pre_feedforward_layernorm.output`).
pub fn hook_of(name: &str) -> Option<HookPoint> {
    if let Ok(hook) = name.parse() {
        return Some(hook);
    }
    let (path, is_input) = match name.strip_suffix(".input") {
        Some(path) => (path, true),
        None => (name.strip_suffix(".output").unwrap_or(name), false),
    };
    let path = ["model.", "gpt_neox.", "transformer.", "language_model.", "model.language_model."]
        .iter()
        .fold(path, |path, prefix| path.strip_prefix(prefix).unwrap_or(path));
    let parts: Vec<&str> = path.split('.').collect();
    let ["layers" | "h" | "blocks", layer, inner @ ..] = &parts[..] else { return None };
    let site = match (inner, is_input) {
        ([], false) => Site::ResidPost,
        ([], true) => Site::ResidPre,
        (["mlp" | "post_feedforward_layernorm"], false) => Site::MlpOut,
        (["mlp"], true) | (["pre_feedforward_layernorm"], false) => Site::MlpIn,
        (["self_attn" | "attn" | "attention"], false) => Site::AttnOut,
        (["self_attn", "o_proj"] | ["attn", "c_proj"] | ["attention", "dense"], true) => Site::AttnZ,
        (["mlp", "down_proj" | "c_proj" | "dense_4h_to_h"], true) => Site::MlpPost,
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
        let dataset = self.dataset.as_ref().map(|dataset| format!("trained on the data set `{dataset}`"));
        context.into_iter().chain(special.map(String::from)).chain(dataset).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_mean_hook_points_or_none() {
        let meant = [
            ("blocks.3.attn.hook_z", "blocks.3.attn.hook_z"),
            ("model.layers.12.output", "blocks.12.hook_resid_post"),
            ("model.language_model.layers.4.output", "blocks.4.hook_resid_post"),
            ("gpt_neox.layers.5", "blocks.5.hook_resid_post"),
            ("transformer.h.0.input", "blocks.0.hook_resid_pre"),
            ("layers.2.mlp", "blocks.2.hook_mlp_out"),
            ("model.layers.2.post_feedforward_layernorm.output", "blocks.2.hook_mlp_out"),
            ("model.layers.7.self_attn.o_proj.input", "blocks.7.attn.hook_z"),
            ("model.layers.7.pre_feedforward_layernorm.output", "blocks.7.mlp.hook_in"),
            ("model.layers.7.mlp.down_proj.input", "blocks.7.mlp.hook_post"),
            ("model.layers.7.mlp.input", "blocks.7.mlp.hook_in"),
            ("blocks.1.mlp.hook_in", "blocks.1.mlp.hook_in"),
        ];
        for (name, hook) in meant {
            assert_eq!(hook_of(name).map(|hook| hook.to_string()).as_deref(), Some(hook), "{name}");
        }
        let none = [
            "blocks.1.ln2.hook_normalized",
            "blocks.1.hook_mlp_in",
            "model.layers.x.output",
            "model.layers.1.self_attn.o_proj.output",
            "lm_head",
            "",
        ];
        for name in none {
            assert_eq!(hook_of(name), None, "{name}");
        }
    }
}
