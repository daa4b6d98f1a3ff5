//! A [`Node`] tree to a checked [`Suite`], with every problem at once.

use std::path::{Path, PathBuf};

use super::baselines;
use super::node::{Node, Position, Value};
use super::reader::{Problem, Section, as_text, one_of, problem, unknown};
use super::spec::{
    ATTEMPTS, Controls, CorpusSpec, ExplainerSpec, JudgeSpec, Limits, MethodSpec, ModelExplainer,
    ModelExplainerKind, ModelSimulator, ModelSimulatorKind, OfflineKind, Pair, SimulatorSpec, Statistics,
    SubjectSpec, Suite, TrainingSpec,
};
use crate::base::HookSelector;
use crate::dictionary::{Kind, MethodParams};
use crate::explain::language_model::n_examples as explain_examples;
use crate::features::{Deviation, Protocol, WalkOrder};
use crate::llm::{ClientKind, LlmSpec, PromptLogprobs, ResponseFormat};
use crate::report::dictionary_name;
use crate::score::{Judging, scorer};
use crate::simulate::language_model::n_examples as simulate_examples;
use crate::subject::{Bos, Processing};

/// Fewest tokens of a fitting context: position 0 is left out, so one would leave nothing.
const LEAST_CTX_TOKENS: i64 = 2;

/// Fragments that share a question of a judged scorer.
const PER_QUESTION: usize = 5;

type Problems = Vec<Problem>;

/// Checks a whole suite. `default_name` names a suite that gives no name; `folder` is where the
/// suite file stands, for the files it uses.
pub fn check(root: &Node, default_name: &str, folder: &Path) -> Result<Suite, Vec<Problem>> {
    let mut problems = Vec::new();
    let suite = read(root, default_name, folder, &mut problems);
    match suite {
        Some(suite) if problems.is_empty() => Ok(suite),
        _ => {
            problems.sort_by_key(|found| (found.at.line, found.at.column));
            Err(problems)
        }
    }
}

fn read(root: &Node, default_name: &str, folder: &Path, problems: &mut Problems) -> Option<Suite> {
    let mut top = Section::new("", root, problems);
    let name = top.text("name", problems).unwrap_or_else(|| default_name.to_string());
    if name.is_empty()
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        || name.starts_with('.')
    {
        let message = format!("`{name}` names a folder: use letters, digits, `-`, `_` and `.`");
        problems.push(problem("name", top.at(), message));
    }
    let seed = top.count("seed", 0, problems).unwrap_or(0) as u64;
    let subject = read_subject(&mut top, problems);
    let corpus = read_corpus(&mut top, problems);
    let hooks = read_hooks(&mut top, problems);
    let (protocol, published) = read_protocol(&mut top, problems);
    let methods = read_methods(&mut top, folder, protocol.as_ref(), published, problems);
    let per_cell = read_per_cell(&mut top, &protocol, problems);
    let scorers = read_scorers(&mut top, published, problems);
    let judge = read_judge(&mut top, problems);
    let pairs = read_pairs(&mut top, &Wanted::of(&scorers, judge), problems);
    let scorers: Vec<&'static str> = scorers.into_iter().map(|(name, _)| name).collect();
    let controls = read_controls(&mut top, &methods, &corpus, problems);
    let statistics = read_statistics(&mut top, &methods, &scorers, published, problems);
    let limits = read_limits(&mut top, problems);
    top.finish(problems);
    Some(Suite {
        name,
        seed,
        subject,
        corpus,
        hooks,
        methods,
        per_cell,
        protocol: protocol?,
        pairs,
        scorers,
        controls,
        statistics: statistics?,
        limits,
    })
}

fn section<'a>(top: &mut Section<'a>, field: &'static str, problems: &mut Problems) -> Option<Section<'a>> {
    let path = top.path_of(field);
    top.get(field).map(|node| Section::new(&path, node, problems))
}

fn read_subject(top: &mut Section<'_>, problems: &mut Problems) -> SubjectSpec {
    let mut spec = SubjectSpec {
        model: "embedded".into(),
        revision: None,
        half_products: false,
        bos: Bos::Auto,
        processing: Vec::new(),
    };
    if let Some(mut fields) = section(top, "subject", problems) {
        spec.model = fields.text("model", problems).unwrap_or(spec.model);
        spec.revision = fields.text("revision", problems);
        spec.half_products = fields.truth("half_products", problems).unwrap_or(false);
        let bos = fields.get("bos");
        spec.bos = bos
            .and_then(|node| one_of("subject.bos", node, "setting", &Bos::ALL, problems))
            .unwrap_or_default();
        for (path, node) in fields.list("processing").unwrap_or_default() {
            let named = one_of(&path, node, "processing", &Processing::NAMED, problems);
            spec.processing.extend(named.filter(|one| !spec.processing.contains(one)));
        }
        fields.finish(problems);
    }
    spec
}

fn read_corpus(top: &mut Section<'_>, problems: &mut Problems) -> CorpusSpec {
    let mut spec = CorpusSpec {
        source: "embedded".into(),
        field: None,
        separator: None,
        revision: None,
        files: None,
        fit_tokens: 500_000,
        ctx_tokens: 128,
        eval_fragments: 5_000,
    };
    if let Some(mut fields) = section(top, "corpus", problems) {
        spec.source = fields.text("source", problems).unwrap_or(spec.source);
        spec.field = fields.text("field", problems);
        spec.separator = fields.text("separator", problems);
        spec.revision = fields.text("revision", problems);
        spec.files = fields.text("files", problems);
        spec.fit_tokens = fields.count("fit_tokens", 1_000, problems).unwrap_or(spec.fit_tokens);
        spec.ctx_tokens = fields.count("ctx_tokens", LEAST_CTX_TOKENS, problems).unwrap_or(spec.ctx_tokens);
        spec.eval_fragments = fields.count("eval_fragments", 40, problems).unwrap_or(spec.eval_fragments);
        fields.finish(problems);
    }
    spec
}

fn read_hooks(top: &mut Section<'_>, problems: &mut Problems) -> Vec<(String, HookSelector)> {
    if top.required("hooks", problems).is_none() {
        return Vec::new();
    }
    let mut hooks = Vec::new();
    for (path, node) in top.list("hooks").unwrap_or_default() {
        let Some(text) = as_text(&path, node, problems) else { continue };
        match text.parse::<HookSelector>() {
            Ok(selector) => hooks.push((text, selector)),
            Err(error) => problems.push(problem(&path, node.at, error.to_string())),
        }
    }
    if hooks.is_empty() && problems.is_empty() {
        problems.push(problem("hooks", top.at(), "names no hook point".into()));
    }
    hooks
}

/// The protocol, and whether it is the published one.
fn read_protocol(top: &mut Section<'_>, problems: &mut Problems) -> (Option<Protocol>, bool) {
    let Some(node) = top.get("protocol") else { return (Some(Protocol::standard()), false) };
    let named = [("standard", false), ("cunningham2023", true)];
    let preset = |published, deviations: &[Deviation]| {
        if published { Protocol::cunningham2023(deviations) } else { Protocol::standard() }
    };
    let Value::Map(entries) = &node.value else {
        let published = one_of("protocol", node, "protocol", &named, problems).unwrap_or(false);
        return (Some(preset(published, &[])), published);
    };
    let base = entries.iter().find(|(key, _, _)| key == "base").map(|(_, _, value)| value);
    let published =
        base.and_then(|base| one_of("protocol.base", base, "protocol", &named, problems)).unwrap_or(false);
    let deviations = read_deviations(entries, published, problems);
    let Ok(serde_json::Value::Object(mut constants)) = serde_json::to_value(preset(published, &deviations))
    else {
        return (None, published);
    };
    for (key, at, value) in
        entries.iter().filter(|(key, _, _)| !matches!(key.as_str(), "base" | "deviations"))
    {
        if constants.contains_key(key) {
            constants.insert(key.clone(), value.to_json());
        } else {
            let known: Vec<&str> = constants.keys().map(String::as_str).collect();
            problems.push(problem(&format!("protocol.{key}"), *at, unknown(key, "constant", &known)));
        }
    }
    match serde_json::from_value::<Protocol>(serde_json::Value::Object(constants)) {
        Ok(protocol) => {
            if let Err(error) = protocol.check() {
                problems.push(problem("protocol", node.at, error.to_string()));
            }
            (Some(protocol), published)
        }
        Err(error) => {
            problems.push(problem("protocol", node.at, error.to_string()));
            (None, published)
        }
    }
}

fn read_deviations(
    entries: &[(String, super::node::Position, Node)],
    published: bool,
    problems: &mut Problems,
) -> Vec<Deviation> {
    let Some((_, at, list)) = entries.iter().find(|(key, _, _)| key == "deviations") else {
        return Vec::new();
    };
    if !published {
        let message =
            "belongs to `base: cunningham2023`; `standard` has no published habits to leave".to_string();
        problems.push(problem("protocol.deviations", *at, message));
    }
    let Value::List(items) = &list.value else {
        problems.push(problem("protocol.deviations", *at, format!("expected a list, found {}", list.kind())));
        return Vec::new();
    };
    let known =
        [("disjoint", Deviation::Disjoint), ("centred", Deviation::Centred), ("sampled", Deviation::Sampled)];
    items
        .iter()
        .filter_map(|item| one_of("protocol.deviations", item, "deviation", &known, problems))
        .collect()
}

fn read_methods(
    top: &mut Section<'_>,
    folder: &Path,
    protocol: Option<&Protocol>,
    published: bool,
    problems: &mut Problems,
) -> Vec<MethodSpec> {
    if top.required("methods", problems).is_none() {
        return Vec::new();
    }
    let mut methods: Vec<(MethodSpec, String, &Node)> = Vec::new();
    for (path, node) in top.list("methods").unwrap_or_default() {
        for method in read_method(&path, node, folder, protocol, published, problems).unwrap_or_default() {
            methods.push((method, path.clone(), node));
        }
    }
    check_names(&methods, problems);
    if methods.is_empty() && problems.is_empty() {
        problems.push(problem("methods", top.at(), "names no method".into()));
    }
    methods.into_iter().map(|(method, _, _)| method).collect()
}

/// Rows need distinct names, and `match` must name a sparse method that comes with them.
fn check_names(methods: &[(MethodSpec, String, &Node)], problems: &mut Problems) {
    let mut rows: Vec<String> = Vec::new();
    for (method, path, node) in methods {
        for row in method.row_names() {
            if rows.contains(&row) {
                let message = format!("`{row}` is used twice: give one of them another `name`");
                problems.push(problem(path, node.at, message));
            }
            rows.push(row);
        }
    }
    for (method, path, node) in methods {
        let names: Vec<&str> = methods.iter().map(|(other, _, _)| other.name.as_str()).collect();
        if let Some(name) = method.params.matched()
            && (!names.contains(&name) || name == method.name)
        {
            problems.push(problem(&format!("{path}.match"), node.at, unknown(name, "method", &names)));
        }
    }
}

fn read_method(
    path: &str,
    node: &Node,
    folder: &Path,
    protocol: Option<&Protocol>,
    published: bool,
    problems: &mut Problems,
) -> Option<Vec<MethodSpec>> {
    let Value::Map(entries) = &node.value else {
        problems.push(problem(
            path,
            node.at,
            format!("expected a mapping with `kind:` or `use:`, found {}", node.kind()),
        ));
        return None;
    };
    let mut merged: Vec<(String, super::node::Position, Node)> = Vec::new();
    if let Some((_, at, file)) = entries.iter().find(|(key, _, _)| key == "use") {
        let file = as_text(&format!("{path}.use"), file, problems)?;
        match baselines::load(&file, folder) {
            Ok(Node { value: Value::Map(base), .. }) => {
                merged = base
                    .into_iter()
                    .map(|(key, _, mut value)| {
                        value.at = *at;
                        (key, *at, value)
                    })
                    .collect();
            }
            Ok(other) => {
                problems.push(problem(
                    path,
                    *at,
                    format!("`{file}` holds {}, expected a mapping", other.kind()),
                ));
                return None;
            }
            Err(message) => {
                problems.push(problem(&format!("{path}.use"), *at, message));
                return None;
            }
        }
    }
    for (key, at, value) in entries.iter().filter(|(key, _, _)| key != "use") {
        merged.retain(|(other, _, _)| other != key);
        merged.push((key.clone(), *at, value.clone()));
    }
    read_merged_method(path, node, &merged, protocol, published, problems)
}

fn read_merged_method(
    path: &str,
    node: &Node,
    entries: &[(String, super::node::Position, Node)],
    protocol: Option<&Protocol>,
    published: bool,
    problems: &mut Problems,
) -> Option<Vec<MethodSpec>> {
    let find = |wanted: &str| entries.iter().find(|(key, _, _)| key == wanted).map(|(_, _, value)| value);
    let Some(kind) = find("kind") else {
        problems.push(problem(path, node.at, "needs `kind:` or `use:`".into()));
        return None;
    };
    let kind_text = as_text(&format!("{path}.kind"), kind, problems)?;
    let name = match find("name") {
        Some(name) => as_text(&format!("{path}.name"), name, problems)?,
        None => kind_text.clone(),
    };
    let kinds: Vec<(&str, Kind)> = Kind::ALL.iter().map(|&kind| (kind.name(), kind)).collect();
    let known = one_of(&format!("{path}.kind"), kind, "kind", &kinds, problems)?;
    const OURS: [&str; 7] = ["kind", "name", "use", "controls_for", "source", "seeds", "sweep"];
    let mut own: serde_json::Map<String, serde_json::Value> = entries
        .iter()
        .filter(|(key, _, _)| !OURS.contains(&key.as_str()))
        .map(|(key, _, value)| (key.clone(), value.to_json()))
        .collect();
    if let Some(protocol) = protocol.filter(|_| published) {
        publish(known, &mut own, protocol);
    }
    let seeds = match find("seeds") {
        Some(seeds) => read_seeds(&format!("{path}.seeds"), seeds, known, problems)?,
        None => 1,
    };
    let swept = match find("sweep") {
        Some(sweep) => Some(read_sweep(&format!("{path}.sweep"), sweep, problems)?),
        None => None,
    };
    let points: Vec<Option<(&str, &Node)>> = match &swept {
        Some((field, values)) => values.iter().map(|value| Some((*field, value))).collect(),
        None => vec![None],
    };
    let (family, mut methods) = (name, Vec::new());
    for point in points {
        let mut own = own.clone();
        let mut method = family.clone();
        if let Some((field, value)) = point {
            own.insert(field.to_string(), value.to_json());
            method = format!("{family}_{}", value.to_json());
        }
        let params = match MethodParams::of_kind(known, serde_json::Value::Object(own)) {
            Ok(params) => params,
            Err(error) => {
                let message = error.to_string();
                let at = entries.iter().find(|(key, _, _)| message.contains(&format!("`{key}`")));
                let at = point.map_or(at.map_or(kind.at, |(_, at, _)| *at), |(_, value)| value.at);
                problems.push(problem(path, at, message));
                return None;
            }
        };
        if let Err(found) = params.check() {
            for one in found {
                let written = entries.iter().find(|(key, _, _)| key == one.field).map(|(_, at, _)| *at);
                let swept = point.filter(|(field, _)| *field == one.field).map(|(_, value)| value.at);
                let at = swept.or(written).unwrap_or(kind.at);
                problems.push(problem(&format!("{path}.{}", one.field), at, one.message));
            }
        }
        for nth in 0..seeds {
            let name = dictionary_name(&method, Some(nth));
            let training = (seeds > 1).then(|| TrainingSpec { method: method.clone(), nth });
            let sweep = point.map(|_| family.clone());
            methods.push(MethodSpec { name, params: params.clone(), training, sweep });
        }
    }
    Some(methods)
}

/// How many times a method is trained.
fn read_seeds(path: &str, node: &Node, kind: Kind, problems: &mut Problems) -> Option<u32> {
    const MOST: i64 = 100;
    let draws = !matches!(kind, Kind::Neuron | Kind::Identity | Kind::Pca | Kind::File);
    match node.value {
        Value::Integer(n) if (1..=MOST).contains(&n) && (draws || n == 1) => u32::try_from(n).ok(),
        Value::Integer(n) if (1..=MOST).contains(&n) => {
            let message =
                format!("`{kind}` draws nothing, so every training would be the same: leave it out");
            problems.push(problem(path, node.at, message));
            None
        }
        _ => {
            let message = format!("expected a whole number from 1 to {MOST}, found {}", node.kind());
            problems.push(problem(path, node.at, message));
            None
        }
    }
}

/// The field of a kind that takes several values, and the values.
fn read_sweep<'n>(path: &str, node: &'n Node, problems: &mut Problems) -> Option<(&'n str, &'n [Node])> {
    if let Value::Map(entries) = &node.value
        && let [(field, _, values)] = entries.as_slice()
        && let Value::List(values) = &values.value
        && !values.is_empty()
        && values.iter().all(|value| matches!(value.value, Value::Integer(_) | Value::Number(_)))
    {
        return Some((field, values));
    }
    let message = "expected one field of the kind with a list of numbers, `{k: [4, 8, 16]}`".to_string();
    problems.push(problem(path, node.at, message));
    None
}

/// Habits of the published comparison, where the suite says nothing else: autoencoders on raw
/// activations with the published weight of the L1 term and learning rate, PCA without its mean.
fn publish(kind: Kind, own: &mut serde_json::Map<String, serde_json::Value>, protocol: &Protocol) {
    const RESIDUAL_ALPHA: f64 = 8.577e-4;
    const MLP_ALPHA: f64 = 3.2e-4;
    let mut default = |field: &str, value: serde_json::Value| {
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

fn read_per_cell(top: &mut Section<'_>, protocol: &Option<Protocol>, problems: &mut Problems) -> usize {
    let default = match protocol.as_ref().map(|protocol| protocol.walk) {
        Some(WalkOrder::First(n)) => n,
        _ => 40,
    };
    let Some(mut fields) = section(top, "features", problems) else { return default };
    let per_cell = fields.count("per_cell", 2, problems).unwrap_or(default);
    fields.finish(problems);
    per_cell
}

/// The offline kinds and those of a language model, under one list of names.
#[derive(Clone, Copy)]
enum Either<M> {
    Offline(OfflineKind),
    Model(M),
}

fn kinds<M: Copy>(of_models: &[(&'static str, M)]) -> Vec<(&'static str, Either<M>)> {
    let offline = OfflineKind::ALL.iter().map(|&(name, kind)| (name, Either::Offline(kind)));
    offline.chain(of_models.iter().map(|&(name, kind)| (name, Either::Model(kind)))).collect()
}

/// What a suite says of an explainer or a simulator.
struct Told<M> {
    kind: Either<M>,
    name: String,
    llm: Option<LlmSpec>,
    attempts: usize,
    /// Explanations to choose from; 1 for a simulator.
    best_of: usize,
    /// Worked examples; none: all there are.
    shots: Option<usize>,
    /// Of an explainer.
    temperature: Option<f64>,
    path: String,
    at: Position,
}

impl<M> Told<M> {
    /// One of whom nothing but the kind is told.
    fn bare(kind: Either<M>, name: String, path: &str, at: Position) -> Self {
        Self {
            kind,
            name,
            llm: None,
            attempts: ATTEMPTS,
            best_of: 1,
            shots: None,
            temperature: None,
            path: path.into(),
            at,
        }
    }
}

/// An explainer or simulator: the name of its kind alone, or a mapping.
fn read_teller<M: Copy>(
    path: &str,
    node: &Node,
    what: &str,
    of_models: &[(&'static str, M)],
    problems: &mut Problems,
) -> Option<Told<M>> {
    let kinds = kinds(of_models);
    if matches!(node.value, Value::Text(_)) {
        let kind = one_of(path, node, what, &kinds, problems)?;
        let name = as_text(path, node, problems)?;
        return Some(Told::bare(kind, name, path, node.at));
    }
    let mut fields = Section::new(path, node, problems);
    let at = fields.at();
    let kind_node = fields.required("kind", problems)?;
    let kind = one_of(&format!("{path}.kind"), kind_node, what, &kinds, problems);
    let mut told = kind.and_then(|kind| {
        let name = as_text(path, kind_node, problems)?;
        Some(Told::bare(kind, name, path, at))
    });
    if !matches!(kind, Some(Either::Offline(_))) {
        let name = fields.text("name", problems);
        let attempts = fields.count("attempts", 1, problems);
        let explains = what == "explainer";
        let best_of = if explains { fields.count("best_of", 1, problems) } else { None };
        let temperature = if explains { fields.number("temperature", 0.0, 2.0, problems) } else { None };
        let shots = read_shots(&mut fields, kind_node, problems);
        let llm = section(&mut fields, "llm", problems).and_then(|section| read_llm(section, problems));
        if let Some(told) = &mut told {
            told.name = name.unwrap_or_else(|| told.name.clone());
            told.attempts = attempts.unwrap_or(ATTEMPTS);
            told.best_of = best_of.unwrap_or(1);
            (told.shots, told.temperature) = (shots, temperature);
            told.llm = llm;
        }
    }
    fields.finish(problems);
    told
}

/// Worked examples of a question, at most as many as its kind has.
fn read_shots(fields: &mut Section<'_>, kind: &Node, problems: &mut Problems) -> Option<usize> {
    let (path, at) = (fields.path_of("shots"), fields.get("shots").map(|node| node.at));
    let shots = fields.count("shots", 0, problems)?;
    let Value::Text(kind) = &kind.value else { return None };
    let most = explain_examples(kind).or_else(|| simulate_examples(kind))?;
    if shots > most {
        let message = format!("is {shots}: the question of `{kind}` has {most} worked examples at most");
        problems.push(problem(&path, at.unwrap_or_default(), message));
        return None;
    }
    Some(shots)
}

/// A language model: where it is and what it may be asked.
fn read_llm(mut fields: Section<'_>, problems: &mut Problems) -> Option<LlmSpec> {
    let at = fields.at();
    let clients =
        [ClientKind::Openai, ClientKind::OpenaiCompletions, ClientKind::Anthropic, ClientKind::Local]
            .map(|kind| (kind.name(), kind));
    let client = fields.required("client", problems);
    let path = fields.path_of("client");
    let client = client.and_then(|node| one_of(&path, node, "client", &clients, problems));
    fields.required("model", problems);
    let model = fields.text("model", problems);
    let (base_url, api_key_env) = (fields.text("base_url", problems), fields.text("api_key_env", problems));
    let (headers, query) = (fields.texts("headers", problems), fields.texts("query", problems));
    let max_in_flight = fields.count("max_in_flight", 1, problems);
    let requests_per_minute = fields.number("requests_per_minute", 1e-3, 1e9, problems);
    let tokens_per_minute = fields.number("tokens_per_minute", 1.0, 1e12, problems);
    let context_tokens = fields.count("context_tokens", 1, problems);
    let price_in = fields.number("price_in", 0.0, 1e6, problems);
    let price_out = fields.number("price_out", 0.0, 1e6, problems);
    let timeout_seconds = fields.number("timeout_seconds", 0.01, 86_400.0, problems);
    let retries = fields.count("retries", 0, problems);
    let structured = fields.truth("structured", problems);
    let omitted = fields.list("omit").unwrap_or_default();
    let omit = omitted.iter().filter_map(|(path, node)| as_text(path, node, problems)).collect();
    let extra_body = fields.json("extra_body", problems);
    let max_tokens_field = fields.text("max_tokens_field", problems);
    let thinking_tokens = fields.count("thinking_tokens", 0, problems);
    let path = fields.path_of("prompt_logprobs");
    let forms = [("echo", PromptLogprobs::Echo), ("vllm", PromptLogprobs::Vllm)];
    let form = fields.get("prompt_logprobs");
    let form = form.and_then(|node| one_of(&path, node, "form", &forms, problems));
    let path = fields.path_of("response_format");
    let formats = [("json_schema", ResponseFormat::JsonSchema), ("json_object", ResponseFormat::JsonObject)];
    let response_format = fields.get("response_format");
    let response_format = response_format.and_then(|node| one_of(&path, node, "form", &formats, problems));
    let path = fields.path_of("");
    fields.finish(problems);
    let mut spec = LlmSpec::new(client?, &model?);
    spec.base_url = base_url;
    spec.api_key_env = api_key_env;
    (spec.headers, spec.query) = (headers, query);
    spec.max_in_flight = max_in_flight.unwrap_or(spec.max_in_flight);
    (spec.requests_per_minute, spec.tokens_per_minute) = (requests_per_minute, tokens_per_minute);
    spec.context_tokens = context_tokens;
    (spec.price_in, spec.price_out) = (price_in, price_out);
    spec.timeout_seconds = timeout_seconds.unwrap_or(spec.timeout_seconds);
    spec.retries = retries.map_or(spec.retries, |retries| retries as u32);
    spec.structured = structured.unwrap_or(spec.structured);
    (spec.omit, spec.extra_body) = (omit, extra_body);
    spec.max_tokens_field = max_tokens_field.unwrap_or(spec.max_tokens_field);
    spec.thinking_tokens = thinking_tokens.unwrap_or(spec.thinking_tokens);
    spec.response_format = response_format.unwrap_or(spec.response_format);
    spec.prompt_logprobs = form.unwrap_or(spec.prompt_logprobs);
    for wrong in spec.check() {
        problems.push(problem(&format!("{path}{}", wrong.field), at, wrong.why));
    }
    Some(spec)
}

/// What a suite says of its judge.
struct ToldJudge {
    llm: Option<LlmSpec>,
    attempts: usize,
    per_question: usize,
    probabilities: bool,
}

/// What the scores that are asked for need of a pair.
struct Wanted {
    simulations: bool,
    judgings: Vec<Judging>,
    judge: ToldJudge,
    /// Where the first judged score is asked for.
    at: Position,
}

impl Wanted {
    fn of(scorers: &[(&'static str, Position)], judge: ToldJudge) -> Self {
        let asked = |name: &str| scorers.iter().any(|(other, _)| *other == name);
        Self {
            simulations: scorers.iter().any(|(name, _)| scorer(name).is_some()),
            judgings: Judging::ALL.into_iter().filter(|judging| asked(judging.name())).collect(),
            judge,
            at: scorers
                .iter()
                .find(|(name, _)| scorer(name).is_none())
                .map_or(Position::default(), |(_, at)| *at),
        }
    }

    /// The judge of an explainer's sentences: the model that is named for it, else the simulator's, else
    /// the explainer's.
    fn judge(
        &self,
        others: &LlmSpec,
        path: &str,
        at: Position,
        problems: &mut Problems,
    ) -> Option<Box<JudgeSpec>> {
        if self.judgings.is_empty() {
            return None;
        }
        let llm = self.judge.llm.clone().unwrap_or_else(|| others.clone());
        if llm.client == ClientKind::Anthropic && self.judgings.contains(&Judging::Surprisal) {
            let message = "is asked for `surprisal`, which needs the log-probabilities of texts, and `anthropic` \
                           gives none: name another model under `judge: {llm: …}`";
            let path = if self.judge.llm.is_some() { "judge.llm" } else { path };
            problems.push(problem(path, at, message.into()));
        }
        let ToldJudge { attempts, per_question, probabilities, .. } = self.judge;
        Some(Box::new(JudgeSpec { llm, attempts, per_question, probabilities }))
    }
}

/// Who judges, as far as the suite says; the rest is taken from each pair.
fn read_judge(top: &mut Section<'_>, problems: &mut Problems) -> ToldJudge {
    let mut told =
        ToldJudge { llm: None, attempts: ATTEMPTS, per_question: PER_QUESTION, probabilities: true };
    if let Some(mut fields) = section(top, "judge", problems) {
        told.attempts = fields.count("attempts", 1, problems).unwrap_or(told.attempts);
        told.per_question = fields.count("per_question", 1, problems).unwrap_or(told.per_question);
        told.probabilities = fields.truth("probabilities", problems).unwrap_or(told.probabilities);
        told.llm = section(&mut fields, "llm", problems).and_then(|section| read_llm(section, problems));
        fields.finish(problems);
    }
    told
}

/// An explainer with its simulator, checked against each other.
fn pair_of(
    explainer: Told<ModelExplainerKind>,
    simulator: Option<Told<ModelSimulatorKind>>,
    wanted: &Wanted,
    problems: &mut Problems,
) -> Option<Pair> {
    match (explainer.kind, simulator) {
        (Either::Offline(kind), None) => Some(Pair::offline(kind)),
        (Either::Offline(kind), Some(simulator)) => match simulator.kind {
            Either::Offline(other) if other == kind => Some(Pair::offline(kind)),
            _ => {
                let message = format!(
                    "`{}` cannot read what `{}` writes: an offline explainer's patterns are read by its own kind",
                    simulator.name, explainer.name
                );
                problems.push(problem(&simulator.path, simulator.at, message));
                None
            }
        },
        (Either::Model(kind), None) if !wanted.simulations && explainer.best_of == 1 => {
            let llm = explainer.llm.clone().or_else(|| unnamed_model(&explainer, problems))?;
            let judge = wanted.judge(&llm, &explainer.path, explainer.at, problems);
            let explainer = ExplainerSpec::Model(Box::new(explainer.model(kind, llm)));
            Some(Pair { explainer, simulator: SimulatorSpec::Nobody, judge })
        }
        (Either::Model(_), None) => {
            let names: Vec<&str> = ModelSimulatorKind::ALL.iter().map(|(name, _)| *name).collect();
            let message = format!(
                "`{}` writes sentences, and no simulator is named that reads them (known: {})",
                explainer.name,
                names.join(", ")
            );
            problems.push(problem(&explainer.path, explainer.at, message));
            None
        }
        (Either::Model(kind), Some(simulator)) => {
            let Either::Model(simulator_kind) = simulator.kind else {
                let message = format!("`{}` reads patterns and no sentences", simulator.name);
                problems.push(problem(&simulator.path, simulator.at, message));
                return None;
            };
            let llm = explainer.llm.clone().or_else(|| unnamed_model(&explainer, problems))?;
            // The explainer's model unless another is named.
            let its_llm = simulator.llm.unwrap_or_else(|| llm.clone());
            if simulator_kind == ModelSimulatorKind::Exemplar && its_llm.client != ClientKind::Local {
                let message = "needs the probabilities of all tokens, which only `client: local` knows: take \
                               `likelihood`, or a model in this process";
                problems.push(problem(&simulator.path, simulator.at, message.into()));
                return None;
            }
            let usual = ModelSimulator::of(simulator_kind, its_llm);
            let simulator = ModelSimulator {
                name: simulator.name,
                attempts: simulator.attempts,
                shots: simulator.shots,
                ..usual
            };
            let judge = wanted.judge(&simulator.llm, &explainer.path, explainer.at, problems);
            let explainer = ExplainerSpec::Model(Box::new(explainer.model(kind, llm)));
            // Where every score is judged, nobody reads what a simulator would say, save to choose.
            let asked =
                wanted.simulations || matches!(&explainer, ExplainerSpec::Model(spec) if spec.best_of > 1);
            let simulator =
                if asked { SimulatorSpec::Model(Box::new(simulator)) } else { SimulatorSpec::Nobody };
            Some(Pair { explainer, simulator, judge })
        }
    }
}

impl Told<ModelExplainerKind> {
    fn model(self, kind: ModelExplainerKind, llm: LlmSpec) -> ModelExplainer {
        let usual = ModelExplainer::of(kind, llm);
        ModelExplainer {
            name: self.name,
            attempts: self.attempts,
            best_of: self.best_of,
            shots: self.shots,
            temperature: self.temperature.unwrap_or(usual.temperature),
            ..usual
        }
    }
}

fn unnamed_model(explainer: &Told<ModelExplainerKind>, problems: &mut Problems) -> Option<LlmSpec> {
    let message = format!(
        "`{}` asks a language model and none is named: add `llm: {{client: …, model: …}}`",
        explainer.name
    );
    problems.push(problem(&explainer.path, explainer.at, message));
    None
}

fn read_explainer(path: &str, node: &Node, problems: &mut Problems) -> Option<Told<ModelExplainerKind>> {
    read_teller(path, node, "explainer", &ModelExplainerKind::ALL, problems)
}

fn read_simulator(path: &str, node: &Node, problems: &mut Problems) -> Option<Told<ModelSimulatorKind>> {
    read_teller(path, node, "simulator", &ModelSimulatorKind::ALL, problems)
}

fn read_pairs(top: &mut Section<'_>, wanted: &Wanted, problems: &mut Problems) -> Vec<Pair> {
    let explainer = match top.get("explainer") {
        Some(node) => read_explainer("explainer", node, problems),
        None => {
            let kind = OfflineKind::NeuronToGraph;
            Some(Told::bare(Either::Offline(kind), kind.name().into(), "explainer", top.at()))
        }
    };
    let simulator = top.get("simulator").map(|node| read_simulator("simulator", node, problems));
    let mut pairs = Vec::new();
    if let Some(explainer) = explainer
        && !matches!(simulator, Some(None))
    {
        pairs.extend(pair_of(explainer, simulator.flatten(), wanted, problems));
    }
    for (path, node) in top.list("pairs").unwrap_or_default() {
        let Some(pair) = read_pair(&path, node, wanted, problems) else { continue };
        let same = |other: &Pair| {
            (other.explainer.name(), other.simulator.name()) == (pair.explainer.name(), pair.simulator.name())
        };
        if pairs.iter().any(same) {
            let message = format!(
                "`{}` read by `{}` is there already: give one of them a `name` of its own",
                pair.explainer.name(),
                pair.simulator.name()
            );
            problems.push(problem(&path, node.at, message));
        } else {
            pairs.push(pair);
        }
    }
    if let Some(judging) = wanted.judgings.first()
        && !pairs.is_empty()
        && pairs.iter().all(|pair| pair.judge.is_none())
    {
        let names: Vec<&str> = ModelExplainerKind::ALL.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "asks for `{}`, in which a language model judges by an explanation in words, and no explainer writes \
             one: name an explainer with a language model, `explainer: {{kind: …, llm: {{client: …, model: …}}}}` \
             (kinds: {})",
            judging.name(),
            names.join(", ")
        );
        problems.push(problem("scorers", wanted.at, message));
    }
    pairs
}

/// An item of `pairs`: an offline kind, or `{explainer: …, simulator: …}`.
fn read_pair(path: &str, node: &Node, wanted: &Wanted, problems: &mut Problems) -> Option<Pair> {
    let is_pair =
        matches!(&node.value, Value::Map(entries) if entries.iter().any(|(key, _, _)| key == "explainer"));
    if !is_pair {
        return pair_of(read_explainer(path, node, problems)?, None, wanted, problems);
    }
    let mut fields = Section::new(path, node, problems);
    let explainer = fields.required("explainer", problems);
    let explainer = explainer.and_then(|node| read_explainer(&format!("{path}.explainer"), node, problems));
    let simulator = fields.get("simulator");
    let simulator = simulator.map(|node| read_simulator(&format!("{path}.simulator"), node, problems));
    fields.finish(problems);
    if matches!(simulator, Some(None)) {
        return None;
    }
    pair_of(explainer?, simulator.flatten(), wanted, problems)
}

/// Scores a suite can ask for. The older explained-variance scores compare raw activations with
/// whatever unit a simulator speaks, so they are computed by nobody who compares methods.
const SCORERS: [&str; 5] = ["top_and_random", "top_only", "random_only", "population", "beyond_token"];

/// Every scorer with the scores that it gives.
fn scorer_choices() -> Vec<(&'static str, &'static [&'static str])> {
    let simulated = SCORERS.chunks(1).map(|scores| (scores[0], scores));
    simulated.chain(Judging::ALL.map(|judging| (judging.name(), judging.scores()))).collect()
}

/// Scores in the order of the tables, each once, and where they are asked for.
fn read_scorers(
    top: &mut Section<'_>,
    published: bool,
    problems: &mut Problems,
) -> Vec<(&'static str, Position)> {
    let choices = scorer_choices();
    let listed = top.list("scorers").unwrap_or_default();
    let mut scorers: Vec<(&'static str, Position)> = Vec::new();
    for (path, node) in &listed {
        let scores = one_of(path, node, "scorer", &choices, problems).unwrap_or_default();
        let new = scores.iter().filter(|&&score| !scorers.iter().any(|(other, _)| *other == score));
        let new: Vec<_> = new.map(|&score| (score, node.at)).collect();
        scorers.extend(new);
    }
    if !scorers.is_empty() {
        return scorers;
    }
    // The published protocol has no non-firing fragments, so nothing to weigh a population score by.
    let kept = SCORERS.into_iter().filter(|&name| !(published && name == "population"));
    kept.map(|name| (name, top.at())).collect()
}

fn read_controls(
    top: &mut Section<'_>,
    methods: &[MethodSpec],
    corpus: &CorpusSpec,
    problems: &mut Problems,
) -> Controls {
    let Some(items) = top.list("controls") else {
        return Controls { shuffled: true, ..Controls::default() };
    };
    let mut controls = Controls::default();
    for (path, node) in items {
        if let Value::Text(_) = node.value {
            match one_of(&path, node, "control", &[("shuffled", false), (Controls::ORACLE, true)], problems) {
                Some(true) => {
                    controls.oracle = true;
                    if corpus.source != "embedded" {
                        let message = format!(
                            "`oracle` needs text whose tokens are labelled, which only `corpus.source: embedded` \
                             is, not `{}`: leave it out, or change the source",
                            corpus.source
                        );
                        problems.push(problem(&path, node.at, message));
                    }
                }
                Some(false) => controls.shuffled = true,
                None => {}
            }
            continue;
        }
        let mut fields = Section::new(&path, node, problems);
        for (key, list) in [
            (Controls::RANDOM_WEIGHTS, &mut controls.random_weights),
            (Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS, &mut controls.random_weights_and_embeddings),
        ] {
            read_control_methods(&mut fields, key, methods, list, problems);
        }
        fields.finish(problems);
    }
    controls
}

/// The methods that a control on another subject repeats.
fn read_control_methods(
    fields: &mut Section<'_>,
    key: &'static str,
    methods: &[MethodSpec],
    list: &mut Vec<String>,
    problems: &mut Problems,
) {
    for (path, name) in fields.list(key).unwrap_or_default() {
        let Some(text) = as_text(&path, name, problems) else { continue };
        let known: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
        match methods.iter().find(|method| method.is_called(&text)) {
            Some(method) => {
                if let Some(needed) = method.params.matched()
                    && !list.iter().any(|name| name == needed)
                {
                    let message = format!("`{text}` takes its k from `{needed}`: list `{needed}` before it");
                    problems.push(problem(&path, name.at, message));
                }
                list.push(text);
            }
            None => problems.push(problem(&path, name.at, unknown(&text, "method", &known))),
        }
    }
}

fn read_statistics(
    top: &mut Section<'_>,
    methods: &[MethodSpec],
    scorers: &[&'static str],
    published: bool,
    problems: &mut Problems,
) -> Option<Statistics> {
    let choices = scorer_choices();
    let scores: Vec<(&str, &str)> =
        choices.iter().flat_map(|(_, scores)| *scores).map(|&score| (score, score)).collect();
    let mut rows: Vec<String> = methods.iter().flat_map(MethodSpec::row_methods).collect();
    rows.dedup();
    let mut statistics = Statistics {
        confidence: 0.95,
        interval: if published { "normal" } else { "bca" }.into(),
        resamples: 10_000,
        permutations: 100_000,
        primary: scorers.first().copied()?,
        reference: rows.first().cloned().unwrap_or_default(),
        margin: 0.05,
    };
    let Some(mut fields) = section(top, "statistics", problems) else { return Some(statistics) };
    statistics.confidence =
        fields.number("confidence", 0.5, 0.999, problems).unwrap_or(statistics.confidence);
    statistics.resamples = fields.count("resamples", 100, problems).unwrap_or(statistics.resamples);
    statistics.permutations = fields.count("permutations", 100, problems).unwrap_or(statistics.permutations);
    statistics.margin = fields.number("margin", 0.0, 1.0, problems).unwrap_or(statistics.margin);
    if let Some(node) = fields.get("interval") {
        let choices = [("bca", "bca"), ("percentile", "percentile"), ("normal", "normal")];
        if let Some(kind) = one_of("statistics.interval", node, "interval", &choices, problems) {
            statistics.interval = kind.into();
        }
    }
    if let Some(node) = fields.get("primary")
        && let Some(kind) = one_of("statistics.primary", node, "scorer", &scores, problems)
    {
        if !scorers.contains(&kind) {
            problems.push(problem("statistics.primary", node.at, format!("`{kind}` is not among `scorers`")));
        }
        statistics.primary = kind;
    }
    if let Some(node) = fields.get("reference")
        && let Some(name) = as_text("statistics.reference", node, problems)
    {
        if !rows.contains(&name) {
            let known: Vec<&str> = rows.iter().map(String::as_str).collect();
            problems.push(problem("statistics.reference", node.at, unknown(&name, "method", &known)));
        }
        statistics.reference = name;
    }
    fields.finish(problems);
    Some(statistics)
}

fn read_limits(top: &mut Section<'_>, problems: &mut Problems) -> Limits {
    let mut limits = Limits { failed_allowed: 0.05, disk_gb: 20.0 };
    if let Some(mut fields) = section(top, "limits", problems) {
        limits.failed_allowed =
            fields.number("failed_allowed", 0.0, 1.0, problems).unwrap_or(limits.failed_allowed);
        limits.disk_gb = fields.number("disk_gb", 0.001, 1e6, problems).unwrap_or(limits.disk_gb);
        fields.finish(problems);
    }
    limits
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
