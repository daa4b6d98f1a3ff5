//! Why the reply of a model cannot be used.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// Why a reply is unusable. The snake_case name is the reason in tallies.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, IntoStaticStr, EnumString, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
#[error("the reply cannot be used: {}", self.reason())]
pub enum ReadProblem {
    /// The endpoint or the model refused.
    Refused,
    /// It reached the limit of tokens.
    Truncated,
    /// It is empty.
    EmptyReply,
    /// It holds reasoning and no answer.
    OnlyReasoning,
    /// The model called a tool that was not offered.
    ToolCall,
    /// It does not have the requested form.
    MalformedReply,
    /// It is not one sentence but an essay, several lines or a placeholder.
    NotOneSentence,
    /// It has too few or too many values.
    WrongCount,
    /// A number is outside the scale.
    OutOfRange,
    /// Token log-probabilities are missing or do not belong to the text.
    NoLogprobs,
}

impl ReadProblem {
    /// The reason as tallies spell it.
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// Whether another sample may be readable. An endpoint that returns no log-probabilities never returns them.
    pub fn worth_asking_again(self) -> bool {
        self != Self::NoLogprobs
    }
}
