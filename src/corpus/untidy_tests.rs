//! Text as it comes: JSON under any name, other formats, bad lines, texts of one document, sources without end.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::part::Item;
use super::tests::Bytes;
use super::*;
use crate::base::write_atomic;

fn params(bad_lines: usize) -> CorpusParams {
    CorpusParams {
        fit_tokens: 1_000,
        ctx_tokens: 16,
        eval_fragments: 20,
        fragment_tokens: 64,
        seed: 7,
        bad_lines,
        reject_replacement: false,
        separator_id: None,
        prefix: Vec::new(),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// Bytes as one Zstandard frame of one raw block.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let block = (1 | (bytes.len() as u32) << 3).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58][..], &block[..3], bytes].concat()
}

fn document(nth: usize) -> String {
    format!(
        "{nth} documents tell of the river, the bridge, the mill and of what became of them in year {nth}."
    )
}

fn lines(n: usize) -> Vec<String> {
    (0..n).map(|nth| serde_json::json!({"id": nth, "text": document(nth)}).to_string()).collect()
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join(name);
    write_atomic(&path, bytes).expect("written");
    (folder, path)
}

/// Texts of documents, and messages of bad lines.
fn read(path: &Path, field: Option<&str>) -> Result<(Vec<String>, Vec<String>), CorpusError> {
    let (mut texts, mut bad) = (Vec::new(), Vec::new());
    for item in Source::from_path(path, field, None)?.parts() {
        match item? {
            Item::Part(part) => texts.push(part.text),
            Item::Bad(line) => bad.push(line.to_string()),
            Item::Empty | Item::Idle(_) => {}
        }
    }
    Ok((texts, bad))
}

#[test]
fn json_is_read_by_its_content_under_any_name() {
    let expected: Vec<String> = (0..9).map(document).collect();
    let (lines, texts) = (lines(9), serde_json::json!(expected).to_string());
    let pretty: String = (0..9)
        .map(|nth| {
            serde_json::to_string_pretty(&serde_json::json!({"text": document(nth)})).expect("JSON") + "\n"
        })
        .collect();
    let (joined, list) = (lines.join("\n"), format!("[{}]", lines.join(" ,\n")));
    let members = [gzip(&joined.as_bytes()[..100]), gzip(&joined.as_bytes()[100..])].concat();
    let frames = [
        &[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..],
        &zstd(&joined.as_bytes()[..99]),
        &zstd(&joined.as_bytes()[99..]),
    ]
    .concat();
    let marked = format!("\u{feff}{joined}");
    for name in ["a.json", "a.txt", "a", "a.jsonl", "a.data"] {
        for bytes in [
            joined.as_bytes(),
            list.as_bytes(),
            texts.as_bytes(),
            pretty.as_bytes(),
            marked.as_bytes(),
            &members,
            &frames,
        ] {
            let (_folder, path) = file(name, bytes);
            let (texts, bad) = read(&path, None).expect(name);
            assert!(texts == expected && bad.is_empty(), "{name}: {texts:?} {bad:?}");
        }
    }
    let (_folder, path) = file("a.json.gz", &gzip(list.as_bytes()));
    assert_eq!(read(&path, None).expect("read").0, expected);
    let nested = lines.iter().map(|line| format!("{{\"data\": {line}}}")).collect::<Vec<_>>().join("\n");
    let (_folder, path) = file("a.txt", nested.as_bytes());
    assert_eq!(read(&path, Some("data.text")).expect("read").0, expected);
}

#[test]
fn prose_stays_prose_and_a_given_separator_means_text() {
    for text in [
        "{curly} words\nand more",
        "[1] A reference\n[2] Another",
        "\"Well,\" he said.\n",
        "id, text\n1, a\n",
    ] {
        let (_folder, path) = file("a.txt", text.as_bytes());
        assert_eq!(read(&path, None).expect("read").0, [text.trim_end_matches('\n')]);
    }
    let (_folder, path) = file("a.txt", b"{\"text\": \"a\"}\n---\nb");
    let parts = Source::from_path(&path, None, Some("---")).expect("source").parts().count();
    assert_eq!(parts, 2);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let lines = lines(9).join("\n");
    let stream = gzip(lines.as_bytes());
    let cut = [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x58][..], &[0xa5, 0x0f, 0], &[2; 20]].concat();
    let cases: [(&str, &[u8], [&str; 2]); 14] = [
        ("a.txt", b"PAR1\x15\x04", ["parquet", "JSONL"]),
        ("table.csv", b"id,text\n1,a\n", ["CSV", "JSONL"]),
        ("table.tsv.gz", &gzip(b"id\ttext\n1\ta\n"), ["TSV", "JSONL"]),
        ("a.jsonl", b"\xfd7zXZ\0\0\0", ["xz", "xz -d"]),
        ("a.jsonl.bz2", b"BZh91AY&SY\0", ["bzip2", "bzip2 -d"]),
        (
            "a.jsonl",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
            ["git-lfs", "git lfs pull"],
        ),
        ("a.jsonl.gz", b"<!DOCTYPE html><html>", ["HTML", "download"]),
        ("a.txt", b"\xff\xfeh\0i\0", ["UTF-16", "UTF-8"]),
        ("a.json", b"[[1, 2], [3, 4]]", ["array of arrays", "JSON object"]),
        ("a.json", b"[{\"text\": \"a\"}", ["JSON array", "cut short"]),
        ("a.jsonl.gz", &gzip(&stream), ["compressed twice", "unpack"]),
        ("a.jsonl", &stream[..stream.len() - 9], ["gzip data ends too early", "download"]),
        ("a.txt.zst", &cut, ["zstd data ends too early", "download"]),
        ("a.txt", &[0; 100], ["binary data", "text file"]),
    ];
    for (name, bytes, words) in cases {
        let (_folder, path) = file(name, bytes);
        let error = read(&path, None).expect_err(name);
        let told = error.to_string();
        assert!(matches!(error, CorpusError::Content { .. }) && told.contains(name), "{told}");
        assert!(words.iter().all(|word| told.contains(word)), "{name}: {told}");
        assert!(!told.contains("Error") && !told.contains("kind:"), "a debugger's form: {told}");
    }
}

#[test]
fn bad_lines_are_left_out_counted_and_limited() {
    let mut lines = lines(200);
    for (nth, bad) in [
        (5, "{\"text\": null}"),
        (9, "{\"text\": \"one \\ud83d half\"}"),
        (11, "{\"txt\": 1}"),
        (13, "no JSON"),
        (15, "{\"text\": \"\"}"),
        (17, "{\"text\": \"of use\", \"score\": NaN}"),
    ] {
        lines[nth] = bad.to_string();
    }
    let mut bytes = lines.join("\n").into_bytes();
    bytes.splice(0..0, b"{\"text\": \"\xff\"}\n".iter().copied());
    let (_folder, path) = file("a.jsonl", &bytes);
    let source = Source::from_path(&path, None, None).expect("source");
    let sets =
        prepare(&source, &Bytes, &CorpusParams { fit_tokens: 9_000, ..params(5) }, &|_| ()).expect("enough");
    let BadLines { n, kinds, first } = &sets.counts.bad_lines;
    assert_eq!((*n, kinds.len(), sets.counts.empty_texts), (5, 5, 1), "{kinds:?}");
    assert!(first.len() == 3 && first[1].contains("a.jsonl` line 7: field `text` is null"), "{first:?}");
    let told = sets.counts.warnings(5).join("\n");
    assert!(
        told.contains("5 lines") && told.contains("1 × text is null") && told.contains("line 1: "),
        "{told}"
    );

    let error = prepare(&source, &Bytes, &params(4), &|_| ()).expect_err("one too many");
    let told = error.to_string();
    assert!(matches!(error, CorpusError::BadLines { allowed: 4, .. }), "{told}");
    assert!(told.contains("line 1: ") && told.contains("`limits.bad_lines` allows 4"), "{told}");

    // A field that no line has.
    let (_folder, path) = file("a.jsonl", b"{\"body\": \"a\"}\n{\"body\": \"b\"}\n");
    let source = Source::from_path(&path, None, None).expect("source");
    let told = prepare(&source, &Bytes, &params(100), &|_| ()).expect_err("empty").to_string();
    assert!(told.contains("line 1: no field `text`") && told.contains("set `corpus.field`"), "{told}");
}

#[test]
fn a_text_of_one_document_is_told_to_be_one() {
    let text: String =
        (0..2_000).map(|nth| document(nth) + if nth % 4 == 0 { "\n\n" } else { "\n" }).collect();
    let (_folder, path) = file("a.txt", text.as_bytes());
    let source = Source::from_path(&path, None, None).expect("source");
    let sets =
        prepare(&source, &Bytes, &CorpusParams { fit_tokens: 60_000, ..params(0) }, &|_| ()).expect("enough");
    let told = sets.counts.warnings(0).join("\n");
    assert!(
        told.contains("one document: no line `<|endoftext|>` was found; set `corpus.separator`"),
        "{told}"
    );
    assert!(told.contains("at blank lines: "), "{told}");
    assert!(source.look().expect("read").expect("a warning").contains("set `corpus.separator`"));
    let needs = CorpusParams { fit_tokens: 1_000_000, ..params(0) };
    let told = prepare(&source, &Bytes, &needs, &|_| ()).expect_err("too little").to_string();
    assert!(told.contains("one document: ") && told.contains("at blank lines: 501 documents"), "{told}");
    let source = Source::from_path(&path, None, Some("")).expect("source");
    let sets = prepare(&source, &Bytes, &params(0), &|_| ()).expect("enough");
    assert!(sets.counts.undivided.is_none() && sets.counts.warnings(0).is_empty());
    assert_eq!(source.look().expect("read"), None);
}

#[test]
fn text_that_adds_nothing_or_holds_no_document_ends() {
    let folder = tempfile::tempdir().expect("folder");
    let written = |name: &str, unit: &[u8], mib: usize| {
        let path = folder.path().join(name);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = unit.repeat((1 << 20) / unit.len());
        (0..mib).for_each(|_| encoder.write_all(&block).expect("compressed"));
        write_atomic(&path, &encoder.finish().expect("compressed")).expect("written");
        path
    };
    let letters = Source::from_path(&written("letters.txt.gz", b"a", 24), None, None).expect("source");
    let told = prepare(&letters, &Bytes, &params(0), &|_| ()).expect_err("it repeats").to_string();
    assert!(told.contains("8 MiB in a row of document 1") && told.contains("added nothing"), "{told}");

    let blank = Source::from_path(&written("blank.txt.gz", b"\n", 260), None, None).expect("source");
    let idle = std::cell::Cell::new(0);
    let on = |progress| {
        if let Progress::Idle(bytes) = progress {
            idle.set(bytes);
        }
    };
    let told = prepare(&blank, &Bytes, &params(0), &on).expect_err("nothing comes").to_string();
    assert!(told.contains("256 MiB in a row without a document"), "{told}");
    assert!(idle.get() >= 200 << 20, "progress was told: {}", idle.get());
}

#[test]
fn blank_lines_that_are_read_together_end_documents_as_single_ones_do() {
    let text = format!(
        "{}\n\n\n\n{}\r\n\r\n{}\n \nlast",
        "a".repeat(part::PART_BYTES),
        "b".repeat(70),
        "c".repeat(70)
    );
    let (_folder, path) = file("a.txt", text.as_bytes());
    let source = Source::from_path(&path, None, Some("")).expect("source");
    let lengths: Vec<usize> = source
        .parts()
        .map(|item| match item.expect("read") {
            Item::Part(part) => part.text.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [part::PART_BYTES, 70, 77]);
}

#[cfg(unix)]
#[test]
fn a_folder_is_entered_once_and_its_pipes_are_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    write_atomic(&folder.path().join("deep/a.txt"), b"one\n<|endoftext|>\ntwo").expect("written");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("deep/again")).expect("linked");
    let made =
        std::process::Command::new("mkfifo").arg(folder.path().join("b.txt")).status().expect("started");
    assert!(made.success());
    assert_eq!(read(folder.path(), None).expect("read").0, ["one", "two"]);
}

#[test]
fn a_text_for_a_model_is_read_like_a_corpus() {
    let (_folder, path) = file("a.txt", &gzip("\u{feff}héllo".as_bytes()));
    assert_eq!(read_text(&path, 100).expect("read"), "héllo");
    assert!(read_text(&path, 3).expect_err("longer").to_string().contains("is longer than"));
}
