use std::sync::{Arc, Mutex};

use super::locked;

/// Notes for the user about how an endpoint has to be asked. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct Remarks(Arc<Mutex<Vec<String>>>);

impl Remarks {
    /// Adds a remark, once.
    pub(super) fn add(&self, remark: String) {
        let mut all = locked(&self.0);
        if !all.contains(&remark) {
            all.push(remark);
        }
    }

    /// All remarks in the order of their addition.
    pub fn all(&self) -> Vec<String> {
        locked(&self.0).clone()
    }
}
