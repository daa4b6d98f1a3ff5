//! `POST {base}/completions`: answers to plain texts, and log-probabilities of a prompt's own tokens.
//!
//! Two forms of the latter: the prompt echoed with log-probabilities (OpenAI), and `prompt_logprobs` (vLLM).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::batched::shared;
use super::http::Http;
use super::openai_answer::{Answer, finish_of};
use super::token_use::TokenCount;
use super::{
    ChatError, ChatReply, PromptLogprobs, PromptReply, PromptRequest, PromptToken, TokenChoice, TokenUse,
};

/// Outcomes of some questions, in their order.
pub(super) type Outcomes<T> = Vec<Result<T, ChatError>>;

pub(super) const PATH: &str = "completions";

/// Tokens to generate when only the prompt is scored. Some endpoints refuse 0, and llama-cpp-python reads it as
/// unlimited. The generated token is dropped.
const ONE_TOKEN: u64 = 1;

#[derive(Deserialize)]
pub(super) struct Choice {
    index: Option<u64>,
    text: Option<String>,
    finish_reason: Option<String>,
    logprobs: Option<Columns>,
    prompt_logprobs: Option<Vec<Option<Candidates>>>,
    prompt_token_ids: Option<Vec<u64>>,
}

/// Log-probabilities as columns of equal length.
#[derive(Deserialize)]
struct Columns {
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<BTreeMap<String, f64>>>>,
}

/// vLLM's candidates at one position, by token id, in the order of the answer. The prompt's own token comes first.
struct Candidates(Vec<(String, Candidate)>);

#[derive(Deserialize, Clone)]
struct Candidate {
    logprob: f64,
    decoded_token: Option<String>,
}

impl<'de> Deserialize<'de> for Candidates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Candidates;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of token ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Candidates, A::Error> {
                let mut candidates = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    candidates.push(entry);
                }
                Ok(Candidates(candidates))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The field `prompt`: a text, or a list of texts.
pub(super) fn prompt_field<'a>(prompts: impl Iterator<Item = &'a str>) -> Value {
    let all: Vec<&str> = prompts.collect();
    match all.as_slice() {
        [one] => json!(one),
        all => json!(all),
    }
}

/// The choice for each of some prompts with these lengths, and its part of the counts. The endpoint counts the tokens
/// of a request; they are divided by the lengths of prompts, and by the `size` of choices.
fn per_prompt(
    http: &Http,
    answer: Answer<Choice>,
    lengths: &[usize],
    size: impl Fn(&Choice) -> usize,
) -> Result<Vec<(Choice, TokenCount)>, ChatError> {
    if lengths.len() == 1 {
        return Ok(vec![answer.first_choice(http, |choice| choice.index)?]);
    }
    let (choices, count) = answer.each_choice(http, lengths.len(), |choice| choice.index)?;
    let sizes: Vec<usize> = choices.iter().map(size).collect();
    let parts = |total: Option<u64>, sizes: &[usize]| match total {
        Some(total) => shared(total, sizes).into_iter().map(Some).collect(),
        None => vec![None; sizes.len()],
    };
    let counts = parts(count.prompt_tokens, lengths).into_iter().zip(parts(count.completion_tokens, &sizes));
    let counts =
        counts.map(|(prompt_tokens, completion_tokens)| TokenCount { prompt_tokens, completion_tokens });
    Ok(choices.into_iter().zip(counts).collect())
}

/// The replies in an answer to plain texts with these lengths.
pub(super) fn read_answers(
    http: &Http,
    answer: Answer<Choice>,
    lengths: &[usize],
) -> Result<Outcomes<ChatReply>, ChatError> {
    let written = |choice: &Choice| choice.text.as_ref().map_or(0, String::len);
    let parts = per_prompt(http, answer, lengths, written)?;
    Ok(parts.into_iter().map(|(choice, count)| read_answer(http, choice, count)).collect())
}

fn read_answer(http: &Http, choice: Choice, count: TokenCount) -> Result<ChatReply, ChatError> {
    let finish = finish_of(choice.finish_reason.as_deref());
    let odd = |detail: &str| http.odd(detail).with_billed(count.known());
    let TokenUse { tokens_in, tokens_out } = count.known();
    Ok(ChatReply {
        finish: finish.ok_or_else(|| odd("broke off its answer with an error"))?,
        text: choice.text.ok_or_else(|| odd("answered without a text"))?,
        tokens_in,
        tokens_out,
        logprobs: choice.logprobs.and_then(token_choices),
    })
}

/// What requests have in common whose prompts can be scored together.
pub(super) fn scoring_settings(request: &PromptRequest) -> String {
    request.top.to_string()
}

/// Log-probabilities of the own tokens of some prompts, whose settings are equal.
pub(super) async fn score(
    http: &Http,
    requests: &[PromptRequest],
) -> Result<Outcomes<PromptReply>, ChatError> {
    let spec = &http.spec;
    let top = requests.first().map_or(0, |request| request.top);
    let mut body: Map<String, Value> = Map::from_iter([
        ("model".into(), json!(spec.model)),
        ("prompt".into(), prompt_field(requests.iter().map(|request| request.prompt.as_str()))),
        ("max_tokens".into(), json!(ONE_TOKEN)),
        ("temperature".into(), json!(0.0)),
    ]);
    body.extend(match spec.prompt_logprobs {
        PromptLogprobs::Echo => [("echo".into(), json!(true)), ("logprobs".into(), json!(top))],
        // Versions that know `return_token_ids` say which candidate is the prompt's token; older ones list it first.
        PromptLogprobs::Vllm => {
            [("prompt_logprobs".into(), json!(top)), ("return_token_ids".into(), json!(true))]
        }
    });
    let answer = http.ask(PATH, &spec.with_extra(body), requests.len()).await.map_err(explained)?;
    let lengths: Vec<usize> = requests.iter().map(|request| request.prompt.len()).collect();
    // One token is generated for each prompt.
    let parts = per_prompt(http, answer, &lengths, |_| 1)?;
    let read = |(request, (choice, count))| read_scores(http, request, choice, count);
    Ok(requests.iter().zip(parts).map(read).collect())
}

fn read_scores(
    http: &Http,
    request: &PromptRequest,
    choice: Choice,
    count: TokenCount,
) -> Result<PromptReply, ChatError> {
    let tokens = match http.spec.prompt_logprobs {
        PromptLogprobs::Echo => echoed(http, request, choice, count)?,
        PromptLogprobs::Vllm => listed_by_vllm(http, request, choice, count)?,
    };
    let tokens_in = count.prompt_tokens.unwrap_or(tokens.len() as u64);
    Ok(PromptReply { tokens, tokens_in, slots: None })
}

fn echoed(
    http: &Http,
    request: &PromptRequest,
    choice: Choice,
    count: TokenCount,
) -> Result<Vec<PromptToken>, ChatError> {
    let unable = |what| unsupported(&http.endpoint, what);
    if !choice.text.is_some_and(|text| text.contains(request.prompt.trim())) {
        return Err(unable("does not echo the prompt"));
    }
    let columns = choice.logprobs.ok_or_else(|| unable("echoes the prompt without log-probabilities"))?;
    let mut tokens = prompt_tokens(columns).ok_or_else(|| {
        http.odd("answered with log-probabilities of different lengths").with_billed(count.known())
    })?;
    let joined: String = tokens.iter().map(|token| token.token.as_str()).collect();
    // Some endpoints list the generated token after the prompt's, others do not.
    if !joined.ends_with(&request.prompt) && count.completion_tokens.unwrap_or(ONE_TOKEN) > 0 {
        tokens.pop();
    }
    if is_one_late(&tokens) {
        if request.slots.is_none() {
            let what = "shifts log-probabilities by one token (llama-cpp-python does this for a model without BOS), so the \
                        tokens' own ones are missing";
            return Err(unable(what));
        }
        shift_back(&mut tokens, usize::from(request.top));
    }
    if let Some(first) = tokens.first_mut() {
        // No text precedes the first token; some endpoints report 0 for it.
        first.logprob = None;
    }
    Ok(tokens)
}

/// Matches with the next token that are needed before a shift is assumed.
const ONE_LATE_AT_LEAST: usize = 4;

/// Whether each token carries the log-probabilities of the next position. This is assumed if at least four tokens are
/// the likeliest at the position before their own, and over four times as many as at their own.
fn is_one_late(tokens: &[PromptToken]) -> bool {
    let is_likeliest = |token: &PromptToken, place: &PromptToken| {
        place.top.first().is_some_and(|(likeliest, _)| *likeliest == token.token)
    };
    let pairs = || tokens.windows(2).map(|pair| (&pair[0], &pair[1]));
    let at_own = pairs().filter(|(_, token)| is_likeliest(token, token)).count();
    let before = pairs().filter(|(place, token)| is_likeliest(token, place)).count();
    before >= ONE_LATE_AT_LEAST && before > 4 * at_own
}

/// Moves each position's `top` likeliest tokens to the token they belong to. The token's own log-probability is
/// known only if it is among them.
fn shift_back(tokens: &mut [PromptToken], top: usize) {
    for at in (1..tokens.len()).rev() {
        let mut likeliest = std::mem::take(&mut tokens[at - 1].top);
        // The endpoint appended the token of that position to the likeliest.
        likeliest.truncate(top);
        let own = likeliest.iter().find(|(token, _)| *token == tokens[at].token);
        tokens[at].logprob = own.map(|(_, logprob)| *logprob);
        tokens[at].top = likeliest;
    }
}

fn listed_by_vllm(
    http: &Http,
    request: &PromptRequest,
    choice: Choice,
    count: TokenCount,
) -> Result<Vec<PromptToken>, ChatError> {
    let Some(places) = choice.prompt_logprobs else {
        return Err(unsupported(&http.endpoint, "answers without `prompt_logprobs`"));
    };
    let ids = choice.prompt_token_ids.filter(|ids| ids.len() == places.len());
    let id = |position: usize| ids.as_ref().map(|ids| ids[position].to_string());
    let tokens: Option<Vec<PromptToken>> =
        places.into_iter().enumerate().map(|(position, place)| prompt_token(place, id(position))).collect();
    let mut tokens = tokens.ok_or_else(|| {
        http.odd("answered with a position without its own token").with_billed(count.known())
    })?;
    name_first(&mut tokens, &request.prompt);
    Ok(tokens)
}

/// The token of one position. The first position has no candidates.
fn prompt_token(place: Option<Candidates>, id: Option<String>) -> Option<PromptToken> {
    let Some(Candidates(candidates)) = place else {
        return Some(PromptToken { token: String::new(), logprob: None, top: Vec::new() });
    };
    let own = match id {
        Some(id) => candidates.iter().find(|(candidate, _)| *candidate == id),
        None => candidates.first(),
    };
    let own = own?.1.clone();
    let named = candidates.into_iter().filter_map(|(_, one)| Some((one.decoded_token?, one.logprob)));
    Some(PromptToken {
        token: own.decoded_token.unwrap_or_default(),
        logprob: Some(own.logprob),
        top: by_likelihood(named.collect()),
    })
}

/// Sets the first token's text to the part of the prompt before all others: empty for a beginning-of-text token.
fn name_first(tokens: &mut [PromptToken], prompt: &str) {
    let Some((first, others)) = tokens.split_first_mut() else { return };
    let rest: String = others.iter().map(|token| token.token.as_str()).collect();
    if first.token.is_empty() {
        first.token = prompt.strip_suffix(&rest).unwrap_or_default().to_string();
    }
}

fn by_likelihood(mut top: Vec<(String, f64)>) -> Vec<(String, f64)> {
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    top
}

/// Converts columns to tokens; `None` if their lengths differ.
fn prompt_tokens(columns: Columns) -> Option<Vec<PromptToken>> {
    let tokens = columns.tokens?;
    let logprobs = columns.token_logprobs?;
    let tops = columns.top_logprobs.unwrap_or_else(|| vec![None; tokens.len()]);
    if tokens.len() != logprobs.len() || tokens.len() != tops.len() {
        return None;
    }
    let rows = tokens.into_iter().zip(logprobs).zip(tops);
    let rows = rows.map(|((token, logprob), top)| {
        let top = by_likelihood(top.into_iter().flatten().collect());
        PromptToken { token, logprob, top }
    });
    Some(rows.collect())
}

fn token_choices(columns: Columns) -> Option<Vec<TokenChoice>> {
    let choice = |token: PromptToken| {
        Some(TokenChoice { token: token.token, logprob: token.logprob?, top: token.top })
    };
    prompt_tokens(columns)?.into_iter().map(choice).collect()
}

fn unsupported(endpoint: &str, what: &str) -> ChatError {
    let detail = format!(
        "{what}, so it cannot score prompts: use an endpoint that can (vLLM with `prompt_logprobs: vllm`), or a \
         simulator that needs only text (`generated`)"
    );
    ChatError::unsupported(endpoint, detail)
}

/// Turns a refusal to score prompts into `Unsupported`; other errors stay.
fn explained(error: ChatError) -> ChatError {
    match error {
        ChatError::BadRequest { endpoint, detail }
            if ["echo", "logprobs"].iter().any(|word| detail.contains(word)) =>
        {
            unsupported(&endpoint, &format!("refused to score a prompt ({detail})"))
        }
        ChatError::NotFound { endpoint, detail } if detail.contains("chat model") => {
            unsupported(&endpoint, &format!("has a chat model only ({detail})"))
        }
        other => other,
    }
}
