//! One run at a time in a run folder, or the parts of one.

use std::path::Path;
use std::time::Duration;

use crate::base::{Lease, ListedFile, remove_own_leftovers, remove_shared_leftovers};
use crate::remote::{self, Mirror};
use crate::report::{Layout, listed_files};
use crate::run::parts::Part;
use crate::run::parts::leases::{PAUSE, wait_for};
use crate::run::parts::share::PartDone;
use crate::run::parts::turn::{Parts, begin, clean, folder_claim};
use crate::run::{Event, Finished, Places, RunError, Stop, pipeline};
use crate::suite::Suite;

/// Name of the lease of a whole run in object storage, and the pause between two looks at it: each is a request.
const REMOTE_LEASE: &str = ".run.lease";
const REMOTE_PAUSE: Duration = Duration::from_secs(1);

/// Folders of the cache in which killed runs leave files.
const SHARED: [&str; 3] = ["activations", "answers", "hub"];

/// Runs a suite and writes the run folder `places.out`. Stored stages are reused unless `fresh`. While another run or
/// parts of one are at work in the same folder, this one waits; what they have done is then reused.
pub fn run(
    suite: &Suite,
    places: &Places,
    fresh: bool,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    let missing: Vec<&Path> = places.out.ancestors().take_while(|folder| !folder.exists()).collect();
    // Without a lease, as in a folder where nothing can be written, the first file that is written says why.
    let lease = take_folder(&places.layout(), on, stop)?;
    let remote = places.remote.as_deref();
    let remote_lease = remote.map(|remote| take_address(remote, on, stop)).transpose()?;
    if lease.is_some() {
        remove_own_leftovers(&places.out);
        remove_cache_leftovers(places);
    }
    share_budget(places);
    let outcome = pipeline::run(suite, places, fresh, on, stop).and_then(|finished| {
        remote.map_or(Ok(()), |remote| store(remote, &places.layout(), on))?;
        Ok(finished)
    });
    if outcome.is_ok() {
        clean(&places.layout());
    }
    drop((remote_lease, lease));
    // Of a run that wrote nothing, no folder is left. One with files in it stays.
    let _ = missing.into_iter().try_for_each(std::fs::remove_dir);
    outcome
}

/// Does one part of a run. Other parts may be at work in the same folder, on this machine or on others.
pub fn run_part(
    suite: &Suite,
    places: &Places,
    part: Part,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<PartDone, RunError> {
    let _lease = begin(part, &places.layout(), on, stop)?;
    remove_shared_leftovers(&places.out);
    remove_cache_leftovers(places);
    share_budget(places);
    pipeline::run_part(suite, places, part, on, stop)
}

fn remove_cache_leftovers(places: &Places) {
    for folder in SHARED {
        remove_shared_leftovers(&places.cache.join(folder));
    }
}

/// All parts of a run have one budget, and the run after them.
fn share_budget(places: &Places) {
    if let Some(budget) = places.budget.as_ref().filter(|_| places.is_in_parts()) {
        budget.share(&places.layout().part_budget());
    }
}

/// Waits until no other run and no part of one is at work in the folder. `None` if it cannot hold a lease.
fn take_folder(layout: &Layout, on: &dyn Fn(Event), stop: Stop) -> Result<Option<Lease>, RunError> {
    let folder = layout.folder().display();
    let waits = || on(Event::Note(format!("another run is at work in {folder}; waiting until it ends")));
    let (mut claim, mut parts, mut is_told) = (folder_claim(layout), Parts::of(layout), false);
    loop {
        let lease = wait_for(&mut claim, stop, Duration::ZERO, &waits)?;
        if !parts.are_at_work() {
            return Ok(lease);
        }
        // Parts that begin meanwhile register under this lease.
        drop(lease);
        if !is_told {
            on(Event::Note(format!("parts of this run are at work in {folder}; waiting until they end")));
            is_told = true;
        }
        stop.check()?;
        std::thread::sleep(PAUSE);
    }
}

/// Waits until no other run is at work at the address.
fn take_address(remote: &Mirror, on: &dyn Fn(Event), stop: Stop) -> Result<remote::Lease, RunError> {
    let (mut claim, mut is_told) = (remote.claim(REMOTE_LEASE), false);
    loop {
        if let Some(lease) = claim.try_take()? {
            return Ok(lease);
        }
        if !is_told {
            let address = remote.address();
            on(Event::Note(format!("another run is at work in {address}; waiting until it ends")));
            is_told = true;
        }
        stop.check()?;
        std::thread::sleep(REMOTE_PAUSE);
    }
}

/// Sends every file of a finished run that is not there yet, and at last the list of them. Until it is there, readers take
/// the run for unfinished.
fn store(remote: &Mirror, layout: &Layout, on: &dyn Fn(Event)) -> Result<(), RunError> {
    on(Event::work("store the run folder", 0, 1, "folder"));
    let is_stage =
        |file: &ListedFile| file.below(layout.folder()).is_some_and(|path| path.starts_with(layout.stages()));
    let listed = listed_files(layout.folder())?.unwrap_or_default();
    let (stages, others): (Vec<ListedFile>, Vec<ListedFile>) = listed.into_iter().partition(is_stage);
    remote.retract(&layout.digests())?;
    remote.push(&others)?;
    remote.push(&stages)?;
    remote.push_file(&layout.digests())?;
    on(Event::work("store the run folder", 1, 1, "folder"));
    Ok(())
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
        let layout = Layout::new(folder.path());
        let notes = RefCell::new(Vec::new());
        let on = |event: Event| {
            notes.borrow_mut().push(event);
            STOP.store(true, Ordering::Relaxed);
        };
        let first = take_folder(&layout, &on, Stop(&STOP)).expect("not stopped");
        assert!(first.is_some() && notes.borrow().is_empty());
        let second = take_folder(&layout, &on, Stop(&STOP));
        assert!(matches!(second, Err(RunError::Stopped)));
        assert_eq!(notes.borrow().len(), 1);
        drop(first);
        assert!(take_folder(&layout, &on, Stop(&STOP)).expect("free").is_some());
    }
}
