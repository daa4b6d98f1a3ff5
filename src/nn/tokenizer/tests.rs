use std::path::PathBuf;

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
    let cuts: Vec<bool> = (0..=ids.len()).map(|at| tokenizer.is_boundary(&ids, at)).collect();
    assert!(cuts[0] && cuts[1] && cuts[ids.len() - 1] && cuts[ids.len()]);
    assert!(cuts[2..ids.len() - 1].iter().all(|cut| !cut), "{cuts:?}");
    assert!(tokenizer.ends_character(ids[0]) && !tokenizer.ends_character(ids[1]));
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
        (0..6).map(|at| tokenizer.is_boundary(&ids, at)).collect::<Vec<_>>(),
        [true, true, true, true, false, true]
    );
    assert_eq!((tokenizer.pad_token(), tokenizer.bos_token(), tokenizer.vocab_size()), (Some(7), Some(0), 8));
    assert_eq!(tokenizer.token_texts(&[99]), [""]);
}
