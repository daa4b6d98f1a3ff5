use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use safetensors::tensor::{Dtype, TensorView};

use super::*;
use crate::base::{Stream, write_atomic};
use crate::subject::{LoadedSubject, embedded};

/// What `tests/fixtures/make_cached_activations.py` wrote with `datasets` and `pyarrow`.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cached_activations").join(name)
}

const HOOK: &str = "blocks.2.hook_resid_post";
const SEQUENCES: usize = 5;
const POSITIONS: usize = 8;
const WIDTH: usize = 4;

fn hook(name: &str) -> HookPoint {
    name.parse().expect("a hook point")
}

fn value(sequence: usize, position: usize, k: usize) -> f32 {
    sequence as f32 + position as f32 / 8.0 + k as f32 / 64.0
}

fn token(sequence: usize, position: usize) -> u32 {
    if position == 0 { 0 } else { ((31 * sequence + 7 * position) % 30 + 1) as u32 }
}

fn tokens(sequence: usize) -> Vec<u32> {
    (0..POSITIONS).map(|position| token(sequence, position)).collect()
}

fn assert_formula(files: &ActivationFiles, name: &str) {
    assert_eq!((files.sequences(), files.positions()), (SEQUENCES, POSITIONS), "{name}");
    for sequence in 0..SEQUENCES {
        assert_eq!(files.ids(sequence).expect("ids"), tokens(sequence), "{name}");
        let mut rows = [0.0; 3 * WIDTH];
        files.read(hook(name), sequence, 2, &mut rows).expect("rows");
        for (nth, got) in rows.iter().enumerate() {
            assert_eq!(*got, value(sequence, 2 + nth / WIDTH, nth % WIDTH), "{name}: {sequence} {nth}");
        }
    }
}

#[test]
fn data_sets_of_the_peers_library_are_read() {
    for name in ["whole", "shards", "other_types.arrow"] {
        let files = ActivationFiles::open(&fixture(name)).expect(name);
        assert_formula(&files, HOOK);
    }
    let files = ActivationFiles::open(&fixture("other_types.arrow")).expect("opens");
    assert_formula(&files, "blocks.0.hook_resid_pre");
    assert_eq!(files.documents(), Some(&[0, 0, 1, 1, 2][..]));
    assert_eq!(files.hooks().count(), 2);
    assert_eq!(ActivationFiles::open(&fixture("whole")).expect("opens").documents(), None);
}

/// Name, format, shape and bytes of a tensor.
type Stored = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// Writes a safetensors file.
fn write(path: &Path, tensors: &[Stored]) {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor"))
    });
    write_atomic(path, &safetensors::serialize(views, None).expect("a file")).expect("written");
}

fn floats(n: usize, change: impl Fn(usize) -> f32) -> Vec<u8> {
    (0..n).flat_map(|nth| change(nth).to_le_bytes()).collect()
}

fn activations(width: usize) -> Stored {
    let of = |nth: usize| value(nth / width / POSITIONS, nth / width % POSITIONS, nth % width);
    let n = SEQUENCES * POSITIONS * width;
    (HOOK, Dtype::F32, vec![SEQUENCES, POSITIONS, width], floats(n, of))
}

fn ids(change: impl Fn(usize, i64) -> i64) -> Stored {
    let all = (0..SEQUENCES).flat_map(tokens).enumerate();
    let bytes = all.flat_map(|(nth, id)| change(nth, i64::from(id)).to_le_bytes()).collect();
    (TOKEN_IDS, Dtype::I64, vec![SEQUENCES, POSITIONS], bytes)
}

fn opened(tensors: &[Stored]) -> Result<LoadedSubject, SubjectError> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.safetensors");
    write(&path, tensors);
    let files = ActivationFiles::open(&path)?;
    LoadedSubject::from_activations(files, embedded::tokenizer().expect("a tokenizer"), true)
}

#[test]
fn safetensors_of_others_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.safetensors");
    write(&path, &[activations(WIDTH), ids(|_, id| id)]);
    assert_formula(&ActivationFiles::open(&path).expect("opens"), HOOK);
    // Two files of a folder are one after the other.
    write(&folder.path().join("y.safetensors"), &[activations(WIDTH), ids(|_, id| id)]);
    let both = ActivationFiles::open(folder.path()).expect("opens");
    assert_eq!(both.sequences(), 2 * SEQUENCES);
    assert_eq!(both.ids(SEQUENCES + 1).expect("ids"), tokens(1));
    let mut row = [0.0; WIDTH];
    both.read(hook(HOOK), SEQUENCES + 1, 3, &mut row).expect("a row");
    assert_eq!(row[2], value(1, 3, 2));
    write(&folder.path().join("y.safetensors"), &[activations(WIDTH + 1), ids(|_, id| id)]);
    let error = ActivationFiles::open(folder.path()).expect_err("another width").to_string();
    assert!(
        error.contains("y.safetensors") && error.contains("[8, 5]") && error.contains("[8, 4]"),
        "{error}"
    );
}

#[test]
fn every_defect_is_named() {
    let short =
        (TOKEN_IDS, Dtype::I32, vec![SEQUENCES - 1, POSITIONS], vec![0; 4 * (SEQUENCES - 1) * POSITIONS]);
    let flat = (HOOK, Dtype::F32, vec![SEQUENCES * POSITIONS, WIDTH], activations(WIDTH).3);
    let whole = (HOOK, Dtype::I32, vec![SEQUENCES, POSITIONS, WIDTH], activations(WIDTH).3);
    let wrong: [(&str, Vec<Stored>, &[&str]); 8] = [
        ("no ids", vec![activations(WIDTH)], &["`token_ids`", "harvest"]),
        ("fewer ids", vec![activations(WIDTH), short], &["4 sequences of 8", "5 of 8", HOOK]),
        ("flat rows", vec![flat, ids(|_, id| id)], &["40 rows of f32 [4]", "[positions, width]"]),
        ("integers", vec![whole, ids(|_, id| id)], &["int32 [8, 4]"]),
        ("nothing", vec![("x", Dtype::U8, vec![1], vec![1])], &["no activations", "\"x\"", "blocks.2."]),
        (
            "negative",
            vec![activations(WIDTH), ids(|nth, id| if nth == 11 { -1 } else { id })],
            &["holds -1 at sequence 1, position 3"],
        ),
        (
            "beyond",
            vec![activations(WIDTH), ids(|nth, id| if nth == 11 { 70_000 } else { id })],
            &["70000 at sequence 1, position 3", "ids 0 to 2047", "subject.tokenizer"],
        ),
        (
            "float ids",
            vec![activations(WIDTH), (TOKEN_IDS, Dtype::F32, vec![5, 8], vec![0; 160])],
            &["rows of f32 [8]"],
        ),
    ];
    for (what, tensors, named) in wrong {
        let error = opened(&tensors).expect_err(what).to_string();
        named.iter().for_each(|text| assert!(error.contains(text), "{what}: {error}"));
    }
    for (name, named) in [("compressed.arrow", "compressed"), ("absent", "read"), ("..", "no activations")] {
        let error = ActivationFiles::open(&fixture(name)).expect_err(name).to_string();
        assert!(error.contains(named), "{name}: {error}");
    }
}

#[test]
fn a_stored_subject_answers_for_its_texts_and_refuses_the_rest() {
    let subject = opened(&[activations(WIDTH), ids(|_, id| id)]).expect("opens");
    let (stored, model) = (subject.stored().expect("stored"), subject.model());
    assert!(model.without_model().is_some_and(|note| note.contains("no model") && note.contains("8 tokens")));
    assert_eq!((model.info().n_layers, model.info().d_model, model.info().n_ctx), (3, WIDTH, POSITIONS));
    assert_eq!(stored.shared_start, [0]);
    let prefix = subject.prefix(Bos::Auto).expect("a prefix");
    assert_eq!(prefix.ids, [0], "every sequence begins with the BOS token");
    assert!(subject.prefix(Bos::Never).expect_err("contradicts").to_string().contains("bos: never"));
    // A context, and a fragment from the middle of another.
    let context = TokenBatch::new(tokens(1)[1..].to_vec(), POSITIONS - 1).expect("tokens");
    let fragment = TokenBatch::new(tokens(3)[4..7].to_vec(), 3).expect("tokens");
    stored.place(&prefix.ids, &context, &[(1, 1)]);
    stored.place(&prefix.ids, &fragment, &[(3, 4)]);
    let with = crate::subject::WithPrefix::new(model, &prefix.ids);
    let rows = with.activations(&context, &[hook(HOOK)]).expect("rows").swap_remove(0);
    assert_eq!((rows.rows(), rows.at(0, 1)), (POSITIONS - 1, value(1, 1, 1)));
    let rows = with.activations(&fragment, &[hook(HOOK)]).expect("rows").swap_remove(0);
    assert_eq!((rows.rows(), rows.at(2, 3)), (3, value(3, 6, 3)));
    let other = TokenBatch::new(vec![5, 6, 7], 3).expect("tokens");
    let error = with.activations(&other, &[hook(HOOK)]).expect_err("not stored").to_string();
    assert!(error.contains("new texts") && error.contains("without a model"), "{error}");
    for error in [
        model.token_losses(&context, None).expect_err("losses"),
        model.logits(&context).expect_err("logits"),
        model.direct_logits(&rows).expect_err("effects"),
        model.last_token_activations(&[&[1]], hook(HOOK)).expect_err("a new text"),
        subject.with_permuted_weights(1, false).expect_err("weights"),
    ] {
        assert!(matches!(error, SubjectError::WithoutModel { .. }), "{error}");
    }
    let error = model.check_hook(hook("blocks.1.hook_mlp_out")).expect_err("absent").to_string();
    assert!(error.contains("blocks.1.hook_mlp_out") && error.contains(HOOK), "{error}");
    let every = |text: &str| model.hooks(&text.parse().expect("a selector")).expect("hook points");
    assert_eq!(every("blocks.*.hook_resid_post"), [hook(HOOK)]);
    assert_eq!(every("blocks.*.hook_mlp_out"), [hook("blocks.0.hook_mlp_out")], "to be refused by name");
}

#[test]
fn nan_is_found_where_it_is() {
    let mut broken = activations(WIDTH);
    let at = 4 * ((2 * POSITIONS + 5) * WIDTH + 1);
    broken.3[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let subject = opened(&[broken, ids(|_, id| id)]).expect("opens");
    let text = TokenBatch::new(tokens(2)[3..7].to_vec(), 4).expect("tokens");
    subject.stored().expect("stored").place(&[], &text, &[(2, 3)]);
    let error = subject.model().activations(&text, &[hook(HOOK)]).expect_err("NaN");
    assert!(matches!(error, SubjectError::NotFinite { row: 2, col: 5, .. }), "{error}");
}

#[test]
fn digests_depend_on_every_byte() {
    let digest = |tensors: &[Stored]| opened(tensors).expect("opens").model().info().weights_digest;
    let first = digest(&[activations(WIDTH), ids(|_, id| id)]);
    assert_eq!(first, digest(&[activations(WIDTH), ids(|_, id| id)]));
    let mut other = activations(WIDTH);
    *other.3.last_mut().expect("bytes") ^= 1;
    assert_ne!(first, digest(&[other, ids(|_, id| id)]));
    assert_ne!(first, digest(&[activations(WIDTH), ids(|nth, id| if nth == 39 { id + 1 } else { id })]));
}

/// Opens damaged copies of a file: cut short, with changed bytes, and with changed 32-bit numbers.
fn fuzz(bytes: &[u8], mutations: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    let try_to_read = || {
        let Ok(files) = ActivationFiles::open(&path) else { return };
        for sequence in 0..files.sequences().min(3) {
            let _ = files.ids(sequence);
            let hooks: Vec<HookPoint> = files.hooks().collect();
            for hook in hooks {
                let _ = files.read(hook, sequence, 0, &mut [0.0; 4]);
            }
        }
    };
    for length in 0..bytes.len() {
        write_atomic(&path, &bytes[..length]).expect("written");
        try_to_read();
    }
    write_atomic(&path, bytes).expect("written");
    let mut file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
    let mut put = |at: usize, bytes: &[u8]| {
        file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.write_all(bytes)).expect("written");
    };
    let mut stream = Stream::new(1, "fuzz");
    // Headers matter most: half of the changes are near the start.
    for _ in 0..mutations {
        let near = [bytes.len(), bytes.len().min(2048)][stream.below(2)];
        let at = stream.below(near - 3);
        let number = [0, 1, 0x7FFF_FFFF, u32::MAX, stream.below(1 << 31) as u32][stream.below(5)];
        let changed = &number.to_le_bytes()[..[1, 4][stream.below(2)]];
        put(at, changed);
        try_to_read();
        put(at, &bytes[at..at + changed.len()]);
    }
}

#[test]
fn damaged_files_end_in_an_error_or_in_numbers() {
    let mutations = 100_000;
    for name in ["whole/data-00000-of-00002.arrow", "other_types.arrow"] {
        fuzz(&std::fs::read(fixture(name)).expect("a fixture"), mutations);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.safetensors");
    write(&path, &[activations(WIDTH), ids(|_, id| id)]);
    fuzz(&std::fs::read(&path).expect("written"), mutations);
}

#[test]
fn state_files_name_no_file_outside() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = |text: &str| {
        write_atomic(&folder.path().join("state.json"), text.as_bytes()).expect("written");
        ActivationFiles::open(folder.path()).expect_err("refused").to_string()
    };
    let error = state(r#"{"_data_files": [{"filename": "../x.arrow"}]}"#);
    assert!(error.contains("../x.arrow") && error.contains("same folder"), "{error}");
    let error = state(r#"{"_data_files": [{"filename": "a"}], "_indices_data_files": [{"filename": "i"}]}"#);
    assert!(error.contains("flatten_indices"), "{error}");
    assert!(state("[]").contains("state.json"));
    std::fs::remove_file(folder.path().join("state.json")).expect("removed");
    write_atomic(&folder.path().join("dataset_dict.json"), b"{}").expect("written");
    let error = ActivationFiles::open(folder.path()).expect_err("splits").to_string();
    assert!(error.contains("splits"), "{error}");
}
