use proptest::prelude::*;

use super::*;
use crate::activations::ActivationSet;
use crate::base::{Digest, Stream};
use crate::dictionary::{
    Activation, AffineDictionary, DictionaryFit, FitContext, IdentityParams, Label, NeuronParams, PcaParams,
    RandomParams, RowScale, Tensors,
};
use crate::nn::Device;

const WIDTH: usize = 6;

fn hook() -> HookPoint {
    "blocks.2.hook_resid_post".parse().expect("a hook point")
}

fn drawn(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut stream = Stream::new(seed, "rows");
    Matrix::from_fn(rows, cols, |_, col| (stream.normal() * (1.0 + col as f64) + 0.5) as f32)
}

/// A dictionary fitted on 300 drawn rows.
fn fitted(fit: &dyn DictionaryFit) -> Box<dyn Dictionary> {
    let set = ActivationSet::from_matrix(hook(), drawn(300, WIDTH, 1), Vec::new()).expect("finite");
    let mut context = FitContext {
        method: "fitted",
        seed: 7,
        training: 0,
        input: Default::default(),
        only: None,
        device: &Device::Cpu,
        progress: &mut |_| (),
    };
    fit.fit(&set, &mut context).expect("fits").dictionary
}

/// A dictionary with made-up tensors.
fn planted(is_reconstruction: bool, row_scale: RowScale) -> AffineDictionary {
    let label = Label {
        method: "planted".to_string(),
        kind: Kind::File,
        hook: hook(),
        fitted_on: Digest::of(&[]),
        is_reconstruction,
        output: None,
    };
    let tensors = Tensors {
        encoder: drawn(4, WIDTH, 2),
        encoder_bias: vec![0.5; 4],
        decoder: drawn(4, WIDTH, 3),
        decoder_bias: vec![-0.75; WIDTH],
        subtract_decoder_bias: true,
        activation: Activation::Relu,
        row_scale,
        skip: None,
    };
    AffineDictionary::new(label, tensors)
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn sum(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_fn(a.rows(), a.cols(), |row, col| a.at(row, col) + b.at(row, col))
}

#[test]
fn a_change_adds_the_decoder_row_without_biases() {
    let dictionary = planted(true, RowScale::Plain);
    let writer = Writer::new(&dictionary).expect("has a decoder");
    assert_eq!((writer.reads(), writer.writes()), (hook(), hook()));
    let rows = drawn(5, WIDTH, 4);
    let changes = [1.0, -2.0, 0.0, 0.25, 8.0];
    let delta = writer.delta(&rows, 3, &changes).expect("a delta");
    let decoder = dictionary.tensors().decoder.row(3);
    let expected = Matrix::from_fn(5, WIDTH, |row, col| changes[row] * decoder[col]);
    assert_eq!(delta, expected);
}

#[test]
fn a_change_is_in_the_units_of_the_activation_where_rows_are_scaled() {
    let rows = drawn(5, WIDTH, 4);
    let size = |row: &[f32]| (dot(row, row) / WIDTH as f64).sqrt();
    let deviation = |row: &[f32]| {
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / WIDTH as f64;
        let squares = row.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>();
        (squares / (WIDTH - 1) as f64).sqrt()
    };
    for scale in [RowScale::ConstantNorm, RowScale::LayerNorm] {
        let factor = |row: &[f32]| match scale {
            RowScale::LayerNorm => deviation(row),
            _ => size(row),
        };
        let dictionary = planted(true, scale);
        let writer = Writer::new(&dictionary).expect("has a decoder");
        let delta = writer.delta(&rows, 1, &[2.0; 5]).expect("a delta");
        let decoder = dictionary.tensors().decoder.row(1);
        for (row, delta) in delta.iter_rows().enumerate() {
            for (got, d) in delta.iter().zip(decoder) {
                let expected = 2.0 * factor(rows.row(row)) * f64::from(*d);
                assert!((f64::from(*got) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{scale:?}");
            }
        }
        // What is added is what the reconstruction gains.
        let codes = dictionary.encode(&rows).expect("codes");
        let of_codes = |feature: usize| (0..5).map(|row| codes.at(row, feature)).collect::<Vec<f32>>();
        let parts = (0..4).map(|f| writer.delta(&rows, f, &of_codes(f)).expect("a delta"));
        let whole = parts.fold(Matrix::zeros(5, WIDTH), |a, b| sum(&a, &b));
        let reconstruction = dictionary.reconstruct(&rows).expect("decodes");
        for (row, whole) in whole.iter_rows().enumerate() {
            // The rest of the reconstruction depends on the row alone: bias · factor + shift.
            let rest = reconstruction.row(row).iter().zip(whole).map(|(x, part)| f64::from(x - part));
            let rest: Vec<f64> = rest.collect();
            let spread = rest.iter().fold(0.0f64, |most, x| most.max((x - rest[0]).abs()));
            assert!(spread < 2e-3 * factor(rows.row(row)).max(1.0), "{scale:?}: {rest:?}");
        }
    }
}

#[test]
fn random_directions_move_their_own_product_by_the_change_and_nothing_across() {
    let random = fitted(&RandomParams { features: Some(9) }.check().expect("valid"));
    let writer = Writer::new(&*random).expect("can be written");
    let rows = drawn(5, WIDTH, 4);
    let changes = [1.0, -2.0, 0.0, 0.25, 8.0];
    for feature in 0..9 {
        let w = random.as_affine().tensors().encoder.row(feature);
        let delta = writer.delta(&rows, feature, &changes).expect("a delta");
        for (row, delta) in delta.iter_rows().enumerate() {
            let moved = dot(w, delta);
            assert!((moved - f64::from(changes[row])).abs() < 1e-5, "{feature}: {moved}");
            // The smallest such change is along w.
            let [norms, along] = [dot(w, w).sqrt() * dot(delta, delta).sqrt(), moved.abs()];
            assert!((norms - along).abs() < 1e-5, "{feature}: {norms} and {along}");
        }
    }
}

#[test]
fn neurons_components_and_coordinates_move_their_own_code_by_the_change_and_no_other() {
    let rows = drawn(40, WIDTH, 4);
    let changes: Vec<f32> = (0..40).map(|row| 0.25 * (row % 5) as f32).collect();
    let dictionaries = [
        ("neuron", fitted(&NeuronParams {}.check().expect("valid"))),
        ("identity", fitted(&IdentityParams {}.check().expect("valid"))),
        ("pca", fitted(&PcaParams::default().check().expect("valid"))),
    ];
    for (name, dictionary) in dictionaries {
        let writer = Writer::new(&*dictionary).expect("can be written");
        let before = dictionary.encode(&rows).expect("codes");
        for feature in 0..dictionary.info().n_features {
            let delta = writer.delta(&rows, feature, &changes).expect("a delta");
            let after = dictionary.encode(&sum(&rows, &delta)).expect("codes");
            for (row, &change) in changes.iter().enumerate() {
                // A neuron that does not fire is moved, but stays below 0 for a while.
                if name == "neuron" && before.at(row, feature) == 0.0 {
                    assert_eq!(delta.at(row, feature), change);
                    continue;
                }
                for other in 0..before.cols() {
                    let moved = after.at(row, other) - before.at(row, other);
                    let expected = if other == feature { change } else { 0.0 };
                    assert!((moved - expected).abs() < 1e-4, "{name} {feature} {other}: {moved}");
                }
            }
        }
    }
}

#[test]
fn a_dictionary_that_only_encodes_is_refused() {
    let dictionary = planted(false, RowScale::Plain);
    let error = Writer::new(&dictionary).err().expect("refused");
    assert!(matches!(&error, CausalError::OnlyEncodes { method } if method == "planted"), "{error}");
    assert!(error.to_string().contains("decoder"), "{error}");
}

#[test]
fn a_feature_outside_the_dictionary_is_refused() {
    let dictionary = planted(true, RowScale::Plain);
    let writer = Writer::new(&dictionary).expect("has a decoder");
    writer.check(3).expect("the last feature");
    let mut rows = drawn(2, WIDTH, 4);
    let before = rows.clone();
    for error in [
        writer.check(4).expect_err("refused"),
        writer.delta(&before, 4, &[1.0, 1.0]).expect_err("refused"),
        writer.add(&before, 4, &[1.0, 1.0], (&mut rows, 0)).expect_err("refused"),
    ] {
        assert!(matches!(error, CausalError::NoFeature { feature: 4, n_features: 4, .. }), "{error}");
    }
    assert_eq!(rows, before);
}

#[test]
fn a_transcoder_writes_at_its_output_with_the_width_of_its_output() {
    let output: HookPoint = "blocks.2.hook_mlp_out".parse().expect("a hook point");
    let of = planted(true, RowScale::Plain);
    let label = Label {
        method: "transcoder".to_string(),
        kind: Kind::File,
        hook: hook(),
        fitted_on: Digest::of(&[]),
        is_reconstruction: true,
        output: Some(output),
    };
    let (decoder, skip) = (drawn(4, 3, 5), Some(drawn(3, WIDTH, 6)));
    let tensors =
        Tensors { decoder: decoder.clone(), decoder_bias: vec![1.0; 3], skip, ..of.tensors().clone() };
    let transcoder = AffineDictionary::new(label, tensors);
    let writer = Writer::new(&transcoder).expect("has a decoder");
    assert_eq!((writer.reads(), writer.writes()), (hook(), output));
    let delta = writer.delta(&drawn(2, WIDTH, 4), 2, &[1.0, -3.0]).expect("a delta");
    let expected = Matrix::from_fn(2, 3, |row, col| [1.0, -3.0][row] * decoder.at(2, col));
    assert_eq!(delta, expected, "the skip connection and the bias are no part of a feature");
}

proptest! {
    #[test]
    fn rows_without_a_change_keep_their_bits(
        changes in prop::collection::vec(prop_oneof![Just(0.0f32), -9.0f32..9.0], 1..12),
        feature in 0usize..4,
    ) {
        let dictionary = planted(true, RowScale::LayerNorm);
        let writer = Writer::new(&dictionary).expect("has a decoder");
        let before = drawn(changes.len(), WIDTH, 8);
        let mut rows = before.clone();
        writer.add(&before, feature, &changes, (&mut rows, 0)).expect("adds");
        let delta = writer.delta(&before, feature, &changes).expect("a delta");
        for (row, change) in changes.iter().enumerate() {
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            if *change == 0.0 {
                prop_assert_eq!(bits(rows.row(row)), bits(before.row(row)));
            } else {
                let expected: Vec<f32> = before.row(row).iter().zip(delta.row(row)).map(|(x, d)| x + d).collect();
                prop_assert_eq!(bits(rows.row(row)), bits(&expected));
            }
        }
    }
}
