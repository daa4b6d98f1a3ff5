//! Advice on what to change in a suite, from an endpoint's words or from the kind of a failure.

use super::{ChatError, ReadProblem};

/// Words of endpoints about a prompt that is longer than the model's context.
const TOO_LONG: [&str; 13] = [
    "context length",
    "context size",
    "context window",
    "context_length",
    "maximum context",
    "model's context",
    "n_ctx",
    "max_model_len",
    "maximum sequence length",
    "maximum allowed length",
    "too many tokens",
    "too long",
    "input length",
];

/// Words of endpoints about a schema that they refuse.
const OF_SCHEMAS: [&str; 5] = ["response_format", "structured output", "schema", "guided", "grammar"];

fn is_too_long(words: &str) -> bool {
    let words = words.to_lowercase();
    TOO_LONG.iter().any(|said| words.contains(said))
}

/// Whether a message is about the schema of the answer.
pub(super) fn is_about_schema(words: &str) -> bool {
    let words = words.to_lowercase();
    OF_SCHEMAS.iter().any(|said| words.contains(said)) && !is_too_long(&words)
}

/// Whether a message asks for `max_completion_tokens` in place of `max_tokens`.
pub(super) fn wants_max_completion_tokens(words: &str) -> bool {
    let words = words.to_lowercase();
    let refuses =
        ["instead", "not supported", "unsupported", "unrecognized", "unknown", "not permitted", "deprecated"];
    words.contains("max_completion_tokens")
        && refuses.iter().any(|said| words.contains(said))
        && !is_too_long(&words)
}

/// Whether a message contains this field as a whole word: `top_logprobs` does not contain `logprobs`.
fn names(words: &str, field: &str) -> bool {
    words.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word.eq_ignore_ascii_case(field))
}

impl ChatError {
    /// What the user can change, if the endpoint's words tell.
    pub fn advice(&self) -> Option<String> {
        let text = match self {
            Self::BadRequest { detail, .. } => return refused(detail),
            Self::Timeout { .. } => "raise `timeout_seconds` in `llm`, or lower `max_in_flight`",
            Self::Server { .. } => "the endpoint's own log may say more; run again once it answers",
            Self::RateLimited { .. } => "lower `max_in_flight`, or set `requests_per_minute` in `llm`",
            Self::Redirected { .. } => "if that address is the right one, put it into `base_url`",
            _ => return None,
        };
        Some(text.into())
    }
}

/// What to change after a refusal with these words.
fn refused(words: &str) -> Option<String> {
    let text = if is_too_long(words) {
        "the prompt and its answer do not fit into the model's context: use fewer worked examples (`shots`), serve the \
         model with a longer context, or name another model in `llm`"
    } else if names(words, "max_tokens") || names(words, "max_completion_tokens") {
        "set `max_tokens_field: max_completion_tokens` in `llm`"
    } else if is_about_schema(words) {
        "send no schema (`structured: false` in `llm`), or send it in another form (`response_format: json_object`)"
    } else if names(words, "logprobs") || names(words, "top_logprobs") {
        "leave them out with `omit: [logprobs, top_logprobs]` in `llm` (`judge: {probabilities: false}` for a judge), or \
         take a simulator that needs no probabilities"
    } else {
        let fields = ["temperature", "seed", "echo", "return_token_ids"];
        let field = fields.into_iter().find(|field| names(words, field))?;
        return Some(format!("leave the field out with `omit: [{field}]` in `llm`"));
    };
    Some(text.into())
}

impl ReadProblem {
    /// What to change if all replies have this problem.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Refused => "take a model that answers such questions",
            Self::Truncated | Self::OnlyReasoning => {
                "give a model that reasons first more tokens (`thinking_tokens` in `llm`), or take one that does not"
            }
            Self::EmptyReply | Self::ToolCall => {
                "see whether the endpoint serves a chat model with its chat template (`client: openai_completions` for a \
                 model without one)"
            }
            Self::MalformedReply | Self::WrongCount | Self::OutOfRange => {
                "take a model that keeps to the form in the prompt, or an endpoint that enforces the schema (some accept \
                 `structured: true` and ignore it)"
            }
            Self::NotOneSentence => {
                "take a model that answers in one sentence, or an endpoint that enforces the schema"
            }
            Self::NoLogprobs => {
                "take an endpoint that gives token probabilities, or a simulator that needs none (`generated`)"
            }
        }
    }

    /// The problem with this reason.
    pub fn of_reason(reason: &str) -> Option<Self> {
        reason.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    fn advice(detail: &str) -> String {
        let error = ChatError::BadRequest { endpoint: "e".into(), detail: detail.into() };
        error.advice().unwrap_or_default()
    }

    #[test]
    fn the_words_of_real_endpoints_lead_to_a_field() {
        for (words, field) in [
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "max_tokens_field",
            ),
            ("Unsupported value: 'temperature' does not support 0 with this model.", "omit: [temperature]"),
            ("property 'seed' is unsupported", "omit: [seed]"),
            ("body.seed: extra fields not permitted", "omit: [seed]"),
            ("response_format json_schema is not supported by this model", "structured: false"),
            ("logprobs are not supported", "omit: [logprobs, top_logprobs]"),
            (
                "This model's maximum context length is 2048 tokens. However, you requested 4900 tokens",
                "context",
            ),
            ("the request exceeds the available context size. try increasing the context size", "context"),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 300. This model's maximum context length is 256 tokens",
                "context",
            ),
            ("prompt is too long: 210000 tokens > 200000 maximum", "context"),
        ] {
            assert!(advice(words).contains(field), "{words}: {}", advice(words));
        }
        assert_eq!(advice("no"), "");
        assert!(!wants_max_completion_tokens(
            "'max_tokens' or 'max_completion_tokens' is too large: 300. Reduce it; the maximum context length is 256"
        ));
    }

    #[test]
    fn every_problem_is_found_by_its_reason() {
        for &problem in ReadProblem::VARIANTS {
            assert_eq!(ReadProblem::of_reason(problem.reason()), Some(problem));
        }
        assert_eq!(ReadProblem::of_reason("server_error"), None);
    }
}
