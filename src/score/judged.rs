//! Detection and fuzzing: a language model judges fragments (Paulo et al. 2024, arXiv 2410.13928). The questions of
//! specificity, too; see `graded.rs`.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::NoScore;
use crate::base::{Digest, Digester, Stream};
use crate::features::{
    JudgedFragment, TokenTexts, decoy_marks, marked_text, one_line, strong_marks, strongest_mark,
};
use crate::llm::{
    ChatReply, ChatRequest, Lenient, Prompt, ReadProblem, Schema, TokenChoice, answer_value, token_at,
};

const DETECTION: Prompt = Prompt { name: "detection", text: include_str!("prompts/detection.txt") };

const FUZZING: Prompt = Prompt { name: "fuzzing", text: include_str!("prompts/fuzzing.txt") };

const SPECIFICITY: Prompt = Prompt { name: "specificity", text: include_str!("prompts/specificity.txt") };

/// The best grade of a graded fragment; the worst is 0.
pub const BEST_GRADE: u8 = 3;

/// Requested alternatives per token. Both verdicts are nearly always among them.
const TOP: u8 = 5;

/// Questions to a language model about fragments, given an explanation: yes or no (Paulo et al. 2024, arXiv
/// 2410.13928), or a grade (Templeton et al. 2024). The prompts are this project's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeTask {
    /// Whether the feature fires on a text. Texts come from `marked_text` without marks. Negatives are non-firing
    /// fragments (for a dense feature: those where it fires least).
    Detection,
    /// Whether the feature fires on the marked tokens. Positives are marked by `strong_marks`. Negatives are
    /// non-firing fragments marked by `decoy_marks`, with as many marks on average.
    Fuzzing,
    /// How well the explanation accounts for the marked token, from 0 to 3. The token with the largest activation is
    /// marked.
    Specificity,
}

impl JudgeTask {
    /// Kind, as in suites and results.
    pub fn name(self) -> &'static str {
        self.prompt().name
    }

    /// Digest of the prompt.
    pub fn digest(self) -> Digest {
        let mut digester = Digester::new("judge");
        digester.digest(&self.prompt().digest()).json(&self.schema(2)).json(&TOP);
        digester.finish()
    }

    fn prompt(self) -> Prompt {
        match self {
            Self::Detection => DETECTION,
            Self::Fuzzing => FUZZING,
            Self::Specificity => SPECIFICITY,
        }
    }

    /// Name of the list in an answer, and its largest number.
    fn answer(self) -> (&'static str, u8) {
        match self {
            Self::Detection | Self::Fuzzing => ("verdicts", 1),
            Self::Specificity => ("grades", BEST_GRADE),
        }
    }

    /// An answer of usual length about `n` texts.
    pub fn usual_reply(self, n: usize) -> String {
        format!("{{\"{}\": [{}]}}", self.answer().0, vec!["0"; n].join(", "))
    }

    fn schema(self, n: usize) -> Schema {
        let (name, most) = self.answer();
        let choices: Vec<u8> = (0..=most).collect();
        let list = json!({
            "type": "array", "items": {"type": "integer", "enum": choices}, "minItems": n, "maxItems": n,
        });
        let value = json!({
            "type": "object",
            "properties": {name: list},
            "required": [name],
            "additionalProperties": false,
        });
        Schema { name: name.into(), value }
    }

    /// The question about a batch of texts that `marked_text` rendered.
    pub fn request(self, explanation: &str, texts: &[String], sample: u64) -> ChatRequest {
        let numbered = texts.iter().enumerate().map(|(nth, text)| format!("{}. {text}", nth + 1));
        let (explanation, texts_shown) = (one_line(explanation), numbered.collect::<Vec<_>>().join("\n"));
        let n = texts.len().to_string();
        let fills = [("explanation", explanation.as_str()), ("texts", &texts_shown), ("n", &n)];
        ChatRequest {
            messages: self.prompt().messages(&fills),
            max_tokens: 40 + 4 * texts.len(),
            temperature: if sample == 0 { 0.0 } else { 0.7 },
            sample,
            schema: Some(self.schema(texts.len())),
            top_logprobs: (self != Self::Specificity).then_some(TOP),
        }
    }

    /// Renders each fragment. Decoy marks are placed by `stream`. Each negative has the mean number of marks of a
    /// positive, rounded up.
    pub fn shown(
        self,
        fragments: &[JudgedFragment],
        first_scored: usize,
        texts: &TokenTexts<'_>,
        stream: &mut Stream,
    ) -> Vec<ShownText> {
        let right = |judged: &JudgedFragment| strong_marks(&judged.held.activations, first_scored);
        let firing = || fragments.iter().filter(|judged| judged.fires);
        let n_right: usize = firing().map(|judged| count(&right(judged))).sum();
        let n_wrong = n_right.div_ceil(firing().count().max(1));
        let mut show = |judged: &JudgedFragment| {
            let marks = match (self, judged.fires) {
                (Self::Detection, _) => Vec::new(),
                (Self::Specificity, _) => strongest_mark(&judged.held.activations, first_scored),
                (Self::Fuzzing, true) => right(judged),
                (Self::Fuzzing, false) => {
                    decoy_marks(judged.held.tokens.len(), first_scored, n_wrong, stream)
                }
            };
            let tokens: Vec<String> = judged.held.tokens.iter().map(|&token| texts(token)).collect();
            let marked = (0..marks.len()).filter(|&place| marks[place]).collect();
            ShownText { text: marked_text(&tokens, &marks), marked }
        };
        fragments.iter().map(&mut show).collect()
    }
}

/// A rendered text.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownText {
    /// Text from `marked_text`.
    pub text: String,
    /// Positions of the marked tokens.
    pub marked: Vec<usize>,
}

fn count(marks: &[bool]) -> usize {
    marks.iter().filter(|mark| **mark).count()
}

/// Judgement of one text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub says: bool,
    /// P(1) / (P(0) + P(1)) at the verdict's token, if the endpoint returns it.
    pub probability: Option<f64>,
}

/// Batches of `per_batch` fragments; the last may be smaller.
pub fn judge_batches(n: usize, per_batch: usize) -> Vec<Range<usize>> {
    let per_batch = per_batch.max(1);
    (0..n).step_by(per_batch).map(|first| first..(first + per_batch).min(n)).collect()
}

/// Reads a reply about `n` texts: `{"verdicts": [0, 1, …]}` or the array alone, with exactly `n` numbers 0 or 1.
/// Probabilities are none if the reply has no usable token probabilities.
pub fn read_judgements(reply: &ChatReply, n: usize) -> Result<Vec<Judgement>, ReadProblem> {
    let (text, verdicts) = numbers(reply, "verdicts", 1, n)?;
    let probability = |at| probability(reply.logprobs.as_deref()?, text, at);
    let judgement = |(verdict, at)| Judgement { says: verdict == 1, probability: probability(at) };
    Ok(verdicts.into_iter().map(judgement).collect())
}

/// A number of a reply, and the byte offset of its first digit.
type Number = (u8, usize);

/// Reads the list `key` of a reply, or a list alone, with exactly `n` whole numbers from 0 to `most`. Offsets refer to
/// the text returned.
pub(super) fn numbers<'r>(
    reply: &'r ChatReply,
    key: &str,
    most: u8,
    n: usize,
) -> Result<(&'r str, Vec<Number>), ReadProblem> {
    let (text, node) = answer_value(reply)?;
    let list = if matches!(node.value, Lenient::Array(_)) { &node } else { node.only(key)? };
    let Lenient::Array(items) = &list.value else { return Err(ReadProblem::MalformedReply) };
    let read = items.iter().map(|item| Ok((item.whole_number(most)?, item.digits_at())));
    let read = read.collect::<Result<Vec<_>, ReadProblem>>();
    if items.len() != n && read != Err(ReadProblem::MalformedReply) {
        return Err(ReadProblem::WrongCount);
    }
    Ok((text, read?))
}

fn probability(choices: &[TokenChoice], answer: &str, at: usize) -> Option<f64> {
    let texts = || choices.iter().map(|choice| choice.token.as_str());
    let offset = texts().collect::<String>().rfind(answer)?;
    let (number, before) = token_at(texts(), offset + at)?;
    let (mut no, mut yes) = (0.0, 0.0);
    for (token, probability) in choices[number].alternatives().ok()? {
        match verdict(token.strip_prefix(before).unwrap_or_default()) {
            Some(true) => yes += probability,
            Some(false) => no += probability,
            None => {}
        }
    }
    let probability = yes / (no + yes);
    probability.is_finite().then_some(probability)
}

fn verdict(text: &str) -> Option<bool> {
    let mut characters = text.chars();
    let first = characters.next()?;
    if characters.next().is_some_and(|c| c.is_ascii_digit()) {
        return None;
    }
    match first {
        '0' => Some(false),
        '1' => Some(true),
        _ => None,
    }
}

/// Judgements of one feature's fragments compared with the truth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JudgedScore {
    /// Firing fragments judged as firing.
    pub true_positives: usize,
    /// Firing fragments judged as non-firing.
    pub false_negatives: usize,
    /// Non-firing fragments judged as non-firing.
    pub true_negatives: usize,
    /// Non-firing fragments judged as firing.
    pub false_positives: usize,
    /// Mean of sensitivity and specificity; 0.5 is chance.
    pub balanced_accuracy: Result<f64, NoScore>,
    /// Area under the ROC curve of the probabilities. Undefined if a judgement has no probability.
    pub auroc: Result<f64, NoScore>,
}

/// Compares (fires, judgement) of each fragment. If one class is empty, both scores are undefined
/// (`one_class_only`).
pub fn judged_score(judged: &[(bool, Judgement)]) -> JudgedScore {
    let count =
        |fires, says| judged.iter().filter(|(truth, said)| *truth == fires && said.says == says).count();
    let (true_positives, false_negatives) = (count(true, true), count(true, false));
    let (true_negatives, false_positives) = (count(false, false), count(false, true));
    let with_probability: Option<Vec<(bool, f64)>> =
        judged.iter().map(|(fires, judgement)| Some((*fires, judgement.probability?))).collect();
    let share = |right: usize, wrong: usize| match right + wrong {
        0 => Err(NoScore::OneClassOnly),
        of => Ok(right as f64 / of as f64),
    };
    let positive = share(true_positives, false_negatives);
    let negative = share(true_negatives, false_positives);
    JudgedScore {
        true_positives,
        false_negatives,
        true_negatives,
        false_positives,
        balanced_accuracy: positive.and_then(|positive| Ok((positive + negative?) / 2.0)),
        auroc: with_probability.ok_or(NoScore::NoProbabilities).and_then(|pairs| auroc(&pairs)),
    }
}

/// Area under the ROC curve of (is positive, value): the Mann–Whitney statistic divided by the number of pairs.
/// Ties count half.
pub fn auroc(pairs: &[(bool, f64)]) -> Result<f64, NoScore> {
    if pairs.iter().any(|(_, value)| value.is_nan()) {
        return Err(NoScore::NotFinite);
    }
    let n_positive = pairs.iter().filter(|(positive, _)| *positive).count();
    let n_negative = pairs.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return Err(NoScore::OneClassOnly);
    }
    let mut sorted = pairs.to_vec();
    sorted.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (mut below, mut wins) = (0usize, 0.0);
    for ties in sorted.chunk_by(|a, b| a.1 == b.1) {
        let positive = ties.iter().filter(|(positive, _)| *positive).count();
        let negative = ties.len() - positive;
        wins += positive as f64 * (below as f64 + negative as f64 / 2.0);
        below += negative;
    }
    Ok(wins / (n_positive as f64 * n_negative as f64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::Finish;

    fn reply(text: &str) -> ChatReply {
        ChatReply { text: text.into(), finish: Finish::Stop, tokens_in: 1, tokens_out: 1, logprobs: None }
    }

    fn choice(token: &str, top: &[(&str, f64)]) -> TokenChoice {
        let top: Vec<(String, f64)> = top.iter().map(|(token, p)| (token.to_string(), p.ln())).collect();
        let logprob = top.iter().find(|(other, _)| other == token).map_or(0.0, |(_, logprob)| *logprob);
        TokenChoice { token: token.into(), logprob, top }
    }

    #[test]
    fn exactly_as_many_zeros_and_ones_as_texts_are_read() {
        let says = |text: &str, n| {
            read_judgements(&reply(text), n)
                .map(|judgements| judgements.iter().map(|judgement| judgement.says).collect::<Vec<_>>())
        };
        assert_eq!(says("[1, 0,1]", 3), Ok(vec![true, false, true]));
        assert_eq!(says(r#"{"verdicts": [0, 1]}"#, 2), Ok(vec![false, true]));
        assert_eq!(says("[1, 0]", 3), Err(ReadProblem::WrongCount));
        assert_eq!(says("[1, 0, 1, 1]", 3), Err(ReadProblem::WrongCount));
        for text in ["[1, 2]", "[1, -1]"] {
            assert_eq!(says(text, 2), Err(ReadProblem::OutOfRange), "{text}");
        }
        for text in ["[1, \"0\"]", "[1.0, 0.0]", "Sure: [1, 0]", "{\"verdicts\": [1, 0,], \"why\": \"x\"}"] {
            assert_eq!(says(text, 2), Ok(vec![true, false]), "{text}");
        }
        for text in ["[true, false]", "1, 0", "[1, 0", "[[1, 0]]", "{}", "[1, 0] [1, 0]", "[1, 0.5]"] {
            assert_eq!(says(text, 2), Err(ReadProblem::MalformedReply), "{text}");
        }
        assert_eq!(says("", 2), Err(ReadProblem::EmptyReply));
    }

    #[test]
    fn a_verdicts_probability_comes_from_its_own_token() {
        let mut said = reply("[1, 0]");
        said.logprobs = Some(vec![
            choice("[", &[]),
            choice("1", &[("1", 0.6), ("0", 0.2), ("x", 0.2)]),
            choice(", 0", &[(", 0", 0.9), (", 1", 0.1), (",", 0.0)]),
            choice("]", &[]),
        ]);
        let read = read_judgements(&said, 2).expect("readable");
        let probability: Vec<f64> =
            read.iter().map(|judgement| judgement.probability.expect("given")).collect();
        assert!((probability[0] - 0.75).abs() < 1e-12 && (probability[1] - 0.1).abs() < 1e-12);
        // A remark with digits precedes the verdict, which is a quoted number.
        let mut said = reply("2 of them: [\"1\"]");
        said.logprobs = Some(vec![
            choice("2 of them: ", &[]),
            choice("[\"", &[]),
            choice("1", &[("1", 0.6), ("0", 0.2)]),
            choice("\"]", &[]),
        ]);
        let read = read_judgements(&said, 1).expect("readable");
        assert!((read[0].probability.expect("given") - 0.75).abs() < 1e-12);
    }

    #[test]
    fn the_last_batch_is_kept() {
        assert_eq!(judge_batches(12, 5), vec![0..5, 5..10, 10..12]);
        assert_eq!(judge_batches(0, 5), Vec::<Range<usize>>::new());
    }

    #[test]
    fn a_question_shows_every_text_once_and_asks_for_as_many_verdicts() {
        for task in [JudgeTask::Detection, JudgeTask::Fuzzing] {
            let texts = ["\"one\"".to_string(), "\"⟦two⟧\"".to_string()];
            let request = task.request("odd\nwords", &texts, 0);
            let last = &request.messages.last().expect("a turn").content;
            assert!(last.contains("odd words\n") && last.contains("2. \"⟦two⟧\""), "{last}");
            assert!(!request.messages.iter().any(|message| message.content.contains("{{")));
            for turn in request.messages.iter().filter(|turn| turn.role == crate::llm::Role::Assistant) {
                assert_eq!(read_judgements(&reply(&turn.content), 4).map(|read| read.len()), Ok(4));
            }
        }
        assert_ne!(JudgeTask::Detection.digest(), JudgeTask::Fuzzing.digest());
        assert_eq!(JudgeTask::Fuzzing.usual_reply(2), "{\"verdicts\": [0, 0]}");
    }

    #[test]
    fn scores_are_those_of_a_hand_worked_table_and_say_why_they_are_undefined() {
        let said = |says, probability| Judgement { says, probability: Some(probability) };
        let score = judged_score(&[
            (true, said(true, 0.9)),
            (true, said(false, 0.3)),
            (true, said(true, 0.6)),
            (true, said(true, 0.6)),
            (false, said(false, 0.3)),
            (false, said(true, 0.7)),
        ]);
        assert_eq!((score.true_positives, score.false_negatives), (3, 1));
        assert_eq!((score.true_negatives, score.false_positives), (1, 1));
        assert_eq!(score.balanced_accuracy, Ok(0.625));
        // Wins of 0.9: 2, of 0.3: a half, of 0.6: 1 each.
        assert_eq!(score.auroc, Ok(4.5 / 8.0));
        let one_class = judged_score(&[(true, said(true, 0.9))]);
        assert_eq!(one_class.balanced_accuracy, Err(NoScore::OneClassOnly));
        assert_eq!(one_class.auroc, Err(NoScore::OneClassOnly));
        let bare = Judgement { says: true, probability: None };
        let partly = judged_score(&[(true, bare), (false, said(false, 0.1))]);
        assert_eq!((partly.balanced_accuracy, partly.auroc), (Ok(1.0), Err(NoScore::NoProbabilities)));
        // A constant verdict scores at chance level.
        let always = judged_score(&[(true, bare), (true, bare), (true, bare), (false, bare)]);
        assert_eq!(always.balanced_accuracy, Ok(0.5));
    }

    proptest! {
        #[test]
        fn auroc_is_the_share_of_pairs_in_order(
            pairs in prop::collection::vec((any::<bool>(), (0u8..6).prop_map(f64::from)), 2..40)
        ) {
            let of = |class| pairs.iter().filter(move |(positive, _)| *positive == class).map(|(_, value)| *value);
            let (mut won, mut all) = (0.0, 0.0);
            for positive in of(true) {
                for negative in of(false) {
                    won += if positive > negative { 1.0 } else if positive == negative { 0.5 } else { 0.0 };
                    all += 1.0;
                }
            }
            match auroc(&pairs) {
                Ok(area) => prop_assert!((area - won / all).abs() < 1e-12),
                Err(why) => prop_assert!(all == 0.0 && why == NoScore::OneClassOnly),
            }
        }
    }
}
