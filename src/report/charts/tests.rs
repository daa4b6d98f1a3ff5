//! Charts of made-up run folders: which are drawn, and which texts they show.

use std::path::Path;

use kuva::render::render::Primitive;
use strum::VariantArray;

use super::axis::Coordinate;
use super::canvas::{Anchor, Canvas, Plotted};
use super::style::Paper;
use super::{Facts, Kind, chart_name, compact, plan, shared_strokes};
use crate::report::erasure_fixture;
use crate::report::fixture::{self, METHODS, Made};
use crate::report::patching_fixture;
use crate::report::ranking::{RankedMethod, Ranking};
use crate::report::scores::FeatureScores;
use crate::report::view::View;
use crate::report::{GradeShare, GradedInterval, GradedRow, RenderOptions, Summary, render};

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

/// A file with its style sheet.
fn whole(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join("charts").join(name)).expect("a chart")
}

/// The drawing in a file.
fn svg(folder: &Path, name: &str) -> String {
    let file = whole(folder, name);
    file.split_once("</style>").expect("a style sheet").1.to_string()
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

/// The fixture with a dictionary whose features are all dead, and with the control `oracle` for every method.
fn with_extremes() -> Made {
    let mut made = fixture::make(4);
    made.summary.quality[0].l0 = Some(0.0);
    let shuffled = made.summary.cells.iter().filter(|cell| cell.control.as_deref() == Some("shuffled"));
    let of_oracle = shuffled.cloned().map(|mut cell| {
        cell.control = Some("oracle".into());
        cell.mean = cell.mean.map(|mean| mean + 0.3);
        cell.ci_low = cell.ci_low.map(|low| low + 0.3);
        cell.ci_high = cell.ci_high.map(|high| high + 0.3);
        cell
    });
    let oracle: Vec<_> = of_oracle.collect();
    made.summary.cells.extend(oracle);
    for (nth, line) in made.lines.iter_mut().enumerate() {
        line.scores.insert("steering_effect".into(), Some(0.01 * (1 + nth % 7) as f64));
    }
    for line in made.lines.iter_mut().filter(|line| line.feature == 0) {
        line.density = Some(0.0);
    }
    made.summary.specificity = graded(&made);
    made
}

/// Grades of two methods at one hook point, with the control of the first; the strongest interval is empty.
fn graded(made: &Made) -> Vec<GradedRow> {
    let row = |method: &str, control: Option<&str>, best: f64| {
        let interval = |nth: usize| {
            let n_features = if nth == 2 { 0 } else { 12 - nth };
            let share = |grade: u8| {
                let share = if grade == 3 { best } else { (1.0 - best) / 3.0 };
                let share = (n_features > 0).then_some(share);
                let (low, high) = (share.map(|share| share - 0.05), share.map(|share| share + 0.1));
                GradeShare { grade, share, ci_low: low, ci_high: high }
            };
            GradedInterval {
                from: nth as f64 / 3.0,
                to: (nth + 1) as f64 / 3.0,
                n_features,
                n_empty: 12 - n_features,
                n_fragments: 4 * n_features,
                reason: (n_features == 0).then(|| "no_fragments".into()),
                shares: (0..4).map(share).collect(),
            }
        };
        GradedRow {
            hook: made.summary.quality[0].hook.clone(),
            method: method.into(),
            protocol: "standard".into(),
            explainer: "neuron_to_graph".into(),
            simulator: "neuron_to_graph".into(),
            control: control.map(Into::into),
            n_requested: 14,
            n_features: 12,
            confidence: 0.95,
            intervals: (0..3).map(interval).collect(),
        }
    };
    vec![row("sae", None, 0.7), row("sae", Some("shuffled"), 0.1), row("topk", None, 0.4)]
}

#[test]
fn grades_are_stacked_by_interval_beside_their_control_and_an_empty_interval_has_no_bar() {
    let made = with_extremes();
    let (folder, _) = drawn(&made, &RenderOptions::default());
    let svg = svg(folder.path(), "specificity.neuron_to_graph.svg");
    let words = words(&svg);
    for text in
        ["sae · blocks.0", "topk · blocks.0", "3: precisely the marked token", "95 % interval over features"]
    {
        assert!(words.contains(text), "{text}: {words}");
    }
    assert!(words.contains("narrow bar: control shuffled") && !words.contains("NaN"), "{words}");
    // Numbers of features above the bars of each method.
    for (n, times) in [("12", 2), ("11", 2)] {
        assert_eq!(texts(&svg).iter().filter(|text| *text == n).count(), times, "{n}: {words}");
    }
    // Four grades in two of three intervals, and the legend.
    assert_eq!(svg.matches("fill=\"#8c959f\"").count(), 4 * 2 + 1);
    assert_eq!(svg.matches("fill=\"#d55e00\"").count(), 4 * 2, "topk has no control");
    let table = std::fs::read_to_string(folder.path().join("specificity.csv")).expect("a table");
    assert_eq!(table.lines().count(), 1 + 3 * 3 * 4);
    assert!(table.lines().any(|line| line.ends_with(",0,12,0,3,,,,0.95,no_fragments")), "{table}");
    let page = std::fs::read_to_string(folder.path().join("index.html")).expect("a page");
    assert!(page.contains("specificity.neuron_to_graph"), "the page shows it");
    // Without grades there is neither chart nor table, and those of before go.
    fixture::write(&fixture::make(4), folder.path());
    let names = again(folder.path(), &RenderOptions::default());
    assert!(!names.iter().any(|name| name.contains("specificity")), "{names:?}");
    assert!(!folder.path().join("specificity.csv").exists());
}
/// Kinds that only a run with a task has.
const OF_TASK: [Kind; 2] = [Kind::PatchingFeatures, Kind::PatchingEdit];
const OF_ERASURE: [Kind; 2] = [Kind::ErasureAccuracy, Kind::ErasureKl];

/// Draws every chart of a made-up run as a file.
fn canvases(made: &Made) -> Vec<(Kind, String, Canvas)> {
    let folder = tempfile::tempdir().expect("temporary folder");
    fixture::write(made, folder.path());
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    let scores = FeatureScores::read(&folder.path().join("scores.jsonl")).expect("read");
    let facts = Facts::of_manifest(&serde_json::from_str(&read("manifest.json")).expect("JSON"));
    let summary = Summary::read(&folder.path().join("summary.json")).expect("read");
    let view = View::new(&summary);
    let charts = plan(&view, scores.as_ref(), &facts, Kind::VARIANTS);
    let drawn = |chart: &super::Chart<'_>| {
        (chart.heading.kind, chart.heading.name.to_string(), chart.draw(Paper::File))
    };
    charts.iter().map(drawn).collect()
}

/// All numbers in a text.
fn numbers(text: &str) -> Vec<f64> {
    let parts = text.split(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    parts.filter_map(|part| part.parse().ok()).collect()
}

/// The centre of a mark as it was drawn.
pub fn centre(canvas: &Canvas, plotted: &Plotted) -> (f64, f64) {
    match &canvas.shapes()[plotted.element] {
        Primitive::Circle { cx, cy, .. } => (*cx, *cy),
        Primitive::Line { x1, y1, x2, y2, .. } => ((x1 + x2) / 2.0, (y1 + y2) / 2.0),
        Primitive::Path(path) if path.d.contains('a') => {
            let dot = path.d.split('M').nth(plotted.nth + 1).expect("a dot");
            let (start, arc) = dot.split_once('a').expect("an arc");
            let start = numbers(start);
            (start[0] + numbers(arc)[0], start[1])
        }
        Primitive::Path(path) => {
            let corners = numbers(&path.d);
            let n = (corners.len() / 2) as f64;
            let mean = |first: usize| corners.iter().skip(first).step_by(2).sum::<f64>() / n;
            (mean(0), mean(1))
        }
        other => panic!("no mark: {other:?}"),
    }
}

#[test]
fn every_mark_of_every_chart_is_at_its_numbers() {
    let mut seen = Vec::new();
    for made in [with_extremes(), swept(), patching_fixture::made(2), erasure_fixture::made("number")] {
        for (kind, name, canvas) in canvases(&made) {
            assert!(!canvas.plotted().is_empty(), "{name} has no marks");
            for plotted in canvas.plotted() {
                let (x, y) = centre(&canvas, plotted);
                for (coordinate, px) in [(plotted.x, x), (plotted.y, y)] {
                    match coordinate {
                        Coordinate::Category(at) => assert!((at - px).abs() <= 0.5, "{name}: {plotted:?}"),
                        Coordinate::Number(datum, scale) => {
                            let back = scale.value(px);
                            let off = (scale.at(back) - scale.at(datum)).abs();
                            assert!(off <= 0.5, "{name}: {datum} is drawn at {back}, {off} px away");
                        }
                    }
                }
                let is_number = |one: Coordinate| matches!(one, Coordinate::Number(..));
                assert!(is_number(plotted.x) || is_number(plotted.y), "{name}: {plotted:?}");
            }
            seen.push(kind);
        }
    }
    assert!(Kind::VARIANTS.iter().all(|kind| seen.contains(kind)), "{seen:?}");
}

/// Tick labels along an axis, as (value, px): the px is that of the label's middle.
fn ticks(canvas: &Canvas, horizontal: bool) -> Vec<(f64, f64)> {
    let label = |shape: &Primitive| match shape {
        Primitive::Text { x, y, content, anchor, .. } => {
            let value = content.parse().ok()?;
            match anchor {
                Anchor::Middle if horizontal => Some((value, *x)),
                Anchor::End if !horizontal => Some((value, y - 4.0)),
                _ => None,
            }
        }
        _ => None,
    };
    canvas.shapes().iter().filter_map(label).collect()
}

#[test]
fn a_reader_of_the_axes_finds_the_numbers_of_the_run() {
    let mut made = fixture::make(1);
    made.summary.quality[0].l0 = Some(0.0);
    let charts = canvases(&made);
    let (_, _, canvas) = charts.iter().find(|(kind, _, _)| *kind == Kind::SparsityFvu).expect("a chart");
    let (x, y) = (ticks(canvas, true), ticks(canvas, false));
    let px_of = |value: f64| x.iter().find(|(tick, _)| *tick == value).expect("a tick").1;
    let per_decade = px_of(100.0) - px_of(10.0);
    let at_x = |l0: f64| if l0 == 0.0 { px_of(0.0) } else { px_of(10.0) + per_decade * (l0 / 10.0).log10() };
    let at_y = |fvu: f64| y[0].1 + (fvu - y[0].0) * (y[1].1 - y[0].1) / (y[1].0 - y[0].0);
    let drawn: Vec<(f64, f64)> = canvas.plotted().iter().map(|one| centre(canvas, one)).collect();
    let mut expected = 0;
    for row in &made.summary.quality {
        let (Some(l0), Some(fvu)) = (row.l0, row.fvu) else { continue };
        let (x, y) = (at_x(l0), at_y(fvu));
        let is_there = drawn.iter().any(|(a, b)| (a - x).abs() <= 0.8 && (b - y).abs() <= 0.8);
        assert!(is_there, "{} belongs at {x}, {y}: {drawn:?}", row.method);
        expected += 1;
    }
    assert_eq!(drawn.len(), expected);
}

#[test]
fn controls_are_bands_behind_their_methods() {
    let (folder, _) = drawn(&with_extremes(), &RenderOptions::default());
    let svg = svg(folder.path(), "scores_by_layer.hook_resid_post.neuron_to_graph.svg");
    let words = words(&svg);
    for legend in [
        "control: shuffled, all methods, range",
        "control: oracle, behind its method, with interval",
        "control: random_weights, behind its method, with interval",
    ] {
        assert!(words.contains(legend), "{legend}: {words}");
    }
    let grey = "#8c959f";
    // Five scores at four layers, and the legend.
    assert_eq!(svg.matches(&format!("fill=\"{grey}\"")).count(), 5 * 4 + 1, "one band over all methods");
    assert!(!svg.contains(&format!("stroke=\"{grey}\"")), "no grey marks");
    // random_weights of topk: an outline in the colour of topk over a light shade of it.
    let paths = svg.split("<path ").filter_map(|rest| rest.split("/>").next());
    let outlined = paths.filter(|path| path.contains("stroke=\"#d55e00\"") && path.contains("fill-opacity"));
    assert_eq!(outlined.count(), 5 * 4);
    let page = std::fs::read_to_string(folder.path().join("index.html")).expect("a page");
    assert!(
        page.contains("data-tip=\"control shuffled, all 12 methods: ")
            && page.contains("topk (control: oracle): ")
    );
}

/// A ranking of all methods, worst first so that it differs from the order of the means.
fn upside_down(made: &Made, scorer: &str) -> Ranking {
    let row = |(place, method): (usize, &&str)| RankedMethod {
        method: (*method).into(),
        place: Some(place + 1),
        mean: Some(0.5 - 0.01 * place as f64),
        ci_low: Some(0.4),
        ci_high: Some(0.6),
        n_scored: 160,
        n_per_hook: (40, 40),
        letters: "ab".into(),
        ..RankedMethod::default()
    };
    Ranking {
        scorer: scorer.into(),
        protocol: "standard".into(),
        explainer: "neuron_to_graph".into(),
        simulator: "neuron_to_graph".into(),
        hooks: made.summary.quality.iter().map(|row| row.hook.clone()).step_by(METHODS.len()).collect(),
        confidence: 0.95,
        rows: METHODS.iter().rev().enumerate().map(row).collect(),
        ..Ranking::default()
    }
}

#[test]
fn averages_are_sorted_by_place_and_say_where_no_ranking_is() {
    let name = "scores_averaged.neuron_to_graph.svg";
    let mut made = fixture::make(4);
    made.summary.rankings.clear();
    let (folder, _) = drawn(&made, &RenderOptions::default());
    let labels = |svg: &str| -> Vec<String> {
        texts(svg).into_iter().filter(|text| METHODS.contains(&text.as_str())).collect()
    };
    let without = svg(folder.path(), name);
    let said = words(&without);
    assert!(
        said.contains("Mean score over 4 hook points") && said.contains("no ranking, so these means"),
        "{said}"
    );
    assert!(!said.contains("simultaneous"));
    let mean = |method: &str| -> f64 {
        let cells = made.summary.cells.iter().filter(|cell| cell.method == method && cell.control.is_none());
        let cells =
            cells.filter(|cell| cell.scorer == "top_and_random" && cell.explainer == "neuron_to_graph");
        cells.filter_map(|cell| cell.mean).sum()
    };
    let mut expected = METHODS;
    expected.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
    assert_eq!(labels(&without)[..METHODS.len()], expected);
    made.summary.rankings = vec![upside_down(&made, "top_and_random"), upside_down(&made, "beyond_token")];
    let (folder, _) = drawn(&made, &RenderOptions::default());
    let ranked = svg(folder.path(), name);
    let expected: Vec<&str> = METHODS.iter().rev().chain(METHODS.iter().rev()).copied().collect();
    assert_eq!(labels(&ranked), expected);
    let said = words(&ranked);
    assert!(said.contains("simultaneous 95 % intervals") && said.contains("160 features a mark"), "{said}");
    assert_eq!(texts(&ranked).iter().filter(|text| *text == "ab").count(), 24);
    assert!(!said.contains("no ranking"));
    made.summary.rankings.pop();
    let (folder, _) = drawn(&made, &RenderOptions::default());
    assert!(words(&svg(folder.path(), name)).contains("no ranking of beyond_token"));
}

#[test]
fn marks_on_each_other_are_named() {
    let (folder, _) = drawn(&fixture::make(1), &RenderOptions::default());
    let texts = texts(&svg(folder.path(), "sparsity_fvu.svg"));
    // pca, pca_oriented, ica and ica_oriented have the same L0 and FVU; each is in the legend too.
    for method in ["pca", "pca_oriented", "ica", "ica_oriented"] {
        assert_eq!(texts.iter().filter(|text| *text == method).count(), 2, "{method}: {texts:?}");
    }
    assert_eq!(texts.iter().filter(|text| *text == "topk").count(), 1);
}

#[test]
fn files_bring_their_typeface_along_and_pages_do_not() {
    let (folder, _) = drawn(&fixture::make(1), &RenderOptions::default());
    let file = whole(folder.path(), "sparsity_fvu.svg");
    let (head, rest) = file.split_once("</style>").expect("a style sheet");
    assert!(head.contains("@font-face{font-family:\"DejaVu Sans\";src:url(\"data:font/woff2;base64,d09GMg"));
    assert!(head.contains("font-family=\"DejaVu Sans, ") && !rest.contains("font/woff2"));
    // A file is light, and dark where a page asks for it.
    assert!(rest.contains("fill=\"#ffffff\"") && !rest.contains("#14171b"));
    assert!(
        head.starts_with("<svg id=\"dark\" ") && head.contains("svg:target [fill=\"#ffffff\"]{fill:#14171b}")
    );
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
        let absent = [Kind::ScoreSize, Kind::Specificity, Kind::ScoreEffect];
        let expected = !absent.contains(&kind) && ![OF_TASK, OF_ERASURE].concat().contains(&kind);
        assert_eq!(has(kind.name()), expected, "{} in {names:?}", kind.name());
    }
    for path in ["scores.jsonl", "manifest.json"] {
        std::fs::remove_file(folder.path().join(path)).expect("removed");
    }
    let names = again(folder.path(), &RenderOptions::default());
    let has = |name: &str| names.iter().any(|other| other.starts_with(&format!("charts/{name}.")));
    for &kind in Kind::VARIANTS {
        let needs_nothing =
            [Kind::Averaged, Kind::ByLayer, Kind::ScoreL0, Kind::SparsityFvu, Kind::Dead].contains(&kind);
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
fn patching_is_a_line_for_each_method_over_grey_controls() {
    let made = patching_fixture::made(2);
    let (folder, names) = drawn(&made, &RenderOptions::default());
    let of_task = |order: &str| names.iter().filter(|name| name.contains(&format!(".{order}."))).count();
    assert_eq!(
        ["attribution", "exact", "acdc"].map(of_task),
        [4; 3],
        "two kinds as SVG and as PNG: {names:?}"
    );
    for kind in ["patching_features", "patching_edit"] {
        let svg = svg(folder.path(), &format!("{kind}.attribution.svg"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        let texts = texts(&svg);
        for shown in ["topk", "sae", "pca", "neuron", "control: random features, as many", "half"] {
            assert!(texts.iter().any(|text| text == shown), "{shown}: {texts:?}");
        }
        assert!(!texts.iter().any(|text| text == "random"), "it has no curve");
        let words = words(&svg);
        assert!(
            words.contains("mean over 64 pairs") && words.contains("Not drawn at some hook point: random")
        );
        assert!(words.contains("KL(patched ‖ target)"), "{words}");
        assert!(svg.contains("stroke-dasharray"), "random directions and permuted weights are dashed");
    }
    // The points of four methods at two hook points; a control has no marks.
    let canvases = canvases(&made);
    let points = |kind: Kind| {
        let name = format!("{}.attribution", kind.name());
        let (.., canvas) = canvases.iter().find(|(_, other, _)| *other == name).expect("a chart");
        canvas.plotted().len()
    };
    let (large, small) =
        ([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512].len(), [0, 1, 2, 4, 8, 16, 32, 64, 128].len());
    assert_eq!(OF_TASK.map(points), [2 * (2 * large + 2 * small); 2]);
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
    let mut task = patching_fixture::task(1);
    task.task = HOSTILE.into();
    for dictionary in task.dictionaries.iter_mut().filter(|one| one.method == "sae") {
        dictionary.method = HOSTILE.into();
        dictionary
            .curves
            .iter_mut()
            .filter(|curve| curve.order == "exact")
            .for_each(|curve| curve.order = HOSTILE.into());
    }
    made.summary.patching = Some(task);
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
