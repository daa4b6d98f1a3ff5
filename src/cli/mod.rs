//! Arguments, printing, exit codes; one file per verb.
//!
//! In: the command line.
//! Out: text, exit codes.
//! Never: computes a number.
