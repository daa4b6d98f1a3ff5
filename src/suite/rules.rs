//! Checks across several fields: from the file as written to the checked [`Suite`].

mod effects;
mod erasure;
mod features;
mod matched;
mod methods;
mod pairs;
mod stored;
mod task;

use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::checked::{Controls, MethodSpec, Suite};
use super::controls::{ControlEntry, ControlName};
use super::features::{FeatureChoice, QualityPass};
use super::names;
use super::node::Node;
use super::read::{Problem, Reader, unknown};
use super::schema::SUITE;
use super::spec::{ProtocolFields, ProtocolName, Statistics, SuiteFile};
use crate::base::{HookSelector, distinct};
use crate::features::{Protocol, WalkOrder};
use crate::score::catalog::{ScorerRow, default_scorers, scorer_of};

/// Default number of features scored per cell.
const PER_CELL: usize = 40;

/// Checks a suite. `default_name` applies if the suite gives no name. `folder` holds the suite file.
pub fn check(root: &Node, default_name: &str, folder: &Path) -> Result<Suite, Vec<Problem>> {
    let mut rules = Rules { root: root.clone(), reader: Reader::default(), uses: Vec::new() };
    let suite = rules.suite(default_name, folder);
    let mut problems = rules.reader.problems;
    match suite {
        Some(suite) if problems.is_empty() => Ok(suite),
        _ => {
            problems.sort_by_key(|found| (found.at.line, found.at.column));
            Err(problems)
        }
    }
}

/// What applies to methods that say nothing else.
struct Usual<'a> {
    features: Option<FeatureChoice>,
    quality: QualityPass,
    /// The published protocol, whose settings are then the defaults.
    published: Option<&'a Protocol>,
    /// The method that `topk` variants are matched to, if the suite has a sparse one.
    matched: Option<String>,
    /// Folder of the suite file.
    folder: &'a Path,
}

struct Rules {
    /// The file, with files named by `use` merged in.
    root: Node,
    reader: Reader,
    /// For each method: the file that it uses.
    uses: Vec<Option<String>>,
}

impl Rules {
    fn wrong(&mut self, path: &str, message: impl Into<String>) {
        // Finding the place takes longer than the rest.
        if !self.reader.is_full() {
            let at = self.root.place(path);
            self.reader.wrong(path, at, message);
        }
    }

    fn check_name(&mut self, path: &str, name: &str) {
        if let Some(message) = names::problem(name) {
            self.wrong(path, message);
        }
    }

    /// Deserialises a part of the file. A failure is reported unless the reader already found its cause.
    fn typed<T: DeserializeOwned>(&mut self, path: &str, json: Json) -> Option<T> {
        match serde_json::from_value(json) {
            Ok(value) => Some(value),
            Err(error) => {
                if !self.reader.is_wrong(path) {
                    self.wrong(path, error.to_string());
                }
                None
            }
        }
    }

    fn suite(&mut self, default_name: &str, folder: &Path) -> Option<Suite> {
        self.merge_used_files(folder);
        let root = self.root.clone();
        let json = self.reader.value(&SUITE, &root, "")?;
        let mut file: SuiteFile = self.typed("", json)?;
        self.stored_activations(&mut file);
        let name = file.name.clone().unwrap_or_else(|| default_name.to_string());
        self.check_name("name", &name);
        let hooks = self.hooks(&file.hooks);
        let (protocol, published) = self.protocol(&file.protocol);
        let usual = Usual {
            features: self.feature_choice("features", &file.features, folder),
            quality: file.quality,
            published: protocol.as_ref().filter(|_| published),
            matched: matched::usual(&file.methods, &file.statistics.reference),
            folder,
        };
        let methods = self.methods(&file.methods, &usual);
        let per_cell = match (&usual.features, protocol.as_ref().map(|all| all.walk)) {
            (Some(FeatureChoice::PerCell(n)), _) => *n,
            (Some(FeatureChoice::Ids(ids)), _) => ids.len(),
            (None, Some(WalkOrder::First(n))) => n,
            (None, _) => PER_CELL,
        };
        let scorers = self.scorers(&file.scorers, published);
        let pairs = self.pairs(&file, &scorers);
        let stored = file.subject.activations.is_some();
        if stored {
            self.pairs_without_model(&file);
        }
        let scores: Vec<&'static str> =
            scorers.iter().flat_map(|(scorer, _)| scorer.scores.iter().map(|score| score.name)).collect();
        let effects = self.effects(file.effects, &scores, &pairs, protocol.as_ref());
        let controls = self.controls(file.controls, &methods, &file.corpus.source, stored);
        let task = self.task(file.task, stored);
        let erasure = self.erasure(file.erasure, stored);
        let statistics = self.statistics(file.statistics, &methods, &scores, published);
        let mut subject = file.subject;
        subject.processing = distinct(std::mem::take(&mut subject.processing));
        Some(Suite {
            name,
            seed: file.seed,
            subject,
            corpus: file.corpus,
            hooks,
            methods,
            per_cell,
            examples: file.examples,
            protocol: protocol?,
            pairs,
            scorers: scores,
            effects,
            controls,
            task,
            erasure,
            statistics,
            limits: file.limits,
        })
    }

    fn hooks(&mut self, names: &[Option<String>]) -> Vec<(String, HookSelector)> {
        let mut hooks = Vec::new();
        for (nth, name) in names.iter().enumerate() {
            let Some(name) = name else { continue };
            match name.parse::<HookSelector>() {
                Ok(selector) => hooks.push((name.clone(), selector)),
                Err(error) => self.wrong(&format!("hooks.{nth}"), error.to_string()),
            }
        }
        hooks
    }

    /// The protocol, and whether it is `cunningham2023`.
    fn protocol(&mut self, written: &Json) -> (Option<Protocol>, bool) {
        let constants = written.as_object().cloned().unwrap_or_default();
        let fields = match written {
            Json::String(base) => serde_json::json!({ "base": base }),
            _ => written.clone(),
        };
        let Some(fields) = self.typed::<ProtocolFields>("protocol", fields) else { return (None, false) };
        let published = fields.base == ProtocolName::Cunningham2023;
        if !published && !fields.deviations.is_empty() {
            let message = "applies only to `base: cunningham2023`: `standard` is not a published protocol";
            self.wrong("protocol.deviations", message);
        }
        let named = match fields.base {
            ProtocolName::Standard => Protocol::standard(),
            ProtocolName::Cunningham2023 => Protocol::cunningham2023(&fields.deviations),
        };
        let Ok(Json::Object(mut all)) = serde_json::to_value(named) else { return (None, published) };
        all.extend(constants.into_iter().filter(|(key, _)| !["base", "deviations"].contains(&key.as_str())));
        let protocol = self.typed::<Protocol>("protocol", Json::Object(all));
        if let Some(protocol) = &protocol {
            self.check_name("protocol.name", &protocol.name);
        }
        if let Some(Err(error)) = protocol.as_ref().map(Protocol::check) {
            self.wrong("protocol", error.to_string());
        }
        (protocol, published)
    }

    /// Requested scorers without duplicates, each with its path.
    fn scorers(&mut self, asked: &[Option<String>], published: bool) -> Vec<(&'static ScorerRow, String)> {
        let mut scorers: Vec<(&'static ScorerRow, String)> = Vec::new();
        for (nth, name) in asked.iter().enumerate() {
            let Some(scorer) = name.as_deref().and_then(scorer_of) else { continue };
            if !scorers.iter().any(|(other, _)| other.name == scorer.name) {
                scorers.push((scorer, format!("scorers.{nth}")));
            }
        }
        if scorers.is_empty() {
            // The published protocol has no non-firing fragments.
            let all = default_scorers().filter_map(scorer_of);
            let kept = all.filter(|scorer| !(published && scorer.needs_non_firing()));
            scorers = kept.map(|scorer| (scorer, "scorers".to_string())).collect();
        }
        scorers
    }

    fn controls(
        &mut self,
        entries: Option<Vec<Option<ControlEntry>>>,
        methods: &[MethodSpec],
        source: &str,
        stored: bool,
    ) -> Controls {
        let Some(entries) = entries else { return Controls { shuffled: true, ..Controls::default() } };
        let mut controls = Controls::default();
        for (nth, entry) in entries.into_iter().enumerate() {
            let path = format!("controls.{nth}");
            match entry {
                None => {}
                Some(ControlEntry::Named(ControlName::Shuffled)) => controls.shuffled = true,
                Some(ControlEntry::Named(ControlName::Oracle)) => {
                    controls.oracle = true;
                    if source != "embedded" {
                        let message = format!(
                            "`oracle` needs text whose tokens are labelled: expected `corpus.source: embedded`, \
                             found `{source}`. Leave `oracle` out, or change the source"
                        );
                        self.wrong(&path, message);
                    }
                }
                Some(ControlEntry::OnPermuted(_)) if stored => self.permuted_without_model(&path),
                Some(ControlEntry::OnPermuted(on)) => {
                    for (key, names, list) in [
                        (Controls::RANDOM_WEIGHTS, on.random_weights, &mut controls.random_weights),
                        (
                            Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS,
                            on.random_weights_and_embeddings,
                            &mut controls.random_weights_and_embeddings,
                        ),
                    ] {
                        self.control_methods(&format!("{path}.{key}"), names, methods, list);
                    }
                }
            }
        }
        controls
    }

    /// Checks the methods that a control on permuted weights repeats.
    fn control_methods(
        &mut self,
        path: &str,
        names: Vec<String>,
        methods: &[MethodSpec],
        list: &mut Vec<String>,
    ) {
        let known: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
        for (nth, name) in names.into_iter().enumerate() {
            let path = format!("{path}.{nth}");
            let Some(method) = methods.iter().find(|method| method.is_called(&name)) else {
                self.wrong(&path, unknown(&name, "method", &known));
                continue;
            };
            if let Some(needed) = method.params.matched()
                && !list.iter().any(|name| name == needed)
            {
                let message = format!("`{name}` takes its k from `{needed}`: list `{needed}` before it");
                self.wrong(&path, message);
            }
            list.push(name);
        }
    }

    fn statistics(
        &mut self,
        mut statistics: Statistics,
        methods: &[MethodSpec],
        scores: &[&'static str],
        published: bool,
    ) -> Statistics {
        if statistics.interval.is_empty() {
            statistics.interval = if published { "normal" } else { "bca" }.into();
        }
        if statistics.primary.is_empty() {
            statistics.primary = scores.first().copied().unwrap_or_default().into();
        } else if !scores.contains(&statistics.primary.as_str()) {
            let message = format!("`{}` is not among `scorers`", statistics.primary);
            self.wrong("statistics.primary", message);
        }
        let mut rows: Vec<String> = methods.iter().flat_map(MethodSpec::row_methods).collect();
        rows.dedup();
        if statistics.reference.is_empty() {
            statistics.reference = rows.first().cloned().unwrap_or_default();
        } else if !rows.contains(&statistics.reference) {
            let known: Vec<&str> = rows.iter().map(String::as_str).collect();
            let message = unknown(&statistics.reference, "method", &known);
            self.wrong("statistics.reference", message);
        }
        statistics
    }
}
