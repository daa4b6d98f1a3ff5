//! Planted features with known explanations, and a scripted model that follows an explanation exactly.

use super::super::*;
use crate::base::Stopwatch;
use crate::llm::scripted::{Scripted, block_on, said};
use crate::llm::{ClientKind, Endpoint, LlmSpec, connect};
use crate::stats::pearson;

/// The meaning of an explanation: words with their levels.
struct Claim {
    sentence: String,
    words: Vec<(String, u8)>,
}

struct Puzzle {
    name: String,
    /// The correct one first.
    claims: Vec<Claim>,
    /// Words with their true levels.
    texts: Vec<Vec<(String, u8)>>,
}

/// A star is strong, a plus weak.
fn marked(word: &str, otherwise: u8) -> (String, u8) {
    match (word.strip_prefix('*'), word.strip_prefix('+')) {
        (Some(word), _) => (word.into(), 9),
        (_, Some(word)) => (word.into(), 4),
        _ => (word.into(), otherwise),
    }
}

fn claim(line: &str) -> Claim {
    let (sentence, words) = line.split_once(" :: ").expect("words of the claim");
    let words = words.split(' ').map(|word| marked(word, 9)).collect();
    Claim { sentence: sentence.into(), words }
}

fn puzzles() -> Vec<Puzzle> {
    parsed(include_str!("puzzles.txt"))
}

fn parsed(text: &str) -> Vec<Puzzle> {
    let mut puzzles: Vec<Puzzle> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("= ") {
            puzzles.push(Puzzle { name: name.into(), claims: Vec::new(), texts: Vec::new() });
        }
        let Some(puzzle) = puzzles.last_mut() else { continue };
        if let Some(line) = line.strip_prefix("right: ").or(line.strip_prefix("wrong: ")) {
            puzzle.claims.push(claim(line));
        } else if let Some(text) = line.strip_prefix("text: ") {
            puzzle.texts.push(text.split(' ').map(|word| marked(word, 0)).collect());
        }
    }
    puzzles
}

fn level(claim: &Claim, before: Option<&str>, word: &str) -> u8 {
    let applies = |rule: &str| match rule.strip_prefix("after:") {
        Some(other) => before.is_some_and(|before| before.eq_ignore_ascii_case(other)),
        None => rule.eq_ignore_ascii_case(word),
    };
    claim.words.iter().find(|(rule, _)| applies(rule)).map_or(0, |(_, level)| *level)
}

/// Finds the explanation and the tokens in the request, and answers by the explanation's meaning.
fn perfect_reader() -> Scripted {
    let claims: Vec<Claim> = puzzles().into_iter().flat_map(|puzzle| puzzle.claims).collect();
    Scripted::new(move |request| {
        let question = &request.messages.last().expect("a question").content;
        let sentence = question.lines().find_map(|line| line.strip_prefix("The feature responds to: "));
        let claim = claims.iter().find(|claim| Some(claim.sentence.as_str()) == sentence).expect("known");
        let tokens: Vec<(String, String)> = question
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .map(|(index, token)| (index.into(), serde_json::from_str::<String>(token).expect("quoted")))
            .collect();
        let entry = |(place, (index, token)): (usize, &(String, String))| {
            let before = place.checked_sub(1).map(|before| tokens[before].1.trim());
            format!("\"{index}\": {}", level(claim, before, token.trim()))
        };
        let entries: Vec<String> = tokens.iter().enumerate().map(entry).collect();
        Ok(said(&format!("{{\"activations\": {{{}}}}}", entries.join(", "))))
    })
}

/// Correlation of the simulated and true levels over all texts, where values are present, and the number of texts
/// without a simulation. A constant simulation scores 0.
fn score(
    client: &dyn ChatClient,
    simulator: &dyn LanguageSimulator,
    claim: &Claim,
    texts: &[Vec<(String, u8)>],
) -> (f64, usize) {
    let tokens = |text: &Vec<(String, u8)>| -> Vec<String> {
        text.iter().map(|(word, _)| format!(" {word}")).collect()
    };
    let tokens: Vec<Vec<String>> = texts.iter().map(tokens).collect();
    let work = tokens.iter().map(|tokens| simulate_with(client, simulator, &claim.sentence, tokens, 0));
    let (mut truth, mut expected, mut failed) = (Vec::new(), Vec::new(), 0);
    for (text, simulated) in texts.iter().zip(block_on(futures_util::future::join_all(work))) {
        let Attempt::Done(simulation) = simulated.expect("no error") else {
            failed += 1;
            continue;
        };
        for ((_, level), value) in text.iter().zip(&simulation.expected) {
            let Some(value) = value else { continue };
            truth.push(f64::from(*level));
            expected.push(*value);
        }
    }
    (pearson(&truth, &expected).unwrap_or(0.0), failed)
}

#[test]
fn right_explanations_rank_above_wrong_ones() {
    let (client, puzzles) = (perfect_reader(), puzzles());
    assert_eq!(puzzles.len(), 20);
    let mut solved = 0;
    for puzzle in &puzzles {
        assert_eq!((puzzle.claims.len(), puzzle.texts.len()), (4, 3), "{}", puzzle.name);
        let simulator = Generated { expected_value: false, shots: None };
        let of_claim = |claim| score(&client, &simulator, claim, &puzzle.texts).0;
        let scores: Vec<f64> = puzzle.claims.iter().map(of_claim).collect();
        let right = scores[1..].iter().all(|wrong| scores[0] > *wrong);
        if !right {
            println!("`{}` is not solved: {scores:?}", puzzle.name);
        }
        solved += usize::from(right);
    }
    assert!(solved >= 18, "{solved} of 20");
}

/// The number of puzzles in which a real model ranks the correct explanation first, for every kind of simulator.
#[test]
#[ignore = "minutes with real models"]
fn planted_puzzles_by_real_models() {
    let Some(folder) = std::env::var_os("AUTOINTERP_REAL_MODELS").map(std::path::PathBuf::from) else {
        println!("skipped: AUTOINTERP_REAL_MODELS is not set");
        return;
    };
    let wanted = |name: &str, variable: &str| {
        std::env::var(variable).map_or(true, |list| list.split(',').any(|one| name.contains(one)))
    };
    let kinds: [(&str, Box<dyn LanguageSimulator>); 6] = [
        ("exemplar", Box::new(Exemplar)),
        ("likelihood", Box::new(Likelihood)),
        ("prompt_logprobs", Box::new(PromptLogprobs::new(None))),
        ("generated", Box::new(Generated { expected_value: false, shots: None })),
        ("generated_expected", Box::new(Generated { expected_value: true, shots: None })),
        ("per_token", Box::new(PerToken { shots: None })),
    ];
    println!(
        "| model | simulator | puzzles | solved | mean score of the right one | of the wrong ones | texts failed | seconds |"
    );
    let mut models: Vec<std::path::PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gguf"))
        .collect();
    models.sort();
    for path in models {
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !wanted(&name, "AUTOINTERP_PUZZLE_MODELS") {
            continue;
        }
        let cache = tempfile::tempdir().expect("a folder");
        let spec = LlmSpec::new(ClientKind::Local, &path.display().to_string());
        let (cache_folder, offline) = (cache.path().to_path_buf(), true);
        let endpoint = Endpoint {
            spec,
            key: None,
            hidden: Vec::new(),
            base_url: None,
            offline,
            cache_folder,
            budget: None,
            program: None,
        };
        let client = connect(&endpoint).expect("a model").client;
        for (kind, simulator) in kinds.iter().filter(|(kind, _)| wanted(kind, "AUTOINTERP_PUZZLE_KINDS")) {
            for (set, text) in [
                ("chosen on", include_str!("puzzles_for_choosing.txt")),
                ("held out", include_str!("puzzles.txt")),
            ] {
                let (started, puzzles) = (Stopwatch::start(), parsed(text));
                let (mut solved, mut right, mut wrong, mut failed) = (0, 0.0, 0.0, 0);
                for puzzle in &puzzles {
                    let of_claim = |claim| score(client.as_ref(), simulator.as_ref(), claim, &puzzle.texts);
                    let scores: Vec<(f64, usize)> = puzzle.claims.iter().map(of_claim).collect();
                    solved += usize::from(scores[1..].iter().all(|other| scores[0].0 > other.0));
                    right += scores[0].0 / puzzles.len() as f64;
                    wrong +=
                        scores[1..].iter().map(|score| score.0 / 3.0).sum::<f64>() / puzzles.len() as f64;
                    failed += scores.iter().map(|score| score.1).sum::<usize>();
                }
                println!(
                    "| {name} | {kind} | {set} | {solved} of {} | {right:.2} | {wrong:.2} | {failed} | {:.0} |",
                    puzzles.len(),
                    started.seconds()
                );
                let least = if *kind == "exemplar" && name.starts_with("SmolLM2") { 12 } else { 0 };
                assert!(solved >= least, "{kind} of {name} solves {solved}");
            }
        }
    }
}
