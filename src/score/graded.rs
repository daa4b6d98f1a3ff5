//! Specificity: a language model grades how well an explanation accounts for marked text, from 0 to 3 (Templeton et
//! al. 2024, *Scaling Monosemanticity*; the wording of the grades is this project's own).
//!
//! Fragments are drawn from each of n intervals of equal width between 0 and the feature's maximum, so weak
//! activations count as much as strong ones:
//!
//!   specificity = mean over intervals i with fragments of  (sum of the grades in i) / (3 · fragments in i)

use super::NoScore;
use super::judged::{BEST_GRADE, numbers};
use crate::llm::{ChatReply, ReadProblem};

/// Grades of one interval of activation: how many fragments got 0, 1, 2 and 3.
pub type GradeCounts = [usize; BEST_GRADE as usize + 1];

/// Reads a reply about `n` texts: `{"grades": [0, 3, …]}` or the array alone, with exactly `n` numbers from 0 to 3.
pub fn read_grades(reply: &ChatReply, n: usize) -> Result<Vec<u8>, ReadProblem> {
    let (_, grades) = numbers(reply, "grades", BEST_GRADE, n)?;
    Ok(grades.into_iter().map(|(grade, _)| grade).collect())
}

/// Counts (interval, grade) of each fragment. Returns one entry per interval, the weakest first.
pub fn count_grades(n_intervals: usize, graded: impl IntoIterator<Item = (usize, u8)>) -> Vec<GradeCounts> {
    let mut counts = vec![GradeCounts::default(); n_intervals];
    for (interval, grade) in graded {
        if let Some(count) = counts.get_mut(interval).and_then(|of| of.get_mut(usize::from(grade))) {
            *count += 1;
        }
    }
    counts
}

/// The score, from 0 to 1: see the file head. Undefined if no fragment was graded.
pub fn specificity(intervals: &[GradeCounts]) -> Result<f64, NoScore> {
    let mean = |counts: &GradeCounts| {
        let n: usize = counts.iter().sum();
        let sum: usize = counts.iter().enumerate().map(|(grade, count)| grade * count).sum();
        (n > 0).then(|| sum as f64 / (f64::from(BEST_GRADE) * n as f64))
    };
    let means: Vec<f64> = intervals.iter().filter_map(mean).collect();
    crate::stats::mean(&means).map_err(|_| NoScore::NoFiringFragments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::{Finish, Role};
    use crate::score::JudgeTask;

    fn reply(text: &str, finish: Finish) -> ChatReply {
        ChatReply { text: text.into(), finish, tokens_in: 1, tokens_out: 1, logprobs: None }
    }

    #[test]
    fn grades_are_read_in_the_forms_of_real_replies_and_nothing_else() {
        let read = |text: &str, n| read_grades(&reply(text, Finish::Stop), n);
        for text in [
            "[3, 0, 1]",
            r#"{"grades": [3, 0, 1]}"#,
            r#"{"Grades": ["3", 0.0, 1], "why": "first fits"}"#,
            "```json\n{\"grades\": [3, 0, 1,]}\n```",
            "<think>maybe [2]</think>Here are the grades: [3, 0, 1]. Anything else?",
        ] {
            assert_eq!(read(text, 3), Ok(vec![3, 0, 1]), "{text}");
        }
        assert_eq!(read("[3, 0]", 3), Err(ReadProblem::WrongCount));
        assert_eq!(read("[3, 0, 4]", 3), Err(ReadProblem::OutOfRange));
        for text in ["[3, 0, 1.5]", "[3, 0, null]", "3, 0, 1", r#"{"verdicts": [3, 0, 1]}"#, "[3] [0, 1]"] {
            assert_eq!(read(text, 3), Err(ReadProblem::MalformedReply), "{text}");
        }
        assert_eq!(read("I'm sorry, I can't grade that.", 3), Err(ReadProblem::Refused));
        assert_eq!(read_grades(&reply("[3, 0, 1]", Finish::Length), 3), Err(ReadProblem::Truncated));
    }

    #[test]
    fn every_interval_counts_the_same_and_an_empty_one_does_not_count() {
        let counts = count_grades(4, [(0, 0), (0, 1), (0, 3), (0, 0), (3, 3), (1, 2), (9, 3), (2, 7)]);
        assert_eq!(counts, [[2, 1, 0, 1], [0, 0, 1, 0], [0; 4], [0, 0, 0, 1]]);
        // 4/12, 2/3 and 1; the third interval is empty.
        let score = specificity(&counts).expect("a score");
        assert!((score - (1.0 / 3.0 + 2.0 / 3.0 + 1.0) / 3.0).abs() < 1e-12, "{score}");
        assert_eq!(specificity(&[[0; 4]; 5]), Err(NoScore::NoFiringFragments));
        assert_eq!(specificity(&[]), Err(NoScore::NoFiringFragments));
        assert_eq!(specificity(&[[3, 0, 0, 0], [0; 4]]), Ok(0.0));
    }

    #[test]
    fn the_question_shows_every_text_and_its_examples_are_readable() {
        let texts = ["\"one⟦ two⟧\"".to_string(), "\"⟦three⟧\"".to_string()];
        let request = JudgeTask::Specificity.request("odd\nwords", &texts, 0);
        let last = &request.messages.last().expect("a turn").content;
        assert!(last.contains("odd words\n") && last.ends_with("1. \"one⟦ two⟧\"\n2. \"⟦three⟧\""), "{last}");
        assert!(!request.messages.iter().any(|message| message.content.contains("{{")));
        let examples = request.messages.iter().filter(|turn| turn.role == Role::Assistant);
        let read = |turn: &crate::llm::Message| read_grades(&reply(&turn.content, Finish::Stop), 4);
        assert_eq!(examples.map(read).collect::<Vec<_>>(), [Ok(vec![3, 0, 1, 2]), Ok(vec![3, 2, 0, 1])]);
        assert_eq!(request.top_logprobs, None, "grades have no probabilities");
        let schema = request.schema.expect("a schema");
        assert_eq!((schema.name.as_str(), &schema.value["required"][0]), ("grades", &"grades".into()));
    }
}
