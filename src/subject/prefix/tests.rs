use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::subject::{LoadedSubject, embedded};

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

/// A tokenizer of five pieces with this post-processor, and this `tokenizer_config.json` beside it.
fn tokenizer(post_processor: Value, config: Option<Value>) -> Result<Tokenizer, NnError> {
    let folder = tempfile::tempdir().expect("a folder");
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let file = json!({
        "version": "1.0", "added_tokens": [special(0, "<s>"), special(1, "<t>"), special(2, "</s>")],
        "normalizer": null, "pre_tokenizer": null, "decoder": null, "post_processor": post_processor,
        "model": {"type": "BPE", "unk_token": null, "merges": [],
                  "vocab": {"<s>": 0, "<t>": 1, "</s>": 2, "a": 3, "b": 4}}
    });
    let write = |name: &str, value: &Value| {
        crate::base::write_atomic(&folder.path().join(name), value.to_string().as_bytes()).expect("written");
    };
    write("tokenizer.json", &file);
    if let Some(config) = config {
        write("tokenizer_config.json", &config);
    }
    Tokenizer::from_file(&folder.path().join("tokenizer.json"))
}

/// A template that puts these before a text, and `</s>` behind it.
fn template(before: &[(&str, u32)]) -> Value {
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let mut single: Vec<Value> = before.iter().map(|(name, _)| token(name)).collect();
    single.extend([json!({"Sequence": {"id": "A", "type_id": 0}}), token("</s>")]);
    let all = before.iter().copied().chain([("</s>", 2)]);
    let special: serde_json::Map<String, Value> = all
        .map(|(name, id)| (name.to_string(), json!({"id": name, "ids": [id], "tokens": [name]})))
        .collect();
    json!({"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special})
}

fn ids(setting: Bos, tokenizer: &Tokenizer) -> Vec<u32> {
    Prefix::of(setting, tokenizer, "toy").expect("a prefix").ids
}

#[test]
fn auto_is_what_the_tokenizer_puts_in_front_and_nothing_behind() {
    let sequence = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true},
        template(&[("<s>", 0), ("<t>", 1)]),
    ]});
    let named =
        |adds: bool| json!({"add_bos_token": adds, "bos_token": {"content": "<s>"}, "eos_token": "</s>"});
    for (post_processor, config, expected) in [
        (Value::Null, None, vec![]),
        (template(&[]), None, vec![]),
        (template(&[("<s>", 0)]), None, vec![0]),
        (sequence.clone(), None, vec![0, 1]),
        (sequence.clone(), Some(named(true)), vec![0, 1]),
        // The key decides over the post-processor, and alone.
        (sequence, Some(named(false)), vec![]),
        (Value::Null, Some(named(true)), vec![0]),
        (Value::Null, Some(named(false)), vec![]),
        (Value::Null, Some(json!({"add_bos_token": true})), vec![]),
        (Value::Null, Some(json!({"add_bos_token": null, "bos_token": "<s>"})), vec![]),
    ] {
        let read = tokenizer(post_processor.clone(), config.clone()).expect("readable");
        let prefix = Prefix::of(Bos::Auto, &read, "toy").expect("a prefix");
        assert_eq!(prefix.ids, expected, "{post_processor} {config:?}");
        assert!(!prefix.because.is_empty());
        assert_eq!(ids(Bos::Never, &read), Vec::<u32>::new());
        let always = ids(Bos::Always, &read);
        assert!(if expected.is_empty() { always == [0] } else { always == expected }, "{always:?}");
    }
    let wrong = tokenizer(Value::Null, Some(json!({"add_bos_token": true, "bos_token": "<none>"})));
    let text = wrong.expect_err("no such piece").to_string();
    assert!(text.contains("<none>") && text.contains("bos_token"), "{text}");
}

#[test]
fn where_nothing_can_stand_in_front_always_is_an_error() {
    let file = json!({"model": {"type": "BPE", "merges": [], "vocab": {"a": 0}}});
    let bare = Tokenizer::from_bytes(file.to_string().as_bytes(), "bare").expect("readable");
    let error = Prefix::of(Bos::Always, &bare, "bare").expect_err("nothing to put").to_string();
    assert!(error.contains("bare") && error.contains("<|endoftext|>"), "{error}");
    assert!(ids(Bos::Auto, &bare).is_empty());
}

#[test]
fn families_trained_without_bos_get_none_unless_told() {
    let subject = embedded::load().expect("the embedded model");
    let of = |bos| subject.prefix(bos).expect("a prefix").ids;
    assert_eq!((of(Bos::Auto), of(Bos::Always), of(Bos::Never)), (vec![], vec![0], vec![]));
    let Some(shared) = shared() else { return };
    for (name, auto, always) in [
        ("tokenizers/gpt2", vec![], vec![50_256]),
        ("tokenizers/pythia", vec![], vec![0]),
        ("models/prose-neox", vec![], vec![4_999]),
        ("models/stories260K", vec![1], vec![1]),
        ("models/babyllama-char105", vec![1], vec![1]),
    ] {
        let read = Tokenizer::from_file(&shared.join(name).join("tokenizer.json")).expect("readable");
        assert_eq!((ids(Bos::Auto, &read), ids(Bos::Always, &read)), (auto, always), "{name}");
    }
}

fn hooks() -> Vec<HookPoint> {
    ["hook_embed", "blocks.0.attn.hook_z", "blocks.1.hook_resid_post"]
        .map(|hook| hook.parse().expect("a hook point"))
        .to_vec()
}

/// Rows of the text alone, of a run over `prefix` and text.
fn behind(rows: &Matrix, prefix: usize, whole: usize) -> Matrix {
    let places: Vec<usize> = (0..rows.rows()).filter(|row| row % whole >= prefix).collect();
    rows.select_rows(&places)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn rows_and_losses_are_those_of_the_text_in_a_run_on_ids_with_the_prefix(
        prefix in prop::collection::vec(0u32..900, 1..4),
        rows in prop::collection::vec(prop::collection::vec(0u32..900, 7), 1..5),
    ) {
        let loaded = embedded::load().expect("the embedded model");
        let plain = loaded.model();
        let subject = WithPrefix::new(plain, &prefix);
        let (p, whole) = (prefix.len(), prefix.len() + 7);
        let text = TokenBatch::new(rows.concat(), 7).expect("tokens");
        let with: Vec<u32> = rows.iter().flat_map(|row| prefix.iter().chain(row)).copied().collect();
        let with = TokenBatch::new(with, whole).expect("tokens");
        let all = plain.activations(&with, &hooks()).expect("activations");
        for (of_text, all) in subject.activations(&text, &hooks()).expect("activations").iter().zip(&all) {
            prop_assert_eq!(of_text, &behind(all, p, whole));
        }
        let logits = plain.logits(&with).expect("logits");
        prop_assert_eq!(subject.logits(&text).expect("logits"), behind(&logits, p, whole));
        // Every token of the text has a loss: column p − 1 of the whole is that of its first token.
        let losses = plain.token_losses(&with, None).expect("losses");
        let of_text = Matrix::from_fn(rows.len(), 7, |row, col| losses.at(row, p - 1 + col));
        prop_assert_eq!(&subject.token_losses(&text, None).expect("losses"), &of_text);
        // An edit sees the text's rows and changes no others.
        let hook = hooks()[2];
        let halve = |rows: &mut Matrix| rows.data_mut().iter_mut().for_each(|value| *value *= 0.5);
        let edited = subject.token_losses(&text, Some(Edit { hook, apply: &halve })).expect("losses");
        let halve_text = |rows: &mut Matrix| {
            for row in (0..rows.rows()).filter(|row| row % whole >= p) {
                rows.row_mut(row).iter_mut().for_each(|value| *value *= 0.5);
            }
        };
        let expected = plain.token_losses(&with, Some(Edit { hook, apply: &halve_text })).expect("losses");
        let expected = Matrix::from_fn(rows.len(), 7, |row, col| expected.at(row, p - 1 + col));
        prop_assert_eq!(&edited, &expected);
        // Given rows take the text's places, and the prefix keeps its own.
        let mut given = subject.activations(&text, &[hook]).expect("activations").swap_remove(0);
        let near = |a: &Matrix, b: &Matrix| a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-4);
        prop_assert!(near(&subject.token_losses_given(&text, hook, &given).expect("losses"), &of_text));
        halve(&mut given);
        prop_assert!(near(&subject.token_losses_given(&text, hook, &given).expect("losses"), &expected));
    }
}

#[test]
fn without_a_prefix_nothing_changes_and_with_one_the_context_is_shorter() {
    let loaded = embedded::load().expect("the embedded model");
    let plain = loaded.model();
    let tokens = TokenBatch::new((0..40).collect(), 8).expect("tokens");
    let bare = WithPrefix::new(plain, &[]);
    assert_eq!(bare.info(), plain.info());
    assert_eq!(bare.activations(&tokens, &hooks()).ok(), plain.activations(&tokens, &hooks()).ok());
    assert_eq!(bare.token_losses(&tokens, None).ok(), plain.token_losses(&tokens, None).ok());
    assert_eq!(bare.token_losses(&tokens, None).expect("losses").cols(), 7);
    let subject = WithPrefix::new(plain, &[0, 1]);
    assert_eq!((subject.info().n_ctx, subject.info().needs_lead_token), (plain.info().n_ctx - 2, false));
    let longest = |cols: usize| TokenBatch::new(vec![3; cols], cols).expect("tokens");
    assert!(subject.check_tokens(&longest(plain.info().n_ctx - 2)).is_ok());
    assert!(subject.check_tokens(&longest(plain.info().n_ctx - 1)).is_err());
    let wrong = subject.token_losses_given(&tokens, hooks()[2], &Matrix::zeros(3, 8));
    assert!(matches!(wrong, Err(SubjectError::Nn(NnError::EditShape { .. }))));
}

/// An edit of the rows behind the first `prefix` positions of sequences of `whole` positions.
fn of_text(
    apply: &(dyn Fn(&mut Matrix) + Sync),
    prefix: usize,
    whole: usize,
) -> impl Fn(&mut Matrix) + Sync + '_ {
    move |rows: &mut Matrix| {
        for row in (0..rows.rows()).filter(|row| row % whole >= prefix) {
            let mut one = rows.select_rows(&[row]);
            apply(&mut one);
            rows.row_mut(row).copy_from_slice(one.data());
        }
    }
}

/// Largest difference, as a share of the largest expected number, but at least of 1.
fn off(got: &Matrix, expected: &Matrix) -> f32 {
    assert_eq!((got.rows(), got.cols()), (expected.rows(), expected.cols()));
    let size = expected.data().iter().fold(1.0f32, |most, x| most.max(x.abs()));
    got.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / size
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn edits_gradients_and_writing_are_those_of_the_text_behind_the_prefix(
        prefix in prop::collection::vec(0u32..900, 1..4),
        rows in prop::collection::vec(prop::collection::vec(0u32..900, 7), 1..5),
    ) {
        let loaded = embedded::load().expect("the embedded model");
        let plain = loaded.model();
        let subject = WithPrefix::new(plain, &prefix);
        let (p, whole) = (prefix.len(), prefix.len() + 7);
        let text = TokenBatch::new(rows.concat(), 7).expect("tokens");
        let with: Vec<u32> = rows.iter().flat_map(|row| prefix.iter().chain(row)).copied().collect();
        let with = TokenBatch::new(with, whole).expect("tokens");
        let [early, late, last] = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_post"]
            .map(|hook| hook.parse::<HookPoint>().expect("a hook point"));
        let seen = Mutex::new(Vec::new());
        let halve = |rows: &mut Matrix| rows.data_mut().iter_mut().for_each(|x| *x = 0.5 * *x + 0.1);
        let raise = |rows: &mut Matrix| rows.data_mut().iter_mut().enumerate().for_each(|(at, x)| *x += (at % 4) as f32);
        let watched = |rows: &mut Matrix| {
            seen.lock().expect("free").push(rows.rows());
            halve(rows);
        };
        let edits = [Edit { hook: early, apply: &watched }, Edit { hook: late, apply: &raise }];
        let (halve_text, raise_text) = (of_text(&halve, p, whole), of_text(&raise, p, whole));
        let on_whole = [Edit { hook: early, apply: &halve_text }, Edit { hook: late, apply: &raise_text }];
        // The text's activations, changed, and the same among those of whole sequences.
        let mut given = subject.activations(&text, &[early]).expect("activations").swap_remove(0);
        halve(&mut given);
        let mut among = plain.activations(&with, &[early]).expect("activations").swap_remove(0);
        halve_text(&mut among);
        let weight = |sequence: usize, row: usize, col: usize| ((5 * sequence + 3 * row + col) % 7) as f32 - 3.0;
        for wanted in [Wanted::Logits, Wanted::LastLogits, Wanted::Activations(last)] {
            let is_last = wanted == Wanted::LastLogits;
            let text_of = |all: &Matrix| if is_last { all.clone() } else { behind(all, p, whole) };
            let edited = plain.edited(&with, &on_whole, wanted).expect("runs");
            prop_assert_eq!(subject.edited(&text, &edits, wanted).expect("runs"), text_of(&edited));
            let expected = plain.given(&with, (early, &among), wanted).expect("runs");
            let got = subject.given(&text, (early, &given), wanted).expect("runs");
            prop_assert!(off(&got, &text_of(&expected)) < 1e-4);
            let per = if is_last { 1 } else { 7 };
            let in_text = |first: usize, values: &Matrix| {
                assert_eq!(values.rows() % per, 0);
                Matrix::from_fn(values.rows(), values.cols(), |row, col| weight(first + row / per, row % per, col))
            };
            let per_whole = if is_last { 1 } else { whole };
            let skipped = per_whole - per;
            let in_whole = |first: usize, values: &Matrix| {
                Matrix::from_fn(values.rows(), values.cols(), |row, col| {
                    match (row % per_whole).checked_sub(skipped) {
                        Some(place) => weight(first + row / per_whole, place, col),
                        None => 0.0,
                    }
                })
            };
            let expected = plain.pullback(&with, (early, &among), wanted, &in_whole).expect("runs");
            let got = subject.pullback(&text, (early, &given), wanted, &in_text).expect("runs");
            prop_assert!(off(&got.values, &text_of(&expected.values)) < 1e-4);
            prop_assert!(off(&got.gradient, &behind(&expected.gradient, p, whole)) < 1e-4);
        }
        // An edit gets the rows of texts alone.
        let counts = seen.lock().expect("free").clone();
        prop_assert_eq!(counts, vec![rows.len() * 7; 3]);
        let writing = Writing { tokens: 6, temperature: 0.0, seed: 1, stop: &[] };
        let whole_text = [&prefix[..], text.row(0)].concat();
        for unedited in [0, 3] {
            let expected = plain.continuation(&whole_text, p + unedited, &edits, &writing).expect("writes");
            prop_assert_eq!(subject.continuation(text.row(0), unedited, &edits, &writing).expect("writes"), expected);
        }
    }
}

#[test]
fn passes_behind_shared_tokens_are_those_of_whole_texts() {
    let loaded = embedded::load().expect("the embedded model");
    for prefix in [&[][..], &[0, 1][..]] {
        let subject = WithPrefix::new(loaded.model(), prefix);
        let texts = TokenBatch::new((0..640).map(|at| (at * 7 % 90) as u32).collect(), 8).expect("tokens");
        let hook = hooks()[2];
        let rows = subject.activations(&texts, &[hook]).expect("activations").swap_remove(0);
        // More texts than are run together. Of each, 0 to 3 positions are shared.
        let kept: Vec<usize> = (0..80).map(|text| text % 4).collect();
        let past = subject.prefix_caches(&texts, (hook, &rows), &kept).expect("runs").expect("on the CPU");
        let whole = subject.given(&texts, (hook, &rows), Wanted::LastLogits).expect("runs");
        for first in 0..4 {
            let those: Vec<usize> = (first..80).step_by(4).collect();
            let places: Vec<usize> = those.iter().flat_map(|text| text * 8 + first..(text + 1) * 8).collect();
            let ids = places.iter().map(|&place| texts.ids()[place]).collect();
            let ends = TokenBatch::new(ids, 8 - first).expect("tokens");
            let past: Vec<&PrefixCache> = those.iter().map(|&text| &past[text]).collect();
            let given = (hook, &rows.select_rows(&places));
            let behind = subject.given_behind(&past, &ends, given, Wanted::LastLogits).expect("runs");
            assert!(off(&behind, &whole.select_rows(&those)) < 1e-4, "{prefix:?}: {first} shared");
        }
        let as_ever = subject.given_behind(&[], &texts, (hook, &rows), Wanted::LastLogits).expect("runs");
        assert_eq!(as_ever, whole);
    }
}

#[test]
fn with_a_prefix_wrong_shapes_are_refused_as_without() {
    let loaded = embedded::load().expect("the embedded model");
    let subject = WithPrefix::new(loaded.model(), &[0, 1]);
    let tokens = TokenBatch::new((0..40).collect(), 8).expect("tokens");
    let hook = hooks()[2];
    let is_shape = |error: SubjectError| matches!(error, SubjectError::Nn(NnError::EditShape { .. }));
    let few = Matrix::zeros(3, subject.width(hook).expect("a width"));
    assert!(is_shape(subject.given(&tokens, (hook, &few), Wanted::LastLogits).expect_err("refused")));
    let drop_rows = |rows: &mut Matrix| *rows = Matrix::zeros(1, rows.cols());
    let edit = Edit { hook, apply: &drop_rows };
    assert!(is_shape(subject.edited(&tokens, &[edit], Wanted::LastLogits).expect_err("refused")));
    assert!(is_shape(subject.token_losses(&tokens, Some(edit)).expect_err("refused")));
    let rows = subject.activations(&tokens, &[hook]).expect("activations").swap_remove(0);
    let narrow = |_: usize, values: &Matrix| Matrix::zeros(values.rows(), 3);
    assert!(subject.pullback(&tokens, (hook, &rows), Wanted::Logits, &narrow).is_err());
}

/// Largest distance of a row from its reference, as a share of the reference's norm.
fn apart(got: &Matrix, expected: &Matrix) -> f64 {
    let norm = |row: &mut dyn Iterator<Item = f64>| row.map(|value| value * value).sum::<f64>().sqrt();
    let rows = got.iter_rows().zip(expected.iter_rows()).map(|(a, b)| {
        let distance = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        distance / norm(&mut b.iter().map(|&b| f64::from(b)))
    });
    rows.fold(0.0, f64::max)
}

fn read_rows(file: &safetensors::SafeTensors<'_>, name: &str) -> Matrix {
    let view = file.tensor(name).expect("a tensor");
    let entries = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let width = view.shape().last().copied().expect("a width");
    let rows = view.shape().iter().product::<usize>() / width;
    Matrix::from_vec(rows, width, entries).expect("whole rows")
}

/// Losses and residuals of a real model, with and without BOS, against transformers'.
fn agrees_with_the_golden(shared: &Path, models: &Path, name: &str, layers: [usize; 3]) {
    let folder = shared.join("golden/bos");
    let golden = std::fs::read(folder.join(format!("{name}.json"))).expect("golden file");
    let golden: Value = serde_json::from_slice(&golden).expect("JSON");
    let file = models.join(golden["model"].as_str().expect("a name"));
    if !file.exists() {
        println!("skipped: there is no {}", file.display());
        return;
    }
    let loaded = LoadedSubject::from_path(&file).expect("loads");
    let bos = u32::try_from(golden["bos_id"].as_u64().expect("an id")).expect("an id");
    let adds = golden["tokenizer_adds_bos"].as_bool().expect("a flag");
    assert_eq!(loaded.prefix(Bos::Auto).expect("a prefix").ids, if adds { vec![bos] } else { vec![] });
    assert_eq!(loaded.prefix(Bos::Always).expect("a prefix").ids, [bos]);
    let bytes = std::fs::read(folder.join(format!("{name}_resid.safetensors"))).expect("golden file");
    let resid = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
    let prefix = [bos];
    for (nth, sentence) in golden["sentences"].as_array().expect("sentences").iter().enumerate() {
        let ids = loaded.tokenizer().expect("a tokenizer").encode(sentence["text"].as_str().expect("text"));
        let ids = ids.expect("encodes");
        assert_eq!(json!(ids), sentence["ids_without_bos"], "{name} {nth}");
        let cols = ids.len();
        let tokens = TokenBatch::new(ids, cols).expect("tokens");
        for (form, prefix) in [("with_bos", &prefix[..]), ("without_bos", &[])] {
            let subject = WithPrefix::new(loaded.model(), prefix);
            let losses = subject.token_losses(&tokens, None).expect("losses");
            let expected: Vec<f64> =
                serde_json::from_value(sentence[format!("nll_{form}")].clone()).expect("losses");
            assert_eq!(losses.data().len(), expected.len(), "{name} {nth} {form}");
            for (got, expected) in losses.data().iter().zip(expected) {
                assert!(
                    (f64::from(*got) - expected).abs() < 1e-3,
                    "{name} {nth} {form}: {got} is not {expected}"
                );
            }
            if nth > 0 {
                continue;
            }
            for layer in layers {
                let hook = format!("blocks.{layer}.hook_resid_post").parse().expect("a hook point");
                let rows = subject.activations(&tokens, &[hook]).expect("activations").swap_remove(0);
                let all = read_rows(&resid, &format!("resid_post.{layer}.{form}"));
                // The golden has a row for BOS as well; position 0 of a model has a size of its own.
                let expected = behind(&all, prefix.len(), all.rows());
                assert!(apart(&rows, &expected) < 1e-3, "{name} {layer} {form}: {}", apart(&rows, &expected));
            }
        }
    }
}

#[test]
fn real_models_agree_with_transformers_with_and_without_bos() {
    let Some(shared) = shared() else { return };
    let Some(models) = std::env::var_os("AUTOINTERP_REAL_MODELS").map(PathBuf::from) else {
        println!("skipped: AUTOINTERP_REAL_MODELS is not set");
        return;
    };
    agrees_with_the_golden(&shared, &models, "gemma", [4, 9, 17]);
    agrees_with_the_golden(&shared, &models, "smollm2", [8, 15, 29]);
}

#[test]
fn logits_at_some_positions_are_those_of_all_positions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2");
    let loaded = LoadedSubject::from_folder(&folder).expect("loads");
    let (cols, hook) = (5, "blocks.0.hook_resid_post".parse().expect("a hook point"));
    // More sequences than a chunk holds.
    let ids = (0..230 * cols).map(|i| (i * i % 19) as u32).collect();
    let tokens = TokenBatch::new(ids, cols).expect("whole");
    let places: Vec<usize> = (0..tokens.ids().len()).filter(|place| place % 7 == 3).collect();
    for prefix in [&[][..], &[7, 2]] {
        let subject = WithPrefix::new(loaded.model(), prefix);
        let rows = subject.activations(&tokens, &[hook]).expect("activations").swap_remove(0);
        let all = subject.given(&tokens, (hook, &rows), Wanted::Logits).expect("logits");
        let some = subject.logits_at(&tokens, (hook, &rows), &places).expect("logits");
        assert_eq!((some.rows(), some.cols()), (places.len(), all.cols()));
        let expected = all.select_rows(&places);
        let apart = some.data().iter().zip(expected.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-5, "{prefix:?}: {apart}");
        assert_eq!(subject.logits_at(&tokens, (hook, &rows), &[]).expect("logits").rows(), 0);
    }
}
