//! A made-up but plausible run folder for tests.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::ranking::{RankedMethod, Ranking};
use super::schema::*;
use crate::base::{Stream, Tally, distinct, write_atomic};

pub const METHODS: [&str; 12] = [
    "sae",
    "topk",
    "neuron",
    "random",
    "pca",
    "pca_oriented",
    "pca_split",
    "pca_topk",
    "ica",
    "ica_oriented",
    "ica_split",
    "ica_topk",
];
pub const EXPLAINERS: [&str; 3] = ["neuron_to_graph", "neuron_to_graph_backoff", "token_lookup_fit"];
pub const SCORERS: [&str; 5] = ["top_and_random", "top_only", "random_only", "population", "beyond_token"];

pub struct Made {
    pub summary: Summary,
    pub lines: Vec<ScoreLine>,
}

/// The expected score, so that charts look like those of a real run.
fn centre(method: usize, explainer: &str, control: Option<&str>, scorer: &str, layer: usize) -> f64 {
    if control == Some("shuffled") {
        return if scorer == "beyond_token" { 0.0 } else { 0.05 };
    }
    if scorer == "beyond_token" {
        let real = if control.is_none() && explainer != "token_lookup_fit" { 0.28 } else { 0.0 };
        return real * (1.0 - 0.07 * method as f64).max(0.1);
    }
    let base = match explainer {
        "token_lookup_fit" => 0.82,
        "neuron_to_graph_backoff" => 0.7,
        _ => 0.62 - 0.03 * method as f64,
    };
    let scale = match scorer {
        "top_and_random" => 1.0,
        "top_only" => 0.7,
        "random_only" => 0.55,
        _ => 0.8,
    };
    base * scale - 0.03 * layer as f64
}

/// Twelve methods, three explainers, five scorers, two controls, forty features of each.
pub fn make(layers: usize) -> Made {
    make_of(layers, 40)
}

/// The same with `n` features of each method at each layer.
pub fn make_of(layers: usize, n: usize) -> Made {
    let mut made = Made {
        summary: Summary {
            schema: SCHEMA,
            suite: "residual".into(),
            run: "5b1c".repeat(16),
            primary: Some("top_and_random".into()),
            reference: Some("topk".into()),
            margin: Some(0.05),
            ..Summary::default()
        },
        lines: Vec::new(),
    };
    let mut stream = Stream::new(3, "fixture");
    for layer in 0..layers {
        let hook = format!("blocks.{layer}.hook_resid_post");
        for explainer in EXPLAINERS {
            for (m, method) in METHODS.iter().enumerate() {
                for control in [None, Some("shuffled"), Some("random_weights")] {
                    if control != Some("random_weights") || *method == "topk" {
                        add_row(&mut made, &mut stream, &hook, layer, m, explainer, control, n);
                    }
                }
            }
        }
        for (m, method) in METHODS.iter().enumerate() {
            made.summary.quality.push(quality(&hook, m, method, layer));
            if *method != "topk" {
                made.summary.differences.push(difference(&hook, method, m));
            }
        }
    }
    made.summary.rankings = rankings(&made.summary);
    made
}

/// Rankings of every explainer and scorer: means over hook points with half of a cell's interval, and two rows separated
/// where the difference is larger than its interval.
fn rankings(summary: &Summary) -> Vec<Ranking> {
    let mut rankings = Vec::new();
    for explainer in EXPLAINERS {
        for scorer in SCORERS {
            let is_here = |cell: &&Cell| cell.explainer == explainer && cell.scorer == scorer;
            let mut rows: Vec<RankedMethod> = Vec::new();
            let cells: Vec<&Cell> = summary.cells.iter().filter(is_here).collect();
            for (method, control) in distinct(cells.iter().map(|cell| (&cell.method, &cell.control))) {
                let own = cells.iter().filter(|cell| cell.method == *method && cell.control == *control);
                rows.push(ranked(&own.copied().collect::<Vec<_>>()));
            }
            rows.sort_by(|a, b| b.mean.unwrap_or(f64::MIN).total_cmp(&a.mean.unwrap_or(f64::MIN)));
            separate(&mut rows);
            rankings.push(Ranking {
                scorer: scorer.into(),
                protocol: "standard".into(),
                explainer: explainer.into(),
                simulator: explainer.into(),
                primary: scorer == SCORERS[0] && explainer == EXPLAINERS[0],
                hooks: distinct(summary.cells.iter().map(|cell| cell.hook.clone())),
                confidence: 0.95,
                rows,
                note: None,
            });
        }
    }
    rankings
}

/// One row of a ranking, without its place.
fn ranked(cells: &[&Cell]) -> RankedMethod {
    let means: Option<Vec<f64>> = cells.iter().map(|cell| cell.mean).collect();
    let mean = means.map(|means| means.iter().sum::<f64>() / means.len() as f64);
    let half = cells.iter().filter_map(|cell| Some(cell.ci_high? - cell.ci_low?)).reduce(f64::max);
    let half = half.map(|width| 0.75 * width / (cells.len() as f64).sqrt());
    let counts = || cells.iter().map(|cell| cell.n_scored);
    RankedMethod {
        method: cells[0].method.clone(),
        control: cells[0].control.clone(),
        mean,
        ci_low: mean.zip(half).map(|(mean, half)| mean - half),
        ci_high: mean.zip(half).map(|(mean, half)| mean + half),
        n_scored: counts().sum(),
        n_per_hook: (counts().min().unwrap_or(0), counts().max().unwrap_or(0)),
        reason: mean.is_none().then(|| "no mean at one hook point".into()),
        ..RankedMethod::default()
    }
}

/// Fills places, separations and letters of rows in the order of their means.
pub fn separate(rows: &mut [RankedMethod]) {
    let half = |row: &RankedMethod| row.ci_low.zip(row.ci_high).map(|(low, high)| (high - low) / 2.0);
    let apart = |a: &RankedMethod, b: &RankedMethod| {
        let known = a.mean.zip(b.mean).zip(half(a).zip(half(b)));
        known.is_some_and(|((a, b), (wide, wider))| a - b > wide.hypot(wider))
    };
    let all = rows.to_vec();
    let (mut place, mut letter, mut begun) = (0, 0u8, 0);
    for (nth, row) in rows.iter_mut().enumerate() {
        let below = all.iter().filter(|other| apart(row, other));
        row.above = below.map(|other| (other.method.clone(), other.control.clone())).collect();
        if row.control.is_none() && row.mean.is_some() {
            place += 1;
            row.place = Some(place);
        }
        while apart(&all[begun], row) {
            begun += 1;
            letter += u8::from(!apart(&all[begun], row));
        }
        row.letters = half(&all[nth]).map(|_| char::from(b'a' + letter % 26).to_string()).unwrap_or_default();
    }
}

#[allow(clippy::too_many_arguments)]
fn add_row(
    made: &mut Made,
    stream: &mut Stream,
    hook: &str,
    layer: usize,
    m: usize,
    explainer: &str,
    control: Option<&str>,
    n: usize,
) {
    let mut columns: BTreeMap<&str, Vec<Option<f64>>> = BTreeMap::new();
    for scorer in SCORERS {
        let middle = centre(m, explainer, control, scorer, layer);
        let constant_share = if scorer == "beyond_token" { 0.3 } else { 0.02 };
        let values = (0..n)
            .map(|_| {
                let value = (middle + 0.16 * stream.normal()).clamp(-0.6, 1.0);
                (!stream.chance(constant_share)).then_some(value)
            })
            .collect();
        columns.insert(scorer, values);
    }
    for i in 0..n {
        let scores: BTreeMap<String, Option<f64>> =
            columns.iter().map(|(scorer, values)| (scorer.to_string(), values[i])).collect();
        let score_reasons = scores
            .iter()
            .filter(|(_, score)| score.is_none())
            .map(|(scorer, _)| (scorer.clone(), "constant_prediction".to_string()))
            .collect();
        made.lines.push(ScoreLine {
            training: None,
            hook: hook.into(),
            method: METHODS[m].into(),
            feature: i,
            protocol: "standard".into(),
            explainer: explainer.into(),
            simulator: explainer.into(),
            control: control.map(Into::into),
            status: ScoreStatus::Scored,
            reason: None,
            explanation: Some("fires on <b>the</b> after \" of\"".into()),
            scores,
            score_reasons,
            density: Some(0.002 * f64::from(i as u32 + 1)),
            max_activation: Some(4.5),
            kurtosis: control.is_none().then(|| 200.0 / (i as f64 + 0.5) - 1.5),
            n_top: 10,
            n_random: 10,
            tokens_untold: None,
            grades: None,
        });
    }
    for scorer in SCORERS {
        made.summary.cells.push(cell(hook, m, explainer, control, scorer, &columns[scorer]));
    }
}

fn cell(
    hook: &str,
    m: usize,
    explainer: &str,
    control: Option<&str>,
    scorer: &str,
    values: &[Option<f64>],
) -> Cell {
    let defined: Vec<f64> = values.iter().flatten().copied().collect();
    let n = values.len();
    let mean = defined.iter().sum::<f64>() / n as f64;
    let half = 1.96 * 0.17 / (n as f64).sqrt();
    let lookup_of_position = explainer == "token_lookup_fit" && scorer == "beyond_token";
    let empty = METHODS[m] == "ica" && scorer == "population" && hook.starts_with("blocks.3");
    let mean = if lookup_of_position { 0.0 } else { mean };
    Cell {
        hook: hook.into(),
        method: METHODS[m].into(),
        protocol: "standard".into(),
        explainer: explainer.into(),
        simulator: explainer.into(),
        control: control.map(Into::into),
        scorer: scorer.into(),
        mean: (!empty).then_some(mean),
        ci_low: (!empty && !lookup_of_position).then_some(mean - half),
        ci_high: (!empty && !lookup_of_position).then_some(mean + 0.9 * half),
        confidence: 0.95,
        interval_method: if lookup_of_position || empty {
            None
        } else if m == 8 && scorer == "top_only" {
            Some("percentile".into())
        } else {
            Some("bca".into())
        },
        mean_defined: (!empty).then(|| defined.iter().sum::<f64>() / defined.len() as f64),
        n_defined: if empty { 0 } else { defined.len() },
        mean_by_density: (!empty).then_some(mean * 1.1),
        n_requested: n + 14,
        n_scored: if empty { 0 } else { n },
        tally: Tally {
            scored: if empty { 0 } else { n },
            undefined: if empty { n + 2 } else { 2 },
            failed: 1,
            skipped: BTreeMap::from([("dead".into(), 4), ("too_few_fragments".into(), 7)]),
        },
        n_constant: if lookup_of_position { n } else { n - defined.len() },
        eligible_share: Some(43.0 / 54.0),
        features: None,
        tokens_repeating: (scorer == "beyond_token").then_some(1834.0),
        tokens_untold: None,
        bca_low: None,
        bca_high: None,
        note: None,
    }
}

fn quality(hook: &str, m: usize, method: &str, layer: usize) -> QualityRow {
    let reconstructs = !matches!(method, "neuron" | "random");
    let l0 = [12.3, 12.0, 61.0, 63.5, 128.0, 128.0, 64.0, 12.0, 128.0, 128.0, 64.0, 12.0][m];
    let fvu = [0.31, 0.12, 0.0, 0.0, 1e-6, 1e-6, 1e-6, 0.24, 1e-6, 1e-6, 1e-6, 0.41][m];
    QualityRow {
        elsewhere: None,
        hook: hook.into(),
        method: method.into(),
        control: None,
        n_features: if m < 2 { 512 } else { 128 },
        l0: Some(l0 + layer as f64 * 0.2),
        fvu: reconstructs.then_some(fvu + 0.01 * layer as f64),
        loss_recovered_zero: reconstructs.then_some(1.0 - fvu / 2.0),
        loss_recovered_mean: reconstructs.then_some(1.0 - fvu),
        alive: Some(if m == 0 { 480 } else { 128 }),
        dead: Some(if m == 0 { 32 } else { 0 }),
        near_dead: Some(if m == 0 { 61 } else { 0 }),
        n_tokens: 49_920,
        density_median: Some(0.024),
        mmcs_between_seeds: None,
        sweep: None,
        role: Some(if m < 2 { Role::Trained } else { Role::Baseline }),
        trainings: None,
        fvu_least: None,
        fvu_largest: None,
        converged: (m > 3).then_some(true),
        note: match method {
            "sae" => Some("under-trained".into()),
            "neuron" | "random" => Some("not a reconstruction".into()),
            _ => None,
        },
    }
}

fn difference(hook: &str, method: &str, m: usize) -> DifferenceRow {
    let difference = 0.03 * m as f64 - 0.02;
    let adjusted = if m > 4 { 0.1 } else { 0.12 };
    DifferenceRow {
        hook: hook.into(),
        scorer: "top_and_random".into(),
        explainer: "neuron_to_graph".into(),
        simulator: "neuron_to_graph".into(),
        method_a: "topk".into(),
        method_b: method.into(),
        n_a: 40,
        n_b: 40,
        difference: Some(difference),
        ci_low: Some(difference - 0.07),
        ci_high: Some(difference + 0.07),
        adjusted_low: (m % 3 != 1).then_some(difference - adjusted),
        adjusted_high: (m % 3 != 1).then_some(difference + adjusted),
        p: Some(if m > 4 { 0.00002 } else { 0.31 }),
        p_adjusted: Some(if m > 4 { 0.0003 } else { 1.0 }),
        family: if m % 3 == 1 { Family::Exploratory } else { Family::Primary },
        verdict: Some(if m > 4 { Verdict::Higher } else { Verdict::NoDifference }),
        note: None,
    }
}

/// Writes it as a run folder.
pub fn write(made: &Made, folder: &Path) {
    let text = made.summary.to_json().expect("a summary is JSON");
    write_atomic(&folder.join("summary.json"), text.as_bytes()).expect("written");
    let lines: String = made.lines.iter().map(|line| line.to_json_line().expect("a line is JSON")).collect();
    write_atomic(&folder.join("scores.jsonl"), lines.as_bytes()).expect("written");
    let trained = |method: &str| matches!(method, "sae" | "topk");
    let methods: Vec<serde_json::Value> = ["sae", "topk", "neuron", "random", "pca", "ica"]
        .map(|name| match name {
            "pca" | "ica" => json!({"name": name, "params": {"kind": name, "match": "sae",
                                    "variants": ["fitted", "oriented", "split", "topk"]}}),
            name => json!({"name": name, "params": {"kind": name}}),
        })
        .to_vec();
    let dictionaries: BTreeMap<String, serde_json::Value> = made
        .summary
        .quality
        .iter()
        .map(|row| {
            let rows = if trained(&row.method) { 1_000_000 } else { 50_000 };
            let report = json!({"rows": rows, "seconds": 0.1 * row.n_features as f64, "steps": 100});
            (format!("{}/{}", row.hook, row.method), json!({"report": report}))
        })
        .collect();
    let manifest = json!({
        "version": "0.1.0",
        "suite": {"name": "residual", "seed": 7, "hooks": ["blocks.*.hook_resid_post"], "methods": methods},
        "dictionaries": dictionaries,
        "digests": {"model": "ab".repeat(32), "corpus": "cd".repeat(32)},
        "stages": [
            {"name": "harvest", "seconds": 6.21, "peak_memory_bytes": 612_000_000u64},
            {"name": "fit", "seconds": 31.0, "peak_memory_bytes": 1_204_000_000u64, "reused": true},
        ],
        "cpu": {"name": "a cpu", "instruction_set": "avx512f"},
        "warnings": ["sae at blocks.0.hook_resid_post is under-trained"],
    });
    write_atomic(&folder.join("manifest.json"), manifest.to_string().as_bytes()).expect("written");
}

/// A made-up text: fragments of 64 tokens from a vocabulary with a few frequent tokens.
pub struct Text {
    pub vocabulary: Vec<String>,
    pub fragments: Vec<Vec<u32>>,
}

impl Text {
    pub fn make(n_fragments: usize, vocabulary: usize) -> Self {
        let mut stream = Stream::new(5, "text");
        let token = |stream: &mut Stream| {
            let share = stream.unit();
            ((vocabulary as f64).powf(share) - 1.0) as u32
        };
        let fragments =
            (0..n_fragments).map(|_| (0..64).map(|_| token(&mut stream)).collect::<Vec<u32>>()).collect();
        Self { vocabulary: (0..vocabulary).map(|id| format!(" w{id}")).collect(), fragments }
    }

    pub fn write(&self, folder: &Path) {
        let json = serde_json::to_string(&self.vocabulary).expect("JSON");
        write_atomic(&folder.join("records/tokens.json"), json.as_bytes()).expect("written");
    }
}

/// Evidence of one dictionary as a run with the standard protocol writes it: records and simulations of each
/// explainer, profiles and neighbours. A dense dictionary is active on every token, with both signs.
pub fn write_evidence(folder: &Path, text: &Text, hook: &str, dictionary: &str, n: usize, dense: bool) {
    let mut stream = Stream::new(7, dictionary);
    let (mut records, mut simulations) = (String::new(), String::new());
    let (mut profiles, mut neighbours) = (String::new(), String::new());
    for feature in 0..n {
        let token = (feature * 7 % text.vocabulary.len()) as u32;
        let activations = |stream: &mut Stream, fires: bool, tokens: &[u32]| -> Vec<f64> {
            let value = |id: &u32| match (dense, fires && (*id == token || stream.chance(0.06))) {
                (true, _) => stream.normal(),
                (false, true) => 0.5 + 4.0 * stream.unit(),
                (false, false) => 0.0,
            };
            tokens.iter().map(value).map(|value| (value * 1e4).round() / 1e4).collect()
        };
        let list = |stream: &mut Stream, stratum: &str, n: usize, fires: bool| -> Vec<serde_json::Value> {
            (0..n)
                .map(|_| {
                    let fragment = stream.below(text.fragments.len());
                    let tokens = &text.fragments[fragment];
                    json!({
                        "fragment": fragment, "document": fragment / 2, "stratum": stratum, "probability": 0.031,
                        "tokens": tokens, "activations": activations(stream, fires, tokens),
                    })
                })
                .collect()
        };
        let top = list(&mut stream, "top", 20, true);
        let random = list(&mut stream, "random", 20, true);
        let more = list(&mut stream, "more_random", 50, true);
        let non_firing = list(&mut stream, "non_firing", 50, false);
        for (stratum, fragments) in [("top", &top), ("random", &random), ("non_firing", &non_firing)] {
            for fragment in fragments.iter().skip(1).step_by(2).take(10) {
                let truths = fragment["activations"].as_array().expect("a list");
                for explainer in EXPLAINERS {
                    let near = |truth: &serde_json::Value| {
                        let truth = truth.as_f64().expect("a number");
                        let value = if stream.chance(0.8) { 0.7 * truth } else { 0.0312 };
                        (value * 1e4).round() / 1e4
                    };
                    let predicted: Vec<f64> = truths.iter().map(near).collect();
                    let line = json!({
                        "feature": feature, "explainer": explainer, "simulator": explainer,
                        "fragment": fragment["fragment"], "strata": [stratum], "predicted": predicted,
                    });
                    simulations.push_str(&format!("{line}\n"));
                }
            }
        }
        let quantiles: Vec<Vec<serde_json::Value>> = more
            .chunks(5)
            .map(|group| {
                group.iter().map(|one| json!({"fragment": one["fragment"], "probability": 0.1})).collect()
            })
            .collect();
        let more_random: Vec<(usize, f64)> = (0..200).map(|nth| (nth, 0.0321)).collect();
        let line = json!({
            "feature": feature, "first_scored": 1, "n_tokens": 252_000, "firing_tokens": 9_000, "density": 0.0357,
            "firing_fragments": 812, "firing_documents": 640, "max_activation": 4.5, "top": top, "random": random,
            "quantiles": quantiles, "quantile_fragments": more, "non_firing": non_firing, "more_random": more_random,
        });
        records.push_str(&format!("{line}\n"));
        profiles.push_str(&format!("{}\n", profile(feature, &mut stream)));
        let near = |dictionary: Option<&str>| -> Vec<serde_json::Value> {
            (1..6)
                .map(|nth| json!({"dictionary": dictionary, "feature": (feature + nth) % (n + 2), "cosine": 0.83}))
                .collect()
        };
        let line = json!({"feature": feature, "same": near(None), "others": near(Some("pca"))});
        neighbours.push_str(&format!("{line}\n"));
    }
    let files = [
        ("records", records),
        ("simulations", simulations),
        ("profiles", profiles),
        ("neighbours", neighbours),
    ];
    for (kind, lines) in files {
        let path = folder.join(kind).join(hook).join(format!("{dictionary}.jsonl"));
        write_atomic(&path, lines.as_bytes()).expect("written");
    }
}

fn profile(feature: usize, stream: &mut Stream) -> serde_json::Value {
    let mut counts = |scale: f64| -> Vec<u64> {
        (0..20).map(|bin| (scale * (-0.3 * f64::from(bin)).exp() * (0.5 + stream.unit())) as u64).collect()
    };
    let tokens: Vec<serde_json::Value> =
        (0..8).map(|nth| json!({"token": feature + nth, "counts": counts(90.0)})).collect();
    let effects = |sign: f64| -> Vec<serde_json::Value> {
        (0..10)
            .map(|nth| json!({"token": feature + 20 + nth, "effect": sign * (2.0 - 0.1 * nth as f64)}))
            .collect()
    };
    json!({
        "feature": feature, "n_tokens": 252_000,
        "histogram": {"low": 0.0, "high": 5.2, "bins": 20, "n_firing": 9_000, "tokens": tokens, "rest": counts(300.0)},
        "logits": {"raised": effects(1.0), "lowered": effects(-1.0)}, "logits_note": null,
        "ablation": {"loss_change_nats": 0.0123, "n_tokens": 128, "n_fragments": 2}, "kurtosis": 12.3,
    })
}
