//! Prompts that are sent together.

use futures_util::future::join_all;

use super::*;

/// An endpoint of plain texts that sends `batch` prompts at once.
fn batching(server: &Server, cache: &Path, batch: usize) -> Llm {
    let mut endpoint = endpoint(&server.url, cache);
    (endpoint.spec.client, endpoint.spec.batch) = (ClientKind::OpenaiCompletions, batch);
    (endpoint.spec.price_in, endpoint.spec.price_out) = (Some(1.0), Some(1.0));
    connect_with(&endpoint, quick(0)).expect("connected")
}

/// The prompts of a request.
fn prompts(seen: &Seen) -> Vec<String> {
    match &seen.body["prompt"] {
        Value::Array(all) => all.iter().map(|text| text.as_str().expect("a text").to_string()).collect(),
        one => vec![one.as_str().expect("a text").to_string()],
    }
}

/// Says each prompt again, in reverse order, and echoes it in words if it is scored.
fn repeated(seen: &Seen) -> Act {
    let prompts = prompts(seen);
    let choice = |(index, prompt): (usize, &String)| {
        let words: Vec<&str> = prompt.split_inclusive(' ').collect();
        let logprobs = json!({"tokens": words, "token_logprobs": vec![-(index as f64) - 1.0; words.len()]});
        json!({"index": index, "text": prompt, "finish_reason": "stop", "logprobs": logprobs})
    };
    let choices: Vec<Value> = prompts.iter().enumerate().rev().map(choice).collect();
    let n = prompts.len();
    ok(json!({"choices": choices, "usage": {"prompt_tokens": 10 * n + 1, "completion_tokens": 3 * n}}))
}

fn texts(n: usize) -> Vec<ChatRequest> {
    (0..n).map(|nth| question(&format!("prompt {nth}"))).collect()
}

async fn answers(llm: &Llm, questions: &[ChatRequest]) -> Vec<String> {
    let replies = join_all(questions.iter().map(|question| llm.client.chat(question))).await;
    replies.into_iter().map(|reply| reply.expect("an answer").text).collect()
}

#[tokio::test]
async fn prompts_are_sent_together_and_answers_split() {
    let (server, cache) = (Server::start(|_, seen| repeated(seen)), tempfile::tempdir().expect("folder"));
    let llm = batching(&server, cache.path(), 4);
    let mut questions = texts(11);
    // Another setting, so a batch of its own.
    questions.push(ChatRequest { max_tokens: 17, ..question("prompt 11") });
    let said = answers(&llm, &questions).await;
    assert!(said.iter().enumerate().all(|(nth, text)| *text == format!("prompt {nth}")), "{said:?}");
    let sizes: Vec<usize> = server.requests().iter().map(|seen| prompts(seen).len()).collect();
    assert!(sizes.iter().sum::<usize>() == 12 && sizes.iter().all(|&n| n <= 4), "{sizes:?}");
    assert!(sizes.len() < 12, "{sizes:?}");
    let usage = llm.meter.usage();
    let billed = sizes.iter().fold((0, 0), |(i, o), &n| (i + 10 * n as u64 + 1, o + 3 * n as u64));
    assert_eq!((usage.requests, (usage.tokens_in, usage.tokens_out)), (12, billed));

    // Each prompt has its own place in the cache, which does not depend on batches.
    let alone = batching(&server, cache.path(), 1);
    assert_eq!(answers(&alone, &questions).await, said);
    assert_eq!((alone.meter.usage().cached, server.requests().len()), (12, sizes.len()));
}

#[tokio::test]
async fn prompts_are_scored_together() {
    let (server, cache) = (Server::start(|_, seen| repeated(seen)), tempfile::tempdir().expect("folder"));
    let llm = batching(&server, cache.path(), 8);
    let request = |nth: usize| PromptRequest { prompt: format!("a text {nth}"), top: 1, slots: None };
    let requests: Vec<PromptRequest> = (0..8).map(request).collect();
    let replies = join_all(requests.iter().map(|request| llm.client.score_prompt(request))).await;
    for (request, reply) in requests.iter().zip(replies) {
        let joined: String = reply.expect("scores").tokens.iter().map(|token| token.token.as_str()).collect();
        assert_eq!(joined, request.prompt);
    }
    assert!(server.requests().len() < 8);
}

#[tokio::test]
async fn failed_batches_are_asked_one_by_one() {
    // Accepts no lists.
    let server = Server::start(|_, seen| match seen.body["prompt"].is_array() {
        true => Act::Json(400, String::new(), json!({"error": {"message": "prompt must be a string"}})),
        false => repeated(seen),
    });
    let cache = tempfile::tempdir().expect("folder");
    let llm = batching(&server, cache.path(), 4);
    for round in 0..5 {
        let questions: Vec<ChatRequest> = (0..4).map(|nth| question(&format!("{round} {nth}"))).collect();
        let said = answers(&llm, &questions).await;
        assert!(said.iter().zip(&questions).all(|(text, asked)| *text == asked.messages[0].content));
    }
    let lists = server.requests().iter().filter(|seen| seen.body["prompt"].is_array()).count();
    assert!((3..=8).contains(&lists), "{lists} batches were tried");
    assert!(
        llm.remarks.all().iter().any(|told| told.contains("leave out `batch`")),
        "{:?}",
        llm.remarks.all()
    );
    assert_eq!(llm.meter.usage().requests, 20);

    // One answer is missing, and what the endpoint bills for the batch is counted.
    let short = Server::start(|_, seen| match prompts(seen).len() {
        1 => repeated(seen),
        _ => ok(json!({"choices": [], "usage": {"prompt_tokens": 41, "completion_tokens": 2}})),
    });
    let cache = tempfile::tempdir().expect("folder");
    let mut endpoint = endpoint(&short.url, cache.path());
    (endpoint.spec.client, endpoint.spec.batch) = (ClientKind::OpenaiCompletions, 4);
    let llm = connect_with(&endpoint, quick(6)).expect("connected");
    assert_eq!(answers(&llm, &texts(4)).await.len(), 4);
    let usage = llm.meter.usage();
    let sizes: Vec<usize> = short.requests().iter().map(|seen| prompts(seen).len()).collect();
    let counted = |n: usize| if n == 1 { (11, 3) } else { (41, 2) };
    let billed = sizes.iter().fold((0, 0), |(i, o), &n| (i + counted(n).0, o + counted(n).1));
    assert_eq!((usage.tokens_in, usage.tokens_out), billed, "{sizes:?}");
}

#[test]
fn counts_are_divided_without_a_rest() {
    use super::super::batched::shared;
    assert_eq!(shared(10, &[1, 1, 2]), [2, 3, 5]);
    assert_eq!(shared(7, &[0, 0, 0]).iter().sum::<u64>(), 7);
    assert_eq!(
        shared(u64::MAX, &[3, 1]).iter().map(|&part| u128::from(part)).sum::<u128>(),
        u128::from(u64::MAX)
    );
    assert!(shared(5, &[]).is_empty());
}
