//! Activations of a subject at the suite's hook points: as many hook points in one pass as the disk
//! allows, each store kept only while something needs it.

use std::path::{Path, PathBuf};

use crate::activations::{ActivationError, ActivationSet, Keep, Precision, harvest};
use crate::base::{HookPoint, TokenBatch};
use crate::run::context::SubjectPass;
use crate::run::stage::StageKey;
use crate::run::{Event, RunError};

/// Version of what is stored: raised when the same subject and tokens would give other values.
const VERSION: u32 = 3;

/// Fitting activations are kept in f16: half the disk, and far below what dictionaries resolve.
const FIT_PRECISION: Precision = Precision::F16;

/// Evaluation activations are truths that scores are computed from.
const EVALUATE_PRECISION: Precision = Precision::F32;

/// Both stores of one hook point.
pub struct HookActivations {
    /// For fitting.
    pub fit: ActivationSet,
    /// For evaluating: every token of every fragment.
    pub evaluate: ActivationSet,
    paths: [PathBuf; 2],
}

impl HookActivations {
    /// Frees the disk; what was made from the stores remains.
    pub fn remove(self) {
        let Self { fit, evaluate, paths } = self;
        drop((fit, evaluate));
        paths.iter().for_each(|path| ActivationSet::remove(path));
    }
}

/// Harvests one subject's hook points, a group at a time.
pub struct Harvester<'a> {
    /// The subject, and the run.
    pub pass: &'a SubjectPass<'a>,
    /// Who hears of progress.
    pub on: &'a dyn Fn(Event),
}

impl Harvester<'_> {
    /// Folder of the stores.
    fn folder(&self) -> PathBuf {
        self.pass.run.places.cache.join("activations")
    }

    /// Disk the suite allows, in bytes.
    fn disk(&self) -> f64 {
        self.pass.run.suite.limits.disk_gb * 1e9
    }

    /// Bytes that the stores of one hook point take.
    pub fn bytes(&self, hook: HookPoint) -> Result<f64, RunError> {
        let width = self.pass.subject.width(hook)? as f64;
        let rows = |batch: &TokenBatch| batch.ids().len() as f64;
        Ok(rows(&self.pass.run.tokens.fit) * (width * 2.0 + 4.0)
            + rows(&self.pass.run.tokens.evaluate) * (width * 4.0 + 4.0))
    }

    /// Splits hook points into groups that fit on the disk together, in order.
    pub fn groups(&self, hooks: &[HookPoint]) -> Result<Vec<Vec<HookPoint>>, RunError> {
        let free = fs4::available_space(existing(&self.folder())).map_or(f64::INFINITY, |bytes| bytes as f64);
        let room = self.disk().min(0.9 * free);
        let mut groups: Vec<Vec<HookPoint>> = Vec::new();
        let mut used = f64::INFINITY;
        for &hook in hooks {
            let bytes = self.bytes(hook)?;
            if bytes > room {
                let limit = if bytes > self.disk() {
                    format!("`limits.disk_gb` allows {:.1} GB", self.disk() / 1e9)
                } else {
                    format!("`{}` has {:.1} GB free", self.folder().display(), free / 1e9)
                };
                return Err(RunError::Disk { hook: hook.to_string(), needed_gb: bytes / 1e9, limit });
            }
            if used + bytes > room {
                groups.push(Vec::new());
                used = 0.0;
            }
            used += bytes;
            if let Some(group) = groups.last_mut() {
                group.push(hook);
            }
        }
        Ok(groups)
    }

    /// Stores of a group, one a hook point: those that are there already opened, the rest harvested
    /// in one pass. A hook point whose activations cannot be used does not take the others with it.
    pub fn harvest(&self, hooks: &[HookPoint]) -> Result<Vec<Result<HookActivations, RunError>>, RunError> {
        let is_fitted = |place: usize| self.pass.run.tokens.is_fitted(place);
        let fit =
            self.pass(hooks, &self.pass.run.tokens.fit, "fit", Keep::Fitting(&is_fitted), FIT_PRECISION)?;
        let evaluate = self.pass(
            hooks,
            &self.pass.run.tokens.evaluate,
            "evaluate",
            Keep::Everything,
            EVALUATE_PRECISION,
        )?;
        let both = |((&hook, fit), evaluate)| {
            let paths = [self.path(hook, "fit"), self.path(hook, "evaluate")];
            Ok(HookActivations { fit: fit?, evaluate: evaluate?, paths })
        };
        Ok(hooks.iter().zip(fit).zip(evaluate).map(both).collect())
    }

    fn path(&self, hook: HookPoint, split: &'static str) -> PathBuf {
        let key = StageKey::new("activations", VERSION)
            .input(self.pass.subject.info().weights_digest)
            .input(self.pass.run.tokens.digest)
            .word(&hook.to_string())
            .word(split);
        self.folder().join(format!("{}.act", key.file_name_on(self.pass.run.places.device)))
    }

    fn pass(
        &self,
        hooks: &[HookPoint],
        tokens: &TokenBatch,
        split: &'static str,
        keep: Keep<'_>,
        precision: Precision,
    ) -> Result<Vec<Result<ActivationSet, ActivationError>>, RunError> {
        let paths: Vec<PathBuf> = hooks.iter().map(|&hook| self.path(hook, split)).collect();
        let stored: Vec<Option<ActivationSet>> = paths.iter().map(|path| ActivationSet::open(path)).collect();
        let all = hooks.iter().zip(&paths).zip(&stored);
        let targets: Vec<(HookPoint, &Path)> = all
            .filter(|(_, stored)| stored.is_none())
            .map(|((hook, path), _)| (*hook, path.as_path()))
            .collect();
        let mut harvested = Vec::new();
        if !targets.is_empty() {
            let total = tokens.ids().len();
            let stage = format!("harvest {split}{}", self.pass.label());
            let on_tokens = |done: usize| {
                (self.on)(Event::work(stage.as_str(), done, total, "tokens"));
                !self.pass.run.stop.asked()
            };
            harvested = harvest(self.pass.subject, tokens, &targets, keep, precision, &on_tokens)?;
        }
        let mut harvested = harvested.into_iter();
        Ok(stored.into_iter().filter_map(|stored| stored.map(Ok).or_else(|| harvested.next())).collect())
    }
}

fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}
