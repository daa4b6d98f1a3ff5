//! Effects in a model of two blocks in which single neurons are cut off.

use std::path::Path;

use super::steps::Steps;
use super::*;
use crate::base::{HookPoint, Matrix, Stream, TokenBatch};
use crate::causal::{Writer, random_direction};
use crate::dictionary::{Activation, AffineDictionary, RowScale, Tensors};
use crate::nn::{Config, Device, Weights};
use crate::subject::{SubjectModel, TransformerSubject};

const ALL: [Effect; 4] = [Effect::Ablation, Effect::Steering, Effect::Agreement, Effect::Damage];
const NEURONS: &str = "blocks.1.mlp.hook_post";
const STREAM: &str = "blocks.1.hook_resid_post";
/// The neuron of block 1 that writes nothing.
const CUT_OFF: usize = 0;
const COLS: usize = 8;

/// The fixture, with the weights of what [`CUT_OFF`] writes set to 0.
fn subject() -> TransformerSubject {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2");
    let read = |name: &str| crate::base::read_regular(&folder.join(name)).expect("a file");
    let mut bytes = read("model.safetensors");
    let n = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + n]).expect("a header");
    // [neurons, width], so a neuron's row is contiguous.
    let written = &header["transformer.h.1.mlp.c_proj.weight"];
    let (start, width) = (written["data_offsets"][0].as_u64(), written["shape"][1].as_u64());
    let (start, width) = (start.expect("an offset") as usize, width.expect("a width") as usize);
    let first = 8 + n + start + CUT_OFF * width * 4;
    bytes[first..first + width * 4].fill(0);
    let config = Config::parse(&read("config.json"), "config.json").expect("a configuration");
    let weights = Weights::from_bytes(&bytes, "toy", &Device::Cpu).expect("weights");
    TransformerSubject::new("toy", config, weights).expect("a model")
}

fn hook(name: &str) -> HookPoint {
    name.parse().expect("a hook point")
}

/// The coordinates of a hook point, each through ReLU.
fn coordinates(subject: &TransformerSubject, at: &str) -> AffineDictionary {
    let width = subject.width(hook(at)).expect("a width");
    let unit = Matrix::from_fn(width, width, |row, col| if row == col { 1.0 } else { 0.0 });
    let tensors = Tensors {
        encoder: unit.clone(),
        encoder_bias: vec![0.0; width],
        decoder: unit,
        decoder_bias: vec![0.0; width],
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    AffineDictionary::of_file(tensors, hook(at))
}

/// `n` texts, with one coordinate of their activations replaced by `value` if there is one.
fn texts(subject: &TransformerSubject, at: &str, n: usize, set: Option<(usize, f32)>) -> Texts {
    let ids = (0..n * COLS).map(|i| (i * i * 7 + 3 * i + n) as u32 % 20).collect();
    let tokens = TokenBatch::new(ids, COLS).expect("whole");
    let mut rows = subject.activations(&tokens, &[hook(at)]).expect("activations").swap_remove(0);
    if let Some((feature, value)) = set {
        (0..rows.rows()).for_each(|row| rows.row_mut(row)[feature] = value);
    }
    Texts { tokens, inputs: rows.clone(), rows }
}

fn settings() -> EffectSettings {
    EffectSettings { prompt_tokens: 5, matched_kl: 0.02, ..EffectSettings::default() }
}

/// A coordinate whose code is `code` at every position of its texts.
fn firing(subject: &TransformerSubject, at: &str, feature: usize, code: f32, max: f64) -> Firing {
    let texts = texts(subject, at, 3, Some((feature, if code > 0.0 { code } else { -1.0 })));
    Firing { feature, max, codes: vec![code; texts.rows.rows()], texts: Some(texts) }
}

fn meter<'a>(
    subject: &'a TransformerSubject,
    dictionary: &'a AffineDictionary,
    at: &str,
    first_scored: usize,
) -> EffectMeter<'a> {
    let writer = Writer::new(dictionary).expect("a decoder");
    let neutral = texts(subject, at, 6, None);
    EffectMeter::new(subject, writer, (&settings(), &ALL), neutral, (first_scored, 20)).expect("a meter")
}

fn direction(subject: &TransformerSubject, at: &str, feature: usize) -> Vec<f32> {
    let mut stream = Stream::named(5, &["direction", at, &feature.to_string()]);
    random_direction(subject.width(hook(at)).expect("a width"), &mut stream)
}

#[test]
fn a_feature_that_fires_and_does_nothing_scores_exactly_0() {
    let subject = subject();
    let dictionary = coordinates(&subject, NEURONS);
    let meter = meter(&subject, &dictionary, NEURONS, 1);
    let idle = firing(&subject, NEURONS, CUT_OFF, 1.5, 1.5);
    let found = meter.measure(&idle, None).expect("measured").values;
    assert_eq!(found[&Effect::Ablation], Ok(0.0));
    assert_eq!(found[&Effect::Steering], Ok(0.0));
    assert_eq!(found[&Effect::Agreement], Err(NoEffect::NotInTheStream));
    assert_eq!(found[&Effect::Damage], Err(NoEffect::KlNotReached));
    // A random direction of the same norm reaches the output, and so does another neuron.
    let along = direction(&subject, NEURONS, CUT_OFF);
    let random = meter.measure(&idle, Some(&along)).expect("measured").values;
    let busy = firing(&subject, NEURONS, 3, 1.5, 1.5);
    let busy = meter.measure(&busy, None).expect("measured").values;
    for found in [random, busy] {
        assert!(found[&Effect::Ablation].is_ok_and(|kl| kl > 1e-6), "{found:?}");
        assert!(found[&Effect::Steering].is_ok_and(|kl| kl > 1e-6), "{found:?}");
    }
}

#[test]
fn a_feature_that_acts_and_never_fires_is_seen_by_steering_only() {
    let subject = subject();
    let dictionary = coordinates(&subject, NEURONS);
    let meter = meter(&subject, &dictionary, NEURONS, 1);
    // Its largest code is known from other text.
    let silent = firing(&subject, NEURONS, 3, 0.0, 1.5);
    let found = meter.measure(&silent, None).expect("measured");
    assert_eq!(found.values[&Effect::Ablation], Err(NoEffect::NeverFires));
    assert!(found.values[&Effect::Steering].is_ok_and(|kl| kl > 1e-6));
    let steered = found.steered.expect("evidence");
    assert_eq!((steered.code, steered.raised.len(), steered.lowered.len()), (3.0, 10, 10));
    assert!(
        steered.raised.is_sorted_by(|a, b| a.1 >= b.1) && steered.lowered.is_sorted_by(|a, b| a.1 <= b.1)
    );
    assert!(steered.raised[0].1 > 0.0 && steered.lowered[0].1 < 0.0);
    // Without a maximum there is nothing to steer to.
    let unknown = Firing { max: 0.0, texts: None, ..silent };
    let found = meter.measure(&unknown, None).expect("measured").values;
    for effect in [Effect::Ablation, Effect::Steering, Effect::Damage] {
        assert_eq!(found[&effect], Err(NoEffect::NeverFires));
    }
}

#[test]
fn small_steps_change_the_logits_as_the_directions_say() {
    let subject = subject();
    let dictionary = coordinates(&subject, STREAM);
    let meter = meter(&subject, &dictionary, STREAM, 1);
    let agreement = |feature: usize, along: Option<&[f32]>| {
        let silent = firing(&subject, STREAM, feature, 0.0, 0.0);
        meter.measure(&silent, along).expect("measured").values[&Effect::Agreement].expect("a correlation")
    };
    let own: Vec<f64> = (0..8).map(|feature| agreement(feature, None)).collect();
    let random: Vec<f64> =
        (0..8).map(|feature| agreement(feature, Some(&direction(&subject, STREAM, feature)))).collect();
    assert!(own.iter().all(|rho| *rho > 0.7), "{own:?}");
    let mean = |values: &[f64]| values.iter().sum::<f64>() / 8.0;
    assert!(mean(&own) > mean(&random) + 0.3, "{own:?} {random:?}");
}

#[test]
fn damage_is_compared_where_the_divergence_is_the_wanted_one() {
    let subject = subject();
    let dictionary = coordinates(&subject, STREAM);
    let meter = meter(&subject, &dictionary, STREAM, 1);
    let feature = firing(&subject, STREAM, 2, 1.0, 1.0);
    let along = direction(&subject, STREAM, 2);
    for along in [None, Some(along.as_slice())] {
        let found = meter.measure(&feature, along).expect("measured");
        let matched = found.matched.expect("a strength");
        assert!((matched.kl / 0.02 - 1.0).abs() <= 0.1, "{matched:?}");
        assert!(matched.strength > 0.0 && matched.strength < 100.0, "{matched:?}");
        assert_eq!(found.values[&Effect::Damage], Ok(matched.loss_increase));
    }
}

#[test]
fn only_scored_positions_are_changed() {
    let subject = subject();
    let dictionary = coordinates(&subject, STREAM);
    // No position of a prompt of five tokens is scored.
    let meter = meter(&subject, &dictionary, STREAM, 5);
    let found = meter.measure(&firing(&subject, STREAM, 2, 1.0, 1.0), None).expect("measured").values;
    assert_eq!(found[&Effect::Steering], Ok(0.0));
    assert_eq!(found[&Effect::Agreement], Err(NoEffect::NothingChanges));
    assert!(found[&Effect::Ablation].is_ok_and(|kl| kl > 0.0));
}

#[test]
fn a_random_direction_has_the_norms_of_the_feature() {
    let subject = subject();
    let dictionary = coordinates(&subject, STREAM);
    let writer = Writer::new(&dictionary).expect("a decoder");
    let inputs = texts(&subject, STREAM, 2, None).inputs;
    let along = direction(&subject, STREAM, 1);
    let norm = along.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>();
    assert!((norm - 1.0).abs() < 1e-6);
    let own = Steps::of(&writer, 1, &inputs, None).expect("steps");
    let random = Steps::of(&writer, 1, &inputs, Some(&along)).expect("steps");
    for row in 0..inputs.rows() {
        assert!((own.norm(row) - 1.0).abs() < 1e-6 && (random.norm(row) - 1.0).abs() < 1e-6);
    }
    let moved = random.added(&inputs, |row| if row == 3 { 2.0 } else { 0.0 });
    for row in 0..inputs.rows() {
        let distance = |x: &Matrix| {
            x.row(row).iter().zip(inputs.row(row)).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
        };
        let expected = if row == 3 { 2.0 } else { 0.0 };
        assert!((distance(&moved) - expected).abs() < 1e-5, "row {row}");
    }
}
