//! Word lists, and templates that are kept as text files.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::concept::Concept;

/// Word lists by the kind of slot that draws from them (`noun`, `city`).
type Words = HashMap<&'static str, Vec<&'static str>>;

/// A subject matter, with its nouns, verbs, adjectives, places and roles.
pub(super) struct Topic {
    pub concept: Concept,
    words: Words,
}

/// All word lists.
pub(super) struct Lexicon {
    pub topics: Vec<Topic>,
    words: Words,
}

/// The word lists. Held-out names occur everywhere except in indirect-object sentences for training.
pub(super) static LEXICON: LazyLock<Lexicon> = LazyLock::new(Lexicon::new);

/// Templates that are read on first use.
pub(super) type Templates = LazyLock<Vec<String>>;

/// The templates of a text file, one a line; each gets `ending` appended.
pub(super) fn templates(file: &str, ending: &str) -> Vec<String> {
    file.lines().map(|line| format!("{line}{ending}")).collect()
}

/// The templates of a text file, separated by lines `---`.
pub(super) fn blocks(file: &str) -> Vec<String> {
    file.trim_end().split("\n---\n").map(str::to_string).collect()
}

impl Lexicon {
    /// Reads `words.txt`. A line is a kind and its words. After a line `topic NAME`, the lists belong to that topic.
    fn new() -> Self {
        let mut lexicon = Self { topics: Vec::new(), words: Words::new() };
        for line in include_str!("templates/words.txt").lines() {
            let Some((kind, words)) = line.split_once(' ') else { continue };
            if kind == "topic" {
                let concept = Concept::all().find(|concept| concept.name() == words);
                lexicon.topics.extend(concept.map(|concept| Topic { concept, words: Words::new() }));
            } else {
                let lists = lexicon.topics.last_mut().map_or(&mut lexicon.words, |topic| &mut topic.words);
                lists.insert(kind, words.split(' ').collect());
            }
        }
        lexicon
    }

    /// Words of a kind that does not depend on the topic.
    pub fn words(&self, kind: &str) -> &[&'static str] {
        self.words.get(kind).map_or(&[], Vec::as_slice)
    }
}

impl Topic {
    /// Words of a kind, from the topic's lists or else from the common ones. Empty for an unknown kind.
    pub fn words(&'static self, kind: &str) -> &'static [&'static str] {
        self.words.get(kind).map_or_else(|| LEXICON.words(kind), Vec::as_slice)
    }
}
