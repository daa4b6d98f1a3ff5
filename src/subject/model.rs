use rayon::prelude::*;
use serde::Serialize;

use super::{Processing, SubjectError};
use crate::base::{Digest, HookPoint, Matrix, TokenBatch};
use crate::nn::{
    Config, Device, Edit, Family, NnError, NormKind, Output, Request, TokenTree, Transformer, Weights,
    copy_entries, is_embedding, is_linear_in_block,
};

/// Tokens that go through the model together: enough for matrix products at full speed, few enough for the
/// intermediate results to stay in the cache. It does not depend on the number of threads, so nor do results.
const TOKENS_AT_ONCE: usize = 512;

/// The same elsewhere than in main memory: enough to fill a GPU, few enough for attention's scores to fit.
const TOKENS_AT_ONCE_ON_DEVICE: usize = 8192;

/// What is known of a subject model.
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
    /// MLP neurons of a block; of a mixture of experts, those that one token goes through.
    pub d_mlp: usize,
    /// Query heads of a block.
    pub n_heads: usize,
    /// Rows of the embedding; ids from the tokenizer's size on never occur.
    pub vocab: usize,
    /// Longest sequence.
    pub n_ctx: usize,
    /// Whether products inside its blocks were asked to be made of numbers rounded to bf16.
    pub half_products: bool,
    /// What was done to its weights first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub processing: Vec<Processing>,
    /// Whether position 0 behaves unlike all others whatever token is there, so that a token is spent on it
    /// before a short sequence is run.
    pub needs_lead_token: bool,
}

/// A frozen language model.
pub trait SubjectModel: Send + Sync {
    /// What is known of it.
    fn info(&self) -> &SubjectInfo;

    /// Tokens that it puts in front of every sequence by itself. Their rows and losses never come out; with any,
    /// position 0 of a text is not the model's position 0.
    fn prefix(&self) -> &[u32] {
        &[]
    }

    /// Whether the mean over dimensions was taken off everything that it writes to its stream; none where that would
    /// change what it computes.
    fn is_centred(&self) -> Option<bool> {
        None
    }

    /// Activations at each hook point, in the order of `hooks`, each `[rows · cols, width]`, sequence after
    /// sequence. Fails on ids, lengths and hook points that the model does not have.
    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError>;

    /// Activations at a hook point at the last token of each sequence, `[sequences, width]`; the sequences may differ
    /// in length. Fails as [`SubjectModel::activations`] does, and on a sequence without tokens.
    fn activations_at_ends(&self, sequences: &[&[u32]], hook: HookPoint) -> Result<Matrix, SubjectError>;

    /// Loss in nats of each token but the first of its sequence, given those before it, `[rows, cols − 1]`; with
    /// a prefix of every token, `[rows, cols]`.
    fn token_losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Matrix, SubjectError>;

    /// The same losses with `rows` `[rows · cols, width]` in place of the activations at `hook`.
    fn token_losses_given(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &Matrix,
    ) -> Result<Matrix, SubjectError>;

    /// Logits at every position, `[rows · cols, vocab]`.
    fn logits(&self, tokens: &TokenBatch) -> Result<Matrix, SubjectError>;

    /// Logits `[n, vocab]` that directions `[n, d_model]` of the residual stream write by themselves: through the
    /// final norm's gain (its mean taken off first where the norm takes off means) and the unembedding. What
    /// later blocks make of a direction is not in it, nor the norm's division by the stream's size.
    fn direct_logits(&self, directions: &Matrix) -> Result<Matrix, SubjectError>;

    /// Width of the activations at a hook point.
    fn width(&self, hook: HookPoint) -> Result<usize, SubjectError>;

    /// Where it computes.
    fn device(&self) -> &Device {
        &Device::Cpu
    }

    /// Fails on ids and lengths that the model does not have, and says where.
    fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), SubjectError>;

    /// Fails where there is no such hook point, and says why.
    fn check_hook(&self, hook: HookPoint) -> Result<(), SubjectError> {
        self.width(hook).map(|_| ())
    }
}

/// A subject model that this program runs itself.
#[derive(Debug, Clone)]
pub struct TransformerSubject {
    info: SubjectInfo,
    config: Config,
    /// Shares its storage with `transformer`.
    weights: Weights,
    transformer: Transformer,
}

impl TransformerSubject {
    /// Puts configuration and weights together.
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

    /// The same model, named with the revision it was fetched at.
    pub fn with_revision(mut self, revision: &str) -> Self {
        self.info.revision = Some(revision.to_string());
        self
    }

    /// The same model with its weights processed as TransformerLens does, for dictionaries that were trained on such a
    /// model. It counts as another model, so its digest is another one. Comes before
    /// [`TransformerSubject::with_half_products`]. Fails where it would change what the model computes.
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

    /// The same model with both factors of every product inside its blocks rounded to bf16, where the processor has
    /// such products; everything else stays in f32. Activations are then off by a few thousandths of their size, so it
    /// counts as another model: its digest is another one.
    pub fn with_half_products(mut self) -> Result<Self, SubjectError> {
        self.transformer = self.transformer.with_half_products()?;
        self.info.half_products = true;
        let mut digester = crate::base::Digester::new("subject with half products");
        digester.digest(&self.info.weights_digest);
        self.info.weights_digest = digester.finish();
        Ok(self)
    }

    /// The same model on a device. What it computes is the same but for rounding.
    pub fn on_device(mut self, device: &Device) -> Result<Self, SubjectError> {
        self.transformer = self.transformer.on_device(device)?;
        Ok(self)
    }

    /// The runtime underneath.
    pub fn transformer(&self) -> &Transformer {
        &self.transformer
    }

    /// The same model with the entries of every linear map inside its blocks, weights and biases, in a random
    /// order within each tensor. Norms, embeddings and the unembedding stay, so token identity still reaches
    /// the residual stream while nothing learnt about it does.
    ///
    /// With `embeddings`, those and the unembedding are permuted as well: a token's identity then reaches the
    /// stream as a random vector, and likeness between tokens not at all. The blocks are the same either way.
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
        permuted = permuted.on_device(self.transformer.device())?;
        Ok(match &self.info.revision {
            Some(revision) => permuted.with_revision(revision),
            None => permuted,
        })
    }

    /// Parts of a batch that go through the model together: whole sequences, in order.
    fn chunks<'a>(
        &self,
        tokens: &'a TokenBatch,
    ) -> impl IndexedParallelIterator<Item = Option<TokenBatch>> + 'a {
        let cols = tokens.cols();
        let ids = tokens.ids().par_chunks(self.rows_at_once(tokens) * cols);
        ids.with_min_len(self.parts_of_a_task()).map(move |ids| TokenBatch::new(ids.to_vec(), cols))
    }

    fn tokens_at_once(&self) -> usize {
        if self.transformer.device().is_cpu() { TOKENS_AT_ONCE } else { TOKENS_AT_ONCE_ON_DEVICE }
    }

    fn rows_at_once(&self, tokens: &TokenBatch) -> usize {
        (self.tokens_at_once() / tokens.cols()).max(1)
    }

    /// Parts that one thread runs at least. A device has threads of its own: parts follow each other there.
    fn parts_of_a_task(&self) -> usize {
        if self.transformer.device().is_cpu() { 1 } else { usize::MAX }
    }

    fn not_finite(&self, what: &str, entries: &[f32], width: usize, cols: usize) -> Result<(), SubjectError> {
        match entries.iter().position(|entry| !entry.is_finite()) {
            None => Ok(()),
            Some(at) => Err(SubjectError::NotFinite {
                model: self.info.name.clone(),
                hook: what.to_string(),
                row: at / width / cols,
                col: at / width % cols,
                value: entries[at],
            }),
        }
    }

    /// Losses `[rows, cols − 1]` of the parts of a batch, each known by its place.
    fn losses_by_chunk(
        &self,
        tokens: &TokenBatch,
        run: impl Fn(usize, &TokenBatch) -> Result<Vec<f32>, NnError> + Sync,
    ) -> Result<Matrix, SubjectError> {
        let cols = tokens.cols();
        if cols < 2 {
            return Err(SubjectError::TooShort { cols });
        }
        self.transformer.check_tokens(tokens)?;
        let parts = self
            .chunks(tokens)
            .enumerate()
            .map(|(nth, chunk)| chunk.map_or(Ok(Vec::new()), |chunk| run(nth, &chunk)))
            .collect::<Result<Vec<_>, NnError>>()?;
        let losses = parts.concat();
        self.not_finite("losses", &losses, 1, cols - 1)?;
        Ok(Matrix::from_vec(tokens.rows(), cols - 1, losses).unwrap_or_else(|| Matrix::zeros(0, cols - 1)))
    }

    /// Runs every part of a batch and fills one matrix for each width.
    fn fill(
        &self,
        tokens: &TokenBatch,
        widths: &[usize],
        run: impl Fn(&TokenBatch, &mut [&mut [f32]]) -> Result<(), NnError> + Sync,
    ) -> Result<Vec<Matrix>, SubjectError> {
        self.transformer.check_tokens(tokens)?;
        let n = tokens.rows() * tokens.cols();
        let part = self.rows_at_once(tokens) * tokens.cols();
        let mut out: Vec<Matrix> = widths.iter().map(|&width| Matrix::zeros(n, width)).collect();
        let mut slots: Vec<Vec<&mut [f32]>> = (0..n.div_ceil(part)).map(|_| Vec::new()).collect();
        for (matrix, width) in out.iter_mut().zip(widths) {
            for (slot, rows) in slots.iter_mut().zip(matrix.data_mut().chunks_mut(part * width)) {
                slot.push(rows);
            }
        }
        self.chunks(tokens)
            .zip(slots)
            .try_for_each(|(chunk, mut slot)| chunk.map_or(Ok(()), |chunk| run(&chunk, &mut slot)))?;
        Ok(out)
    }
}

/// Trained checkpoints of these families park unused attention on position 0, whose residual stream then has
/// many times the norm of any other, whatever token stands there. Very small models hardly do; there a token
/// spent on position 0 does no harm.
fn needs_lead_token(family: Family) -> bool {
    match family {
        Family::GptNeox | Family::Gpt2 | Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
            true
        }
        Family::Gemma2 | Family::Gemma3 | Family::Phi3 | Family::Olmo2 => true,
        Family::GptNeo | Family::Gptj | Family::Opt | Family::Phi | Family::Falcon | Family::Bloom => true,
        Family::StableLm | Family::StarCoder2 | Family::GptBigCode => true,
        Family::Mpt | Family::Cohere | Family::Nemotron => true,
        Family::Gemma | Family::SmolLm3 | Family::Granite | Family::Olmo | Family::Olmo3 => true,
        Family::Mixtral | Family::Qwen3Moe | Family::Olmoe => true,
        // It has sinks beside the sequence, so that no position needs to be one.
        Family::GptOss => false,
    }
}

impl SubjectModel for TransformerSubject {
    fn info(&self) -> &SubjectInfo {
        &self.info
    }

    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError> {
        let widths = hooks.iter().map(|&hook| self.width(hook)).collect::<Result<Vec<_>, _>>()?;
        let request = Request { hooks, edit: None, output: Output::Nothing };
        let filled = self.fill(tokens, &widths, |chunk, slots| {
            let pass = self.transformer.forward(chunk, request)?;
            for (slot, activation) in slots.iter_mut().zip(&pass.activations) {
                copy_entries(activation, slot)?;
            }
            Ok(())
        })?;
        for ((matrix, hook), &width) in filled.iter().zip(hooks).zip(&widths) {
            self.not_finite(&hook.to_string(), matrix.data(), width, tokens.cols())?;
        }
        Ok(filled)
    }

    fn is_centred(&self) -> Option<bool> {
        let takes_means_off = self.transformer.architecture().norm == NormKind::Layer;
        takes_means_off.then(|| self.info.processing.contains(&Processing::CenterWritingWeights))
    }

    fn activations_at_ends(&self, sequences: &[&[u32]], hook: HookPoint) -> Result<Matrix, SubjectError> {
        let width = self.width(hook)?;
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        order.sort_by_key(|&nth| sequences[nth]);
        let sorted: Vec<&[u32]> = order.iter().map(|&nth| sequences[nth]).collect();
        let trees = TokenTree::of_sorted(&sorted, self.tokens_at_once())?;
        let parts = trees
            .par_iter()
            .with_min_len(self.parts_of_a_task())
            .map(|tree| self.transformer.activations_at_ends(tree, hook))
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

    fn logits(&self, tokens: &TokenBatch) -> Result<Matrix, SubjectError> {
        let request = Request { hooks: &[], edit: None, output: Output::Logits };
        let mut filled = self.fill(tokens, &[self.info.vocab], |chunk, slots| {
            let pass = self.transformer.forward(chunk, request)?;
            for (slot, logits) in slots.iter_mut().zip(&pass.output) {
                copy_entries(logits, slot)?;
            }
            Ok(())
        })?;
        let logits = filled.pop().unwrap_or_else(|| Matrix::zeros(0, self.info.vocab));
        self.not_finite("logits", logits.data(), self.info.vocab, tokens.cols())?;
        Ok(logits)
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

#[cfg(test)]
mod tests;
