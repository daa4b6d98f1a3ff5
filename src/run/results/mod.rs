//! Results over all rows: estimates, manifest, neighbours and report.

pub mod calibration;
pub mod finish;
pub mod gather;
pub mod grouped;
pub mod manifest;
pub mod neighbours;
mod rankings;
pub mod summary;
