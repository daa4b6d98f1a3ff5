//! Passes from given activations, edits at several hook points, and gradients with respect to activations.

use super::variants::{GOLDEN, configurations, parsed, tensors_of};
use super::*;
use crate::base::Stream;

/// `edits.safetensors` of a fixture; `tests/fixtures/make_edits.py` describes its tensors.
fn edits_of(family: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(family).join("edits.safetensors"), &Device::Cpu).expect("tensors")
}

fn hook(name: &str) -> HookPoint {
    name.parse().expect("a hook point")
}

fn tensor(rows: &Matrix) -> Tensor {
    Tensor::from_slice(rows.data(), (rows.rows(), rows.cols()), &Device::Cpu).expect("rows")
}

/// Activations at a hook point.
fn activations(model: &Transformer, tokens: &TokenBatch, hook: HookPoint) -> Matrix {
    let request = Request { hooks: &[hook], edits: &[], output: Output::Nothing };
    matrix_of(model.forward(tokens, request).expect("runs").activations.pop()).expect("rows")
}

/// Row of the last position of each sequence.
fn last_rows(tokens: &TokenBatch) -> Vec<u32> {
    (1..=tokens.rows()).map(|nth| (nth * tokens.cols() - 1) as u32).collect()
}

fn shifted(shift: Vec<f32>, factor: f32) -> impl Fn(&mut Matrix) + Sync {
    move |rows: &mut Matrix| {
        for row in rows.data_mut().chunks_exact_mut(shift.len()) {
            row.iter_mut().zip(&shift).for_each(|(x, by)| *x = factor * *x + by);
        }
    }
}

#[test]
fn edits_at_two_hook_points_agree_with_pytorch_hooks() {
    for family in FAMILIES {
        let (expected, (_, tokens)) = (edits_of(family), reference(family));
        let direction = entries(&expected["two.direction"]).iter().map(|x| 1.5 * x).collect();
        let first = shifted(direction, 0.5);
        let second = shifted(entries(&expected["two.constant"]), 1.0);
        let edits = [
            Edit { hook: hook("blocks.0.hook_resid_post"), apply: &first },
            Edit { hook: hook("blocks.1.hook_mlp_out"), apply: &second },
        ];
        for model in [load(&fixture(family), "config.json"), packed(family)] {
            let pass = model.forward(&tokens, Request::edited(&edits, Output::Logits)).expect("runs");
            let off = distance(&pass.output.expect("logits"), &expected["two.logits"]);
            assert!(off < 1e-5, "{family}: {off:.1e}");
            // Each edit alone gives something else.
            for edit in edits {
                let pass = model.forward(&tokens, Request::edited(&[edit], Output::Logits)).expect("runs");
                assert!(distance(&pass.output.expect("logits"), &expected["two.logits"]) > 1e-2, "{family}");
            }
        }
    }
}

#[test]
fn edits_of_one_hook_point_are_applied_in_order() {
    let model = load(&fixture("llama"), "config.json");
    let (_, tokens) = reference("llama");
    let at = hook("blocks.0.hook_resid_post");
    let (double, shift) = (shifted(vec![0.0; 8], 2.0), shifted(vec![1.0; 8], 1.0));
    let edited = |apply: [&(dyn Fn(&mut Matrix) + Sync); 2]| {
        let edits = apply.map(|apply| Edit { hook: at, apply });
        let request = Request { hooks: &[at], edits: &edits, output: Output::Nothing };
        matrix_of(model.forward(&tokens, request).expect("runs").activations.pop()).expect("rows")
    };
    let plain = activations(&model, &tokens, at);
    let by = |change: fn(f32) -> f32| plain.data().iter().map(|&x| change(x)).collect::<Vec<f32>>();
    assert_eq!(edited([&double, &shift]).data(), by(|x| 2.0 * x + 1.0));
    assert_eq!(edited([&shift, &double]).data(), by(|x| 2.0 * (x + 1.0)));
}

#[test]
fn cached_passes_with_edits_give_the_logits_of_the_whole() {
    for family in FAMILIES {
        let (_, tokens) = reference(family);
        let first = shifted((0..8).map(|at| 0.3 * at as f32 - 1.0).collect(), 0.5);
        let second = shifted(vec![0.7; 8], 1.0);
        let edits = [
            Edit { hook: hook("blocks.0.hook_resid_post"), apply: &first },
            Edit { hook: hook("blocks.1.hook_mlp_out"), apply: &second },
        ];
        let model = load(&fixture(family), "config.json");
        let whole = model.forward(&tokens, Request::edited(&edits, Output::Logits)).expect("runs");
        let whole = whole.output.expect("logits");
        for row in 0..2 {
            let mut past = [PrefixCache::new(&model)];
            let mut logits = Vec::new();
            for (start, end) in [(0, 4), (4, 5), (5, 10)] {
                let part = TokenBatch::new(tokens.row(row)[start..end].to_vec(), end - start).expect("whole");
                let normed = model.forward_cached_edited(&part, &mut past, &edits).expect("runs");
                logits.extend_from_slice(model.logits_of(normed.data()).expect("logits").data());
            }
            let parts = Tensor::from_vec(logits, (10, 20), &Device::Cpu).expect("logits");
            let off = distance(&parts, &whole.narrow(0, row * 10, 10).expect("a sequence"));
            assert!(off < 1e-5, "{family}: {off:.1e}");
        }
    }
}

/// Logits of activations that are changed from position 4 on: in one pass, and behind the prefix caches of the others.
fn whole_and_behind(model: &Transformer, tokens: &TokenBatch, hook: HookPoint) -> [Tensor; 2] {
    let (own, kept) = (activations(model, tokens, hook), 4);
    let behind: Vec<usize> = (0..own.rows()).filter(|row| row % tokens.cols() >= kept).collect();
    let mut changed = own.clone();
    behind.iter().for_each(|&row| changed.row_mut(row).iter_mut().for_each(|x| *x = 0.5 * *x + 0.3));
    let given = Given { hook, rows: changed.data() };
    let whole = matrix_of(model.forward_given(tokens, given, &[], Output::Logits).expect("runs").output);
    let mut past = vec![PrefixCache::new(model); tokens.rows()];
    let unchanged = Given { hook, rows: own.data() };
    model.forward_given_cached(tokens, &mut past, unchanged, &[], Output::FinalNorm).expect("runs");
    past.iter_mut().for_each(|past| past.truncate(kept));
    let ids = behind.iter().map(|&row| tokens.ids()[row]).collect();
    let ends = TokenBatch::new(ids, tokens.cols() - kept).expect("whole");
    let rows = changed.select_rows(&behind);
    let given = Given { hook, rows: rows.data() };
    let parts = model.forward_given_cached(&ends, &mut past, given, &[], Output::Logits).expect("runs");
    assert!(past.iter().all(|past| past.positions() == tokens.cols()));
    [tensor(&whole.expect("logits").select_rows(&behind)), parts.output.expect("logits")]
}

#[test]
fn passes_behind_a_shared_prefix_give_the_logits_of_whole_sequences() {
    for family in FAMILIES {
        let (_, tokens) = reference(family);
        let model = packed(family);
        for name in
            ["hook_embed", "blocks.0.hook_resid_post", "blocks.0.attn.hook_z", "blocks.1.hook_mlp_out"]
        {
            let [whole, behind] = whole_and_behind(&model, &tokens, hook(name));
            assert_eq!(entries(&behind), entries(&whole), "{family} {name}");
        }
        let few = &mut [PrefixCache::new(&model)];
        let own = activations(&model, &tokens, hook("hook_embed"));
        let given = Given { hook: hook("hook_embed"), rows: own.data() };
        assert!(model.forward_given_cached(&tokens, few, given, &[], Output::FinalNorm).is_err());
    }
    // Windows, biases on keys, learned positions with an offset, and the other forms of residual streams.
    for (name, config) in configurations() {
        let (tensors, tokens) = tensors_of(&name);
        let weights = Weights::from_tensors(tensors, "plain");
        let model = Transformer::new(&parsed(&config), &weights).expect("fits");
        for at in ["hook_embed", "blocks.0.hook_resid_post"] {
            let [whole, behind] = whole_and_behind(&model, &tokens, hook(at));
            let off = distance(&behind, &whole);
            assert!(off < 4e-6, "{name} {at}: {off:.1e}");
        }
    }
}

#[test]
fn a_pass_from_the_models_own_activations_gives_its_logits() {
    for family in FAMILIES {
        let (expected, tokens) = reference(family);
        let model = load(&fixture(family), "config.json");
        let inputs = (0..2).map(|layer| HookPoint::Block { layer, site: Site::MlpIn });
        for hook in every_hook(&model).into_iter().chain(inputs) {
            let own = activations(&model, &tokens, hook);
            let given = Given { hook, rows: own.data() };
            let last = [HookPoint::Block { layer: 1, site: Site::ResidPost }];
            let hooks: &[HookPoint] = if hook == last[0] { &[] } else { &last };
            let pass = model.forward_given(&tokens, given, hooks, Output::Logits).expect("runs");
            let off = distance(pass.output.as_ref().expect("logits"), &expected["logits"]);
            assert!(off < 1e-5, "{family} {hook}: {off:.1e}");
            assert_eq!(pass.activations.len(), hooks.len());
            for found in &pass.activations {
                let off = distance(found, &expected["blocks.1.hook_resid_post"]);
                assert!(off < 1e-5, "{family} {hook}: {off:.1e}");
            }
            // Other rows give other logits, and the same as an edit that puts them there.
            let other = own.data().iter().enumerate().map(|(at, x)| 0.5 * x + 0.1 * (at % 3) as f32);
            let other: Vec<f32> = other.collect();
            let given = Given { hook, rows: &other };
            let pass = model.forward_given(&tokens, given, &[], Output::Logits).expect("runs");
            let put = |rows: &mut Matrix| rows.data_mut().copy_from_slice(&other);
            let edits = [Edit { hook, apply: &put }];
            let edited = model.forward(&tokens, Request::edited(&edits, Output::Logits)).expect("runs");
            let (given, edited) = (pass.output.expect("logits"), edited.output.expect("logits"));
            assert!(distance(&given, &edited) < 1e-6, "{family} {hook}");
            assert!(distance(&given, &expected["logits"]) > 1e-4, "{family} {hook}");
        }
    }
}

/// softmax(logits), row by row, in f64.
fn softmax(rows: &Matrix) -> Vec<Vec<f64>> {
    let of_row = |row: &[f32]| {
        let top = row.iter().fold(f32::NEG_INFINITY, |top, &x| top.max(x));
        let exp: Vec<f64> = row.iter().map(|&x| f64::from(x - top).exp()).collect();
        let total: f64 = exp.iter().sum();
        exp.iter().map(|x| x / total).collect()
    };
    rows.iter_rows().map(of_row).collect()
}

#[test]
fn gradients_of_last_logits_agree_with_pytorch() {
    for family in FAMILIES {
        let (expected, (_, tokens)) = (edits_of(family), reference(family));
        let target = &expected["kl.target"];
        let target = Matrix::from_vec(2, 20, entries(target)).expect("two rows");
        let p = softmax(&target);
        let rows = last_rows(&tokens);
        for model in [load(&fixture(family), "config.json"), packed(family)] {
            for name in
                ["hook_embed", "blocks.0.hook_resid_post", "blocks.0.attn.hook_z", "blocks.1.mlp.hook_post"]
            {
                let own = activations(&model, &tokens, hook(name));
                let given = Given { hook: hook(name), rows: own.data() };
                let difference = |logits: &Matrix| {
                    assert_eq!((logits.rows(), logits.cols()), (2, 20));
                    Matrix::from_fn(2, 20, |_, token| match token {
                        3 => 1.0,
                        11 => -1.0,
                        _ => 0.0,
                    })
                };
                let found = model.pullback(&tokens, given, Values::Logits(&rows), &difference).expect("runs");
                let off = distance(&tensor(&found.gradient), &expected[&format!("difference.{name}")]);
                assert!(off < 1e-5, "{family} {name}: {off:.1e}");
                // The gradient of KL(p ‖ q) with respect to logits is q − p.
                let towards = |logits: &Matrix| {
                    let q = softmax(logits);
                    Matrix::from_fn(2, 20, |row, token| (q[row][token] - p[row][token]) as f32)
                };
                let found = model.pullback(&tokens, given, Values::Logits(&rows), &towards).expect("runs");
                let off = distance(&tensor(&found.gradient), &expected[&format!("kl.{name}")]);
                assert!(off < 1e-5, "{family} {name}: {off:.1e}");
                let q = softmax(&found.values);
                for (row, kl) in entries(&expected["kl.values"]).into_iter().enumerate() {
                    let got: f64 = p[row].iter().zip(&q[row]).map(|(p, q)| p * (p / q).ln()).sum();
                    assert!((got - f64::from(kl)).abs() < 1e-5, "{family} {name}: {got} is not {kl}");
                }
            }
        }
    }
}

#[test]
fn gradients_of_later_activations_agree_with_pytorch() {
    for family in FAMILIES {
        let (expected, (reference, tokens)) = (edits_of(family), reference(family));
        let model = load(&fixture(family), "config.json");
        let (from, to) = (hook("blocks.0.hook_resid_pre"), hook("blocks.1.hook_resid_post"));
        let own = activations(&model, &tokens, from);
        let given = Given { hook: from, rows: own.data() };
        let weights = |_: &Matrix| Matrix::from_vec(20, 8, entries(&expected["sum.weights"])).expect("rows");
        let found = model.pullback(&tokens, given, Values::Activations(to), &weights).expect("runs");
        let off = distance(&tensor(&found.gradient), &expected["sum.gradient"]);
        // Both ways through the model in f32.
        assert!(off < 3e-5, "{family}: {off:.1e}");
        let off = distance(&tensor(&found.values), &reference["blocks.1.hook_resid_post"]);
        assert!(off < 1e-5, "{family}: {off:.1e}");
    }
}

/// Step sizes of finite differences, as shares of the norm of the activations.
const STEPS: [f64; 5] = [1e-2, 1e-3, 3e-4, 1e-4, 3e-5];

/// Compares a gradient with central differences along itself and along a random direction.
///
/// Passes are in f32, so a large step errs by curvature and kinks, and a small one by rounding: the best of several steps
/// counts. Activations so close to a kink (a clamp, the choice of experts) that every step crosses it are replaced by
/// others nearby. A wrong gradient is far from all of them.
fn check_gradient(
    name: &str,
    model: &Transformer,
    tokens: &TokenBatch,
    from: HookPoint,
    to: Option<HookPoint>,
) {
    let own = activations(model, tokens, from);
    let mut stream = Stream::named(4, &[name, &from.to_string()]);
    let mut wrong = Vec::new();
    for shift in [0.0, 0.02, 0.02] {
        let noise = |x: &f32| x * (1.0 + shift * stream.normal() as f32);
        let rows = own.data().iter().map(noise).collect();
        let point = Matrix::from_vec(own.rows(), own.cols(), rows).expect("as many");
        match gradient_errors(name, model, tokens, (from, &point), to) {
            None => return,
            Some(errors) => wrong.push(errors),
        }
    }
    panic!("{name} {from}: {wrong:?}");
}

/// Relative errors of a gradient by step, at given activations; none if it is right.
fn gradient_errors(
    name: &str,
    model: &Transformer,
    tokens: &TokenBatch,
    (from, own): (HookPoint, &Matrix),
    to: Option<HookPoint>,
) -> Option<[f64; 5]> {
    let last = last_rows(tokens);
    let values_given = |rows: &[f32]| -> Matrix {
        let given = Given { hook: from, rows };
        let hooks = to.as_slice();
        let output = if to.is_some() { Output::Nothing } else { Output::Logits };
        let mut pass = model.forward_given(tokens, given, hooks, output).expect("runs");
        let all = matrix_of(pass.activations.pop().or(pass.output)).expect("values");
        let places: Vec<usize> = last.iter().map(|&row| row as usize).collect();
        if to.is_some() { all } else { all.select_rows(&places) }
    };
    let mut stream = Stream::named(3, &[name, &from.to_string()]);
    let plain = values_given(own.data());
    let weights = Matrix::from_fn(plain.rows(), plain.cols(), |_, _| stream.normal() as f32);
    let values = to.map_or(Values::Logits(&last), Values::Activations);
    let given = Given { hook: from, rows: own.data() };
    let found = model.pullback(tokens, given, values, &|_| weights.clone()).expect("runs");
    let off = distance(&tensor(&found.values), &tensor(&plain));
    assert!(off < 1e-5, "{name} {from}: values {off:.1e}");
    let in_f64 = |entries: &[f32]| entries.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let unit = |direction: Vec<f64>| {
        let norm = dot(&direction, &direction).sqrt();
        direction.into_iter().map(|x| x / norm).collect::<Vec<f64>>()
    };
    let (x, gradient, weights) = (in_f64(own.data()), in_f64(found.gradient.data()), in_f64(weights.data()));
    let size = dot(&gradient, &gradient).sqrt();
    assert!(size > 0.0, "{name} {from}: no gradient");
    let random = x.iter().map(|_| stream.normal()).collect();
    for direction in [unit(gradient.clone()), unit(random)] {
        let value_at = |step: f64| {
            let rows: Vec<f32> = x.iter().zip(&direction).map(|(x, u)| (x + step * u) as f32).collect();
            dot(&in_f64(values_given(&rows).data()), &weights)
        };
        let expected = dot(&gradient, &direction);
        let errors = STEPS.map(|share| {
            let step = share * dot(&x, &x).sqrt();
            ((value_at(step) - value_at(-step)) / (2.0 * step) - expected).abs() / size
        });
        let best = errors.into_iter().fold(f64::INFINITY, f64::min);
        if best >= 1e-2 {
            return Some(errors);
        }
    }
    None
}

/// Every hook point of the first and the last layer.
fn check_gradients(name: &str, model: &Transformer, tokens: &TokenBatch) {
    let last = model.architecture().n_layers - 1;
    let inputs = [0, last].map(|layer| HookPoint::Block { layer, site: Site::MlpIn });
    for from in every_hook(model).into_iter().chain(inputs) {
        if matches!(from, HookPoint::Block { layer, .. } if layer != 0 && layer != last) {
            continue;
        }
        check_gradient(name, model, tokens, from, None);
    }
    let [from, to] =
        [(0, Site::ResidPre), (last, Site::ResidPost)].map(|(layer, site)| HookPoint::Block { layer, site });
    check_gradient(name, model, tokens, from, Some(to));
}

#[test]
fn gradients_agree_with_finite_differences_for_fixtures_and_variants() {
    for family in FAMILIES {
        let (_, tokens) = reference(family);
        check_gradients(family, &load(&fixture(family), "config.json"), &tokens);
        check_gradients(&format!("{family}, packed"), &packed(family), &tokens);
    }
    for (name, config) in configurations() {
        let (tensors, tokens) = tensors_of(&name);
        let model =
            Transformer::new(&parsed(&config), &Weights::from_tensors(tensors, "variant")).expect("fits");
        check_gradients(&name, &model, &tokens);
    }
}

#[test]
fn gradients_agree_with_finite_differences_for_every_family() {
    let Some(shared) = shared() else { return };
    for name in RANDOM_MODELS.into_iter().chain(GOLDEN) {
        let folder = shared.join("golden").join(name);
        let golden = candle_core::safetensors::load(folder.join("golden.safetensors"), &Device::Cpu);
        let ids = golden.expect("tensors")["input_ids"].to_dtype(DType::U32).and_then(|ids| ids.to_vec1());
        // Two sequences, so that neither may leak into the other.
        let mut ids: Vec<u32> = ids.expect("ids");
        ids.truncate(ids.len().min(24) / 2 * 2);
        let cols = ids.len() / 2;
        let tokens = TokenBatch::new(ids, cols).expect("whole");
        check_gradients(name, &load(&folder, "config.json"), &tokens);
    }
}

#[test]
fn a_sequences_gradient_is_0_at_other_sequences_and_at_later_positions() {
    for family in FAMILIES {
        let model = load(&fixture(family), "config.json");
        let (_, tokens) = reference(family);
        let from = hook("blocks.0.hook_resid_pre");
        let own = activations(&model, &tokens, from);
        let given = Given { hook: from, rows: own.data() };
        // Position 6 of the second sequence.
        let ones = |values: &Matrix| Matrix::from_fn(values.rows(), values.cols(), |_, col| (col % 3) as f32);
        let found = model.pullback(&tokens, given, Values::Logits(&[16]), &ones).expect("runs");
        for (row, gradient) in found.gradient.iter_rows().enumerate() {
            let is_read = (10..=16).contains(&row);
            assert_eq!(gradient.iter().any(|&x| x != 0.0), is_read, "{family}: row {row}");
        }
    }
}

#[test]
fn gradients_and_passes_that_are_not_possible_are_explained() {
    let model = load(&fixture("llama"), "config.json");
    let (_, tokens) = reference("llama");
    let weights = |values: &Matrix| Matrix::zeros(values.rows(), values.cols());
    let late = hook("blocks.1.mlp.hook_post");
    let own = activations(&model, &tokens, late);
    let given = Given { hook: late, rows: own.data() };
    let earlier = Values::Activations(hook("blocks.0.hook_resid_post"));
    let error = model.pullback(&tokens, given, earlier, &weights).expect_err("no gradient");
    assert!(matches!(error, NnError::NoGradient { hook } if hook == late), "{error}");
    let stream = hook("blocks.0.hook_resid_post");
    let rows = activations(&model, &tokens, stream);
    let given = Given { hook: stream, rows: rows.data() };
    let error = model.pullback(&tokens, given, Values::Activations(hook("hook_embed")), &weights);
    let error = error.expect_err("an earlier hook point").to_string();
    assert!(error.contains("blocks.0.hook_resid_post"), "{error}");
    let few = Given { hook: stream, rows: &rows.data()[8..] };
    let error = model.forward_given(&tokens, few, &[], Output::Logits).expect_err("a row is missing");
    assert!(matches!(error, NnError::EditShape { expected: [20, 8], got: [19, 8], .. }), "{error}");
    let none = |_: &Matrix| Matrix::zeros(1, 1);
    assert!(model.pullback(&tokens, given, Values::Logits(&[3, 5]), &none).is_err());
}
