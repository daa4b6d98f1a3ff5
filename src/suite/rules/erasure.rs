//! The erasure of concepts.

use super::Rules;
use crate::causal::ErasureParams;

impl Rules {
    /// The settings with ascending numbers of features, 0 among them. `stored`: there are activations in place of a model.
    pub(super) fn erasure(&mut self, erasure: Option<ErasureParams>, stored: bool) -> Option<ErasureParams> {
        let mut erasure = erasure?;
        if stored {
            let message = "changes activations while the model runs, and `subject.activations` has no model: leave \
                           erasure out, or name the model (`subject.model`)";
            self.wrong("erasure", message);
        }
        erasure.features.push(0);
        erasure.features.sort_unstable();
        erasure.features.dedup();
        Some(erasure)
    }
}
