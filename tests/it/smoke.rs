//! Whole runs: what stands in the results, and that the same suite gives the same bytes however it got there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::program::{autointerp, call};
use crate::shared;
use crate::toy::Toy;

/// Runs the toy suite with more arguments and gives the bytes of `summary.json` and `scores.jsonl`.
fn run(toy: &Toy, out: &str, more: &[&str]) -> (String, String) {
    let (suite, folder) = (toy.arg("suite.yaml"), toy.arg(out));
    call(toy.home(), &[&["run", &suite, "--out", &folder, "--quiet"], more].concat()).ok();
    results(&toy.path(out))
}

pub fn results(out: &Path) -> (String, String) {
    let text = |name: &str| fs::read_to_string(out.join(name)).expect("a result");
    (text("summary.json"), text("scores.jsonl"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn run_digest(summary: &str) -> String {
    json(summary)["run"].as_str().expect("a digest").to_string()
}

/// Every cell accounts for every feature that was walked, and no number is missing without a reason.
fn assert_accounted(summary: &Value) {
    let cells = summary["cells"].as_array().expect("cells");
    assert!(!cells.is_empty());
    for cell in cells {
        let tally = &cell["tally"];
        let skipped: u64 =
            tally["skipped"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
        let count = |name: &str| tally[name].as_u64().expect("a count");
        let walked = count("scored") + count("undefined") + count("failed") + skipped;
        assert_eq!(cell["n_requested"].as_u64(), Some(walked), "{cell}");
        assert_eq!(count("failed"), 0, "{cell}");
        let bound = |name: &str| cell[name].as_f64();
        if let (Some(low), Some(mean), Some(high)) = (bound("ci_low"), bound("mean"), bound("ci_high")) {
            assert!(low <= mean && mean <= high, "{cell}");
            assert!((-1.0..=1.0).contains(&mean), "{cell}");
        }
    }
}

/// Each ranking has every method, means of its cells, and rows that share a letter exactly if neither is above the
/// other; each planned difference has an interval that agrees with its adjusted p.
fn assert_ranked(summary: &Value) {
    let rankings = summary["rankings"].as_array().expect("rankings");
    let cells = summary["cells"].as_array().expect("cells");
    assert_eq!(rankings.iter().filter(|ranking| ranking["primary"] == true).count(), 1);
    for ranking in rankings {
        let hooks = ranking["hooks"].as_array().expect("hook points");
        let of_ranking = |cell: &&Value| {
            ["scorer", "explainer", "simulator"].iter().all(|name| cell[*name] == ranking[*name])
        };
        let rows = ranking["rows"].as_array().expect("rows");
        assert_eq!(rows.len() * hooks.len(), cells.iter().filter(of_ranking).count(), "{ranking}");
        for row in rows {
            let of_row = |cell: &&Value| cell["method"] == row["method"] && cell["control"] == row["control"];
            let means: Vec<Option<f64>> =
                cells.iter().filter(of_ranking).filter(of_row).map(|cell| cell["mean"].as_f64()).collect();
            let mean = means.iter().copied().sum::<Option<f64>>().map(|sum| sum / means.len() as f64);
            match (mean, row["mean"].as_f64()) {
                (Some(mean), Some(found)) => assert!((mean - found).abs() < 1e-12, "{row}"),
                (mean, found) => assert!(mean.is_none() && found.is_none(), "{row}"),
            }
            assert_eq!(row["ci_low"].is_null(), row["reason"].is_string(), "{row}");
            assert!(row["control"].is_null() || row["place"].is_null(), "{row}");
        }
        let is_above = |one: &Value, other: &Value| {
            let key = serde_json::json!([other["method"], other["control"]]);
            one["above"].as_array().expect("rows").contains(&key)
        };
        let letters = |row: &Value| row["letters"].as_str().expect("letters").to_string();
        for (nth, one) in rows.iter().enumerate() {
            for other in
                rows[..nth].iter().filter(|other| !letters(other).is_empty() && !letters(one).is_empty())
            {
                let shared = letters(one).chars().any(|letter| letters(other).contains(letter));
                assert_eq!(shared, !is_above(one, other) && !is_above(other, one), "{one} {other}");
            }
        }
    }
    for row in summary["differences"].as_array().expect("differences") {
        let end = |name: &str| row[name].as_f64();
        assert!(row["family"] == "primary" || end("adjusted_low").is_none(), "{row}");
        if let (Some(low), Some(high)) = (end("adjusted_low"), end("adjusted_high")) {
            let p = end("p_adjusted").expect("a planned difference");
            assert_eq!(low > 0.0 || high < 0.0, p < 0.05, "{row}");
        }
    }
}

/// No text that stands for a number that is none.
fn assert_no_unnumbers(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() {
            assert_no_unnumbers(&path);
        } else if ["json", "jsonl"].contains(&extension) {
            let text = fs::read_to_string(&path).expect("UTF-8");
            // A token's text may be any word; a JSON value may not be one of these.
            for word in [":NaN", ": NaN", "[NaN", ",NaN", "Infinity,", "Infinity}", ":inf", ": inf", "-inf,"]
            {
                assert!(!text.contains(word), "`{word}` in {}", path.display());
            }
            for line in text.lines().filter(|_| extension == "jsonl") {
                json(line);
            }
            if extension == "json" {
                json(&text);
            }
        }
    }
}

#[test]
fn the_number_of_threads_and_the_folder_change_nothing() {
    let toy = Toy::new();
    let one = run(&toy, "one", &["--threads", "1"]);
    let two = run(&toy, "elsewhere/two", &["--threads", "2"]);
    assert_same("summary.json differs between 1 and 2 threads", &one.0, &two.0);
    assert_same("scores.jsonl differs between 1 and 2 threads", &one.1, &two.1);
    let fresh = run(&toy, "one", &["--threads", "3", "--fresh"]);
    assert!(one == fresh, "--fresh gives other bytes");
    let again = run(&toy, "one", &[]);
    assert!(one == again, "stored stages give other bytes");
}

#[test]
fn what_changes_a_number_changes_the_run_and_where_things_are_does_not() {
    let toy = Toy::new();
    let base = run(&toy, "base", &[]);
    let seed = run(&toy, "seed", &["--seed", "8"]);
    assert_ne!(run_digest(&base.0), run_digest(&seed.0));
    assert!(base.1 != seed.1, "another seed gives other scores");
    let fewer = run(&toy, "fewer", &["--limit-features", "3"]);
    assert_ne!(run_digest(&base.0), run_digest(&fewer.0));
    let roomier = run(&toy, "roomier", &["--set", "limits.disk_gb=3"]);
    assert!(base.0 == roomier.0, "a limit that was not reached changes summary.json");
    fs::rename(toy.path("model"), toy.path("moved")).expect("renamed");
    fs::rename(toy.path("corpus.txt"), toy.path("moved.txt")).expect("renamed");
    let model = format!("subject.model={}", toy.arg("moved"));
    let corpus = format!("corpus.source={}", toy.arg("moved.txt"));
    let moved = run(&toy, "moved-run", &["--set", &model, "--set", &corpus]);
    assert!(base == moved, "the same model and text in another folder give other bytes");
}

/// Asserts that two texts are the same, and shows where they part.
fn assert_same(what: &str, expected: &str, got: &str) {
    let apart: Vec<String> = expected
        .lines()
        .zip(got.lines())
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(line, (a, b))| format!("{}: {a}\n    {b}", line + 1))
        .take(8)
        .collect();
    assert!(expected == got, "{what}\n{}", apart.join("\n"));
}

/// Kills the run as soon as a stage of this kind is stored; false where it was over before that.
pub fn kill_after(toy: &Toy, out: &str, stage: &str) -> bool {
    let stages = toy.path(out).join("stages");
    let mut child = autointerp(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg(out)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    loop {
        let names = fs::read_dir(&stages).into_iter().flatten().flatten().map(|entry| entry.file_name());
        if names.into_iter().any(|name| name.to_string_lossy().starts_with(stage)) {
            child.kill().expect("killed");
            return !child.wait().expect("ended").success();
        }
        if child.try_wait().expect("its state").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_run_that_was_killed_twice_resumes_to_the_same_bytes() {
    let toy = Toy::new();
    let whole = run(&toy, "whole", &[]);
    fs::remove_dir_all(toy.path("cache")).expect("an empty cache");
    for stage in ["fit-", "row-"] {
        assert!(kill_after(&toy, "killed", stage), "the run ended before it could be killed");
        assert!(
            !toy.path("killed/summary.json").exists(),
            "killed after `{stage}`, so there is no summary yet"
        );
    }
    let fits = || fs::read_dir(toy.path("killed/stages")).expect("stages").count();
    let before = fits();
    let resumed = run(&toy, "killed", &[]);
    assert!(before >= 2 && fits() > before, "the run went on from {before} stages to {}", fits());
    assert_same("scores.jsonl of a resumed run differs", &whole.1, &resumed.1);
    assert_same("summary.json of a resumed run differs", &whole.0, &resumed.0);
    // What pages are drawn from is the same as well, file by file.
    let (whole, resumed) = (evidence(&toy.path("whole")), evidence(&toy.path("killed")));
    assert!(whole.keys().eq(resumed.keys()), "{:?}, resumed {:?}", whole.keys(), resumed.keys());
    for folder in ["records", "profiles", "neighbours"] {
        assert!(whole.keys().any(|name| name.starts_with(folder)), "{folder} holds something");
    }
    for (name, bytes) in &whole {
        assert!(resumed[name] == *bytes, "{} of a resumed run differs", name.display());
    }
}

/// Every file that pages are drawn from, by its place in a run folder, with its bytes.
fn evidence(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(run: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            // What a killed process was writing stays beside the file, under a hidden name.
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if path.is_dir() {
                collect(run, &path, found);
            } else if !hidden {
                let name = path.strip_prefix(run).expect("inside").to_path_buf();
                found.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    let mut found = BTreeMap::new();
    let folders = ["records", "explanations", "simulations", "profiles", "neighbours"];
    folders.iter().for_each(|folder| collect(run, &run.join(folder), &mut found));
    found
}

/// Values of a field become methods, trainings of a method share a row, and all that was trained together is what
/// it would have been alone.
#[test]
fn a_sweep_over_values_and_seeds_is_one_row_for_each_value() {
    let toy = Toy::new();
    let text = toy.suite_text();
    let line = "  - {name: topk, kind: topk, expansion: 2, k: 4, steps: 60}\n";
    let swept = "  - {name: topk, kind: topk, expansion: 2, steps: 60, sweep: {k: [3, 4, 6]}, seeds: 2}\n  \
                 - {name: ica, kind: ica, variants: [fitted, split], seeds: 2}\n";
    assert!(text.contains(line));
    let text = text.replace("match: topk", "match: topk_4").replace("reference: topk", "reference: topk_3");
    toy.write("suite.yaml", &text.replace(line, swept));
    let (summary, scores) = run(&toy, "swept", &[]);
    let summary = json(&summary);
    assert_accounted(&summary);
    assert_ranked(&summary);
    let rows = summary["quality"].as_array().expect("rows");
    let row = |method: &str| rows.iter().find(|row| row["method"] == method).expect("a row");
    for (k, method) in [(3.0, "topk_3"), (4.0, "topk_4"), (6.0, "topk_6")] {
        let row = row(method);
        assert_eq!((row["sweep"].as_str(), row["trainings"].as_u64()), (Some("topk"), Some(2)));
        let number = |name: &str| row[name].as_f64().expect("a number");
        assert!(number("l0") <= k && number("l0") > 0.5 * k, "{row}");
        assert!(number("fvu_least") <= number("fvu") && number("fvu") <= number("fvu_largest"), "{row}");
        assert!((0.0..0.999).contains(&number("mmcs_between_seeds")), "two starts, two dictionaries: {row}");
        assert!(toy.path("swept/dictionaries/blocks.1.hook_resid_post").join(method).is_dir());
        let cell = summary["cells"].as_array().expect("cells").iter().find(|cell| {
            cell["method"] == method && cell["control"].is_null() && cell["scorer"] == "top_and_random"
        });
        let lines = scores.lines().map(json).filter(|line| {
            line["method"] == method && line["control"].is_null() && line["explainer"] == "neuron_to_graph"
        });
        let trainings: Vec<u64> = lines.map(|line| line["training"].as_u64().expect("a number")).collect();
        assert_eq!(cell.expect("a cell")["n_requested"].as_u64(), Some(trainings.len() as u64));
        assert!(trainings.contains(&0) && trainings.contains(&1), "{method}: {trainings:?}");
    }
    // A fit that serves several rows, trained twice: its dictionaries are found under their rows' names.
    for (method, folder) in [("ica", "ica.seed2"), ("ica_split", "ica_split.seed2")] {
        assert_eq!(row(method)["trainings"].as_u64(), Some(2));
        assert!(toy.path("swept/dictionaries/blocks.1.hook_resid_post").join(folder).is_dir(), "{folder}");
    }
    assert!(row("random")["trainings"].is_null() && row("random")["sweep"].is_null());
    let second = scores.lines().map(json).find(|line| {
        line["method"] == "topk_6"
            && line["training"] == 1
            && line["control"].is_null()
            && line["status"] == "scored"
    });
    let place = format!("blocks.1.hook_resid_post/topk_6.seed2/{}", second.expect("a feature")["feature"]);
    let shown = call(toy.home(), &["inspect", &toy.arg("swept"), &place]).ok().stdout;
    assert!(shown.contains("topk_6.seed2") && shown.contains("true") && shown.contains("simul"), "{shown}");
    let table = fs::read_to_string(toy.path("swept/table.md")).expect("a table");
    assert!(table.contains("topk_6") && !table.contains("seed2"), "{table}");
    let charts: BTreeSet<String> = fs::read_dir(toy.path("swept/charts"))
        .expect("charts")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(charts.contains("sparsity_fvu.svg"), "{charts:?}");
    // Alone, without a sweep, and in a run that was killed.
    fs::remove_dir_all(toy.path("cache")).expect("an empty cache");
    assert!(kill_after(&toy, "again", "fit-"), "the run ended before it could be killed");
    let (_, resumed) = run(&toy, "again", &[]);
    assert_same("scores.jsonl of a resumed sweep differs", &scores, &resumed);
}

#[test]
fn a_damaged_stage_is_made_again() {
    let toy = Toy::new();
    let whole = run(&toy, "out", &[]);
    for entry in fs::read_dir(toy.path("out/stages")).expect("stages") {
        autointerp::base::write_atomic(&entry.expect("an entry").path(), b"{\"half\": ").expect("written");
    }
    assert!(run(&toy, "out", &[]) == whole, "damaged stages change the result");
}

#[test]
fn a_run_accounts_for_every_feature_and_holds_no_unnumber() {
    let toy = Toy::new();
    let hooks =
        ["--set", "hooks=[blocks.0.hook_resid_post, blocks.1.hook_resid_post, blocks.1.mlp.hook_post]"];
    let (summary, scores) = run(&toy, "out", &hooks);
    let summary = json(&summary);
    assert_accounted(&summary);
    assert_ranked(&summary);
    assert_no_unnumbers(&toy.path("out"));
    let mut places = BTreeSet::new();
    for line in scores.lines() {
        let line = json(line);
        let place =
            ["hook", "method", "feature", "explainer", "control"].map(|key| line[key].to_string()).join(" ");
        assert!(places.insert(place.clone()), "`{place}` stands there twice");
        let text = |key: &str| line[key].as_str().map(str::to_string);
        assert_eq!(text("status").as_deref() == Some("scored"), line["reason"].is_null(), "{line}");
        for (name, score) in line["scores"].as_object().expect("scores") {
            assert!(score.is_null() == line["score_reasons"].get(name).is_some(), "{name}: {line}");
        }
    }
    let features = |hook: &str| -> Vec<String> {
        places.iter().filter(|place| place.starts_with(&format!("\"{hook}\" \"topk\""))).cloned().collect()
    };
    for hook in ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"] {
        // Four features, two explainers, real and both controls.
        assert!(features(hook).len() >= 4 * 2 * 3, "{hook}: {:?}", features(hook));
    }
    let quality = summary["quality"].as_array().expect("quality");
    assert!(quality.len() >= 3 * 4, "{} dictionaries measured", quality.len());
    let of =
        |hook: &str| quality.iter().find(|row| row["hook"] == hook && row["method"] == "topk").expect("topk");
    assert_ne!(of("blocks.0.hook_resid_post")["fvu"], of("blocks.1.hook_resid_post")["fvu"]);
    assert_eq!(of("blocks.1.mlp.hook_post")["n_features"], 64, "two times the width of that hook point");
    for name in ["manifest.json", "table.md", "table.csv", "table.tex", "index.html"] {
        assert!(toy.path("out").join(name).exists(), "{name}");
    }
}

#[test]
fn hook_points_do_not_depend_on_their_company() {
    let toy = Toy::new();
    let alone = run(&toy, "alone", &[]).1;
    let both = run(&toy, "both", &["--set", "hooks=[blocks.0.hook_resid_post, blocks.1.hook_resid_post]"]).1;
    let of = |scores: &str| -> Vec<String> {
        scores.lines().filter(|line| line.contains("\"blocks.1.hook_resid_post\"")).map(Into::into).collect()
    };
    assert!(!of(&alone).is_empty() && of(&alone) == of(&both), "a hook point's scores depend on the others");
}

/// Mean |score| over the cells of one control.
fn mean_of(summary: &Value, control: Option<&str>, explainer: &str, scorer: &str) -> f64 {
    let cells = summary["cells"].as_array().expect("cells").iter();
    let means: Vec<f64> = cells
        .filter(|cell| {
            cell["control"].as_str() == control && cell["explainer"] == explainer && cell["scorer"] == scorer
        })
        .filter_map(|cell| cell["mean"].as_f64())
        .collect();
    assert!(!means.is_empty(), "no {control:?} cells of {explainer} and {scorer}");
    means.iter().map(|mean| mean.abs()).sum::<f64>() / means.len() as f64
}

/// What holds of every run: a token lookup knows nothing beyond the token, and another feature's
/// explanation says little.
fn assert_controls(summary: &Value) {
    let real = mean_of(summary, None, "token_lookup_fit", "top_and_random");
    let shuffled = mean_of(summary, Some("shuffled"), "token_lookup_fit", "top_and_random");
    assert!(shuffled < 0.25 && shuffled < real / 2.0, "shuffled {shuffled}, real {real}");
    let beyond = mean_of(summary, None, "token_lookup_fit", "beyond_token");
    assert!(beyond == 0.0, "token_lookup_fit scores {beyond} in beyond_token");
}

#[test]
fn the_smoke_suite_on_the_embedded_model() {
    let toy = Toy::new();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/smoke.yaml").display().to_string();
    let out = toy.arg("smoke");
    let less = [
        "corpus.fit_tokens=20_000",
        "corpus.eval_fragments=600",
        "features.per_cell=6",
        "methods.0.steps=150",
    ];
    let mut args = vec!["run", &suite, "--out", &out];
    less.iter().for_each(|item| args.extend(["--set", item]));
    call(toy.home(), &args).ok();
    let summary = json(&results(&toy.path("smoke")).0);
    assert_eq!(summary["suite"], "smoke");
    assert_accounted(&summary);
    assert_ranked(&summary);
    assert_no_unnumbers(&toy.path("smoke"));
    assert_controls(&summary);
    let (summary, scores) = results(&toy.path("smoke"));
    let oracle: Vec<Value> = scores.lines().map(json).filter(|line| line["control"] == "oracle").collect();
    assert!(!oracle.is_empty());
    for line in oracle.iter().filter(|line| line["status"] == "scored") {
        assert_eq!((&line["explainer"], &line["simulator"]), (&"oracle".into(), &"oracle".into()), "{line}");
        let text = line["explanation"].as_str().expect("an explanation");
        assert!(text.contains(" on, ") && text.ends_with(" off"), "{text}");
    }
    let cells = json(&summary)["cells"].as_array().expect("cells").clone();
    let rows: BTreeSet<String> = cells
        .iter()
        .filter(|cell| cell["control"] == "oracle")
        .map(|cell| cell["method"].to_string())
        .collect();
    assert_eq!(rows.len(), 5, "the oracle explains every method of the real subject: {rows:?}");
    let table = fs::read_to_string(toy.path("smoke/table.md")).expect("a table");
    // The pairing's own heading only: the oracle stands in it, not in a table of its own.
    assert!(table.contains("(control: oracle)") && !table.contains("## oracle"), "{table}");
    // The same suite once more, from nothing, with the second control on a random subject.
    let again = toy.arg("again");
    let more =
        "controls=[shuffled, oracle, {random_weights: [topk]}, {random_weights_and_embeddings: [topk]}]";
    args[3] = &again;
    call(toy.home(), &args).ok();
    assert!(results(&toy.path("again")) == (summary, scores.clone()), "a second run differs");
    args.extend(["--set", more]);
    call(toy.home(), &args).ok();
    let wider = results(&toy.path("again")).1;
    let of = |scores: &str, control: &str| -> Vec<String> {
        let control = format!("\"control\":\"{control}\"");
        scores.lines().filter(|line| line.contains(&control)).map(Into::into).collect()
    };
    assert!(!of(&scores, "random_weights").is_empty());
    assert_eq!(of(&scores, "random_weights"), of(&wider, "random_weights"));
    let permuted = of(&wider, "random_weights_and_embeddings");
    assert_eq!(permuted.len(), of(&wider, "random_weights").len());
}

#[test]
fn the_oracle_is_refused_without_labels() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let args = ["check", &suite, "--set", "controls=[oracle]"];
    call(toy.home(), &args).refused(2, &["`oracle` needs text whose tokens are labelled", "corpus.source"]);
}

#[test]
fn a_trained_model_and_real_text_from_a_folder() {
    let Some(folder) = shared::folder() else { return };
    let toy = Toy::new();
    let model = format!("subject.model={}", folder.join("models/stories260K").display());
    let corpus = format!("corpus.source={}", folder.join("corpora/tinystories.txt").display());
    let set = [
        "--set",
        &model,
        "--set",
        &corpus,
        "--set",
        "features.per_cell=8",
        "--set",
        "hooks=[blocks.2.hook_resid_post]",
    ];
    let summary = json(&run(&toy, "out", &set).0);
    assert_accounted(&summary);
    assert_ranked(&summary);
    assert_no_unnumbers(&toy.path("out"));
    assert_controls(&summary);
    let topk = summary["cells"].as_array().expect("cells").iter().find(|cell| {
        cell["method"] == "topk" && cell["control"].is_null() && cell["scorer"] == "top_and_random"
    });
    assert!(topk.expect("a cell of topk")["mean"].as_f64().is_some_and(|mean| mean > 0.3), "{topk:?}");
}
