use std::sync::{Arc, Mutex};

use super::locked;

/// Notes for the user about how an endpoint has to be asked. Clones share one list.
#[derive(Debug, Clone, Default)]
pub struct EndpointNotes(Arc<Mutex<Vec<String>>>);

impl EndpointNotes {
    /// Adds a note, once.
    pub(super) fn add(&self, note: String) {
        let mut all = locked(&self.0);
        if !all.contains(&note) {
            all.push(note);
        }
    }

    /// All notes in the order of their addition.
    pub fn all(&self) -> Vec<String> {
        locked(&self.0).clone()
    }
}
