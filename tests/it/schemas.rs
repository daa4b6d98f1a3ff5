//! What the program writes fits the schemas that are committed, and says nothing that they do not describe.

use std::fs;
use std::path::Path;

use autointerp::base::HookSelector;
use autointerp::cli;
use autointerp::suite::node::Node;
use autointerp::suite::reference;
use serde_json::{Map, Value};

use crate::model_server::{ModelServer, honest};
use crate::program::{autointerp, call, finish};
use crate::toy::Toy;

/// Checks a value against the part of JSON Schema that the committed schemas use; any other keyword is a failure
/// of the test. An object whose fields are listed may have no others.
fn check(schema: &Value, value: &Value, root: &Value, at: &str) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else {
        return if schema == &Value::Bool(true) {
            Ok(())
        } else {
            Err(format!("{at}: nothing is allowed here"))
        };
    };
    let wrong = |what: String| Err(format!("{at}: {what}: {}", shorten(value)));
    let listed = |schema: &Value| schema.as_array().cloned().unwrap_or_default();
    for (keyword, rule) in keywords {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" | "default" => {}
            // What the program's own reader of suites looks at.
            "x-default" | "x-main" | "x-expected" | "x-sparse" => {}
            "$ref" => {
                let path = rule
                    .as_str()
                    .and_then(|path| path.strip_prefix('#'))
                    .expect("a reference into the schema");
                let target = if path.is_empty() { root } else { root.pointer(path).expect("a definition") };
                check(target, value, root, at)?;
            }
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !kinds.iter().any(|kind| is_a(value, kind.as_str().unwrap_or_default())) {
                    return wrong(format!("expected {rule}"));
                }
            }
            "enum" if !listed(rule).contains(value) => return wrong(format!("expected one of {rule}")),
            "const" if rule != value => return wrong(format!("expected {rule}")),
            "enum" | "const" => {}
            // These two say nothing of what is no number.
            "minimum" | "maximum" if !value.is_number() => {}
            "minimum" if value.as_f64() < rule.as_f64() => return wrong(format!("below {rule}")),
            "maximum" if value.as_f64() > rule.as_f64() => return wrong(format!("above {rule}")),
            "minimum" | "maximum" => {}
            "pattern" => {
                let rule = rule.as_str().unwrap_or_default();
                if value.as_str().is_some_and(|text| !matches(rule, text)) {
                    return wrong(format!("expected {rule}"));
                }
            }
            "anyOf" | "oneOf" => {
                let results: Vec<_> = listed(rule).iter().map(|rule| check(rule, value, root, at)).collect();
                let fitting = results.iter().filter(|result| result.is_ok()).count();
                if fitting == 0 || (keyword == "oneOf" && fitting > 1) {
                    let why: Vec<String> = results.into_iter().filter_map(Result::err).collect();
                    return wrong(format!("{fitting} alternatives fit ({})", why.join(" | ")));
                }
            }
            "required" => {
                for name in listed(rule) {
                    if value.get(name.as_str().unwrap_or_default()).is_none() {
                        return wrong(format!("{name} is missing"));
                    }
                }
            }
            "properties" => check_fields(keywords, value, root, at)?,
            "additionalProperties" if keywords.contains_key("properties") => {}
            "additionalProperties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    check(rule, value, root, &format!("{at}.{name}"))?;
                }
            }
            "items" => {
                let first = keywords.get("prefixItems").map_or(0, |items| listed(items).len());
                for (nth, value) in value.as_array().into_iter().flatten().enumerate().skip(first) {
                    check(rule, value, root, &format!("{at}[{nth}]"))?;
                }
            }
            "prefixItems" => {
                for (nth, (rule, value)) in
                    listed(rule).iter().zip(value.as_array().into_iter().flatten()).enumerate()
                {
                    check(rule, value, root, &format!("{at}[{nth}]"))?;
                }
            }
            "minProperties" | "maxProperties" => {
                let (n, bound) = (value.as_object().map_or(0, Map::len), rule.as_u64().unwrap_or(0) as usize);
                if value.is_object()
                    && ((keyword == "minProperties" && n < bound)
                        || (keyword == "maxProperties" && n > bound))
                {
                    return wrong(format!("{n} fields, {keyword} {bound}"));
                }
            }
            "minItems" | "maxItems" => {
                let (n, bound) = (value.as_array().map_or(0, Vec::len), rule.as_u64().unwrap_or(0) as usize);
                if (keyword == "minItems" && n < bound) || (keyword == "maxItems" && n > bound) {
                    return wrong(format!("{n} items, {keyword} {bound}"));
                }
            }
            "maxLength" => {
                let n = value.as_str().map_or(0, |text| text.chars().count());
                if n as u64 > rule.as_u64().unwrap_or(0) {
                    return wrong(format!("{n} characters, {keyword} {rule}"));
                }
            }
            other => panic!("{at}: this test does not know the keyword `{other}`"),
        }
    }
    Ok(())
}

/// Whether a text matches one of the patterns that the schemas have.
fn matches(pattern: &str, text: &str) -> bool {
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match pattern {
        "^[0-9a-f]{64}$" => text.len() == 64 && text.bytes().all(is_hex),
        "^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?$" => {
            !text.is_empty()
                && text.chars().all(is_name)
                && !text.starts_with(['.', '-'])
                && !text.ends_with('.')
        }
        r"\.ya?ml$" => text.ends_with(".yaml") || text.ends_with(".yml"),
        hook if hook.starts_with("^(hook_embed|blocks") => text.parse::<HookSelector>().is_ok(),
        other => panic!("this test does not know the pattern `{other}`"),
    }
}

fn check_fields(
    keywords: &serde_json::Map<String, Value>,
    value: &Value,
    root: &Value,
    at: &str,
) -> Result<(), String> {
    let fields = &keywords["properties"];
    for (name, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        match (fields.get(name), keywords.get("additionalProperties")) {
            (Some(rule), _) => check(rule, value, root, &at)?,
            (None, Some(rule)) => check(rule, value, root, &at)?,
            (None, None) => {
                return Err(format!("{at}: the schema does not say what this is: {}", shorten(value)));
            }
        }
    }
    Ok(())
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("`{other}` is no type"),
    }
}

fn shorten(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

pub fn assert_fits(name: &str, text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}:\n{text}"));
    let schemas = cli::schemas();
    let schema = schemas.iter().find(|(other, _)| *other == name).map(|(_, schema)| schema);
    let schema = schema.unwrap_or_else(|| panic!("no schema `{name}`"));
    if let Err(why) = check(schema, &value, schema, name) {
        panic!("{why}");
    }
}

/// The three files of a run folder that are written for programs.
fn assert_folder_fits(folder: &Path) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).expect("a result");
    assert_fits("summary", &text("summary.json"));
    assert_fits("manifest", &text("manifest.json"));
    assert_fits("digests", &text("digests.json"));
    let lines = text("scores.jsonl");
    assert!(lines.lines().count() > 10);
    lines.lines().for_each(|line| assert_fits("scores-line", line));
}

#[test]
fn the_smoke_suite_and_every_verb_fit_their_schemas() {
    let toy = Toy::new();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/smoke.yaml").display().to_string();
    let out = toy.arg("out");
    let less = [
        "corpus.fit_tokens=10_000",
        "corpus.eval_fragments=600",
        "features.per_cell=4",
        "methods.0.steps=60",
    ];
    let set: Vec<&str> = less.iter().flat_map(|item| ["--set", item]).collect();
    let json = |args: &[&str]| call(toy.home(), &[args, &["--json"]].concat()).ok().stdout;
    assert_fits("plan", &json(&[&["plan", &suite], &set[..]].concat()));
    assert_fits("check", &json(&[&["check", &suite], &set[..]].concat()));
    assert_fits("run", &json(&[&["run", &suite, "--out", &out], &set[..]].concat()));
    assert_folder_fits(&toy.path("out"));
    assert_fits("report", &json(&["report", &out]));
    assert_fits("cite", &json(&["report", &out, "--cite"]));
    assert_fits("verify", &json(&["report", &out, "--verify"]));
    assert_fits("verify", &json(&["cache", "--verify"]));
    let listing = json(&["inspect", &out, "/topk/", "--worst", "--limit", "2"]);
    assert_fits("inspect", &listing);
    let listing: Value = serde_json::from_str(&listing).expect("JSON");
    let line = &listing["features"][0];
    let place = ["hook", "method"].map(|key| line[key].as_str().expect("a name")).join("/");
    let place = format!("{place}/{}", line["feature"]);
    let feature = json(&["inspect", &out, &place]);
    assert_fits("inspect-feature", &feature);
    assert!(feature.contains("\"predicted\""), "{feature}");
    let steer =
        ["steer", &out, &place, "--prompt", "The old", "--clamp", "5", "--tokens", "4", "--samples", "1"];
    assert_fits("steer", &json(&steer));
    toy.write("ids.json", "[[1, 2, 3]]");
    let (ids, file) = (toy.arg("ids.json"), toy.arg("out.safetensors"));
    let harvest =
        ["harvest", "--model", "embedded", "--token-ids", &ids, "--hooks", "hook_embed", "--out", &file];
    assert_fits("harvest", &json(&harvest));
    assert_fits("export", &json(&["export", &toy.arg("out"), "--to", "saelens"]));
    for what in ["methods", "scorers", "explainers", "simulators", "formats", "families"] {
        assert_fits("list", &json(&["list", what]));
    }
    assert_fits("list", &json(&["list", "hooks", "embedded"]));
    assert_fits("init", &json(&["init"]));
    assert_fits("submit", &json(&["submit", &suite, "--engine", "slurm", "--dry-run"]));
    assert_fits("cache", &json(&["cache"]));
    assert_fits("doctor", &json(&["doctor"]));
    let refused = call(toy.home(), &["report", &toy.arg("nowhere"), "--json"]);
    assert_eq!(refused.code, Some(6));
    assert_fits("error", &refused.stdout);
}

#[test]
fn a_run_with_language_models_fits_too_and_so_does_its_progress() {
    let toy = Toy::new();
    let server = ModelServer::start(Box::new(honest));
    let llm =
        format!("{{client: openai, model: scripted, base_url: {}, price_in: 1, price_out: 1}}", server.url);
    let explainer = format!("explainer={{kind: token_activation, llm: {llm}}}");
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let set = ["--set", &explainer, "--set", "simulator={kind: generated}", "--json"];
    let key = ("OPENAI_API_KEY", "sk-held-by-nobody");
    let plan = finish(autointerp(toy.home(), &[&["plan", &suite], &set[..]].concat()).envs([key])).ok();
    assert_fits("plan", &plan.stdout);
    // The last of several `--progress` counts, so the one of the test's own is taken off.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_autointerp"));
    command.args([&["run", &suite, "--out", &out, "--progress", "json"], &set[..]].concat());
    command.env("HOME", toy.home()).env("AUTOINTERP_CACHE", toy.path("cache")).envs([key]);
    let done = finish(&mut command).ok();
    assert_fits("run", &done.stdout);
    assert_folder_fits(&toy.path("out"));
    let lines: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with('{')).collect();
    lines.iter().for_each(|line| assert_fits("progress-line", line));
    let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let overall: Vec<&Value> = values.iter().filter(|value| value["event"] == "overall").collect();
    let done_rows = |value: &Value| value["data"]["done"].as_u64().expect("a count");
    assert!(overall.windows(2).all(|pair| done_rows(pair[0]) <= done_rows(pair[1])), "{overall:?}");
    let last = overall.last().expect("the run as a whole");
    // Four rows, and the one on permuted weights.
    assert_eq!((done_rows(last), last["data"]["total"].as_u64()), (5, Some(5)));
    for stage in
        ["read text", "harvest fit", "fit blocks.1.hook_resid_post/topk", "statistics", "draw the report"]
    {
        let of_stage = |value: &&Value| value["data"]["stage"] == stage;
        let last = values.iter().rfind(of_stage).unwrap_or_else(|| panic!("`{stage}` says nothing"));
        assert_eq!(last["data"]["done"], last["data"]["total"], "`{stage}` ends");
    }
}

#[test]
fn the_check_is_a_check() {
    let schemas = cli::schemas();
    let schema = |name: &str| &schemas.iter().find(|(other, _)| *other == name).expect("a schema").1;
    let fails = |name: &str, text: &str| {
        let value = serde_json::from_str(text).expect("JSON");
        check(schema(name), &value, schema(name), name).expect_err("refused")
    };
    assert!(fails("cache", r#"{"cache": "x"}"#).contains("entries"));
    assert!(fails("cache", r#"{"cache": 3, "entries": []}"#).contains("string"));
    assert!(fails("cache", r#"{"cache": "x", "entries": [], "more": 1}"#).contains("more"));
    assert!(fails("progress-line", r#"{"event": "work", "data": {"stage": "x"}}"#).contains("alternatives"));
}

/// Whether an editor that reads the published schema accepts a suite.
fn accepted(text: &str) -> Result<(), String> {
    let schema = reference::schema();
    check(&schema, &Node::parse(text).expect("YAML").to_json(), &schema, "suite")
}

#[test]
fn every_committed_suite_fits_the_published_schema() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites");
    for entry in fs::read_dir(&folder).expect("suites/") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(&path).expect("UTF-8");
            accepted(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
    }
}

#[test]
fn an_editor_flags_the_mistakes_that_people_make() {
    let good = "name: mine\nsubject: {model: ./neox}\ncorpus: {source: ./text.txt, fit_tokens: 60_000}\n\
                hooks: [blocks.1.hook_resid_post]\nmethods:\n  - {name: topk, kind: topk, k: 32}\n\
                features: {per_cell: 40}\nexplainer: neuron_to_graph\nscorers: [top_only]\ncontrols: [shuffled]\n\
                statistics: {interval: bca}\n";
    assert_eq!(accepted(good), Ok(()));
    for (written, mistaken) in [
        ("name: mine", "name: my experiment"),
        ("name: mine", "name: mine\nmodel: ./neox"),
        ("fit_tokens:", "fit_token:"),
        ("blocks.1.hook_resid_post", "resid_post.1"),
        ("kind: topk", "kind: top_k"),
        ("k: 32", "K: 32"),
        ("k: 32", "k: many"),
        ("{name: topk, kind: topk, k: 32}", "{kind: file, path: ./sae, format: gemmascope}"),
        ("{name: topk, kind: topk, k: 32}", "{name: topk, k: 32}"),
        ("features: {per_cell: 40}", "features: 40"),
        ("features: {per_cell: 40}", "features: {per_cell: 1}"),
        ("neuron_to_graph", "neuron2graph"),
        ("neuron_to_graph", "{kind: neuron_to_graph, llm: {client: openai, model: m}}"),
        ("neuron_to_graph", "{kind: highlighted, llm: {client: openai}}"),
        ("scorers: [top_only]", "scorers: [correlation]"),
        ("controls: [shuffled]", "controls: [shuffle]"),
        ("controls: [shuffled]", "controls: [{random_weight: [topk]}]"),
        ("controls: [shuffled]", "pairs: [{explainr: token_lookup}]"),
        ("interval: bca", "interval: bootstrap"),
    ] {
        let text = good.replace(written, mistaken);
        assert!(accepted(&text).is_err(), "`{mistaken}` is not flagged");
    }
}
