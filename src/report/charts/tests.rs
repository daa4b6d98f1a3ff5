//! Charts of made-up run folders: which are drawn, and which texts they show.

use std::path::Path;

use strum::VariantArray;

use super::{Kind, chart_name, compact, shared_strokes};
use crate::report::fixture::{self, METHODS, Made};
use crate::report::{RenderOptions, render};

const HOSTILE: &str = "\"><script>alert(1)</script>|x\n\u{202E}_{$\\input}'";

/// Names of the files that are drawn, and the folder.
fn drawn(made: &Made, options: &RenderOptions) -> (tempfile::TempDir, Vec<String>) {
    let folder = tempfile::tempdir().expect("temporary folder");
    fixture::write(made, folder.path());
    let names = again(folder.path(), options);
    (folder, names)
}

fn again(folder: &Path, options: &RenderOptions) -> Vec<String> {
    let files = render(folder, options).expect("rendered");
    files.iter().map(|path| path.strip_prefix(folder).expect("inside").display().to_string()).collect()
}

fn svg(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join("charts").join(name)).expect("a chart")
}

/// All texts of a drawing, in order.
fn texts(svg: &str) -> Vec<String> {
    let elements = svg.split("<text").skip(1).filter_map(|rest| rest.split("</text>").next());
    elements.filter_map(|rest| rest.split_once('>')).map(|(_, text)| text.to_string()).collect()
}

/// All texts joined, to search for phrases that are broken into lines.
fn words(svg: &str) -> String {
    texts(svg).join(" ")
}

/// The fixture with `sae` and `topk` as two points of a sweep.
fn swept() -> Made {
    let mut made = fixture::make(2);
    for row in &mut made.summary.quality {
        if ["sae", "topk"].contains(&row.method.as_str()) {
            row.sweep = Some("codes".into());
            row.n_features = if row.method == "sae" { 256 } else { 1024 };
        }
    }
    made
}

#[test]
fn files_bring_their_typeface_along_and_pages_do_not() {
    let (folder, _) = drawn(&fixture::make(1), &RenderOptions::default());
    let svg = svg(folder.path(), "sparsity_fvu.svg");
    let (head, rest) = svg.split_once("</style>").expect("a style sheet");
    assert!(head.contains("@font-face{font-family:\"DejaVu Sans\";src:url(\"data:font/woff2;base64,d09GMg"));
    assert!(head.contains("font-family=\"DejaVu Sans, ") && !rest.contains("font/woff2"));
    let page = std::fs::read_to_string(folder.path().join("index.html")).expect("a page");
    assert!(!page.contains("font/woff2"));
}

#[test]
fn every_kind_has_a_name_that_finds_it() {
    for (nth, &kind) in Kind::VARIANTS.iter().enumerate() {
        assert_eq!(kind.name().parse(), Ok(kind));
        let prefix = |other: &Kind| other.name().starts_with(kind.name());
        assert_eq!(Kind::VARIANTS.iter().filter(|other| prefix(other)).count(), 1, "{}", kind.name());
        assert!(!Kind::VARIANTS[..nth].contains(&kind));
    }
    assert_eq!(RenderOptions::only(["dead_features", "all"]), Ok(RenderOptions::default()));
    assert_eq!(RenderOptions::only(["dead_features", "violins"]), Err("violins"));
}

#[test]
fn names_of_charts_stay_and_lead_nowhere() {
    let name = |part: Option<&str>, names: &[&str]| chart_name(Kind::ByLayer, part, names).to_string();
    assert_eq!(
        name(Some("mlp.hook_post"), &["neuron_to_graph"]),
        "scores_by_layer.mlp.hook_post.neuron_to_graph"
    );
    assert_eq!(name(Some("hook_attn_out"), &["../x"]), "scores_by_layer.hook_attn_out.@2e@2e@2fx");
    assert_ne!(name(Some("hook_attn_out"), &["a.b", "c"]), name(Some("hook_attn_out"), &["a", "b.c"]));
    assert_ne!(name(None, &["a"]).to_lowercase(), name(None, &["A"]).to_lowercase());
}

#[test]
fn only_charts_whose_data_the_run_has_are_drawn() {
    let (folder, names) = drawn(&fixture::make(4), &RenderOptions::default());
    let has = |name: &str| names.iter().any(|other| other.starts_with(&format!("charts/{name}.")));
    for &kind in Kind::VARIANTS {
        assert_eq!(has(kind.name()), kind != Kind::ScoreSize, "{} in {names:?}", kind.name());
    }
    for path in ["scores.jsonl", "manifest.json"] {
        std::fs::remove_file(folder.path().join(path)).expect("removed");
    }
    let names = again(folder.path(), &RenderOptions::default());
    let has = |name: &str| names.iter().any(|other| other.starts_with(&format!("charts/{name}.")));
    for &kind in Kind::VARIANTS {
        let needs_nothing = [Kind::ByLayer, Kind::ScoreL0, Kind::SparsityFvu, Kind::Dead].contains(&kind);
        assert_eq!(has(kind.name()), needs_nothing, "{} in {names:?}", kind.name());
    }
}

#[test]
fn charts_asked_for_are_drawn_and_nothing_else_is_touched() {
    let (folder, all) = drawn(&swept(), &RenderOptions::default());
    let of = |kinds: &[Kind]| -> Vec<String> {
        let belongs =
            |name: &&String| kinds.iter().any(|kind| name.starts_with(&format!("charts/{}.", kind.name())));
        all.iter().filter(belongs).cloned().collect()
    };
    let page = std::fs::read(folder.path().join("index.html")).expect("a page");
    std::fs::remove_file(folder.path().join("table.md")).expect("removed");
    let stale = folder.path().join("charts/score_size.gone.svg");
    let other = folder.path().join("charts/dead_features.gone.svg");
    for path in [&stale, &other] {
        crate::base::write_atomic(path, b"<svg/>").expect("written");
    }
    let options = RenderOptions::only(["score_size", "sparsity_fvu"]).expect("names");
    let names = again(folder.path(), &options);
    assert_eq!(names, of(&[Kind::ScoreSize, Kind::SparsityFvu]));
    assert_eq!(names.len(), 2 * (3 + 1), "three explainers, and one chart of dictionaries alone");
    assert!(!stale.exists() && other.exists(), "stale charts of the kinds drawn go, others stay");
    assert!(!folder.path().join("table.md").exists());
    assert_eq!(std::fs::read(folder.path().join("index.html")).expect("a page"), page);
}

#[test]
fn single_features_stand_against_kurtosis_and_density() {
    let (folder, _) = drawn(&fixture::make(4), &RenderOptions::default());
    for (name, axis) in [("score_kurtosis", "m₄ / m₂²"), ("score_density", "share of tokens")] {
        let svg = svg(folder.path(), &format!("{name}.neuron_to_graph.svg"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let texts = texts(&svg);
        for method in METHODS {
            assert_eq!(texts.iter().filter(|text| *text == method).count(), 2, "{method} in two bands");
        }
        let rank: Vec<&String> = texts.iter().filter(|text| text.starts_with('ρ')).collect();
        assert_eq!(rank.len(), 2 * METHODS.len());
        // 40 features at each of four layers; constant predictions count as 0.
        assert!(rank.iter().all(|text| text.contains('[') && text.ends_with("n 160")), "{rank:?}");
        let words = words(&svg);
        assert!(words.contains(axis) && words.contains("Spearman") && words.contains("constant predictions"));
        let dots = svg.matches("a2 2 0 1 0 4 0").count();
        assert_eq!(dots, 2 * METHODS.len() * 160, "every feature is a dot");
    }
}

#[test]
fn a_score_that_is_the_same_for_all_features_is_named_and_not_drawn() {
    let mut made = fixture::make(1);
    for line in made.lines.iter_mut().filter(|line| line.explainer == "token_lookup_fit") {
        line.scores.insert("beyond_token".into(), None);
        line.score_reasons.insert("beyond_token".into(), "constant_prediction".into());
    }
    let (folder, _) = drawn(&made, &RenderOptions::default());
    let words = words(&svg(folder.path(), "score_density.token_lookup_fit.svg"));
    assert!(words.contains("beyond_token is the same for all features"), "{words}");
    assert!(words.contains("top_and_random") && !words.contains("ρ —"), "{words}");
}

#[test]
fn sparse_baselines_stand_beside_the_autoencoders_alone() {
    let (folder, _) = drawn(&fixture::make(4), &RenderOptions::default());
    let svg = svg(folder.path(), "topk_baselines.hook_resid_post.neuron_to_graph.svg");
    let texts = texts(&svg);
    for (method, there) in [
        ("sae", true),
        ("topk", true),
        ("pca_topk", true),
        ("ica_topk", true),
        ("pca", false),
        ("neuron", false),
    ] {
        assert_eq!(texts.iter().any(|text| text == method), there, "{method}: {texts:?}");
    }
    let words = words(&svg);
    assert!(words.contains("pca_topk and ica_topk keep as many codes as sae has active"), "{words}");
    assert!(words.contains("control: random_weights") && words.contains("40 features a mark"), "{words}");
    assert!(words.contains("95 % BCa interval over features"));
}

#[test]
fn a_sweep_over_sizes_is_a_line_and_dead_features_of_it_stand_against_sparsity() {
    let (folder, _) = drawn(&swept(), &RenderOptions::default());
    let size = svg(folder.path(), "score_size.neuron_to_graph.svg");
    let texts = texts(&size);
    assert!(texts.iter().any(|text| text == "codes") && !texts.iter().any(|text| text == "sae"));
    let written = words(&size);
    assert!(written.contains("features in the dictionary (log scale)"));
    assert!(written.contains("Lines join the points of a sweep") && written.contains("40 features"));
    assert!(written.contains("Not drawn, for they do not vary it: neuron, random, pca"), "{written}");
    // Two scores at two hook points, each with the sweep's line besides axes and intervals.
    assert!(size.matches("stroke-width=\"1.1\"").count() >= 4, "lines of the sweep");
    let dead = svg(folder.path(), "dead_features.sparsity.svg");
    assert!(words(&dead).contains("near-dead features") && words(&dead).contains("codes"));
    let by_layer = svg(folder.path(), "dead_features.hook_resid_post.svg");
    assert!(!words(&by_layer).contains("codes") && words(&by_layer).contains("pca (of 128)"));
}

#[test]
fn dead_features_are_counted_of_how_many() {
    let (folder, _) = drawn(&fixture::make(4), &RenderOptions::default());
    let words = words(&svg(folder.path(), "dead_features.hook_resid_post.svg"));
    assert!(words.contains("sae (of 512)") && words.contains("49,920 evaluation tokens"), "{words}");
    assert!(!words.contains("NaN"));
}

#[test]
fn training_is_rows_where_a_sweep_varies_them_and_seconds_elsewhere() {
    let (folder, _) = drawn(&fixture::make(2), &RenderOptions::default());
    let name = "score_training.neuron_to_graph.svg";
    assert!(words(&svg(folder.path(), name)).contains("seconds of the fit (log scale)"));
    let manifest = std::fs::read_to_string(folder.path().join("manifest.json")).expect("a manifest");
    let summary = std::fs::read_to_string(folder.path().join("summary.json")).expect("a summary");
    let rows = manifest.replacen("\"rows\":1000000", "\"rows\":2000000", 1);
    assert!(rows != manifest);
    let mut made = swept();
    made.summary.run = "another".into();
    fixture::write(&made, folder.path());
    crate::base::write_atomic(&folder.path().join("manifest.json"), rows.as_bytes()).expect("written");
    assert!(summary != std::fs::read_to_string(folder.path().join("summary.json")).expect("a summary"));
    again(folder.path(), &RenderOptions::default());
    assert!(words(&svg(folder.path(), name)).contains("activations seen in training"));
}

#[test]
fn distributions_say_how_many_features_they_show() {
    let made = fixture::make(1);
    let (folder, _) = drawn(&made, &RenderOptions::default());
    let texts = texts(&svg(folder.path(), "score_distributions.neuron_to_graph.svg"));
    let cell = made.summary.cells.iter().find(|cell| cell.scorer == "beyond_token").expect("a cell");
    let expected = format!("{} + {}", cell.n_defined, cell.n_constant);
    assert!(cell.n_constant > 0 && texts.contains(&expected), "{expected} in {texts:?}");
}

#[test]
fn hostile_names_on_charts_of_features_are_shown_and_never_run() {
    let mut made = fixture::make(1);
    for cell in made.summary.cells.iter_mut().filter(|cell| cell.method == "sae") {
        cell.method = HOSTILE.into();
    }
    for row in made.summary.quality.iter_mut().filter(|row| row.method == "sae") {
        row.method = HOSTILE.into();
    }
    for line in made.lines.iter_mut().filter(|line| line.method == "sae") {
        line.method = HOSTILE.into();
    }
    let (folder, names) = drawn(&made, &RenderOptions::default());
    let mut shown = 0;
    for name in names.iter().filter(|name| name.ends_with(".svg")) {
        let svg = std::fs::read_to_string(folder.path().join(name)).expect("a chart");
        assert!(!svg.contains("<script") && !svg.contains('\u{202E}') && !svg.contains("NaN"), "{name}");
        shown += usize::from(svg.contains("&lt;script&gt;") || svg.contains("&lt;scr"));
    }
    assert!(shown >= 10, "{shown} charts show the name");
}

#[test]
fn a_mark_has_its_colour_once() {
    let svg = "<g data-tip=\"a > b\"><line stroke=\"x\" /><path stroke=\"x\" /></g><line stroke=\"x\" />";
    let escaped = svg.replace("a > b", "a &gt; b");
    let short = "<g data-tip=\"a &gt; b\" stroke=\"x\"><line /><path /></g><line stroke=\"x\" />";
    assert_eq!(shared_strokes(&escaped), short);
    let two = "<g data-tip=\"a\"><line stroke=\"x\" /><path stroke=\"y\" /></g>";
    assert_eq!(shared_strokes(two), two);
}

#[test]
fn left_over_digits_go_and_texts_stay() {
    let svg =
        "<line x1=\"343.59000000000003\" y2=\"-12.39\" stroke-width=\"1.4000000000000001\"/>0.64 [0.61]";
    assert_eq!(compact(svg), "<line x1=\"343.59\" y2=\"-12.39\" stroke-width=\"1.4\"/>0.64 [0.61]");
}
