//! In place of `store.rs` in a build without object storage: nothing can be connected.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::address::{Address, Settings};
use super::object::{Object, Version};
use crate::base::{Content, FileError};

/// Never made.
#[derive(Debug)]
pub enum Store {}

#[expect(missing_docs, reason = "documented in `store.rs`")]
impl Store {
    pub fn connect(address: &Address, _settings: &Settings) -> Result<Self, FileError> {
        let why = "this build has no object storage; build it with the feature `object-storage`";
        let source = Error::new(ErrorKind::Unsupported, why);
        Err(FileError { action: "read", path: address.to_string().into(), source })
    }

    pub fn address(&self) -> &Address {
        match *self {}
    }

    pub fn path(&self, _name: &str) -> PathBuf {
        match *self {}
    }

    pub fn read(&self, _name: &str) -> Result<Option<Object>, FileError> {
        match *self {}
    }

    pub fn content(&self, _name: &str) -> Result<Option<Content>, FileError> {
        match *self {}
    }

    pub fn create(&self, _name: &str, _bytes: &[u8]) -> Result<Option<Version>, FileError> {
        match *self {}
    }

    pub fn replace(&self, _name: &str, _bytes: &[u8], _: &Version) -> Result<Option<Version>, FileError> {
        match *self {}
    }

    pub fn remove(&self, _name: &str) -> Result<(), FileError> {
        match *self {}
    }

    pub fn list(&self) -> Result<Vec<(String, u64)>, FileError> {
        match *self {}
    }

    pub fn fetch(
        &self,
        _files: Vec<(String, Option<Content>)>,
        _folder: &Path,
    ) -> Result<Vec<(String, Content)>, FileError> {
        match *self {}
    }

    pub fn send(&self, _files: Vec<(String, Content)>, _folder: &Path) -> Result<(), FileError> {
        match *self {}
    }
}
