use std::path::Path;

use super::*;
use crate::base::{Digest, Matrix, Stream, TokenBatch};
use crate::causal::{Change, FeatureEdit, FeatureEdits, failure_of};
use crate::dictionary::{Activation, AffineDictionary, Dictionary, Kind, Label, RowScale, Tensors};
use crate::subject::{LoadedSubject, Wanted};

const COLS: usize = 10;

fn subject() -> LoadedSubject {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt_neox");
    LoadedSubject::from_folder(&folder).expect("loads")
}

fn tokens() -> TokenBatch {
    TokenBatch::new((0..24 * COLS).map(|i| (i * i % 19) as u32).collect(), COLS).expect("whole")
}

/// ReLU features at a hook point: encoder rows, decoder rows, and one bias for all.
fn features(hook: &str, encoder: Matrix, decoder: Matrix, bias: f32) -> AffineDictionary {
    let label = Label {
        method: "planted".into(),
        kind: Kind::File,
        hook: hook.parse().expect("a hook point"),
        fitted_on: Digest::of(b"nothing"),
        is_reconstruction: true,
        output: None,
    };
    let tensors = Tensors {
        encoder_bias: vec![bias; encoder.rows()],
        decoder_bias: vec![0.0; decoder.cols()],
        encoder,
        decoder,
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    AffineDictionary::new(label, tensors)
}

/// Coordinate `k` of the activation is feature `k`.
fn coordinates(hook: &str, width: usize) -> AffineDictionary {
    let unit = || Matrix::from_fn(width, width, |row, col| if row == col { 1.0 } else { 0.0 });
    features(hook, unit(), unit(), 0.0)
}

fn random(hook: &str, width: usize, bias: f32) -> AffineDictionary {
    let mut stream = Stream::named(3, &["trace test", hook]);
    let rows = Matrix::from_fn(12, width, |_, _| 0.5 * stream.normal() as f32);
    features(hook, rows.clone(), rows, bias)
}

fn params() -> TraceParams {
    TraceParams {
        depth: 1,
        top: 4,
        fragments: 8,
        max_exact: 100,
        random_directions: 3,
        first_scored: 0,
        resamples: 200,
        confidence: 0.95,
        seed: 7,
    }
}

fn traced(
    subject: &LoadedSubject,
    dictionaries: &[&AffineDictionary],
    params: TraceParams,
    target: TraceFeature,
) -> Result<Traced, TraceError> {
    let writers =
        || dictionaries.iter().map(|&one| Writer::new(one).expect("it decodes")).collect::<Vec<_>>();
    let pool = Pool::new(subject.model(), &writers(), tokens(), &|_, _| ()).expect("encodes");
    Tracer::new(subject.model(), writers(), pool, params).trace(target, &|_, _| ())
}

#[test]
fn the_planted_causes_are_found_with_their_sign_and_size() {
    let subject = subject();
    let width = subject.model().info().d_model;
    // The two hook points hold the same activation, so the effects are known: B = ReLU(3 x4 − x2 + 40).
    let early = coordinates("blocks.0.hook_resid_post", width);
    let b = Matrix::from_fn(1, width, |_, col| [0.0, 0.0, -1.0, 0.0, 3.0].get(col).copied().unwrap_or(0.0));
    let late = features("blocks.1.hook_resid_pre", b.clone(), b, 40.0);
    let target = TraceFeature { dictionary: 1, feature: 0 };
    let found = traced(&subject, &[&early, &late], params(), target).expect("traced");
    let search = found.features[0].found.as_ref().expect("searched");
    assert_eq!((search.fragments, search.in_upper_half), (8, 8));
    assert!(search.active <= width && search.tried == search.active, "{search:?}");
    assert!(found.features[1..].iter().all(|one| one.found == Err(NoCauses::DepthReached)));

    // What removing coordinate k takes from B at its strongest position, computed without a tracer.
    let writers = [Writer::new(&early).expect("decodes"), Writer::new(&late).expect("decodes")];
    let pool = Pool::new(subject.model(), &writers, tokens(), &|_, _| ()).expect("encodes");
    let places = pool.choose(target, 8, 0).expect("it fires").places;
    let x = subject.model().activations(&tokens(), &[early.info().hook]).expect("runs").swap_remove(0);
    let drop = |k: usize, weight: f32| {
        let at = places.iter().map(|(fragment, position)| x.at(fragment * COLS + position, k).max(0.0));
        f64::from(weight * at.sum::<f32>()) / places.len() as f64
    };
    for (k, weight) in [(4, 3.0), (2, -1.0)] {
        let expected = drop(k, weight);
        let cause = found.causes.iter().find(|cause| cause.from.feature == k).expect("it is found");
        assert!((cause.effect.mean - expected).abs() < 1e-3, "{k}: {} is not {expected}", cause.effect.mean);
        assert!((cause.attribution - expected).abs() < 1e-3, "{k}: {}", cause.attribution);
        assert!(expected.abs() > 0.05 && cause.effect.mean.signum() == f64::from(weight).signum());
        assert!((cause.share.mean - cause.effect.mean / search.activation).abs() < 0.02, "{cause:?}");
        let (low, high) = (cause.effect.ci_low.expect("low"), cause.effect.ci_high.expect("high"));
        assert!(low <= cause.effect.mean && cause.effect.mean <= high, "{cause:?}");
    }
    let others = found.causes.iter().filter(|cause| ![2, 4].contains(&cause.from.feature));
    others.for_each(|cause| assert!(cause.effect.mean.abs() < 1e-4, "{cause:?}"));
    let order: Vec<f64> = found.causes.iter().map(|cause| cause.effect.mean.abs()).collect();
    assert!(order.windows(2).all(|pair| pair[0] >= pair[1]), "{order:?}");
}

#[test]
fn an_effect_is_what_a_pass_with_the_feature_set_to_zero_shows() {
    let subject = subject();
    let width = subject.model().info().d_model;
    let (early, late) =
        (random("blocks.0.hook_resid_post", width, 0.2), random("blocks.1.hook_resid_post", width, 0.5));
    let target = TraceFeature { dictionary: 1, feature: 2 };
    let found = traced(&subject, &[&early, &late], params(), target).expect("traced");
    assert_eq!(found.causes.len(), 4);
    let writers = [Writer::new(&early).expect("decodes"), Writer::new(&late).expect("decodes")];
    let pool = Pool::new(subject.model(), &writers, tokens(), &|_, _| ()).expect("encodes");
    let places = pool.choose(target, 8, 0).expect("it fires").places;
    let clean = pool.codes_of(target);
    for cause in &found.causes {
        let writer = Writer::new(&early).expect("decodes");
        let edits =
            [FeatureEdit::new(writer, vec![(cause.from.feature, Change::Set(0.0))]).expect("an edit")];
        let edited = FeatureEdits::new(&edits);
        let wanted = Wanted::Activations(late.info().hook);
        let after = subject.model().edited(&tokens(), &edited.edits(), wanted).expect("runs");
        failure_of(&edits).expect("no failure");
        let codes = late.encode_features(&after, &[target.feature]).expect("codes");
        let drops = places.iter().map(|(fragment, position)| {
            let row = fragment * COLS + position;
            f64::from(clean[row]) - f64::from(codes.at(row, 0))
        });
        let expected = drops.sum::<f64>() / places.len() as f64;
        assert!((cause.effect.mean - expected).abs() < 1e-3, "{} is not {expected}", cause.effect.mean);
    }
    // Few enough to try: the best by attribution is the best of all.
    let first = traced(&subject, &[&early, &late], TraceParams { max_exact: 1, ..params() }, target);
    assert_eq!(first.expect("traced").features[0].found.as_ref().expect("searched").tried, 1);
}

#[test]
fn traces_go_back_step_by_step_and_do_not_depend_on_threads() {
    let subject = subject();
    let width = subject.model().info().d_model;
    let dictionaries = ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
        .map(|hook| random(hook, width, 0.3));
    let all: Vec<&AffineDictionary> = dictionaries.iter().collect();
    let target = TraceFeature { dictionary: 2, feature: 1 };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let params = TraceParams { depth: 3, top: 2, ..params() };
        pool.install(|| traced(&subject, &all, params, target)).expect("traced")
    };
    let found = with(1);
    assert_eq!(found, with(3), "the number of threads changes it");
    let of_step = |step: usize| found.features.iter().filter(move |one| one.step == step);
    assert_eq!((of_step(0).count(), of_step(1).count()), (1, 2));
    assert!(of_step(1).all(|one| one.id.dictionary == 1 && one.found.is_ok()));
    assert!(of_step(2).count() >= 2 && of_step(2).all(|one| one.id.dictionary == 0));
    assert!(of_step(2).all(|one| one.found == Err(NoCauses::NothingEarlier)), "depth is not reached");
    let ids: Vec<TraceFeature> = found.features.iter().map(|one| one.id).collect();
    assert_eq!(crate::base::distinct(ids.clone()), ids, "a feature is listed twice");
}

#[test]
fn a_feature_without_causes_is_refused_with_the_reason() {
    let subject = subject();
    let width = subject.model().info().d_model;
    let late = random("blocks.1.hook_resid_post", width, 0.3);
    let target = TraceFeature { dictionary: 0, feature: 1 };
    let error = traced(&subject, &[&late], params(), target).expect_err("nothing is earlier").to_string();
    assert!(
        error.contains("blocks.1.hook_resid_post/planted/1") && error.contains("several hook points"),
        "{error}"
    );
    let never = random("blocks.1.hook_resid_post", width, -1e6);
    let early = random("blocks.0.hook_resid_post", width, 0.3);
    let error =
        traced(&subject, &[&never, &early], params(), target).expect_err("it never fires").to_string();
    assert!(error.contains("fires on none of the fragments"), "{error}");
    let missing = TraceFeature { feature: 99, ..target };
    let error =
        traced(&subject, &[&late, &early], params(), missing).expect_err("no such feature").to_string();
    assert!(error.contains("features 0 to 11"), "{error}");
}
