//! Tokens that a tokenizer puts before every text, and where that is stated.
//!
//! Source: `TokenizersBackend` of transformers 5. An explicit `add_bos_token` of `tokenizer_config.json` decides;
//! without it the post-processor of `tokenizer.json` does.

use serde_json::Value;
use tokenizers::{Encoding, Token};

use super::{Tokenizer, token_named};

/// Tokens before every text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lead {
    /// Their ids; empty in families trained without.
    pub ids: Vec<u32>,
    /// Where that is stated.
    pub stated: String,
}

/// `configs` are the files beside `tokenizer.json`. The error is a sentence.
pub(super) fn lead(inner: &tokenizers::Tokenizer, configs: &[Value]) -> Result<Lead, String> {
    let template = template(inner).map_err(|error| error.to_string())?;
    let key = configs.iter().find_map(|config| config.get("add_bos_token")?.as_bool());
    let Some(adds) = key else {
        let nothing = if template.is_empty() { " puts nothing in front" } else { "" };
        return Ok(Lead { ids: template, stated: format!("the post-processor of tokenizer.json{nothing}") });
    };
    let stated = format!("`add_bos_token` of tokenizer_config.json is {adds}");
    if !adds {
        return Ok(Lead { ids: Vec::new(), stated });
    }
    if !template.is_empty() {
        return Ok(Lead { ids: template, stated });
    }
    match configs.iter().find_map(|config| token_named(config, "bos_token")) {
        None => Ok(Lead { ids: Vec::new(), stated: format!("{stated}, but no `bos_token` is named") }),
        Some(bos) => match inner.token_to_id(&bos) {
            Some(id) => Ok(Lead { ids: vec![id], stated }),
            None => Err(format!("{stated}, but its `bos_token` {bos:?} is not in the vocabulary")),
        },
    }
}

/// The ids that the post-processor puts before the first token of a text. It processes a single token here, so that no
/// normalizer runs.
fn template(inner: &tokenizers::Tokenizer) -> tokenizers::Result<Vec<u32>> {
    let text = Encoding::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
    let with = inner.post_process(text, None, true)?;
    let n = with.get_special_tokens_mask().iter().take_while(|&&special| special == 1).count();
    Ok(with.get_ids()[..n].to_vec())
}

impl Tokenizer {
    /// Takes roles of tokens from a GGUF file; `adds_bos` is its `tokenizer.ggml.add_bos_token`, if it has one.
    pub(in crate::nn) fn with_gguf_roles(
        mut self,
        bos: Option<usize>,
        eos: Option<usize>,
        adds_bos: Option<bool>,
    ) -> Self {
        let id = |id: usize| u32::try_from(id).ok();
        self.roles.forced_bos = bos.and_then(id).or(self.roles.forced_bos).or(eos.and_then(id));
        let key = "`tokenizer.ggml.add_bos_token`";
        self.lead.stated = match (adds_bos, self.lead.ids.is_empty()) {
            (Some(true), true) => format!("{key} is true, but no `tokenizer.ggml.bos_token_id` is named"),
            (Some(adds), _) => format!("{key} is {adds}"),
            (None, true) => format!("the file has no {key}, and tokenizers of its kind put nothing in front"),
            (None, false) => format!("the file has no {key}, and tokenizers of its kind put BOS in front"),
        };
        self
    }
}
