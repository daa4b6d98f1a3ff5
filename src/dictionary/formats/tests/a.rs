//! SAELens, dictionary_learning, sparsify and OpenAI's sparse_autoencoder.

use serde_json::{Value, json};

use crate::base::{Matrix, Stream, write_atomic};

use super::super::super::tensors::Activation;
use super::super::{Ask, Blueprint, FileFormat, open};
use super::*;

const GOLDENS: &[Golden] = &[
    ("saelens2--gpt2-res-jb", None, None),
    ("saelens3--expected-average", None, Some(1.231_138_53)),
    ("saelens3--standard", None, None),
    ("saelens3--tanh-relu", None, None),
    ("saelens5--constant-norm-rescale", None, None),
    ("saelens5--finetuned-scaling", None, None),
    ("saelens5--jumprelu", None, None),
    ("saelens5--topk-as-standard", None, None),
    ("saelens6--abstopk", None, None),
    ("saelens6--batchtopk", None, None),
    ("saelens6--batchtopk-checkpoint", None, None),
    ("saelens6--bfloat16", None, None),
    ("saelens6--constant-norm-rescale", None, None),
    ("saelens6--covariance-whitening", None, None),
    ("saelens6--expected-average", None, None),
    ("saelens6--gated", None, None),
    ("saelens6--jumprelu", None, None),
    ("saelens6--jumprelu-uncentred", None, None),
    ("saelens6--layer-norm", None, None),
    ("saelens6--matryoshka", None, None),
    ("saelens6--skip-transcoder", None, None),
    ("saelens6--standard", None, None),
    ("saelens6--standard-uncentred", None, None),
    ("saelens6--topk", None, None),
    ("saelens6--transcoder", None, None),
    ("dictlearn--autoencodernew", None, None),
    ("dictlearn--batchtopk", None, None),
    ("dictlearn--gated", None, None),
    ("dictlearn--jumprelu", None, None),
    ("dictlearn--matryoshka", None, None),
    ("dictlearn--standard", None, None),
    ("dictlearn--topk", None, None),
    ("sparsify--skip-transcoder", None, None),
    ("sparsify--square", None, None),
    ("sparsify--topk", None, None),
    ("openai--topk-layer-norm", None, None),
];

#[test]
fn every_golden_gives_its_codes_and_reconstructions() {
    let Some(root) = shared("sae-formats") else { return };
    GOLDENS.iter().for_each(|golden| check(&root, golden));
}

#[test]
fn what_single_rows_do_not_decide_is_refused_by_name() {
    let Some(root) = shared("sae-formats") else { return };
    for (folder, words) in
        [("saelens6--matching-pursuit", "matching pursuit"), ("saelens6--temporal", "tokens before it")]
    {
        let message = refusal(&root.join(folder));
        assert!(message.contains("`architecture` is") && message.contains(words), "{message}");
        assert!(!message.contains("unknown settings"), "the architecture comes first: {message}");
    }
}

#[test]
fn goldens_say_where_they_were_trained() {
    let Some(root) = shared("sae-formats") else { return };
    for (folder, hook, out) in [
        ("saelens2--gpt2-res-jb", "blocks.2.hook_resid_post", None),
        ("saelens6--standard", "blocks.2.hook_resid_post", None),
        ("saelens6--transcoder", "blocks.2.hook_resid_post", Some("blocks.2.hook_mlp_out")),
        ("dictlearn--topk", "blocks.2.hook_resid_post", None),
        ("sparsify--topk", "layers.2", None),
        ("sparsify--skip-transcoder", "layers.2.mlp.input", Some("layers.2.mlp")),
    ] {
        let path = root.join(folder);
        let stated = open(&path, &ask_at(&path)).expect("read").stated;
        assert_eq!(stated.model.as_deref(), Some("stories260K"), "{folder}");
        assert_eq!(stated.hook.as_deref(), Some(hook), "{folder}");
        assert_eq!(stated.hook_out.as_deref(), out, "{folder}");
    }
    let path = root.join("saelens3--expected-average");
    let blueprint = open(&path, &ask_at(&path)).expect("read");
    assert!(blueprint.lacks_scale, "the factor is neither in the folder nor in the suite");
    let path = root.join("saelens6--expected-average");
    let other = open(&path, &Ask { input_scale: Some(2.0), ..ask_at(&path) }).expect_err("two factors");
    assert!(other.to_string().contains("`input_scale`"), "{other}");
}

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
const MATRICES: [(&str, &[usize]); 3] = [("W_enc", &[3, 5]), ("W_dec", &[5, 3]), ("b_dec", &[3])];

/// A SAELens folder of 5 features of width 3.
fn saelens(more: Value, tensors: &[(&str, &[usize])]) -> TempDir {
    let mut config = json!({"d_in": 3, "d_sae": 5});
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    folder_of((CONFIG, config), WEIGHTS, &[&MATRICES, tensors].concat())
}

fn with_bias(more: Value) -> TempDir {
    saelens(more, &[("b_enc", &[5])])
}

fn activation(folder: &TempDir) -> Activation {
    opened(folder).expect("read").build(None).expect("built").activation
}

#[test]
fn the_activation_function_is_taken_from_whichever_setting_has_a_value() {
    let kwargs = json!({"k": 2});
    for config in [
        json!({"architecture": "standard", "activation_fn_str": null, "activation_fn": "topk", "activation_fn_kwargs": kwargs}),
        json!({"architecture": "topk", "k": null, "activation_fn_kwargs": kwargs}),
        json!({"architecture": "topk", "activation_fn_str": "topk", "k": 2}),
        json!({"k": 2}),
    ] {
        assert_eq!(activation(&with_bias(config.clone())), Activation::TopK(2), "{config}");
    }
    let notes = opened(&with_bias(json!({"k": 2}))).expect("read").card.notes;
    assert!(notes.iter().any(|note| note.contains("`architecture` is missing")), "{notes:?}");
    for (config, words) in [
        (
            json!({"architecture": "gated", "activation_fn": "topk", "activation_fn_kwargs": kwargs}),
            "architecture `gated`",
        ),
        (json!({"architecture": "jumprelu", "activation_fn_str": "tanh-relu"}), "architecture `jumprelu`"),
        (
            json!({"activation_fn": "topk", "activation_fn_str": "relu", "k": 2}),
            "as `activation_fn_str` says",
        ),
        (json!({"activation_fn": "relu", "k": 2}), "`architecture` is missing"),
        (
            json!({"architecture": "topk", "k": 2, "activation_fn_kwargs": {"k": 3}}),
            "as `activation_fn_kwargs` says",
        ),
        (json!({"architecture": "topk", "k": 9}), "`k` is 9; expected 1 to 5"),
        (
            json!({"architecture": "topk", "k": 2, "activation_fn_kwargs": {"gain": 3}}),
            "unknown settings gain",
        ),
    ] {
        let message = refusal(with_bias(config.clone()).path());
        assert!(message.contains(words), "{config}: {message}");
    }
}

#[test]
fn unsupported_saelens_settings_are_refused_by_name() {
    for (config, words) in [
        (json!({"architecture": "crosscoder", "new": 1}), "several layers or models"),
        (json!({"architecture": "clt", "new": 1}), "cross-layer"),
        (json!({"hook_head_index": 3}), "a single head"),
        (json!({"metadata": {"hook_head_index": 3}}), "a single head"),
        (json!({"reshape_activations": "flip"}), "one of none, hook_z"),
        (json!({"rescale_acts_by_decoder_norm": true}), "false with architecture `standard`"),
        (json!({"normalize_activations": "covariance_whitening"}), "activation_whitening.safetensors"),
        (json!({"architecture": "transcoder", "normalize_activations": "layer_norm"}), "for a transcoder"),
        (json!({"d_out": 4}), "has shape [5, 3]; expected [5, 4]"),
    ] {
        let message = refusal(with_bias(config.clone()).path());
        assert!(message.contains(words) && !message.contains("unknown"), "{config}: {message}");
    }
    let asked = |ask: Ask| {
        let folder = with_bias(json!({}));
        open(folder.path(), &ask).expect_err("refused").to_string()
    };
    assert!(asked(Ask { k: Some(3), ..Ask::default() }).contains("leave `k` out"));
    assert!(asked(Ask { input_scale: Some(3.0), ..Ask::default() }).contains("leave `input_scale` out"));
    let pickle = tempfile::tempdir().expect("temporary folder");
    let name = "final_sparse_autoencoder_gpt2-small_blocks.0.hook_resid_pre_24576.pkl.gz";
    write_atomic(&pickle.path().join(name), b"x").expect("written");
    assert!(refusal(pickle.path()).contains("pickles can run code"));
}

#[test]
fn settings_of_training_runs_are_known_and_others_are_not() {
    let run = json!({"architecture": "standard", "model_class_name": "HookedTransformer", "hook_eval": "NOT_IN_USE",
        "streaming": true, "b_dec_init_method": "geometric_median", "finetuning_tokens": 0, "finetuning_method": null,
        "lr_end": 3e-5, "lr_decay_steps": 0, "n_restart_cycles": 1, "n_eval_batches": 10, "wandb_entity": null,
        "eval_batch_size_prompts": null, "log_optimizer_state_to_wandb": false, "eval_every_n_wandb_logs": 100,
        "resume": false, "model_kwargs": {}, "llm_compilation_mode": null, "act_store_device": "cpu",
        "decoder_heuristic_init_norm": 0.1, "jumprelu_bandwidth": 0.05, "l0_warm_up_steps": 0, "target_l0": null});
    let (long, short) = (with_bias(run), with_bias(json!({"architecture": "standard"})));
    let built = |folder: &TempDir| opened(folder).expect("read").build(None).expect("built");
    assert_eq!(built(&long), built(&short));
    let folder = with_bias(json!({"new_gain": 3}));
    assert!(refusal(folder.path()).contains("unknown settings new_gain"));
    let ignored =
        open(folder.path(), &Ask { ignore: vec!["new_gain".into()], ..Ask::default() }).expect("read");
    assert_eq!(ignored.card.dropped, ["setting new_gain = 3"]);
    let folder = saelens(json!({}), &[("b_enc", &[5]), ("threshold", &[5])]);
    assert!(refusal(folder.path()).contains("`threshold` is not part of this architecture"));
    let ignored =
        open(folder.path(), &Ask { ignore: vec!["threshold".into()], ..Ask::default() }).expect("read");
    assert_eq!(ignored.card.dropped, ["tensor threshold"]);
}

#[test]
fn old_layouts_name_hook_points_and_processing_in_their_own_words() {
    let stated = |config: Value| opened(&with_bias(config)).expect("read").stated;
    let old = stated(json!({"hook_point": "blocks.{layer}.hook_resid_pre", "hook_point_layer": 4}));
    assert_eq!((old.hook.as_deref(), old.centred), (Some("blocks.4.hook_resid_pre"), Some(true)));
    let new = stated(json!({"metadata": {"hook_name": "blocks.4.hook_resid_post", "context_size": 64,
        "model_from_pretrained_kwargs": {"center_writing_weights": false}}}));
    assert_eq!(new.hook.as_deref(), Some("blocks.4.hook_resid_post"));
    assert_eq!((new.centred, new.context_size), (Some(false), Some(64)));
    let notes = opened(&with_bias(json!({"seqpos_slice": [5, -5]}))).expect("read").card.notes;
    assert!(notes.iter().any(|note| note.contains("[5,-5]")), "{notes:?}");
}

#[test]
fn factors_on_codes_count_only_where_the_settings_say_so() {
    let factors: [(&str, &[usize]); 2] = [("b_enc", &[5]), ("scaling_factor", &[5])];
    let uses = |config: Value| opened(&saelens(config, &factors)).expect("read").decoder_factors.is_some();
    assert!(uses(json!({"finetuning_scaling_factor": true})));
    assert!(uses(json!({"uses_scaling_factor": true})), "an older name of the flag");
    assert!(uses(json!({"finetuning_method": "scale"})), "version 2 had no flag");
    assert!(!uses(json!({"finetuning_scaling_factor": false, "finetuning_method": "scale"})));
    let ignored = opened(&saelens(json!({}), &factors)).expect("read");
    assert!(ignored.decoder_factors.is_none());
    assert!(ignored.card.notes.iter().any(|note| note.contains("not all ones")), "{:?}", ignored.card.notes);
}

fn rows() -> Matrix {
    let mut stream = Stream::new(3, "rows");
    Matrix::from_fn(40, 3, |_, _| stream.normal() as f32)
}

/// Codes and reconstruction.
fn run(folder: &TempDir) -> (Matrix, Matrix) {
    let read = dictionary(&opened(folder).expect("read"), None);
    (read.encode(&rows()).expect("encoded"), read.reconstruct(&rows()).expect("decoded"))
}

fn stored(folder: &TempDir, name: &str) -> Matrix {
    tensor(&folder.path().join(WEIGHTS), name)
}

#[test]
fn old_transcoders_subtract_one_bias_and_add_another() {
    let tensors: [(&str, &[usize]); 5] =
        [("W_enc", &[3, 5]), ("W_dec", &[5, 2]), ("b_dec", &[3]), ("b_dec_out", &[2]), ("b_enc", &[5])];
    let config = json!({"is_transcoder": true, "d_in": 3, "d_sae": 5, "d_out": 2, "hook_point": "blocks.8.ln2.hook_normalized",
        "out_hook_point": "blocks.8.hook_mlp_out", "out_hook_point_layer": 8, "hook_point_layer": 8});
    let folder = folder_of((CONFIG, config), WEIGHTS, &tensors);
    let [encoder, decoder, input, output, bias] = tensors.map(|(name, _)| stored(&folder, name));
    let along = |row: usize, f: usize| {
        let sum: f32 = (0..3).map(|c| (rows().at(row, c) - input.at(0, c)) * encoder.at(c, f)).sum();
        (sum + bias.at(0, f)).max(0.0)
    };
    let code = Matrix::from_fn(40, 5, along);
    let recon = Matrix::from_fn(40, 2, |row, col| {
        (0..5).map(|f| code.at(row, f) * decoder.at(f, col)).sum::<f32>() + output.at(0, col)
    });
    let (codes, estimates) = run(&folder);
    assert!(gap(&codes, &code) < 1e-5 && gap(&estimates, &recon) < 1e-5);
    let stated = opened(&folder).expect("read").stated;
    assert_eq!(stated.hook_out.as_deref(), Some("blocks.8.hook_mlp_out"));
}

#[test]
fn thresholds_of_checkpoints_are_taken_in_their_own_form() {
    let logs = saelens(json!({"architecture": "jumprelu"}), &[("b_enc", &[5]), ("log_threshold", &[5])]);
    let expected: Vec<f32> = stored(&logs, "log_threshold").data().iter().map(|log| log.exp()).collect();
    assert_eq!(activation(&logs), Activation::JumpRelu(expected));
    for name in ["batchtopk", "matryoshka_batchtopk"] {
        let tensors: [(&str, &[usize]); 2] = [("b_enc", &[5]), ("topk_threshold", &[1])];
        let plain = saelens(json!({"architecture": name, "k": 2.5, "topk_threshold_lr": 0.01}), &tensors);
        let threshold = stored(&plain, "topk_threshold").at(0, 0);
        assert_eq!(activation(&plain), Activation::JumpRelu(vec![threshold; 5]), "{name}");
        let rescaled = saelens(json!({"architecture": name, "rescale_acts_by_decoder_norm": true}), &tensors);
        // Codes are in units of the output: p times the decoder row's norm, where that exceeds the threshold.
        let ((codes, _), decoder) = (run(&plain), stored(&plain, "W_dec"));
        let (scaled, _) = run(&rescaled);
        for row in 0..40 {
            for f in 0..5 {
                let norm = decoder.row(f).iter().map(|value| value * value).sum::<f32>().sqrt();
                let (code, scaled) = (codes.at(row, f), scaled.at(row, f));
                assert!(
                    code == 0.0 || scaled == 0.0 || (code * norm - scaled).abs() < 1e-4,
                    "{name} {row} {f}"
                );
                assert!(scaled == 0.0 || scaled > threshold, "{name} {row} {f}");
            }
        }
    }
}

#[test]
fn a_factor_on_inputs_leaves_reconstructions_as_they_were_scaled() {
    // The same weights, with rows scaled by hand: z = 2 x, x̂ = ẑ / 2.
    for config in [
        json!({"architecture": "topk", "k": 2, "rescale_acts_by_decoder_norm": true}),
        json!({"architecture": "topk", "k": 2}),
        json!({"architecture": "standard"}),
    ] {
        let plain = dictionary(&opened(&with_bias(config.clone())).expect("read"), None);
        let mut scaled = config.clone();
        scaled["normalize_activations"] = json!("expected_average_only_in");
        let folder = with_bias(scaled);
        let ask = Ask { input_scale: Some(2.0), ..Ask::default() };
        let scaled = dictionary(&open(folder.path(), &ask).expect("read"), None);
        let double = Matrix::from_fn(40, 3, |row, col| 2.0 * rows().at(row, col));
        let expected = plain.reconstruct(&double).expect("decoded");
        let halves = Matrix::from_fn(40, 3, |row, col| expected.at(row, col) / 2.0);
        assert!(gap(&scaled.reconstruct(&rows()).expect("decoded"), &halves) < 1e-5, "{config}");
        let (ours, theirs) =
            (scaled.encode(&rows()).expect("encoded"), plain.encode(&double).expect("encoded"));
        // Norms count in units of the output, which the factor divides.
        let unit = if config["rescale_acts_by_decoder_norm"] == json!(true) { 2.0 } else { 1.0 };
        let theirs = Matrix::from_fn(40, 5, |row, col| theirs.at(row, col) / unit);
        assert!(gap(&ours, &theirs) < 1e-5, "{config}");
    }
}

#[test]
fn whitening_moves_the_biases_of_gates() {
    let tensors: [(&str, &[usize]); 3] = [("b_gate", &[5]), ("b_mag", &[5]), ("r_mag", &[5])];
    let config = |name: &str| json!({"architecture": "gated", "normalize_activations": name});
    let (folder, plain) =
        (saelens(config("covariance_whitening"), &tensors), saelens(config("none"), &tensors));
    // z = (x − mean) diag(1, 2, 4)
    let diagonal =
        |by: [f32; 3]| (0..9).map(|at| if at % 4 == 0 { by[at / 4] } else { 0.0 }).collect::<Vec<f32>>();
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mean = [0.5, -1.0, 0.25];
    let data = [
        ("mean", vec![3], bytes(&mean)),
        ("matrix", vec![3, 3], bytes(&diagonal([1.0, 2.0, 4.0]))),
        ("inverse_matrix", vec![3, 3], bytes(&diagonal([1.0, 0.5, 0.25]))),
    ];
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (*name, view.expect("whole"))
    });
    let bytes = safetensors::serialize(views, None).expect("serialised");
    write_atomic(&folder.path().join("activation_whitening.safetensors"), &bytes).expect("written");
    let by = [1.0, 2.0, 4.0];
    let white = Matrix::from_fn(40, 3, |row, col| (rows().at(row, col) - mean[col]) * by[col]);
    let plain = dictionary(&opened(&plain).expect("read"), None);
    let (codes, estimates) = run(&folder);
    assert!(gap(&codes, &plain.encode(&white).expect("encoded")) < 1e-5);
    let expected = plain.reconstruct(&white).expect("decoded");
    let expected = Matrix::from_fn(40, 3, |row, col| expected.at(row, col) / by[col] + mean[col]);
    assert!(gap(&estimates, &expected) < 1e-5);
}

const SPARSE: [(&str, &[usize]); 4] =
    [("encoder.weight", &[6, 3]), ("encoder.bias", &[6]), ("W_dec", &[6, 3]), ("b_dec", &[3])];

#[test]
fn sparsify_settings_decide_the_activation_function_and_the_centring() {
    let sparse = |config: Value| folder_of((CONFIG, config), "sae.safetensors", &SPARSE);
    let read = |config: Value| -> Blueprint { opened(&sparse(config)).expect("read") };
    let activation = |config: Value| read(config).build(None).expect("built").activation;
    assert_eq!(
        activation(json!({"k": 2, "d_in": 3, "num_latents": 0, "expansion_factor": 2})),
        Activation::TopK(2)
    );
    assert_eq!(activation(json!({"k": 2, "multi_topk": true, "activation": "topk"})), Activation::TopK(2));
    assert_eq!(activation(json!({"k": 2, "signed": true})), Activation::AbsTopK(2));
    assert_eq!(activation(json!({"k": 3, "activation": "groupmax"})), Activation::GroupMax(3));
    assert!(read(json!({"k": 2})).subtracts_bias && !read(json!({"k": 2, "transcode": true})).subtracts_bias);
    for (config, words) in [
        (json!({"k": 2, "gram_lookup": true}), "`gram_lookup` is true"),
        (json!({"k": 2, "embed_skip": true}), "`embed_skip` is true"),
        (json!({"k": 2, "skip_connection": true}), "tensor `W_skip` is missing"),
        (json!({"k": 4, "activation": "groupmax"}), "divides 6 features"),
        (json!({"k": 2, "d_in": 3, "num_latents": 0}), "expected [96, 3]"),
        (json!({"k": 2, "new": 1}), "unknown settings new"),
        (json!({"k": 2, "activation": "relu"}), "one of topk, groupmax"),
    ] {
        let message = refusal(sparse(config.clone()).path());
        assert!(message.contains(words), "{config}: {message}");
    }
}

#[test]
fn dictionary_learning_classes_are_read_by_name_or_refused_by_name() {
    let named = |class: &str| {
        let config = json!({"trainer": {"dict_class": class, "layer": 2, "lm_name": "m"}, "buffer": {}});
        folder_of(("config.json", config), "ae.pt", &SPARSE)
    };
    for (class, words) in [
        ("CrossCoder", "a crosscoder"),
        ("BatchTopKCrossCoder", "a crosscoder"),
        ("IdentityDict", "`kind: identity`"),
        ("JumpAutoEncoder", "learned jump"),
        ("Other", "expected one of AutoEncoder, AutoEncoderNew, GatedAutoEncoder"),
    ] {
        let message = refusal(named(class).path());
        assert!(message.contains("`dict_class` is") && message.contains(words), "{message}");
    }
}

#[test]
fn formats_are_recognised_by_their_files_alone() {
    let Some(root) = shared("sae-formats") else { return };
    for (golden, format) in [
        ("saelens6--standard", FileFormat::Saelens),
        ("dictlearn--batchtopk", FileFormat::DictionaryLearning),
        ("sparsify--topk", FileFormat::Sparsify),
        ("openai--topk-layer-norm", FileFormat::OpenAi),
    ] {
        let path = root.join(golden);
        let card = open(&path, &Ask::default()).expect("recognised").card;
        assert_eq!(card.format, format.name(), "{golden}");
    }
}
