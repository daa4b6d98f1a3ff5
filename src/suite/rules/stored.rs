//! Suites on stored activations: what needs a model or another text is an error.

use super::Rules;
use crate::explain::catalog::{DEFAULT_EXPLAINER, ExplainerKind, explainers};
use crate::suite::spec::{ExplainerFields, KindOrFields, PairEntry, SuiteFile};

/// `corpus.source` of a suite on stored activations, as the manifest shows it.
const SOURCE: &str = "activations";

/// Fields that say how a model is run.
const OF_MODEL: [&str; 4] = ["model", "revision", "half_products", "processing"];

/// Fields of a text that is read and cut into contexts.
const OF_TEXT: [&str; 6] = ["source", "field", "separator", "revision", "files", "ctx_tokens"];

fn kind_of(explainer: &KindOrFields<ExplainerFields>) -> &str {
    match explainer {
        KindOrFields::Kind(kind) => kind,
        KindOrFields::Fields(fields) => &fields.kind,
    }
}

impl Rules {
    /// Checks the fields of `subject` and `corpus`. With activations there is no model and no corpus to name.
    pub(super) fn stored_activations(&mut self, file: &mut SuiteFile) {
        if file.subject.activations.is_none() {
            if file.subject.tokenizer.is_some() {
                let message =
                    "applies only beside `activations`: a model brings its own tokenizer. Leave it out";
                self.wrong("subject.tokenizer", message);
            }
            return;
        }
        let made = "the activations are already made. Leave it out";
        for field in OF_MODEL {
            self.refuse_field("subject", field, &format!("does not apply beside `activations`: {made}"));
        }
        let texts = "does not apply with `subject.activations`: texts and contexts are those of the activations. Leave it out";
        for field in OF_TEXT {
            self.refuse_field("corpus", field, texts);
        }
        file.subject.model.clear();
        file.corpus.source = SOURCE.into();
    }

    fn refuse_field(&mut self, section: &str, field: &str, message: &str) {
        let path = format!("{section}.{field}");
        if self.root.find(&path).is_some() {
            self.wrong(&path, message);
        }
    }

    /// Explainers that run the subject on new texts are errors.
    pub(super) fn pairs_without_model(&mut self, file: &SuiteFile) {
        let kind = file.explainer.as_ref().map(kind_of);
        self.refuse_probing("explainer", kind.unwrap_or(DEFAULT_EXPLAINER), kind.is_none());
        for (nth, entry) in file.pairs.iter().enumerate() {
            let kind = match entry {
                Some(PairEntry::Both(fields)) => kind_of(&fields.explainer),
                Some(PairEntry::Alone(explainer)) => kind_of(explainer),
                None => continue,
            };
            self.refuse_probing(&format!("pairs.{nth}"), kind, false);
        }
    }

    fn refuse_probing(&mut self, path: &str, kind: &str, default: bool) {
        let runs = |kind: ExplainerKind| kind.probes() || kind.reads_output();
        if self.reader.is_wrong(path) || !ExplainerKind::named(kind).is_some_and(runs) {
            return;
        }
        let others: Vec<&str> = explainers().filter(|row| !runs(*row)).map(|row| row.name).collect();
        let given = if default { "is not given, and its default " } else { "" };
        self.wrong(
            path,
            format!(
                "{given}`{kind}` runs the model on new texts, and `subject.activations` has no model: use one of {}",
                others.join(", ")
            ),
        );
    }

    /// Controls on permuted weights are errors.
    pub(super) fn permuted_without_model(&mut self, path: &str) {
        let message = "needs the model's weights, and `subject.activations` has none: leave this control out, or name the \
                       model (`subject.model`)";
        self.wrong(path, message);
    }
}
