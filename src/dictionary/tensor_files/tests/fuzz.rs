//! Mutated files end in values or in an error: no panic, no endless loop, no large allocation.

use super::super::directory::Directory;
use super::super::tensor::{LARGE, MOST_RATIO, MOST_REPEATED};
use super::numbers;
use super::written::{Pickler, deflated, f32s, npy, stored, torch, zip};
use mutator::{Draws, Form, Mutator};

#[allow(dead_code, reason = "the file is shared with the tests of all formats")]
#[path = "../../../../tests/it/fuzz/mutator.rs"]
mod mutator;

const MUTATIONS: usize = 100_000;

/// Opcodes of pickles, where they may do most.
const OPCODES: [&str; 24] = [
    "}", "]", "(", ")", "t", "u", "e", "s", "a", "R", "b", "Q", "q", "h", "N", ".", "K", "M", "X", "c", "J",
    "G", "\u{85}", "\u{8a}",
];

/// Reads all that a file says it holds, and checks that nothing claims more memory than the limits allow.
fn use_all(file: &[u8]) -> bool {
    let Ok(directory) = Directory::read(file) else { return false };
    for (name, tensor) in &directory.tensors {
        assert!(tensor.count() <= MOST_REPEATED.max(8 * tensor.stored()), "{name}: {:?}", tensor.shape);
        assert!(tensor.shape.iter().all(|dim| tensor.count() == 0 || *dim <= tensor.count()));
        let unpacked = tensor.stored();
        if unpacked > LARGE.max(file.len() * (MOST_RATIO + 1)) || tensor.count() > 10_000 {
            continue;
        }
        if let Ok(values) = directory.values(file, name) {
            assert!(values.len() == tensor.count() && values.iter().all(|value| value.is_finite()));
            let shape = &tensor.shape;
            if shape.first().is_some_and(|rows| *rows > 0) {
                let row = directory.rows(file, name, &[shape[0] - 1]).expect("as all values are");
                assert_eq!(row, values[values.len() - values.len() / shape[0]..]);
            }
            if let &[rows, columns] = shape.as_slice()
                && columns > 0
            {
                let column = directory.columns(file, name, &[columns - 1]).expect("as all values are");
                assert!((0..rows).all(|row| column[row] == values[row * columns + columns - 1]));
            }
        }
        let _ = directory.scalar(file, name);
    }
    true
}

fn fuzz(name: &str, form: Form, files: &[Vec<u8>]) {
    assert!(files.iter().all(|file| use_all(file)), "a file is not read even unchanged");
    let mutator = Mutator { form, seeds: files, words: &OPCODES };
    let input = |number: usize| mutator.input(&mut Draws::of(name, number as u64));
    let readable = (0..MUTATIONS).filter(|&number| use_all(&input(number))).count();
    // Mutations that are all refused at the first byte would show nothing.
    assert!((MUTATIONS / 100..MUTATIONS).contains(&readable), "{readable} mutations were readable");
}

#[test]
fn mutated_torch_files_end_in_values_or_an_error() {
    let mut pickler = Pickler::new();
    pickler.op(b"}q\x00(").text("W").op(b"q\x01").tensor(("FloatStorage", "0", 12), 2, &[2, 3], &[1, 3]);
    pickler
        .text("b")
        .tensor(("BFloat16Storage", "1", 3), 0, &[3], &[1])
        .text("k")
        .int(8)
        .text("kw")
        .op(b"}(");
    pickler.text("act").text("relu").text("list").op(b"](K\x01Neu").op(b"u}");
    pickler.text("_metadata").op(b"}sb");
    let pickle = pickler.stop();
    let storages = [("0", f32s(&numbers(12))), ("1", vec![1; 6])];
    let plain = torch(&pickle, &storages.each_ref().map(|(key, bytes)| (*key, bytes.as_slice())));
    let mut entries = vec![deflated("a/data.pkl", &pickle)];
    entries.extend(storages.iter().map(|(key, bytes)| stored(&format!("a/data/{key}"), bytes)));
    fuzz("torch", Form::Bytes, &[plain, zip(&entries, true)]);
}

#[test]
fn mutated_arrays_of_numpy_end_in_values_or_an_error() {
    let arrays = [
        npy(1, "'<f4'", "False", "(3, 4)", &f32s(&numbers(12))),
        npy(2, "'<f2'", "True", "(2, 2)", &[0, 60].repeat(4)),
        npy(3, "'<i8'", "False", "()", &7_i64.to_le_bytes()),
    ];
    let plain: Vec<_> =
        arrays.iter().enumerate().map(|(at, array)| stored(&format!("{at}.npy"), array)).collect();
    let packed: Vec<_> =
        arrays.iter().enumerate().map(|(at, array)| deflated(&format!("{at}.npy"), array)).collect();
    fuzz("npz", Form::Bytes, &[zip(&plain, false), zip(&packed, true)]);
}

#[test]
fn mutated_safetensors_end_in_values_or_an_error() {
    use safetensors::{Dtype, serialize, tensor::TensorView};
    let bytes = f32s(&numbers(12));
    let view = |dtype, shape: &[usize], length: usize| {
        TensorView::new(dtype, shape.to_vec(), &bytes[..length]).expect("view")
    };
    let views = [
        ("W", view(Dtype::F32, &[3, 4], 48)),
        ("h", view(Dtype::BF16, &[2, 2], 8)),
        ("n", view(Dtype::I32, &[], 4)),
        ("e", view(Dtype::F8_E4M3, &[4], 4)),
    ];
    fuzz("safetensors", Form::Headed, &[serialize(views, None).expect("serialized")]);
}
