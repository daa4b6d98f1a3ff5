//! The task that features are patched on.

use super::Rules;
use crate::suite::task::TaskSpec;

impl Rules {
    /// The task without repeated orders. `stored`: there are activations in place of a model.
    pub(super) fn task(&mut self, task: Option<TaskSpec>, stored: bool) -> Option<TaskSpec> {
        let mut task = task?;
        if stored {
            let message = "changes activations while the model runs, and `subject.activations` has no model: leave the \
                           task out, or name the model (`subject.model`)";
            self.wrong("task", message);
        }
        if !task.is_ioi() && task.is_embedded() {
            let message = "is `embedded`, and `kind: pairs` reads a file of JSON lines: name the file, or use `kind: ioi`";
            self.wrong("task.prompts", message);
        }
        let mut orders = Vec::new();
        for order in task.patching.orders.drain(..) {
            if !orders.contains(&order) {
                orders.push(order);
            }
        }
        task.patching.orders = orders;
        Some(task)
    }
}
