//! Texts that people read, as they are committed: help, errors with their hints. A change shows in the commit.

use std::path::{Path, PathBuf};

use crate::committed::compare;
use crate::program::{autointerp, finish};
use crate::toy::Toy;

/// The verbs with what each needs to say its help.
const VERBS: [&str; 18] = [
    "run", "plan", "submit", "check", "init", "list", "report", "compare", "accept", "regress", "inspect",
    "steer", "trace", "harvest", "encode", "export", "cache", "doctor",
];

fn snapshot(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name)
}

#[test]
fn committed_help_of_every_verb() {
    let toy = Toy::new();
    for columns in ["80", "120"] {
        let help = |args: &[&str]| {
            let done = finish(autointerp(toy.home(), args).env("COLUMNS", columns)).ok();
            format!("$ autointerp {}\n{}\n", args.join(" "), done.stdout)
        };
        let mut text = help(&["--help"]);
        VERBS.iter().for_each(|verb| text.push_str(&help(&[verb, "--help"])));
        // The usage in one line can be copied.
        let lines = text.lines().filter(|line| !line.starts_with("Usage:"));
        let widest = lines.map(|line| line.chars().count()).max();
        assert!(widest <= columns.parse().ok(), "{widest:?} of {columns} columns");
        compare(&snapshot(&format!("help.{columns}.txt")), &text);
    }
}

/// Systems that are not Unix have other words for a file that is missing.
#[cfg(unix)]
#[test]
fn committed_errors_name_what_is_wrong_and_what_helps() {
    let toy = Toy::new();
    toy.write(
        "typo.yaml",
        &toy.suite_text().replace("per_cell: 4", "per_cel: 4").replace("seed: 7", "sed: 7"),
    );
    toy.write("empty.txt", "");
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    finish(&mut autointerp(toy.home(), &["run", &suite, "--out", &out, "--quiet"])).ok();
    let empty = format!("corpus.source={}", toy.arg("empty.txt"));
    let cases: [Vec<&str>; 13] = [
        vec!["explode"],
        vec!["run"],
        vec!["check", "nowhere.yaml"],
        vec!["check", "typo.yaml"],
        vec!["run", "suite.yaml", "--set", "features.per_cell=one"],
        vec!["run", "suite.yaml", "--set", "subject.model=someone/something"],
        vec!["run", "suite.yaml", "--set", "subject.model=./nowhere"],
        vec!["run", "suite.yaml", "--set", &empty],
        vec!["run", "suite.yaml", "--limit-features", "1"],
        vec!["run", "suite.yaml", "--device", "gpu"],
        vec!["report", "nowhere"],
        vec!["inspect", "out", "no/such/9"],
        vec!["inspect", "out", "--sort", "beauty"],
    ];
    let mut text = String::new();
    for args in cases {
        let mut command = autointerp(toy.home(), &args);
        let done = finish(command.current_dir(toy.home()).env("COLUMNS", "80"));
        assert_eq!(done.stdout, "", "an error leaves stdout empty: {args:?}");
        let code = done.code.expect("an orderly end");
        text.push_str(&format!("$ autointerp {}\n{}exit code {code}\n\n", args.join(" "), done.stderr));
    }
    compare(&snapshot("errors.txt"), &text.replace(toy.home().to_str().expect("UTF-8"), "HOME"));
}

#[test]
fn completions_and_manual_pages_know_the_verbs_and_their_flags() {
    let toy = Toy::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = finish(&mut autointerp(toy.home(), &["completions", shell])).ok().stdout;
        for word in VERBS.iter().chain(&["limit-features", "dry-run", "worst"]) {
            assert!(script.contains(word), "{shell} does not complete `{word}`");
        }
        assert!(!script.contains("train-embedded"), "{shell} offers a hidden verb");
    }
    let page = finish(&mut autointerp(toy.home(), &["man"])).ok().stdout;
    assert!(page.contains(".TH autointerp 1") && page.contains("Exit codes"), "{page}");
    let page = finish(&mut autointerp(toy.home(), &["man", "run"])).ok().stdout;
    assert!(page.contains(".TH autointerp-run 1") && page.contains("\\-\\-budget\\-usd"), "{page}");
    finish(&mut autointerp(toy.home(), &["man", "explode"])).refused(2, &["explode", "--help"]);
}
