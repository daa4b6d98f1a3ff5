//! Why training failed.

/// Why the embedded model could not be trained or read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// A tensor operation failed.
    #[error("run the embedded model's network")]
    Network(#[from] candle_core::Error),
    /// The weights could not be serialised.
    #[error("write the embedded model's weights")]
    Weights(#[from] safetensors::SafeTensorError),
    /// The tokenizer could not be trained or applied.
    #[error("use the embedded model's tokenizer: {0}")]
    Tokenizer(String),
    /// Training cannot go on, for the reason given.
    #[error("{0}")]
    Failed(String),
    /// The report is not valid JSON.
    #[error("read or write the embedded model's report")]
    Report(#[from] serde_json::Error),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] crate::base::FileError),
    /// The caller stopped training.
    #[error("training was stopped after {step} steps; nothing was written")]
    Stopped {
        /// Steps done.
        step: usize,
    },
}

impl EmbeddedError {
    pub(super) fn tokenizer(error: tokenizers::Error) -> Self {
        Self::Tokenizer(error.to_string())
    }

    pub(super) fn no_context() -> Self {
        Self::Failed("the context has no tokens; give at least one".into())
    }
}
