//! The architecture, held by reading the source: layers, module heads, banned names.

use std::fs;
use std::path::{Path, PathBuf};

/// Every folder of `src` with its layer; a folder may import from lower layers only.
const LAYERS: [(&str, u8); 26] = [
    ("base", 0),
    ("stats", 1),
    ("linalg", 1),
    ("nn", 2),
    ("hub", 1),
    ("remote", 1),
    ("corpus", 3),
    ("subject", 3),
    ("llm", 3),
    ("report", 3),
    ("activations", 4),
    ("gate", 4),
    ("dictionary", 5),
    ("features", 6),
    ("causal", 6),
    ("export", 6),
    ("explain", 7),
    ("simulate", 7),
    ("score", 7),
    ("suite", 8),
    ("run", 9),
    ("bench", 9),
    ("cluster", 9),
    ("cli", 10),
    ("python", 11),
    ("main.rs", 11),
];

/// Imports that the layers would allow but the house forbids: (folder, what it must not import).
const FORBIDDEN: [(&str, &[&str]); 9] = [
    ("explain", &["subject", "dictionary", "corpus", "activations"]),
    ("simulate", &["subject", "dictionary", "corpus", "activations"]),
    ("score", &["subject", "dictionary", "corpus", "activations"]),
    ("report", &["nn", "linalg", "hub"]),
    ("gate", &["nn", "linalg", "hub", "corpus", "subject", "llm"]),
    ("export", &["nn", "linalg", "hub", "corpus", "subject", "llm", "activations"]),
    ("dictionary", &["corpus", "report"]),
    ("cluster", &["nn", "linalg", "hub", "corpus", "subject", "llm", "report", "dictionary", "features"]),
    ("activations", &["corpus", "report"]),
];

fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

pub fn all_sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let inside = path.strip_prefix(&root).expect("below src").to_path_buf();
            let top = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("UTF-8");
            (top, inside, text)
        })
        .collect()
}

/// Files that hold tests alone: `tests.rs`, what stands below `tests/`, and `…_tests.rs`.
pub fn is_test(path: &Path) -> bool {
    path.with_extension("").components().any(|part| {
        let name = part.as_os_str().to_string_lossy();
        name == "tests" || name.ends_with("_tests")
    })
}

/// Folders that a source text imports through `crate::`, tests left out.
fn imports(text: &str) -> Vec<String> {
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let mut found = Vec::new();
    for line in product.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for after in line.split("crate::").skip(1) {
            let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push(name);
        }
    }
    found
}

#[test]
fn dependencies_point_one_way() {
    let layer = |name: &str| LAYERS.iter().find(|(folder, _)| *folder == name).map(|(_, layer)| *layer);
    let mut wrong = Vec::new();
    for (top, path, text) in all_sources() {
        if top == "lib.rs" || is_test(&path) {
            continue;
        }
        let own = layer(&top).unwrap_or_else(|| panic!("`src/{top}` has no layer: add it to the table"));
        for name in imports(&text) {
            let Some(other) = layer(&name) else { continue };
            let sideways = other == own && name != top;
            let banned =
                FORBIDDEN.iter().any(|(folder, names)| *folder == top && names.contains(&name.as_str()));
            if other > own || sideways || banned {
                wrong.push(format!("{} imports `{name}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the layers:\n{}", wrong.join("\n"));
}

#[test]
fn only_numeric_folders_see_candle_and_only_cli_prints_or_reads_the_environment() {
    let mut wrong = Vec::new();
    for (top, path, text) in all_sources() {
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text).to_string();
        if is_test(&path) {
            continue;
        }
        let may_see_candle = ["nn", "subject", "activations", "dictionary"].contains(&top.as_str());
        if product.contains("candle_core") && !may_see_candle {
            wrong.push(format!("{} sees candle", path.display()));
        }
        if (product.contains("clap::")
            || product.contains("indicatif::")
            || product.contains("std::io::stdout"))
            && top != "cli"
        {
            wrong.push(format!("{} prints or parses arguments", path.display()));
        }
        if product.contains("env::var") && !path.ends_with("cli/args.rs") {
            wrong.push(format!("{} reads the environment", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_folder_says_what_goes_in_what_comes_out_and_what_never_happens() {
    for (_, path, text) in all_sources() {
        if path.file_name().is_some_and(|name| name == "mod.rs") && path.components().count() == 2 {
            for line in ["//! In: ", "//! Out: ", "//! Never: "] {
                assert!(text.contains(line), "{} lacks `{line}…`", path.display());
            }
        }
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(
            !["utils", "helpers", "common", "misc"].contains(&stem.as_str()),
            "{} says nothing",
            path.display()
        );
    }
}

#[test]
fn every_ignored_test_is_registered_with_its_reason() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let register = fs::read_to_string(root.join("tests/README.md")).expect("tests/README.md");
    let mut files = Vec::new();
    source_files(&root.join("src"), &mut files);
    source_files(&root.join("tests"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("UTF-8");
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if line.trim_start().starts_with("#[ignore") {
                let name = lines[index..].iter().find_map(|line| line.trim_start().strip_prefix("fn "));
                let name = name.and_then(|rest| rest.split('(').next()).unwrap_or_default();
                assert!(
                    register.contains(name),
                    "`{name}` in {} is ignored but not in tests/README.md",
                    path.display()
                );
            }
        }
    }
}

/// What stands visibly at the top. Everything else is hidden, or lies in one of these.
const TOP: [&str; 7] = ["Cargo.toml", "README.md", "baselines", "results", "src", "suites", "tests"];

/// Files that must stand at the top, with the reason: unavoidable.
const UNAVOIDABLE: [(&str, &str); 5] = [
    ("Cargo.lock", "cargo writes it beside Cargo.toml"),
    ("LICENSE-APACHE", "where people and programs look for it"),
    ("LICENSE-MIT", "where people and programs look for it"),
    ("CITATION.cff", "reference managers and code hosts read it there only"),
    ("pyproject.toml", "pip and uv build the folder that has it"),
];

#[test]
fn the_visible_top_level_is_fixed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success() && !listed.stdout.is_empty())
    else {
        println!("skipped: git does not list the files");
        return;
    };
    let listed = String::from_utf8(listed.stdout).expect("UTF-8");
    for path in listed.split('\0').filter(|path| !path.is_empty() && !path.starts_with('.')) {
        let name = path.split('/').next().unwrap_or_default();
        let is_known = TOP.contains(&name) || UNAVOIDABLE.iter().any(|(known, _)| *known == name);
        assert!(is_known, "`{name}` stands at the top: put it elsewhere, or give the reason here");
    }
}

/// Longest source file; tests and plain data aside.
const LONGEST_FILE: usize = 500;

/// Longest `run/pipeline.rs`, which names every stage.
const LONGEST_PIPELINE: usize = 150;

/// Folders of `run/`, beside the files of the flow itself.
const FOLDERS_OF_RUN: [&str; 6] = ["plan", "inputs", "parts", "rows", "evaluate", "results"];

#[test]
fn files_are_short_and_the_flow_is_one_page() {
    let mut long = Vec::new();
    for (_, path, text) in all_sources() {
        let is_fixture = path.file_stem().is_some_and(|stem| stem == "fixture");
        let lines = text.lines().count();
        if lines > LONGEST_FILE && !is_test(&path) && !is_fixture {
            long.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(long.is_empty(), "split by idea:\n{}", long.join("\n"));
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run");
    let pipeline = fs::read_to_string(run.join("pipeline.rs")).expect("src/run/pipeline.rs");
    assert!(pipeline.lines().count() <= LONGEST_PIPELINE, "{}", pipeline.lines().count());
    let stages = ["subject", "tokens", "activations", "dictionaries", "quality", "records", "explanations"];
    for stage in stages.into_iter().chain(["simulations", "scores", "estimates", "report"]) {
        assert!(pipeline.contains(stage), "`{stage}` is not named");
    }
    let mut folders: Vec<String> = fs::read_dir(&run)
        .expect("src/run")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut expected = FOLDERS_OF_RUN.map(String::from);
    expected.sort();
    assert_eq!(folders, expected);
}

/// Names from suites and records become files in one place, `report/layout.rs`, which makes them safe.
#[test]
fn only_the_layout_names_files_of_a_run_folder() {
    let folders =
        ["records", "continuations", "explanations", "simulations", "judgements", "profiles", "neighbours"];
    let others = [
        "dictionaries",
        "controls",
        "stages",
        "charts",
        "features",
        "summary.json",
        "manifest.json",
        "scores.jsonl",
    ];
    for (_, path, text) in all_sources() {
        if is_test(&path)
            || path.ends_with("report/layout.rs")
            || path.file_stem().is_some_and(|stem| stem == "fixture")
        {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        for name in folders.into_iter().chain(others) {
            let found = product.lines().find(|line| line.contains(&format!("join(\"{name}")));
            assert!(found.is_none(), "{}: ask `report::Layout`: {found:?}", path.display());
        }
    }
}

/// `run/` works by catalogues: it asks a row what it can do and never which kind it is.
#[test]
fn the_flow_knows_no_kind_of_method_explainer_or_scorer() {
    for (top, path, text) in all_sources() {
        if top != "run" || is_test(&path) {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        for kind in ["Kind::", "Judging::", "CheckedMethod", "NeuronToGraph", "TokenLookup"] {
            let named = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            let found = named.filter(|line| line.contains(kind)).find(|line| {
                // Kinds of clients and of errors are no kinds of these families.
                !["ClientKind::", "ErrorKind::"].iter().any(|other| line.contains(other))
            });
            assert!(found.is_none(), "{} names a kind: {found:?}", path.display());
        }
    }
}
