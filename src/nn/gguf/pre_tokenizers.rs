//! Pre-tokenizers by the name in `tokenizer.ggml.pre`: how a text is split before byte pairs are merged.
//!
//! A kind is a list of regular expressions. The first splits the text into its matches and what lies between them; the
//! next one splits each of these pieces, and so on. Sources: llama.cpp's `llama-vocab.cpp`, and the models'
//! `tokenizer.json` where llama.cpp rewrites an expression for its own engine.

use serde_json::{Value as Json, json};

/// A pre-tokenizer.
#[derive(Debug)]
pub(super) struct PreTokenizerKind {
    /// Its names in files, separated by spaces.
    names: &'static str,
    /// The expressions, in the order in which they are run.
    steps: &'static [&'static str],
    /// Whether a piece that is itself in the vocabulary is taken without merging.
    pub ignore_merges: bool,
    /// Whether a text begins with BOS if the file does not say.
    pub begins: bool,
    /// Whether characters are composed first (NFC), as these models' own tokenizers do.
    composed: bool,
}

/// The kind of a file that names none.
pub(super) const DEFAULT: &str = "default";

macro_rules! contractions {
    () => {
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    };
}

/// Words, digits, other characters, newlines and spaces, as in Llama 3 and later models.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// As `words`, with a new word where a capital follows a small letter, as in GPT-4o.
macro_rules! cased_words {
    ($upper:literal, $lower:literal, $digits:literal, $($ending:expr)?) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?", $upper, "*", $lower, "+", $($ending, "?",)?
            r"|[^\r\n\p{L}\p{N}]?", $upper, "+", $lower, "*", $($ending, "?",)?
            "|", $digits, r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
    ($digits:literal, $($ending:expr)?) => {
        cased_words!(
            r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", $digits, $($ending)?
        )
    };
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = words!(r"\p{N}{1,3}");
const QWEN2: &str = words!(r"\p{N}");
const GPT4O: &str = cased_words!(r"\p{N}{1,3}", contractions!());
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
/// Chinese, and what lies before and after it in Unicode: DeepSeek's first models.
const EAST_ASIAN: &str = r"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
/// Chinese and Japanese: DeepSeek V3.
const CHINESE_JAPANESE: &str = r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+";
/// Words, punctuation with the letters after it, newlines and spaces: DeepSeek V3.
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Letters of scripts that have capitals, as listed by DeepSeek LLM.
const CASED: &str = concat!(
    r"\s?[",
    r"\x{41}-\x{5A}\x{61}-\x{7A}\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}",
    r"\x{1C4}-\x{293}\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}",
    r"\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}",
    r"\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}",
    r"\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}",
    r"\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}",
    r"\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}",
    r"\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}",
    r"\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}",
    r"\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}",
    r"\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}",
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}",
    r"\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}",
    r"\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}",
    r"]+"
);

/// Scripts without spaces between words, and Hangul: Trinity.
const EAST_AND_SOUTH: &str = concat!(
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{F900}-\x{FAFF}\x{3040}-\x{309F}\x{30A0}-\x{30FF}\x{FF65}-\x{FF9F}",
    r"\x{2F00}-\x{2FDF}\x{E40}-\x{E7F}\x{E80}-\x{EFF}\x{1780}-\x{17FF}\x{1000}-\x{109F}\x{AA60}-\x{AA7F}\x{A9E0}-\x{A9FF}\x{AC00}-\x{D7AF}\x{1100}-\x{11FF}]+"
);

const fn kind(names: &'static str, steps: &'static [&'static str]) -> PreTokenizerKind {
    PreTokenizerKind { names, steps, ignore_merges: false, begins: false, composed: false }
}

/// Every kind that is read.
const KINDS: [PreTokenizerKind; 31] = [
    kind(DEFAULT, &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"]),
    PreTokenizerKind {
        ignore_merges: true,
        begins: true,
        ..kind("llama-bpe llama3 llama-v3 pixtral falcon3 falcon-h1 midm-2.0 lfm2 jina-v5-nano", &[LLAMA3])
    },
    kind("smaug-bpe dbrx chatglm-bpe glm4", &[LLAMA3]),
    kind(
        "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum \
            modern-bert exaone4 jina-v1-en jina-v2-code roberta-bpe jais trillion \
            granite-docling",
        &[GPT2],
    ),
    // The vocabulary of GPT-NeoX, whose tokenizer composes characters.
    PreTokenizerKind { composed: true, ..kind("mpt olmo", &[GPT2]) },
    kind("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", &[r"\p{N}", GPT2]),
    PreTokenizerKind { composed: true, ..kind("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez", &[QWEN2]) },
    kind("stablelm2 hunyuan solar-open grok-2", &[QWEN2]),
    PreTokenizerKind {
        composed: true,
        ..kind(
            "qwen35",
            &[concat!(
                contractions!(),
                r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            )],
        )
    },
    kind("falcon", &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, r"[0-9][0-9][0-9]"]),
    kind("bloom poro-chat gpt3-finnish", &[BLOOM]),
    kind("viking", &[BLOOM, r"\p{N}"]),
    kind("gpt-4o llama4 kanana2 talkie minimax-m2", &[GPT4O]),
    PreTokenizerKind { ignore_merges: true, ..kind("granite-embed-multi-97m", &[GPT4O]) },
    PreTokenizerKind { ignore_merges: true, begins: true, ..kind("tekken", &[cased_words!(r"\p{N}",)]) },
    kind("tiny_aya cohere2moe", &[r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O]),
    kind("superbpe", &[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]),
    kind(
        "deepseek-llm",
        &[r"[\r\n]", CASED, r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", EAST_ASIAN, r"\p{N}+"],
    ),
    kind("deepseek-coder", &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", EAST_ASIAN, r"\p{N}"]),
    kind("deepseek-v3 hunyuan-dense joyai-llm hy_v4", &[r"\p{N}{1,3}", CHINESE_JAPANESE, DEEPSEEK3]),
    kind(
        "exaone-moe",
        &[concat!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    kind(
        "bailingmoe bailingmoe2 llada-moe",
        &[concat!(
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
        )],
    ),
    kind(
        "seed-coder",
        &[concat!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
        )],
    ),
    PreTokenizerKind { ignore_merges: true, ..kind("minicpm5", &[r"\p{N}{1,3}", words!(r"\p{N}+")]) },
    kind(
        "jais-2",
        &[concat!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
            r"|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)",
            r"|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"
        )],
    ),
    PreTokenizerKind {
        ignore_merges: true,
        ..kind(
            "youtu",
            &[
                "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
                cased_words!(r"\p{N}", contractions!()),
            ],
        )
    },
    PreTokenizerKind {
        begins: true,
        ..kind(
            "chameleon",
            &[
                r"<sentinel:[0-9]+>",
                r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
                r"([\t\n]|    |  )",
                r"\p{N}",
                r"[\p{P}!-/:-@\[-`{-~]",
                GPT2,
            ],
        )
    },
    kind(
        "kimi-k2",
        &[
            r"\p{Han}+",
            cased_words!(
                r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
                r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
                r"\p{N}{1,3}",
                contractions!()
            ),
        ],
    ),
    kind("afmoe", &[r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", EAST_AND_SOUTH, DEEPSEEK3]),
    kind("ufakzeka", &[r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"]),
    kind("laguna", &[r"[^\n]+|[\n]+", QWEN2]),
];

impl PreTokenizerKind {
    /// The pre-tokenizer of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        const { &KINDS }.iter().find(|kind| kind.names.split(' ').any(|known| known == name))
    }

    /// Names of all kinds.
    #[cfg(test)]
    pub fn names() -> impl Iterator<Item = &'static str> {
        const { &KINDS }.iter().flat_map(|kind| kind.names.split(' '))
    }

    /// As the field `pre_tokenizer` of a `tokenizer.json`. A last expression of GPT-2 is the tokenizer library's own.
    pub fn pre_tokenizer(&self) -> Json {
        let (splits, built_in) = match self.steps.split_last() {
            Some((&GPT2, before)) => (before, true),
            _ => (self.steps, false),
        };
        let split = |step: &&str| json!({"type": "Split", "pattern": {"Regex": step}, "behavior": "Isolated", "invert": false});
        let steps: Vec<Json> = splits.iter().map(split).chain([byte_level(built_in)]).collect();
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    /// As the field `normalizer`.
    pub fn normalizer(&self) -> Option<Json> {
        self.composed.then(|| json!({"type": "NFC"}))
    }
}

/// The part of a `tokenizer.json` that writes bytes as printable characters.
pub(super) fn byte_level(use_regex: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex})
}

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

    use super::*;

    fn cut(kind: &str, text: &str) -> Vec<String> {
        let json = PreTokenizerKind::named(kind).expect(kind).pre_tokenizer();
        let pre_tokenizer: PreTokenizerWrapper = serde_json::from_value(json).expect("a pre-tokenizer");
        let mut pieces = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut pieces).expect("cuts");
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(_, (from, to), _)| text[from..to].to_string()).collect()
    }

    #[test]
    fn texts_are_cut_as_each_kind_describes() {
        for (kind, text, expected) in [
            ("default", " 12345 a+b", &[" ", "123", "45", " a", "+", "b"][..]),
            ("gpt-2", "It's  1", &["It", "'s", " ", " 1"]),
            ("smollm", "a  12", &["a", "  ", "1", "2"]),
            ("smollm", "x 77", &["x", " ", "7", "7"]),
            ("llama-bpe", "It'S 1234567", &["It", "'S", " ", "123", "456", "7"]),
            ("qwen2", "a 12\n\n  b", &["a", " ", "1", "2", "\n\n", " ", " b"]),
            ("gpt-4o", "HelloWorld's 1234/\n", &["Hello", "World's", " ", "123", "4", "/\n"]),
            ("tekken", "HelloWorld's 12", &["Hello", "World", "'s", " ", "1", "2"]),
            ("falcon", "a, 12345", &["a", ",", " ", "123", "45"]),
            ("bloom", "Hi, you (two)", &["Hi", ",", " you", " (", "two", ")"]),
            ("viking", "of 12", &["of", " ", "1", "2"]),
            ("deepseek-llm", "a\nb 12 !", &["a", "\n", "b", " ", "12", " !"]),
            ("deepseek-coder", "a b12\n", &["a", " b", "1", "2", "\n"]),
            ("deepseek-v3", "a.b 1234", &["a", ".b", " ", "123", "4"]),
            ("superbpe", "of it 1234567", &["of it ", "1", "234", "567"]),
            ("tiny_aya", "no 1234567", &["no", " ", "1", "234", "567"]),
            ("afmoe", "no 1234567", &["no", " ", "1", "234", "567"]),
            ("jais-2", "a      b", &["a", "    ", " ", " b"][..]),
            ("minicpm5", "a 1234", &["a", " ", "123", "4"]),
            ("youtu", "a 12", &["a", " ", "1", "2"]),
            ("kimi-k2", "ab\u{4E2D}\u{6587}cd", &["ab", "\u{4E2D}\u{6587}", "cd"]),
            ("exaone-moe", "ab cd 1", &["ab cd", " ", "1"]),
            ("seed-coder", "a ;\n", &["a", " ;", "\n"]),
            ("chameleon", "a,, 1\n", &["a", ",", ",", " ", "1", "\n"]),
        ] {
            assert_eq!(cut(kind, text), expected, "{kind}: {text:?}");
        }
    }
}
