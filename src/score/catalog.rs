//! Catalogue of scorers. A new scorer needs a file in `catalog/` and a row here. Suites, tables, charts, manifests
//! and the reference read these rows, or the copy that a run folder recorded.

pub mod beyond_token;
pub mod correlations;
pub mod explained;
pub mod spearman;

use super::{Direction, Judging, Scorer};
use crate::causal::effects::Effect;
use beyond_token::BeyondToken;
use correlations::{Population, RandomOnly, TopAndRandom, TopOnly};
use explained::{AbsoluteDevExplained, RSquared};

/// A scorer, requested by one name.
pub struct ScorerRow {
    /// Name in suites.
    pub name: &'static str,
    /// Description.
    pub words: &'static str,
    /// Its scores. The first has the scorer's name.
    pub scores: &'static [ScoreRow],
    /// How the scores are computed.
    pub by: By,
    /// Which suites compute it.
    pub standing: Standing,
}

/// One score.
#[derive(Debug)]
pub struct ScoreRow {
    /// Name in results.
    pub name: &'static str,
    /// Version of the definition. Raise it when the same input gives another number.
    pub version: u32,
    /// Unit.
    pub unit: &'static str,
    /// Which way is better.
    pub direction: Direction,
    /// Value for an explanation without information, or for a feature without effect.
    pub chance: f64,
    /// Position in tables and charts, from the left.
    pub order: u32,
}

/// How a score is computed.
pub enum By {
    /// Compares simulated with true activations.
    Simulation(&'static dyn Scorer),
    /// A language model judges whole fragments, or written texts, by the explanation.
    Judge(Judging),
    /// Runs the subject with the feature changed. It does not depend on the explanation.
    Effect(Effect),
}

/// Which suites compute a scorer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Suites that list no scorers, and suites that list it.
    Default,
    /// Suites that list it. Its version is part of every run's digest.
    Listed,
    /// Suites that list it. Its version is part of the digests of these runs only.
    OnRequest,
    /// No suite; only callers of the library.
    Library,
}

const fn correlation(name: &'static str, order: u32) -> ScoreRow {
    ScoreRow { name, version: 1, unit: "correlation", direction: Direction::Higher, chance: 0.0, order }
}

const fn share(name: &'static str, order: u32) -> ScoreRow {
    ScoreRow { name, version: 1, unit: "share", direction: Direction::Higher, chance: 0.5, order }
}

const fn simulated(
    name: &'static str,
    words: &'static str,
    scores: &'static [ScoreRow],
    score: &'static dyn Scorer,
    standing: Standing,
) -> ScorerRow {
    ScorerRow { name, words, scores, by: By::Simulation(score), standing }
}

const fn judged(
    name: &'static str,
    words: &'static str,
    scores: &'static [ScoreRow],
    judging: Judging,
) -> ScorerRow {
    ScorerRow { name, words, scores, by: By::Judge(judging), standing: Standing::Listed }
}

const fn effect(words: &'static str, scores: &'static [ScoreRow], effect: Effect) -> ScorerRow {
    ScorerRow { name: scores[0].name, words, scores, by: By::Effect(effect), standing: Standing::OnRequest }
}

const fn nats(name: &'static str, order: u32, direction: Direction) -> ScoreRow {
    ScoreRow { name, version: 1, unit: "nats", direction, chance: 0.0, order }
}

/// Every scorer, in the order of suites and manifests.
#[rustfmt::skip]
pub const SCORERS: &[ScorerRow] = &[
    simulated("top_and_random", "Pearson correlation of simulated and true activations over top and random fragments.",
        &[correlation("top_and_random", 0)], &TopAndRandom, Standing::Default),
    simulated("top_only", "The same over top fragments.", &[correlation("top_only", 20)], &TopOnly, Standing::Default),
    simulated("random_only", "The same over random firing fragments.",
        &[correlation("random_only", 30)], &RandomOnly, Standing::Default),
    simulated("population", "The same over all text, by sampling weights.",
        &[correlation("population", 40)], &Population, Standing::Default),
    simulated("beyond_token", "The same within token types: what the explanation knows beyond the current token.",
        &[correlation("beyond_token", 10)], &BeyondToken, Standing::Default),
    simulated("spearman", "Rank correlation over the same fragments as `top_and_random`, ties averaged.",
        &[correlation("spearman", 25)], &spearman::Spearman, Standing::OnRequest),
    judged("detection", "A language model says which fragments the feature fires on (accuracy, AUROC).",
        &[share("detection", 50), share("detection_auroc", 51)], Judging::Detection),
    judged("fuzzing", "A language model says whether the marked tokens are those it fires on (accuracy, AUROC).",
        &[share("fuzzing", 60), share("fuzzing_auroc", 61)], Judging::Fuzzing),
    judged("surprisal", "How well the explanation's gain in likelihood tells firing fragments from others (AUROC).",
        &[share("surprisal", 70)], Judging::Surprisal),
    ScorerRow {
        standing: Standing::OnRequest,
        ..judged("specificity", "A language model grades how well the explanation accounts for the strongest token, \
            from 0 to 3: mean grade / 3, all intervals of activation weighted equally.",
            &[ScoreRow { chance: 0.0, ..share("specificity", 75) }], Judging::Specificity)
    },
    simulated("rsquared", "Bills et al.'s rsquared score: for calibrated simulations only.",
        &[correlation("rsquared", 80)], &RSquared, Standing::Library),
    simulated("absolute_dev_explained", "Bills et al.'s absolute deviation explained: for calibrated simulations only.",
        &[correlation("absolute_dev_explained", 90)], &AbsoluteDevExplained, Standing::Library),
    effect("Divergence KL(clean ‖ ablated) of the next token where the feature fires, without its contribution.",
        &[nats("ablation_effect", 100, Direction::Higher)], Effect::Ablation),
    effect("Divergence KL(clean ‖ steered) behind neutral prompts, with the feature clamped to a multiple of its maximum.",
        &[nats("steering_effect", 101, Direction::Higher)], Effect::Steering),
    effect("Rank correlation of a small step's effects on the next token's logits with the direction's direct effects.",
        &[correlation("effect_agreement", 102)], Effect::Agreement),
    effect("Increase of the loss per token of other text, steered as far as a given divergence of the next token.",
        &[nats("damage", 103, Direction::Lower)], Effect::Damage),
    ScorerRow {
        standing: Standing::OnRequest,
        ..judged("intervention", "A language model says which of two texts was written with the feature clamped to a \
            multiple of its maximum (share right).", &[share("intervention", 104)], Judging::Intervention)
    },
];

impl ScorerRow {
    /// Whether suites can request it.
    pub fn is_offered(&self) -> bool {
        self.standing != Standing::Library
    }

    /// Kind of judging, for a judged scorer.
    pub fn judging(&self) -> Option<Judging> {
        if let By::Judge(judging) = self.by { Some(judging) } else { None }
    }

    /// Whether a language model judges.
    pub fn is_judged(&self) -> bool {
        self.judging().is_some()
    }

    /// Whether it needs fragments on which the feature does not fire.
    pub fn needs_non_firing(&self) -> bool {
        self.simulation().is_some_and(Scorer::needs_non_firing)
    }

    /// Whether it needs the log-probabilities of a prompt.
    pub fn needs_prompt_logprobs(&self) -> bool {
        self.judging().is_some_and(Judging::reads_prompts)
    }

    /// The effect, for an output score.
    pub fn effect(&self) -> Option<Effect> {
        if let By::Effect(effect) = self.by { Some(effect) } else { None }
    }

    /// Whether it is about what the feature does to the output, and not about the text on which it fires.
    pub fn is_output(&self) -> bool {
        self.effect().is_some() || self.judging().is_some_and(Judging::compares_written)
    }

    /// The comparison, for a scorer of simulations.
    pub fn simulation(&self) -> Option<&'static dyn Scorer> {
        if let By::Simulation(score) = self.by { Some(score) } else { None }
    }
}

/// The scorer of this name.
pub fn scorer_of(name: &str) -> Option<&'static ScorerRow> {
    SCORERS.iter().find(|scorer| scorer.name == name)
}

/// The simulation scorer of this name.
pub fn simulated_score(name: &str) -> Option<&'static dyn Scorer> {
    scorer_of(name).and_then(ScorerRow::simulation)
}

/// The default scorers of a suite.
pub fn default_scorers() -> impl Iterator<Item = &'static str> {
    SCORERS.iter().filter(|scorer| scorer.standing == Standing::Default).map(|scorer| scorer.name)
}

/// The versions that a run's digest includes, in the order of the catalogue. `asked` are the scores that the run
/// computes.
pub fn score_versions(asked: &[&str]) -> impl Iterator<Item = (&'static str, u32)> {
    let counts = |scorer: &&ScorerRow| match scorer.standing {
        Standing::Default | Standing::Listed => true,
        Standing::OnRequest => asked.contains(&scorer.name),
        Standing::Library => false,
    };
    let counted: Vec<&ScorerRow> = SCORERS.iter().filter(counts).collect();
    counted.into_iter().flat_map(|scorer| scorer.scores.iter().map(|score| (score.name, score.version)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_places_are_distinct_and_agree() {
        let scores: Vec<&ScoreRow> = SCORERS.iter().flat_map(|scorer| scorer.scores).collect();
        let names: BTreeSet<&str> = scores.iter().map(|score| score.name).collect();
        let places: BTreeSet<u32> = scores.iter().map(|score| score.order).collect();
        assert_eq!((names.len(), places.len()), (scores.len(), scores.len()));
        for scorer in SCORERS {
            assert_eq!(scorer.scores[0].name, scorer.name);
            assert_eq!(Effect::named(scorer.name), scorer.effect());
            if let Some(judging) = scorer.judging() {
                let names: Vec<&str> = scorer.scores.iter().map(|score| score.name).collect();
                assert_eq!((judging.name(), judging.scores()), (scorer.name, &names[..]));
            }
            assert_eq!(scorer.is_output(), scorer.scores[0].order >= 100, "{}", scorer.name);
        }
    }

    #[test]
    fn a_scorer_on_request_changes_no_other_run() {
        let always: Vec<&str> = score_versions(&[]).map(|(name, _)| name).collect();
        let listed = SCORERS.iter().filter(|scorer| scorer.standing == Standing::OnRequest);
        assert!(listed.into_iter().all(|scorer| !always.contains(&scorer.name)));
        assert_eq!(always.len(), 10);
    }
}
