//! The share of one part: its units, whose they are, and what was done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Part;
use super::division::Division;
use super::leases;
use super::planned::work_of;
use super::units::{Place, Unit, Units};
use crate::base::{Claim, FileError, FileName, write_atomic};
use crate::llm::Usage;
use crate::report::Layout;
use crate::run::evaluate::models::{Models, by_model};
use crate::run::open::OpenRun;
use crate::run::plan::pieces::{Piece, answers};
use crate::run::plan::shape::Shape;
use crate::run::results::finish::{RunRecord, run_digest};
use crate::run::{Event, Planned, RunError};

/// When a part does which units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// Its own first.
    Own,
    /// Then those of parts that have begun, if nobody works on them.
    Rest,
}

impl Round {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Own, Self::Rest];
}

/// The share of one part.
pub struct Share {
    part: Part,
    layout: Layout,
    /// All units of the run.
    pub(super) units: Vec<Unit>,
    /// The part of each.
    owners: Vec<usize>,
    /// The work of the own units.
    pieces: Vec<Piece>,
    done: Mutex<Rows>,
}

/// Rows that this process has done.
#[derive(Debug, Clone, Copy, Default)]
struct Rows {
    own: usize,
    of_others: usize,
}

/// How a part ended.
#[derive(Debug)]
pub struct PartDone {
    /// Which part.
    pub part: Part,
    /// The run folder.
    pub folder: std::path::PathBuf,
    /// Rows of its share.
    pub share: usize,
    /// Rows of its share that it did now.
    pub done: usize,
    /// Rows of other parts that it did.
    pub taken_over: usize,
    /// Rows of the run that no part has done yet, by the number of their part.
    pub left: BTreeMap<usize, usize>,
    /// Requests, tokens and dollars of this part by language model.
    pub llm_usage: BTreeMap<String, Usage>,
}

impl Share {
    /// Agrees with the other parts on who does which units.
    pub fn agree(part: Part, open: &OpenRun<'_>, record: &RunRecord<'_>) -> Result<Self, RunError> {
        let run = open.run;
        let (suite, places, layout) = (run.suite, run.places, run.places.layout());
        let shape = Shape::of(suite, open.model, open.hooks, open.model.prefix().len(), places)?;
        let all = Units::of(&shape, &record.planned, &Piece::usual_seconds);
        let digest = run_digest(run, record.subject.weights_digest);
        let own = Division::new(suite, digest, places.device, &all, part.of);
        let agreed = own.agree(&layout.division(), part)?;
        let owners = agreed.owners(&all.units).ok_or_else(|| RunError::Input {
            path: layout.division(),
            why: "lacks rows of this suite: remove the folder `parts`, and start the parts again".into(),
        })?;
        if let Some(warning) = agreed.other_processor() {
            (open.on)(Event::Warning(warning));
        }
        write_atomic(&layout.begun_part(part.nth), b"")?;
        let own: Vec<bool> = owners.iter().map(|owner| *owner == part.nth).collect();
        let work = work_of(&shape, &own);
        // The subject is open, and the text is read.
        let mut pieces: Vec<Piece> = work.pieces().skip(work.before.len()).cloned().collect();
        let rows = |own: bool, unit: &Unit| if own { unit.rows } else { 0 };
        let of_own: usize = own.iter().zip(&all.units).map(|(own, unit)| rows(*own, unit)).sum();
        let of_all: usize = all.units.iter().map(|unit| unit.rows).sum();
        let mut planned: Vec<Planned> = record.planned.clone();
        planned.iter_mut().for_each(|planned| planned.minutes *= of_own as f64 / of_all.max(1) as f64);
        pieces.extend(answers(&pieces, &planned));
        Ok(Self { part, layout, units: all.units, owners, pieces, done: Mutex::default() })
    }

    /// Rows of this part.
    fn rows(&self) -> usize {
        self.of_part_only(self.part.nth).map(|unit| unit.rows).sum()
    }

    fn of_part_only(&self, part: usize) -> impl Iterator<Item = &Unit> {
        self.units.iter().zip(&self.owners).filter(move |(_, owner)| **owner == part).map(|(unit, _)| unit)
    }

    /// The first event, with the work of this part.
    pub fn begin(&self) -> Event {
        Event::Begin { total: self.rows() as u64, unit: "rows", pieces: self.pieces.clone() }
    }

    /// An event of a run as one of this part: of its own rows.
    pub fn of_part(&self, event: Event) -> Event {
        match event {
            Event::Overall { done, unit, .. } => {
                Event::Overall { done, total: (self.rows() as u64).max(done), unit }
            }
            other => other,
        }
    }

    /// Whether there may be something to do on a subject.
    pub fn wants_any(&self, control: Option<&'static str>, round: Round) -> bool {
        let of_subject = |nth: &usize| self.units[*nth].place.0 == control;
        (0..self.units.len()).filter(of_subject).any(|nth| self.wants(nth, round))
    }

    /// Whether this part may do a unit.
    pub(super) fn wants(&self, nth: usize, round: Round) -> bool {
        match round {
            Round::Own => self.owners[nth] == self.part.nth,
            Round::Rest => !self.is_marked(nth) && self.layout.begun_part(self.owners[nth]).exists(),
        }
    }

    /// The unit of a method at a place.
    pub(super) fn find(&self, place: Place, method: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.place == place && unit.method == method)
    }

    /// The units of a hook point of one subject.
    pub(super) fn at(&self, place: Place) -> impl Iterator<Item = usize> + '_ {
        (0..self.units.len()).filter(move |&nth| self.units[nth].place == place)
    }

    fn name(&self, nth: usize) -> FileName {
        let Unit { place: (control, hook), method, .. } = &self.units[nth];
        FileName::joined(&[control.unwrap_or("real"), &hook.to_string(), method], "--")
    }

    /// Prepares to take the lease of a unit.
    pub(super) fn claim(&self, nth: usize) -> Claim {
        leases::claim(&self.layout, self.name(nth).as_str())
    }

    /// Prepares to take the lease of what all rows of a hook point need, or what needs all of them.
    pub(super) fn claim_at(&self, what: &str, (control, hook): Place) -> Claim {
        let name = FileName::joined(&[what, control.unwrap_or("real"), &hook.to_string()], "--");
        leases::claim(&self.layout, name.as_str())
    }

    fn mark_path(&self, nth: usize) -> std::path::PathBuf {
        self.layout.part_turns().join(self.name(nth).with(".done"))
    }

    /// Whether a part has done a unit. Its rows may be missing: those with failures that another request may repair are
    /// not stored, and left to the whole run.
    fn is_marked(&self, nth: usize) -> bool {
        self.mark_path(nth).exists()
    }

    /// Marks a unit as done.
    pub(super) fn mark(&self, nth: usize) -> Result<(), FileError> {
        write_atomic(&self.mark_path(nth), b"")
    }

    /// Counts a unit that this process has done.
    pub(super) fn count(&self, nth: usize) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        match self.owners[nth] == self.part.nth {
            true => done.own += self.units[nth].rows,
            false => done.of_others += self.units[nth].rows,
        }
    }

    /// How this part ended. A language model that answered nothing is an error.
    pub fn done(&self, open: &OpenRun<'_>) -> Result<PartDone, RunError> {
        let models = open.run.models.as_ref();
        if let Some(unanswered) = models.and_then(Models::unanswered) {
            return Err(RunError::AllFailed(Box::new(unanswered)));
        }
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        for nth in (0..self.units.len()).filter(|&nth| !self.is_marked(nth)) {
            *left.entry(self.owners[nth]).or_default() += self.units[nth].rows;
        }
        let done = *self.done.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(PartDone {
            part: self.part,
            folder: self.layout.folder().to_path_buf(),
            share: self.rows(),
            done: done.own,
            taken_over: done.of_others,
            left,
            llm_usage: models.map(|models| by_model(&models.usage())).unwrap_or_default(),
        })
    }
}
