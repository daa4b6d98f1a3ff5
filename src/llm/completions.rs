//! `POST {base}/completions`: answers to plain texts, and the log-probabilities of a text's own
//! tokens, in the form that echoes the prompt and in that of vLLM.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::http::Http;
use super::openai::{TokenCount, finish_of, first_of};
use super::{
    ChatError, ChatReply, LlmSpec, PromptLogprobs, PromptReply, PromptRequest, PromptToken, TokenChoice,
};

const PATH: &str = "completions";

/// Generated where only the prompt is to be scored, and dropped: some endpoints refuse none, and llama-cpp-python
/// takes it for no limit at all.
const A_TOKEN: u64 = 1;

#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: TokenCount,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    text: Option<String>,
    finish_reason: Option<String>,
    logprobs: Option<Columns>,
    prompt_logprobs: Option<Vec<Option<Place>>>,
    prompt_token_ids: Option<Vec<u64>>,
}

/// Log-probabilities as columns of equal length.
#[derive(Deserialize)]
struct Columns {
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<BTreeMap<String, f64>>>>,
}

/// The candidates at one position in vLLM's form, by token id, in the order of the answer: the token
/// that stands in the prompt is the first.
struct Place(Vec<(String, Candidate)>);

#[derive(Deserialize, Clone)]
struct Candidate {
    logprob: f64,
    decoded_token: Option<String>,
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Place;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of token ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Place, A::Error> {
                let mut candidates = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    candidates.push(entry);
                }
                Ok(Place(candidates))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// An answer to a plain text.
pub(super) async fn complete(http: &Http, body: &Value) -> Result<ChatReply, ChatError> {
    let (choice, count) = first_choice(http, body).await?;
    let finish = finish_of(choice.finish_reason.as_deref());
    let odd = |detail: &str| http.odd(detail).with_billed(count.billed());
    Ok(ChatReply {
        finish: finish.ok_or_else(|| odd("broke off its answer with an error"))?,
        text: choice.text.ok_or_else(|| odd("answered without a text"))?,
        tokens_in: count.prompt_tokens.unwrap_or(0),
        tokens_out: count.completion_tokens.unwrap_or(0),
        logprobs: choice.logprobs.and_then(token_choices),
    })
}

/// Log-probabilities of a prompt's own tokens.
pub(super) async fn score(
    http: &Http,
    spec: &LlmSpec,
    request: &PromptRequest,
) -> Result<PromptReply, ChatError> {
    let scored = match spec.prompt_logprobs {
        PromptLogprobs::Echo => echo(http, spec, request).await,
        PromptLogprobs::Vllm => vllm(http, spec, request).await,
    };
    scored.map_err(explained)
}

async fn first_choice(http: &Http, body: &Value) -> Result<(Choice, TokenCount), ChatError> {
    let answer: Answer = http.ask(PATH, body).await?;
    let choice = first_of(answer.choices, |choice| choice.index);
    let count = answer.usage;
    let odd = || http.odd("answered without a choice").with_billed(count.billed());
    Ok((choice.ok_or_else(odd)?, count))
}

fn scoring_body(spec: &LlmSpec, request: &PromptRequest) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("model".into(), json!(spec.model));
    body.insert("prompt".into(), json!(request.prompt));
    body.insert("max_tokens".into(), json!(A_TOKEN));
    body.insert("temperature".into(), json!(0.0));
    body
}

async fn echo(http: &Http, spec: &LlmSpec, request: &PromptRequest) -> Result<PromptReply, ChatError> {
    let mut body = scoring_body(spec, request);
    body.insert("echo".into(), json!(true));
    body.insert("logprobs".into(), json!(request.top));
    let (choice, count) = first_choice(http, &spec.with_extra(body)).await?;
    if !choice.text.is_some_and(|text| text.contains(request.prompt.trim())) {
        return Err(unsupported(http.endpoint(), "does not echo the prompt"));
    }
    let columns = choice.logprobs;
    let columns =
        columns.ok_or_else(|| unsupported(http.endpoint(), "echoes the prompt without log-probabilities"))?;
    let mut tokens = prompt_tokens(columns).ok_or_else(|| {
        http.odd("answered with log-probabilities of different lengths").with_billed(count.billed())
    })?;
    let joined: String = tokens.iter().map(|token| token.token.as_str()).collect();
    // Some list what they generated, some stop where the prompt does.
    if !joined.ends_with(&request.prompt) && count.completion_tokens.unwrap_or(A_TOKEN) > 0 {
        tokens.pop();
    }
    if is_one_late(&tokens) {
        if request.slots.is_none() {
            let what = "gives each token of a prompt what belongs to the next one (llama-cpp-python does, where a model \
                        has no BOS), which leaves the tokens' own probabilities out";
            return Err(unsupported(http.endpoint(), what));
        }
        put_in_place(&mut tokens, usize::from(request.top));
    }
    if let Some(first) = tokens.first_mut() {
        // Nothing is before it; some endpoints say 0 where others say nothing.
        first.logprob = None;
    }
    let tokens_in = count.prompt_tokens.unwrap_or(tokens.len() as u64);
    Ok(PromptReply { tokens, tokens_in, slots: None })
}

/// Tokens that must be the likeliest at the place before them until that is no accident.
const ONE_LATE_AT_LEAST: usize = 4;

/// Whether each token comes with the log-probabilities of the token after it. Of a text that a model reads well many
/// tokens are the likeliest of all at their own place, and hardly any at the place before.
fn is_one_late(tokens: &[PromptToken]) -> bool {
    let is_likeliest = |token: &PromptToken, place: &PromptToken| {
        place.top.first().is_some_and(|(likeliest, _)| *likeliest == token.token)
    };
    let pairs = || tokens.windows(2).map(|pair| (&pair[0], &pair[1]));
    let at_own = pairs().filter(|(_, token)| is_likeliest(token, token)).count();
    let before = pairs().filter(|(place, token)| is_likeliest(token, place)).count();
    before >= ONE_LATE_AT_LEAST && before > 4 * at_own
}

/// Gives each token the `top` likeliest at its place, which stand at the token before it. Its own log-probability is
/// known where it is among them.
fn put_in_place(tokens: &mut [PromptToken], top: usize) {
    for at in (1..tokens.len()).rev() {
        let mut likeliest = std::mem::take(&mut tokens[at - 1].top);
        // The token that stood there was added to the likeliest.
        likeliest.truncate(top);
        let own = likeliest.iter().find(|(token, _)| *token == tokens[at].token);
        tokens[at].logprob = own.map(|(_, logprob)| *logprob);
        tokens[at].top = likeliest;
    }
}

async fn vllm(http: &Http, spec: &LlmSpec, request: &PromptRequest) -> Result<PromptReply, ChatError> {
    let mut body = scoring_body(spec, request);
    body.insert("prompt_logprobs".into(), json!(request.top));
    // Versions that know it say which candidate stands in the prompt; the others list it first.
    body.insert("return_token_ids".into(), json!(true));
    let (choice, count) = first_choice(http, &spec.with_extra(body)).await?;
    let Some(places) = choice.prompt_logprobs else {
        return Err(unsupported(http.endpoint(), "answers without `prompt_logprobs`"));
    };
    let ids = choice.prompt_token_ids.filter(|ids| ids.len() == places.len());
    let id = |position: usize| ids.as_ref().map(|ids| ids[position].to_string());
    let tokens: Option<Vec<PromptToken>> =
        places.into_iter().enumerate().map(|(position, place)| place_token(place, id(position))).collect();
    let mut tokens = tokens.ok_or_else(|| {
        http.odd("answered with a position without its own token").with_billed(count.billed())
    })?;
    name_first(&mut tokens, &request.prompt);
    let tokens_in = count.prompt_tokens.unwrap_or(tokens.len() as u64);
    Ok(PromptReply { tokens, tokens_in, slots: None })
}

/// The token at one position; the first position comes without candidates.
fn place_token(place: Option<Place>, id: Option<String>) -> Option<PromptToken> {
    let Some(Place(candidates)) = place else {
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

/// The first token is what the others leave of the prompt; nothing where it is a beginning of text.
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

/// Columns as rows; none where their lengths differ.
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
        "{what}, so it cannot score prompts: take an endpoint that can (vLLM with `prompt_logprobs: vllm`), or a \
         simulator that reads answers"
    );
    ChatError::Unsupported { endpoint: endpoint.to_string(), detail }
}

/// A refusal that says that the model cannot score prompts, as that; others as they are.
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
