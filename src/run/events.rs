//! Progress events of a run.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Progress event of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub enum Event {
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
}

impl RowCount {
    /// Starts at 0 of `total`.
    pub fn new(total: usize) -> Self {
        Self { done: AtomicU64::new(0), total: total as u64 }
    }

    /// Adds finished rows and returns the progress event.
    pub fn add(&self, rows: usize) -> Event {
        let done = self.done.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        Event::Overall { done, total: self.total, unit: "rows" }
    }
}
