//! JSON of neuron-explainer (Bills et al. 2023, package `neuron_explainer` 0.0.1), with `dataclass_name` in every object:
//!
//! ```text
//! HOOK/DICTIONARY/collated-activations/LAYER/FEATURE.json    NeuronRecord
//! HOOK/DICTIONARY/explanations/LAYER/FEATURE.jsonl           NeuronSimulationResults, on one line
//! ```
//!
//! These are the paths of `load_neuron` and `load_neuron_explanations`. `random_sample` holds the run's random *firing*
//! fragments; a sample of all text does not exist there. Moments of activations and quantiles are null: the run does not
//! record them.
//!
//! A simulation holds the scored tokens alone: those from the protocol's first scored position on for which the
//! simulator gave a number. So the correlation over all sequences of an explanation is its `ev_correlation_score`, the
//! run's `top_and_random`. Distributions of predictions are not recorded; their lists are empty.

use serde_json::{Value, json};

use super::error::ExportError;
use super::evidence::{Evidence, Fragment, Record, Simulation, texts_of};
use super::job::{Job, Outcome};
use super::run_folder::Entry;
use crate::report::{FeatureLine, simulates_levels};
use crate::stats::pearson;

/// The scorer that is neuron-explainer's `ev_correlation_score`.
const CORRELATION: &str = "top_and_random";

pub fn write(job: &mut Job<'_>, entry: &Entry) -> Result<Outcome, ExportError> {
    let Some(tokens) = job.tokens.take() else {
        return Ok(Outcome::Skipped("`records/tokens.json` is missing".into()));
    };
    let written = write_features(job, entry, &tokens);
    job.tokens = Some(tokens);
    written
}

fn write_features(job: &mut Job<'_>, entry: &Entry, tokens: &[String]) -> Result<Outcome, ExportError> {
    let Some(layer) = entry.layer() else {
        return Ok(Outcome::Skipped("its hook point is not known".into()));
    };
    let [hook, dictionary] = entry.names();
    let mut evidence = Evidence::open(&job.run.layout, entry, true)?;
    let mut features = 0;
    while let Some(record) = evidence.next_record()? {
        job.check_stop()?;
        features += 1;
        let (layer_name, name) = (layer.to_string(), record.feature.to_string());
        let id = json!({"dataclass_name": "NeuronId", "layer_index": layer, "neuron_index": record.feature});
        let folders = |kind| [hook, dictionary, kind, layer_name.as_str()];
        let value = neuron_record(&id, &record, tokens);
        job.out.json(&folders("collated-activations"), &name, ".json", &value)?;
        let simulations: Vec<Simulation> = evidence.simulations.of(&record.feature)?;
        let lines = job.scores.of(entry, record.feature)?;
        let scored: Vec<Value> = lines
            .iter()
            .filter_map(|line| {
                let levels =
                    simulates_levels(&line.simulator, job.run.facts.prompts.contains_key(&line.simulator));
                scored_explanation(line, levels, &record, &simulations, tokens)
            })
            .collect();
        if !scored.is_empty() {
            let value = json!({
                "dataclass_name": "NeuronSimulationResults", "neuron_id": id, "scored_explanations": scored,
            });
            job.out.json(&folders("explanations"), &name, ".jsonl", &value)?;
        }
    }
    if features == 0 {
        return Ok(Outcome::Skipped("no feature of it was explained".into()));
    }
    Ok(Outcome::Written { path: entry.exported_path(), features: Some(features) })
}

fn neuron_record(id: &Value, record: &Record, tokens: &[String]) -> Value {
    let records = |fragments: &[Fragment]| -> Vec<Value> {
        let of = |fragment: &Fragment| {
            json!({
                "dataclass_name": "ActivationRecord", "tokens": texts_of(&fragment.tokens, tokens),
                "activations": fragment.activations,
            })
        };
        fragments.iter().map(of).collect()
    };
    json!({
        "dataclass_name": "NeuronRecord", "neuron_id": id,
        "most_positive_activation_records": records(&record.top), "random_sample": records(&record.random),
        "random_sample_by_quantile": null, "quantile_boundaries": null,
        "mean": null, "variance": null, "skewness": null, "kurtosis": null,
    })
}

/// None where the explanation was not simulated.
fn scored_explanation(
    line: &FeatureLine,
    levels: bool,
    record: &Record,
    simulations: &[Simulation],
    tokens: &[String],
) -> Option<Value> {
    let explanation = line.explanation.as_ref()?;
    let of_line = |one: &&Simulation| one.explainer == line.explainer && one.simulator == line.simulator;
    let mut sequences = Vec::new();
    // neuron-explainer has the top sequences first.
    for (stratum, fragments) in [("top", &record.top), ("random", &record.random)] {
        for simulation in simulations.iter().filter(of_line).filter(|one| is_in(one, stratum)) {
            let fragment = fragments.iter().find(|fragment| fragment.fragment == simulation.fragment);
            sequences.extend(fragment.map(|fragment| scored(simulation, fragment, levels, record, tokens)));
        }
    }
    if sequences.is_empty() {
        return None;
    }
    Some(json!({
        "dataclass_name": "ScoredExplanation", "explanation": explanation,
        "scored_simulation": {
            "dataclass_name": "ScoredSimulation", "scored_sequence_simulations": sequences,
            "ev_correlation_score": line.score(CORRELATION),
            "rsquared_score": line.score("rsquared"),
            "absolute_dev_explained_score": line.score("absolute_dev_explained"),
        },
    }))
}

/// Whether a simulated fragment was drawn for a list. In protocols that allow overlap it may be in both.
fn is_in(simulation: &Simulation, stratum: &str) -> bool {
    simulation.strata.iter().any(|other| other == stratum)
}

/// One sequence: its scored tokens, with truth and prediction.
fn scored(
    simulation: &Simulation,
    fragment: &Fragment,
    levels: bool,
    record: &Record,
    texts: &[String],
) -> Value {
    let (mut tokens, mut truth, mut expected) = (Vec::new(), Vec::new(), Vec::new());
    let all = fragment.tokens.iter().zip(&fragment.activations).zip(&simulation.predicted);
    for ((token, activation), predicted) in all.skip(record.first_scored) {
        if let Some(predicted) = predicted {
            tokens.push(*token);
            truth.push(*activation);
            expected.push(*predicted);
        }
    }
    let scale = if levels { "simulated_normalized_activations" } else { "neuron_activations" };
    json!({
        "dataclass_name": "ScoredSequenceSimulation",
        "simulation": {
            "dataclass_name": "SequenceSimulation", "tokens": texts_of(&tokens, texts),
            "expected_activations": expected, "activation_scale": scale, "distribution_values": [],
            "distribution_probabilities": [], "uncalibrated_simulation": null,
        },
        "true_activations": truth,
        // Not defined where either is constant; neuron-explainer writes null there too.
        "ev_correlation_score": pearson(&truth, &expected).ok(),
        "rsquared_score": null, "absolute_dev_explained_score": null,
    })
}
