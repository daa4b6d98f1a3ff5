//! Output scores of a whole run: beside their control, under the first explainer, in table, page and chart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::call;
use crate::smoke::results;
use crate::toy::Toy;

const EFFECTS: [&str; 4] = ["ablation_effect", "steering_effect", "effect_agreement", "damage"];
const SCORERS: &str =
    "scorers=[top_and_random, beyond_token, ablation_effect, steering_effect, effect_agreement, damage]";
const SETTINGS: &str = "effects={prompts: 4, fragments: 2, bisections: 8, matched_kl: 0.02}";

fn run(toy: &Toy, out: &str, more: &[&str]) -> PathBuf {
    let (suite, folder) = (toy.arg("suite.yaml"), toy.arg(out));
    let sets = ["--set", SCORERS, "--set", SETTINGS];
    call(toy.home(), &[&["run", &suite, "--out", &folder, "--quiet"], &sets[..], more].concat()).ok();
    toy.path(out)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file of lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn is_effect(name: &Value) -> bool {
    EFFECTS.iter().any(|effect| name == effect)
}

/// Effects have cells under the first explainer and for the controls that have effects; the control of random directions
/// has no other cell, and every method has it.
fn assert_cells(summary: &Value) {
    let cells = summary["cells"].as_array().expect("cells");
    let controls = |effects: bool| -> BTreeSet<String> {
        let of = cells.iter().filter(|cell| is_effect(&cell["scorer"]) == effects);
        of.filter_map(|cell| Some(cell["control"].as_str()?.to_string())).collect()
    };
    assert_eq!(controls(true), ["random_direction", "random_weights"].map(String::from).into());
    assert_eq!(controls(false), ["random_weights", "shuffled"].map(String::from).into());
    for cell in cells.iter().filter(|cell| is_effect(&cell["scorer"])) {
        assert_eq!(cell["explainer"], "neuron_to_graph", "{cell}");
        let tally = &cell["tally"];
        let skipped = tally["skipped"].as_object().expect("reasons").values().filter_map(Value::as_u64);
        let counted = ["scored", "undefined", "failed"].iter().filter_map(|name| tally[*name].as_u64());
        assert_eq!(cell["n_requested"].as_u64(), Some(counted.sum::<u64>() + skipped.sum::<u64>()), "{cell}");
        assert_eq!(tally["failed"], 0, "{cell}");
        if cell["control"].is_null() {
            let is_control = |other: &&Value| {
                ["hook", "method", "scorer"].iter().all(|name| other[*name] == cell[*name])
                    && other["control"] == "random_direction"
            };
            let control = cells.iter().find(is_control).expect("a control");
            assert_eq!(control["n_requested"], cell["n_requested"]);
        }
    }
    for ranking in summary["rankings"].as_array().expect("rankings") {
        let is_random = |row: &&Value| row["control"] == "random_direction";
        let n_random = ranking["rows"].as_array().expect("rows").iter().filter(is_random).count();
        assert_eq!(n_random > 0, is_effect(&ranking["scorer"]), "{ranking}");
    }
}

fn assert_lines(lines: &[Value]) {
    let mut n_values = 0;
    for line in lines {
        let scores = line["scores"].as_object().expect("scores");
        let effects: Vec<(&String, &Value)> =
            scores.iter().filter(|(name, _)| EFFECTS.contains(&name.as_str())).collect();
        let first = line["explainer"] == "neuron_to_graph" && line["control"] != "shuffled";
        if line["status"] == "skipped" || !first {
            assert!(effects.is_empty(), "{line}");
            continue;
        }
        assert_eq!(effects.len(), EFFECTS.len(), "{line}");
        if line["control"] == "random_direction" {
            assert!(line["explanation"].is_null() && scores.len() == EFFECTS.len(), "{line}");
        }
        for (name, value) in effects {
            let Some(value) = value.as_f64() else {
                assert!(line["score_reasons"][name].is_string(), "{line}");
                continue;
            };
            n_values += 1;
            match name.as_str() {
                "effect_agreement" => assert!((-1.0..=1.0).contains(&value), "{line}"),
                "damage" => assert!(value.is_finite(), "{line}"),
                _ => assert!(value >= 0.0, "{line}"),
            }
        }
    }
    assert!(n_values > 20, "{n_values} values");
}

#[test]
fn output_scores_stand_beside_random_directions_and_make_quadrants() {
    let toy = Toy::new();
    let out = run(&toy, "out", &["--threads", "1"]);
    let summary: Value = serde_json::from_str(&results(&out).0).expect("JSON");
    assert_cells(&summary);
    assert_lines(&lines(&out.join("scores.jsonl")));
    let quadrants = &summary["quadrants"];
    assert_eq!(
        (&quadrants["input"], &quadrants["output"]),
        (&"top_and_random".into(), &"steering_effect".into())
    );
    let rows = quadrants["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    for row in rows.iter().filter(|row| row["n_both"] != 0) {
        let shares = ["both", "input_only", "output_only", "neither"].map(|name| row[name]["share"].as_f64());
        let sum: f64 = shares.into_iter().map(|share| share.expect("a share")).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{row}");
    }
    // What clamping raises is evidence of the feature.
    let profiles = lines(&out.join("profiles/blocks.1.hook_resid_post/topk.jsonl"));
    for profile in profiles {
        let raised = profile["steering_effect"]["raised"].as_array().expect("tokens");
        assert_eq!(raised.len(), 10);
        assert!(raised[0][1].as_f64() >= raised[9][1].as_f64(), "{profile}");
    }
    let text = |name: &str| fs::read_to_string(out.join(name)).expect("a file");
    assert!(text("table.md").contains("## Input and output scores"));
    assert!(text("index.html").contains("id=\"quadrants\""));
    assert!(out.join("charts/score_effect.neuron_to_graph.svg").exists());
    // The number of threads changes nothing, and the constants are part of what is stored.
    assert!(results(&out) == results(&run(&toy, "two", &["--threads", "2"])), "threads change the results");
    let stronger = run(&toy, "out", &["--set", "effects.clamp=4"]);
    assert!(results(&stronger).1 != results(&toy.path("two")).1, "another strength gives the same scores");
}

#[test]
fn constants_that_no_score_uses_or_no_fragment_holds_are_refused() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let check = |sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        call(toy.home(), &[&["check", suite.as_str()], &sets[..]].concat())
    };
    check(&["effects.clamp=4"]).refused(2, &["effects", "no output score", "`steering_effect`"]);
    check(&[SCORERS, "effects.prompt_tokens=64"])
        .refused(2, &["effects.prompt_tokens", "is 64", "64 tokens"]);
    check(&[SCORERS, "effects.matched_kl=0"]).refused(2, &["effects.matched_kl", "from 0.001 to 100"]);
}
