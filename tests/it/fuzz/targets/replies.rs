//! What language models say: explanations, simulations and judgements.

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use autointerp::explain::language_model::read_sentence;
use autointerp::llm::{
    ChatClient, ChatReply, ChatRequest, Finish, PromptReply, PromptRequest, ReplyFuture, TokenChoice, answer,
    answer_value,
};
use autointerp::score::{read_judgements, surprisal};
use autointerp::simulate::language_model::{
    Exemplar, Generated, LanguageSimulator, Likelihood, PerToken, PromptLogprobs, simulate_with,
};
use serde::Deserialize;

/// Tokens of the simulated fragment.
const TOKENS: [&str; 3] = [" the", "é", "\n"];

/// An input: replies as they are stored, else the text of one.
#[derive(Deserialize)]
struct Said {
    chat: ChatReply,
    prompt: PromptReply,
}

impl Said {
    fn of(input: &[u8]) -> Self {
        serde_json::from_slice(input).unwrap_or_else(|_| {
            let text = String::from_utf8_lossy(input).into_owned();
            let choice =
                |c: char| TokenChoice { token: c.into(), logprob: -0.5, top: vec![(c.into(), -0.5)] };
            let logprobs = Some(text.chars().map(choice).collect());
            let chat = ChatReply { text, finish: Finish::Stop, tokens_in: 1, tokens_out: 1, logprobs };
            Self { chat, prompt: PromptReply::default() }
        })
    }
}

/// A model that says the same to everything.
impl ChatClient for Said {
    fn identity(&self) -> &str {
        "said"
    }

    fn chat<'a>(&'a self, _request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(std::future::ready(Ok(self.chat.clone())))
    }

    fn score_prompt<'a>(&'a self, _request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(std::future::ready(Ok(self.prompt.clone())))
    }
}

/// Replies to every kind of question.
pub fn replies(input: &[u8]) {
    let said = Said::of(input);
    black_box((answer(&said.chat).is_ok(), answer_value(&said.chat).is_ok()));
    black_box(read_sentence(&said.chat).is_ok());
    black_box(read_judgements(&said.chat, TOKENS.len()).is_ok());
    black_box(surprisal(&said.prompt, &said.prompt).is_ok());
    let simulators: [&dyn LanguageSimulator; 6] = [
        &Generated { expected_value: false, shots: None },
        &Generated { expected_value: true, shots: Some(1) },
        &PerToken::default(),
        &PromptLogprobs::new(None),
        &Likelihood,
        &Exemplar,
    ];
    let tokens = TOKENS.map(String::from);
    for simulator in simulators {
        let mut work = pin!(simulate_with(&said, simulator, "words", &tokens, 1));
        // Nothing waits, so the first poll is the last.
        if let Poll::Ready(Ok(attempt)) = work.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            && let Some(simulation) = attempt.done()
        {
            assert_eq!(simulation.expected.len(), TOKENS.len());
        }
    }
}
