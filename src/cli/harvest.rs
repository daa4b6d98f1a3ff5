//! `harvest`: writes activations of a model at hook points to a safetensors file.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, HarvestArgs};
use super::progress::say;
use super::{invalid_input, print, print_json, setting};
use crate::activations::export;
use crate::base::{DeviceName, HookPoint, HookSelector, TokenBatch};
use crate::corpus::read_text;
use crate::hub::DEFAULT_ENDPOINT;
use crate::nn::Tokenizer;
use crate::run::{Places, RunError, open_subject};
use crate::subject::stored::Recorded;
use crate::subject::{Bos, LoadedSubject, Prefix, SubjectModel, embedded};
use crate::suite::SubjectSpec;

/// Longest text and longest file of token ids, in bytes.
const MOST_BYTES: usize = 256 << 20;

/// Output of `harvest --json`.
#[derive(Serialize, JsonSchema)]
pub struct Harvested {
    /// The file written.
    out: String,
    /// Shape of each of its tensors: sequences, positions, width.
    tensors: BTreeMap<String, [usize; 3]>,
    /// Tokens in front of every sequence of a text; empty for token ids.
    prefix: Vec<u32>,
}

pub fn harvest(args: &HarvestArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let places = model_places(env, args.device, common);
    let spec = SubjectSpec {
        model: args.model.clone(),
        revision: args.revision.clone(),
        half_products: args.half_products,
        bos: args.bos,
        processing: args.processing.clone(),
        ..SubjectSpec::default()
    };
    let note = |text: String| {
        if !common.quiet {
            say(&text);
        }
    };
    let opened = open_subject(&spec, &places)?;
    opened.note.into_iter().for_each(|text| note(format!("note: {text}")));
    let subject = opened.loaded;
    let model = subject.model();
    let hooks = hooks(&args.hooks, model)?;
    let notes = subject.tokenizer().map(|tokenizer| tokenizer.notes()).unwrap_or_default();
    notes.iter().for_each(|text| note(format!("warning: {text}")));
    let mut recorded = recorded(args, &subject);
    let (tokens, prefix) = match (&args.token_ids, &args.text) {
        (Some(path), _) => {
            let tokens = token_ids(path)?;
            if let Some(missing) = missing_prefix(&tokens, &subject, args.bos)? {
                note(format!("note: {missing}"));
            }
            (tokens, Vec::new())
        }
        (None, Some(path)) => {
            let prefix = subject.prefix(args.bos)?;
            note(format!("in front of every sequence: {prefix}"));
            recorded.prefix = Some(prefix.ids.clone());
            (text_ids(path, &subject, &prefix)?, prefix.ids)
        }
        (None, None) => return Err(setting("--token-ids", "or `--text` must be given")),
    };
    let tensors = export(model, &tokens, &hooks, args.logits, recorded, &args.out)?;
    if common.json {
        let tensors = tensors.into_iter().collect();
        print_json(&Harvested { out: args.out.display().to_string(), tensors, prefix })?;
    } else if !common.quiet {
        for (name, shape) in &tensors {
            print(&format!("{name}  {shape:?}"))?;
        }
        print(&args.out.display().to_string())?;
    }
    Ok(0)
}

/// What the file records of the model, so that a suite can run on it (`subject: {activations: FILE}`).
fn recorded(args: &HarvestArgs, subject: &LoadedSubject) -> Recorded {
    let (model, info) = (subject.model(), subject.model().info().clone());
    let tokenizer = subject.tokenizer().ok();
    // An absolute path, so that a suite in another folder finds it.
    let path = |tokenizer: &Tokenizer| match args.model.as_str() {
        embedded::NAME => Some(embedded::NAME.to_string()),
        _ => Some(Path::new(tokenizer.file()).canonicalize().ok()?.to_str()?.to_string()),
    };
    Recorded {
        model: info.name,
        revision: info.revision,
        weights_digest: Some(info.weights_digest),
        half_products: info.half_products,
        processing: info.processing,
        centred: model.is_centred(),
        tokenizer: tokenizer.and_then(path),
        tokenizer_digest: tokenizer.map(Tokenizer::digest),
        ..Recorded::default()
    }
}

/// Places for a model that is not part of a suite's run.
pub fn model_places(env: &Env, device: DeviceName, common: &Common) -> Places {
    Places {
        cache: env.cache.clone(),
        out: ".".into(),
        remote: None,
        suite_folder: ".".into(),
        device,
        hub_endpoint: env.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        hub_token: env.hub_token.clone(),
        hub_shared: env.hub_shared.clone(),
        keys: Default::default(),
        openai_base_url: None,
        budget: None,
        offline: common.offline,
        program: None,
    }
}

/// Parses hook points. Commas separate them, except between the braces of a layer list.
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
        let invalid = |problem: String| setting("--hooks", problem);
        let selector: HookSelector = part.parse().map_err(|error| invalid(format!("{error}")))?;
        let expanded = selector.expand(n_layers).map_err(|layer| {
            let last = n_layers - 1;
            invalid(format!("names layer {layer} in `{part}`, but the model has layers 0 to {last}"))
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
    let invalid = |why: String| invalid_input(path, why);
    let text = read_text(path, MOST_BYTES)?;
    let rows: Vec<Vec<u32>> = serde_json::from_str(&text)
        .map_err(|error| invalid(format!("is not a JSON list of lists of token ids: {error}")))?;
    let cols = rows.first().map_or(0, Vec::len);
    if let Some((place, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != cols) {
        let n = row.len();
        return Err(invalid(format!(
            "has {n} ids in list {place}, but {cols} in list 0: give equal lengths"
        )));
    }
    TokenBatch::new(rows.concat(), cols).ok_or_else(|| invalid("holds no token ids".into()))
}

/// A note if sequences of token ids do not begin with the model's prefix tokens. Ids are never changed, so
/// `--bos always` is an error.
fn missing_prefix(
    tokens: &TokenBatch,
    subject: &LoadedSubject,
    bos: Bos,
) -> Result<Option<String>, RunError> {
    if bos == Bos::Always {
        let problem = "is `always`, but `--token-ids` are taken as they are: put the ids in the file";
        return Err(setting("--bos", problem));
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

/// Cuts a text into whole contexts of the model, each after `prefix`. A shorter text gives one shorter sequence.
pub fn text_ids(path: &Path, subject: &LoadedSubject, prefix: &Prefix) -> Result<TokenBatch, RunError> {
    let invalid = |why: String| invalid_input(path, why);
    let text = read_text(path, MOST_BYTES)?;
    let ids = subject
        .tokenizer()?
        .encode(&text)
        .map_err(|error| invalid(format!("cannot be tokenised: {error}")))?;
    let cols = subject.model().info().n_ctx.saturating_sub(prefix.ids.len()).min(ids.len());
    let rows = ids.len().checked_div(cols).unwrap_or(0);
    let sequences = ids.chunks(cols.max(1)).take(rows);
    let whole = sequences.flat_map(|row| prefix.ids.iter().chain(row)).copied().collect();
    TokenBatch::new(whole, prefix.ids.len() + cols)
        .filter(|batch| batch.rows() > 0)
        .ok_or_else(|| invalid("holds no text".into()))
}
