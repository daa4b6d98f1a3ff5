use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Device, Tensor};

use self::ends::TreePass;
use super::architecture::{Architecture, Gating, NormKind, Positions, Residual};
use super::keys_values::KeysValues;
use super::mixture::Mixture;
use super::ops::{self, AttentionRule, Heads, PositionTables};
use super::rows::Rows;
use super::{Config, NnError, Weights, families};
use crate::base::{HookPoint, Matrix, Site, TokenBatch};
use crate::linalg::{HalfPanels, has_half_products};

/// y = x·Wᵀ + b, with W `[out, in]`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub weight: Rows,
    pub bias: Option<Tensor>,
    /// The weight rounded to bf16, for products of such numbers where those are wanted.
    pub half: Option<Arc<HalfPanels>>,
}

impl Linear {
    pub fn new(weight: Rows, bias: Option<Tensor>) -> Self {
        Self { weight, bias, half: None }
    }

    /// The same with its outputs in another order.
    pub fn in_order(&self, order: &[u32]) -> Result<Self, NnError> {
        let weight = self.weight.in_order(order)?;
        let select =
            |bias: &Tensor| bias.index_select(&Tensor::from_slice(order, order.len(), bias.device())?, 0);
        Ok(Self::new(weight, self.bias.as_ref().map(select).transpose()?))
    }

    /// Makes it take products of bf16.
    fn round(&mut self) -> Result<(), NnError> {
        let (entries, width) = self.weight.to_f32()?;
        let mut half = HalfPanels::default();
        half.fill(&entries, width);
        self.half = Some(Arc::new(half));
        Ok(())
    }

    /// Moves it; products of bf16 are main memory's alone.
    fn move_to(&mut self, device: &Device) -> candle_core::Result<()> {
        self.weight = self.weight.to_device(device)?;
        if !device.is_cpu() {
            self.half = None;
        }
        self.bias.iter_mut().try_for_each(|bias| move_tensor(bias, device))
    }
}

fn move_tensor(tensor: &mut Tensor, device: &Device) -> candle_core::Result<()> {
    *tensor = tensor.to_device(device)?;
    Ok(())
}

/// Weight and, in most layer norms, bias `[d_model]`. Norms of heads may have `[d_head]` for all heads alike,
/// `[heads, d_head]` for each head by itself, or `[heads · d_head]` for all heads together.
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Norm {
    fn move_to(&mut self, device: &Device) -> candle_core::Result<()> {
        move_tensor(&mut self.weight, device)?;
        self.bias.iter_mut().try_for_each(|bias| move_tensor(bias, device))
    }
}

/// How a block's queries, keys and values are projected.
#[derive(Debug, Clone)]
pub(super) enum Projections {
    /// One map; its rows are query, key and value of head 0, then of head 1, and so on.
    FusedByHead(Linear),
    /// One map; its rows are all queries, then all keys, then all values.
    FusedByKind(Linear),
    /// A map each.
    Separate { queries: Linear, keys: Linear, values: Linear },
}

#[derive(Debug, Clone)]
pub(super) struct Mlp {
    /// Where there is one, neurons are act(gate)·up, otherwise act(up).
    pub gate: Option<Linear>,
    pub up: Linear,
    pub down: Linear,
}

impl Mlp {
    /// Neurons `[N, d_mlp]` from normed `[N, d_model]`.
    pub fn neurons(&self, normed: &Tensor, a: &Architecture) -> candle_core::Result<Tensor> {
        let Some(gate) = &self.gate else { return ops::linear(normed, &self.up, Some(a.activation)) };
        match a.gating {
            Gating::Product => {
                let [gate, up] = ops::linear_each(normed, [(gate, Some(a.activation)), (&self.up, None)])?;
                ops::gated(gate, &up)
            }
            Gating::Clamped { slope, limit } => {
                let [gate, up] = ops::linear_each(normed, [(gate, None), (&self.up, None)])?;
                let (gate, up) = (gate.minimum(limit)?, up.clamp(-limit, limit)?);
                let sigmoid = ((&gate * -slope)?.exp()? + 1.0)?.recip()?;
                (gate * sigmoid)? * (up + 1.0)?
            }
        }
    }

    fn maps(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }
}

/// What a block does beside attention.
#[derive(Debug, Clone)]
pub(super) enum FeedForward {
    Dense(Mlp),
    Mixture(Mixture),
}

impl From<Mlp> for FeedForward {
    fn from(mlp: Mlp) -> Self {
        Self::Dense(mlp)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Of the residual stream before attention.
    pub attention_norm: Option<Norm>,
    pub projections: Projections,
    /// Of queries and keys before they are rotated.
    pub query_norm: Option<Norm>,
    pub key_norm: Option<Norm>,
    /// Of each query head, a score that joins the softmax and whose weight goes nowhere, `[n_heads]`.
    pub sinks: Option<Tensor>,
    pub attention_out: Linear,
    /// Of what attention adds to the residual stream.
    pub attention_post_norm: Option<Norm>,
    /// Of the residual stream before the MLP.
    pub mlp_norm: Option<Norm>,
    pub mlp: FeedForward,
    /// Of what the MLP adds to the residual stream.
    pub mlp_post_norm: Option<Norm>,
    /// Of the residual stream that leaves the block.
    pub stream_norm: Option<Norm>,
}

impl Block {
    /// A block without norms.
    pub fn plain(projections: Projections, attention_out: Linear, mlp: impl Into<FeedForward>) -> Self {
        Self {
            attention_norm: None,
            projections,
            query_norm: None,
            key_norm: None,
            sinks: None,
            attention_out,
            attention_post_norm: None,
            mlp_norm: None,
            mlp: mlp.into(),
            mlp_post_norm: None,
            stream_norm: None,
        }
    }

    /// Every linear map.
    fn maps(&mut self) -> Vec<&mut Linear> {
        let mut maps = match &mut self.projections {
            Projections::FusedByHead(map) | Projections::FusedByKind(map) => vec![map],
            Projections::Separate { queries, keys, values } => vec![queries, keys, values],
        };
        maps.push(&mut self.attention_out);
        match &mut self.mlp {
            FeedForward::Dense(mlp) => maps.extend(mlp.maps()),
            FeedForward::Mixture(mixture) => {
                maps.push(&mut mixture.router);
                maps.extend(mixture.experts.iter_mut().flat_map(Mlp::maps));
            }
        }
        maps
    }

    /// Every norm.
    fn norms(&mut self) -> impl Iterator<Item = &mut Norm> {
        let of_attention = [&mut self.attention_norm, &mut self.query_norm, &mut self.key_norm];
        let of_mlp = [&mut self.attention_post_norm, &mut self.mlp_norm, &mut self.mlp_post_norm];
        of_attention.into_iter().chain(of_mlp).chain([&mut self.stream_norm]).flatten()
    }
}

/// Every weight of a model in its place.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    pub embedding: Rows,
    pub position_embedding: Option<Tensor>,
    /// Of embeddings, positions included, before the first block.
    pub embedding_norm: Option<Norm>,
    pub blocks: Vec<Block>,
    pub final_norm: Option<Norm>,
    pub unembedding: Linear,
}

impl Parts {
    /// Embeddings, blocks, a norm and the unembedding, and nothing else.
    pub fn plain(embedding: Rows, blocks: Vec<Block>, final_norm: Norm, unembedding: Linear) -> Self {
        Self { final_norm: Some(final_norm), ..Self::without_norm(embedding, blocks, unembedding) }
    }

    /// The same without a norm after the last block.
    pub fn without_norm(embedding: Rows, blocks: Vec<Block>, unembedding: Linear) -> Self {
        Self {
            embedding,
            position_embedding: None,
            embedding_norm: None,
            blocks,
            final_norm: None,
            unembedding,
        }
    }
}

/// What replaces an activation during a forward pass.
#[derive(Clone, Copy)]
pub struct Edit<'a> {
    /// Where.
    pub hook: HookPoint,
    /// Changes `[sequences · positions, width]` in place, sequence after sequence.
    ///
    /// It is called on whole sequences, but maybe several times for one batch and from several threads; row
    /// number modulo the sequence length is the position.
    pub apply: &'a (dyn Fn(&mut Matrix) + Sync),
}

/// How far a forward pass goes beyond the hook points asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// It stops after the last hook point.
    Nothing,
    /// Output of the final norm `[batch · positions, d_model]`.
    FinalNorm,
    /// Logits at every position `[batch · positions, vocab]`.
    Logits,
}

/// What is wanted of a forward pass.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Activations to return, in this order.
    pub hooks: &'a [HookPoint],
    /// A change on the way; where its hook point is also asked for, the changed activation is returned.
    pub edit: Option<Edit<'a>>,
    /// What to compute at the end.
    pub output: Output,
}

/// What a forward pass gives.
#[derive(Debug, Clone)]
pub struct ForwardPass {
    /// `[batch · positions, width]` for each hook point, in the order asked.
    pub activations: Vec<Tensor>,
    /// What [`Output`] asked for.
    pub output: Option<Tensor>,
}

/// What positions do in layers that see everything and in those with a window.
type SharedTables = Arc<[PositionTables; 2]>;

/// Tables that were computed, with what [`Rotary::regime`](super::Rotary::regime) says of the sequences they are
/// for. Those of one regime grow with the longest sequence so far.
type KeptTables = Vec<([usize; 2], SharedTables)>;

/// Regimes whose tables are kept: enough for all but dynamic scaling, where every length has its own.
const REGIMES_KEPT: usize = 4;

/// A decoder-only language model.
#[derive(Debug, Clone)]
pub struct Transformer {
    architecture: Architecture,
    parts: Parts,
    tables: Arc<Mutex<KeptTables>>,
}

/// Logits that a loss holds in memory at once, 64 MB of them: the unembedding is read once for all of them.
const LOGITS_AT_ONCE: usize = 1 << 24;

/// What goes along with the residual stream through one forward pass.
struct Pass<'a> {
    /// Sequences.
    batch: usize,
    /// Of each sequence in `past`, of each length in `tree`, or one for all.
    tables: Vec<SharedTables>,
    /// Of each sequence, where earlier positions were read before.
    past: Option<&'a mut [KeysValues]>,
    /// What rows are of each other, where they are no equally long sequences.
    tree: Option<TreePass>,
    taps: Taps<'a>,
}

/// Collects activations on the way and applies the edit.
struct Taps<'a> {
    request: Request<'a>,
    found: Vec<Option<Tensor>>,
}

impl<'a> Taps<'a> {
    fn new(request: Request<'a>) -> Self {
        Self { request, found: vec![None; request.hooks.len()] }
    }

    /// Passes an activation `[batch · positions, width]` through: edited if asked, kept if wanted.
    fn at(&mut self, hook: HookPoint, x: Tensor) -> Result<Tensor, NnError> {
        let x = match self.request.edit {
            Some(edit) if edit.hook == hook => edited(&x, edit)?,
            _ => x,
        };
        for (slot, _) in self.found.iter_mut().zip(self.request.hooks).filter(|(_, wanted)| **wanted == hook)
        {
            *slot = Some(x.clone());
        }
        Ok(x)
    }

    /// True when nothing more is needed.
    fn done(&self) -> bool {
        self.request.output == Output::Nothing && self.found.iter().all(Option::is_some)
    }

    fn finish(self, output: Option<Tensor>) -> ForwardPass {
        ForwardPass { activations: self.found.into_iter().flatten().collect(), output }
    }
}

fn edited(x: &Tensor, edit: Edit<'_>) -> Result<Tensor, NnError> {
    let (rows, cols) = x.dims2()?;
    let wrong = |got| NnError::EditShape { hook: edit.hook, expected: [rows, cols], got };
    let entries = x.flatten_all()?.to_vec1::<f32>()?;
    let mut matrix = Matrix::from_vec(rows, cols, entries).ok_or_else(|| wrong([0, 0]))?;
    (edit.apply)(&mut matrix);
    if (matrix.rows(), matrix.cols()) != (rows, cols) {
        return Err(wrong([matrix.rows(), matrix.cols()]));
    }
    Ok(Tensor::from_vec(matrix.into_vec(), (rows, cols), x.device())?)
}

impl Transformer {
    /// Puts the weights in their places, checking that each is there and has the shape that the configuration
    /// implies.
    pub fn new(config: &Config, weights: &Weights) -> Result<Self, NnError> {
        let config = &config.held_to(weights.len());
        let architecture = families::architecture(config)?;
        let parts = families::parts(&architecture, config, weights)?;
        Ok(Self { architecture, parts, tables: Arc::default() })
    }

    /// The same model with both factors of every product with a weight inside its blocks rounded to bf16; sums,
    /// the residual stream, norms, attention and the unembedding stay in f32. It changes nothing where the processor
    /// has no such products or the weights are elsewhere.
    pub fn with_half_products(mut self) -> Result<Self, NnError> {
        if has_half_products() && self.device().is_cpu() {
            self.parts.blocks.iter_mut().flat_map(Block::maps).try_for_each(Linear::round)?;
        }
        Ok(self)
    }

    /// The same model with its weights on a device. Elsewhere than in main memory every operation is one of candle's,
    /// so numbers differ by rounding.
    pub fn on_device(mut self, device: &Device) -> Result<Self, NnError> {
        let parts = &mut self.parts;
        parts.embedding = parts.embedding.to_device(device)?;
        parts.position_embedding.iter_mut().try_for_each(|table| move_tensor(table, device))?;
        for block in &mut parts.blocks {
            block.maps().into_iter().try_for_each(|map| map.move_to(device))?;
            block.norms().try_for_each(|norm| norm.move_to(device))?;
            block.sinks.iter_mut().try_for_each(|sinks| move_tensor(sinks, device))?;
        }
        let outside = [&mut parts.embedding_norm, &mut parts.final_norm];
        outside.into_iter().flatten().try_for_each(|norm| norm.move_to(device))?;
        parts.unembedding.move_to(device)?;
        Ok(self)
    }

    /// The description that the forward pass follows.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.parts.embedding.device()
    }

    /// Fails where the model has no such hook point, and says why.
    pub fn check_hook(&self, hook: HookPoint) -> Result<(), NnError> {
        let HookPoint::Block { layer, site } = hook else { return Ok(()) };
        let n_layers = self.architecture.n_layers;
        if layer >= n_layers {
            return Err(NnError::NoSuchLayer { hook, n_layers });
        }
        if site == Site::ResidMid && self.architecture.residual == Residual::Parallel {
            return Err(NnError::NoResidMid { hook });
        }
        if site == Site::MlpPost && matches!(self.parts.blocks[layer].mlp, FeedForward::Mixture(_)) {
            return Err(NnError::NoNeurons { hook });
        }
        Ok(())
    }

    /// Width of the activations at a hook point.
    pub fn width(&self, hook: HookPoint) -> Result<usize, NnError> {
        self.check_hook(hook)?;
        let a = &self.architecture;
        Ok(match hook {
            HookPoint::Block { site: Site::AttnZ, .. } => a.n_heads * a.d_head,
            HookPoint::Block { site: Site::MlpPost, .. } => a.d_mlp,
            _ => a.d_model,
        })
    }

    /// Fails where an id is no row of the embedding or the sequences are too long.
    pub fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), NnError> {
        let cols = tokens.cols();
        self.check_ids(tokens.ids(), cols, |at| [at / cols, at % cols])
    }

    /// The same of ids in sequences of at most `longest`; `place` gives an id's row and column.
    fn check_ids(
        &self,
        ids: &[u32],
        longest: usize,
        place: impl Fn(usize) -> [usize; 2],
    ) -> Result<(), NnError> {
        let Architecture { n_ctx, vocab, .. } = self.architecture;
        if longest > n_ctx {
            return Err(NnError::TooLong { cols: longest, n_ctx });
        }
        match ids.iter().position(|&id| id as usize >= vocab) {
            None => Ok(()),
            Some(at) => {
                let [row, col] = place(at);
                Err(NnError::TokenOutOfVocabulary { id: ids[at], row, col, vocab })
            }
        }
    }

    /// Runs tokens `[batch, positions]` through the model.
    ///
    /// Fails on ids outside the vocabulary, sequences that are too long and hook points that do not exist.
    pub fn forward(&self, tokens: &TokenBatch, request: Request<'_>) -> Result<ForwardPass, NnError> {
        self.check_tokens(tokens)?;
        let ids = Tensor::from_slice(tokens.ids(), (tokens.rows(), tokens.cols()), self.device())?;
        self.forward_ids(&ids, request, None)
    }

    /// Runs the next tokens `[sequences, positions]` of sequences whose earlier positions are in `past`, one for
    /// each, and adds theirs. The sequences may be of different lengths so far. Returns the final norm's output,
    /// `[sequences · positions, d_model]`.
    ///
    /// Weights may not be variables: this is for inference.
    ///
    /// Fails on ids outside the vocabulary and where a sequence would become too long.
    pub fn read_on(&self, tokens: &TokenBatch, past: &mut [KeysValues]) -> Result<Matrix, NnError> {
        self.check_tokens(tokens)?;
        let longest = past.iter().map(KeysValues::positions).max().unwrap_or(0) + tokens.cols();
        if longest > self.architecture.n_ctx {
            return Err(NnError::TooLong { cols: longest, n_ctx: self.architecture.n_ctx });
        }
        if past.len() != tokens.rows() {
            let counts = format!("{} sequences with the past of {}", tokens.rows(), past.len());
            return Err(candle_core::Error::msg(counts).into());
        }
        if !past.iter().all(|past| self.goes_on(past, tokens.cols())) {
            return self.read_again(tokens, past);
        }
        let ids = Tensor::from_slice(tokens.ids(), (tokens.rows(), tokens.cols()), self.device())?;
        let request = Request { hooks: &[], edit: None, output: Output::FinalNorm };
        let done = ops::on_all_threads(|| self.forward_ids(&ids, request, Some(&mut *past)))?.output;
        past.iter_mut().enumerate().for_each(|(row, past)| past.advance(tokens.row(row)));
        matrix_of(done)
    }

    /// Whether the keys of a sequence serve it with so many more positions.
    fn goes_on(&self, past: &KeysValues, more: usize) -> bool {
        let (before, now) = (past.rotated_for(), past.positions() + more);
        let rotaries = self.architecture.rotaries();
        past.positions() == 0 || rotaries.into_iter().flatten().all(|rotary| rotary.keeps_keys(before, now))
    }

    /// [`Transformer::read_on`] where some sequences cannot go on from the keys they have: those are read again from
    /// their first token, so that the result is that of reading them at once.
    fn read_again(&self, tokens: &TokenBatch, past: &mut [KeysValues]) -> Result<Matrix, NnError> {
        let width = self.architecture.d_model;
        let mut rows = Matrix::zeros(tokens.rows() * tokens.cols(), width);
        let each = rows.data_mut().chunks_exact_mut(tokens.cols() * width);
        for (row, (past, out)) in past.iter_mut().zip(each).enumerate() {
            let mut ids = tokens.row(row).to_vec();
            if !self.goes_on(past, ids.len()) {
                ids.splice(0..0, past.ids().iter().copied());
                *past = KeysValues::new(self);
            }
            let length = ids.len();
            let alone = TokenBatch::new(ids, length)
                .ok_or_else(|| candle_core::Error::msg("a sequence without tokens"))?;
            let normed = self.read_on(&alone, std::slice::from_mut(past))?;
            out.copy_from_slice(&normed.data()[normed.data().len() - out.len()..]);
        }
        Ok(rows)
    }

    /// Logits `[rows, vocab]` of outputs of the final norm, `[rows, d_model]` row after row.
    pub fn logits_of(&self, normed: &[f32]) -> Result<Matrix, NnError> {
        let width = self.architecture.d_model;
        let normed = Tensor::from_slice(normed, (normed.len() / width, width), self.device())?;
        matrix_of(Some(ops::on_all_threads(|| self.unembed(&normed))?))
    }

    /// Logits `[n, vocab]` that directions `[n, d_model]` of the residual stream write by themselves: each goes
    /// through the final norm's gain, its mean taken off first where that norm takes off means, through the
    /// unembedding and the factor on logits. Neither the norm's division by the stream's own size, nor a bias, nor
    /// a cap on logits is in it.
    pub fn direct_logits(&self, directions: &Matrix) -> Result<Matrix, NnError> {
        let shape = (directions.rows(), directions.cols());
        let x = Tensor::from_slice(directions.data(), shape, self.device())?;
        let x = match (&self.parts.final_norm, self.architecture.norm) {
            (None, _) => x,
            (Some(norm), NormKind::Layer) => {
                x.broadcast_sub(&x.mean_keepdim(1)?)?.broadcast_mul(&norm.weight)?
            }
            (Some(norm), NormKind::Rms) => x.broadcast_mul(&norm.weight)?,
        };
        let map = Linear::new(self.parts.unembedding.weight.clone(), None);
        matrix_of(Some(scaled(ops::linear(&x, &map, None)?, self.architecture.logit_scale)?))
    }

    /// Logits `[batch, positions, vocab]` of ids `[batch, positions]` (u32), differentiable with respect to
    /// weights that are candle variables.
    pub fn logits(&self, ids: &Tensor) -> Result<Tensor, NnError> {
        let (batch, positions) = ids.dims2()?;
        let request = Request { hooks: &[], edit: None, output: Output::Logits };
        match self.forward_ids(ids, request, None)?.output {
            Some(logits) => Ok(logits.reshape((batch, positions, self.architecture.vocab))?),
            None => Err(candle_core::Error::msg("the pass ended without logits").into()),
        }
    }

    /// Logits `[rows, vocab]` of outputs of the final norm `[rows, d_model]`.
    pub fn unembed(&self, normed: &Tensor) -> Result<Tensor, NnError> {
        let logits = ops::linear(normed, &self.parts.unembedding, None)?;
        let logits = scaled(logits, self.architecture.logit_scale)?;
        match self.architecture.logit_cap {
            Some(cap) => Ok(((logits / cap)?.tanh()? * cap)?),
            None => Ok(logits),
        }
    }

    /// Losses in nats of every token but the first of each sequence given those before it,
    /// `[batch · (positions − 1)]`, with a change on the way if there is an edit.
    pub fn losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Vec<f32>, NnError> {
        let request = Request { hooks: &[], edit, output: Output::FinalNorm };
        match self.forward(tokens, request)?.output {
            Some(normed) => self.losses_of(&normed, tokens),
            None => Ok(Vec::new()),
        }
    }

    /// The same losses with `rows` `[batch · positions, width]` in place of the activations at `hook`. From the
    /// residual stream between blocks only what comes after it is run.
    pub fn losses_given(
        &self,
        tokens: &TokenBatch,
        hook: HookPoint,
        rows: &[f32],
    ) -> Result<Vec<f32>, NnError> {
        let layer = match hook {
            HookPoint::Block { layer, site: Site::ResidPre } => layer,
            HookPoint::Block { layer, site: Site::ResidPost } => layer + 1,
            _ => {
                let apply = |found: &mut Matrix| found.data_mut().copy_from_slice(rows);
                return self.losses(tokens, Some(Edit { hook, apply: &apply }));
            }
        };
        self.check_hook(hook)?;
        self.check_tokens(tokens)?;
        let shape = (tokens.rows() * tokens.cols(), self.architecture.d_model);
        let x = Tensor::from_slice(rows, shape, self.device())?;
        let request = Request { hooks: &[], edit: None, output: Output::FinalNorm };
        let tables = vec![self.tables(tokens.cols())];
        let pass = Pass { batch: tokens.rows(), tables, past: None, tree: None, taps: Taps::new(request) };
        let pass = self.layers_from(layer, x, pass)?;
        pass.output.map_or(Ok(Vec::new()), |normed| self.losses_of(&normed, tokens))
    }

    /// Losses from the final norm's output `[batch · positions, d_model]`.
    fn losses_of(&self, normed: &Tensor, tokens: &TokenBatch) -> Result<Vec<f32>, NnError> {
        let (batch, positions) = (tokens.rows(), tokens.cols());
        let width = self.architecture.d_model;
        let predicting = normed
            .reshape((batch, positions, width))?
            .narrow(1, 0, positions - 1)?
            .reshape((batch * (positions - 1), width))?;
        let targets: Vec<u32> = (0..batch).flat_map(|row| tokens.row(row)[1..].iter().copied()).collect();
        let mut losses = Vec::with_capacity(targets.len());
        let step = (LOGITS_AT_ONCE / self.architecture.vocab).max(1);
        for start in (0..targets.len()).step_by(step) {
            let count = step.min(targets.len() - start);
            let logits = self.unembed(&predicting.narrow(0, start, count)?)?; // [count, vocab]
            losses.extend(ops::cross_entropies(&logits, &targets[start..start + count])?);
        }
        Ok(losses)
    }

    /// The forward pass. `ids` is `[batch, positions]` (u32); below, N = batch · positions.
    fn forward_ids(
        &self,
        ids: &Tensor,
        request: Request<'_>,
        past: Option<&mut [KeysValues]>,
    ) -> Result<ForwardPass, NnError> {
        for hook in request.hooks.iter().copied().chain(request.edit.map(|edit| edit.hook)) {
            self.check_hook(hook)?;
        }
        let (batch, positions) = ids.dims2()?;
        let firsts: Option<Vec<usize>> =
            past.as_ref().map(|past| past.iter().map(KeysValues::positions).collect());
        let tables = match &firsts {
            None => vec![self.tables(positions)],
            Some(firsts) => firsts.iter().map(|first| self.tables(first + positions)).collect(),
        };
        let of_sequence = |first: &usize| (*first..*first + positions).map(|position| position as u32);
        let places = firsts.map(|firsts| firsts.iter().flat_map(of_sequence).collect());
        let pass = Pass { batch, tables, past, tree: None, taps: Taps::new(request) };
        self.run(&ids.flatten_all()?, places, pass)
    }

    /// The forward pass of `ids` `[N]` (u32) at positions `places` `[N]`; without them, those of equally long
    /// sequences from their first token on.
    fn run(
        &self,
        ids: &Tensor,
        places: Option<Vec<u32>>,
        mut pass: Pass<'_>,
    ) -> Result<ForwardPass, NnError> {
        let embedded = self.parts.embedding.select(ids)?; // [N, d_model]
        let embedded = pass.taps.at(HookPoint::Embed, embedded)?;
        if pass.taps.done() {
            return Ok(pass.taps.finish(None));
        }
        let embedded = scaled(embedded, self.architecture.embedding_scale)?;
        let placed = self.add_positions(embedded, pass.batch, places)?;
        let x = self.normed(&placed, &self.parts.embedding_norm)?; // [N, d_model]
        self.layers_from(0, x, pass)
    }

    /// The forward pass from the residual stream `x` `[N, d_model]` before block `first` on.
    fn layers_from(&self, first: usize, mut x: Tensor, mut pass: Pass<'_>) -> Result<ForwardPass, NnError> {
        for (layer, block) in self.parts.blocks.iter().enumerate().skip(first) {
            match self.block(layer, block, x, &mut pass)? {
                Some(next) => x = next,
                None => return Ok(pass.taps.finish(None)),
            }
        }
        let normed = self.normed(&x, &self.parts.final_norm)?; // [N, d_model]
        let output = match pass.taps.request.output {
            Output::Nothing => None,
            Output::FinalNorm => Some(normed),
            Output::Logits => Some(self.unembed(&normed)?), // [N, vocab]
        };
        Ok(pass.taps.finish(output))
    }

    /// One block from `x` `[N, d_model]` to the next residual stream; none where nothing more is wanted.
    fn block(
        &self,
        layer: usize,
        block: &Block,
        x: Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Tensor>, NnError> {
        let at = |site| HookPoint::Block { layer, site };
        let parallel = self.architecture.residual == Residual::Parallel;
        let stream_is_normed = self.architecture.residual == Residual::Normed;
        let x = pass.taps.at(at(Site::ResidPre), x)?; // [N, d_model]
        if pass.taps.done() {
            return Ok(None);
        }
        let normed = self.normed(&x, &block.attention_norm)?; // [N, d_model]
        let x = if stream_is_normed { normed.clone() } else { x };
        let z = self.attention(layer, block, &normed, pass)?; // [N, n_heads · d_head]
        let (x, z) = match &pass.tree {
            Some(tree) => (tree.needed(layer, x)?, tree.needed(layer, z)?),
            None => (x, z),
        };
        let z = pass.taps.at(at(Site::AttnZ), z)?;
        if pass.taps.done() {
            return Ok(None);
        }
        let attention_out = ops::linear(&z, &block.attention_out, None)?; // [N, d_model]
        let attention_out = self.normed(&attention_out, &block.attention_post_norm)?;
        let attention_out = scaled(attention_out, self.architecture.residual_scale)?;
        let attention_out = pass.taps.at(at(Site::AttnOut), attention_out)?;
        if pass.taps.done() {
            return Ok(None);
        }
        let middle = if parallel {
            x.clone()
        } else {
            pass.taps.at(at(Site::ResidMid), ops::add(&x, &attention_out, None)?)? // [N, d_model]
        };
        if pass.taps.done() {
            return Ok(None);
        }
        let normed = self.normed(&middle, &block.mlp_norm)?; // [N, d_model]
        let middle = if stream_is_normed { normed.clone() } else { middle };
        let Some(mlp_out) = self.feed_forward(layer, block, &normed, pass)? else { return Ok(None) };
        let mlp_out = self.normed(&mlp_out, &block.mlp_post_norm)?;
        let mlp_out = scaled(mlp_out, self.architecture.residual_scale)?;
        let mlp_out = pass.taps.at(at(Site::MlpOut), mlp_out)?;
        if pass.taps.done() {
            return Ok(None);
        }
        let next = if parallel {
            ops::add(&x, &attention_out, Some(&mlp_out))?
        } else {
            ops::add(&middle, &mlp_out, None)?
        };
        let next = self.normed(&next, &block.stream_norm)?;
        let next = pass.taps.at(at(Site::ResidPost), next)?; // [N, d_model]
        Ok(if pass.taps.done() { None } else { Some(next) })
    }

    /// Heads' outputs side by side, `[N, n_heads · d_head]`, from normed `[N, d_model]`.
    fn attention(
        &self,
        layer: usize,
        block: &Block,
        normed: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Tensor, NnError> {
        let a = &self.architecture;
        let (d, count, kv_count) = (a.d_head, a.n_heads, a.n_kv_heads);
        let [mut q, mut k, mut v] = match &block.projections {
            Projections::FusedByHead(map) => {
                let rows = ops::linear(normed, map, None)?; // [N, n_heads · (q, k, v)]
                [0, d, 2 * d].map(|first| Heads { rows: rows.clone(), first, step: 3 * d, count })
            }
            Projections::FusedByKind(map) => {
                let rows = ops::linear(normed, map, None)?; // [N, all q, all k, all v]
                [(0, count), (count * d, kv_count), ((count + kv_count) * d, kv_count)]
                    .map(|(first, count)| Heads { rows: rows.clone(), first, step: d, count })
            }
            Projections::Separate { queries, keys, values } => {
                let maps = [queries, keys, values].map(|map| (map, None));
                let [q, k, v] = ops::linear_each(normed, maps)?;
                [Heads::whole(q, d)?, Heads::whole(k, d)?, Heads::whole(v, d)?]
            }
        };
        if let Some(norm) = &block.query_norm {
            q = self.norm_heads(&q, norm)?;
        }
        if let Some(norm) = &block.key_norm {
            k = self.norm_heads(&k, norm)?;
        }
        if let Some(limit) = a.projection_limit {
            for heads in [&mut q, &mut k, &mut v] {
                heads.rows = heads.rows.clamp(-limit, limit)?;
            }
        }
        let window = a.window(layer);
        let sinks = block.sinks.as_ref();
        let rule = AttentionRule { scale: a.attention_scale, window, cap: a.attention_cap, sinks };
        let none = PositionTables::default();
        let which = usize::from(window.is_some());
        let tables: Vec<&PositionTables> =
            pass.tables.iter().map(|both| if a.rotates(layer) { &both[which] } else { &none }).collect();
        let heads = [&q, &k, &v];
        Ok(match (&mut pass.past, &pass.tree) {
            (Some(past), _) => ops::attention_with_past(heads, d, rule, &tables, past, layer)?,
            (None, Some(tree)) => tree.attention(heads, d, rule, &tables)?,
            (None, None) => ops::attention(heads, pass.batch, d, rule, tables[0])?,
        })
    }

    /// What the MLP makes of normed `[N, d_model]`, as wide; none where nothing more is wanted.
    fn feed_forward(
        &self,
        layer: usize,
        block: &Block,
        normed: &Tensor,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Tensor>, NnError> {
        let a = &self.architecture;
        let mlp = match &block.mlp {
            FeedForward::Dense(mlp) => mlp,
            FeedForward::Mixture(mixture) => return Ok(Some(mixture.forward(normed, a)?)),
        };
        let neurons = mlp.neurons(normed, a)?; // [N, d_mlp]
        let neurons = pass.taps.at(HookPoint::Block { layer, site: Site::MlpPost }, neurons)?;
        if pass.taps.done() {
            return Ok(None);
        }
        Ok(Some(ops::linear(&neurons, &mlp.down, None)?))
    }

    fn norm(&self, x: &Tensor, norm: &Norm) -> Result<Tensor, NnError> {
        Ok(ops::norm(x, norm, self.architecture.norm, self.architecture.norm_eps)?)
    }

    /// The norm of rows, or the rows themselves where there is none.
    fn normed(&self, x: &Tensor, norm: &Option<Norm>) -> Result<Tensor, NnError> {
        norm.as_ref().map_or(Ok(x.clone()), |norm| self.norm(x, norm))
    }

    /// Heads side by side that fill their rows, normed.
    fn norm_heads(&self, heads: &Heads, norm: &Norm) -> Result<Heads, NnError> {
        let d = self.architecture.d_head;
        let rows = heads.alone(d)?; // [N, count · d_head]
        Ok(Heads::whole(self.norm(&rows, norm)?, d)?)
    }

    /// The tables of a sequence of so many positions: for these positions at least.
    ///
    /// Where frequencies depend on the length, they do so on that of the whole sequence, for all of its positions, as
    /// in transformers. What transformers makes of a shorter sequence after a longer one depends on the longer one;
    /// here it does not.
    fn tables(&self, positions: usize) -> SharedTables {
        let regime = self.architecture.rotaries().map(|rotary| rotary.map_or(0, |r| r.regime(positions)));
        let mut kept = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(of, _)| *of == regime) {
            if kept[at].1[0].positions() >= positions {
                return kept[at].1.clone();
            }
            kept.remove(at);
        }
        let room = positions.next_power_of_two().min(self.architecture.n_ctx).max(positions);
        let tables = position_tables(&self.architecture, positions, room);
        kept.truncate(REGIMES_KEPT - 1);
        kept.insert(0, (regime, Arc::new(tables)));
        kept[0].1.clone()
    }

    /// Adds the learned position embedding, where there is one, to `[N, d_model]`, at positions `places` `[N]`;
    /// without them, those of equally long sequences from their first token on.
    fn add_positions(&self, x: Tensor, batch: usize, places: Option<Vec<u32>>) -> Result<Tensor, NnError> {
        let Some(table) = &self.parts.position_embedding else { return Ok(x) };
        let (n, width) = x.dims2()?;
        let Some(places) = places else {
            let count = n / batch;
            let positions = table.narrow(0, 0, count)?; // [positions, d_model]
            let sum = x.reshape((batch, count, width))?.broadcast_add(&positions)?;
            return Ok(sum.reshape((n, width))?);
        };
        let places = Tensor::from_vec(places, n, x.device())?;
        Ok((x + table.index_select(&places, 0)?)?)
    }
}

fn matrix_of(tensor: Option<Tensor>) -> Result<Matrix, NnError> {
    let tensor = tensor.ok_or_else(|| candle_core::Error::msg("the pass ended without its output"))?;
    let (rows, cols) = tensor.dims2()?;
    let mut matrix = Matrix::zeros(rows, cols);
    ops::copy_entries(&tensor, matrix.data_mut())?;
    Ok(matrix)
}

/// What positions `0..room` of sequences of `length` do: in layers that see everything, and in those with a window.
fn position_tables(architecture: &Architecture, length: usize, room: usize) -> [PositionTables; 2] {
    let everywhere = PositionTables::new(&architecture.positions, length, room);
    let local = architecture.local_rotary.clone();
    let local = local.map(|rotary| PositionTables::new(&Positions::Rotary(rotary), length, room));
    [everywhere.clone(), local.unwrap_or(everywhere)]
}

/// x · factor.
fn scaled(x: Tensor, factor: Option<f64>) -> candle_core::Result<Tensor> {
    match factor {
        Some(factor) => x * factor,
        None => Ok(x),
    }
}

mod centred;
mod ends;
#[cfg(test)]
mod tests;
