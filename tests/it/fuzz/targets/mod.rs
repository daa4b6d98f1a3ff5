//! Entry points: each takes the bytes of an input and returns, whatever they are.
//!
//! The targets of `tests/fuzz/` use this folder too, so it imports nothing of the tests.

mod endpoint;
mod replies;
mod results;
mod scratch;

use std::hint::black_box;
use std::path::Path;

use autointerp::base::{HookPoint, HookSelector, TokenBatch};
use autointerp::corpus::{CorpusParams, Encode, Source, prepare};
use autointerp::dictionary::{DictionaryPath, FileParams, TensorFile};
use autointerp::nn::{
    Config, Device, Gguf, Tokenizer, Weights, context_length, gguf_tokenizer, weight_count,
};
use autointerp::subject::stored::ActivationFiles;
use autointerp::subject::{Bos, LoadedSubject, StoredSubject, SubjectHeader};

use scratch::with_file;
pub use scratch::with_folder;

pub use endpoint::endpoint;
pub use replies::replies;
pub use results::{gate, report};

/// An entry point.
pub type Entry = fn(&[u8]);

/// Every entry point by its name.
pub const TARGETS: [(&str, Entry); 19] = [
    ("arrow", arrow),
    ("config", config),
    ("corpus", corpus),
    ("dictionary", dictionary),
    ("endpoint", endpoint),
    ("gate", gate),
    ("gguf", gguf),
    ("model", model),
    ("names", names),
    ("npz", npz),
    ("own_dictionary", own_dictionary),
    ("replies", replies),
    ("report", report),
    ("safetensors", safetensors),
    ("set", set),
    ("suite", suite),
    ("template", template),
    ("tokenizer", tokenizer),
    ("torch", torch),
];

/// Texts that tokenizers get: kinds of spaces, scripts, parts of characters, special tokens.
const TEXTS: [&str; 4] =
    ["Hello world, 12 dogs.\n\n\tgo ", "é😀\u{200d}👩 かな ﬁ \u{301}", "<|endoftext|><s></s>[MASK]", ""];

/// Longest text that an untrusted tokenizer gives back here.
const LONGEST_DECODED: usize = 1000;

/// Shows an error with its causes, as the program does.
fn shown<T>(result: Result<T, impl std::error::Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                black_box(error.to_string());
                cause = error.source();
            }
            None
        }
    }
}

/// A suite file, and the baselines that it names.
pub fn suite(input: &[u8]) {
    with_file("suite.yaml", input, |path| {
        if let Some(suite) = shown(autointerp::suite::load(path, &[])) {
            black_box(format!("{suite:?}"));
        }
    });
}

/// The argument of `--set`.
pub fn set(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    with_file("suite.yaml", include_bytes!("../../../../suites/smoke.yaml"), |path| {
        black_box(shown(autointerp::suite::load(path, &[text])).is_some());
    });
}

/// `config.json` of a model.
pub fn config(input: &[u8]) {
    if let Some(config) = shown(Config::parse(input, "config.json")) {
        black_box(shown(autointerp::nn::read_architecture(&config)).map(|read| format!("{read:?}")));
        black_box(config.unread());
    }
    black_box(shown(SubjectHeader::of_config("model", input, "config.json")).is_some());
}

/// `tokenizer.json`: built, and used in both directions.
pub fn tokenizer(input: &[u8]) {
    if let Some(tokenizer) = shown(Tokenizer::from_bytes(input, "tokenizer.json")) {
        use_tokenizer(&tokenizer);
    }
}

fn use_tokenizer(tokenizer: &Tokenizer) {
    for text in TEXTS {
        let Some(ids) = shown(tokenizer.encode(text)) else { continue };
        let first = &ids[..ids.len().min(LONGEST_DECODED)];
        black_box(shown(tokenizer.decode(first)));
        black_box(tokenizer.token_texts(first));
        black_box(first.iter().filter(|&&id| tokenizer.starts_character(id)).count());
    }
    black_box((tokenizer.special_texts(), tokenizer.forced_bos_token(), tokenizer.lead_tokens()));
    for ids in [&[0, u32::MAX, 1 << 31][..], &[1, 2, 3]] {
        black_box(shown(tokenizer.decode(ids)));
        black_box(tokenizer.token_texts(ids));
    }
}

/// Weights in safetensors, in memory and from a folder.
pub fn safetensors(input: &[u8]) {
    black_box(shown(Weights::from_bytes(input, "model.safetensors", &Device::Cpu)).is_some());
    with_file("model.safetensors", input, |path| {
        let folder = path.parent().unwrap_or(path);
        black_box(shown(Weights::packed_from_folder(folder)).map(Weights::unpacked));
        black_box(shown(weight_count(folder)));
        tensors(path);
        black_box(shown(ActivationFiles::open(path)).is_some());
    });
}

/// A model folder: configuration, weights and tokenizer together, and a forward pass if they fit.
pub fn model(input: &[u8]) {
    with_folder(input, |folder| {
        black_box(shown(SubjectHeader::of_path(folder)).is_some());
        black_box(shown(context_length(folder)).is_some());
        if let Some(subject) = shown(LoadedSubject::from_path(folder)) {
            use_subject(&subject);
        }
    });
}

fn use_subject(subject: &LoadedSubject) {
    let model = subject.model();
    let Some(tokens) = TokenBatch::new(vec![0, 1, 2, 1], 4) else { return };
    if shown(model.check_tokens(&tokens)).is_some() {
        let hooks = "blocks.0.hook_resid_post".parse::<HookPoint>().into_iter().collect::<Vec<_>>();
        black_box(shown(model.activations(&tokens, &hooks)).is_some());
    }
    black_box(subject.notes());
}

/// A GGUF file: header, settings, vocabulary and tensors.
pub fn gguf(input: &[u8]) {
    with_file("model.gguf", input, |path| {
        black_box((shown(weight_count(path)), shown(context_length(path))));
        if let Some(tokenizer) = shown(gguf_tokenizer(path)) {
            use_tokenizer(&tokenizer);
        }
        black_box(shown(Gguf::open(path)).map(|read| format!("{:?}", read.config)));
    });
}

/// A torch file of a dictionary.
pub fn torch(input: &[u8]) {
    with_file("weights.pt", input, tensors);
}

/// Arrays of numpy.
pub fn npz(input: &[u8]) {
    with_file("weights.npz", input, tensors);
}

/// Reads all that a file of tensors says it holds.
fn tensors(path: &Path) {
    let Some(file) = shown(TensorFile::open(path)) else { return };
    for name in file.names() {
        black_box((file.dtype(name), shown(file.scalar(name))));
        let shape = file.shape(name).unwrap_or_default();
        let count = shape.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if count.is_none_or(|count| count > 100_000) {
            continue;
        }
        let values = shown(file.values(name));
        assert!(
            values.is_none_or(|values| Some(values.len()) == count && values.iter().all(|x| x.is_finite()))
        );
        if let [rows, columns @ ..] = shape
            && *rows > 0
        {
            black_box(shown(file.rows(name, &[rows - 1, 0])));
            if let [columns] = columns {
                black_box(shown(file.columns(name, &[columns.saturating_sub(1)])));
            }
        }
    }
    black_box(file.plain_names().filter_map(|name| file.plain(name)).count());
}

/// The folder of a dictionary of another program.
pub fn dictionary(input: &[u8]) {
    with_folder(input, |folder| {
        let hook = "blocks.1.hook_resid_post".parse::<HookPoint>().ok();
        let Some(blueprint) = shown(FileParams::at(folder.to_path_buf()).open_at(hook)) else { return };
        if shown(blueprint.shape()).is_some_and(|shape| shape.features < 10_000 && shape.d_in < 10_000) {
            black_box(shown(blueprint.build(None)).is_some());
            black_box(shown(blueprint.decoder_norms(&[0])));
        }
    });
}

/// The folder of one of our dictionaries.
pub fn own_dictionary(input: &[u8]) {
    with_folder(input, |folder| {
        if let Some(dictionary) = shown(autointerp::dictionary::load(folder)) {
            black_box(shown(dictionary.directions()));
        }
    });
}

/// Stored activations in Arrow.
pub fn arrow(input: &[u8]) {
    with_file("data-00000-of-00001.arrow", input, |path| {
        let Some(files) = shown(ActivationFiles::open(path)) else { return };
        let most = files.sequences().min(50);
        let ids: Vec<_> = (0..most).filter_map(|sequence| shown(files.ids(sequence))).collect();
        let hooks: Vec<HookPoint> = files.hooks().collect();
        let Some(tokenizer) = shown(Tokenizer::from_bytes(PLAIN_TOKENIZER.as_bytes(), "tokenizer.json"))
        else {
            return;
        };
        let Some(digest) = shown(files.digest()) else { return };
        let Some(subject) = shown(StoredSubject::new(files, &tokenizer, digest)) else { return };
        black_box(shown(subject.prefix(Bos::Auto, &tokenizer)).is_some());
        for (sequence, ids) in ids.into_iter().enumerate() {
            let columns = ids.len();
            let Some(tokens) = TokenBatch::new(ids, columns) else { continue };
            subject.place(&[], &tokens, &[(sequence, 0)]);
            for hook in &hooks {
                use autointerp::subject::SubjectModel;
                black_box(shown(subject.activations(&tokens, &[*hook])).is_some());
            }
        }
    });
}

/// A tokenizer whose ids cover those of the fixtures.
const PLAIN_TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "unk_token": "a",
    "vocab": {"a": 0, "b": 1, "c": 90000}}}"#;

/// A model's chat template.
pub fn template(input: &[u8]) {
    let trial = serde_json::json!({"source": String::from_utf8_lossy(input), "tokens": {"bos_token": "<s>"}});
    black_box(autointerp::llm::try_template_here(trial.to_string().as_bytes(), std::io::sink()));
}

/// Names in arguments and suites.
pub fn names(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    black_box(shown(text.parse::<HookPoint>().map(|hook| hook.to_string())));
    if let Ok(selector) = text.parse::<HookSelector>() {
        black_box(selector.expand(1000).is_ok());
    }
    black_box(DictionaryPath::parse(&text).is_ok());
    black_box(autointerp::dictionary::hook_of(&text));
    black_box((
        autointerp::report::visible(&text),
        autointerp::report::xml(&text),
        autointerp::report::markdown(&text),
    ));
    black_box(autointerp::report::wrap_at_most(&text, 20, 3));
}

/// Text in every format and compression that a corpus may have.
pub fn corpus(input: &[u8]) {
    with_folder(input, |folder| {
        let params = CorpusParams {
            fit_tokens: 64,
            ctx_tokens: 8,
            eval_fragments: 4,
            fragment_tokens: 4,
            seed: 1,
            reject_replacement: false,
            separator_id: None,
            prefix: Vec::new(),
            bad_lines: 3,
        };
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            for separator in [None, Some("")] {
                if let Some(source) = shown(Source::from_path(&path, None, separator)) {
                    black_box(shown(prepare(&source, &Bytes, &params, &|_| {})).is_some());
                }
            }
        }
    });
}

/// Every byte is a token.
struct Bytes;

impl Encode for Bytes {
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn starts_character(&self, id: u32) -> bool {
        id & 0xC0 != 0x80
    }

    fn push_bytes(&self, id: u32, into: &mut Vec<u8>) {
        into.push(id as u8);
    }

    fn replacement_token(&self, id: u32) -> bool {
        id >= 0x80
    }
}
