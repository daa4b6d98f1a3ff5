use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::part::{Item, PART_BYTES, Part};
use super::*;
use crate::base::write_atomic;

/// One token per byte, like the byte fallback of a tokenizer.
pub(super) struct Bytes;

impl Encode for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(text.bytes().map(u32::from).collect())
    }
    fn starts_character(&self, id: u32) -> bool {
        id & 0xc0 != 0x80
    }
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        into.push(id as u8);
    }
    fn replacement_token(&self, id: u32) -> bool {
        id >= 0x80
    }
}

/// One token per character.
struct Chars;

impl Encode for Chars {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        if text.contains('\0') {
            return Err("it holds a NUL".into());
        }
        Ok(text.chars().map(u32::from).collect())
    }
    fn starts_character(&self, _id: u32) -> bool {
        true
    }
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        into.extend(char::from_u32(id).expect("a character").to_string().bytes());
    }
    fn replacement_token(&self, id: u32) -> bool {
        id == 0xfffd
    }
}

fn params(fit_tokens: usize, eval_fragments: usize) -> CorpusParams {
    CorpusParams {
        fit_tokens,
        ctx_tokens: 16,
        eval_fragments,
        fragment_tokens: 64,
        seed: 7,
        bad_lines: 0,
        reject_replacement: false,
        separator_id: None,
        prefix: Vec::new(),
    }
}

fn generated<'a>(document: impl Fn(usize) -> String + Sync + 'a) -> Source<'a> {
    Source::Generated(Box::new(document))
}

/// A file in a temporary folder.
fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join(name);
    write_atomic(&path, bytes).expect("written");
    (folder, path)
}

fn parts_of(path: &Path, field: Option<&str>, separator: Option<&str>) -> Result<Vec<Part>, CorpusError> {
    let source = Source::from_path(path, field, separator)?;
    let part = |item| match item {
        Ok(Item::Part(part)) => Some(Ok(part)),
        Ok(Item::Bad(bad)) => {
            Some(Err(CorpusError::Content { path: path.to_path_buf(), why: bad.to_string() }))
        }
        Ok(Item::Empty | Item::Idle(_)) => None,
        Err(error) => Some(Err(error)),
    };
    source.parts().filter_map(part).collect()
}

/// Texts of documents that are each shorter than a part.
fn texts(name: &str, bytes: &[u8], separator: Option<&str>) -> Vec<String> {
    let (_folder, path) = file(name, bytes);
    let parts = parts_of(&path, None, separator).expect("read");
    assert!(parts.iter().all(|part| part.starts_document));
    parts.into_iter().map(|part| part.text).collect()
}

fn error_of(name: &str, bytes: &[u8], field: Option<&str>) -> CorpusError {
    let (_folder, path) = file(name, bytes);
    parts_of(&path, field, None).expect_err("refused")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// Twelve lines of JSONL as two Zstandard frames with a skippable frame between them.
const ZSTD_FRAMES: &str = "28b52ffd649200ad0200e4037b2274657874223a2022646f63756d656e7420302074656c6c73206f66\
    207468652072697665722c62726964676520616e646d696c6c227d0a3132333435080080480ea43b90d8812407e91a218dcc43705b\
    cabbc5c280502a4d180300000061626328b52ffd649400bd0200f4037b2274657874223a2022646f63756d656e7420362074656c6c\
    73206f66207468652072697665722c62726964676520616e646d696c6c227d0a37383931303108004024e008281e48ec409283748d\
    9046e621b82d651e410ee7";

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("hex");
    digits.chunks(2).map(pair).collect()
}

#[test]
fn plain_text_is_split_at_separator_lines() {
    let text =
        "\u{feff}one\n\n<|endoftext|>\n  \n<|endoftext|>\r\ntwo <|endoftext|> still\r\n<|endoftext|>\nthree";
    assert_eq!(texts("a.txt", text.as_bytes(), None), ["one\n", "two <|endoftext|> still", "three"]);
    assert_eq!(texts("a.txt", b"a\nb\n---\nc\n", Some("---")), ["a\nb", "c"]);
    assert_eq!(texts("a.txt", b"a\nb\n\n\nc\n", Some("")), ["a\nb", "c"]);
    assert_eq!(texts("a.md", b"no separator\n\nat all\n", None), ["no separator\n\nat all"]);
    assert_eq!(texts("a.txt", b"one\n<|endoftext|>", None), ["one"]);
}

#[test]
fn a_long_document_comes_in_parts_that_make_it_up_again() {
    for word in ["word ", "line\n", "ünïcödé", "長い文"] {
        let text = word.repeat(4 * PART_BYTES / word.len() + 11);
        let (_folder, path) = file("a.txt", format!("short\n<|endoftext|>\n{text}\n").as_bytes());
        let parts = parts_of(&path, None, None).expect("read");
        assert!(parts.len() > 4);
        assert!(parts.iter().all(|part| part.text.len() <= PART_BYTES));
        assert_eq!(parts.iter().filter(|part| part.starts_document).count(), 2);
        let joined: String = parts[1..].iter().map(|part| part.text.as_str()).collect();
        assert!(joined.trim_end() == text.trim_end(), "{word}");
        let json = serde_json::json!({ "text": text }).to_string();
        let (_folder, path) = file("a.jsonl", json.as_bytes());
        let parts = parts_of(&path, None, None).expect("read");
        assert_eq!(parts.iter().filter(|part| part.starts_document).count(), 1);
        let joined: String = parts.iter().map(|part| part.text.as_str()).collect();
        assert!(joined.trim_end() == text.trim_end(), "{word}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_place() {
    let place = |bytes: &[u8]| match error_of("a.txt", bytes, None) {
        CorpusError::NotUtf8 { offset, line, .. } => (offset, line),
        other => panic!("{other}"),
    };
    assert_eq!(place(b"good\nba\xffd\n"), (7, 2));
    assert_eq!(place(b"cut \xe2\x82"), (4, 1));
    assert_eq!(place(b"\xe2\x82\n"), (0, 1));
    let mut long = vec![b'a'; 3 * PART_BYTES + 5];
    long.push(0xc0);
    assert_eq!(place(&long), (3 * PART_BYTES as u64 + 5, 1));
    let error = error_of("a.txt.gz", &gzip(b"ok\n\xfe"), None);
    assert!(error.to_string().contains("offset 3 (line 2)"), "{error}");
    assert!(!error.is_missing());
}

#[test]
fn lines_of_json_are_refused_with_their_place() {
    let cases: [(&[u8], Option<&str>, &str); 6] = [
        (
            b"{\"text\":\"a\"}\n\n{\"body\":\"b\",\"id\":1}\n",
            None,
            "line 3: no field `text`; the line has `body`, `id`",
        ),
        (b"{}\n", Some("story"), "line 1: no field `story`; the line has no field at all"),
        (
            b"{\"text\":\"a\"}\n{\"text\":\n",
            None,
            "line 2: expected one JSON object a line, got invalid JSON",
        ),
        (b"[1, 2]\n", None, "got an array"),
        (b"{\"text\": null}\n", None, "field `text` is null, expected a string"),
        (b"{\"text\": {\"a\": 1}}\n", None, "field `text` is an object"),
    ];
    for (bytes, field, part) in cases {
        let error = error_of("a.jsonl", bytes, field);
        assert!(error.to_string().contains(part), "{error}");
        assert!(error.to_string().contains("a.jsonl") && !error.is_missing());
    }
}

#[test]
fn compressed_files_read_as_plain_ones() {
    let lines: String = (0..12)
        .map(|n| format!("{{\"text\": \"document {n} tells of the river, the bridge and the mill\"}}\n"))
        .collect();
    let plain = texts("a.jsonl", lines.as_bytes(), None);
    assert_eq!(plain.len(), 12);
    assert_eq!(texts("a.jsonl.gz", &gzip(lines.as_bytes()), None), plain);
    let two_members = [gzip(&lines.as_bytes()[..100]), gzip(&lines.as_bytes()[100..])].concat();
    assert_eq!(texts("a.jsonl.gz", &two_members, None), plain);
    assert_eq!(texts("a.jsonl.zst", &unhex(ZSTD_FRAMES), None), plain);
}

#[test]
fn damaged_compressed_files_are_refused() {
    let zstd = unhex(ZSTD_FRAMES);
    let mut flipped = zstd.clone();
    flipped[30] ^= 1;
    let whole = gzip(b"{\"text\":\"some text\"}\n");
    let cases = [
        ("a.jsonl.zst", zstd[..zstd.len() - 9].to_vec()),
        ("a.jsonl.zst", flipped),
        ("a.jsonl.zst", b"not zstandard".to_vec()),
        ("a.txt.gz", whole[..whole.len() - 4].to_vec()),
        ("a.txt.gz", b"not gzip".to_vec()),
    ];
    for (name, bytes) in cases {
        let error = error_of(name, &bytes, None);
        assert!(matches!(error, CorpusError::Content { .. }), "{error}");
        assert!(error.to_string().contains("does not decompress"), "{error}");
        assert!(error.to_string().contains(name) && !error.is_missing());
    }
}

#[test]
fn paths_choose_the_format_or_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let error = parts_of(&at("absent.txt"), None, None).expect_err("missing");
    assert!(error.is_missing() && error.to_string().contains("absent.txt"), "{error}");
    write_atomic(&at("p/a.parquet"), b"PAR1").expect("written");
    for path in [at("p/a.parquet"), at("p")] {
        let error = parts_of(&path, None, None).expect_err("parquet");
        assert!(error.to_string().contains("parquet") && error.to_string().contains("JSONL"), "{error}");
    }
    write_atomic(&at("d/2/b.jsonl"), b"{\"text\":\"b\"}").expect("written");
    write_atomic(&at("d/1.jsonl.gz"), &gzip(b"{\"text\":\"a\"}")).expect("written");
    write_atomic(&at("d/.hidden.jsonl"), b"{").expect("written");
    write_atomic(&at("d/README.md"), b"about").expect("written");
    let parts = parts_of(&at("d"), None, None).expect("read");
    assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    write_atomic(&at("d/c.txt"), b"text").expect("written");
    let error = parts_of(&at("d"), None, None).expect_err("both kinds");
    assert!(error.to_string().contains("both text and JSONL"), "{error}");
    assert_eq!(parts_of(&at("d"), Some("text"), None).expect("read").len(), 2);
    write_atomic(&at("odd.data"), b"{\"text\":\"a\"}").expect("written");
    assert_eq!(parts_of(&at("odd.data"), Some("text"), None).expect("read")[0].text, "a");
    write_atomic(&at("none/x.bin"), b"").expect("written");
    let error = parts_of(&at("none"), None, None).expect_err("nothing to read");
    assert!(error.to_string().contains("holds no corpus"), "{error}");
}

#[test]
fn an_empty_corpus_and_one_that_the_tokenizer_refuses_are_errors() {
    let prepared = |bytes: &[u8]| {
        let (_folder, path) = file("a.txt", bytes);
        let source = Source::from_path(&path, None, None).expect("source");
        prepare(&source, &Chars, &params(100, 2), &|_| ()).expect_err("refused")
    };
    for bytes in [&b""[..], b"\n \n<|endoftext|>\n"] {
        let error = prepared(bytes);
        assert!(matches!(error, CorpusError::Empty { .. }), "{error}");
        assert!(error.to_string().contains("a.txt") && !error.is_missing());
    }
    let error = prepared(b"fine\n<|endoftext|>\nnot\0fine\n");
    assert!(error.to_string().starts_with("document 2 of `"), "{error}");
    assert!(error.to_string().ends_with("cannot be encoded: it holds a NUL"), "{error}");
    let error =
        prepare(&generated(|_| String::new()), &Chars, &params(100, 2), &|_| ()).expect_err("nothing comes");
    assert!(matches!(error, CorpusError::Empty { .. }), "{error}");
}

#[test]
fn sizes_that_cannot_be_served_are_refused() {
    let sound = params(100, 2);
    let wrong = [
        (CorpusParams { fit_tokens: 0, ..sound.clone() }, "fit_tokens"),
        (CorpusParams { ctx_tokens: 1, ..sound.clone() }, "ctx_tokens"),
        (CorpusParams { eval_fragments: 0, ..sound.clone() }, "eval_fragments"),
        (CorpusParams { fragment_tokens: 4097, ..sound.clone() }, "fragment_tokens"),
    ];
    assert!(sound.check().is_ok());
    for (params, field) in wrong {
        let error = params.check().expect_err(field);
        assert!(error.is_params() && error.to_string().contains(field), "{error}");
    }
}

#[test]
fn too_little_text_says_how_much_there_is() {
    let (_folder, path) = file("a.txt", "short\n<|endoftext|>\n".repeat(50).as_bytes());
    let source = Source::from_path(&path, None, None).expect("source");
    let error = prepare(&source, &Chars, &params(100_000, 40), &|_| ()).expect_err("too little");
    let CorpusError::TooLittleText(found) = &error else { panic!("{error}") };
    assert_eq!((found.counts.documents, found.counts.tokens_read), (50, 250));
    assert_eq!((found.fragments_found, found.fragments_needed), (0, 40));
    assert_eq!(found.fit_needed, 100_000);
    assert_eq!(found.fit_found + 5 * found.counts.short_documents, 250);
    assert!(!error.is_missing());
    assert!(error.to_string().contains("lower `corpus.eval_fragments`"), "{error}");
    // An endless source whose documents are shorter than a fragment.
    let error = prepare(&generated(|n| format!("sentence {n}")), &Chars, &params(100, 2), &|_| ())
        .expect_err("short");
    assert!(matches!(error, CorpusError::TooLittleText(_)), "{error}");
}

#[test]
fn reading_stops_when_both_splits_are_full() {
    let made = AtomicUsize::new(0);
    let source = generated(|n| {
        made.fetch_add(1, Ordering::Relaxed);
        format!("document {n}: {}", "many words ".repeat(20))
    });
    let sets = prepare(&source, &Chars, &params(50_000, 300), &|_| ()).expect("enough");
    let made = made.load(Ordering::Relaxed);
    assert!(made < 1_500, "{made} documents were made");
    assert!(sets.counts.documents <= made && sets.counts.source_documents == sets.counts.documents);
    assert_eq!((sets.fit.rows(), sets.fit.cols()), (3125, 16));
    assert_eq!((sets.evaluate.rows(), sets.evaluate.cols()), (300, 64));
    assert!(sets.counts.tokens_read < 3 * (50_000 + 300 * 64));
}

#[test]
fn contexts_are_packed_with_the_separator_before_every_document() {
    let source =
        generated(|n| char::from_u32(0x4e00 + n as u32).expect("a character").to_string().repeat(70));
    let params = CorpusParams { separator_id: Some(3), ..params(1_000, 5) };
    let sets = prepare(&source, &Chars, &params, &|_| ()).expect("enough");
    assert_eq!(sets.fit.ids().len(), 1_008);
    for (at, &id) in sets.fit.ids().iter().enumerate() {
        assert_eq!(id == 3, at % 71 == 0);
    }
    assert!(!sets.evaluate.ids().contains(&3));
    assert_eq!(sets.counts.fit_documents, 1_008usize.div_ceil(71));
}

#[test]
fn a_long_document_counts_as_several_and_equal_ones_as_one() {
    let text: String = (0..60_000).map(|n| char::from(b'a' + (n * n / 7 % 26) as u8)).collect();
    let (_folder, path) = file("a.txt", text.as_bytes());
    let source = Source::from_path(&path, None, None).expect("source");
    let sets = prepare(&source, &Chars, &params(10_000, 150), &|_| ()).expect("enough");
    assert_eq!(sets.counts.source_documents, 1);
    assert!(sets.counts.documents > 5);
    assert!(sets.counts.eval_documents >= 2);

    // Every character occurs once in this document.
    let places: String = (0x3400..0xd000).filter_map(char::from_u32).collect();
    let (_folder, path) = file("a.txt", places.as_bytes());
    let source = Source::from_path(&path, None, None).expect("source");
    let sets = prepare(&source, &Chars, &params(5_000, 100), &|_| ()).expect("enough");
    let mut seen = HashSet::new();
    assert!(sets.fit.ids().iter().chain(sets.evaluate.ids()).all(|&id| seen.insert(id)), "windows overlap");

    let copies = generated(|n| format!("{:064}", n % 10));
    let error =
        prepare(&copies, &Chars, &params(5_000, 40), &|_| ()).expect_err("ten different fragments at most");
    let CorpusError::TooLittleText(found) = &error else { panic!("{error}") };
    assert!(found.fragments_found <= 10 && found.counts.duplicates > 100, "{error}");
}

#[test]
fn fragments_take_one_of_every_document_before_a_second() {
    let source = generated(|n| (0..60).map(|k| format!("{n:4}{k:4}")).collect());
    let sets = prepare(&source, &Chars, &params(20_000, 400), &|_| ()).expect("enough");
    assert_eq!(sets.fragment_documents.len(), 400);
    let uses: Vec<usize> = (0..sets.counts.eval_documents as u32)
        .map(|document| sets.fragment_documents.iter().filter(|&&other| other == document).count())
        .collect();
    let (least, most) = (uses.iter().min().expect("documents"), uses.iter().max().expect("documents"));
    assert!(*least >= 1 && *most >= 2 && most - least <= 1, "{least} to {most} of a document");
    let first_round = &sets.fragment_documents[..sets.counts.eval_documents];
    assert!(first_round.iter().enumerate().all(|(at, &document)| document as usize == at));
    let windows: HashSet<&[u32]> = (0..400).map(|row| sets.evaluate.row(row)).collect();
    assert_eq!(windows.len(), 400, "no window is taken twice");
}

#[test]
fn the_published_habit_rejects_and_counts_undecodable_fragments() {
    let source = generated(|n| {
        let odd = if n % 2 == 0 { "é" } else { "e" };
        format!("{n:08} {}", format!("{}{odd}", "plain words ".repeat(3)).repeat(2))
    });
    let params = CorpusParams { reject_replacement: true, ..params(2_000, 60) };
    let sets = prepare(&source, &Bytes, &params, &|_| ()).expect("enough");
    assert!(sets.counts.rejected > 20);
    assert!(sets.evaluate.ids().iter().all(|&id| id < 0x80));
    let kept = prepare(&source, &Bytes, &CorpusParams { reject_replacement: false, ..params }, &|_| ())
        .expect("enough");
    assert_eq!(kept.counts.rejected, 0);
    assert!(kept.evaluate.ids().iter().any(|&id| id >= 0x80));
}

#[test]
fn the_number_of_threads_changes_nothing_and_the_seed_does() {
    let source = generated(|n| format!("{n} ").repeat(30 + n % 200));
    let run = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let params = CorpusParams { seed, ..params(30_000, 200) };
        pool.install(|| prepare(&source, &Bytes, &params, &|_| ()).expect("enough"))
    };
    let one = run(1, 7);
    assert_eq!(run(3, 7), one);
    assert_ne!(run(3, 8).digest, one.digest);
}

#[test]
fn the_evaluate_share_follows_what_is_asked_for() {
    let share = |fit, fragments| params(fit, fragments).evaluate_share();
    assert_eq!(share(21_000_000, 5_000), 0.2);
    assert_eq!(share(1_000, 5_000), 0.8);
    let even = share(500_000, 5_000);
    assert!((even - 400_000.0 / 900_000.0).abs() < 1e-12, "{even}");
}

fn document() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => proptest::collection::vec(prop_oneof![Just("a"), Just("é"), Just("€"), Just("🦀"), Just(" ")], 0..400)
            .prop_map(|characters| characters.concat()),
        1 => (0..3u32, 60..200usize).prop_map(|(n, len)| format!("copy {n} ").repeat(len / 7)),
        1 => (any::<u32>(), 400..2_500usize).prop_map(|(n, len)| format!("{n:x}ü").repeat(len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fragments_lie_between_characters(
        documents in proptest::collection::vec(document(), 40..120), seed in any::<u64>(),
    ) {
        let source = generated(|n| documents.get(n).cloned().unwrap_or_else(|| format!("filler {n} ").repeat(12)));
        let params = CorpusParams { seed, ..params(4_000, 60) };
        let sets = prepare(&source, &Bytes, &params, &|_| ()).expect("the filler is enough");
        prop_assert_eq!(sets.fit.rows(), 250);
        prop_assert_eq!(sets.evaluate.rows(), 60);
        for row in 0..60 {
            let bytes: Vec<u8> = sets.evaluate.row(row).iter().map(|&id| id as u8).collect();
            prop_assert!(std::str::from_utf8(&bytes).is_ok(), "fragment {} is cut inside a character", row);
        }
    }

    #[test]
    fn equal_documents_are_never_on_both_sides(
        kinds in proptest::collection::vec(0..80u32, 200..400), seed in any::<u64>(),
    ) {
        // Every kind of document has its own character, so a token identifies its text.
        let text = |kind: u32| char::from_u32(0x4e00 + kind).expect("a character").to_string().repeat(64 + kind as usize);
        let source = generated(|n| text(*kinds.get(n).unwrap_or(&(n as u32))));
        let params = CorpusParams { seed, ..params(6_000, 12) };
        let sets = prepare(&source, &Chars, &params, &|_| ()).expect("enough");
        let fit: HashSet<u32> = sets.fit.ids().iter().copied().collect();
        let evaluate: HashSet<u32> = sets.evaluate.ids().iter().copied().collect();
        prop_assert!(fit.is_disjoint(&evaluate));
    }
}

#[test]
fn real_corpora_have_the_documents_that_they_are_said_to_have() {
    let Ok(shared) = std::env::var("AUTOINTERP_SHARED") else {
        println!("skipped: AUTOINTERP_SHARED is not set");
        return;
    };
    let corpora = Path::new(&shared).join("corpora");
    let documents = |name: &str| {
        let parts = parts_of(&corpora.join(name), None, None).expect("read");
        parts.iter().filter(|part| part.starts_document).count()
    };
    assert_eq!(documents("tinystories.txt"), 1_000);
    assert_eq!(documents("openwebtext-1k.txt"), 995);
    assert_eq!(documents("mixed.jsonl"), 1_800);
    assert_eq!(documents("tinyshakespeare.txt"), 1);
    for name in ["tinystories.txt", "mixed.jsonl", "tinyshakespeare.txt", "openwebtext-1k.txt"] {
        let source = Source::from_path(&corpora.join(name), None, None).expect("source");
        let sets =
            prepare(&source, &Bytes, &CorpusParams { ctx_tokens: 128, ..params(200_000, 3_000) }, &|_| ());
        let sets = sets.expect("enough text");
        assert_eq!(sets.evaluate.rows(), 3_000);
        assert_eq!(sets.fit.rows(), 1_563);
    }
}

#[test]
#[cfg(feature = "hub")]
fn files_of_a_data_set_are_fetched_only_when_reading_gets_to_them() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let shared = tempfile::tempdir().expect("folder");
    let folder = shared.path().join("datasets--owner--set/snapshots").join(commit);
    let line = |n: usize| format!("{{\"text\": \"{n:0200}\"}}\n");
    for part in 0..3 {
        let lines: String = (part * 400..part * 400 + 400).map(line).collect();
        write_atomic(&folder.join(format!("data/part-{part}.jsonl.gz")), &gzip(lines.as_bytes()))
            .expect("written");
    }
    let cache = tempfile::tempdir().expect("folder");
    let hub = crate::hub::HubClient::new("https://huggingface.co", None, cache.path(), true)
        .expect("client")
        .with_shared_cache(shared.path());
    let dataset = hub.dataset("owner/set", commit, None).expect("listed");
    let source = Source::from_dataset(dataset, None, None).expect("source");
    prepare(&source, &Chars, &params(40_000, 200), &|_| ()).expect("enough");
    let taken = cache.path().join("hub/datasets--owner--set").join(commit).join("data");
    assert_eq!(taken.read_dir().expect("listed").count(), 2);

    std::fs::remove_file(folder.join("data/part-2.jsonl.gz")).expect("removed");
    let error = prepare(&source, &Chars, &params(400_000, 200), &|_| ()).expect_err("gone and offline");
    assert!(
        error.is_missing() && error.to_string().contains("`data/part-2.jsonl.gz` of data set"),
        "{error}"
    );
}

/// One token per byte of the lower-case text.
struct Lowered;

impl Encode for Lowered {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Bytes.encode(&text.to_lowercase())
    }
    fn starts_character(&self, id: u32) -> bool {
        Bytes.starts_character(id)
    }
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        Bytes.push_bytes(id, into);
    }
    fn replacement_token(&self, id: u32) -> bool {
        Bytes.replacement_token(id)
    }
}

#[test]
fn labels_stand_beside_their_tokens_and_change_none() {
    let generator = generator::Generator::new(5);
    let params = CorpusParams { separator_id: Some(0), ..params(30_000, 300) };
    let labelled = Source::Labelled(Box::new(|index| generator.document(index as u64)));
    let sets = prepare(&labelled, &Bytes, &params, &|_| ()).expect("prepared");
    let plain = prepare(&generated(|index| generator.document(index as u64).text), &Bytes, &params, &|_| ());
    let plain = plain.expect("prepared");
    assert_eq!((sets.digest, &sets.fit, &sets.evaluate), (plain.digest, &plain.fit, &plain.evaluate));
    assert_eq!(plain.labels, None);
    let labels = sets.labels.expect("labelled");
    for (tokens, labels_of) in [(&sets.fit, &labels.fit), (&sets.evaluate, &labels.evaluate)] {
        assert_eq!(tokens.ids().len(), labels_of.len());
        for (&id, &label) in tokens.ids().iter().zip(labels_of) {
            let set = labels.sets[label as usize];
            let has = |concept| set.contains(concept);
            for (mark, concept) in
                [(b',', generator::Concept::COMMA), (b'?', generator::Concept::QUESTION_MARK)]
            {
                assert!(has(concept) || id != u32::from(mark));
                // A mark includes the space before it, as words do.
                assert!(!has(concept) || id == u32::from(mark) || id == u32::from(b' '));
            }
            assert_eq!(set == generator::ConceptSet::default(), id == 0, "{id}");
        }
    }
    let refused = prepare(&labelled, &Lowered, &params, &|_| ()).expect_err("refused");
    assert!(matches!(refused, CorpusError::NotByteForByte { document: 1, .. }), "{refused}");
}

/// Like [`Chars`], but `$` is a special token.
struct WithSpecial;

impl Encode for WithSpecial {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Chars.encode(text)
    }
    fn starts_character(&self, id: u32) -> bool {
        Chars.starts_character(id)
    }
    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        Chars.push_bytes(id, into);
    }
    fn is_special(&self, id: u32) -> bool {
        id == u32::from('$')
    }
    fn replacement_token(&self, id: u32) -> bool {
        Chars.replacement_token(id)
    }
}

#[test]
fn behind_a_prefix_contexts_need_no_separator_at_their_start_and_all_text_may_be_fitted_on() {
    // A document of 15 tokens and a separator fill a context, so every context begins with a separator.
    let source = generated(|index| format!("{index:015}"));
    let short = |prefix: &[u32]| {
        let prefix = prefix.to_vec();
        let params = CorpusParams { separator_id: Some(3), prefix, fragment_tokens: 8, ..params(960, 20) };
        prepare(&source, &Chars, &params, &|_| ()).expect("enough")
    };
    let (bare, behind) = (short(&[]), short(&[3]));
    assert!((0..60).all(|row| bare.fit.row(row)[0] == 3), "a separator before every document");
    let fitted = |sets: &TokenSets| (0..960).filter(|&place| sets.is_fitted(place)).collect::<Vec<_>>();
    assert_eq!(fitted(&bare), (0..960).filter(|place| place % 16 != 0).collect::<Vec<_>>());
    assert!((0..60).all(|row| behind.fit.row(row)[0] != 3), "the prefix stands there");
    let text: Vec<usize> = (0..960).filter(|&place| behind.fit.ids()[place] != 3).collect();
    assert_eq!(fitted(&behind), text, "position 0 too, and no separator");
    assert!(text.len() < 960 && text.contains(&0));
    assert_ne!(bare.digest, behind.digest);
    // The model's input differs, although the text of the fragments is the same.
    assert_eq!(bare.evaluate, behind.evaluate);
    assert_ne!(short(&[3, 4]).digest, behind.digest);
}

#[test]
fn special_tokens_of_the_text_are_counted_and_kept() {
    let source = generated(|index| format!("{index:030}$end{}", "x".repeat(60)));
    let sets = prepare(&source, &WithSpecial, &params(960, 20), &|_| ()).expect("enough");
    let held = sets.counts.special_tokens.clone();
    assert_eq!(held.into_iter().collect::<Vec<_>>(), [(36, sets.counts.documents)]);
    assert!(sets.fit.ids().contains(&36) && sets.evaluate.ids().contains(&36));
    let none = prepare(&source, &Chars, &params(960, 20), &|_| ()).expect("enough");
    assert!(none.counts.special_tokens.is_empty());
    assert_eq!(none.digest, sets.digest);
}
