//! A pair of prompts before it is tokenized.

/// A pair of prompts as text. Answers begin with the space that separates them from the prompt, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairText {
    pub base: String,
    pub target: String,
    pub base_answer: String,
    pub target_answer: String,
    /// A wrong answer that the base prompt suggests: the subject's name.
    pub rival: Option<String>,
}
