//! The fields of a suite file, in one table: the reference page, the editor schema and the tests
//! are made from it.

use serde_json::{Map, Value, json};

use crate::dictionary::{KindFields, kind_fields};

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Section it stands in; empty for the top level.
    pub section: &'static str,
    /// Its key.
    pub name: &'static str,
    /// JSON Schema type, `|`-separated where several are allowed.
    pub kind: &'static str,
    /// Default as it would be written; empty where there is none.
    pub default: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
}

const fn field(
    section: &'static str,
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    doc: &'static str,
) -> Field {
    Field { section, name, kind, default, doc }
}

/// Every field, section by section.
pub const FIELDS: &[Field] = &[
    field("", "name", "string", "the file's name", "Name of the suite and of its folder under `results/`."),
    field(
        "",
        "seed",
        "integer",
        "0",
        "Root of every seed stream; two runs with one seed give the same bytes.",
    ),
    field("", "subject", "object", "`{model: embedded}`", "The language model being interpreted."),
    field("", "corpus", "object", "`{source: embedded}`", "The text that activations come from."),
    field(
        "",
        "hooks",
        "array",
        "",
        "Hook points, spelled as TransformerLens does; `*` is every layer, `{0,2}` some.",
    ),
    field("", "methods", "array", "", "What is compared: one entry per method, in the order of the tables."),
    field("", "features", "object", "`{per_cell: 40}`", "How many features of each method are scored."),
    field(
        "",
        "protocol",
        "string|object",
        "`standard`",
        "`standard`, `cunningham2023`, or a mapping with `base` and constants to override.",
    ),
    field("", "explainer", "object", "`{kind: neuron_to_graph}`", "Who describes a feature."),
    field(
        "",
        "simulator",
        "object",
        "the explainer's kind",
        "Who predicts activations from the description.",
    ),
    field(
        "",
        "pairs",
        "array",
        "`[]`",
        "More explainers side by side with the first: an offline kind (read by the simulator of its kind), or `{explainer: …, simulator: …}`.",
    ),
    field(
        "",
        "scorers",
        "array",
        "all five",
        "`top_and_random`, `top_only`, `random_only`, `population`, `beyond_token`; judged by a language model that is told the explanation: `detection`, `fuzzing`, `surprisal`.",
    ),
    field(
        "",
        "judge",
        "object",
        "the simulator's model, else the explainer's",
        "Who judges for `detection`, `fuzzing` and `surprisal`.",
    ),
    field(
        "",
        "controls",
        "array",
        "`[shuffled]`",
        "`shuffled`; `oracle` (each feature explained by the best of the embedded corpus's labelled concepts); `{random_weights: [method, …]}`; `{random_weights_and_embeddings: [method, …]}`.",
    ),
    field("", "statistics", "object", "see below", "Intervals and tests."),
    field("", "limits", "object", "see below", "When to stop or complain."),
    field(
        "subject",
        "model",
        "string",
        "`embedded`",
        "`embedded`, a local folder in Hugging Face layout, a GGUF file (`….gguf`, its numbers unpacked to f32), or a hub id.",
    ),
    field(
        "subject",
        "revision",
        "string",
        "none",
        "Commit, tag or branch of a hub id; the commit it resolves to is recorded.",
    ),
    field(
        "subject",
        "processing",
        "array",
        "none",
        "What TransformerLens does to the weights, for dictionaries that were trained on such a model: `center_writing_weights` takes the mean over dimensions off what is written to the residual stream (models with layer norms alone), `fold_ln` changes no hook point and is only recorded. The model's digest changes with it.",
    ),
    field(
        "subject",
        "half_products",
        "boolean",
        "`false`",
        "Round both factors of products inside the model's blocks to bf16, on processors that have such products (AVX-512 BF16, AMX): faster, with activations off by a few thousandths of their size. Sums, residual stream, norms, attention and logits stay in f32.",
    ),
    field(
        "subject",
        "bos",
        "string",
        "`auto`",
        "BOS in front of every context, fragment and probe. `auto`: what the model's own tokenizer puts there, nothing for GPT-2, Pythia and Qwen. `always`: its BOS, or `<|endoftext|>` where it has none. `never`: nothing. It is part of `ctx_tokens`; it is never fitted on, scored or shown as text.",
    ),
    field(
        "corpus",
        "source",
        "string",
        "`embedded`",
        "`embedded`, a path (text, `.jsonl`, `.jsonl.gz`, `.jsonl.zst`), or `hub:ID`.",
    ),
    field("corpus", "field", "string", "`text`", "Field of a JSONL line that holds the text."),
    field(
        "corpus",
        "separator",
        "string",
        "`<|endoftext|>`",
        "Line that separates documents of a plain text file.",
    ),
    field("corpus", "revision", "string", "none", "Commit, tag or branch of a hub data set."),
    field("corpus", "files", "string", "all text and JSONL files", "Glob over the files of a hub data set."),
    field("corpus", "fit_tokens", "integer", "`500_000`", "Tokens that dictionaries are fitted on."),
    field("corpus", "ctx_tokens", "integer", "`128`", "Tokens of a fitting context."),
    field(
        "corpus",
        "eval_fragments",
        "integer",
        "`5_000`",
        "64-token fragments that features are explained and scored on.",
    ),
    field("methods", "name", "string", "the kind", "Free; the name of its rows."),
    field(
        "methods",
        "kind",
        "string",
        "",
        "`sae`, `sae_untied`, `topk`, `batch_topk`, `matryoshka`, `gated`, `jumprelu`, `neuron`, `random`, `identity`, `pca`, `ica`, `file`.",
    ),
    field(
        "methods",
        "use",
        "string",
        "none",
        "A file of `baselines/`; fields beside it override the file's.",
    ),
    field(
        "methods",
        "sweep",
        "object",
        "none",
        "`{k: [4, 8, 16]}`: one method for each value of a field of its kind, named `NAME_VALUE`; charts join them by a line.",
    ),
    field(
        "methods",
        "seeds",
        "integer",
        "`1`",
        "How many times it is trained, on rows in the same order, from different starts. All share a row: means over trainings, intervals that draw trainings first and features second, `per_cell` features of each.",
    ),
    field(
        "methods",
        "variants",
        "array",
        "`[fitted]`",
        "For pca and ica: `fitted`, `oriented`, `split`, `topk`; one fit serves all.",
    ),
    field("methods", "match", "string", "none", "For the `topk` variant: the method whose mean L0 gives k."),
    field(
        "features",
        "per_cell",
        "integer",
        "`40`",
        "Eligible features scored in each (hook point, method).",
    ),
    field("protocol", "base", "string", "`standard`", "The protocol whose constants are overridden."),
    field(
        "protocol",
        "deviations",
        "array",
        "`[]`",
        "For `cunningham2023`: `disjoint`, `centred`, `sampled`; printed with the result.",
    ),
    field(
        "explainer",
        "kind",
        "string",
        "`neuron_to_graph`",
        "Offline: `neuron_to_graph`, `neuron_to_graph_backoff`, `token_lookup`, `token_lookup_fit`. With a language model: `token_activation`, `highlighted`, `contrastive`, and `strongest`, whose question is short enough for small models.",
    ),
    field("explainer", "name", "string", "the kind", "Name in tables; tells two models of one kind apart."),
    field("explainer", "llm", "object", "none", "The language model; see `llm`. Required for its kinds."),
    field(
        "explainer",
        "attempts",
        "integer",
        "`3`",
        "Times that a feature's question is asked until an answer can be read; then the feature is counted as failed.",
    ),
    field(
        "explainer",
        "best_of",
        "integer",
        "`1`",
        "Explanations asked for. Of several, the one that the simulator reads best on calibration fragments is kept: every other top and random fragment of the evidence, which the explainer is then not shown.",
    ),
    field(
        "explainer",
        "shots",
        "integer",
        "all",
        "Worked examples in the question, from 0; fewer make it shorter.",
    ),
    field(
        "explainer",
        "temperature",
        "number",
        "`1`; `local`: `0`",
        "Of the first answer to a question, 0 to 2; 0 takes the likeliest token each time, and other answers are then drawn at 0.7.",
    ),
    field(
        "simulator",
        "kind",
        "string",
        "the explainer's kind",
        "Offline: as the explainer's. With a language model: `generated`, `generated_expected`, `prompt_logprobs`, `per_token`, and two that ask for no numbers and that small models can answer: `likelihood`, and `exemplar` with `client: local`; none is needed, and none is asked, where all scorers are judged.",
    ),
    field("simulator", "name", "string", "the kind", "Name in tables."),
    field("simulator", "llm", "object", "the explainer's", "The language model; see `llm`."),
    field("simulator", "attempts", "integer", "`3`", "As the explainer's, for each fragment."),
    field("simulator", "shots", "integer", "all", "As the explainer's."),
    field(
        "judge",
        "llm",
        "object",
        "the simulator's, else the explainer's",
        "The language model; see `llm`. For `surprisal` it has to give the log-probabilities of a prompt.",
    ),
    field("judge", "attempts", "integer", "`3`", "As the explainer's, for each question."),
    field(
        "judge",
        "per_question",
        "integer",
        "`5`",
        "Fragments that share a question of `detection` and `fuzzing`.",
    ),
    field(
        "judge",
        "probabilities",
        "boolean",
        "`true`",
        "Whether the probabilities of verdicts are asked for: the AUROC of `detection` and `fuzzing` needs them, and some endpoints refuse the question.",
    ),
    field(
        "llm",
        "client",
        "string",
        "",
        "`openai` (chat completions), `openai_completions`, `anthropic`, or `local`: a model in this process, without a network.",
    ),
    field(
        "llm",
        "model",
        "string",
        "",
        "The model's name at the endpoint; of a `local` one its folder, with `config.json`, `model.safetensors` and `tokenizer.json`, or its file `….gguf`.",
    ),
    field(
        "llm",
        "base_url",
        "string",
        "`OPENAI_BASE_URL`, else the vendor's",
        "Where it is, `https://host/v1`. On this machine (`http://127.0.0.1:8000/v1`) no key is needed.",
    ),
    field(
        "llm",
        "api_key_env",
        "string",
        "`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`",
        "The variable that holds the key; the key itself never stands in a suite.",
    ),
    field("llm", "headers", "object", "`{}`", "More headers; `{key}` in a value stands for the key."),
    field("llm", "query", "object", "`{}`", "Query parameters, such as `api-version`."),
    field("llm", "max_in_flight", "integer", "`64`; `local`: `16`", "Requests under way at once."),
    field("llm", "requests_per_minute", "number", "none", "Most requests in a minute."),
    field("llm", "tokens_per_minute", "number", "none", "Most tokens in a minute, in and out."),
    field(
        "llm",
        "context_tokens",
        "integer",
        "none; `local`: the model's",
        "Tokens of a question and its answer that the model takes at most: longer questions are refused before anything is asked.",
    ),
    field("llm", "price_in", "number", "none", "Dollars per million tokens in; a budget needs both prices."),
    field("llm", "price_out", "number", "none", "Dollars per million tokens out."),
    field("llm", "timeout_seconds", "number", "`60`", "Longest wait for one answer."),
    field("llm", "retries", "integer", "`6`", "Repeats after a passing failure, such as a rate limit."),
    field("llm", "structured", "boolean", "`true`", "Whether to send a JSON schema for the answer."),
    field(
        "llm",
        "response_format",
        "string",
        "`json_schema`",
        "How the schema is sent: `json_schema` as OpenAI has it, or `json_object` with the schema beside it, which llama-cpp-python wants.",
    ),
    field(
        "llm",
        "omit",
        "array",
        "`[]`",
        "Fields left out of every request, for endpoints that refuse them: `temperature`, `seed`, `response_format`, `logprobs`, `top_logprobs`, …",
    ),
    field(
        "llm",
        "extra_body",
        "object",
        "`{}`",
        "Fields added to every request, such as `repeat_penalty: 1.0` for llama-cpp-python, whose server has 1.1; `null` takes one out.",
    ),
    field(
        "llm",
        "max_tokens_field",
        "string",
        "`max_tokens`",
        "What the endpoint calls the answer's limit; `max_completion_tokens` is also used where it asks for it.",
    ),
    field(
        "llm",
        "thinking_tokens",
        "integer",
        "`0`",
        "Tokens added to every answer's limit, for models that think before they answer.",
    ),
    field(
        "llm",
        "prompt_logprobs",
        "string",
        "`echo`",
        "`echo` or `vllm`: how it is asked for a prompt's own log-probabilities.",
    ),
    field("statistics", "confidence", "number", "`0.95`", "Confidence of the intervals."),
    field("statistics", "interval", "string", "`bca`", "`bca`, `percentile` or `normal` (mean ± 1.96 SE)."),
    field("statistics", "resamples", "integer", "`10_000`", "Bootstrap resamples."),
    field("statistics", "permutations", "integer", "`100_000`", "Permutations of a test."),
    field(
        "statistics",
        "primary",
        "string",
        "the first scorer",
        "The score that the Holm-adjusted family tests.",
    ),
    field(
        "statistics",
        "reference",
        "string",
        "the first method",
        "The method that the family compares with every other.",
    ),
    field(
        "statistics",
        "margin",
        "number",
        "`0.05`",
        "A difference whose 90 % interval lies inside ± this is called within the margin.",
    ),
    field(
        "limits",
        "failed_allowed",
        "number",
        "`0.05`",
        "Share of walked features that may fail before the run exits 3.",
    ),
    field("limits", "disk_gb", "number", "`20`", "Disk that harvested activations may take, in GB."),
];

/// The field reference of `suites/README.md`, in Markdown.
pub fn reference() -> String {
    let mut out = String::new();
    let mut section = None;
    for field in FIELDS {
        if section != Some(field.section) {
            let title =
                if field.section.is_empty() { "Top level".into() } else { format!("`{}`", field.section) };
            out.push_str(&format!(
                "\n### {title}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
            ));
            section = Some(field.section);
        }
        let kind = field.kind.replace('|', " or ");
        let default = if field.default.is_empty() { "required" } else { field.default };
        let default = default.replace('|', "\\|");
        out.push_str(&format!(
            "| `{}` | {kind} | {default} | {} |\n",
            field.name,
            field.doc.replace('|', "\\|")
        ));
        if field.section == "methods" && of_section_ends(field) {
            kind_fields().iter().for_each(|fields| out.push_str(&reference_of_kinds(fields)));
        }
    }
    out
}

/// Whether no field of the section comes after this one.
fn of_section_ends(field: &Field) -> bool {
    let last = FIELDS.iter().rev().find(|other| other.section == field.section);
    last.is_some_and(|last| last.name == field.name)
}

/// The part of the reference about the fields that some kinds of method have.
fn reference_of_kinds(fields: &KindFields) -> String {
    let kinds: Vec<String> = fields.kinds.iter().map(|kind| format!("`{kind}`")).collect();
    let mut out = format!("\n#### {}\n\n{}\n", kinds.join(", "), text_of(&fields.schema));
    let none = Map::new();
    let own = fields.schema["properties"].as_object().unwrap_or(&none);
    if own.is_empty() {
        return out;
    }
    let required = fields.schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    out.push_str("\n| field | type | default | meaning |\n|---|---|---|---|\n");
    for (name, node) in own {
        let default = match &node["default"] {
            _ if is_required(name) => "required".to_string(),
            Value::Null => "none".to_string(),
            value => format!("`{value}`"),
        };
        let doc = text_of(node) + &choices_of(node);
        out.push_str(&format!(
            "| `{name}` | {} | {default} | {} |\n",
            type_of(node),
            doc.replace('|', "\\|")
        ));
    }
    out
}

/// A description on one line, without links.
fn text_of(node: &Value) -> String {
    node["description"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The words that a field, or an entry of it, may be.
fn choices(node: &Value) -> Vec<(&str, String)> {
    let alternatives = node["oneOf"].as_array().into_iter().flatten();
    alternatives.filter_map(|choice| Some((choice["const"].as_str()?, text_of(choice)))).collect()
}

fn choices_of(node: &Value) -> String {
    let own = if node["items"].is_null() { choices(node) } else { choices(&node["items"]) };
    own.iter().map(|(word, doc)| format!(" `{word}`: {doc}")).collect()
}

/// Its type as the reference writes it; that it may be left out, its default says.
fn type_of(node: &Value) -> String {
    match &node["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
            names.collect::<Vec<_>>().join(" or ")
        }
        _ => "string".to_string(),
    }
}

/// The JSON Schema of a suite file.
pub fn schema() -> Value {
    let mut top = properties("");
    for (name, node) in &mut top {
        let inner = properties(name);
        if inner.is_empty() {
            continue;
        }
        // A method or a protocol may carry fields of its kind, which the kinds document themselves.
        let open = matches!(name.as_str(), "methods" | "protocol");
        let object = json!({"type": "object", "properties": inner, "additionalProperties": open});
        let doc = node["description"].clone();
        *node = match name.as_str() {
            "methods" => json!({"type": "array", "minItems": 1, "items": object}),
            "protocol" => json!({"anyOf": [{"enum": ["standard", "cunningham2023"]}, object]}),
            "explainer" | "simulator" | "judge" => {
                let mut inner = properties(name);
                inner["llm"] = json!({
                    "type": "object",
                    "required": ["client", "model"],
                    "properties": properties("llm"),
                    "additionalProperties": false,
                });
                let object = json!({"type": "object", "properties": inner, "additionalProperties": false});
                // A kind may stand alone; a judge has none.
                if name == "judge" { object } else { json!({"anyOf": [{"type": "string"}, object]}) }
            }
            _ => object,
        };
        node["description"] = doc;
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "autointerp suite",
        "type": "object",
        "required": ["hooks", "methods"],
        "properties": top,
        "additionalProperties": false,
    })
}

fn properties(section: &str) -> Map<String, Value> {
    let of_section = FIELDS.iter().filter(|field| field.section == section);
    of_section
        .map(|field| {
            let kinds: Vec<&str> = field.kind.split('|').collect();
            let kind = if kinds.len() == 1 { json!(kinds[0]) } else { json!(kinds) };
            (field.name.to_string(), json!({"type": kind, "description": field.doc}))
        })
        .collect()
}
