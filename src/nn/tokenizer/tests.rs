use std::path::PathBuf;

use super::spelling::byte_of_stand_in;
use super::*;

fn shared() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}

#[test]
fn ids_and_texts_agree_with_the_reference_tokenizers() {
    let Some(shared) = shared() else { return };
    let mut seen = 0;
    for name in [
        "tokenizers/gpt2",
        "tokenizers/pythia",
        "tokenizers/bytelevel-bpe-5k",
        "models/stories260K",
        "models/babyllama-char105",
    ] {
        let folder = shared.join(name);
        let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).expect("readable");
        let golden = std::fs::read(folder.join("tokenizer_golden.json")).expect("golden file");
        let golden: Value = serde_json::from_slice(&golden).expect("JSON");
        assert_eq!(Some(tokenizer.vocab_size() as u64), golden["vocab_size"].as_u64(), "{name}");
        for case in golden["cases"].as_array().expect("cases") {
            let text = case["text"].as_str().expect("text");
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("ids");
            let ids = tokenizer.encode(text).expect("encodes");
            assert_eq!(ids, expected, "{name}: {text:?}");
            let decoded = case["decoded"].as_str().expect("decoded");
            assert_eq!(tokenizer.decode(&ids).expect("decodes"), decoded, "{name}: {text:?}");
            if case.get("ids_with_special").is_some() {
                let with: Vec<u32> = serde_json::from_value(case["ids_with_special"].clone()).expect("ids");
                assert_eq!([tokenizer.lead_tokens(), &ids].concat(), with, "{name}: {text:?}");
            }
            check_bytes(&tokenizer, &ids, decoded);
            seen += 1;
        }
    }
    assert!(seen > 400, "{seen} cases");
}

/// The bytes of the tokens are those of the decoded text, but for the space that some tokenizers put first.
fn check_bytes(tokenizer: &Tokenizer, ids: &[u32], decoded: &str) {
    let bytes: Vec<u8> = ids
        .iter()
        .filter(|&&id| !tokenizer.is_special(id))
        .flat_map(|&id| tokenizer.bytes_of(id).to_vec())
        .collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(text == decoded || text.strip_prefix(' ') == Some(decoded), "{text:?} is not {decoded:?}");
}

#[test]
fn parts_of_characters_are_shown_by_their_bytes() {
    let Some(shared) = shared() else { return };
    let tokenizer = Tokenizer::from_file(&shared.join("tokenizers/gpt2/tokenizer.json")).expect("readable");
    let ids = tokenizer.encode("a \u{1F9D9}!").expect("encodes");
    let texts = tokenizer.token_texts(&ids);
    assert_eq!(texts.first().map(String::as_str), Some("a"));
    assert_eq!(texts.last().map(String::as_str), Some("!"));
    assert!(
        texts.len() > 3 && texts[1..texts.len() - 1].iter().all(|text| text.contains("\\x")),
        "{texts:?}"
    );
    let starts: Vec<bool> = ids.iter().map(|&id| tokenizer.starts_character(id)).collect();
    assert!(starts[0] && starts[1] && starts[ids.len() - 1]);
    assert!(starts[2..ids.len() - 1].iter().all(|starts| !starts), "{starts:?}");
}

#[test]
fn roles_of_special_tokens_are_found() {
    let Some(shared) = shared() else { return };
    let read =
        |name: &str| Tokenizer::from_file(&shared.join(name).join("tokenizer.json")).expect("readable");
    let pythia = read("tokenizers/pythia");
    assert_eq!((pythia.pad_token(), pythia.bos_token()), (Some(1), Some(0)));
    assert!(pythia.lead_tokens().is_empty() && pythia.is_special(0) && !pythia.is_special(50_000));
    let gpt2 = read("tokenizers/gpt2");
    assert_eq!((gpt2.pad_token(), gpt2.bos_token()), (None, Some(50_256)));
    let stories = read("models/stories260K");
    assert_eq!((stories.pad_token(), stories.bos_token(), stories.lead_tokens()), (None, Some(1), &[1][..]));
    assert_eq!(stories.id_of("▁Once").map(|id| stories.token_texts(&[id])), Some(vec![" Once".to_string()]));
}

#[test]
fn a_byte_level_vocabulary_spells_every_byte_once() {
    let mut bytes: Vec<u8> = (0..0x200).filter_map(char::from_u32).filter_map(byte_of_stand_in).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
    assert_eq!(byte_of_stand_in('Ġ'), Some(b' '));
    assert_eq!(byte_of_stand_in('Ċ'), Some(b'\n'));
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let error = Tokenizer::from_bytes(b"{\"model\": 3}", "odd.json").expect_err("unusable");
    assert!(error.to_string().contains("odd.json"), "{error}");
    let error = Tokenizer::from_bytes(b"nonsense", "odd.json").expect_err("not JSON");
    assert!(error.to_string().contains("odd.json"), "{error}");
}

#[test]
fn pieces_with_byte_fallback_become_running_text() {
    let json = serde_json::json!({
        "version": "1.0",
        "added_tokens": [
            {"id": 0, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
             "rstrip": false, "normalized": false}
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 7, "pad_type_id": 0,
                    "pad_token": "x"},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": null, "merges": [["▁", "a"]],
                  "vocab": {"<s>": 0, "<0xC3>": 1, "<0xA9>": 2, "▁": 3, "a": 4, "▁a": 5, "b": 6, "x": 7}}
    });
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), "inline").expect("readable");
    let ids = tokenizer.encode("a bé").expect("encodes");
    assert_eq!(ids, [5, 3, 6, 1, 2], "neither padded nor led by a special token");
    assert_eq!(tokenizer.token_texts(&ids), [" a", " ", "b", "\\xC3", "\\xA9"]);
    assert_eq!(
        ids.iter().map(|&id| tokenizer.starts_character(id)).collect::<Vec<_>>(),
        [true, true, true, true, false]
    );
    assert_eq!((tokenizer.pad_token(), tokenizer.bos_token(), tokenizer.vocab_size()), (Some(7), Some(0), 8));
    assert_eq!(tokenizer.token_texts(&[99]), [""]);
}

/// A small tokenizer with one section changed.
pub(super) fn changed(pointer: &str, value: Value) -> Result<Tokenizer, NnError> {
    let mut json = serde_json::json!({
        "version": "1.0",
        "truncation": null, "padding": null,
        "added_tokens": [{"id": 0, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
                          "rstrip": false, "normalized": false}],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "merges": [["a", "b"], ["ab", "ab"]],
                  "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "abab": 4}},
    });
    let (section, field) = pointer.rsplit_once('/').expect("a pointer");
    json.pointer_mut(section).expect("a section")[field] = value;
    Tokenizer::from_bytes(json.to_string().as_bytes(), "odd.json")
}

#[test]
fn nothing_random_and_nothing_cut_or_padded() {
    let ids = |tokenizer: &Tokenizer| tokenizer.encode("ababab").expect("encodes");
    let plain = changed("/version", "1.0".into()).expect("readable");
    assert_eq!(ids(&plain), [4, 3]);
    let dropout = changed("/model/dropout", 0.9.into()).expect("readable");
    for _ in 0..20 {
        assert_eq!(ids(&dropout), [4, 3]);
    }
    assert!(
        plain.notes().is_empty() && dropout.notes()[0].contains("model.dropout"),
        "{:?}",
        dropout.notes()
    );
    assert_ne!(plain.digest(), dropout.digest());
    let short =
        serde_json::json!({"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0});
    assert_eq!(ids(&changed("/truncation", short).expect("readable")), [4, 3]);
}

#[test]
fn files_that_the_library_would_fail_on_are_refused_by_field() {
    let template = |single: Value| {
        serde_json::json!({"type": "TemplateProcessing", "single": single, "pair": [],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}})
    };
    let sequence = |part: Value| serde_json::json!({"type": "Sequence", "processors": [part]});
    let charsmap = |bytes: &[u8]| {
        let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        serde_json::json!({"type": "Precompiled", "precompiled_charsmap": text})
    };
    let special = |name: &str| serde_json::json!([{"SpecialToken": {"id": name, "type_id": 0}}]);
    for (pointer, value, named) in [
        ("/model/vocab/a", (1u64 << 31).into(), "`a`"),
        ("/model/vocab/a", (-1).into(), "`a`"),
        ("/added_tokens/0/id", (1u64 << 40).into(), "`<s>`"),
        ("/model/merges", serde_json::json!([["a", "a"]]), "`aa`"),
        ("/model/merges", serde_json::json!(["ab"]), "merges"),
        ("/post_processor", template(special("<t>")), "`<t>`"),
        ("/post_processor", sequence(template(special("<t>"))), "`<t>`"),
        ("/post_processor", template(serde_json::json!([{"Sequence": {"id": "B", "type_id": 0}}])), "single"),
        ("/normalizer", charsmap(&[0, 0, 0, 1, 0, 0]), "precompiled_charsmap"),
        ("/normalizer", charsmap(&[4, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF]), "precompiled_charsmap"),
        (
            "/normalizer",
            serde_json::json!({"type": "Precompiled", "precompiled_charsmap": null}),
            "precompiled_charsmap",
        ),
        ("/pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0}), "FixedLength"),
    ] {
        let message = changed(pointer, value).expect_err(named).to_string();
        assert!(message.contains("odd.json") && message.contains(named), "{named}: {message}");
    }
}

#[test]
fn a_normalizer_makes_no_more_of_a_text_than_it_is_worth() {
    let replace = |pattern: Value, content: &str| serde_json::json!({"type": "Replace", "pattern": pattern, "content": content});
    let text = |pattern: &str| serde_json::json!({"String": pattern});
    let twelve: Vec<Value> = vec![replace(text("a"), "aaaaaaaaaa"); 12];
    let growing = serde_json::json!({"type": "Sequence", "normalizers": twelve});
    let empty = replace(serde_json::json!({"Regex": "x*"}), &"y".repeat(1000));
    for normalizer in [growing, empty] {
        let tokenizer = changed("/normalizer", normalizer).expect("readable");
        let message = tokenizer.encode(&"ab".repeat(700)).expect_err("too much").to_string();
        assert!(message.contains("`normalizer`") && message.contains("Replace"), "{message}");
        assert!(tokenizer.encode("").is_ok());
    }
    // Long but rare: the text decides.
    let rare = changed("/normalizer", replace(text("b"), &"a".repeat(2000))).expect("readable");
    assert_eq!(rare.encode("b").expect("encodes").len(), 2000);
    let usual = changed("/normalizer", replace(text(" "), "▁")).expect("readable");
    assert!(usual.growth_limit.is_none() && rare.growth_limit.is_some());
}

#[test]
fn added_tokens_beyond_the_embedding_matter_only_where_a_text_holds_them() {
    let token = |id: u32, content: &str| {
        serde_json::json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
                           "rstrip": false, "normalized": false})
    };
    let read = || {
        changed("/added_tokens", serde_json::json!([token(0, "<s>"), token(5, "<image>")])).expect("readable")
    };
    let fitted = read().embedded_in(5).expect("fits");
    assert_eq!((fitted.encode("<s>ab").expect("encodes"), fitted.vocab_size()), (vec![0, 3], 5));
    let message = fitted.encode("ab<image>").expect_err("beyond").to_string();
    assert!(message.contains("`<image>`") && message.contains("id 5"), "{message}");
    assert!(fitted.special_texts().contains(&"<image>".to_string()));
    assert_eq!(read().embedded_in(6).expect("fits").encode("<image>").expect("encodes"), [5]);
    let message = read().embedded_in(4).expect_err("ordinary text").to_string();
    assert!(message.contains("`abab`") && message.contains("id 4"), "{message}");
}
