//! The tokenizer: byte-level BPE; words keep the space before them, each digit is a piece of its own.

use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer};

use super::EmbeddedError;

/// The token before each document; its id is 0.
pub const SEPARATOR: &str = "<|endoftext|>";

/// Trains a tokenizer with at most `pieces` pieces.
pub fn train_tokenizer(
    texts: impl Iterator<Item = String> + Send,
    pieces: usize,
) -> Result<Tokenizer, EmbeddedError> {
    let trainer = BpeTrainer::builder()
        .vocab_size(pieces)
        .min_frequency(2)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(SEPARATOR, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut tokenizer = Tokenizer::new(BPE::default());
    let bytes = ByteLevel::new(false, true, true);
    let steps = vec![PreTokenizerWrapper::Digits(Digits::new(true)), PreTokenizerWrapper::ByteLevel(bytes)];
    tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
    tokenizer.with_decoder(Some(bytes));
    tokenizer.train(&mut TrainerWrapper::BpeTrainer(trainer), texts).map_err(EmbeddedError::tokenizer)?;
    Ok(tokenizer)
}

/// Appends the separator and the ids of a document.
pub fn encode_document(tokenizer: &Tokenizer, text: &str, ids: &mut Vec<u32>) -> Result<(), EmbeddedError> {
    let encoding = tokenizer.encode_fast(text, false).map_err(EmbeddedError::tokenizer)?;
    ids.push(0);
    ids.extend_from_slice(encoding.get_ids());
    Ok(())
}
