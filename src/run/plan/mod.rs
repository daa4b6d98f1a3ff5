//! What a run will do and take, worked out before anything is asked or paid.
//!
//! - `shape`: the sizes of a run. `pieces`: its work. `usual`: the time that each piece of work usually takes.
//! - `calibrate`: the speed of this machine. `schedule`: the time of all pieces together. `needs`: memory and disk.
//! - `scale`: the same for machines that are not here, by formulas. `failures`: parts that die.
//! - `estimate`: the plan. `remaining`: the time that is left of a run, from the same pieces.

pub mod bill;
mod calibrate;
pub mod estimate;
pub mod failures;
pub mod headers;
mod needs;
mod notes;
pub mod pieces;
pub mod planned;
#[cfg(test)]
mod recorded_tests;
pub mod remaining;
pub mod role;
pub mod scale;
pub mod schedule;
pub mod shape;
pub mod sizes;
pub mod starter;
mod usual;
pub mod who;
mod written;
