//! Steered texts for a terminal: side by side where three columns fit, else one below the other.

use crate::report::{
    AnsweredQuestion, CodeChange, EditedText, Look, ShiftedToken, SteeredSample, Steering, TextPair,
    WrittenText, labelled_list, pad_right, quoted_token, visible_token, wrap,
};

/// Width of the names of facts, in characters.
const LABEL: usize = 14;

/// Smallest width of a text that stands beside others, in characters.
const TEXT_WIDTH: usize = 30;

/// Columns between two texts.
const GAP: usize = 2;

/// Tokens shown of each list.
const TOKENS: usize = 6;

const LEGEND: &str = "Perplexity of the written text, after the prompt, under the unsteered model. Edit: mean ‖x′ − x‖ \
    over the prompt, then over written tokens, and mean ‖x‖. KL from the unsteered prediction of the next token after \
    the prompt. The control changes every position by as much as the feature would.";

/// What was written and how, in lines of at most the look's width.
pub fn steering_text(steering: &Steering, look: Look) -> String {
    let tokens = |list: &[ShiftedToken]| match list.is_empty() {
        true => "none".to_string(),
        false => list.iter().take(TOKENS).map(shifted).collect::<Vec<_>>().join(",  "),
    };
    let drawn = match steering.temperature == 0.0 {
        true => "the likeliest token".to_string(),
        false => format!("temperature {}", steering.temperature),
    };
    let facts = [
        ("change", change(&steering.change)),
        ("prompt", visible_token(&steering.prompt)),
        ("writes", format!("{} tokens, {drawn}", steering.tokens)),
        ("next token", format!("KL {} nats from the unsteered prediction", short(steering.next_token.kl))),
        ("raised", tokens(&steering.next_token.raised)),
        ("lowered", tokens(&steering.next_token.lowered)),
    ];
    let mut text = labelled_list(&facts, LABEL, look.width);
    for sample in &steering.samples {
        text.push_str(&format!("\n{}\n", look.bold(&format!("seed {}", sample.seed))));
        text.push_str(&texts(sample, look));
    }
    text.push('\n');
    text + &styled(&wrap(LEGEND, look.width), |line| look.dim(line))
}

/// Pairs of texts with the answers of a judge, in lines of at most the look's width.
pub fn questions_text(questions: &[AnsweredQuestion], look: Look) -> String {
    let facts = |question: &AnsweredQuestion| {
        let TextPair { prompt, steered, other, .. } = &question.texts;
        let other_name = if question.control == "random" { "random" } else { "unsteered" };
        let answer = match question.right {
            Some(true) => "right",
            Some(false) => "wrong",
            None if steered == other => "not asked: the texts are equal",
            None => "none",
        };
        let shown = [("prompt", prompt), ("steered", steered), (other_name, other)];
        let shown = shown.map(|(name, text)| (name, visible_token(&format!("“{text}”"))));
        let facts: Vec<(&str, String)> = shown.into_iter().chain([("answer", answer.into())]).collect();
        labelled_list(&facts, LABEL, look.width)
    };
    questions.iter().map(facts).collect::<Vec<_>>().join("\n")
}

fn styled(lines: &[String], style: impl Fn(&str) -> String) -> String {
    lines.iter().map(|line| style(line) + "\n").collect()
}

/// `set to 230.7, which is 10 × its maximum 23.07, at every position`
fn change(change: &CodeChange) -> String {
    let times = change.times_max.zip(change.max_activation);
    let times = times.map_or(String::new(), |(times, most)| {
        format!(", which is {times} × its maximum activation {}", short(most))
    });
    let done = match change.how.as_str() {
        "add" => format!("code plus {}", short(change.value)),
        "scale" => format!("code times {}", short(change.value)),
        _ => format!("code set to {}", short(change.value)),
    };
    format!("{done}{times}, at every position of prompt and written text")
}

/// `" dog" 0.01 % → 12 %`
fn shifted(token: &ShiftedToken) -> String {
    let percent = |probability: f64| format!("{} %", short(100.0 * probability));
    format!("{} {} → {}", quoted_token(&token.text), percent(token.before), percent(token.after))
}

/// A number in a few characters.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.1e}"),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// The three texts of a sample.
fn texts(sample: &SteeredSample, look: Look) -> String {
    let columns = (look.width.saturating_sub(2 * GAP)) / 3;
    let is_beside = columns >= TEXT_WIDTH;
    let columns = if is_beside { columns } else { look.width };
    let blocks = [
        ("unsteered", &sample.unsteered, None),
        ("steered", &sample.steered.written, Some(&sample.steered)),
        ("random direction", &sample.random_direction.written, Some(&sample.random_direction)),
    ];
    let blocks = blocks.map(|(name, written, edited)| block(name, written, edited, columns));
    if !is_beside {
        return blocks.map(|lines| styled(&lines, str::to_string)).join("\n");
    }
    let height = blocks.iter().map(Vec::len).max().unwrap_or(0);
    let line = |nth: usize| {
        let parts = blocks.iter().map(|block| pad_right(block.get(nth).map_or("", String::as_str), columns));
        parts.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_string() + "\n"
    };
    (0..height).map(line).collect()
}

/// A text under its name and its facts. All blocks of a sample have the same number of facts.
fn block(name: &str, written: &WrittenText, edited: Option<&EditedText>, columns: usize) -> Vec<String> {
    let perplexity = written.perplexity.map_or("—".to_string(), short);
    let [edit, kl] = match edited {
        None => ["no edit".to_string(), String::new()],
        Some(EditedText { edit, next_token_kl, .. }) => {
            let of_written = edit.written.map_or("—".to_string(), short);
            let sizes = format!("edit {}, {of_written} of {}", short(edit.prompt), short(edit.activation));
            [sizes, format!("KL {} nats", short(*next_token_kl))]
        }
    };
    let facts = format!("perplexity {perplexity} ({} nats)", short(written.nats_per_token));
    let lines = [name.to_string(), facts, edit, kl];
    let mut lines: Vec<String> = lines.iter().flat_map(|line| wrap(line, columns)).collect();
    lines.extend(wrap(&visible_token(&format!("“{}”", written.text)), columns));
    lines
}

#[cfg(test)]
mod tests;
