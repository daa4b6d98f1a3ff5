//! The text on which a plan measures, and the folder for its files.

use std::path::{Path, PathBuf};

use crate::base::{FileError, WorkClock};
use crate::corpus::TokenSets;
use crate::features::Picks;
use crate::run::evaluate::score::simulated;
use crate::run::inputs::prepare::sample_corpus;
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::Shape;
use crate::run::plan::usual;
use crate::run::{Places, RunError};
use crate::subject::LoadedSubject;
use crate::suite::Suite;

use super::budget::Budget;

/// Share of the time that running the model on the sample may take.
const SHARE_OF_PASSES: f64 = 0.15;
/// Fewest and most fragments of the sample.
const FRAGMENTS: (usize, usize) = (32, 192);
/// Most tokens of the sample that are fitted on.
const MOST_FIT_TOKENS: usize = 8192;
/// Features explained of each dictionary.
const FEATURES: usize = 4;
/// With fewer fragments, features are explained and scored on fewer than the protocol says.
const ENOUGH_FRAGMENTS: usize = 96;
/// Fragments of each list with a small sample.
const FEW: usize = 3;
/// Documents that are encoded together: a shorter text takes as long.
const DOCUMENTS_AT_ONCE: usize = 512;

/// A folder of this process that is removed in the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Result<Self, FileError> {
        let path = std::env::temp_dir().join(format!("autointerp-plan-{}", std::process::id()));
        let failed = |source| FileError { action: "create", path: path.clone(), source };
        std::fs::create_dir_all(&path).map_err(failed)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A little text with the suite that is measured on it.
pub struct Sample {
    pub suite: Suite,
    pub tokens: TokenSets,
    pub places: Places,
    /// Whether the text is not the suite's.
    pub stands_in: bool,
    /// Bytes of text per token.
    pub bytes_per_token: f64,
}

impl Sample {
    /// Reads as much text as can be measured on in the time, and times it.
    pub fn read(
        shape: &Shape<'_>,
        subject: &LoadedSubject,
        places: &Places,
        scratch: &Scratch,
        budget: &Budget,
        speed: &mut Speed,
    ) -> Result<Self, RunError> {
        let usual_of = |tokens: f64| usual::harvest(&shape.model, &shape.hooks, tokens, shape.context as f64);
        let room = SHARE_OF_PASSES * budget.seconds * shape.threads as f64 / usual_of(1.0).max(1e-9);
        let fragments = (room / 2.0 / shape.positions as f64) as usize;
        let fragments = fragments.clamp(FRAGMENTS.0, FRAGMENTS.1).min(shape.fragments);
        let fit_tokens =
            ((room / 2.0) as usize).clamp(2 * shape.context, MOST_FIT_TOKENS.max(2 * shape.context));
        let fit_tokens = fit_tokens.min(shape.fit_tokens);
        let clock = WorkClock::start(shape.threads);
        let (tokens, stands_in) = sample_corpus(shape.suite, subject, places, [fit_tokens, fragments])?;
        let taken = clock.read().undisturbed();
        let counts = &tokens.counts;
        let read = counts.tokens_read as f64 / counts.documents.max(1) as f64 * DOCUMENTS_AT_ONCE as f64;
        if shape.model.runs {
            let read = read.max(counts.tokens_read as f64);
            speed.add(Work::Text, None, usual::text(read), taken * shape.threads as f64);
        }
        let out = scratch.path().join("run");
        let places = Places { out, remote: None, cache: scratch.path().to_path_buf(), ..places.clone() };
        let tokenizer = subject.tokenizer()?;
        let ids = tokens.fit.ids();
        let bytes: usize = ids.iter().map(|&id| tokenizer.bytes_of(id).len()).sum();
        let bytes_per_token = bytes as f64 / ids.len().max(1) as f64;
        let suite = small(shape.suite, tokens.evaluate.rows());
        Ok(Self { suite, tokens, places, stands_in, bytes_per_token })
    }
}

/// The suite for a sample of `fragments` fragments: few features, no language model, no task, no erasure.
fn small(suite: &Suite, fragments: usize) -> Suite {
    let mut suite = suite.clone();
    suite.limit_features(FEATURES);
    (suite.task, suite.erasure) = (None, None);
    suite.pairs.retain(|pair| pair.models().next().is_none());
    suite.scorers.retain(|name| simulated(&[name]).next().is_some());
    if fragments < ENOUGH_FRAGMENTS {
        let protocol = &mut suite.protocol;
        for picks in [&mut protocol.explain, &mut protocol.score] {
            for stride in [&mut picks.top, &mut picks.random, &mut picks.non_firing] {
                stride.n = stride.n.min(FEW);
            }
        }
        let needs = |picks: &Picks| picks.top.needs().max(picks.random.needs());
        let listed = needs(&protocol.explain).max(needs(&protocol.score));
        (protocol.n_top, protocol.n_random) = (listed.min(protocol.n_top), listed.min(protocol.n_random));
        protocol.n_non_firing = protocol.n_non_firing.min(2 * FEW);
        protocol.min_firing_fragments = protocol.min_firing_fragments.min(2 * listed);
    }
    suite
}
