use candle_core::Var;

use super::super::attention::{Heads, attention};
use super::*;
use crate::base::Stream;

fn random(stream: &mut Stream, shape: &[usize]) -> Tensor {
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| stream.normal() as f32).collect();
    tensor(data, shape).expect("a tensor")
}

/// Compares the gradient of a weighted sum of `f` with central differences.
fn check(name: &str, inputs: Vec<Tensor>, f: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let mut stream = Stream::new(3, "gradient");
    let out = f(&inputs).expect("forward");
    let weights = random(&mut stream, out.dims());
    let value = |inputs: &[Tensor]| {
        let sum = (f(inputs).expect("forward") * &weights).and_then(|x| x.sum_all()).expect("sum");
        sum.to_scalar::<f32>().expect("scalar")
    };
    let vars: Vec<Var> = inputs.iter().map(|x| Var::from_tensor(x).expect("var")).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let loss = (f(&tensors).expect("forward") * &weights).and_then(|x| x.sum_all()).expect("sum");
    let grads = loss.backward().expect("backward");
    for (which, var) in vars.iter().enumerate() {
        let grad =
            grads.get(var).expect("gradient").flatten_all().and_then(|g| g.to_vec1::<f32>()).expect("vec");
        let base = inputs[which].flatten_all().and_then(|x| x.to_vec1::<f32>()).expect("vec");
        for at in (0..base.len()).step_by(base.len().div_ceil(12)) {
            let nudged = |by: f32| {
                let mut data = base.clone();
                data[at] += by;
                let mut inputs = inputs.clone();
                inputs[which] = tensor(data, inputs[which].shape().clone()).expect("tensor");
                value(&inputs)
            };
            let expected = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
            let got = grad[at];
            assert!(
                (got - expected).abs() < 2e-2 * (1.0 + expected.abs()),
                "{name} {which} {at}: {got} {expected}"
            );
        }
    }
}

#[test]
fn gradients_agree_with_differences() {
    let mut stream = Stream::new(1, "inputs");
    let mut draw = |shape: &[usize]| random(&mut stream, shape);
    let (x, b) = (draw(&[6, 8]), draw(&[8]));
    check("bias", vec![x.clone(), b.clone()], |t| t[0].apply_op2(&t[1], AddBias));
    check("gelu", vec![x.clone(), b.clone()], |t| t[0].apply_op2(&t[1], BiasGelu));
    check("norm", vec![x.clone(), draw(&[8]), b], |t| t[0].apply_op3(&t[1], &t[2], LayerNorm { eps: 1e-5 }));
    check("cross entropy", vec![x], |t| t[0].apply_op1(CrossEntropy(vec![1, 7, 0, 3, 3, 2])));
    let heads = Heads { batch: 2, positions: 5, count: 2, width: 4, pairs: 1 };
    check("attention", vec![draw(&[10, 24])], |t| attention(&t[0], heads, 10_000.0));
}

#[test]
fn exponential_and_normal_are_accurate() {
    for i in -400..400 {
        let x = i as f32 * 0.05;
        let relative = (f64::from(exp(x)) / f64::from(x).exp() - 1.0).abs();
        assert!(relative < 2e-6, "exp({x}): {relative}");
    }
    for (x, below) in [(0.0, 0.5), (1.0, 0.841_344_7), (-2.0, 0.022_750_13), (3.0, 0.998_650_1)] {
        assert!((normal(x).0 - below).abs() < 1e-6, "{x}");
    }
}
