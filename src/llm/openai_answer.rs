//! What answers of OpenAI's two protocols have in common: a list of choices, a count of tokens, and why each ended.

use serde::Deserialize;

use super::http::Http;
use super::token_use::TokenCount;
use super::{ChatError, Finish};

/// An answer of either protocol, with choices of type `C`.
#[derive(Deserialize)]
pub(super) struct Answer<C> {
    choices: Option<Vec<C>>,
    #[serde(default)]
    usage: TokenCount,
}

impl<C> Answer<C> {
    /// The choice of index 0, else the first.
    pub fn first_choice(
        self,
        http: &Http,
        index: impl Fn(&C) -> Option<u64>,
    ) -> Result<(C, TokenCount), ChatError> {
        let mut choices = self.choices.unwrap_or_default();
        let first = choices.iter().position(|choice| index(choice) == Some(0)).unwrap_or(0);
        if first < choices.len() {
            return Ok((choices.swap_remove(first), self.usage));
        }
        Err(http.odd("answered without a choice").with_billed(self.usage.known()))
    }

    /// The choices of indices 0 to `n` - 1, in this order.
    pub fn each_choice(
        self,
        http: &Http,
        n: usize,
        index: impl Fn(&C) -> Option<u64>,
    ) -> Result<(Vec<C>, TokenCount), ChatError> {
        let mut choices = self.choices.unwrap_or_default();
        choices.sort_by_key(|choice| index(choice));
        let expected = (0..n as u64).map(Some);
        if choices.iter().map(index).eq(expected) {
            return Ok((choices, self.usage));
        }
        let detail = format!("answered {n} prompts without one choice for each");
        Err(http.odd(&detail).with_billed(self.usage.known()))
    }
}

/// Why an answer ended; `None` if the endpoint reports a failure during generation.
pub(super) fn finish_of(reason: Option<&str>) -> Option<Finish> {
    match reason {
        Some("length") => Some(Finish::Length),
        Some("content_filter") => Some(Finish::Refused),
        Some("error" | "abort") => None,
        _ => Some(Finish::Stop),
    }
}
