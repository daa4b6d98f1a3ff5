use super::*;
use crate::explain::tests::{Toy, negative, seven_after_three, signed, split_all};
use crate::features::{OutputEvidence, Protocol, TokenChanges, WrittenPair};
use crate::llm::Role;
use crate::llm::scripted::{Scripted, block_on, said};

fn evidence(toy: Toy) -> Evidence {
    split_all(&[toy], &Protocol::standard()).remove(0).0
}

/// Token 5 is a line break, token 6 is the opening mark, the others are words.
fn text(id: u32) -> String {
    match id {
        5 => "\n".into(),
        6 => "⟦".into(),
        id => format!(" w{id}"),
    }
}

fn explainers() -> [Box<dyn LanguageExplainer>; 5] {
    [
        Box::new(TokenActivation::default()),
        Box::new(Highlighted::default()),
        Box::new(Contrastive::default()),
        Box::new(Strongest::default()),
        Box::new(OutputExplanation::default()),
    ]
}

fn last_turn(request: &ChatRequest) -> &str {
    &request.messages.last().expect("turns").content
}

#[test]
fn worked_examples_are_answered_as_replies_are_read() {
    for explainer in explainers() {
        let request = explainer.request(&evidence(seven_after_three), &text, 3);
        assert_eq!(request.sample, 3);
        let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
        assert_eq!((roles[0], roles[roles.len() - 1]), (Role::System, Role::User), "{}", explainer.name());
        assert!(request.messages.iter().all(|message| !message.content.contains("{{")));
        let answers = request.messages.iter().filter(|message| message.role == Role::Assistant);
        let mut n_answers = 0;
        for answer in answers {
            let read = explainer.read(&said(&answer.content)).expect("a sentence");
            assert!(matches!(read, Explanation::Sentence(_)));
            n_answers += 1;
        }
        assert!(n_answers >= 2, "{}", explainer.name());
    }
}

#[test]
fn listings_hold_every_token_with_its_level_and_repeat_a_sparse_features_tokens() {
    let evidence = evidence(seven_after_three);
    let request = TokenActivation::default().request(&evidence, &text, 0);
    let (all, repeat) = last_turn(&request).split_once("Above 0 are only\n").expect("a repeat");
    let rows: Vec<(&str, &str)> = all.lines().filter_map(|line| line.split_once('\t')).collect();
    assert_eq!(rows.len(), 10 * 64);
    assert_eq!(rows.iter().filter(|(_, level)| *level == "-").count(), 10);
    let active = rows.iter().filter(|(token, level)| *token == "\" w7\"" && *level == "10").count();
    assert_eq!(repeat.lines().filter(|line| *line == "\" w7\"\t10").count(), active);
    assert!(active >= 10 && repeat.trim_end().lines().count() == active);
    assert!(rows.iter().all(|(_, level)| ["0", "10", "-"].contains(level)));
}

#[test]
fn marks_stand_around_active_tokens_and_marks_of_the_text_are_escaped() {
    let evidence = evidence(seven_after_three);
    for explainer in [&Highlighted::default() as &dyn LanguageExplainer, &Contrastive::default()] {
        let request = explainer.request(&evidence, &text, 0);
        let shown = last_turn(&request);
        assert!(shown.contains("⟦ w7⟧") && shown.contains("\" w7\" 10"), "{shown}");
        let inside = shown.split('⟦').skip(1).map(|run| run.split('⟧').next().unwrap_or_default());
        assert!(inside.into_iter().all(|run| run == " w7"));
        assert!(shown.contains("\\u27e6"));
    }
}

#[test]
fn silent_fragments_are_shown_by_the_contrastive_kind_alone() {
    let evidence = evidence(seven_after_three);
    let n_excerpts = |explainer: &dyn LanguageExplainer| {
        let request = explainer.request(&evidence, &text, 0);
        let lines = last_turn(&request).lines().map(str::to_string).collect::<Vec<_>>();
        lines.iter().filter(|line| line.starts_with("Excerpt ")).count()
    };
    assert_eq!(n_excerpts(&TokenActivation::default()), 10);
    assert_eq!(n_excerpts(&Highlighted::default()), 20);
    assert_eq!(n_excerpts(&Contrastive::default()), 20);
    let request = Contrastive::default().request(&evidence, &text, 0);
    let (_, silent) = last_turn(&request).split_once("\nSilent\n").expect("a second group");
    assert!(silent.matches("Excerpt ").count() == 5 && !silent.contains('⟦') && !silent.contains("marked:"));
}

#[test]
fn a_signed_feature_is_shown_by_its_positive_side() {
    let request = TokenActivation::default().request(&evidence(signed), &text, 0);
    let levels = last_turn(&request).lines().filter_map(|line| line.split_once('\t'));
    for (token, level) in levels.filter(|(_, level)| *level != "-") {
        assert_eq!(level, if token == "\" w2\"" { "10" } else { "0" }, "{token}");
    }
}

#[test]
fn unreadable_replies_are_asked_again_with_the_next_sample() {
    let evidence = evidence(seven_after_three);
    let explainer = Highlighted::default();
    let ask = |client: &Scripted, first, allowance| {
        block_on(explain_with(client, &explainer, &evidence, &text, first, allowance))
    };
    let replies = ["I'm sorry, I can't.", "{\"explanation\": ", "{\"explanation\": \"the word w7\"}"];
    let client = Scripted::saying(&replies);
    assert_eq!(ask(&client, 0, 2), Ok(Attempt::Done(Explanation::Sentence("the word w7".into()))));
    assert_eq!(client.samples(), [0, 1, 2]);
    let client = Scripted::saying(&replies);
    assert_eq!(ask(&client, 0, 1), Ok(Attempt::Missing(Missing::Failed("malformed_reply".into()))));
    assert_eq!(client.samples(), [0, 1]);
    let client = Scripted::saying(&["the word w7"]);
    assert!(ask(&client, 6, 2).is_ok_and(|attempt| attempt.done().is_some()));
    assert_eq!(client.samples(), [6]);
}

#[test]
fn errors_of_one_request_are_counted_and_errors_of_the_endpoint_stop() {
    let evidence = evidence(seven_after_three);
    let ask = |error: ChatError| {
        let client = Scripted::new(move |_| Err(error.clone()));
        let explained = block_on(explain_with(&client, &Highlighted::default(), &evidence, &text, 0, 3));
        (explained, client.samples().len())
    };
    let (endpoint, detail) = (String::from("e"), String::from("d"));
    let too_long = ChatError::BadRequest { endpoint: endpoint.clone(), detail: detail.clone() };
    assert_eq!(ask(too_long), (Ok(Attempt::Missing(Missing::Failed("bad_request".into()))), 1));
    for error in [
        ChatError::Auth { endpoint: endpoint.clone(), detail: detail.clone() },
        ChatError::Quota { endpoint: endpoint.clone(), detail: detail.clone() },
        ChatError::NotFound { endpoint: endpoint.clone(), detail },
        ChatError::Budget { limit: 1.0, spent: 1.0 },
        ChatError::Offline { endpoint },
    ] {
        assert_eq!(ask(error.clone()), (Err(error), 1));
    }
}

#[test]
fn nothing_is_asked_about_a_feature_that_is_never_positive() {
    let mut protocol = Protocol::cunningham2023(&[]);
    protocol.min_firing_fragments = 40;
    let evidence = split_all(&[negative], &protocol).remove(0).0;
    let client = Scripted::saying(&["anything"]);
    let explained = block_on(explain_with(&client, &Highlighted::default(), &evidence, &text, 0, 3));
    assert_eq!(explained, Ok(Attempt::Missing(Missing::Failed("no_positive_activation".into()))));
    assert!(client.samples().is_empty());
}

#[test]
fn the_best_candidate_has_the_highest_score_of_those_that_exist() {
    let done = || Attempt::Done(Explanation::Sentence("x".into()));
    let failed = || Attempt::Missing(Missing::Failed("refused".into()));
    let candidates = [done(), failed(), done(), done()];
    assert_eq!(best_of(&candidates, &[Some(0.1), Some(0.9), Some(0.4), Some(0.4)]), Some(2));
    assert_eq!(best_of(&candidates, &[None, None, Some(-0.2), Some(f64::NAN)]), Some(2));
    assert_eq!(best_of(&candidates, &[]), Some(0));
    assert_eq!(best_of(&[failed()], &[Some(1.0)]), None);
}

#[test]
fn the_version_follows_prompt_and_parameters() {
    let of = |shown| TokenActivation { shown, temperature: 1.0, shots: None }.digest();
    let shown = Shown { top: 5, random: 5, non_firing: 0 };
    assert_ne!(of(shown), of(Shown { top: 4, ..shown }));
    let mut digests = explainers().map(|explainer| explainer.digest().hex());
    digests.sort();
    assert!(digests.windows(2).all(|pair| pair[0] != pair[1]), "each kind has a version of its own");
    assert_eq!(
        explainers().map(|explainer| explainer.name()),
        ["token_activation", "highlighted", "contrastive", "strongest", "output_explanation"]
    );
}

#[test]
fn the_short_question_shows_each_strongest_word_once_with_its_beginning() {
    let evidence = evidence(seven_after_three);
    let texts = |id: u32| match id {
        3 => " sea".to_string(),
        7 => "side".to_string(),
        id => text(id),
    };
    let request = Strongest::default().request(&evidence, &texts, 0);
    let turn = last_turn(&request);
    let words: Vec<&str> = turn.strip_prefix("Words: ").expect("the list").split(", ").collect();
    assert!(words.contains(&"seaside") && words.iter().all(|word| word.ends_with("side")), "{words:?}");
    let distinct: std::collections::HashSet<&str> = words.iter().copied().collect();
    assert_eq!(distinct.len(), words.len());
    let texts = |id: u32| if id == 7 { ",\n".to_string() } else { text(id) };
    let request = Strongest::default().request(&evidence, &texts, 0);
    let turn = last_turn(&request);
    assert!(turn.contains("\",\\n\"") && !turn.contains('\n'), "{turn}");
}

#[test]
fn at_temperature_0_another_sample_is_drawn() {
    let evidence = evidence(seven_after_three);
    let greedy = Strongest { temperature: 0.0, ..Strongest::default() };
    let temperature = |explainer: &Strongest, sample| explainer.request(&evidence, &text, sample).temperature;
    assert_eq!((temperature(&greedy, 0), temperature(&greedy, 1)), (0.0, TEMPERATURE_AGAIN));
    assert_eq!((temperature(&Strongest::default(), 0), temperature(&Strongest::default(), 1)), (1.0, 1.0));
}

#[test]
fn fewer_worked_examples_leave_the_question_as_it_is() {
    let evidence = evidence(seven_after_three);
    let all = Highlighted::default().request(&evidence, &text, 0);
    let none = Highlighted { shots: Some(0), ..Highlighted::default() };
    let request = none.request(&evidence, &text, 0);
    let roles: Vec<Role> = request.messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User]);
    assert_eq!(last_turn(&request), last_turn(&all));
    assert_ne!(none.digest(), Highlighted::default().digest());
}

#[test]
fn what_a_feature_does_is_shown_without_the_text_that_it_fires_on() {
    let changes = TokenChanges { raised: vec![(70, 2.0), (5, 1.5)], lowered: vec![(71, -3.0)] };
    let pair = WrittenPair { fragment: 9, prompt: vec![80], steered: vec![70, 6], other: vec![81, 82] };
    let output = OutputEvidence { direct: Some(changes.clone()), measured: changes, texts: vec![pair] };
    let explainer = OutputExplanation::default();
    let shown = |output: OutputEvidence| {
        let evidence = evidence(seven_after_three).with_output(Ok(output));
        last_turn(&explainer.request(&evidence, &text, 0)).to_string()
    };
    let lists = "more likely: \" w70\", \"\\n\"\nless likely: \" w71\"";
    assert_eq!(
        shown(output.clone()),
        format!(
            "By itself\n{lists}\n\nHeld high\n{lists}\n\nOpening 1: \" w80\"\nheld high: \" w70\\u27e6\"\nwithout: \" w81 w82\""
        )
    );
    let bare = shown(OutputEvidence { direct: None, texts: Vec::new(), ..output });
    assert!(bare.starts_with("By itself\nThe direction does not reach the output directly.\n"), "{bare}");
    let few = OutputExplanation { tokens: 1, ..explainer };
    assert_ne!(few.digest(), explainer.digest());
    // Without output there is nothing to ask, and the reason is told.
    let client = Scripted::saying(&["anything"]);
    let silent = evidence(seven_after_three).with_output(Err("no_model"));
    let explained = block_on(explain_with(&client, &explainer, &silent, &text, 0, 3));
    assert_eq!(explained, Ok(Attempt::Missing(Missing::Undefined("no_model".into()))));
    assert!(client.samples().is_empty());
    // Half of the fragments are kept for comparing candidates; what it does stays.
    assert_eq!(silent.divide().0.output(), silent.output());
}
