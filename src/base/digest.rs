//! SHA-256 digests of artefacts and of their inputs.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// A digest of 32 bytes, printed as 64 hex digits: SHA-256 of artefacts and their inputs, BLAKE3 of stored files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of raw bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The raw 32 bytes.
    pub fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// All 64 hex digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first 16 hex digits, for file names and messages.
    pub fn short(&self) -> String {
        self.hex()[..16].to_string()
    }

    /// Parses 64 hex digits, as written by `hex`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0u8; 32];
        for (slot, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *slot = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl schemars::JsonSchema for Digest {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex())
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a digest has 64 hex digits"))
    }
}

/// Digests a sequence of parts, each preceded by its length, so that different sequences never collide.
#[derive(Clone)]
pub struct Digester(Sha256);

impl Digester {
    /// Starts with the kind of thing to digest.
    pub fn new(kind: &str) -> Self {
        let mut digester = Self(Sha256::new());
        digester.text(kind);
        digester
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    /// Adds the little-endian bytes of numbers, without a copy of them all.
    pub fn floats(&mut self, values: &[f32]) -> &mut Self {
        self.0.update((size_of_val(values) as u64).to_le_bytes());
        for part in values.chunks(1 << 14) {
            self.0.update(part.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>());
        }
        self
    }

    /// Adds another digest.
    pub fn digest(&mut self, digest: &Digest) -> &mut Self {
        self.bytes(&digest.0)
    }

    /// Adds a value as JSON. Maps in this project have a fixed key order.
    pub fn json<T: serde::Serialize>(&mut self, value: &T) -> &mut Self {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.bytes(&bytes),
            Err(_) => self.text("unserialisable"),
        }
    }

    /// Adds bytes of a stream of unknown length. The caller must add the length at the end.
    pub fn stream(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The digest of all parts.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_boundaries_change_the_digest() {
        let joined = |parts: &[&str]| {
            let mut digester = Digester::new("t");
            for part in parts {
                digester.text(part);
            }
            digester.finish()
        };
        assert_ne!(joined(&["ab", "c"]), joined(&["a", "bc"]));
        let digest = joined(&["x"]);
        assert_eq!(Digest::parse(&digest.hex()), Some(digest));
        assert_eq!(Digest::parse("zz"), None);
    }
}
