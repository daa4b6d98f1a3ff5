//! Dictionaries that other programs wrote, with the codes and reconstructions of those programs.

mod a;
mod b;

use std::path::Path;

use tempfile::TempDir;

use crate::base::{Matrix, Stream, write_atomic};

use super::super::tensor_files::TensorFile;
use super::super::tests::shared;
use super::super::{AffineDictionary, Dictionary, DictionaryError};
use super::{Ask, Blueprint, open};

/// A folder of `sae-formats`, with `k` and `input_scale` of the suite where the files do not hold them.
type Golden = (&'static str, Option<usize>, Option<f64>);

fn ask_at(path: &Path) -> Ask {
    Ask { place: path.display().to_string(), ..Ask::default() }
}

/// A tensor as a matrix; a vector is one row.
fn tensor(path: &Path, name: &str) -> Matrix {
    let file = TensorFile::open(path).expect("readable");
    let (shape, values) = (file.shape(name).expect("present"), file.values(name).expect("present"));
    let cols = shape.last().copied().unwrap_or(1);
    Matrix::from_vec(values.len() / cols, cols, values).expect("whole rows")
}

fn dictionary(blueprint: &Blueprint, chosen: Option<&[usize]>) -> AffineDictionary {
    let hook = "blocks.2.hook_resid_post".parse().expect("hook point");
    AffineDictionary::of_file(blueprint.build(chosen).expect("built"), hook)
}

/// Largest difference relative to the largest entry of `theirs`.
fn gap(ours: &Matrix, theirs: &Matrix) -> f32 {
    assert_eq!((ours.rows(), ours.cols()), (theirs.rows(), theirs.cols()));
    let largest = theirs.data().iter().fold(1e-9f32, |most, value| most.max(value.abs()));
    ours.data().iter().zip(theirs.data()).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Reads a golden folder and compares codes, their support, and reconstructions.
fn check(root: &Path, &(folder, k, input_scale): &Golden) {
    let path = root.join(folder);
    let blueprint = open(&path, &Ask { k, input_scale, ..ask_at(&path) });
    let blueprint = blueprint.unwrap_or_else(|error| panic!("{folder}: {error}"));
    let golden = path.join("golden.safetensors");
    let [x, code, recon] = ["x", "code", "recon"].map(|name| tensor(&golden, name));
    let whole = dictionary(&blueprint, None);
    let codes = whole.encode(&x).expect("encoded");
    assert!(gap(&codes, &code) < 2e-5, "{folder}: codes differ by {}", gap(&codes, &code));
    for (at, (ours, theirs)) in codes.data().iter().zip(code.data()).enumerate() {
        assert_eq!(*ours != 0.0, *theirs != 0.0, "{folder}: support at {at}: {ours}, {theirs}");
    }
    let ours = whole.reconstruct(&x).expect("decoded");
    assert!(gap(&ours, &recon) < 2e-5, "{folder}: reconstructions differ by {}", gap(&ours, &recon));
    let card = &blueprint.card;
    for words in [&card.format, &card.recognised_by, &card.architecture, &card.orientation, &card.activation]
    {
        assert!(!words.is_empty(), "{folder}: {card:?}");
    }
    assert!(!card.files.is_empty() && !card.centring.is_empty() && !card.scaling.is_empty(), "{card:?}");
    if whole.tensors().activation.k().is_none() {
        // Codes of chosen features need no others.
        let chosen = [3, 0, codes.cols() - 1];
        let part = dictionary(&blueprint, Some(&chosen)).encode(&x).expect("encoded");
        let expected = Matrix::from_fn(x.rows(), 3, |row, col| codes.at(row, chosen[col]));
        assert!(gap(&part, &expected) < 1e-5, "{folder}: chosen features");
    }
}

/// Writes a folder of a configuration and of tensors with random values.
fn folder_of(config: (&str, serde_json::Value), weights: &str, tensors: &[(&str, &[usize])]) -> TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    write_atomic(&folder.path().join(config.0), config.1.to_string().as_bytes()).expect("written");
    let mut stream = Stream::new(12, "file");
    let data: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|&(name, shape)| {
            let count = shape.iter().product::<usize>();
            let bytes = (0..count).flat_map(|_| (stream.normal() as f32).to_le_bytes()).collect();
            (name, shape.to_vec(), bytes)
        })
        .collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (*name, view.expect("whole"))
    });
    let bytes = safetensors::serialize(views, None).expect("serialised");
    write_atomic(&folder.path().join(weights), &bytes).expect("written");
    folder
}

fn opened(folder: &TempDir) -> Result<Blueprint, DictionaryError> {
    open(folder.path(), &ask_at(folder.path()))
}

/// The message of the refusal.
fn refusal(folder: &Path) -> String {
    open(folder, &ask_at(folder)).err().unwrap_or_else(|| panic!("{} is read", folder.display())).to_string()
}
