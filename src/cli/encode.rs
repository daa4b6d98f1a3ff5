//! `encode`: writes codes and reconstructions of a dictionary from files to a safetensors file.

use std::collections::{BTreeMap, HashMap};

use safetensors::Dtype;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, EncodeArgs, Env};
use super::harvest::{model_places, text_ids};
use super::progress::say;
use super::{print, print_json, setting};
use crate::base::{HookPoint, Matrix};
use crate::dictionary::{
    AffineDictionary, Card, Dictionary, DictionaryPath, FileParams, Stated, hook_of, matrix_in, write_codes,
};
use crate::run::{Event, Places, RunError, locate_dictionary, open_subject};
use crate::suite::SubjectSpec;

/// Output of `encode --json`.
#[derive(Serialize, JsonSchema)]
pub struct EncodedCodes {
    /// The file written.
    out: String,
    /// Shape of each of its tensors.
    tensors: BTreeMap<String, Vec<usize>>,
    /// Mean number of non-zero codes of a row.
    l0: f64,
    /// Fraction of variance unexplained over these rows; null where the reconstruction is not of the input.
    fvu: Option<f64>,
    /// What was read, and how it was recognised.
    card: Card,
    /// What the files say of the training.
    stated: Stated,
}

pub fn encode(args: &EncodeArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let places = model_places(env, args.device, common);
    let parsed = |text: &String| text.parse().map_err(|error| setting("--hook", format!("{error}")));
    let wanted: Option<HookPoint> = args.hook.as_ref().map(parsed).transpose()?;
    let blueprint = located(args, &places, common)?.open_at(wanted)?;
    if blueprint.lacks_scale {
        let problem = "is needed: training scaled the activations by a factor that the files do not hold";
        return Err(setting("--input-scale", problem));
    }
    let (stated, card) = (blueprint.stated.clone(), blueprint.card.clone());
    let stated_hook = stated.hook.as_deref().and_then(hook_of);
    let hook = wanted.or(stated_hook);
    let (x, token_ids) = match (&args.input, &args.model, &args.text) {
        (Some(input), _, _) => (matrix_in(input, &args.tensor)?, Vec::new()),
        (None, Some(model), Some(_)) => {
            let hook = hook
                .ok_or_else(|| setting("--hook", "is needed: the dictionary does not name its hook point"))?;
            rows_of_text(args, model, hook, &places, common)?
        }
        _ => return Err(setting("--input", "or `--model` with `--text` must be given")),
    };
    let dictionary = AffineDictionary::of_file(blueprint.build(None)?, hook.unwrap_or(HookPoint::Embed));
    let mut more = Vec::new();
    if !token_ids.is_empty() {
        let bytes = token_ids.iter().flat_map(|id| i64::from(*id).to_le_bytes()).collect();
        more.push(("token_ids".to_string(), Dtype::I64, vec![token_ids.len()], bytes));
    }
    let metadata = HashMap::from([
        ("format".to_string(), card.format.clone()),
        ("features".to_string(), dictionary.info().n_features.to_string()),
    ]);
    let written = write_codes(&dictionary, &x, args.sparse, more, metadata, &args.out)?;
    // A transcoder predicts another place.
    let is_of_input = stated.hook_out.is_none() || stated.hook_out == stated.hook;
    let result = EncodedCodes {
        out: args.out.display().to_string(),
        tensors: written.tensors.into_iter().collect(),
        l0: written.l0,
        fvu: written.fvu.filter(|_| is_of_input),
        card,
        stated,
    };
    if common.json {
        print_json(&result)?;
    } else if !common.quiet {
        print(&told(&result))?;
    }
    Ok(0)
}

/// The dictionary on this disk, fetched if it lies on the hub.
fn located(args: &EncodeArgs, places: &Places, common: &Common) -> Result<FileParams, RunError> {
    let params = args.dictionary();
    let written = params.path.to_string_lossy().into_owned();
    let place = DictionaryPath::parse(&written).map_err(|problem| setting("--dictionary", problem))?;
    let located = locate_dictionary(&place, places, &|event| {
        if let (Event::Note(text), false) = (event, common.quiet) {
            say(&text);
        }
    })?;
    Ok(FileParams { path: located.path, written: Some(written), ..params })
}

/// The result for people.
fn told(result: &EncodedCodes) -> String {
    let card = &result.card;
    let mut lines = vec![
        format!("format        {} ({})", card.format, card.recognised_by),
        format!("architecture  {}", card.architecture),
        format!("activation    {}", card.activation),
        format!("orientation   {}", card.orientation),
        format!("centring      {}", card.centring),
        format!("scaling       {}", card.scaling),
    ];
    lines.extend(card.dropped.iter().map(|what| format!("left out      {what}")));
    lines.extend(card.notes.iter().map(|note| format!("note          {note}")));
    lines.push(match result.fvu {
        Some(fvu) => format!("L0 {:.2}, FVU {fvu:.4} over these rows", result.l0),
        None => format!("L0 {:.2} over these rows", result.l0),
    });
    lines.extend(result.tensors.iter().map(|(name, shape)| format!("{name}  {shape:?}")));
    lines.push(result.out.clone());
    lines.join("\n")
}

/// Activations of a text at a hook point, one row a token, and the token ids.
fn rows_of_text(
    args: &EncodeArgs,
    model: &str,
    hook: HookPoint,
    places: &Places,
    common: &Common,
) -> Result<(Matrix, Vec<u32>), RunError> {
    let spec = SubjectSpec {
        model: model.to_string(),
        revision: args.revision.clone(),
        bos: args.bos,
        processing: args.processing.clone(),
        ..SubjectSpec::default()
    };
    let subject = open_subject(&spec, places)?.loaded;
    subject.model().check_hook(hook)?;
    let prefix = subject.prefix(args.bos)?;
    if !common.quiet {
        say(&format!("in front of every sequence: {prefix}"));
    }
    let text = args.text.as_deref().unwrap_or(std::path::Path::new(""));
    let tokens = text_ids(text, &subject, &prefix)?;
    let rows = subject.model().activations(&tokens, &[hook])?.swap_remove(0);
    Ok((rows, tokens.ids().to_vec()))
}
