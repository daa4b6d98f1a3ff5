//! Settings of training runs that change no code: losses, optimisers, data loading, logging.

/// Keys that SAELens writes, versions 2 to 6, beside those that are read.
pub const SAELENS: &[&str] = &[];
