//! Language models that explain and simulate.
//!
//! In: chat requests.
//! Out: replies with what they cost, or an error that says whether asking again can help.
//! Never: knows what a feature is.
//!
//! A client does one thing, speak an endpoint's protocol; wrappers with one duty each are put around
//! it: remember answers, ask again, wait for a turn, count, stop at a budget.

mod chat;

pub use chat::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Finish, Message, PromptReply, PromptRequest,
    PromptToken, Role, Schema, TokenChoice,
};
