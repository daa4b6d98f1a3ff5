use super::*;
use crate::causal::patching::tests::{Toy, VOCAB, WIDTH, identity};

/// The axis that alone tells the labels apart.
const CONCEPT: usize = 4;

/// Tokens r and r + 12 have the same embedding but on the concept's axis.
fn toy(reads: bool) -> Toy {
    let mut toy = Toy::new(reads);
    let mut stream = Stream::new(11, "erasure");
    let plain = Matrix::from_fn(12, WIDTH, |_, _| stream.normal() as f32);
    toy.embedding = Matrix::from_fn(VOCAB, WIDTH, |row, col| match col == CONCEPT {
        true => f32::from(u8::from(row >= 12)),
        false => plain.at(row % 12, col),
    });
    toy
}

/// Each prompt has a twin with the other label, held out together.
fn prompts() -> ConceptPrompts {
    let mut stream = Stream::new(12, "prompts");
    let drawn: Vec<Vec<u32>> = (0..20).map(|_| (0..3).map(|_| stream.below(12) as u32).collect()).collect();
    let twin = |prompt: &Vec<u32>| prompt.iter().map(|token| token + 12).collect::<Vec<u32>>();
    let prompts: Vec<Vec<u32>> = drawn.iter().flat_map(|prompt| [prompt.clone(), twin(prompt)]).collect();
    ConceptPrompts {
        name: "planted".into(),
        labels: ["low".into(), "high".into()],
        classes: (0..prompts.len()).map(|nth| nth % 2 == 1).collect(),
        is_test: (0..prompts.len()).map(|nth| nth / 2 % 3 == 0).collect(),
        prompts,
    }
}

fn run(toy: &Toy, prompts: &ConceptPrompts, params: &ErasureParams) -> Result<ErasedConcept, CausalError> {
    let of = identity(WIDTH);
    let writer = Writer::new(&of).expect("writes");
    erase((toy, &writer), prompts, params, (7, "toy"), &|_, _| (), &|| false)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn a_concept_that_is_one_feature_is_gone_without_it() {
    let params = ErasureParams { features: vec![1, 2, 99], ..ErasureParams::default() };
    let found = run(&toy(true), &prompts(), &params).expect("erases");
    let names: Vec<&str> = found.curves.iter().map(|curve| curve.eraser.as_str()).collect();
    assert_eq!(names, [FEATURES, RANDOM_FEATURES, LEACE, MEAN_PROJECTION]);
    assert_eq!((found.n_features, found.majority.len(), mean(&found.majority)), (1, 14, 0.5));
    let features = &found.curves[0].points;
    let counts: Vec<Option<usize>> = features.iter().map(|point| point.n_features).collect();
    assert_eq!(counts, [Some(0), Some(1)], "no more features differ");
    let accuracy: Vec<f64> = features.iter().map(|point| mean(&point.right)).collect();
    assert_eq!(accuracy, [1.0, 0.5]);
    assert!(features[0].kl.iter().chain(&features[0].edit_size).all(|value| *value == 0.0));
    for (test, kl) in features[1].kl.iter().enumerate() {
        assert_eq!(*kl > 0.0, test % 2 == 1, "prompts without the feature are not changed");
    }
    for baseline in &found.curves[2..] {
        let point = &baseline.points[0];
        assert_eq!((point.n_features, mean(&point.right)), (None, 0.5), "{}", baseline.eraser);
        assert!(point.kl.iter().all(|kl| *kl > 0.0));
    }
}

#[test]
fn the_last_position_can_be_edited_alone() {
    let params = |positions| ErasureParams { positions, ..ErasureParams::default() };
    let [all, last] = [Positions::All, Positions::Last]
        .map(|which| run(&toy(true), &prompts(), &params(which)).expect("erases"));
    let size = |found: &ErasedConcept| mean(&found.curves[0].points[1].edit_size);
    assert!(size(&last) > 0.0 && size(&last) < size(&all));
    // This toy's output reads the last position only.
    assert_eq!(all.curves[0].points[1].kl, last.curves[0].points[1].kl);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| run(&toy(true), &prompts(), &ErasureParams::default()).expect("erases"))
    };
    assert_eq!(with(1), with(3));
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let mut one = prompts();
    one.classes.fill(true);
    let why = run(&toy(true), &one, &ErasureParams::default()).expect_err("one label").to_string();
    assert!(why.starts_with("erase the concept `planted`: a label has fewer than 2"), "{why}");
    let unread =
        run(&toy(false), &prompts(), &ErasureParams::default()).expect_err("nothing reaches the output");
    assert!(matches!(unread, CausalError::NoEffect { .. }));
}
