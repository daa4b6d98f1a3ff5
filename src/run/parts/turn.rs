//! When a part may work in the run folder: one process for each part, and none while a whole run is at work.
//!
//! A part registers under the lease of the run folder, which a whole run holds, and gives that back at once. A whole run
//! takes it, and gives it back if a part is at work. So nobody waits for one that waits for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::Part;
use super::leases::{PAUSE, wait_for};
use crate::base::{Claim, Holder, Lease, create_dir_all};
use crate::report::Layout;
use crate::run::{Event, RunError, Stop};

/// Waits that are shorter are not told: parts register one after the other.
const SILENCE: Duration = Duration::from_secs(2);

/// Prepares to take the lease of the run folder.
pub fn folder_claim(layout: &Layout) -> Claim {
    let folder = layout.folder();
    Holder::of_process().claim(folder, &folder.join(".run.lease"))
}

/// Registers a part. Waits while a whole run or another process with the same part is at work. `None` if the folder
/// cannot hold a lease.
pub fn begin(part: Part, layout: &Layout, on: &dyn Fn(Event), stop: Stop) -> Result<Option<Lease>, RunError> {
    create_dir_all(&layout.parts())?;
    let folder = layout.folder().display();
    let waits = || on(Event::Note(format!("a whole run is at work in {folder}; waiting until it ends")));
    let mut of_folder = folder_claim(layout);
    let mut own = Holder::of_process().claim(&layout.parts(), &layout.part_lease(part.nth));
    let mut is_told = false;
    loop {
        let gate = wait_for(&mut of_folder, stop, SILENCE, &waits)?;
        match own.try_take() {
            Ok(Some(lease)) => return Ok(Some(lease)),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
        drop(gate);
        if !is_told {
            on(Event::Note(format!("another process does part {part} in {folder}; waiting until it ends")));
            is_told = true;
        }
        stop.check()?;
        std::thread::sleep(PAUSE);
    }
}

/// Looks for parts that are at work.
pub struct Parts {
    layout: Layout,
    claims: BTreeMap<PathBuf, Claim>,
}

impl Parts {
    /// Of a run folder.
    pub fn of(layout: &Layout) -> Self {
        Self { layout: layout.clone(), claims: BTreeMap::new() }
    }

    /// Whether a part is at work, or was a short time ago. Leases of dead parts are removed.
    pub fn are_at_work(&mut self) -> bool {
        let folder = self.layout.parts();
        let listed = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let leases: Vec<PathBuf> =
            listed.filter(|path| path.extension().is_some_and(|extension| extension == "lease")).collect();
        // All are looked at, so that several dead ones are known at the same time.
        leases.into_iter().fold(false, |is_any, path| {
            let claim = || Holder::of_process().claim(&folder, &path);
            // A lease that is free is given back at once.
            let found = self.claims.entry(path.clone()).or_insert_with(claim).try_take();
            matches!(found, Ok(None)) || is_any
        })
    }
}

/// Removes what only parts at work need, when a whole run has ended well. The division, answers and spendings stay.
pub fn clean(layout: &Layout) {
    for folder in [layout.part_activations(), layout.part_turns()] {
        // What stays takes space and does no harm.
        let _ = std::fs::remove_dir_all(folder);
    }
}
