//! A subject model, or stored activations, with the tokenizer, from files or bytes.

use std::path::Path;

use super::stored::ActivationFiles;
use super::{Bos, Prefix, Processing, StoredSubject, SubjectError, SubjectModel, TransformerSubject};
use crate::base::{Digest, has_entry};
use crate::nn::{Config, Device, Gguf, NnError, Tokenizer, Weights, is_gguf};

/// A subject with the tokenizer that its model was trained with.
#[derive(Debug, Clone)]
pub struct LoadedSubject {
    model: Loaded,
    tokenizer: Option<Tokenizer>,
}

#[derive(Debug, Clone)]
enum Loaded {
    Model(Box<TransformerSubject>),
    Stored(Box<StoredSubject>),
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
        let tokenizer = Some(folder.join("tokenizer.json")).filter(|file| has_entry(file));
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
        Ok(Self { model: Loaded::Model(Box::new(model)), tokenizer })
    }

    /// Stored activations in the place of a model. If `hashed`, the digest covers the bytes of all files, which takes a
    /// pass over them.
    pub fn from_activations(
        files: ActivationFiles,
        tokenizer: Tokenizer,
        hashed: bool,
    ) -> Result<Self, SubjectError> {
        let digest = if hashed { files.digest()? } else { Digest::of(&[]) };
        let stored = StoredSubject::new(files, &tokenizer, digest)?;
        Ok(Self { model: Loaded::Stored(Box::new(stored)), tokenizer: Some(tokenizer) })
    }

    /// Changes the model; stored activations stay as they are.
    fn with_model(
        mut self,
        change: impl FnOnce(TransformerSubject) -> Result<TransformerSubject, SubjectError>,
    ) -> Result<Self, SubjectError> {
        if let Loaded::Model(model) = self.model {
            self.model = Loaded::Model(Box::new(change(*model)?));
        }
        Ok(self)
    }

    /// Sets the hub id and the commit at which the model was fetched.
    pub fn from_hub(mut self, id: &str, commit: &str) -> Self {
        if let Loaded::Model(model) = self.model {
            self.model = Loaded::Model(Box::new(model.from_hub(id, commit)));
        }
        self
    }

    /// See [`TransformerSubject::processed`].
    pub fn processed(self, processing: &[Processing]) -> Result<Self, SubjectError> {
        self.with_model(|model| model.processed(processing))
    }

    /// See [`TransformerSubject::with_half_products`].
    pub fn with_half_products(self) -> Result<Self, SubjectError> {
        self.with_model(TransformerSubject::with_half_products)
    }

    /// See [`TransformerSubject::on_device`] and [`StoredSubject::on_device`].
    pub fn on_device(mut self, device: &Device) -> Result<Self, SubjectError> {
        if let Loaded::Stored(stored) = self.model {
            self.model = Loaded::Stored(Box::new(stored.on_device(device)));
            return Ok(self);
        }
        self.with_model(|model| model.on_device(device))
    }

    /// The model, or the stored activations in its place.
    pub fn model(&self) -> &dyn SubjectModel {
        match &self.model {
            Loaded::Model(model) => model.as_ref(),
            Loaded::Stored(stored) => stored.as_ref(),
        }
    }

    /// The model, if there is one.
    #[cfg(test)]
    pub(super) fn transformer(&self) -> Option<&TransformerSubject> {
        if let Loaded::Model(model) = &self.model { Some(model) } else { None }
    }

    /// The stored activations, if there is no model.
    pub fn stored(&self) -> Option<&StoredSubject> {
        if let Loaded::Stored(stored) = &self.model { Some(stored) } else { None }
    }

    /// The tokenizer; fails if the folder had none.
    pub fn tokenizer(&self) -> Result<&Tokenizer, SubjectError> {
        let missing = || SubjectError::NoTokenizer { model: self.model().info().name.clone() };
        self.tokenizer.as_ref().ok_or_else(missing)
    }

    /// Notes on tokenizer and stored activations, for readers of the results.
    pub fn notes(&self) -> Vec<String> {
        let Some(tokenizer) = &self.tokenizer else { return Vec::new() };
        let stored = self.stored().map(|stored| stored.notes(tokenizer)).unwrap_or_default();
        tokenizer.notes().iter().cloned().chain(stored).collect()
    }

    /// The tokens in front of every sequence of text under a setting.
    pub fn prefix(&self, bos: Bos) -> Result<Prefix, SubjectError> {
        match &self.model {
            Loaded::Model(model) => Prefix::of(bos, self.tokenizer()?, &model.info().name),
            Loaded::Stored(stored) => stored.prefix(bos, self.tokenizer()?),
        }
    }

    /// See [`TransformerSubject::with_permuted_weights`]. Fails without a model.
    pub fn with_permuted_weights(&self, seed: u64, embeddings: bool) -> Result<Self, SubjectError> {
        let model = match &self.model {
            Loaded::Model(model) => model.with_permuted_weights(seed, embeddings)?,
            Loaded::Stored(stored) => {
                let path = stored.files().path().to_path_buf();
                return Err(SubjectError::WithoutModel { what: "activations of permuted weights", path });
            }
        };
        Ok(Self { model: Loaded::Model(Box::new(model)), tokenizer: self.tokenizer.clone() })
    }
}

/// The last component of a path.
pub(super) fn name_of(folder: &Path) -> String {
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    full.file_name().map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}
