//! Changed inputs end in a value or in an error: no panic, no endless work, no memory for what a file merely claims.
//!
//! Every run tries the same inputs. `the_long_run` tries as many as it is told.

mod allocations;
mod mutator;
mod seeds;
mod targets;
#[path = "../../../src/dictionary/tensor_files/tests/written.rs"]
#[allow(dead_code, reason = "the file is shared with tests that use all of it")]
mod written;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use std::{fs, thread};

use autointerp::base::{Stopwatch, write_atomic};

use mutator::{Draws, Mutator};
use seeds::Seeds;
use targets::{Entry, TARGETS};

/// Time for one input.
const MOST_SECONDS: u64 = 10;

/// Largest single block of memory for an input, whatever it claims. Buffers for reading and tables of fixed sizes are
/// far below.
const MOST_BYTES: usize = 256 << 20;

/// Stack of the thread that reads inputs: that of the program's own threads.
const STACK: usize = 8 << 20;

fn entry(name: &str) -> Entry {
    TARGETS.iter().find(|(target, _)| *target == name).unwrap_or_else(|| panic!("no target `{name}`")).1
}

/// What was found wrong with an input.
struct Finding {
    number: u64,
    input: Vec<u8>,
    what: String,
}

fn words_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".into())
}

/// Reads one input.
fn tried(entry: Entry, input: &[u8]) -> Result<(), String> {
    allocations::largest_since_last_asked();
    let ended = catch_unwind(AssertUnwindSafe(|| entry(input)));
    let largest = allocations::largest_since_last_asked();
    match ended {
        Err(payload) => Err(format!("panics: {}", words_of(payload.as_ref()))),
        Ok(()) if largest > MOST_BYTES => Err(format!("asks for {} MB at once", largest >> 20)),
        Ok(()) => Ok(()),
    }
}

/// Tries the inputs `numbers` of a target, and returns what was found: the first three findings.
fn hunted(name: &'static str, numbers: std::ops::Range<u64>) -> Vec<Finding> {
    let seeds = Arc::new(seeds::of(name));
    let at = Arc::new(AtomicU64::new(numbers.start));
    let (sender, receiver) = channel();
    let (shared, place) = (seeds.clone(), at.clone());
    let first = numbers.start;
    let work = move || {
        let Seeds { form, inputs, words } = &*shared;
        let mutator = Mutator { form: *form, seeds: inputs, words };
        let mut found = Vec::new();
        for number in numbers {
            place.store(number, Ordering::Relaxed);
            let input = mutator.input(&mut Draws::of(name, number));
            if let Err(what) = tried(entry(name), &input) {
                found.push(Finding { number, input, what });
                if found.len() == 3 {
                    break;
                }
            }
        }
        let _ = sender.send(found);
    };
    thread::Builder::new().stack_size(STACK).spawn(work).expect("a thread");
    let mut before = None;
    loop {
        match receiver.recv_timeout(Duration::from_secs(MOST_SECONDS)) {
            Ok(found) => return found,
            Err(RecvTimeoutError::Disconnected) => panic!("{name}: the thread is gone"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let number = at.load(Ordering::Relaxed);
        if before.replace(number) == Some(number) {
            let Seeds { form, inputs, words } = &*seeds;
            let input = Mutator { form: *form, seeds: inputs, words }.input(&mut Draws::of(name, number));
            let what = format!("takes more than {MOST_SECONDS} seconds (inputs from {first} on)");
            return vec![Finding { number, input, what }];
        }
    }
}

/// Keeps the inputs that failed and says how to try one again.
fn report(name: &str, found: &[Finding]) -> Vec<String> {
    let folder = std::env::var_os("AUTOINTERP_FUZZ_KEEP")
        .map_or_else(|| std::env::temp_dir().join("autointerp-fuzz"), PathBuf::from);
    let kept = |finding: &Finding| {
        let path = folder.join(format!("{name}-{}", finding.number));
        let _ = fs::create_dir_all(&folder).map(|()| write_atomic(&path, &finding.input));
        format!("{name}, input {} ({}): {}", finding.number, path.display(), finding.what)
    };
    found.iter().map(kept).collect()
}

/// Every seed is read without a finding, and the inputs made of them too.
fn bounded(name: &'static str, runs: u64) {
    let found = hunted(name, 0..runs);
    assert!(found.is_empty(), "{}", report(name, &found).join("\n"));
}

macro_rules! bounded_runs {
    ($($test:ident: $target:literal, $runs:literal;)*) => {
        $(
            #[test]
            fn $test() {
                bounded($target, $runs);
            }
        )*

        /// The targets of the tests above.
        const BOUNDED: &[&str] = &[$($target),*];
    };
}

bounded_runs! {
    changed_arrow_streams: "arrow", 10_000;
    changed_configurations_of_models: "config", 20_000;
    changed_corpora: "corpus", 2_000;
    changed_dictionaries_of_other_programs: "dictionary", 4_000;
    changed_answers_of_endpoints: "endpoint", 2_000;
    changed_results_before_the_gate: "gate", 1_000;
    changed_gguf_files: "gguf", 4_000;
    changed_models: "model", 2_000;
    changed_names: "names", 20_000;
    changed_arrays_of_numpy: "npz", 10_000;
    changed_dictionaries_of_ours: "own_dictionary", 2_000;
    changed_replies_of_language_models: "replies", 5_000;
    changed_run_folders: "report", 20;
    changed_safetensors: "safetensors", 10_000;
    changed_settings: "set", 2_000;
    changed_suites: "suite", 2_000;
    changed_chat_templates: "template", 2_000;
    changed_tokenizers: "tokenizer", 4_000;
    changed_torch_files: "torch", 10_000;
}

#[test]
fn every_target_is_run_here_and_by_libfuzzer() {
    let all: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(BOUNDED, all);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("tests/fuzz/Cargo.toml");
    for name in all {
        let source = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).expect("a target");
        assert!(source.contains(&format!("targets::{name}(")), "{source}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
    }
}

/// `AUTOINTERP_FUZZ_RUNS` inputs of each target, or of those that `AUTOINTERP_FUZZ_TARGETS` names, one after the other.
#[test]
#[ignore = "as long as it is told to"]
fn the_long_run() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let (runs, first) =
        (number("AUTOINTERP_FUZZ_RUNS").unwrap_or(100_000), number("AUTOINTERP_FUZZ_FIRST").unwrap_or(0));
    let wanted = std::env::var("AUTOINTERP_FUZZ_TARGETS").unwrap_or_default();
    let corpus = std::env::var_os("AUTOINTERP_FUZZ_CORPUS").map(PathBuf::from);
    let is_wanted = |name: &str| wanted.is_empty() || wanted.split(',').any(|other| other == name);
    let mut failed = Vec::new();
    for (name, _) in TARGETS.into_iter().filter(|(name, _)| is_wanted(name)) {
        if let Some(corpus) = &corpus {
            write_seeds(&corpus.join(name), &seeds::of(name).inputs);
            continue;
        }
        let watch = Stopwatch::start();
        let found = hunted(name, first..first + runs);
        let tried = found.get(2).map_or(runs, |third| third.number - first);
        println!("{name}: {tried} inputs in {:.0} s, {} findings", watch.seconds(), found.len());
        failed.extend(report(name, &found));
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Writes the seeds for libFuzzer.
fn write_seeds(folder: &Path, seeds: &[Vec<u8>]) {
    fs::create_dir_all(folder).expect("a folder");
    for (nth, seed) in seeds.iter().enumerate() {
        write_atomic(&folder.join(format!("seed-{nth}")), seed).expect("written");
    }
}
