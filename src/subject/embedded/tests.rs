//! The committed files, the claims of their report, and the claims measured again through the runtime.

use super::*;
use crate::base::TokenBatch;
use crate::corpus::generator::{Generator, HeldOut, IoiPrompt};
use crate::subject::LoadedSubject;

/// Bytes that the weights may take.
const MOST_BYTES: usize = 4_000_000;

fn subject() -> LoadedSubject {
    load().expect("the embedded model loads")
}

/// A number of the report.
fn reported(pointer: &str) -> f64 {
    let report: serde_json::Value = serde_json::from_str(REPORT).expect("JSON");
    report.pointer(pointer).and_then(serde_json::Value::as_f64).expect(pointer)
}

/// Contexts of held-out documents, packed as in training, with the token after each.
pub(super) fn windows(subject: &LoadedSubject, documents: u64) -> (TokenBatch, Vec<u32>) {
    let tokenizer = subject.tokenizer().expect("a tokenizer");
    let generator = Generator::new(reported("/recipe/seed") as u64);
    let held_out_from = reported("/held_out_from") as u64;
    let mut ids = Vec::new();
    for index in 0..documents {
        let text = generator.document(held_out_from + index).text;
        ids.push(0);
        ids.extend(tokenizer.encode(&text).expect("ids"));
    }
    let rows = (ids.len() - 1) / 128;
    let batch = TokenBatch::new(ids[..rows * 128].to_vec(), 128).expect("whole contexts");
    (batch, ids[1..=rows * 128].to_vec())
}

#[test]
fn files_are_small_and_fit_together() {
    assert!(WEIGHTS.len() <= MOST_BYTES, "{} bytes", WEIGHTS.len());
    let subject = subject();
    let (info, tokenizer) = (subject.model().info(), subject.tokenizer().expect("a tokenizer"));
    assert!(tokenizer.vocab_size() <= 2048 && info.vocab == tokenizer.vocab_size());
    assert_eq!(tokenizer.id_of("<|endoftext|>"), Some(0));
    assert_eq!((info.n_layers, info.d_model, info.n_ctx), (4, 128, 128));
}

#[test]
fn every_name_and_digit_is_one_token() {
    let subject = subject();
    let tokenizer = subject.tokenizer().expect("a tokenizer");
    for name in Generator::names(false).into_iter().chain(Generator::names(true)) {
        assert_eq!(tokenizer.encode(&format!(" {name}")).expect("ids").len(), 1, "{name}");
    }
    assert_eq!(tokenizer.encode("2026").expect("ids").len(), 4);
    let text = "Ça va, \"naïve\" {x: [1, 2]}\n\t\u{1F600}";
    let ids = tokenizer.encode(text).expect("ids");
    assert_eq!(tokenizer.decode(&ids).expect("text"), text);
}

#[test]
fn the_report_claims_more_than_counts() {
    let names = ["model", "trigram", "bigram", "unigram"];
    let losses = names.map(|name| reported(&format!("/loss_nats/{name}")));
    assert!(losses[1] < losses[2] && losses[2] < losses[3], "{losses:?}");
    assert!(losses[0] < 0.9 * losses[1], "{losses:?}");
    let report: serde_json::Value = serde_json::from_str(REPORT).expect("JSON");
    let accuracies = report["ioi_accuracy"].as_object().expect("accuracies");
    assert_eq!(accuracies.len(), 4);
    assert!(accuracies.values().all(|accuracy| accuracy.as_f64() >= Some(0.9)), "{accuracies:?}");
}

#[test]
fn held_out_text_is_predicted_better_than_by_triples() {
    let subject = subject();
    let (batch, targets) = windows(&subject, 40);
    let mut total = 0.0;
    let logits = subject.model().logits(&batch).expect("logits");
    for (at, &target) in targets.iter().enumerate() {
        let row = logits.row(at);
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - top).exp()).sum();
        total += sum.ln() - f64::from(row[target as usize] - top);
    }
    let loss = total / targets.len() as f64;
    let [model, trigram] = ["/loss_nats/model", "/loss_nats/trigram"].map(reported);
    assert!(loss < 0.9 * trigram, "{loss} beside {trigram}");
    assert!((loss - model).abs() < 0.1, "{loss} beside {model}");
}

fn is_right(subject: &LoadedSubject, prompt: &IoiPrompt) -> bool {
    let tokenizer = subject.tokenizer().expect("a tokenizer");
    let mut ids = vec![0];
    ids.extend(tokenizer.encode(&prompt.prompt).expect("ids"));
    let last = ids.len() - 1;
    let batch = TokenBatch::new(ids, last + 1).expect("a row");
    let logits = subject.model().logits(&batch).expect("logits");
    let logit =
        |name: &str| logits.row(last)[tokenizer.encode(&format!(" {name}")).expect("ids")[0] as usize];
    logit(&prompt.indirect_object) > logit(&prompt.subject)
}

#[test]
fn indirect_objects_are_found_for_unseen_names_and_in_unseen_templates() {
    let subject = subject();
    // Prompts of another seed than the report's.
    for held_out in [HeldOut::Names, HeldOut::Templates, HeldOut::NamesAndTemplates] {
        let prompts = Generator::new(77).ioi_prompts(400, held_out);
        let right = prompts.iter().filter(|prompt| is_right(&subject, prompt)).count();
        assert!(right as f64 >= 0.9 * prompts.len() as f64, "{right} of {} {held_out:?}", prompts.len());
    }
}
