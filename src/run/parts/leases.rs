//! Waiting for leases.

use std::time::Duration;

use crate::base::{Claim, Holder, Lease, Stopwatch};
use crate::report::Layout;
use crate::run::{RunContext, RunError, StageKey, Stop};

/// Pause between two looks at a lease that another process holds.
pub const PAUSE: Duration = Duration::from_millis(100);

/// Waits until no living process holds a lease, and takes it. `None` where no lease can be held: the first file that is
/// written there says why. `waits` is called once, after `silence`.
pub fn wait_for(
    claim: &mut Claim,
    stop: Stop,
    silence: Duration,
    waits: &dyn Fn(),
) -> Result<Option<Lease>, RunError> {
    let (watch, mut is_told) = (Stopwatch::start(), false);
    loop {
        match claim.try_take() {
            Ok(Some(lease)) => return Ok(Some(lease)),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
        if !is_told && watch.elapsed() >= silence {
            waits();
            is_told = true;
        }
        stop.check()?;
        std::thread::sleep(PAUSE);
    }
}

/// Prepares to take a lease that parts of a run hold for a piece of work.
pub fn claim(layout: &Layout, name: &str) -> Claim {
    let path = layout.part_turns().join(format!(".{name}.lease"));
    Holder::of_process().claim(&layout.parts(), &path)
}

/// The only turn at a fit, if parts of a run may need it at the same time. Another part that is at it is waited for, and
/// has stored it then.
pub fn fit_turn(run: &RunContext<'_>, key: &StageKey) -> Result<Option<Lease>, RunError> {
    if !run.places.is_in_parts() {
        return Ok(None);
    }
    let mut claim = claim(&run.places.layout(), &key.file_name_on(run.places.device));
    wait_for(&mut claim, run.stop, Duration::ZERO, &|| ())
}
