use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use super::evidence::token_texts;
use super::feature::{Context, build, page_bytes};
use super::names::Names;
use super::packed::base64;
use super::single::feature_view;
use crate::base::{Digest, Stopwatch, write_atomic};
use crate::report::fixture::{self, Made, Text};
use crate::report::layout::{Layout, Place};
use crate::report::patching_fixture;
use crate::report::schema::QualityRow;
use crate::report::scores::FeatureScores;
use crate::report::view::View;
use crate::report::{RenderOptions, ReportError, render};

const HOOK: &str = "blocks.0.hook_resid_post";
const HOSTILE: &str =
    "\"'></script><script>alert(1)</script><!--\u{202E}\u{200D}<img src=x onerror=alert(2)>";

/// A drawn run folder of one layer, of which one dictionary has evidence.
fn drawn(n: usize, text: &Text, change: impl Fn(&mut Made)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut made = fixture::make_of(1, n);
    let control = made.summary.quality.iter().find(|row| row.method == "topk").cloned();
    let control = control.map(|row| QualityRow { control: Some("random_weights".into()), ..row });
    made.summary.quality.extend(control);
    change(&mut made);
    fixture::write(&made, folder.path());
    text.write(folder.path());
    fixture::write_evidence(folder.path(), text, HOOK, "topk", n, false);
    fixture::write_evidence(folder.path(), text, HOOK, "pca", n, true);
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    folder
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).expect("readable")
}

/// Every page of a folder with its name.
fn pages(folder: &Path) -> Vec<(String, String)> {
    let mut found = vec!["index.html".to_string(), "features.html".to_string()];
    for entry in std::fs::read_dir(folder.join("features")).expect("a folder") {
        found.push(format!("features/{}", entry.expect("an entry").file_name().to_string_lossy()));
    }
    found.sort();
    found.into_iter().map(|name| (name.clone(), read(folder, &name))).collect()
}

/// Contents of every element of a kind, its tag's attributes first.
fn elements<'a>(page: &'a str, name: &str) -> Vec<(&'a str, &'a str)> {
    let mut found = Vec::new();
    for part in page.split(&format!("<{name}")).skip(1) {
        let (attributes, rest) = part.split_once('>').expect("a tag");
        found.push((attributes, rest.split_once(&format!("</{name}>")).expect("an end").0));
    }
    found
}

fn data(page: &str) -> Value {
    let (_, json) = elements(page, "script")
        .into_iter()
        .find(|(attributes, _)| attributes.contains("application/json"))
        .expect("data");
    serde_json::from_str(json).expect("JSON")
}

#[test]
fn every_page_runs_nothing_but_what_its_policy_names() {
    let folder = drawn(3, &Text::make(200, 60), |_| ());
    let pages = pages(folder.path());
    assert_eq!(pages.len(), 2 + 12 + 1, "twelve dictionaries and one of a control: {:?}", pages.len());
    for (name, page) in &pages {
        let (_, rest) =
            page.split_once("http-equiv=\"Content-Security-Policy\" content=\"").expect("a policy");
        let policy = rest.split_once('"').expect("a policy").0;
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{name}: {policy}");
        let digest = |text: &str| format!("'sha256-{}'", base64(&Digest::of(text.as_bytes()).bytes()));
        let mut named = 0;
        for (attributes, text) in elements(page, "script") {
            if !attributes.contains("application/json") {
                assert!(
                    attributes.is_empty() && policy.contains(&digest(text)),
                    "{name} runs what it may not"
                );
                named += 1;
            }
        }
        for (_, text) in elements(page, "style") {
            assert!(policy.contains(&digest(text)), "{name} has a style that is not named");
            named += 1;
        }
        assert_eq!(policy.matches("sha256-").count(), named, "{name}");
        for bad in
            [" style=", " onerror=", " onclick=", "javascript:", "@import", "url(", "http://", "https://"]
        {
            let own = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!own.contains(bad), "{name} contains {bad:?}");
        }
    }
}

#[test]
fn every_page_has_its_landmarks_and_no_id_twice() {
    let folder = drawn(3, &Text::make(200, 60), |_| ());
    for (name, page) in pages(folder.path()) {
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{name}");
        for must in [
            "</title>\n<style>",
            "<main id=\"main\"",
            "<nav aria-label=",
            "class=\"skip\" href=\"#main\"",
            "<h1",
        ] {
            assert_eq!(page.matches(must).count(), 1, "{name}: {must}");
        }
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        for (i, id) in ids.iter().enumerate() {
            assert!(!ids[..i].contains(id), "{name}: two elements have the id {id}");
        }
        // Every id that the script uses is in the page.
        let script = elements(&page, "script").into_iter().map(|(_, text)| text).collect::<String>();
        for asked in script.split("byId(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let made = asked == "histogram-shares";
            assert!(made || ids.contains(&asked), "{name}: the script wants {asked:?}");
        }
        for (attributes, table) in elements(&page, "table") {
            assert!(
                table.trim_start().starts_with("<caption"),
                "{name}: a table without a caption: {attributes}"
            );
        }
    }
}

#[test]
fn patching_has_a_section_with_charts_and_a_table() {
    let folder = drawn(3, &Text::make(200, 60), |made| {
        let mut task = patching_fixture::task(1);
        task.task = HOSTILE.into();
        made.summary.patching = Some(task);
    });
    let page = read(folder.path(), "index.html");
    assert_eq!(page.matches("<a href=\"#patching\">patching on a task</a>").count(), 1);
    let (_, section) = page.split_once("<h2 id=\"patching\">").expect("a section");
    let section = section.split_once("<h2").expect("another section").0;
    let charts: Vec<&str> =
        section.split("data-chart=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let expected = ["attribution", "exact", "acdc"]
        .map(|order| ["patching_features", "patching_edit"].map(|kind| format!("{kind}.{order}")));
    assert_eq!(charts, expected.concat());
    assert!(section.contains("<h3>Other orders</h3>"));
    for shown in ["9 [7.7, 10]", "60 [51, 69]", "half − topk", "the reference", patching_fixture::NEVER] {
        assert!(section.contains(shown), "{shown}: {section}");
    }
    assert_eq!(section.matches("<tr class=\"").count(), 6 + 2, "six dictionaries and two controls");
    let (_, others) = page.split_once("<h2 id=\"charts\">").expect("other charts");
    assert!(!others.contains("data-chart=\"patching"), "each chart is in the page once");
    assert!(page.contains("href=\"patching.csv\""));
    assert!(!page.contains("<img src=x") && !page.contains('\u{202E}'));
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(crate::base::distinct(ids.clone()), ids);
    assert!(elements(&page, "table").iter().all(|(_, table)| table.trim_start().starts_with("<caption")));
}

#[test]
fn the_evidence_of_a_feature_is_on_its_page() {
    let text = Text::make(200, 60);
    let folder = drawn(3, &text, |_| ());
    let page = read(folder.path(), "features/blocks.0.hook_resid_post--topk.html");
    let data = data(&page);
    assert_eq!(data["dictionary"], "topk");
    let feature = &data["features"][0];
    let shown = feature["shown"].as_array().expect("fragments");
    assert_eq!(Value::from(shown.len()), feature["n_fragments"], "small folders are shown whole");
    assert!(shown.len() > 80, "{}", shown.len());
    // The strongest fragment is first, and scored fragments have a simulation of every explainer.
    assert_eq!(shown[0][1][0], serde_json::json!([0, 0, 4]), "no protocol, so the use of rank 0 is unknown");
    let scored: Vec<&Value> = shown
        .iter()
        .filter(|one| one[1].as_array().expect("lists").iter().any(|list| list[2] == 2))
        .collect();
    assert!(scored.len() >= 25, "{}", scored.len());
    assert!(scored.iter().all(|one| one[3].as_array().expect("simulations").len() == 3));
    assert_eq!(feature["scale"][0], 0, "a feature without signs has its 0 at the lowest byte");
    assert_eq!(feature["joint"].as_array().expect("scatters").len(), 3);
    assert_eq!(feature["profile"]["raised"].as_array().expect("tokens").len(), 10);
    assert_eq!(feature["neighbours"][0].as_array().expect("neighbours").len(), 5);
    // Three features were walked; only neighbours among them are linked.
    let walked = |list: &Value| list.as_array().expect("a list").iter().filter(|one| one[3] == 1).count();
    assert_eq!((walked(&feature["neighbours"][0]), walked(&feature["neighbours"][1])), (3, 3));
    let dense = data_of(folder.path(), "pca");
    assert!(dense["features"][0]["scale"][0].as_u64().expect("a byte") > 50, "signs need room below 0");
    let empty = read(folder.path(), "features/blocks.0.hook_resid_post--sae.html");
    assert!(empty.contains("fragments (no file in records)") && empty.contains("simulated activations"));
}

const PATTERNS: &str =
    r#"any then any then " at" then " $" → 3.1; " of" → 2; "x" → 1; … and 7 more; otherwise 0.2"#;

#[test]
fn a_feature_has_its_label_and_the_places_of_its_scores() {
    let folder = drawn(4, &Text::make(200, 60), |made| {
        for line in made.lines.iter_mut().filter(|line| line.method == "topk" && line.control.is_none()) {
            if line.feature == 0 {
                line.explanation = Some(PATTERNS.into());
            }
            if line.feature < 3 {
                line.scores.insert("top_and_random".into(), Some(0.5));
                line.score_reasons.remove("top_and_random");
            }
            if line.feature == 3 {
                line.scores.insert("top_and_random".into(), None);
                line.score_reasons.insert("top_and_random".into(), "constant_truth\u{202e}".into());
            }
        }
    });
    let data = data_of(folder.path(), "topk");
    let features = data["features"].as_array().expect("features");
    assert_eq!(features[0]["lines"][0]["label"], r#"_ _ " at" " $" → 3.1; " of" → 2"#);
    assert_eq!(features[0]["more"], "8 more rules");
    let rules = serde_json::json!([r#""x" → 1"#, "… and 7 in the folder explanations", "otherwise 0.2"]);
    assert_eq!(features[0]["rules"], rules);
    assert!(features[1]["lines"][0]["label"].is_null(), "a sentence is its own label");
    let standing = |feature: usize, nth: usize| features[feature]["standings"][nth].clone();
    let first = |words: &str| serde_json::json!([0, words]);
    assert_eq!(standing(0, 0), first("1st of 3, level with 2 others"));
    assert_eq!(standing(3, 0), first("undefined: constant_truth<U+202E>"));
    let beyond = data["scorers"].as_array().expect("scorers").iter().position(|name| name == "beyond_token");
    assert_eq!(standing(0, 1)[0], Value::from(beyond.expect("the scorer")));
    assert!(standing(0, 1)[1].as_str().is_some_and(|words| words.contains(" of 4")), "{}", standing(0, 1));
    // The dictionary of a control is compared with its own features.
    let control = data_of(folder.path(), "topk--random_weights");
    let words = control["features"][0]["standings"][0][1].as_str().expect("words");
    assert!(words.contains(" of 4"), "{words}");
}

#[test]
fn the_view_of_one_feature_is_a_small_document_of_its_own() {
    let folder = drawn(30, &Text::make(3_000, 800), |_| ());
    let page = feature_view(folder.path(), HOOK, "topk", 7).expect("a view");
    assert!(page.len() < 300_000, "{}", page.len());
    assert!(!page.contains("href=\"../") && !page.contains("src="), "it needs another file");
    assert!(page.contains("<nav id=\"features\" aria-label=\"Features of this dictionary\" hidden>"));
    let view = data(&page);
    let whole = data_of(folder.path(), "topk");
    assert_eq!(view["features"].as_array().expect("features").len(), 1);
    for part in ["feature", "standings", "lines", "neighbours", "n_fragments"] {
        assert_eq!(view["features"][0][part], whole["features"][7][part], "{part}");
    }
    let shown = |data: &Value, nth: usize| data["features"][nth]["shown"].as_array().expect("shown").len();
    assert!(shown(&view, 0) >= shown(&whole, 7).min(40), "{} fragments", shown(&view, 0));
    for (hook, method, id) in [(HOOK, "topk", 99), (HOOK, "nothing", 7), ("hook_embed", "topk", 7)] {
        let error = feature_view(folder.path(), hook, method, id).expect_err("no feature").to_string();
        assert!(error.contains(&format!("{hook}/{method}/{id}")), "{error}");
    }
    let empty = tempfile::tempdir().expect("temporary folder");
    assert!(matches!(feature_view(empty.path(), HOOK, "topk", 7), Err(ReportError::NoSummary(_))));
}

fn data_of(folder: &Path, dictionary: &str) -> Value {
    data(&read(folder, &format!("features/{HOOK}--{dictionary}.html")))
}

#[test]
fn what_a_fragment_was_used_for_follows_the_protocol() {
    let folder = drawn(2, &Text::make(400, 60), |_| ());
    let stride = |start: usize| serde_json::json!({"start": start, "step": 2, "n": 10});
    let picks = |start: usize| serde_json::json!({"top": stride(start), "random": stride(start), "non_firing": stride(start)});
    let manifest = serde_json::json!({"suite": {"protocol": {"explain": picks(0), "score": picks(1)}}});
    write_atomic(&folder.path().join("manifest.json"), manifest.to_string().as_bytes()).expect("written");
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let data = data_of(folder.path(), "topk");
    let mut seen = HashMap::new();
    for one in data["features"][0]["shown"].as_array().expect("fragments") {
        for list in one[1].as_array().expect("lists") {
            let [list, place, role] = [0, 1, 2].map(|nth| list[nth].as_u64().expect("a number"));
            let expected = match (list, place) {
                (2, _) => 0,
                (3, place) if place >= 20 => 0,
                (_, place) => 1 + place % 2,
            };
            assert_eq!(role, expected, "list {list}, place {place}");
            *seen.entry(role).or_insert(0) += 1;
        }
    }
    assert!([0, 1, 2].iter().all(|role| seen.contains_key(role)), "{seen:?}");
}

#[test]
fn hostile_text_is_data_and_nothing_else() {
    let mut text = Text::make(200, 60);
    for (nth, token) in text.vocabulary.iter_mut().enumerate() {
        *token = match nth % 5 {
            0 => HOSTILE.to_string(),
            1 => "\u{202E}\u{2066}\u{200B}".to_string(),
            2 => "x".repeat(10_000),
            3 => "</script\n\t>".to_string(),
            _ => "\u{FFFD}\u{0}".to_string(),
        };
    }
    let folder = drawn(3, &text, |made| {
        for line in &mut made.lines {
            line.explanation = Some(HOSTILE.repeat(200));
            line.reason = Some(HOSTILE.into());
        }
        made.summary.suite = HOSTILE.into();
    });
    for (name, page) in pages(folder.path()) {
        let own = elements(&page, "script").len();
        assert_eq!(own, 3, "{name}: a theme, the data and the script");
        for bad in ["<!--", "<img src=x", "\u{202E}", "\u{2066}", "\u{200B}", "\u{200D}"] {
            assert!(!page.contains(bad), "{name} contains {bad:?}");
        }
        data(&page);
    }
    let tokens = data_of(folder.path(), "topk")["tokens"].clone();
    let tokens: Vec<&str> = tokens.as_array().expect("tokens").iter().filter_map(Value::as_str).collect();
    assert!(tokens.iter().all(|token| token.chars().count() < 140), "long tokens are cut");
    assert!(tokens.iter().any(|token| token.ends_with("…(10000 characters)")));
    assert!(tokens.contains(&"</script↵⇥>") && tokens.contains(&"\u{FFFD}<U+0000>"), "{tokens:?}");
    assert!(tokens.contains(&"<U+202E><U+2066><U+200B>"), "{tokens:?}");
}

#[test]
fn a_folder_without_scores_or_texts_still_has_pages_that_say_so() {
    let folder = drawn(2, &Text::make(200, 60), |_| ());
    for name in ["scores.jsonl", "records/tokens.json", "manifest.json"] {
        std::fs::remove_file(folder.path().join(name)).expect("removed");
    }
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let page = read(folder.path(), "features/blocks.0.hook_resid_post--topk.html");
    assert!(page.contains("no records&#x2f;tokens.json") && page.contains("no manifest.json"));
    let data = data(&page);
    assert_eq!(data["features"].as_array().expect("features").len(), 2, "records alone are enough");
    assert!(
        data["tokens"].as_array().expect("tokens").iter().any(|token| token == "<0>"),
        "ids stand for texts"
    );
    assert!(read(folder.path(), "features.html").contains("scores.jsonl is not in this folder"));
}

#[test]
fn judgements_and_what_explanations_were_chosen_on_are_shown() {
    let folder = drawn(2, &Text::make(400, 60), |_| ());
    let there = |kind: &str| folder.path().join(kind).join(HOOK).join("topk.jsonl");
    let records = std::fs::read_to_string(there("records")).expect("records");
    let record: Value = serde_json::from_str(records.lines().next().expect("a line")).expect("JSON");
    let chosen_on = record["top"][2]["fragment"].clone();
    let explained =
        serde_json::json!({"feature": 0, "explainer": "a", "choice": {"calibrated_on": [chosen_on]}});
    write_atomic(&there("explanations"), explained.to_string().as_bytes()).expect("written");
    let verdict = |fires: bool, says: bool| serde_json::json!({"fragment": 1, "fires": fires, "says": says});
    let verdicts = [verdict(true, true), verdict(true, false), verdict(false, false)];
    let judged = serde_json::json!({
        "feature": 0, "explainer": "neuron_to_graph", "judging": "detection", "verdicts": verdicts,
    });
    let gains = serde_json::json!({
        "feature": 0, "explainer": "neuron_to_graph", "judging": "surprisal",
        "verdicts": [{"fragment": 1, "fires": true, "gain_nats": 0.5}, {"fragment": 2, "fires": true, "gain_nats": 1.5}],
    });
    let grade = |interval: usize, grade: u8| serde_json::json!({"fragment": 1, "fires": true, "interval": interval, "marked": [2], "grade": grade});
    let grades = serde_json::json!({
        "feature": 0, "explainer": "neuron_to_graph", "judging": "specificity",
        "verdicts": [grade(0, 1), grade(2, 3), grade(2, 3), grade(2, 0)],
    });
    let judgements = format!("{judged}\n{gains}\n{grades}\n");
    write_atomic(&there("judgements"), judgements.as_bytes()).expect("written");
    let manifest = serde_json::json!({"suite": {"pairs": [{"explainer": {"model": {"best_of": 2}}}]}});
    write_atomic(&folder.path().join("manifest.json"), manifest.to_string().as_bytes()).expect("written");
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let data = data_of(folder.path(), "topk");
    let feature = &data["features"][0];
    assert_eq!(feature["judged"][0]["said"], serde_json::json!([[2, 1], [1, 0]]));
    assert_eq!(feature["judged"][1]["gain"], serde_json::json!([1.0, null]));
    assert!(feature["judged"][1]["grades"].is_null());
    assert_eq!(feature["judged"][2]["grades"], serde_json::json!([[0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 2]]));
    let shown = feature["shown"].as_array().expect("fragments");
    let lists = shown.iter().flat_map(|one| one[1].as_array().expect("lists"));
    let calibrated: Vec<&Value> = lists.filter(|list| list[2] == 3).collect();
    assert!(calibrated.contains(&&serde_json::json!([0, 2, 3])), "{calibrated:?}");
}

#[test]
fn pairs_of_texts_are_shown_with_the_answers_of_each_explainer() {
    let folder = drawn(2, &Text::make(400, 60), |_| ());
    let write = |kind: &str, line: Value| {
        let file = folder.path().join(kind).join(HOOK).join("topk.jsonl");
        write_atomic(&file, line.to_string().as_bytes()).expect("written");
    };
    let pair = |fragment: usize, steered: &str| serde_json::json!({"fragment": fragment, "prompt": "p", "steered": steered, "other": "o"});
    let asked = [pair(4, "<script>"), pair(5, "s"), pair(6, "o")];
    write("continuations", serde_json::json!({"feature": 0, "control": "random", "asked": asked}));
    let choice = |fragment: usize, says: Option<u8>| serde_json::json!({"fragment": fragment, "steered": 2, "says": says});
    let choices = [choice(4, Some(2)), choice(5, Some(1)), choice(6, None)];
    let judged = serde_json::json!({
        "feature": 0, "explainer": "neuron_to_graph", "judging": "intervention", "verdicts": [], "choices": choices,
    });
    write("judgements", judged);
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let data = data_of(folder.path(), "topk");
    let feature = &data["features"][0];
    assert_eq!(feature["judged"][0]["choices"], serde_json::json!([1, 1, 1]));
    let questions = feature["questions"].as_array().expect("questions");
    let answers: Vec<&Value> = questions.iter().map(|question| &question["answers"][0][1]).collect();
    assert_eq!(answers, [&Value::from(true), &Value::from(false), &Value::Null]);
    assert_eq!((&questions[0]["steered"], &questions[0]["control"]), (&"<script>".into(), &"random".into()));
    assert!(data["features"][1]["questions"].is_null() && feature["judged"][0]["grades"].is_null());
}

#[test]
fn a_language_model_speaks_of_ten_where_the_feature_is_at_its_largest() {
    let folder = drawn(1, &Text::make(400, 60), |_| ());
    let file = folder.path().join("simulations").join(HOOK).join("topk.jsonl");
    let lines = std::fs::read_to_string(&file).expect("simulations");
    let mut line: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    line["simulator"] = "generated".into();
    line["predicted"] = vec![10.0; 64].into();
    write_atomic(&file, line.to_string().as_bytes()).expect("written");
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    let data = data_of(folder.path(), "topk");
    let place = data["explainers"]
        .as_array()
        .expect("explainers")
        .iter()
        .position(|one| one["simulator"] == "generated");
    let place = place.expect("the simulator");
    assert_eq!(data["explainers"][place]["ten_point"], true);
    let shown = data["features"][0]["shown"].as_array().expect("fragments");
    let packed = shown.iter().filter_map(|one| one[3][place].as_str()).next().expect("a simulation");
    assert_eq!(packed, base64(&[64 + 125, 255]), "64 times the largest activation");
}

/// The data of one page of at most `bytes` bytes.
fn built(folder: &Path, bytes: usize) -> (usize, usize, Value, Vec<String>) {
    let layout = Layout::new(folder);
    let scores = FeatureScores::read(&layout.scores()).expect("read").expect("a file");
    let summary = crate::report::schema::Summary::read(&layout.summary()).expect("read");
    let view = View::new(&summary);
    let names = Names::of(&summary, &scores.lines);
    let tokens = token_texts(&layout).expect("read");
    let (walked, half, glance) = (HashMap::<Place, HashSet<usize>>::new(), Vec::new(), view.glance_scorers());
    let context = Context {
        layout: &layout,
        names: &names,
        tokens: tokens.as_deref(),
        manifest: None,
        scores: Some(&scores),
        scorers: &view.scorers,
        glance_scorers: &glance,
        chance_is_half: &half,
        walked: &walked,
    };
    let place = Place { hook: HOOK.into(), dictionary: "topk".into(), control: None };
    let lines: Vec<_> = scores.lines.iter().filter(|line| names.place_of(line) == place).collect();
    let built = build(&context, &place, &lines, None, |_| bytes).expect("built");
    let data: Value = serde_json::from_str(&built.json).expect("JSON");
    let shown = data["features"]
        .as_array()
        .expect("features")
        .iter()
        .map(|feature| feature["shown"].as_array().expect("fragments").len())
        .sum();
    (built.json.len(), shown, data, built.notes)
}

#[test]
fn a_page_spends_its_bytes_on_the_worthiest_fragments_and_says_so() {
    let n = 8;
    let folder = drawn(n, &Text::make(3_000, 800), |_| ());
    let (all_bytes, all, _, notes) = built(folder.path(), usize::MAX / 100);
    assert!(notes.iter().all(|note| !note.contains("fragments of")), "{notes:?}");
    let mut before = 0;
    for share in [2, 3, 5, 8] {
        let room = all_bytes * share / 10;
        let (bytes, shown, data, notes) = built(folder.path(), room);
        assert!(bytes <= room, "{bytes} of {room}");
        assert!(shown > before && shown < all, "{shown} of {all}");
        assert!(bytes * 100 >= room * 95, "{bytes} of {room}: room is left");
        assert!(
            notes.iter().any(|note| note.starts_with(&format!("{shown} of {all} fragments"))),
            "{notes:?}"
        );
        // Features take turns: none has two fragments more than another.
        let counts = data["features"].as_array().expect("features").iter();
        let counts: Vec<usize> = counts.map(|one| one["shown"].as_array().expect("shown").len()).collect();
        assert!(counts.iter().max().expect("some") - counts.iter().min().expect("some") <= 1, "{counts:?}");
        before = shown;
    }
}

#[test]
fn explanations_give_way_before_fragments_do() {
    let folder = drawn(4, &Text::make(500, 100), |made| {
        made.lines.iter_mut().for_each(|line| line.explanation = Some("word ".repeat(4_000)));
    });
    let (bytes, shown, data, notes) = built(folder.path(), 40_000);
    assert!(bytes <= 40_000 && shown > 0, "{bytes} bytes, {shown} fragments");
    assert!(notes.iter().any(|note| note.contains("explanations are shortened")), "{notes:?}");
    assert_eq!(data["features"][0]["lines"][0]["cut"], true);
}

#[test]
fn a_page_of_150_features_stays_below_a_megabyte() {
    // The size of a feature does not depend on their number, so a tenth of them is enough.
    let n = 15;
    let folder = drawn(n, &Text::make(3_000, 4_000), |_| ());
    let (bytes, shown, data, _) = built(folder.path(), page_bytes(150) / 10);
    assert!(bytes <= 100_000, "{bytes}");
    let each = shown as f64 / n as f64;
    println!("{each:.1} fragments and {} bytes a feature", bytes / n);
    assert!(each >= 10.0, "{each} fragments a feature on a full page");
    let without = data["features"].as_array().expect("features").iter().map(|feature| {
        let mut feature = feature.clone();
        feature.as_object_mut().expect("an object").remove("shown");
        feature.to_string().len()
    });
    println!("of these {} bytes without fragments", without.sum::<usize>() / n);
}

#[test]
fn the_explorer_lists_every_line() {
    let folder = drawn(3, &Text::make(200, 60), |made| {
        made.lines[0].status = crate::report::ScoreStatus::Skipped;
        made.lines[0].reason = Some("dead".into());
        made.lines[1].explanation = Some(PATTERNS.into());
    });
    let data = data(&read(folder.path(), "features.html"));
    let lines = read(folder.path(), "scores.jsonl").lines().count();
    let rows = data["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), lines);
    assert_eq!(data["scorers"].as_array().expect("scorers").len(), 5);
    let labels = data["labels"].as_array().expect("labels");
    assert!(labels.contains(&Value::from(r#"_ _ " at" " $" → 3.1; " of" → 2"#)), "{labels:?}");
    assert_eq!((&rows[0][4], &data["reasons"][0]), (&Value::from(3), &Value::from("dead")));
    assert!(rows.iter().all(|row| row.as_array().expect("a row").len() == 8 + 5));
    let files = data["dictionaries"].as_array().expect("dictionaries");
    for dictionary in files {
        let file = dictionary[3].as_str().expect("a file");
        assert!(folder.path().join("features").join(file).exists(), "{file}");
    }
}

#[test]
fn the_explorer_opens_on_the_primary_explainer_and_says_why_a_score_is_missing() {
    let folder = drawn(3, &Text::make(200, 60), |made| made.lines.reverse());
    let page = read(folder.path(), "features.html");
    let data = data(&page);
    assert_eq!(data["explainers"][0], "neuron_to_graph", "the order of the summary, not of the lines");
    assert_eq!(data["explainers"][data["alone"].as_u64().expect("a number") as usize], "token_lookup_fit");
    assert_eq!(
        (&data["scorers"][0], &data["scorers"][1]),
        (&"top_and_random".into(), &"beyond_token".into())
    );
    assert_eq!(
        (&data["main"], &data["lower_is_better"]),
        (&serde_json::json!([0, 1]), &serde_json::json!([]))
    );
    let lines: Vec<Value> = read(folder.path(), "scores.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let mut missing = 0;
    for (line, row) in lines.iter().zip(data["rows"].as_array().expect("rows")) {
        match (line["scores"]["beyond_token"].as_f64(), &row[8 + 1]) {
            (Some(score), stored) => {
                let stored = stored.as_f64().expect("a number") / 1e4;
                assert!((stored - score).abs() <= 0.5e-4, "{stored} is {score}");
            }
            (None, reason) => {
                let reason = reason.as_str().expect("a reason").parse::<usize>().expect("its number");
                assert_eq!(data["reasons"][reason], "constant_prediction");
                missing += 1;
            }
        }
        // Of a control, only the permuted network has dictionaries of its own.
        let dictionary = &data["dictionaries"][row[0].as_u64().expect("a number") as usize];
        let own = if line["control"] == "random_weights" { row[2].clone() } else { Value::from(0) };
        assert_eq!(dictionary[4], own);
    }
    assert!(missing > 0);
    let policy = |name: &str| read(folder.path(), name).contains("frame-src 'self' file:;");
    assert!(policy("features.html") && !policy("index.html"), "only the explorer shows pages inside it");
}

#[test]
fn links_lead_to_files_that_are_there() {
    let folder = drawn(3, &Text::make(200, 60), |_| ());
    for (name, page) in pages(folder.path()) {
        let base = folder.path().join(&name).parent().expect("a folder").to_path_buf();
        for link in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            let file = link.split('#').next().expect("a link");
            if !file.is_empty() && !file.contains("${") {
                assert!(base.join(file).exists(), "{name} links {link}");
            }
        }
    }
}

#[test]
fn pages_of_dictionaries_that_are_gone_go() {
    let folder = drawn(2, &Text::make(200, 60), |_| ());
    let stale = folder.path().join("features/blocks.9.hook_resid_post--gone.html");
    let foreign = folder.path().join("features/mine.html");
    for path in [&stale, &foreign] {
        write_atomic(path, b"x").expect("written");
    }
    render(folder.path(), &RenderOptions::default()).expect("rendered");
    assert!(!stale.exists() && foreign.exists());
}

/// Relative luminance of `#rrggbb` (WCAG 2.2).
fn luminance(colour: &str) -> f64 {
    let part = |at: usize| {
        let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("hex")) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    };
    0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5)
}

fn contrast(a: &str, b: &str) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn text_can_be_read_on_every_shade_and_shades_grow_evenly() {
    let style = include_str!("style.css");
    let colours = |name: &str| -> [&str; 2] {
        let (_, rest) = style.split_once(&format!("--{name}: light-dark(")).expect("a colour");
        let (pair, _) = rest.split_once(')').expect("a pair");
        let (light, dark) = pair.split_once(", ").expect("a pair");
        [light, dark]
    };
    for theme in 0..2 {
        let of = |name: &str| colours(name)[theme];
        for (text, paper) in [
            ("ink", "paper"),
            ("muted", "paper"),
            ("muted", "raised"),
            ("accent", "paper"),
            ("ink", "warn-paper"),
            ("paper", "ink"),
        ] {
            let found = contrast(of(text), of(paper));
            assert!(found >= 4.5, "{text} on {paper}: {found:.2}");
        }
        // Borders of fields and marks that carry meaning.
        for mark in ["edge", "series1", "series2", "s9", "a9"] {
            let found = contrast(of(mark), of("paper"));
            assert!(found >= if mark == "a9" { 2.0 } else { 3.0 }, "{mark}: {found:.2}");
        }
        // Marks of charts, which on a light page keep Okabe and Ito's colours and differ in shape too.
        for (series, paper) in (0..8).flat_map(|nth| ["paper", "band", "raised"].map(|paper| (nth, paper))) {
            let found = contrast(of(&format!("series{series}")), of(paper));
            assert!(found >= [2.0, 3.0][theme], "series{series} on {paper}: {found:.2}");
        }
        for shade in 1..=9 {
            let found = contrast(of("ink"), of(&format!("a{shade}")));
            assert!(found >= 4.5, "text on shade {shade}: {found:.2}");
        }
        for ramp in ["a", "s"] {
            let steps: Vec<f64> = (1..=9).map(|shade| luminance(of(&format!("{ramp}{shade}")))).collect();
            let falling = steps.windows(2).all(|pair| pair[0] > pair[1]);
            let rising = steps.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(if theme == 0 { falling } else { rising }, "{ramp}: {steps:?}");
        }
    }
}

/// Six hook points, twelve methods, 150 features of each with evidence: the largest run that pages are made for.
#[test]
#[ignore = "measures time: writes about 2 GB of evidence below the temporary folder and draws 72 pages of it"]
fn drawing_six_hook_points_of_twelve_methods() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let n = 150;
    let made = fixture::make_of(6, n);
    fixture::write(&made, folder.path());
    let text = Text::make(4_000, 5_000);
    text.write(folder.path());
    for (m, method) in fixture::METHODS.iter().enumerate() {
        fixture::write_evidence(folder.path(), &text, HOOK, method, n, m > 3 && m % 4 != 3);
        for layer in 1..6 {
            for kind in ["records", "simulations", "profiles", "neighbours"] {
                let there = folder.path().join(kind).join(format!("blocks.{layer}.hook_resid_post"));
                std::fs::create_dir_all(&there).expect("a folder");
                let file = format!("{method}.jsonl");
                std::fs::copy(folder.path().join(kind).join(HOOK).join(&file), there.join(&file))
                    .expect("copied");
            }
        }
    }
    let started = Stopwatch::start();
    let files = render(folder.path(), &RenderOptions::default()).expect("rendered");
    let seconds = started.elapsed().as_secs_f64();
    println!("{} files in {seconds:.1} s", files.len());
    let sizes = pages(folder.path()).into_iter().map(|(name, page)| (page.len(), name));
    let mut largest = 0;
    for (bytes, name) in sizes {
        let most = match name.as_str() {
            "index.html" => 300_000,
            "features.html" => usize::MAX,
            _ => 1_000_000,
        };
        assert!(bytes <= most, "{name}: {bytes}");
        if most == 1_000_000 {
            largest = largest.max(bytes);
        } else {
            println!("{name}: {bytes} bytes");
        }
    }
    println!("largest page of features: {largest} bytes");
    if let Ok(kept) = std::env::var("AUTOINTERP_KEEP") {
        let kept = Path::new(&kept);
        for (name, page) in pages(folder.path()) {
            write_atomic(&kept.join(name), page.as_bytes()).expect("written");
        }
        for part in ["charts", ""] {
            std::fs::create_dir_all(kept.join(part)).expect("a folder");
            for entry in std::fs::read_dir(folder.path().join(part)).expect("the run").flatten() {
                if entry.path().is_file() {
                    std::fs::copy(entry.path(), kept.join(part).join(entry.file_name())).expect("copied");
                }
            }
        }
    }
    assert!(seconds <= 15.0, "{seconds:.1} s");
}
