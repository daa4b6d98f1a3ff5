use std::path::Path;

use super::fixture::MadeRun;
use super::*;
use crate::base::write_atomic;
use crate::report::{Ink, Look};
use crate::stats::Verdict;

const LOOK: Look = Look { width: 104, ink: Ink::None };

fn accepted(below: &Path) -> AcceptedRuns {
    let runs: Vec<RunFolder> = (1..=5).map(|seed| MadeRun::new(seed).read(below)).collect();
    accept(&runs).expect("reseeded runs")
}

fn held(run: &MadeRun, below: &Path) -> GateReport {
    regress(&run.read(below), &accepted(below), "accepted.json").expect("comparable")
}

fn worse(report: &GateReport) -> Vec<String> {
    report
        .failures()
        .iter()
        .map(|(group, line)| format!("{} {} {}", group.name, line.subject, line.quantity))
        .collect()
}

#[test]
fn a_run_is_identical_to_itself_and_pairs_its_features() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = MadeRun::new(1).read(folder.path());
    let found = compare(&run, &run).expect("comparable");
    assert_eq!(found.cells.len(), 9);
    assert!(found.inputs.is_empty() && found.not_compared.is_empty());
    for cell in &found.cells {
        assert!(cell.identical && cell.n_pairs == Some(200) && cell.difference == Some(0.0));
        assert_eq!(cell.verdict, Some(Verdict::WithinMargin));
    }
    assert!(comparison_text(&found, false, LOOK).contains("identical"));
}

#[test]
fn features_of_other_dictionaries_are_independent_samples() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = MadeRun::new(1);
    let b = MadeRun { shift: [("pca", -0.1)].into(), ..MadeRun::new(2) };
    let found = compare(&a.read(folder.path()), &b.read(folder.path())).expect("comparable");
    for cell in &found.cells {
        assert_eq!((cell.n_pairs, cell.n_a, cell.n_b), (None, 200, 200));
        let lower = cell.verdict == Some(Verdict::Lower);
        assert_eq!(lower, cell.method == "pca", "{} {} {:?}", cell.hook, cell.method, cell.verdict);
        let expected = cell.mean_b.expect("a mean") - cell.mean_a.expect("a mean");
        assert!((cell.difference.expect("a difference") - expected).abs() < 1e-9);
        assert!(cell.p_adjusted.is_some());
    }
    // Equal dictionaries with other scores are compared feature by feature.
    let b = MadeRun { dictionary_seed: 1, ..b };
    let found = compare(&a.read(folder.path()), &b.read(folder.path())).expect("comparable");
    assert!(found.cells.iter().all(|cell| cell.n_pairs == Some(200) && !cell.identical));
}

#[test]
fn another_simulator_is_not_comparable() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = MadeRun { simulator: "token_lookup", ..MadeRun::new(2) };
    let refused = compare(&MadeRun::new(1).read(folder.path()), &other.read(folder.path()));
    let text = refused.expect_err("refused").to_string();
    assert!(text.contains("simulator `neuron_to_graph` and simulator `token_lookup`"), "{text}");
    let refused = regress(&other.read(folder.path()), &accepted(folder.path()), "accepted.json");
    assert!(refused.expect_err("refused").to_string().contains("the run has `token_lookup`"));
}

#[test]
fn chosen_features_are_not_compared_with_a_random_sample() {
    let folder = tempfile::tempdir().expect("a folder");
    let chosen = MadeRun { chosen: vec!["pca"], ..MadeRun::new(2) };
    let chosen = chosen.read(folder.path());
    let found = compare(&MadeRun::new(1).read(folder.path()), &chosen).expect("comparable");
    assert_eq!(found.cells.len(), 6);
    assert!(found.cells.iter().all(|cell| cell.method != "pca"));
    let note = "method pca at blocks.0.hook_resid_post: a random sample of the dictionary in the first run, chosen \
                features in the second";
    assert!(found.not_compared.iter().any(|line| line == note), "{:?}", found.not_compared);
    assert_eq!(compare(&chosen, &chosen).expect("comparable").cells.len(), 9);
    let refused = regress(&chosen, &accepted(folder.path()), "accepted.json").expect_err("refused");
    assert!(refused.to_string().contains("pca has chosen features on one side"), "{refused}");
}

#[test]
fn only_reseeded_runs_of_one_suite_are_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let read = |run: MadeRun| run.read(folder.path());
    let few: Vec<RunFolder> = (1..=4).map(|seed| read(MadeRun::new(seed))).collect();
    assert!(matches!(accept(&few), Err(GateError::TooFewRuns { got: 4 })));
    let twice: Vec<RunFolder> = [1, 2, 3, 4, 2].into_iter().map(|seed| read(MadeRun::new(seed))).collect();
    assert!(matches!(accept(&twice), Err(GateError::SameSeed { seed: 2, .. })));
    let other = MadeRun { steps: 12, ..MadeRun::new(5) };
    let mixed: Vec<RunFolder> = few.into_iter().chain([read(other)]).collect();
    let text = accept(&mixed).expect_err("refused").to_string();
    assert!(text.contains("suite.methods.sae.steps: 600 → 12"), "{text}");
}

#[test]
fn the_accepted_file_is_read_as_it_was_written_and_its_margins_count() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accepted.json");
    let written = accepted(folder.path());
    written.write(&path).expect("written");
    assert_eq!(AcceptedRuns::read(&path).expect("read"), written);
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(text.lines().count() > 5 * 9 * 2, "a line per cell and dictionary");
    let other = text.replacen("\"schema\": 1", "\"schema\": 2", 1);
    write_atomic(&path, other.as_bytes()).expect("written");
    assert!(matches!(AcceptedRuns::read(&path), Err(GateError::Schema { found: 2, .. })));

    let run = MadeRun { fvu: [("sae", 0.26)].into(), ..MadeRun::new(9) };
    let mut wide = written.clone();
    wide.margins.fvu = 0.2;
    assert!(regress(&run.read(folder.path()), &wide, "f").expect("comparable").passed);
    assert!(!regress(&run.read(folder.path()), &written, "f").expect("comparable").passed);
}

#[test]
fn another_seed_is_nothing_worse() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = held(&MadeRun::new(6), folder.path());
    assert!(report.passed, "{:?}", worse(&report));
    assert!(report.inputs.is_empty() && report.missing.is_empty());
    let scores = &report.groups[0];
    assert_eq!((scores.name, scores.lines.len()), ("scores", 3));
    for line in &scores.lines {
        assert_eq!((line.n_hooks, line.n_features), (3, Some(600)));
        assert!(line.change.smallest_detectable > 0.0 && line.change.smallest_detectable < 0.06);
    }
    let text = gate_text(&report, true, LOOK);
    assert!(text.contains("nothing is worse"), "{text}");
    let widest = |all| gate_text(&report, all, LOOK).lines().map(|line| line.chars().count()).max();
    assert!(widest(false) <= Some(LOOK.width) && widest(true) <= Some(LOOK.width), "{text}");
}

#[test]
fn each_kind_of_worsening_is_found_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let new = MadeRun::new(9);
    let dropped = MadeRun { shift: [("pca", -0.08)].into(), ..new.clone() };
    let found = worse(&held(&dropped, folder.path()));
    assert_eq!(found, ["scores pca top_and_random"]);
    let raised = MadeRun { shift: [("pca", 0.08)].into(), ..new.clone() };
    assert!(held(&raised, folder.path()).passed);
    let poor = MadeRun { fvu: [("sae", 0.4)].into(), ..new.clone() };
    assert_eq!(worse(&held(&poor, folder.path())), ["quality sae fvu"]);
    let failing = MadeRun { failed: [("random", 40)].into(), ..new.clone() };
    assert_eq!(worse(&held(&failing, folder.path())), ["tallies random failed"]);
    let slow = MadeRun { seconds: 120.0, ..new.clone() };
    assert_eq!(worse(&held(&slow, folder.path())), ["cost and time run seconds"]);
    let elsewhere = MadeRun { cpu: "another cpu", ..slow };
    let report = held(&elsewhere, folder.path());
    assert!(report.passed && report.notes[0].contains("another processor"));
    assert!(report.groups.iter().any(|group| group.not_tested.iter().any(|why| why.starts_with("seconds"))));
}

/// Accepted runs with a task.
fn accepted_with_task(below: &Path) -> AcceptedRuns {
    let make = |seed| MadeRun { patching: Some(1.0), ..MadeRun::new(seed) };
    let runs: Vec<RunFolder> = (1..=5).map(|seed| make(seed).read(below)).collect();
    accept(&runs).expect("reseeded runs")
}

#[test]
fn patching_that_needs_more_features_is_worse() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = accepted_with_task(folder.path());
    let held = |run: &MadeRun| regress(&run.read(folder.path()), &all, "f").expect("comparable");
    let same = held(&MadeRun { patching: Some(1.0), ..MadeRun::new(9) });
    assert!(same.passed, "{:?}", worse(&same));
    let group = same.groups.iter().find(|group| group.name == "patching").expect("a group");
    // Areas of four methods in three orders, halves of the three methods that reach it.
    assert_eq!(group.lines.len(), 4 * 3 + 3 * 3);
    let total: f64 = same.groups.iter().filter(|group| group.gates).map(|group| group.level).sum();
    assert!((total - 0.05).abs() < 1e-12, "{total}");
    let poor = held(&MadeRun { patching: Some(4.0), ..MadeRun::new(9) });
    let found = worse(&poor);
    assert!(!poor.passed && found.len() == 6, "two numbers in three orders: {found:?}");
    assert!(
        found.iter().all(|line| line.starts_with("patching topk at blocks.0.hook_resid_post")),
        "{found:?}"
    );
    assert!(held(&MadeRun { patching: Some(0.2), ..MadeRun::new(9) }).passed, "better is not worse");
    let gone = held(&MadeRun::new(9));
    assert!(!gone.passed && gone.missing.len() == 4 * 3 + 3 * 3, "{:?}", gone.missing);
}

#[test]
fn files_of_runs_without_a_task_say_nothing_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, path) = (accepted(folder.path()), folder.path().join("accepted.json"));
    plain.write(&path).expect("written");
    assert!(!std::fs::read_to_string(&path).expect("text").contains("patching"));
    let report = held(&MadeRun::new(9), folder.path());
    assert!(report.groups.iter().all(|group| group.name != "patching"));
    let other = tempfile::tempdir().expect("a folder");
    let with = accepted_with_task(other.path());
    with.write(&path).expect("written");
    assert_eq!(AcceptedRuns::read(&path).expect("read"), with);
    assert_eq!(with.margins.patching_half, Some(0.25));
}

#[test]
fn patching_is_compared_with_its_intervals() {
    let folder = tempfile::tempdir().expect("a folder");
    let make = |seed, factor| MadeRun { patching: Some(factor), ..MadeRun::new(seed) }.read(folder.path());
    let (a, b) = (make(1, 1.0), make(2, 4.0));
    let found = compare(&a, &b).expect("comparable");
    assert_eq!(found.patching.len(), 4 * 3 * 2);
    for one in &found.patching {
        let expected = match (one.method.as_str(), one.number.as_str()) {
            ("neuron", "half") => None,
            ("topk", _) => Some("higher"),
            _ => Some("no difference detected"),
        };
        assert_eq!(one.verdict.as_deref(), expected, "{one:?}");
    }
    let text = comparison_text(&found, false, LOOK);
    assert!(text.contains("patching on a task") && text.contains("higher"), "{text}");
    assert!(!text.contains("acdc") && comparison_text(&found, true, LOOK).contains("acdc"));
    assert!(text.lines().all(|line| line.chars().count() <= LOOK.width), "{text}");
    let same = compare(&a, &a).expect("comparable");
    assert!(same.patching.iter().all(|one| one.identical));
    let without = MadeRun::new(3).read(folder.path());
    let none = compare(&without, &b).expect("comparable");
    assert!(none.patching.is_empty());
    assert!(none.not_compared.iter().any(|line| line == "patching on a task: only in the second run"));
}

#[test]
fn a_method_that_is_gone_is_worse() {
    let folder = tempfile::tempdir().expect("a folder");
    let gone = MadeRun { methods: vec!["sae", "pca"], ..MadeRun::new(9) };
    let report = held(&gone, folder.path());
    assert!(!report.passed);
    assert_eq!(report.missing.len(), 3);
    assert!(gate_text(&report, false, LOOK).contains("missing · random at blocks.0.hook_resid_post"));
    assert!(junit_xml(&report).contains("<failure type=\"missing\""));
}

#[test]
fn changed_inputs_are_said_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let changed = MadeRun { steps: 12, fvu: [("sae", 0.4)].into(), ..MadeRun::new(9) };
    let text = gate_text(&held(&changed, folder.path()), false, LOOK);
    let (inputs, quality) = (text.find("suite.methods.sae.steps: 600 → 12"), text.find("worse · quality"));
    assert!(inputs.is_some() && inputs < quality, "{text}");
}

#[test]
fn the_same_seed_with_other_numbers_is_the_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let all = accepted(folder.path());
    let again = regress(&MadeRun::new(3).read(folder.path()), &all, "f").expect("comparable");
    assert!(again.notes[0].contains("agrees to the last digit"), "{:?}", again.notes);
    let other = MadeRun { shift: [("sae", 0.001)].into(), ..MadeRun::new(3) };
    let again = regress(&other.read(folder.path()), &all, "f").expect("comparable");
    assert!(again.notes[0].contains("computes something else"), "{:?}", again.notes);
}

#[test]
fn hostile_names_are_text_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "<b>|\"&\u{202e}\u{1b}[31m`";
    let make = |seed| MadeRun { methods: vec![name], ..MadeRun::new(seed) };
    let runs: Vec<RunFolder> = (1..=5).map(|seed| make(seed).read(folder.path())).collect();
    let all = accept(&runs).expect("reseeded");
    let report = regress(&make(9).read(folder.path()), &all, "f").expect("comparable");
    let xml = junit_xml(&report);
    assert!(xml.contains("&lt;b&gt;|&quot;&amp;&lt;U+202E&gt;") && !xml.contains("<b>"), "{xml}");
    let markdown = gate_markdown(&report);
    assert!(!markdown.contains("<b>") && markdown.contains("&lt;b&gt;"), "{markdown}");
    for text in [xml, markdown, gate_text(&report, true, LOOK)] {
        assert!(!text.contains(['\u{202e}', '\u{1b}']));
    }
}
