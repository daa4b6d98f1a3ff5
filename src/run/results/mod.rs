//! Results over all rows: estimates, manifest, neighbours, patching, erasure and report.

pub mod calibration;
pub mod erased;
mod erasure;
mod experiment;
pub mod finish;
pub mod gather;
mod graded;
pub mod grouped;
pub mod manifest;
pub mod neighbours;
pub mod patched;
mod patching;
mod quadrants;
mod rankings;
pub mod summary;
