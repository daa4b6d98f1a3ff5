use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::chunks::TOKENS_AT_ONCE;
use super::*;
use crate::base::Site;
use crate::nn::copy_entries;
use crate::subject::LoadedSubject;

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

/// Mean loss of the first documents of a corpus, each alone after the tokens the tokenizer puts first.
fn mean_loss(subject: &LoadedSubject, corpus: &Path, n_docs: usize) -> (f64, usize) {
    let text = std::fs::read_to_string(corpus).expect("corpus");
    let tokenizer = subject.tokenizer().expect("tokenizer");
    let text = text.trim_end_matches('\n');
    let documents: Vec<&str> = if text.contains("\n<|endoftext|>\n") {
        text.split("\n<|endoftext|>\n").collect()
    } else {
        text.split('\n').filter(|line| line.chars().count() > 60).collect()
    };
    let losses = documents[..n_docs.min(documents.len())].par_iter().map(|document| {
        let mut ids = [tokenizer.lead_tokens(), &tokenizer.encode(document).expect("encodes")].concat();
        ids.truncate(subject.model().info().n_ctx);
        if ids.len() < 2 {
            return (0.0, 0);
        }
        let cols = ids.len();
        let losses = subject.model().token_losses(&TokenBatch::new(ids, cols).expect("whole"), None);
        (losses.expect("losses").data().iter().map(|&loss| f64::from(loss)).sum::<f64>(), cols - 1)
    });
    let (total, n) = losses.reduce(|| (0.0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    (total / n as f64, n)
}

#[test]
fn losses_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    let golden = std::fs::read(shared.join("golden/losses.json")).expect("golden file");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let mut checked = 0;
    for row in golden["rows"].as_array().expect("rows") {
        let (model, corpus) =
            (row["model"].as_str().expect("model"), row["corpus"].as_str().expect("corpus"));
        let subject = LoadedSubject::from_folder(&shared.join("models").join(model)).expect("loads");
        let n_docs = row["docs"].as_u64().expect("docs") as usize;
        let (loss, n) = mean_loss(&subject, &shared.join("corpora").join(corpus), n_docs);
        assert_eq!(Some(n as u64), row["tokens"].as_u64(), "{model} on {corpus}");
        let expected = row["loss_nats_per_token"].as_f64().expect("loss");
        assert!((loss - expected).abs() < 1e-3, "{model} on {corpus}: {loss} is not {expected}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family)
}

fn load(family: &str) -> LoadedSubject {
    LoadedSubject::from_folder(&fixture(family)).expect("loads")
}

/// Ids that fill several parts of a batch, the last of them only partly.
fn many(cols: usize) -> TokenBatch {
    let rows = 2 * TOKENS_AT_ONCE / cols + 3;
    TokenBatch::new((0..rows * cols).map(|i| (i * i % 19) as u32).collect(), cols).expect("whole")
}

fn hooks(names: &[&str]) -> Vec<HookPoint> {
    names.iter().map(|name| name.parse().expect("hook point")).collect()
}

#[test]
fn a_batch_in_parts_gives_what_each_sequence_gives_alone() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let model = subject.model();
        let tokens = many(12);
        let hooks = hooks(&["blocks.1.attn.hook_z", "hook_embed", "blocks.0.mlp.hook_post"]);
        let all = model.activations(&tokens, &hooks).expect("activations");
        let logits = model.logits(&tokens).expect("logits");
        let losses = model.token_losses(&tokens, None).expect("losses");
        assert_eq!((losses.rows(), losses.cols()), (tokens.rows(), 11));
        assert_eq!((logits.rows(), logits.cols()), (tokens.rows() * 12, 20));
        for row in [0, 41, 42, tokens.rows() - 1] {
            let one = TokenBatch::new(tokens.row(row).to_vec(), 12).expect("whole");
            for ((all, one), &hook) in
                all.iter().zip(model.activations(&one, &hooks).expect("alone")).zip(&hooks)
            {
                assert_eq!((all.rows(), all.cols()), (tokens.rows() * 12, model.width(hook).expect("width")));
                let part = &all.data()[row * 12 * all.cols()..][..12 * all.cols()];
                let worst = part.iter().zip(one.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-5, "{family} {hook}: {worst}");
            }
            let alone = model.token_losses(&one, None).expect("alone");
            let worst =
                losses.row(row).iter().zip(alone.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{family}: {worst}");
        }
    }
}

#[test]
fn products_of_bf16_are_near_those_of_f32_and_count_as_another_model() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let half = subject.clone().with_half_products().expect("rounds");
        assert!(half.model().info().half_products);
        assert_ne!(half.model().info().weights_digest, subject.model().info().weights_digest);
        let hooks = hooks(&["blocks.1.hook_resid_post", "blocks.1.mlp.hook_post"]);
        let exact = subject.model().activations(&many(12), &hooks).expect("activations");
        let rounded = half.model().activations(&many(12), &hooks).expect("activations");
        for ((exact, rounded), hook) in exact.iter().zip(&rounded).zip(&hooks) {
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x * x)).sum::<f64>();
            let size = square(&mut exact.data().iter().copied());
            let error = square(&mut exact.data().iter().zip(rounded.data()).map(|(a, b)| a - b));
            let relative = (error / size).sqrt();
            assert!(relative < 0.02, "{family} {hook}: {relative}");
            assert_eq!(relative > 0.0, crate::linalg::has_bf16_products(), "{family} {hook}: {relative}");
        }
        let one = TokenBatch::new(many(12).row(2).to_vec(), 12).expect("whole");
        let alone = half.model().activations(&one, &hooks).expect("alone");
        for (alone, all) in alone.iter().zip(&rounded) {
            assert_eq!(alone.data(), &all.data()[2 * alone.data().len()..][..alone.data().len()], "{family}");
        }
        let permuted = half.with_permuted_weights(3, false).expect("permutes");
        assert!(permuted.model().info().half_products, "a control keeps the products of its subject");
    }
}

#[test]
fn a_gpu_gives_the_same_but_for_rounding() {
    let Some(gpu) = crate::nn::gpu_for_tests() else { return };
    for family in ["gpt_neox", "gpt2", "llama"] {
        let here = load(family);
        let there = here.clone().on_device(&gpu).expect("room");
        let [here, there] = [&here, &there].map(|one| one.transformer().expect("a model"));
        let tokens = many(12);
        let hooks = hooks(&["hook_embed", "blocks.0.mlp.hook_post", "blocks.1.hook_resid_post"]);
        let near = |what: &str, expected: &Matrix, got: &Matrix| {
            let size = expected.data().iter().fold(0.0f32, |most, value| most.max(value.abs()));
            let apart =
                expected.data().iter().zip(got.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 2e-5 * size, "{family}, {what}: {apart} of {size}");
        };
        let expected = here.activations(&tokens, &hooks).expect("activations");
        let got = there.activations(&tokens, &hooks).expect("activations");
        for ((expected, got), hook) in expected.iter().zip(&got).zip(&hooks) {
            near(&hook.to_string(), expected, got);
        }
        near("logits", &here.logits(&tokens).expect("logits"), &there.logits(&tokens).expect("logits"));
        let losses = here.token_losses(&tokens, None).expect("losses");
        near("losses", &losses, &there.token_losses(&tokens, None).expect("losses"));
        let rows = expected.last().expect("three");
        let given =
            |model: &TransformerSubject| model.token_losses_given(&tokens, hooks[2], rows).expect("losses");
        near("losses given a stream", &given(here), &given(there));
        let halve = |matrix: &mut Matrix| matrix.data_mut().iter_mut().for_each(|value| *value *= 0.5);
        let edited = |model: &TransformerSubject| {
            let edit = Edit { hook: hooks[1], apply: &halve };
            model.token_losses(&tokens, Some(edit)).expect("losses")
        };
        near("losses after an edit", &edited(here), &edited(there));
        near(
            "direct logits",
            &here.direct_logits(rows).expect("logits"),
            &there.direct_logits(rows).expect("logits"),
        );
        let permuted = there.with_permuted_weights(3, true).expect("permutes");
        assert!(!permuted.transformer().device().is_cpu(), "a control stays where its subject is");
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let subject = load("gpt_neox");
    let tokens = many(8);
    let run = || {
        let hooks = hooks(&["blocks.1.hook_resid_post"]);
        let activations = subject.model().activations(&tokens, &hooks).expect("activations");
        (activations, subject.model().token_losses(&tokens, None).expect("losses"))
    };
    let outside = run();
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        assert_eq!(pool.install(run), outside, "{threads} threads");
    }
}

#[test]
fn an_edit_sees_whole_sequences_and_changes_losses() {
    let subject = load("llama");
    let tokens = many(10);
    let plain = subject.model().token_losses(&tokens, None).expect("losses");
    let keep_first = |matrix: &mut Matrix| {
        assert!(matrix.rows().is_multiple_of(10) && matrix.cols() == 8);
        for row in (0..matrix.rows()).filter(|row| !row.is_multiple_of(10)) {
            matrix.row_mut(row).fill(0.0);
        }
    };
    let edit = Edit { hook: hooks(&["blocks.1.hook_resid_post"])[0], apply: &keep_first };
    let edited = subject.model().token_losses(&tokens, Some(edit)).expect("losses");
    for row in 0..tokens.rows() {
        assert_eq!(plain.at(row, 0), edited.at(row, 0), "the first prediction rests on position 0 alone");
        assert_ne!(plain.row(row), edited.row(row));
    }
    let uniform = (20.0f32).ln();
    assert!((edited.at(0, 5) - uniform).abs() < 1e-5, "a stream of zeros predicts every token alike");
}

#[test]
fn losses_given_activations_are_those_of_an_edit() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let (model, tokens) = (subject.model(), many(10));
        let names = ["hook_embed", "blocks.1.hook_resid_pre", "blocks.0.hook_resid_post"];
        let last = format!("blocks.{}.hook_resid_post", model.info().n_layers - 1);
        for hook in hooks(&[names[0], names[1], names[2], &last, "blocks.1.hook_mlp_out"]) {
            let own = model.activations(&tokens, &[hook]).expect("activations").swap_remove(0);
            let clean = model.token_losses(&tokens, None).expect("losses");
            assert_eq!(model.token_losses_given(&tokens, hook, &own).expect("losses"), clean, "{hook}");
            let halved = Matrix::from_fn(own.rows(), own.cols(), |row, col| 0.5 * own.at(row, col));
            let apply = |rows: &mut Matrix| rows.data_mut().iter_mut().for_each(|value| *value *= 0.5);
            let edited = model.token_losses(&tokens, Some(Edit { hook, apply: &apply })).expect("losses");
            assert_ne!(edited, clean, "{family} {hook}");
            assert_eq!(model.token_losses_given(&tokens, hook, &halved).expect("losses"), edited, "{hook}");
        }
        let wrong = model.token_losses_given(&tokens, hooks(&names)[1], &Matrix::zeros(3, 8));
        assert!(matches!(wrong, Err(SubjectError::Nn(NnError::EditShape { .. }))), "{wrong:?}");
    }
}

#[test]
fn permuted_weights_keep_embeddings_and_lose_the_rest() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let control = subject.with_permuted_weights(5, false).expect("control");
        let tokens = many(12);
        let hooks = hooks(&["hook_embed", "blocks.0.hook_attn_out", "blocks.0.hook_mlp_out"]);
        let before = subject.model().activations(&tokens, &hooks).expect("activations");
        let after = control.model().activations(&tokens, &hooks).expect("activations");
        assert_eq!(before[0], after[0], "{family}");
        assert!(before[1] != after[1] && before[2] != after[2], "{family}");
        assert_ne!(subject.model().info().weights_digest, control.model().info().weights_digest);
        let again = subject.with_permuted_weights(5, false).expect("control");
        assert_eq!(again.model().activations(&tokens, &hooks).expect("activations"), after);
        let other = subject.with_permuted_weights(6, false).expect("control");
        assert_ne!(other.model().activations(&tokens, &hooks).expect("activations"), after);
        let all = subject.with_permuted_weights(5, true).expect("control");
        let found = all.model().activations(&tokens, &hooks).expect("activations");
        assert!((0..3).all(|hook| found[hook] != before[hook] && found[hook] != after[hook]), "{family}");
        assert_ne!(all.model().info().weights_digest, control.model().info().weights_digest);
        let logits = |subject: &LoadedSubject| subject.model().logits(&tokens).expect("logits");
        assert_ne!(logits(&all), logits(&control), "{family}");
    }
}

/// A tokenizer of `n` whole words.
fn words(n: usize) -> Vec<u8> {
    let vocab: serde_json::Map<String, serde_json::Value> =
        (0..n).map(|id| (format!("word{id}"), id.into())).collect();
    let model = serde_json::json!({"type": "WordLevel", "vocab": vocab, "unk_token": "word0"});
    serde_json::json!({"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model})
        .to_string()
        .into_bytes()
}

#[test]
fn a_model_from_bytes_is_the_model_of_the_folder() {
    let read = |name: &str| std::fs::read(fixture("gpt_neox").join(name)).expect("fixture");
    let (config, weights) = (read("config.json"), read("model.safetensors"));
    let subject = LoadedSubject::from_parts("embedded", &config, &weights, &words(20)).expect("loads");
    let folder = load("gpt_neox");
    assert_eq!(subject.model().info().weights_digest, folder.model().info().weights_digest);
    assert_eq!(subject.model().logits(&many(4)).ok(), folder.model().logits(&many(4)).ok());
    assert_eq!(subject.tokenizer().and_then(|t| Ok(t.encode("word3 word19")?)).ok(), Some(vec![3, 19]));
    assert!(matches!(folder.tokenizer(), Err(SubjectError::NoTokenizer { .. })));
    let fewer = LoadedSubject::from_parts("embedded", &config, &weights, &words(18));
    assert!(fewer.is_ok(), "rows that pad the embedding are allowed");
    let error = LoadedSubject::from_parts("embedded", &config, &weights, &words(21)).expect_err("too large");
    let named = error.to_string();
    assert!(named.contains("`word20`") && named.contains("embeds 20 ids"), "{error}");
}

#[test]
fn what_cannot_be_done_is_explained() {
    let subject = load("gpt_neox");
    let model = subject.model();
    let error = model.check_hook(hooks(&["blocks.99.hook_mlp_out"])[0]).expect_err("no such layer");
    assert!(
        matches!(error, SubjectError::Nn(NnError::NoSuchLayer { hook, .. }) if hook.layer() == Some(99)),
        "{error}"
    );
    assert!(model.check_hook(HookPoint::Block { layer: 0, site: Site::ResidMid }).is_err());
    assert!(matches!(model.token_losses(&many(1), None), Err(SubjectError::TooShort { cols: 1 })));
    let missing = LoadedSubject::from_folder(Path::new("no/such/folder")).expect_err("missing");
    assert!(missing.to_string().contains("no/such/folder"), "{missing}");
    let folder = tempfile::tempdir().expect("folder");
    let error = LoadedSubject::from_folder(folder.path()).expect_err("empty");
    assert!(error.to_string().contains("config.json"), "{error}");
}

#[test]
fn overflow_is_an_error_and_no_result() {
    let read = |name: &str| std::fs::read(fixture("gpt_neox").join(name)).expect("fixture");
    let config = Config::parse(&read("config.json"), "config.json").expect("object");
    let mut tensors = candle_core::safetensors::load(
        fixture("gpt_neox").join("model.safetensors"),
        &candle_core::Device::Cpu,
    )
    .expect("weights");
    for (name, tensor) in &mut tensors {
        if name.contains("dense_4h_to_h.weight") {
            *tensor = (&*tensor * 1e38).and_then(|t| t * 3.0).expect("product");
        }
    }
    let model =
        TransformerSubject::new("huge", config, Weights::from_tensors(tensors, "huge")).expect("fits");
    let error = model.activations(&many(4), &hooks(&["blocks.0.hook_mlp_out"])).expect_err("overflow");
    assert!(matches!(error, SubjectError::NotFinite { .. }), "{error}");
    assert!(matches!(model.token_losses(&many(4), None), Err(SubjectError::NotFinite { .. })));
}

/// Logits of the first token's successors after `edit` at the last block's output.
fn logits_after(
    subject: &TransformerSubject,
    tokens: &TokenBatch,
    apply: &(dyn Fn(&mut Matrix) + Sync),
) -> Vec<f32> {
    let last = subject.info().n_layers - 1;
    let hook = HookPoint::Block { layer: last, site: Site::ResidPost };
    let request = Request { hooks: &[], edits: &[Edit { hook, apply }], output: Output::Logits };
    let pass = subject.transformer().forward(tokens, request).expect("a pass");
    let logits = pass.output.expect("logits");
    let mut entries = vec![0.0; logits.elem_count()];
    copy_entries(&logits, &mut entries).expect("entries");
    entries
}

/// The direct effect against a finite difference through the real final norm and unembedding. The norm's
/// derivative along u at x is gain ⊙ (c − x̂ (x̂·c)/d) / σ for u's part c that the norm does not take off, x̂ the
/// normalised x and σ its scale; where x has no part along c that is our effect over σ.
fn assert_direct_effects(name: &str, subject: &TransformerSubject, centres: bool) {
    let d = subject.info().d_model;
    let mut stream = crate::base::Stream::new(3, name);
    let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| stream.normal()).collect() };
    let centred = |v: &[f64]| -> Vec<f64> {
        let mean = if centres { v.iter().sum::<f64>() / d as f64 } else { 0.0 };
        v.iter().map(|value| value - mean).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let unit: Vec<f64> = {
        let v = normal(d);
        let norm = dot(&v, &v).sqrt();
        v.iter().map(|value| value / norm).collect()
    };
    let c = centred(&unit);
    let x = centred(&normal(d));
    let along = dot(&x, &c) / dot(&c, &c);
    let x: Vec<f64> = x.iter().zip(&c).map(|(x, c)| 3.0 * (x - along * c)).collect();
    let sigma = (dot(&x, &x) / d as f64 + subject.transformer().architecture().norm_eps).sqrt();
    let tokens = TokenBatch::new(vec![1, 2], 2).expect("a sequence");
    let at = |step: f64| {
        let row: Vec<f32> = x.iter().zip(&unit).map(|(x, u)| (x + step * u) as f32).collect();
        logits_after(subject, &tokens, &|rows| {
            rows.row_mut(0).copy_from_slice(&row);
        })
    };
    let step = 0.05;
    let (after, before) = (at(step), at(-step));
    let directions = Matrix::from_fn(1, d, |_, col| unit[col] as f32);
    let effects = subject.direct_logits(&directions).expect("effects");
    assert_eq!((effects.rows(), effects.cols()), (1, subject.info().vocab));
    let largest = effects.data().iter().fold(0.0f32, |most, effect| most.max(effect.abs()));
    assert!(largest > 1e-3, "{name}: no effect at all");
    for (token, &effect) in effects.row(0).iter().enumerate() {
        let slope = (f64::from(after[token]) - f64::from(before[token])) / (2.0 * step) * sigma;
        assert!(
            (slope - f64::from(effect)).abs() < 2e-3 * f64::from(largest),
            "{name}, token {token}: {effect} is not {slope}"
        );
    }
}

#[test]
fn direct_effects_are_the_slope_of_the_logits() {
    let embedded = crate::subject::embedded::load().expect("the embedded model");
    assert_direct_effects("embedded", embedded.transformer().expect("a model"), true);
    assert_direct_effects("gpt2", load("gpt2").transformer().expect("a model"), true);
    assert_direct_effects("gpt_neox", load("gpt_neox").transformer().expect("a model"), true);
    assert_direct_effects("llama", load("llama").transformer().expect("a model"), false);
}

#[test]
fn centring_keeps_what_is_computed_and_takes_the_mean_off_the_stream() {
    let Some(shared) = shared() else { return };
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let golden = |name: &str| shared.join("golden").join(name);
    let folders =
        [fixtures.join("gpt2"), fixtures.join("gpt_neox"), golden("gpt2"), golden("gptneox_parallel")];
    let others =
        ["gptneox_sequential", "gptneo", "gptj", "phi", "falcon", "starcoder2", "cohere"].map(golden);
    let processing = Processing::NAMED.map(|(_, processing)| processing);
    for folder in folders.iter().chain(&others) {
        let name = folder.display();
        let plain = LoadedSubject::from_folder(folder).expect("a model");
        let centred = plain.clone().processed(&processing).expect("layer norms alone");
        let info = (plain.model().info(), centred.model().info());
        assert_ne!(info.0.weights_digest, info.1.weights_digest, "{name}");
        assert_eq!(info.1.processing, processing);
        let ids: Vec<u32> = (0..14).map(|at| (at * 7 + 3) % info.0.vocab.min(20) as u32).collect();
        let tokens = TokenBatch::new(ids, 7).expect("whole");
        let close = |a: &Matrix, b: &Matrix, what: &str| {
            let scale = b.data().iter().fold(1e-3_f32, |top, x| top.max(x.abs()));
            let largest = a.data().iter().zip(b.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest <= 2e-5 * scale, "{name} {what}: {largest:.1e} of {scale:.1e}");
        };
        let logits = [&plain, &centred].map(|subject| subject.model().logits(&tokens).expect("logits"));
        close(&logits[1], &logits[0], "logits");
        let hooks: Vec<HookPoint> = (0..info.0.n_layers)
            .flat_map(|layer| Site::ALL.map(|site| HookPoint::Block { layer, site }))
            .chain([HookPoint::Embed])
            .filter(|&hook| plain.model().check_hook(hook).is_ok())
            .collect();
        let found = [&plain, &centred].map(|one| one.model().activations(&tokens, &hooks).expect("runs"));
        for ((hook, plain), centred) in hooks.iter().zip(&found[0]).zip(&found[1]) {
            let mut expected = plain.clone();
            if !matches!(hook, HookPoint::Block { site: Site::AttnZ | Site::MlpIn | Site::MlpPost, .. }) {
                for row in 0..expected.rows() {
                    let entries = expected.row_mut(row);
                    let mean = entries.iter().sum::<f32>() / entries.len() as f32;
                    entries.iter_mut().for_each(|entry| *entry -= mean);
                }
            }
            close(centred, &expected, &hook.to_string());
        }
        // Controls are processed like their subject.
        let control = centred.with_permuted_weights(1, false).expect("a control");
        let rows = control.model().activations(&tokens, &hooks[..1]).expect("runs");
        let mean = rows[0].row(3).iter().sum::<f32>() / rows[0].cols() as f32;
        assert!(mean.abs() < 1e-5, "{name}: {mean}");
    }
}

#[test]
fn centring_is_refused_where_it_would_change_the_model() {
    let Some(shared) = shared() else { return };
    let centring = [Processing::CenterWritingWeights];
    for (name, reason) in [("llama_gqa", "RMS norms"), ("gemma2", "RMS norms"), ("bloom", "norms between")] {
        let subject = LoadedSubject::from_folder(&shared.join("golden").join(name)).expect("a model");
        let error = subject.clone().processed(&centring).expect_err("refused").to_string();
        assert!(error.contains(reason) && error.contains("center_writing_weights"), "{name}: {error}");
        let folded = subject.processed(&[Processing::FoldLn]).expect("changes nothing");
        assert_eq!(folded.model().info().processing, [Processing::FoldLn]);
    }
}

/// x / 2, and something else for each column.
fn shrink(rows: &mut Matrix) {
    rows.data_mut().iter_mut().enumerate().for_each(|(at, x)| *x = 0.5 * *x + (at % 8) as f32 * 0.25 - 0.8);
}

fn raise(rows: &mut Matrix) {
    rows.data_mut().iter_mut().enumerate().for_each(|(at, x)| *x += (at % 4) as f32 * 0.4);
}

fn hook(name: &str) -> HookPoint {
    name.parse().expect("a hook point")
}

/// Edits at two hook points, the same at every position.
fn two_edits() -> [Edit<'static>; 2] {
    let (stream, mlp) = (hook("blocks.0.hook_resid_post"), hook("blocks.1.hook_mlp_out"));
    [Edit { hook: stream, apply: &shrink }, Edit { hook: mlp, apply: &raise }]
}

/// Largest difference, as a share of the largest expected number, but at least of 1.
fn off(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size
}

/// The `per` rows of a sequence.
fn rows_of(all: &Matrix, sequence: usize, per: usize) -> Matrix {
    all.select_rows(&(sequence * per..(sequence + 1) * per).collect::<Vec<usize>>())
}

#[test]
fn given_its_own_activations_a_model_returns_its_own_values() {
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let model = subject.model();
        let tokens = many(12);
        let logits = model.logits(&tokens).expect("logits");
        let ends: Vec<usize> = (1..=tokens.rows()).map(|nth| nth * 12 - 1).collect();
        let late = hook("blocks.1.hook_mlp_out");
        let expected = model.activations(&tokens, &[late]).expect("activations").swap_remove(0);
        for hook in hooks(&[
            "hook_embed",
            "blocks.0.hook_resid_pre",
            "blocks.0.attn.hook_z",
            "blocks.0.hook_resid_post",
            "blocks.1.mlp.hook_post",
        ]) {
            let own = model.activations(&tokens, &[hook]).expect("activations").swap_remove(0);
            let given = |wanted| model.given(&tokens, (hook, &own), wanted).expect("runs");
            let all = given(Wanted::Logits);
            assert_eq!((all.rows(), all.cols()), (logits.rows(), 20));
            assert!(off(all.data(), logits.data()) < 1e-5, "{family} {hook}");
            let last = given(Wanted::LastLogits);
            assert_eq!((last.rows(), last.cols()), (tokens.rows(), 20));
            assert!(off(last.data(), logits.select_rows(&ends).data()) < 1e-5, "{family} {hook}");
            let found = given(Wanted::Activations(late));
            assert!(off(found.data(), expected.data()) < 1e-5, "{family} {hook}");
        }
        let unedited = model.edited(&tokens, &[], Wanted::Logits).expect("runs");
        assert!(off(unedited.data(), logits.data()) < 1e-6, "{family}");
    }
}

#[test]
fn edits_and_gradients_of_a_batch_in_parts_are_those_of_each_sequence_alone() {
    let weight = |sequence: usize, row: usize, col: usize| ((7 * sequence + 3 * row + col) % 11) as f32 - 5.0;
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let model = subject.model();
        let tokens = many(12);
        let (from, to) = (hook("blocks.0.hook_resid_post"), hook("blocks.1.hook_resid_post"));
        let rows = model.activations(&tokens, &[from]).expect("activations").swap_remove(0);
        for wanted in [Wanted::Logits, Wanted::LastLogits, Wanted::Activations(to)] {
            let per = if wanted == Wanted::LastLogits { 1 } else { 12 };
            // Weights depend on the sequence's place in the batch.
            let weights = |before: usize| {
                move |first: usize, values: &Matrix| {
                    Matrix::from_fn(values.rows(), values.cols(), |row, col| {
                        weight(before + first + row / per, row % per, col)
                    })
                }
            };
            let edited = model.edited(&tokens, &two_edits(), wanted).expect("runs");
            let given = model.given(&tokens, (from, &rows), wanted).expect("runs");
            let found = model.pullback(&tokens, (from, &rows), wanted, &weights(0)).expect("runs");
            assert_eq!((found.gradient.rows(), found.gradient.cols()), (rows.rows(), rows.cols()));
            assert!(off(found.values.data(), given.data()) < 1e-5, "{family} {wanted:?}");
            for row in [0, 41, 42, tokens.rows() - 1] {
                let one = TokenBatch::new(tokens.row(row).to_vec(), 12).expect("whole");
                let own = rows_of(&rows, row, 12);
                let near = |all: &Matrix, per: usize, alone: &Matrix| {
                    let off = off(rows_of(all, row, per).data(), alone.data());
                    assert!(off < 5e-5, "{family} {wanted:?} {row}: {off:.1e}");
                };
                near(&edited, per, &model.edited(&one, &two_edits(), wanted).expect("runs"));
                near(&given, per, &model.given(&one, (from, &own), wanted).expect("runs"));
                let alone = model.pullback(&one, (from, &own), wanted, &weights(row)).expect("runs");
                near(&found.values, per, &alone.values);
                near(&found.gradient, 12, &alone.gradient);
            }
        }
    }
}

#[test]
fn gradients_and_edits_do_not_depend_on_the_number_of_threads() {
    let loaded = crate::subject::embedded::load().expect("the embedded model");
    let model = loaded.model();
    let tokens = TokenBatch::new((0..48 * 32).map(|i| (i * i % 900) as u32).collect(), 32).expect("whole");
    let from = hook("blocks.1.hook_resid_post");
    let rows = model.activations(&tokens, &[from]).expect("activations").swap_remove(0);
    let weights = |first: usize, values: &Matrix| {
        Matrix::from_fn(values.rows(), values.cols(), |row, col| ((first + row + col) % 5) as f32 - 2.0)
    };
    let run = || {
        let found = model.pullback(&tokens, (from, &rows), Wanted::LastLogits, &weights).expect("runs");
        let edited = model.edited(&tokens, &two_edits(), Wanted::LastLogits).expect("runs");
        let given = model.given(&tokens, (from, &rows), Wanted::LastLogits).expect("runs");
        [found.values, found.gradient, edited, given]
    };
    let outside = run();
    assert!(outside.iter().all(|values| values.data().iter().any(|&x| x != 0.0)));
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        assert!(pool.install(run) == outside, "{threads} threads");
    }
}

/// The likeliest tokens, each by a pass over the whole text in which the edits skip the first `unedited` positions.
fn written_by_full_passes(
    model: &dyn SubjectModel,
    prompt: &[u32],
    unedited: usize,
    edits: &[Edit<'_>],
    count: usize,
) -> Vec<u32> {
    let mut ids = prompt.to_vec();
    for _ in 0..count {
        let tokens = TokenBatch::new(ids.clone(), ids.len()).expect("whole");
        let behind = |edit: Edit<'_>, rows: &mut Matrix| {
            let places: Vec<usize> = (unedited.min(rows.rows())..rows.rows()).collect();
            let mut later = rows.select_rows(&places);
            (edit.apply)(&mut later);
            places.iter().enumerate().for_each(|(nth, &row)| {
                rows.row_mut(row).copy_from_slice(later.row(nth));
            });
        };
        let apply: Vec<_> = edits.iter().map(|&edit| move |rows: &mut Matrix| behind(edit, rows)).collect();
        let edits: Vec<Edit<'_>> =
            edits.iter().zip(&apply).map(|(edit, apply)| Edit { hook: edit.hook, apply }).collect();
        let logits = model.edited(&tokens, &edits, Wanted::LastLogits).expect("runs");
        let likeliest = (0..logits.cols()).max_by(|&a, &b| logits.at(0, a).total_cmp(&logits.at(0, b)));
        ids.push(likeliest.expect("a token") as u32);
    }
    ids.split_off(prompt.len())
}

#[test]
fn text_written_with_edits_is_that_of_full_passes_with_the_same_edits() {
    let prompt = [3, 14, 15, 9];
    let writing = Writing { tokens: 10, temperature: 0.0, seed: 1, stop: &[] };
    let mut changed = 0;
    for family in ["gpt_neox", "gpt2", "llama"] {
        let subject = load(family);
        let model = subject.model();
        let plain = model.continuation(&prompt, 0, &[], &writing).expect("writes");
        assert_eq!(plain, written_by_full_passes(model, &prompt, 0, &[], 10), "{family}");
        for unedited in [0, 2, 4, 7] {
            let written = model.continuation(&prompt, unedited, &two_edits(), &writing).expect("writes");
            let expected = written_by_full_passes(model, &prompt, unedited, &two_edits(), 10);
            assert_eq!(written, expected, "{family}, {unedited} positions unedited");
            changed += usize::from(written != plain);
            // A stop token ends the text before it.
            let stop = [expected[4]];
            let until = Writing { stop: &stop, ..writing };
            let written = model.continuation(&prompt, unedited, &two_edits(), &until).expect("writes");
            let end = expected.iter().position(|&token| token == stop[0]).expect("it was written");
            assert_eq!(written, &expected[..end], "{family}, {unedited} positions unedited");
        }
        let beyond = model.continuation(&prompt, usize::MAX, &two_edits(), &writing).expect("writes");
        assert_eq!(beyond, plain, "{family}: nothing is edited");
        let drawn = Writing { temperature: 1.0, seed: 5, ..writing };
        let draw =
            |writing: &Writing<'_>| model.continuation(&prompt, 1, &two_edits(), writing).expect("writes");
        assert_eq!(draw(&drawn), draw(&drawn), "{family}: one seed gives one text");
    }
    assert!(changed >= 6, "edits changed {changed} of 12 texts");
}

#[test]
fn edits_and_gradients_that_are_not_possible_are_explained() {
    let subject = load("llama");
    let model = subject.model();
    let tokens = many(12);
    let stream = hook("blocks.0.hook_resid_post");
    let few = Matrix::zeros(11, 8);
    let weights = |_: usize, values: &Matrix| Matrix::zeros(values.rows(), values.cols());
    let wrong = [
        model.given(&tokens, (stream, &few), Wanted::LastLogits).err(),
        model.pullback(&tokens, (stream, &few), Wanted::LastLogits, &weights).err(),
    ];
    for error in wrong.map(|error| error.expect("refused")) {
        let n = tokens.ids().len();
        let expected = |at: &NnError| matches!(at, NnError::EditShape { expected: [rows, 8], got: [11, 8], .. } if *rows == n);
        assert!(matches!(&error, SubjectError::Nn(error) if expected(error)), "{error}");
    }
    let drop_rows = |rows: &mut Matrix| *rows = Matrix::zeros(1, rows.cols());
    let edit = [Edit { hook: stream, apply: &drop_rows }];
    let error = model.edited(&tokens, &edit, Wanted::LastLogits).expect_err("refused");
    assert!(matches!(error, SubjectError::Nn(NnError::EditShape { .. })), "{error}");
    let spoil = |rows: &mut Matrix| rows.data_mut().fill(f32::NAN);
    let edit = [Edit { hook: stream, apply: &spoil }];
    let error = model.edited(&tokens, &edit, Wanted::LastLogits).expect_err("refused");
    assert!(matches!(error, SubjectError::NotFinite { row: 0, col: 0, .. }), "{error}");
    let nowhere = [Edit { hook: hook("blocks.7.hook_resid_post"), apply: &raise }];
    let error = model.edited(&tokens, &nowhere, Wanted::LastLogits).expect_err("refused").to_string();
    assert!(error.contains("blocks.7.hook_resid_post"), "{error}");
    let writing = Writing { tokens: 14, temperature: 0.0, seed: 1, stop: &[] };
    let error = model.continuation(&[1, 2, 3, 4], 0, &[], &writing).expect_err("beyond the context");
    assert!(matches!(error, SubjectError::Nn(NnError::TooLong { cols: 17, n_ctx: 16 })), "{error}");
    let error = model.continuation(&[], 0, &[], &writing).expect_err("no prompt");
    assert!(matches!(error, SubjectError::TooShort { .. }), "{error}");
}
