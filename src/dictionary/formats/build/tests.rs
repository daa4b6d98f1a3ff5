//! Folds against the formulas at the head of `blueprint`, computed one step after another in f64.

use crate::base::{Stream, write_atomic};

use super::super::super::{AffineDictionary, Dictionary};
use super::*;
use crate::dictionary::formats::card::Card;
use crate::dictionary::tensor_files::TensorFile;

const D: usize = 6;
const FEATURES: usize = 9;
const ROWS: usize = 20;

/// Tensors in f64 with features as rows, and the file that holds them.
struct Drawn {
    encoder: Vec<Vec<f64>>,
    decoder: Vec<Vec<f64>>,
    vectors: Vec<(&'static str, Vec<f64>)>,
    file: TensorFile,
    _folder: tempfile::TempDir,
}

impl Drawn {
    fn vector(&self, name: &str) -> &[f64] {
        &self.vectors.iter().find(|(other, _)| *other == name).expect("drawn").1
    }
}

fn rounded(value: f64) -> f64 {
    f64::from(value as f32)
}

fn draw(stream: &mut Stream, by_row: [bool; 2]) -> Drawn {
    let matrix = |stream: &mut Stream| -> Vec<Vec<f64>> {
        (0..FEATURES).map(|_| (0..D).map(|_| rounded(stream.normal())).collect()).collect()
    };
    let (encoder, decoder) = (matrix(stream), matrix(stream));
    let sizes = [("b", FEATURES), ("bias", D), ("theta", FEATURES), ("gate", FEATURES), ("mag", FEATURES)];
    let mut vectors: Vec<(&str, Vec<f64>)> = sizes
        .iter()
        .chain(&[("gain", FEATURES), ("factors", FEATURES), ("mean", D)])
        .map(|&(name, n)| (name, (0..n).map(|_| rounded(0.5 * stream.normal())).collect()))
        .collect();
    for (name, values) in &mut vectors {
        if ["theta", "factors"].contains(name) {
            values.iter_mut().for_each(|value| *value = rounded(value.abs() + 0.1));
        }
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let flat = |rows: &[Vec<f64>], by_row: bool| -> (Vec<usize>, Vec<f64>) {
        let (features, width) = (rows.len(), D);
        match by_row {
            true => (vec![features, width], rows.concat()),
            false => (
                vec![width, features],
                (0..width).flat_map(|at| rows.iter().map(move |row| row[at])).collect(),
            ),
        }
    };
    let mut all = vec![("E", flat(&encoder, by_row[0])), ("D", flat(&decoder, by_row[1]))];
    all.extend(vectors.iter().map(|(name, values)| (*name, (vec![values.len()], values.clone()))));
    let bytes: Vec<Vec<u8>> = all
        .iter()
        .map(|(_, (_, values))| values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect())
        .collect();
    let views = all.iter().zip(&bytes).map(|((name, (shape, _)), bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (*name, view.expect("whole"))
    });
    let path = folder.path().join("t.safetensors");
    write_atomic(&path, &safetensors::serialize(views, None).expect("serialised")).expect("written");
    Drawn { encoder, decoder, vectors, file: TensorFile::open(&path).expect("opened"), _folder: folder }
}

/// A blueprint with random switches.
fn random(stream: &mut Stream) -> (Blueprint, Drawn) {
    let by_row = [stream.chance(0.5), stream.chance(0.5)];
    let drawn = draw(stream, by_row);
    let part = |name: &str, by_row: bool| if by_row { Part::rows(name) } else { Part::columns(name) };
    let parts = [part("E", by_row[0]), part("D", by_row[1])];
    let file = TensorFile::open(drawn.file.path()).expect("opened");
    let mut blueprint = Blueprint::new(vec![file], parts, ["b", "bias"], Card::default());
    blueprint.subtracts_bias = stream.chance(0.5);
    blueprint.nonlinearity = match stream.below(5) {
        0 => Nonlinearity::Relu,
        1 => Nonlinearity::TopK(3),
        2 => Nonlinearity::JumpRelu(Threshold::Constant(0.4)),
        3 => Nonlinearity::JumpRelu(Threshold::Tensor("theta".into())),
        _ => Nonlinearity::Gated { gate: "gate".into(), magnitude: "mag".into(), log_gain: "gain".into() },
    };
    let is_gated = matches!(blueprint.nonlinearity, Nonlinearity::Gated { .. });
    blueprint.norms = match stream.below(3) {
        0 => Norms::Unused,
        1 => Norms::IntoCodes,
        _ if is_gated => Norms::Unused,
        _ => Norms::IntoGate,
    };
    blueprint.unit_decoder = blueprint.norms == Norms::Unused && stream.chance(0.3);
    if stream.chance(0.3) {
        blueprint.decoder_factors = Some("factors".into());
    }
    // With `IntoCodes`, what comes first, norms or scale, is the format's affair.
    if blueprint.norms != Norms::IntoCodes && stream.chance(0.7) {
        let output = if stream.chance(0.5) { 1.7 } else { 0.6 };
        blueprint.scale = Scale { input: 1.7, output, threshold: if stream.chance(0.5) { 1.7 } else { 1.0 } };
    } else if stream.chance(0.5) {
        blueprint.whitening = Some(whitening(stream, drawn.vector("mean")));
    }
    (blueprint, drawn)
}

/// A diagonal matrix plus a rotation of two dimensions, and its inverse.
fn whitening(stream: &mut Stream, mean: &[f64]) -> Whitening {
    let (mut matrix, mut inverse) = (vec![0.0; D * D], vec![0.0; D * D]);
    for at in 2..D {
        let scale = 0.5 + stream.unit();
        matrix[at * D + at] = scale;
        inverse[at * D + at] = 1.0 / scale;
    }
    let (sine, cosine) = stream.unit().sin_cos();
    for (place, forth, back) in
        [(0, cosine, cosine), (1, sine, -sine), (D, -sine, sine), (D + 1, cosine, cosine)]
    {
        matrix[place] = forth;
        inverse[place] = back;
    }
    let narrow = |values: Vec<f64>| values.iter().map(|&value| value as f32).collect();
    Whitening {
        mean: mean.iter().map(|&v| v as f32).collect(),
        matrix: narrow(matrix),
        inverse: narrow(inverse),
    }
}

fn along(row: &[f64], x: &[f64]) -> f64 {
    row.iter().zip(x).map(|(a, b)| a * b).sum()
}

fn through(row: &[f64], matrix: &[f32]) -> Vec<f64> {
    (0..D).map(|to| (0..D).map(|from| row[from] * f64::from(matrix[from * D + to])).sum()).collect()
}

/// Decoder rows of the forward pass, and the norms that gates or codes count.
fn decoder(blueprint: &Blueprint, drawn: &Drawn) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut rows = drawn.decoder.clone();
    if blueprint.decoder_factors.is_some() {
        for (row, factor) in rows.iter_mut().zip(drawn.vector("factors")) {
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
    let norms: Vec<f64> = rows.iter().map(|row| along(row, row).sqrt()).collect();
    if blueprint.unit_decoder || blueprint.norms == Norms::IntoCodes {
        for (row, norm) in rows.iter_mut().zip(&norms) {
            row.iter_mut().for_each(|value| *value /= norm);
        }
    }
    (rows, norms)
}

/// Codes of pre-activations without bias `u`.
fn codes(blueprint: &Blueprint, drawn: &Drawn, u: &[f64], norms: &[f64]) -> Vec<f64> {
    let b = drawn.vector("b");
    let code_factor = |i: usize| if blueprint.norms == Norms::IntoCodes { norms[i] } else { 1.0 };
    let gate_factor = |i: usize| if blueprint.norms == Norms::IntoGate { norms[i] } else { 1.0 };
    let p: Vec<f64> = (0..FEATURES).map(|i| code_factor(i) * (u[i] + b[i])).collect();
    let jump = |threshold: &dyn Fn(usize) -> f64| {
        let keeps = |i: usize| gate_factor(i) * p[i] > blueprint.scale.threshold * threshold(i);
        (0..FEATURES).map(|i| if keeps(i) { p[i].max(0.0) } else { 0.0 }).collect()
    };
    match &blueprint.nonlinearity {
        Nonlinearity::JumpRelu(Threshold::Constant(value)) => jump(&|_| *value),
        Nonlinearity::JumpRelu(_) => jump(&|i| drawn.vector("theta")[i]),
        Nonlinearity::TopK(k) => {
            let mut order: Vec<usize> = (0..FEATURES).collect();
            order.sort_by(|&i, &j| (gate_factor(j) * p[j]).total_cmp(&(gate_factor(i) * p[i])));
            (0..FEATURES).map(|i| if order[..*k].contains(&i) { p[i].max(0.0) } else { 0.0 }).collect()
        }
        Nonlinearity::Gated { .. } => {
            let [gate, magnitude, gain] = ["gate", "mag", "gain"].map(|name| drawn.vector(name));
            let code = |i: usize| {
                if u[i] + gate[i] > 0.0 { (u[i] * gain[i].exp() + magnitude[i]).max(0.0) } else { 0.0 }
            };
            (0..FEATURES).map(|i| code_factor(i) * code(i)).collect()
        }
        _ => p.iter().map(|value| value.max(0.0)).collect(),
    }
}

/// Codes and reconstruction of one row.
fn reference(blueprint: &Blueprint, drawn: &Drawn, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (bias, mean) = (drawn.vector("bias"), drawn.vector("mean"));
    let mut z: Vec<f64> = match &blueprint.whitening {
        Some(whitening) => {
            let centred: Vec<f64> = x.iter().zip(mean).map(|(value, mean)| value - mean).collect();
            through(&centred, &whitening.matrix)
        }
        None => x.iter().map(|value| blueprint.scale.input * value).collect(),
    };
    if blueprint.subtracts_bias {
        z.iter_mut().zip(bias).for_each(|(value, bias)| *value -= bias);
    }
    let u: Vec<f64> = drawn.encoder.iter().map(|row| along(row, &z)).collect();
    let (rows, norms) = decoder(blueprint, drawn);
    let codes = codes(blueprint, drawn, &u, &norms);
    let mut out = bias.to_vec();
    for (row, code) in rows.iter().zip(&codes) {
        out.iter_mut().zip(row).for_each(|(sum, value)| *sum += code * value);
    }
    let out = match &blueprint.whitening {
        Some(whitening) => {
            through(&out, &whitening.inverse).iter().zip(mean).map(|(v, mean)| v + mean).collect()
        }
        None => out.iter().map(|value| value / blueprint.scale.output).collect(),
    };
    (codes, out)
}

fn dictionary(tensors: Tensors) -> AffineDictionary {
    AffineDictionary::of_file(tensors, "blocks.0.hook_resid_post".parse().expect("hook point"))
}

/// Largest difference relative to the largest expected value, or to 1.
fn gap(ours: &[f32], theirs: &[f64]) -> f64 {
    let largest = theirs.iter().fold(1.0, |most: f64, value| most.max(value.abs()));
    ours.iter().zip(theirs).fold(0.0, |most: f64, (a, b)| most.max((f64::from(*a) - b).abs())) / largest
}

#[test]
fn folds_are_exact() {
    let mut stream = Stream::new(5, "folds");
    let mut edges = 0;
    for case in 0..400 {
        let (blueprint, drawn) = random(&mut stream);
        let dictionary = dictionary(blueprint.build(None).expect("built"));
        let x = Matrix::from_fn(ROWS, D, |_, _| stream.normal() as f32);
        let ours = dictionary.encode(&x).expect("encoded");
        let estimate = dictionary.reconstruct(&x).expect("decoded");
        for (row, values) in x.iter_rows().enumerate() {
            let wide: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
            let (codes, out) = reference(&blueprint, &drawn, &wide);
            let gaps = [gap(ours.row(row), &codes), gap(estimate.row(row), &out)];
            // A value within rounding of its threshold may fall on either side.
            let at_edge = ours.row(row).iter().zip(&codes).any(|(a, b)| (*a == 0.0) != (*b == 0.0));
            assert!(
                at_edge || gaps.iter().all(|gap| *gap < 2e-5),
                "case {case}, row {row}: {gaps:?} {blueprint:?}"
            );
            edges += usize::from(at_edge);
        }
    }
    assert!(edges < 4, "{edges} rows at a threshold");
}

#[test]
fn chosen_features_are_those_of_the_whole() {
    let mut stream = Stream::new(6, "chosen");
    for _ in 0..100 {
        let (blueprint, _drawn) = random(&mut stream);
        if matches!(blueprint.nonlinearity, Nonlinearity::TopK(_)) {
            continue;
        }
        let chosen: Vec<usize> = (0..4).map(|_| stream.below(FEATURES)).collect();
        let (whole, part) =
            (blueprint.build(None).expect("built"), blueprint.build(Some(&chosen)).expect("built"));
        assert_eq!(part.encoder, whole.encoder.select_rows(&chosen));
        assert_eq!(part.decoder, whole.decoder.select_rows(&chosen));
        assert_eq!(part.decoder_bias, whole.decoder_bias);
        let of = |values: &[f32]| -> Vec<f32> { chosen.iter().map(|&feature| values[feature]).collect() };
        assert_eq!(part.encoder_bias, of(&whole.encoder_bias));
        match (&part.activation, &whole.activation) {
            (Activation::JumpRelu(part), Activation::JumpRelu(whole)) => assert_eq!(*part, of(whole)),
            (
                Activation::Gated { gate, magnitude, log_gain },
                Activation::Gated { gate: gates, magnitude: magnitudes, log_gain: gains },
            ) => assert_eq!(
                [gate, magnitude, log_gain].map(Vec::clone),
                [gates, magnitudes, gains].map(|all| of(all))
            ),
            (part, whole) => assert_eq!(part, whole),
        }
    }
}
