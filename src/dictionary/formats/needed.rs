//! Which files of a folder make up a dictionary: its weights, and the configurations that its format reads. A folder on
//! the hub often holds optimiser states, checkpoints and statistics too, many times as large.

use std::collections::BTreeSet;

/// Names of weights that decide the format, directly in the folder.
const KNOWN_WEIGHTS: [&str; 6] = [
    "sae_weights.safetensors", // SAELens, llamascopium
    "sae.safetensors",         // sparsify
    "params.safetensors",      // Gemma Scope 2
    "params.npz",              // Gemma Scope
    "ae.pt",                   // dictionary_learning
    "latest_ckpt.safetensors", // temporal, which is refused by its name
];

/// Weights of Llama Scope below its folder, in llamascopium's search order.
const CHECKPOINTS: [&str; 2] = ["checkpoints/pruned.safetensors", "checkpoints/final.safetensors"];

/// Configurations and other small files that a reader may need beside the weights.
const CONFIGURATIONS: [&str; 11] = [
    "cfg.json",
    "config.json",
    "hyperparams.json",
    "lm_config.json",
    "activation_scaler.json",
    "activation_whitening.safetensors",
    "wandb-config.yaml",
    "wanb-config.yaml", // so spelled in published transcoders
    "config.yaml",
    "final_config.yaml",
    "conf.yaml",
];

/// Endings of files with weights.
const ENDINGS: [&str; 4] = [".safetensors", ".npz", ".pt", ".pth"];

/// Beginnings of files that end like weights and are none: states of a training, statistics.
const NO_WEIGHTS: [&str; 9] = [
    "sparsity.",
    "activation_whitening.",
    "activations_store_state",
    "lr_scheduler",
    "optimizer",
    "rank_",
    "scheduler",
    "state.",
    "trainer_state",
];

/// Number of names in a message.
const NAMED: usize = 10;

/// The files that a reader of the dictionary in `folder` needs, sorted. `files` has the paths of all files, with `/`. An
/// empty `folder` is the top. It may also name one file with weights. `Err` says what the folder has instead, or which of
/// several files to choose from.
pub fn needed(files: &[&str], folder: &str) -> Result<Vec<String>, String> {
    let repository = Repository { files };
    let (parent, weights) = match files.contains(&folder) {
        true => repository.of_file(folder)?,
        false => (folder, repository.weights(folder).chosen(&repository, folder)?),
    };
    let mut needed = repository.configurations(parent, &weights);
    needed.extend(weights.iter().map(|name| join(parent, name)));
    Ok(needed.into_iter().collect())
}

/// The paths of all files.
struct Repository<'a> {
    files: &'a [&'a str],
}

/// Files of a folder that could be its weights, by name inside the folder.
enum Weights<'a> {
    /// These, together.
    Chosen(Vec<&'a str>),
    /// None.
    Nothing,
    /// Any of several.
    Several(Vec<&'a str>),
}

impl<'a> Weights<'a> {
    fn chosen(self, repository: &Repository<'_>, folder: &str) -> Result<Vec<&'a str>, String> {
        match self {
            Self::Chosen(names) => Ok(names),
            Self::Several(names) => Err(format!(
                "{} has {} files that could be the dictionary ({}): name one of them in `path`, for example `…{}`",
                shown(folder),
                names.len(),
                list(&names),
                join(&format!("/{folder}"), names[0]).replace("//", "/").escape_debug()
            )),
            Self::Nothing => Err(repository.nothing(folder)),
        }
    }
}

impl<'a> Repository<'a> {
    /// Names of the files directly in a folder.
    fn direct(&self, folder: &str) -> Vec<&'a str> {
        let inside = |name: &&'a str| {
            if folder.is_empty() { Some(*name) } else { name.strip_prefix(folder)?.strip_prefix('/') }
        };
        self.files.iter().filter_map(inside).filter(|name| !name.contains('/')).collect()
    }

    fn has(&self, folder: &str, name: &str) -> bool {
        let path = join(folder, name);
        self.files.contains(&path.as_str())
    }

    /// Folder and weights where one file is named, which may have a partner.
    fn of_file<'f>(&self, file: &'f str) -> Result<(&'f str, Vec<&'f str>), String>
    where
        'a: 'f,
    {
        let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
        if !is_weights(name) {
            return Err(format!("{} holds no weights: give its folder, or a file with weights", shown(file)));
        }
        let partner = self.direct(folder).into_iter().find(|other| are_partners(name, other));
        Ok((folder, [Some(name), partner].into_iter().flatten().collect()))
    }

    /// The weights directly in a folder, or its checkpoint.
    fn weights(&self, folder: &str) -> Weights<'a> {
        let all: Vec<&str> = self.direct(folder).into_iter().filter(|name| is_weights(name)).collect();
        let known: Vec<&str> = all.iter().copied().filter(|name| KNOWN_WEIGHTS.contains(name)).collect();
        match (known.as_slice(), all.as_slice()) {
            ([name], _) => Weights::Chosen(vec![name]),
            ([_, _, ..], _) => Weights::Several(known),
            ([], []) => match CHECKPOINTS.into_iter().find(|name| self.has(folder, name)) {
                Some(name) => Weights::Chosen(vec![name]),
                None => Weights::Nothing,
            },
            ([], [name]) => Weights::Chosen(vec![name]),
            ([], [one, other]) if are_partners(one, other) => Weights::Chosen(all),
            _ => Weights::Several(all),
        }
    }

    /// The configurations that belong to weights in a folder.
    fn configurations(&self, folder: &str, weights: &[&str]) -> BTreeSet<String> {
        let parent = folder.rsplit_once('/').map_or("", |(parent, _)| parent);
        // Connor Kissane's and Rob Krzyzanowski's dictionaries: `X_cfg.json` beside `X.pt`.
        let own = |name: &&str| weights.iter().any(|file| name.strip_suffix("_cfg.json") == Some(stem(file)));
        let beside =
            self.direct(folder).into_iter().filter(|name| CONFIGURATIONS.contains(name) || own(name));
        let mut found: BTreeSet<String> = beside.map(|name| join(folder, name)).collect();
        if folder.is_empty() {
            return found;
        }
        let above: &[&str] = if weights.contains(&"sae.safetensors") {
            // sparsify writes the settings of the whole training there.
            &["config.json"]
        } else if folder == "checkpoints" || folder.ends_with("/checkpoints") {
            &CONFIGURATIONS
        } else {
            &[]
        };
        found.extend(above.iter().filter(|name| self.has(parent, name)).map(|name| join(parent, name)));
        found
    }

    /// Why a folder without weights is no dictionary: the dictionaries below it, or what it has.
    fn nothing(&self, folder: &str) -> String {
        let below = |name: &&'a str| {
            let rest = if folder.is_empty() { name } else { name.strip_prefix(folder)?.strip_prefix('/')? };
            rest.rsplit_once('/').map(|(parent, _)| join(folder, parent))
        };
        let folders: BTreeSet<String> = self.files.iter().filter_map(below).collect();
        let is_one = |folder: &&String| {
            !folder.ends_with("checkpoints") && !matches!(self.weights(folder), Weights::Nothing)
        };
        let folders: Vec<&str> = folders.iter().filter(is_one).map(String::as_str).collect();
        if !folders.is_empty() {
            let n = folders.len();
            return format!(
                "{} is no dictionary, but {n} below it may be: {}",
                shown(folder),
                list(&folders)
            );
        }
        let direct = self.direct(folder);
        let has = if direct.is_empty() { "no files".to_string() } else { list(&direct) };
        format!(
            "{} has no dictionary: expected a file `.safetensors`, `.npz`, `.pt` or `.pth`, found {has}",
            shown(folder)
        )
    }
}

fn is_weights(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
        && !NO_WEIGHTS.iter().any(|beginning| name.starts_with(beginning))
        && !name.contains("log_feature_sparsity")
}

/// Whether two files hold encoder and decoder of one layer: `W_enc_2.safetensors` and `W_dec_2.safetensors`.
fn are_partners(one: &str, other: &str) -> bool {
    let layer = |name: &str, half: &str| name.strip_prefix(half).map(str::to_string);
    let pair =
        |a: &str, b: &str| layer(a, "W_enc_").is_some_and(|layer_of| layer(b, "W_dec_") == Some(layer_of));
    pair(one, other) || pair(other, one)
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_string() } else { format!("{folder}/{name}") }
}

/// A folder for messages. Names come from elsewhere, so control characters are escaped.
fn shown(folder: &str) -> String {
    if folder.is_empty() { "the top folder".into() } else { format!("`{}`", folder.escape_debug()) }
}

fn list(names: &[&str]) -> String {
    let first: Vec<String> =
        names.iter().take(NAMED).map(|name| format!("`{}`", name.escape_debug())).collect();
    let more = names.len() - first.len();
    first.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_needs_its_weights_and_its_configurations() {
        let cases: [(&str, &[&str], &[&str]); 13] = [
            (
                "blocks.8.hook_resid_pre",
                &["cfg.json", "sae_weights.safetensors"],
                &[
                    "sparsity.safetensors",
                    "trainer_state.pt",
                    "activations_store_state.safetensors",
                    "README.md",
                ],
            ),
            (
                "final",
                &[
                    "cfg.json",
                    "sae_weights.safetensors",
                    "activation_scaler.json",
                    "activation_whitening.safetensors",
                ],
                &["runner_cfg.json"],
            ),
            ("resid/trainer_0", &["ae.pt", "config.json"], &["checkpoints/ae_100.pt", "eval_results.json"]),
            ("layer_12/width_16k/average_l0_82", &["params.npz"], &["figure.png"]),
            ("resid_post/layer_2", &["config.json", "params.safetensors"], &[]),
            (
                "L2R-8x",
                &["hyperparams.json", "lm_config.json", "checkpoints/final.safetensors"],
                &["checkpoints/optimizer.pt"],
            ),
            ("L3R", &["config.json", "checkpoints/pruned.safetensors"], &["checkpoints/final.safetensors"]),
            ("goodfire", &["Llama-SAE-l19.pth"], &["README.md"]),
            ("openai", &["2.pt"], &["3.txt"]),
            ("attn", &["x_v9.pt", "x_v9_cfg.json"], &["y_v9_cfg.json"]),
            ("clt", &["W_enc_2.safetensors", "W_dec_2.safetensors", "config.yaml"], &[]),
            ("transcoder", &["layer_2.safetensors", "wanb-config.yaml"], &[".gitattributes"]),
            ("e2e", &["samples_400000.pt", "final_config.yaml"], &["lr_scheduler_1.pt", "optimizer_1.pt"]),
        ];
        for (folder, wanted, other) in cases {
            let path = |name: &&str| format!("{folder}/{name}");
            let mut expected: Vec<String> = wanted.iter().map(path).collect();
            expected.sort();
            let mut all: Vec<String> = expected.iter().cloned().chain(other.iter().map(path)).collect();
            // Another dictionary and a configuration of the repository, none of which belongs to this one.
            all.extend(["elsewhere/sae_weights.safetensors", "config.json", "a.pt"].map(String::from));
            let files: Vec<&str> = all.iter().map(String::as_str).collect();
            assert_eq!(needed(&files, folder), Ok(expected), "{folder}");
        }
    }

    #[test]
    fn sparsify_also_needs_the_settings_of_its_training() {
        let files =
            ["config.json", "layers.2/cfg.json", "layers.2/sae.safetensors", "rank_0_state.pt", "state.pt"];
        assert_eq!(needed(&files, "layers.2").expect("clear"), files[..3]);
        let nested =
            ["run/config.json", "run/layers.2/cfg.json", "run/layers.2/sae.safetensors", "config.json"];
        let mut expected = nested[..3].to_vec();
        expected.sort_unstable();
        assert_eq!(needed(&nested, "run/layers.2").expect("clear"), expected);
    }

    #[test]
    fn a_named_file_comes_with_what_stands_beside_it() {
        let files = ["README.md", "layer12.sae.pt", "layer13.sae.pt"];
        assert_eq!(needed(&files, "layer12.sae.pt").expect("clear"), ["layer12.sae.pt"]);
        let files = [
            "config.yaml",
            "W_dec_1.safetensors",
            "W_dec_2.safetensors",
            "W_enc_1.safetensors",
            "W_enc_2.safetensors",
        ];
        let expected = ["W_dec_2.safetensors", "W_enc_2.safetensors", "config.yaml"];
        assert_eq!(needed(&files, "W_enc_2.safetensors").expect("clear"), expected);
        let files = ["s/a.pt", "s/a_cfg.json", "s/b.pt", "s/b_cfg.json"];
        assert_eq!(needed(&files, "s/b.pt").expect("clear"), ["s/b.pt", "s/b_cfg.json"]);
        let files = ["L2R/checkpoints/final.safetensors", "L2R/hyperparams.json"];
        assert_eq!(needed(&files, "L2R/checkpoints/final.safetensors").expect("clear"), files);
        let error =
            needed(&["s/cfg.json", "s/sae_weights.safetensors"], "s/cfg.json").expect_err("no weights");
        assert!(error.contains("`s/cfg.json` holds no weights"), "{error}");
    }

    #[test]
    fn what_is_not_clear_is_said() {
        let files = ["a/1.pt", "a/2.pt", "a/sparsity.safetensors"];
        let error = needed(&files, "a").expect_err("two");
        assert!(error.contains("2 files that could be the dictionary (`1.pt`, `2.pt`)"), "{error}");
        assert!(error.contains("`…/a/1.pt`"), "{error}");
        let both = needed(&["ae.pt", "sae_weights.safetensors"], "").expect_err("two formats");
        assert!(both.starts_with("the top folder has 2 files"), "{both}");
        let files =
            ["layer_12/width_16k/l0_22/params.npz", "layer_12/width_16k/l0_41/params.npz", "README.md"];
        for folder in ["", "layer_12", "layer_12/width_16k"] {
            let error = needed(&files, folder).expect_err("folders of dictionaries");
            assert!(error.contains("2 below it may be: `layer_12/width_16k/l0_22`"), "{error}");
        }
        let error = needed(&["x/notes\u{1b}[31m.txt"], "x").expect_err("no weights");
        assert!(error.contains("no dictionary") && !error.contains('\u{1b}'), "{error}");
    }
}
