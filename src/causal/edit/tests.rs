use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::base::{Digest, Stream, TokenBatch};
use crate::dictionary::{
    Activation, AffineDictionary, Dictionary, DictionaryError, Kind, Label, RowScale, Tensors,
};
use crate::subject::{LoadedSubject, SubjectModel, Wanted, Writing};

const FAMILIES: [&str; 3] = ["gpt_neox", "gpt2", "llama"];
const MIDDLE: &str = "blocks.0.hook_resid_post";

fn hook(name: &str) -> HookPoint {
    name.parse().expect("a hook point")
}

/// A dictionary of ReLU features that reads and writes at these hook points.
fn dictionary(hooks: [&str; 2], encoder: Matrix, bias: Vec<f32>, decoder: Matrix) -> AffineDictionary {
    with_activation(Activation::Relu, hooks, encoder, bias, decoder)
}

fn with_activation(
    activation: Activation,
    hooks: [&str; 2],
    encoder: Matrix,
    bias: Vec<f32>,
    decoder: Matrix,
) -> AffineDictionary {
    let [reads, writes] = hooks.map(hook);
    let label = Label {
        method: "planted".to_string(),
        kind: Kind::File,
        hook: reads,
        fitted_on: Digest::of(&[]),
        is_reconstruction: true,
        output: (writes != reads).then_some(writes),
    };
    let tensors = Tensors {
        encoder,
        encoder_bias: bias,
        decoder_bias: vec![0.25; decoder.cols()],
        decoder,
        subtract_decoder_bias: false,
        activation,
        row_scale: RowScale::Plain,
        skip: None,
    };
    AffineDictionary::new(label, tensors)
}

/// A tiny model with its tokens, and `edits.safetensors`, which `tests/fixtures/make_edits.py` describes.
struct Fixture {
    subject: LoadedSubject,
    tokens: TokenBatch,
    edits: Vec<u8>,
}

impl Fixture {
    fn load(family: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
        let read = |name: &str| std::fs::read(folder.join(name)).expect("a fixture");
        let reference = read("reference.safetensors");
        let reference = safetensors::SafeTensors::deserialize(&reference).expect("tensors");
        let ids = reference.tensor("token_ids").expect("ids");
        let ids = ids.data().chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Self {
            subject: LoadedSubject::from_folder(&folder).expect("loads"),
            tokens: TokenBatch::new(ids, 10).expect("whole"),
            edits: read("edits.safetensors"),
        }
    }

    fn model(&self) -> &dyn SubjectModel {
        self.subject.model()
    }

    fn tensor(&self, name: &str) -> Matrix {
        let file = safetensors::SafeTensors::deserialize(&self.edits).expect("tensors");
        let view = file.tensor(name).expect(name);
        let entries = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let width = view.shape().last().copied().expect("a width");
        let entries: Vec<f32> = entries.collect();
        Matrix::from_vec(entries.len() / width, width, entries).expect("whole rows")
    }

    /// The dictionary of this name, `codes` or `transcoder`.
    fn dictionary(&self, name: &str, hooks: [&str; 2]) -> AffineDictionary {
        let part = |part: &str| self.tensor(&format!("{name}.{part}"));
        dictionary(hooks, part("encoder"), part("bias").into_vec(), part("decoder"))
    }

    fn codes(&self) -> AffineDictionary {
        self.dictionary("codes", [MIDDLE, MIDDLE])
    }

    fn transcoder(&self) -> AffineDictionary {
        self.dictionary("transcoder", ["blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"])
    }

    fn after(&self, tokens: &TokenBatch, edits: &[FeatureEdit<'_>], wanted: Wanted) -> Matrix {
        let all = FeatureEdits::new(edits);
        let values = self.model().edited(tokens, &all.edits(), wanted).expect("runs");
        failure_of(edits).expect("no failure");
        values
    }
}

fn edit<'a>(dictionary: &'a AffineDictionary, changes: Vec<(usize, Change<'a>)>) -> FeatureEdit<'a> {
    FeatureEdit::new(Writer::new(dictionary).expect("has a decoder"), changes).expect("features exist")
}

/// ‖got − expected‖/‖expected‖ over all entries.
fn distance(got: &Matrix, expected: &Matrix) -> f64 {
    assert_eq!((got.rows(), got.cols()), (expected.rows(), expected.cols()));
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let difference = square(&mut got.data().iter().zip(expected.data()).map(|(a, b)| a - b));
    (difference / square(&mut expected.data().iter().copied())).sqrt()
}

fn transcoder_changes() -> Vec<(usize, Change<'static>)> {
    vec![(0, Change::Set(2.0)), (1, Change::Scale(-1.0))]
}

#[test]
fn changes_of_codes_agree_with_pytorch_hooks() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let (codes, transcoder) = (fixture.codes(), fixture.transcoder());
        let largest = fixture.tensor("codes.largest");
        let (set, add, scale) = ((0, Change::Set(2.0)), (1, Change::Add(0.75)), (2, Change::Scale(-0.5)));
        for (name, dictionary, changes) in [
            ("codes.set", &codes, vec![set]),
            ("codes.add", &codes, vec![add]),
            ("codes.scale", &codes, vec![scale]),
            ("codes.clamp", &codes, vec![(0, Change::Set(3.0 * largest.at(0, 0)))]),
            ("codes.zero", &codes, vec![(2, Change::Set(0.0))]),
            ("codes.several", &codes, vec![set, add, scale]),
            ("transcoder", &transcoder, transcoder_changes()),
        ] {
            let logits = fixture.after(&fixture.tokens, &[edit(dictionary, changes)], Wanted::Logits);
            let off = distance(&logits, &fixture.tensor(&format!("{name}.logits")));
            assert!(off < 1e-5, "{family} {name}: {off:.1e}");
        }
    }
}

#[test]
fn changes_that_change_no_code_leave_the_activations() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let (codes, middle) = (fixture.codes(), hook(MIDDLE));
        let plain = fixture.model().activations(&fixture.tokens, &[middle]).expect("runs").swap_remove(0);
        for changes in
            [vec![], vec![(0, Change::Add(0.0))], vec![(1, Change::Scale(1.0)), (2, Change::Add(0.0))]]
        {
            let after = fixture.after(&fixture.tokens, &[edit(&codes, changes)], Wanted::Activations(middle));
            assert_eq!(after, plain, "{family}");
        }
    }
}

#[test]
fn edits_of_one_hook_point_read_what_earlier_ones_left() {
    let fixture = Fixture::load("llama");
    let (codes, middle) = (fixture.codes(), hook(MIDDLE));
    let edits = [edit(&codes, vec![(0, Change::Set(2.0))]), edit(&codes, vec![(1, Change::Scale(3.0))])];
    let after = fixture.after(&fixture.tokens, &edits, Wanted::Activations(middle));
    let mut expected = fixture.model().activations(&fixture.tokens, &[middle]).expect("runs").swap_remove(0);
    let decoder = codes.tensors().decoder.clone();
    for (feature, change) in [(0, Change::Set(2.0)), (1, Change::Scale(3.0))] {
        let code = codes.encode_features(&expected, &[feature]).expect("codes");
        for row in 0..expected.rows() {
            let by = change.of(row, code.at(row, 0)) - code.at(row, 0);
            expected.row_mut(row).iter_mut().zip(decoder.row(feature)).for_each(|(x, d)| *x += by * d);
        }
    }
    assert!(distance(&after, &expected) < 1e-6);
    let reversed = [edit(&codes, vec![(1, Change::Scale(3.0))]), edit(&codes, vec![(0, Change::Set(2.0))])];
    let reversed = fixture.after(&fixture.tokens, &reversed, Wanted::Activations(middle));
    assert!(distance(&reversed, &after) > 1e-3, "the order matters");
}

#[test]
fn codes_of_another_run_replace_those_of_every_sequence() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let (codes, middle) = (fixture.codes(), hook(MIDDLE));
        let plain = fixture.model().activations(&fixture.tokens, &[middle]).expect("runs").swap_remove(0);
        let own = codes.encode_features(&plain, &[0, 2]).expect("codes");
        // Both sequences get the codes of the second one.
        let of_second = |nth: usize| (10..20).map(|row| own.at(row, nth)).collect::<Vec<f32>>();
        let (first, third) = (of_second(0), of_second(1));
        let changes = || vec![(0, Change::Replace(&first)), (2, Change::Replace(&third))];
        let writer = || Writer::new(&codes).expect("has a decoder");
        let edits = [FeatureEdit::new(writer(), changes()).expect("features exist")];
        let after = fixture.after(&fixture.tokens, &edits, Wanted::Activations(middle));
        let mut expected = plain.clone();
        for row in 0..10 {
            for (nth, feature) in [0, 2].into_iter().enumerate() {
                let by = own.at(10 + row, nth) - own.at(row, nth);
                let direction = codes.tensors().decoder.row(feature);
                expected.row_mut(row).iter_mut().zip(direction).for_each(|(x, d)| *x += by * d);
            }
        }
        assert!(distance(&after, &expected) < 1e-6, "{family}");
        assert!(distance(&after, &plain) > 1e-4, "{family}: the codes differ");
        // A sequence of another length is refused.
        let short = TokenBatch::new(fixture.tokens.row(0)[..7].to_vec(), 7).expect("whole");
        let edits = [FeatureEdit::new(writer(), changes()).expect("features exist")];
        let all = FeatureEdits::new(&edits);
        fixture.model().edited(&short, &all.edits(), Wanted::LastLogits).expect("runs");
        let error = failure_of(&edits).expect_err("another length").to_string();
        assert!(error.contains("10 codes") && error.contains("7 rows"), "{error}");
    }
}

#[test]
fn a_transcoder_writes_by_what_its_own_sequence_held() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let transcoder = fixture.transcoder();
        // Between reading and writing, this one encodes all of its features on all threads. Meanwhile, a thread may take
        // up another part of the batch.
        let mut stream = Stream::new(5, "a wide dictionary");
        let mut draw = |rows: usize| Matrix::from_fn(rows, 8, |_, _| stream.normal() as f32);
        let at = "blocks.1.hook_attn_out";
        let wide = with_activation(Activation::TopK(4), [at, at], draw(4096), vec![0.0; 4096], draw(4096));
        let edits = [edit(&transcoder, transcoder_changes()), edit(&wide, vec![(5, Change::Add(0.5))])];
        let (rows, cols) = (300, 12);
        let ids = (0..rows * cols).map(|i| (i * i % 19) as u32).collect();
        let tokens = TokenBatch::new(ids, cols).expect("whole");
        let all = fixture.after(&tokens, &edits, Wanted::LastLogits);
        for row in (0..rows).step_by(7) {
            let one = TokenBatch::new(tokens.row(row).to_vec(), cols).expect("whole");
            let alone = fixture.after(&one, &edits, Wanted::LastLogits);
            let off = distance(&all.select_rows(&[row]), &alone);
            assert!(off < 1e-5, "{family}, sequence {row}: {off:.1e}");
        }
    }
}

#[test]
fn text_written_with_changed_codes_is_that_of_full_passes() {
    for family in FAMILIES {
        let fixture = Fixture::load(family);
        let (codes, transcoder) = (fixture.codes(), fixture.transcoder());
        let edits = [
            edit(&codes, vec![(0, Change::Set(2.0)), (1, Change::Add(0.75))]),
            edit(&transcoder, transcoder_changes()),
        ];
        let all = FeatureEdits::new(&edits);
        let prompt = fixture.tokens.row(0)[..4].to_vec();
        let writing = Writing { tokens: 8, temperature: 0.0, seed: 0, stop: &[] };
        let written = fixture.model().continuation(&prompt, 0, &all.edits(), &writing).expect("writes");
        failure_of(&edits).expect("no failure");
        let mut ids = prompt.clone();
        for _ in 0..8 {
            let tokens = TokenBatch::new(ids.clone(), ids.len()).expect("whole");
            let logits = fixture.after(&tokens, &edits, Wanted::LastLogits);
            let best = (0..logits.cols()).max_by(|&a, &b| logits.at(0, a).total_cmp(&logits.at(0, b)));
            ids.push(best.expect("a token") as u32);
        }
        assert_eq!(written, &ids[4..], "{family}");
    }
}

#[test]
fn a_failure_inside_an_edit_is_reported_once_and_changes_nothing() {
    let fixture = Fixture::load("gpt2");
    let plain = fixture.model().logits(&fixture.tokens).expect("logits");
    let ones = |rows: usize, cols: usize| Matrix::from_fn(rows, cols, |_, _| 1.0);
    // One cannot encode rows of 8 values, the other decodes to rows of 5.
    let encoder_of_5 = dictionary([MIDDLE, MIDDLE], ones(3, 5), vec![0.0; 3], ones(3, 5));
    let decoder_of_5 = dictionary([MIDDLE, MIDDLE], ones(3, 8), vec![0.0; 3], ones(3, 5));
    for (dictionary, text) in [(&encoder_of_5, "takes rows of 5 values and got 8"), (&decoder_of_5, MIDDLE)] {
        let edits = [edit(dictionary, vec![(1, Change::Set(4.0))])];
        let all = FeatureEdits::new(&edits);
        let logits = fixture.model().edited(&fixture.tokens, &all.edits(), Wanted::Logits).expect("runs");
        assert!(distance(&logits, &plain) < 1e-6);
        let error = failure_of(&edits).expect_err("the edit failed");
        let (of_encoder, of_decoder) = (
            matches!(error, CausalError::Dictionary(DictionaryError::Shape { expected: 5, got: 8, .. })),
            matches!(error, CausalError::Width { expected: 8, got: 5, .. }),
        );
        assert!(of_encoder || of_decoder, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        failure_of(&edits).expect("it was reported");
    }
}

#[test]
fn a_feature_outside_the_dictionary_is_refused() {
    let fixture = Fixture::load("gpt2");
    let codes = fixture.codes();
    let writer = Writer::new(&codes).expect("has a decoder");
    let changes = vec![(2, Change::Add(1.0)), (3, Change::Add(1.0))];
    let error = FeatureEdit::new(writer, changes).err().expect("refused");
    assert!(matches!(error, CausalError::NoFeature { feature: 3, n_features: 3, .. }), "{error}");
    assert_eq!(error.to_string(), "find feature 3 of `planted`: it has features 0 to 2");
}

proptest! {
    #[test]
    fn a_change_is_set_add_or_scale(code in -50.0f32..50.0, value in -50.0f32..50.0) {
        prop_assert_eq!(Change::Set(value).of(3, code), value);
        prop_assert_eq!(Change::Add(value).of(3, code), code + value);
        prop_assert_eq!(Change::Scale(value).of(3, code), code * value);
    }
}
