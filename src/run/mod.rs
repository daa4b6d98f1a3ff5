//! From a checked suite to a run folder. `pipeline.rs` names every stage in order. A run can be resumed.
//!
//! In: a checked suite; paths, device and keys ([`Places`]).
//! Out: a run folder.
//! Never: prints, reads the environment.
//!
//! - `plan` estimates the cost of a run.
//! - `inputs` finds dictionaries trained elsewhere, opens subject and corpus, and harvests activations.
//! - `parts` shares out the rows of a run among several machines.
//! - `rows` fits the dictionaries of a hook point and schedules their evaluation.
//! - `evaluate` explains, simulates and scores the features of one dictionary.
//! - `results` computes estimates and writes manifest and report.
//!
//! Pages and charts read two further kinds of files, so that they need no model. Neither changes a score, and
//! controls have neither. `profiles/HOOK/DICTIONARY.jsonl` is written with each row: histogram of the code, effect
//! on logits, loss when ablated. `neighbours/HOOK/DICTIONARY.jsonl` is written when all rows of a hook point are
//! done: the nearest directions in all of its dictionaries.

mod all_failed;
mod context;
mod error;
mod evaluate;
mod events;
mod inputs;
mod json_lines;
mod open;
mod parallel;
mod parts;
mod pipeline;
mod places;
mod plan;
mod results;
mod rows;
mod stage;
mod trace;
mod turn;

pub use all_failed::AllFailed;
pub use context::{Finished, LanguageModels};
pub use error::RunError;
pub use evaluate::outcomes::Outcome;
pub use events::{Event, RowCount};
pub use inputs::dictionaries::locate_dictionary;
pub use inputs::finished::{FinishedRun, RunFeature};
pub use inputs::kept::kept_activations;
pub use inputs::prepare::{OpenSubject, open_subject};
pub use inputs::shape::{HookRow, ModelShape, model_shape};
pub use parts::Part;
pub use parts::planned::{PlannedShare, PlannedShares};
pub use parts::share::PartDone;
pub use places::{Places, Stop};
pub use plan::bill::{Beside, Planned, dollars_text, requests_text, time_text};
pub use plan::estimate::{Estimate, PlannedPart, estimate};
pub use plan::failures::{Failures, Mean, Repeated};
pub use plan::headers::{Headers, read_headers};
pub use plan::pieces::{Piece, Work};
pub use plan::remaining::Remaining;
pub use plan::role::RoleUsage;
pub use plan::scale::{
    AnswerRate, Around, ByParts, Cost, DEVICES, Device, Engine, EngineTime, HERE, PartsTime, Precision,
    ScaleAsk, Scaled, Span, StageCost, StageHours, scale,
};
pub use plan::starter::{Starter, StarterAsk, starter};
pub use plan::who::{Step, Who};
pub use results::manifest::Manifest;
pub use stage::{StageKey, StageStore};
pub use trace::{TraceAsk, trace_feature};
pub use turn::{run, run_part};

use context::{RunContext, SubjectPass};
use json_lines::JsonLines;
use parallel::Tell;
