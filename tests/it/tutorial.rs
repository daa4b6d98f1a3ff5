//! The tutorial, as a stranger follows it: its suite as it is printed, its commands in their order.

use std::fs;
use std::path::Path;

use autointerp::corpus::generator::Generator;
use autointerp::dictionary::{Activation, AffineDictionary, RowScale, Tensors, export_saelens, load};

use serde_json::Value;

use crate::program::{Done, autointerp, finish};
use crate::shared;
use crate::toy::Toy;

/// Seed of the text; the embedded model was trained on another.
const SEED: u64 = 4711;

/// The heading of the part about dictionaries of other libraries, which has a suite of its own.
const THREE_LIBRARIES: &str = "## Dictionaries of three libraries, side by side\n";

/// The tutorial up to [`THREE_LIBRARIES`], and from there.
fn tutorial() -> [String; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/tutorial.md");
    let text = fs::read_to_string(path).expect("the tutorial");
    let (first, last) = text.split_once(THREE_LIBRARIES).expect("the part about three libraries");
    [first.to_string(), last.to_string()]
}

/// The blocks of a language, without their fences.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begun = text.split(&fence).skip(1);
    begun.map(|rest| rest.split("```").next().unwrap_or_default().to_string()).collect()
}

/// The only suite of a part, and its commands in their order.
fn suite_and_commands(text: &str) -> (String, Vec<String>) {
    let suites = blocks(text, "yaml");
    let [suite] = suites.as_slice() else { panic!("one suite: {suites:?}") };
    let shell = blocks(text, "sh");
    let commands = shell.iter().flat_map(|block| block.lines().map(String::from)).collect();
    (suite.clone(), commands)
}

/// The arguments of a command, in which `FIRST` stands for a feature.
fn arguments<'a>(command: &'a str, first: &'a str) -> Vec<&'a str> {
    let mut words = command.split_whitespace().map(|word| if word == "FIRST" { first } else { word });
    assert_eq!(words.next(), Some("autointerp"), "{command}");
    words.collect()
}

fn call_in(home: &Path, args: &[&str]) -> Done {
    finish(autointerp(home, args).current_dir(home))
}

/// The files that the tutorial asks for: the embedded model, a text, and a dictionary in the layout of SAELens.
fn prepare(toy: &Toy, suite: &str) {
    let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/subject/embedded");
    fs::remove_dir_all(toy.path("model")).expect("removed");
    fs::create_dir(toy.path("model")).expect("a folder");
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(embedded.join(name), toy.path("model").join(name)).expect("copied");
    }
    let generator = Generator::new(SEED);
    let text: String =
        (0..4_000).map(|index| format!("{}\n<|endoftext|>\n", generator.document(index).text)).collect();
    toy.write("text.txt", &text);
    let without: String =
        suite.lines().filter(|line| !line.contains("kind: file")).map(|line| format!("{line}\n")).collect();
    toy.write("without.yaml", &without);
    call_in(toy.home(), &["run", "without.yaml", "--out", "without", "--quiet", "--limit-features", "2"])
        .ok();
    let trained =
        load(&toy.path("without/dictionaries/blocks.2.hook_resid_post/topk")).expect("a dictionary");
    let (directions, info) = (trained.directions().expect("directions"), trained.info());
    let tensors = Tensors {
        encoder_bias: vec![0.0; info.n_features],
        decoder_bias: vec![0.0; info.d_in],
        encoder: directions.clone(),
        decoder: directions,
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    export_saelens(&AffineDictionary::of_file(tensors, info.hook), &toy.path("sae")).expect("exported");
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let (toy, [text, _]) = (Toy::new(), tutorial());
    let (suite, commands) = suite_and_commands(&text);
    prepare(&toy, &suite);
    toy.write("mine.yaml", &suite);
    assert!(commands.len() >= 8, "{commands:?}");
    let mut first = String::new();
    for command in commands {
        let done = call_in(toy.home(), &arguments(&command, &first)).ok();
        assert!(!done.stdout.is_empty(), "`{command}` says nothing");
        // What a person would copy from a list.
        let place = done.stdout.lines().find(|line| line.starts_with("blocks.2.hook_resid_post/"));
        if let Some(place) = place.and_then(|line| line.split_whitespace().next()) {
            first = place.to_string();
        }
        if command.contains("FIRST") {
            assert!(done.stdout.contains("simul"), "{}", done.stdout);
        }
    }
    let table = fs::read_to_string(toy.path("results/mine/table.md")).expect("a table");
    for row in ["trained_elsewhere", "topk", "random", "pca_topk", "shuffled", "random_weights"] {
        assert!(table.contains(row), "`{row}` is not in the table");
    }
    assert!(toy.path("results/mine/index.html").exists());
}

/// Copies the files of a folder.
fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the shared data") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// `"hook"` and `"fvu"` of a trial.
fn place_and_fvu(trial: &Value) -> (&str, f64) {
    (trial["hook"].as_str().expect("a hook point"), trial["fvu"].as_f64().expect("an FVU"))
}

/// The suite's folders, filled with shared dictionaries.
fn prepare_three(toy: &Toy, shared: &Path) {
    copy_files(&shared.join("models/stories260K"), &toy.path("stories260K"));
    fs::copy(shared.join("corpora/tinystories.txt"), toy.path("text.txt")).expect("copied");
    for (from, to) in [
        ("saelens6--standard", "sae-saelens"),
        ("dictlearn--batchtopk/trainer_0", "sae-dictionary-learning/trainer_0"),
        ("sparsify--topk/layers.2", "sae-sparsify/layers.2"),
    ] {
        copy_files(&shared.join("sae-formats").join(from), &toy.path(to));
    }
}

/// Checks `card.json` of a dictionary that lies where it was trained. Returns its FVU there.
fn check_card(file: &Path, format: &str) -> f64 {
    const HERE: &str = "blocks.2.hook_resid_post";
    let card = json(&fs::read_to_string(file).expect("a card"));
    assert_eq!(card["read"]["card"]["format"], format);
    let proof = &card["proof"];
    assert_eq!(proof["n_tokens"], 1_024);
    let (place, fvu) = place_and_fvu(&proof["here"]);
    assert_eq!(place, HERE);
    assert!(fvu > 0.0 && fvu < 0.35, "{format}: {fvu}");
    let others = proof["others"].as_array().expect("other trials").iter();
    let as_read: Vec<_> = others.filter(|trial| trial["scaling"] == "as read").map(place_and_fvu).collect();
    assert_eq!(as_read.len(), 3, "{as_read:?}");
    for (place, there) in as_read {
        assert!(place != HERE && there > 1.15 * fvu, "{format}: {there} at {place}, {fvu} here");
    }
    assert!(proof["looks_like"].is_null() && proof["doubts"] == Value::Array(Vec::new()), "{proof}");
    fvu
}

#[test]
fn dictionaries_of_three_libraries_stand_beside_one_trained_here_with_their_cards() {
    let Some(shared) = shared::folder() else { return };
    let (toy, [_, text]) = (Toy::new(), tutorial());
    let (suite, commands) = suite_and_commands(&text);
    prepare_three(&toy, &shared);
    toy.write("three.yaml", &suite);
    for command in &commands {
        let done = call_in(toy.home(), &arguments(command, "")).ok();
        assert!(!done.stdout.is_empty(), "`{command}` says nothing");
        assert!(!done.stderr.contains("warning"), "`{command}`: {}", done.stderr);
    }
    let run = toy.path("results/three");
    let table = fs::read_to_string(run.join("table.md")).expect("a table");
    for row in ["saelens", "dictionary_learning", "sparsify", "topk", "pca_topk"] {
        let rows = table.matches(&format!("| blocks.2.hook_resid_post | {row} |")).count();
        assert_eq!(rows, 2, "scores and quality of `{row}`:\n{table}");
    }
    let page = fs::read_to_string(run.join("index.html")).expect("a page");
    let cards = page.split_once("Dictionaries trained elsewhere</h3>").expect("the section of cards").1;
    let listed = json(&call_in(toy.home(), &["inspect", "results/three", "--json"]).ok().stdout);
    let listed = listed["cards"].as_array().expect("cards");
    assert_eq!(listed.len(), 3, "{listed:?}");
    for format in ["saelens", "dictionary_learning", "sparsify"] {
        let folder = run.join("dictionaries/blocks.2.hook_resid_post").join(format);
        let fvu = check_card(&folder.join("card.json"), format);
        assert!(cards.contains(&format!("{format}</code></summary>")), "no card of {format} on the page");
        let name = format!("blocks.2.hook_resid_post/{format}");
        let card = listed.iter().find(|card| card["dictionary"] == name.as_str()).expect("a card");
        let facts = card["facts"].as_array().expect("facts");
        assert!(facts.contains(&serde_json::json!(["format", format])), "{facts:?}");
        assert_eq!(card["trials"][0][3], format!("{fvu:.3}"));
    }
}
