//! Baseline files named by `use:`, from disk or else compiled in.

use std::path::{Path, PathBuf};

use super::node::Node;
use super::read::nearest;
use crate::base::read_regular_text;

/// The project's baselines, compiled in so that an installed binary has them.
const COMPILED_IN: [(&str, &str); 5] = [
    ("baselines/random.yaml", include_str!("../../baselines/random.yaml")),
    ("baselines/neuron.yaml", include_str!("../../baselines/neuron.yaml")),
    ("baselines/identity.yaml", include_str!("../../baselines/identity.yaml")),
    ("baselines/pca.yaml", include_str!("../../baselines/pca.yaml")),
    ("baselines/ica.yaml", include_str!("../../baselines/ica.yaml")),
];

/// Reads a baseline file. `Err` is a message for the field that named it.
pub fn load(file: &str, folder: &Path) -> Result<Node, String> {
    let path = resolve(file, folder);
    let text = match read_regular_text(&path).map_err(|error| error.source) {
        Ok(text) => text,
        Err(error) => match COMPILED_IN.iter().find(|(name, _)| *name == file) {
            Some((_, text)) => (*text).to_string(),
            None => {
                let known: Vec<&str> = COMPILED_IN.iter().map(|(name, _)| *name).collect();
                let hint = nearest(file, &known).map(|name| format!(", did you mean `{name}`?"));
                let hint = hint.unwrap_or_default();
                return Err(format!("cannot read `{file}` ({error}){hint} (built in: {})", known.join(", ")));
            }
        },
    };
    Node::parse(&text).map_err(|error| format!("`{file}` is not valid YAML: {error}"))
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
