//! The suite file: read with positions, checked into a plan.
//!
//! In: YAML.
//! Out: a checked plan.
//! Never: reads the environment or runs anything.
