//! The folder of real models, corpora and golden files, where there is one.

use std::path::PathBuf;

/// The folder that `AUTOINTERP_SHARED` names; unset, says that the test is skipped.
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("AUTOINTERP_SHARED").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: AUTOINTERP_SHARED is not set");
    }
    folder
}
