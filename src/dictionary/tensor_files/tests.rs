//! Reading what each layout can hold; `hostile` has what it must refuse.

mod fuzz;
mod hostile;
mod shared;
mod written;

use half::{bf16, f16};

use super::directory::Directory;
use super::{Plain, TensorFile};
use written::{Pickler, deflated, f32s, npy, one_tensor, stored, torch, zip};

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| at as f32 - 3.5).collect()
}

/// Values of `x` of a file that must be readable.
fn read(file: &[u8]) -> Vec<f32> {
    let directory = Directory::read(file).unwrap_or_else(|why| panic!("{why}"));
    directory.values(file, "x").unwrap_or_else(|why| panic!("{why}"))
}

/// Why a file, or its tensor `x`, is refused.
fn refusal(file: &[u8]) -> String {
    match Directory::read(file).and_then(|directory| directory.values(file, "x")) {
        Ok(values) => panic!("{} values were read", values.len()),
        Err(why) => why,
    }
}

#[test]
fn strides_and_offsets_of_torch_tensors_are_honoured() {
    let storage = numbers(40);
    for (offset, shape, strides) in [
        (0, [3, 4], [4, 1]),
        (0, [3, 4], [1, 3]),
        (5, [3, 4], [8, 2]),
        (2, [4, 3], [1, 9]),
        (7, [3, 5], [0, 1]),
        (7, [3, 5], [1, 0]),
        (39, [1, 1], [1, 1]),
    ] {
        let file = one_tensor("FloatStorage", &f32s(&storage), 40, offset, &shape, &strides);
        let directory = Directory::read(&file).expect("read");
        let at = |row: usize, column: usize| storage[offset + row * strides[0] + column * strides[1]];
        let grid = |rows: &[usize], columns: &[usize]| -> Vec<f32> {
            rows.iter().flat_map(|row| columns.iter().map(|column| at(*row, *column))).collect()
        };
        let (rows, columns): (Vec<usize>, Vec<usize>) = ((0..shape[0]).collect(), (0..shape[1]).collect());
        assert_eq!(directory.values(&file, "x").expect("values"), grid(&rows, &columns));
        let chosen = [shape[0] - 1, 0];
        assert_eq!(directory.rows(&file, "x", &chosen).expect("rows"), grid(&chosen, &columns));
        let chosen = [shape[1] - 1, 0, shape[1] - 1];
        let transposed: Vec<f32> =
            chosen.iter().flat_map(|column| rows.iter().map(|row| at(*row, *column))).collect();
        assert_eq!(directory.columns(&file, "x", &chosen).expect("columns"), transposed);
    }
    // Three dimensions, the last two swapped, and a single number.
    let file = one_tensor("FloatStorage", &f32s(&storage), 40, 0, &[2, 3, 4], &[12, 1, 3]);
    let expected: Vec<f32> = (0..24).map(|at| storage[at / 12 * 12 + at % 12 / 4 + at % 4 * 3]).collect();
    assert_eq!(read(&file), expected);
    let directory = Directory::read(&file).expect("read");
    assert_eq!(directory.rows(&file, "x", &[1]).expect("rows"), expected[12..]);
    let file = one_tensor("FloatStorage", &f32s(&storage), 40, 6, &[], &[]);
    assert_eq!(read(&file), [2.5]);
    assert_eq!(Directory::read(&file).expect("read").scalar(&file, "x"), Ok(2.5));
    assert_eq!(read(&one_tensor("FloatStorage", b"", 0, 0, &[0, 7], &[7, 1])), [0.0; 0]);
}

#[test]
fn large_transposed_matrices_are_read_block_by_block() {
    let (rows, columns) = (1300, 1100);
    let storage: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();
    let file = one_tensor("FloatStorage", &f32s(&storage), storage.len(), 0, &[rows, columns], &[1, rows]);
    let values = read(&file);
    assert!((0..rows * columns).all(|at| values[at] == storage[at / columns + at % columns * rows]));
}

#[test]
fn every_number_type_of_torch_is_read() {
    let cases: [(&str, Vec<u8>); 10] = [
        ("FloatStorage", f32s(&[-2.0, 3.0])),
        ("DoubleStorage", [-2.0_f64, 3.0].map(f64::to_le_bytes).concat()),
        ("HalfStorage", [-2.0, 3.0].map(|x| f16::from_f32(x).to_le_bytes()).concat()),
        ("BFloat16Storage", [-2.0, 3.0].map(|x| bf16::from_f32(x).to_le_bytes()).concat()),
        ("LongStorage", [-2_i64, 3].map(i64::to_le_bytes).concat()),
        ("IntStorage", [-2_i32, 3].map(i32::to_le_bytes).concat()),
        ("ShortStorage", [-2_i16, 3].map(i16::to_le_bytes).concat()),
        ("CharStorage", [-2_i8, 3].map(i8::to_le_bytes).concat()),
        ("ByteStorage", vec![2, 3]),
        ("BoolStorage", vec![0, 1]),
    ];
    for (kind, bytes) in cases {
        let expected = match kind {
            "ByteStorage" => [2.0, 3.0],
            "BoolStorage" => [0.0, 1.0],
            _ => [-2.0, 3.0],
        };
        assert_eq!(read(&one_tensor(kind, &bytes, 2, 0, &[2], &[1])), expected, "{kind}");
        let second = one_tensor(kind, &bytes, 2, 1, &[1], &[1]);
        let directory = Directory::read(&second).expect("read");
        assert_eq!(directory.scalar(&second, "x"), Ok(f64::from(expected[1])), "{kind}");
    }
    // Types without a storage of their own: bytes, whose tensor states the type and counts in it.
    for (dtype, bytes, expected) in [
        ("float8_e4m3fn", vec![0, 0x7e, 0xb8], [448.0, -1.0]),
        ("float8_e5m2", vec![0, 0x7b, 0xbc], [57344.0, -1.0]),
        ("uint16", vec![0, 0, 0xff, 0xff, 1, 0], [65535.0, 1.0]),
    ] {
        let mut pickler = Pickler::new();
        pickler.op(b"}").text("x").global("torch._utils", "_rebuild_tensor_v3").op(b"(");
        pickler.storage(("torch.storage", "UntypedStorage"), "0", bytes.len()).int(1).sizes(&[2]).sizes(&[1]);
        pickler.op(b"\x89").global("collections", "OrderedDict").op(b")R").global("torch", dtype).op(b"tRs");
        assert_eq!(read(&torch(&pickler.stop(), &[("0", &bytes)])), expected, "{dtype}");
    }
}

#[test]
fn names_of_nested_dicts_are_joined_and_other_entries_are_kept() {
    let mut pickler = Pickler::new();
    pickler.op(b"}(").text("state_dict").op(b"}q\x01(");
    pickler.text("W").tensor(("FloatStorage", "0", 2), 0, &[2], &[1]);
    pickler.text("k").int(32).text("act").text("relu").text("none").op(b"N").text("yes").op(b"\x88");
    pickler.text("eps").op(b"G").op(&0.5_f64.to_be_bytes()).text("kw").op(b"}").text("rate").op(b"J");
    pickler.op(&(-7_i32).to_le_bytes()).op(b"s").text("list").op(b"](").int(1).op(b"]").text("two").op(b"ae");
    pickler.op(b"u").text("tensors").op(b"]").tensor(("FloatStorage", "0", 2), 1, &[1], &[1]).op(b"a");
    pickler.text("dtype").global("torch", "float").text("size").global("torch", "Size").op(b"(").sizes(&[4]);
    pickler.op(b"tR").text("device").global("torch", "device").text("cuda").int(1).op(b"\x86R");
    pickler.text("empty").op(b"}").text("same").op(b"h\x01").op(b"u");
    let file = torch(&pickler.stop(), &[("0", &f32s(&[1.0, 2.0]))]);
    let directory = Directory::read(&file).expect("read");
    let names: Vec<&str> = directory.tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["same.W", "state_dict.W", "tensors.0"]);
    assert_eq!(directory.values(&file, "tensors.0"), Ok(vec![2.0]));
    let kept = |name: &str| directory.plain.get(name).cloned();
    let text = |text: &str| Plain::Text(text.to_string());
    for (name, expected) in [
        ("state_dict.k", Plain::Int(32)),
        ("state_dict.act", text("relu")),
        ("state_dict.none", Plain::None),
        ("state_dict.yes", Plain::Bool(true)),
        ("state_dict.eps", Plain::Float(0.5)),
        ("state_dict.kw.rate", Plain::Int(-7)),
        ("state_dict.kw", Plain::Dict(vec![("rate".to_string(), Plain::Int(-7))])),
        ("state_dict.list", Plain::List(vec![Plain::Int(1), Plain::List(vec![text("two")])])),
        ("dtype", text("torch.float32")),
        ("size", Plain::List(vec![Plain::Int(4)])),
        ("device", text("cuda:1")),
        ("empty", Plain::Dict(Vec::new())),
    ] {
        assert_eq!(kept(name), Some(expected), "{name}");
    }
    assert_eq!((kept("state_dict"), kept("state_dict.list.0")), (None, None));
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("ae.pt");
    crate::base::write_atomic(&path, &file).expect("written");
    let opened = TensorFile::open(&path).expect("opened");
    assert_eq!((opened.layout(), opened.path()), ("torch", path.as_path()));
    assert_eq!((opened.shape("same.W"), opened.dtype("same.W")), (Some(&[2][..]), Some("F32")));
    assert_eq!((opened.shape("W"), opened.dtype("W")), (None, None));
    let plain: Vec<&str> = opened.plain_names().filter(|name| name.starts_with("state_dict")).collect();
    assert_eq!(
        plain,
        ["act", "eps", "k", "kw.rate", "list", "none", "yes"].map(|name| format!("state_dict.{name}"))
    );
    assert_eq!(opened.plain("state_dict.k"), Some(&Plain::Int(32)));
}

#[test]
fn later_protocols_parameters_and_attributes_of_state_dicts_are_read() {
    // Protocol 4: names by STACK_GLOBAL, values remembered by MEMOIZE, short texts, one frame.
    let mut pickler = Pickler(b"\x80\x04\x95\0\0\0\0\0\0\0\0".to_vec());
    pickler.op(b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94(\x8c\x01x");
    pickler.global("torch._utils", "_rebuild_parameter").op(b"(");
    pickler.tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).op(b"\x88h\x02)RtRu");
    // BUILD with versions of modules, which torch stores beside the tensors.
    pickler.op(b"}\x8c\x09_metadatah\x02)R\x8c\x00}\x8c\x07versionK\x01sssb");
    let pickle = pickler.stop();
    assert_eq!(read(&torch(&pickle, &[("0", &f32s(&[1.0, 2.0]))])), [1.0, 2.0]);
    // The same in an archive with deflated and ZIP64 entries, and a tensor without a dict.
    let storage = stored("any name/data/0", &f32s(&[1.0, 2.0]));
    for wide in [false, true] {
        assert_eq!(read(&zip(&[deflated("any name/data.pkl", &pickle), storage.clone()], wide)), [1.0, 2.0]);
    }
    let mut pickler = Pickler::new();
    let alone = pickler.tensor(("FloatStorage", "0", 2), 0, &[2], &[1]).stop();
    let file = torch(&alone, &[("0", &f32s(&[1.0, 2.0]))]);
    assert_eq!(Directory::read(&file).expect("read").values(&file, "tensor"), Ok(vec![1.0, 2.0]));
}

#[test]
fn arrays_of_numpy_are_read_in_both_orders_stored_and_deflated() {
    let values = numbers(12);
    let columns_first: Vec<f32> = (0..12).map(|at| values[at / 3 + at % 3 * 4]).collect();
    for (version, wide) in [(1, false), (2, true), (3, false)] {
        for entry in [stored, deflated] {
            let plain = npy(version, "'<f4'", "False", "(3, 4)", &f32s(&values));
            let fortran = npy(version, "'<f4'", "True", "(3, 4)", &f32s(&columns_first));
            let file = zip(&[entry("x.npy", &plain), entry("y.npy", &fortran)], wide);
            let directory = Directory::read(&file).expect("read");
            assert_eq!(directory.layout, "npz");
            for name in ["x", "y"] {
                assert_eq!(directory.values(&file, name).as_ref(), Ok(&values), "{name}");
                assert_eq!(directory.rows(&file, name, &[2]).expect("row"), values[8..], "{name}");
                assert_eq!(
                    directory.columns(&file, name, &[1]).expect("column"),
                    [values[1], values[5], values[9]]
                );
            }
        }
    }
    for (descr, bytes, expected) in [
        ("'<f2'", f16::from_f32(-1.5).to_le_bytes().to_vec(), -1.5),
        ("'<f8'", (-1.5_f64).to_le_bytes().to_vec(), -1.5),
        ("'<i8'", (-3_i64).to_le_bytes().to_vec(), -3.0),
        ("\"<u4\"", 3_u32.to_le_bytes().to_vec(), 3.0),
        ("'|i1'", vec![0xff], -1.0),
        ("'|b1'", vec![1], 1.0),
    ] {
        for shape in ["()", "(1,)", "(1L,)", "(1, 1)"] {
            let file = zip(&[stored("x.npy", &npy(1, descr, "False", shape, &bytes))], false);
            assert_eq!(read(&file), [expected], "{descr} {shape}");
            assert_eq!(Directory::read(&file).expect("read").scalar(&file, "x"), Ok(f64::from(expected)));
        }
    }
}

#[test]
fn safetensors_of_every_type_are_read() {
    use safetensors::{Dtype, serialize, tensor::TensorView};
    let file = |dtype, shape: &[usize], bytes: &[u8]| {
        let view = TensorView::new(dtype, shape.to_vec(), bytes).expect("view");
        serialize([("x", view)], None).expect("serialized")
    };
    assert_eq!(read(&file(Dtype::F32, &[2, 2], &f32s(&numbers(4)))), numbers(4));
    for (dtype, bytes, expected) in [
        (Dtype::F64, 2.5_f64.to_le_bytes().to_vec(), 2.5),
        (Dtype::F16, f16::from_f32(2.5).to_le_bytes().to_vec(), 2.5),
        (Dtype::BF16, bf16::from_f32(2.5).to_le_bytes().to_vec(), 2.5),
        (Dtype::F8_E4M3, vec![0x38], 1.0),
        (Dtype::F8_E5M2, vec![0x3c], 1.0),
        (Dtype::I64, 7_i64.to_le_bytes().to_vec(), 7.0),
        (Dtype::U64, 7_u64.to_le_bytes().to_vec(), 7.0),
        (Dtype::I32, 7_i32.to_le_bytes().to_vec(), 7.0),
        (Dtype::BOOL, vec![1], 1.0),
    ] {
        assert_eq!(read(&file(dtype, &[1], &bytes)), [expected], "{dtype:?}");
    }
    let file = file(Dtype::F8_E8M0, &[1], &[1]);
    assert!(refusal(&file).contains("stored as F8_E8M0"), "{}", refusal(&file));
    let directory = Directory::read(&file).expect("read");
    assert!(directory.scalar(&file, "x").is_err_and(|why| why.contains("F8_E8M0")));
}

#[test]
fn numbers_that_f32_cannot_hold_are_named_with_their_place() {
    let mut values = numbers(12);
    values[7] = f32::NAN;
    let nan = one_tensor("FloatStorage", &f32s(&values), 12, 0, &[3, 4], &[4, 1]);
    let directory = Directory::read(&nan).expect("read");
    for result in
        [directory.values(&nan, "x"), directory.rows(&nan, "x", &[1]), directory.columns(&nan, "x", &[3])]
    {
        assert_eq!(
            result,
            Err("tensor `x`: entry [1, 3] is NaN or infinite: the file is broken".to_string())
        );
    }
    assert_eq!(directory.rows(&nan, "x", &[0, 2]).expect("rows").len(), 8);
    assert_eq!(directory.columns(&nan, "x", &[0]).expect("column").len(), 3);
    for (kind, bytes, part) in [
        ("LongStorage", ((1_i64 << 24) + 1).to_le_bytes().to_vec(), "16777217.0, which f32 cannot hold"),
        ("LongStorage", i64::MAX.to_le_bytes().to_vec(), "an integer that cannot be held exactly"),
        ("DoubleStorage", 1e300_f64.to_le_bytes().to_vec(), "1e300, which f32 cannot hold"),
        ("BoolStorage", vec![2], "a broken bool"),
    ] {
        let why = refusal(&one_tensor(kind, &bytes, 1, 0, &[1], &[1]));
        assert!(why.contains("entry [0]") && why.contains(part), "{why}");
    }
    let long = one_tensor("LongStorage", &((1_i64 << 40) + 1).to_le_bytes(), 1, 0, &[], &[]);
    let exact = Directory::read(&long).expect("read").scalar(&long, "x");
    assert_eq!(exact, Ok(1_099_511_627_777.0));
}

#[test]
fn wrong_questions_say_what_there_is() {
    let file = one_tensor("FloatStorage", &f32s(&numbers(6)), 6, 0, &[2, 3], &[3, 1]);
    let directory = Directory::read(&file).expect("read");
    let asked = |why: Result<Vec<f32>, String>| why.expect_err("refused");
    assert_eq!(
        asked(directory.values(&file, "W\u{1b}[2J")),
        "tensor `W\\u{1b}[2J` is missing; the file holds: x"
    );
    assert!(asked(directory.rows(&file, "x", &[0, 2])).contains("2 rows, so there is no row 2"));
    assert!(asked(directory.columns(&file, "x", &[3])).contains("3 columns, so there is no column 3"));
    assert!(directory.scalar(&file, "x").expect_err("refused").contains("shape [2, 3]; expected one number"));
    let vector = one_tensor("FloatStorage", &f32s(&numbers(6)), 6, 0, &[6], &[1]);
    let directory = Directory::read(&vector).expect("read");
    assert!(asked(directory.columns(&vector, "x", &[0])).contains("expected a matrix"));
    assert_eq!(directory.rows(&vector, "x", &[5]), Ok(vec![1.5]));
    let names: Vec<String> = (0..30).map(|at| format!("{at:02}.npy")).collect();
    let array = npy(1, "'<f4'", "False", "(1,)", &f32s(&[1.0]));
    let entries: Vec<_> = names.iter().map(|name| stored(name, &array)).collect();
    let file = zip(&entries, false);
    let why = refusal(&file);
    assert!(why.ends_with("18, 19, … and 10 more"), "{why}");
}
