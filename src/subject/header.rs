//! The shape of a model as its configuration states it. No weight is read.

use std::path::Path;

use super::SubjectError;
use crate::base::HookPoint;
use crate::nn::{Architecture, Config, NnError, gguf_config, is_gguf, read_architecture};

/// A model's names and sizes.
#[derive(Debug, Clone)]
pub struct SubjectHeader {
    /// Name of its folder.
    pub name: String,
    /// The hub id that the configuration states, if it states one.
    pub stated_name: Option<String>,
    /// Its architecture.
    pub architecture: Architecture,
}

impl SubjectHeader {
    /// Reads `config.json` of a Hugging Face folder. None for GGUF files.
    pub fn of_path(path: &Path) -> Result<Option<Self>, SubjectError> {
        if is_gguf(path) && path.is_file() {
            return Ok(None);
        }
        if !path.is_dir() {
            return Err(SubjectError::NoFolder { folder: path.to_path_buf() });
        }
        let file = path.join("config.json");
        let text = crate::base::read_regular(&file).map_err(NnError::from)?;
        Self::of_config(&super::loaded::name_of(path), &text, &file.display().to_string()).map(Some)
    }

    /// Reads the metadata of a GGUF file, which states no name.
    pub fn of_gguf(file: &Path) -> Result<Self, SubjectError> {
        let architecture = read_architecture(&gguf_config(file)?)?;
        Ok(Self { name: super::loaded::name_of(file), stated_name: None, architecture })
    }

    /// Reads the text of a `config.json`; messages call it `file`.
    pub fn of_config(name: &str, text: &[u8], file: &str) -> Result<Self, SubjectError> {
        let config = Config::parse(text, file)?;
        let stated_name = config.value("_name_or_path").and_then(serde_json::Value::as_str);
        let stated_name = stated_name.filter(|name| !name.is_empty()).map(String::from);
        Ok(Self { name: name.to_string(), stated_name, architecture: read_architecture(&config)? })
    }

    /// Width of the activations at a hook point. Fails if the model lacks it.
    pub fn width(&self, hook: HookPoint) -> Result<usize, SubjectError> {
        Ok(self.architecture.width(hook)?)
    }
}
