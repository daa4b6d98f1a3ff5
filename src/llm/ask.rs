use crate::base::{Attempt, Missing};

use super::{ChatClient, ChatError, ChatReply, ChatRequest, ReadProblem};

/// Asks until a reply can be read: sample `first_sample`, then, at most `allowance` times, the next one.
///
/// What can't be read in the end, and a request that the endpoint refuses or never completes, is a counted failure. Its
/// answers are forgotten, so that the next run asks again. An error that concerns all requests alike is `Err`, see
/// [`failed_call`].
pub async fn ask_until_read<T>(
    client: &dyn ChatClient,
    request: impl Fn(u64) -> ChatRequest,
    read: impl Fn(&ChatReply) -> Result<T, ReadProblem>,
    first_sample: u64,
    allowance: usize,
) -> Result<Attempt<T>, ChatError> {
    let (mut asked, mut anew) = (0, false);
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
            // Answers that came to something stay stored, those before a readable one too: it is the same way again.
            let samples = first_sample..=first_sample.saturating_add(asked);
            let stored = samples.filter(|&sample| client.forget(&request(sample))).count();
            // A run that was stopped may have stored answers that it never read. They count as not asked, once.
            if stored > 0 && !anew {
                (asked, anew) = (0, true);
                continue;
            }
            return Ok(Attempt::Missing(Missing::Failed(problem.reason().into())));
        }
        asked += 1;
    }
}

/// Reasons of failures in which the endpoint gave no answer at all.
pub const ENDPOINT_REASONS: [&str; 3] = ["bad_request", "server_error", "timeout"];

/// What a failed call means for one feature: `bad_request`, `server_error` and `timeout` may be this
/// request's own fault (its length, say) and are counted; every other error would meet the next
/// request too and is handed back, so that work goes on where it stopped once that is mended.
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
