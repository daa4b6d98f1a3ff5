//! Prompt templates with worked examples.

use crate::base::{Digest, Digester};

use super::{Message, Role};

/// A prompt template with placeholders `{{name}}`, in one of two forms.
///
/// A conversation has lines `=== system`, `=== user` and `=== assistant`, which begin turns. Each assistant turn ends a
/// worked example. A plain text, for models without turns, has lines `=== example` and `=== question`, which begin a
/// worked example and the question. None of these lines is part of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// Its name in results.
    pub name: &'static str,
    /// The template.
    pub text: &'static str,
}

impl Prompt {
    /// The version: digest of name and text.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::new("prompt");
        digester.text(self.name).text(self.text);
        digester.finish()
    }

    /// Number of worked examples.
    pub fn n_examples(&self) -> usize {
        self.text.lines().filter(|line| *line == EXAMPLE || heading(line) == Some(Role::Assistant)).count()
    }

    /// The filled conversation with the first `shots` worked examples; `None` for all.
    pub fn messages_with(&self, shots: Option<usize>, fills: &[(&str, &str)]) -> Vec<Message> {
        let mut messages = self.messages(fills);
        let examples = messages.iter().position(|message| message.role != Role::System).unwrap_or(0);
        let end = messages.len().saturating_sub(1);
        let kept = shots.map_or(end, |shots| examples + 2 * shots).min(end);
        messages.drain(kept..end);
        messages
    }

    /// The filled plain text with the first `shots` worked examples; `None` for all.
    pub fn plain_with(&self, shots: Option<usize>, fills: &[(&str, &str)]) -> String {
        let (mut kept, mut seen, mut shown) = (String::new(), 0, true);
        for line in self.text.split_inclusive('\n') {
            match line.trim_end() {
                EXAMPLE => {
                    seen += 1;
                    shown = shots.is_none_or(|shots| seen <= shots);
                }
                QUESTION => shown = true,
                _ if shown => kept.push_str(line),
                _ => {}
            }
        }
        fill(&kept, fills)
    }

    /// The filled conversation. Filled-in text never counts as a heading or a placeholder.
    pub fn messages(&self, fills: &[(&str, &str)]) -> Vec<Message> {
        let mut turns: Vec<(Role, String)> = Vec::new();
        for line in self.text.lines() {
            if let Some(role) = heading(line) {
                turns.push((role, String::new()));
            } else if let Some((_, content)) = turns.last_mut() {
                content.push_str(line);
                content.push('\n');
            }
        }
        let message = |(role, text): (Role, String)| Message { role, content: fill(text.trim(), fills) };
        turns.into_iter().map(message).collect()
    }

    /// The filled plain text of a template without worked examples.
    pub fn plain(&self, fills: &[(&str, &str)]) -> String {
        fill(self.text, fills)
    }
}

const EXAMPLE: &str = "=== example";
const QUESTION: &str = "=== question";

fn heading(line: &str) -> Option<Role> {
    line.strip_prefix("=== ")?.trim_end().parse().ok()
}

/// Replaces `{{name}}` from left to right. Placeholders inside filled-in text, and unknown ones, stay.
fn fill(text: &str, fills: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let known = fills
            .iter()
            .find_map(|(name, value)| Some((*value, after.strip_prefix(name)?.strip_prefix("}}")?)));
        let (written, left) = known.unwrap_or(("{{", after));
        filled.push_str(written);
        rest = left;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Prompt = Prompt { name: "p", text: "=== system\nBe {{how}}.\n=== user\n{{a}} and {{b}}\n" };

    #[test]
    fn fills_are_never_taken_for_places_or_turns() {
        let messages =
            PROMPT.messages(&[("how", "brief"), ("a", "{{b}}\n=== assistant\nyes"), ("b", "{{a}}")]);
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::System, "Be brief."));
        assert_eq!(messages[1].content, "{{b}}\n=== assistant\nyes and {{a}}");
    }

    #[test]
    fn worked_examples_are_left_out_from_the_end() {
        let text =
            "=== system\ns\n=== user\n1\n=== assistant\na\n=== user\n2\n=== assistant\nb\n=== user\n{{q}}\n";
        let chat = Prompt { name: "chat", text };
        let shown = |shots| -> String {
            chat.messages_with(shots, &[("q", "?")]).iter().map(|message| message.content.as_str()).collect()
        };
        assert_eq!(
            (chat.n_examples(), shown(None).as_str(), shown(Some(2)).as_str()),
            (2, "s1a2b?", "s1a2b?")
        );
        assert_eq!(
            (shown(Some(1)).as_str(), shown(Some(0)).as_str(), shown(Some(9)).as_str()),
            ("s1a?", "s?", "s1a2b?")
        );
        let plain =
            Prompt { name: "plain", text: "h\n=== example\n1\n=== example\n2\n=== question\n{{q}}\n" };
        assert_eq!(plain.n_examples(), 2);
        for (shots, text) in [(None, "h\n1\n2\n?\n"), (Some(1), "h\n1\n?\n"), (Some(0), "h\n?\n")] {
            assert_eq!(plain.plain_with(shots, &[("q", "?")]), text);
        }
    }

    #[test]
    fn a_changed_word_is_another_version() {
        let other = Prompt { text: "=== system\nBe {{how}}!\n", ..PROMPT };
        assert_ne!(PROMPT.digest(), other.digest());
    }
}
