use std::sync::{Arc, Mutex};

use super::locked;

/// What was learnt about an endpoint on the way and its user should know; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Remarks(Arc<Mutex<Vec<String>>>);

impl Remarks {
    /// Notes one; a repeated one counts once.
    pub(super) fn add(&self, remark: String) {
        let mut all = locked(&self.0);
        if !all.contains(&remark) {
            all.push(remark);
        }
    }

    /// All of them, in the order learnt.
    pub fn all(&self) -> Vec<String> {
        locked(&self.0).clone()
    }
}
