//! The account of a budget that several processes share, on machines that share a folder.
//!
//! Each process has one file there, with what it has spent and what it may spend on calls in flight. It announces in its
//! file what a call may cost, looks at the files of all others, and takes it back if the sum is beyond the limit. So two
//! that announce at the same moment see each other, also where no lease can be held. A lease lets one announce at a time.
//!
//! What a process had announced when it was killed counts as spent: its calls may have been billed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Claim, FileError, Holder, Stopwatch, read, write_atomic, write_new};

/// Time without a change after which calls in flight elsewhere are not waited for. Calls take less.
const PATIENCE: Duration = Duration::from_secs(120);

/// Calls that are announced together, as a multiple of the next one.
const TOGETHER: f64 = 16.0;

/// Largest share of what is left that is announced beyond the next call.
const MOST_AHEAD: f64 = 1.0 / 32.0;

/// What one process has spent and announced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Line {
    /// Dollars spent and announced.
    pub claimed: f64,
    /// Calls in flight.
    pub open: usize,
    /// Calls that were billed.
    pub bills: usize,
    /// Largest ratios of bill to estimate, for prompts and for answers.
    pub ratios: [f64; 2],
}

/// What became of an announcement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Announced {
    /// The call may start.
    Fits,
    /// Calls elsewhere may have to end first, or another process is announcing: try again.
    Wait,
    /// The limit is reached; these dollars are spent or announced elsewhere.
    Full(f64),
}

/// The account, as one process sees it.
#[derive(Debug)]
pub(super) struct Ledger {
    folder: PathBuf,
    own: PathBuf,
    claim: Claim,
    line: Line,
    others: BTreeMap<PathBuf, Line>,
    /// Time since the files of others last changed.
    unchanged: Stopwatch,
}

impl Ledger {
    /// Opens an account with a file of its own.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        let line = Line::default();
        let bytes = serde_json::to_vec(&line).unwrap_or_default();
        let mut nth = 0_usize;
        loop {
            let own = folder.join(format!("{nth}.json"));
            if write_new(&own, &bytes)? {
                let claim = Holder::of_process().claim(folder, &folder.join(".announce.lease"));
                let (folder, others) = (folder.to_path_buf(), BTreeMap::new());
                return Ok(Self { folder, own, claim, line, others, unchanged: Stopwatch::start() });
            }
            nth += 1;
        }
    }

    /// Dollars that this process may spend without a further announcement, the spent ones included.
    pub fn claimed(&self) -> f64 {
        self.line.claimed
    }

    fn write(&mut self, line: Line) -> Result<(), FileError> {
        write_atomic(&self.own, &serde_json::to_vec(&line).unwrap_or_default())?;
        self.line = line;
        Ok(())
    }

    /// Reads the files of others. A file that cannot be read counts as it was when it last could.
    fn look(&mut self) {
        let mut now = self.others.clone();
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_account = path.extension().is_some_and(|extension| extension == "json");
            if is_account && path != self.own {
                let line = read(&path).ok().and_then(|bytes| serde_json::from_slice::<Line>(&bytes).ok());
                now.extend(line.map(|line| (path, line)));
            }
        }
        if now != self.others {
            (self.others, self.unchanged) = (now, Stopwatch::start());
        }
    }

    /// Announces that this process may spend `needed` dollars in all, `next` of them on the next call. `line` says what
    /// it has done so far.
    pub fn announce(
        &mut self,
        line: Line,
        [needed, next]: [f64; 2],
        limit: f64,
    ) -> Result<Announced, FileError> {
        let lease = match self.claim.try_take() {
            Ok(None) => return Ok(Announced::Wait),
            Ok(lease) => lease,
            // Where no lease can be held, announcing before looking is enough.
            Err(_) => None,
        };
        let before = Line { claimed: self.line.claimed, ..line };
        let known: f64 = self.others.values().map(|line| line.claimed).sum();
        let ahead = (TOGETHER * next).min(MOST_AHEAD * (limit - needed - known).max(0.0));
        self.write(Line { claimed: needed + ahead, open: line.open + 1, ..line })?;
        self.look();
        let elsewhere: f64 = self.others.values().map(|line| line.claimed).sum();
        let sum = |of: fn(&Line) -> usize| self.others.values().map(of).sum::<usize>();
        let (open, bills) = (sum(|line| line.open), sum(|line| line.bills));
        let is_active = open > 0 && self.unchanged.elapsed() < PATIENCE;
        // As within one process: the first call is alone, and at most one more than the bills so far is in flight.
        let too_many = is_active && line.open + open > line.bills + bills;
        if !too_many && elsewhere + needed + ahead <= limit {
            return Ok(Announced::Fits);
        }
        if !too_many && elsewhere + needed <= limit {
            self.write(Line { claimed: needed, open: line.open + 1, ..line })?;
            return Ok(Announced::Fits);
        }
        self.write(before)?;
        drop(lease);
        Ok(if too_many || is_active { Announced::Wait } else { Announced::Full(elsewhere) })
    }

    /// Says what this process has spent, when nothing of it is in flight.
    pub fn settle(&mut self, line: Line) {
        // What cannot be written stays announced.
        let _ = self.write(line);
    }

    /// The largest ratios of bill to estimate elsewhere.
    pub fn ratios(&self) -> [f64; 2] {
        let most = |nth: usize| self.others.values().map(|line| line.ratios[nth]).fold(0.0, f64::max);
        [most(0), most(1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(claimed: f64, open: usize, bills: usize) -> Line {
        Line { claimed, open, bills, ratios: [1.0, 2.0] }
    }

    #[test]
    fn processes_announce_to_each_other_and_stay_below_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut one = Ledger::open(folder.path()).expect("opened");
        let mut two = Ledger::open(folder.path()).expect("opened");
        assert_eq!(one.announce(line(0.0, 0, 0), [0.4, 0.4], 1.0).expect("written"), Announced::Fits);
        // The first call is alone until its bill is known.
        assert_eq!(two.announce(line(0.0, 0, 0), [0.4, 0.4], 1.0).expect("written"), Announced::Wait);
        assert_eq!(two.claimed(), 0.0);
        one.settle(line(0.3, 0, 1));
        assert_eq!(two.announce(line(0.0, 0, 0), [0.4, 0.4], 1.0).expect("written"), Announced::Fits);
        assert!((0.4..0.43).contains(&two.claimed()), "{}", two.claimed());
        assert_eq!(two.ratios(), [1.0, 2.0]);
        // Beyond the limit while a call elsewhere is in flight, and after it.
        assert_eq!(one.announce(line(0.3, 0, 1), [0.9, 0.6], 1.0).expect("written"), Announced::Wait);
        two.settle(line(0.4, 0, 1));
        assert_eq!(one.announce(line(0.3, 0, 1), [0.9, 0.6], 1.0).expect("written"), Announced::Full(0.4));
        assert_eq!(one.announce(line(0.3, 0, 1), [0.6, 0.3], 1.0).expect("written"), Announced::Fits);
        // A process that was killed has spent what it had announced.
        drop(one);
        let mut three = Ledger::open(folder.path()).expect("opened");
        let told = three.announce(line(0.0, 0, 0), [0.1, 0.1], 1.0).expect("written");
        assert_eq!(told, Announced::Wait, "its call may be in flight");
    }
}
