//! A feature at a glance: label, scores with their places, activations, effects on logits, nearest features.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::label::Label;
use super::layout::{EvidenceFile, Layout, Place};
use super::pages::{Effect, Histogram, Judged, Neighbours, Profile, token_texts};
use super::schema::{ScoreLine, ScoreStatus, Summary};
use super::scores::read_lines;
use super::standing::{CellScores, LineScores};
use super::steering::Steering;
use super::view::View;
use super::written::{AnsweredQuestion, Chosen, Continuations};
use super::{ReportError, check_listed};

/// What a reader wants to know first about a feature.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Glance {
    /// The first explainer.
    pub explainer: String,
    /// Its explanation as one line: a sentence, or the strongest rules; null if it has none.
    pub label: Option<String>,
    /// What the label leaves out, such as `8 more rules`; null if nothing.
    pub more: Option<String>,
    /// Primary score, and `beyond_token` where the run has it.
    pub scores: Vec<GlanceScore>,
    /// Share of evaluation tokens on which it fires.
    pub density: Option<f64>,
    /// Firing tokens by activation; null without a profile.
    pub histogram: Option<GlanceHistogram>,
    /// Tokens whose logits its direction raises most.
    pub raised: Vec<TokenEffect>,
    /// Tokens whose logits its direction lowers most.
    pub lowered: Vec<TokenEffect>,
    /// Why there are none; null if there are.
    pub logits_note: Option<String>,
    /// Closest directions: those of its own dictionary, then those of others.
    pub nearest: Vec<Near>,
    /// Text that the subject writes with the feature strongly on, where the suite asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub steering: Option<Steering>,
    /// The first pairs of texts that a judge told apart by the explanation, where the run has `intervention`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub questions: Vec<AnsweredQuestion>,
}

/// One score of a feature.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GlanceScore {
    /// The scorer.
    pub scorer: String,
    /// The score; null if it is undefined.
    pub score: Option<f64>,
    /// Its place among all scored features of the cell, such as `4th of 40; higher than 90 %`, or why it is undefined.
    pub standing: String,
}

/// Counts of firing tokens in equal intervals.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct GlanceHistogram {
    /// Lower end of the first interval.
    pub low: f64,
    /// Upper end of the last interval.
    pub high: f64,
    /// Firing tokens in each interval.
    pub counts: Vec<u64>,
}

/// The effect of a direction on one token's logit.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TokenEffect {
    /// Text of the token.
    pub token: String,
    /// Change of its logit.
    pub effect: f64,
}

/// A feature with a close direction.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Near {
    /// Its dictionary.
    pub dictionary: String,
    /// Its index there.
    pub feature: usize,
    /// Cosine of the two unit directions.
    pub cosine: f64,
    /// Whether the run evaluated it. Only then it has a view of its own.
    pub evaluated: bool,
}

impl Glance {
    /// The feature of a line of `scores.jsonl`, whose lines are `all`.
    pub fn read(folder: &Path, line: &ScoreLine, all: &[ScoreLine]) -> Result<Self, ReportError> {
        let layout = Layout::new(folder);
        let place = Place { hook: line.hook.clone(), dictionary: line.dictionary(), control: None };
        let file = |kind| layout.evidence(&place, kind);
        let (profiles, neighbours) = (file(EvidenceFile::Profiles), file(EvidenceFile::Neighbours));
        check_listed(
            folder,
            &[layout.summary(), profiles.clone(), neighbours.clone(), layout.token_texts()],
        )?;
        let texts_and_answers = [file(EvidenceFile::Continuations), file(EvidenceFile::Judgements)];
        check_listed(folder, &texts_and_answers)?;
        let texts = token_texts(&layout)?.unwrap_or_default();
        let profiles = read_lines::<Profile>(&profiles)?.unwrap_or_default();
        let profile = profiles.into_iter().rfind(|profile| profile.feature == line.feature);
        let neighbours = read_lines::<Neighbours>(&neighbours)?.unwrap_or_default();
        let neighbours = neighbours.into_iter().rfind(|found| found.feature == line.feature);
        let summary = Summary::read(&layout.summary())?;
        let label = line.explanation.as_deref().map(Label::of);
        let effects = |list: &[Effect]| {
            let effect = |one: &Effect| TokenEffect { token: text(&texts, one.token), effect: one.effect };
            list.iter().map(effect).collect()
        };
        let logits = profile.as_ref().and_then(|profile| profile.logits.as_ref());
        Ok(Self {
            explainer: line.explainer.clone(),
            more: label.as_ref().and_then(Label::more),
            label: label.map(|label| label.line),
            scores: scores(&View::new(&summary), line, all),
            density: line.density,
            histogram: profile.as_ref().and_then(|profile| histogram(profile.histogram.as_ref()?)),
            raised: logits.map(|logits| effects(&logits.raised)).unwrap_or_default(),
            lowered: logits.map(|logits| effects(&logits.lowered)).unwrap_or_default(),
            logits_note: profile.as_ref().and_then(|profile| profile.logits_note.clone()),
            nearest: neighbours.map(|found| nearest(&found, line, all)).unwrap_or_default(),
            steering: profile.and_then(|profile| profile.steering),
            questions: questions(&texts_and_answers, line)?,
        })
    }
}

/// Pairs of texts of a feature with the answers under its line's explainer.
fn questions(
    [continuations, judgements]: &[PathBuf; 2],
    line: &ScoreLine,
) -> Result<Vec<AnsweredQuestion>, ReportError> {
    let written = read_lines::<Continuations>(continuations)?.unwrap_or_default();
    let Some(written) = written.into_iter().rfind(|written| written.feature == line.feature) else {
        return Ok(Vec::new());
    };
    let judged = read_lines::<Judged>(judgements)?.unwrap_or_default();
    let is_its = |judged: &&Judged| judged.feature == line.feature && judged.explainer == line.explainer;
    let chosen: Vec<Chosen> =
        judged.iter().filter(is_its).flat_map(|judged| judged.choices.clone()).collect();
    Ok(written.questions(&chosen))
}

impl ScoreLine {
    fn all_scores(&self) -> LineScores<'_> {
        LineScores { scores: &self.scores, reasons: &self.score_reasons, reason: self.reason.as_deref() }
    }

    fn is_of_cell(&self, other: &Self) -> bool {
        self.hook == other.hook
            && self.method == other.method
            && self.protocol == other.protocol
            && self.explainer == other.explainer
            && self.simulator == other.simulator
            && self.control == other.control
    }
}

fn scores(view: &View<'_>, line: &ScoreLine, all: &[ScoreLine]) -> Vec<GlanceScore> {
    let cell: Vec<&ScoreLine> = all.iter().filter(|other| line.is_of_cell(other)).collect();
    let score = |(_, scorer, higher): (usize, &str, bool)| {
        let values = cell.iter().filter_map(|other| other.all_scores().entering(scorer));
        let standing = line.all_scores().standing(scorer, &CellScores::new(values, higher));
        GlanceScore { scorer: scorer.to_string(), score: line.all_scores().score(scorer), standing }
    };
    view.glance_scorers().into_iter().map(score).collect()
}

fn text(texts: &[String], token: u32) -> String {
    texts.get(token as usize).cloned().unwrap_or_else(|| format!("<{token}>"))
}

/// Tokens together; none where the counts do not fit each other.
fn histogram(found: &Histogram) -> Option<GlanceHistogram> {
    let mut counts = found.rest.clone();
    for token in &found.tokens {
        if token.counts.len() != counts.len() {
            return None;
        }
        counts.iter_mut().zip(&token.counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
    }
    let (low, high) = (found.low, found.high);
    (!counts.is_empty() && low.is_finite() && high.is_finite()).then_some(GlanceHistogram {
        low,
        high,
        counts,
    })
}

fn nearest(found: &Neighbours, line: &ScoreLine, all: &[ScoreLine]) -> Vec<Near> {
    let own = line.dictionary();
    let near = found.same.iter().chain(&found.others).map(|near| {
        let dictionary = near.dictionary.clone().unwrap_or_else(|| own.clone());
        let evaluated = all.iter().any(|other| {
            other.feature == near.feature
                && other.status != ScoreStatus::Skipped
                && other.control.is_none()
                && other.hook == line.hook
                && other.dictionary() == dictionary
        });
        Near { dictionary, feature: near.feature, cosine: near.cosine, evaluated }
    });
    near.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{self, Text};

    const HOOK: &str = "blocks.0.hook_resid_post";

    #[test]
    fn a_glance_reads_everything_from_the_folder() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut made = fixture::make_of(1, 4);
        made.lines[0].explanation =
            Some(r#"any then any then " at" → 3; " of" → 2; "x" → 1; otherwise 0"#.into());
        fixture::write(&made, folder.path());
        let text = Text::make(200, 60);
        text.write(folder.path());
        fixture::write_evidence(folder.path(), &text, HOOK, "sae", 4, false);
        let line = &made.lines[0];
        assert_eq!((line.method.as_str(), line.control.as_deref()), ("sae", None));
        let glance = Glance::read(folder.path(), line, &made.lines).expect("read");
        assert_eq!(glance.label.as_deref(), Some(r#"_ _ " at" → 3; " of" → 2"#));
        assert_eq!(glance.more.as_deref(), Some("1 more rule"));
        let scorers: Vec<&str> = glance.scores.iter().map(|score| score.scorer.as_str()).collect();
        assert_eq!(scorers, ["top_and_random", "beyond_token"]);
        assert!(glance.scores.iter().all(|score| score.standing.contains(" of 4")), "{:?}", glance.scores);
        let histogram = glance.histogram.expect("a histogram");
        assert_eq!((histogram.counts.len(), histogram.low), (20, 0.0));
        assert!(histogram.counts[0] > histogram.counts[19]);
        assert_eq!((glance.raised.len(), glance.lowered.len(), glance.nearest.len()), (10, 10, 10));
        assert_eq!(glance.raised[0].token, " w20");
        // Features 4 and 5 of the dictionary were not walked; `pca` has the same four.
        let evaluated = glance.nearest.iter().filter(|near| near.evaluated);
        assert!(evaluated.clone().all(|near| near.feature < 4) && evaluated.count() == 6);
        // A folder with scores alone.
        let bare = tempfile::tempdir().expect("temporary folder");
        fixture::write(&made, bare.path());
        let glance = Glance::read(bare.path(), line, &made.lines).expect("read");
        assert!(glance.histogram.is_none() && glance.raised.is_empty() && glance.nearest.is_empty());
    }
}
