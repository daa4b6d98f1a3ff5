//! Several endpoints of one model.

use std::sync::atomic::AtomicBool;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::super::balanced::{Balanced, Place};
use super::*;
use crate::base::Stream;

/// An endpoint that takes 1 to 3 ms, drawn from a seeded stream, and can be dead.
struct Member {
    calls: AtomicUsize,
    is_dead: AtomicBool,
    latency: Mutex<Stream>,
}

impl Member {
    fn new(seed: u64) -> Arc<Self> {
        let latency = Mutex::new(Stream::new(seed, "latency"));
        Arc::new(Self { calls: AtomicUsize::new(0), is_dead: AtomicBool::new(false), latency })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    async fn reply(&self) -> Result<ChatReply, ChatError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.is_dead.load(Ordering::SeqCst) {
            return Err(ChatError::Connection { endpoint: "dead".into(), detail: "refused".into() });
        }
        let seconds = 0.001 + 0.002 * self.latency.lock().expect("a stream").unit();
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        Ok(ChatReply {
            text: "yes".into(),
            finish: Finish::Stop,
            tokens_in: 1,
            tokens_out: 1,
            logprobs: None,
        })
    }
}

impl ChatClient for Member {
    fn identity(&self) -> &str {
        "all"
    }

    fn chat<'a>(&'a self, _: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.reply())
    }

    fn score_prompt<'a>(&'a self, _: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(async { Ok(PromptReply::default()) })
    }
}

fn balanced(members: &[(Arc<Member>, f64)], remarks: &EndpointNotes) -> Balanced {
    let place = |(nth, (client, weight)): (usize, &(Arc<Member>, f64))| Place {
        client: client.clone(),
        address: format!("http://{nth}"),
        weight: *weight,
    };
    let places = members.iter().enumerate().map(place).collect();
    Balanced::new("all".into(), places, quick(0), remarks.clone())
}

/// Answers to `n` questions, 32 of them in flight.
async fn ask(client: &Balanced, n: usize) -> usize {
    let request = question("q");
    let asked = futures_util::stream::iter(0..n).map(|_| client.chat(&request));
    asked.buffer_unordered(32).filter(|outcome| std::future::ready(outcome.is_ok())).count().await
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let members = [(Member::new(1), 1.0), (Member::new(2), 3.0), (Member::new(3), 4.0)];
    let remarks = EndpointNotes::default();
    assert_eq!(ask(&balanced(&members, &remarks), 1600).await, 1600);
    for (member, weight) in &members {
        let share = member.calls() as f64 / 1600.0;
        assert!((share - weight / 8.0).abs() < 0.04, "{share} of weight {weight}");
    }
    assert!(remarks.all().is_empty());
}

#[tokio::test]
async fn requests_of_a_dead_endpoint_move_to_the_others_until_it_returns() {
    let members = [(Member::new(1), 1.0), (Member::new(2), 1.0)];
    let (remarks, dead) = (EndpointNotes::default(), &members[0].0);
    let client = balanced(&members, &remarks);
    dead.is_dead.store(true, Ordering::SeqCst);
    assert_eq!(ask(&client, 400).await, 400, "each is answered by the other one");
    assert_eq!(members[1].0.calls(), 400);
    // Those in flight when it died, then one after each rest of 2 to 10 ms.
    assert!(dead.calls() < 100, "{}", dead.calls());
    let told = remarks.all();
    assert!(told.len() == 1 && told[0].starts_with("http://0 failed 3 times in a row"), "{told:?}");

    dead.is_dead.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let before = dead.calls();
    assert_eq!(ask(&client, 400).await, 400);
    assert!((120..=280).contains(&(dead.calls() - before)), "it takes its share again");

    // Nobody is left: each request fails after its attempts, with the error of an endpoint.
    members.iter().for_each(|(member, _)| member.is_dead.store(true, Ordering::SeqCst));
    let request = question("q");
    for _ in 0..10 {
        let error = client.chat(&request).await.expect_err("nobody answers");
        assert!(matches!(error, ChatError::Connection { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_without_its_server_is_left_out_and_other_refusals_are_named() {
    let cache = tempfile::tempdir().expect("folder");
    let gone = Server::always(|| Act::Json(503, String::new(), json!({})));
    let well = Server::always(|| ok(said("yes")));
    let mut both = endpoint(&gone.url, cache.path());
    let listed = |urls: [&str; 2]| Some(urls.into_iter().map(|url| BaseUrl::Plain(url.into())).collect());
    both.spec.base_url = listed([&gone.url, &well.url]);
    let llm = connect_with(&both, quick(0)).expect("connected");
    let questions: Vec<ChatRequest> = (0..30).map(|nth| question(&format!("q{nth}"))).collect();
    for reply in join_all(questions.iter().map(|question| llm.client.chat(question))).await {
        assert_eq!(reply.expect("an answer").text, "yes");
    }
    assert_eq!((well.requests().len(), llm.meter.usage().requests), (30, 30));

    // The answers are those of both addresses, in whatever order and with whatever weights.
    both.spec.base_url = Some(
        [(&well.url, 2.0), (&gone.url, 0.5)]
            .into_iter()
            .map(|(url, weight)| BaseUrl::Weighted { url: url.clone(), weight })
            .collect(),
    );
    let again = connect_with(&both, quick(0)).expect("connected");
    again.client.chat(&questions[0]).await.expect("an answer");
    assert_eq!((again.meter.usage().cached, again.client.identity()), (1, llm.client.identity()));
    both.spec.base_url = Some(well.url.as_str().into());
    let alone = connect_with(&both, quick(0)).expect("connected");
    alone.client.chat(&questions[0]).await.expect("an answer");
    assert_eq!(alone.meter.usage().cached, 0, "another set of addresses");

    let locked = Server::always(|| Act::Json(401, String::new(), json!({"error": {"message": "no"}})));
    both.spec.base_url = listed([&locked.url, &well.url]);
    let llm = connect_with(&both, quick(0)).expect("connected");
    let error = llm.client.chat(&question("new")).await.expect_err("refused");
    assert!(matches!(error, ChatError::Auth { .. }) && error.to_string().contains(&locked.url), "{error}");
}

#[tokio::test]
async fn connections_are_kept() {
    let cache = tempfile::tempdir().expect("folder");
    let server = Server::always(|| ok(said("yes")));
    let mut endpoint = endpoint(&server.url, cache.path());
    endpoint.spec.max_in_flight = 8;
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    let questions: Vec<ChatRequest> = (0..300).map(|nth| question(&format!("q{nth}"))).collect();
    let asked = futures_util::stream::iter(&questions).map(|question| llm.client.chat(question));
    assert_eq!(asked.buffer_unordered(16).filter(|one| std::future::ready(one.is_ok())).count().await, 300);
    // A new connection may be started while another one becomes free.
    let connections = server.connections.load(Ordering::Relaxed);
    assert!((1..=30).contains(&connections), "{connections} connections for 300 requests");
}

#[test]
fn addresses_are_one_or_many_and_show_no_key() {
    let read = |base_url: Value| -> LlmSpec {
        serde_json::from_value(json!({"client": "openai", "model": "m", "base_url": base_url})).expect("read")
    };
    for (given, written) in [
        (json!("http://a/v1"), json!("http://a/v1")),
        (json!(["http://a/v1"]), json!("http://a/v1")),
        (
            json!(["http://a/v1", {"url": "http://b/v1", "weight": 2}]),
            json!(["http://a/v1", {"url": "http://b/v1", "weight": 2.0}]),
        ),
        (json!([{"url": "http://b/v1"}]), json!([{"url": "http://b/v1", "weight": 1.0}])),
        (Value::Null, Value::Null),
    ] {
        let spec = read(given);
        assert_eq!(json!(spec)["base_url"], written);
        assert_eq!(json!(spec).get("batch"), None, "stored results keep their keys");
        assert!(spec.check().iter().all(|problem| problem.field == "max_in_flight"), "{written}");
    }
    assert_eq!(read(json!(["http://a", "http://b"])).with_client_defaults().max_in_flight, 128);
    let wrong = read(json!([
        "http://a/v1/",
        {"url": "https://me:sk-abc@b/v1", "weight": 0},
        "http://a/v1",
    ]));
    let wrong = wrong.with_client_defaults().check();
    let fields: Vec<&str> = wrong.iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["base_url.1.weight", "base_url.1.url", "base_url.2"]);
    assert!(!format!("{wrong:?}").contains("sk-abc"));
    assert_eq!(read(json!([])).with_client_defaults().check()[0].field, "base_url");
}
