//! The view of a feature, as its page shows it.

use std::path::Path;

use crate::base::read_to_string;
use crate::report::{Layout, Place, ReportError};

/// The page of the feature's dictionary, an HTML document that needs no other file.
pub fn feature_view(folder: &Path, hook: &str, method: &str, _id: usize) -> Result<String, ReportError> {
    let layout = Layout::new(folder);
    if !layout.summary().exists() {
        return Err(ReportError::NoSummary(folder.to_path_buf()));
    }
    let place = Place { hook: hook.into(), dictionary: method.into(), control: None };
    Ok(read_to_string(&layout.feature_pages().join(Layout::feature_page(&place)))?)
}
