//! What a run will do and take, worked out before anything is asked or paid.

pub mod bill;
pub mod estimate;
pub mod headers;
pub mod planned;
pub mod role;
pub mod sizes;
pub mod starter;
pub mod who;
