//! Files that must be refused by name: code, lies about sizes, trees without end, other formats.

use super::super::directory::Directory;
use super::written::{Entry, Pickler, deflated, f32s, npy, one_tensor, stored, torch, zip};
use super::{numbers, refusal};
use crate::base::Stopwatch;

/// The refusal of a pickle, in an archive with one storage of four floats.
fn refused(pickle: &[u8]) -> String {
    refusal(&torch(pickle, &[("0", &f32s(&numbers(4)))]))
}

#[test]
fn names_outside_the_list_end_the_reading() {
    for (module, name, shown) in [
        ("__builtin__", "print", "`builtins.print`"),
        ("builtins", "eval", "`builtins.eval`"),
        ("os", "system", "`os.system`"),
        ("posix", "system", "`posix.system`"),
        ("torch", "load", "`torch.load`"),
        ("torch", "QInt8Storage", "`torch.QInt8Storage`"),
        ("torch", "", "`torch.`"),
        ("torch._utils", "_rebuild_tensor", "`torch._utils._rebuild_tensor`"),
        ("collections", "OrderedDict.fromkeys", "`collections.OrderedDict.fromkeys`"),
        ("numpy.core.multiarray", "scalar", "`numpy.core.multiarray.scalar`"),
        ("a\u{1b}[31m", &"b".repeat(500), "`a\\u{1b}[31m.bbb"),
    ] {
        let mut by_line = Pickler::new();
        by_line.op(b"}").text("x").global(module, name).op(b"(").text("touch /tmp/x").op(b"tRs");
        let mut by_stack = Pickler::new();
        by_stack.op(b"}").text("x").text(module).text(name).op(b"\x93s");
        for pickle in [by_line.stop(), by_stack.stop()] {
            let why = refused(&pickle);
            assert!(why.contains(shown) && why.contains("wants to run code"), "{why}");
            assert!(why.len() < 500 && !why.contains('\u{1b}'), "{why}");
        }
    }
}

#[test]
fn opcodes_and_calls_that_tensors_do_not_need_are_refused() {
    let mut wrong: Vec<(Vec<u8>, &str)> = Vec::new();
    for (opcode, name) in [
        (&b"(i"[..], "INST"),
        (b"(o", "OBJ"),
        (b"\x81", "NEWOBJ"),
        (b"\x92", "NEWOBJ_EX"),
        (b"\x82", "EXT"),
        (b"P", "PERSID"),
        (b"C", "BINBYTES"),
        (b"\x8f", "SET"),
        (b"0", "POP"),
        (b"\xff", "which is none"),
    ] {
        wrong.push((Pickler::new().op(opcode).stop(), name));
    }
    let dict = |pickler: &mut Pickler| pickler.op(b"s").stop();
    let x = || {
        let mut pickler = Pickler::new();
        pickler.op(b"}").text("x");
        pickler
    };
    let tensor = |pickler: &mut Pickler, rest: &[u8]| {
        pickler.global("torch._utils", "_rebuild_tensor_v2").op(b"(");
        pickler
            .storage(("torch", "FloatStorage"), "0", 4)
            .int(0)
            .sizes(&[4])
            .sizes(&[1])
            .op(b"\x89")
            .op(rest)
            .op(b"tR");
        dict(pickler)
    };
    // A hook, metadata (a conjugated view), a call of a type, arguments of wrong types and counts.
    let called = "called in a way that torch does not";
    wrong.push((tensor(&mut x(), b"}X\x01\0\0\0hK\x01s"), called));
    wrong.push((tensor(&mut x(), b"}}X\x04\0\0\0conj\x88s"), called));
    wrong.push((dict(x().global("torch", "float32").op(b")R")), called));
    wrong.push((dict(x().global("collections", "OrderedDict").int(1).op(b"\x85R")), called));
    wrong.push((dict(x().global("torch._utils", "_rebuild_tensor_v2").op(b")R")), called));
    wrong.push((dict(x().global("torch._utils", "_rebuild_parameter").int(1).op(b"\x88}\x87R")), called));
    wrong.push((dict(x().op(b"})R")), "what is no function is called"));
    wrong.push((dict(x().int(1).op(b"Q")), "does not name storages"));
    wrong.push((dict(x().op(b"}}").text("forward").int(1).op(b"sb")), "attributes are set"));
    wrong.push((Pickler::new().op(b"h\x05").stop(), "used before it is made"));
    wrong.push((Pickler::new().stop(), "where there is none"));
    wrong.push((Pickler::new().op(b"}(s").stop(), "where there is none"));
    wrong.push((Pickler::new().op(b"}(").int(1).op(b"u").stop(), "has no value"));
    wrong.push((Pickler::new().op(b"}}").stop(), "more than one value"));
    wrong.push((Pickler::new().op(b"}.").stop(), "more than one value"));
    wrong.push((Pickler::new().op(b"X\xff\xff\xff\xff").stop(), "ends too early"));
    wrong.push((Pickler::new().op(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff").stop(), "ends too early"));
    wrong.push((Pickler::new().op(b"\x80\x09").stop(), "pickle protocol 9"));
    wrong.push((Pickler::new().op(b"\x8a\x09123456789").stop(), "more than 64 bits"));
    wrong.push((Pickler::new().op(b"}").stop(), "holds no tensors"));
    wrong.push((Pickler::new().op(b"}").op(b"NNs").stop(), "neither text nor integer"));
    for (pickle, part) in wrong {
        let why = refused(&pickle);
        assert!(why.contains(part), "expected `{part}`: {why}");
    }
}

#[test]
fn tensors_beyond_their_storage_are_refused() {
    let bytes = f32s(&numbers(8));
    let huge = usize::MAX / 2;
    for (length, offset, shape, strides, part) in [
        (9, 0, &[2][..], &[1][..], "should hold 9 elements"),
        (huge, 0, &[2], &[1], "should hold"),
        (8, 7, &[2], &[1], "stored are 32"),
        (8, 0, &[3, 3], &[3, 1], "stored are 32"),
        (8, 0, &[2, 2], &[7, 1], "stored are 32"),
        (8, huge, &[1], &[1], "out of range"),
        (8, 0, &[2], &[huge], "larger than any file"),
        (8, 0, &[huge, 4], &[0, 0], "larger than any file"),
        (8, 0, &[1 << 40], &[0], "repeats"),
        (8, 0, &[2, 2], &[1], "different lengths"),
        (8, 0, &[1; 9], &[1; 9], "in a way that torch does not"),
    ] {
        let why = refusal(&one_tensor("FloatStorage", &bytes, length, offset, shape, strides));
        assert!(why.contains(part), "expected `{part}`: {why}");
    }
    // A dimension of zero does not hide a huge one.
    let empty = one_tensor("FloatStorage", &bytes, 8, 0, &[1 << 40, 0], &[0, 1]);
    let directory = Directory::read(&empty).expect("read");
    assert_eq!(directory.values(&empty, "x"), Ok(Vec::new()));
    assert_eq!(directory.rows(&empty, "x", &[1 << 39]), Ok(Vec::new()));
    let missing =
        Pickler::new().op(b"}").text("x").tensor(("FloatStorage", "1", 1), 0, &[1], &[1]).op(b"s").stop();
    assert!(refused(&missing).contains("`data/1` is missing"), "{}", refused(&missing));
    let outside = Pickler::new()
        .op(b"}")
        .text("x")
        .tensor(("FloatStorage", "../data.pkl", 1), 0, &[1], &[1])
        .op(b"s")
        .stop();
    assert!(refused(&outside).contains("is missing"), "{}", refused(&outside));
    let double = Pickler::new()
        .op(b"}(")
        .text("x")
        .tensor(("FloatStorage", "0", 1), 0, &[1], &[1])
        .text("x")
        .tensor(("FloatStorage", "0", 1), 0, &[1], &[1])
        .op(b"u")
        .stop();
    assert!(refused(&double).contains("`x` is there twice"), "{}", refused(&double));
}

#[test]
fn small_pickles_that_stand_for_endless_trees_are_refused_at_once() {
    let watch = Stopwatch::start();
    // A list of lists of lists …, each ten times the one before; the same of dicts; a list in itself.
    let mut lists = Pickler::new();
    let mut dicts = Pickler::new();
    lists.op(b"}").text("x").op(b"(]q\x00");
    dicts.op(b"}").text("x").op(b"(}q\x00");
    for level in 0..30_u8 {
        lists.op(b"](");
        dicts.op(b"}(");
        for at in 0..10 {
            lists.op(&[b'h', level]);
            dicts.int(at).op(&[b'h', level]);
        }
        lists.op(&[b'e', b'q', level + 1]);
        dicts.op(&[b'u', b'q', level + 1]);
    }
    for pickle in [lists.op(b"ts").stop(), dicts.op(b"ts").stop()] {
        let why = refused(&pickle);
        assert!(why.contains("stands for more than 64 MiB"), "{why}");
    }
    for cycle in [&b"]q\x00h\x00as"[..], b"}q\x00h\x00h\x00ss", b"}q\x00K\x01h\x00ss"] {
        let why = refused(&Pickler::new().op(b"}").text("x").op(cycle).stop());
        assert!(why.contains("levels deep") || why.contains("neither text nor integer"), "{why}");
    }
    // A long text in many places; a key of many bytes; more steps than any state dict takes.
    let long = "a".repeat(1 << 20);
    let mut texts = Pickler::new();
    texts.op(b"}").text("x").op(b"](").text(&long).op(b"q\x00");
    texts.op(&b"h\x00".repeat(100_000)).op(b"es");
    assert!(refused(&texts.stop()).contains("stands for more"));
    let mut keys = Pickler::new();
    keys.op(b"}").text(&long).op(b"}(");
    for at in 0..100 {
        keys.int(at).int(at);
    }
    assert!(refused(&keys.op(b"us").stop()).contains("stands for more"));
    let steps = Pickler::new().op(&vec![b'N'; 3_000_000]).stop();
    assert!(refused(&steps).contains("steps"));
    assert!(watch.seconds() < 20.0, "{} s", watch.seconds());
}

#[test]
fn archives_that_lie_are_refused() {
    let array = npy(1, "'<f4'", "False", "(4,)", &f32s(&numbers(4)));
    let x = || stored("x.npy", &array);
    let of = |entry: Entry| zip(&[entry], false);
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (of(Entry { len: 5, ..x() }), "two different sizes"),
        (of(Entry { flags: 1, ..x() }), "is encrypted"),
        (of(Entry { method: 12, ..x() }), "compressed by method 12"),
        (of(Entry { crc: 1, ..deflated("x.npy", &array) }), "compressed bytes are broken"),
        (of(Entry { len: 1 << 31, ..deflated("x.npy", &array) }), "no weights are compressed so far"),
        (of(Entry { bytes: vec![0xff; 50], ..deflated("x.npy", &array) }), "compressed bytes are broken"),
        (of(Entry { name: "n".repeat(5000), ..x() }), "name of more than 4096 bytes"),
        (zip(&[x(), x()], false), "is there twice"),
        (zip(&[], false), "neither `data.pkl`"),
        (zip(&[stored("readme.txt", b"x")], false), "it holds: readme.txt"),
        (zip(&[stored("data.pkl", b"N.")], false), "expected one folder"),
        (zip(&[stored("a/data.pkl", b"N."), stored("b/data.pkl", b"N.")], false), "expected one folder"),
        (zip(&[stored("a/data.pkl", b"N."), stored("a/constants.pkl", b"N.")], false), "TorchScript"),
        (zip(&[stored("a/data.pkl", b"N."), stored("a/byteorder", b"big")], false), "big-endian machine"),
        (zip(&[x(), stored("x.txt", b"")], false), "`x.txt` is no array"),
    ];
    // Two entries over the same bytes, a directory outside the file, more entries than there are, no directory.
    let twice = zip(&[x(), stored("y.npy", &array)], false);
    let record = |file: &[u8], nth: usize| {
        let places: Vec<usize> =
            (0..file.len()).filter(|at| file[*at..].starts_with(b"PK\x01\x02")).collect();
        places[nth]
    };
    let mut overlapping = twice.clone();
    overlapping[record(&twice, 1) + 42..][..4].fill(0);
    cases.push((overlapping, "overlap"));
    let end = twice.len() - 22;
    for (place, bytes, part) in [
        (end + 16, &[0xff, 0xff, 0, 0][..], "no directory at its end"),
        (end + 10, &[0xff, 0xff], "directory of the archive is broken"),
        (end + 10, &[0, 0], "neither `data.pkl`"),
        (record(&twice, 0) + 42, &[9, 0, 0, 0], "does not lie in the file"),
    ] {
        let mut lying = twice.clone();
        lying[place..place + bytes.len()].copy_from_slice(bytes);
        cases.push((lying, part));
    }
    cases.push((twice[..end].to_vec(), "no directory at its end"));
    let mut wide = zip(&[x()], true);
    let count = (0..wide.len()).find(|at| wide[*at..].starts_with(b"PK\x06\x06")).expect("ZIP64") + 32;
    wide[count..count + 8].fill(0x7f);
    cases.push((wide, "entries; expected at most"));
    for (file, part) in cases {
        let why = refusal(&file);
        assert!(why.contains(part), "expected `{part}`: {why}");
    }
}

#[test]
fn a_small_archive_does_not_become_a_large_one() {
    let header = npy(1, "'<f4'", "False", "(33554432,)", b"");
    let mut array = header.clone();
    array.resize(header.len() + (128 << 20), 0);
    let bomb = zip(&[deflated("x.npy", &array)], false);
    assert!(bomb.len() < 1 << 20);
    assert!(refusal(&bomb).contains("no weights are compressed so far"), "{}", refusal(&bomb));
}

#[test]
fn arrays_that_are_no_numbers_are_refused_by_their_type() {
    let four = f32s(&[1.0]);
    for (array, part) in [
        (npy(1, "'>f4'", "False", "(1,)", &four), "big-endian"),
        (npy(1, "'|O'", "False", "(1,)", &four), "pickle and could run code"),
        (npy(1, "'|V2'", "False", "(1,)", &four), "no bfloat16"),
        (npy(1, "'<c8'", "False", "(1,)", &four), "expected f2, f4, f8"),
        (npy(1, "'<U1'", "False", "(1,)", &four), "`<U1`"),
        (npy(1, "[('a', '<f4')]", "False", "(1,)", &four), "several fields"),
        (npy(1, "'<f4'", "False", "(2,)", &four), "need"),
        (npy(1, "'<f4'", "False", "(0,)", &four), "should take"),
        (npy(1, "'<f4'", "False", "(-1,)", &four), "has the header"),
        (npy(1, "'<f4'", "False", "(99999999999, 99999999999)", &four), "larger than any file"),
        (npy(1, "'<f4'", "Maybe", "(1,)", &four), "has the header"),
        (npy(1, "__import__('os')", "False", "(1,)", &four), "has the header"),
        (npy(1, "'<f4', 'descr': '<f4'", "False", "(1,)", &four), "has the header"),
        (npy(7, "'<f4'", "False", "(1,)", &four), "version 7"),
        (b"\x93NUMPY\x02\0\xff\xff\xff\xff{}".to_vec(), "ends within its header"),
        (b"\x93NUMPY\x01".to_vec(), "ends within its header"),
        (b"PICKLE".to_vec(), "no array of numpy"),
    ] {
        for entry in [stored, deflated] {
            let why = refusal(&zip(&[entry("x.npy", &array)], false));
            assert!(why.contains("`x.npy`") && why.contains(part), "expected `{part}`: {why}");
        }
    }
}

#[test]
fn files_of_other_formats_are_named() {
    let header = |json: &str| [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat();
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    let mut long = header("{}");
    long[..8].copy_from_slice(&(17_u64 << 20).to_le_bytes());
    long.resize(18 << 20, b' ');
    for (file, part) in [
        (b"".to_vec(), "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n".to_vec(), "`git lfs pull`"),
        (b"\n<!DOCTYPE html><html>".to_vec(), "a web page"),
        (b"\x80\x02}q\x00.".to_vec(), "a plain pickle"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.".to_vec(), "before version 1.6"),
        (npy(1, "'<f4'", "False", "()", &f32s(&[1.0])), "a single array"),
        (b"\x1f\x8b\x08\0".to_vec(), "gzip"),
        (b"GGUF\x03\0\0\0".to_vec(), "GGUF"),
        (b"\x89HDF\r\n".to_vec(), "HDF5"),
        (tar, "tar archive"),
        (b"{\"d_in\": 64}".to_vec(), "a JSON file"),
        (b"hello".to_vec(), "another format"),
        (b"PK\x03\x04".to_vec(), "no directory at its end"),
        (header("{}"), "holds no tensors"),
        (header("{\"x\": 1}"), "not a whole safetensors file"),
        (
            header("{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"),
            "not a whole safetensors file",
        ),
        (long, "expected at most 16777216"),
    ] {
        let why = refusal(&file);
        assert!(why.contains(part), "expected `{part}`: {why}");
    }
}
