//! Why activations could not be stored or read.

use crate::base::{FileError, HookPoint};

/// Why activations could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ActivationError {
    /// The store could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value is NaN or infinite; `row` counts the rows of the store from 0.
    #[error(
        "activations at `{hook}` hold a NaN or infinite value in row {row}: the model's weights or arithmetic are broken"
    )]
    NotFinite { hook: HookPoint, row: usize },
    /// All rows are equal.
    #[error(
        "activations at `{hook}` are constant over {rows} rows: there is nothing to decompose; choose another hook point"
    )]
    Constant { hook: HookPoint, rows: usize },
    /// There are no rows.
    #[error("no activations at `{hook}`: the fit split holds no usable token")]
    Empty { hook: HookPoint },
}
