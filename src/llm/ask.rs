//! Repeated requests until a reply is readable.

use crate::base::{Attempt, Missing};

use super::{ChatClient, ChatError, ChatReply, ChatRequest, ReadProblem};

/// Requests sample `first_sample` and, while replies are unreadable, at most `allowance` further samples.
///
/// If no reply is readable, the result is a counted failure, and the answers leave the cache: the next run asks again.
/// Fails with errors that concern all requests: see [`failed_call`].
pub async fn ask_until_read<T>(
    client: &dyn ChatClient,
    request: impl Fn(u64) -> ChatRequest,
    read: impl Fn(&ChatReply) -> Result<T, ReadProblem>,
    first_sample: u64,
    allowance: usize,
) -> Result<Attempt<T>, ChatError> {
    let (mut asked, mut restarted) = (0, false);
    loop {
        let question = request(first_sample.saturating_add(asked));
        let problem = match client.chat(&question).await {
            Err(error) => return failed_call(error).map(Attempt::Missing),
            Ok(reply) => match read(&reply) {
                Ok(value) => return Ok(Attempt::Done(value)),
                Err(problem) => problem,
            },
        };
        if asked >= allowance as u64 || !problem.worth_asking_again() {
            // After a success, unreadable answers stay in the cache: a later run then takes the same path.
            let samples = first_sample..=first_sample.saturating_add(asked);
            let from_earlier_run = samples.filter(|&sample| client.forget(&request(sample))).count();
            // A stopped run may have cached answers that it never read. They do not count as attempts, once.
            if from_earlier_run > 0 && !restarted {
                (asked, restarted) = (0, true);
                continue;
            }
            return Ok(Attempt::Missing(problem.into()));
        }
        asked += 1;
    }
}

/// Failure reasons for which the endpoint gave no answer.
pub const ENDPOINT_REASONS: [&str; 3] = ["bad_request", "server_error", "timeout"];

/// The counted failure for an error that may be specific to this request, such as an excessive length. Any other error
/// is returned: the next request would fail too, so the run stops and can be resumed.
pub fn failed_call(error: ChatError) -> Result<Missing, ChatError> {
    let [refused, broken, late] = ENDPOINT_REASONS;
    let reason = match error {
        ChatError::BadRequest { .. } => refused,
        ChatError::Server { .. } => broken,
        ChatError::Timeout { .. } => late,
        other => return Err(other),
    };
    Ok(Missing::Failed(reason.into()))
}

impl From<ReadProblem> for Missing {
    fn from(problem: ReadProblem) -> Self {
        Self::Failed(problem.reason().into())
    }
}
