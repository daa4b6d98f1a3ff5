use std::path::PathBuf;

use crate::base::{DeviceName, FileError, HookPoint};

pub(super) type Result<T, E = NnError> = std::result::Result<T, E>;

/// What can go wrong between a model folder and its activations.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message says what its fields are")]
pub enum NnError {
    /// A file is missing or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "find weights in `{}`: expected `model.safetensors` or `model.safetensors.index.json`; \
         save the model in safetensors form", folder.display()
    )]
    NoWeights { folder: PathBuf },
    /// The device does not exist, or this build cannot use it.
    #[error("compute on `{device}`: {reason}")]
    NoDevice { device: DeviceName, reason: String },
    /// A JSON file has a syntax error or an unexpected form.
    #[error("read `{file}`: {reason}")]
    Json { file: String, reason: String },
    /// A field of `config.json` is missing or has an invalid value.
    #[error("use `{file}`: field `{field}` should be {expected}, got {got}")]
    Field { file: String, field: String, expected: String, got: String },
    /// Fields of `config.json` that the family does not read and that are not known to be harmless.
    #[error(
        "use `{file}`: {fields} is not implemented for `{family}` models and may change what the model computes; \
         remove it if the model computes the same without it"
    )]
    UnknownFields { file: String, fields: String, family: String },
    /// `config.json` names a model family that this runtime does not implement.
    #[error("run model type `{got}` of `{file}`: supported are {supported}")]
    UnsupportedFamily { file: String, got: String, supported: String },
    /// A safetensors file is truncated or has an invalid header.
    #[error("read weights from `{file}`: {reason}; copy or download it again")]
    Corrupt { file: String, reason: String },
    /// The family needs a tensor that is in none of the files.
    #[error(
        "find tensor `{name}` in `{file}`: none of its {n_tensors} tensors has that name{hint}; check that the \
         download is complete and that `config.json` belongs to these weights"
    )]
    MissingTensor { name: String, file: String, n_tensors: usize, hint: String },
    #[error("use tensor `{name}` of `{file}`: expected shape {expected:?} by `config.json`, got {got:?}")]
    WrongShape { name: String, file: String, expected: Vec<usize>, got: Vec<usize> },
    #[error("use tensor `{name}` of `{file}`: expected f32, f16, bf16 or f64 numbers, got {got}")]
    WrongNumbers { name: String, file: String, got: String },
    /// A tensor of a GGUF file has an unsupported type.
    #[error(
        "use tensor `{name}` of `{file}`: it is stored as {got}, and F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, \
         Q4_K, Q5_K and Q6_K are read; take a file in one of these"
    )]
    WrongForm { name: String, file: String, got: String },
    /// A GGUF file has a tensor that the family does not use.
    #[error(
        "use tensor `{name}` of `{file}`: the family `{family}` has no such tensor, so it would be left out"
    )]
    UnknownTensor { name: String, file: String, family: String },
    /// Files of a split GGUF model are missing.
    #[error(
        "read `{file}`: it is part {part} of {count}, and beside it there is no {}; download every part into the \
         same folder",
        listed(missing)
    )]
    MissingParts { file: String, part: usize, count: usize, missing: Vec<String> },
    /// A file of a split GGUF model has been renamed, so the other parts cannot be found.
    #[error(
        "read `{file}`: it is part {part} of {count}, so its name should end in `{ending}`, as the others are found \
         by their names; give the parts back the names they were published with"
    )]
    SplitName { file: String, part: usize, count: usize, ending: String },
    /// A weight is NaN or infinite. `index` is the flat index of the first one.
    #[error(
        "use tensor `{name}` of `{file}`: entry {index} is {value}, and weights must be finite; \
             the file is damaged or the training diverged"
    )]
    NotFinite { name: String, file: String, index: usize, value: f64 },
    #[error("find hook point `{hook}`: the model has {n_layers} layers, numbered from 0 to {}", n_layers.saturating_sub(1))]
    NoSuchLayer { hook: HookPoint, n_layers: usize },
    /// The block has no such activation.
    #[error("find hook point `{hook}`: {reason}")]
    NoSuchHook { hook: HookPoint, reason: &'static str },
    /// Centring would change the model: something other than a layer norm reads the residual stream.
    #[error(
        "centre what `{family}` models write to the residual stream (`center_writing_weights`): they have {reason}, so \
         it would change what the model computes; leave it out"
    )]
    NoCentring { family: String, reason: String },
    #[error(
        "embed token id {id} (sequence {row}, position {col}): the vocabulary has ids 0 to {}",
        vocab.saturating_sub(1)
    )]
    TokenOutOfVocabulary { id: u32, row: usize, col: usize, vocab: usize },
    #[error(
        "run sequences of {cols} tokens: the model has {n_ctx} positions; cut the text into shorter contexts"
    )]
    TooLong { cols: usize, n_ctx: usize },
    /// A gradient with respect to activations that the result does not depend on.
    #[error("differentiate with respect to `{hook}`: the result does not depend on the activations there")]
    NoGradient { hook: HookPoint },
    /// An edit changed the shape `[rows, cols]` of an activation.
    #[error(
        "edit `{hook}`: the edit was given {expected:?} numbers and left {got:?}; an edit keeps the shape"
    )]
    EditShape { hook: HookPoint, expected: [usize; 2], got: [usize; 2] },
    #[error("use tokenizer `{file}`: {reason}")]
    Tokenizer { file: String, reason: String },
    /// Tensor arithmetic failed. This is a defect of the program, not of its input.
    #[error("compute with tensors: {0}")]
    Arithmetic(#[from] candle_core::Error),
}

impl NnError {
    /// True if a required file is missing or unreadable.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NoWeights { .. } | Self::File(_) | Self::MissingParts { .. })
    }
}

/// The error that a file is not as its format demands.
pub(super) fn corrupt(file: &str, reason: &str) -> NnError {
    NnError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}

/// The first three names and the number of the others.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN {
        text.push(format!("{} more", names.len() - SHOWN));
    }
    text.join(", ")
}
