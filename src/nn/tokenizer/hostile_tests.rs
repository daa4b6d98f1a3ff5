//! Tokenizer files that ask for too much, or on which the library panics: one message each that names file and field.

use serde_json::json;

use super::tests::changed;
use super::*;

fn refusal(pointer: &str, value: Value) -> String {
    let shown = format!("{pointer} {value:.80}");
    changed(pointer, value).expect_err(&shown).to_string()
}

#[test]
fn counts_and_lengths_have_limits() {
    let many = |part: Value, list: &str| json!({"type": "Sequence", list: vec![part; 101]});
    let template = |single: Value, ids: Value| {
        let tokens = vec!["<s>"; ids.as_array().map_or(0, Vec::len)];
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
               "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": tokens}}})
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let beside = json!({"SpecialToken": {"id": "<s>", "type_id": 0}});
    let rewriter =
        |kind: &str| json!({"type": kind, "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    let unigram = |vocab: Value, unk: Value| json!({"type": "Unigram", "unk_id": unk, "vocab": vocab});
    let word_piece = |most: u64| {
        json!({"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "vocab": {"a": 0},
               "max_input_chars_per_word": most})
    };
    let token = |id: u64, content: &str| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false})
    };
    for (pointer, value, named) in [
        ("/normalizer", many(json!({"type": "Lowercase"}), "normalizers"), "`normalizer` has more than 100"),
        ("/pre_tokenizer", many(json!({"type": "WhitespaceSplit"}), "pretokenizers"), "`pre_tokenizer` has"),
        ("/decoder", many(json!({"type": "Fuse"}), "decoders"), "`decoder` has more than 100"),
        (
            "/pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": vec![rewriter("ByteLevel"); 40]}),
            "rewrites texts more than 2",
        ),
        ("/post_processor", template(json!([beside, text]), json!([1u64 << 31])), "special_tokens.<s>"),
        ("/post_processor", template(json!([beside, text]), json!(vec![0; 1001])), "1001 tokens beside"),
        ("/post_processor", template(json!(vec![text; 1000]), json!([0])), "holds it 1000 times"),
        ("/post_processor", template(json!([beside]), json!([0])), "holds it 0 times"),
        (
            "/post_processor",
            json!({"type": "BertProcessing", "sep": ["b", 1u64 << 31], "cls": ["a", 1]}),
            "post_processor.sep",
        ),
        ("/model", unigram(json!([["a", 0.0]]), json!(1)), "model.unk_id"),
        ("/model", unigram(json!([]), json!(0)), "model.unk_id"),
        ("/model", unigram(json!([["a", null]]), json!(0)), "its score"),
        ("/model", unigram(json!([["x".repeat(5000), 0.0]]), json!(0)), "5000 bytes"),
        ("/model", word_piece(1 << 40), "max_input_chars_per_word"),
        ("/model/continuing_subword_prefix", "#".repeat(101).into(), "continuing_subword_prefix"),
        ("/added_tokens", json!([token(0, "<s>"), token(7, &"y".repeat(20_000))]), "20000 bytes"),
        ("/added_tokens", json!([token(0, "<s>"), token(0, "<t>")]), "the same id 0"),
        ("/added_tokens/0/id", json!(-1), "`<s>` the id -1"),
        ("/added_tokens/0/id", json!(0.5), "`<s>` the id 0.5"),
    ] {
        let message = refusal(pointer, value);
        assert!(message.contains("odd.json") && message.contains(named), "{named}: {message}");
    }
}

#[test]
fn expressions_are_tried_first() {
    let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let invalid = refusal("/pre_tokenizer", split("(a"));
    assert!(invalid.contains("`(a`") && invalid.contains("cannot be used"), "{invalid}");
    // The engine stops a match that takes too many steps, so that a text ends.
    let slow = changed("/pre_tokenizer", split(r"(a|b|ab)*(?>c)")).expect("readable");
    assert!(slow.encode(&"ab".repeat(60)).is_ok());
    let published = changed("/pre_tokenizer", split(r"\s+(?!\S)|\s+|\p{L}+")).expect("readable");
    assert_eq!(published.encode("ab ab").expect("encodes"), [3, 3]);
}

#[test]
fn a_part_beside_the_limit_of_growth_is_measured_between_added_tokens() {
    let prepend = json!({"type": "Prepend", "prepend": "a".repeat(5000)});
    let prepended = changed("/normalizer", prepend).expect("readable");
    assert!(prepended.encode("b").is_ok());
    // Every text between two added tokens gets the same 5,000 bytes.
    let told = prepended.encode(&"b<s>".repeat(200)).expect_err("too much").to_string();
    assert!(told.contains("Prepend"), "{told}");
    let start = json!({"type": "Replace", "pattern": {"Regex": "^"}, "content": "a".repeat(5000)});
    let started = changed("/normalizer", start).expect("readable");
    assert!(started.encode(&"b<s>".repeat(200)).is_err());
    let decoder = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "y".repeat(1000)});
    assert!(refusal("/decoder", decoder).contains("`decoder`"));
    // A character map's replacements are measured before any is made.
    let mut map = [8u32.to_le_bytes(), [0; 4], [0; 4]].concat();
    map.extend([b'z'; 200]);
    let map = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, map);
    let told = refusal("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": map}));
    assert!(told.contains("replacement of 200 bytes"), "{told}");
}

#[test]
fn what_the_library_panics_on_is_an_error() {
    let tokenizer = changed("/decoder", json!({"type": "BPEDecoder", "suffix": ""})).expect("readable");
    // The library subtracts 1 from the number of tokens; only builds with overflow checks panic.
    let decoded = tokenizer.decode(&[]);
    assert!(decoded.is_ok() || decoded.expect_err("a panic").to_string().contains("odd.json"));
    let caught = tokenizer.contained(|| -> tokenizers::Result<()> { panic!("index out of bounds") });
    let told = caught.expect_err("a panic").to_string();
    assert!(told.contains("odd.json") && told.contains("index out of bounds"), "{told}");
}

#[test]
fn sizes_of_padding_and_truncation_reserve_nothing() {
    let padding = json!({"strategy": {"Fixed": 1u64 << 40}, "direction": "Right", "pad_id": 1, "pad_type_id": 0,
                         "pad_token": "a", "pad_to_multiple_of": 1u64 << 40});
    let padded = changed("/padding", padding).expect("readable");
    assert_eq!(padded.encode("ab").expect("encodes"), [3]);
    let truncation =
        json!({"direction": "Left", "max_length": u64::MAX, "strategy": "LongestFirst", "stride": u64::MAX});
    assert_eq!(changed("/truncation", truncation).expect("readable").encode("ab").expect("encodes"), [3]);
}

#[test]
fn lists_nested_ten_thousand_deep_are_refused() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let nested = deep("{\"type\":\"Sequence\",\"normalizers\":[", "]}");
    let file = format!("{{\"version\":\"1.0\",\"normalizer\":{nested}}}");
    let told = Tokenizer::from_bytes(file.as_bytes(), "odd.json").expect_err("too deep").to_string();
    assert!(told.contains("odd.json") && told.contains("recursion"), "{told}");
}

#[test]
fn a_name_that_occurs_twice_is_checked_as_it_is_used() {
    let file = |first: &str| {
        format!(
            "{{\"version\":\"1.0\",\"normalizer\":{first},\"normalizer\":null,\"added_tokens\":[],\
             \"model\":{{\"type\":\"BPE\",\"vocab\":{{\"a\":0}},\"merges\":[]}}}}"
        )
    };
    // The library would build the first one too, with 4 GB of memory.
    let hidden = file("{\"type\":\"Precompiled\",\"precompiled_charsmap\":\"/////wAA\"}");
    assert_eq!(Tokenizer::from_bytes(hidden.as_bytes(), "odd.json").expect("readable").vocab_size(), 1);
}

/// Found by changed inputs: after an empty `Prepend`, the library's alignments end before the text does.
#[test]
fn steps_on_which_the_library_panics_are_an_error() {
    let steps = json!({"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Prepend", "prepend": ""},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Replace", "pattern": {"Regex": "a+b?"}, "content": "aa"}, {"type": "StripAccents"}]});
    let tokenizer = changed("/normalizer", steps).expect("readable");
    let texts = ["Hello world, 12 dogs.\n\n\tgo ", "é😀\u{200d}👩 かな ﬁ \u{301}"];
    let refused: Vec<String> =
        texts.iter().filter_map(|text| Some(tokenizer.encode(text).err()?.to_string())).collect();
    assert!(!refused.is_empty() && refused.iter().all(|told| told.contains("odd.json")), "{refused:?}");
}
