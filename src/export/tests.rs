use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::base::{Digest, Matrix, Stream, write_atomic, write_sealed};
use crate::dictionary::{Activation, AffineDictionary, Dictionary, Kind, Label, RowScale, Tensors};
use crate::report::fixture::{self, Text, write_evidence};
use crate::report::{EvidenceFile, Layout, Place, ScoreLine};

const HOOK: &str = "blocks.0.hook_resid_post";
const FEATURES: usize = 4;
const WIDTH: usize = 3;
const DENSITY: [f64; FEATURES] = [0.5, 0.02, 0.005, 0.0];

/// A run folder with a TopK and a signed dictionary at one hook point, three features of each explained.
struct Made {
    folder: TempDir,
    lines: Vec<ScoreLine>,
}

fn dictionary(method: &str, kind: Kind, activation: Activation) -> AffineDictionary {
    let mut stream = Stream::new(3, method);
    let mut matrix = |rows, cols| Matrix::from_fn(rows, cols, |_, _| stream.normal() as f32);
    let (encoder, decoder) = (matrix(FEATURES, WIDTH), matrix(FEATURES, WIDTH));
    let tensors = Tensors {
        encoder,
        encoder_bias: vec![0.25; FEATURES],
        decoder,
        decoder_bias: vec![0.5; WIDTH],
        subtract_decoder_bias: true,
        activation,
        row_scale: RowScale::Plain,
        skip: None,
    };
    let label = Label {
        method: method.into(),
        kind,
        hook: HOOK.parse().expect("a hook point"),
        fitted_on: Digest::of(b"activations"),
        is_reconstruction: true,
        output: None,
    };
    AffineDictionary::new(label, tensors)
}

fn write_json(path: &Path, value: &Value) {
    write_atomic(path, value.to_string().as_bytes()).expect("written");
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut made = fixture::make_of(1, 3);
        made.summary.quality.retain(|row| ["topk", "pca"].contains(&row.method.as_str()));
        let topk = dictionary("topk", Kind::Topk, Activation::TopK(2));
        let pca = dictionary("pca", Kind::Pca, Activation::Signed);
        fixture::write(&made, folder.path());
        let mut facts = BTreeMap::new();
        for (nth, dictionary) in [&topk, &pca].into_iter().enumerate() {
            let (name, digest) = (&dictionary.info().method, dictionary.info().digest.hex());
            dictionary.save(&folder.path().join("dictionaries").join(HOOK).join(name)).expect("saved");
            let found = json!({"digest": digest, "fitted_on": dictionary.info().fitted_on.hex()});
            facts.insert(format!("{HOOK}/{name}"), found.clone());
            let row = made.summary.quality.iter().find(|row| row.method == *name).expect("a row");
            let measured = json!({
                "quality": {"n_tokens": row.n_tokens, "l0": row.l0, "density": DENSITY},
                "losses": {"clean": 2.0, "zero": 6.0, "mean": 4.0, "n_tokens": 630}, "spliced": 3.0,
            });
            let stages = folder.path().join("stages");
            let stored = json!({"name": name, "measured": measured, "dictionary": found, "outcomes": []});
            let row = stages.join(format!("row-{nth}.json"));
            write_sealed(&row, None, Vec::new(), &stored).expect("written");
            // Of an earlier version of the suite: another dictionary.
            let mut other = stored.clone();
            other["dictionary"]["digest"] = json!("ab".repeat(32));
            other["measured"]["quality"]["density"] = json!([0.9, 0.9, 0.9, 0.9]);
            write_json(&stages.join(format!("row-0{nth}.json")), &other);
        }
        write_json(&folder.path().join("stages/row-broken.json"), &json!([1]));
        let manifest = json!({
            "version": "0.1.0", "dictionaries": facts, "prompts": {}, "bos": {"ids": []},
            "subject": {"name": "owner/Some.Model", "n_layers": 1, "d_model": WIDTH, "d_mlp": 12},
            "suite": {
                "corpus": {"source": "hub:owner/texts", "ctx_tokens": 128},
                "protocol": {"fragment_tokens": 64, "score_first_position": false},
                "pairs": [{"explainer": "neuron_to_graph", "simulator": "neuron_to_graph"}],
            },
        });
        write_json(&folder.path().join("manifest.json"), &manifest);
        let text = Text::make(40, 60);
        text.write(folder.path());
        write_evidence(folder.path(), &text, HOOK, "topk", 3, false);
        write_evidence(folder.path(), &text, HOOK, "pca", 3, true);
        Self { folder, lines: made.lines }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn export(&self, form: &str, methods: &[&str]) -> Result<Exported, ExportError> {
        let form = Form::named(form).expect("a form");
        let wanted = Wanted { methods: methods.iter().map(ToString::to_string).collect(), hooks: Vec::new() };
        export(self.path(), form, &wanted, &default_folder(self.path(), form), &|| false)
    }

    /// The lines of the run's evidence of one kind.
    fn evidence(&self, kind: &str, dictionary: &str) -> Vec<Value> {
        let path = self.path().join(kind).join(HOOK).join(format!("{dictionary}.jsonl"));
        lines(&fs::read_to_string(path).expect("evidence"))
    }

    fn lines_of(&self, method: &str, feature: u64) -> Vec<&ScoreLine> {
        let of = |line: &&ScoreLine| {
            line.hook == HOOK
                && line.method == method
                && line.feature as u64 == feature
                && line.control.is_none()
        };
        self.lines.iter().filter(of).collect()
    }
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn packed(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).expect("a file")).read_to_string(&mut text).expect("gzip of UTF-8");
    lines(&text)
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(&inside).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).expect("below").display().to_string();
                found.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

/// Checks that an object has exactly these fields, each of its type: `s` text, `n` number, `i` integer, `b` truth value,
/// `a` list, `o` object; `?` behind it allows null.
fn assert_fields(value: &Value, fields: &[(&str, &str)]) {
    let object = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let (found, expected): (BTreeSet<&str>, BTreeSet<&str>) =
        (object.keys().map(String::as_str).collect(), fields.iter().map(|(name, _)| *name).collect());
    assert_eq!(found, expected);
    for (name, kind) in fields {
        let field = &object[*name];
        let fits = match kind.trim_end_matches('?') {
            "s" => field.is_string(),
            "n" => field.is_number(),
            "i" => field.is_u64(),
            "b" => field.is_boolean(),
            "a" => field.is_array(),
            "o" => field.is_object(),
            other => panic!("`{other}` is no type"),
        };
        assert!(fits || (kind.ends_with('?') && field.is_null()), "`{name}` is {field}");
    }
}

#[test]
fn saelens_gets_tensors_settings_and_sparsity_and_no_signed_dictionary() {
    let made = Made::new();
    let exported = made.export("saelens", &[]).expect("exported");
    assert_eq!(exported.exported.len(), 1);
    assert_eq!(exported.exported[0].path, format!("{HOOK}/topk"));
    assert_eq!((exported.skipped.len(), exported.skipped[0].dictionary.as_str()), (1, "pca"));
    assert!(exported.skipped[0].reason.contains("signed"), "{:?}", exported.skipped);
    let folder = made.path().join("exports/saelens").join(HOOK).join("topk");
    let config = read_json(&folder.join("cfg.json"));
    assert_fields(
        &config,
        &[
            ("architecture", "s"),
            ("d_in", "i"),
            ("d_sae", "i"),
            ("k", "i"),
            ("dtype", "s"),
            ("device", "s"),
            ("apply_b_dec_to_input", "b"),
            ("normalize_activations", "s"),
            ("reshape_activations", "s"),
            ("rescale_acts_by_decoder_norm", "b"),
            ("metadata", "o"),
        ],
    );
    assert_eq!((&config["architecture"], &config["k"]), (&json!("topk"), &json!(2)));
    assert_eq!(
        config["metadata"],
        json!({
            "hook_name": HOOK, "model_name": "owner/Some.Model", "model_class_name": "HookedTransformer",
            "model_from_pretrained_kwargs": {},
            "context_size": 128, "prepend_bos": false, "seqpos_slice": [1, null], "exclude_special_tokens": false,
            "dataset_path": "owner/texts", "sae_lens_version": "6.0.0", "sae_lens_training_version": null,
        })
    );
    let floats = |file: &str, name: &str| -> (Vec<usize>, Vec<f32>) {
        let bytes = fs::read(folder.join(file)).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("safetensors");
        let view = file.tensor(name).expect("a tensor");
        let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        (view.shape().to_vec(), values.collect())
    };
    let topk = dictionary("topk", Kind::Topk, Activation::TopK(2));
    let (shape, decoder) = floats("sae_weights.safetensors", "W_dec");
    assert_eq!((shape, decoder.as_slice()), (vec![FEATURES, WIDTH], topk.tensors().decoder.data()));
    let (shape, sparsity) = floats("sparsity.safetensors", "sparsity");
    let expected: Vec<f32> = DENSITY.iter().map(|share| (share + 1e-10).log10() as f32).collect();
    assert_eq!((shape, sparsity), (vec![FEATURES], expected));
    let list = read_json(&made.path().join("exports/saelens/export.json"));
    assert_eq!(list["files"].as_array().map(Vec::len), Some(3));
    assert_eq!(exported.files, 4);
}

#[test]
fn nothing_that_can_be_expressed_is_an_error_with_the_reason() {
    let made = Made::new();
    let error = made.export("saelens", &["pca"]).expect_err("refused").to_string();
    assert!(error.contains("saelens") && error.contains("signed"), "{error}");
    assert!(!made.path().join("exports/saelens").exists());
    let error = made.export("saelens", &["top"]).expect_err("refused").to_string();
    assert_eq!(error, "--method: the run has no dictionary of `top`; it has `pca`, `topk`");
    let form = Form::named("saelens").expect("a form");
    let at = |hook: &str| {
        let wanted = Wanted { hooks: vec![hook.into()], ..Wanted::default() };
        export(made.path(), form, &wanted, &made.path().join("out"), &|| false)
            .map(|done| done.exported.len())
    };
    assert_eq!(at("blocks.*.hook_resid_post").ok(), Some(1));
    assert_eq!(at("blocks.{0,3}.hook_resid_post").ok(), Some(1));
    assert!(matches!(at("blocks.*.hook_mlp_out"), Err(ExportError::Unknown { flag: "--hook", .. })));
    let stopped = export(made.path(), form, &Wanted::default(), &made.path().join("new"), &|| true);
    assert!(matches!(stopped, Err(ExportError::Stopped)));
    let names: Vec<String> = contents(made.path()).into_keys().filter(|name| name.contains("new")).collect();
    assert!(names.is_empty(), "{names:?}");
}

#[test]
fn neuronpedia_gets_the_columns_of_its_tables_with_the_runs_numbers() {
    let made = Made::new();
    let exported = made.export("neuronpedia", &[]).expect("exported");
    let root = made.path().join("exports/neuronpedia");
    let paths: Vec<&str> = exported.exported.iter().map(|one| one.path.as_str()).collect();
    assert_eq!(
        paths,
        ["v1/some-model/0-residual-topk-resid_post", "v1/some-model/0-residual-pca-resid_post"]
    );
    for (one, method) in exported.exported.iter().zip(["topk", "pca"]) {
        assert_eq!(one.features, Some(3));
        let source = root.join(&one.path);
        let table = |name: &str| packed(&source.join(name).join("batch-0.jsonl.gz"));
        check_features(&made, method, &table("features"));
        check_activations(&made, method, &table("activations"));
        let explanations = table("explanations");
        check_scores(&made, method, &explanations, &table("explanation_scores"), &root);
        let model = lines(&fs::read_to_string(source.join("model.jsonl")).expect("a file"));
        let set = lines(&fs::read_to_string(source.join("sourceset.jsonl")).expect("a file"));
        let row = lines(&fs::read_to_string(source.join("source.jsonl")).expect("a file"));
        let release = lines(&fs::read_to_string(source.join("release.jsonl")).expect("a file"));
        assert_eq!((&model[0]["id"], &model[0]["owner"]), (&json!("some-model"), &json!("owner")));
        assert_eq!(row[0]["setName"], set[0]["name"]);
        assert_eq!(set[0]["releaseName"], release[0]["name"]);
        let id = format!("0-{}", set[0]["name"].as_str().expect("a name"));
        assert_eq!(row[0]["id"], id, "a source is its layer and its set");
        // 49,920 tokens of fragments with 63 counted ones.
        assert_eq!((&row[0]["num_prompts"], &row[0]["dataset"]), (&json!(792), &json!("owner/texts")));
    }
}

fn check_features(made: &Made, method: &str, rows: &[Value]) {
    let texts: Vec<Value> =
        read_json(&made.path().join("records/tokens.json")).as_array().expect("a list").clone();
    let (records, profiles) = (made.evidence("records", method), made.evidence("profiles", method));
    let neighbours = made.evidence("neighbours", method);
    assert_eq!(rows.len(), records.len());
    for (((row, record), profile), near) in rows.iter().zip(&records).zip(&profiles).zip(&neighbours) {
        assert_fields(
            row,
            &[
                ("modelId", "s"),
                ("layer", "s"),
                ("index", "s"),
                ("creatorId", "s"),
                ("sourceSetName", "s"),
                ("hookName", "s"),
                ("maxActApprox", "n"),
                ("frac_nonzero", "n"),
                ("hasVector", "b"),
                ("vector", "a"),
                ("vectorLabel", "s?"),
                ("vectorDefaultSteerStrength", "n?"),
                ("topkCosSimIndices", "a"),
                ("topkCosSimValues", "a"),
                ("neuron_alignment_indices", "a"),
                ("neuron_alignment_values", "a"),
                ("neuron_alignment_l1", "a"),
                ("correlated_neurons_indices", "a"),
                ("correlated_neurons_pearson", "a"),
                ("correlated_neurons_l1", "a"),
                ("correlated_features_indices", "a"),
                ("correlated_features_pearson", "a"),
                ("correlated_features_l1", "a"),
                ("neg_str", "a"),
                ("neg_values", "a"),
                ("pos_str", "a"),
                ("pos_values", "a"),
                ("freq_hist_data_bar_values", "a"),
                ("freq_hist_data_bar_heights", "a"),
                ("logits_hist_data_bar_heights", "a"),
                ("logits_hist_data_bar_values", "a"),
                ("decoder_weights_dist", "a"),
            ],
        );
        assert_eq!(row["index"], record["feature"].to_string());
        assert_eq!(row["maxActApprox"], record["max_activation"]);
        assert_eq!(row["frac_nonzero"], json!(9_000.0 / 252_000.0), "n_firing of n_tokens");
        for (nth, effect) in profile["logits"]["raised"].as_array().expect("a list").iter().enumerate() {
            assert_eq!(row["pos_values"][nth], effect["effect"]);
            assert_eq!(row["pos_str"][nth], texts[effect["token"].as_u64().expect("an id") as usize]);
        }
        assert_eq!(row["topkCosSimIndices"][0], near["same"][0]["feature"]);
        assert_eq!(row["topkCosSimValues"][4], near["same"][4]["cosine"]);
        let (bars, heights) = (&row["freq_hist_data_bar_values"], &row["freq_hist_data_bar_heights"]);
        assert!((bars[0].as_f64().expect("a number") - 0.13).abs() < 1e-12, "the centre of 0 to 0.26");
        let histogram = &profile["histogram"];
        let of_bin = |counts: &Value| counts[0].as_u64().expect("a count");
        let counted: u64 =
            histogram["tokens"].as_array().expect("a list").iter().map(|one| of_bin(&one["counts"])).sum();
        assert_eq!(heights[0], counted + of_bin(&histogram["rest"]));
    }
}

fn check_activations(made: &Made, method: &str, rows: &[Value]) {
    let records = made.evidence("records", method);
    let mut ids = BTreeSet::new();
    let fragments = records.iter().flat_map(|record| {
        let list = |name: &str| record[name].as_array().expect("a list").clone();
        list("top").into_iter().chain(list("random")).map(|one| (record["feature"].clone(), one))
    });
    let fragments: Vec<(Value, Value)> = fragments.collect();
    assert_eq!(rows.len(), fragments.len());
    for (row, (feature, fragment)) in rows.iter().zip(&fragments) {
        assert_fields(
            row,
            &[
                ("id", "s"),
                ("modelId", "s"),
                ("layer", "s"),
                ("index", "s"),
                ("tokens", "a"),
                ("values", "a"),
                ("maxValue", "n"),
                ("maxValueTokenIndex", "i"),
                ("minValue", "n"),
                ("dataIndex", "s?"),
                ("dataSource", "s?"),
                ("creatorId", "s"),
                ("binMin", "n?"),
                ("binMax", "n?"),
                ("binContains", "n?"),
                ("qualifyingTokenIndex", "i?"),
                ("lossValues", "a"),
                ("dfaValues", "a"),
            ],
        );
        assert_eq!((&row["index"], &row["values"]), (&json!(feature.to_string()), &fragment["activations"]));
        let values: Vec<f64> = row["values"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|value| value.as_f64().expect("a number"))
            .collect();
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        assert_eq!(row["maxValue"].as_f64(), Some(max));
        assert_eq!(values[row["maxValueTokenIndex"].as_u64().expect("an index") as usize], max);
        assert_eq!(row["tokens"].as_array().map(Vec::len), Some(values.len()));
        assert_eq!(row["id"].as_str().map(str::len), Some(25));
        ids.insert(row["id"].as_str().expect("an id").to_string());
    }
    // The made-up lists draw with replacement, so that a fragment may come twice.
    assert!(ids.len() > rows.len() / 2);
}

fn check_scores(made: &Made, method: &str, explanations: &[Value], scores: &[Value], root: &Path) {
    let config = |name: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root.join("v1/config").join(format!("{name}.jsonl"))).expect("a file");
        lines(&text).iter().map(|row| row["name"].as_str().expect("a name").to_string()).collect()
    };
    let known = |name: &Value, table: &str| config(table).contains(name.as_str().expect("a name"));
    assert_eq!(explanations.len(), 3 * fixture::EXPLAINERS.len());
    let mut by_id = BTreeMap::new();
    for row in explanations {
        assert_fields(
            row,
            &[
                ("id", "s"),
                ("modelId", "s"),
                ("layer", "s"),
                ("index", "s"),
                ("description", "s"),
                ("authorId", "s"),
                ("typeName", "s"),
                ("explanationModelName", "s?"),
                ("notes", "s?"),
            ],
        );
        assert!(known(&row["typeName"], "explanation_type"));
        by_id.insert(row["id"].as_str().expect("an id"), row);
    }
    assert_eq!(by_id.len(), explanations.len(), "ids differ");
    let mut found = 0;
    for row in scores {
        assert_fields(
            row,
            &[
                ("id", "s"),
                ("explanationId", "s"),
                ("value", "n"),
                ("initiatedByUserId", "s"),
                ("explanationScoreTypeName", "s"),
                ("explanationScoreModelName", "s"),
                ("jsonDetails", "s"),
            ],
        );
        assert!(known(&row["explanationScoreTypeName"], "explanation_score_type"));
        assert!(known(&row["explanationScoreModelName"], "explanation_score_model"));
        let explanation = by_id[row["explanationId"].as_str().expect("an id")];
        let own = |value: &Value| {
            value.as_str().and_then(|name| name.strip_prefix("autointerp_")).expect("ours").to_string()
        };
        let (explainer, scorer) = (own(&explanation["typeName"]), own(&row["explanationScoreTypeName"]));
        let feature = explanation["index"].as_str().and_then(|index| index.parse().ok()).expect("a number");
        let line = made
            .lines_of(method, feature)
            .into_iter()
            .find(|line| line.explainer == explainer)
            .expect("a line");
        assert_eq!(row["value"].as_f64(), line.scores[&scorer]);
        found += 1;
    }
    let of_features = (0..3).flat_map(|feature| made.lines_of(method, feature));
    let defined: usize = of_features.map(|line| line.scores.values().flatten().count()).sum();
    assert_eq!(found, defined, "a score that is null has no row, and every other has one");
}

#[test]
fn saebench_gets_only_what_is_the_same_quantity() {
    let made = Made::new();
    let exported = made.export("saebench", &[]).expect("exported");
    let path = format!("core/{HOOK}_topk_eval_results.json");
    assert_eq!(exported.exported[0].path, path);
    let result = read_json(&made.path().join("exports/saebench").join(&path));
    assert_fields(
        &result,
        &[
            ("eval_type_id", "s"),
            ("eval_config", "o"),
            ("eval_id", "s"),
            ("datetime_epoch_millis", "i"),
            ("eval_result_metrics", "o"),
            ("eval_result_details", "a"),
            ("eval_result_unstructured", "o"),
            ("sae_bench_commit_hash", "s"),
            ("sae_lens_id", "s?"),
            ("sae_lens_release_id", "s?"),
            ("sae_lens_version", "s?"),
            ("sae_cfg_dict", "o"),
        ],
    );
    assert_eq!(result["eval_type_id"], "core");
    let total = DENSITY.iter().sum::<f64>();
    assert_eq!(
        result["eval_result_metrics"],
        json!({
            "sparsity": {"l0": 12.0},
            "model_performance_preservation": {
                "ce_loss_score": 0.75, "ce_loss_with_ablation": 6.0, "ce_loss_with_sae": 3.0, "ce_loss_without_sae": 2.0,
            },
            "misc_metrics": {
                "frac_alive": 0.75, "freq_over_1_percent": 0.5, "freq_over_10_percent": 0.25,
                "normalized_freq_over_1_percent": (0.5 + 0.02) / total, "normalized_freq_over_10_percent": 0.5 / total,
            },
            "token_stats": {"total_tokens_eval_reconstruction": 630, "total_tokens_eval_sparsity_variance": 49_920},
        })
    );
    let config = &result["eval_config"];
    assert_eq!((&config["n_eval_reconstruction_batches"], &config["context_size"]), (&json!(10), &json!(64)));
    assert_eq!(result["eval_result_unstructured"]["autointerp"]["fvu"], 0.12);
    assert_eq!(
        (&result["sae_cfg_dict"]["architecture"], &result["sae_cfg_dict"]["d_sae"]),
        (&json!("topk"), &json!(4))
    );
    let id = result["eval_id"].as_str().expect("an id");
    assert_eq!((id.len(), &id[14..15]), (36, "8"), "{id}");
    let other = read_json(&made.path().join("exports/saebench").join(&exported.exported[1].path));
    assert_ne!(other["eval_id"], result["eval_id"]);
    assert_eq!(other["sae_cfg_dict"]["architecture"], "linear");
}

#[test]
fn neuron_explainer_gets_its_dataclasses_with_the_runs_numbers() {
    let made = Made::new();
    made.export("neuron-record", &[]).expect("exported");
    for method in ["topk", "pca"] {
        let folder = made.path().join("exports/neuron-record").join(HOOK).join(method);
        for record in made.evidence("records", method) {
            let feature = record["feature"].as_u64().expect("a number");
            let found = read_json(&folder.join(format!("collated-activations/0/{feature}.json")));
            check_record(&found, &record);
            let path = folder.join(format!("explanations/0/{feature}.jsonl"));
            let text = fs::read_to_string(path).expect("a file");
            assert_eq!(text.lines().count(), 1);
            check_explanations(&made, method, &record, &lines(&text)[0]);
        }
    }
}

fn check_record(found: &Value, record: &Value) {
    assert_fields(
        found,
        &[
            ("dataclass_name", "s"),
            ("neuron_id", "o"),
            ("random_sample", "a"),
            ("random_sample_by_quantile", "a?"),
            ("quantile_boundaries", "a?"),
            ("mean", "n?"),
            ("variance", "n?"),
            ("skewness", "n?"),
            ("kurtosis", "n?"),
            ("most_positive_activation_records", "a"),
        ],
    );
    let id = json!({"dataclass_name": "NeuronId", "layer_index": 0, "neuron_index": record["feature"]});
    assert_eq!((&found["dataclass_name"], &found["neuron_id"]), (&json!("NeuronRecord"), &id));
    for (field, list) in [("most_positive_activation_records", "top"), ("random_sample", "random")] {
        let (found, own) =
            (found[field].as_array().expect("a list"), record[list].as_array().expect("a list"));
        assert_eq!(found.len(), own.len());
        for (found, own) in found.iter().zip(own) {
            assert_fields(found, &[("dataclass_name", "s"), ("tokens", "a"), ("activations", "a")]);
            assert_eq!(found["activations"], own["activations"]);
            let first = format!(" w{}", own["tokens"][0]);
            assert_eq!(found["tokens"][0], first);
        }
    }
}

fn check_explanations(made: &Made, method: &str, record: &Value, found: &Value) {
    assert_fields(found, &[("dataclass_name", "s"), ("neuron_id", "o"), ("scored_explanations", "a")]);
    let explanations = found["scored_explanations"].as_array().expect("a list");
    let own = made.lines_of(method, record["feature"].as_u64().expect("a number"));
    assert_eq!(explanations.len(), own.len());
    for (explanation, line) in explanations.iter().zip(own) {
        assert_fields(
            explanation,
            &[("dataclass_name", "s"), ("explanation", "s"), ("scored_simulation", "o")],
        );
        assert_eq!(explanation["explanation"].as_str(), line.explanation.as_deref());
        let simulation = &explanation["scored_simulation"];
        assert_fields(
            simulation,
            &[
                ("dataclass_name", "s"),
                ("scored_sequence_simulations", "a"),
                ("ev_correlation_score", "n?"),
                ("rsquared_score", "n?"),
                ("absolute_dev_explained_score", "n?"),
            ],
        );
        assert_eq!(simulation["ev_correlation_score"].as_f64(), line.scores["top_and_random"]);
        let sequences = simulation["scored_sequence_simulations"].as_array().expect("a list");
        assert_eq!(sequences.len(), 20, "ten top and ten random fragments");
        for sequence in sequences {
            let fields = [
                ("dataclass_name", "s"),
                ("simulation", "o"),
                ("true_activations", "a"),
                ("ev_correlation_score", "n?"),
                ("rsquared_score", "n?"),
                ("absolute_dev_explained_score", "n?"),
            ];
            assert_fields(sequence, &fields);
            let inner = &sequence["simulation"];
            assert_fields(
                inner,
                &[
                    ("dataclass_name", "s"),
                    ("tokens", "a"),
                    ("expected_activations", "a"),
                    ("activation_scale", "s"),
                    ("distribution_values", "a"),
                    ("distribution_probabilities", "a"),
                    ("uncalibrated_simulation", "o?"),
                ],
            );
            assert_eq!(inner["activation_scale"], "neuron_activations");
            let length = |value: &Value| value.as_array().map(Vec::len);
            assert_eq!(length(&sequence["true_activations"]), Some(63), "position 0 is not scored");
            assert_eq!(length(&inner["tokens"]), length(&inner["expected_activations"]));
        }
        // A made-up list may hold a fragment twice.
        let top = record["top"].as_array().expect("a list");
        let of_it = top.iter().find(|one| one["fragment"] == top[1]["fragment"]).expect("itself");
        let first = &of_it["activations"].as_array().expect("a list")[1..];
        assert_eq!(sequences[0]["true_activations"].as_array().expect("a list"), first);
    }
}

#[test]
fn an_export_replaces_itself_and_nobody_elses_files() {
    let made = Made::new();
    let out = made.path().join("exports/neuron-record");
    made.export("neuron-record", &[]).expect("exported");
    let before = contents(&out);
    made.export("neuron-record", &["topk"]).expect("replaced");
    let fewer = contents(&out);
    assert!(fewer.len() < before.len() && fewer.keys().all(|name| !name.contains("pca")));
    made.export("neuron-record", &[]).expect("replaced");
    assert_eq!(contents(&out), before, "the same run gives the same bytes");
    let beside: Vec<_> = fs::read_dir(made.path().join("exports")).expect("a folder").collect();
    assert_eq!(beside.len(), 1, "nothing is left beside it");

    let refused = |problem: &str| {
        let kept = contents(made.path());
        let error = made.export("neuron-record", &[]).expect_err("refused").to_string();
        assert!(error.contains(problem) && error.contains("--out"), "{error}");
        assert_eq!(contents(made.path()), kept);
    };
    write_atomic(&out.join("notes.txt"), b"mine").expect("written");
    refused("holds `notes.txt`, which no export wrote");
    fs::remove_file(out.join("export.json")).expect("removed");
    refused("is not empty, and no export wrote it");
    fs::remove_dir_all(&out).expect("removed");
    write_atomic(&out, b"a file").expect("written");
    refused("is a file");
    fs::remove_file(&out).expect("removed");
    fs::create_dir(&out).expect("created");
    made.export("neuron-record", &[]).expect("an empty folder is free");
}

#[cfg(unix)]
#[test]
fn a_link_is_not_replaced() {
    let made = Made::new();
    let elsewhere = tempfile::tempdir().expect("temporary folder");
    fs::create_dir(made.path().join("exports")).expect("created");
    std::os::unix::fs::symlink(elsewhere.path(), made.path().join("exports/saelens")).expect("linked");
    let error = made.export("saelens", &[]).expect_err("refused").to_string();
    assert!(error.contains("is a link"), "{error}");
    assert_eq!(contents(elsewhere.path()).len(), 0);
}

#[test]
fn names_that_lead_out_are_left_out_and_equal_ones_stay_apart() {
    let made = Made::new();
    let path = made.path().join("summary.json");
    let mut summary = read_json(&path);
    let row = summary["quality"][0].clone();
    let rows = summary["quality"].as_array_mut().expect("a list");
    for (hook, method) in [
        ("../../up", "topk"),
        (HOOK, "../x"),
        (HOOK, "top~k"),
        ("C:\\x", "topk"),
        (HOOK, ""),
        (HOOK, "top k"),
    ] {
        let mut row = row.clone();
        (row["hook"], row["method"]) = (json!(hook), json!(method));
        rows.push(row);
    }
    let mut row = row.clone();
    row["control"] = json!("random_weights");
    rows.push(row);
    write_json(&path, &summary);
    // The two that could be written are given evidence and dictionaries.
    let layout = Layout::new(made.path());
    for name in ["top~k", "top k"] {
        let place = |name: &str| Place { hook: HOOK.into(), dictionary: name.into(), control: None };
        for kind in [EvidenceFile::Records, EvidenceFile::Simulations] {
            let [from, to] = ["topk", name].map(|name| layout.evidence(&place(name), kind));
            fs::copy(from, to).expect("copied");
        }
    }
    let exported = made.export("neuron-record", &[]).expect("exported");
    let paths: Vec<&str> = exported.exported.iter().map(|one| one.path.as_str()).collect();
    let expected = ["topk", "pca", "top@7ek", "top@20k"].map(|name| format!("{HOOK}/{name}"));
    assert_eq!(paths, expected);
    assert_eq!(exported.skipped.len(), 5);
    assert!(exported.skipped[4].reason.contains("control"), "{:?}", exported.skipped);
    let outside =
        contents(made.path()).into_keys().filter(|name| name.contains("up") || name.contains("/x/"));
    assert_eq!(outside.count(), 0);
    for form in ["saelens", "saebench", "neuronpedia"] {
        made.export(form, &[]).expect("exported");
    }
    assert!(!made.path().with_file_name("up").exists() && !made.path().join("exports/x").exists());
}
