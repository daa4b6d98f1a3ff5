//! A run in parts: the same bytes as in one piece, also when a part dies; and what parts refuse.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::program::{Done, autointerp, call, finish};
use crate::toy::Toy;

/// Results and evidence that must be the same bytes.
const COMPARED: [&str; 9] = [
    "summary.json",
    "scores.jsonl",
    "records",
    "explanations",
    "simulations",
    "neighbours",
    "profiles",
    "dictionaries",
    "controls",
];

/// Two hook points, ten rows.
const HOOKS: [&str; 2] = ["--set", "hooks=[blocks.0.hook_resid_post, blocks.1.hook_resid_post]"];

/// A part of the toy suite, on a machine with a cache of its own.
fn part(toy: &Toy, out: &str, part: &str, more: &[&str]) -> Command {
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg(out));
    let fixed = ["run", &suite, "--out", &out, "--part", part, "--threads", "2"];
    let mut command = autointerp(toy.home(), &[&fixed[..], &HOOKS[..], more].concat());
    command.env("AUTOINTERP_CACHE", toy.path(&format!("cache-{}", part.replace('/', "-"))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn whole(toy: &Toy, out: &str) -> Done {
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg(out));
    call(toy.home(), &[&["run", &suite, "--out", &out, "--threads", "2"][..], &HOOKS[..]].concat()).ok()
}

fn end(child: Child) -> Done {
    let output = child.wait_with_output().expect("ended");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

/// The compared files of a run folder by name.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = Vec::new();
    for path in COMPARED.map(|name| folder.join(name)) {
        if path.is_dir() { files_below(&path, &mut files) } else { files.push(path) }
    }
    files.retain(|path| path.is_file());
    let name = |path: &PathBuf| path.strip_prefix(folder).expect("below it").display().to_string();
    files.iter().map(|path| (name(path), fs::read(path).expect("a file"))).collect()
}

fn assert_same(toy: &Toy, out: &str) {
    let (expected, found) = (contents(&toy.path("whole")), contents(&toy.path(out)));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&expected), names(&found));
    for (name, bytes) in &expected {
        assert!(found[name] == *bytes, "{name} of {out} differs from the run in one piece");
    }
    call(toy.home(), &["report", "--verify", &toy.arg(out)]).ok();
}

/// Waits until a stage is stored, then kills the process; false if it ended before.
fn kill_after(mut child: Child, stages: &Path, stage: &str) -> bool {
    loop {
        let names = fs::read_dir(stages).into_iter().flatten().flatten().map(|entry| entry.file_name());
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
fn parts_give_the_bytes_of_one_run_also_when_one_is_killed() {
    let toy = Toy::new();
    whole(&toy, "whole");

    // One after the other: each does its share and no more.
    for (nth, left) in [("1/2", "not done yet:"), ("2/2", "all rows of the run are done")] {
        let done = finish(&mut part(&toy, "two", nth, &[])).ok();
        assert!(done.stdout.contains(&format!("part {nth}: did ")), "{}", done.stdout);
        assert!(done.stdout.contains(left) && !done.stdout.contains("took over"), "{}", done.stdout);
    }
    let again = finish(&mut part(&toy, "two", "1/2", &["--json"])).ok();
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&again["done"], &again["taken_over"]), (&0.into(), &0.into()), "{again}");
    whole(&toy, "two");
    assert_same(&toy, "two");
    assert!(!toy.path("two/parts/activations").exists(), "activations are removed at the end");

    // At the same time; the first is killed, and the others do what it has not done.
    let first = part(&toy, "three", "1/3", &[]).spawn().expect("the program starts");
    let was_killed = kill_after(first, &toy.path("three/stages"), "fit-");
    let others = ["2/3", "3/3"].map(|nth| part(&toy, "three", nth, &[]).spawn().expect("the program starts"));
    let said = others.map(|child| end(child).ok().stdout);
    assert!(said.iter().any(|text| text.contains("all rows of the run are done")), "{said:?}");
    if was_killed && cfg!(target_os = "linux") {
        assert!(said.iter().any(|text| text.contains("took over")), "{said:?}");
    }
    whole(&toy, "three");
    assert_same(&toy, "three");
}

#[test]
fn wrong_parts_and_another_suite_are_refused() {
    let toy = Toy::new();
    for wrong in ["0/3", "4/3", "x", "1/0", "2"] {
        finish(&mut part(&toy, "out", wrong, &[])).refused(2, &["--part", "for example 2/8"]);
    }
    finish(&mut part(&toy, "out", "1/2", &["--fresh"])).refused(2, &["--part", "--fresh"]);
    assert!(!toy.path("out").exists());
    finish(&mut part(&toy, "out", "1/2", &[])).ok();
    let other = finish(&mut part(&toy, "out", "2/2", &["--seed", "8"]));
    other.refused(2, &["`--part` is 2/2", "parts of another run", "`seed`", "`--out`"]);
    let other = finish(&mut part(&toy, "out", "3/3", &[]));
    other.refused(2, &["the number of parts there is 2, here 3"]);
}

#[test]
fn a_plan_shows_the_shares_of_parts() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let plan = |more: &[&str]| {
        call(toy.home(), &[&["plan", &suite, "--parts", "2"][..], &HOOKS[..], more].concat()).ok().stdout
    };
    let found: Value = serde_json::from_str(&plan(&["--json"])).expect("JSON");
    let parts = found["shares"]["parts"].as_array().expect("parts");
    let rows: u64 = parts.iter().filter_map(|part| part["rows"].as_u64()).sum();
    assert_eq!((parts.len(), rows), (2, 10), "{found}");
    assert!(found["shares"]["storage_gb"].as_f64() > found["run_folder_gb"].as_f64(), "{found}");
    assert!(parts.iter().all(|part| part["minutes"].as_f64() > Some(0.0)), "{found}");
    call(toy.home(), &["plan", &suite, "--parts", "0"]).refused(2, &["--parts"]);
}
