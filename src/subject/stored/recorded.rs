//! What `harvest` records beside activations, so that a suite can run on the file alone.

use serde::{Deserialize, Serialize};

use crate::base::{Digest, TokenBatch};
use crate::subject::Processing;

/// Key of the record in a safetensors file's metadata.
pub const RECORDED: &str = "autointerp";

/// Name of the tensor or column of token ids `[sequences, positions]`.
pub const TOKEN_IDS: &str = "token_ids";

/// Version of the record.
const VERSION: u32 = 1;

/// Most token ids kept in the record; more are a tensor, because headers are limited to 100 MB.
const MAX_RECORDED_IDS: usize = if cfg!(test) { 1000 } else { 4 << 20 };

/// How activations were made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Version of this record.
    pub version: u32,
    /// Name of the model.
    pub model: String,
    /// Commit of a hub model.
    pub revision: Option<String>,
    /// Digest of the model's weights and configuration.
    pub weights_digest: Option<Digest>,
    /// Whether products inside blocks were rounded to bf16.
    pub half_products: bool,
    /// Processing of the weights.
    pub processing: Vec<Processing>,
    /// Whether the mean over dimensions was subtracted from everything written to the residual stream.
    pub centred: Option<bool>,
    /// Tokens in front of every sequence; none if the sequences were given as token ids.
    pub prefix: Option<Vec<u32>>,
    /// Path of the tokenizer, or `embedded`.
    pub tokenizer: Option<String>,
    /// Digest of the tokenizer.
    pub tokenizer_digest: Option<Digest>,
    /// Sequences and positions of `token_ids`.
    pub shape: [usize; 2],
    /// Token ids, one sequence after another; empty if they are a tensor of the file.
    pub token_ids: Vec<u32>,
}

impl Recorded {
    /// Adds the token ids, unless they are too many for a header.
    pub fn with_tokens(mut self, tokens: &TokenBatch) -> Self {
        self.version = VERSION;
        self.shape = [tokens.rows(), tokens.cols()];
        self.token_ids = Vec::new();
        if tokens.ids().len() <= MAX_RECORDED_IDS {
            self.token_ids = tokens.ids().to_vec();
        }
        self
    }

    /// Whether the file must hold the token ids as a tensor.
    pub fn needs_token_tensor(&self) -> bool {
        self.token_ids.is_empty()
    }

    /// Whether another file's sequences were made in the same way and are as long.
    pub fn is_like(&self, other: &Self) -> bool {
        self.model == other.model
            && self.weights_digest == other.weights_digest
            && self.half_products == other.half_products
            && self.tokenizer_digest == other.tokenizer_digest
            && self.prefix == other.prefix
            && self.shape[1] == other.shape[1]
    }

    /// The record as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a record. The error is the end of a sentence that begins with the file.
    pub fn parse(json: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let invalid = |error: serde_json::Error| {
            format!("has a damaged record of its tokens in its metadata ({error}); harvest it again")
        };
        let Version { version } = serde_json::from_str(json).map_err(invalid)?;
        if version != VERSION {
            return Err(format!(
                "has version {version} of the record of its tokens, and this program reads version {VERSION}: harvest it \
                 again, or use the program that wrote it"
            ));
        }
        serde_json::from_str(json).map_err(invalid)
    }
}
