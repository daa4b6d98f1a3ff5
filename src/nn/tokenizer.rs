//! Tokenizers as the subject uses them.
