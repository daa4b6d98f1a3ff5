//! Detection, fuzzing, surprisal and the best of several explanations, on a model with planted features
//! and behind an endpoint on this machine.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use autointerp::nn::Tokenizer;
use serde_json::{Value, json};

use crate::model_server::{
    ModelServer, Rule, asks_for_an_explanation, graded, honest, honest_grade, reply, with_probabilities,
};
use crate::program::{Done, autointerp, finish};
use crate::shared;
use crate::toy::{PLANTED, SAID, Toy};

const ROW: &str = "hook_embed/neuron.jsonl";

/// A suite about the planted features.
fn suite(toy: &Toy, url: &str, scorers: &str, explainer: &str, more: &str) {
    let llm = format!(
        "{{client: openai, model: scripted, base_url: {url}, retries: 0, price_in: 1, price_out: 1}}"
    );
    toy.write(
        "planted.yaml",
        &format!(
            "name: planted
seed: 7
subject: {{model: {}}}
corpus: {{source: {}, fit_tokens: 8_000, ctx_tokens: 64, eval_fragments: 300}}
hooks: [hook_embed]
methods: [{{kind: neuron}}]
features: {{per_cell: 6}}
explainer: {{kind: token_activation, llm: {llm}{explainer}}}
pairs: [token_lookup]
scorers: [{scorers}]
controls: [shuffled]
statistics: {{resamples: 200, permutations: 200}}
{more}",
            toy.arg("model"),
            toy.arg("corpus.txt")
        ),
    );
}

fn call(toy: &Toy, verb: &str, more: &[&str]) -> Done {
    let suite = toy.arg("planted.yaml");
    let out = toy.arg("out");
    let mut arguments = vec![verb, &suite];
    if verb == "run" {
        arguments.extend(["--out", &out, "--quiet"]);
    }
    arguments.extend(more);
    finish(&mut autointerp(toy.home(), &arguments))
}

fn read(toy: &Toy, name: &str) -> String {
    fs::read_to_string(toy.path("out").join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn lines(toy: &Toy, name: &str) -> Vec<Value> {
    read(toy, name).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn summary(toy: &Toy) -> Value {
    serde_json::from_str(&read(toy, "summary.json")).expect("JSON")
}

/// The cell of a scorer under the language model's explanations.
fn cell(summary: &Value, scorer: &str, control: Option<&str>, explainer: &str) -> Value {
    let cells = summary["cells"].as_array().expect("cells").iter();
    let mut found = cells.filter(|cell| {
        cell["scorer"] == scorer && cell["control"].as_str() == control && cell["explainer"] == explainer
    });
    found.next().unwrap_or_else(|| panic!("no cell of {scorer}, {control:?}, {explainer}")).clone()
}

fn server(rule: impl Fn(&Value) -> (u16, String) + Send + Sync + 'static) -> ModelServer {
    let rule: Box<Rule> = Box::new(rule);
    ModelServer::start(rule)
}

#[test]
fn an_exact_judge_scores_one_with_the_right_explanation_and_chance_with_a_wrong_one() {
    let toy = Toy::planted();
    let server = server(with_probabilities);
    suite(
        &toy,
        &server.url,
        "top_and_random, detection, fuzzing, surprisal",
        "",
        "simulator: {kind: generated}\njudge: {per_question: 7}",
    );
    call(&toy, "run", &[]).ok();
    let found = summary(&toy);
    for scorer in ["detection", "detection_auroc", "fuzzing", "fuzzing_auroc", "surprisal", "top_and_random"]
    {
        let real = cell(&found, scorer, None, "token_activation");
        assert_eq!((&real["n_scored"], &real["n_requested"]), (&json!(6), &json!(6)), "{real}");
        let mean = real["mean"].as_f64().expect("a mean");
        assert!((mean - 1.0).abs() < 1e-6, "{scorer}: {mean}");
        if scorer == "top_and_random" {
            continue;
        }
        let shuffled = cell(&found, scorer, Some("shuffled"), "token_activation");
        let mean = shuffled["mean"].as_f64().expect("a mean");
        assert!((0.35..0.65).contains(&mean), "shuffled {scorer}: {mean}");
        // Patterns and tables are not judged, and say so.
        let offline = cell(&found, scorer, None, "token_lookup");
        assert!(offline["mean"].is_null() && offline["n_scored"] == 0, "{offline}");
        assert_eq!(offline["tally"]["undefined"], offline["n_requested"], "{offline}");
    }
    for line in lines(&toy, "scores.jsonl").iter().filter(|line| line["explainer"] == "token_lookup") {
        assert_eq!(line["score_reasons"]["detection"], "not_a_sentence", "{line}");
        assert_eq!(line["status"], "scored", "its simulated scores are there: {line}");
    }
    assert!(
        read(&toy, "table.md").contains("Chance is 0.5 in detection, detection_auroc, fuzzing,"),
        "the table says so"
    );
    // The evidence: every fragment once, both classes alike, none explained on.
    let explained = lines(&toy, &format!("records/{ROW}"));
    let judged = lines(&toy, &format!("judgements/{ROW}"));
    assert_eq!(judged.len(), 6 * 3);
    let n_verdicts = |line: &Value| line["verdicts"].as_array().map_or(0, Vec::len);
    // Seven to a question: the last one holds what is left over, and it is not lost.
    assert!(judged.iter().any(|line| n_verdicts(line) % 7 != 0), "no question with less than seven");
    for line in &judged {
        let verdicts = line["verdicts"].as_array().expect("verdicts");
        let fragments: BTreeSet<u64> =
            verdicts.iter().filter_map(|verdict| verdict["fragment"].as_u64()).collect();
        let firing = verdicts.iter().filter(|verdict| verdict["fires"] == true).count();
        assert_eq!((fragments.len(), 2 * firing), (verdicts.len(), verdicts.len()), "{line}");
        assert!(verdicts.len() >= 20, "{}", verdicts.len());
        let record =
            explained.iter().find(|record| record["feature"] == line["feature"]).expect("its record");
        let every_other = |list: &str| -> BTreeSet<u64> {
            let list = record[list].as_array().expect("a list").iter();
            list.step_by(2).take(10).filter_map(|one| one["fragment"].as_u64()).collect()
        };
        for list in ["top", "random", "non_firing"] {
            assert!(every_other(list).is_disjoint(&fragments), "{list}");
        }
        let marked = |verdict: &Value| verdict["marked"].as_array().map_or(0, Vec::len);
        let fuzzing = line["judging"] == "fuzzing";
        assert!(verdicts.iter().all(|verdict| (marked(verdict) > 0) == fuzzing), "{line}");
    }
    let asked = server.requests();
    assert_eq!(asked, server.distinct(), "no question is asked twice");
    assert!(!read(&toy, "manifest.json").contains("grading") && found["specificity"].is_null());
    let (summary, evidence) = (read(&toy, "summary.json"), read(&toy, &format!("judgements/{ROW}")));
    call(&toy, "run", &["--fresh", "--threads", "1"]).ok();
    assert_eq!(server.requests(), asked, "every answer was there already");
    assert!(read(&toy, "summary.json") == summary && read(&toy, &format!("judgements/{ROW}")) == evidence);
}

#[test]
fn judged_scores_need_no_simulator_and_without_probabilities_there_is_no_auroc() {
    let toy = Toy::planted();
    let server = server(|request: &Value| {
        assert!(request["logprobs"].is_null(), "no probabilities are wanted");
        honest(request)
    });
    suite(&toy, &server.url, "detection", "", "judge: {probabilities: false}");
    call(&toy, "run", &[]).ok();
    let found = summary(&toy);
    let detection = cell(&found, "detection", None, "token_activation");
    assert_eq!((&detection["mean"], &detection["simulator"]), (&json!(1.0), &json!("none")));
    let auroc = cell(&found, "detection_auroc", None, "token_activation");
    assert!(auroc["mean"].is_null() && auroc["tally"]["undefined"] == 6, "{auroc}");
    let of_model =
        lines(&toy, "scores.jsonl").into_iter().filter(|line| line["explainer"] == "token_activation");
    for line in of_model.filter(|line| line["status"] != "skipped") {
        assert_eq!(line["score_reasons"]["detection_auroc"], "no_probabilities", "{line}");
    }
    assert!(read(&toy, &format!("simulations/{ROW}")).is_empty(), "nobody simulated");
}

#[test]
fn a_judge_that_is_not_understood_fails_its_own_scores_alone() {
    let toy = Toy::planted();
    // The first questions are understood, so that it is not the first ones that all fail.
    let judged = AtomicUsize::new(0);
    let server =
        server(move |request: &Value| match request["response_format"]["json_schema"]["name"].as_str() {
            Some("verdicts") if judged.fetch_add(1, Ordering::SeqCst) >= 3 => {
                (200, reply(request, "I'm sorry, I can't judge that."))
            }
            _ => honest(request),
        });
    suite(&toy, &server.url, "top_and_random, detection", "", "simulator: {kind: generated}");
    let done = call(&toy, "run", &[]);
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    let found = summary(&toy);
    assert_eq!(cell(&found, "top_and_random", None, "token_activation")["n_scored"], 6);
    for scorer in ["detection", "detection_auroc"] {
        let failed = cell(&found, scorer, None, "token_activation");
        assert!(failed["mean"].is_null() && failed["tally"]["failed"] == 6, "{failed}");
    }
    let scores = read(&toy, "scores.jsonl");
    assert!(scores.contains("\"detection\":\"refused\""), "the reason is told");
}

#[test]
fn the_best_of_several_explanations_is_chosen_on_fragments_that_are_not_scored() {
    let toy = Toy::planted();
    // The second of three candidates is right; attempts are 2, so it begins with sample 2.
    let server = server(|request: &Value| {
        if asks_for_an_explanation(request) && request["seed"] != 2 {
            let wrong =
                if request["seed"] == 0 { "{\"explanation\": \"the token \\\" slowly\\\"\"}" } else { "" };
            return (200, reply(request, wrong));
        }
        honest(request)
    });
    let more = "simulator: {kind: generated}";
    suite(&toy, &server.url, "top_and_random", ", best_of: 3, attempts: 2", more);
    call(&toy, "run", &[]).ok();
    let chosen = cell(&summary(&toy), "top_and_random", None, "token_activation");
    assert!((chosen["mean"].as_f64().expect("a mean") - 1.0).abs() < 1e-6, "{chosen}");
    let simulated = lines(&toy, &format!("simulations/{ROW}"));
    let mut features = 0;
    for line in lines(&toy, &format!("explanations/{ROW}")) {
        let Some(choice) = line.get("choice") else { continue };
        features += 1;
        assert_eq!(choice["chosen"], 1, "{choice}");
        let candidates = choice["candidates"].as_array().expect("candidates");
        assert_eq!(candidates.len(), 3);
        let score = |nth: usize| candidates[nth]["calibration_score"].as_f64();
        assert!(score(0).is_some_and(|score| score < 0.5), "{choice}");
        assert!(score(1).is_some_and(|score| (score - 1.0).abs() < 1e-6), "{choice}");
        assert_eq!((score(2), candidates[2]["calibration_reason"].as_str()), (None, Some("empty_reply")));
        let of_feature =
            |other: &&Value| other["feature"] == line["feature"] && other["explainer"] == "token_activation";
        let scored: BTreeSet<u64> =
            simulated.iter().filter(of_feature).filter_map(|line| line["fragment"].as_u64()).collect();
        let calibrated: BTreeSet<u64> =
            choice["calibrated_on"].as_array().expect("fragments").iter().filter_map(Value::as_u64).collect();
        assert!(scored.len() >= 20 && calibrated.len() == 10 && scored.is_disjoint(&calibrated));
    }
    assert_eq!(features, 6);
}

/// What a question and its answer take by a real tokenizer.
fn counted(tokenizer: &Tokenizer, request: &Value, body: &str) -> String {
    let count = |text: &str| tokenizer.encode(text).expect("encoded").len();
    let mut body: Value = serde_json::from_str(body).expect("JSON");
    let messages = request["messages"].as_array().into_iter().flatten();
    let asked: usize =
        messages.map(|message| count(message["content"].as_str().unwrap_or_default()) + 4).sum();
    let asked = asked + count(request["prompt"].as_str().unwrap_or_default());
    let said = count(body["choices"][0]["message"]["content"].as_str().unwrap_or_default());
    body["usage"] = json!({"prompt_tokens": asked, "completion_tokens": said});
    body.to_string()
}

#[test]
fn the_plan_is_shown_first_and_is_near_what_is_taken() {
    let Some(folder) = shared::folder() else { return };
    let file = folder.join("tokenizers/gpt2/tokenizer.json");
    let tokenizer = Tokenizer::from_file(&file).expect("a tokenizer");
    let toy = Toy::planted();
    let server = server(move |request: &Value| {
        let (status, body) = honest(request);
        (status, counted(&tokenizer, request, &body))
    });
    let (scorers, more) = ("top_and_random, detection, surprisal", "simulator: {kind: generated}");
    suite(&toy, &server.url, scorers, ", best_of: 2", more);
    let plan: Value = serde_json::from_str(&call(&toy, "plan", &["--json"]).ok().stdout).expect("JSON");
    assert_eq!(server.requests(), 0, "a plan asks nothing");
    let steps: Vec<(&str, &str)> = plan["llm"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| Some((step["step"].as_str()?, step["name"].as_str()?)))
        .collect();
    let expected = [
        ("explain", "token_activation"),
        ("choose", "generated"),
        ("simulate", "generated"),
        ("judge", "detection"),
        ("judge", "surprisal"),
    ];
    assert_eq!(steps, expected);
    let shown = call(&toy, "plan", &[]).ok().stdout;
    assert!(shown.contains("judge detection by scripted: at most"), "{shown}");

    let known = format!("explainer.llm.model={}", toy.arg("model"));
    let exact: Value =
        serde_json::from_str(&call(&toy, "plan", &["--json", "--set", &known]).ok().stdout).expect("JSON");
    let by_own_tokenizer =
        |plan: &Value| plan["llm"].as_array().expect("steps").iter().all(|step| step["exact_tokens"] == true);
    assert!(by_own_tokenizer(&exact) && !by_own_tokenizer(&plan), "a model's own tokenizer counts");
    assert!(
        exact["llm_tokens_in"].as_u64() > plan["llm_tokens_in"].as_u64(),
        "a small vocabulary takes more"
    );

    let done = call(&toy, "run", &["--json"]).ok();
    let result: Value = serde_json::from_str(&done.stdout).expect("JSON");
    let manifest: Value = serde_json::from_str(&read(&toy, "manifest.json")).expect("JSON");
    assert_eq!(result["llm_steps"], manifest["llm_steps"]);
    let mut requests = 0;
    for (step, of_plan) in
        result["llm_steps"].as_array().expect("steps").iter().zip(plan["llm"].as_array().expect("steps"))
    {
        assert_eq!(
            (&step["step"], &step["name"], &step["model"]),
            (&of_plan["step"], &of_plan["name"], &of_plan["model"])
        );
        assert_eq!(step["planned"]["requests"], of_plan["requests"], "{step}");
        let number = |side: &str, field: &str| step[side][field].as_f64().unwrap_or(f64::NAN);
        requests += step["actual"]["requests"].as_u64().expect("a count");
        assert!(number("actual", "requests") <= number("planned", "requests"), "{step}");
        // Equal candidates and shared texts are answered from the cache; some lists are short here.
        let answered = number("actual", "requests") + number("actual", "cached");
        assert!(answered >= 0.8 * number("planned", "requests"), "{step}");
        let per_request = |side: &str, field: &str| number(side, field) / number(side, "requests");
        let ratio = per_request("planned", "tokens_in") / per_request("actual", "tokens_in");
        assert!((0.8..1.25).contains(&ratio), "tokens in {ratio:.2}: {step}");
        assert!(number("actual", "minutes") > 0.0 && number("actual", "dollars") > 0.0, "{step}");
    }
    assert_eq!(requests, server.requests() as u64);
    // With everything there, nothing is taken, and the plan stands all the same.
    let again: Value = serde_json::from_str(&call(&toy, "run", &["--json"]).ok().stdout).expect("JSON");
    assert!(again["llm_steps"].as_array().expect("steps").iter().all(|step| step["actual"].is_null()));
    let told = call(&toy, "run", &["--fresh"]).ok().stdout;
    let line = told.lines().find(|line| line.starts_with("explain token_activation by scripted"));
    assert!(line.is_some_and(|line| line.contains("  0 of 12  ")), "{told}");
}

/// Prompt probabilities of a model whose digits are tokens of their own: 9 on the token that the last
/// feature is said to respond to, else 0.
fn digit_by_digit(request: &Value) -> (u16, String) {
    if asks_for_an_explanation(request) {
        return honest(request);
    }
    let prompt = request["prompt"].as_str().expect("a prompt");
    let named = prompt.rsplit("responds to: the token ").next().and_then(|rest| rest.lines().next());
    let (mut tokens, mut tops) = (Vec::<String>::new(), Vec::<Value>::new());
    for line in prompt.split_inclusive('\n') {
        let (token, value) = line.split_once('\t').unwrap_or((line, ""));
        tokens.push(token.into());
        tops.push(Value::Null);
        if !value.is_empty() {
            let value = value.trim_end();
            let parts: Vec<String> = match value.parse::<u8>() {
                Ok(_) => value.chars().map(String::from).collect(),
                Err(_) => vec![value.into()],
            };
            let level = if Some(token) == named { "9" } else { "0" };
            tokens.push("\t".into());
            tops.push(Value::Null);
            tops.extend(parts.iter().map(|_| json!({level: -0.1})));
            tokens.extend(parts);
            tokens.push("\n".into());
            tops.push(Value::Null);
        }
    }
    let n = tokens.len();
    let columns = json!({"tokens": tokens, "token_logprobs": vec![-0.1; n], "top_logprobs": tops});
    let body = json!({
        "choices": [{"text": prompt, "logprobs": columns}],
        "usage": {"prompt_tokens": n, "completion_tokens": 0},
    });
    (200, body.to_string())
}

#[test]
fn how_an_endpoint_writes_ten_is_found_out_once_for_all_rows() {
    let toy = Toy::planted();
    let tens = Arc::new(AtomicUsize::new(0));
    let counted = tens.clone();
    let server = server(move |request: &Value| {
        let prompt = request["prompt"].as_str().unwrap_or_default();
        counted.fetch_add(usize::from(prompt.contains("silent, to 10, where")), Ordering::SeqCst);
        digit_by_digit(request)
    });
    suite(&toy, &server.url, "top_and_random", "", "simulator: {kind: prompt_logprobs}");
    call(&toy, "run", &["--set", "methods=[{kind: neuron}, {kind: random}, {kind: identity}]"]).ok();
    let found = cell(&summary(&toy), "top_and_random", None, "token_activation");
    assert!((found["mean"].as_f64().expect("a mean") - 1.0).abs() < 1e-6, "{found}");
    assert!(server.requests() > 3 * 6 * 20, "{} requests", server.requests());
    assert_eq!(tens.load(Ordering::SeqCst), 1, "one question told");
}

#[test]
fn a_judged_scorer_without_a_language_model_is_refused_with_place_and_remedy() {
    let toy = Toy::new();
    let with = |field: &str| ["--set".to_string(), field.to_string()];
    let check = |fields: &[&str]| {
        let suite = toy.arg("suite.yaml");
        let mut arguments = vec!["check".to_string(), suite];
        fields.iter().for_each(|field| arguments.extend(with(field)));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        finish(&mut autointerp(toy.home(), &arguments))
    };
    check(&["scorers=[top_and_random, detection]"]).refused(2, &["`scorers`", "`detection`", "llm:"]);
    let anthropic = "explainer={kind: highlighted, llm: {client: anthropic, model: m}}";
    check(&["scorers=[surprisal]", anthropic]).refused(2, &["`surprisal`", "log-probabilities", "judge"]);
    let judge = "judge={llm: {client: openai, model: m}, per_question: 8}";
    check(&["scorers=[surprisal, fuzzing]", anthropic, judge]).ok();
    check(&["scorers=[top_and_random, fuzzing]", anthropic]).refused(2, &["no simulator is named"]);
    check(&[
        "scorers=[fuzzing]",
        "explainer={kind: highlighted, best_of: 2, llm: {client: anthropic, model: m}}",
    ])
    .refused(2, &["no simulator is named"]);
    check(&["scorers=[fuzzing]", anthropic, "judge={model: m}"]).refused(2, &["`judge.model`"]);
}

/// The last turn of a question that asks for grades; none for other requests.
fn asks_for_grades(request: &Value) -> Option<&str> {
    let asks = request["response_format"]["json_schema"]["name"] == "grades";
    request["messages"].as_array().filter(|_| asks)?.last()?["content"].as_str()
}

/// The row of `summary.json` with the grades under the language model's explanations.
fn graded_row(summary: &Value, control: Option<&str>) -> Value {
    let mut rows = summary["specificity"].as_array().expect("rows").iter();
    let found = rows.find(|row| row["explainer"] == "token_activation" && row["control"].as_str() == control);
    found.unwrap_or_else(|| panic!("no row of {control:?}")).clone()
}

#[test]
fn planted_grades_come_back_as_shares_and_the_judge_never_sees_an_activation() {
    let toy = Toy::planted();
    // Every feature has activation 3 wherever it fires. The grade is the place of the mark in tokens, modulo 4.
    let place = |text: &str| {
        let before = text.split_once('⟦').map(|(before, _)| before).unwrap_or_default();
        before.matches([' ', '.']).count() + before.matches("\\n").count()
    };
    let server = server(move |request: &Value| match asks_for_grades(request) {
        Some(question) => {
            let texts: Vec<&str> = question.lines().filter(|line| line.contains(". \"")).collect();
            assert!(texts.iter().all(|text| text.matches('⟦').count() == 1), "one mark a text: {question}");
            assert!((1..=4).contains(&texts.len()), "four to a question: {question}");
            let told = request["messages"].to_string();
            assert!(
                !told.contains("3.0") && !told.contains("maximum") && !told.contains("interval"),
                "{told}"
            );
            assert!(request["logprobs"].is_null() && request["top_logprobs"].is_null());
            (200, reply(request, &graded(question, |_, text| (place(text) % 4) as u8)))
        }
        None => honest(request),
    });
    let judge = "judge: {per_question: 4, per_interval: 6, intervals: 4}";
    suite(&toy, &server.url, "specificity", "", judge);
    call(&toy, "run", &[]).ok();
    let found = summary(&toy);
    let (mut shares, mut score) = ([0.0; 4], 0.0);
    let judged = lines(&toy, &format!("judgements/{ROW}"));
    assert_eq!(judged.len(), 6);
    for line in &judged {
        let verdicts = line["verdicts"].as_array().expect("verdicts");
        assert_eq!((line["judging"].as_str(), verdicts.len()), (Some("specificity"), 6), "{line}");
        for verdict in verdicts {
            let grade = verdict["grade"].as_u64().expect("a grade");
            assert_eq!(verdict["marked"].as_array().map(Vec::len), Some(1), "{verdict}");
            assert_eq!(grade, verdict["marked"][0].as_u64().expect("a place") % 4, "{verdict}");
            assert_eq!((&verdict["fires"], &verdict["interval"]), (&json!(true), &json!(3)), "{verdict}");
            shares[grade as usize] += 1.0 / 36.0;
            score += grade as f64 / (3.0 * 36.0);
        }
    }
    let mean = cell(&found, "specificity", None, "token_activation")["mean"].as_f64().expect("a mean");
    assert!((mean - score).abs() < 1e-9, "{mean} and {score}");
    // The control is asked about the same fragments, and this judge does not read the explanation.
    for control in [None, Some("shuffled")] {
        let row = graded_row(&found, control);
        assert_eq!((&row["n_requested"], &row["n_features"]), (&json!(6), &json!(6)), "{row}");
        for nth in 0..3 {
            let empty = &row["intervals"][nth];
            assert_eq!((&empty["n_empty"], &empty["reason"]), (&json!(6), &json!("no_fragments")), "{row}");
            assert!(empty["shares"].as_array().expect("grades").iter().all(|one| one["share"].is_null()));
        }
        let full = &row["intervals"][3];
        assert_eq!((&full["n_features"], &full["n_fragments"]), (&json!(6), &json!(36)), "{row}");
        assert!(full["reason"].is_null() && full["n_empty"] == 0, "{row}");
        for (grade, expected) in shares.iter().enumerate() {
            let share = full["shares"][grade]["share"].as_f64().expect("a share");
            assert!((share - expected).abs() < 1e-9, "{grade}: {share} and {expected}");
        }
    }
    let offline = cell(&found, "specificity", None, "token_lookup");
    assert!(offline["mean"].is_null() && offline["tally"]["undefined"] == 6, "{offline}");
    assert!(
        found["specificity"].as_array().expect("rows").iter().all(|row| row["explainer"] != "token_lookup")
    );
    let charts = fs::read_dir(toy.path("out/charts")).expect("charts").flatten();
    assert!(charts.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("specificity.")));
    assert!(read(&toy, "specificity.csv").lines().count() > 1);
    let plan: Value = serde_json::from_str(&call(&toy, "plan", &["--json"]).ok().stdout).expect("JSON");
    let steps = plan["llm"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["name"] == "specificity").expect("a step");
    // 6 features and their controls, 4 intervals of 6 fragments, 4 to a question.
    assert_eq!(step["requests"], 6 * 2 * 6, "{step}");
    let asked = server.requests();
    let before = (read(&toy, "summary.json"), read(&toy, &format!("judgements/{ROW}")));
    call(&toy, "run", &["--fresh", "--threads", "1"]).ok();
    assert_eq!(server.requests(), asked, "every answer was there already");
    assert!((read(&toy, "summary.json"), read(&toy, &format!("judgements/{ROW}"))) == before);
}

#[test]
fn a_right_explanation_is_specific_and_one_of_another_feature_is_not() {
    let toy = Toy::planted();
    // The first reply to every question is prose with a broken list.
    let server = server(|request: &Value| match asks_for_grades(request) {
        Some(_) if request["seed"] == 0 => (200, reply(request, "I would say [3, 3, as the marks fit.")),
        _ => honest(request),
    });
    suite(&toy, &server.url, "specificity", "", "");
    call(&toy, "run", &[]).ok();
    let found = summary(&toy);
    let real = cell(&found, "specificity", None, "token_activation");
    assert_eq!((&real["mean"], &real["n_scored"]), (&json!(1.0), &json!(6)), "{real}");
    let shuffled = cell(&found, "specificity", Some("shuffled"), "token_activation");
    let mean = shuffled["mean"].as_f64().expect("a mean");
    assert!((0.0..=1.0 / 3.0 + 1e-9).contains(&mean), "no mark is the other word: {mean}");
    let best = &graded_row(&found, None)["intervals"][4]["shares"][3];
    assert_eq!((&best["grade"], &best["share"]), (&json!(3), &json!(1.0)), "{best}");
}

#[test]
fn refused_and_partial_grades_fail_their_features_and_are_counted() {
    let toy = Toy::planted();
    let of_word = |word: &str| PLANTED.iter().position(|planted| *planted == word).unwrap_or(2) % 4;
    let server = server(move |request: &Value| {
        let Some(question) = asks_for_grades(request) else { return honest(request) };
        let first = question.lines().next().unwrap_or_default();
        let word = first.split("the token ").nth(1).unwrap_or_default().trim_matches(['"', ' ']);
        let text = match of_word(word) {
            0 => "I'm sorry, I can't grade that.".to_string(),
            1 => "{\"grades\": [3]}".to_string(),
            _ => graded(question, honest_grade),
        };
        (200, reply(request, &text))
    });
    suite(&toy, &server.url, "detection, specificity", "", "");
    let done = call(&toy, "run", &[]);
    let (mut failed, mut features) = (0, 0);
    for line in lines(&toy, "scores.jsonl") {
        if line["explainer"] != "token_activation"
            || !line["control"].is_null()
            || line["status"] == "skipped"
        {
            continue;
        }
        features += 1;
        let explanation = line["explanation"].as_str().expect("an explanation");
        let word = explanation.split("the token ").nth(1).unwrap_or_default().trim_matches(['"', ' ']);
        let reason = [Some("refused"), Some("wrong_count"), None, None][of_word(word)];
        assert_eq!(line["score_reasons"]["specificity"].as_str(), reason, "{line}");
        assert_eq!(line["grades"].is_null(), reason.is_some(), "{line}");
        assert_eq!(line["status"], "scored", "its detection stands: {line}");
        failed += usize::from(reason.is_some());
    }
    assert_eq!(features, 6);
    assert_eq!(done.code, Some(if failed > 0 { 3 } else { 0 }), "{}", done.stderr);
    let found = cell(&summary(&toy), "specificity", None, "token_activation");
    assert_eq!((&found["tally"]["failed"], &found["n_scored"]), (&json!(failed), &json!(6 - failed)));
    assert_eq!(graded_row(&summary(&toy), None)["n_features"], 6 - failed);
}

#[test]
fn intervals_out_of_range_are_refused_with_their_place() {
    let toy = Toy::new();
    for field in ["intervals: 0", "intervals: 21", "per_interval: 0"] {
        let suite = toy.arg("suite.yaml");
        let judge = format!("judge={{{field}}}");
        let done = finish(&mut autointerp(toy.home(), &["check", &suite, "--set", &judge]));
        let name = format!("`judge.{}`", field.split(':').next().unwrap_or_default());
        done.refused(2, &[&name]);
    }
}

/// Explains a feature as the token that it raises most, where tokens are listed. Chooses the text with more of the word
/// that an explanation names, and else the first one.
fn listens(request: &Value) -> (u16, String) {
    let question = request["messages"].as_array().and_then(|messages| messages.last()?["content"].as_str());
    let question = question.unwrap_or_default();
    let line = |start: &str| question.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
    match request["response_format"]["json_schema"]["name"].as_str() {
        Some("explanation") if question.contains("Held high") => {
            let raised =
                question.split("Held high\nmore likely: ").nth(1).and_then(|rest| rest.lines().next());
            let raised: Vec<String> =
                serde_json::from_str(&format!("[{}]", raised.unwrap_or_default())).expect("quoted tokens");
            (200, reply(request, &json!({"explanation": format!("the token {:?}", raised[0])}).to_string()))
        }
        Some("choice") => {
            let named = line("The feature stands for: the token ").trim_matches(['"', ' ']);
            let count = |text: &str| text.split(['"', ' ', '.']).filter(|word| *word == named).count();
            let choice = if count(line("2: ")) > count(line("1: ")) { 2 } else { 1 };
            (200, reply(request, &json!({"choice": choice}).to_string()))
        }
        _ => honest(request),
    }
}

#[test]
fn a_judge_that_knows_what_a_feature_does_finds_the_steered_text_and_any_other_guesses() {
    let toy = Toy::speaking();
    let server = server(listens);
    let more = "effects: {prompts: 4, temperature: 0, control: none}";
    suite(&toy, &server.url, "intervention", "", more);
    let file = fs::read_to_string(toy.path("planted.yaml")).expect("a suite");
    let explainer = file.lines().find_map(|line| line.strip_prefix("explainer: ")).expect("an explainer");
    let output = explainer.replace("token_activation", "output_explanation");
    let both = file
        .replace(&format!("explainer: {explainer}"), &format!("explainer: {output}"))
        .replace("pairs: [token_lookup]", &format!("pairs: [token_lookup, {{explainer: {explainer}}}]"));
    toy.write("planted.yaml", &both);
    let plan: Value = serde_json::from_str(&call(&toy, "plan", &["--json"]).ok().stdout).expect("JSON");
    let steps = plan["llm"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["name"] == "intervention").expect("a step");
    assert_eq!(
        step["requests"],
        2 * 2 * 6 * 4,
        "two explainers and their controls, 6 features, 4 prompts: {step}"
    );
    call(&toy, "run", &[]).ok();
    let found = summary(&toy);
    let mean = |explainer, control| cell(&found, "intervention", control, explainer)["mean"].as_f64();
    assert_eq!(mean("output_explanation", None), Some(1.0));
    // The word that a feature fires on stands in neither text, so the judge always says 1.
    assert_eq!(mean("token_activation", None), Some(0.5));
    // The word of another feature may begin a text without steering, and nowhere else.
    let shuffled = mean("output_explanation", Some("shuffled")).expect("a mean");
    assert!((0.25..=0.5).contains(&shuffled), "{shuffled}");
    let offline = cell(&found, "intervention", None, "token_lookup");
    assert!(offline["mean"].is_null() && offline["tally"]["undefined"] == 6, "{offline}");

    // The texts are stored once, and no explanation rests on a text that is judged.
    let written = lines(&toy, &format!("continuations/{ROW}"));
    assert_eq!(written.len(), 6);
    for line in &written {
        let said = SAID[line["feature"].as_u64().expect("a feature") as usize];
        let fragments = |list: &str| -> BTreeSet<u64> {
            let pairs = line[list].as_array().expect("pairs").iter();
            pairs.filter_map(|pair| pair["fragment"].as_u64()).collect()
        };
        assert!(fragments("shown").len() == 4 && fragments("asked").len() == 4, "{line}");
        assert!(fragments("shown").is_disjoint(&fragments("asked")), "{line}");
        for pair in line["asked"].as_array().expect("pairs") {
            assert_eq!(pair["steered"], format!(" {said}").repeat(24), "{pair}");
            assert_ne!(pair["steered"], pair["other"], "{pair}");
        }
    }
    let judged = lines(&toy, &format!("judgements/{ROW}"));
    assert_eq!(judged.len(), 2 * 6, "one line per explainer with a judge");
    for line in &judged {
        let choices = line["choices"].as_array().expect("choices");
        let first = choices.iter().filter(|choice| choice["steered"] == 1).count();
        assert_eq!((choices.len(), first), (4, 2), "{line}");
    }
    // Terminal and page show the texts with the answers.
    let (out, feature) = (toy.arg("out"), format!("hook_embed/neuron/{}", written[0]["feature"]));
    let inspect = |more: &[&str]| {
        let arguments = [&["inspect", out.as_str(), feature.as_str()], more].concat();
        finish(&mut autointerp(toy.home(), &arguments)).ok().stdout
    };
    assert!(inspect(&[]).contains("which of two texts was steered?"));
    let shown: Value = serde_json::from_str(&inspect(&["--json"])).expect("JSON");
    let questions = shown["glance"]["questions"].as_array().expect("questions");
    assert!(questions.len() == 4 && questions.iter().all(|one| one["right"] == true), "{shown}");
    let pages = fs::read_dir(toy.path("out/features")).expect("pages").flatten();
    let mut pages = pages.map(|page| fs::read_to_string(page.path()).expect("a page"));
    assert!(pages.any(|page| page.contains("\"questions\":[{")), "the page has the texts");

    // The same again, on one thread, without a request.
    let asked = server.requests();
    assert_eq!(asked, server.distinct(), "no question is asked twice");
    let results = || (read(&toy, "summary.json"), read(&toy, &format!("continuations/{ROW}")));
    let before = results();
    call(&toy, "run", &["--fresh", "--threads", "1"]).ok();
    assert!(results() == before && server.requests() == asked);
    // Texts that do not fit into the model's context are refused before anything is done.
    call(&toy, "run", &["--set", "effects.written_tokens=60"])
        .refused(2, &["effects.written_tokens", "64 tokens", "effects.prompt_tokens"]);
}
