//! The head of a feature's view: label, scores with their places, density, histogram, logits, nearest features.

use crate::report::{
    Glance, GlanceHistogram, Look, Near, TokenEffect, cut, fixed, pad_right, quoted_token, visible, width,
    wrap_at_most,
};

/// Width of the names of facts, in characters.
const LABEL: usize = 16;

/// Most lines of a label, and of each list.
const LABEL_LINES: usize = 4;
const LIST_LINES: usize = 2;

/// Bars of a histogram by height, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The glance in lines of at most the look's width.
pub fn text(glance: &Glance, look: Look) -> String {
    let mut text = String::new();
    let explainer = visible(&glance.explainer);
    let more = glance.more.as_ref().map(|more| format!("{more}, ")).unwrap_or_default();
    match &glance.label {
        Some(label) => {
            let lines = wrap_at_most(label, look.width, LABEL_LINES);
            text.extend(lines.iter().map(|line| format!("{}\n", look.bold(line))));
            let by = wrap_at_most(&format!("{more}explained by {explainer}"), look.width, LIST_LINES);
            text.extend(by.iter().map(|line| format!("{}\n", look.dim(line))));
        }
        None => {
            let lines = wrap_at_most(&format!("no explanation by {explainer}"), look.width, LIST_LINES);
            text.extend(lines.iter().map(|line| format!("{line}\n")));
        }
    }
    text.push('\n');
    for score in &glance.scores {
        let value = score.score.map(|value| format!("{}, ", fixed(Some(value), 2))).unwrap_or_default();
        push_fact(&mut text, &visible(&score.scorer), &format!("{value}{}", score.standing), look.width);
    }
    let density =
        glance.density.map_or("—".to_string(), |density| format!("{:.3} % of tokens", 100.0 * density));
    push_fact(&mut text, "fires on", &density, look.width);
    if let Some(histogram) = &glance.histogram {
        let line = histogram_line(histogram, look.width.saturating_sub(LABEL));
        push_lines(&mut text, "activations", &[line], look.width);
    }
    for (name, tokens) in [("raises", &glance.raised), ("lowers", &glance.lowered)] {
        if !tokens.is_empty() {
            push_list(&mut text, name, tokens.iter().map(effect), look.width);
        }
    }
    if let Some(note) = glance.logits_note.as_ref().filter(|_| glance.raised.is_empty()) {
        push_fact(&mut text, "raises", &format!("no effect on logits: {note}"), look.width);
    }
    if !glance.nearest.is_empty() {
        push_list(&mut text, "nearest", glance.nearest.iter().map(near), look.width);
    }
    text
}

/// A fact beside its name; the name has a line of its own if it is too long.
fn push_fact(text: &mut String, name: &str, fact: &str, columns: usize) {
    push_lines(text, name, &wrap_at_most(fact, columns.saturating_sub(LABEL), LIST_LINES), columns);
}

fn push_lines(text: &mut String, name: &str, lines: &[String], columns: usize) {
    let mut name = name.to_string();
    if width(&name) >= LABEL {
        let head = wrap_at_most(&name, columns, 1);
        text.push_str(&format!("{}\n", head.concat()));
        name.clear();
    }
    for line in lines {
        text.push_str(&format!("{}{line}", pad_right(&name, LABEL)));
        text.push('\n');
        name.clear();
    }
}

/// Items in lines, none broken; those that do not fit are left out, with their number.
fn push_list(text: &mut String, name: &str, items: impl Iterator<Item = String>, columns: usize) {
    let room = columns.saturating_sub(LABEL);
    let items: Vec<String> = items.collect();
    let left_out = |from: usize| match items.len() - from {
        0 => String::new(),
        n => format!(" … {n} more"),
    };
    let mut lines = vec![String::new()];
    for (nth, item) in items.iter().enumerate() {
        let is_last = lines.len() == LIST_LINES;
        let Some(line) = lines.last_mut() else { break };
        let gap = if line.is_empty() { "" } else { "   " };
        let reserved = if is_last { width(&left_out(nth + 1)) } else { 0 };
        if width(line) + width(gap) + width(item) + reserved <= room {
            line.push_str(gap);
            line.push_str(item);
        } else if is_last {
            line.push_str(&left_out(nth));
            break;
        } else {
            let reserved = width(&left_out(nth + 1));
            lines.push(cut(item, room.saturating_sub(reserved)));
        }
    }
    lines.retain(|line| !line.is_empty());
    push_lines(text, name, &lines, columns);
}

/// `0.000 ▇▃▁ 5.200`: a bar for each interval, blank without tokens. Neighbouring intervals are taken together where
/// there is no room for all.
fn histogram_line(histogram: &GlanceHistogram, columns: usize) -> String {
    let (low, high) = (fixed(Some(histogram.low), 3), fixed(Some(histogram.high), 3));
    let room = columns.saturating_sub(width(&low) + width(&high) + 2).max(1);
    let together = histogram.counts.len().div_ceil(room).max(1);
    let sums = histogram
        .counts
        .chunks(together)
        .map(|counts| counts.iter().fold(0u64, |sum, n| sum.saturating_add(*n)));
    let sums: Vec<u64> = sums.collect();
    let most = sums.iter().copied().max().unwrap_or(0);
    let bar = |&n: &u64| match n {
        0 => ' ',
        n => BARS[((n as f64 / most as f64 * BARS.len() as f64).ceil() as usize).clamp(1, BARS.len()) - 1],
    };
    cut(&format!("{low} {} {high}", sums.iter().map(bar).collect::<String>()), columns)
}

fn effect(one: &TokenEffect) -> String {
    format!("{} {:.2}", quoted_token(&one.token), one.effect)
}

fn near(one: &Near) -> String {
    let mark = if one.evaluated { "" } else { " (not evaluated)" };
    format!("{}/{} {:.2}{mark}", visible(&one.dictionary), one.feature, one.cosine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{GlanceScore, Ink};

    fn glance() -> Glance {
        let effects = |n: usize| -> Vec<TokenEffect> {
            (0..n)
                .map(|nth| TokenEffect { token: format!(" word{nth}\u{1b}"), effect: 2.5 - nth as f64 })
                .collect()
        };
        let near = |nth: usize| Near {
            dictionary: if nth < 5 { "topk".into() } else { "\u{202e}pca_oriented".into() },
            feature: 100 + nth,
            cosine: 0.9 - 0.05 * nth as f64,
            evaluated: nth.is_multiple_of(2),
        };
        Glance {
            explainer: "neuron_to_graph".into(),
            label: Some("_ _ \" at\" \" $\" → 3.1; \" of\" → 2".into()),
            more: Some("8 more rules".into()),
            scores: vec![
                GlanceScore {
                    scorer: "top_and_random".into(),
                    score: Some(0.834),
                    standing: "4th of 40; higher than 90 %".into(),
                },
                GlanceScore {
                    scorer: "beyond_token".into(),
                    score: None,
                    standing: "undefined: \u{1b}[2J".into(),
                },
            ],
            density: Some(0.0123),
            histogram: Some(GlanceHistogram { low: 0.0, high: 5.2, counts: vec![900, 450, 0, 1] }),
            raised: effects(10),
            lowered: effects(2),
            logits_note: None,
            nearest: (0..10).map(near).collect(),
            steering: None,
            questions: Vec::new(),
        }
    }

    #[test]
    fn a_glance_is_short_and_fits() {
        for columns in [40, 80, 200] {
            let text = text(&glance(), Look { width: columns, ink: Ink::None });
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
            assert!(text.lines().count() <= 20, "{text}");
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        }
        let text = text(&glance(), Look { width: 80, ink: Ink::None });
        for part in [
            "_ _ \" at\" \" $\" → 3.1; \" of\" → 2\n8 more rules, explained by neuron_to_graph\n",
            "\ntop_and_random  0.83, 4th of 40; higher than 90 %\n",
            "\nbeyond_token    undefined: <U+001B>[2J\n",
            "\nfires on        1.230 % of tokens\n",
            "\nactivations     0.000 █▄ ▁ 5.200\n",
            "\nlowers          \" word0",
            "topk/101 0.85 (not evaluated)",
            " more\n",
        ] {
            assert!(text.contains(part), "`{part}` is not in\n{text}");
        }
    }

    #[test]
    fn what_is_missing_is_left_out_or_said() {
        let bare = Glance {
            label: None,
            histogram: None,
            raised: Vec::new(),
            lowered: Vec::new(),
            nearest: Vec::new(),
            density: None,
            logits_note: Some("not on the residual stream".into()),
            ..glance()
        };
        let text = text(&bare, Look { width: 80, ink: Ink::None });
        assert!(text.starts_with("no explanation by neuron_to_graph\n"), "{text}");
        assert!(text.contains("fires on        —\n"), "{text}");
        assert!(text.contains("no effect on logits: not on the residual stream"), "{text}");
        assert!(!text.contains("nearest") && !text.contains("activations"), "{text}");
    }
}
