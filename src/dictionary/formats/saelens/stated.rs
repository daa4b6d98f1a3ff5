//! What a SAELens configuration says of its training. From version 6 on, these settings are under `metadata`.

use serde_json::Value;

use super::super::super::{DictionaryError, Stated};
use super::super::folder::Folder;
use super::super::settings::Settings;

/// Statistics of firing: `sparsity [F]`, log10 of each feature's frequency.
const FIRING: &str = "sparsity.safetensors";

/// The two places of a setting.
struct Places<'s> {
    all: [&'s Settings; 2],
}

impl<'s> Places<'s> {
    /// The first of these keys that has a value, and where.
    fn find<'k>(&self, keys: &[&'k str]) -> Option<(&'s Settings, &'k str)> {
        let mut found = None;
        for place in self.all {
            // Every spelling counts as read.
            for &key in keys {
                if place.value(key).is_some() && found.is_none() {
                    found = Some((place, key));
                }
            }
        }
        found
    }

    fn text(&self, keys: &[&str]) -> Result<Option<String>, DictionaryError> {
        let Some((place, key)) = self.find(keys) else { return Ok(None) };
        Ok(place.text(key)?.map(String::from))
    }

    /// A hook point. Old files hold a template: `blocks.{layer}.hook_resid_pre`.
    fn hook(&self, names: &[&str], layers: &[&str]) -> Result<Option<String>, DictionaryError> {
        let name = self.text(names)?;
        let layer = self.find(layers).and_then(|(place, key)| place.value(key)?.as_u64());
        Ok(name.and_then(|name| match (name.contains("{layer}"), layer) {
            (false, _) => Some(name),
            (true, Some(layer)) => Some(name.replace("{layer}", &layer.to_string())),
            (true, None) => None,
        }))
    }
}

/// Reads the settings. `metadata` holds those of version 6.
pub fn read(settings: &Settings, metadata: &Settings, folder: &Folder) -> Result<Stated, DictionaryError> {
    let places = Places { all: [settings, metadata] };
    let is_version_2 = settings.has("hook_point");
    let hook =
        places.hook(&["hook_name", "hook_point", "hf_hook_name"], &["hook_layer", "hook_point_layer"])?;
    let hook_out = places.hook(
        &["hook_name_out", "out_hook_point", "hf_hook_name_out"],
        &["hook_layer_out", "out_hook_point_layer"],
    )?;
    let hook_out = hook_out.filter(|out| hook.as_ref() != Some(out));
    let prepend_bos = match places.find(&["prepend_bos"]) {
        Some((place, key)) => place.flag(key)?,
        None => None,
    };
    let context_size = match places.find(&["context_size"]) {
        Some((place, key)) => place.size(key)?,
        None => None,
    };
    let excludes_special_tokens = match places.find(&["exclude_special_tokens"]) {
        None => None,
        Some((place, key)) => match place.value(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            Some(Value::Array(ids)) => Some(!ids.is_empty()),
            _ => return Err(place.wrong(key, "true, false or a list of token ids")),
        },
    };
    let processing = places.find(&["model_from_pretrained_kwargs"]);
    let centred = match processing {
        Some((place, key)) => place.inner(key)?.flag("center_writing_weights")?,
        None => None,
    };
    Ok(Stated {
        model: places.text(&["model_name"])?,
        hook,
        hook_out,
        dataset: places.text(&["dataset_path"])?,
        prepend_bos,
        context_size,
        excludes_special_tokens,
        // Version 2 ran TransformerLens's processed models, whose writing weights are centred.
        centred: centred.or(is_version_2.then_some(true)),
        l0: mean_l0(folder),
    })
}

/// Sum of the frequencies in [`FIRING`].
fn mean_l0(folder: &Folder) -> Option<f64> {
    if !folder.has(FIRING) {
        return None;
    }
    let logs = folder.tensors(FIRING).ok()?.values("sparsity").ok()?;
    let l0: f64 = logs.iter().map(|&log| 10f64.powf(f64::from(log))).sum();
    (l0.is_finite() && l0 > 0.0).then_some(l0)
}

/// Which positions of a context were trained on, if not all.
pub fn positions(settings: &Settings, metadata: &Settings) -> Option<String> {
    let (place, key) = Places { all: [settings, metadata] }.find(&["seqpos_slice"])?;
    let slice = place.value(key)?;
    let all = slice.as_array().is_some_and(|bounds| bounds.iter().all(Value::is_null));
    (!all).then(|| format!("trained on the positions `seqpos_slice: {slice}` of each context; here on all"))
}
