//! What charts need of `manifest.json`: how the dictionaries were fitted. An entry that is missing or has another
//! shape is left out, and charts that need it are not drawn.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::Value;

/// The cost of one fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Fit {
    /// Rows of activations, repeats included.
    rows: f64,
    /// Wall-clock seconds.
    seconds: f64,
}

/// One method of the suite.
#[derive(Debug, Clone, PartialEq)]
struct Method {
    /// The name in tables, which all trainings of a method share.
    name: String,
    kind: String,
    /// The method whose sparsity the top-k variant copies.
    matched: Option<String>,
    has_topk: bool,
}

impl Method {
    fn of(value: &Value) -> Option<Self> {
        let text = |path: &str| value.pointer(path).and_then(Value::as_str).map(str::to_string);
        let variants = value.pointer("/params/variants").and_then(Value::as_array);
        Some(Self {
            name: text("/training/method").or_else(|| text("/name"))?,
            kind: text("/params/kind")?,
            matched: text("/params/match"),
            has_topk: variants.is_some_and(|variants| variants.iter().any(|variant| variant == "topk")),
        })
    }
}

/// What a manifest says about dictionaries and methods.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// By `HOOK/METHOD`, one entry for each training.
    fits: HashMap<String, Vec<Fit>>,
    methods: Vec<Method>,
}

/// The method that this is a variant of by its name: `pca` of `pca_split`.
pub fn base_of_variant(method: &str) -> Option<&str> {
    ["_oriented", "_split", "_topk"].into_iter().find_map(|variant| method.strip_suffix(variant))
}

/// Kinds of sparse autoencoders.
const AUTOENCODERS: [&str; 7] =
    ["sae", "sae_untied", "topk", "batch_topk", "matryoshka", "gated", "jumprelu"];

impl Facts {
    /// Selects the facts of a manifest.
    pub fn of_manifest(manifest: &Value) -> Self {
        let mut facts = Self::default();
        if let Some(Value::Array(methods)) = manifest.pointer("/suite/methods") {
            facts.methods = methods.iter().filter_map(Method::of).collect();
        }
        // Sorted by name, so that means do not depend on the order of a map.
        let dictionaries: BTreeMap<String, Value> =
            manifest.get("dictionaries").and_then(|all| BTreeMap::deserialize(all).ok()).unwrap_or_default();
        for (name, dictionary) in &dictionaries {
            // Control dictionaries are named `HOOK/METHOD (CONTROL)`, which is no method's name.
            let method = name.rsplit_once(".seed").filter(|(_, nth)| nth.parse::<u32>().is_ok());
            let method = method.map_or(name.as_str(), |(method, _)| method);
            if let Some(fit) = dictionary.get("report").and_then(|report| Fit::deserialize(report).ok()) {
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

    /// Rows of activations that a dictionary was fitted on, repeats included; mean over trainings.
    pub fn rows(&self, hook: &str, method: &str) -> Option<f64> {
        self.mean(hook, method, |fit| fit.rows)
    }

    /// Seconds of a dictionary's fit; mean over trainings.
    pub fn seconds(&self, hook: &str, method: &str) -> Option<f64> {
        self.mean(hook, method, |fit| fit.seconds)
    }

    /// The kind of a method, or of the method that it is a variant of.
    pub fn kind(&self, method: &str) -> Option<&str> {
        let of = |name: &str| self.methods.iter().find(|fact| fact.name == name);
        of(method).or_else(|| of(base_of_variant(method)?)).map(|fact| fact.kind.as_str())
    }

    /// Whether a method is an autoencoder.
    pub fn is_autoencoder(&self, method: &str) -> bool {
        let fact = self.methods.iter().find(|fact| fact.name == method);
        fact.is_some_and(|fact| AUTOENCODERS.contains(&fact.kind.as_str()))
    }

    /// Some if a method keeps the k largest codes of a decomposition; inside, the method whose sparsity it copies.
    pub fn topk_variant(&self, method: &str) -> Option<Option<&str>> {
        let base = method.strip_suffix("_topk")?;
        let fact = self.methods.iter().find(|fact| fact.name == base && fact.has_topk);
        fact.map(|fact| fact.matched.as_deref())
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
        let of = |text: &str| Facts::of_manifest(&serde_json::from_str(text).expect("JSON"));
        let facts = of(MANIFEST);
        let hook = "blocks.0.hook_resid_post";
        assert_eq!((facts.rows(hook, "sae"), facts.seconds(hook, "sae")), (Some(1000.0), Some(2.0)));
        assert_eq!((facts.rows(hook, "topk_4"), facts.seconds(hook, "topk_4")), (Some(200.0), Some(2.0)));
        assert_eq!(facts.rows(hook, "neuron"), None, "nothing was trained");
        assert!(
            facts.is_autoencoder("sae") && facts.is_autoencoder("topk_4") && !facts.is_autoencoder("pca")
        );
        assert_eq!(facts.topk_variant("pca_topk"), Some(Some("sae")));
        assert_eq!(facts.topk_variant("topk_4"), None);
        let kinds = ["topk_4", "pca_split", "gone"].map(|name| facts.kind(name));
        assert_eq!(kinds, [Some("topk"), Some("pca"), None]);
        for text in ["null", "[]", "{\"suite\": 3, \"dictionaries\": []}"] {
            assert_eq!(of(text), Facts::default(), "{text}");
        }
    }
}
