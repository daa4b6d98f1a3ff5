//! Leases: of several processes, one at a time does a piece of work, also on network file systems without locks and on
//! machines whose clocks disagree.
//!
//! A lease is a file that only one process can create. It names its holder. While a process holds leases in a folder
//! for longer than a beat, it rewrites one small file there with a growing number. A process that waits looks at both
//! files: if neither changes for [`Pulse::patience`] by its own clock, the holder is taken for dead and its lease is
//! taken over. A holder on the same machine is looked up in the list of processes, which is faster.
//!
//! A holder that was suspended for longer loses its leases without knowing it. So a lease saves work that would be done
//! twice, and must not be what keeps a file whole: files are still written atomically.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::process::{is_gone, machine_tag, own_start};
use super::{Digest, Stopwatch};

/// Ends of the names of lease files, of beats, and of leases that are being taken over.
pub(super) const ENDINGS: [&str; 3] = [".lease", ".beat", ".stale"];

/// Times of leases.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// Time between two beats of a holder.
    pub beat: Duration,
    /// Time without a beat after which a holder is taken for dead.
    pub patience: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { beat: Duration::from_secs(1), patience: Duration::from_secs(10) }
    }
}

/// Content of a lease file.
#[derive(Serialize, Deserialize)]
struct Mark {
    holder: String,
    /// Number of this lease among those of its holder, so that no two leases have the same content.
    number: u64,
    machine: String,
    process: u32,
    start: String,
}

/// A process that holds leases. Clones are the same holder.
#[derive(Clone)]
pub struct Holder(Arc<Inner>);

struct Inner {
    name: String,
    start: String,
    pulse: Pulse,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Leases so far.
    taken: u64,
    beats: u64,
    is_beating: bool,
    folders: HashMap<PathBuf, Held>,
}

/// Leases that are held in one folder.
struct Held {
    count: usize,
    since: Stopwatch,
    has_beat: bool,
}

impl Holder {
    /// This process.
    pub fn of_process() -> &'static Self {
        static PROCESS: OnceLock<Holder> = OnceLock::new();
        PROCESS.get_or_init(|| Self::new(Pulse::default()))
    }

    /// A further holder in this process.
    pub fn new(pulse: Pulse) -> Self {
        let drawn = RandomState::new().build_hasher().finish();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text = format!("{drawn} {} {} {}", now.as_nanos(), std::process::id(), machine_tag());
        let (name, start) = (Digest::of(text.as_bytes()).short(), own_start());
        Self(Arc::new(Inner { name, start, pulse, state: Mutex::default(), changed: Condvar::new() }))
    }

    /// Prepares to take the lease file `path`. Beats go to `folder`, which may be common to many leases.
    pub fn claim(&self, folder: &Path, path: &Path) -> Claim {
        Claim {
            holder: self.clone(),
            folder: folder.to_path_buf(),
            path: path.to_path_buf(),
            seen: None,
            watch: Stopwatch::start(),
            is_elsewhere: false,
            is_alive: false,
        }
    }

    /// Creates a lease file; fails with `AlreadyExists` if there is one.
    fn create(&self, folder: &Path, path: &Path) -> io::Result<Lease> {
        let number = {
            let mut state = self.0.state();
            state.taken += 1;
            state.taken
        };
        let mark = Mark {
            holder: self.0.name.clone(),
            number,
            machine: machine_tag().to_string(),
            process: std::process::id(),
            start: self.0.start.clone(),
        };
        let mark = serde_json::to_vec(&mark)?;
        let mut file = create_new(path)?;
        if let Err(error) = file.write_all(&mark) {
            let _ = fs::remove_file(path);
            return Err(error);
        }
        let lease = Lease {
            holder: self.clone(),
            folder: folder.to_path_buf(),
            path: path.to_path_buf(),
            mark,
            since: Stopwatch::start(),
        };
        // From here on, dropping the lease undoes all of this.
        self.hold(folder)?;
        Ok(lease)
    }

    /// Counts a lease in a folder, and starts the thread of beats with the first.
    fn hold(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.0.state();
        let new = || Held { count: 0, since: Stopwatch::start(), has_beat: false };
        if state.folders.is_empty() {
            // The thread of beats waits for a first lease; each other one would only interrupt its pause.
            self.0.changed.notify_all();
        }
        state.folders.entry(folder.to_path_buf()).or_insert_with(new).count += 1;
        if !state.is_beating {
            let inner = self.0.clone();
            std::thread::Builder::new().name("leases".into()).spawn(move || inner.beat())?;
            state.is_beating = true;
        }
        Ok(())
    }

    fn release(&self, folder: &Path) {
        let mut state = self.0.state();
        let Some(held) = state.folders.get_mut(folder) else { return };
        held.count = held.count.saturating_sub(1);
        if held.count == 0 {
            if held.has_beat {
                let _ = fs::remove_file(beat_path(folder, &self.0.name));
            }
            state.folders.remove(folder);
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    match (create(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            create()
        }
        (outcome, _) => outcome,
    }
}

fn beat_path(folder: &Path, holder: &str) -> PathBuf {
    folder.join(format!(".{holder}{}", ENDINGS[1]))
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beats in every folder with leases, for ever.
    fn beat(&self) {
        let mut state = self.state();
        loop {
            while state.folders.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state = self.pause(state);
            state.beats += 1;
            let beats = state.beats;
            for (folder, held) in &mut state.folders {
                // Most leases end before their first beat and cost nothing here.
                if held.since.elapsed() >= self.pulse.beat {
                    held.has_beat = true;
                    let written = File::create(beat_path(folder, &self.name));
                    // A beat that cannot be written may cost the leases. Their work is then done twice.
                    let _ = written.and_then(|mut file| file.write_all(beats.to_string().as_bytes()));
                }
            }
        }
    }

    /// Waits for one beat. The condition may wake it earlier.
    fn pause<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let watch = Stopwatch::start();
        while let Some(rest) = self.pulse.beat.checked_sub(watch.elapsed()).filter(|rest| !rest.is_zero()) {
            state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

/// A lease that is held until this is dropped.
#[must_use = "the lease ends when this is dropped"]
pub struct Lease {
    holder: Holder,
    folder: PathBuf,
    path: PathBuf,
    mark: Vec<u8>,
    since: Stopwatch,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a long suspension the file may be another holder's.
        let is_surely_own = self.since.elapsed() < self.holder.0.pulse.patience / 2;
        if is_surely_own || fs::read(&self.path).is_ok_and(|mark| mark == self.mark) {
            // A file that cannot be removed is taken over by whoever waits for it.
            let _ = fs::remove_file(&self.path);
        }
        self.holder.release(&self.folder);
    }
}

/// A wish for a lease, with what was seen of its present holder.
pub struct Claim {
    holder: Holder,
    folder: PathBuf,
    path: PathBuf,
    /// Lease file and beat at the last look that found a change.
    seen: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Time since that look.
    watch: Stopwatch,
    is_elsewhere: bool,
    is_alive: bool,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Claim {
    /// Takes the lease if it is free or its holder is dead; `None` while another holds it: try again after some 100 ms.
    /// Fails if the folder cannot hold leases.
    pub fn try_take(&mut self) -> io::Result<Option<Lease>> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            match self.holder.create(&self.folder, &self.path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                outcome => return outcome.map(Some),
            }
            // Without a file it was given back in between.
            let Ok(mark) = fs::read(&self.path) else { continue };
            if !self.is_dead(&mark) || !self.clear(&mark) {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// Whether the lease was last seen with another process.
    pub fn is_elsewhere(&self) -> bool {
        self.is_elsewhere
    }

    /// Whether the present holder was seen alive: it runs on this machine, or its beat has changed between two looks.
    pub fn is_seen_alive(&self) -> bool {
        self.is_alive
    }

    fn is_dead(&mut self, mark: &[u8]) -> bool {
        // A file without its content is of a process that is about to write it, or died before.
        let known: Option<Mark> = serde_json::from_slice(mark).ok();
        let beat = known.as_ref().and_then(|mark| fs::read(beat_path(&self.folder, &mark.holder)).ok());
        self.is_elsewhere = known.as_ref().is_none_or(|mark| mark.holder != self.holder.0.name);
        self.is_alive = !self.is_elsewhere;
        if !self.is_elsewhere {
            return false;
        }
        let is_here =
            known.as_ref().is_some_and(|mark| !mark.machine.is_empty() && mark.machine == machine_tag());
        if known.is_some_and(|mark| is_gone(&mark.machine, mark.process, &mark.start)) {
            return true;
        }
        let has_beaten = self
            .seen
            .as_ref()
            .is_some_and(|(seen, before)| seen == mark && beat.is_some() && *before != beat);
        self.is_alive = is_here || has_beaten;
        let now = Some((mark.to_vec(), beat));
        if self.seen != now {
            (self.seen, self.watch) = (now, Stopwatch::start());
        }
        self.watch.elapsed() >= self.holder.0.pulse.patience
    }

    /// Removes the lease file of a dead holder. It is moved away first: then of several processes only one removes it,
    /// and a newer lease that got there in between is seen and put back.
    fn clear(&self, mark: &[u8]) -> bool {
        let number = self.holder.0.state().taken;
        let aside = format!("{}-{number}{}", self.holder.0.name, ENDINGS[2]);
        let mut name = self.path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{aside}"));
        let aside = self.path.with_file_name(name);
        if fs::rename(&self.path, &aside).is_err() {
            return false;
        }
        let is_same = fs::read(&aside).is_ok_and(|found| found == mark);
        if !is_same && fs::hard_link(&aside, &self.path).is_err() && !self.path.exists() {
            let _ = fs::rename(&aside, &self.path);
        }
        let _ = fs::remove_file(&aside);
        if let Ok(Mark { holder, .. }) = serde_json::from_slice(mark)
            && is_same
        {
            let _ = fs::remove_file(beat_path(&self.folder, &holder));
        }
        is_same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Pulse = Pulse { beat: Duration::from_millis(20), patience: Duration::from_millis(400) };

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).expect("listed").count()
    }

    fn taken(claim: &mut Claim) -> Option<Lease> {
        claim.try_take().expect("a folder for leases")
    }

    #[test]
    fn a_lease_is_held_by_one_and_given_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/.work.lease");
        let holders = [Holder::new(QUICK), Holder::new(QUICK)];
        let [mut one, mut other] = [0, 1].map(|i: usize| holders[i].claim(folder.path(), &path));
        let lease = taken(&mut one).expect("free");
        assert!(taken(&mut other).is_none() && other.is_elsewhere());
        assert!(taken(&mut one).is_none() && !one.is_elsewhere());
        drop(lease);
        drop(taken(&mut other).expect("given back"));
        assert_eq!((files(folder.path()), files(&folder.path().join("deep"))), (1, 0));
    }

    #[test]
    fn beats_keep_a_lease_and_their_end_frees_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".work.lease");
        let (alive, waits) = (Holder::new(QUICK), Holder::new(QUICK));
        let lease = taken(&mut alive.claim(folder.path(), &path)).expect("free");
        let mut claim = waits.claim(folder.path(), &path);
        let watch = Stopwatch::start();
        while watch.elapsed() < 3 * QUICK.patience {
            assert!(taken(&mut claim).is_none(), "a holder that beats is alive");
            std::thread::sleep(QUICK.beat);
        }
        // What a dead holder leaves: its last lease and its last beat.
        let (mark, beat) = (fs::read(&path).expect("a lease"), beat_path(folder.path(), &alive.0.name));
        assert!(beat.exists());
        drop(lease);
        assert_eq!(files(folder.path()), 0);
        for (path, bytes) in [(&path, mark.as_slice()), (&beat, b"77")] {
            crate::base::write_atomic(path, bytes).expect("written");
        }
        let watch = Stopwatch::start();
        let lease = loop {
            if let Some(lease) = taken(&mut claim) {
                break lease;
            }
            assert!(watch.seconds() < 20.0, "taken over in the end");
            std::thread::sleep(QUICK.beat);
        };
        assert!(watch.elapsed() >= QUICK.patience, "not before it was watched");
        drop(lease);
        assert_eq!(files(folder.path()), 0, "nothing is left");
    }

    #[test]
    fn an_empty_lease_is_waited_for_and_one_of_an_ended_process_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".work.lease");
        let holder = Holder::new(Pulse { patience: Duration::from_secs(3600), ..QUICK });
        let mut claim = holder.claim(folder.path(), &path);
        File::create(&path).expect("a file");
        assert!(taken(&mut claim).is_none());
        if machine_tag().is_empty() {
            return;
        }
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let (machine, process) = (machine_tag().to_string(), child.id());
        child.wait().expect("ended");
        let mark = Mark { holder: "dead".into(), number: 1, machine, process, start: String::new() };
        crate::base::write_atomic(&path, &serde_json::to_vec(&mark).expect("JSON")).expect("written");
        assert!(taken(&mut claim).is_some());
    }

    #[test]
    fn of_many_threads_one_takes_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(".work.lease");
        crate::base::write_atomic(&path, b"left by a dead holder").expect("written");
        let at_work = Mutex::new(());
        let work = |holder: Holder| {
            let mut claim = holder.claim(folder.path(), &path);
            let lease = loop {
                match taken(&mut claim) {
                    Some(lease) => break lease,
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            };
            let alone = at_work.try_lock().expect("nobody else is at work");
            std::thread::sleep(Duration::from_millis(2));
            drop(alone);
            drop(lease);
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| work(Holder::new(QUICK)));
            }
        });
        assert_eq!(files(folder.path()), 0);
    }

    #[test]
    fn a_folder_that_takes_no_files_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        crate::base::write_atomic(&file, b"x").expect("written");
        assert!(Holder::new(QUICK).claim(&file, &file.join(".work.lease")).try_take().is_err());
    }
}
