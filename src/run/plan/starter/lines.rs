//! The text of a starter suite: each value with the reason for it.

use std::path::Path;

use super::{Choices, EXPANSION, PCA_WIDTH};
use crate::base::terminal_json;
use crate::dictionary::DictionaryPath;
use crate::features::Protocol;
use crate::report::{count, visible, wrap};
use crate::run::RunError;
use crate::subject::{Bos, embedded};

/// Name of the autoencoder that is trained here.
pub const TRAINED: &str = "topk";

/// Longest line with a remark, in characters. A longer remark stands above its line.
const LONGEST_LINE: usize = 118;

/// A file that is written line by line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// A line with its remark behind it, or above it where both are too long. The remark may hold text from files, which
    /// stays in the comment.
    fn push(&mut self, line: &str, remark: &str) {
        let remark = visible(remark);
        if remark.is_empty() {
            self.0.push_str(&format!("{line}\n"));
        } else if line.chars().count() + remark.chars().count() + 4 <= LONGEST_LINE {
            self.0.push_str(&format!("{line}  # {remark}\n"));
        } else {
            self.remark(line.len() - line.trim_start().len(), &remark);
            self.0.push_str(&format!("{line}\n"));
        }
    }

    /// A remark on lines of its own.
    fn remark(&mut self, indent: usize, text: &str) {
        for line in wrap(text, LONGEST_LINE - indent - 2) {
            self.0.push_str(&format!("{}# {}\n", " ".repeat(indent), visible(&line)));
        }
    }
}

/// Writes the suite.
pub fn write(choices: &Choices<'_>) -> Result<String, RunError> {
    let ask = choices.ask;
    let mut lines = Lines::default();
    lines.remark(0, &format!("yaml-language-server: $schema={}", ask.schema));
    lines.remark(
        0,
        "Written by `autointerp init`. `autointerp check FILE` lists mistakes, `autointerp plan FILE` what a run takes.",
    );
    let stem = ask.file.file_stem().unwrap_or_default().to_string_lossy();
    let name = name_of(&stem, "mine");
    lines.push(&format!("name: {name}"), &format!("results go to results/{name}"));
    lines.push("seed: 7", "of all random draws: the same seed gives the same bytes");
    subject(&mut lines, choices)?;
    corpus(&mut lines, choices)?;
    if choices.fragment < Protocol::standard().fragment_tokens {
        lines.push(
            &format!("protocol: {{base: standard, fragment_tokens: {}}}", choices.fragment),
            "longer fragments do not fit into the model's context",
        );
    }
    hooks(&mut lines, choices);
    methods(&mut lines, choices)?;
    evaluation(&mut lines, choices);
    Ok(lines.0)
}

fn subject(lines: &mut Lines, choices: &Choices<'_>) -> Result<(), RunError> {
    let (ask, header) = (choices.ask, &choices.shape.header);
    let model = &header.architecture;
    let mut fields = vec![format!("model: {}", scalar(&portable(ask.model, ask.file)?))];
    fields.extend(ask.revision.map(|revision| format!("revision: {}", scalar(revision))));
    if choices.bos != Bos::Auto {
        fields.push(format!("bos: {}", choices.bos));
        let first = choices.given.iter().find(|given| given.stated.prepend_bos.is_some());
        let name = first.map_or("", |given| &given.name);
        lines.push(
            "",
            &format!(
                "`bos` is what {name} was trained with (`prepend_bos`); the tokenizer alone does otherwise."
            ),
        );
    }
    if choices.is_centred {
        fields.push("processing: [center_writing_weights]".into());
        lines.remark(0, "`processing`: the files state a model with centred writing weights.");
    }
    let remark = format!(
        "{}: {} layers of width {}, up to {} tokens at once",
        model.family,
        model.n_layers,
        count(model.d_model),
        count(model.n_ctx)
    );
    lines.push(&format!("subject: {{{}}}", fields.join(", ")), &remark);
    Ok(())
}

fn corpus(lines: &mut Lines, choices: &Choices<'_>) -> Result<(), RunError> {
    let (ask, size) = (choices.ask, &choices.size);
    lines.push("corpus:", "");
    if let Some(note) = &size.note {
        lines.remark(2, note);
    }
    let source = ask.text.map_or(Ok(embedded::NAME.to_string()), |text| portable(text, ask.file))?;
    let remark = if ask.text.is_none() { "generated, without end" } else { "" };
    lines.push(&format!("  source: {}", scalar(&source)), remark);
    if let Some(field) = ask.field {
        lines.push(&format!("  field: {}", scalar(field)), "of JSON, holds the text");
    }
    if let Some(separator) = size.separator {
        lines.push(
            &format!("  separator: {}", scalar(separator)),
            "no line `<|endoftext|>` was found, so documents end at blank lines",
        );
    }
    lines.push(
        &format!("  fit_tokens: {}", grouped(size.fit_tokens)),
        "dictionaries are fitted on these; more improve them and take longer",
    );
    let stated = choices.given.iter().any(|given| given.stated.context_size.is_some());
    let context = match stated {
        true => "tokens at once; the files state it, up to 1,024 and the model's limit",
        false => "tokens at once when dictionaries are fitted",
    };
    lines.push(&format!("  ctx_tokens: {}", choices.context), context);
    lines.push(
        &format!("  eval_fragments: {}", grouped(size.eval_fragments)),
        &format!("of {} tokens: features are explained and scored on them", choices.fragment),
    );
    Ok(())
}

fn hooks(lines: &mut Lines, choices: &Choices<'_>) {
    let n = choices.shape.header.architecture.n_layers;
    let hooks: Vec<String> = choices.hooks.iter().map(|hook| scalar(hook)).collect();
    let unnamed = choices.given.iter().find(|given| given.stated.hook.is_none());
    let remark = match (unnamed, choices.given.is_empty(), choices.shape.is_small()) {
        (Some(given), ..) => format!(
            "the files of {} name no hook point: this one has its width; put the right one here",
            given.name
        ),
        (None, false, _) => "where the dictionaries were trained, as their files state".to_string(),
        (None, true, true) => {
            format!("residual stream at a quarter, half and three quarters of {n} layers")
        }
        (None, true, false) => format!("residual stream in the middle of {n} layers"),
    };
    lines.push(&format!("hooks: [{}]", hooks.join(", ")), &remark);
}

fn methods(lines: &mut Lines, choices: &Choices<'_>) -> Result<(), RunError> {
    let (k, because) = choices.active();
    lines.push("methods:", "");
    for given in &choices.given {
        let path = match DictionaryPath::parse(&given.path) {
            Ok(DictionaryPath::Hub(_)) | Err(_) => given.path.clone(),
            Ok(DictionaryPath::Local(_)) => portable(&given.path, choices.ask.file)?,
        };
        let model =
            given.stated.model.as_ref().map_or(String::new(), |model| format!(", trained on {model}"));
        lines.push(
            &format!("  - {{name: {}, kind: file, path: {}}}", given.name, scalar(&path)),
            &format!("{}: {} features at {}{model}", given.format, count(given.features), given.hook),
        );
    }
    if choices.trains() {
        lines.push(
            &format!("  - {{name: {TRAINED}, kind: topk, expansion: {EXPANSION}, k: {k}}}"),
            &format!(
                "{EXPANSION} × width {} = {} features, {k} of them active a token: {because}",
                count(choices.width()),
                count(choices.features())
            ),
        );
    }
    lines.push("  - {use: baselines/random.yaml}", "what any direction scores");
    lines.push("  - {use: baselines/neuron.yaml}", "the model's own coordinates");
    // A dictionary that is at one of several hook points gives no L0 at the others.
    let is_everywhere = choices.hooks.len() == 1 || choices.reference() == TRAINED;
    let (matched, as_sparse) = match is_everywhere {
        true => (format!("match: {}", choices.reference()), choices.reference().to_string()),
        false => (format!("k: {k}"), format!("{k} active features, {because}")),
    };
    let variants = format!("variants: [fitted, topk], {matched}");
    let widest = choices.widths.iter().copied().max().unwrap_or(0);
    if widest > PCA_WIDTH {
        let gigabytes = 24.0 * (widest as f64).powi(2) / 1e9;
        lines.remark(2, &format!("no PCA: at width {} it takes {gigabytes:.1} GB of memory", count(widest)));
    } else {
        lines.push(
            &format!("  - {{use: baselines/pca.yaml, {variants}}}"),
            &format!("directions of largest variance, whole and as sparse as {as_sparse}"),
        );
    }
    if choices.shape.is_small() && widest <= PCA_WIDTH {
        lines.push(
            &format!("  - {{use: baselines/ica.yaml, {variants}}}"),
            "directions with heavy-tailed codes; takes long in wide models",
        );
    }
    Ok(())
}

fn evaluation(lines: &mut Lines, choices: &Choices<'_>) {
    let is_small = choices.shape.is_small();
    let per_cell = if is_small { 40 } else { 20 };
    lines.push(
        &format!("features: {{per_cell: {per_cell}}}"),
        "features scored of each method at each hook point; more give narrower intervals",
    );
    let pairs = if is_small { "neuron_to_graph_backoff, token_lookup_fit" } else { "token_lookup_fit" };
    lines.push(
        &format!("pairs: [{pairs}]"),
        "beside neuron_to_graph; token_lookup_fit knows the current token alone",
    );
    let mut controls = vec!["shuffled".to_string()];
    controls.extend(choices.ask.text.is_none().then(|| "oracle".to_string()));
    let repeats = is_small && choices.trains();
    controls.extend(repeats.then(|| format!("{{random_weights: [{TRAINED}]}}")));
    let remark = match repeats {
        true => "wrong explanations, and a model with permuted weights",
        false => "scores of wrong explanations",
    };
    lines.push(&format!("controls: [{}]", controls.join(", ")), remark);
    lines.push(
        &format!("statistics: {{reference: {}}}", choices.reference()),
        "the method that every other one is compared with",
    );
}

/// A text as a name of a suite or a method: other characters become `-`. `default` stands for an empty one.
pub fn name_of(text: &str, default: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = text.chars().map(kept).collect();
    let name = name.trim_start_matches(['.', '-']).trim_end_matches(['.', '-']);
    if name.is_empty() { default.to_string() } else { name.to_string() }
}

/// A path as a suite file in another folder finds it: relative ones become absolute. What is no path stays as it is.
fn portable(text: &str, file: &Path) -> Result<String, RunError> {
    let is_here =
        file.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let path = Path::new(text);
    if is_here || path.is_absolute() || !path.exists() {
        return Ok(text.to_string());
    }
    let full = std::path::absolute(path).ok().and_then(|full| full.to_str().map(String::from));
    full.ok_or_else(|| RunError::Setting {
        field: "--out".into(),
        problem: format!(
            "is in another folder than `{text}`, whose full path is no UTF-8: write the suite here"
        ),
    })
}

/// A text as a YAML scalar, quoted where it could mean something else.
fn scalar(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-@".contains(c);
    let is_path_like = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || text.starts_with("./")
        || text.starts_with("../");
    let hub = text.strip_prefix("hub:").unwrap_or(text);
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| word.eq_ignore_ascii_case(text));
    match is_path_like && !is_word && hub.chars().all(is_plain) {
        true => text.to_string(),
        // A JSON string is a YAML scalar.
        false => terminal_json(&serde_json::Value::from(text).to_string()).into_owned(),
    }
}

/// `300_000`.
fn grouped(n: usize) -> String {
    count(n).replace(',', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_stay_one_scalar() {
        for (text, scalar_of) in [
            ("./model", "./model"),
            ("hub:google/gemma-scope/layer_12@v1.0", "hub:google/gemma-scope/layer_12@v1.0"),
            ("EleutherAI/pythia-70m", "EleutherAI/pythia-70m"),
            ("my model", "\"my model\""),
            ("a: b", "\"a: b\""),
            ("true", "\"true\""),
            ("1e3", "\"1e3\""),
            ("blocks.{1,2}.hook_resid_post", "\"blocks.{1,2}.hook_resid_post\""),
            ("x\ny: z", "\"x\\ny: z\""),
            ("", "\"\""),
        ] {
            assert_eq!(scalar(text), scalar_of);
        }
        let mut lines = Lines::default();
        lines.push("  - x", "a remark\nseed: 8");
        assert_eq!(lines.0, "  - x  # a remark seed: 8\n");
    }

    #[test]
    fn names_are_made_of_what_files_allow() {
        for (text, name) in [("my suite", "my-suite"), (".hidden", "hidden"), ("", "mine"), ("ä", "mine")] {
            assert_eq!(name_of(text, "mine"), name);
        }
    }
}
