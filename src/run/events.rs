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
    /// Something worth knowing.
    Note(String),
    /// Something that the reader of the results must know.
    Warning(String),
}
