//! Numbers, names and lists that no run could use: each is refused by name, and in little work.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::node::Node;
use super::schema::SUITE;
use super::{Suite, SuiteError, rules};
use crate::dictionary::kind_fields;

const HEAD: &str = "hooks: [blocks.2.hook_resid_post]\n";
const METHOD: &str = "methods: [{kind: topk}]\n";

/// A suite checked with overrides, each `PATH=VALUE`.
fn check(text: &str, sets: &[(&str, &str)]) -> Result<Suite, String> {
    let mut root = Node::parse(text)?;
    for (path, value) in sets {
        root.set(path, Node::parse(value)?)?;
    }
    rules::check(&root, "suite", Path::new("."))
        .map_err(|problems| SuiteError::Problems { path: "suite.yaml".into(), problems }.to_string())
}

#[test]
fn absurd_numbers_are_refused_with_field_value_and_range() {
    let text = format!("{HEAD}{METHOD}");
    for (path, value, expected) in [
        ("methods.0.features", "10000000000", "is 10000000000, expected a whole number from 2 to 100000000"),
        ("methods.0.expansion", "1e18", "is 1e18, expected a number from 0.001 to 100000"),
        ("methods.0.expansion", ".inf", "is inf, expected a number from 0.001 to 100000"),
        ("methods.0.expansion", ".nan", "is NaN, expected a number from"),
        ("methods.0.expansion", "0", "is 0, expected a number from"),
        ("methods.0.k", "-1", "is -1, expected a whole number from 1 to"),
        ("methods.0.k", "1e18", "is 1e18, expected a whole number from 1 to"),
        ("methods.0.k", "8.0", "is 8, expected a whole number from 1 to 100000000 without a point"),
        ("methods.0.steps", "0x7fffffffffffffff", "is 9223372036854775807, expected a whole number from 20"),
        ("methods.0.batch", "1000000000000000000000000000000", "is 1e30, expected a whole number from 2"),
        ("methods.0.lr", "-.inf", "is -inf, expected a number from"),
        ("methods.0.seeds", "101", "from 1 to 100"),
        ("statistics.resamples", "9000000000000000000", "from 100 to 1000000"),
        ("statistics.permutations", "1_000_000_000", "is 1000000000, expected a whole number from 100"),
        ("statistics.confidence", ".nan", "is NaN, expected a number from 0.5 to 0.999"),
        ("corpus.fit_tokens", "1000000000000000000", "from 1000 to 100000000000"),
        ("corpus.ctx_tokens", "4294967296", "from 2 to 1048576"),
        ("corpus.eval_fragments", "1e9", "is 1000000000, expected a whole number from 40"),
        ("features.per_cell", "2147483648", "from 2 to 1000000"),
        ("protocol.fragment_tokens", "65536", "from 2 to 4096"),
        ("protocol.n_top", "18446744073709551615", "from 0 to 100000"),
        ("protocol.walk.first", "9223372036854775807", "from 1 to 1000000"),
        ("seed", "18446744073709551616", "expected a whole number from 0 to 9223372036854775807"),
        ("seed", "-1", "is -1, expected a whole number from 0"),
        ("limits.disk_gb", ".inf", "is inf, expected a number from 0.001 to 1000000"),
        ("limits.failed_allowed", "-0.1", "is -0.1, expected a number from 0 to 1"),
        ("explainer.best_of", "1e2", "is 100, expected a whole number from 1 to 100 without"),
        ("explainer.llm.timeout_seconds", ".inf", "from 0.01 to 86400"),
        ("explainer.llm.max_in_flight", "0", "from 1 to 100000"),
        ("explainer.llm.retries", "4294967295", "from 0 to 1000"),
        ("explainer.llm.price_in", ".nan", "is NaN, expected a number from 0 to 1000000"),
        ("explainer.llm.price_out", "-1", "is -1, expected a number from 0"),
        ("explainer.llm.extra_body", "{a: [1, .nan]}", "is NaN, expected a finite number"),
        ("explainer.temperature", "1e300", "is 1e300, expected a number from 0 to 2"),
    ] {
        let mut sets = vec![(path, value)];
        let model = "{kind: token_activation, llm: {client: openai, model: m}}";
        if path.starts_with("explainer.") {
            sets.insert(0, ("explainer", model));
        }
        let error = check(&text, &sets).expect_err(path);
        let field = path.strip_suffix(".first").unwrap_or(path);
        assert!(error.contains(expected) && error.contains(field), "{path}={value}: {error}");
    }
}

#[test]
fn yaml_beyond_the_limits_is_refused_in_words() {
    let long = "x".repeat(20_000);
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let block: String = (0..2_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let doubled: String =
        ('b'..='z').map(|c| format!("{c}: &{c} [*{0},*{0},*{0}]\n", (c as u8 - 1) as char)).collect();
    let ids: Vec<String> = (0..300_000).map(|id| id.to_string()).collect();
    for (text, expected) in [
        (deep, "line 1 column"),
        (block, "nested more than 64 levels"),
        (format!("a: &a [x]\n{doubled}"), "more than 250000 values"),
        (format!("{HEAD}{METHOD}features: {{ids: [{}]}}", ids.join(",")), "`ids_file`"),
        (format!("name: a\nname: b\n{HEAD}{METHOD}"), "line 2 column 1: the field `name` is given twice"),
        (format!("---\n{HEAD}{METHOD}---\na: 1\n"), "several YAML documents"),
        (
            format!("{HEAD}{METHOD}corpus: {{source: {long}}}"),
            "is 20000 characters long, expected at most 10000",
        ),
        (String::new(), "`hooks` is missing"),
    ] {
        let start: String = text.chars().take(60).collect();
        let error = check(&text, &[]).expect_err(&start);
        assert!(
            error.contains(expected) && error.len() < 4_000,
            "{start}: {}",
            &error[..error.len().min(600)]
        );
    }
    let path = vec!["a"; 20_000].join(".");
    assert!(check(HEAD, &[(&path, "1")]).expect_err("deep").contains("expected at most 64"));
}

/// At these lengths, work that grows with the square would take minutes.
#[test]
fn long_lists_are_refused_before_their_items_are_read() {
    let many = |item: &str, n: usize| vec![item; n].join(",");
    let numbers: Vec<String> = (1..=100_000).map(|k| k.to_string()).collect();
    for (text, expected) in [
        (
            format!("{HEAD}methods: [{{kind: topk, sweep: {{k: [{}]}}}}]", numbers.join(",")),
            "`methods.0.sweep.k` has 100000 items, expected at most 1000",
        ),
        (format!("{HEAD}methods: [{}]", many("{kind: topk}", 60_000)), "`methods` has 60000 items"),
        (format!("{HEAD}methods: [{}]", many("{use: none.yaml}", 60_000)), "`methods` has 60000 items"),
        (
            format!("{HEAD}{METHOD}scorers: [{}]", many("foo", 200_000)),
            "has 200000 items, expected at most 100",
        ),
        (format!("{HEAD}{METHOD}pairs: [{}]", many("token_lookup", 200_000)), "expected at most 100"),
        (format!("{METHOD}hooks: [{}]", many("hook_embed", 200_000)), "`hooks` has 200000 items"),
        (
            format!(
                "{HEAD}methods: [{{kind: topk, seeds: 100, sweep: {{k: [{}]}}}}]",
                numbers[..500].join(",")
            ),
            "asks for 50000 rows at each hook point",
        ),
        (
            format!("{HEAD}methods: [{{kind: topk, seeds: 100}}]\nfeatures: {{per_cell: 1000000}}"),
            "asks for 100 times 1000000 features",
        ),
        (
            format!("{HEAD}{METHOD}{}", (0..100_000).map(|n| format!("z{n}: 1\n")).collect::<String>()),
            "has more than 100 problems",
        ),
    ] {
        let error = check(&text, &[]).expect_err(expected);
        assert!(error.contains(expected) && error.len() < 40_000, "{}", &error[..error.len().min(600)]);
    }
}

#[test]
fn names_are_safe_and_never_share_a_file() {
    let model = "{client: openai, model: m}";
    let explain = |name: &str| format!("{{kind: token_activation, name: {name}, llm: {model}}}");
    let pair = |name: &str, reader: &str| {
        format!("{{explainer: {}, simulator: {{kind: generated, name: {reader}}}}}", explain(name))
    };
    for (text, expected) in [
        (
            format!("{HEAD}methods: [{{kind: topk, name: ../../x}}]"),
            "`methods.0.name` `../../x` cannot be a name",
        ),
        (format!("{HEAD}methods: [{{kind: topk, name: /tmp/x}}]"), "use letters, digits"),
        (format!("{HEAD}methods: [{{kind: topk, name: \"a\\0b\"}}]"), "`a\\0b` cannot be a name"),
        (format!("{HEAD}methods: [{{kind: topk, name: NUL}}]"), "is a device on Windows"),
        (format!("name: ..\n{HEAD}{METHOD}"), "`name` `..` cannot be a name"),
        (format!("{HEAD}{METHOD}protocol: {{name: ../p}}"), "`protocol.name` `../p` cannot be a name"),
        (
            format!("{HEAD}methods: [{{kind: topk, name: A}}, {{kind: random, name: a}}]"),
            "`methods.1` `A` and `a` differ only by case",
        ),
        (
            format!("{HEAD}methods: [{{kind: topk, sweep: {{k: [4, 8]}}}}, {{kind: random, name: TOPK_8}}]"),
            "`topk_8` and `TOPK_8` differ only by case",
        ),
        (
            format!("{HEAD}methods: [{{kind: topk, sweep: {{k: [4, 8]}}}}, {{kind: random, name: topk_8}}]"),
            "`topk_8` is used twice",
        ),
        (
            format!("{HEAD}methods: [{{kind: topk, seeds: 2}}, {{kind: random, name: Topk.seed2}}]"),
            "`topk.seed2` and `Topk.seed2` differ only by case",
        ),
        (
            format!("{HEAD}{METHOD}pairs: [{}, {}]", pair("one", "r"), pair("One", "s")),
            "`one` and `One` differ only by case",
        ),
        (format!("{HEAD}{METHOD}pairs: [{}]", pair("a/b", "r")), "`a/b` cannot be a name"),
        (format!("{HEAD}{METHOD}pairs: [{}]", pair("a", "../r")), "`../r` cannot be a name"),
    ] {
        let error = check(&text, &[]).expect_err(expected);
        assert!(error.contains(expected), "{text}: {error}");
    }
    let fine = format!(
        "{HEAD}methods: [{{kind: topk, sweep: {{lr: [0.001, 1e-2]}}}}, {{kind: topk, name: x-1.b_c}}]"
    );
    assert!(check(&fine, &[]).is_ok());
}

/// Every number of the schema states a range. Swept values are checked by the field that is swept.
fn check_ranges(schema: &Json, path: &str) {
    let of_type = |name: &str| {
        schema["type"] == name
            || schema["type"].as_array().is_some_and(|all| all.iter().any(|one| one == name))
    };
    if (of_type("integer") || of_type("number")) && !path.contains(".sweep.") {
        let (low, high) = (schema["minimum"].as_f64(), schema["maximum"].as_f64());
        assert!(low.zip(high).is_some_and(|(low, high)| low < high), "{path} has no range: {schema}");
        if let Some(default) = schema["default"].as_f64() {
            assert!(super::range::is_inside(schema, default), "{path}: {schema}");
        }
    }
    match schema {
        Json::Object(fields) => {
            fields.iter().for_each(|(name, inner)| check_ranges(inner, &format!("{path}.{name}")))
        }
        Json::Array(items) => items.iter().for_each(|inner| check_ranges(inner, path)),
        _ => {}
    }
}

#[test]
fn every_number_of_a_suite_has_a_range() {
    check_ranges(&SUITE, "");
    for fields in kind_fields() {
        check_ranges(&fields.schema, fields.kinds[0].name());
    }
}

/// The method that the baseline file's `topk` variant is matched to, in a suite of these methods.
fn matched(methods: &str, more: &str) -> Result<Option<String>, String> {
    let text = format!("{HEAD}methods: [{methods}]\n{more}");
    let suite = check(&text, &[])?;
    let pca = suite.methods.iter().find(|method| method.name == "pca").expect("PCA");
    Ok(pca.params.matched().map(String::from))
}

#[test]
fn a_baseline_is_matched_to_the_reference_or_the_first_sparse_method() {
    const PCA: &str = "{use: baselines/pca.yaml}";
    for (methods, more, expected) in [
        (format!("{{kind: topk}}, {PCA}"), "", "topk"),
        (format!("{PCA}, {{kind: random}}, {{name: mine, kind: file, path: x}}"), "", "mine"),
        (format!("{{kind: topk}}, {{name: b, kind: sae}}, {PCA}"), "statistics: {reference: b}", "b"),
        (format!("{{kind: random}}, {{kind: topk}}, {PCA}"), "statistics: {reference: random}", "topk"),
        (format!("{{kind: topk, sweep: {{k: [4, 8]}}}}, {PCA}"), "", "topk_4"),
        (format!("{{kind: topk, sweep: {{k: [4, 8]}}}}, {PCA}"), "statistics: {reference: topk_8}", "topk_8"),
        (format!("{{kind: topk, seeds: 2}}, {PCA}"), "", "topk"),
        ("{kind: topk}, {name: b, kind: sae}, {use: baselines/pca.yaml, match: b}".into(), "", "b"),
    ] {
        assert_eq!(matched(&methods, more), Ok(Some(expected.into())), "{methods} {more}");
    }
    for given in ["k: 4", "variants: [fitted, split]"] {
        let methods = format!("{{kind: topk}}, {{use: baselines/pca.yaml, {given}}}");
        assert_eq!(matched(&methods, ""), Ok(None), "{methods}");
    }
}

#[test]
fn a_baseline_without_anything_to_match_names_the_field_and_the_ways_out() {
    let error = matched("{kind: random}, {use: baselines/pca.yaml}", "").expect_err("refused");
    for part in
        ["`methods.1.match`", "no sparse autoencoder", "`k: N`", "variants: [fitted, oriented, split]"]
    {
        assert!(error.contains(part), "`{part}`: {error}");
    }
    assert!(error.contains("1 problem"), "{error}");
}

/// Dotted paths of the fields of a schema.
fn paths(schema: &Json, path: &str, all: &mut Vec<String>) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let inner_path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        paths(inner, &inner_path, all);
        all.push(inner_path);
    }
    let items = format!("{path}.0");
    for one in schema["anyOf"].as_array().into_iter().flatten() {
        paths(one, path, all);
    }
    if !schema["items"].is_null() {
        paths(&schema["items"], &items, all);
    }
}

const SCALARS: [&str; 28] = [
    "",
    "~",
    "true",
    "no",
    "0",
    "-1",
    "1",
    "2",
    "40",
    "1_000",
    "0.5",
    "1e18",
    "-1e300",
    ".inf",
    "-.inf",
    ".nan",
    "0x7fffffffffffffff",
    "18446744073709551615",
    "1000000000000000000000000000000",
    "topk",
    "\"../x\"",
    "\"\\0\"",
    "\"\\e[31m\"",
    "[]",
    "{}",
    "[1, x]",
    "{a: 1}",
    "gpt2",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_values_of_known_fields_are_valid_or_refused_in_words(
        picks in proptest::collection::vec((any::<prop::sample::Index>(), 0..SCALARS.len()), 1..5),
    ) {
        let mut all = Vec::new();
        paths(&SUITE, "", &mut all);
        let mut root = Node::parse(&format!("{HEAD}{METHOD}")).expect("valid");
        for (field, scalar) in &picks {
            let value = Node::parse(SCALARS[*scalar]).expect("a scalar");
            // A path through a value of another form is refused by itself.
            let _ = root.set(&all[field.index(all.len())], value);
        }
        if let Err(problems) = rules::check(&root, "suite", Path::new(".")) {
            prop_assert!(!problems.is_empty());
            for found in &problems {
                prop_assert!(found.message.len() > 5 && found.message.len() < 3_000, "{found:?}");
            }
        }
    }
}

#[test]
fn a_task_has_the_defaults_of_patching_and_is_left_out_of_other_suites() {
    let load = |task: &str| {
        let text = format!("hooks: [hook_embed]\nmethods: [{{kind: random}}]\n{task}");
        super::parse(&text, Path::new("task.yaml"), &[])
    };
    let suite = load("task: {pairs: 8, orders: [exact, exact]}\n").expect("valid");
    let json = serde_json::to_value(&suite).expect("JSON");
    let task = suite.task.expect("a task");
    assert_eq!((task.pairs, task.prompts.as_str(), task.kind_name()), (8, "embedded", "ioi"));
    assert_eq!((task.patching.orders.len(), task.patching.max_exact), (1, 64));
    assert_eq!((&json["task"]["pairs"], &json["task"]["max_exact"]), (&8.into(), &64.into()));
    let without = serde_json::to_value(load("").expect("valid")).expect("JSON");
    assert!(without.get("task").is_none());
    assert!(load("task:\n").expect("valid").task.is_none());
    let stored = "subject: {activations: x.safetensors}\nexplainer: token_lookup\ntask: {kind: ioi}\n";
    let refused = load(stored).expect_err("no model").to_string();
    assert!(
        refused.contains("5:") && refused.contains("`task` changes activations while the model runs"),
        "{refused}"
    );
    let orders = load("task: {orders: [exct]}\n").expect_err("unknown").to_string();
    assert!(orders.contains("3:") && orders.contains("did you mean `exact`"), "{orders}");
}
