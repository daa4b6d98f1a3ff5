use super::*;
use crate::base::{Digest, HookPoint};
use crate::dictionary::{Activation, AffineDictionary, Kind, Label, RowScale, Tensors};
use crate::subject::{LoadedSubject, WithPrefix, embedded};

const FEATURES: usize = 6;
const WIDTH: usize = 128;

fn hook() -> HookPoint {
    "blocks.2.hook_resid_post".parse().expect("a hook point")
}

/// Encoder and decoder rows are Gaussian and unrelated.
fn dictionary() -> AffineDictionary {
    let mut stream = Stream::new(3, "steering test");
    let mut rows = || Matrix::from_fn(FEATURES, WIDTH, |_, _| stream.normal() as f32 * 0.3);
    let tensors = Tensors {
        encoder: rows(),
        encoder_bias: vec![0.1; FEATURES],
        decoder: rows(),
        decoder_bias: vec![0.0; WIDTH],
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    let label = Label {
        method: "made".into(),
        kind: Kind::File,
        hook: hook(),
        fitted_on: Digest::of(b"nothing"),
        is_reconstruction: true,
        output: None,
    };
    AffineDictionary::new(label, tensors)
}

fn what(seeds: &[u64]) -> WhatToWrite<'_> {
    WhatToWrite { tokens: 8, temperature: 0.7, seeds, listed: 5 }
}

/// Runs `work` with a feature of the embedded model, behind a prefix.
fn with_steer<R>(prefix: &[u32], change: Change<'_>, work: impl FnOnce(&Steer<'_>, &[u32]) -> R) -> R {
    let loaded: LoadedSubject = embedded::load().expect("loads");
    let tokenizer = loaded.tokenizer().expect("a tokenizer");
    let subject = WithPrefix::new(loaded.model(), prefix);
    let prompt = tokenizer.encode("The old dog looked at the river").expect("encodes");
    let dictionary = dictionary();
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    let token_texts = tokenizer.token_texts(&ids);
    let text = |ids: &[u32]| tokenizer.decode(ids).expect("decodes");
    let steer = Steer {
        subject: &subject,
        token_texts: &token_texts,
        text: &text,
        dictionary: &dictionary,
        feature: 2,
        change,
    };
    work(&steer, &prompt)
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-4 * a.abs().max(b.abs())
}

#[test]
fn texts_differ_and_the_control_has_the_size_of_the_edit() {
    with_steer(&[], Change::Set(60.0), |steer, prompt| {
        let (next, samples) = steer.write(prompt, what(&[4, 5])).expect("written");
        assert!(next.kl > 0.01, "{}", next.kl);
        assert_eq!((next.raised.len(), next.lowered.len()), (5, 5));
        assert!(next.raised.windows(2).all(|pair| pair[0].change >= pair[1].change));
        assert!(next.raised.iter().all(|token| token.after > token.before));
        assert!(next.lowered.iter().all(|token| token.after < token.before));
        assert_eq!(samples.iter().map(|sample| sample.seed).collect::<Vec<_>>(), [4, 5]);
        for sample in &samples {
            assert_ne!(sample.unsteered.tokens, sample.steered.written.tokens);
            assert_ne!(sample.steered.written.tokens, sample.random_direction.written.tokens);
            let (edit, control) = (&sample.steered.edit, &sample.random_direction.edit);
            assert!(edit.prompt > 1.0 && is_close(edit.prompt, control.prompt), "{edit:?} {control:?}");
            assert!(is_close(sample.steered.next_token_kl, next.kl));
            for text in [&sample.unsteered, &sample.steered.written, &sample.random_direction.written] {
                assert_eq!(text.tokens.len(), 8);
                assert_eq!(text.perplexity, Some(text.nats_per_token.exp()));
            }
        }
        assert_ne!(samples[0].random_direction.next_token_kl, samples[1].random_direction.next_token_kl);
        let again = steer.write(prompt, what(&[5])).expect("written").1;
        assert_eq!(again[0], samples[1], "a sample depends on its seed alone");
    });
}

#[test]
fn added_codes_give_edits_of_a_known_size_at_every_position() {
    let expected = 7.0 * norm(dictionary().as_affine().tensors().decoder.row(2));
    for prefix in [&[][..], &[0]] {
        with_steer(prefix, Change::Add(7.0), |steer, prompt| {
            let writing = Writing { tokens: 5, temperature: 0.0, seed: 0, stop: &[] };
            let direction = steer.random_direction(1).expect("drawn");
            assert!(is_close(norm(&direction), 1.0));
            for along in [None, Some(direction.as_slice())] {
                let (_, sizes) = steer
                    .edited(along, |edits| steer.subject.continuation(prompt, 0, edits, &writing))
                    .expect("written");
                // The last written token is never read, and the prefix is never edited.
                assert_eq!(sizes.len(), prompt.len() + 4);
                assert!(sizes.iter().all(|[edit, x]| is_close(*edit, expected) && *x > 0.0), "{sizes:?}");
            }
        });
    }
}

#[test]
fn a_change_of_nothing_changes_nothing() {
    with_steer(&[0], Change::Scale(1.0), |steer, prompt| {
        let (next, samples) = steer.write(prompt, what(&[1])).expect("written");
        assert!(next.kl < 1e-9 && next.raised.is_empty() && next.lowered.is_empty(), "{next:?}");
        let sample = &samples[0];
        assert_eq!(sample.unsteered.tokens, sample.steered.written.tokens);
        assert_eq!(sample.unsteered.tokens, sample.random_direction.written.tokens);
        assert_eq!(sample.steered.edit.prompt, 0.0);
    });
}

#[test]
fn cached_writing_equals_whole_passes_and_losses_are_those_of_the_unsteered_model() {
    with_steer(&[0], Change::Set(30.0), |steer, prompt| {
        let greedy = WhatToWrite { tokens: 6, temperature: 0.0, seeds: &[0], listed: 1 };
        let (next, samples) = steer.write(prompt, greedy).expect("written");
        let steered = &samples[0].steered.written;
        let mut text = prompt.to_vec();
        for _ in 0..6 {
            let after = steer.next_token(&text, None).expect("a prediction");
            let after = after.row(0);
            let likeliest = (0..after.len()).max_by(|&a, &b| after[a].total_cmp(&after[b])).expect("tokens");
            text.push(likeliest as u32);
        }
        assert_eq!(steered.tokens, text[prompt.len()..]);
        let whole = TokenBatch::new(text.clone(), text.len()).expect("whole");
        let logits = steer.subject.logits(&whole).expect("logits");
        let loss = |at: usize| {
            let row = logits.row(at - 1);
            log_sum_exp(row) - f64::from(row[text[at] as usize])
        };
        let expected = (prompt.len()..text.len()).map(loss).sum::<f64>() / 6.0;
        assert!((steered.nats_per_token - expected).abs() < 1e-3, "{} {expected}", steered.nats_per_token);
        let before = steer.subject.edited(&whole, &[], Wanted::LastLogits).expect("logits");
        let (before, total) = (before.row(0), log_sum_exp(before.row(0)));
        let sum: f64 = before.iter().map(|&logit| (f64::from(logit) - total).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(next.kl > 0.0);
    });
}

#[test]
fn a_change_that_breaks_the_model_and_a_text_that_is_too_long_are_refused() {
    with_steer(&[], Change::Set(f32::INFINITY), |steer, prompt| {
        let error = steer.write(prompt, what(&[0])).expect_err("refused");
        assert!(matches!(error, CausalError::Subject(SubjectError::NotFinite { .. })), "{error}");
    });
    with_steer(&[], Change::Set(1.0), |steer, prompt| {
        let long = WhatToWrite { tokens: 128, ..what(&[0]) };
        assert!(steer.write(prompt, long).is_err());
    });
}
