//! Planted features with known explanations, read by a simulator that does exactly what it is told.

use super::super::*;
use crate::llm::scripted::{Scripted, block_on, said};
use crate::stats::pearson;

/// What an explanation means to a perfect reader: words with their levels.
struct Claim {
    sentence: String,
    words: Vec<(String, u8)>,
}

struct Puzzle {
    name: String,
    /// The right one first.
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
    let mut puzzles: Vec<Puzzle> = Vec::new();
    for line in include_str!("puzzles.txt").lines() {
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

/// Finds explanation and tokens in the question and answers by the explanation's words.
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

fn score(client: &Scripted, claim: &Claim, texts: &[Vec<(String, u8)>]) -> f64 {
    let (mut truth, mut expected) = (Vec::new(), Vec::new());
    for text in texts {
        let tokens: Vec<String> = text.iter().map(|(word, _)| format!(" {word}")).collect();
        let simulator = Generated { expected_value: false };
        let simulated = block_on(simulate_with(client, &simulator, &claim.sentence, &tokens, 0));
        let simulated = simulated.expect("no error");
        expected.extend(simulated.done().expect("readable").expected.clone());
        truth.extend(text.iter().map(|(_, level)| f64::from(*level)));
    }
    // An explanation that applies nowhere tells nothing apart.
    pearson(&truth, &expected).unwrap_or(0.0)
}

#[test]
fn right_explanations_rank_above_wrong_ones() {
    let (client, puzzles) = (perfect_reader(), puzzles());
    assert_eq!(puzzles.len(), 20);
    let mut solved = 0;
    for puzzle in &puzzles {
        assert_eq!((puzzle.claims.len(), puzzle.texts.len()), (4, 3), "{}", puzzle.name);
        let scores: Vec<f64> =
            puzzle.claims.iter().map(|claim| score(&client, claim, &puzzle.texts)).collect();
        let right = scores[1..].iter().all(|wrong| scores[0] > *wrong);
        if !right {
            println!("`{}` is not solved: {scores:?}", puzzle.name);
        }
        solved += usize::from(right);
    }
    assert!(solved >= 18, "{solved} of 20");
}
