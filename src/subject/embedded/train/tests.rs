//! The training network against the runtime and the committed files, and the recipe on a tiny model.

use super::super::tests::windows;
use super::super::{CONFIG, REPORT, WEIGHTS, load};
use super::*;
use crate::corpus::generator::Generator;

fn report() -> TrainReport {
    serde_json::from_str(REPORT).expect("a report")
}

#[test]
fn the_report_and_the_files_have_the_same_shape() {
    let shape = report().recipe.shape;
    assert_eq!(Network::config_json(&shape), CONFIG);
    Network::from_safetensors(shape, WEIGHTS).expect("weights by name and shape");
    let tokenizer = load().expect("the embedded model loads").tokenizer().expect("a tokenizer").clone();
    assert_eq!(tokenizer.id_of(SEPARATOR), Some(0));
}

#[test]
fn the_runtime_and_the_training_network_agree() {
    let subject = load().expect("the embedded model loads");
    let (batch, _) = windows(&subject, 2);
    let few = TokenBatch::new(batch.ids()[..2 * 128].to_vec(), 128).expect("two contexts");
    let network = Network::from_safetensors(report().recipe.shape, WEIGHTS).expect("weights");
    let trained = network.logits(&few).and_then(|x| x.flatten_all()?.to_vec1::<f32>()).expect("logits");
    let served = subject.model().logits(&few).expect("logits");
    let worst = trained.iter().zip(served.data()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-3, "logits differ by up to {worst}");
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
