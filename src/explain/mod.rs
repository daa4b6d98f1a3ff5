//! Explanations of a feature from its evidence.
//!
//! In: evidence.
//! Out: explanations that print as text.
//! Never: imports subject, dictionary or corpus.
