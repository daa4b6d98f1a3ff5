//! The `oracle` control: explains a feature by the labelled concept that fits it best.

use crate::base::{Attempt, Missing};
use crate::corpus::TokenLabels;
use crate::corpus::generator::Concept;
use crate::explain::NamedConcept;
use crate::features::{Explanation, HeldFragment};
use crate::run::evaluate::Evaluation;
use crate::simulate::{Oracle, Simulation};

/// Whether set number `set` contains concept number `concept`.
pub(super) fn holds(labels: &TokenLabels, set: u32, concept: usize) -> bool {
    let set = labels.sets.get(set as usize).copied().unwrap_or_default();
    Concept::at(concept).is_some_and(|concept| set.contains(concept))
}

/// Every concept of the labelled corpus.
pub(super) fn named_concepts() -> Vec<NamedConcept> {
    Concept::all().map(|concept| NamedConcept { name: concept.name(), words: concept.words() }).collect()
}

impl Evaluation<'_> {
    /// Simulates a held-out fragment from the labels of its tokens.
    pub(super) fn simulate_concept(
        &self,
        explanation: &Explanation,
        fragment: &HeldFragment,
    ) -> Attempt<Simulation> {
        let Some(labels) = self.labels else {
            return Attempt::Missing(Missing::Failed("needs_labels".into()));
        };
        let positions = self.pass.run.tokens.evaluate.cols();
        let start = fragment.fragment * positions;
        let of_fragment = &labels.evaluate[start..start + positions];
        Oracle.simulate(explanation, of_fragment, |set, concept| holds(labels, set, concept))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::base::{Matrix, Stream, write_atomic};
    use crate::corpus::TokenSets;
    use crate::explain::{TypeMeans, best_concepts};
    use crate::run::Places;
    use crate::run::inputs::prepare::open_corpus;
    use crate::subject::embedded;

    /// The embedded text, labelled: 202,000 tokens of both splits.
    fn corpus() -> TokenSets {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        let text = "corpus: {source: embedded, fit_tokens: 100_000, eval_fragments: 1_600}\n\
                    hooks: [blocks.2.hook_resid_post]\nmethods: [{kind: random}]\ncontrols: [oracle]\n";
        write_atomic(&path, text.as_bytes()).expect("written");
        let suite = crate::suite::load(&path, &[]).expect("a suite");
        let places = Places {
            cache: folder.path().to_path_buf(),
            out: folder.path().to_path_buf(),
            remote: None,
            suite_folder: Path::new(".").to_path_buf(),
            device: crate::base::DeviceName::Cpu,
            hub_endpoint: String::new(),
            hub_token: None,
            hub_shared: None,
            keys: BTreeMap::new(),
            openai_base_url: None,
            budget: None,
            offline: true,
            program: None,
        };
        let subject = embedded::load().expect("the embedded model");
        open_corpus(&suite, &subject, &places, &|_| ()).expect("text").tokens
    }

    #[test]
    fn every_concept_occurs_in_the_embedded_text() {
        let tokens = corpus();
        let labels = tokens.labels.expect("labelled");
        let all: Vec<u32> = labels.fit.iter().chain(&labels.evaluate).copied().collect();
        assert!(all.len() >= 200_000);
        let mut counts: Vec<(usize, Concept)> = Concept::all()
            .map(|concept| {
                let has = |set: &&u32| labels.sets[**set as usize].contains(concept);
                (all.iter().filter(has).count(), concept)
            })
            .collect();
        counts.sort_unstable();
        assert!(counts[0].0 >= 20, "{} occurs {} times", counts[0].1, counts[0].0);
    }

    fn correlation(pairs: &[(f64, f64)]) -> f64 {
        let n = pairs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / n;
        let (a, b) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
        sum(&|pair| (pair.0 - a) * (pair.1 - b))
            / (sum(&|pair| (pair.0 - a).powi(2)) * sum(&|pair| (pair.1 - b).powi(2))).sqrt()
    }

    #[test]
    fn a_planted_concept_is_found_and_predicts_what_it_should() {
        let tokens = corpus();
        let labels = tokens.labels.expect("labelled");
        let planted =
            [Concept::MONTH, Concept::CLOSING_BRACKET, Concept::NAME_SECOND_MENTION, Concept::IN_QUOTES];
        let mut stream = Stream::new(4, "planted");
        let mut activation = |set: u32, concept: Concept| {
            let on = labels.sets[set as usize].contains(concept);
            (if on { 2.0 } else { 0.0 } + 0.1 * stream.unit()) as f32
        };
        let mut means = TypeMeans::new((0..=planted.len()).collect());
        for sets in labels.fit.chunks(8192) {
            // The last feature never fires.
            let codes = Matrix::from_fn(sets.len(), planted.len() + 1, |row, col| {
                planted.get(col).map_or(0.0, |&concept| activation(sets[row], concept))
            });
            means.add(sets, &codes).expect("added");
        }
        let found = best_concepts(&means, &named_concepts(), |set, concept| holds(&labels, set, concept));
        let silent = Attempt::Missing(Missing::Undefined("no_concept_fits".into()));
        assert_eq!(found[planted.len()], silent);
        let predictions: Vec<Vec<f64>> = found[..planted.len()]
            .iter()
            .zip(planted)
            .map(|(found, planted)| {
                let Attempt::Done(explanation) = found else { panic!("{found:?}") };
                let Explanation::Concept(means) = explanation else { panic!("{explanation:?}") };
                assert_eq!((means.name.as_str(), means.concept), (planted.name(), planted.index()));
                assert!((means.on - 2.05).abs() < 0.02 && (means.off - 0.05).abs() < 0.01, "{means:?}");
                let holds = |set, concept| holds(&labels, set, concept);
                let simulated = Oracle.simulate(explanation, &labels.evaluate, holds);
                simulated.done().expect("simulated").expected.iter().copied().map(Option::unwrap).collect()
            })
            .collect();
        for (at, &concept) in planted.iter().enumerate() {
            let truth: Vec<f64> =
                labels.evaluate.iter().map(|&set| f64::from(activation(set, concept))).collect();
            for (other, prediction) in predictions.iter().enumerate() {
                let pairs: Vec<(f64, f64)> = truth.iter().copied().zip(prediction.iter().copied()).collect();
                let score = correlation(&pairs);
                let right = if at == other { score > 0.95 } else { score.abs() < 0.1 };
                assert!(right, "{} predicted by {}: {score}", concept.name(), planted[other].name());
            }
        }
    }
}
