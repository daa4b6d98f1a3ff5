use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What a run tells whoever watches it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub enum Event {
    /// A stage moves on.
    Work {
        /// What is being done, and where.
        stage: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted: tokens, steps, features.
        unit: &'static str,
    },
    /// The run moves on.
    Overall {
        /// Units done, those of an earlier run included.
        done: u64,
        /// Units in all.
        total: u64,
        /// What is counted: rows.
        unit: &'static str,
    },
    /// Something worth knowing.
    Note(String),
    /// Something that the reader of the results must know.
    Warning(String),
}

impl Event {
    /// A stage moves on.
    pub fn work(stage: impl Into<String>, done: usize, total: usize, unit: &'static str) -> Self {
        Self::Work { stage: stage.into(), done: done as u64, total: total as u64, unit }
    }
}

/// Finished rows of the tables, over hook points, the real subject and controls; counted from any thread.
#[derive(Debug)]
pub struct RowCount {
    done: AtomicU64,
    total: u64,
}

impl RowCount {
    /// None done of so many.
    pub fn new(total: usize) -> Self {
        Self { done: AtomicU64::new(0), total: total as u64 }
    }

    /// So many more are done.
    pub fn add(&self, rows: usize) -> Event {
        let done = self.done.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        Event::Overall { done, total: self.total, unit: "rows" }
    }
}
