//! Inputs that once failed, from the shared folder, each with its exit code and message. The project's own small copies
//! of the same kinds are in the tests beside the code and in `bad_input.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use autointerp::base::write_atomic;
use tempfile::TempDir;

use crate::program::{Done, autointerp, finish};
use crate::shared;

/// The folder of the cases, where it and Python are there.
fn cases() -> Option<PathBuf> {
    static PYTHON: OnceLock<bool> = OnceLock::new();
    let folder = shared::folder()?.join("cases");
    let has_python = *PYTHON.get_or_init(|| {
        let version = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    });
    if !has_python {
        println!("skipped: no `python3`");
    }
    (has_python && folder.is_dir()).then_some(folder)
}

/// One case: its folder, and a temporary folder `T` where its inputs are made.
struct Case {
    cases: PathBuf,
    home: TempDir,
}

impl Case {
    /// Makes the inputs of `name` by its `make.py`, if it has one; none if the case or Python is not there.
    fn new(name: &str) -> Option<Self> {
        let case = Self { cases: cases()?, home: tempfile::tempdir().expect("a folder") };
        let make = case.cases.join(name).join("make.py");
        if make.is_file() {
            let made =
                Command::new("python3").arg(&make).arg(case.path("m")).current_dir(&case.cases).output();
            let made = made.expect("python3 starts");
            assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        }
        Some(case)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn arg(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The program in the folder of the cases; `T/` at the start of a word or after `=` is the temporary folder.
    fn command(&self, line: &str) -> Command {
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| match word.strip_prefix("T/") {
                Some(rest) => self.arg(rest),
                None => word.replace("=T/", &format!("={}/", self.home.path().display())),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = autointerp(self.home.path(), &words);
        command.current_dir(&self.cases).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Done {
        finish(&mut self.command(line))
    }

    fn harvest(&self, model: &str) -> Done {
        let hook = "--hooks blocks.0.hook_resid_post";
        self.run(&format!("harvest --model T/m/{model} --text tools/text.txt {hook} --out T/o.st"))
    }

    fn corpus(&self, source: &str) -> Done {
        let _ = fs::remove_dir_all(self.path("run"));
        self.run(&format!("run tools/corpus.yaml --out T/run --set corpus.source={source}"))
    }

    /// Number of documents that the run's manifest counts.
    fn documents(&self) -> u64 {
        let text = fs::read_to_string(self.path("run/manifest.json")).expect("a manifest");
        let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        manifest["corpus"]["counts"]["source_documents"].as_u64().expect("a count")
    }
}

/// Exit 8 for each model, with the words that name what is wrong.
fn refused_models(name: &str, models: &[(&str, &str)]) {
    let Some(case) = Case::new(name) else { return };
    for (model, named) in models {
        case.harvest(model).refused(8, &[named]);
        assert!(!case.path("o.st").exists(), "{model}: no file is written");
    }
}

#[test]
fn counts_too_large() {
    let named = [
        ("layers.gguf", "block_count"),
        ("id", "2147483648"),
        ("template", "post_processor"),
        ("charsmap", "precompiled_charsmap"),
    ];
    refused_models("counts-too-large", &named);
}

#[test]
fn numbers_not_finite() {
    let named = [("epsilon.gguf", "layer_norm_rms_epsilon"), ("base.gguf", "rope.freq_base")];
    refused_models("numbers-not-finite", &named);
}

#[test]
fn tokenizer_endless() {
    refused_models("tokenizer-endless", &[("empty", "normalizer"), ("growing", "normalizer")]);
}

#[test]
fn special_files() {
    let Some(case) = Case::new("special-files") else { return };
    for model in ["fifo-tokenizer", "fifo-model", "zero-config", "zero-tokenizer"] {
        case.harvest(model).refused(6, &[model]);
    }
}

#[test]
fn git_lfs_pointer() {
    let Some(case) = Case::new("git-lfs-pointer") else { return };
    let done = case.harvest("pointer");
    assert!(matches!(done.code, Some(6 | 8)), "{:?}", done.code);
    assert!(done.stderr.contains("git lfs pull"), "{}", done.stderr);
}

#[test]
fn chat_template_blow_up() {
    let Some(case) = Case::new("chat-template-blow-up") else { return };
    for model in ["double", "twenty", "indent", "format", "format-method", "replace", "join", "deep-not"] {
        let model_arg = format!("explainer.llm.model=T/m/{model}.gguf");
        let done = case.run(&format!("run tools/local.yaml --set {model_arg} --out T/run-{model}"));
        done.refused(8, &[model, "chat template"]);
    }
}

#[test]
fn added_token_beyond_vocabulary() {
    let Some(case) = Case::new("added-token-beyond-vocabulary") else { return };
    case.harvest("beyond").ok();
}

#[test]
fn bad_lines() {
    let Some(case) = Case::new("bad-lines") else { return };
    for (file, is_skipped) in [("null", true), ("surrogate", true), ("nan", false)] {
        let done = case.corpus(&format!("T/m/{file}.jsonl")).ok();
        let told = done.stderr.contains("line 6") && done.stderr.contains("1 line gives no document");
        assert_eq!(told, is_skipped, "{file}: {}", done.stderr);
    }
}

#[test]
fn json_lines_misread() {
    let Some(case) = Case::new("json-lines-misread") else { return };
    for file in ["lines.json.gz", "list.json"] {
        case.corpus(&format!("T/m/{file}")).ok();
        assert_eq!(case.documents(), 61, "{file}");
    }
    let done = case.corpus("T/m/table.csv");
    assert!(matches!(done.code, Some(2 | 8)) && done.stderr.contains("CSV"), "{}", done.stderr);
}

#[test]
fn compression_unknown() {
    let Some(case) = Case::new("compression-unknown") else { return };
    case.corpus("T/m/lines.jsonl.xz").refused(8, &["xz"]);
    case.corpus("T/m/lines.jsonl").ok();
}

#[test]
fn debug_form_message() {
    let Some(case) = Case::new("debug-form-message") else { return };
    let done = case.corpus("T/m/cut.txt.zst").refused(8, &["ends too early"]);
    assert!(!done.stderr.contains('{'), "{}", done.stderr);
}

#[test]
fn one_document() {
    let Some(case) = Case::new("one-document") else { return };
    let done = case.corpus("../corpora/tinyshakespeare.txt");
    assert!(done.stderr.contains("corpus.separator"), "{}", done.stderr);
    assert!(!done.stderr.contains("more text may help"), "{}", done.stderr);
}

#[test]
fn corpus_endless() {
    let Some(case) = Case::new("corpus-endless") else { return };
    for source in ["T/m/letters.txt.gz", "T/m/lines.txt.gz", "/dev/zero"] {
        let shown = source.trim_start_matches("T/m/");
        case.corpus(source).refused(8, &[shown]);
    }
    let done = case.corpus("T/m/cycle");
    // Twenty documents of one file, read once, are too little.
    assert_eq!(done.code, Some(8), "{}", done.stderr);
    assert!(!done.stderr.contains("again/"), "{}", done.stderr);
}

#[test]
fn byte_order_mark() {
    let Some(case) = Case::new("byte-order-mark") else { return };
    let harvest = |file: &str| {
        case.run(&format!(
            "harvest --model ../models/stories260K --text byte-order-mark/{file}.txt --hooks blocks.0.hook_resid_post --out T/{file}.st"
        ))
        .ok();
        fs::read(case.path(&format!("{file}.st"))).expect("a harvest")
    };
    assert_eq!(harvest("mark"), harvest("plain"));
}

#[test]
fn relative_path() {
    let Some(case) = Case::new("relative-path") else { return };
    let mut command = case.command("run T/m/suite.yaml --out T/run");
    finish(command.current_dir("/")).ok();
}

#[test]
fn path_traversal() {
    let Some(case) = Case::new("path-traversal") else { return };
    case.run("run path-traversal/suite.yaml --out T/a/b/c").refused(2, &["name"]);
    assert!(!case.path("a/OUTSIDE").exists() && !case.path("a/OUTSIDE.jsonl").exists());
}

#[test]
fn suite_huge_values() {
    let Some(case) = Case::new("suite-huge-values") else { return };
    case.run("check T/m/sweep.yaml").refused(2, &["sweep"]);
    for (field, value) in [
        ("methods.0.features", "10000000000"),
        ("statistics.resamples", "1000000000000"),
        ("corpus.fit_tokens", "1000000000000000000"),
    ] {
        let named = field.rsplit('.').next().expect("a field");
        case.run(&format!("run tools/tiny.yaml --set {field}={value} --out T/run")).refused(2, &[named]);
        assert!(!case.path("run").exists(), "{field}: nothing is begun");
    }
}

fn assert_plain(text: &str) {
    let raw = |c: &char| {
        (c.is_control() && !['\n', '\t'].contains(c))
            || matches!(*c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
    };
    let found: Vec<char> = text.chars().filter(raw).collect();
    assert!(found.is_empty(), "{found:?} in {text:?}");
}

#[test]
fn control_characters() {
    let Some(case) = Case::new("control-characters") else { return };
    let lines = [
        "check control-characters/suite.yaml",
        "run tools/sae.yaml --set methods.0.path=T/m/sae --out T/run",
        "harvest --model T/m/model --token-ids tools/ids.json --hooks hook_embed --out T/o.st",
        "run tools/local.yaml --set explainer.llm.model=T/m/raise.gguf --out T/run2",
    ];
    for line in lines {
        let done = case.run(line);
        assert!(done.code.is_some_and(|code| code != 0), "{line}");
        assert_plain(&done.stderr);
        assert_plain(&done.stdout);
    }
    let mut command = case.command("check tools/tiny.yaml --set");
    let done = finish(command.arg("scorers=[\"\u{1b}[31mX\u{202e}\"]"));
    assert_eq!(done.code, Some(2));
    assert_plain(&done.stderr);
}

#[test]
#[cfg(target_os = "linux")]
fn stdout_full() {
    let Some(case) = Case::new("stdout-full") else { return };
    case.run("run tools/tiny.yaml --out T/run").ok();
    for line in [
        "inspect T/run",
        "compare T/run T/run --json",
        "report T/run --json",
        "check tools/tiny.yaml --json",
        "plan tools/tiny.yaml",
        "cache --json",
        "doctor",
    ] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full device");
        let output = case.command(line).stdout(full).output().expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(9), "{line}: {stderr}");
        let errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "{line}: {stderr}");
    }
}

/// The command line of a command, behind a limit on the size of files in blocks of 512 bytes.
#[cfg(unix)]
fn with_file_limit(blocks: usize, plain: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
    limited.args(plain.get_args()).stdin(Stdio::null());
    limited.current_dir(plain.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[test]
#[cfg(unix)]
fn file_size_limit() {
    let Some(case) = Case::new("file-size-limit") else { return };
    for line in [
        "harvest --model ../models/stories260K --token-ids tools/ids.json --hooks blocks.*.hook_resid_post --logits --out T/o.st",
        "run tools/tiny.yaml --out T/run",
    ] {
        let done = finish(&mut with_file_limit(100, &case.command(line)));
        done.refused(9, &[&case.home.path().display().to_string()]);
    }
}

/// The program's folder in front of `PATH`, for scripts that call it.
fn script(case: &Case, name: &str, args: &[String]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_autointerp")).parent().expect("a folder").to_path_buf();
    let mut path = vec![program];
    path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = Command::new("python3");
    command.arg(case.cases.join(name)).args(args).env("AUTOINTERP_CACHE", case.path("cache"));
    command.env("PATH", std::env::join_paths(path).expect("a path"));
    let done = finish(command.current_dir(&case.cases)).ok();
    done.stdout
}

#[test]
fn stored_activations_flipped() {
    let Some(case) = Case::new("stored-activations-flipped") else { return };
    let said = script(&case, "stored-activations-flipped/flip.py", &[case.arg("f")]);
    assert!(said.contains("exit 0") && said.contains("the same: True"), "{said}");
}

#[test]
fn stage_file_edited() {
    let Some(case) = Case::new("stage-file-edited") else { return };
    let run = || case.run("run tools/tiny.yaml --out T/run").ok();
    run();
    let summary = || fs::read(case.path("run/summary.json")).expect("a summary");
    let first = summary();
    for entry in fs::read_dir(case.path("run/stages")).expect("stages") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).expect("a stage");
        if let Some(at) = text.find("\"top_and_random\":0.") {
            let at = at + "\"top_and_random\":0.".len();
            let edited = format!("{}9{}", &text[..at], &text[at + 1..]);
            write_atomic(&path, edited.as_bytes()).expect("written");
        }
    }
    fs::remove_file(case.path("run/summary.json")).expect("removed");
    let done = run();
    assert!(summary() == first, "an edited stage is believed");
    assert!(done.stderr.contains("stages"), "the damaged file is named: {}", done.stderr);
}

/// The bytes of every tensor of a file.
fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).expect("a harvest");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    file.iter().map(|(name, tensor)| (name.to_string(), tensor.data().to_vec())).collect()
}

#[test]
fn weight_names() {
    let Some(case) = Case::new("weight-names") else { return };
    let harvest = |model: &str, out: &str| {
        let hook = "--hooks blocks.0.hook_resid_post --logits";
        case.run(&format!("harvest --model {model} --token-ids tools/ids.json {hook} --out T/{out}.st")).ok();
        tensors(&case.path(&format!("{out}.st")))
    };
    for (variant, plain) in [("bare", "llama3_rope_tied"), ("wrapper", "gemma3_text")] {
        let (a, b) =
            (harvest(&format!("T/m/{variant}"), variant), harvest(&format!("../golden/{plain}"), plain));
        assert!(a == b, "{variant}");
    }
}

#[test]
fn tokenizer_dropout() {
    let Some(case) = Case::new("tokenizer-dropout") else { return };
    let scores = |model: &str, out: &str| {
        case.run(&format!("run tools/random.yaml --set subject.model={model} --out T/{out}")).ok();
        fs::read(case.path(&format!("{out}/scores.jsonl"))).expect("scores")
    };
    assert_eq!(scores("T/m/dropout", "a"), scores("../models/prose-neox", "b"));
}
