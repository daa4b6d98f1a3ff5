//! Which units of one subject this process has taken.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::leases::PAUSE;
use super::share::{Round, Share};
use crate::base::{Claim, HookPoint, Lease, Stopwatch};
use crate::run::rows::key::row_key;
use crate::run::rows::turns::Turns;
use crate::run::{RunError, SubjectPass};
use crate::suite::MethodSpec;

/// Time after which the holder of a unit's lease is left alone, if nothing was seen of it. A dead one is known earlier.
const LOOK: Duration = Duration::from_secs(15);

/// Looks at a lease that another part may hold for a moment, to see whether it is free.
const TRIES: usize = 5;

/// What became of a unit.
enum Turn {
    /// This process does it, under a lease where there can be one.
    Ours(Option<Lease>),
    /// It is stored, or another process is about it.
    NotOurs,
}

/// What there is to do at a hook point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// Units that this process can begin.
    Now,
    /// Units whose holder may be dead.
    Later,
    /// Nothing.
    Nothing,
}

/// The units of one subject, in one round.
pub struct Taking<'a> {
    share: &'a Share,
    pass: &'a SubjectPass<'a>,
    round: Round,
    turns: Mutex<BTreeMap<usize, Turn>>,
    /// Leases of others that are watched.
    watched: Mutex<BTreeMap<usize, (Claim, Stopwatch)>>,
}

impl<'a> Taking<'a> {
    /// Nothing is taken yet.
    pub fn new(share: &'a Share, pass: &'a SubjectPass<'a>, round: Round) -> Self {
        Self { share, pass, round, turns: Mutex::default(), watched: Mutex::default() }
    }

    fn turns(&self) -> MutexGuard<'_, BTreeMap<usize, Turn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every row of a unit is stored.
    fn is_stored(&self, nth: usize) -> bool {
        let unit = &self.share.units[nth];
        let Some(method) = self.pass.methods.iter().find(|method| method.name == unit.method) else {
            return true;
        };
        let rows = method.row_names();
        rows.iter().all(|row| self.pass.run.store.has(&row_key(self.pass, unit.place.1, method, row)))
    }

    /// Whether every row of a hook point is stored.
    pub fn is_complete(&self, hook: HookPoint) -> bool {
        self.share.at((self.pass.control, hook)).all(|nth| self.is_stored(nth))
    }

    /// What there is to do at a hook point.
    pub fn open(&self, hook: HookPoint) -> Result<Open, RunError> {
        let mut found = Open::Nothing;
        for nth in self.share.at((self.pass.control, hook)) {
            if self.turns().contains_key(&nth) || !self.share.wants(nth, self.round) {
                continue;
            }
            if self.is_stored(nth) {
                self.share.mark(nth)?;
                self.turns().insert(nth, Turn::NotOurs);
                continue;
            }
            match self.look(nth) {
                Open::Now => return Ok(Open::Now),
                Open::Later => found = Open::Later,
                Open::Nothing => {
                    self.turns().insert(nth, Turn::NotOurs);
                }
            }
        }
        Ok(found)
    }

    /// Whether a unit that is not stored can be begun. Own units are not looked at before their turn.
    fn look(&self, nth: usize) -> Open {
        if self.round == Round::Own {
            return Open::Now;
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (claim, since) =
            watched.entry(nth).or_insert_with(|| (self.share.claim(nth), Stopwatch::start()));
        match claim.try_take() {
            Ok(Some(_free)) => Open::Now,
            Ok(None) if claim.is_seen_alive() || since.elapsed() >= LOOK => Open::Nothing,
            Ok(None) => Open::Later,
            // Where no lease can be held, nobody knows what others do.
            Err(_) => Open::Nothing,
        }
    }

    /// Takes the lease of a unit, if it is free and the unit is not stored.
    fn take(&self, nth: usize) -> Turn {
        let mut claim = self.share.claim(nth);
        for _ in 0..TRIES {
            match claim.try_take() {
                // Its former holder may have stored it.
                Ok(Some(_)) if self.is_stored(nth) => return Turn::NotOurs,
                Ok(Some(lease)) => return Turn::Ours(Some(lease)),
                Ok(None) => std::thread::sleep(PAUSE / 2),
                Err(_) => return Turn::Ours(None),
            }
        }
        Turn::NotOurs
    }

    /// Marks what was begun as done, and gives the leases back.
    pub fn end(&self) -> Result<(), RunError> {
        for (&nth, turn) in self.turns().iter_mut() {
            if let Turn::Ours(lease) = turn {
                self.share.mark(nth)?;
                self.share.count(nth);
                drop(lease.take());
                *turn = Turn::NotOurs;
            }
        }
        Ok(())
    }
}

impl Turns for Taking<'_> {
    fn wants(&self, hook: HookPoint, method: &MethodSpec) -> bool {
        let Some(nth) = self.share.find((self.pass.control, hook), &method.name) else { return false };
        self.share.wants(nth, self.round) && !matches!(self.turns().get(&nth), Some(Turn::NotOurs))
    }

    fn begins(&self, hook: HookPoint, method: &MethodSpec) -> bool {
        let Some(nth) = self.share.find((self.pass.control, hook), &method.name) else { return false };
        let mut turns = self.turns();
        let turn = turns.entry(nth).or_insert_with(|| self.take(nth));
        matches!(turn, Turn::Ours(_))
    }
}
