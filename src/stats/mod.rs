//! Statistics on slices of f64: estimates with intervals, tests and verdicts.
//!
//! In: slices of numbers and a named seed stream.
//! Out: estimates, intervals, p-values, verdicts.
//! Never: imports candle, knows the word feature.
