use candle_core::Device;

use serde_json::{Value, json};

use super::super::training::Training;
use super::*;
use crate::base::Stream;
use crate::dictionary::{DictionaryFit, MethodParams};

const D: usize = 12;
const F: usize = 40;
const ROWS: usize = 96;

/// Rows that are sums of 3 of 24 random directions, of unit mean square.
fn batches(n: usize) -> Vec<Vec<f32>> {
    let mut stream = Stream::new(3, "batches");
    let directions: Vec<f32> = (0..2 * D * D).map(|_| stream.normal() as f32).collect();
    let row = |stream: &mut Stream| {
        let mut row = vec![0.0f32; D];
        for _ in 0..3 {
            let at = stream.below(2 * D) * D;
            let weight = 0.5 + stream.unit() as f32;
            row.iter_mut().zip(&directions[at..at + D]).for_each(|(slot, value)| *slot += weight * value);
        }
        row
    };
    (0..n).map(|_| (0..ROWS).flat_map(|_| row(&mut stream)).map(|value| 0.55 * value).collect()).collect()
}

fn start() -> Vec<f32> {
    let mut stream = Stream::new(5, "start");
    (0..F * D).map(|_| stream.normal() as f32 / (D as f32).sqrt()).collect()
}

fn training(fit: &dyn DictionaryFit) -> Training {
    let recipe = fit.recipe(D, "test").expect("trained by steps").expect("fits");
    Training::from_decoder(&recipe, D, ROWS, start(), Stream::new(1, "test"), &Device::Cpu).expect("room")
}

const STEPS: usize = 60;

/// Every kind, with dead features, resampling and nested dictionaries where it has them.
fn kinds() -> Vec<(&'static str, Box<dyn DictionaryFit>)> {
    // So few rows that some features are soon dead.
    let largest = json!({"k": 4, "dead_rows": 3 * ROWS});
    let resampled = json!({"target_l0": 4.0, "resamples": 2});
    let own = [
        ("topk", &largest),
        ("batch_topk", &largest),
        ("matryoshka", &largest),
        ("sae", &resampled),
        ("sae_untied", &resampled),
        ("gated", &resampled),
        ("jumprelu", &json!({"target_l0": 4.0})),
    ];
    let fit = |(kind, own): (&'static str, &Value)| {
        let mut params = json!({"kind": kind, "features": F, "steps": STEPS, "batch": ROWS, "lr": 3e-3});
        let own = own.as_object().expect("an object").clone();
        params.as_object_mut().expect("an object").extend(own);
        let params: MethodParams = serde_json::from_value(params).expect("known fields");
        (kind, params.check().expect("valid"))
    };
    own.into_iter().map(fit).collect()
}

/// The CPU, through candle's operations, and the first GPU where there is one.
fn devices() -> Vec<Device> {
    [Some(Device::Cpu), crate::nn::gpu_for_tests()].into_iter().flatten().collect()
}

#[test]
fn a_device_learns_what_main_memory_does() {
    let batches = batches(8);
    let all = kinds();
    for (device, (kind, fit)) in
        devices().iter().flat_map(|device| all.iter().map(move |kind| (device, kind)))
    {
        let (mut here, mut there) = (training(fit.as_ref()), training(fit.as_ref()));
        there.move_to(device).expect("room");
        let (mut first, mut last) = (0.0, 0.0);
        for step in 0..STEPS {
            let batch = &batches[step % batches.len()];
            let expected = here.step(step, batch).expect("main memory");
            let got = there.step(step, batch).expect("a device");
            // Only rounding differs, and Adam amplifies it.
            let apart = (got / expected - 1.0).abs();
            assert!(
                apart < 2e-4 * (1.0 + step as f64),
                "{kind}, step {step}: {got}, in main memory {expected}"
            );
            assert!((here.l0() - there.l0()).abs() <= 0.02 * here.l0() + 0.02, "{kind}, step {step}");
            if step == 0 {
                first = expected;
            }
            last = expected;
        }
        assert!(last < 0.8 * first, "{kind} learns: {first} to {last}");
    }
}

#[test]
fn the_largest_of_each_row_are_kept() {
    let x = Tensor::new(
        &[[0.5f32, -1.0, 2.0, 2.0, f32::NAN, 3.0], [-1.0, 0.25, 0.0, -0.0, -2.0, -3.0]],
        &Device::Cpu,
    )
    .expect("a tensor");
    let kept = keep_largest(&x, 2).expect("kept").to_vec2::<f32>().expect("rows");
    assert_eq!(kept, [[0.0, 0.0, 2.0, 0.0, 0.0, 3.0], [0.0, 0.25, 0.0, 0.0, 0.0, 0.0]]);
}

#[test]
fn the_threshold_of_a_batch_is_its_nth_largest_entry() {
    let mut stream = Stream::new(9, "cut");
    let values: Vec<f32> = (0..600).map(|_| stream.normal().max(0.0) as f32).collect();
    let mut sorted = values.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let positive = sorted.iter().filter(|value| **value > 0.0).count();
    for device in devices() {
        let x = Tensor::from_slice(&values, (20, 30), &device).expect("a tensor");
        for n in [1, 2, 77, positive] {
            assert_eq!(nth_largest(&x, n).expect("found"), sorted[n - 1], "{n}");
        }
        assert_eq!(nth_largest(&x, 10_000).expect("found"), sorted[positive - 1]);
        let none = Tensor::zeros((2, 3), candle_core::DType::F32, &device).expect("a tensor");
        assert_eq!(nth_largest(&none, 2).expect("found"), f32::INFINITY);
    }
}
