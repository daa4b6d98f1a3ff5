//! The shape of a model and its tokenizer, without its weights.

use std::path::PathBuf;

use crate::base::{HookPoint, Site};
use crate::nn::{Tokenizer, gguf_tokenizer, is_gguf};
use crate::run::inputs::prepare::{ModelPlace, place_of};
use crate::run::inputs::repositories::{DEFAULT_REVISION, hub};
use crate::run::{Places, RunError};
use crate::subject::{SubjectError, SubjectHeader, embedded};

/// A model whose weights are not read.
#[derive(Debug)]
pub struct ModelShape {
    /// Its name and sizes.
    pub header: SubjectHeader,
    /// Its folder or GGUF file; none for the embedded model.
    path: Option<PathBuf>,
}

/// Hook points of one kind in all layers that have it, or that lack it for one reason.
#[derive(Debug, Clone, PartialEq)]
pub struct HookRow {
    /// As a suite writes it: `blocks.*.hook_resid_post` for every layer, `blocks.{0,2}.…` for some.
    pub hook: String,
    /// Number of layers; none for the embedding.
    pub layers: Option<usize>,
    /// Width of the activations; `Err` is why the model lacks them.
    pub width: Result<usize, &'static str>,
    /// What the activation is.
    pub words: &'static str,
}

/// Reads the configuration of a model. Of a model on the hub, only small files are fetched.
pub fn model_shape(model: &str, revision: Option<&str>, places: &Places) -> Result<ModelShape, RunError> {
    let (path, id) = match place_of(model, places)? {
        ModelPlace::Embedded => return Ok(ModelShape { header: embedded::header()?, path: None }),
        ModelPlace::Local(path) => (path, None),
        ModelPlace::Hub(id) => {
            let revision = revision.unwrap_or(DEFAULT_REVISION);
            (hub(places)?.model_description(id, revision)?.folder, Some(id.to_string()))
        }
    };
    let header = match SubjectHeader::of_path(&path)? {
        Some(header) => header,
        None => SubjectHeader::of_gguf(&path)?,
    };
    // The folder of a download is named by its commit.
    let name = id.unwrap_or_else(|| header.name.clone());
    Ok(ModelShape { header: SubjectHeader { name, ..header }, path: Some(path) })
}

impl ModelShape {
    /// Its tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer, RunError> {
        let Some(path) = &self.path else { return Ok(embedded::tokenizer()?) };
        let file = path.join("tokenizer.json");
        let tokenizer = if is_gguf(path) && path.is_file() {
            gguf_tokenizer(path)
        } else if file.is_file() {
            Tokenizer::from_file(&file)
        } else {
            return Err(SubjectError::NoTokenizer { model: self.header.name.clone() }.into());
        };
        let embedded = tokenizer.and_then(|tokenizer| tokenizer.embedded_in(self.header.architecture.vocab));
        Ok(embedded.map_err(SubjectError::from)?)
    }

    /// Every kind of hook point, in the order in which a model computes them.
    pub fn hooks(&self) -> Vec<HookRow> {
        let model = &self.header.architecture;
        let words = "Token embedding.";
        let mut rows = vec![HookRow {
            hook: HookPoint::Embed.to_string(),
            layers: None,
            width: Ok(model.d_model),
            words,
        }];
        for site in Site::ALL {
            let lacking = |layer: &usize| model.lacks(*layer, site);
            let (there, missing): (Vec<usize>, Vec<usize>) =
                (0..model.n_layers).partition(|layer| lacking(layer).is_none());
            let row = |layers: &[usize], width| HookRow {
                hook: selector(layers, model.n_layers, site),
                layers: Some(layers.len()),
                width,
                words: site.words(),
            };
            let width = there.first().and_then(|&layer| model.width(HookPoint::Block { layer, site }).ok());
            rows.extend(width.map(|width| row(&there, Ok(width))));
            rows.extend(missing.first().and_then(lacking).map(|reason| row(&missing, Err(reason))));
        }
        rows
    }
}

/// A site in some layers, as a suite writes it.
pub fn selector(layers: &[usize], n_layers: usize, site: Site) -> String {
    let name = site.name();
    match layers {
        [layer] if n_layers > 1 => format!("blocks.{layer}.{name}"),
        _ if layers.len() == n_layers => format!("blocks.*.{name}"),
        _ => {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            format!("blocks.{{{}}}.{name}", layers.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(config: &serde_json::Value) -> ModelShape {
        let header = SubjectHeader::of_config("toy", config.to_string().as_bytes(), "config.json");
        ModelShape { header: header.expect("a configuration"), path: None }
    }

    fn row(shape: &ModelShape, part: &str) -> Vec<(String, Result<usize, &'static str>)> {
        let rows = shape.hooks().into_iter().filter(|row| row.hook.contains(part));
        rows.map(|row| (row.hook, row.width)).collect()
    }

    #[test]
    fn what_a_model_lacks_is_listed_with_the_reason() {
        let neox = shape(&serde_json::json!({
            "model_type": "gpt_neox", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16,
            "hidden_act": "gelu", "layer_norm_eps": 1e-5, "use_parallel_residual": true, "rotary_pct": 0.5,
            "rotary_emb_base": 10000, "tie_word_embeddings": false,
        }));
        let mid = row(&neox, "resid_mid");
        assert_eq!(mid[0].0, "blocks.*.hook_resid_mid");
        assert!(mid[0].1.is_err_and(|reason| reason.contains("parallel")), "{mid:?}");
        assert_eq!(row(&neox, "mlp.hook_post"), [("blocks.*.mlp.hook_post".to_string(), Ok(16))]);
        assert!(neox.hooks().iter().all(|row| row.words.ends_with('.')));

        let qwen = shape(&serde_json::json!({
            "model_type": "qwen3_moe", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 4,
            "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 12,
            "moe_intermediate_size": 6, "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 2,
            "max_position_embeddings": 16,
        }));
        let neurons = row(&qwen, "mlp.hook_post");
        assert_eq!(neurons[0], ("blocks.{0,2}.mlp.hook_post".to_string(), Ok(12)));
        assert_eq!(neurons[1].0, "blocks.{1,3}.mlp.hook_post");
        assert!(neurons[1].1.is_err_and(|reason| reason.contains("mixture of experts")), "{neurons:?}");
    }
}
