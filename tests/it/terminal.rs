//! What reaches a terminal, and what happens where it cannot: hostile text, full disks, closed pipes, signals.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::program::{Done, autointerp, call, finish, online};
use crate::toy::Toy;

/// An escape sequence, a mark that turns the direction of text, a C1 code, and a carriage return.
const HOSTILE: &str = "\u{1b}[31mred\u{202e}\u{9b}5m\r";
const SHOWN: &str = "\\x1b[31mred\\u{202e}\\x9b5m\\x0d";

fn is_raw(character: char) -> bool {
    character.is_control() && !matches!(character, '\t' | '\n')
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Asserts that no character was printed raw that a terminal would obey.
fn is_text(done: Done) -> Done {
    for text in [&done.stdout, &done.stderr] {
        assert!(!text.contains(is_raw), "{text:?}");
    }
    done
}

fn ran(toy: &Toy) -> String {
    let out = toy.arg("out");
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &out, "--quiet"]).ok();
    out
}

#[test]
fn names_from_arguments_and_suites_are_shown_as_text() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    let refused =
        |args: &[&str], code: i32, named: &str| is_text(call(toy.home(), args)).refused(code, &[named]);
    refused(&[HOSTILE], 2, SHOWN);
    refused(&["check", &suite, "--seed", HOSTILE], 2, SHOWN);
    refused(&["check", &suite, &format!("--{HOSTILE}")], 2, SHOWN);
    refused(&["check", HOSTILE], 6, SHOWN);
    refused(&["check", &suite, "--set", "scorers=[\"\\u001b[31mX\"]"], 2, "\\x1b[31mX");
    refused(&["check", &suite, "--set", &format!("{HOSTILE}=1")], 2, "red");
    refused(&["doctor", HOSTILE], 6, "\\u{1b}[31mred");

    let text = toy.suite_text();
    toy.write("evil.yaml", &format!("{text}\"\\e[1m\": true\nlimits: {{\"\\u202e\": 1}}\n"));
    refused(&["check", &toy.arg("evil.yaml")], 2, "\\x1b[1m");
    refused(&["run", &toy.arg("evil.yaml")], 2, "\\u{202e}");
    let done = is_text(call(toy.home(), &["check", &toy.arg("evil.yaml"), "--json"]));
    let failure: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert!(failure["error"].as_str().is_some_and(|error| error.contains("\u{202e}")), "{failure}");

    let config = fs::read_to_string(toy.path("model/config.json")).expect("a config");
    let name = serde_json::to_string(&format!("{HOSTILE}{}", "x".repeat(1 << 20))).expect("JSON");
    toy.write("model/config.json", &config.replace("\"gpt_neox\"", &name));
    let done = is_text(call(toy.home(), &["run", &suite, "--out", &toy.arg("out")]));
    assert!(done.stderr.len() < 10_000, "{} bytes of message", done.stderr.len());
    done.refused(2, &[SHOWN, "characters left out", "gpt_oss"]);
}

#[test]
fn names_from_a_run_folder_are_shown_as_text() {
    let toy = Toy::new();
    let out = ran(&toy);
    for file in ["scores.jsonl", "summary.json"] {
        let path = toy.path("out").join(file);
        let text = fs::read_to_string(&path).expect("written");
        // The last one is a style that this program writes itself.
        toy.write(
            &format!("out/{file}"),
            &text.replace("\"topk\"", "\"\\u001b[2J\\u202e\\u009b5m\\u001b[1m\""),
        );
    }
    // Else the changed files would be refused as damaged.
    fs::remove_file(toy.path("out/digests.json")).expect("removed");
    for verb in [
        vec!["inspect", &out],
        vec!["inspect", &out, "--json"],
        vec!["report", &out],
        vec!["compare", &out, &out, "--json"],
        vec!["compare", &out, &out, "--all"],
    ] {
        is_text(call(toy.home(), &verb)).ok();
        let styled = finish(autointerp(toy.home(), &verb).env("CLICOLOR_FORCE", "1")).ok().stdout;
        let own = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m"];
        let bare = own.iter().fold(styled.clone(), |text, style| text.replace(style, ""));
        assert!(!bare.contains(is_raw), "{bare:?}");
        assert_eq!(styled.matches("\u{1b}[0m").count() * 2, styled.matches('\u{1b}').count(), "{styled:?}");
    }
}

/// Verbs that print a result, for a run folder.
fn verbs(toy: &Toy, out: &str) -> Vec<Vec<String>> {
    let suite = toy.arg("suite.yaml");
    let line = |text: &str| text.replace("SUITE", &suite).replace("RUN", out);
    let verbs = [
        "inspect RUN",
        "inspect RUN --json",
        "compare RUN RUN",
        "compare RUN RUN --json",
        "report RUN",
        "report RUN --json",
        "check SUITE",
        "check SUITE --json",
        "plan SUITE",
        "plan SUITE --json",
        "cache",
        "cache --json",
        "doctor",
        "doctor --json",
        "run SUITE --out RUN",
        "run SUITE --out RUN --json",
        "completions bash",
        "man",
        "man run",
        "--help",
        "run --help",
        "--version",
        "check absent.yaml --json",
    ];
    verbs.iter().map(|verb| line(verb).split(' ').map(String::from).collect()).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_exit_code_9() {
    let toy = Toy::new();
    let out = ran(&toy);
    for verb in verbs(&toy, &out) {
        let args: Vec<&str> = verb.iter().map(String::as_str).chain(["--quiet"]).collect();
        let full = File::options().write(true).open("/dev/full").expect("/dev/full");
        let done = finish(autointerp(toy.home(), &args).stdout(full));
        assert_eq!(done.code, Some(9), "{verb:?}: {}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "{verb:?}: {}", done.stderr);
        assert!(done.stderr.contains("standard output"), "{verb:?}: {}", done.stderr);
    }
    // A descriptor that takes no bytes at all.
    let closed = File::open("/dev/null").expect("/dev/null");
    assert_eq!(finish(autointerp(toy.home(), &["cache"]).stdout(closed)).code, Some(9));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let toy = Toy::new();
    let out = ran(&toy);
    for verb in verbs(&toy, &out) {
        let args: Vec<&str> = verb.iter().map(String::as_str).chain(["--quiet"]).collect();
        let mut child = autointerp(toy.home(), &args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let expected = if verb[1..].contains(&"absent.yaml".into()) { 6 } else { 0 };
        assert_eq!(ended.status.code(), Some(expected), "{verb:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{verb:?}");
    }
}

/// Sends a signal to a process.
#[cfg(unix)]
fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Whether a program started here ends on SIGHUP: not under `nohup`, and only Linux tells.
#[cfg(unix)]
fn hangup_ends_programs() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:").map(str::trim));
    ignored.and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_some_and(|mask| mask & 1 == 0)
}

#[cfg(unix)]
#[test]
fn a_run_that_is_told_to_stop_says_how_to_resume() {
    let names: &[&str] = if hangup_ends_programs() { &["INT", "TERM", "HUP"] } else { &["INT", "TERM"] };
    for name in names {
        let toy = Toy::new();
        let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
        let args = ["run", &suite, "--out", &out, "--set", "methods.0.steps=5000"];
        let mut command = online(toy.home(), &args);
        command.args(["--offline", "--progress", "json"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("stderr")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("fit ")), "{name}: the training never began");
        signal(&child, name);
        let rest: Vec<String> = lines.collect();
        assert_eq!(child.wait().expect("it ends").code(), Some(130), "{name}: {rest:?}");
        let quoted = format!("to resume: {} run ", env!("CARGO_BIN_EXE_autointerp"));
        let last = rest.last().expect("a last line");
        assert!(last.starts_with(&quoted) && last.contains("--set methods.0.steps=5000"), "{name}: {rest:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_verb_that_cannot_stop_in_between_ends_at_once_and_nohup_is_kept() {
    let toy = Toy::new();
    // It waits for a line that never comes.
    let started = |command: &mut Command| {
        let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let caught = || {
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:").map(str::trim));
            u64::from_str_radix(mask.unwrap_or("0"), 16).unwrap_or(0)
        };
        const TERM: u64 = 1 << 14;
        for _ in 0..2_000 {
            if caught() & TERM != 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mask = caught();
        assert!(mask & TERM != 0, "SIGTERM is not handled");
        (child, mask)
    };
    let (mut child, _) = started(&mut autointerp(toy.home(), &["bench"]));
    let held = child.stdin.take();
    signal(&child, "TERM");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "error: stopped on request\n");
    drop(held);

    const HUP: u64 = 1;
    let program = env!("CARGO_BIN_EXE_autointerp");
    let (mut child, mask) = started(
        Command::new("sh").args(["-c", "trap '' HUP; exec \"$0\" bench", program]).current_dir(toy.home()),
    );
    assert_eq!(mask & HUP, 0, "an ignored SIGHUP stays ignored");
    signal(&child, "TERM");
    let _held = child.stdin.take();
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(130));
}

#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_is_exit_code_9_and_names_the_file() {
    let toy = Toy::new();
    let (suite, corpus, model) = (toy.arg("suite.yaml"), toy.arg("corpus.txt"), toy.arg("model"));
    let (out, file) = (toy.arg("out"), toy.arg("made/out.safetensors"));
    let hooks = "blocks.*.hook_resid_post";
    for (args, named) in [
        (
            vec![
                "harvest", "--model", &model, "--text", &corpus, "--hooks", hooks, "--out", &file, "--logits",
            ],
            "out.safetensors",
        ),
        (vec!["run", &suite, "--out", &out], "activations"),
    ] {
        let program = autointerp(toy.home(), &args);
        let mut limited = Command::new("sh");
        limited
            .args(["-c", "ulimit -f 16; exec \"$0\" \"$@\""])
            .arg(program.get_program())
            .args(program.get_args());
        limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let done = finish(&mut limited).refused(9, &[named, "ulimit -f"]);
        let resumed = format!("to resume: {} run ", env!("CARGO_BIN_EXE_autointerp"));
        assert_eq!(done.stderr.contains(&resumed), args[0] == "run", "{}", done.stderr);
    }
    assert_eq!(fs::read_dir(toy.path("made")).expect("a folder").count(), 0, "no part of a file is left");
}

#[test]
fn lists_in_a_pipe_are_whole_and_filters_are_exact() {
    let toy = Toy::new();
    let out = ran(&toy);
    let listed = |args: &[&str]| {
        let line: Vec<&str> = ["inspect", &out].into_iter().chain(args.iter().copied()).collect();
        call(toy.home(), &line).ok()
    };
    let list = listed(&["--sort", "top_only"]);
    assert!(!list.stdout.contains('…'), "{}", list.stdout);
    let heads: Vec<&str> = list.stdout.lines().take(2).collect();
    for word in ["only", "random", "token"] {
        assert!(heads.iter().any(|head| head.split_whitespace().any(|part| part == word)), "{heads:?}");
    }
    assert!(list.stderr.contains("--explainer all"), "{}", list.stderr);
    assert!(listed(&["--explainer", "all"]).stdout.contains("token_lookup_fit"));
    assert!(!list.stdout.contains("token_lookup_fit"), "{}", list.stdout);
    let rows = |filter: &str| {
        listed(&[filter, "--quiet"]).stdout.lines().filter(|row| row.starts_with("blocks.")).count()
    };
    let (topk, pca, both) = (rows("topk"), rows("pca"), rows("*p*"));
    assert!(topk > 0 && pca > 0 && both >= topk + pca, "{topk}, {pca}, {both}");
    assert_eq!(rows("top*"), topk);
    call(toy.home(), &["inspect", &out, "top"]).refused(2, &["`top`", "`topk*`", "its methods:", "topk, "]);
    call(toy.home(), &["inspect", &out, "--explainer", "nobody"]).refused(2, &["nobody", "neuron_to_graph"]);
    // A narrow screen keeps the score sorted by and the scores that it must be read with.
    let shown = ["only", "random", "token"];
    for columns in ["80", "60"] {
        let args = ["inspect", &out, "--sort", "top_only"];
        let narrow = finish(autointerp(toy.home(), &args).env("COLUMNS", columns)).ok().stdout;
        for word in shown {
            let heads = narrow.lines().take(2);
            assert!(heads.flat_map(str::split_whitespace).any(|part| part == word), "{columns}: {narrow}");
        }
    }
}
