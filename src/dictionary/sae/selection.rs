//! What the forward pass is given, and what it sums up: the weights, the rule that selects codes, the sums of a batch.

/// Rows per task with sparse codes: codes of a tile stay in the cache. A multiple of the block of
/// [`Panels`](crate::linalg::Panels).
pub const TILE: usize = 96;

/// How codes `z` follow from pre-activations `p`.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// `ReLU(p)`.
    Relu,
    /// The k largest positive `p` of each row.
    TopK(usize),
    /// The `k · R` largest positive `p` of the batch.
    BatchTopK(usize),
    /// `p` where it exceeds its feature's threshold `[F]`. `extra_grad` is the derivative by the threshold, estimated
    /// by a rectangle of width `bandwidth`.
    JumpRelu { thresholds: &'a [f32], bandwidth: f32 },
    /// `ReLU(gain · (p − b_enc) + magnitude_bias)` where `p > 0`, both `[F]`. `extra_grad` is the derivative by the
    /// argument of this ReLU.
    Gated { gain: &'a [f32], magnitude_bias: &'a [f32] },
}

/// Weights in the forward pass.
#[derive(Clone, Copy)]
pub struct Forward<'a> {
    pub d: usize,
    pub features: usize,
    /// `[F, d]`.
    pub encoder: &'a [f32],
    /// `[F]`.
    pub encoder_bias: &'a [f32],
    /// Unit rows `[F, d]`.
    pub decoder: &'a [f32],
    /// `[d]`, or empty where there is none.
    pub decoder_bias: &'a [f32],
    pub selection: Selection<'a>,
    /// L1 weight times the width.
    pub l1: f32,
    /// Ends of the nested dictionaries, rising to F. Only F where nothing is nested.
    pub prefixes: &'a [usize],
}

/// `2 / (R m)`: the weight of an error in the gradient of the loss.
pub fn error_weight(rows: usize, prefixes: usize) -> f32 {
    2.0 / (rows * prefixes) as f32
}

/// Sums over the rows of a batch.
#[derive(Debug, Default)]
pub struct BatchSums {
    /// `Σ‖x̂ − x‖²`.
    pub squared_error: f64,
    /// The training loss with all penalties.
    pub objective: f64,
    /// Codes that are not zero.
    pub active: usize,
    /// Codes that the screen left to be computed in f32.
    pub screened: usize,
}

impl BatchSums {
    /// Adds the tiles in order, so that the sum does not depend on threads.
    pub fn of_tiles(tiles: &[Self]) -> Self {
        let mut sums = Self::default();
        for tile in tiles {
            sums.squared_error += tile.squared_error;
            sums.objective += tile.objective;
            sums.active += tile.active;
            sums.screened += tile.screened;
        }
        sums
    }
}
