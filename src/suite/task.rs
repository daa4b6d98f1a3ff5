//! `task` of a suite: prompts in pairs, on which features are patched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::causal::{Order, PatchParams};

/// A task whose prompts come in pairs. Features of the run on one prompt are patched into the run on the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "kind"))]
#[serde(default)]
pub struct TaskSpec {
    /// Kind of prompts.
    pub kind: TaskKind,
    /// `embedded`, or a file. For `ioi`: JSON with the lists `NAMES`, `PLACES` and `OBJECTS` and lists of templates with
    /// `[A]`, `[B]`, `[PLACE]` and `[OBJECT]` that end with `[A]`. For `pairs`: JSON lines with `base`, `target`,
    /// `base_answer` and `target_answer` (also called `clean_prefix`, `patch_prefix`, `clean_answer` and
    /// `patch_answer`), and optionally `position`, the number of characters behind which both prompts are cut.
    pub prompts: String,
    /// Pairs of prompts, drawn at random. A pair is left out, and counted, if its prompts differ in their number of
    /// tokens or if an answer is not one token.
    #[schemars(range(min = 2, max = 10_000))]
    pub pairs: usize,
    /// How features are patched.
    #[serde(flatten)]
    #[schemars(skip)]
    pub patching: PatchParams,
}

/// Kind of prompts of a task.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TaskKind {
    /// Indirect objects: in the target prompt a third name takes the place of the indirect object.
    #[default]
    Ioi,
    /// Any pairs of prompts from a file: agreement, greater-than.
    Pairs,
}

impl TaskSpec {
    /// Its fields beside those of [`PatchParams`].
    pub const OWN: [&str; 3] = ["kind", "prompts", "pairs"];

    /// Word for prompts of this program's own templates.
    pub const EMBEDDED: &str = "embedded";

    /// Whether the prompts are of this program's own templates.
    pub fn is_embedded(&self) -> bool {
        self.prompts == Self::EMBEDDED
    }

    /// Whether its prompts are those of indirect objects.
    pub fn is_ioi(&self) -> bool {
        self.kind == TaskKind::Ioi
    }

    /// Most passes of a pair that patching takes with a dictionary of `n` features.
    pub fn most_passes(&self, n: usize) -> usize {
        let PatchParams { orders, max_exact, max_features, thresholds, controls, .. } = &self.patching;
        let tried = (*max_exact).min(n);
        let blocks = (4 * (n - tried) / tried.max(1) + 1).ilog2() as usize + 1;
        let curve = (*max_features).max(1).ilog2() as usize + 3;
        let of_order = |order: &Order| match order {
            Order::Attribution => curve,
            Order::Exact => tried + curve,
            Order::Acdc => thresholds * (tried + blocks),
        };
        // Three for the backward pass, two for the runs as they are.
        5 + orders.iter().map(of_order).sum::<usize>() + if *controls { 2 * curve } else { 0 }
    }

    /// Name of its kind.
    pub fn kind_name(&self) -> &'static str {
        self.kind.into()
    }
}

impl Default for TaskSpec {
    fn default() -> Self {
        Self {
            kind: TaskKind::Ioi,
            prompts: Self::EMBEDDED.into(),
            pairs: 64,
            patching: PatchParams::default(),
        }
    }
}
