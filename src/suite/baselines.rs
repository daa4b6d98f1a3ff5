//! Baseline files named by `use:`, from disk or else compiled in.

use std::path::{Path, PathBuf};

use super::node::{Node, shortened};
use super::read::nearest;
use super::read_text;
use crate::base::FileError;

/// Largest file that `use` may name, in bytes. Each use of it is read.
const MOST_BYTES: u64 = 64 << 10;

/// The project's baselines, compiled in so that an installed binary has them.
const COMPILED_IN: [(&str, &str); 5] = [
    ("baselines/random.yaml", include_str!("../../baselines/random.yaml")),
    ("baselines/neuron.yaml", include_str!("../../baselines/neuron.yaml")),
    ("baselines/identity.yaml", include_str!("../../baselines/identity.yaml")),
    ("baselines/pca.yaml", include_str!("../../baselines/pca.yaml")),
    ("baselines/ica.yaml", include_str!("../../baselines/ica.yaml")),
];

/// The compiled-in baseline of a kind, as `use` names it.
pub fn baseline_of(kind: &str) -> Option<&'static str> {
    let is_of_kind = |name: &str| name.strip_prefix("baselines/") == Some(&format!("{kind}.yaml"));
    COMPILED_IN.iter().map(|(name, _)| *name).find(|name| is_of_kind(name))
}

/// Reads a baseline file. `Err` is a message for the field that named it.
pub fn load(file: &str, folder: &Path) -> Result<Node, String> {
    let path = resolve(file, folder);
    let name = shortened(file);
    let text = match read_text(&path, MOST_BYTES) {
        Ok(text) => text.map_err(|problem| format!("cannot read `{name}`: {problem}"))?,
        Err(FileError { source: error, .. }) => match COMPILED_IN.iter().find(|(name, _)| *name == file) {
            Some((_, text)) => (*text).to_string(),
            None => {
                let known: Vec<&str> = COMPILED_IN.iter().map(|(name, _)| *name).collect();
                let hint = nearest(file, &known).map(|name| format!(", did you mean `{name}`?"));
                let hint = hint.unwrap_or_default();
                return Err(format!("cannot read `{name}` ({error}){hint} (built in: {})", known.join(", ")));
            }
        },
    };
    Node::parse(&text).map_err(|error| format!("`{name}` is not valid YAML: {error}"))
}

/// Resolves a path in a suite: relative to the current folder, or else to the suite file's folder.
pub fn resolve(path: &str, folder: &Path) -> PathBuf {
    let plain = PathBuf::from(path);
    if plain.exists() || plain.is_absolute() {
        return plain;
    }
    let beside = folder.join(path);
    if beside.exists() { beside } else { plain }
}
