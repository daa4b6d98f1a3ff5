//! Harvests activations at the suite's hook points: as many hook points per pass as the disk limit allows. Each
//! store is deleted when it is no longer needed.

use std::path::{Path, PathBuf};

use crate::activations::{ActivationError, ActivationSet, DamagedStore, Keep, Precision, harvest};
use crate::base::{HookPoint, TokenBatch};
use crate::run::stage::put_aside;
use crate::run::{Event, RunError, StageKey, SubjectPass};

/// Version of stored activations. Raise it when the same subject and tokens give other values.
const VERSION: u32 = 3;

/// Names of the two stores of a hook point.
const SPLITS: [&str; 2] = ["fit", "evaluate"];

/// Fit activations are stored in f16: half the disk space, with errors far below what affects a dictionary.
pub const FIT_PRECISION: Precision = Precision::F16;

/// Evaluation activations are the ground truth of scores.
pub const EVALUATE_PRECISION: Precision = Precision::F32;

/// Fit and evaluation activations of one hook point.
pub struct HookActivations {
    pub fit: ActivationSet,
    /// Evaluation split: every token of every fragment.
    pub evaluate: ActivationSet,
    paths: [PathBuf; 2],
}

impl HookActivations {
    /// Harvested activations, with the paths of their stores.
    pub fn new(fit: ActivationSet, evaluate: ActivationSet, paths: [PathBuf; 2]) -> Self {
        Self { fit, evaluate, paths }
    }

    /// Deletes both stores.
    pub fn remove(self) {
        let Self { fit, evaluate, paths } = self;
        drop((fit, evaluate));
        paths.iter().for_each(|path| ActivationSet::remove(path));
    }
}

/// Harvests activations of one subject, a group of hook points at a time.
pub struct Harvester<'a> {
    pub pass: &'a SubjectPass<'a>,
    /// Progress callback.
    pub on: &'a dyn Fn(Event),
}

impl Harvester<'_> {
    /// Folder of stored activations.
    fn folder(&self) -> PathBuf {
        self.pass.run.places.activations()
    }

    /// Disk limit of the suite, in bytes.
    fn disk(&self) -> f64 {
        self.pass.run.suite.limits.disk_gb * 1e9
    }

    /// Size of the activations of one hook point, in bytes.
    pub fn bytes(&self, hook: HookPoint) -> Result<f64, RunError> {
        let width = self.pass.subject.width(hook)? as f64;
        let rows = |batch: &TokenBatch| batch.ids().len() as f64;
        Ok(rows(&self.pass.run.tokens.fit) * (width * 2.0 + 4.0)
            + rows(&self.pass.run.tokens.evaluate) * (width * 4.0 + 4.0))
    }

    /// Splits hook points, in order, into groups that fit on the disk together.
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

    /// Activations of a group of hook points: stored ones are opened, the others are harvested in one pass.
    /// Unusable activations of one hook point do not affect the others.
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
            let paths = SPLITS.map(|split| self.path(hook, split));
            Ok(HookActivations { fit: fit?, evaluate: evaluate?, paths })
        };
        Ok(hooks.iter().zip(fit).zip(evaluate).map(both).collect())
    }

    /// Whether the activations of a hook point are complete on disk.
    pub fn is_stored(&self, hook: HookPoint) -> bool {
        SPLITS.iter().all(|split| ActivationSet::is_stored(&self.path(hook, split)))
    }

    /// Deletes the activations of a hook point.
    pub fn remove(&self, hook: HookPoint) {
        SPLITS.iter().for_each(|split| ActivationSet::remove(&self.path(hook, split)));
    }

    fn path(&self, hook: HookPoint, split: &'static str) -> PathBuf {
        let key = StageKey::new("activations", VERSION)
            .input(self.pass.subject.info().weights_digest)
            .input(self.pass.run.tokens.digest)
            .word(&hook.to_string())
            .word(split);
        self.folder().join(format!("{}.act", key.file_name_on(self.pass.run.places.device)))
    }

    /// Stored activations; none if they are missing or damaged. Damaged ones are set aside.
    fn open(&self, path: &Path) -> Option<ActivationSet> {
        ActivationSet::open(path).unwrap_or_else(|DamagedStore { path, flaw }| {
            (self.on)(Event::Warning(put_aside(&path, &path, &flaw)));
            None
        })
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
        let stored: Vec<Option<ActivationSet>> = paths.iter().map(|path| self.open(path)).collect();
        let all = hooks.iter().zip(&paths).zip(&stored);
        let targets: Vec<(HookPoint, &Path)> = all
            .filter(|(_, stored)| stored.is_none())
            .map(|((hook, path), _)| (*hook, path.as_path()))
            .collect();
        let mut harvested = Vec::new();
        let stage = format!("harvest {split}{}", self.pass.label());
        if targets.is_empty() {
            (self.on)(Event::Reused(stage));
        } else {
            let total = tokens.ids().len();
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
