use std::fmt;

/// Shorter texts are no keys but words like `x` that local servers are given; hiding them would
/// only garble messages.
const LEAST_HIDDEN: usize = 4;

/// A key. It prints as `***`, and only this folder can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The key without the spaces and line ends around it; none where nothing is left.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_string()))
    }

    /// The key itself, for the header that carries it.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with `***` wherever the key stood.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        if self.0.len() < LEAST_HIDDEN {
            return text.to_string();
        }
        text.replace(&self.0, "***")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
