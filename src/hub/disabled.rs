use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use super::{HubError, OnDownload, Snapshot};

/// Stands in for the hub in builds without it: every request is an error that says so.
#[derive(Debug)]
pub struct HubClient(());

impl HubClient {
    /// Takes what the real client takes.
    pub fn new(
        _endpoint: &str,
        _token: Option<&str>,
        _cache: &Path,
        _offline: bool,
    ) -> Result<Self, HubError> {
        Ok(Self(()))
    }

    /// Takes what the real client takes.
    pub fn with_shared_cache(self, _hub_folder: &Path) -> Self {
        self
    }

    /// Takes what the real client takes.
    pub fn with_progress(self, _on_download: OnDownload) -> Self {
        self
    }

    /// Always [`HubError::Disabled`].
    pub fn model_files(&self, id: &str, _revision: &str) -> Result<Snapshot, HubError> {
        Err(HubError::Disabled { wanted: format!("model `{id}`") })
    }

    /// Always [`HubError::Disabled`].
    pub fn dataset(
        &self,
        id: &str,
        _revision: &str,
        _pattern: Option<&str>,
    ) -> Result<Dataset<'_>, HubError> {
        Err(HubError::Disabled { wanted: format!("data set `{id}`") })
    }
}

/// Never made in builds without the hub.
#[derive(Debug)]
pub struct Dataset<'a> {
    never: Infallible,
    client: PhantomData<&'a HubClient>,
}

impl Dataset<'_> {
    /// There is no commit.
    pub fn commit(&self) -> &str {
        match self.never {}
    }

    /// There is no label.
    pub fn label(&self) -> &str {
        match self.never {}
    }

    /// There are no files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// There are no files.
    pub fn fetch(&self, _name: &str) -> Result<PathBuf, HubError> {
        match self.never {}
    }
}
