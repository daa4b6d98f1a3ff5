//! Whose turn it is, where several processes do the rows of one run.

use crate::base::HookPoint;
use crate::suite::MethodSpec;

/// Which rows this process does. A method's rows at a hook point are one unit of work, with the fit before them.
pub trait Turns: Sync {
    /// Whether this process does the method's rows, unless another one does them first.
    fn wants(&self, hook: HookPoint, method: &MethodSpec) -> bool;

    /// Begins them. False if another process works on them or has done them; later calls answer the same.
    fn begins(&self, hook: HookPoint, method: &MethodSpec) -> bool;
}

/// Of a process that does every row.
pub struct Everything;

impl Turns for Everything {
    fn wants(&self, _hook: HookPoint, _method: &MethodSpec) -> bool {
        true
    }

    fn begins(&self, _hook: HookPoint, _method: &MethodSpec) -> bool {
        true
    }
}
