//! What charts need of `manifest.json`: how the methods were made. Read tolerantly: a chart whose facts are
//! missing is not drawn.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

/// How one dictionary was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Fit {
    /// Rows of activations that the fit saw, repeats included.
    rows: f64,
    /// Wall-clock seconds.
    seconds: f64,
}

/// One method of the suite.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Method {
    name: String,
    params: Params,
    #[serde(default)]
    training: Option<Training>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Params {
    kind: String,
    #[serde(default, rename = "match")]
    matched: Option<String>,
    #[serde(default)]
    variants: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Training {
    method: String,
}

/// What a manifest says of dictionaries and methods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// By `HOOK/METHOD`, one entry for each training.
    fits: HashMap<String, Vec<Fit>>,
    methods: Vec<Method>,
}

/// Kinds that are autoencoders with codes of which few are active.
const AUTOENCODERS: [&str; 7] =
    ["sae", "sae_untied", "topk", "batch_topk", "matryoshka", "gated", "jumprelu"];

impl Facts {
    /// Picks them from the text of a manifest; nothing from what is none.
    pub fn of_manifest(text: &str) -> Self {
        let Ok(manifest) = serde_json::from_str::<Value>(text) else { return Self::default() };
        let mut facts = Self::default();
        if let Some(Value::Array(methods)) = manifest.pointer("/suite/methods") {
            facts.methods = methods.iter().filter_map(|method| Method::deserialize(method).ok()).collect();
        }
        // In order of their names, so that means do not depend on the order of a map.
        let dictionaries: BTreeMap<String, Value> =
            manifest.get("dictionaries").and_then(|all| BTreeMap::deserialize(all).ok()).unwrap_or_default();
        for (name, dictionary) in &dictionaries {
            let fit = dictionary.get("report").and_then(|report| Fit::deserialize(report).ok());
            // Control dictionaries are named `HOOK/METHOD (CONTROL)`, which no method is called.
            let method = name.rsplit_once(".seed").filter(|(_, nth)| nth.parse::<u32>().is_ok());
            let method = method.map_or(name.as_str(), |(method, _)| method);
            if let Some(fit) = fit {
                facts.fits.entry(method.to_string()).or_default().push(fit);
            }
        }
        facts
    }

    fn mean(&self, hook: &str, method: &str, value: impl Fn(&Fit) -> f64) -> Option<f64> {
        let fits = self.fits.get(&format!("{hook}/{method}"))?;
        let mean = fits.iter().map(value).sum::<f64>() / fits.len() as f64;
        (mean.is_finite() && mean > 0.0).then_some(mean)
    }

    /// Rows of activations that a dictionary's fit saw, repeats included; mean over trainings.
    pub fn rows(&self, hook: &str, method: &str) -> Option<f64> {
        self.mean(hook, method, |fit| fit.rows)
    }

    /// Seconds that its fit took; mean over trainings.
    pub fn seconds(&self, hook: &str, method: &str) -> Option<f64> {
        self.mean(hook, method, |fit| fit.seconds)
    }

    /// Whether a method of tables is an autoencoder.
    pub fn is_autoencoder(&self, method: &str) -> bool {
        let named = |fact: &&Method| fact.training.as_ref().map_or(&fact.name, |of| &of.method) == method;
        self.methods.iter().find(named).is_some_and(|fact| AUTOENCODERS.contains(&fact.params.kind.as_str()))
    }

    /// Whether a method of tables keeps the k largest codes of a decomposition, and whose sparsity that is.
    pub fn topk_variant(&self, method: &str) -> Option<Option<&str>> {
        let of = |fact: &Method| {
            let name = fact.training.as_ref().map_or(&fact.name, |of| &of.method);
            method.strip_suffix("_topk") == Some(name) && fact.params.variants.iter().any(|v| v == "topk")
        };
        self.methods.iter().find(|fact| of(fact)).map(|fact| fact.params.matched.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"{"suite": {"methods": [
        {"name": "sae", "params": {"kind": "sae", "expansion": 4}},
        {"name": "topk_4.seed2", "params": {"kind": "topk"}, "training": {"method": "topk_4", "nth": 1}},
        {"name": "pca", "params": {"kind": "pca", "variants": ["fitted", "topk"], "match": "sae"}},
        {"odd": 1}]},
      "dictionaries": {
        "blocks.0.hook_resid_post/sae": {"report": {"rows": 1000, "seconds": 2.0, "steps": 5}},
        "blocks.0.hook_resid_post/sae (random_weights)": {"report": {"rows": 7, "seconds": 1.0}},
        "blocks.0.hook_resid_post/topk_4": {"report": {"rows": 100, "seconds": 1.0}},
        "blocks.0.hook_resid_post/topk_4.seed2": {"report": {"rows": 300, "seconds": 3.0}},
        "blocks.0.hook_resid_post/neuron": {"report": {"rows": 0, "seconds": 0.0}},
        "odd": 3}}"#;

    #[test]
    fn what_is_there_is_read_and_the_rest_forgiven() {
        let facts = Facts::of_manifest(MANIFEST);
        let hook = "blocks.0.hook_resid_post";
        assert_eq!((facts.rows(hook, "sae"), facts.seconds(hook, "sae")), (Some(1000.0), Some(2.0)));
        assert_eq!((facts.rows(hook, "topk_4"), facts.seconds(hook, "topk_4")), (Some(200.0), Some(2.0)));
        assert_eq!(facts.rows(hook, "neuron"), None, "nothing was trained");
        assert!(
            facts.is_autoencoder("sae") && facts.is_autoencoder("topk_4") && !facts.is_autoencoder("pca")
        );
        assert_eq!(facts.topk_variant("pca_topk"), Some(Some("sae")));
        assert_eq!(facts.topk_variant("topk_4"), None);
        for text in ["", "[]", "{\"suite\": 3, \"dictionaries\": []}"] {
            assert_eq!(Facts::of_manifest(text), Facts::default(), "{text}");
        }
    }
}
