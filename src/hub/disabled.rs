//! The interface of the hub in builds without the feature `hub`.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::{Choose, HubError, OnDownload, Snapshot, StoredFile};

/// Nothing was downloaded.
pub fn verify(_cache: &Path) -> Vec<StoredFile> {
    Vec::new()
}

/// Answers every request with [`HubError::Disabled`].
#[derive(Debug)]
pub struct HubClient(());

impl HubClient {
    /// Ignores its arguments.
    pub fn new(_: &str, _: Option<&str>, _: &Path, _: bool) -> Result<Self, HubError> {
        Ok(Self(()))
    }

    /// Ignores its arguments.
    pub fn with_shared_cache(self, _hub_folder: &Path) -> Self {
        self
    }

    /// Ignores its arguments.
    pub fn with_progress(self, _on_download: OnDownload) -> Self {
        self
    }

    /// Always [`HubError::Disabled`].
    pub fn model_files(&self, id: &str, _revision: &str) -> Result<Snapshot, HubError> {
        Err(HubError::Disabled { wanted: format!("model `{id}`") })
    }

    /// Always [`HubError::Disabled`].
    pub fn model_description(&self, id: &str, revision: &str) -> Result<Snapshot, HubError> {
        self.model_files(id, revision)
    }

    /// Always [`HubError::Disabled`].
    pub fn dataset(&self, id: &str, _: &str, _: Option<&str>) -> Result<Dataset<'_>, HubError> {
        Err(HubError::Disabled { wanted: format!("data set `{id}`") })
    }

    /// Always [`HubError::Disabled`].
    pub fn dictionary_files(
        &self,
        id: &str,
        _revision: &str,
        folder: &str,
        _choose: Choose<'_>,
    ) -> Result<DictionaryFiles<'_>, HubError> {
        Err(HubError::Disabled { wanted: format!("dictionary `{folder}` of `{id}`") })
    }
}

/// Cannot be constructed.
#[derive(Debug)]
pub struct DictionaryFiles<'a> {
    never: Infallible,
    client: PhantomData<&'a HubClient>,
}

impl DictionaryFiles<'_> {
    /// Never called.
    pub fn commit(&self) -> &str {
        match self.never {}
    }

    /// Never called.
    pub fn bytes_to_fetch(&self) -> u64 {
        match self.never {}
    }

    /// Never called.
    pub fn fetch(&self) -> Result<Snapshot, HubError> {
        match self.never {}
    }
}

/// Cannot be constructed.
#[derive(Debug)]
pub struct Dataset<'a> {
    never: Infallible,
    client: PhantomData<&'a HubClient>,
}

impl Dataset<'_> {
    /// Never called.
    pub fn commit(&self) -> &str {
        match self.never {}
    }

    /// Never called.
    pub fn label(&self) -> &str {
        match self.never {}
    }

    /// Never called.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// Never called.
    pub fn fetch(&self, _name: &str) -> Result<PathBuf, HubError> {
        match self.never {}
    }
}
