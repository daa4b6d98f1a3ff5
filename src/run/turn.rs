//! One run at a time in a run folder.

use std::path::Path;
use std::time::Duration;

use crate::base::{Holder, Lease, remove_own_leftovers, remove_shared_leftovers};
use crate::run::{Event, Finished, Places, RunError, Stop, pipeline};
use crate::suite::Suite;

/// Pause between two looks at the run that is at work.
const PAUSE: Duration = Duration::from_millis(100);

/// Folders of the cache in which killed runs leave files.
const SHARED: [&str; 3] = ["activations", "answers", "hub"];

/// Runs a suite and writes the run folder `places.out`. Stored stages are reused unless `fresh`. While another run is at
/// work in the same folder, this one waits; what the other has done is then reused.
pub fn run(
    suite: &Suite,
    places: &Places,
    fresh: bool,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    let missing: Vec<&Path> = places.out.ancestors().take_while(|folder| !folder.exists()).collect();
    // Without a lease, as in a folder where nothing can be written, the first file that is written says why.
    let lease = take_folder(&places.out, on, stop)?;
    if lease.is_some() {
        remove_own_leftovers(&places.out);
        for folder in SHARED {
            remove_shared_leftovers(&places.cache.join(folder));
        }
    }
    let outcome = pipeline::run(suite, places, fresh, on, stop);
    drop(lease);
    // Of a run that wrote nothing, no folder is left. One with files in it stays.
    let _ = missing.into_iter().try_for_each(std::fs::remove_dir);
    outcome
}

/// Waits until no other run is at work in the folder. `None` if it cannot hold a lease.
fn take_folder(folder: &Path, on: &dyn Fn(Event), stop: Stop) -> Result<Option<Lease>, RunError> {
    let mut claim = Holder::of_process().claim(folder, &folder.join(".run.lease"));
    let mut is_told = false;
    loop {
        match claim.try_take() {
            Ok(Some(lease)) => return Ok(Some(lease)),
            Ok(None) => {}
            Err(_) => return Ok(None),
        }
        if !is_told {
            let folder = folder.display();
            on(Event::Note(format!("another run is at work in {folder}; waiting until it ends")));
            is_told = true;
        }
        stop.check()?;
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_second_run_waits_for_the_folder_and_can_be_stopped() {
        static STOP: AtomicBool = AtomicBool::new(false);
        let folder = tempfile::tempdir().expect("a folder");
        let notes = RefCell::new(Vec::new());
        let on = |event: Event| {
            notes.borrow_mut().push(event);
            STOP.store(true, Ordering::Relaxed);
        };
        let first = take_folder(folder.path(), &on, Stop(&STOP)).expect("not stopped");
        assert!(first.is_some() && notes.borrow().is_empty());
        let second = take_folder(folder.path(), &on, Stop(&STOP));
        assert!(matches!(second, Err(RunError::Stopped)));
        assert_eq!(notes.borrow().len(), 1);
        drop(first);
        assert!(take_folder(folder.path(), &on, Stop(&STOP)).expect("free").is_some());
    }
}
