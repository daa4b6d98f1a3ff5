use crate::base::{Digest, Digester};

use super::{Message, Role};

/// A conversation kept as text: turns headed by lines `=== system`, `=== user` and `=== assistant`,
/// with places `{{name}}` to be filled. Every turn of the assistant ends a worked example.
///
/// Or one text for models without turns: worked examples begin with lines `=== example`, what is asked with a line
/// `=== question`; the lines themselves are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prompt {
    /// What results call it.
    pub name: &'static str,
    /// The whole text.
    pub text: &'static str,
}

impl Prompt {
    /// The version: digest of name and text.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::new("prompt");
        digester.text(self.name).text(self.text);
        digester.finish()
    }

    /// How many worked examples there are.
    pub fn n_examples(&self) -> usize {
        self.text.lines().filter(|line| *line == EXAMPLE || heading(line) == Some(Role::Assistant)).count()
    }

    /// The turns with the first `shots` worked examples, or with all, filled.
    pub fn messages_with(&self, shots: Option<usize>, fills: &[(&str, &str)]) -> Vec<Message> {
        let mut messages = self.messages(fills);
        let examples = messages.iter().position(|message| message.role != Role::System).unwrap_or(0);
        let end = messages.len().saturating_sub(1);
        let kept = shots.map_or(end, |shots| examples + 2 * shots).min(end);
        messages.drain(kept..end);
        messages
    }

    /// The text with the first `shots` worked examples, or with all, filled.
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

    /// The turns, filled. What is filled in is never taken for a turn or a place itself.
    pub fn messages(&self, fills: &[(&str, &str)]) -> Vec<Message> {
        let mut turns: Vec<(Role, String)> = Vec::new();
        for line in self.text.lines() {
            match (heading(line), turns.last_mut()) {
                (Some(role), _) => turns.push((role, String::new())),
                (None, Some((_, content))) => {
                    content.push_str(line);
                    content.push('\n');
                }
                (None, None) => {}
            }
        }
        let message =
            |(role, content): (Role, String)| Message { role, content: fill(content.trim(), fills) };
        turns.into_iter().map(message).collect()
    }

    /// The text as a model without turns reads it, filled.
    pub fn plain(&self, fills: &[(&str, &str)]) -> String {
        fill(self.text, fills)
    }
}

const EXAMPLE: &str = "=== example";
const QUESTION: &str = "=== question";

fn heading(line: &str) -> Option<Role> {
    match line.strip_prefix("=== ")?.trim_end() {
        "system" => Some(Role::System),
        "user" => Some(Role::User),
        "assistant" => Some(Role::Assistant),
        _ => None,
    }
}

/// One pass from left to right, so a place inside a filled-in text stays as it is.
fn fill(text: &str, fills: &[(&str, &str)]) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(start) = rest.find("{{") {
        let (before, place) = rest.split_at(start);
        filled.push_str(before);
        let known = fills.iter().find_map(|(name, value)| {
            let after = place.strip_prefix("{{")?.strip_prefix(name)?.strip_prefix("}}")?;
            Some((value, after))
        });
        rest = match known {
            Some((value, after)) => {
                filled.push_str(value);
                after
            }
            None => {
                filled.push_str("{{");
                &place[2..]
            }
        };
    }
    filled.push_str(rest);
    filled
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
