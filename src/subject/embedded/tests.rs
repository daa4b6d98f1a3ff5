//! The committed files, what their report claims, and the claims measured again through the runtime.

use super::*;
use crate::base::TokenBatch;
use crate::corpus::generator::{Generator, HeldOut, IoiPrompt};
use crate::subject::{LoadedSubject, SubjectModel};

/// Bytes that the weights may take.
const MOST_BYTES: usize = 4_000_000;

fn subject() -> LoadedSubject {
    load().expect("the embedded model loads")
}

/// Contexts of held-out documents, packed as in training, with the token after each.
fn windows(subject: &LoadedSubject, documents: u64) -> (TokenBatch, Vec<u32>) {
    let tokenizer = subject.tokenizer().expect("a tokenizer");
    let generator = Generator::new(report().expect("a report").recipe.seed);
    let mut ids = Vec::new();
    for index in 0..documents {
        let text = generator.document(report().expect("a report").held_out_from + index).text;
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
    assert_eq!(tokenizer.id_of(SEPARATOR), Some(0));
    assert_eq!((info.n_layers, info.d_model, info.n_ctx), (4, 128, 128));
    let shape = report().expect("a report").recipe.shape;
    assert_eq!(Network::config_json(&shape), CONFIG);
    Network::from_safetensors(shape, WEIGHTS).expect("weights by name and shape");
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
    let report = report().expect("a report");
    let losses = report.loss_nats;
    assert!(losses.trigram < losses.bigram && losses.bigram < losses.unigram, "{losses:?}");
    assert!(losses.model < 0.9 * losses.trigram, "{losses:?}");
    assert_eq!(report.ioi_accuracy.len(), 4);
    assert!(report.ioi_accuracy.values().all(|accuracy| *accuracy >= 0.9), "{:?}", report.ioi_accuracy);
}

#[test]
fn the_runtime_and_the_training_network_agree() {
    let subject = subject();
    let (batch, _) = windows(&subject, 2);
    let few = TokenBatch::new(batch.ids()[..2 * 128].to_vec(), 128).expect("two contexts");
    let network =
        Network::from_safetensors(report().expect("a report").recipe.shape, WEIGHTS).expect("weights");
    let trained = network.logits(&few).and_then(|x| x.flatten_all()?.to_vec1::<f32>()).expect("logits");
    let served = subject.model().logits(&few).expect("logits");
    let worst = trained.iter().zip(served.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3, "logits differ by up to {worst}");
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
    let claimed = report().expect("a report").loss_nats;
    assert!(loss < 0.9 * claimed.trigram, "{loss} beside {claimed:?}");
    assert!((loss - claimed.model).abs() < 0.1, "{loss} beside {claimed:?}");
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

#[test]
fn the_recipe_repeats_itself_and_learns() {
    let generator = Generator::new(3);
    let document = |index| generator.document(index).text;
    let shape = Shape { vocabulary: 300, n_layers: 1, d_model: 16, n_heads: 2, d_mlp: 32, context: 16 };
    let config = TrainConfig {
        shape,
        tokenizer_documents: 20,
        stages: vec![
            Stage { steps: 30, schedule_steps: 30, learning_rate: 1e-2, first_document: 0 },
            Stage { steps: 10, schedule_steps: 12, learning_rate: 5e-3, first_document: 1_000 },
        ],
        batch: 8,
        warm_up_steps: 5,
        held_out_documents: 2,
        ..TrainConfig::default()
    };
    let run = || {
        let texts =
            Texts { document: &document, held_out_from: 5_000, whole_words: Vec::new(), choices: Vec::new() };
        let mut losses = Vec::new();
        let trained = train(&config, &texts, &mut |at| {
            losses.push(at.loss_nats);
            Ok(())
        });
        (trained.expect("trained"), losses)
    };
    let (one, losses) = run();
    let (two, _) = run();
    assert_eq!(one.network.to_safetensors().expect("bytes"), two.network.to_safetensors().expect("bytes"));
    assert_eq!(one.report, two.report);
    assert!(losses[39] < losses[0] - 1.0, "{} to {}", losses[0], losses[39]);
}
