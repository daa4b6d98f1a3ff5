use std::path::Path;

use super::order::{acdc, by_value, exact, prefix};
use super::*;
use crate::base::{Digester, HookPoint, Matrix, Stream, TokenBatch};
use crate::dictionary::{Activation, AffineDictionary, Kind, Label, RowScale, Tensors};
use crate::nn::Edit;
use crate::subject::{LoadedSubject, Pullback, SubjectError, SubjectInfo, Wanted, Writing};

pub(in crate::causal) const HOOK: &str = "blocks.0.hook_resid_post";

fn hook() -> HookPoint {
    HOOK.parse().expect("hook point")
}

/// A dictionary of these encoder and decoder rows.
fn dictionary(kind: Kind, encoder: Matrix, decoder: Matrix, activation: Activation) -> AffineDictionary {
    let label = Label {
        method: kind.name().to_string(),
        kind,
        hook: hook(),
        fitted_on: Digester::new("toy").finish(),
        is_reconstruction: kind != Kind::Random,
        output: None,
    };
    let tensors = Tensors {
        encoder_bias: vec![0.0; encoder.rows()],
        decoder_bias: vec![0.0; decoder.cols()],
        encoder,
        decoder,
        subtract_decoder_bias: false,
        activation,
        row_scale: RowScale::Plain,
        skip: None,
    };
    AffineDictionary::new(label, tensors)
}

pub(in crate::causal) fn identity(width: usize) -> AffineDictionary {
    let unit = Matrix::from_fn(width, width, |row, col| if row == col { 1.0 } else { 0.0 });
    dictionary(Kind::Identity, unit.clone(), unit, Activation::Signed)
}

fn gaussian(features: usize, width: usize) -> AffineDictionary {
    let mut stream = Stream::new(3, "directions");
    let rows = Matrix::from_fn(features, width, |_, _| stream.normal() as f32);
    dictionary(Kind::Random, rows.clone(), rows, Activation::Relu)
}

fn ignore(_: usize, _: usize) {}

fn run(subject: &dyn SubjectModel, of: &AffineDictionary, pairs: &TaskPairs) -> PatchedPairs {
    let writer = Writer::new(of).expect("writes");
    patch(subject, &writer, pairs, &PatchParams::default(), (7, "toy"), &ignore, &|| false).expect("patches")
}

fn curve<'p>(patched: &'p PatchedPairs, order: &str) -> &'p MeasuredCurve {
    patched.curves.iter().find(|curve| curve.order == order).expect("measured")
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// What the toy says where patching asks for nothing.
const UNUSED: SubjectError = SubjectError::TooShort { cols: 0 };

pub(in crate::causal) const WIDTH: usize = 8;
pub(in crate::causal) const VOCAB: usize = 24;

/// The features that reach the toy's output, with how far each moves the logit difference, the strongest first.
const PLANTED: [(usize, f32); 3] = [(4, 1.0), (1, 0.7), (6, 0.4)];

/// A model whose activation is the decayed sum of embeddings so far, and whose logits read three axes of the last
/// position, or none.
pub(in crate::causal) struct Toy {
    pub info: SubjectInfo,
    pub embedding: Matrix,
    /// `[VOCAB, WIDTH]`.
    pub unembedding: Matrix,
}

impl Toy {
    /// Tokens from 12 on are those of target prompts: their embeddings are larger on the planted axes.
    pub fn new(reads: bool) -> Self {
        let info = toy_info();
        let mut stream = Stream::new(5, "embedding");
        let planted = |col: usize| PLANTED.iter().any(|(feature, _)| *feature == col);
        let embedding = Matrix::from_fn(VOCAB, WIDTH, |row, col| match planted(col) {
            true => 0.1 * stream.normal() as f32 + if row >= 12 { 2.0 } else { 0.0 },
            false => stream.normal() as f32,
        });
        let mut unembedding = Matrix::zeros(VOCAB, WIDTH);
        for (feature, weight) in PLANTED.into_iter().filter(|_| reads) {
            unembedding.row_mut(0)[feature] = weight;
            unembedding.row_mut(1)[feature] = -weight;
        }
        Self { info, embedding, unembedding }
    }

    fn pairs(&self) -> TaskPairs {
        let prompt =
            |pair: u32, from: u32| vec![2 + pair % 3, from + pair, 3 + pair % 5, from + 1 + pair % 4];
        TaskPairs {
            base: (0..6).map(|pair| prompt(pair, 2)).collect(),
            target: (0..6).map(|pair| prompt(pair, 14)).collect(),
            answers: vec![[0, 1]; 6],
        }
    }
}

fn toy_info() -> SubjectInfo {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2");
    let model = LoadedSubject::from_folder(&folder).expect("loads");
    SubjectInfo { d_model: WIDTH, vocab: VOCAB, n_layers: 1, ..model.model().info().clone() }
}

impl SubjectModel for Toy {
    fn info(&self) -> &SubjectInfo {
        &self.info
    }

    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError> {
        let mut rows = Matrix::zeros(tokens.ids().len(), WIDTH);
        for (at, &id) in tokens.ids().iter().enumerate() {
            let before = if at % tokens.cols() == 0 { vec![0.0; WIDTH] } else { rows.row(at - 1).to_vec() };
            let own = self.embedding.row(id as usize);
            let sum = rows.row_mut(at).iter_mut().zip(before).zip(own);
            sum.for_each(|((value, before), own)| *value = 0.5 * before + own);
        }
        Ok(vec![rows; hooks.len()])
    }

    fn given(
        &self,
        tokens: &TokenBatch,
        (_, rows): (HookPoint, &Matrix),
        _: Wanted,
    ) -> Result<Matrix, SubjectError> {
        let logit = |sequence: usize, token: usize| {
            let last = rows.row((sequence + 1) * tokens.cols() - 1);
            last.iter().zip(self.unembedding.row(token)).map(|(x, w)| x * w).sum()
        };
        Ok(Matrix::from_fn(tokens.rows(), VOCAB, logit))
    }

    fn edited(&self, tokens: &TokenBatch, _: &[Edit<'_>], wanted: Wanted) -> Result<Matrix, SubjectError> {
        let rows = self.activations(tokens, &[hook()])?.swap_remove(0);
        self.given(tokens, (hook(), &rows), wanted)
    }

    fn pullback(
        &self,
        tokens: &TokenBatch,
        given: (HookPoint, &Matrix),
        wanted: Wanted,
        weights: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError> {
        let values = self.given(tokens, given, wanted)?;
        let weights = weights(0, &values);
        let mut gradient = Matrix::zeros(tokens.ids().len(), WIDTH);
        for sequence in 0..tokens.rows() {
            let last = gradient.row_mut((sequence + 1) * tokens.cols() - 1);
            for (weight, row) in weights.row(sequence).iter().zip(self.unembedding.iter_rows()) {
                last.iter_mut().zip(row).for_each(|(g, w)| *g += weight * w);
            }
        }
        Ok(Pullback { values, gradient })
    }

    fn width(&self, _: HookPoint) -> Result<usize, SubjectError> {
        Ok(WIDTH)
    }

    fn check_tokens(&self, _: &TokenBatch) -> Result<(), SubjectError> {
        Ok(())
    }

    fn logits_at(
        &self,
        _: &TokenBatch,
        _: (HookPoint, &Matrix),
        _: &[usize],
    ) -> Result<Matrix, SubjectError> {
        Err(UNUSED)
    }

    fn last_token_activations(&self, _: &[&[u32]], _: HookPoint) -> Result<Matrix, SubjectError> {
        Err(UNUSED)
    }

    fn token_losses(&self, _: &TokenBatch, _: Option<Edit<'_>>) -> Result<Matrix, SubjectError> {
        Err(UNUSED)
    }

    fn token_losses_given(&self, _: &TokenBatch, _: HookPoint, _: &Matrix) -> Result<Matrix, SubjectError> {
        Err(UNUSED)
    }

    fn continuation(
        &self,
        _: &[u32],
        _: usize,
        _: &[Edit<'_>],
        _: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError> {
        Err(UNUSED)
    }

    fn direct_logits(&self, _: &Matrix) -> Result<Matrix, SubjectError> {
        Err(UNUSED)
    }
}

#[test]
fn each_order_finds_the_three_directions_that_the_output_depends_on() {
    let (toy, of) = (Toy::new(true), identity(WIDTH));
    let (pairs, params) = (toy.pairs(), PatchParams::default());
    let watch = Watch::new(&PatchParams::default(), &ignore, &|| false);
    let writer = Writer::new(&of).expect("writes");
    let patcher = Patcher::new((&toy, &writer), &pairs, &params, (7, "toy"), &watch).expect("ready");
    assert_eq!(patcher.n_slots(), WIDTH, "every axis fires differently");
    let effects = patcher.attribution(&watch).expect("differentiates");
    let order = by_value(&effects);
    assert_eq!(order[..3], PLANTED.map(|(feature, _)| feature));
    for (slot, effect) in effects.iter().enumerate() {
        let planted = PLANTED.iter().any(|(feature, _)| *feature == slot);
        assert_eq!(*effect != 0.0, planted, "a feature that fires and does nothing scores 0: {slot}");
    }

    let all_of = |set: Vec<bool>| {
        let jobs: Vec<Job<'_>> = (0..6).map(|pair| Job { pair, set: &set, is_random: false }).collect();
        patcher.run(&jobs, &watch, None).expect("runs")
    };
    let (nothing, everything) = (all_of(vec![false; WIDTH]), all_of(vec![true; WIDTH]));
    let found = exact(&patcher, &order, (64, &nothing), &watch).expect("runs");
    let mut first = found[..3].to_vec();
    assert_eq!(first[0], 4, "the strongest removes most of the divergence");
    first.sort_unstable();
    assert_eq!(first, [1, 4, 6]);
    assert_eq!(found[3..], order[3..], "ties keep the attribution order");

    let stream = |nth: usize| Stream::new(7, &nth.to_string());
    let left = acdc(&patcher, &order, (64, 12), (&nothing, &everything), &stream, &watch).expect("runs");
    let counts: Vec<usize> = left.iter().map(|point| point.0).collect();
    assert_eq!(counts[..2], [8, 3], "the least threshold drops the five that do nothing");
    assert_eq!((counts.last(), left.last().map(|point| &point.1)), (Some(&0), Some(&nothing)));
    assert_eq!(left[1].1, all_of(prefix(&order, 3)), "the three that are left are the planted ones");
}

#[test]
fn patching_everything_gives_the_target_and_patching_nothing_the_base() {
    let toy = Toy::new(true);
    let patched = run(&toy, &identity(WIDTH), &toy.pairs());
    assert_eq!((patched.n_features, patched.n_exact, patched.note.clone()), (8, 8, None));
    let orders: Vec<&str> = patched.curves.iter().map(|curve| &*curve.order).collect();
    assert_eq!(orders, ["attribution", "exact", "acdc", "random_features", "random_directions"]);
    assert!(patched.curves.iter().all(|curve| curve.is_control == curve.order.starts_with("random_")));
    for curve in &patched.curves {
        let (first, last) = (&curve.points[0], &curve.points[curve.points.len() - 1]);
        assert_eq!((first.n_features, last.n_features), (0, 8), "{}", curve.order);
        assert_eq!((&first.difference, &first.edit_size), (&patched.base_difference, &vec![0.0; 6]));
        assert!(mean(&first.kl) > 0.1);
        if curve.order != "random_directions" {
            assert!(last.kl.iter().all(|&kl| kl < 1e-9), "{}: {:?}", curve.order, last.kl);
            for (ours, target) in last.difference.iter().zip(&patched.target_difference) {
                assert!((ours - target).abs() < 1e-4);
            }
        }
    }
    for order in ["attribution", "exact"] {
        let points = &curve(&patched, order).points;
        let kl: Vec<f64> = points.iter().map(|point| mean(&point.kl)).collect();
        let counts: Vec<usize> = points.iter().map(|point| point.n_features).collect();
        assert_eq!(counts, [0, 1, 2, 4, 8]);
        assert!(kl[0] > kl[1] && kl[1] > kl[2] && kl[2] > 1e-4 && kl[3] < 1e-9, "{kl:?}");
    }
    let three = &curve(&patched, "acdc").points;
    let three = three.iter().find(|point| point.n_features == 3).expect("three are left");
    assert!(three.kl.iter().all(|&kl| kl < 1e-9), "{:?}", three.kl);
}

#[test]
fn random_directions_have_the_edit_sizes_of_the_attribution_order() {
    let toy = Toy::new(true);
    let patched = run(&toy, &identity(WIDTH), &toy.pairs());
    let [ours, random] = ["attribution", "random_directions"].map(|order| &curve(&patched, order).points);
    assert_eq!(ours.len(), random.len());
    for (ours, random) in ours.iter().zip(random) {
        assert_eq!(ours.n_features, random.n_features);
        for (a, b) in ours.edit_size.iter().zip(&random.edit_size) {
            assert!((a - b).abs() <= 1e-5 * a, "{a} is not {b}");
        }
    }
    assert!(mean(&random[3].kl) > 0.01, "random directions do not give the target's output");
    let sizes = curve(&patched, "random_features").points.iter().map(|point| mean(&point.edit_size));
    assert!(sizes.clone().zip(sizes.skip(1)).all(|(a, b)| a <= b + 1e-9), "larger sets, larger edits");
}

#[test]
fn codes_that_agree_give_no_curves_with_a_reason() {
    let toy = Toy::new(true);
    let mut pairs = toy.pairs();
    pairs.target = pairs.base.clone();
    let patched = run(&toy, &identity(WIDTH), &pairs);
    assert_eq!((patched.n_features, patched.curves.len()), (0, 0));
    assert_eq!(patched.note.as_deref(), Some(NO_FEATURE_DIFFERS));
    assert_eq!(patched.base_difference, patched.target_difference);
}

#[test]
fn unusable_input_has_one_message() {
    let toy = Toy::new(true);
    let of = identity(WIDTH);
    let writer = Writer::new(&of).expect("writes");
    let message = |subject: &dyn SubjectModel, change: &dyn Fn(&mut TaskPairs), stop: bool| {
        let mut pairs = toy.pairs();
        change(&mut pairs);
        let params = PatchParams::default();
        let failed = patch(subject, &writer, &pairs, &params, (7, "toy"), &ignore, &|| stop);
        failed.expect_err("unusable").to_string()
    };
    let unequal = message(&toy, &|pairs| pairs.target[2].push(3), false);
    assert!(unequal.contains("pair 2") && unequal.contains("4 and 5 tokens"), "{unequal}");
    let outside = message(&toy, &|pairs| pairs.answers[1] = [24, 0], false);
    assert!(outside.contains("token id 24") && outside.contains("0 to 23"), "{outside}");
    assert!(message(&toy, &|pairs| pairs.answers[1] = [2, 2], false).contains("both answers"));
    assert!(message(&toy, &|pairs| *pairs = TaskPairs::default(), false).contains("no pair"));
    assert!(message(&toy, &|pairs| pairs.answers.truncate(2), false).contains("2 pairs of answers"));
    let empty = |pairs: &mut TaskPairs| (pairs.base[0], pairs.target[0]) = (Vec::new(), Vec::new());
    assert!(message(&toy, &empty, false).contains("empty"));
    let unread = message(&Toy::new(false), &|_| (), false);
    assert!(unread.contains(HOOK) && unread.contains("does not depend"), "{unread}");
    assert!(message(&toy, &|_| (), true).contains("stopped"));

    let gpt2 = fixture();
    let long = |pairs: &mut TaskPairs| {
        (pairs.base[0], pairs.target[0]) = (vec![2; 17], vec![3; 17]);
    };
    assert!(message(gpt2.model(), &long, false).contains("17 tokens"));
    let foreign = message(gpt2.model(), &|pairs| pairs.base[0][1] = 20, false);
    assert!(foreign.contains("pair 0") && foreign.contains("id 20"), "{foreign}");
}

fn fixture() -> LoadedSubject {
    fixture_of("gpt2")
}

fn fixture_of(family: &str) -> LoadedSubject {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(family);
    LoadedSubject::from_folder(&folder).expect("loads")
}

/// Pairs of three lengths, some with a common prefix.
fn mixed_pairs() -> TaskPairs {
    let mut stream = Stream::new(2, "prompts");
    let lengths = [5, 9, 5, 12, 9, 5, 12];
    let base: Vec<Vec<u32>> =
        lengths.iter().map(|&length| (0..length).map(|_| stream.below(20) as u32).collect()).collect();
    let mut target = base.clone();
    for (nth, prompt) in target.iter_mut().enumerate() {
        let at = nth % prompt.len();
        prompt[at] = (prompt[at] + 1 + nth as u32) % 20;
        if nth % 2 == 0 {
            let last = prompt.len() - 1;
            prompt[last] = (prompt[last] + 7) % 20;
        }
    }
    TaskPairs { answers: (0..lengths.len() as u32).map(|nth| [nth, nth + 1]).collect(), base, target }
}

#[test]
fn a_full_basis_of_a_transformer_reproduces_both_runs() {
    // Learned and rotary positions; each pair shares the tokens that its prompts begin with.
    ["gpt2", "gpt_neox", "llama"].into_iter().for_each(reproduces_both_runs);
}

fn reproduces_both_runs(family: &str) {
    let subject = fixture_of(family);
    let pairs = mixed_pairs();
    let patched = run(subject.model(), &identity(8), &pairs);
    let points = &curve(&patched, "attribution").points;
    let (first, last) = (&points[0], &points[points.len() - 1]);
    for (nth, prompt) in pairs.base.iter().enumerate() {
        let logits = |prompt: &Vec<u32>| {
            let tokens = TokenBatch::new(prompt.clone(), prompt.len()).expect("whole");
            subject.model().logits(&tokens).expect("logits")
        };
        let difference = |logits: &Matrix| {
            let last = logits.row(logits.rows() - 1);
            let [target, base] = pairs.answers[nth];
            f64::from(last[target as usize]) - f64::from(last[base as usize])
        };
        assert!((first.difference[nth] - difference(&logits(prompt))).abs() < 1e-4, "{family}");
        assert!((last.difference[nth] - difference(&logits(&pairs.target[nth]))).abs() < 1e-4);
        assert!((patched.target_difference[nth] - last.difference[nth]).abs() < 1e-4);
    }
    assert!(mean(&first.kl) > 1e-4, "the prompts' outputs differ: {:?}", first.kl);
    assert!(last.kl.iter().all(|&kl| kl < 1e-6), "{:?}", last.kl);
}

#[test]
fn attribution_is_the_slope_of_the_metric() {
    let subject = fixture();
    let (pairs, of) = (mixed_pairs(), identity(8));
    let writer = Writer::new(&of).expect("writes");
    let watch = Watch::new(&PatchParams::default(), &ignore, &|| false);
    for attributed in [Attributed::LogitDifference, Attributed::Divergence] {
        let params = PatchParams { attributed, ..PatchParams::default() };
        let seed = (7, "toy");
        let patcher = Patcher::new((subject.model(), &writer), &pairs, &params, seed, &watch).expect("ready");
        let effects = patcher.attribution(&watch).expect("differentiates");
        // The mean metric when every code of one feature moves by a small part of its change.
        for (slot, effect) in effects.iter().enumerate() {
            let metric = |by: f32| {
                let one = Matrix::from_fn(8, 8, |row, col| if row == col { 1.0 } else { 0.0 });
                let small = Matrix::from_fn(8, 8, |row, col| if row == col { by } else { 0.0 });
                let of = dictionary(Kind::Identity, one, small, Activation::Signed);
                let writer = Writer::new(&of).expect("writes");
                let moved = Patcher::new((subject.model(), &writer), &pairs, &params, seed, &watch);
                let moved = moved.expect("ready");
                let set: Vec<bool> = (0..8).map(|other| other == slot).collect();
                let jobs: Vec<Job<'_>> =
                    (0..7).map(|pair| Job { pair, set: &set, is_random: false }).collect();
                let found = moved.run(&jobs, &watch, None).expect("runs");
                mean(
                    &found
                        .iter()
                        .map(|one| match attributed {
                            Attributed::LogitDifference => one.difference,
                            Attributed::Divergence => -one.kl,
                        })
                        .collect::<Vec<_>>(),
                )
            };
            let slope = (metric(0.02) - metric(-0.02)) / 0.04;
            let tolerance = 2e-3 + 0.02 * slope.abs();
            assert!((effect - slope).abs() < tolerance, "{attributed} {slot}: {effect} is not {slope}");
        }
    }
}

#[test]
fn one_thread_and_two_give_the_same_bytes() {
    let subject = fixture();
    let pairs = mixed_pairs();
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("pool");
        pool.install(|| serde_json::to_string(&run(subject.model(), &gaussian(40, 8), &pairs)).expect("JSON"))
    };
    assert_eq!(bytes(1), bytes(2));
}

#[test]
fn passes_stay_below_the_stated_bound() {
    let subject = fixture();
    let pairs = mixed_pairs();
    let of = gaussian(40, 8);
    let writer = Writer::new(&of).expect("writes");
    let params = PatchParams { max_exact: 4, max_features: 16, thresholds: 5, ..PatchParams::default() };
    let patched =
        patch(subject.model(), &writer, &pairs, &params, (7, "toy"), &ignore, &|| false).expect("patches");
    assert_eq!(patched.n_exact, 4);
    let n = patched.n_features;
    assert!(n > 30, "{n} of 40 random directions differ somewhere");
    let blocks = ((4.0 * (n - 4) as f64 / 4.0 + 1.0).log2()).ceil() as usize;
    let bound = 7 * (2 + 4 + 5 * (4 + blocks) + 7 * 4);
    assert!(patched.n_passes <= bound, "{} exceed {bound}", patched.n_passes);
    let counts: Vec<usize> = curve(&patched, "exact").points.iter().map(|point| point.n_features).collect();
    assert_eq!(counts, [0, 1, 2, 4, 8, 16, n]);
}

#[test]
fn a_direction_and_its_factors_are_those_of_the_delta() {
    let inputs = Matrix::from_fn(3, 8, |row, col| (row as f32 - 1.3) * (col as f32 + 0.5));
    let mut scaled = identity(8);
    let mut tensors = scaled.tensors().clone();
    tensors.row_scale = RowScale::ConstantNorm;
    let info = crate::dictionary::Dictionary::info(&scaled).clone();
    scaled = AffineDictionary::new(
        Label {
            method: info.method,
            kind: info.kind,
            hook: info.hook,
            fitted_on: info.fitted_on,
            is_reconstruction: true,
            output: None,
        },
        tensors,
    );
    for of in [identity(8), gaussian(8, 8), scaled] {
        let writer = Writer::new(&of).expect("writes");
        let delta = writer.delta(&inputs, 5, &[1.0, -2.0, 0.5]).expect("delta");
        let ((direction, factor), rows) = (writer.direction(5).expect("there"), writer.row_factors(&inputs));
        for (row, change) in [1.0, -2.0, 0.5].into_iter().enumerate() {
            for (col, d) in direction.iter().enumerate() {
                let expected = change * factor * rows[row] * d;
                assert!((delta.at(row, col) - expected).abs() <= 1e-5 * (1.0 + expected.abs()));
            }
        }
    }
}
