//! Leases in object storage: of processes on any machines, one at a time works on a run.
//!
//! As in a folder ([`crate::base::Lease`]), with conditional writes in place of files. A lease is an object that only one
//! process can create. It names its holder, who rewrites it with a growing number. A process that waits looks at it: if it
//! does not change for [`Pulse::patience`] by the waiter's own clock, the holder is taken for dead, and the object is
//! replaced on condition that it is still the version that was seen. Two waiters cannot both succeed, and a holder that
//! was only slow finds its next write refused. A lease that was given back stays as an object that names no holder: a
//! removal could not be made conditional.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::object::{Object, Version};
use super::store::Store;
use crate::base::{Digest, FileError, Pulse, Stopwatch, is_gone, machine_tag, own_start};

/// Times of leases in object storage. A beat is a request, and a request may be repeated for a while before it succeeds.
pub fn pulse() -> Pulse {
    Pulse { beat: Duration::from_secs(5), patience: Duration::from_secs(60) }
}

/// Content of a lease.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Mark {
    /// Empty if the lease is free.
    holder: String,
    /// Grows while it is held.
    beat: u64,
    machine: String,
    process: u32,
    start: String,
}

impl Mark {
    /// Of this process under a name that no other lease has.
    fn new() -> Self {
        let drawn = RandomState::new().build_hasher().finish();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text = format!("{drawn} {} {} {}", now.as_nanos(), std::process::id(), machine_tag());
        Self {
            holder: Digest::of(text.as_bytes()).short(),
            beat: 0,
            machine: machine_tag().to_string(),
            process: std::process::id(),
            start: own_start(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// A wish for a lease, with what was seen of its present holder.
pub struct Claim {
    store: Arc<Store>,
    name: String,
    pulse: Pulse,
    /// Content at the last look that found a change.
    seen: Option<Vec<u8>>,
    /// Time since that look.
    watch: Stopwatch,
}

impl Claim {
    /// Prepares to take the lease `name`.
    pub fn new(store: &Arc<Store>, name: &str, pulse: Pulse) -> Self {
        Self { store: store.clone(), name: name.into(), pulse, seen: None, watch: Stopwatch::start() }
    }

    /// Takes the lease if it is free or its holder is dead; `None` while another holds it: try again after about a second.
    /// Fails if the service does not answer or does not write on condition.
    pub fn try_take(&mut self) -> Result<Option<Lease>, FileError> {
        let mark = Mark::new();
        if self.seen.is_none()
            && let Some(version) = self.store.create(&self.name, &mark.bytes())?
        {
            return Ok(Some(Lease::new(self, mark, version)));
        }
        let Some(found) = self.store.read(&self.name)? else {
            // Someone removed it.
            self.seen = None;
            return Ok(None);
        };
        if !self.is_free(&found) {
            return Ok(None);
        }
        let version = self.store.replace(&self.name, &mark.bytes(), &found.version)?;
        Ok(version.map(|version| Lease::new(self, mark, version)))
    }

    /// Whether nobody holds the lease: it was given back, or its holder is dead.
    fn is_free(&mut self, found: &Object) -> bool {
        let mark: Option<Mark> = serde_json::from_slice(&found.bytes).ok();
        if mark
            .is_some_and(|mark| mark.holder.is_empty() || is_gone(&mark.machine, mark.process, &mark.start))
        {
            return true;
        }
        if self.seen.as_ref() != Some(&found.bytes) {
            (self.seen, self.watch) = (Some(found.bytes.clone()), Stopwatch::start());
        }
        self.watch.elapsed() >= self.pulse.patience
    }
}

/// A lease that is held until this is dropped.
#[must_use = "the lease ends when this is dropped"]
pub struct Lease {
    inner: Arc<Inner>,
    beating: Option<JoinHandle<()>>,
}

struct Inner {
    store: Arc<Store>,
    name: String,
    pulse: Pulse,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    mark: Mark,
    version: Version,
    has_ended: bool,
    /// Whether another has taken it over.
    is_lost: bool,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Beats until the lease is given back or lost.
    fn beat(&self) {
        let mut state = self.state();
        let mut watch = Stopwatch::start();
        while !state.has_ended && !state.is_lost {
            let rest = self.pulse.beat.saturating_sub(watch.elapsed());
            if !rest.is_zero() {
                state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            watch = Stopwatch::start();
            state.mark.beat += 1;
            self.write(&mut state);
        }
    }

    /// Writes the mark, if the lease is still this one's. A beat that fails is made good by the next.
    fn write(&self, state: &mut State) {
        match self.store.replace(&self.name, &state.mark.bytes(), &state.version) {
            Ok(Some(version)) => state.version = version,
            Ok(None) => state.is_lost = true,
            Err(_) => {}
        }
    }
}

impl Lease {
    fn new(claim: &Claim, mark: Mark, version: Version) -> Self {
        let inner = Arc::new(Inner {
            store: claim.store.clone(),
            name: claim.name.clone(),
            pulse: claim.pulse,
            state: Mutex::new(State { mark, version, has_ended: false, is_lost: false }),
            changed: Condvar::new(),
        });
        let own = inner.clone();
        // Without a thread there are no beats, and the lease may be taken over: work is then done twice.
        let beating = std::thread::Builder::new().name("lease".into()).spawn(move || own.beat()).ok();
        Self { inner, beating }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.inner.state().has_ended = true;
        self.inner.changed.notify_all();
        if let Some(beating) = self.beating.take() {
            let _ = beating.join();
        }
        let mut state = self.inner.state();
        if !state.is_lost {
            state.mark = Mark::default();
            self.inner.write(&mut state);
        }
    }
}
