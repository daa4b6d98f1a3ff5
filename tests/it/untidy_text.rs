//! Text as it comes: what a corpus may be, what is refused by name, and what is told.

use std::io::Write;

use autointerp::base::write_atomic;
use serde_json::{Value, json};

use crate::program::{Done, call};
use crate::toy::{Toy, corpus};

fn run(toy: &Toy, name: &str, set: &[&str]) -> Done {
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("out"));
    let source = format!("corpus.source={}", toy.arg(name));
    let mut args = vec!["run", &suite, "--out", &out, "--set", &source];
    // The shortest run that reads a whole corpus.
    args.extend(["--set", "methods=[{kind: random}]", "--set", "controls=[]"]);
    args.extend(["--set", "statistics={resamples: 200, permutations: 200}"]);
    set.iter().for_each(|item| args.extend(["--set", item]));
    call(toy.home(), &args)
}

fn manifest(toy: &Toy) -> Value {
    let bytes = std::fs::read(toy.path("out/manifest.json")).expect("written");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn documents() -> Vec<String> {
    corpus(400).split("\n<|endoftext|>\n").filter(|text| !text.is_empty()).map(String::from).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

#[test]
fn the_same_documents_under_any_name_give_the_same_tokens() {
    let toy = Toy::new();
    run(&toy, "corpus.txt", &[]).ok();
    let expected = manifest(&toy)["corpus"]["digest"].clone();
    let lines: String = documents().iter().map(|text| json!({"text": text}).to_string() + "\n").collect();
    let files = [
        ("lines.json", lines.clone().into_bytes()),
        ("lines.txt", lines.clone().into_bytes()),
        ("packed.jsonl", gzip(lines.as_bytes())),
        ("list", json!(documents()).to_string().into_bytes()),
    ];
    for (name, bytes) in files {
        write_atomic(&toy.path(name), &bytes).expect("written");
        run(&toy, name, &[]).ok();
        let corpus = &manifest(&toy)["corpus"];
        assert_eq!(corpus["digest"], expected, "{name}");
        assert_eq!(corpus["counts"].get("bad_lines"), None);
    }
    write_atomic(&toy.path("table.csv"), b"id,text\n1,a\n").expect("written");
    run(&toy, "table.csv", &[]).refused(8, &["table.csv", "CSV", "JSONL"]);
    write_atomic(&toy.path("lines.jsonl.xz"), b"\xfd7zXZ\0\0").expect("written");
    run(&toy, "lines.jsonl.xz", &[]).refused(8, &["xz", "xz -d"]);
    let check =
        ["check", &toy.arg("suite.yaml"), "--set", &format!("corpus.source={}", toy.arg("table.csv"))];
    call(toy.home(), &check).refused(8, &["table.csv", "CSV"]);
}

#[test]
fn bad_lines_are_told_on_the_terminal_in_the_manifest_and_on_the_page() {
    let toy = Toy::new();
    let mut lines: Vec<String> = documents().iter().map(|text| json!({"text": text}).to_string()).collect();
    lines[5] = "{\"text\": null}".into();
    lines[7] = lines[7].replacen('{', "{\"score\": NaN, ", 1);
    toy.write("lines.jsonl", &lines.join("\n"));
    let done = run(&toy, "lines.jsonl", &[]).ok();
    assert!(done.stderr.contains("warning: corpus: 1 line gives no document"), "{}", done.stderr);
    assert!(done.stderr.contains("line 6: field `text` is null"), "{}", done.stderr);
    let manifest = manifest(&toy);
    assert_eq!(manifest["corpus"]["counts"]["bad_lines"]["n"], 1);
    assert_eq!(manifest["suite"]["limits"].get("bad_lines"), None, "the default is not written");
    let page = std::fs::read_to_string(toy.path("out/index.html")).expect("written");
    assert!(page.contains("1 line gives no document"));
    run(&toy, "lines.jsonl", &["limits.bad_lines=0"])
        .refused(8, &["`limits.bad_lines` allows 0", "lines.jsonl` line 6", "null"]);
}

#[test]
fn a_text_without_separators_is_told_to_be_one_document() {
    let toy = Toy::new();
    toy.write("one.txt", &corpus(400).replace("<|endoftext|>", ""));
    let refused = run(&toy, "one.txt", &["corpus.fit_tokens=2000"]);
    refused.refused(
        8,
        &["one document: no line `<|endoftext|>` was found; set `corpus.separator`", "blank lines"],
    );
    run(&toy, "one.txt", &["corpus.separator=\"\""]).ok();
    let set = ["--set", &format!("corpus.source={}", toy.arg("one.txt"))];
    let check = call(toy.home(), &[&["check", &toy.arg("suite.yaml")], &set[..]].concat()).ok();
    assert!(check.stderr.contains("is one document"), "{}", check.stderr);
}
