//! What came of all rows: estimates, the manifest, neighbours and the report.

pub mod calibration;
pub mod finish;
pub mod gather;
pub mod manifest;
pub mod neighbours;
pub mod summary;
