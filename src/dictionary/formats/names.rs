//! Facts that stand in names of repositories, folders and files alone.

use super::{Ask, Folder};

/// Parts of the dictionary's path, the innermost first: those that the suite wrote and those on this machine.
pub fn parts(folder: &Folder, ask: &Ask) -> Vec<String> {
    let here = folder.path().display().to_string();
    let split = |path: &str| -> Vec<String> {
        let parts = path.split(['/', '\\', ':', '@']).filter(|part| !part.is_empty() && *part != ".");
        parts.rev().map(String::from).collect()
    };
    let (mut all, written) = (split(&here), split(&ask.place));
    all.extend(written);
    all
}

/// The whole number behind the first `mark` of a text: 12 of `layer_12_width_16k` behind `layer_`.
pub fn number_behind(text: &str, mark: &str) -> Option<usize> {
    let rest = text.split_once(mark)?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// Model and layer of names like `Llama-3.1-8B-Instruct-SAE-l19`.
pub fn model_and_layer(name: &str) -> Option<(String, usize)> {
    let (model, _) = name.split_once("-SAE-l")?;
    let layer = number_behind(name, "-SAE-l")?;
    let owner = match model {
        _ if model.starts_with("Llama-") => "meta-llama",
        _ if model.starts_with("DeepSeek-") => "deepseek-ai",
        _ => return None,
    };
    Some((format!("{owner}/{model}"), layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_layers_and_models() {
        assert_eq!(number_behind("layer_12_width_16k_l0_small", "layer_"), Some(12));
        assert_eq!(number_behind("layer_", "layer_"), None);
        assert_eq!(number_behind("width_16k", "layer_"), None);
        let deepseek = model_and_layer("DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt");
        assert_eq!(deepseek, Some(("deepseek-ai/DeepSeek-R1-Distill-Llama-8B".into(), 19)));
        assert_eq!(model_and_layer("Mine-SAE-l3"), None);
        assert_eq!(model_and_layer("Llama-3.1-8B-SAE-lx"), None);
    }
}
