//! What a tokenizer puts in front of every text, and where that is stated.
//!
//! Source: `TokenizersBackend` of transformers 5. An explicit `add_bos_token` of `tokenizer_config.json` decides;
//! where there is none, the post-processor of `tokenizer.json` stands.

use serde_json::Value;
use tokenizers::{Encoding, Token};

use super::{Tokenizer, token_named};

/// Tokens in front of every text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lead {
    /// Their ids: none in families trained without.
    pub ids: Vec<u32>,
    /// Where that is stated.
    pub stated: String,
}

/// `configs` are the files beside `tokenizer.json`. The error is a sentence.
pub(super) fn lead(inner: &tokenizers::Tokenizer, configs: &[Value]) -> Result<Lead, String> {
    let template = template(inner).map_err(|error| error.to_string())?;
    let key = configs.iter().find_map(|config| config.get("add_bos_token")?.as_bool());
    let stated = |adds: bool| format!("`add_bos_token` of tokenizer_config.json is {adds}");
    match key {
        Some(false) => Ok(Lead { ids: Vec::new(), stated: stated(false) }),
        Some(true) if template.is_empty() => {
            let Some(bos) = configs.iter().find_map(|config| token_named(config, "bos_token")) else {
                return Ok(Lead {
                    ids: Vec::new(),
                    stated: format!("{}, but no `bos_token` is named", stated(true)),
                });
            };
            let id = inner.token_to_id(&bos);
            let id =
                id.ok_or_else(|| format!("{}, and its `bos_token` {bos:?} is no piece of it", stated(true)))?;
            Ok(Lead { ids: vec![id], stated: stated(true) })
        }
        Some(true) => Ok(Lead { ids: template, stated: stated(true) }),
        None if template.is_empty() => Ok(Lead {
            ids: template,
            stated: "the post-processor of tokenizer.json puts nothing in front".into(),
        }),
        None => Ok(Lead { ids: template, stated: "the post-processor of tokenizer.json".into() }),
    }
}

/// What the post-processor puts before a text: everything before the first token of the text itself. It is asked about
/// a token by itself, so that no normalizer runs, whatever that would make of a text.
fn template(inner: &tokenizers::Tokenizer) -> tokenizers::Result<Vec<u32>> {
    let text = Encoding::from_tokens(vec![Token::new(0, String::new(), (0, 0))], 0);
    let with = inner.post_process(text, None, true)?;
    let n = with.get_special_tokens_mask().iter().take_while(|&&special| special == 1).count();
    Ok(with.get_ids()[..n].to_vec())
}

impl Tokenizer {
    /// The same with the roles that a GGUF file gives to tokens, by id; `adds_bos` is its
    /// `tokenizer.ggml.add_bos_token`, where it has one.
    pub(in crate::nn) fn with_gguf_roles(
        mut self,
        bos: Option<usize>,
        eos: Option<usize>,
        adds_bos: Option<bool>,
    ) -> Self {
        let id = |id: usize| u32::try_from(id).ok();
        self.forced_bos = bos.and_then(id).or(self.forced_bos).or(eos.and_then(id));
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
