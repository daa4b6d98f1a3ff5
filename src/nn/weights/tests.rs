use std::path::PathBuf;

use safetensors::tensor::TensorView;

use super::*;

/// A safetensors file in memory.
fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (name.to_string(), TensorView::new(*dtype, shape.to_vec(), bytes).expect("view"))
    });
    safetensors::serialize(views, None).expect("serializes")
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn read(bytes: &[u8]) -> Result<Weights, NnError> {
    Weights::from_bytes(bytes, "tiny.safetensors", &Device::Cpu)
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama/model.safetensors")
}

#[test]
fn every_number_form_becomes_f32() {
    let halves: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
    let brains: Vec<u8> = [0.5f32, -2.0].iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.5f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let bytes = file(&[
        ("a", Dtype::F32, &[2], f32s(&[0.5, -2.0])),
        ("b", Dtype::F16, &[2], halves),
        ("c", Dtype::BF16, &[2], brains),
        ("d", Dtype::F64, &[2], doubles),
        ("layers.0.attention.bias", Dtype::BOOL, &[2], vec![1, 0]),
    ]);
    let weights = read(&bytes).expect("readable");
    for name in ["a", "b", "c", "d"] {
        let entries = weights.get(name, &[2]).and_then(|t| Ok(t.to_vec1::<f32>()?)).expect("entries");
        assert_eq!(entries, [0.5, -2.0], "{name}");
    }
    assert!(!weights.has("layers.0.attention.bias"), "a mask is no weight");
}

#[test]
fn a_file_cut_short_or_damaged_is_named() {
    let bytes = std::fs::read(fixture()).expect("fixture");
    for length in [0, 5, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = read(&bytes[..length]).expect_err("cut short");
        assert!(matches!(error, NnError::Corrupt { .. }), "{length} bytes: {error}");
        assert!(error.to_string().contains("tiny.safetensors"), "{error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(matches!(read(&longer), Err(NnError::Corrupt { .. })));
    let mut damaged = bytes.clone();
    damaged[8..12].fill(b'?');
    assert!(matches!(read(&damaged), Err(NnError::Corrupt { .. })));
    let mut huge = bytes;
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(read(&huge), Err(NnError::Corrupt { .. })));
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let weights = read(&file(&[("a", Dtype::F32, &[2, 1], f32s(&[1.0, 2.0]))])).expect("readable");
    let message = weights.get("b", &[2]).expect_err("missing").to_string();
    assert!(message.contains("`b`") && message.contains("tiny.safetensors"), "{message}");
    let message = weights.get("a", &[1, 2]).expect_err("shape").to_string();
    for part in ["`a`", "[1, 2]", "[2, 1]", "tiny.safetensors"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn weights_that_are_no_finite_numbers_are_refused() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let error = read(&file(&[("a", Dtype::F32, &[3], f32s(&[1.0, bad, 2.0]))])).expect_err("refused");
        assert!(matches!(&error, NnError::NotFinite { name, index: 1, .. } if name == "a"), "{error}");
    }
    let error = read(&file(&[("a", Dtype::I64, &[1], vec![0; 8])])).expect_err("refused");
    assert!(matches!(error, NnError::WrongNumbers { .. }), "{error}");
}

#[test]
fn shards_are_joined_and_a_missing_one_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let put = |name: &str, bytes: &[u8]| {
        crate::base::write_atomic(&folder.path().join(name), bytes).expect("written")
    };
    assert!(matches!(Weights::from_folder(folder.path(), &Device::Cpu), Err(NnError::NoWeights { .. })));
    put("one.safetensors", &file(&[("a", Dtype::F32, &[1], f32s(&[1.0]))]));
    put(
        "model.safetensors.index.json",
        br#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#,
    );
    let message = Weights::from_folder(folder.path(), &Device::Cpu).expect_err("missing").to_string();
    assert!(message.contains("two.safetensors"), "{message}");
    put("two.safetensors", &file(&[("b", Dtype::F32, &[1], f32s(&[2.0]))]));
    let weights = Weights::from_folder(folder.path(), &Device::Cpu).expect("readable");
    assert!(weights.has("a") && weights.has("b"));
    for name in ["../one.safetensors", "/one.safetensors", "deep/one.safetensors", "..", "", "c:one"] {
        let index = serde_json::json!({"weight_map": {"a": name}}).to_string();
        put("model.safetensors.index.json", index.as_bytes());
        let error = Weights::from_folder(folder.path(), &Device::Cpu).expect_err("refused");
        assert!(matches!(error, NnError::Json { .. }) && error.to_string().contains(name), "{error}");
    }
}

#[test]
fn the_digest_follows_the_bytes() {
    let digest =
        |value: f32| read(&file(&[("a", Dtype::F32, &[1], f32s(&[value]))])).expect("readable").digest();
    assert_eq!(digest(1.0), digest(1.0));
    assert_ne!(digest(1.0), digest(2.0));
}

#[test]
fn permuting_keeps_the_entries_of_each_chosen_tensor() {
    let values: Vec<f32> = (0..64).map(|value| value as f32).collect();
    let bytes = file(&[("a", Dtype::F32, &[8, 8], f32s(&values)), ("b", Dtype::F32, &[64], f32s(&values))]);
    let weights = read(&bytes).expect("readable");
    let entries = |weights: &Weights, name: &str, shape: &[usize]| {
        let tensor = weights.get(name, shape).expect("there");
        tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("entries")
    };
    let permuted = weights.permuted(3, |name| name == "a").expect("permuted");
    let mut shuffled = entries(&permuted, "a", &[8, 8]);
    assert_ne!(shuffled, values);
    shuffled.sort_by(f32::total_cmp);
    assert_eq!(shuffled, values);
    assert_eq!(entries(&permuted, "b", &[64]), values);
    assert_ne!(permuted.digest(), weights.digest());
    let again = weights.permuted(3, |name| name == "a").expect("permuted");
    assert_eq!(entries(&again, "a", &[8, 8]), entries(&permuted, "a", &[8, 8]));
}
