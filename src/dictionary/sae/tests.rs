use crate::activations::{ActivationSet, ActivationWriter, Precision};
use crate::base::{Matrix, Stream, peak_memory_bytes};
use crate::dictionary::{
    Dictionary, DictionaryFit, FitContext, Fitted, GatedParams, JumpreluParams, Kind, SaeParams, TopkParams,
    mmcs_of_directions, quality,
};

use crate::linalg::has_screens;
use crate::nn::Device;

use super::adam::Optimiser;
use super::aux_loss::{AuxLoss, forward_aux};
use super::entries::ByFeature;
use super::forward::{Workspace, forward_dense, forward_sparse};
use super::resample::resample;
use super::selection::Selection;
use super::train::{Member, train_together};
use super::update::{Gradients, update};
use super::weights::{Extra, Weights};

const D: usize = 4;
const F: usize = 8;
const ROWS: usize = 6;

/// All parameters in f64.
#[derive(Clone)]
struct Params {
    encoder: Option<Vec<f64>>,
    encoder_bias: Vec<f64>,
    decoder: Vec<f64>,
    decoder_bias: Option<Vec<f64>>,
}

impl Params {
    fn of(weights: &Weights) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        Self {
            encoder: weights.encoder.as_ref().map(|rows| wide(&rows.values)),
            encoder_bias: wide(&weights.encoder_bias.values),
            decoder: wide(&weights.decoder.values),
            decoder_bias: weights.decoder_bias.as_ref().map(|bias| wide(&bias.values)),
        }
    }

    fn groups(&mut self) -> Vec<&mut Vec<f64>> {
        let Self { encoder, encoder_bias, decoder, decoder_bias } = self;
        [encoder.as_mut(), Some(encoder_bias), Some(decoder), decoder_bias.as_mut()]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Batch and settings of a loss.
#[derive(Clone)]
struct Setting {
    batch: Vec<f64>,
    top: Option<usize>,
    l1: f64,
    aux: Option<AuxSetting>,
}

/// The auxiliary loss. The residual and its spread are constants.
#[derive(Clone)]
struct AuxSetting {
    dead: Vec<usize>,
    k: usize,
    weight: f64,
    left_over: Vec<f64>,
    spread: f64,
}

fn keep_top(codes: &mut [f64], k: usize) {
    let mut order: Vec<usize> = (0..codes.len()).collect();
    order.sort_by(|&a, &b| codes[b].total_cmp(&codes[a]));
    order[k.min(codes.len())..].iter().for_each(|&i| codes[i] = 0.0);
}

/// Errors `x̂ − x` of all rows and the loss, computed from the definitions.
fn reference(params: &Params, setting: &Setting) -> (Vec<f64>, f64) {
    let unit: Vec<f64> = params
        .decoder
        .chunks(D)
        .flat_map(|row| {
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.iter().map(move |value| value / norm).collect::<Vec<_>>()
        })
        .collect();
    let encoder = params.encoder.as_ref().unwrap_or(&unit);
    let zeros = vec![0.0; D];
    let bias = params.decoder_bias.as_ref().unwrap_or(&zeros);
    let (mut errors, mut loss) = (Vec::new(), 0.0);
    for (row, x) in setting.batch.chunks(D).enumerate() {
        let pre: Vec<f64> = (0..F)
            .map(|f| {
                let along: f64 = (0..D).map(|c| encoder[f * D + c] * (x[c] - bias[c])).sum();
                (along + params.encoder_bias[f]).max(0.0)
            })
            .collect();
        let mut codes = pre.clone();
        if let Some(k) = setting.top {
            keep_top(&mut codes, k);
        }
        for c in 0..D {
            let estimate = bias[c] + (0..F).map(|f| codes[f] * unit[f * D + c]).sum::<f64>();
            errors.push(estimate - x[c]);
            loss += (estimate - x[c]).powi(2) / ROWS as f64;
        }
        loss += setting.l1 * codes.iter().sum::<f64>() / ROWS as f64;
        if let Some(AuxSetting { dead, k, weight, left_over, spread }) = &setting.aux {
            let mut codes: Vec<f64> = dead.iter().map(|&f| pre[f]).collect();
            keep_top(&mut codes, *k);
            for c in 0..D {
                let estimate: f64 = dead.iter().zip(&codes).map(|(f, code)| code * unit[f * D + c]).sum();
                loss += weight * D as f64 * (estimate - left_over[row * D + c]).powi(2) / spread;
            }
        }
    }
    (errors, loss)
}

/// Compares the gradients that a plain step reveals with finite differences. Returns the largest gradient per group.
fn check_gradients(weights: &Weights, moved: &Weights, setting: &Setting) -> Vec<f64> {
    let before = Params::of(weights);
    let mut after = Params::of(moved);
    let mut sizes = Vec::new();
    let n_groups = before.clone().groups().len();
    for group in 0..n_groups {
        let mut size = 0.0f64;
        for index in 0..before.clone().groups()[group].len() {
            let at = |shift: f64| {
                let mut shifted = before.clone();
                shifted.groups()[group][index] += shift;
                reference(&shifted, setting).1
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let got = before.clone().groups()[group][index] - after.groups()[group][index];
            assert!(
                (got - expected).abs() < 2e-5 * (1.0 + expected.abs()),
                "group {group} entry {index}: {got} and by differences {expected}"
            );
            size = size.max(expected.abs());
        }
        sizes.push(size);
    }
    sizes
}

fn small(tied: bool, decoder_bias: bool) -> (Weights, Vec<f32>) {
    let mut stream = Stream::new(11, "gradients");
    let rows: Vec<f32> = (0..F * D).map(|_| stream.normal() as f32).collect();
    let mut weights = Weights::new(D, rows, tied, decoder_bias, false);
    if decoder_bias {
        // A constrained decoder: rows of norm 1 before the step.
        weights.decoder.values.clone_from(&weights.unit);
        weights.norms.fill(1.0);
    }
    if let Some(encoder) = &mut weights.encoder {
        encoder.values.iter_mut().for_each(|value| *value += 0.3 * stream.normal() as f32);
    }
    weights.encoder_bias.values.iter_mut().for_each(|value| *value = 0.2 * stream.normal() as f32);
    if let Some(bias) = &mut weights.decoder_bias {
        bias.values.iter_mut().for_each(|value| *value = 0.3 * stream.normal() as f32);
    }
    (weights, (0..ROWS * D).map(|_| stream.normal() as f32).collect())
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn l1_gradients_match_finite_differences_sparse_and_dense() {
    for tied in [true, false] {
        for dense in [true, false] {
            let (weights, batch) = small(tied, false);
            let mut work = Workspace::new(ROWS, D, 1);
            let mut moved = weights.clone();
            let forward = weights.forward(Selection::Relu, 0.7);
            let main = &mut ByFeature::default();
            let sums = if dense {
                forward_dense(forward, &batch, &mut work)
            } else {
                forward_sparse(forward, &batch, &mut work)
            };
            main.regroup(F, &work.entries);
            let gradients = match dense {
                true => Gradients::Dense,
                false => Gradients::Sparse { main, aux: &ByFeature::default(), aux_errors: &[] },
            };
            update(&mut moved, &work, &gradients, Optimiser::Plain);
            let setting = Setting { batch: wide(&batch), top: None, l1: 0.7, aux: None };
            let sizes = check_gradients(&weights, &moved, &setting);
            assert!(sizes.iter().all(|size| *size > 0.01), "{sizes:?}");
            let loss = sums.objective / ROWS as f64;
            assert!((loss - reference(&Params::of(&weights), &setting).1).abs() < 1e-5);
        }
    }
}

#[test]
fn topk_gradients_match_finite_differences_with_and_without_dead_features() {
    for dead in [vec![], vec![1usize, 4, 6]] {
        let (mut weights, batch) = small(false, true);
        if !dead.is_empty() {
            // On every row, two features are stronger than any dead one.
            weights.encoder_bias.values.iter_mut().for_each(|bias| *bias += 1.5);
        }
        for &feature in &dead {
            // Never among the two largest, but positive on some rows.
            weights.encoder_bias.values[feature] = 0.05;
            let row = &mut weights.encoder.as_mut().expect("untied").values[feature * D..][..D];
            row.iter_mut().for_each(|value| *value *= 0.05);
        }
        let mut work = Workspace::new(ROWS, D, 1);
        let forward = weights.forward(Selection::TopK(2), 0.0);
        forward_sparse(forward, &batch, &mut work);
        let (mut main, mut aux) = (ByFeature::default(), ByFeature::default());
        main.regroup(F, &work.entries);
        let mut setting = Setting { batch: wide(&batch), top: Some(2), l1: 0.0, aux: None };
        let (mut entries, mut aux_errors) = (Vec::new(), Vec::new());
        if !dead.is_empty() {
            assert!(dead.iter().all(|&feature| main.of(feature).is_empty()), "they must be silent");
            let list: Vec<u32> = dead.iter().map(|&feature| feature as u32).collect();
            let loss = AuxLoss { dead: &list, k: 2, weight: 1.0 / 32.0 };
            forward_aux(forward, loss, &work, &mut entries, &mut aux_errors);
            aux.regroup(F, &entries);
            let errors = reference(&Params::of(&weights), &setting).0;
            let mean: Vec<f64> =
                (0..D).map(|c| errors.chunks(D).map(|row| row[c]).sum::<f64>() / ROWS as f64).collect();
            let spread =
                errors.chunks(D).map(|row| (0..D).map(|c| (row[c] - mean[c]).powi(2)).sum::<f64>()).sum();
            let left_over = errors.iter().map(|error| -error).collect();
            setting.aux =
                Some(AuxSetting { dead: dead.clone(), k: 2, weight: 1.0 / 32.0, left_over, spread });
        }
        let gradients = Gradients::Sparse { main: &main, aux: &aux, aux_errors: &aux_errors };
        let mut moved = weights.clone();
        update(&mut moved, &work, &gradients, Optimiser::Plain);
        check_gradients(&weights, &moved, &setting);
        for feature in dead {
            let row = |weights: &Weights| {
                weights.encoder.as_ref().expect("untied").values[feature * D..][..D].to_vec()
            };
            assert_ne!(row(&weights), row(&moved), "dead feature {feature} gets an encoder gradient");
        }
    }
}

/// Loss per row of nested and gated kinds in f64, computed from the definitions. `chosen` fixes which codes are kept,
/// because a selection has no derivative.
fn other_reference(params: &[Vec<f64>], batch: &[f64], case: &Case) -> f64 {
    let [encoder, bias, decoder, decoder_bias, extra @ ..] = params else { panic!("four groups at least") };
    let unit: Vec<f64> = decoder
        .chunks(D)
        .flat_map(|row| {
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.iter().map(move |value| value / norm).collect::<Vec<_>>()
        })
        .collect();
    let mut loss = 0.0;
    for (row, x) in batch.chunks(D).enumerate() {
        let along: Vec<f64> = (0..F)
            .map(|f| (0..D).map(|c| encoder[f * D + c] * (x[c] - decoder_bias[c])).sum::<f64>())
            .collect();
        let pre: Vec<f64> = along.iter().zip(bias).map(|(along, bias)| along + bias).collect();
        let squared = |codes: &[f64], to: usize, unit: &[f64], bias: &[f64]| -> f64 {
            let at = |c: usize| bias[c] + (0..to).map(|f| codes[f] * unit[f * D + c]).sum::<f64>() - x[c];
            (0..D).map(|c| at(c).powi(2)).sum()
        };
        match case {
            Case::Nested { chosen, ends } => {
                let kept = |f: usize| if chosen.contains(&(row, f)) { pre[f] } else { 0.0 };
                let codes: Vec<f64> = (0..F).map(kept).collect();
                for &end in ends {
                    loss += squared(&codes, end, &unit, decoder_bias) / ends.len() as f64;
                }
            }
            Case::Gated { l1, fixed_unit, fixed_bias } => {
                let open: Vec<f64> = pre.iter().map(|pre| pre.max(0.0)).collect();
                let codes: Vec<f64> = (0..F)
                    .map(|f| {
                        let size = (extra[0][f].exp() * along[f] + extra[1][f]).max(0.0);
                        if pre[f] > 0.0 { size } else { 0.0 }
                    })
                    .collect();
                loss += squared(&codes, F, &unit, decoder_bias) + l1 * open.iter().sum::<f64>();
                // The decoder and its bias are constants in the gates' loss.
                loss += squared(&open, F, fixed_unit, fixed_bias);
            }
        }
    }
    loss / ROWS as f64
}

enum Case {
    Nested { chosen: Vec<(usize, usize)>, ends: Vec<usize> },
    Gated { l1: f64, fixed_unit: Vec<f64>, fixed_bias: Vec<f64> },
}

fn groups(weights: &Weights) -> Vec<Vec<f64>> {
    let Params { encoder, encoder_bias, decoder, decoder_bias } = Params::of(weights);
    let mut groups = vec![encoder.expect("untied"), encoder_bias, decoder, decoder_bias.expect("has one")];
    if let Extra::Gates { log_gain, magnitude_bias, .. } = &weights.extra {
        groups.extend([wide(&log_gain.values), wide(&magnitude_bias.values)]);
    }
    groups
}

fn check_other_gradients(weights: &Weights, moved: &Weights, batch: &[f32], case: &Case) {
    let (before, after) = (groups(weights), groups(moved));
    for group in 0..before.len() {
        let mut size = 0.0f64;
        for index in 0..before[group].len() {
            let at = |shift: f64| {
                let mut shifted = before.clone();
                shifted[group][index] += shift;
                other_reference(&shifted, &wide(batch), case)
            };
            let expected = (at(1e-5) - at(-1e-5)) / 2e-5;
            let got = before[group][index] - after[group][index];
            assert!(
                (got - expected).abs() < 5e-5 * (1.0 + expected.abs()),
                "group {group} entry {index}: {got} and by differences {expected}"
            );
            size = size.max(expected.abs());
        }
        assert!(size > 0.01, "group {group} has a gradient");
    }
}

/// One plain step of `weights` on `batch`. Returns the new weights, the active features and the loss per row.
fn moved(weights: &Weights, selection: Selection<'_>, l1: f64, batch: &[f32]) -> (Weights, Workspace, f64) {
    let mut work = Workspace::new(ROWS, D, weights.prefixes.len());
    let sums = forward_sparse(weights.forward(selection, l1), batch, &mut work);
    let mut main = ByFeature::default();
    main.regroup(F, &work.entries);
    let mut moved = weights.clone();
    let gradients = Gradients::Sparse { main: &main, aux: &ByFeature::default(), aux_errors: &[] };
    update(&mut moved, &work, &gradients, Optimiser::Plain);
    (moved, work, sums.objective / ROWS as f64)
}

#[test]
fn nested_gradients_match_finite_differences_and_the_batch_keeps_its_largest() {
    for ends in [vec![F], vec![2, 5, F]] {
        let (mut weights, batch) = small(false, true);
        weights.prefixes.clone_from(&ends);
        let (moved, work, loss) = moved(&weights, Selection::BatchTopK(2), 0.0, &batch);
        let chosen: Vec<(usize, usize)> =
            work.entries.iter().flatten().map(|entry| (entry.row as usize, entry.feature as usize)).collect();
        assert_eq!(chosen.len(), 2 * ROWS);
        // All kept codes are larger than all others.
        let (mut least, mut most) = (f32::INFINITY, 0.0f32);
        for (at, &code) in work.codes.iter().enumerate() {
            if chosen.contains(&(at / F, at % F)) { least = least.min(code) } else { most = most.max(code) }
        }
        assert!(least > most, "{least} {most}");
        assert_eq!(work.smallest_kept, least);
        let case = Case::Nested { chosen: chosen.clone(), ends };
        assert!((loss - other_reference(&groups(&weights), &wide(&batch), &case)).abs() < 1e-5);
        check_other_gradients(&weights, &moved, &batch, &case);
    }
}

#[test]
fn gated_gradients_match_finite_differences() {
    let (mut weights, batch) = small(false, true);
    weights.extra = Extra::gates(F);
    let mut stream = Stream::new(12, "gates");
    if let Extra::Gates { log_gain, gain, magnitude_bias } = &mut weights.extra {
        for feature in 0..F {
            log_gain.values[feature] = 0.3 * stream.normal() as f32;
            gain[feature] = log_gain.values[feature].exp();
            magnitude_bias.values[feature] = 0.3 * stream.normal() as f32;
        }
    }
    let Extra::Gates { gain, magnitude_bias, .. } = &weights.extra else { panic!("gates") };
    let selection = Selection::Gated { gain, magnitude_bias: &magnitude_bias.values };
    let (moved, _, loss) = moved(&weights, selection, 0.4, &batch);
    let fixed_bias = wide(&weights.decoder_bias.as_ref().expect("has one").values);
    let case = Case::Gated { l1: 0.4, fixed_unit: wide(&weights.unit), fixed_bias };
    assert!((loss - other_reference(&groups(&weights), &wide(&batch), &case)).abs() < 1e-5);
    check_other_gradients(&weights, &moved, &batch, &case);
}

/// The loss has no derivative by thresholds. The published estimate is summed here in f64.
#[test]
fn threshold_gradients_are_the_rectangle_of_codes_near_them() {
    let (mut weights, batch) = small(false, true);
    let (start, bandwidth) = (0.6f32, 0.8f32);
    weights.extra = Extra::thresholds(F, start, bandwidth);
    if let Extra::Thresholds { l0_grad, .. } = &mut weights.extra {
        *l0_grad = 0.7;
    }
    let Extra::Thresholds { thresholds, .. } = &weights.extra else { panic!("thresholds") };
    let (moved, work, _) = moved(&weights, Selection::JumpRelu { thresholds, bandwidth }, 0.0, &batch);
    let Extra::Thresholds { log, .. } = &moved.extra else { panic!("thresholds") };
    let (theta, width) = (f64::from(start), f64::from(bandwidth));
    let rows = weights.encoder.as_ref().expect("untied").values.chunks(D);
    let with_bias = rows.zip(&weights.encoder_bias.values);
    let codes: Vec<f32> = work
        .inputs
        .chunks(D)
        .flat_map(|x| {
            let code =
                |(row, bias): (&[f32], &f32)| x.iter().zip(row).map(|(a, b)| a * b).sum::<f32>() + bias;
            with_bias.clone().map(code).collect::<Vec<f32>>()
        })
        .collect();
    let mut touched = 0;
    for feature in 0..F {
        let mut expected = 0.0;
        for row in 0..ROWS {
            let pre = f64::from(codes[row * F + feature]);
            if (pre - theta).abs() < 0.5 * width {
                let error = &work.errors[row * D..][..D];
                let direction = &weights.unit[feature * D..][..D];
                let along: f64 = error.iter().zip(direction).map(|(e, d)| f64::from(e * d)).sum();
                expected += -theta / width * 2.0 / ROWS as f64 * along - 0.7 / (width * ROWS as f64);
                touched += 1;
            }
        }
        let got = f64::from(start.ln() - log.values[feature]);
        assert!((got - theta * expected).abs() < 1e-5, "feature {feature}: {got} and {}", theta * expected);
    }
    assert!(touched > 4, "{touched}");
    // Encoder and decoder are trained by active codes only.
    let active: Vec<(usize, usize)> =
        (0..ROWS * F).filter(|&at| codes[at] > start).map(|at| (at / F, at % F)).collect();
    let mut plain = weights.clone();
    plain.extra = Extra::Nothing;
    let mut other = moved.clone();
    other.extra = Extra::Nothing;
    check_other_gradients(&plain, &other, &batch, &Case::Nested { chosen: active, ends: vec![F] });
}

/// Gradients of PyTorch's autograd (`tests/fixtures/autoencoders`), by group.
#[test]
fn gradients_are_those_of_autograd() {
    let text = include_str!("../../../tests/fixtures/autoencoders/gradients.json");
    let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
    let cases = document["cases"].as_object().expect("cases");
    assert_eq!(cases.len(), 6);
    for (name, case) in cases {
        let list = |of: &str, group: &str| -> Vec<f32> {
            let values = case[of][group].as_array().expect(group).iter();
            values.map(|value| value.as_f64().expect("a number") as f32).collect()
        };
        let x = case["x"].as_array().expect("rows").iter();
        let batch: Vec<f32> = x.map(|value| value.as_f64().expect("a number") as f32).collect();
        let mut weights = Weights::new(D, list("learned", "decoder"), false, true, false);
        weights.encoder.as_mut().expect("untied").values = list("learned", "encoder").into();
        weights.encoder_bias.values = list("learned", "encoder_bias").into();
        weights.decoder_bias.as_mut().expect("has one").values = list("learned", "decoder_bias").into();
        let (mut l1, mut selection) = (0.0, Selection::Relu);
        let extra = match name.as_str() {
            "gated" => {
                let mut extra = Extra::gates(F);
                if let Extra::Gates { log_gain, gain, magnitude_bias } = &mut extra {
                    log_gain.values = list("learned", "log_gain").into();
                    *gain = log_gain.values.iter().map(|log| log.exp()).collect();
                    magnitude_bias.values = list("learned", "magnitude_bias").into();
                }
                extra
            }
            "jumprelu" => {
                let mut extra = Extra::thresholds(F, list("learned", "log_threshold")[0].exp(), 0.8);
                if let Extra::Thresholds { l0_grad, .. } = &mut extra {
                    *l0_grad = 0.7;
                }
                extra
            }
            _ => Extra::Nothing,
        };
        weights.extra = extra;
        match (name.as_str(), &weights.extra) {
            ("relu", _) => l1 = 0.7,
            ("topk", _) => selection = Selection::TopK(2),
            (_, Extra::Gates { gain, magnitude_bias, .. }) => {
                l1 = 0.4;
                selection = Selection::Gated { gain, magnitude_bias: &magnitude_bias.values };
            }
            (_, Extra::Thresholds { thresholds, bandwidth, .. }) => {
                selection = Selection::JumpRelu { thresholds, bandwidth: *bandwidth };
            }
            _ => selection = Selection::BatchTopK(2),
        }
        if name == "matryoshka" {
            weights.prefixes = vec![2, 5, F];
        }
        let (moved, _, _) = moved(&weights, selection, l1, &batch);
        let mut names = vec!["encoder", "encoder_bias", "decoder", "decoder_bias"];
        let (mut before, mut after) = (groups(&weights), groups(&moved));
        if let (Extra::Thresholds { log: old, .. }, Extra::Thresholds { log: new, .. }) =
            (&weights.extra, &moved.extra)
        {
            before.push(wide(&old.values));
            after.push(wide(&new.values));
            names.push("log_threshold");
        }
        if name == "gated" {
            names.extend(["log_gain", "magnitude_bias"]);
        }
        assert_eq!(names.len(), before.len());
        for (nth, group) in names.iter().enumerate() {
            let expected = list("gradients", group);
            assert!(expected.iter().any(|gradient| gradient.abs() > 0.01), "{name} {group}");
            for (index, expected) in expected.iter().enumerate() {
                let got = before[nth][index] - after[nth][index];
                let apart = (got - f64::from(*expected)).abs();
                assert!(
                    apart < 1e-5 * (1.0 + expected.abs() as f64),
                    "{name} {group} {index}: {got} {expected}"
                );
            }
        }
    }
}

#[test]
fn resampled_rows_change_and_others_do_not() {
    let (mut weights, batch) = small(true, false);
    let mut work = Workspace::new(ROWS, D, 1);
    forward_sparse(weights.forward(Selection::Relu, 0.0), &batch, &mut work);
    let before = weights.clone();
    let replaced = resample(&mut weights, &work, &[2, 5], &mut Stream::new(1, "resample"));
    assert_eq!(replaced, 2);
    for feature in 0..F {
        let row = |weights: &Weights| weights.unit[feature * D..(feature + 1) * D].to_vec();
        assert_eq!(row(&before) != row(&weights), [2, 5].contains(&feature), "feature {feature}");
    }
}

/// Rows that are sums of a few of `n` random unit directions with weights in 0.5–1.5.
pub fn planted(rows: usize, d: usize, n: usize, active: f64, seed: u64) -> (ActivationSet, Matrix) {
    let mut stream = Stream::new(seed, "planted");
    let mut directions = Matrix::from_fn(n, d, |_, _| stream.normal() as f32);
    for row in directions.data_mut().chunks_exact_mut(d) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
    let mut x = Matrix::zeros(rows, d);
    for slot in 0..rows {
        for direction in 0..n {
            if stream.chance(active / n as f64) {
                let weight = (0.5 + stream.unit()) as f32;
                let out = x.row_mut(slot).iter_mut().zip(directions.row(direction));
                out.for_each(|(value, part)| *value += weight * part);
            }
        }
    }
    let hook = "blocks.0.hook_resid_post".parse().expect("hook point");
    (ActivationSet::from_matrix(hook, x, Vec::new()).expect("finite"), directions)
}

pub fn run(fit: &dyn DictionaryFit, set: &ActivationSet, seed: u64) -> Fitted {
    let mut progress = |_| {};
    fit.fit(
        set,
        &mut FitContext {
            method: "test",
            seed,
            training: 0,
            input: Default::default(),
            only: None,
            device: &Device::Cpu,
            progress: &mut progress,
        },
    )
    .expect("fitted")
}

fn recovered(dictionary: &dyn Dictionary, truth: &Matrix) -> f64 {
    mmcs_of_directions(truth, &dictionary.directions().expect("directions"), false).forward
}

fn quick_topk() -> TopkParams {
    TopkParams { features: Some(96), k: 3, steps: 600, batch: 256, ..TopkParams::default() }
}

fn quick_sae() -> SaeParams {
    SaeParams { features: Some(96), target_l0: 4.0, steps: 1500, batch: 256, ..SaeParams::default() }
}

#[test]
fn planted_sparse_directions_are_recovered_by_topk_and_l1_and_not_by_chance() {
    let (set, truth) = planted(20_000, 32, 48, 3.0, 5);
    let topk = run(&quick_topk().check(Kind::Topk).expect("valid"), &set, 1);
    let tied = run(&quick_sae().check(true).expect("valid"), &set, 1);
    let untied = run(&quick_sae().check(false).expect("valid"), &set, 1);
    let random = crate::dictionary::RandomParams { features: Some(96) };
    let random = run(&random.check().expect("valid"), &set, 1);
    for (name, fitted) in [("topk", &topk), ("tied", &tied), ("untied", &untied)] {
        let similarity = recovered(&*fitted.dictionary, &truth);
        assert!(similarity > 0.9, "{name}: {similarity} {:?}", fitted.report);
    }
    let chance = recovered(&*random.dictionary, &truth);
    assert!(chance < 0.6, "random: {chance}");
    let l0 = tied.report.l0.expect("known");
    assert!((l0 - 4.0).abs() < 1.0, "the search reached {l0}");
}

#[test]
fn planted_directions_are_recovered_by_every_other_kind_at_about_the_wanted_l0() {
    let (set, truth) = planted(20_000, 32, 48, 3.0, 5);
    let gated =
        GatedParams { features: Some(96), target_l0: 4.0, steps: 1500, batch: 256, ..Default::default() };
    let jump =
        JumpreluParams { features: Some(96), target_l0: 3.0, steps: 1500, batch: 256, ..Default::default() };
    for (name, fit, wanted) in [
        ("batch_topk", quick_topk().check(Kind::BatchTopk), 3.0),
        ("matryoshka", quick_topk().check(Kind::Matryoshka), 3.0),
        ("gated", gated.check(), 4.0),
        ("jumprelu", jump.check(), 3.0),
    ] {
        let fitted = run(&fit.expect("valid"), &set, 1);
        let similarity = recovered(&*fitted.dictionary, &truth);
        let quality = quality(&*fitted.dictionary, &set, set.mean()).expect("measured");
        println!("{name}: {similarity:.3}, FVU {:.3}, L0 {:.2}", quality.fvu.expect("known"), quality.l0);
        assert!(similarity > 0.9, "{name}: {similarity} {:?}", fitted.report);
        // The finished dictionary, whose thresholds do not depend on a batch.
        assert!((quality.l0 - wanted).abs() < 0.25 * wanted, "{name}: L0 {} of {wanted}", quality.l0);
        assert!(quality.fvu.expect("a reconstruction") < 0.2, "{name}: {:?}", quality.fvu);
        let folder = tempfile::tempdir().expect("folder");
        fitted.dictionary.save(folder.path()).expect("saved");
        let back = crate::dictionary::load(folder.path()).expect("loaded");
        assert_eq!(back.info(), fitted.dictionary.info(), "{name}");
    }
}

#[test]
fn thread_count_and_repetition_change_no_bit() {
    let (set, _) = planted(3_000, 24, 40, 3.0, 6);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let topk = TopkParams { steps: 60, dead_rows: Some(1000), ..quick_topk() };
            let sae = SaeParams { steps: 60, ..quick_sae() };
            let topk = run(&topk.check(Kind::Topk).expect("valid"), &set, 3);
            let sae = run(&sae.check(true).expect("valid"), &set, 3);
            let nested = TopkParams { steps: 60, ..quick_topk() };
            let nested = run(&nested.check(Kind::Matryoshka).expect("valid"), &set, 3);
            let gated = GatedParams { features: Some(96), steps: 60, batch: 256, ..Default::default() };
            let gated = run(&gated.check().expect("valid"), &set, 3);
            let jump = JumpreluParams { features: Some(96), steps: 60, batch: 256, ..Default::default() };
            let jump = run(&jump.check().expect("valid"), &set, 3);
            [topk, sae, nested, gated, jump].map(|fitted| fitted.dictionary.info().digest)
        })
    };
    let one = with(1);
    assert_eq!(one, with(3));
    assert_eq!(one, with(1));
}

/// Codes found through bf16 products have the same bits as codes in f32.
#[test]
fn a_screen_changes_no_code() {
    if !has_screens() {
        println!("skipped: this processor has no products of bf16");
        return;
    }
    let (d, features, rows, k) = (64, 300, 200, 6);
    let mut stream = Stream::new(21, "half");
    let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| stream.normal() as f32).collect() };
    let (decoder, mut batch) = (draw(features * d), draw(rows * d));
    // Rows with few active features, rows dominated by one coordinate, rows of zeros.
    batch.chunks_mut(d).step_by(7).for_each(|row| row[3] *= 40.0);
    batch.chunks_mut(d).step_by(11).for_each(|row| row.fill(0.0));
    let mut weights = Weights::new(d, decoder, false, true, true);
    weights.encoder_bias.values.iter_mut().for_each(|bias| *bias = -2.2);
    for selection in [Selection::TopK(k), Selection::Relu] {
        let entries = |screened: bool| -> Vec<(u32, u32, u32)> {
            let mut work = Workspace::new(rows, d, 1);
            if !screened {
                work.screen.worth.note(1, 1);
            }
            let sums = forward_sparse(weights.forward(selection, 0.0), &batch, &mut work);
            assert!(sums.active > 0);
            work.entries.concat().iter().map(|e| (e.row, e.feature, e.code.to_bits())).collect()
        };
        let (exact, screened) = (entries(false), entries(true));
        assert!(exact.len() < rows * features / 10, "{} are on", exact.len());
        assert_eq!(exact, screened);
    }
}

/// Training together gives each autoencoder the same result as training alone.
#[test]
fn trained_together_is_trained_alone() {
    let (set, _) = planted(3_000, 24, 40, 3.0, 6);
    let params = |k: usize, steps: usize| TopkParams { k, steps, ..quick_topk() };
    let kinds = [(2, 60, 0), (5, 40, 0), (2, 60, 1)];
    let fits =
        kinds.map(|(k, steps, training)| (params(k, steps).check(Kind::Topk).expect("valid"), training));
    let members: Vec<Member<'_>> = fits
        .iter()
        .map(|(fit, training)| Member {
            recipe: fit.recipe(24, "test").expect("fits"),
            method: "test",
            training: *training,
        })
        .collect();
    let mut heard = [0; 3];
    let together =
        train_together(&members, &set, 3, &Device::Cpu, &mut |nth, _| heard[nth] += 1).expect("read");
    assert!(heard.iter().all(|count| *count > 0), "{heard:?}");
    let mut digests = Vec::new();
    for ((fit, training), fitted) in fits.iter().zip(together) {
        let mut progress = |_| {};
        let mut context = FitContext {
            method: "test",
            seed: 3,
            training: *training,
            input: Default::default(),
            only: None,
            device: &Device::Cpu,
            progress: &mut progress,
        };
        let alone = fit.fit(&set, &mut context).expect("fitted");
        let fitted = fitted.expect("fitted");
        assert_eq!(fitted.dictionary.info(), alone.dictionary.info());
        assert_eq!(fitted.report.loss_curve, alone.report.loss_curve);
        digests.push(fitted.dictionary.info().digest);
    }
    assert_ne!(digests[0], digests[2], "another training starts elsewhere");
}

#[test]
fn parameters_out_of_range_are_all_named() {
    let bad = TopkParams { expansion: -1.0, k: 0, batch: 0, warmup: 2.0, ..TopkParams::default() };
    let fields: Vec<&str> =
        bad.check(Kind::Topk).expect_err("four problems").iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["expansion", "batch", "warmup", "k"]);
    let nested = TopkParams { prefixes: Some(vec![0.5, 0.2]), ..TopkParams::default() };
    assert_eq!(nested.check(Kind::Matryoshka).expect_err("falling").len(), 1);
    assert_eq!(nested.check(Kind::Topk).expect_err("falling, and of another kind").len(), 2);
    let raw = SaeParams { raw_inputs: true, ..SaeParams::default() };
    assert_eq!(raw.check(true).expect_err("needs alpha")[0].field, "raw_inputs");
    let (set, _) = planted(500, 8, 8, 2.0, 1);
    let too_many = TopkParams { features: Some(4), k: 5, ..TopkParams::default() }
        .check(Kind::Topk)
        .expect("valid alone");
    let mut progress = |_| {};
    let mut context = FitContext {
        method: "topk",
        seed: 1,
        training: 0,
        input: Default::default(),
        only: None,
        device: &Device::Cpu,
        progress: &mut progress,
    };
    let message = too_many.fit(&set, &mut context).err().expect("k above features").to_string();
    assert!(message.contains("`k` is 5") && message.contains("4 features"), "{message}");
}

#[test]
fn published_alpha_on_raw_inputs_needs_no_search() {
    let (set, _) = planted(4_000, 16, 24, 3.0, 9);
    let params = SaeParams {
        alpha: Some(1e-3),
        raw_inputs: true,
        features: Some(32),
        steps: 200,
        batch: 256,
        ..SaeParams::default()
    };
    let fitted = run(&params.check(true).expect("valid"), &set, 2);
    assert_eq!(fitted.report.l1_weight, Some(0.016));
}

/// No step gives NaN with no active feature, with all active, or with subnormal inputs.
#[test]
fn extreme_codes_train_on() {
    let (set, _) = planted(600, 16, 24, 3.0, 9);
    let all = TopkParams { features: Some(24), k: 24, steps: 30, batch: 64, ..TopkParams::default() };
    for kind in [Kind::Topk, Kind::BatchTopk, Kind::Matryoshka] {
        let fitted = run(&all.check(kind).expect("valid"), &set, 1);
        assert!(fitted.report.loss_curve.iter().all(|(_, loss)| loss.is_finite()), "{kind}");
    }
    let (mut weights, batch) = small(false, true);
    weights.encoder_bias.values.fill(-1e3);
    for selection in [Selection::Relu, Selection::TopK(2), Selection::BatchTopK(2)] {
        let (moved, work, _) = moved(&weights, selection, 0.5, &batch);
        assert!(work.entries.iter().all(Vec::is_empty));
        assert_eq!(*weights.encoder_bias.values, *moved.encoder_bias.values);
        assert!(groups(&moved).concat().iter().all(|value| value.is_finite()));
    }
    let (weights, mut batch) = small(false, true);
    batch.iter_mut().for_each(|value| *value *= 1e-40);
    let (moved, _, loss) = moved(&weights, Selection::TopK(2), 0.0, &batch);
    assert!(loss.is_finite() && groups(&moved).concat().iter().all(|value| value.is_finite()));
}

/// Training on a store of ten gigabytes needs memory for the model, its optimiser and a buffer.
#[test]
#[ignore = "writes 10 GB; prints the peak memory of training on it"]
fn memory_of_training_on_ten_gigabytes() {
    let folder = tempfile::tempdir().expect("folder");
    let (d, rows) = (512, 10_000_000);
    let hook = "blocks.0.hook_resid_post".parse().expect("hook point");
    let path = folder.path().join("store");
    let mut writer = ActivationWriter::create(&path, hook, d, Precision::F16).expect("created");
    let mut stream = Stream::new(31, "rows");
    let part: Vec<f32> = (0..4096 * d).map(|_| stream.normal() as f32).collect();
    let tokens = vec![0; 4096];
    let mut written = 0;
    while written < rows {
        let n = (rows - written).min(4096);
        writer.push(&part[..n * d], &tokens[..n]).expect("written");
        written += n;
    }
    let set = writer.finish().expect("a store");
    let before = peak_memory_bytes().unwrap_or(0) as f64 / 1e9;
    let params =
        TopkParams { features: Some(16_384), k: 32, steps: 100, batch: 2048, ..TopkParams::default() };
    let fitted = run(&params.check(Kind::Topk).expect("valid"), &set, 1);
    let after = peak_memory_bytes().unwrap_or(0) as f64 / 1e9;
    // Values, two moments and unit rows of encoder and decoder.
    let model = 7.0 * 4.0 * (16_384 * d) as f64 / 1e9;
    println!(
        "{written} rows; peak {before:.2} GB before, {after:.2} GB with training; model and optimiser {model:.2} GB"
    );
    println!("{:.1} s for {} steps", fitted.report.seconds, fitted.report.steps);
    assert!(after < model + 1.0, "{after} GB");
}
