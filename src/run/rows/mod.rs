//! The dictionaries of a hook point: fitted on the same activations, then evaluated one by one.

pub mod fit;
pub mod key;
pub mod proof;
pub mod quality;
pub mod row;
pub mod turns;
