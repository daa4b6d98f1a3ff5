use std::path::Path;

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
    pub fn dataset_files(
        &self,
        id: &str,
        _revision: &str,
        _pattern: Option<&str>,
    ) -> Result<Snapshot, HubError> {
        Err(HubError::Disabled { wanted: format!("data set `{id}`") })
    }
}
