//! The entry points and the form of folders, from the tests.

#[allow(dead_code, reason = "libFuzzer changes inputs itself")]
#[path = "../it/fuzz/mutator.rs"]
mod mutator;
#[path = "../it/fuzz/targets/mod.rs"]
pub mod targets;
