//! What concerns several fields of a suite: from the file as written to the checked [`Suite`].

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::baselines;
use super::checked::{
    Controls, ExplainerSpec, JudgeSpec, MethodSpec, ModelExplainer, ModelSimulator, Pair, SimulatorSpec,
    Suite, TrainingSpec,
};
use super::node::{Node, Value};
use super::read::{Problem, Reader, unknown};
use super::schema::{self, SUITE};
use super::spec::{
    ControlEntry, ControlName, ExplainerFields, JudgeFields, MethodFields, PairEntry, ProtocolFields,
    ProtocolName, SimulatorFields, Statistics, SuiteFile, Teller,
};
use crate::base::HookSelector;
use crate::dictionary::{Kind, MethodParams};
use crate::explain::catalog::{DEFAULT_EXPLAINER, ExplainerKind, explainers};
use crate::features::{Protocol, WalkOrder};
use crate::llm::{ClientKind, LlmSpec};
use crate::report::dictionary_name;
use crate::score::catalog::{ScorerRow, default_scorers, scorer_of};
use crate::simulate::catalog::SimulatorKind;

/// Features scored in each cell, unless the suite or its protocol says otherwise.
const PER_CELL: usize = 40;

/// Checks a whole suite. `default_name` names a suite that gives no name; `folder` holds the suite file, for the
/// files that it uses.
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

struct Rules {
    /// The file, with the files that methods use merged into them.
    root: Node,
    reader: Reader,
    /// By method: the file that it uses.
    uses: Vec<Option<String>>,
}

impl Rules {
    fn wrong(&mut self, path: &str, message: impl Into<String>) {
        let at = self.root.place(path);
        self.reader.wrong(path, at, message);
    }

    /// A part of the file as its type. Where that fails and no problem says why, the failure is one.
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
        let file: SuiteFile = self.typed("", json)?;
        let name = file.name.clone().unwrap_or_else(|| default_name.to_string());
        self.check_name(&name);
        let hooks = self.hooks(&file.hooks);
        let (protocol, published) = self.protocol(&file.protocol);
        let methods = self.methods(&file.methods, published.then_some(protocol.as_ref()).flatten());
        let per_cell = file.features.per_cell.unwrap_or(match protocol.as_ref().map(|all| all.walk) {
            Some(WalkOrder::First(n)) => n,
            _ => PER_CELL,
        });
        let scorers = self.scorers(&file.scorers, published);
        let pairs = self.pairs(&file, &scorers);
        let scores: Vec<&'static str> =
            scorers.iter().flat_map(|(scorer, _)| scorer.scores.iter().map(|score| score.name)).collect();
        let controls = self.controls(file.controls, &methods, &file.corpus.source);
        let statistics = self.statistics(file.statistics, &methods, &scores, published);
        let mut subject = file.subject;
        let mut seen = Vec::new();
        subject.processing.retain(|one| {
            !seen.contains(one) && {
                seen.push(*one);
                true
            }
        });
        Some(Suite {
            name,
            seed: file.seed,
            subject,
            corpus: file.corpus,
            hooks,
            methods,
            per_cell,
            protocol: protocol?,
            pairs,
            scorers: scores,
            controls,
            statistics,
            limits: file.limits,
        })
    }

    fn check_name(&mut self, name: &str) {
        let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(is_safe) || name.starts_with('.') {
            let message = format!("`{name}` names a folder: use letters, digits, `-`, `_` and `.`");
            self.wrong("name", message);
        }
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

    /// The protocol, and whether it is the published one.
    fn protocol(&mut self, written: &Json) -> (Option<Protocol>, bool) {
        let constants = written.as_object().cloned().unwrap_or_default();
        let fields = match written {
            Json::String(base) => serde_json::json!({ "base": base }),
            _ => written.clone(),
        };
        let Some(fields) = self.typed::<ProtocolFields>("protocol", fields) else { return (None, false) };
        let published = fields.base == ProtocolName::Cunningham2023;
        if !published && !fields.deviations.is_empty() {
            let message = "belongs to `base: cunningham2023`; `standard` has no published habits to leave";
            self.wrong("protocol.deviations", message);
        }
        let named = match fields.base {
            ProtocolName::Standard => Protocol::standard(),
            ProtocolName::Cunningham2023 => Protocol::cunningham2023(&fields.deviations),
        };
        let Ok(Json::Object(mut all)) = serde_json::to_value(named) else { return (None, published) };
        all.extend(constants.into_iter().filter(|(key, _)| !["base", "deviations"].contains(&key.as_str())));
        let protocol = self.typed::<Protocol>("protocol", Json::Object(all));
        if let Some(Err(error)) = protocol.as_ref().map(Protocol::check) {
            self.wrong("protocol", error.to_string());
        }
        (protocol, published)
    }

    /// Scorers in the order asked for, each once, and where they are asked for.
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
                            "`oracle` needs text whose tokens are labelled, which only `corpus.source: embedded` is, \
                             not `{source}`: leave it out, or change the source"
                        );
                        self.wrong(&path, message);
                    }
                }
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

    /// The methods that a control on another subject repeats.
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

/// Methods.
impl Rules {
    /// Puts the fields of the file that a method uses into the method, below its own.
    fn merge_used_files(&mut self, folder: &Path) {
        let Value::Map(entries) = &mut self.root.value else { return };
        let Some((_, _, methods)) = entries.iter_mut().find(|(key, _, _)| key == "methods") else { return };
        let mut items: Vec<(String, &mut Node)> = match &mut methods.value {
            Value::List(items) => {
                items.iter_mut().enumerate().map(|(nth, item)| (format!("methods.{nth}"), item)).collect()
            }
            _ => vec![("methods".to_string(), methods)],
        };
        for (path, item) in &mut items {
            self.uses.push(merge_used_file(item, path, folder, &mut self.reader));
        }
    }

    /// The methods with their sweeps and trainings; `published` is the protocol whose habits are their defaults.
    fn methods(
        &mut self,
        entries: &[Option<Map<String, Json>>],
        published: Option<&Protocol>,
    ) -> Vec<MethodSpec> {
        let mut methods: Vec<(MethodSpec, usize)> = Vec::new();
        for (nth, entry) in entries.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let read = self.method(nth, entry, published).unwrap_or_default();
            methods.extend(read.into_iter().map(|method| (method, nth)));
        }
        self.check_names(&methods);
        methods.into_iter().map(|(method, _)| method).collect()
    }

    fn method(
        &mut self,
        nth: usize,
        entry: &Map<String, Json>,
        published: Option<&Protocol>,
    ) -> Option<Vec<MethodSpec>> {
        let path = &format!("methods.{nth}");
        let fields: MethodFields = self.typed(path, Json::Object(entry.clone()))?;
        let kind = Kind::named(&fields.kind)?;
        let common = schema::of::<MethodFields>();
        let is_common = |key: &str| !common["properties"][key].is_null();
        let mut own: Map<String, Json> =
            entry.iter().filter(|(key, _)| !is_common(key)).map(|(k, v)| (k.clone(), v.clone())).collect();
        if let Some(protocol) = published {
            publish(kind, &mut own, protocol);
        }
        if fields.seeds > 1 && !kind.draws() {
            let message =
                format!("`{kind}` draws nothing, so every training would be the same: leave it out");
            self.wrong(&format!("{path}.seeds"), message);
            return None;
        }
        let family = fields.name.clone().unwrap_or_else(|| fields.kind.clone());
        let mut methods = Vec::new();
        for point in self.sweep(path, kind, &fields)? {
            let mut own = own.clone();
            let mut name = family.clone();
            let mut places: Vec<(String, String)> = Vec::new();
            if let Some((field, value, place)) = &point {
                name = format!("{family}_{value}");
                own.insert(field.clone(), value.clone());
                places.push((field.clone(), place.clone()));
            }
            let params = self.params(path, kind, own, &places)?;
            for training in 0..fields.seeds {
                methods.push(MethodSpec {
                    name: dictionary_name(&name, Some(training)),
                    params: params.clone(),
                    training: (fields.seeds > 1)
                        .then(|| TrainingSpec { method: name.clone(), nth: training }),
                    sweep: point.as_ref().map(|_| family.clone()),
                });
            }
        }
        Some(methods)
    }

    /// One point for each value that a method sweeps over, with the value's place; one without, where it does not.
    #[expect(clippy::type_complexity, reason = "a field, its value and its place, read once")]
    fn sweep(
        &mut self,
        path: &str,
        kind: Kind,
        fields: &MethodFields,
    ) -> Option<Vec<Option<(String, Json, String)>>> {
        let Some((field, values)) = fields.sweep.as_ref().and_then(|sweep| sweep.iter().next()) else {
            return Some(vec![None]);
        };
        let own = kind.fields();
        let Some(schema) = own["properties"].get(field) else {
            let known: Vec<&str> =
                own["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            self.wrong(&format!("{path}.sweep"), unknown(field, "field", &known));
            return None;
        };
        let mut points = Vec::new();
        for (nth, value) in values.iter().enumerate() {
            let place = format!("{path}.sweep.{field}.{nth}");
            let node = self.root.find(&place)?.clone();
            self.reader.value(schema, &node, &format!("{path}.{field}"))?;
            points.push(Some((field.clone(), Json::Number(value.clone()), place)));
        }
        Some(points)
    }

    /// The parameters of a kind, checked; `places` are where values stand that are not at their field.
    fn params(
        &mut self,
        path: &str,
        kind: Kind,
        own: Map<String, Json>,
        places: &[(String, String)],
    ) -> Option<MethodParams> {
        if self.reader.is_wrong(path) {
            return MethodParams::of_kind(kind, Json::Object(own)).ok();
        }
        let params = match MethodParams::of_kind(kind, Json::Object(own)) {
            Ok(params) => params,
            Err(error) => {
                self.wrong(path, error.to_string());
                return None;
            }
        };
        for found in params.check().err().unwrap_or_default() {
            let field = format!("{path}.{}", found.field);
            let place = places.iter().find(|(name, _)| name == found.field).map(|(_, place)| place);
            let at = self.root.place(place.unwrap_or(&field));
            self.reader.wrong(&field, at, found.message);
        }
        Some(params)
    }

    /// Rows need distinct names, and `match` must name a sparse method of the suite.
    fn check_names(&mut self, methods: &[(MethodSpec, usize)]) {
        let mut rows: Vec<String> = Vec::new();
        for (method, nth) in methods {
            for row in method.row_names() {
                if rows.contains(&row) {
                    let message = format!("`{row}` is used twice: give one of them another `name`");
                    self.wrong(&format!("methods.{nth}"), message);
                }
                rows.push(row);
            }
        }
        let names: Vec<&str> = methods.iter().map(|(other, _)| other.name.as_str()).collect();
        for (method, nth) in methods {
            let Some(name) = method.params.matched() else { continue };
            if names.contains(&name) && name != method.name {
                continue;
            }
            let from = self.uses.get(*nth).cloned().flatten();
            let others: Vec<&str> = names.iter().copied().filter(|other| *other != method.name).collect();
            let message = match from {
                Some(file) => format!(
                    "takes its k from the method `{name}`, as `{file}` says, and the suite has no method of that name: \
                     write `match: NAME` beside `use:` (methods here: {})",
                    others.join(", ")
                ),
                None => unknown(name, "method", &others),
            };
            self.wrong(&format!("methods.{nth}.match"), message);
        }
    }
}

/// Merges the file of `use` into a method; returns the file's name.
fn merge_used_file(item: &mut Node, path: &str, folder: &Path, reader: &mut Reader) -> Option<String> {
    let Value::Map(entries) = &mut item.value else { return None };
    let (_, at, file) = entries.iter().find(|(key, _, _)| key == "use")?.clone();
    let Value::Text(file) = &file.value else { return None };
    let base = match baselines::load(file, folder) {
        Ok(Node { value: Value::Map(base), .. }) => base,
        Ok(other) => {
            reader.wrong(path, at, format!("`{file}` holds {}, expected a mapping", other.kind()));
            Vec::new()
        }
        Err(message) => {
            reader.wrong(&format!("{path}.use"), at, message);
            Vec::new()
        }
    };
    for (key, _, mut value) in base {
        if !entries.iter().any(|(other, _, _)| *other == key) {
            value.at = at;
            entries.push((key, at, value));
        }
    }
    Some(file.clone())
}

/// Habits of the published comparison, where the suite says nothing else: autoencoders on raw activations with the
/// published weight of the L1 term and learning rate, PCA without its mean (Cunningham et al. 2023 and its code).
fn publish(kind: Kind, own: &mut Map<String, Json>, protocol: &Protocol) {
    const RESIDUAL_ALPHA: f64 = 8.577e-4;
    const MLP_ALPHA: f64 = 3.2e-4;
    let mut default = |field: &str, value: Json| {
        own.entry(field).or_insert(value);
    };
    match kind {
        Kind::Sae | Kind::SaeUntied => {
            let alpha = if kind == Kind::Sae { RESIDUAL_ALPHA } else { MLP_ALPHA };
            default("alpha", alpha.into());
            default("raw_inputs", true.into());
            default("centred", protocol.centred.into());
            default("lr", 1e-3.into());
        }
        Kind::Pca => default("centred", protocol.centred.into()),
        _ => {}
    }
}

/// What the scores that are asked for need of a pair.
struct Wanted<'a> {
    scorers: &'a [(&'static ScorerRow, String)],
    judge: &'a JudgeFields,
}

impl Wanted<'_> {
    /// The first scorer that a language model judges for, with its place.
    fn first_judged(&self) -> Option<&(&'static ScorerRow, String)> {
        self.scorers.iter().find(|(scorer, _)| scorer.is_judged())
    }

    fn simulations(&self) -> bool {
        self.scorers.iter().any(|(scorer, _)| !scorer.is_judged())
    }
}

/// Explainers, simulators and judges.
impl Rules {
    fn pairs(&mut self, file: &SuiteFile, scorers: &[(&'static ScorerRow, String)]) -> Vec<Pair> {
        let wanted = &Wanted { scorers, judge: &file.judge };
        if let Some(llm) = &file.judge.llm {
            self.check_llm("judge.llm", llm);
        }
        let mut pairs: Vec<Pair> = Vec::new();
        let explainer = file.explainer.clone().unwrap_or(Teller::Kind(DEFAULT_EXPLAINER.into()));
        if !self.reader.is_wrong("explainer") && !self.reader.is_wrong("simulator") {
            let places = ("explainer", "simulator");
            pairs.extend(self.pair(explainer, file.simulator.clone(), places, wanted));
        }
        for (nth, entry) in file.pairs.iter().enumerate() {
            let path = format!("pairs.{nth}");
            let Some(entry) = entry.clone().filter(|_| !self.reader.is_wrong(&path)) else { continue };
            let (inner, other) = (format!("{path}.explainer"), format!("{path}.simulator"));
            let pair = match entry {
                PairEntry::Both(fields) => {
                    self.pair(fields.explainer, fields.simulator, (&inner, &other), wanted)
                }
                PairEntry::Alone(explainer) => self.pair(explainer, None, (&path, &other), wanted),
            };
            let Some(pair) = pair else { continue };
            let names = |pair: &Pair| (pair.explainer.name().to_string(), pair.simulator.name().to_string());
            if pairs.iter().any(|other| names(other) == names(&pair)) {
                let (explainer, simulator) = names(&pair);
                let message = format!(
                    "`{explainer}` read by `{simulator}` is there already: give one of them a `name` of its own"
                );
                self.wrong(&path, message);
            } else {
                pairs.push(pair);
            }
        }
        self.check_that_somebody_is_judged(wanted, &pairs);
        pairs
    }

    fn check_that_somebody_is_judged(&mut self, wanted: &Wanted<'_>, pairs: &[Pair]) {
        let Some((scorer, place)) = wanted.first_judged() else { return };
        if pairs.is_empty() || pairs.iter().any(|pair| pair.judge.is_some()) {
            return;
        }
        let message = format!(
            "asks for `{}`, in which a language model judges by an explanation in words, and no explainer writes one: \
             name an explainer with a language model, `explainer: {{kind: …, llm: {{client: …, model: …}}}}` (kinds: \
             {})",
            scorer.name,
            names(explainers().filter(|row| row.asks_model()).map(|row| row.name))
        );
        let place = place.clone();
        self.wrong(&place, message);
    }

    /// An explainer with its simulator, checked against each other.
    fn pair(
        &mut self,
        explainer: Teller<ExplainerFields>,
        simulator: Option<Teller<SimulatorFields>>,
        (path, simulator_path): (&str, &str),
        wanted: &Wanted<'_>,
    ) -> Option<Pair> {
        let explainer = explainer_fields(explainer);
        let kind = ExplainerKind::named(&explainer.kind)?;
        let simulator = simulator.map(simulator_fields);
        if !kind.asks_model() {
            return self.offline_pair(kind, simulator, simulator_path);
        }
        let name = explainer.name.clone().unwrap_or_else(|| explainer.kind.clone());
        let reader = match &simulator {
            None if !wanted.simulations() && explainer.best_of == 1 => None,
            None => {
                let known = names(SimulatorKind::all().map(|row| row.name));
                let message = format!(
                    "`{name}` writes sentences, and no simulator is named that reads them (known: {known})"
                );
                self.wrong(path, message);
                return None;
            }
            Some(fields) => {
                let Some(found) = SimulatorKind::named(&fields.kind) else {
                    self.wrong(simulator_path, format!("`{}` reads patterns and no sentences", fields.kind));
                    return None;
                };
                Some((found, fields))
            }
        };
        let Some(llm) = explainer.llm.clone() else {
            let message = format!(
                "`{name}` asks a language model and none is named: add `llm: {{client: …, model: …}}`"
            );
            self.wrong(path, message);
            return None;
        };
        let llm = self.check_llm(&format!("{path}.llm"), &llm);
        self.check_shots(path, explainer.shots, &explainer.kind, kind.n_examples());
        let simulator = match reader {
            None => None,
            Some((kind, fields)) => Some(self.simulator(kind, fields, &llm, simulator_path)?),
        };
        let answering = simulator.as_ref().map_or(&llm, |simulator| &simulator.llm);
        let judge = self.judge(answering, path, wanted);
        let usual = ModelExplainer::of(kind, llm.clone());
        let explainer = ModelExplainer {
            name,
            attempts: explainer.attempts,
            best_of: explainer.best_of,
            shots: explainer.shots,
            temperature: explainer.temperature.unwrap_or(usual.temperature),
            ..usual
        };
        // Where every score is judged, a simulator serves only to choose among several explanations.
        let asked = wanted.simulations() || explainer.best_of > 1;
        let simulator = match simulator.filter(|_| asked) {
            Some(simulator) => SimulatorSpec::Model(Box::new(simulator)),
            None => SimulatorSpec::Nobody,
        };
        Some(Pair { explainer: ExplainerSpec::Model(Box::new(explainer)), simulator, judge })
    }

    fn offline_pair(
        &mut self,
        kind: ExplainerKind,
        simulator: Option<SimulatorFields>,
        path: &str,
    ) -> Option<Pair> {
        match simulator {
            Some(other) if other.kind != kind.name => {
                let name = other.name.unwrap_or(other.kind);
                let message = format!(
                    "`{name}` cannot read what `{}` writes: an offline explainer's patterns are read by its own kind",
                    kind.name
                );
                self.wrong(path, message);
                None
            }
            _ => Some(Pair::offline(kind)),
        }
    }

    /// The explainer's model answers unless another is named.
    fn simulator(
        &mut self,
        kind: SimulatorKind,
        fields: &SimulatorFields,
        of_explainer: &LlmSpec,
        path: &str,
    ) -> Option<ModelSimulator> {
        let llm = match &fields.llm {
            Some(llm) => self.check_llm(&format!("{path}.llm"), llm),
            None => of_explainer.clone(),
        };
        self.check_shots(path, fields.shots, &fields.kind, kind.n_examples());
        if kind.needs_local_model && llm.client != ClientKind::Local {
            let message = "needs the probabilities of all tokens, which only `client: local` knows: take `likelihood`, \
                           or a model in this process";
            self.wrong(path, message);
            return None;
        }
        let name = fields.name.clone().unwrap_or_else(|| fields.kind.clone());
        let usual = ModelSimulator::of(kind, llm);
        Some(ModelSimulator { name, attempts: fields.attempts, shots: fields.shots, ..usual })
    }

    fn check_shots(&mut self, path: &str, shots: Option<usize>, kind: &str, most: usize) {
        if let Some(shots) = shots.filter(|&shots| shots > most) {
            let message = format!("is {shots}: the question of `{kind}` has {most} worked examples at most");
            self.wrong(&format!("{path}.shots"), message);
        }
    }

    /// The model as it is asked, with its client's own default of requests in flight.
    fn check_llm(&mut self, path: &str, llm: &LlmSpec) -> LlmSpec {
        let mut llm = llm.clone();
        if llm.max_in_flight == 0 {
            llm.max_in_flight = llm.client.usual_in_flight();
        }
        for wrong in llm.check() {
            self.wrong(&format!("{path}.{}", wrong.field), wrong.why);
        }
        llm
    }

    /// The judge of an explainer's sentences: the model named for it, else the simulator's, else the explainer's.
    fn judge(&mut self, others: &LlmSpec, path: &str, wanted: &Wanted<'_>) -> Option<Box<JudgeSpec>> {
        wanted.first_judged()?;
        let JudgeFields { llm, attempts, per_question, probabilities } = wanted.judge.clone();
        let path = if llm.is_some() { "judge.llm" } else { path };
        let mut llm = llm.unwrap_or_else(|| others.clone());
        if llm.max_in_flight == 0 {
            llm.max_in_flight = llm.client.usual_in_flight();
        }
        let needs_prompts = |(scorer, _): &&(&ScorerRow, String)| scorer.needs_prompt_logprobs();
        if let Some((scorer, _)) =
            wanted.scorers.iter().find(needs_prompts).filter(|_| llm.client == ClientKind::Anthropic)
        {
            let message = format!(
                "is asked for `{}`, which needs the log-probabilities of texts, and `anthropic` gives none: name \
                 another model under `judge: {{llm: …}}`",
                scorer.name
            );
            self.wrong(path, message);
        }
        Some(Box::new(JudgeSpec { llm, attempts, per_question, probabilities }))
    }
}

fn explainer_fields(written: Teller<ExplainerFields>) -> ExplainerFields {
    match written {
        Teller::Kind(kind) => ExplainerFields { kind, ..ExplainerFields::default() },
        Teller::Fields(fields) => fields,
    }
}

fn simulator_fields(written: Teller<SimulatorFields>) -> SimulatorFields {
    match written {
        Teller::Kind(kind) => SimulatorFields { kind, ..SimulatorFields::default() },
        Teller::Fields(fields) => fields,
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// A path as a suite means it: as it stands from the current folder, else beside the suite file.
pub fn resolve(path: &str, folder: &Path) -> PathBuf {
    let plain = PathBuf::from(path);
    if plain.exists() || plain.is_absolute() {
        return plain;
    }
    let beside = folder.join(path);
    if beside.exists() { beside } else { plain }
}
