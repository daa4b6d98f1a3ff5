mod puzzles;

use proptest::prelude::*;
use serde_json::json;

use super::prompt_logprobs::SLOT;
use super::*;
use crate::base::Missing;
use crate::llm::scripted::{Scripted, block_on, said, said_in_tokens};
use crate::llm::{ChatReply, Finish, PromptReply, PromptRequest, PromptToken, ReadProblem, Role};

const INTEGERS: Generated = Generated { expected_value: false, shots: None };
const EXPECTED: Generated = Generated { expected_value: true, shots: None };

fn tokens(n: usize) -> Vec<String> {
    (0..n).map(|index| format!(" w{index}")).collect()
}

fn values(read: Result<Simulation, ReadProblem>) -> Result<Vec<f64>, ReadProblem> {
    read.map(|simulation| simulation.expected.into_iter().map(|value| value.expect("told")).collect())
}

fn failed(reason: &str) -> Attempt<Simulation> {
    Attempt::Missing(Missing::Failed(reason.into()))
}

#[test]
fn a_complete_reply_is_read_in_any_order() {
    for text in [
        r#"{"activations": {"0": 3, "1": 0, "2": 10}}"#,
        r#"{"activations":{"2":10,"0":3,"1":0}}"#,
        "```json\n{\"activations\": {\"0\": 3, \"1\": 0, \"2\": 10}}\n```",
        r#"Sure! {"activations": {"0": 3, "1": 0, "2": 10}} Anything else?"#,
        r#"{"note": "x", "activations": {"0": "3", "1": 0.0, "2": "10.0",},}"#,
    ] {
        assert_eq!(values(INTEGERS.read(&said(text), 3)), Ok(vec![3.0, 0.0, 10.0]), "{text}");
    }
}

#[test]
fn malformed_replies_have_distinct_reasons_and_are_never_zeros() {
    use ReadProblem::*;
    for (text, problem) in [
        ("", EmptyReply),
        ("I'm sorry, I can't do that.", Refused),
        (r#"{"activations": {"0": 3, "1": 0"#, MalformedReply),
        (r#"{"activations": {"0": 3, "1": 0}} {"activations": {"0": 3, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "1": 0}, "activations": {"0": 4, "1": 0}}"#, MalformedReply),
        (r#"{"activations": [3, 0]}"#, MalformedReply),
        (r#"[{"0": 3, "1": 0}]"#, MalformedReply),
        (r#"{"activations": [[0, 3], [1, 0]]}"#, MalformedReply),
        (r#"{"0": 3, "1": 0}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "0": 3}}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "1": 0, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "00": 3}}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "+1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": 3, "１": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": 3}}"#, WrongCount),
        (r#"{"activations": {"0": 3, "1": 0, "2": 0}}"#, WrongCount),
        (r#"{"activations": {}}"#, WrongCount),
        (r#"{"activations": {"0": "three", "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": "11", "1": 0}}"#, OutOfRange),
        (r#"{"activations": {"0": 10.14, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": 3.5, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": NaN, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": null, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": true, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": ７, "1": 0}}"#, MalformedReply),
        (r#"{"activations": {"0": -1, "1": 0}}"#, OutOfRange),
        (r#"{"activations": {"0": 11, "1": 0}}"#, OutOfRange),
        (r#"{"activations": {"0": 300, "1": 0}}"#, OutOfRange),
    ] {
        assert_eq!(values(INTEGERS.read(&said(text), 2)), Err(problem), "{text}");
    }
    let cut = ChatReply { finish: Finish::Length, ..said(r#"{"activations": {"0": 3, "1": 0}}"#) };
    assert_eq!(values(INTEGERS.read(&cut, 2)), Err(Truncated));
}

#[test]
fn a_reply_listing_tokens_as_older_simulators_had_it_is_malformed() {
    for text in ["a\t3༗\nb\t0༗\n", "Sure!\n༗\na\t1༗\nb\t2༗\n"] {
        assert_eq!(values(INTEGERS.read(&said(text), 2)), Err(ReadProblem::MalformedReply));
    }
}

#[test]
fn the_question_asks_for_every_index_in_an_order_that_survives_sorting() {
    let request = INTEGERS.request("odd\n\twords", &tokens(64), 0);
    let schema = request.schema.expect("a schema").value;
    let properties = schema["properties"]["activations"]["properties"].as_object().expect("keys");
    let keys: Vec<&String> = properties.keys().collect();
    assert_eq!((keys.len(), keys[2].as_str(), keys[63].as_str()), (64, "02", "63"));
    assert_eq!(schema["properties"]["activations"]["required"], json!(keys));
    let question = &request.messages.last().expect("turns").content;
    assert!(question.contains("odd words\n") && question.contains("\n02\t\" w2\"\n"), "{question}");
    assert_eq!(request.temperature, 0.0);
    assert_eq!(request.top_logprobs, None);
    assert!(EXPECTED.request("x", &tokens(2), 1).top_logprobs.is_some_and(|top| top >= 11));
}

#[test]
fn worked_examples_are_answered_as_replies_are_read() {
    let turns = INTEGERS.request("x", &tokens(3), 0).messages;
    let mut n_examples = 0;
    for pair in turns.windows(2).filter(|pair| pair[1].role == Role::Assistant) {
        let n_tokens = pair[0].content.lines().filter(|line| line.contains('\t')).count();
        assert!(INTEGERS.read(&said(&pair[1].content), n_tokens).is_ok(), "{}", pair[1].content);
        n_examples += 1;
    }
    assert!(n_examples >= 3);
    let turns = PerToken::default().request("x", &tokens(3), 0).messages;
    let answers = turns.iter().filter(|turn| turn.role == Role::Assistant);
    assert!(answers.map(|turn| PerToken::default().read(&said(&turn.content))).all(|read| read.is_ok()));
    for place in ["{{", "}}"] {
        assert!(!PromptLogprobs::new(None).request("x", &tokens(3), 10).prompt.contains(place));
    }
}

#[test]
fn unreadable_replies_are_asked_again_and_then_counted() {
    let good = r#"{"activations": {"0": 3, "1": 0}}"#;
    let ask =
        |client: &Scripted, allowance| block_on(simulate_with(client, &INTEGERS, "x", &tokens(2), allowance));
    let replies = ["{}", r#"{"activations": {"0": 11, "1": 0}}"#, good];
    let client = Scripted::saying(&replies);
    assert_eq!(ask(&client, 2), Ok(Attempt::Done(Simulation::told([3.0, 0.0]))));
    assert_eq!(client.samples(), [0, 1, 2]);
    assert!(client.asked.lock().expect("kept")[1].temperature > 0.0);
    assert_eq!(ask(&Scripted::saying(&replies), 1), Ok(failed("out_of_range")));
    assert_eq!(ask(&Scripted::saying(&replies), 0), Ok(failed("malformed_reply")));
}

#[test]
fn expected_values_come_from_the_tokens_of_each_number() {
    let reply = said_in_tokens(&[
        ("{\"activations\":", &[]),
        (" {\"", &[]),
        ("0", &[("0", 0.9), ("7", 0.1)]),
        ("\":", &[]),
        (" 7", &[(" 7", 0.5), (" 8", 0.25), (" 10", 0.25), ("7", 0.5)]),
        (",", &[]),
        (" \"1\": ", &[]),
        ("1", &[("1", 0.6), ("3,", 0.2), ("x", 0.2)]),
        ("}}", &[("}}", 1.0)]),
    ]);
    let expected = values(EXPECTED.read(&reply, 2)).expect("readable");
    assert!((expected[0] - (7.0 * 0.5 + 8.0 * 0.25 + 10.0 * 0.25)).abs() < 1e-9, "{expected:?}");
    assert!((expected[1] - (0.6 + 3.0 * 0.2) / 0.8).abs() < 1e-9, "{expected:?}");
    assert_eq!(values(INTEGERS.read(&reply, 2)), Ok(vec![7.0, 1.0]));
}

#[test]
fn expected_values_are_found_in_every_form_of_reply() {
    let seven: &[(&str, f64)] = &[("7", 0.5), ("8", 0.5)];
    for pieces in [
        &["<think>", "{\"0\": 3}", "</think>\n", "{\"activations\": {\"0\": ", "7", "}}"][..],
        &["Here are 1 of them:\n", "```json\n", "{\"activations\": {\"0\": \"", "7", "\"}}", "\n```"],
        &["{\"note\": \"0\", \"activations\": {\"0\": ", "7", ".", "0", "},}", " Bye 9."],
        &["\u{feff}", "thought </think>", "{\"activations\":{\"0\":", "7", "}}"],
    ] {
        let tokens: Vec<(&str, &[(&str, f64)])> =
            pieces.iter().map(|&piece| (piece, if piece == "7" { seven } else { &[][..] })).collect();
        let expected = values(EXPECTED.read(&said_in_tokens(&tokens), 1)).expect("readable");
        assert!((expected[0] - 7.5).abs() < 1e-9, "{pieces:?}: {expected:?}");
    }
}

#[test]
fn with_digit_tokens_the_next_token_separates_one_from_ten() {
    let reply = said_in_tokens(&[
        ("{\"activations\":{\"0\":", &[]),
        ("1", &[("1", 0.5), ("7", 0.5)]),
        ("0", &[("0", 0.75), (",", 0.25)]),
        (",\"1\":", &[]),
        ("1", &[("1", 1.0)]),
        (",", &[(",", 0.9), ("0", 0.1)]),
        ("\"2\":", &[]),
        ("4", &[("4", 0.5), ("1", 0.25), ("6", 0.25)]),
        ("}}", &[]),
    ]);
    let expected = values(EXPECTED.read(&reply, 3)).expect("readable");
    let first = 0.5 * 7.0 + 0.5 * (0.75 * 10.0 + 0.25 * 1.0);
    for (got, wanted) in expected.iter().zip([first, 0.9 + 1.0, (4.0 * 0.5 + 6.0 * 0.25) / 0.75]) {
        assert!((got - wanted).abs() < 1e-9, "{expected:?}");
    }
}

#[test]
fn without_probabilities_there_is_no_expected_value_and_no_second_question() {
    let text = r#"{"activations": {"0": 3}}"#;
    let elsewhere = ChatReply { text: text.into(), ..said_in_tokens(&[("other", &[])]) };
    let mut not_a_number = said_in_tokens(&[("{\"activations\": {\"0\": ", &[]), ("3", &[]), ("}}", &[])]);
    not_a_number.logprobs.as_mut().expect("tokens")[1].logprob = f64::NAN;
    for reply in [said(text), elsewhere, not_a_number] {
        assert_eq!(values(EXPECTED.read(&reply, 1)), Err(ReadProblem::NoLogprobs));
    }
    let client = Scripted::saying(&[text]);
    let simulated = block_on(simulate_with(&client, &EXPECTED, "x", &tokens(1), 3));
    assert_eq!((simulated, client.samples().len()), (Ok(failed("no_logprobs")), 1));
}

/// Splits a prompt into tokens: runs of letters, single other characters, and numbers as a whole or by digit.
fn cut(prompt: &str, whole_numbers: bool) -> Vec<String> {
    let joins = |a: char, b: char| {
        (a.is_alphabetic() && b.is_alphabetic())
            || (whole_numbers && a.is_ascii_digit() && b.is_ascii_digit())
    };
    let mut pieces: Vec<String> = Vec::new();
    for c in prompt.chars() {
        match pieces.last_mut() {
            Some(piece) if piece.chars().last().is_some_and(|last| joins(last, c)) => piece.push(c),
            _ => pieces.push(c.into()),
        }
    }
    pieces
}

/// Scores a prompt: the last slots get the distributions `tops`, in order.
fn scored(request: &PromptRequest, whole_numbers: bool, tops: &[Vec<(&str, f64)>]) -> PromptReply {
    let pieces = cut(&request.prompt, whole_numbers);
    let n_slots = pieces.windows(2).filter(|pair| pair[0] == "\t" && pair[1] == SLOT).count();
    let (mut seen, mut before) = (0, String::new());
    let mut tokens = vec![PromptToken { token: "<s>".into(), logprob: None, top: Vec::new() }];
    for piece in pieces {
        let mut top = vec![(piece.clone(), -0.1)];
        if piece == SLOT && before == "\t" {
            if let Some(place) = (seen + tops.len()).checked_sub(n_slots) {
                top.extend(tops[place].iter().map(|(token, p)| (token.to_string(), p.ln())));
            }
            seen += 1;
        }
        before.clone_from(&piece);
        tokens.push(PromptToken { token: piece, logprob: Some(-0.1), top });
    }
    PromptReply { tokens, tokens_in: 1, slots: None }
}

fn from_prompt(
    whole_numbers: bool,
    tops: &'static [&'static [(&'static str, f64)]],
) -> (Result<Attempt<Simulation>, ChatError>, usize) {
    let client = Scripted::scoring(move |request| {
        Ok(scored(request, whole_numbers, &tops.iter().map(|top| top.to_vec()).collect::<Vec<_>>()))
    });
    let hard = ["\tunknown\n".to_string(), "\"".to_string(), " é⟦".to_string()];
    let simulator = PromptLogprobs::new(None);
    let simulated = block_on(simulate_with(&client, &simulator, "a\tunknown\nb", &hard[..tops.len()], 5));
    let n_asked = client.scored.lock().expect("kept").len();
    (simulated, n_asked)
}

fn close(simulated: &Result<Attempt<Simulation>, ChatError>, wanted: &[f64]) -> bool {
    let Ok(Attempt::Done(simulation)) = simulated else { return false };
    let pairs = || simulation.expected.iter().zip(wanted);
    simulation.expected.len() == wanted.len()
        && pairs().all(|(got, wanted)| got.is_some_and(|got| (got - wanted).abs() < 1e-9))
}

#[test]
fn one_reading_of_a_prompt_gives_every_value() {
    let tops: &[&[(&str, f64)]] =
        &[&[("10", 0.1), ("0", 0.1), ("x", 0.5)], &[("3", 0.2)], &[("1", 0.3), ("2", 0.1), (" 9", 0.4)]];
    let (simulated, n_asked) = from_prompt(true, tops);
    assert!(close(&simulated, &[5.0, 3.0, 1.25]), "{simulated:?}");
    assert_eq!(n_asked, 1);
}

#[test]
fn where_ten_is_two_tokens_the_scale_ends_at_nine_and_is_stretched() {
    let tops: &[&[(&str, f64)]] = &[&[("9", 0.2)], &[("1", 0.1), ("0", 0.1)]];
    let (simulated, n_asked) = from_prompt(false, tops);
    assert!(close(&simulated, &[10.0, 5.0 / 9.0]), "{simulated:?}");
    assert_eq!(n_asked, 2);
}

#[test]
fn the_split_of_ten_is_learnt_once() {
    let client = Scripted::scoring(|request| Ok(scored(request, false, &[vec![("9", 0.5)]])));
    let simulator = PromptLogprobs::new(None);
    for _ in 0..3 {
        let simulated = block_on(simulate_with(&client, &simulator, "x", &tokens(1), 0));
        assert!(close(&simulated, &[10.0]));
    }
    assert_eq!(client.scored.lock().expect("kept").len(), 4);
}

#[test]
fn untold_slots_are_left_out_and_more_than_a_tenth_fail_the_fragment() {
    let (simulated, _) = from_prompt(true, &[&[("3", 0.2)], &[("x", 0.2)]]);
    assert_eq!(simulated, Ok(failed("untold_slots")));
    for (n_untold, fails) in [(1, false), (2, false), (3, true)] {
        let client = Scripted::scoring(move |request| {
            let told = |nth: usize| vec![(if nth < n_untold { "x" } else { "4" }, 0.2)];
            Ok(scored(request, true, &(0..20).map(told).collect::<Vec<_>>()))
        });
        let simulated = block_on(simulate_with(&client, &PromptLogprobs::new(None), "x", &tokens(20), 0));
        if fails {
            assert_eq!(simulated, Ok(failed("untold_slots")));
            continue;
        }
        let Ok(Attempt::Done(simulation)) = simulated else { panic!("{simulated:?}") };
        let told = |nth: usize| (nth >= n_untold).then_some(4.0);
        assert_eq!(simulation.expected, (0..20).map(told).collect::<Vec<_>>());
        assert_eq!((simulation.n_untold(0), simulation.n_untold(1)), (n_untold, n_untold - 1));
    }
}

/// A client that scores all numbers; slot s prefers `likely[s]`. 10 is a single token only if `whole`.
fn weighing(whole: bool, likely: &'static [&'static str]) -> Scripted {
    Scripted::scoring(move |request| {
        let slots = request.slots.as_ref().expect("slots");
        let bytes = request.prompt.as_bytes();
        assert!(
            slots.at.iter().all(|&at| bytes[at - 1] == b'\t' && bytes[at..].starts_with(SLOT.as_bytes()))
        );
        let of_slot = |likely: &&str| -> Vec<Option<f64>> {
            let logprob = |text: &String| match text.len() {
                2 if !whole => None,
                _ if text == likely => Some(-800.0),
                _ => Some(-900.0),
            };
            slots.texts.iter().map(logprob).collect()
        };
        let slots = Some(likely.iter().map(of_slot).collect());
        Ok(PromptReply { slots, ..PromptReply::default() })
    })
}

#[test]
fn with_all_numbers_scored_unlikely_ones_have_values_too() {
    for (whole, likely, wanted) in
        [(true, ["10", "0", "3"], [10.0, 0.0, 3.0]), (false, ["9", "0", "3"], [10.0, 0.0, 10.0 / 3.0])]
    {
        let likely: &'static [&'static str] = Box::leak(Box::new(likely));
        let client = weighing(whole, likely);
        let simulated = block_on(simulate_with(&client, &PromptLogprobs::new(None), "x", &tokens(3), 0));
        assert!(close(&simulated, &wanted), "{simulated:?}");
        assert_eq!(client.scored.lock().expect("kept").len(), if whole { 1 } else { 2 });
    }
}

#[test]
fn a_reply_about_another_text_has_no_logprobs() {
    let short = Scripted::scoring(|request| {
        let mut reply = scored(request, true, &[vec![("9", 0.5)]]);
        reply.tokens.truncate(20);
        Ok(reply)
    });
    let simulated = block_on(simulate_with(&short, &PromptLogprobs::new(None), "x", &tokens(1), 0));
    assert_eq!(simulated, Ok(failed("no_logprobs")));
    let unable = Scripted::saying(&["x"]);
    let simulated = block_on(simulate_with(&unable, &PromptLogprobs::new(None), "x", &tokens(1), 0));
    assert!(matches!(simulated, Err(ChatError::Unsupported { .. })));
}

#[test]
fn the_reference_asks_once_per_token_and_shows_nothing_after_it() {
    let client = Scripted::new(|request| {
        let question = request.messages.last().expect("a question").content.clone();
        Ok(match question.contains(" w1") {
            false => said("3"),
            true => said_in_tokens(&[("10", &[("10", 0.5), ("0", 0.5)])]),
        })
    });
    let simulated = block_on(simulate_with(&client, &PerToken::default(), "x", &tokens(3), 0));
    assert!(close(&simulated, &[3.0, 5.0, 5.0]), "{simulated:?}");
    let asked = client.asked.lock().expect("kept");
    let shown: Vec<bool> =
        asked.iter().map(|request| request.messages.last().expect("turns").content.contains("w2")).collect();
    assert_eq!(shown, [false, false, true]);
}

#[test]
fn one_missing_token_makes_the_fragment_missing() {
    use ReadProblem::*;
    for (text, problem) in [
        ("", EmptyReply),
        ("seven", MalformedReply),
        ("7.5", MalformedReply),
        ("7 or 8", MalformedReply),
        ("-1", OutOfRange),
        ("７", MalformedReply),
        ("07", MalformedReply),
        ("11", OutOfRange),
        ("I cannot say.", Refused),
    ] {
        assert_eq!(PerToken::default().read(&said(text)), Err(problem), "{text}");
    }
    for text in ["7", "7.", "7.0", "\"7\"", "**7**", "Activation: 7", "<think>3</think>\n7"] {
        assert_eq!(PerToken::default().read(&said(text)), Ok(7.0), "{text}");
    }
    let client = Scripted::new(|request| {
        let question = &request.messages.last().expect("a question").content;
        Ok(said(if question.contains(" w1") { "eleven" } else { "3" }))
    });
    let simulated = block_on(simulate_with(&client, &PerToken::default(), "x", &tokens(3), 1));
    assert_eq!(simulated, Ok(failed("malformed_reply")));
}

#[test]
fn kinds_have_names_and_versions_of_their_own() {
    let names = ["generated", "generated_expected", "prompt_logprobs", "per_token"];
    let prompts = PromptLogprobs::new(None);
    let kinds: [&dyn LanguageSimulator; 4] = [&INTEGERS, &EXPECTED, &prompts, &PerToken::default()];
    let mut digests: Vec<String> = kinds.iter().map(|kind| kind.digest().hex()).collect();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4);
    assert!(kinds.iter().zip(names).all(|(kind, name)| kind.name() == name));
}

#[test]
fn a_fragment_without_tokens_asks_nothing() {
    let client = Scripted::saying(&["x"]);
    let simulated = block_on(simulate_with(&client, &INTEGERS, "x", &[], 0));
    assert_eq!(simulated, Ok(Attempt::Done(Simulation::told([]))));
    assert!(client.samples().is_empty());
}

proptest! {
    #[test]
    fn every_list_of_levels_survives_a_reply(
        levels in prop::collection::vec(0u8..=10, 1..80),
        turn in any::<prop::sample::Index>(),
    ) {
        let mut entries: Vec<String> =
            levels.iter().enumerate().map(|(index, level)| format!("\"{index}\": {level}")).collect();
        entries.rotate_left(turn.index(levels.len()));
        let text = format!("{{\"activations\": {{{}}}}}", entries.join(", "));
        let wanted: Vec<f64> = levels.iter().copied().map(f64::from).collect();
        prop_assert_eq!(values(INTEGERS.read(&said(&text), levels.len())), Ok(wanted.clone()));
        // With certain single-character tokens, the expected values are the integers.
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        let certain: Vec<(&str, &[(&str, f64)])> = pieces.iter().map(|piece| (piece.as_str(), &[][..])).collect();
        prop_assert_eq!(values(EXPECTED.read(&said_in_tokens(&certain), levels.len())), Ok(wanted));
        // A reply with a missing entry is unreadable.
        let short = format!("{{\"activations\": {{{}}}}}", entries[1..].join(", "));
        prop_assert_eq!(values(INTEGERS.read(&said(&short), levels.len())), Err(ReadProblem::WrongCount));
    }

    #[test]
    fn every_token_of_a_prompt_is_one_slot_whatever_it_says(texts in prop::collection::vec(any::<String>(), 1..10)) {
        let slots = |n: usize| {
            let request = PromptLogprobs::new(None).request("x\ty\n", &texts[..n], 10);
            request.prompt.matches(&format!("\t{SLOT}\n")).count()
        };
        prop_assert_eq!(slots(texts.len()) - slots(0), texts.len());
    }
}

/// A client whose tokens are words. A word that the explanation contains is likelier by one nat per byte.
fn guessing(slots_told: bool) -> Scripted {
    Scripted::scoring(move |request| {
        let (head, text) = request.prompt.split_once(':').expect("a head");
        let likely = |word: &str| head.contains(word.trim()) && !word.trim().is_empty();
        let logprob = |word: &str| if likely(word) { -1.0 } else { -1.0 - word.len() as f64 };
        if let Some(slots) = &request.slots {
            assert_eq!(slots.at, [request.prompt.len()]);
            let of_text = |text: &String| (!text.contains('-')).then(|| logprob(text));
            let told = slots_told.then(|| vec![slots.texts.iter().map(of_text).collect()]);
            return Ok(PromptReply { slots: told, ..PromptReply::default() });
        }
        let token =
            |word: &str| PromptToken { token: word.into(), logprob: Some(logprob(word)), top: Vec::new() };
        let words = text.split_inclusive(' ').map(token);
        Ok(PromptReply {
            tokens: [token(head), token(":")].into_iter().chain(words).collect(),
            ..PromptReply::default()
        })
    })
}

#[test]
fn likelier_tokens_have_higher_values_and_no_number_is_asked_for() {
    let tokens: Vec<String> = ["an ", "oak ", "saw ", "an ", "ash-tree"].map(String::from).to_vec();
    let client = guessing(true);
    let simulated = block_on(simulate_with(&client, &Likelihood, "oak or ash-tree", &tokens, 3));
    assert!(close(&simulated, &[0.0, 4.0, 0.0, 0.0, 8.0]), "{simulated:?}");
    assert_eq!(client.scored.lock().expect("kept").len(), 2);
    let simulated = block_on(simulate_with(&client, &Exemplar, "oak or ash-tree", &tokens, 3));
    assert!(close(&simulated, &[0.0, 8.0, 0.0, 0.0, 10.0]), "{simulated:?}");
    // For each claim: the text, the distribution, and the tree's name, which is two tokens.
    assert_eq!(client.scored.lock().expect("kept").len(), 2 + 6);
    let refused = block_on(simulate_with(&guessing(false), &Exemplar, "oak", &tokens, 3));
    let Err(ChatError::Unsupported { detail, .. }) = refused else { panic!("{refused:?}") };
    assert!(detail.contains("`client: local`"), "{detail}");
}
