use std::path::PathBuf;

use crate::base::{DeviceName, FileError, HookPoint};

/// What can go wrong between a model folder and its activations.
#[derive(Debug, thiserror::Error)]
pub enum NnError {
    /// A file is missing or cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder holds no weights under a name that is known.
    #[error(
        "find weights in `{}`: expected `model.safetensors` or `model.safetensors.index.json`; \
         save the model in safetensors form", folder.display()
    )]
    NoWeights {
        /// The folder looked at.
        folder: PathBuf,
    },
    /// A device that is not there, or that this build cannot use.
    #[error("compute on `{device}`: {reason}")]
    NoDevice {
        /// The device asked for.
        device: DeviceName,
        /// What is missing, and what to do.
        reason: String,
    },
    /// A JSON file is not JSON, or not of the expected form.
    #[error("read `{file}`: {reason}")]
    Json {
        /// The file, or a name for bytes that came without one.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A field of `config.json` is missing or has an impossible value.
    #[error("use `{file}`: field `{field}` should be {expected}, got {got}")]
    Field {
        /// The file.
        file: String,
        /// The field's name.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// Fields of `config.json` that nothing reads and that are not known to be harmless.
    #[error(
        "use `{file}`: {fields} is not implemented for `{family}` models and may change what the model computes; \
         remove it if the model computes the same without it"
    )]
    UnknownFields {
        /// The file.
        file: String,
        /// Names and values.
        fields: String,
        /// The model's family.
        family: String,
    },
    /// A model family that this runtime does not know.
    #[error("run model type `{got}` of `{file}`: supported are {supported}")]
    UnsupportedFamily {
        /// The file.
        file: String,
        /// Its `model_type`.
        got: String,
        /// What is supported.
        supported: String,
    },
    /// A safetensors file that is cut short or whose header makes no sense.
    #[error("read weights from `{file}`: {reason}; copy or download it again")]
    Corrupt {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the family needs is in none of the files.
    #[error(
        "find tensor `{name}` in `{file}`: it holds {n_tensors} tensors, none of that name{hint}; is it whole, and is `config.json` its own?"
    )]
    MissingTensor {
        /// The tensor.
        name: String,
        /// Where it was looked for.
        file: String,
        /// How many tensors are there.
        n_tensors: usize,
        /// What is there instead, if anything is.
        hint: String,
    },
    /// A tensor whose shape contradicts `config.json`.
    #[error("use tensor `{name}` of `{file}`: expected shape {expected:?} by `config.json`, got {got:?}")]
    WrongShape {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
    /// A tensor stored as something other than f32, f16, bf16 or f64.
    #[error("use tensor `{name}` of `{file}`: expected f32, f16, bf16 or f64 numbers, got {got}")]
    WrongNumbers {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
        /// The type found.
        got: String,
    },
    /// A tensor of a GGUF file in a form that is not read.
    #[error(
        "use tensor `{name}` of `{file}`: it is stored as {got}, and F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, \
         Q4_K, Q5_K and Q6_K are read; take a file in one of these"
    )]
    WrongForm {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
        /// The form found.
        got: String,
    },
    /// A tensor that a GGUF file should not have by its family.
    #[error(
        "use tensor `{name}` of `{file}`: the family `{family}` has no such tensor, so it would be left out"
    )]
    UnknownTensor {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
        /// The family.
        family: String,
    },
    /// Parts of a split model are missing.
    #[error(
        "read `{file}`: it is part {part} of {count}, and beside it there is no {}; download every part into the \
         same folder",
        listed(missing)
    )]
    MissingParts {
        /// The part that was opened.
        file: String,
        /// Its number, from 1.
        part: usize,
        /// How many there are.
        count: usize,
        /// File names of those that are not there.
        missing: Vec<String>,
    },
    /// A part of a split model whose name does not lead to the others.
    #[error(
        "read `{file}`: it is part {part} of {count}, so its name should end in `{ending}`, as the others are found \
         by their names; give the parts back the names they were published with"
    )]
    SplitName {
        /// The part that was opened.
        file: String,
        /// Its number, from 1.
        part: usize,
        /// How many there are.
        count: usize,
        /// How its name should end.
        ending: String,
    },
    /// A weight that is NaN or infinite.
    #[error(
        "use tensor `{name}` of `{file}`: entry {index} is {value}, and weights must be finite; \
             the file is damaged or the training diverged"
    )]
    NotFinite {
        /// The tensor.
        name: String,
        /// The file.
        file: String,
        /// Flat index of the first such entry.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A hook point in a layer that the model lacks.
    #[error("find hook point `{hook}`: the model has {n_layers} layers, numbered from 0 to {}", n_layers.saturating_sub(1))]
    NoSuchLayer {
        /// The hook point asked for.
        hook: HookPoint,
        /// Layers of the model.
        n_layers: usize,
    },
    /// `hook_resid_mid` where attention and MLP read the same residual stream.
    #[error(
        "find hook point `{hook}`: attention and MLP of this model run in parallel on the same residual stream, \
         so there is nothing between them; use hook_resid_pre or hook_resid_post"
    )]
    NoResidMid {
        /// The hook point asked for.
        hook: HookPoint,
    },
    /// `mlp.hook_post` where the MLP is a mixture of experts.
    #[error(
        "find hook point `{hook}`: the MLP of this layer is a mixture of experts, and the neurons of experts that \
         are not chosen for a token have no value; use hook_mlp_out"
    )]
    NoNeurons {
        /// The hook point asked for.
        hook: HookPoint,
    },
    /// Centring of a model that reads its residual stream otherwise than through layer norms.
    #[error(
        "centre what `{family}` models write to the residual stream (`center_writing_weights`): they have {reason}, so \
         it would change what the model computes; leave it out"
    )]
    NoCentring {
        /// The model's family.
        family: String,
        /// What stands against it.
        reason: String,
    },
    /// A token id that is no row of the embedding.
    #[error("embed token id {id} (sequence {row}, position {col}): the vocabulary has ids 0 to {}", vocab.saturating_sub(1))]
    TokenOutOfVocabulary {
        /// The id.
        id: u32,
        /// Its sequence.
        row: usize,
        /// Its position.
        col: usize,
        /// Rows of the embedding.
        vocab: usize,
    },
    /// A sequence longer than the model's positions.
    #[error(
        "run sequences of {cols} tokens: the model has {n_ctx} positions; cut the text into shorter contexts"
    )]
    TooLong {
        /// Positions asked for.
        cols: usize,
        /// Positions of the model.
        n_ctx: usize,
    },
    /// An edit that changed the shape of what it was given.
    #[error(
        "edit `{hook}`: the edit was given {expected:?} numbers and left {got:?}; an edit keeps the shape"
    )]
    EditShape {
        /// The hook point edited.
        hook: HookPoint,
        /// Rows and columns before.
        expected: [usize; 2],
        /// Rows and columns after.
        got: [usize; 2],
    },
    /// A tokenizer file that cannot be used.
    #[error("use tokenizer `{file}`: {reason}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Tensor arithmetic failed; a defect of this program rather than of its input.
    #[error("compute with tensors: {0}")]
    Arithmetic(#[from] candle_core::Error),
}

impl NnError {
    /// True where a file that is needed cannot be read.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::NoWeights { .. } | Self::File(_) | Self::MissingParts { .. })
    }
}

/// The first few of a list of names.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    let mut text: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    if names.len() > SHOWN {
        text.push(format!("{} more", names.len() - SHOWN));
    }
    text.join(", ")
}
