//! The interface of a subject model, and its implementation by this program's own runtime.

use rayon::prelude::*;
use serde::Serialize;

use super::{Processing, SubjectError, Wanted, Writing};
use crate::base::{Digest, HookPoint, HookSelector, Matrix, TokenBatch};
use crate::nn::{
    Config, Device, Edit, Family, NnError, NormKind, Output, PrefixCache, Pullback, Request, TokenTree,
    Transformer, Weights, is_embedding, is_linear_in_block,
};

/// Description of a subject model.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SubjectInfo {
    /// Name of the folder or of the hub repository, or `embedded`.
    pub name: String,
    /// Pinned revision of a hub model.
    pub revision: Option<String>,
    /// `model_type` of its configuration.
    pub family: String,
    /// Digest of weights and configuration.
    pub weights_digest: Digest,
    /// Number of blocks.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// MLP neurons of a block; in a mixture of experts, the neurons that one token uses.
    pub d_mlp: usize,
    /// Query heads of a block.
    pub n_heads: usize,
    /// Rows of the embedding; may exceed the tokenizer's size.
    pub vocab: usize,
    /// Longest sequence.
    pub n_ctx: usize,
    /// Whether the user asked for bf16 products inside blocks.
    pub half_products: bool,
    /// Processing of its weights.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub processing: Vec<Processing>,
    /// Whether position 0 is an attention sink, so that short sequences need a token in front.
    pub needs_lead_token: bool,
}

/// A frozen language model.
pub trait SubjectModel: Send + Sync {
    /// Its description.
    fn info(&self) -> &SubjectInfo;

    /// Tokens that it puts in front of every sequence. Their rows and losses are not returned; if there are any, position 0
    /// of a text is not the model's position 0.
    fn prefix(&self) -> &[u32] {
        &[]
    }

    /// A note for tables if there is no model to run, but stored activations: then there are no activations of new texts,
    /// no losses, logits or edits. None for a model.
    fn without_model(&self) -> Option<String> {
        None
    }

    /// Whether the mean over dimensions was subtracted from everything written to the residual stream; none if that would
    /// change what the model computes.
    fn is_centred(&self) -> Option<bool> {
        None
    }

    /// Activations at each hook point, in the order of `hooks`, each `[rows · cols, width]`. Fails on ids, lengths and hook
    /// points that the model lacks.
    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError>;

    /// Activations at the last token of each sequence, `[sequences, width]`; lengths may differ. Fails as
    /// [`SubjectModel::activations`] does, and on an empty sequence.
    fn last_token_activations(&self, sequences: &[&[u32]], hook: HookPoint) -> Result<Matrix, SubjectError>;

    /// Loss in nats of each token after the first of its sequence, `[rows, cols − 1]`; with a prefix, of each token,
    /// `[rows, cols]`.
    fn token_losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Matrix, SubjectError>;

    /// The same losses with the activations at `hook` replaced by `rows` `[rows · cols, width]`.
    fn token_losses_given(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &Matrix,
    ) -> Result<Matrix, SubjectError>;

    /// What is wanted of a pass in which the activations at `given.0` are `given.1` `[rows · cols, width]`. For the
    /// residual stream between blocks only the later blocks are run.
    fn given(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError>;

    /// Prefix caches of the first `kept` positions of each sequence, with the activations at `given.0` replaced by
    /// `given.1` `[rows · cols, width]`, for passes from that hook point. None if the subject has none to share, as on
    /// a GPU.
    fn prefix_caches(
        &self,
        _tokens: &TokenBatch,
        _given: (HookPoint, &Matrix),
        _kept: &[usize],
    ) -> Result<Option<Vec<PrefixCache>>, SubjectError> {
        Ok(None)
    }

    /// [`SubjectModel::given`] of the positions behind those in the prefix caches `past`, one per sequence, or none at
    /// all; `tokens` and `given` are those of these positions alone.
    fn given_behind(
        &self,
        _past: &[&PrefixCache],
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        self.given(tokens, given, wanted)
    }

    /// Logits of [`SubjectModel::given`] at some positions only, `[places.len(), vocab]`. `places` are rows of the given
    /// activations, ascending.
    fn logits_at(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        places: &[usize],
    ) -> Result<Matrix, SubjectError>;

    /// What is wanted of a pass with edits, possibly at several hook points.
    fn edited(&self, tokens: &TokenBatch, edits: &[Edit<'_>], wanted: Wanted)
    -> Result<Matrix, SubjectError>;

    /// The values of [`SubjectModel::given`], and the gradient of Σ weight · value with respect to the given
    /// activations `[rows · cols, width]`. Sequences are run in groups: `weights` gets the index of a group's first
    /// sequence and its values, and returns a weight for each of their entries. A sequence's gradient depends on that
    /// sequence alone.
    fn pullback(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
        weights: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError>;

    /// Tokens that continue `tokens`. Edits apply to every position behind the first `unedited` ones, written ones
    /// included, and are called with one position at a time or several.
    fn continuation(
        &self,
        tokens: &[u32],
        unedited: usize,
        edits: &[Edit<'_>],
        writing: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError>;

    /// Logits at every position, `[rows · cols, vocab]`.
    fn logits(&self, tokens: &TokenBatch) -> Result<Matrix, SubjectError> {
        self.edited(tokens, &[], Wanted::Logits)
    }

    /// Direct logit effects `[n, vocab]` of directions `[n, d_model]` of the residual stream: centred if the final norm
    /// centres, times its gain and the unembedding. Later blocks and the norm's division are left out.
    fn direct_logits(&self, directions: &Matrix) -> Result<Matrix, SubjectError>;

    /// Width of the activations at a hook point.
    fn width(&self, hook: HookPoint) -> Result<usize, SubjectError>;

    /// The hook points that a selector names; `Err` is the first layer that does not exist.
    fn hooks(&self, selector: &HookSelector) -> Result<Vec<HookPoint>, usize> {
        selector.expand(self.info().n_layers)
    }

    /// Its device.
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    /// Fails on ids and lengths that the model lacks.
    fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), SubjectError>;

    /// Fails if the model lacks the hook point.
    fn check_hook(&self, hook: HookPoint) -> Result<(), SubjectError> {
        self.width(hook).map(|_| ())
    }
}

/// A subject model run by [`Transformer`].
#[derive(Debug, Clone)]
pub struct TransformerSubject {
    info: SubjectInfo,
    config: Config,
    /// Shares its storage with `transformer`.
    weights: Weights,
    transformer: Transformer,
}

impl TransformerSubject {
    /// Builds the model from configuration and weights.
    pub fn new(name: &str, config: Config, weights: Weights) -> Result<Self, SubjectError> {
        let transformer = Transformer::new(&config, &weights)?;
        let a = transformer.architecture();
        let mut digester = crate::base::Digester::new("subject");
        digester.digest(&weights.digest()).json(config.fields());
        let info = SubjectInfo {
            name: name.to_string(),
            revision: None,
            family: a.family.to_string(),
            weights_digest: digester.finish(),
            n_layers: a.n_layers,
            d_model: a.d_model,
            d_mlp: a.neurons_at_work(),
            n_heads: a.n_heads,
            vocab: a.vocab,
            n_ctx: a.n_ctx,
            half_products: false,
            processing: Vec::new(),
            needs_lead_token: needs_lead_token(a.family),
        };
        Ok(Self { info, config, weights, transformer })
    }

    /// Sets the hub id, which is the model's name, and the commit at which it was fetched.
    pub fn from_hub(mut self, id: &str, commit: &str) -> Self {
        self.info.name = id.to_string();
        self.info.revision = Some(commit.to_string());
        self
    }

    /// Processes the weights as TransformerLens does, for dictionaries trained on such a model. The digest changes. Must
    /// precede [`TransformerSubject::with_half_products`]. Fails if it would change what the model computes.
    pub fn processed(mut self, processing: &[Processing]) -> Result<Self, SubjectError> {
        if processing.is_empty() {
            return Ok(self);
        }
        if processing.contains(&Processing::CenterWritingWeights) {
            self.transformer = self.transformer.centred()?;
        }
        self.info.processing = processing.to_vec();
        let mut digester = crate::base::Digester::new("processed subject");
        digester.digest(&self.info.weights_digest).json(&processing);
        self.info.weights_digest = digester.finish();
        Ok(self)
    }

    /// Rounds both factors of every product inside blocks to bf16 if the processor has such products; everything else
    /// stays in f32. Relative errors of activations are a few thousandths, so the digest changes.
    pub fn with_half_products(mut self) -> Result<Self, SubjectError> {
        self.transformer = self.transformer.with_half_products()?;
        self.info.half_products = true;
        let mut digester = crate::base::Digester::new("subject with half products");
        digester.digest(&self.info.weights_digest);
        self.info.weights_digest = digester.finish();
        Ok(self)
    }

    /// Moves the model to a device. Results change by rounding only.
    pub fn on_device(mut self, device: &Device) -> Result<Self, SubjectError> {
        self.transformer = self.transformer.on_device(device)?;
        Ok(self)
    }

    /// The runtime.
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// The control model: the entries of every weight and bias of a linear map inside blocks are shuffled within their
    /// tensor. Norms, embeddings and the unembedding stay, so the residual stream has token identities and nothing learnt.
    ///
    /// With `embeddings`, embeddings and unembedding are shuffled too: a token is then a random vector, and similar tokens
    /// are no longer similar. The blocks are the same either way.
    pub fn with_permuted_weights(&self, seed: u64, embeddings: bool) -> Result<Self, SubjectError> {
        let mut weights = self.weights.permuted(seed, is_linear_in_block)?;
        if embeddings {
            weights = weights.permuted(seed, is_embedding)?;
        }
        let permuted = Self::new(&self.info.name, self.config.clone(), weights)?;
        let mut permuted = permuted.processed(&self.info.processing)?;
        if self.info.half_products {
            permuted = permuted.with_half_products()?;
        }
        permuted.info.revision = self.info.revision.clone();
        permuted.on_device(self.transformer.device())
    }
}

/// True for families whose trained checkpoints use position 0 as an attention sink: its residual stream has many times
/// the norm of any other, for every token. Very small models hardly have sinks; a token in front does no harm there.
fn needs_lead_token(family: Family) -> bool {
    // gpt-oss has learned sinks beside the sequence.
    family != Family::GptOss
}

impl SubjectModel for TransformerSubject {
    fn info(&self) -> &SubjectInfo {
        &self.info
    }

    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError> {
        let named = |&hook: &HookPoint| Ok((hook.to_string(), self.width(hook)?));
        let named = hooks.iter().map(named).collect::<Result<Vec<_>, SubjectError>>()?;
        self.run(tokens, Request { hooks, edits: &[], output: Output::Nothing }, &named)
    }

    fn is_centred(&self) -> Option<bool> {
        let centres = self.transformer.architecture().norm == NormKind::Layer;
        centres.then(|| self.info.processing.contains(&Processing::CenterWritingWeights))
    }

    fn last_token_activations(&self, sequences: &[&[u32]], hook: HookPoint) -> Result<Matrix, SubjectError> {
        let width = self.width(hook)?;
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&nth| sequences[nth]);
        let sorted: Vec<&[u32]> = order.iter().map(|&nth| sequences[nth]).collect();
        let trees = TokenTree::of_sorted(&sorted, self.tokens_at_once())?;
        let parts = trees
            .par_iter()
            .with_min_len(self.chunks_per_task())
            .map(|tree| self.transformer.last_token_activations(tree, hook))
            .collect::<Result<Vec<_>, NnError>>()?;
        let mut found = Matrix::zeros(sequences.len(), width);
        for (&nth, row) in order.iter().zip(parts.iter().flat_map(|part| part.data().chunks_exact(width))) {
            found.row_mut(nth).copy_from_slice(row);
        }
        self.not_finite(&hook.to_string(), found.data(), width, 1)?;
        Ok(found)
    }

    fn token_losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Matrix, SubjectError> {
        self.losses_by_chunk(tokens, |_, chunk| self.transformer.losses(chunk, edit))
    }

    fn token_losses_given(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &Matrix,
    ) -> Result<Matrix, SubjectError> {
        let expected = [tokens.rows() * tokens.cols(), self.width(hook)?];
        let got = [rows.rows(), rows.cols()];
        if got != expected {
            return Err(NnError::EditShape { hook, expected, got }.into());
        }
        let entries = self.rows_at_once(tokens) * tokens.cols() * rows.cols();
        self.losses_by_chunk(tokens, |nth, chunk| {
            let start = nth * entries;
            let end = start + chunk.ids().len() * rows.cols();
            self.transformer.losses_given(chunk, hook, &rows.data()[start..end])
        })
    }

    fn given(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        self.run_given(tokens, given, wanted)
    }

    fn prefix_caches(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        kept: &[usize],
    ) -> Result<Option<Vec<PrefixCache>>, SubjectError> {
        self.run_prefix_caches(tokens, given, kept)
    }

    fn given_behind(
        &self,
        past: &[&PrefixCache],
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        match past.is_empty() {
            true => self.run_given(tokens, given, wanted),
            false => self.run_given_behind(past, tokens, given, wanted),
        }
    }

    fn logits_at(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        places: &[usize],
    ) -> Result<Matrix, SubjectError> {
        self.run_logits_at(tokens, given, places)
    }

    fn edited(
        &self,
        tokens: &TokenBatch,
        edits: &[Edit<'_>],
        wanted: Wanted,
    ) -> Result<Matrix, SubjectError> {
        self.run_edited(tokens, edits, wanted)
    }

    fn pullback(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
        weights: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError> {
        self.pull_back(tokens, given, wanted, weights)
    }

    fn continuation(
        &self,
        tokens: &[u32],
        unedited: usize,
        edits: &[Edit<'_>],
        writing: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError> {
        self.continue_text(tokens, unedited, edits, writing)
    }

    fn direct_logits(&self, directions: &Matrix) -> Result<Matrix, SubjectError> {
        Ok(self.transformer.direct_logits(directions)?)
    }

    fn width(&self, hook: HookPoint) -> Result<usize, SubjectError> {
        Ok(self.transformer.width(hook)?)
    }

    fn device(&self) -> &Device {
        self.transformer.device()
    }

    fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), SubjectError> {
        Ok(self.transformer.check_tokens(tokens)?)
    }
}

mod chunks;
mod given;
#[cfg(test)]
mod tests;
