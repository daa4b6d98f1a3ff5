use std::collections::HashMap;

use futures_util::StreamExt;
use futures_util::future::join_all;

use super::*;
use crate::base::Stopwatch;

/// A client that takes 30 ms and counts the requests in flight.
#[derive(Default)]
struct Slow {
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    most: AtomicUsize,
}

impl ChatClient for Slow {
    fn identity(&self) -> &str {
        "slow"
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(async move {
            let number = self.calls.fetch_add(1, Ordering::SeqCst);
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(30)).await;
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            Ok(answer(&format!("{number} {}", request.messages[0].content)))
        })
    }

    fn score_prompt<'a>(&'a self, _: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(async { Ok(PromptReply { tokens_in: 3, ..PromptReply::default() }) })
    }
}

fn answer(text: &str) -> ChatReply {
    ChatReply { text: text.into(), finish: Finish::Stop, tokens_in: 10, tokens_out: 5, logprobs: None }
}

fn server_error() -> ChatError {
    ChatError::Server {
        endpoint: "e".into(),
        detail: "d".into(),
        retry_after: None,
        billed: TokenUse::default(),
    }
}

#[tokio::test]
async fn identical_requests_in_flight_share_one_call() {
    let cache = tempfile::tempdir().expect("folder");
    let (slow, meter) = (Arc::new(Slow::default()), Meter::new(None));
    let cached = Cached::new(slow.clone(), cache.path(), meter.clone());
    let (one, two) = (question("one"), question("two"));
    let asked = (0..20).map(|i| cached.chat(if i % 2 == 0 { &one } else { &two }));
    let replies: Vec<ChatReply> = join_all(asked).await.into_iter().map(|r| r.expect("an answer")).collect();
    assert_eq!((slow.calls.load(Ordering::SeqCst), meter.usage().cached), (2, 18));
    assert!(replies.iter().step_by(2).all(|reply| *reply == replies[0]));
    assert_ne!(replies[0], replies[1]);
}

#[tokio::test]
async fn the_next_request_makes_the_call_if_the_first_is_dropped() {
    let cache = tempfile::tempdir().expect("folder");
    let slow = Arc::new(Slow::default());
    let cached = Cached::new(slow.clone(), cache.path(), Meter::new(None));
    let request = question("one");
    let first = tokio::time::timeout(Duration::from_millis(20), cached.chat(&request));
    let (first, second) = futures_util::future::join(first, cached.chat(&request)).await;
    assert!(first.is_err());
    second.expect("an answer");
    assert_eq!(slow.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn errors_are_shared_by_requests_in_flight_and_not_cached() {
    let cache = tempfile::tempdir().expect("folder");
    let failing = Arc::new(Replayed::scripted("failing", |_| Err(server_error())));
    let meter = Meter::new(None);
    let cached = Cached::new(failing.clone(), cache.path(), meter.clone());
    let request = question("one");
    for outcome in join_all((0..3).map(|_| cached.chat(&request))).await {
        assert_eq!(outcome, Err(server_error()));
    }
    assert_eq!(failing.calls(), 1);
    cached.chat(&request).await.expect_err("again");
    assert_eq!((failing.calls(), meter.usage().cached), (2, 0));
}

#[tokio::test]
async fn two_clients_share_a_folder() {
    let cache = tempfile::tempdir().expect("folder");
    let server =
        Server::start(|_, seen| ok(said(seen.body["messages"][0]["content"].as_str().expect("text"))));
    let connected = || connect_with(&endpoint(&server.url, cache.path()), quick(0)).expect("connected");
    let (a, b) = (connected(), connected());
    let questions: Vec<ChatRequest> = (0..30).map(|i| question(&format!("q{i}"))).collect();
    let both = questions.iter().flat_map(|q| [a.client.chat(q), b.client.chat(q)]);
    for (index, reply) in join_all(both).await.into_iter().enumerate() {
        assert_eq!(reply.expect("an answer").text, format!("q{}", index / 2));
    }
    assert_eq!(all_files(cache.path()).len(), 30, "one file per answer and none left over");
    let asked = server.requests().len();
    assert_eq!(asked, 30, "one of them asks, the other takes its answer");
    let third = connected();
    for question in &questions {
        third.client.chat(question).await.expect("an answer");
    }
    assert_eq!((server.requests().len(), third.meter.usage().cached), (asked, 30));
    assert_eq!(a.meter.usage().not_stored + b.meter.usage().not_stored, 0);
}

#[tokio::test]
async fn the_cache_key_covers_all_that_determines_an_answer() {
    let cache = tempfile::tempdir().expect("folder");
    let (one, two) = (Server::always(|| ok(said("a"))), Server::always(|| ok(said("b"))));
    let base = endpoint(&one.url, cache.path());
    let text = json!({"choices": [{"text": "t"}]});
    let completions = Server::start(move |_, seen| match seen.path.as_str() {
        "/v1/completions" => ok(text.clone()),
        _ => ok(said("c")),
    });
    let ask = async |change: &dyn Fn(&mut Endpoint), request: &ChatRequest| {
        let mut endpoint = base.clone();
        change(&mut endpoint);
        let llm = connect_with(&endpoint, quick(0)).expect("connected");
        llm.client.chat(request).await.expect("an answer");
        llm.meter.usage().cached == 1
    };
    let plain = question("q");
    assert!(!ask(&|_| (), &plain).await);
    assert!(ask(&|_| (), &plain).await);
    assert!(
        ask(&|e| e.spec.base_url = Some(format!("{}/", one.url).into()), &plain).await,
        "a slash at the end"
    );
    assert!(ask(&|e| e.key = None, &plain).await, "the key decides nothing");
    assert!(!ask(&|e| e.spec.base_url = Some(two.url.as_str().into()), &plain).await);
    assert!(!ask(&|e| e.spec.model = "other".into(), &plain).await);
    assert!(!ask(&|e| e.spec.structured = false, &plain).await);
    assert!(!ask(&|e| e.spec.base_url = Some(completions.url.as_str().into()), &plain).await);
    let protocol = |e: &mut Endpoint| {
        e.spec.base_url = Some(completions.url.as_str().into());
        e.spec.client = ClientKind::OpenaiCompletions;
    };
    assert!(!ask(&protocol, &plain).await);
    let changes: [fn(&mut ChatRequest); 5] = [
        |request| request.sample = 1,
        |request| request.max_tokens = 17,
        |request| request.temperature = 0.5,
        |request| request.messages[0].role = Role::System,
        |request| request.top_logprobs = Some(5),
    ];
    for change in changes {
        let mut request = plain.clone();
        change(&mut request);
        assert!(!ask(&|_| (), &request).await && ask(&|_| (), &request).await, "{request:?}");
    }
}

#[tokio::test]
async fn damaged_files_are_requested_again_and_unusable_answers_forgotten() {
    let cache = tempfile::tempdir().expect("folder");
    let client = Arc::new(Replayed::scripted("r", |request| {
        let finish = match request.messages[0].content.as_str() {
            "refused" => Finish::Refused,
            "cut" => Finish::Length,
            _ => Finish::Stop,
        };
        Ok(ChatReply { finish, ..answer("as is") })
    }));
    let cached = Cached::new(client.clone(), cache.path(), Meter::new(None));
    let fixed = Cached::new(client.clone(), cache.path(), Meter::new(None)).of_fixed_answers();
    for text in ["refused", "cut"] {
        cached.chat(&question(text)).await.expect("an answer");
        assert!(!fixed.forget(&question(text)));
    }
    assert_eq!(
        all_files(cache.path()).len(),
        2,
        "a model that answers the same each time is not asked again"
    );
    for text in ["refused", "cut", "never asked"] {
        assert!(!cached.forget(&question(text)), "no earlier run's");
    }
    assert!(all_files(cache.path()).is_empty());
    cached.chat(&question("kept")).await.expect("an answer");
    let path = all_files(cache.path()).remove(0);
    let whole = std::fs::read_to_string(&path).expect("text");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    assert_eq!(path, cache.path().join(&name[..2]).join(&name));
    let changed = whole.replace("as is", "as was");
    for (number, damaged) in ["", "{", &whole[..whole.len() / 2], &changed].into_iter().enumerate() {
        crate::base::write_atomic(&path, damaged.as_bytes()).expect("written");
        assert_eq!(cached.chat(&question("kept")).await.expect("an answer").text, "as is");
        assert_eq!(client.calls(), 4 + number);
        assert_eq!(std::fs::read_to_string(&path).expect("text"), whole);
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_used_and_counted() {
    let cache = tempfile::tempdir().expect("folder");
    let file = cache.path().join("a file where a folder should be");
    crate::base::write_atomic(&file, b"x").expect("written");
    let meter = Meter::new(None);
    let cached = Cached::new(Arc::new(Slow::default()), &file, meter.clone());
    cached.chat(&question("a")).await.expect("an answer");
    assert_eq!(meter.usage().not_stored, 1);
}

#[tokio::test]
async fn offline_answers_come_from_the_cache_or_from_this_machine() {
    let cache = tempfile::tempdir().expect("folder");
    let mut away = endpoint("https://api.example.com/v1", cache.path());
    (away.offline, away.key) = (true, None);
    let llm = connect(&away).expect("connected");
    let error = llm.client.chat(&question("a")).await.expect_err("offline");
    assert_eq!(error, ChatError::Offline { endpoint: "https://api.example.com/v1".into() });

    let recorded = Arc::new(Replayed::scripted(llm.client.identity(), |_| Ok(answer("from before"))));
    let before = Cached::new(recorded, cache.path(), Meter::new(None));
    before.chat(&question("a")).await.expect("an answer");
    assert_eq!(llm.client.chat(&question("a")).await.expect("cached").text, "from before");
    assert_eq!(llm.meter.usage(), Usage { cached: 1, ..Usage::default() });

    let server = Server::always(|| ok(said("here")));
    let mut here = endpoint(&server.url, cache.path());
    (here.offline, here.key) = (true, None);
    let llm = connect_with(&here, quick(0)).expect("connected");
    assert_eq!(llm.client.chat(&question("a")).await.expect("an answer").text, "here");
    assert!(!server.requests()[0].headers.contains_key("authorization"));
}

#[test]
fn connecting_says_what_is_missing() {
    let refused = |change: &dyn Fn(&mut Endpoint)| {
        let mut endpoint = endpoint("https://api.example.com/v1", Path::new("nowhere"));
        change(&mut endpoint);
        connect(&endpoint).map(|_| ()).expect_err("refused")
    };
    let keyless = refused(&|e| (e.key, e.spec.api_key_env) = (None, Some("MY_KEY".into())));
    assert!(matches!(&keyless, ChatError::Auth { detail, .. } if detail.contains("`MY_KEY`")), "{keyless}");
    let unpriced = refused(&|e| e.budget = Some(Budget::new(1.0)));
    assert!(matches!(unpriced, ChatError::Unsupported { .. }), "{unpriced}");
    let key_inside = refused(&|e| e.spec.base_url = Some("https://user:sk-abc@host/v1".into()));
    assert!(matches!(key_inside, ChatError::BadRequest { .. }) && !key_inside.to_string().contains("sk-abc"));
    let wrong = refused(&|e| e.spec.max_in_flight = 0);
    assert!(wrong.to_string().contains("`max_in_flight` is 0"), "{wrong}");
}

#[tokio::test]
async fn repetition_is_bounded_and_returns_the_last_error() {
    let tries = Arc::new(AtomicUsize::new(0));
    let seen = tries.clone();
    let flaky = Replayed::scripted("flaky", move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(server_error()),
        2 => Err(ChatError::Timeout { endpoint: "e".into(), seconds: 1.0 }),
        _ => Ok(answer("at last")),
    });
    let flaky: Arc<dyn ChatClient> = Arc::new(flaky);
    let twice = Retried::new(flaky.clone(), quick(2)).chat(&question("a")).await;
    assert!(matches!(twice, Err(ChatError::Timeout { .. })));
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    tries.store(0, Ordering::SeqCst);
    assert_eq!(Retried::new(flaky, quick(3)).chat(&question("a")).await.expect("an answer").text, "at last");
}

#[tokio::test]
async fn limits_of_requests_in_flight_and_per_minute_are_kept() {
    let pace = |max_in_flight, requests_per_minute, tokens_per_minute| Pace {
        max_in_flight,
        requests_per_minute,
        tokens_per_minute,
    };
    let slow = Arc::new(Slow::default());
    let throttled = Throttled::new(slow.clone(), pace(4, None, None));
    let request = question("a");
    join_all((0..20).map(|_| throttled.chat(&request))).await;
    assert_eq!(slow.most.load(Ordering::SeqCst), 4);

    // 1,200 per minute are 20 per second. These pass at once, and the other 10 take half a second.
    let instant: Arc<dyn ChatClient> = Arc::new(Replayed::scripted("instant", |_| Ok(answer("now"))));
    let throttled = Throttled::new(instant.clone(), pace(64, Some(1200.0), None));
    let watch = Stopwatch::start();
    join_all((0..30).map(|_| throttled.chat(&request))).await;
    assert!((0.4..5.0).contains(&watch.seconds()), "{}", watch.seconds());

    // A request is estimated at 21 tokens and takes 15; the rate is 100 per second.
    let throttled = Throttled::new(instant, pace(1, None, Some(6000.0)));
    let watch = Stopwatch::start();
    join_all((0..13).map(|_| throttled.chat(&request))).await;
    assert!((0.7..5.0).contains(&watch.seconds()), "{}", watch.seconds());
}

#[tokio::test]
async fn a_budget_stops_before_the_call_that_would_pass_it_and_counts_once() {
    // Estimate: 5 tokens in and 16 out. Real: 10 in and 5 out. At a dollar per token that is 21 before and 15 after.
    let prices = Prices { price_in: 1e6, price_out: 1e6 };
    let asked = async |limit: f64, at_once: bool| {
        let slow = Arc::new(Slow::default());
        let (meter, budget) = (Meter::new(Some(prices)), Budget::new(limit));
        let metered = Metered::new(slow.clone(), meter.clone(), Some(budget.clone()));
        let request = question("a");
        let outcomes = if at_once {
            join_all((0..10).map(|_| metered.chat(&request))).await
        } else {
            let mut outcomes = Vec::new();
            for _ in 0..10 {
                outcomes.push(metered.chat(&request).await);
            }
            outcomes
        };
        let answered = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(slow.calls.load(Ordering::SeqCst), answered, "refused calls are not made");
        let usage = meter.usage();
        assert_eq!(usage.dollars, Some(15.0 * answered as f64));
        assert_eq!((usage.requests, budget.spent()), (answered as u64, 15.0 * answered as f64));
        assert!(budget.spent() <= limit);
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert!(matches!(error, ChatError::Budget { limit: l, .. } if l == limit), "{error}");
        }
        answered
    };
    for at_once in [false, true] {
        assert_eq!(asked(20.9, at_once).await, 0);
        assert_eq!(asked(21.0, at_once).await, 1);
        assert_eq!(asked(50.9, at_once).await, 2);
        // The first bill shows that prompts cost twice the estimate: from then on 26 are reserved.
        assert_eq!(asked(55.9, at_once).await, 2);
        assert_eq!(asked(56.0, at_once).await, 3);
        assert_eq!(asked(1000.0, at_once).await, 10);
    }
}

#[tokio::test]
async fn calls_that_fail_or_are_dropped_free_what_was_set_aside_and_cached_answers_cost_nothing() {
    let prices = Prices { price_in: 1e6, price_out: 1e6 };
    let budget = Budget::new(21.0);
    let failing = Replayed::scripted("failing", |_| Err(server_error()));
    let metered = Metered::new(Arc::new(failing), Meter::new(Some(prices)), Some(budget.clone()));
    let request = question("a");
    for outcome in join_all((0..5).map(|_| metered.chat(&request))).await {
        assert_eq!(outcome, Err(server_error()));
    }
    let slow = Metered::new(Arc::new(Slow::default()), Meter::new(Some(prices)), Some(budget.clone()));
    tokio::time::timeout(Duration::from_millis(5), slow.chat(&request)).await.expect_err("dropped");
    assert_eq!(budget.spent(), 0.0);

    let cache = tempfile::tempdir().expect("folder");
    let server = Server::always(|| ok(said("paid")));
    let mut endpoint = endpoint(&server.url, cache.path());
    (endpoint.spec.price_in, endpoint.spec.price_out) = (Some(1e6), Some(1e6));
    endpoint.budget = Some(budget.clone());
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    for _ in 0..3 {
        llm.client.chat(&request).await.expect("an answer");
    }
    let expected = Usage {
        requests: 1,
        cached: 2,
        tokens_in: 10,
        tokens_out: 5,
        dollars: Some(15.0),
        ..Usage::default()
    };
    assert_eq!((llm.meter.usage(), budget.spent()), (expected, 15.0));
    let error = llm.client.chat(&question("b")).await.expect_err("nothing left");
    assert_eq!(error, ChatError::Budget { limit: 21.0, spent: 15.0 });
    assert!(!error.is_passing());
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn failed_calls_that_were_billed_count_and_stop_at_the_budget() {
    let cache = tempfile::tempdir().expect("folder");
    // First a failed answer that is billed with 10 and 5 tokens, then a complete one.
    let broken = || {
        let usage = json!({"prompt_tokens": 10, "completion_tokens": 5});
        ok(json!({"choices": [{"message": {"content": "br"}, "finish_reason": "error"}], "usage": usage}))
    };
    let server = Server::start(move |number, _| if number == 0 { broken() } else { ok(said("whole")) });
    let mut priced = endpoint(&server.url, cache.path());
    (priced.spec.price_in, priced.spec.price_out) = (Some(1e6), Some(1e6));
    priced.budget = Some(Budget::new(1000.0));
    let llm = connect_with(&priced, quick(1)).expect("connected");
    assert_eq!(llm.client.chat(&question("a")).await.expect("an answer").text, "whole");
    let usage = llm.meter.usage();
    assert_eq!((usage.requests, usage.tokens_in, usage.tokens_out), (1, 20, 10));
    assert_eq!(priced.budget.as_ref().map(Budget::spent), Some(30.0));

    // The first attempt reserves 21 and costs 15. Its prompt cost twice the estimate, so a further one reserves 26: two
    // fit into 41, a third does not.
    let always = Server::always(broken);
    let mut tight = priced.clone();
    tight.spec.base_url = Some(always.url.as_str().into());
    tight.budget = Some(Budget::new(41.0));
    let llm = connect_with(&tight, quick(6)).expect("connected");
    let error = llm.client.chat(&question("a")).await.expect_err("stopped");
    assert_eq!(error, ChatError::Budget { limit: 41.0, spent: 30.0 });
    assert_eq!(always.requests().len(), 2);
    for usage in [json!({"usage": {"input_tokens": 7}}), json!({"usage": 3}), json!({})] {
        let mut body = json!({"error": {"message": "overloaded"}});
        body.as_object_mut().expect("an object").extend(usage.as_object().expect("an object").clone());
        let ill = Server::start(move |_, _| Act::Json(500, String::new(), body.clone()));
        let mut asked = priced.clone();
        asked.spec.base_url = Some(ill.url.as_str().into());
        let llm = connect_with(&asked, quick(0)).expect("connected");
        let billed = llm.client.chat(&question("a")).await.expect_err("failed").billed();
        let expected = usage.pointer("/usage/input_tokens").and_then(Value::as_u64).unwrap_or(0);
        assert_eq!(billed, TokenUse { tokens_in: expected, tokens_out: 0 });
    }
}

#[tokio::test]
async fn purposes_of_one_model_are_counted_apart_and_share_turns_and_answers() {
    let cache = tempfile::tempdir().expect("folder");
    let server = Server::always(|| ok(said("yes")));
    let one = connect_with(&endpoint(&server.url, cache.path()), quick(0)).expect("connected");
    let two = one.with_own_meter();
    one.client.chat(&question("a")).await.expect("an answer");
    two.client.chat(&question("a")).await.expect("an answer");
    two.client.chat(&question("b")).await.expect("an answer");
    let counted = |llm: &Llm| (llm.meter.usage().requests, llm.meter.usage().cached);
    assert_eq!((counted(&one), counted(&two), server.requests().len()), ((1, 0), (1, 1), 2));
}

#[tokio::test]
async fn recorded_answers_are_found_by_the_whole_request() {
    let (known, unknown) = (question("known"), question("unknown"));
    let recorded = Replayed::recorded("tape", HashMap::from([(known.digest(), answer("yes"))]));
    assert_eq!(recorded.chat(&known).await, Ok(answer("yes")));
    assert!(matches!(recorded.chat(&unknown).await, Err(ChatError::NotFound { .. })));
    assert_eq!(recorded.calls(), 2);
    let line =
        serde_json::to_string(&Recording { request: known.clone(), reply: answer("taped") }).expect("JSON");
    let cassette = Replayed::cassette("tape", &format!("{line}\n\n")).expect("a cassette");
    assert_eq!(cassette.chat(&known).await, Ok(answer("taped")));
    let error = Replayed::cassette("tape", "\n{}\n").map(|_| ()).expect_err("no recording");
    assert!(error.to_string().contains("line 2"), "{error}");
    let request = PromptRequest { prompt: "a".into(), top: 1, slots: None };
    assert!(matches!(cassette.score_prompt(&request).await, Err(ChatError::Unsupported { .. })));
    let reply = PromptReply { tokens_in: 1, ..PromptReply::default() };
    let scripted = cassette.with_prompts(move |_| Ok(reply.clone()));
    assert_eq!(scripted.score_prompt(&request).await.expect("scores").tokens_in, 1);
}

/// Simulator calls for a grid of 5 methods, 6 layers, 150 features and 10 fragments.
const GRID: usize = 45_000;

#[test]
#[ignore = "prints the throughput against a server that takes 20 ms"]
fn throughput_with_64_under_way() {
    let server = Server::always(|| {
        std::thread::sleep(Duration::from_millis(20));
        ok(said("yes"))
    });
    let cache = tempfile::tempdir().expect("folder");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let ask_all = || {
        let llm = connect_with(&endpoint(&server.url, cache.path()), quick(0)).expect("connected");
        let watch = Stopwatch::start();
        let asked = futures_util::stream::iter(0..GRID).map(|i| {
            let client = llm.client.clone();
            async move { client.chat(&question(&format!("q{i}"))).await.expect("an answer") }
        });
        runtime.block_on(asked.buffered(256).for_each(|_| std::future::ready(())));
        (watch.seconds(), llm.meter.usage().requests)
    };
    let (seconds, requests) = ask_all();
    let (rate, ideal) = (GRID as f64 / seconds, 64.0 / 0.02);
    println!(
        "{GRID} calls in {seconds:.1} s: {rate:.0} a second, {:.0} % of {ideal:.0}",
        100.0 * rate / ideal
    );
    assert_eq!(requests, GRID as u64);
    let (seconds, requests) = ask_all();
    println!("from the cache: {seconds:.1} s, {requests} requests");
    assert_eq!(requests, 0);
}
