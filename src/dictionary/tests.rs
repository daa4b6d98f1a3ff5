use std::path::PathBuf;

use crate::activations::ActivationSet;
use crate::base::{HookPoint, Matrix, Stream, write_atomic};
use crate::nn::Device;

use super::picard::Search;
use super::tensor_files::TensorFile;
use super::*;

fn hook() -> HookPoint {
    "blocks.2.hook_resid_post".parse().expect("hook point")
}

fn set_of(rows: Matrix) -> ActivationSet {
    ActivationSet::from_matrix(hook(), rows, Vec::new()).expect("varied and finite")
}

/// Calls `work` with a context that shows no progress.
fn with_context<R>(method: &str, work: impl FnOnce(&mut FitContext<'_>) -> R) -> R {
    let mut progress = |_| {};
    work(&mut FitContext {
        method,
        seed: 7,
        training: 0,
        input: Default::default(),
        only: None,
        device: &Device::Cpu,
        progress: &mut progress,
    })
}

/// A path below the folder that `AUTOINTERP_SHARED` names.
pub(super) fn shared(path: &str) -> Option<PathBuf> {
    match std::env::var_os("AUTOINTERP_SHARED") {
        Some(folder) => Some(PathBuf::from(folder).join(path)),
        None => {
            println!("skipped: AUTOINTERP_SHARED is not set");
            None
        }
    }
}

fn tensor(path: &std::path::Path, name: &str) -> Matrix {
    let file = TensorFile::open(path).expect("readable");
    let (shape, values) = (file.shape(name).expect("present"), file.values(name).expect("present"));
    let cols = shape.last().copied().unwrap_or(1);
    Matrix::from_vec(values.len() / cols, cols, values).expect("whole rows")
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Laplace sources of unit variance, mixed: heavy tails, so ICA can find them.
fn mixed_sources(rows: usize, mixing: &Matrix, seed: u64) -> Matrix {
    let mut stream = Stream::new(seed, "sources");
    let (d, n) = (mixing.cols(), mixing.rows());
    let mut out = Matrix::zeros(rows, d);
    for row in 0..rows {
        for source in 0..n {
            let side = if stream.chance(0.5) { 1.0 } else { -1.0 };
            let value = -(1.0 - stream.unit()).ln() * side / 2f64.sqrt();
            let slots = out.row_mut(row).iter_mut().zip(mixing.row(source));
            slots.for_each(|(slot, &part)| *slot += (value * f64::from(part)) as f32);
        }
    }
    out
}

/// Amari distance of `scoring · mixing` from a scaled permutation: 0 for perfect separation, 1 at most.
fn amari(scoring: &Matrix, mixing: &Matrix) -> f64 {
    let n = scoring.rows();
    let product = Matrix::from_fn(n, n, |i, j| {
        scoring.row(i).iter().zip(mixing.row(j)).map(|(a, b)| a * b).sum::<f32>().abs()
    });
    let spread = |matrix: &Matrix| -> f64 {
        matrix
            .iter_rows()
            .map(|row| {
                let largest = row.iter().fold(0.0f32, |best, value| best.max(*value));
                f64::from(row.iter().sum::<f32>() / largest) - 1.0
            })
            .sum()
    };
    (spread(&product) + spread(&product.transposed())) / (2 * n * (n - 1)) as f64
}

fn ica(params: IcaParams, set: &ActivationSet) -> Decomposition {
    with_context("ica", |context| params.check().expect("valid").decompose(set, context).expect("solved"))
}

fn pca(params: PcaParams, set: &ActivationSet) -> Decomposition {
    with_context("pca", |context| params.check().expect("valid").decompose(set, context).expect("solved"))
}

#[test]
fn pca_finds_planted_axes_and_decorrelates() {
    let mut stream = Stream::new(1, "axes");
    let scales = [9.0, 5.0, 2.5, 1.0];
    let rows = Matrix::from_fn(20_000, 4, |_, col| 3.0 + (stream.normal() * scales[col]) as f32);
    let set = set_of(rows.clone());
    let decomposition = pca(PcaParams::default(), &set);
    for axis in 0..4 {
        assert!(decomposition.directions.at(axis, axis).abs() > 0.99, "axis {axis}");
    }
    let codes = decomposition.variant(Variant::Fitted, 1).dictionary.encode(&rows).expect("encoded");
    for a in 0..4 {
        for b in 0..a {
            let product = |i: usize, j: usize| -> f64 {
                codes.iter_rows().map(|row| f64::from(row[i]) * f64::from(row[j])).sum()
            };
            assert!(product(a, b).abs() < 1e-3 * (product(a, a) * product(b, b)).sqrt(), "{a} {b}");
        }
    }
}

#[test]
fn ica_finds_independent_sources_up_to_sign_and_order_and_says_when_it_has_not() {
    let mut stream = Stream::new(2, "mixing");
    let mixing = Matrix::from_fn(8, 8, |_, _| stream.normal() as f32);
    let set = set_of(mixed_sources(20_000, &mixing, 3));
    let solved = ica(IcaParams::default(), &set);
    assert_eq!(solved.report.converged, Some(true));
    let found = mmcs_of_directions(
        &unit_rows(&mixing),
        &solved.variant(Variant::Fitted, 1).dictionary.directions().expect("directions"),
        true,
    );
    assert!(found.forward > 0.99 && found.backward > 0.99, "{found:?}");
    let codes = solved.variant(Variant::Fitted, 1).dictionary.encode(&set.read(0, 20_000).expect("rows"));
    let codes = codes.expect("encoded");
    for component in 0..8 {
        let square = codes.iter_rows().map(|row| f64::from(row[component]).powi(2)).sum::<f64>() / 20_000.0;
        assert!((square - 1.0).abs() < 1e-3, "unit variance, got {square}");
    }
    let hasty = ica(IcaParams { iterations: 1, ..IcaParams::default() }, &set);
    assert_eq!(hasty.report.converged, Some(false));
    assert!(hasty.report.warnings.iter().any(|why| why.starts_with("not converged")), "{:?}", hasty.report);
}

fn unit_rows(matrix: &Matrix) -> Matrix {
    let norms: Vec<f32> =
        matrix.iter_rows().map(|row| row.iter().map(|value| value * value).sum::<f32>().sqrt()).collect();
    Matrix::from_fn(matrix.rows(), matrix.cols(), |row, col| matrix.at(row, col) / norms[row])
}

#[test]
fn linfa_finds_the_same_components() {
    use linfa::DatasetBase;
    use linfa::traits::{Fit, Predict};
    let mut stream = Stream::new(4, "mixing");
    let mixing = Matrix::from_fn(5, 5, |_, _| stream.normal() as f32);
    let rows = mixed_sources(8_000, &mixing, 5);
    let set = set_of(rows.clone());
    let wide = ndarray::Array2::from_shape_fn((8_000, 5), |(row, col)| f64::from(rows.at(row, col)));

    let theirs = linfa_reduction::Pca::params(5).fit(&DatasetBase::from(wide.clone())).expect("linfa PCA");
    let ours = pca(PcaParams::default(), &set);
    for axis in 0..5 {
        let theirs: Vec<f32> = theirs.components().row(axis).iter().map(|&value| value as f32).collect();
        assert!(cosine(ours.directions.row(axis), &theirs).abs() > 0.9999, "axis {axis}");
    }

    let dataset = DatasetBase::from(wide.clone());
    let model = linfa_ica::fast_ica::FastIca::params()
        .ncomponents(5)
        .gfunc(linfa_ica::fast_ica::GFunc::Logcosh(1.0))
        .max_iter(500)
        .tol(1e-8)
        .random_state(1)
        .fit(&dataset)
        .expect("linfa ICA");
    let sources = model.predict(&wide);
    let ours = ica(IcaParams { tolerance: 1e-5, ..IcaParams::default() }, &set);
    let codes = ours.variant(Variant::Fitted, 1).dictionary.encode(&rows).expect("encoded");
    let theirs = Matrix::from_fn(5, 8_000, |source, row| sources[(row, source)] as f32);
    for component in codes.transposed().iter_rows() {
        let best = theirs.iter_rows().map(|other| cosine(component, other).abs()).fold(0.0, f64::max);
        assert!(best > 0.999, "a component of ours has no partner: {best}");
    }
}

#[test]
#[cfg(feature = "linfa")]
fn the_solver_linfa_gives_the_components_of_our_own_and_is_measured_alike() {
    let mut stream = Stream::new(14, "mixing");
    let mixing = Matrix::from_fn(6, 6, |_, _| stream.normal() as f32);
    let set = set_of(mixed_sources(20_000, &mixing, 15));
    let by_linfa = IcaParams { solver: Solver::Linfa, ..IcaParams::default() };
    let (ours, theirs) = (ica(IcaParams::default(), &set), ica(by_linfa.clone(), &set));
    assert_eq!(theirs.report.converged, Some(true), "{:?}", theirs.report);
    assert!(theirs.report.notes.iter().any(|note| note.contains("linfa")), "{:?}", theirs.report);
    let of = |solved: &Decomposition| {
        solved.variant(Variant::Fitted, 1).dictionary.directions().expect("directions").clone()
    };
    let found = mmcs_of_directions(&of(&ours), &of(&theirs), true);
    assert!(found.forward > 0.999 && found.backward > 0.999, "{found:?}");
    let hasty = ica(IcaParams { iterations: 1, ..by_linfa }, &set);
    assert_eq!(hasty.report.converged, Some(false));
}

#[test]
fn scikit_learn_components_of_real_activations_are_reproduced() {
    let Some(folder) = shared("golden/decomp") else { return };
    let rows = tensor(&folder.join("acts.safetensors"), "acts");
    let set = set_of(rows);
    let golden = tensor(&folder.join("pca_sklearn.safetensors"), "components");
    let ours = pca(PcaParams::default(), &set);
    for axis in 0..golden.rows() {
        let agreement = cosine(ours.directions.row(axis), golden.row(axis)).abs();
        assert!(agreement >= 0.999, "principal component {axis}: {agreement}");
    }

    let path = folder.join("ica_sklearn.safetensors");
    let (components, mixing) = (tensor(&path, "components"), tensor(&path, "mixing").transposed());
    let n = components.rows();
    // Real activations have several optima. One of five starts must reach scikit-learn's.
    let best = (0..5)
        .map(|seed| {
            let mut progress = |_| {};
            let mut context = FitContext {
                method: "ica",
                seed,
                training: 0,
                input: Default::default(),
                only: None,
                device: &Device::Cpu,
                progress: &mut progress,
            };
            let params = IcaParams { components: Some(n), tolerance: 1e-5, ..IcaParams::default() };
            let ours = params.check().expect("valid").decompose(&set, &mut context).expect("solved");
            assert_eq!(ours.report.converged, Some(true), "{:?}", ours.report);
            amari(&ours.scoring, &mixing)
        })
        .fold(f64::INFINITY, f64::min);
    let reference = amari(&components, &mixing);
    assert!(best <= reference + 0.01, "Amari distance {best}, scikit-learn's {reference}");
}

#[test]
fn a_saddle_is_left_and_rotations_stay_orthogonal() {
    let mut stream = Stream::new(6, "mixing");
    let mixing =
        Matrix::from_fn(4, 4, |row, col| if row == col { 1.0 } else { 0.3 * stream.normal() as f32 });
    let set = set_of(mixed_sources(5_000, &mixing, 7));
    let solved = ica(IcaParams { tolerance: 1e-4, ..IcaParams::default() }, &set);
    let (scoring, directions) = (&solved.scoring, &solved.directions);
    for i in 0..4 {
        for j in 0..4 {
            let product: f32 = scoring.row(i).iter().zip(directions.row(j)).map(|(a, b)| a * b).sum();
            assert!((product - f32::from(u8::from(i == j))).abs() < 1e-4, "unmixing · mixing at {i} {j}");
        }
    }
    let rows = Matrix::from_fn(2_000, 2, |_, _| stream.normal() as f32);
    let search = Search { tolerance: 0.05, iterations: 50 };
    let start = vec![1.0, 0.0, 0.0, 1.0];
    let solved = with_context("ica", |context| search.run(&rows, start, context).expect("solved"));
    assert!(solved.converged, "Gaussian rows have no components, but the gradient is small everywhere");
}

#[test]
fn directions_without_variance_are_left_out_with_a_note() {
    let mut stream = Stream::new(8, "flat");
    let rows = Matrix::from_fn(3_000, 6, |_, col| match col {
        2 => 4.0,
        _ => (stream.normal() * (1.0 + col as f64)) as f32,
    });
    let rows =
        Matrix::from_fn(3_000, 6, |row, col| if col == 5 { rows.at(row, 0) } else { rows.at(row, col) });
    let set = set_of(rows);
    for decomposition in [pca(PcaParams::default(), &set), ica(IcaParams::default(), &set)] {
        assert_eq!(decomposition.scoring.rows(), 4);
        let notes = decomposition.report.notes.join("; ");
        assert!(notes.contains("2 of 6 directions have no variance"), "{notes}");
        let fitted = decomposition.variant(Variant::Fitted, 1);
        let quality = quality(&*fitted.dictionary, &set, set.mean()).expect("measured");
        assert!(quality.fvu.expect("reconstructs") < 1e-9, "nothing is lost: {quality:?}");
    }
}

#[test]
fn variants_come_from_one_fit() {
    let mut stream = Stream::new(9, "mixing");
    let mixing = Matrix::from_fn(6, 6, |_, _| stream.normal() as f32);
    // One-sided sources: the sign of a component matters.
    let mut rows = Matrix::zeros(4_000, 6);
    for row in 0..4_000 {
        for source in 0..6 {
            let value = -(1.0 - stream.unit()).ln();
            let slots = rows.row_mut(row).iter_mut().zip(mixing.row(source));
            slots.for_each(|(slot, &part)| *slot += (value * f64::from(part)) as f32);
        }
    }
    let set = set_of(rows.clone());
    let decomposition = ica(IcaParams::default(), &set);
    let all = [Variant::Fitted, Variant::Oriented, Variant::Split, Variant::Topk];
    let made = decomposition.variants(&all, 3);
    let names: Vec<&str> = made.iter().map(|fitted| fitted.dictionary.info().method.as_str()).collect();
    assert_eq!(names, ["ica", "ica_oriented", "ica_split", "ica_topk"]);
    let codes: Vec<Matrix> =
        made.iter().map(|fitted| fitted.dictionary.encode(&rows).expect("encoded")).collect();
    for component in 0..6 {
        let mut column: Vec<f32> = codes[1].iter_rows().map(|row| row[component]).collect();
        column.sort_by(|a, b| b.abs().total_cmp(&a.abs()));
        assert!(column[..20].iter().sum::<f32>() > 0.0, "component {component} is turned the right way");
    }
    for row in 0..200 {
        for component in 0..6 {
            let signed = codes[0].at(row, component);
            assert_eq!(signed.max(0.0), codes[2].at(row, component));
            assert_eq!((-signed).max(0.0), codes[2].at(row, component + 6));
        }
        assert_eq!(codes[3].row(row).iter().filter(|code| **code > 0.0).count(), 3);
    }
    let split = made[2].dictionary.reconstruct(&rows).expect("decodes");
    for (a, b) in split.data().iter().zip(rows.data()) {
        assert!((a - b).abs() < 1e-3, "both sides together lose nothing: {a} {b}");
    }
    assert_eq!(made[0].dictionary.info().sign, SignPolicy::Signed);
    assert_eq!(made[2].dictionary.info().sign, SignPolicy::NonNegative);
    let raw = ica(IcaParams { centred: false, ..IcaParams::default() }, &set);
    let back = raw.variant(Variant::Fitted, 1).dictionary.reconstruct(&rows).expect("decodes");
    assert!(back.data().iter().zip(rows.data()).all(|(a, b)| (a - b).abs() < 1e-3), "uncentred too");
}

#[test]
fn topk_variants_need_something_to_match() {
    let topk = || vec![Variant::Topk];
    assert!(PcaParams { variants: topk(), ..PcaParams::default() }.check().is_err());
    assert!(PcaParams { variants: topk(), k: Some(4), ..PcaParams::default() }.check().is_ok());
    let both =
        IcaParams { variants: topk(), k: Some(4), matched: Some("sae".into()), ..IcaParams::default() };
    assert!(both.check().is_err());
    assert!(PcaParams { variants: vec![], ..PcaParams::default() }.check().is_err());
}

#[test]
fn files_trained_elsewhere_give_their_own_codes_and_quality() {
    let Some(folder) = shared("") else { return };
    let acts = tensor(&folder.join("golden/decomp/acts.safetensors"), "acts");
    let set = set_of(acts);
    for name in ["stories260K_resid_post_2_relu_l1", "stories260K_resid_post_2_topk16"] {
        let path = folder.join("sae").join(name);
        let params = saelens_params(path.clone(), vec![]);
        let fitted = with_context("file", |context| params.check().expect("valid").fit(&set, context));
        let dictionary = fitted.expect("read").dictionary;
        let golden = path.join("golden.safetensors");
        let x = tensor(&golden, "x");
        let codes = dictionary.encode(&x).expect("encoded");
        let estimate = dictionary.decode(&codes).expect("decoded");
        for (what, ours) in [("features", &codes), ("reconstruction", &estimate)] {
            let theirs = tensor(&golden, what);
            let square =
                |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
            let gap = square(&mut ours.data().iter().zip(theirs.data()).map(|(a, b)| a - b));
            let size = square(&mut theirs.data().iter().copied());
            assert!((gap / size).sqrt() < 1e-5, "{name} {what}: {}", (gap / size).sqrt());
        }
        let text = crate::base::read_to_string(&path.join("golden_stats.json")).expect("stats");
        let stats: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let quality = quality(&*dictionary, &set, set.mean()).expect("measured");
        let close = |got: f64, key: &str, within: f64| {
            let expected = stats[key].as_f64().expect("number");
            assert!((got - expected).abs() <= within * expected.abs(), "{name} {key}: {got}, {expected}");
        };
        close(quality.l0, "l0", 1e-5);
        close(quality.fvu.expect("reconstructs"), "fraction_variance_unexplained", 1e-5);
        close(quality.dead as f64, "dead_on_sample", 0.0);
        let number = |key: &str| stats[key].as_f64().expect("number");
        for (ablation, key) in [("zero", "loss_recovered_vs_zero"), ("mean", "loss_recovered_vs_mean")] {
            let ablated = number(&format!("loss_{ablation}_ablated"));
            let share = loss_recovered(number("loss_clean"), number("loss_with_sae"), ablated);
            close(share.expect("defined"), key, 1e-9);
        }
    }
}

/// A SAELens folder with the given configuration and every tensor an architecture may need.
fn saelens_folder(
    config: serde_json::Value,
    tensors: &[(&str, Vec<usize>)],
    broken: bool,
) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write_atomic(&folder.path().join("cfg.json"), config.to_string().as_bytes()).expect("written");
    let mut stream = Stream::new(12, "file");
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let n = shape.iter().product::<usize>();
            let value = |i: usize, drawn: f64| if broken && i == 3 { f32::NAN } else { drawn as f32 };
            let bytes = (0..n).flat_map(|i| value(i, stream.normal()).to_le_bytes()).collect();
            (name.to_string(), shape.clone(), bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.expect("whole"))
    });
    let bytes = safetensors::serialize(views, None).expect("serialised");
    write_atomic(&folder.path().join("sae_weights.safetensors"), &bytes).expect("written");
    folder
}

fn saelens_params(path: PathBuf, ignore: Vec<String>) -> FileParams {
    FileParams { format: Some(FileFormat::Saelens), ignore, ..FileParams::at(path) }
}

fn read_saelens(folder: &tempfile::TempDir, ignore: &[&str]) -> Result<Fitted, FitError> {
    let mut stream = Stream::new(13, "rows");
    let set = set_of(Matrix::from_fn(200, 3, |_, _| 1.0 + stream.normal() as f32));
    let ignore = ignore.iter().map(|key| key.to_string()).collect();
    let path = folder.path().to_path_buf();
    let params = saelens_params(path, ignore);
    with_context("file", |context| params.check().expect("valid").fit(&set, context))
}

const PLAIN: [(&str, [usize; 2]); 2] = [("W_enc", [3, 5]), ("W_dec", [5, 3])];

fn tensors(extra: &[(&'static str, usize)]) -> Vec<(&'static str, Vec<usize>)> {
    let matrices = PLAIN.iter().map(|(name, shape)| (*name, shape.to_vec()));
    matrices.chain(extra.iter().map(|&(name, n)| (name, vec![n]))).collect()
}

#[test]
fn every_saelens_architecture_follows_its_formula() {
    let x = Matrix::from_fn(4, 3, |row, col| (row as f32 - 1.5) * (col as f32 + 0.7));
    let base = [("b_dec", 3), ("b_enc", 5)];
    let cases = [
        ("standard", tensors(&base)),
        ("topk", tensors(&base)),
        ("jumprelu", tensors(&[base[0], base[1], ("threshold", 5)])),
        ("gated", tensors(&[base[0], ("b_gate", 5), ("b_mag", 5), ("r_mag", 5)])),
    ];
    for (architecture, shapes) in cases {
        let config = serde_json::json!({"architecture": architecture, "d_in": 3, "d_sae": 5, "k": 2,
            "apply_b_dec_to_input": false, "normalize_activations": "none"});
        let folder = saelens_folder(config, &shapes, false);
        let dictionary = read_saelens(&folder, &[]).expect("read").dictionary;
        let codes = dictionary.encode(&x).expect("encoded");
        let stored = folder.path().join("sae_weights.safetensors");
        let vector = |name: &str| tensor(&stored, name).into_vec();
        let encoder = tensor(&stored, "W_enc");
        for row in 0..4 {
            let along = |f: usize| (0..3).map(|c| x.at(row, c) * encoder.at(c, f)).sum::<f32>();
            let mut expected: Vec<f32> = (0..5)
                .map(|f| match architecture {
                    "gated" => {
                        let on = along(f) + vector("b_gate")[f] > 0.0;
                        let size = (along(f) * vector("r_mag")[f].exp() + vector("b_mag")[f]).max(0.0);
                        if on { size } else { 0.0 }
                    }
                    "jumprelu" => {
                        let pre = along(f) + vector("b_enc")[f];
                        if pre > vector("threshold")[f] { pre.max(0.0) } else { 0.0 }
                    }
                    _ => (along(f) + vector("b_enc")[f]).max(0.0),
                })
                .collect();
            if architecture == "topk" {
                let mut sorted = expected.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                expected.iter_mut().for_each(|code| *code = if *code >= sorted[1] { *code } else { 0.0 });
            }
            for f in 0..5 {
                assert!((codes.at(row, f) - expected[f]).abs() < 1e-5, "{architecture} {row} {f}");
            }
        }
    }
}

#[test]
fn scaled_files_and_scaled_rows_come_back_in_raw_units() {
    let base = tensors(&[("b_dec", 3), ("b_enc", 5)]);
    let config = |normalisation: &str| {
        serde_json::json!({"architecture": "standard", "d_in": 3, "d_sae": 5,
            "apply_b_dec_to_input": true, "normalize_activations": normalisation})
    };
    let x = Matrix::from_fn(4, 3, |row, col| 0.5 + (row * 3 + col) as f32);
    let scaled =
        read_saelens(&saelens_folder(config("expected_average_only_in"), &base, false), &[]).expect("read");
    assert!(scaled.report.notes.iter().any(|note| note.contains("estimated from the fit split")));
    let plain = read_saelens(&saelens_folder(config("none"), &base, false), &[]).expect("read").dictionary;
    let note = scaled.report.notes.join(" ");
    let scale: f32 = note
        .split("input scale ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|number| number.parse().ok())
        .expect("a number");
    let grown = Matrix::from_fn(4, 3, |row, col| x.at(row, col) * scale);
    let expected = plain.reconstruct(&grown).expect("decodes");
    let got = scaled.dictionary.reconstruct(&x).expect("decodes");
    for (a, b) in got.data().iter().zip(expected.data()) {
        assert!((a * scale - b).abs() < 2e-3 * (1.0 + b.abs()), "{a} {b}");
    }
    let by_row =
        read_saelens(&saelens_folder(config("constant_norm_rescale"), &base, false), &[]).expect("read");
    let double = Matrix::from_fn(4, 3, |row, col| 2.0 * x.at(row, col));
    let (one, two) = (by_row.dictionary.reconstruct(&x), by_row.dictionary.reconstruct(&double));
    for (a, b) in one.expect("decodes").data().iter().zip(two.expect("decodes").data()) {
        assert!((2.0 * a - b).abs() < 1e-4 * (1.0 + b.abs()), "scaling a row scales its estimate");
    }
    let codes = by_row.dictionary.encode(&x).expect("encoded");
    assert!(matches!(by_row.dictionary.decode(&codes), Err(DictionaryError::NeedsInput { .. })));
}

#[test]
fn unknown_and_broken_files_are_refused_with_what_to_do() {
    let base = tensors(&[("b_dec", 3), ("b_enc", 5)]);
    let config = |more: serde_json::Value| {
        let mut config = serde_json::json!({"architecture": "standard", "d_in": 3, "d_sae": 5});
        for (key, value) in more.as_object().expect("object") {
            config[key] = value.clone();
        }
        config
    };
    let message = |more: serde_json::Value, shapes: &[(&str, Vec<usize>)], broken: bool| {
        let folder = saelens_folder(config(more), shapes, broken);
        read_saelens(&folder, &[]).err().expect("refused").to_string()
    };
    use serde_json::json;
    for (more, expected) in [
        (json!({"architecture": "crosscoder"}), "one of standard, topk, jumprelu, gated"),
        (json!({"new_gain": 3}), "list them under `ignore`"),
        (json!({"normalize_activations": "whiten"}), "`normalize_activations` is \"whiten\""),
        (json!({"activation_fn_str": "gelu"}), "one of relu, topk"),
        (json!({"activation_fn_str": "topk"}), "`k` is missing"),
        (json!({"d_in": 0}), "a whole number above 0"),
    ] {
        let got = message(more, &base, false);
        assert!(got.contains(expected) && got.contains("cfg.json"), "{got}");
    }
    let broken = message(json!({}), &base, true);
    assert!(broken.contains("is NaN or infinite") && broken.contains("3]"), "{broken}");
    assert!(message(json!({}), &tensors(&[("b_dec", 3)]), false).contains("tensor `b_enc` is missing"));
    let shape = message(json!({"d_sae": 6}), &base, false);
    assert!(shape.contains("has shape [3, 5]; expected [3, 6]"), "{shape}");
    let odd = message(json!({}), &tensors(&[("b_dec", 3), ("b_enc", 5), ("threshold", 5)]), false);
    assert!(odd.contains("`threshold` is not part of this architecture"), "{odd}");
    let folder = saelens_folder(config(json!({"new_gain": 3})), &base, false);
    assert!(read_saelens(&folder, &["new_gain"]).is_ok());
    write_atomic(&folder.path().join("sae_weights.safetensors"), b"short").expect("written");
    let cut = read_saelens(&folder, &["new_gain"]).err().expect("refused").to_string();
    assert!(cut.contains("not a whole safetensors file"), "{cut}");
}

#[test]
fn saved_dictionaries_come_back_and_unknown_ones_do_not() {
    let mut stream = Stream::new(14, "rows");
    // As many features as dimensions, so that a transposed matrix has the right shape.
    let rows = Matrix::from_fn(2_000, 6, |_, _| stream.normal() as f32);
    let set = set_of(rows.clone());
    let folder = tempfile::tempdir().expect("temporary folder");
    let topk = TopkParams { features: Some(6), k: 2, steps: 40, batch: 64, ..TopkParams::default() };
    let methods = [
        MethodParams::Topk(topk),
        MethodParams::Pca(PcaParams::default()),
        MethodParams::Random(RandomParams::default()),
        MethodParams::Neuron(NeuronParams::default()),
        MethodParams::Identity(IdentityParams::default()),
    ];
    for method in methods {
        let fitted = with_context("m", |context| method.check().expect("valid").fit(&set, context));
        let dictionary = fitted.expect("fitted").dictionary;
        dictionary.save(folder.path()).expect("saved");
        let back = load(folder.path()).expect("loaded");
        assert_eq!(back.info(), dictionary.info());
        assert_eq!(back.info().fitted_on, set.digest());
        assert_eq!(back.encode(&rows).expect("encoded"), dictionary.encode(&rows).expect("encoded"));
        let sparse = back.encode_sparse(&rows).expect("encoded").to_dense();
        assert_eq!(sparse, back.encode(&rows).expect("encoded"));
    }
    let path = folder.path().join("config.json");
    let text = crate::base::read_to_string(&path).expect("read");
    for (from, to, expected) in [
        ("\"version\": 1", "\"version\": 9", "`version` is 9"),
        ("\"kind\": \"identity\"", "\"kind\": \"nmf\"", "expected one of sae"),
        ("autointerp-dictionary", "other", "with `kind: file`"),
        ("\"architecture\": \"linear\"", "\"architecture\": \"standard\"", "do not belong together"),
        ("\"method\": \"m\"", "\"method\": \"n\"", "the settings are not those that were written"),
    ] {
        assert!(text.contains(from), "{text}");
        write_atomic(&path, text.replace(from, to).as_bytes()).expect("written");
        let message = load(folder.path()).err().expect("refused").to_string();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn exported_for_saelens_and_read_back_gives_the_same_codes() {
    let mut stream = Stream::new(15, "rows");
    let rows = Matrix::from_fn(500, 3, |_, _| stream.normal() as f32);
    let tensors = Tensors {
        encoder: Matrix::from_fn(5, 3, |_, _| stream.normal() as f32),
        encoder_bias: vec![0.1; 5],
        decoder: Matrix::from_fn(5, 3, |_, _| stream.normal() as f32),
        decoder_bias: vec![0.5, -0.5, 0.0],
        subtract_decoder_bias: true,
        activation: Activation::TopK(2),
        row_scale: RowScale::Plain,
        skip: None,
    };
    let set = set_of(rows.clone());
    let label = Label {
        method: "topk".into(),
        kind: Kind::Topk,
        hook: hook(),
        fitted_on: set.digest(),
        is_reconstruction: true,
        output: None,
    };
    let dictionary = AffineDictionary::new(label.clone(), tensors.clone());
    let folder = tempfile::tempdir().expect("temporary folder");
    export_saelens(&dictionary, folder.path()).expect("exported");
    let back = read_saelens(&folder, &[]).expect("read").dictionary;
    assert_eq!(back.encode(&rows).expect("encoded"), dictionary.encode(&rows).expect("encoded"));
    let d = tensors.encoder.cols();
    for (changed, words) in [
        (Tensors { activation: Activation::Signed, ..tensors.clone() }, "signed codes"),
        (Tensors { activation: Activation::GroupMax(1), ..tensors.clone() }, "activation function"),
        (Tensors { skip: Some(Matrix::zeros(d, d)), ..tensors }, "transcoder"),
    ] {
        let refused = export_saelens(&AffineDictionary::new(label.clone(), changed), folder.path());
        assert!(refused.expect_err("refused").to_string().contains(words), "{words}");
    }
}

/// Two features on two dimensions, computed by hand: codes are ReLU(x), and the second decoder row is half as long.
#[test]
fn quality_matches_a_hand_worked_table() {
    let unit = Matrix::from_fn(3, 2, |row, col| if row == col { 1.0 } else { 0.0 });
    let tensors = Tensors {
        decoder: Matrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 0.5, 0.0, 0.0]).expect("shape"),
        encoder: unit,
        encoder_bias: vec![0.0; 3],
        decoder_bias: vec![0.0; 2],
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    let rows = Matrix::from_vec(4, 2, vec![2.0, 0.0, 0.0, 4.0, -1.0, 2.0, 3.0, 2.0]).expect("shape");
    let set = set_of(rows.clone());
    let label = Label {
        method: "hand".into(),
        kind: Kind::File,
        hook: hook(),
        fitted_on: set.digest(),
        is_reconstruction: true,
        output: None,
    };
    let dictionary = AffineDictionary::new(label, tensors);
    // Estimates (2,0) (0,2) (0,1) (3,1): squared errors 0 + 4 + (1 + 1) + 1 = 7.
    // About the mean (1, 2): (1+4) + (1+4) + (4+0) + (4+0) = 18.
    let mut counter = QualityCounter::new(&dictionary, set.mean());
    counter.add(&set.read(0, 3).expect("rows")).expect("added");
    counter.add(&set.read(3, 1).expect("rows")).expect("added");
    let quality = counter.finish();
    assert!((quality.fvu.expect("reconstructs") - 7.0 / 18.0).abs() < 1e-12, "{quality:?}");
    assert_eq!(quality.l0, 1.25);
    assert_eq!((quality.alive, quality.dead, quality.near_dead, quality.n_tokens), (2, 1, 1, 4));
    assert_eq!(quality.density, [0.5, 0.75, 0.0]);
    assert_eq!(quality.density_median, 0.5);
    assert_eq!(mean_l0(&dictionary, &set).expect("counted"), 1.25);
    let mut spliced = rows.clone();
    splice(&dictionary)(&mut spliced).expect("spliced");
    assert_eq!(spliced.row(3), [3.0, 1.0]);
    ablate(&[7.0, 8.0])(&mut spliced);
    assert_eq!(spliced.row(0), [7.0, 8.0]);
}

#[test]
fn what_reconstructs_nothing_has_no_fvu() {
    let mut stream = Stream::new(16, "rows");
    let set = set_of(Matrix::from_fn(300, 4, |_, _| stream.normal() as f32));
    for method in
        [MethodParams::Random(RandomParams { features: Some(9) }), MethodParams::Neuron(NeuronParams {})]
    {
        let fit = method.check().expect("valid");
        let dictionary = with_context("m", |context| fit.fit(&set, context)).expect("fitted").dictionary;
        let quality = quality(&*dictionary, &set, set.mean()).expect("measured");
        assert_eq!((quality.fvu, quality.note.as_deref()), (None, Some("not a reconstruction")));
        assert!(quality.l0 > 1.0);
        let x = set.read(0, 5).expect("rows");
        assert!(matches!(dictionary.reconstruct(&x), Err(DictionaryError::NotAReconstruction { .. })));
        let wrong = dictionary.encode(&Matrix::zeros(2, 3)).expect_err("refused").to_string();
        assert!(wrong.contains("takes rows of 4 values and got 3"), "{wrong}");
    }
}

#[test]
fn loss_recovered_is_a_share_of_what_ablation_costs() {
    assert_eq!(loss_recovered(1.0, 1.0, 3.0), Some(1.0));
    assert_eq!(loss_recovered(1.0, 3.0, 3.0), Some(0.0));
    assert_eq!(loss_recovered(1.0, 1.5, 3.0), Some(0.75));
    assert_eq!(loss_recovered(2.0, 2.5, 2.0), None);
}

#[test]
fn mmcs_is_not_symmetric_and_signs_matter_only_without_signed_codes() {
    let a = Matrix::from_vec(1, 2, vec![1.0, 0.0]).expect("shape");
    let b = Matrix::from_vec(2, 2, vec![-1.0, 0.0, 0.0, 1.0]).expect("shape");
    assert_eq!(mmcs_of_directions(&a, &b, false), Mmcs { forward: 0.0, backward: -0.5 });
    assert_eq!(mmcs_of_directions(&a, &b, true), Mmcs { forward: 1.0, backward: 0.5 });
}

#[test]
fn decompositions_do_not_depend_on_threads() {
    let mut stream = Stream::new(17, "mixing");
    let mixing = Matrix::from_fn(5, 5, |_, _| stream.normal() as f32);
    let set = set_of(mixed_sources(12_000, &mixing, 18));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| {
            let both = [pca(PcaParams::default(), &set), ica(IcaParams::default(), &set)];
            both.map(|one| one.variant(Variant::Oriented, 1).dictionary.info().digest)
        })
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn committed_baselines_are_valid_and_say_what_they_control_for() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("baselines");
    for name in ["random", "neuron", "identity", "pca", "ica"] {
        let text = crate::base::read_to_string(&folder.join(format!("{name}.yaml"))).expect("present");
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_saphyr::from_str(&text).expect("a mapping");
        for key in ["name", "controls_for", "source"] {
            let value = fields.remove(key).expect("present");
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{name}: {key}");
        }
        if ["pca", "ica"].contains(&name) {
            // A suite names its own sparse method.
            assert!(!fields.contains_key("match"));
            fields.insert("match".into(), "sparse".into());
        }
        let method: MethodParams = serde_json::from_value(fields.into()).expect("known fields");
        assert_eq!(method.kind().name(), name);
        method.check().expect("valid");
    }
}

#[test]
fn methods_are_read_by_kind_and_unknown_fields_are_refused() {
    let read = |text: &str| serde_json::from_str::<MethodParams>(text);
    for &kind in Kind::ALL {
        let more = if kind == Kind::File { r#","path":"x","format":"saelens""# } else { "" };
        let method = read(&format!(r#"{{"kind":"{kind}"{more}}}"#)).expect("read");
        assert_eq!(method.kind(), kind);
        method.check().expect("defaults are valid");
    }
    let error = read(r#"{"kind":"topk","kk":3}"#).expect_err("unknown field").to_string();
    assert!(error.contains("kk"), "{error}");
    let pca = read(r#"{"kind":"pca","variants":["fitted","topk"],"match":"sae"}"#).expect("read");
    assert_eq!((pca.matched(), pca.variants().len()), (Some("sae"), 2));
}

#[test]
fn what_a_file_says_of_its_texts_is_compared_with_how_texts_are_run() {
    let report = |stated: serde_json::Value, input: TextInput| {
        let mut config = serde_json::json!({"d_in": 3, "d_sae": 5, "apply_b_dec_to_input": false});
        config.as_object_mut().expect("an object").extend(stated.as_object().expect("an object").clone());
        let folder = saelens_folder(config, &tensors(&[("b_enc", 5), ("b_dec", 3)]), false);
        let mut stream = Stream::new(13, "rows");
        let set = set_of(Matrix::from_fn(200, 3, |_, _| 1.0 + stream.normal() as f32));
        let path = folder.path().to_path_buf();
        let params = saelens_params(path, vec![]);
        with_context("file", |context| {
            context.input = input;
            params.check().expect("valid").fit(&set, context).map(|fitted| fitted.report)
        })
    };
    let (with, without) = (
        TextInput { bos: true, ctx_tokens: 128, centred: Some(true) },
        TextInput { bos: false, ctx_tokens: 128, centred: Some(false) },
    );
    let centres =
        |flag: bool| serde_json::json!({"model_from_pretrained_kwargs": {"center_writing_weights": flag}});
    let states = |bos: bool| serde_json::json!({"prepend_bos": bos, "context_size": 128});
    // From version 6 of SAELens on, these settings are one level deeper.
    let nested = |bos: bool| serde_json::json!({"metadata": states(bos)});
    for (stated, input, warned) in [
        (states(true), with, None),
        (states(false), without, None),
        (states(true), without, Some("prepend_bos: true")),
        (states(false), with, Some("prepend_bos: false")),
        (nested(true), without, Some("prepend_bos: true")),
        (nested(true), with, None),
        (serde_json::json!({"prepend_bos": null}), without, None),
        (centres(true), with, None),
        (centres(true), without, Some("center_writing_weights: true")),
        (centres(false), without, None),
        (centres(false), with, Some("center_writing_weights: false")),
        (serde_json::json!({"model_from_pretrained_kwargs": {"fold_ln": true}}), without, None),
        // With RMSNorm, centring does not apply.
        (centres(true), TextInput { centred: None, ..without }, None),
        // Rows given directly, with unknown texts.
        (states(true), TextInput::default(), None),
    ] {
        let report = report(stated.clone(), input).expect("read");
        assert_eq!(report.warnings.len(), warned.iter().len(), "{stated} {input:?}");
        assert!(
            report.warnings.iter().all(|text| warned.is_some_and(|word| text.contains(word))),
            "{report:?}"
        );
        assert_eq!(report.notes, ["trained elsewhere"]);
    }
    let longer = serde_json::json!({"context_size": 1024, "exclude_special_tokens": [0, 1]});
    let notes = report(longer, with).expect("read").notes.join("; ");
    assert!(notes.contains("1024") && notes.contains("128") && notes.contains("special tokens"), "{notes}");
    let wrong = report(serde_json::json!({"prepend_bos": "yes"}), with).expect_err("refused").to_string();
    assert!(wrong.contains("prepend_bos") && wrong.contains("yes"), "{wrong}");
}
