//! The verdict of a run: what its numbers show and what they leave open, in sentences made by rules.
//!
//! In: a summary with its rankings. Out: sentences, each with its rule and scorer, and a small table for each scorer.
//! Never: says more than the intervals and tests of the summary; reads a file; guesses what a method is from its
//! name. Names stand between backticks, escaped, so every format can show a sentence as it is.

mod controls;
mod lead;
mod limits;
mod next;
mod patching;
mod ranked;
mod reference;
mod standing;
mod words;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Serialize;

use super::schema::Summary;
use super::view::View;
use ranked::Ranked;
pub use standing::{Standing, StandingRow};

/// What a run shows and what it leaves open.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Findings {
    /// The verdict, sentence by sentence: first those about one scorer, then those about the whole run.
    pub sentences: Vec<Sentence>,
    /// One small table for each scorer under the first explainer; the main scorers first.
    pub rankings: Vec<Standing>,
}

/// One sentence, or a few that belong together.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Sentence {
    /// The rule that made it.
    pub rule: Rule,
    /// The score that it is about; none if it is about the run.
    pub scorer: Option<String>,
    /// The text. Names stand between backticks.
    pub text: String,
}

/// The rules, in the order of their sentences. `results/README.md` has the condition and the sentence of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// No method has a place in the score.
    NotRanked,
    /// One method has a place.
    OnlyMethod,
    /// There are means without intervals.
    Untested,
    /// No two methods are separated.
    NotSeparated,
    /// Some methods are separated.
    Lead,
    /// Methods against the baselines.
    Baselines,
    /// No interval lies above chance.
    Chance,
    /// The control on permuted weights.
    PermutedWeights,
    /// The shuffled control against chance.
    Shuffled,
    /// Output scores against those of random directions.
    RandomDirections,
    /// A leading method against its own shuffled explanations.
    ShuffledAsHigh,
    /// The leading methods against the token lookup.
    TokenLookup,
    /// The planned comparisons with the reference.
    Reference,
    /// Features without a score.
    Unscored,
    /// Constant predictions.
    Constant,
    /// The subject does not solve the task.
    TaskUnsolved,
    /// Features that methods need on the task, where they differ from the reference.
    Patching,
    /// Methods that are not separated from the reference on the task.
    PatchingOpen,
    /// Methods for which no number of features is known to remove half of the divergence.
    PatchingUndefined,
    /// Random features and directions against each method's own order.
    PatchingControls,
    /// Dictionaries and pairs of prompts that were not patched.
    PatchingSkipped,
    /// The run has no score at all.
    NoScores,
    /// The folder was written by a version without rankings.
    NoRankings,
    /// A control that the suite lacks.
    MissingControl,
    /// The suite has no baseline, or nothing else.
    MissingBaseline,
    /// Chosen features.
    Chosen,
    /// Dictionaries that are not applied where they were trained.
    Elsewhere,
    /// One hook point.
    OneHookPoint,
    /// What to run next.
    Next,
}

/// The run as the rules about all of it see it.
struct Run<'v, 'a> {
    view: &'v View<'a>,
    /// The main scorers.
    main: &'v [Ranked<'v, 'a>],
}

type OfScorer = fn(&Ranked<'_, '_>) -> Option<String>;
type OfRun = fn(&Run<'_, '_>) -> Option<String>;

const OF_SCORER: [(Rule, OfScorer); 15] = [
    (Rule::NotRanked, lead::not_ranked),
    (Rule::OnlyMethod, lead::only_method),
    (Rule::Untested, lead::untested),
    (Rule::NotSeparated, lead::not_separated),
    (Rule::Lead, lead::lead),
    (Rule::Baselines, lead::baselines),
    (Rule::Chance, lead::chance),
    (Rule::PermutedWeights, controls::permuted_weights),
    (Rule::Shuffled, controls::shuffled),
    (Rule::RandomDirections, controls::random_directions),
    (Rule::ShuffledAsHigh, controls::shuffled_as_high),
    (Rule::TokenLookup, controls::token_lookup),
    (Rule::Reference, reference::reference),
    (Rule::Unscored, limits::unscored),
    (Rule::Constant, limits::constant),
];

/// The rules about patching on a task; they need no score.
const OF_TASK: [(Rule, OfRun); 6] = [
    (Rule::TaskUnsolved, patching::unsolved),
    (Rule::Patching, patching::apart),
    (Rule::PatchingOpen, patching::open),
    (Rule::PatchingUndefined, patching::undefined),
    (Rule::PatchingControls, patching::controls),
    (Rule::PatchingSkipped, patching::skipped),
];

const OF_RUN: [(Rule, OfRun); 7] = [
    (Rule::NoRankings, limits::no_rankings),
    (Rule::MissingControl, controls::missing),
    (Rule::MissingBaseline, lead::missing_baseline),
    (Rule::Chosen, limits::chosen),
    (Rule::Elsewhere, limits::elsewhere),
    (Rule::OneHookPoint, limits::one_hook_point),
    (Rule::Next, next::next),
];

impl Findings {
    /// The verdict of a summary.
    pub fn new(summary: &Summary) -> Self {
        Self::of(&View::new(summary))
    }

    /// The verdict of an indexed summary.
    pub(super) fn of(view: &View<'_>) -> Self {
        let made = |rules: &[(Rule, OfRun)], run: &Run<'_, '_>| -> Vec<Sentence> {
            let made =
                |(rule, made): &(Rule, OfRun)| Some(Sentence { rule: *rule, scorer: None, text: made(run)? });
            rules.iter().filter_map(made).collect()
        };
        if let Some(text) = limits::no_scores(view) {
            let mut sentences = made(&OF_TASK, &Run { view, main: &[] });
            sentences.push(Sentence { rule: Rule::NoScores, scorer: None, text });
            return Self { sentences, rankings: Vec::new() };
        }
        let main: Vec<Ranked<'_, '_>> =
            view.main_scorers().into_iter().filter_map(|scorer| Ranked::of(view, scorer)).collect();
        let run = Run { view, main: &main };
        let of_scorers = main.iter().flat_map(|ranked| {
            OF_SCORER.iter().filter_map(move |(rule, made)| {
                Some(Sentence { rule: *rule, scorer: Some(ranked.scorer.into()), text: made(ranked)? })
            })
        });
        let of_run = made(&OF_TASK, &run).into_iter().chain(made(&OF_RUN, &run));
        Self { sentences: of_scorers.chain(of_run).collect(), rankings: standing::all(view) }
    }

    /// The sentences about one score as a paragraph, or those about the run; empty if there are none.
    pub(super) fn paragraph(&self, scorer: Option<&str>) -> String {
        let of_scorer = self.sentences.iter().filter(|sentence| sentence.scorer.as_deref() == scorer);
        of_scorer.map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The scorers with a paragraph, in order, each with its table if there is one.
    pub(super) fn main(&self) -> Vec<(&str, Option<&Standing>)> {
        let scorers = crate::base::distinct(self.sentences.iter().filter_map(|one| one.scorer.as_deref()));
        let table = |scorer: &str| self.rankings.iter().find(|one| one.main && one.scorer == scorer);
        scorers.into_iter().map(|scorer| (scorer, table(scorer))).collect()
    }

    /// Tables of the other scorers.
    pub(super) fn others(&self) -> impl Iterator<Item = &Standing> {
        self.rankings.iter().filter(|one| !one.main)
    }
}
