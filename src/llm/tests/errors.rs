use super::*;

/// Name, the server's action, and expected words of the error.
type Unreadable = (&'static str, fn() -> Act, &'static str);

fn kind(error: &ChatError) -> &'static str {
    match error {
        ChatError::Auth { .. } => "auth",
        ChatError::Quota { .. } => "quota",
        ChatError::NotFound { .. } => "not_found",
        ChatError::BadRequest { .. } => "bad_request",
        ChatError::Redirected { .. } => "redirected",
        ChatError::RateLimited { .. } => "rate_limited",
        ChatError::Server { .. } => "server",
        ChatError::Connection { .. } => "connection",
        ChatError::Timeout { .. } => "timeout",
        ChatError::Budget { .. } => "budget",
        ChatError::Offline { .. } => "offline",
        ChatError::LocalModel { .. } => "local_model",
        ChatError::Unsupported { .. } => "unsupported",
    }
}

async fn error_of(act: impl Fn() -> Act + Send + Sync + 'static) -> ChatError {
    asked_once(&Server::always(act).url).await.expect_err("an error")
}

#[tokio::test]
async fn every_status_has_its_error() {
    let plain = json!({"error": {"message": "no\u{1b}[2J luck\nat all", "type": "x", "code": "y"}});
    let quota = json!({"error": {"message": "You are out.", "code": "insufficient_quota"}});
    let credit = json!({"error": {"message": "Your credit balance is too low."}});
    let cases = [
        (400, plain.clone(), "bad_request"),
        (400, credit.clone(), "quota"),
        (401, plain.clone(), "auth"),
        (402, plain.clone(), "quota"),
        (403, plain.clone(), "auth"),
        (404, json!({"detail": "no such model"}), "not_found"),
        (405, plain.clone(), "bad_request"),
        (408, plain.clone(), "server"),
        (409, plain.clone(), "bad_request"),
        (413, plain.clone(), "bad_request"),
        (422, json!({"detail": [{"msg": "field required", "loc": ["body", "seed"]}]}), "bad_request"),
        (429, plain.clone(), "rate_limited"),
        (429, quota, "quota"),
        (429, credit, "quota"),
        (500, plain.clone(), "server"),
        (502, Value::Null, "server"),
        (503, plain.clone(), "server"),
        (504, plain.clone(), "server"),
        (529, plain, "server"),
    ];
    for (status, body, expected) in cases {
        let sent = body.clone();
        let error = error_of(move || Act::Json(status, String::new(), sent.clone())).await;
        assert_eq!(kind(&error), expected, "{status} {body}: {error}");
        let text = error.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.contains(&format!("status {status}")), "{text}");
        if status == 422 {
            assert!(text.contains("`body.seed` field required"), "{text}");
        }
        if status == 401 {
            assert!(text.contains("no [2J luck at all") && text.contains("`OPENAI_API_KEY`"), "{text}");
        }
    }
}

#[tokio::test]
async fn an_endpoints_words_are_cut_and_web_pages_are_left_out() {
    let long = error_of(|| Act::Json(400, String::new(), json!({"error": "long ".repeat(1000)}))).await;
    assert!(long.to_string().chars().count() < 300, "{long}");
    let page = error_of(|| raw("503 Busy", "", "<html><body>sorry</body></html>")).await;
    assert!(page.to_string().ends_with("status 503: a web page"), "{page}");
}

#[tokio::test]
async fn waits_that_are_asked_for_are_reported_and_kept() {
    let limited = |headers: &'static str| error_of(move || Act::Json(429, headers.into(), json!({})));
    let wait = |error| match error {
        ChatError::RateLimited { retry_after, .. } => retry_after,
        other => panic!("{other}"),
    };
    assert_eq!(wait(limited("retry-after: 12\r\n").await), Some(12.0));
    let dated = "date: Fri, 28 Feb 2025 23:59:50 GMT\r\nretry-after: Sat, 01 Mar 2025 00:00:05 GMT\r\n";
    assert_eq!(wait(limited(dated).await), Some(15.0));
    assert_eq!(wait(limited("x-ratelimit-reset-tokens: 6m0s\r\n").await), Some(360.0));
    assert_eq!(wait(limited("").await), None);

    let server = Server::start(|number, _| match number {
        0 => Act::Json(429, "retry-after-ms: 300\r\n".into(), json!({})),
        _ => ok(said("yes")),
    });
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(&server.url, cache.path()), quick(2)).expect("connected");
    let watch = crate::base::Stopwatch::start();
    assert_eq!(llm.client.chat(&question("a")).await.expect("an answer").text, "yes");
    assert!(watch.seconds() >= 0.3, "{}", watch.seconds());
}

#[tokio::test]
async fn broken_connections_are_connection_errors_unless_the_answer_is_complete() {
    let before = error_of(|| Act::Raw(Vec::new())).await;
    assert_eq!(kind(&before), "connection", "{before}");
    let during =
        error_of(|| Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"choices\"".to_vec())).await;
    assert_eq!(kind(&during), "connection", "{during}");
    let server = Server::always(|| raw("200 OK", "", &said("whole").to_string()));
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(&server.url, cache.path()), quick(1)).expect("connected");
    for name in ["a", "b"] {
        assert_eq!(llm.client.chat(&question(name)).await.expect("an answer").text, "whole");
    }
    // A port that was just released has no listener.
    let free = TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("address");
    let nobody = asked_once(&format!("http://{free}/v1")).await.expect_err("nobody");
    assert_eq!(kind(&nobody), "connection", "{nobody}");
}

#[tokio::test]
async fn a_slow_drip_is_a_timeout() {
    let server = Server::always(|| Act::Drip);
    let cache = tempfile::tempdir().expect("folder");
    let mut endpoint = endpoint(&server.url, cache.path());
    endpoint.spec.timeout_seconds = 0.3;
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    let error = llm.client.chat(&question("a")).await.expect_err("no answer");
    assert_eq!(error, ChatError::Timeout { endpoint: server.url.clone(), seconds: 0.3 });
}

#[tokio::test]
async fn unreadable_answers_are_errors_that_may_pass() {
    let cases: [Unreadable; 9] = [
        ("html", || raw("200 OK", "", "<html>log in</html>"), "not JSON"),
        ("nothing", || raw("200 OK", "", ""), "not JSON"),
        ("truncated", || raw("200 OK", "", &said("x").to_string()[..60]), "not JSON"),
        (
            "not UTF-8",
            || Act::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec()),
            "not JSON",
        ),
        ("not packed", || raw("200 OK", "content-encoding: gzip\r\n", "plain text"), ""),
        ("no choice", || ok(json!({"choices": []})), "without a choice"),
        ("no choices", || ok(json!({})), "without a choice"),
        ("another shape", || ok(json!({"choices": "none"})), "not understood"),
        ("error inside", || ok(json!({"error": {"message": "overloaded"}})), "overloaded"),
    ];
    for (name, act, words) in cases {
        let error = error_of(act).await;
        assert_eq!(kind(&error), "server", "{name}: {error}");
        assert!(error.is_passing() && error.to_string().contains(words), "{name}: {error}");
    }
    let inside = error_of(|| ok(json!({"error": {"message": "slow down", "code": 429}}))).await;
    assert_eq!(kind(&inside), "rate_limited");
}

#[tokio::test]
async fn a_reply_of_50_mb_is_not_read_whole() {
    for stated in [true, false] {
        let error = error_of(move || Act::Large(50 << 20, stated)).await;
        assert!(error.to_string().contains("reply larger than 8 MB"), "{error}");
        assert_eq!(kind(&error), "server");
    }
}

#[tokio::test]
async fn redirects_to_other_hosts_are_not_followed() {
    let other = Server::always(|| ok(said("stolen")));
    for status in [301, 302, 303, 307, 308] {
        let target = format!("location: {}/chat/completions\r\n", other.url);
        let error = error_of(move || Act::Json(status, target.clone(), json!({}))).await;
        assert_eq!(kind(&error), "redirected", "{error}");
        assert!(error.to_string().contains(other.url.trim_end_matches("/v1")), "{error}");
    }
    assert!(other.requests().is_empty());

    let same = Server::start(|_, seen| match seen.path.as_str() {
        "/v1/moved" => ok(said("moved")),
        _ => Act::Json(307, "location: /v1/moved\r\n".into(), json!({})),
    });
    assert_eq!(asked_once(&same.url).await.expect("an answer").text, "moved");
    let last = same.requests().pop().expect("requests");
    assert_eq!(last.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(last.body["messages"][0]["content"], "hello");

    let round = Server::always(|| Act::Json(307, "location: /v1/again\r\n".into(), json!({})));
    assert_eq!(kind(&asked_once(&round.url).await.expect_err("no end")), "redirected");
    assert!(round.requests().len() < 10);
}

#[tokio::test]
async fn the_key_is_in_no_error_no_debug_output_and_no_file() {
    let echo = format!("Incorrect key Bearer {KEY} {}", "x".repeat(160));
    let texts = [
        (401, json!({"error": {"message": echo}})),
        (500, json!({"message": format!("{}{KEY}", "y".repeat(190))})),
        (200, json!({"choices": KEY})),
        (200, json!({"error": KEY})),
        (302, json!({})),
    ];
    for (status, body) in texts {
        let location = format!("location: http://127.0.0.1:1/{KEY}\r\n");
        let error = error_of(move || Act::Json(status, location.clone(), body.clone())).await;
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(KEY) && !text.contains("secretkey"), "{text}");
            assert!(!text.contains("sk-very"), "cut inside the key: {text}");
        }
    }
    let cache = tempfile::tempdir().expect("folder");
    let echoing = Server::always(|| ok(said(&format!("words of {KEY}, or {}", KEY.to_uppercase()))));
    let llm = connect_with(&endpoint(&echoing.url, cache.path()), quick(0)).expect("connected");
    assert_eq!(llm.client.chat(&question("q")).await.expect("an answer").text, "words of ***, or ***");
    let stored = all_files(cache.path()).remove(0);
    assert!(!std::fs::read_to_string(&stored).expect("text").contains(KEY));
    std::fs::remove_file(stored).expect("removed");
    let server = Server::always(|| ok(said("fine")));
    let mut endpoint = endpoint(&server.url, cache.path());
    endpoint.spec.query.insert("key".into(), "{key}".into());
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    llm.client.chat(&question("hello")).await.expect("an answer");
    assert!(server.requests()[0].path.ends_with(&format!("?key={KEY}")));
    assert!(!llm.client.identity().contains(KEY));
    assert!(!format!("{endpoint:?} {}", endpoint.key.as_ref().expect("a key")).contains(KEY));
    let files = all_files(cache.path());
    assert_eq!(files.len(), 1);
    assert!(!std::fs::read_to_string(&files[0]).expect("text").contains(KEY));
    let mut gone = endpoint.clone();
    gone.spec.base_url = Some("http://127.0.0.1:1/v1".into());
    let llm = connect_with(&gone, quick(0)).expect("connected");
    let error = llm.client.chat(&question("hello")).await.expect_err("nobody");
    assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
}

#[tokio::test]
async fn passing_errors_are_retried_and_others_are_not() {
    let cases = [(500, 3), (429, 3), (408, 3), (400, 1), (401, 1), (404, 1), (402, 1)];
    for (status, asked) in cases {
        let server = Server::always(move || Act::Json(status, String::new(), json!({})));
        let cache = tempfile::tempdir().expect("folder");
        let llm = connect_with(&endpoint(&server.url, cache.path()), quick(2)).expect("connected");
        llm.client.chat(&question("a")).await.expect_err("an error");
        assert_eq!(server.requests().len(), asked, "{status}");
        assert_eq!(llm.meter.usage(), Usage::default());
        assert!(all_files(cache.path()).is_empty());
    }
    let patient = Server::always(|| Act::Json(429, "retry-after: 86400\r\n".into(), json!({})));
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(&patient.url, cache.path()), quick(5)).expect("connected");
    llm.client.chat(&question("a")).await.expect_err("tomorrow");
    assert_eq!(patient.requests().len(), 1);
}
