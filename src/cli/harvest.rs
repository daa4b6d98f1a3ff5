//! `harvest`: activations of a model at hook points, as a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment, HarvestArgs};
use super::progress::say;
use super::{print, print_json};
use crate::activations::export;
use crate::base::{DeviceName, HookPoint, HookSelector, TokenBatch, read};
use crate::hub::DEFAULT_ENDPOINT;
use crate::run::{Places, RunError, open_subject};
use crate::subject::{Bos, LoadedSubject, Prefix, SubjectModel};
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
    /// Tokens that were put in front of every sequence of a text; none before token ids.
    prefix: Vec<u32>,
}

/// Runs the model once over the sequences and writes what was asked for.
pub fn harvest(args: &HarvestArgs, common: &Common, environment: &Environment) -> Result<u8, RunError> {
    let places = model_places(environment, args.device, common);
    let spec = SubjectSpec {
        model: args.model.clone(),
        revision: args.revision.clone(),
        half_products: args.half_products,
        bos: args.bos,
        processing: args.processing.clone(),
    };
    let subject = open_subject(&spec, &places)?.loaded;
    let model = subject.model();
    let hooks = hooks(&args.hooks, model)?;
    if !common.quiet {
        let notes = subject.tokenizer().map(|tokenizer| tokenizer.notes()).unwrap_or_default();
        notes.iter().for_each(|note| say(&format!("warning: {note}")));
    }
    let (tokens, prefix) = match (&args.token_ids, &args.text) {
        (Some(path), _) => {
            let tokens = token_ids(path)?;
            if let Some(missing) = missing_prefix(&tokens, &subject, args.bos)?
                && !common.quiet
            {
                say(&format!("note: {missing}"));
            }
            (tokens, Vec::new())
        }
        (None, Some(path)) => {
            let prefix = subject.prefix(args.bos)?;
            if !common.quiet {
                say(&format!("in front of every sequence: {prefix}"));
            }
            (text_ids(path, &subject, &prefix)?, prefix.ids)
        }
        (None, None) => return Err(setting("--token-ids", "or `--text` must be given")),
    };
    let tensors = export(model, &tokens, &hooks, args.logits, &args.out)?;
    if common.json {
        let tensors = tensors.into_iter().collect();
        print_json(&Harvested { out: args.out.display().to_string(), tensors, prefix });
    } else if !common.quiet {
        for (name, shape) in &tensors {
            print(&format!("{name}  {shape:?}"));
        }
        print(&args.out.display().to_string());
    }
    Ok(0)
}

/// Where a model is found that no suite names.
pub fn model_places(environment: &Environment, device: DeviceName, common: &Common) -> Places {
    Places {
        cache: environment.cache.clone(),
        out: ".".into(),
        suite_folder: ".".into(),
        device,
        hub_endpoint: environment.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        hub_token: environment.hub_token.clone(),
        hub_shared: environment.hub_shared.clone(),
        keys: Default::default(),
        openai_base_url: None,
        budget: None,
        offline: common.offline,
        program: None,
    }
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

/// Says so where sequences of ids lack the tokens that stand in front of the model's texts. Ids are taken as they
/// are, so asking for BOS is refused.
fn missing_prefix(
    tokens: &TokenBatch,
    subject: &LoadedSubject,
    bos: Bos,
) -> Result<Option<String>, RunError> {
    if bos == Bos::Always {
        return Err(setting(
            "--bos",
            "is `always`, but `--token-ids` are taken as they are: put the ids in the file",
        ));
    }
    let Ok(prefix) = subject.prefix(bos) else { return Ok(None) };
    let lacking = (0..tokens.rows()).filter(|&row| !tokens.row(row).starts_with(&prefix.ids)).count();
    Ok((lacking > 0).then(|| {
        format!(
            "{lacking} of {} sequences do not begin with {}, which the model's tokenizer puts in front of every text \
             ({}); ids are taken as they are",
            tokens.rows(),
            prefix.tokens(),
            prefix.because
        )
    }))
}

/// Whole contexts of the model, each behind `prefix`; one shorter sequence if there is less.
fn text_ids(path: &Path, subject: &LoadedSubject, prefix: &Prefix) -> Result<TokenBatch, RunError> {
    let invalid = |why: String| RunError::Input { path: path.to_path_buf(), why };
    let text = String::from_utf8(read(path)?)
        .map_err(|error| invalid(format!("is not UTF-8 at byte {}", error.utf8_error().valid_up_to())))?;
    let ids = subject
        .tokenizer()?
        .encode(text.strip_prefix(MARK).unwrap_or(&text))
        .map_err(|error| invalid(format!("cannot be tokenised: {error}")))?;
    let cols = subject.model().info().n_ctx.saturating_sub(prefix.ids.len()).min(ids.len());
    let rows = ids.len().checked_div(cols).unwrap_or(0);
    let sequences = ids.chunks(cols.max(1)).take(rows);
    let whole = sequences.flat_map(|row| prefix.ids.iter().chain(row)).copied().collect();
    TokenBatch::new(whole, prefix.ids.len() + cols)
        .filter(|batch| batch.rows() > 0)
        .ok_or_else(|| invalid("holds no text".into()))
}
