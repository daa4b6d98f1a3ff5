//! The rows of Neuronpedia's tables, with its column names.

use serde_json::{Value, json};

use super::names::{CREATOR, Source, own, row_id};
use crate::base::distinct;
use crate::export::evidence::{Effect, Fragment, Histogram, Neighbours, Profile, Record, texts_of};
use crate::export::run_folder::{Entry, RunFolder};
use crate::report::FeatureLine;

/// Visible to whoever has the link.
const VISIBILITY: &str = "UNLISTED";

/// Makes the rows of one dictionary.
pub struct Rows<'a> {
    pub run: &'a RunFolder,
    pub source: &'a Source,
    pub entry: &'a Entry,
    /// Text of every token by id.
    pub tokens: &'a [String],
}

impl Rows<'_> {
    /// Release, model, set and source, by file name.
    pub fn descriptions(&self) -> [(&'static str, Value); 4] {
        let (facts, source) = (&self.run.facts, self.source);
        let suite = &self.run.summary.suite;
        let (method, hook) = (&self.entry.place.dictionary, &self.entry.place.hook);
        let n_layers = facts.subject.n_layers.unwrap_or(0);
        let name = facts.subject.name.as_deref().unwrap_or(&source.model);
        let owner = name.rsplit_once('/').map_or("unknown", |(owner, _)| owner);
        let notes = format!(
            "Exported by autointerp {}, run {}. frac_nonzero is the share of evaluation tokens whose code is not 0. \
             pos_values and neg_values are effects on logits of the unit decoder direction through the final norm's gain.",
            env!("CARGO_PKG_VERSION"),
            self.run.summary.run
        );
        let fragments = self.run.fragments_of(self.entry.quality.n_tokens);
        let release = json!({
            "name": suite, "description": format!("Suite {suite} of autointerp"),
            "descriptionShort": suite, "creatorName": "autointerp", "creatorNameShort": "autointerp",
            "creatorId": CREATOR, "urls": [], "visibility": VISIBILITY, "isNewUi": false, "featured": false,
            "defaultUmapSourceIds": [],
        });
        let model = json!({
            "id": source.model, "displayNameShort": source.model, "displayName": name, "creatorId": CREATOR,
            "owner": owner, "layers": n_layers, "neuronsPerLayer": facts.subject.d_mlp.unwrap_or(0),
            "dimension": facts.subject.d_model, "instruct": false, "inferenceEnabled": false,
            "visibility": VISIBILITY,
        });
        let set = json!({
            "modelId": source.model, "name": source.set, "description": format!("{method} at {hook}"),
            "type": self.entry.method, "creatorName": "autointerp", "creatorId": CREATOR, "urls": [],
            "releaseName": suite, "hasDashboards": true, "allowInferenceSearch": false, "visibility": VISIBILITY,
            "defaultRange": 1, "defaultShowBreaks": true, "showDfa": false, "showCorrelated": false,
            "showHeadAttribution": false, "showUmap": false,
        });
        let source = json!({
            "id": source.id, "modelId": source.model, "setName": source.set, "creatorId": CREATOR,
            "hasDashboards": true, "inferenceEnabled": false, "visibility": VISIBILITY, "hasUmap": false,
            "hasUmapLogSparsity": false, "hasUmapClusters": false, "num_prompts": fragments,
            "num_tokens_in_prompt": facts.suite.protocol.fragment_tokens,
            "dataset": facts.suite.corpus.label(), "notes": notes,
        });
        [("release", release), ("model", model), ("sourceset", set), ("source", source)]
    }

    /// Table `Neuron`.
    pub fn feature(
        &self,
        record: &Record,
        profile: Option<&Profile>,
        neighbours: Option<&Neighbours>,
    ) -> Value {
        let histogram = profile.and_then(|profile| profile.histogram.as_ref());
        let logits = profile.and_then(|profile| profile.logits.as_ref());
        let same = neighbours.map_or(&[][..], |neighbours| &neighbours.same);
        let (bars, heights) = histogram.map(bars).unwrap_or_default();
        let none = Vec::<f64>::new();
        let effects = |list: Option<&Vec<Effect>>| -> (Vec<String>, Vec<f64>) {
            let list = list.map_or(&[][..], Vec::as_slice);
            let ids: Vec<u32> = list.iter().map(|effect| effect.token).collect();
            (texts_of(&ids, self.tokens), list.iter().map(|effect| effect.effect).collect())
        };
        let (raised, raised_by) = effects(logits.map(|logits| &logits.raised));
        let (lowered, lowered_by) = effects(logits.map(|logits| &logits.lowered));
        json!({
            "modelId": self.source.model, "layer": self.source.id, "index": record.feature.to_string(),
            "creatorId": CREATOR, "sourceSetName": self.source.set, "hookName": self.entry.place.hook,
            "maxActApprox": record.max_activation, "frac_nonzero": share_nonzero(record, profile),
            "hasVector": false, "vector": none, "vectorLabel": null, "vectorDefaultSteerStrength": null,
            "topkCosSimIndices": same.iter().map(|near| near.feature).collect::<Vec<_>>(),
            "topkCosSimValues": same.iter().map(|near| near.cosine).collect::<Vec<_>>(),
            "neuron_alignment_indices": none, "neuron_alignment_values": none, "neuron_alignment_l1": none,
            "correlated_neurons_indices": none, "correlated_neurons_pearson": none, "correlated_neurons_l1": none,
            "correlated_features_indices": none, "correlated_features_pearson": none,
            "correlated_features_l1": none,
            "neg_str": lowered, "neg_values": lowered_by, "pos_str": raised, "pos_values": raised_by,
            "freq_hist_data_bar_values": bars, "freq_hist_data_bar_heights": heights,
            "logits_hist_data_bar_heights": none, "logits_hist_data_bar_values": none,
            "decoder_weights_dist": none,
        })
    }

    /// Table `Activation`: top fragments, then random ones.
    pub fn activations(&self, record: &Record) -> Vec<Value> {
        let lists = [("top", &record.top), ("random", &record.random)];
        let all =
            lists.into_iter().flat_map(|(list, fragments)| fragments.iter().map(move |one| (list, one)));
        all.filter_map(|(list, fragment)| self.activation(record.feature, list, fragment)).collect()
    }

    /// None for a fragment without tokens.
    fn activation(&self, feature: usize, list: &str, fragment: &Fragment) -> Option<Value> {
        let values = &fragment.activations;
        // The first of equal values.
        let (place, max) =
            values.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let (index, number) = (feature.to_string(), fragment.fragment.to_string());
        Some(json!({
            "id": row_id(self.run, self.entry, "activation", &[&index, list, &number]),
            "modelId": self.source.model, "layer": self.source.id, "index": index,
            "tokens": texts_of(&fragment.tokens, self.tokens), "values": values,
            "maxValue": max, "maxValueTokenIndex": place, "minValue": min,
            "dataIndex": number, "dataSource": list, "creatorId": CREATOR,
            "binMin": null, "binMax": null, "binContains": null, "qualifyingTokenIndex": null,
            "lossValues": [], "dfaValues": [],
        }))
    }

    /// Table `Explanation`: one row for each explainer that explained the feature.
    pub fn explanations(&self, feature: usize, lines: &[FeatureLine]) -> Vec<Value> {
        let explained = lines.iter().filter(|line| line.explanation.is_some());
        let explainers = distinct(explained.clone().map(|line| line.explainer.as_str()));
        let row = |explainer: &str| {
            let line = explained.clone().find(|line| line.explainer == explainer)?;
            Some(json!({
                "id": self.explanation_id(feature, explainer),
                "modelId": self.source.model, "layer": self.source.id, "index": feature.to_string(),
                "description": line.explanation, "authorId": CREATOR, "typeName": own(explainer),
                "explanationModelName": self.run.model_of(explainer), "notes": null,
            }))
        };
        explainers.into_iter().filter_map(row).collect()
    }

    /// Table `ExplanationScore`. A score that is null in the run has no row.
    pub fn scores(&self, feature: usize, lines: &[FeatureLine]) -> Vec<Value> {
        let mut rows = Vec::new();
        for line in lines.iter().filter(|line| line.explanation.is_some()) {
            for (scorer, value) in &line.scores {
                let Some(value) = value.filter(|value| value.is_finite()) else { continue };
                let details = json!({
                    "protocol": line.protocol, "simulator": line.simulator, "run": self.run.summary.run,
                });
                let about = [&feature.to_string(), &line.explainer, &line.simulator, &line.protocol, scorer];
                rows.push(json!({
                    "id": row_id(self.run, self.entry, "score", &about.map(String::as_str)),
                    "explanationId": self.explanation_id(feature, &line.explainer), "value": value,
                    "initiatedByUserId": CREATOR, "explanationScoreTypeName": own(scorer),
                    "explanationScoreModelName": own(&line.simulator), "jsonDetails": details.to_string(),
                }));
            }
        }
        rows
    }

    fn explanation_id(&self, feature: usize, explainer: &str) -> String {
        row_id(self.run, self.entry, "explanation", &[&feature.to_string(), explainer])
    }
}

/// Share of tokens whose code is not 0. For codes without sign this is the density.
fn share_nonzero(record: &Record, profile: Option<&Profile>) -> Option<f64> {
    let counted = profile.and_then(|profile| {
        let (firing, tokens) = (profile.histogram.as_ref()?.n_firing?, profile.n_tokens?);
        (tokens > 0).then(|| firing as f64 / tokens as f64)
    });
    counted.or(record.density)
}

/// Centres of the bins and counts in them.
fn bars(histogram: &Histogram) -> (Vec<f64>, Vec<u64>) {
    let n = histogram.rest.len();
    let width = (histogram.high - histogram.low) / n.max(1) as f64;
    let centres = (0..n).map(|bin| histogram.low + (bin as f64 + 0.5) * width).collect();
    let of_tokens = |bin: usize| histogram.tokens.iter().filter_map(move |token| token.counts.get(bin));
    let heights = histogram.rest.iter().enumerate().map(|(bin, rest)| rest + of_tokens(bin).sum::<u64>());
    (centres, heights.collect())
}

/// Rows of the tables that explanations and scores refer to, by file name: explainers, their language models, scores,
/// simulators.
pub fn config(run: &RunFolder) -> [(&'static str, Vec<Value>); 4] {
    let cells = || run.summary.cells.iter().filter(|cell| cell.control.is_none());
    let explainers = distinct(cells().map(|cell| cell.explainer.as_str()));
    let simulators = distinct(cells().map(|cell| cell.simulator.as_str()));
    let scorers = distinct(cells().map(|cell| cell.scorer.as_str()));
    let models = distinct(explainers.iter().filter_map(|explainer| run.model_of(explainer)));
    let words = |scorer: &str| {
        let facts = run.summary.scores.iter().find(|facts| facts.name == scorer);
        facts.map_or(String::new(), |facts| facts.words.clone())
    };
    let explainer = |name: &&str| {
        json!({
            "name": own(name), "displayName": name, "description": format!("Explainer {name} of autointerp"),
            "featured": false, "isAttention": false, "creatorName": "autointerp", "creatorId": CREATOR,
        })
    };
    let model = |name: &&str| {
        json!({
            "name": name, "displayName": name, "description": "Language model of an explainer of autointerp",
            "featured": false, "creatorName": "autointerp",
        })
    };
    let score = |name: &&str| {
        json!({
            "name": own(name), "displayName": name, "description": words(name), "scoreDescription": words(name),
            "featured": false, "isAttention": false, "creatorName": "autointerp", "creatorId": CREATOR,
        })
    };
    let simulator = |name: &&str| {
        let by = run.model_of(name).map_or(String::new(), |model| format!(", language model {model}"));
        json!({
            "name": own(name), "displayName": name,
            "description": format!("Simulator {name} of autointerp{by}"), "featured": false,
            "creatorName": "autointerp",
        })
    };
    [
        ("explanation_type", explainers.iter().map(explainer).collect()),
        ("explanation_model_type", models.iter().map(model).collect()),
        ("explanation_score_type", scorers.iter().map(score).collect()),
        ("explanation_score_model", simulators.iter().map(simulator).collect()),
    ]
}
