//! What a run folder keeps of features beside their scores: the files against the dictionaries and the subject
//! they were made from, and that they are the same however the run got there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::{HookPoint, Matrix, TokenBatch};
use autointerp::dictionary::{Dictionary, SignPolicy, load};
use autointerp::features::Protocol;
use autointerp::subject::{Edit, LoadedSubject};
use serde_json::Value;

use crate::program::call;
use crate::toy::Toy;

const HOOK: &str = "blocks.1.hook_resid_post";

fn run(toy: &Toy, out: &str, more: &[&str]) -> PathBuf {
    let (suite, folder) = (toy.arg("suite.yaml"), toy.arg(out));
    call(toy.home(), &[&["run", &suite, "--out", &folder, "--quiet"], more].concat()).ok();
    toy.path(out)
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a file of lines");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Every file of profiles and neighbours below a run folder, with its bytes.
fn files(out: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for kind in ["profiles", "neighbours"] {
        for hook in fs::read_dir(out.join(kind)).expect("a folder") {
            for file in fs::read_dir(hook.expect("an entry").path()).expect("a folder") {
                let path = file.expect("an entry").path();
                let name = path.strip_prefix(out).expect("inside").display().to_string();
                found.insert(name, fs::read_to_string(&path).expect("UTF-8"));
            }
        }
    }
    found
}

fn numbers(list: &Value) -> Vec<u64> {
    list.as_array().expect("a list").iter().map(|count| count.as_u64().expect("a count")).collect()
}

fn feature(line: &Value) -> usize {
    line["feature"].as_u64().expect("a number") as usize
}

fn dictionary(out: &Path, hook: &str, name: &str) -> Box<dyn Dictionary> {
    load(&out.join("dictionaries").join(hook).join(name)).expect("a dictionary")
}

#[test]
fn profiles_and_neighbours_do_not_depend_on_threads_or_on_how_far_a_run_had_come() {
    let toy = Toy::new();
    let hooks = ["--set", "hooks=[blocks.0.hook_resid_post, blocks.1.hook_mlp_out]"];
    let one = run(&toy, "one", &[&hooks[..], &["--threads", "1"]].concat());
    let two = run(&toy, "two", &[&hooks[..], &["--threads", "2"]].concat());
    let whole = files(&one);
    assert_eq!(whole.len(), 2 * 2 * 4, "two kinds, two hook points, four dictionaries: {:?}", whole.keys());
    assert!(whole == files(&two), "the number of threads changes them");
    // One hook point after the other, in one folder: the first's rows are there when the second is added.
    let grown = run(&toy, "grown", &["--set", "hooks=[blocks.0.hook_resid_post]"]);
    let first = files(&grown);
    assert!(first.iter().all(|(name, text)| whole[name] == *text), "a hook point depends on the others");
    fs::remove_dir_all(grown.join("neighbours")).expect("removed");
    run(&toy, "grown", &hooks);
    assert!(whole == files(&grown), "what was stored changes them");
    // A method more changes the neighbours of the others, and nothing else of them.
    let text = toy.suite_text().replace("  - {kind: random}\n", "  - {kind: random}\n  - {kind: neuron}\n");
    toy.write("suite.yaml", &text);
    let wider = files(&run(&toy, "grown", &hooks));
    let kept = |kind: &str| whole.iter().filter(|(name, _)| name.starts_with(kind)).collect::<Vec<_>>();
    assert!(kept("profiles").into_iter().all(|(name, text)| wider[name] == *text));
    assert!(kept("neighbours").into_iter().any(|(name, text)| wider[name] != *text));
}

#[test]
fn controls_have_no_profiles_and_explained_features_have_all() {
    let toy = Toy::new();
    let out = run(&toy, "out", &[]);
    let scores = lines(&out.join("scores.jsonl"));
    for name in ["topk", "random", "pca", "pca_topk"] {
        let place = |kind: &str| out.join(kind).join(HOOK).join(format!("{name}.jsonl"));
        let profiles = lines(&place("profiles"));
        let features: Vec<usize> = profiles.iter().map(feature).collect();
        assert!(!features.is_empty());
        for kind in ["records", "neighbours"] {
            assert_eq!(lines(&place(kind)).iter().map(feature).collect::<Vec<_>>(), features, "{kind}");
        }
        let signed = dictionary(&out, HOOK, name).info().sign == SignPolicy::Signed;
        for line in &profiles {
            let histogram = &line["histogram"];
            let bins = histogram["bins"].as_u64().expect("a count") as usize;
            let mut counts = vec![numbers(&histogram["rest"])];
            let tokens = histogram["tokens"].as_array().expect("tokens");
            counts.extend(tokens.iter().map(|token| numbers(&token["counts"])));
            assert!(counts.iter().all(|list| list.len() == bins) && bins == 20 && tokens.len() <= 8);
            let totals: Vec<u64> = counts[1..].iter().map(|list| list.iter().sum()).collect();
            assert!(totals.is_sorted_by(|a, b| a >= b), "by falling frequency: {totals:?}");
            let n_firing = histogram["n_firing"].as_u64().expect("a count");
            assert_eq!(counts.iter().flatten().sum::<u64>(), n_firing);
            let of_feature = |score: &&Value| {
                score["method"] == name && score["feature"] == line["feature"] && score["control"].is_null()
            };
            let score = scores.iter().find(of_feature).expect("a score line");
            let number = |value: &Value| value.as_f64().expect("a number");
            let n_tokens = number(&line["n_tokens"]);
            if !signed {
                let density = number(&score["density"]);
                assert!((n_firing as f64 / n_tokens - density).abs() < 1e-12, "{name}: density {density}");
                assert_eq!(histogram["low"], 0.0);
            }
            assert_eq!(signed && number(&histogram["low"]) < 0.0, signed, "{histogram}");
            assert!((number(&histogram["high"]) - number(&score["max_activation"])).abs() < 1e-5);
            assert_eq!(line["kurtosis"], score["kurtosis"]);
            assert!(line["kurtosis"].as_f64().is_some_and(|kurtosis| kurtosis > -3.0));
            let logits = &line["logits"];
            for (list, falls) in [("raised", true), ("lowered", false)] {
                let effects: Vec<f64> = logits[list]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|each| number(&each["effect"]))
                    .collect();
                assert_eq!(effects.len(), 10);
                assert!(effects.is_sorted_by(|a, b| if falls { a >= b } else { a <= b }), "{effects:?}");
            }
            assert!(line["logits_note"].is_null());
            assert_eq!(line["ablation"].is_null(), name == "random", "{name}");
            assert_eq!(line["ablation_note"].is_string(), name == "random", "{name}");
        }
    }
    let control = out.join("controls/random_weights");
    assert!(control.join("records").is_dir());
    assert!(!control.join("profiles").exists() && !control.join("neighbours").exists());
    let of_control = scores.iter().filter(|line| line["control"] == "random_weights");
    assert!(of_control.clone().count() > 0 && of_control.clone().all(|line| line["kurtosis"].is_null()));
    let skipped = scores.iter().filter(|line| line["status"] == "skipped");
    assert!(skipped.into_iter().all(|line| line["kurtosis"].is_null()));
}

#[test]
fn where_nothing_is_written_to_the_stream_logits_say_so() {
    let toy = Toy::new();
    let out = run(&toy, "out", &["--set", "hooks=[blocks.0.mlp.hook_post]"]);
    for line in lines(&out.join("profiles/blocks.0.mlp.hook_post/topk.jsonl")) {
        assert!(line["logits"].is_null());
        assert!(line["logits_note"].as_str().is_some_and(|note| note.contains("blocks.0.mlp.hook_post")));
        assert!(line["ablation"]["loss_change_nats"].is_f64(), "{line}");
    }
}

/// The change of the loss once more, by an edit of the whole pass instead of a start in its middle.
#[test]
fn ablation_is_the_loss_without_the_feature_minus_the_loss_with_it() {
    let toy = Toy::new();
    let subject = LoadedSubject::from_folder(&toy.path("model")).expect("a model");
    let ranks: Vec<usize> = Protocol::standard().explain.top.ranks().take(2).collect();
    for hook in ["blocks.0.hook_resid_post", "blocks.1.hook_attn_out"] {
        let out = run(&toy, "out", &["--set", &format!("hooks=[{hook}]")]);
        let hook: HookPoint = hook.parse().expect("a hook point");
        for name in ["topk", "pca", "pca_topk"] {
            let place = |kind: &str| out.join(kind).join(hook.to_string()).join(format!("{name}.jsonl"));
            let dictionary = dictionary(&out, &hook.to_string(), name);
            let records = lines(&place("records"));
            for (profile, record) in lines(&place("profiles")).iter().zip(&records) {
                let (mut total, mut n_tokens) = (0.0, 0);
                for &rank in &ranks {
                    let fragment = &record["top"][rank];
                    let ids = numbers(&fragment["tokens"]).into_iter().map(|id| id as u32).collect();
                    let tokens = TokenBatch::new(ids, 64).expect("a fragment");
                    let codes: Vec<f32> = fragment["activations"]
                        .as_array()
                        .expect("codes")
                        .iter()
                        .map(|code| code.as_f64().expect("a number") as f32)
                        .collect();
                    let without = |rows: &mut Matrix| {
                        let all = dictionary.encode(rows).expect("codes");
                        for position in 1..64 {
                            let code = all.at(position, feature(record));
                            assert!((code - codes[position]).abs() < 1e-4 * (1.0 + code.abs()));
                            let mut only = Matrix::zeros(1, all.cols());
                            let nothing = dictionary.decode(&only).expect("the bias");
                            only.row_mut(0)[feature(record)] = code;
                            let share = dictionary.decode(&only).expect("one feature");
                            let row = rows.row_mut(position).iter_mut();
                            row.zip(share.row(0).iter().zip(nothing.row(0)))
                                .for_each(|(value, (share, bias))| *value -= share - bias);
                        }
                    };
                    let edit = Edit { hook, apply: &without };
                    let model = subject.model();
                    let clean = model.token_losses(&tokens, None).expect("losses");
                    let ablated = model.token_losses(&tokens, Some(edit)).expect("losses");
                    for position in (1..63).filter(|&position| codes[position] != 0.0) {
                        total += f64::from(ablated.at(0, position)) - f64::from(clean.at(0, position));
                        n_tokens += 1;
                    }
                }
                let ablation = &profile["ablation"];
                assert_eq!(ablation["n_tokens"].as_u64(), Some(n_tokens), "{name}: {ablation}");
                assert_eq!(ablation["n_fragments"].as_u64(), Some(2));
                let got = ablation["loss_change_nats"].as_f64().expect("a number");
                let expected = total / n_tokens as f64;
                assert!((got - expected).abs() < 1e-4, "{name} at {hook}: {got} is not {expected}");
            }
        }
        fs::remove_dir_all(out).expect("removed");
    }
}

/// All pairs of directions, from the saved dictionaries.
#[test]
fn neighbours_are_the_closest_of_all_other_directions() {
    let toy = Toy::new();
    let text = toy.suite_text().replace(
        "  - {kind: random}\n",
        "  - {kind: random}\n  - {kind: neuron}\n  - {kind: identity}\n  \
         - {name: ica, kind: ica, variants: [fitted, split]}\n",
    );
    toy.write("suite.yaml", &text);
    let out = run(&toy, "out", &[]);
    let names = ["topk", "random", "neuron", "identity", "ica", "ica_split", "pca", "pca_topk"];
    let family = |name: &str| {
        match name {
            "identity" => "neuron",
            "ica_split" => "ica",
            "pca_topk" => "pca",
            own => own,
        }
        .to_string()
    };
    let all: BTreeMap<&str, (Matrix, bool)> = names
        .into_iter()
        .map(|name| {
            let dictionary = dictionary(&out, HOOK, name);
            let signed = dictionary.info().sign == SignPolicy::Signed;
            (name, (dictionary.directions().expect("directions"), signed))
        })
        .collect();
    let cosine =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    let mut opposite = 0;
    for name in names {
        let (own, signed) = &all[name];
        for line in lines(&out.join("neighbours").join(HOOK).join(format!("{name}.jsonl"))) {
            let row = own.row(feature(&line));
            let size = |cosine: f64, signed: bool| if signed { cosine.abs() } else { cosine };
            let mut same: Vec<f64> = (0..own.rows())
                .filter(|&other| other != feature(&line))
                .map(|other| size(cosine(row, own.row(other)), *signed))
                .collect();
            let mut others: Vec<f64> = names
                .into_iter()
                // The first of those with the same directions stands for all.
                .filter(|other| family(other) == **other && family(other) != family(name))
                .flat_map(|other| {
                    let (rows, other_signed) = &all[other];
                    rows.iter_rows()
                        .map(|other| size(cosine(row, other), *signed || *other_signed))
                        .collect::<Vec<f64>>()
                })
                .collect();
            for (list, expected) in [("same", &mut same), ("others", &mut others)] {
                expected.sort_by(|a, b| b.total_cmp(a));
                let found = line[list].as_array().expect("a list");
                assert_eq!(found.len(), 5, "{name}: {line}");
                let mut places = BTreeSet::new();
                for (neighbour, expected) in found.iter().zip(expected.iter()) {
                    let other =
                        if list == "same" { name } else { neighbour["dictionary"].as_str().expect("a name") };
                    let (rows, other_signed) = &all[other];
                    let stored = neighbour["cosine"].as_f64().expect("a number");
                    let exact = cosine(row, rows.row(feature(neighbour)));
                    assert!((stored - exact).abs() < 1e-5, "{name}: {neighbour} is {exact}");
                    assert!(
                        (size(stored, *signed || *other_signed) - expected).abs() < 1e-5,
                        "{name}: {line}"
                    );
                    assert!(places.insert((other, feature(neighbour))), "{name}: {neighbour} twice");
                    opposite += usize::from(stored < 0.0);
                }
            }
        }
    }
    assert!(opposite > 0, "signed directions are often closest to an opposite one");
}
