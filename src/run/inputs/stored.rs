//! Activations made elsewhere as the subject: opens them, and takes both splits from their sequences.

use std::path::{Path, PathBuf};

use crate::corpus::{CorpusParams, Encode, StoredSequences, StoredTokens, TokenSets, prepare_stored};
use crate::nn::{Tokenizer, gguf_tokenizer, is_gguf};
use crate::run::{Places, RunError};
use crate::subject::stored::ActivationFiles;
use crate::subject::{LoadedSubject, Prefix, StoredSubject, SubjectError, embedded};
use crate::suite::{SubjectSpec, Suite, resolve};

/// Name of a tokenizer's file.
const TOKENIZER: &str = "tokenizer.json";

/// Opens the activations that a suite names; none if it names a model. The tokenizer is the suite's, or else the recorded
/// one, or else a `tokenizer.json` beside the activations. See [`LoadedSubject::from_activations`].
pub fn open_stored(
    spec: &SubjectSpec,
    places: &Places,
    hashed: bool,
) -> Result<Option<LoadedSubject>, RunError> {
    let Some(path) = &spec.activations else { return Ok(None) };
    let at = |path: &str| resolve(path, &places.suite_folder);
    let files = ActivationFiles::open(&at(path))?;
    let is_here = |name: &&str| *name == embedded::NAME || Path::new(name).exists();
    let recorded = files.recorded().tokenizer.as_deref().filter(is_here);
    let tokenizer = match (spec.tokenizer.as_deref(), recorded) {
        (Some(embedded::NAME), _) | (None, Some(embedded::NAME)) => embedded::tokenizer()?,
        (Some(named), _) => tokenizer_at(&at(named))?,
        (None, Some(recorded)) => tokenizer_at(Path::new(recorded))?,
        (None, None) => match beside(&at(path)) {
            Some(file) => Tokenizer::from_file(&file).map_err(SubjectError::from)?,
            None => return Err(SubjectError::NoTokenizerNamed { path: at(path) }.into()),
        },
    };
    Ok(Some(LoadedSubject::from_activations(files, tokenizer, hashed)?))
}

/// The `tokenizer.json` in a folder of activations, or beside a file.
fn beside(path: &Path) -> Option<PathBuf> {
    let file = if path.is_dir() { path.join(TOKENIZER) } else { path.with_file_name(TOKENIZER) };
    file.is_file().then_some(file)
}

/// The tokenizer in a folder, a GGUF file or a `tokenizer.json`.
fn tokenizer_at(path: &Path) -> Result<Tokenizer, SubjectError> {
    if is_gguf(path) {
        return Ok(gguf_tokenizer(path)?);
    }
    let file = if path.is_dir() { path.join(TOKENIZER) } else { path.to_path_buf() };
    Ok(Tokenizer::from_file(&file)?)
}

/// Takes both splits from the stored sequences, and tells the subject where their texts are.
pub fn stored_tokens(
    suite: &Suite,
    stored: &StoredSubject,
    (tokenizer, encoder): (&Tokenizer, &dyn Encode),
    prefix: &Prefix,
) -> Result<TokenSets, RunError> {
    let files = stored.files();
    let params = stored_params(suite, files.positions(), tokenizer, prefix)?;
    let sequences = StoredSequences {
        name: format!("`{}`", files.path().display()),
        count: files.sequences(),
        ids: &|sequence| Ok::<_, RunError>(files.ids(sequence)?),
        documents: files.documents(),
    };
    let StoredTokens { tokens, fit, evaluate } = prepare_stored(&sequences, encoder, &params)?;
    stored.place(&prefix.ids, &tokens.fit, &fit);
    stored.place(&prefix.ids, &tokens.evaluate, &evaluate);
    Ok(tokens)
}

/// The corpus parameters of stored sequences of `positions` tokens.
fn stored_params(
    suite: &Suite,
    positions: usize,
    tokenizer: &Tokenizer,
    prefix: &Prefix,
) -> Result<CorpusParams, RunError> {
    let (text, fragment) = (positions.saturating_sub(prefix.ids.len()), suite.protocol.fragment_tokens);
    if fragment > text {
        let problem = format!(
            "is {fragment}, but the stored sequences have {text} tokens of text: write \
             `protocol: {{base: standard, fragment_tokens: {text}}}` or fewer"
        );
        return Err(RunError::Setting { field: "protocol.fragment_tokens".into(), problem });
    }
    Ok(CorpusParams {
        fit_tokens: suite.corpus.fit_tokens,
        ctx_tokens: text,
        eval_fragments: suite.corpus.eval_fragments,
        fragment_tokens: fragment,
        seed: suite.seed,
        bad_lines: suite.limits.bad_lines,
        reject_replacement: suite.protocol.reject_undecodable,
        separator_id: tokenizer.bos_token(),
        prefix: prefix.ids.clone(),
    })
}
