//! Progress events of a run.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::run::Planned;
use crate::run::plan::pieces::{Piece, answers};

/// Progress event of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub enum Event {
    /// The run begins: nothing of it is done.
    Begin {
        /// Rows in total.
        total: u64,
        /// Unit of the count: rows.
        unit: &'static str,
        /// Its work, in order.
        pieces: Vec<Piece>,
    },
    /// Progress of one stage.
    Work {
        /// Stage name and place.
        stage: String,
        /// Units done.
        done: u64,
        /// Units in total.
        total: u64,
        /// Unit of the counts: tokens, steps, features.
        unit: &'static str,
    },
    /// A stored result is reused: a stage by its name, or all stages of a dictionary by its place, `HOOK/ROW`.
    Reused(String),
    /// Progress of the whole run.
    Overall {
        /// Units done, including those of an earlier run.
        done: u64,
        /// Units in total.
        total: u64,
        /// Unit of the counts: rows.
        unit: &'static str,
    },
    /// Information.
    Note(String),
    /// Warning for readers of the results.
    Warning(String),
}

impl Event {
    /// Progress of one stage.
    pub fn work(stage: impl Into<String>, done: usize, total: usize, unit: &'static str) -> Self {
        Self::Work { stage: stage.into(), done: done as u64, total: total as u64, unit }
    }
}

/// Counter of finished rows over hook points, subject and controls. Thread-safe.
#[derive(Debug)]
pub struct RowCount {
    done: AtomicU64,
    total: u64,
    pieces: Vec<Piece>,
}

impl RowCount {
    /// Starts at 0 of `total`. `pieces` is the work of the run.
    pub fn new(total: usize, pieces: Vec<Piece>) -> Self {
        Self { done: AtomicU64::new(0), total: total as u64, pieces }
    }

    /// The first event, with the work of the run and of its language models.
    pub fn begin(&self, planned: &[Planned]) -> Event {
        let answers = answers(&self.pieces, planned);
        let pieces = self.pieces.iter().cloned().chain(answers).collect();
        Event::Begin { total: self.total, unit: "rows", pieces }
    }

    /// Adds finished rows and returns the progress event.
    pub fn add(&self, rows: usize) -> Event {
        let done = self.done.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        Event::Overall { done, total: self.total, unit: "rows" }
    }
}
