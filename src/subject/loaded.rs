//! A subject model with its tokenizer, from files or bytes.

use std::path::Path;

use super::{Bos, Prefix, Processing, SubjectError, SubjectModel, TransformerSubject};
use crate::nn::{Config, Device, Gguf, NnError, Tokenizer, Weights, is_gguf};

/// A subject model with the tokenizer it was trained with.
#[derive(Debug, Clone)]
pub struct LoadedSubject {
    model: TransformerSubject,
    tokenizer: Option<Tokenizer>,
}

impl LoadedSubject {
    /// Reads a GGUF file if the path ends in `.gguf`, a folder otherwise.
    pub fn from_path(path: &Path) -> Result<Self, SubjectError> {
        if is_gguf(path) { Self::from_gguf(path) } else { Self::from_folder(path) }
    }

    /// Reads a GGUF file and unpacks its matrices to f32.
    fn from_gguf(file: &Path) -> Result<Self, SubjectError> {
        let Gguf { config, weights, tokenizer, .. } = Gguf::open(file)?;
        Self::pair(TransformerSubject::new(&name_of(file), config, weights.unpacked()?)?, Some(tokenizer))
    }

    /// Reads a Hugging Face folder: `config.json`, safetensors, and `tokenizer.json` if there is one.
    pub fn from_folder(folder: &Path) -> Result<Self, SubjectError> {
        if !folder.is_dir() {
            return Err(SubjectError::NoFolder { folder: folder.to_path_buf() });
        }
        let config = folder.join("config.json");
        let text = crate::base::read_regular(&config).map_err(NnError::from)?;
        let config = Config::parse(&text, &config.display().to_string())?;
        let weights = Weights::from_folder(folder, &Device::Cpu)?;
        let tokenizer = Some(folder.join("tokenizer.json")).filter(|file| file.exists());
        let tokenizer = tokenizer.map(|file| Tokenizer::from_file(&file)).transpose()?;
        Self::pair(TransformerSubject::new(&name_of(folder), config, weights)?, tokenizer)
    }

    /// Reads the bytes of a folder's files, for a compiled-in model; messages call them `name`.
    pub fn from_parts(
        name: &str,
        config: &[u8],
        safetensors: &[u8],
        tokenizer: &[u8],
    ) -> Result<Self, SubjectError> {
        let config = Config::parse(config, &format!("{name}: config.json"))?;
        let weights = Weights::from_bytes(safetensors, &format!("{name}: model.safetensors"), &Device::Cpu)?;
        let tokenizer = Tokenizer::from_bytes(tokenizer, &format!("{name}: tokenizer.json"))?;
        Self::pair(TransformerSubject::new(name, config, weights)?, Some(tokenizer))
    }

    fn pair(model: TransformerSubject, tokenizer: Option<Tokenizer>) -> Result<Self, SubjectError> {
        let vocab = model.info().vocab;
        let tokenizer = tokenizer.map(|tokenizer| tokenizer.embedded_in(vocab)).transpose()?;
        Ok(Self { model, tokenizer })
    }

    /// Sets the hub id and the commit at which the model was fetched.
    pub fn from_hub(mut self, id: &str, commit: &str) -> Self {
        self.model = self.model.from_hub(id, commit);
        self
    }

    /// See [`TransformerSubject::processed`].
    pub fn processed(mut self, processing: &[Processing]) -> Result<Self, SubjectError> {
        self.model = self.model.processed(processing)?;
        Ok(self)
    }

    /// See [`TransformerSubject::with_half_products`].
    pub fn with_half_products(mut self) -> Result<Self, SubjectError> {
        self.model = self.model.with_half_products()?;
        Ok(self)
    }

    /// See [`TransformerSubject::on_device`].
    pub fn on_device(mut self, device: &Device) -> Result<Self, SubjectError> {
        self.model = self.model.on_device(device)?;
        Ok(self)
    }

    /// The model.
    pub fn model(&self) -> &TransformerSubject {
        &self.model
    }

    /// The tokenizer; fails if the folder had none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, SubjectError> {
        let missing = || SubjectError::NoTokenizer { model: self.model.info().name.clone() };
        self.tokenizer.as_ref().ok_or_else(missing)
    }

    /// The tokens in front of every sequence of text under a setting.
    pub fn prefix(&self, bos: Bos) -> Result<Prefix, SubjectError> {
        Prefix::of(bos, self.tokenizer()?, &self.model.info().name)
    }

    /// See [`TransformerSubject::with_permuted_weights`].
    pub fn with_permuted_weights(&self, seed: u64, embeddings: bool) -> Result<Self, SubjectError> {
        let model = self.model.with_permuted_weights(seed, embeddings)?;
        Ok(Self { model, tokenizer: self.tokenizer.clone() })
    }
}

/// The last component of a path.
pub(super) fn name_of(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    full.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}
