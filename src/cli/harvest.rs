//! `harvest`: activations of a model at hook points, as a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment, HarvestArgs};
use super::progress::say;
use super::{print, print_json};
use crate::activations::export;
use crate::base::{HookPoint, HookSelector, TokenBatch, read};
use crate::hub::DEFAULT_ENDPOINT;
use crate::run::{Places, RunError, open_subject};
use crate::subject::{LoadedSubject, SubjectModel};
use crate::suite::SubjectSpec;

/// The byte-order mark that some editors put before a text.
const MARK: &str = "\u{FEFF}";

/// What `harvest --json` gives.
#[derive(Serialize, JsonSchema)]
pub struct Harvested {
    /// The file written.
    out: String,
    /// Shape of each of its tensors: sequences, positions, width.
    tensors: BTreeMap<String, [usize; 3]>,
}

/// Runs the model once over the sequences and writes what was asked for.
pub fn harvest(args: &HarvestArgs, common: &Common, environment: &Environment) -> Result<u8, RunError> {
    let places = Places {
        cache: environment.cache.clone(),
        out: args.out.clone(),
        suite_folder: ".".into(),
        device: args.device,
        hub_endpoint: environment.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        hub_token: environment.hub_token.clone(),
        hub_shared: environment.hub_shared.clone(),
        keys: Default::default(),
        openai_base_url: None,
        budget: None,
        offline: common.offline,
    };
    let spec = SubjectSpec {
        model: args.model.clone(),
        revision: args.revision.clone(),
        half_products: args.half_products,
    };
    let subject = open_subject(&spec, &places)?.loaded;
    let model = subject.model();
    let hooks = hooks(&args.hooks, model)?;
    if !common.quiet {
        let notes = subject.tokenizer().map(|tokenizer| tokenizer.notes()).unwrap_or_default();
        notes.iter().for_each(|note| say(&format!("warning: {note}")));
    }
    let tokens = match (&args.token_ids, &args.text) {
        (Some(path), _) => token_ids(path)?,
        (None, Some(path)) => text_ids(path, &subject)?,
        (None, None) => return Err(setting("--token-ids", "or `--text` must be given")),
    };
    let tensors = export(model, &tokens, &hooks, args.logits, &args.out)?;
    if common.json {
        let tensors = tensors.into_iter().collect();
        print_json(&Harvested { out: args.out.display().to_string(), tensors });
    } else if !common.quiet {
        for (name, shape) in &tensors {
            print(&format!("{name}  {shape:?}"));
        }
        print(&args.out.display().to_string());
    }
    Ok(0)
}

fn setting(field: &str, problem: &str) -> RunError {
    RunError::Setting { field: field.into(), problem: problem.into() }
}

/// Commas separate hook points, except between the braces of a layer list.
fn hooks(text: &str, model: &dyn SubjectModel) -> Result<Vec<HookPoint>, RunError> {
    let n_layers = model.info().n_layers;
    let mut depth = 0usize;
    let parts = text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    let mut hooks = Vec::new();
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let selector: HookSelector = part.parse().map_err(|error| setting("--hooks", &format!("{error}")))?;
        let expanded = selector.expand(n_layers).map_err(|layer| {
            setting(
                "--hooks",
                &format!("names layer {layer} in `{part}`, but the model has layers 0 to {}", n_layers - 1),
            )
        })?;
        for hook in expanded {
            model.check_hook(hook)?;
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
    }
    if hooks.is_empty() { Err(setting("--hooks", "names no hook point")) } else { Ok(hooks) }
}

fn token_ids(path: &Path) -> Result<TokenBatch, RunError> {
    let invalid = |why: String| RunError::Input { path: path.to_path_buf(), why };
    let bytes = read(path)?;
    let rows: Vec<Vec<u32>> =
        serde_json::from_slice(bytes.strip_prefix(MARK.as_bytes()).unwrap_or(&bytes))
            .map_err(|error| invalid(format!("is not a JSON list of lists of token ids: {error}")))?;
    let cols = rows.first().map_or(0, Vec::len);
    if let Some(row) = rows.iter().position(|row| row.len() != cols) {
        return Err(invalid(format!(
            "has {} ids in list {row}, but {cols} in list 0: give equal lengths",
            rows[row].len()
        )));
    }
    TokenBatch::new(rows.concat(), cols).ok_or_else(|| invalid("holds no token ids".into()))
}

fn text_ids(path: &Path, subject: &LoadedSubject) -> Result<TokenBatch, RunError> {
    let invalid = |why: String| RunError::Input { path: path.to_path_buf(), why };
    let text = String::from_utf8(read(path)?)
        .map_err(|error| invalid(format!("is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    let ids = subject
        .tokenizer()?
        .encode(text.strip_prefix(MARK).unwrap_or(&text))
        .map_err(|error| invalid(format!("cannot be tokenised: {error}")))?;
    let cols = subject.model().info().n_ctx.min(ids.len());
    let whole = ids.len().checked_div(cols).unwrap_or(0) * cols;
    TokenBatch::new(ids[..whole].to_vec(), cols)
        .filter(|batch| batch.rows() > 0)
        .ok_or_else(|| invalid("holds no text".into()))
}
