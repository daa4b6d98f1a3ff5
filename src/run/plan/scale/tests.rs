use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::base::{DeviceName, write_atomic};
use crate::suite::load;

fn places(folder: &Path) -> Places {
    Places {
        remote: None,
        cache: folder.join("cache"),
        out: folder.join("out"),
        suite_folder: folder.to_path_buf(),
        device: DeviceName::Cpu,
        hub_endpoint: String::new(),
        hub_token: None,
        hub_shared: None,
        keys: Default::default(),
        openai_base_url: None,
        budget: None,
        offline: true,
        program: None,
    }
}

/// The sizes of Gemma 2 2B, from its published configuration.
fn gemma() -> Value {
    json!({
        "model_type": "gemma2", "vocab_size": 256_000, "hidden_size": 2304, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "intermediate_size": 9216,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "sliding_window": 4096,
        "query_pre_attn_scalar": 256, "hidden_activation": "gelu_pytorch_tanh",
    })
}

/// A plan of a suite on the model of a configuration alone.
fn scaled(suite: &str, config: &Value, ask: &ScaleAsk) -> Scaled {
    let folder = tempfile::tempdir().expect("a folder");
    write_atomic(&folder.path().join("model/config.json"), config.to_string().as_bytes()).expect("written");
    let path = folder.path().join("suite.yaml");
    write_atomic(&path, suite.as_bytes()).expect("written");
    let suite = load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
    scale(&suite, &places(folder.path()), ask).unwrap_or_else(|error| panic!("{error}"))
}

fn around(precision: Precision) -> Around {
    let utilisation = Span { low: 0.2, high: 0.6 };
    Around { precision, utilisation, storage_bandwidth: 1e9, cores: 16.0, usd_per_hour: Some(2.5) }
}

fn ask(engines: Vec<Engine>) -> ScaleAsk {
    ScaleAsk { engines, answers: None, parts: None, failures: None }
}

fn h100(precision: Precision) -> Engine {
    Engine::named("h100", &around(precision)).expect("a device")
}

fn stage(plan: &Scaled, work: Work) -> Cost {
    plan.stages.iter().find(|stage| stage.work == work).map(|stage| stage.cost).expect("a stage")
}

/// No number of a plan is infinite, none is negative: JSON has null for what is not finite.
fn check_numbers(value: &Value, name: &str) {
    match value {
        Value::Null => panic!("{name} is not a number"),
        Value::Number(number) => assert!(number.as_f64().is_some_and(|number| number >= 0.0), "{name}"),
        Value::Array(values) => values.iter().for_each(|value| check_numbers(value, name)),
        Value::Object(fields) => {
            let optional = ["dollars", "context_tokens", "repeated_reason"];
            let fields = fields.iter().filter(|(name, _)| !optional.contains(&name.as_str()));
            fields.for_each(|(name, value)| check_numbers(value, name));
        }
        _ => {}
    }
}

/// Fits by their formulas: 80 rows of width 16 for 100 features, and principal components of 1,000 rows.
#[test]
fn fits_are_counted_by_hand() {
    let cost = |method: &str, rows: f64| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        let text = format!("hooks: [hook_embed]\nmethods: [{method}]\n");
        write_atomic(&path, text.as_bytes()).expect("written");
        let suite = load(&path, &[]).expect(method);
        suite.methods[0].params.check().expect(method).cost(rows, 16)
    };
    let topk = cost("{kind: topk, features: 100, k: 4, steps: 20, batch: 4}", 1e9);
    // 2 · 100 · 16 operations to encode, 8 · 4 · 16 for what is sparse; Adam: 20 steps · 3,200 weights · 12.
    assert_eq!(topk.flops[0], 80.0 * (3200.0 + 512.0) + 20.0 * 3200.0 * 12.0);
    assert_eq!(topk.flops[1], 80.0 * 5.0 * 3200.0 + 20.0 * 3200.0 * 12.0);
    assert_eq!((topk.rows_read, topk.moved[0]), (80.0, 20.0 * 3200.0 * 28.0 + 8.0 * 80.0 * 16.0));
    let pca = cost("{kind: pca}", 1000.0);
    assert_eq!(pca.flops, [3.0 * 256_000.0 + 9.0 * 4096.0, 4.0 * 256_000.0 + 25.0 * 4096.0]);
    let ica = cost("{kind: ica}", 1000.0);
    // 13.5 to 54 iterations of 4 · 1,000 · 256.
    assert_eq!(ica.flops[0], pca.flops[0] + 256_000.0 * (2.0 + 4.0 * 13.5));
    assert_eq!(ica.flops[1], pca.flops[1] + 256_000.0 * (2.0 + 4.0 * 54.0));
    assert_eq!(cost("{kind: random}", 1000.0).flops, [0.0, 512.0]);
}

#[test]
fn a_million_features_and_a_billion_tokens_are_planned_at_once() {
    let suite = "
name: large
subject: {model: model}
corpus: {source: hub:OWNER/NAME, fit_tokens: 1_000_000_000, ctx_tokens: 256, eval_fragments: 15_000_000}
hooks: ['blocks.*.hook_resid_post']
methods:
  - {kind: topk, features: 1_000_000, k: 64, steps: 1_000_000, batch: 4_096, seeds: 3}
  - {kind: pca}
  - {kind: ica}
features: {per_cell: 1_000_000}
pairs: [token_lookup_fit]
explainer: {kind: token_activation, llm: {client: openai, model: judge}}
scorers: [detection, fuzzing]
controls: [shuffled]
limits: {disk_gb: 1_000_000}
";
    let rate = AnswerRate { tokens_in: 1e4, tokens_out: 2.5e3, usd_per_hour: Some(10.0) };
    let failures = Failures { per_hour: 1e-6, patience_hours: 0.02 };
    let all = [h100(Precision::F32), h100(Precision::Bf16)].to_vec();
    let ask = ScaleAsk { answers: Some(rate), parts: Some(1000), failures: Some(failures), ..ask(all) };
    let plan = scaled(suite, &gemma(), &ask);
    assert_eq!((plan.hooks, plan.dictionaries, plan.largest_dictionary), (26, 26 * 5, 1_000_000));
    check_numbers(&serde_json::to_value(&plan).expect("JSON"), "plan");
    // Three trainings of a million features, and every direction of PCA and ICA.
    assert_eq!(plan.features, 26.0 * (3e6 + 2.0 * 2304.0));
    let trained = 26.0 * 3.0 * 1e6 * 4096.0 * 2.0 * 1e6 * 2304.0;
    let steps = stage(&plan, Work::Steps).flops;
    assert!(steps.low > trained && steps.low < 1.1 * trained, "{steps:?}");
    assert!(steps.high > 5.0 * trained && steps.high < 5.1 * trained, "{steps:?}");
    for engine in &plan.engines {
        assert!(engine.hours.low > 0.0 && engine.hours.low < engine.hours.high, "{engine:?}");
        let parts = engine.parts.as_ref().expect("parts");
        // Where parts are as many as help, both are the same sum in another order.
        let at_most = |bound: f64, hours: f64| bound <= hours * (1.0 + 1e-12);
        assert!(at_most(parts.bound.low, parts.hours.low), "{parts:?}");
        assert!(at_most(parts.bound.high, parts.hours.high), "{parts:?}");
        assert!(parts.speed_up > 1.0 && parts.speed_up <= parts.tasks as f64, "{parts:?}");
        assert_eq!(parts.by_parts.len(), 10, "1 to 512");
    }
}

/// The paper's grid, as `results/README.md` works it out.
const GRID: &str = "
name: grid
subject: {model: model}
corpus: {source: hub:OWNER/NAME, fit_tokens: 1_000_000_000, ctx_tokens: 256, eval_fragments: 100_000}
hooks: ['blocks.{5,12,19}.hook_resid_post', 'blocks.{5,12,19}.hook_mlp_out']
methods:
  - {kind: topk, sweep: {k: [32, 64, 128]}, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
  - {kind: batch_topk, sweep: {k: [32, 64, 128]}, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
  - {kind: jumprelu, sweep: {target_l0: [32, 64, 128]}, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
  - {kind: gated, target_l0: 64, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
  - {kind: matryoshka, k: 64, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
  - {kind: sae_untied, target_l0: 64, features: 131_072, batch: 4_096, steps: 244_141, seeds: 3}
features: {per_cell: 1_000}
explainer: {kind: token_activation, llm: {client: openai, model: judge-70b}}
scorers: [detection, fuzzing]
pairs: []
limits: {disk_gb: 5_000}
";

#[test]
fn the_papers_grid_takes_what_its_documentation_says() {
    let failures = Failures { per_hour: 0.001, patience_hours: 60.0 / 3600.0 };
    let all = [h100(Precision::F32), h100(Precision::Bf16)].to_vec();
    let plan = scaled(GRID, &gemma(), &ScaleAsk { parts: Some(64), failures: Some(failures), ..ask(all) });
    assert_eq!((plan.hooks, plan.dictionaries, plan.features), (6, 216, 216_000.0));
    let near = |what: &str, found: f64, stated: f64| {
        assert!((found / stated - 1.0).abs() < 0.05, "{what}: {found:e}, documented {stated:e}");
    };
    near("weights", plan.parameters, 2.61e9);
    near("activations", plan.activation_bytes, 4.67e12);
    let steps = stage(&plan, Work::Steps).flops;
    near("training, least", steps.low, 1.31e20);
    near("training, most", steps.high, 6.53e20);
    let harvest = stage(&plan, Work::Harvest).flops;
    near("harvest, least", harvest.low, 1.23e19);
    let found = &plan.engines[0].hours;
    near("f32 hours, least", found.low, 1_016.0);
    near("f32 hours, most", found.high, 14_400.0);
    let found = &plan.engines[1].hours;
    near("bf16 hours, least", found.low, 305.0);
    near("bf16 hours, most", found.high, 1_507.0);
}
