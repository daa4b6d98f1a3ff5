//! A run that was stopped is continued by the line that it prints.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::{autointerp, call, finish, online};
use crate::toy::Toy;

#[test]
fn the_printed_line_continues_the_run_to_the_same_bytes() {
    let toy = Toy::new();
    // A name that a shell would take apart.
    toy.write("my suite's.yaml", &toy.suite_text());
    let (suite, out) = (toy.arg("my suite's.yaml"), toy.arg("out of $HOME"));
    let flags = ["--seed", "9", "--limit-features", "3", "--set", "hooks=['blocks.{0,1}.hook_resid_post']"];
    let args = [&["run", &suite, "--fresh", "--set", "methods.0.steps=3000"], &flags[..]].concat();
    let mut command = online(toy.home(), &[&args[..], &["--out", &out, "--offline"]].concat());
    command.args(["--progress", "json"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("fit ")), "the training never began");
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{rest:?}");
    let line = rest.iter().find_map(|line| line.strip_prefix("to resume: ")).expect("a line to resume by");
    assert!(!line.contains("--fresh") && line.contains("--seed 9"), "{line}");

    let mut shell = Command::new("sh");
    // The variables of the first command, so that both have one cache.
    let envs = command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)));
    for (name, value) in envs.collect::<Vec<_>>() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    finish(shell.args(["-c", line])).ok();

    let whole = toy.arg("whole");
    finish(&mut autointerp(toy.home(), &[&args[..], &["--out", &whole]].concat())).ok();
    for name in ["summary.json", "scores.jsonl"] {
        let read = |folder: &str| fs::read(toy.path(folder).join(name)).expect("a result");
        assert!(read("out of $HOME") == read("whole"), "{name} of the resumed run differs");
    }
}

#[test]
fn a_command_that_computes_nothing_is_not_resumed() {
    let toy = Toy::new();
    let dry = ["run", &toy.arg("suite.yaml"), "--dry-run", "--set", "subject.model=./nowhere"];
    let done = call(toy.home(), &dry).refused(6, &["nowhere"]);
    assert!(!done.stderr.contains("to resume"), "{}", done.stderr);
}
