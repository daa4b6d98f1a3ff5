//! Every method of a hook point, fitted on the same activations in the suite's order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::parallel::{Tell, side_by_side};
use super::stage::{StageKey, StageStore};
use super::{Event, RunError, Stop};
use crate::activations::ActivationSet;
use crate::base::{Digest, HookPoint};
use crate::dictionary::{
    CheckedMethod, Dictionary, FitContext, FitError, FitProgress, FitReport, Fitted, Variant, load, mean_l0,
};
use crate::suite::{MethodSpec, Suite};

/// Version of the fits; raised when the same inputs give another dictionary.
const VERSION: u32 = 1;

/// One row of the table: a dictionary, and how making it went.
pub struct FittedRow {
    /// Name of the row.
    pub name: String,
    /// The dictionary.
    pub dictionary: Box<dyn Dictionary>,
    /// How the fit went.
    pub report: FitReport,
    /// Mean L0 on the fit split, once somebody has asked.
    mean_l0: OnceLock<f64>,
}

impl FittedRow {
    fn new(name: String, dictionary: Box<dyn Dictionary>, report: FitReport) -> Self {
        Self { name, dictionary, report, mean_l0: OnceLock::new() }
    }
}

/// Fits the methods of one hook point.
pub struct Fitter<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// Where.
    pub hook: HookPoint,
    /// Name of the control that this is part of, if any.
    pub control: Option<&'a str>,
    /// Folder that a dictionary is saved below, by row name.
    pub folder: PathBuf,
    /// Digest of the subject.
    pub subject: Digest,
    /// Digest of the tokens.
    pub tokens: Digest,
    /// Stored stages.
    pub store: &'a StageStore,
    /// Whether to go on.
    pub stop: Stop,
}

impl Fitter<'_> {
    /// The rows of `methods`, in their order; `on` hears of progress. Methods that others are matched
    /// to are fitted first, and come along whether or not they are listed.
    pub fn fit(
        &self,
        methods: &[&MethodSpec],
        set: &ActivationSet,
        on: &dyn Fn(Event),
    ) -> Result<Vec<FittedRow>, RunError> {
        let matched_to = |method: &MethodSpec| method.params.matched().map(str::to_owned);
        let (matched, mut plain): (Vec<&MethodSpec>, Vec<&MethodSpec>) =
            methods.iter().copied().partition(|method| matched_to(method).is_some());
        for name in matched.iter().filter_map(|method| matched_to(method)) {
            if !plain.iter().any(|method| method.name == name) {
                plain.extend(self.suite.methods.iter().find(|method| method.name == name));
            }
        }
        let mut fitted: BTreeMap<&str, Vec<FittedRow>> = BTreeMap::new();
        let done = side_by_side(plain.clone(), on, |method, tell| self.method(method, None, set, tell))?;
        fitted.extend(plain.iter().map(|method| method.name.as_str()).zip(done));
        let done = side_by_side(matched.clone(), on, |method, tell| {
            let reference = method.params.matched().and_then(|name| fitted.get(name)?.first());
            self.method(method, reference, set, tell)
        })?;
        fitted.extend(matched.iter().map(|method| method.name.as_str()).zip(done));
        let rows: Vec<FittedRow> =
            methods.iter().filter_map(|method| fitted.remove(method.name.as_str())).flatten().collect();
        self.check_identical_activations(&rows, set)?;
        Ok(rows)
    }

    /// Comparing dictionaries means nothing unless all saw the same activations.
    fn check_identical_activations(&self, rows: &[FittedRow], set: &ActivationSet) -> Result<(), RunError> {
        match rows.iter().find(|row| row.dictionary.info().fitted_on != set.digest()) {
            None => Ok(()),
            Some(row) => Err(RunError::MixedActivations {
                method: row.name.clone(),
                hook: self.hook.to_string(),
                found: row.dictionary.info().fitted_on.short(),
                expected: set.digest().short(),
            }),
        }
    }

    fn method(
        &self,
        method: &MethodSpec,
        reference: Option<&FittedRow>,
        set: &ActivationSet,
        tell: &Tell<'_>,
    ) -> Result<Vec<FittedRow>, RunError> {
        self.stop.check()?;
        let key = StageKey::new("fit", VERSION)
            .word(&self.hook.to_string())
            .word(self.control.unwrap_or("real"))
            .params(&(&method.name, &method.params, self.suite.seed))
            .params(&reference.map(|row| row.dictionary.info().digest))
            .input(self.subject)
            .input(self.tokens);
        if let Some(reports) = self.store.load::<Vec<FitReport>>(&key)
            && let Some(rows) = self.reopen(method, reports, set)
        {
            return Ok(rows);
        }
        let seed = self.suite.seed;
        let stage =
            format!("fit {}/{}{}", self.hook, method.name, self.control.map_or("", |_| " (random weights)"));
        let mut progress = |progress: FitProgress| {
            let (done, total) = (progress.step as u64, progress.steps as u64);
            tell(Event::Work { stage: stage.clone(), done, total, unit: "steps" });
        };
        let failed = |source: FitError| RunError::Fit {
            method: method.name.clone(),
            hook: self.hook.to_string(),
            source,
        };
        let mut context = FitContext { method: &method.name, seed, progress: &mut progress };
        let checked = method.params.check().map_err(|problems| RunError::Setting {
            field: format!("methods.{}", method.name),
            problem: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })?;
        let fitted: Vec<(Variant, Fitted)> = match checked {
            CheckedMethod::Single(fit) => {
                vec![(Variant::Fitted, fit.fit(set, &mut context).map_err(failed)?)]
            }
            CheckedMethod::Pca(fit) => {
                let decomposition = fit.decompose(set, &mut context).map_err(failed)?;
                decomposition
                    .variants(method.variants(), self.matched_k(fit.params().k, reference, set, method)?)
            }
            CheckedMethod::Ica(fit) => {
                let decomposition = fit.decompose(set, &mut context).map_err(failed)?;
                decomposition
                    .variants(method.variants(), self.matched_k(fit.params().k, reference, set, method)?)
            }
        };
        let mut rows = Vec::new();
        for (variant, fitted) in fitted {
            let name = variant.method_name(&method.name);
            fitted.dictionary.save(&self.row_folder(&name))?;
            rows.push(FittedRow::new(name, fitted.dictionary, fitted.report));
        }
        let reports: Vec<&FitReport> = rows.iter().map(|row| &row.report).collect();
        self.store.save(&key, &reports)?;
        Ok(rows)
    }

    /// Dictionaries of an earlier run; none where one is missing, damaged or of other activations.
    fn reopen(
        &self,
        method: &MethodSpec,
        reports: Vec<FitReport>,
        set: &ActivationSet,
    ) -> Option<Vec<FittedRow>> {
        let names = method.row_names();
        if names.len() != reports.len() {
            return None;
        }
        let open = |(name, report): (String, FitReport)| {
            let dictionary = load(&self.row_folder(&name)).ok()?;
            (dictionary.info().fitted_on == set.digest()).then(|| FittedRow::new(name, dictionary, report))
        };
        names.into_iter().zip(reports).map(open).collect()
    }

    fn row_folder(&self, row: &str) -> PathBuf {
        Path::new(&self.folder).join(row)
    }

    /// How many codes the top-k variant keeps: the rounded mean L0 of the matched method on the fit
    /// split, or what the suite says.
    fn matched_k(
        &self,
        k: Option<usize>,
        reference: Option<&FittedRow>,
        set: &ActivationSet,
        method: &MethodSpec,
    ) -> Result<usize, RunError> {
        let needed = method.variants().contains(&Variant::Topk);
        match (k, reference) {
            (Some(k), _) => Ok(k),
            (None, Some(row)) if needed => {
                let l0 = match row.mean_l0.get() {
                    Some(&l0) => l0,
                    None => {
                        let l0 = mean_l0(row.dictionary.as_ref(), set).map_err(|source| RunError::Fit {
                            method: method.name.clone(),
                            hook: self.hook.to_string(),
                            source,
                        })?;
                        *row.mean_l0.get_or_init(|| l0)
                    }
                };
                Ok((l0.round() as usize).max(1))
            }
            _ => Ok(1),
        }
    }
}
