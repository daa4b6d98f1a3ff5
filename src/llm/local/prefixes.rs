//! Prefix cache: keys and values of prompt beginnings that several prompts share, such as worked examples.

use crate::llm::PromptToken;
use crate::nn::PrefixCache;

/// Maximum number of cached prefixes.
const MAX_PREFIXES: usize = 4;
/// Number of recent prompts that a new prompt is compared with.
const MAX_RECENT: usize = 8;
/// Minimum length of a cached prefix in tokens.
const MIN_LENGTH: usize = 16;

/// A cache of prefixes.
#[derive(Default)]
pub(super) struct Prefixes {
    /// Least recently used first.
    kept: Vec<Prefix>,
    recent: Vec<Vec<u32>>,
}

struct Prefix {
    ids: Vec<u32>,
    past: PrefixCache,
    scored: Vec<PromptToken>,
}

/// The cached beginning of a prompt.
pub(super) struct Beginning {
    /// Keys and values of all its tokens but the last. The last one is read again, for the logits of the next token.
    pub past: PrefixCache,
    /// Scores of its tokens, if they were computed.
    pub scored: Vec<PromptToken>,
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    /// The longest cached beginning of a prompt, without the prompt's last token.
    pub fn beginning(&mut self, ids: &[u32]) -> Option<Beginning> {
        let length = |prefix: &Prefix| common(&prefix.ids, ids).min(ids.len().saturating_sub(1));
        let longest = self.kept.iter().map(length).enumerate().max_by_key(|(_, length)| *length);
        let (at, length) = longest.filter(|(_, length)| *length > 1)?;
        let found = self.kept.remove(at);
        let past = found.past.beginning(length - 1);
        let scored = found.scored[..length.min(found.scored.len())].to_vec();
        self.kept.push(found);
        Some(Beginning { past, scored })
    }

    /// Notes a prompt that was read. Caches the beginning that it shares with a recent prompt, if no cached prefix
    /// covers it.
    pub fn note(&mut self, ids: &[u32], past: &PrefixCache, scored: &[PromptToken]) {
        let shared = self.recent.iter().map(|other| common(other, ids)).max().unwrap_or(0);
        let known = self.kept.iter().map(|prefix| common(&prefix.ids, ids)).max().unwrap_or(0);
        if shared >= MIN_LENGTH && shared > known {
            if self.kept.len() >= MAX_PREFIXES {
                self.kept.remove(0);
            }
            let scored = scored[..shared.min(scored.len())].to_vec();
            self.kept.push(Prefix { ids: ids[..shared].to_vec(), past: past.beginning(shared), scored });
        }
        if self.recent.len() >= MAX_RECENT {
            self.recent.remove(0);
        }
        self.recent.push(ids.to_vec());
    }
}
