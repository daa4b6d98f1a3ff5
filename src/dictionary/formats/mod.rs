//! Layouts of dictionaries trained elsewhere.

pub mod needed;
