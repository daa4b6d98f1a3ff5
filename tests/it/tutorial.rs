//! The tutorial, as a stranger follows it: its suite as it is printed, its commands in their order.

use std::fs;
use std::path::Path;

use autointerp::corpus::generator::Generator;
use autointerp::dictionary::{Activation, AffineDictionary, Label, RowScale, Tensors, export_saelens, load};

use crate::program::{Done, autointerp, finish};
use crate::toy::Toy;

/// Seed of the text; the embedded model was trained on another.
const SEED: u64 = 4711;

fn tutorial() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/tutorial.md");
    fs::read_to_string(path).expect("the tutorial")
}

/// The blocks of a language, without their fences.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begun = text.split(&fence).skip(1);
    begun.map(|rest| rest.split("```").next().unwrap_or_default().to_string()).collect()
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
    let label = Label {
        method: info.method.clone(),
        kind: info.kind,
        hook: info.hook,
        fitted_on: info.fitted_on,
        is_reconstruction: true,
        output: None,
    };
    export_saelens(&AffineDictionary::new(label, tensors), &toy.path("sae")).expect("exported");
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let (toy, text) = (Toy::new(), tutorial());
    let suites = blocks(&text, "yaml");
    let [suite] = suites.as_slice() else { panic!("one suite: {suites:?}") };
    prepare(&toy, suite);
    toy.write("mine.yaml", suite);
    let commands: Vec<String> = blocks(&text, "sh")
        .iter()
        .flat_map(|block| block.lines().map(String::from).collect::<Vec<_>>())
        .collect();
    assert!(commands.len() >= 8, "{commands:?}");
    let mut first = String::new();
    for command in commands {
        let words: Vec<&str> =
            command.split_whitespace().map(|word| if word == "FIRST" { &first } else { word }).collect();
        let [program, args @ ..] = words.as_slice() else { panic!("`{command}` is no command") };
        assert_eq!(*program, "autointerp", "{command}");
        let done = call_in(toy.home(), args).ok();
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
