use crate::llm::PromptToken;
use crate::nn::KeysValues;

/// Beginnings that are kept read.
const MAX_KEPT: usize = 4;
/// Prompts whose tokens are remembered, to find what they have in common.
const MAX_RECENT: usize = 8;
/// A beginning of fewer tokens is not worth keeping.
const MIN_LENGTH: usize = 16;

/// What prompts have in common, read once: the worked examples that many questions begin with.
#[derive(Default)]
pub(super) struct Prefixes {
    /// Oldest use first.
    kept: Vec<Prefix>,
    recent: Vec<Vec<u32>>,
}

struct Prefix {
    ids: Vec<u32>,
    past: KeysValues,
    scored: Vec<PromptToken>,
}

/// What is read of a prompt already.
pub(super) struct Beginning {
    /// Keys and values of all but the last of those tokens, whose logits are needed for what comes next.
    pub past: KeysValues,
    /// What the model thinks of those tokens, where it was asked.
    pub scored: Vec<PromptToken>,
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Prefixes {
    /// The longest kept beginning of a prompt, never all of it.
    pub fn beginning(&mut self, ids: &[u32]) -> Option<Beginning> {
        let length = |prefix: &Prefix| common(&prefix.ids, ids).min(ids.len().saturating_sub(1));
        let (at, length) = self
            .kept
            .iter()
            .map(length)
            .enumerate()
            .max_by_key(|(_, length)| *length)
            .filter(|found| found.1 > 1)?;
        let found = self.kept.remove(at);
        let past = found.past.beginning(length - 1);
        let scored = found.scored[..length.min(found.scored.len())].to_vec();
        self.kept.push(found);
        Some(Beginning { past, scored })
    }

    /// Keeps the beginning that a prompt, read now, shares with an earlier one, where a longer one than before.
    pub fn note(&mut self, ids: &[u32], past: &KeysValues, scored: &[PromptToken]) {
        let shared = self.recent.iter().map(|other| common(other, ids)).max().unwrap_or(0);
        let known = self.kept.iter().map(|prefix| common(&prefix.ids, ids)).max().unwrap_or(0);
        if shared >= MIN_LENGTH && shared > known {
            if self.kept.len() >= MAX_KEPT {
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
