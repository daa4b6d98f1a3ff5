use std::path::{Path, PathBuf};

use super::*;
use crate::subject::LoadedSubject;

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

/// Mean loss of the first documents of a corpus, each alone after the tokens the tokenizer puts first.
fn mean_loss(subject: &LoadedSubject, corpus: &Path, n_docs: usize) -> (f64, usize) {
    let text = std::fs::read_to_string(corpus).expect("corpus");
    let tokenizer = subject.tokenizer().expect("tokenizer");
    let text = text.trim_end_matches('\n');
    let documents: Vec<&str> = if text.contains("\n<|endoftext|>\n") {
        text.split("\n<|endoftext|>\n").collect()
    } else {
        text.split('\n').filter(|line| line.chars().count() > 60).collect()
    };
    let (mut total, mut n) = (0.0, 0);
    for document in documents.into_iter().take(n_docs) {
        let mut ids = [tokenizer.lead_tokens(), &tokenizer.encode(document).expect("encodes")].concat();
        ids.truncate(subject.model().info().n_ctx);
        if ids.len() < 2 {
            continue;
        }
        let cols = ids.len();
        let losses = subject.model().token_losses(&TokenBatch::new(ids, cols).expect("whole"), None);
        total += losses.expect("losses").data().iter().map(|&loss| f64::from(loss)).sum::<f64>();
        n += cols - 1;
    }
    (total / n as f64, n)
}

#[test]
fn losses_agree_with_the_reference() {
    let Some(shared) = shared() else { return };
    let golden = std::fs::read(shared.join("golden/losses.json")).expect("golden file");
    let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
    let mut checked = 0;
    for row in golden["rows"].as_array().expect("rows") {
        let (model, corpus) =
            (row["model"].as_str().expect("model"), row["corpus"].as_str().expect("corpus"));
        let subject = LoadedSubject::from_folder(&shared.join("models").join(model)).expect("loads");
        let n_docs = row["docs"].as_u64().expect("docs") as usize;
        let (loss, n) = mean_loss(&subject, &shared.join("corpora").join(corpus), n_docs);
        assert_eq!(Some(n as u64), row["tokens"].as_u64(), "{model} on {corpus}");
        let expected = row["loss_nats_per_token"].as_f64().expect("loss");
        assert!((loss - expected).abs() < 1e-3, "{model} on {corpus}: {loss} is not {expected}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}
