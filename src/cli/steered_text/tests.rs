use super::*;
use crate::report::{EditSize, Ink, NextToken, width};

const HOSTILE: &str = " red\u{1b}[31m\u{202e}\nand\tso on";

fn written(text: &str) -> WrittenText {
    WrittenText { tokens: vec![1, 2], text: text.into(), nats_per_token: 2.0, perplexity: Some(2f64.exp()) }
}

fn edited(text: &str) -> EditedText {
    let edit = EditSize { prompt: 12.3, written: None, activation: 20.0 };
    EditedText { written: written(text), next_token_kl: 0.25, edit }
}

fn steering() -> Steering {
    let token =
        |text: &str| ShiftedToken { token: 7, text: text.into(), before: 1e-9, after: 0.5, change: 20.0 };
    Steering {
        prompt: HOSTILE.into(),
        prompt_tokens: vec![HOSTILE.into()],
        change: CodeChange {
            how: "set".into(),
            value: 230.7,
            times_max: Some(10.0),
            max_activation: Some(23.07),
        },
        tokens: 2,
        temperature: 0.7,
        next_token: NextToken { kl: 3.0, raised: vec![token(HOSTILE)], lowered: Vec::new() },
        samples: vec![SteeredSample {
            seed: 4,
            unsteered: written("the old dog saw the river and then the cat again"),
            steered: edited(&format!("{HOSTILE} red red red")),
            random_direction: edited("日本語の文章 stone"),
        }],
    }
}

#[test]
fn texts_stand_side_by_side_where_there_is_room() {
    for columns in [40, 50, 80, 100, 160] {
        let shown = steering_text(&steering(), Look { width: columns, ink: Ink::None });
        assert!(shown.lines().all(|line| width(line) <= columns), "{columns}:\n{shown}");
        let is_beside =
            shown.lines().any(|line| line.contains("unsteered") && line.contains("random direction"));
        assert_eq!(is_beside, columns >= 100, "{shown}");
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\t']), "{shown:?}");
        for part in ["seed 4", "perplexity 7.39", "10 ×", "lowered", "none", "no edit", "—"] {
            assert!(shown.contains(part), "`{part}` is not in\n{shown}");
        }
    }
}

#[test]
fn numbers_are_short() {
    let shown = [0.0, 0.00012, 0.05, 1.234, 230.7, 4e7, -12.0].map(short);
    assert_eq!(shown, ["0", "1.2e-4", "0.0500", "1.23", "231", "4.0e7", "-12.00"]);
}

#[test]
fn questions_fit_and_are_harmless() {
    let question = |right, control: &str, other: &str| AnsweredQuestion {
        texts: TextPair { fragment: 3, prompt: HOSTILE.into(), steered: HOSTILE.into(), other: other.into() },
        control: control.into(),
        right,
    };
    let all = [question(Some(true), "random", " blue"), question(None, "none", HOSTILE)];
    for columns in [40, 100] {
        let text = questions_text(&all, Look { width: columns, ink: Ink::None });
        assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\t']), "{text}");
        assert!(text.contains("right") && text.contains("unsteered") && text.contains("not asked"), "{text}");
    }
}
