//! Small objects, which are read and written whole.

/// A small object with its content.
#[derive(Debug)]
pub struct Object {
    /// All of it.
    pub bytes: Vec<u8>,
    /// What tells it from other objects that have had its name.
    pub version: Version,
}

/// A version of an object, by which of these the service tells.
#[derive(Debug, Clone)]
pub struct Version {
    /// ETag.
    pub e_tag: Option<String>,
    /// Number of the version or generation.
    pub number: Option<String>,
}
