//! Errors of this folder.

/// Why feature records could not be made.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum FeatureError {
    /// One document number per fragment is needed.
    #[error(
        "{documents} document numbers were given for {fragments} fragments; \
         expected one for each fragment, and at least one fragment"
    )]
    Documents { fragments: usize, documents: usize },
    /// A block of codes has the wrong shape.
    #[error(
        "codes have shape [{rows}, {cols}], expected [{n_fragments} x {positions}, {n_features}]: \
         one row per token of whole fragments of {positions} tokens, one column per feature"
    )]
    BlockShape { rows: usize, cols: usize, n_fragments: usize, positions: usize, n_features: usize },
    /// A block does not start where the last one ended.
    #[error("a block of codes starts at fragment {got}, expected fragment {expected}: feed blocks in order")]
    BlockOrder { expected: usize, got: usize },
    /// The blocks do not cover the fragments exactly.
    #[error("codes of {got} fragments were given, expected {expected}")]
    FragmentCount { expected: usize, got: usize },
    /// A code is NaN or infinite.
    #[error(
        "the code of feature {feature} on fragment {fragment} is {value}; codes must be finite: check the dictionary's weights"
    )]
    NotFinite { feature: usize, fragment: usize, value: f32 },
    /// A fragment needs one activation per token.
    #[error(
        "feature {feature} has {got} activations on fragment {fragment}, expected {expected}, one per token"
    )]
    ActivationCount { feature: usize, fragment: usize, expected: usize, got: usize },
    /// A record has fewer fragments than the protocol takes.
    #[error(
        "the record of feature {feature} has {got} {list} fragments, but the protocol `{protocol}` takes one at rank {rank}; \
         only eligible features can be split"
    )]
    TooFew { feature: usize, list: &'static str, got: usize, rank: usize, protocol: String },
    /// The protocol's constants contradict each other.
    #[error("protocol `{protocol}`: {problem}")]
    Protocol { protocol: String, problem: String },
}

impl FeatureError {
    /// Fails unless codes `[rows, cols]` are `[n_fragments · positions, n_features]`.
    pub(super) fn check_shape(
        [rows, cols]: [usize; 2],
        n_fragments: usize,
        positions: usize,
        n_features: usize,
    ) -> Result<(), Self> {
        if rows == n_fragments * positions && cols == n_features {
            return Ok(());
        }
        Err(Self::BlockShape { rows, cols, n_fragments, positions, n_features })
    }
}
