use super::*;

/// The reply to `request` from a server that answers with `body`, and the request that it got.
async fn exchange(
    change: impl Fn(&mut LlmSpec),
    request: &ChatRequest,
    body: Value,
) -> (Result<ChatReply, ChatError>, Seen) {
    let server = Server::always(move || ok(body.clone()));
    let cache = tempfile::tempdir().expect("folder");
    let mut endpoint = endpoint(&server.url, cache.path());
    change(&mut endpoint.spec);
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    let reply = llm.client.chat(request).await;
    (reply, server.requests().remove(0))
}

async fn scored(
    change: impl Fn(&mut LlmSpec),
    act: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static,
) -> (Result<PromptReply, ChatError>, Vec<Seen>) {
    let server = Server::start(act);
    let cache = tempfile::tempdir().expect("folder");
    let mut endpoint = endpoint(&server.url, cache.path());
    change(&mut endpoint.spec);
    let llm = connect_with(&endpoint, quick(0)).expect("connected");
    let reply = llm.client.score_prompt(&PromptRequest { prompt: "a b".into(), top: 2, slots: None }).await;
    (reply, server.requests())
}

/// The reply to a prompt request from a server that answers with `body`.
async fn scored_as(request: PromptRequest, body: Value) -> Result<PromptReply, ChatError> {
    let server = Server::start(move |_, _| ok(body.clone()));
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(&server.url, cache.path()), quick(0)).expect("connected");
    llm.client.score_prompt(&request).await
}

fn full_question() -> ChatRequest {
    let mut request = question("hello");
    request.messages.insert(0, Message { role: Role::System, content: "be brief".into() });
    request.sample = 3;
    request.schema = Some(Schema { name: "numbers".into(), value: json!({"type": "object"}) });
    request.top_logprobs = Some(2);
    request
}

#[tokio::test]
async fn a_chat_request_has_the_documented_fields() {
    let (reply, seen) = exchange(|_| (), &full_question(), said("yes")).await;
    assert_eq!(seen.path, "/v1/chat/completions");
    assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
    let expected = json!({
        "model": "some-model",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        "max_tokens": 16,
        "temperature": 0.0,
        "seed": 3,
        "response_format": {"type": "json_schema", "json_schema": {
            "name": "numbers", "schema": {"type": "object"}, "strict": true}},
        "logprobs": true,
        "top_logprobs": 2,
    });
    assert_eq!(seen.body, expected);
    let reply = reply.expect("an answer");
    assert_eq!((reply.text.as_str(), reply.finish), ("yes", Finish::Stop));
    assert_eq!((reply.tokens_in, reply.tokens_out, reply.logprobs), (10, 5, None));
}

#[tokio::test]
async fn a_schema_is_sent_in_the_form_that_the_endpoint_takes() {
    let change = |spec: &mut LlmSpec| spec.response_format = ResponseFormat::JsonObject;
    let (_, seen) = exchange(change, &full_question(), said("yes")).await;
    let schema = full_question().schema.expect("a schema").value;
    assert_eq!(seen.body["response_format"], json!({"type": "json_object", "schema": schema}));
}

#[tokio::test]
async fn a_specification_changes_body_headers_and_query() {
    let change = |spec: &mut LlmSpec| {
        spec.structured = false;
        spec.max_tokens_field = "max_completion_tokens".into();
        spec.extra_body = [("seed".into(), Value::Null), ("reasoning_effort".into(), json!("low"))].into();
        spec.headers = [("api-key".into(), "{key}".into()), ("x-title".into(), "autointerp".into())].into();
        spec.query = [("api-version".into(), "2024-10-21".into())].into();
    };
    let (_, seen) = exchange(change, &full_question(), said("yes")).await;
    assert_eq!(seen.path, "/v1/chat/completions?api-version=2024-10-21");
    assert_eq!((seen.headers["api-key"].as_str(), seen.headers["x-title"].as_str()), (KEY, "autointerp"));
    assert!(!seen.headers.contains_key("authorization"));
    for absent in ["seed", "response_format", "max_tokens"] {
        assert!(seen.body.get(absent).is_none(), "{absent}");
    }
    assert_eq!(
        (&seen.body["max_completion_tokens"], &seen.body["reasoning_effort"]),
        (&json!(16), &json!("low"))
    );
}

#[tokio::test]
async fn finish_reasons_and_refusals_are_distinguished() {
    let choice =
        |message: Value, reason: &str| json!({"choices": [{"message": message, "finish_reason": reason}]});
    let cases = [
        (choice(json!({"content": "a"}), "length"), "a", Finish::Length),
        (choice(json!({"content": null}), "length"), "", Finish::Length),
        (choice(json!({"content": ""}), "content_filter"), "", Finish::Refused),
        (choice(json!({"content": null, "refusal": "I will not"}), "stop"), "I will not", Finish::Refused),
        (choice(json!({"content": "b", "refusal": null}), "stop"), "b", Finish::Stop),
        (choice(json!({"content": [{"type": "text", "text": "c"}]}), "eos"), "c", Finish::Stop),
    ];
    for (body, text, finish) in cases {
        let (reply, _) = exchange(|_| (), &question("q"), body.clone()).await;
        let reply = reply.expect("an answer");
        assert_eq!((reply.text.as_str(), reply.finish), (text, finish), "{body}");
        assert_eq!((reply.tokens_in, reply.tokens_out), (0, 0));
    }
    let (failed, _) = exchange(|_| (), &question("q"), choice(json!({"content": "half"}), "error")).await;
    assert!(matches!(failed, Err(ChatError::Server { .. })));
}

#[tokio::test]
async fn fields_are_left_out_and_thinking_gets_room() {
    let change = |spec: &mut LlmSpec| {
        spec.omit = ["temperature", "seed", "top_logprobs", "logprobs"].map(String::from).into();
        spec.thinking_tokens = 1000;
    };
    let (_, seen) = exchange(change, &full_question(), said("yes")).await;
    for absent in ["temperature", "seed", "logprobs", "top_logprobs"] {
        assert!(seen.body.get(absent).is_none(), "{absent}");
    }
    assert_eq!(seen.body["max_tokens"], 1016);
    let (_, seen) = scored(change, |_, _| ok(json!({}))).await;
    assert!(seen[0].body.get("temperature").is_none() && seen[0].body.get("prompt").is_some());
    let mut spec = LlmSpec::new(ClientKind::Openai, "m");
    let problems =
        |spec: &LlmSpec| spec.check().iter().map(|problem| problem.field.clone()).collect::<Vec<_>>();
    spec.omit = [String::from("messages")].into();
    assert_eq!(problems(&spec), ["omit"]);
    spec.omit = [String::from("max_output")].into();
    spec.max_tokens_field = "max_output".into();
    assert!(problems(&spec).is_empty());
}

#[tokio::test]
async fn refused_request_forms_are_learnt_once_and_reported() {
    let refusal = |said: &str| Act::Json(400, String::new(), json!({"error": {"message": said}}));
    let server = Server::start(move |_, seen| match &seen.body {
        body if body.get("max_tokens").is_some() => refusal("Use 'max_completion_tokens' instead."),
        body if body.get("response_format").is_some() => refusal("response_format is not supported"),
        _ => ok(said("yes")),
    });
    let cache = tempfile::tempdir().expect("folder");
    let llm = connect_with(&endpoint(&server.url, cache.path()), quick(0)).expect("connected");
    for sample in 0..3 {
        let request = ChatRequest { sample, ..full_question() };
        assert_eq!(llm.client.chat(&request).await.expect("an answer").text, "yes");
    }
    let seen = server.requests();
    assert_eq!(seen.len(), 5, "two refusals and three answers");
    assert_eq!(seen[4].body["max_completion_tokens"], 16);
    assert!(seen[4].body.get("response_format").is_none());
    let told = llm.remarks.all().join("\n");
    assert!(told.contains("set `max_tokens_field: max_completion_tokens`"), "{told}");
    assert!(told.contains("set `structured: false`"), "{told}");

    // A refusal that persists after both changes is returned.
    let stubborn = Server::always(move || refusal("Use 'max_completion_tokens' instead of response_format."));
    let llm = connect_with(&endpoint(&stubborn.url, cache.path()), quick(0)).expect("connected");
    let error = llm.client.chat(&full_question()).await.expect_err("refused");
    assert!(matches!(error, ChatError::BadRequest { .. }) && stubborn.requests().len() == 3, "{error}");
}

#[tokio::test]
async fn usage_choices_and_ends_come_in_many_forms() {
    let with = |usage: Value| {
        let mut body = said("yes");
        body["usage"] = usage;
        body
    };
    for (usage, counts) in [
        (json!({"prompt_tokens": 12.0, "completion_tokens": 3.4}), (12, 3)),
        (json!({"prompt_tokens": "12", "completion_tokens": null}), (12, 0)),
        (json!({"prompt_tokens": -5, "completion_tokens": "x"}), (0, 0)),
        (json!({"prompt_tokens": u64::MAX, "completion_tokens": 1e300}), (u64::MAX, u64::MAX)),
        (json!("none"), (0, 0)),
        (Value::Null, (0, 0)),
    ] {
        let (reply, _) = exchange(|_| (), &question("q"), with(usage.clone())).await;
        let reply = reply.expect("an answer");
        assert_eq!((reply.tokens_in, reply.tokens_out), counts, "{usage}");
    }
    let choice = |message: Value| json!({"choices": [{"message": message, "finish_reason": null}]});
    let called = json!([{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let thoughts =
        json!([{"type": "thinking", "thinking": "hm", "text": "hm"}, {"type": "text", "text": "a"}]);
    for (body, text, finish) in [
        (choice(json!({"content": null, "tool_calls": called})), "", Finish::Tool),
        (choice(json!({"content": "a", "tool_calls": []})), "a", Finish::Stop),
        (choice(json!({"content": " ", "reasoning": "hm"})), " ", Finish::Thought),
        (choice(json!({"content": null, "reasoning_content": "hm"})), "", Finish::Thought),
        (choice(json!({"content": "a", "reasoning_content": "hm"})), "a", Finish::Stop),
        (choice(json!({"content": thoughts})), "a", Finish::Stop),
        (
            json!({"choices": [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]}),
            "a",
            Finish::Stop,
        ),
    ] {
        let (reply, _) = exchange(|_| (), &question("q"), body.clone()).await;
        let reply = reply.expect("an answer");
        assert_eq!((reply.text.as_str(), reply.finish), (text, finish), "{body}");
    }
}

#[tokio::test]
async fn log_probabilities_come_token_by_token_or_not_at_all() {
    let with = |content: Value| {
        let mut body = said("yes");
        body["choices"][0]["logprobs"] = json!({"content": content});
        body
    };
    let top = json!([{"token": "yes", "logprob": -0.1}, {"token": "no", "logprob": -2.5}]);
    let whole = with(json!([{"token": "yes", "logprob": -0.1, "top_logprobs": top}]));
    let (reply, _) = exchange(|_| (), &question("q"), whole).await;
    let expected = TokenChoice {
        token: "yes".into(),
        logprob: -0.1,
        top: vec![("yes".into(), -0.1), ("no".into(), -2.5)],
    };
    assert_eq!(reply.expect("an answer").logprobs, Some(vec![expected]));
    for gap in [json!(null), json!([{"token": "yes", "logprob": null}])] {
        let (reply, _) = exchange(|_| (), &question("q"), with(gap)).await;
        assert_eq!(reply.expect("an answer").logprobs, None);
    }
}

#[tokio::test]
async fn completions_get_the_messages_as_one_text() {
    let body = json!({
        "choices": [{"text": " yes", "finish_reason": "length", "logprobs": {
            "tokens": [" yes"], "token_logprobs": [-0.5], "top_logprobs": [{" no": -1.0, " yes": -0.5}]}}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1},
    });
    let change = |spec: &mut LlmSpec| spec.client = ClientKind::OpenaiCompletions;
    let (reply, seen) = exchange(change, &full_question(), body).await;
    assert_eq!(seen.path, "/v1/completions");
    assert_eq!((&seen.body["prompt"], &seen.body["logprobs"]), (&json!("be brief\n\nhello"), &json!(2)));
    let reply = reply.expect("an answer");
    assert_eq!((reply.text.as_str(), reply.finish), (" yes", Finish::Length));
    let top = reply.logprobs.expect("log-probabilities").remove(0).top;
    assert_eq!(top, [(" yes".to_string(), -0.5), (" no".to_string(), -1.0)]);
}

fn echoed(tokens: &[&str], generated: u64) -> Value {
    let logprobs: Vec<Option<f64>> = (0..tokens.len()).map(|i| (i > 0).then_some(-(i as f64))).collect();
    json!({
        "choices": [{"text": tokens.concat(), "logprobs": {"tokens": tokens, "token_logprobs": logprobs}}],
        "usage": {"prompt_tokens": 2, "completion_tokens": generated},
    })
}

#[tokio::test]
async fn prompts_are_scored_by_echo_with_or_without_a_generated_token() {
    let (reply, seen) = scored(|_| (), |_, _| ok(echoed(&["a", " b"], 0))).await;
    let reply = reply.expect("scores");
    let tokens: Vec<(&str, Option<f64>)> =
        reply.tokens.iter().map(|t| (t.token.as_str(), t.logprob)).collect();
    assert_eq!(tokens, [("a", None), (" b", Some(-1.0))]);
    assert_eq!(seen[0].path, "/v1/completions");
    assert_eq!((&seen[0].body["echo"], &seen[0].body["max_tokens"]), (&json!(true), &json!(1)));

    // One token is generated. Some endpoints list it after the prompt's tokens, others do not.
    for tokens in [["a", " b"].as_slice(), &["a", " b", " c"]] {
        let mut body = echoed(tokens, 1);
        body["choices"][0]["text"] = json!("a b c");
        let (again, seen) = scored(|_| (), move |_, _| ok(body.clone())).await;
        assert_eq!((again.expect("scores"), seen.len()), (reply.clone(), 1));
    }
}

/// As llama-cpp-python answers for a model without BOS: each token carries the next position's log-probabilities, and its
/// own token among them.
#[tokio::test]
async fn log_probabilities_shifted_by_one_token_are_moved_back_or_refused() {
    let words = ["a", " b", " c", " d", " e", " f"];
    let late = |words: &[&str]| {
        let top = |at: usize| {
            let next = words.get(at + 1).copied().unwrap_or(" g");
            let mut top = serde_json::Map::from_iter([(words[at].to_string(), json!(-16.0))]);
            top.extend([(next.to_string(), json!(-0.25)), (" x".to_string(), json!(-2.0))]);
            Value::Object(top)
        };
        let top: Vec<Value> = (0..words.len()).map(top).collect();
        let logprobs = vec![-16.0; words.len()];
        json!({
            "choices": [{
                "text": format!("{} g", words.concat()),
                "logprobs": {"tokens": words, "token_logprobs": logprobs, "top_logprobs": top},
            }],
            "usage": {"prompt_tokens": words.len(), "completion_tokens": 1},
        })
    };
    let body = late(&words);
    let text = words.concat();
    let asked = |slots: Option<Slots>| PromptRequest { prompt: text.clone(), top: 2, slots };
    let slots = Slots { at: vec![1], texts: vec!["1".into()] };
    let reply = scored_as(asked(Some(slots)), body.clone()).await.expect("scores");
    assert_eq!(reply.tokens.iter().map(|token| token.token.as_str()).collect::<Vec<_>>(), words);
    assert_eq!((reply.tokens[0].logprob, reply.tokens[0].top.len()), (None, 0));
    for (token, word) in reply.tokens.iter().zip(words).skip(1) {
        assert_eq!((token.logprob, token.top.len()), (Some(-0.25), 2), "{word}");
        assert_eq!(token.top[0].0, word);
    }
    let error = scored_as(asked(None), body).await.expect_err("its own probabilities are not there");
    assert!(error.to_string().contains("by one token"), "{error}");
    // A repetitive text is not taken for a shift.
    let same = ["a", " a", " a", " a", " a", " a", " a"];
    let asked = PromptRequest { prompt: same.concat(), top: 2, slots: None };
    let reply = scored_as(asked, late(&same)).await.expect("scores");
    assert_eq!(reply.tokens[1].logprob, Some(-16.0));
}

#[tokio::test]
async fn endpoints_that_cannot_score_prompts_are_unsupported_with_an_alternative() {
    let refusal = "Setting 'echo' and 'logprobs' at the same time is not supported for this model.";
    let cases: [(&str, Value, u16); 4] = [
        ("refused", json!({"error": {"message": refusal}}), 400),
        ("chat only", json!({"error": {"message": "This is a chat model"}}), 404),
        (
            "no echo",
            json!({"choices": [{"text": " c", "logprobs": {"tokens": [" c"], "token_logprobs": [-1.0]}}]}),
            200,
        ),
        ("no numbers", json!({"choices": [{"text": "a b", "logprobs": null}]}), 200),
    ];
    for (name, body, status) in cases {
        let (reply, _) = scored(|_| (), move |_, _| Act::Json(status, String::new(), body.clone())).await;
        let error = reply.expect_err("unsupported");
        assert!(matches!(error, ChatError::Unsupported { .. }), "{name}: {error}");
        assert!(error.to_string().contains("vLLM"), "{error}");
    }
    let uneven =
        json!({"choices": [{"text": "a b", "logprobs": {"tokens": ["a", " b"], "token_logprobs": [-1.0]}}]});
    let (reply, _) = scored(|_| (), move |_, _| ok(uneven.clone())).await;
    assert!(matches!(reply, Err(ChatError::Server { .. })));
}

#[tokio::test]
async fn vllms_form_gives_each_positions_own_token() {
    // As text, because the order of the map's entries matters and differs from that of the keys.
    let places = r#"[null, {"9": {"logprob": -3.0, "rank": 7, "decoded_token": " b"},
                            "1": {"logprob": -0.5, "rank": 1, "decoded_token": " x"}}]"#;
    for ids in ["null", "[4, 9]"] {
        let body = format!(
            r#"{{"choices": [{{"text": " c", "prompt_logprobs": {places}, "prompt_token_ids": {ids}}}],
                "usage": {{"prompt_tokens": 2, "completion_tokens": 1}}}}"#
        );
        let change = |spec: &mut LlmSpec| spec.prompt_logprobs = PromptLogprobs::Vllm;
        let (reply, seen) = scored(change, move |_, _| raw("200 OK", "", &body)).await;
        let tokens = reply.expect("scores").tokens;
        assert_eq!((tokens[0].token.as_str(), tokens[0].logprob), ("a", None));
        assert_eq!((tokens[1].token.as_str(), tokens[1].logprob), (" b", Some(-3.0)));
        assert_eq!(tokens[1].top, [(" x".to_string(), -0.5), (" b".to_string(), -3.0)]);
        assert_eq!(seen[0].body["prompt_logprobs"], json!(2));
        assert!(seen[0].body.get("echo").is_none());
    }
}

#[tokio::test]
async fn anthropics_protocol_is_spoken() {
    let change = |spec: &mut LlmSpec| {
        spec.client = ClientKind::Anthropic;
        let url = json!(spec.base_url);
        spec.base_url = url.as_str().map(|url| url.trim_end_matches("/v1").into());
    };
    let answer = |content: Value, reason: &str| {
        json!({"content": content, "stop_reason": reason,
               "usage": {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 2}})
    };
    let tool = json!([{"type": "tool_use", "name": "numbers", "input": {"a": [1, 2]}}]);
    let (reply, seen) = exchange(change, &full_question(), answer(tool, "tool_use")).await;
    assert_eq!(seen.path, "/v1/messages");
    assert_eq!(
        (seen.headers["x-api-key"].as_str(), seen.headers["anthropic-version"].as_str()),
        (KEY, "2023-06-01")
    );
    assert!(!seen.headers.contains_key("authorization"));
    let expected = json!({
        "model": "some-model",
        "system": "be brief",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 16,
        "temperature": 0.0,
        "tools": [{"name": "numbers", "description": "Gives the answer.", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "numbers"},
    });
    assert_eq!(seen.body, expected);
    let reply = reply.expect("an answer");
    assert_eq!((reply.text.as_str(), reply.finish), (r#"{"a":[1,2]}"#, Finish::Stop));
    assert_eq!((reply.tokens_in, reply.tokens_out, reply.logprobs), (10, 2, None));

    let text = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    for (reason, finish) in
        [("end_turn", Finish::Stop), ("max_tokens", Finish::Length), ("refusal", Finish::Refused)]
    {
        let (reply, _) = exchange(change, &question("q"), answer(text.clone(), reason)).await;
        let reply = reply.expect("an answer");
        assert_eq!((reply.text.as_str(), reply.finish), ("ab", finish));
    }
    let (reply, seen) = scored(change, |_, _| ok(json!({}))).await;
    assert!(matches!(reply, Err(ChatError::Unsupported { .. })) && seen.is_empty());
}

#[test]
fn specifications_are_read_with_defaults_and_checked() {
    let spec: LlmSpec = serde_json::from_value(json!({"client": "anthropic", "model": "m"})).expect("read");
    let spec = spec.with_client_defaults();
    assert_eq!(spec, LlmSpec::new(ClientKind::Anthropic, "m"));
    assert_eq!(
        (spec.max_in_flight, spec.retries, spec.timeout_seconds, spec.structured),
        (64, 6, 60.0, true)
    );
    assert_eq!((spec.key_variable(), spec.check()), ("ANTHROPIC_API_KEY", Vec::new()));
    let wrong: LlmSpec = serde_json::from_value(json!({
        "model": " ",
        "base_url": "https://sk-abc@host/v1",
        "api_key_env": "sk-abc",
        "headers": {"bad name": "x", "Authorization": "Bearer sk-abc", "x-a": "two\nlines"},
        "max_in_flight": 0,
        "requests_per_minute": 0.0,
        "tokens_per_minute": -1.0,
        "price_in": -2.0,
        "timeout_seconds": 0.0,
    }))
    .expect("read");
    let problems = wrong.check();
    let fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "model",
        "base_url",
        "api_key_env",
        "headers.Authorization",
        "headers.bad name",
        "headers.x-a",
        "max_in_flight",
        "requests_per_minute",
        "tokens_per_minute",
        "timeout_seconds",
        "price_in",
        "price_out",
    ];
    assert_eq!(fields, expected);
    assert!(!format!("{problems:?}").contains("sk-abc"));
    for url in ["host/v1", "ftp://host", "https://host/v1?key=x", "https://host/#x", "file:///x", "http://"] {
        let spec = LlmSpec { base_url: Some(url.into()), ..LlmSpec::new(ClientKind::Openai, "m") };
        assert_eq!(spec.check().len(), 1, "{url}");
    }
}

#[test]
fn loopback_is_this_machine_alone() {
    let is = |url: &str| super::super::addresses::is_loopback(&reqwest::Url::parse(url).expect("an address"));
    for url in ["http://127.0.0.1:8000/v1", "http://127.9.9.9", "http://[::1]:1", "http://LOCALHOST:11434/v1"]
    {
        assert!(is(url), "{url}");
    }
    for url in
        ["http://localhost.example.com", "http://127.0.0.1.example.com", "http://10.0.0.1", "http://0.0.0.0"]
    {
        assert!(!is(url), "{url}");
    }
}
