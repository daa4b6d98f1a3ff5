//! Fits every method of a hook point on the same activations.

use std::path::PathBuf;

use crate::activations::ActivationSet;
use crate::base::{Digest, HookPoint, ListedFile};
use crate::dictionary::{
    DICTIONARY_FILES, Dictionary, DictionaryFit, FitContext, FitError, FitProgress, FitReport, Fitted,
    Member, TextInput, load, mean_l0, train_together,
};
use crate::run::parts::leases::fit_turn;
use crate::run::{Event, RunError, StageKey, SubjectPass, Tell};
use crate::suite::MethodSpec;

/// Version of the fits. Raise it when the same inputs give another dictionary.
const VERSION: u32 = 6;

/// A fitted dictionary with its fit report: one row of the tables.
pub struct FittedRow {
    pub name: String,
    pub dictionary: Box<dyn Dictionary>,
    pub report: FitReport,
}

/// What a matched method (`match:` in the suite) takes from its reference method: its mean L0.
#[derive(Debug, Clone, Copy)]
pub struct Reference {
    digest: Digest,
    mean_l0: f64,
}

/// How the subject ran the texts of its activations.
pub fn text_input(pass: &SubjectPass<'_>) -> TextInput {
    TextInput {
        bos: !pass.run.tokens.prefix.is_empty(),
        ctx_tokens: pass.run.suite.corpus.ctx_tokens,
        centred: pass.subject.is_centred(),
    }
}

/// Fits the methods of one hook point.
pub struct Fitter<'a> {
    pub pass: &'a SubjectPass<'a>,
    pub hook: HookPoint,
}

impl Fitter<'_> {
    /// The rows of one method, loaded or fitted. `reference` belongs to the method that it is matched to.
    pub fn fit(
        &self,
        method: &MethodSpec,
        reference: Option<Reference>,
        set: &ActivationSet,
        tell: &Tell<'_>,
    ) -> Result<Vec<FittedRow>, RunError> {
        self.pass.run.stop.check()?;
        let key = self.key(method, reference);
        // Of the parts of a run, one fits what several need.
        let _turn = fit_turn(self.pass.run, &key)?;
        let rows = match self.stored(method, &key, set, tell) {
            Some(rows) => rows,
            None => self.keep(&key, self.fit_anew(method, reference, set, tell)?)?,
        };
        self.check_identical_activations(&rows, set)?;
        Ok(rows)
    }

    /// The rows of several autoencoders, in order: loaded, or trained on the same batches.
    pub fn fit_together(
        &self,
        methods: &[&MethodSpec],
        set: &ActivationSet,
        tell: &Tell<'_>,
    ) -> Result<Vec<Vec<FittedRow>>, RunError> {
        self.pass.run.stop.check()?;
        let stored = |method: &&MethodSpec| self.stored(method, &self.key(method, None), set, tell);
        let mut all: Vec<Option<Vec<FittedRow>>> = methods.iter().map(stored).collect();
        let missing: Vec<&MethodSpec> =
            methods.iter().zip(&all).filter(|(_, rows)| rows.is_none()).map(|(method, _)| *method).collect();
        let mut members = Vec::new();
        for method in &missing {
            if let Some(recipe) = self.checked(method)?.recipe(set.width(), &method.name) {
                let recipe = recipe.map_err(|source| self.failed(&method.name, source))?;
                members.push(Member { recipe, method: &method.name, training: method.nth_training() });
            }
        }
        let mut progress = |nth: usize, progress: FitProgress| {
            tell(Event::work(self.stage(missing[nth]), progress.step, progress.steps, "steps"));
        };
        let first = missing.first().map_or("", |method| &method.name);
        let fitted = train_together(
            &members,
            set,
            self.pass.run.suite.seed,
            self.pass.subject.device(),
            &mut progress,
        )
        .map_err(|source| self.failed(first, source))?;
        for (method, fitted) in missing.iter().zip(fitted) {
            let fitted = fitted.map_err(|source| self.failed(&method.name, source))?;
            let rows = self.saved(method, vec![fitted], tell)?;
            let rows = self.keep(&self.key(method, None), rows)?;
            if let Some(slot) = methods.iter().position(|other| other.name == method.name) {
                all[slot] = Some(rows);
            }
        }
        let all: Vec<Vec<FittedRow>> = all.into_iter().flatten().collect();
        all.iter().try_for_each(|rows| self.check_identical_activations(rows, set))?;
        Ok(all)
    }

    fn key(&self, method: &MethodSpec, reference: Option<Reference>) -> StageKey {
        let key = StageKey::new("fit", VERSION)
            .word(&self.hook.to_string())
            .word(self.pass.control.unwrap_or("real"))
            .params(&(&method.name, &method.keyed().params, self.pass.run.suite.seed))
            .params(&reference.map(|reference| reference.digest))
            .input(self.pass.subject.info().weights_digest)
            .input(self.pass.run.tokens.digest);
        match method.only_features() {
            Some(only) => key.params(&only),
            None => key,
        }
    }

    fn stored(
        &self,
        method: &MethodSpec,
        key: &StageKey,
        set: &ActivationSet,
        tell: &Tell<'_>,
    ) -> Option<Vec<FittedRow>> {
        let reports = self.pass.run.store.load::<Vec<FitReport>>(key, &|event| tell(event))?;
        let rows = self.reopen(method, reports, set)?;
        tell(Event::Reused(self.stage(method)));
        Some(rows)
    }

    /// Stores the fit reports. The dictionaries are already saved.
    fn keep(&self, key: &StageKey, rows: Vec<FittedRow>) -> Result<Vec<FittedRow>, RunError> {
        let mut files = Vec::new();
        for row in &rows {
            files.extend(self.dictionary_files(&row.name)?);
        }
        self.pass.run.store.save(key, files, &rows.iter().map(|row| &row.report).collect::<Vec<_>>())?;
        Ok(rows)
    }

    /// The files of a row's dictionary with what they hold.
    pub fn dictionary_files(&self, row: &str) -> Result<Vec<ListedFile>, RunError> {
        let paths = DICTIONARY_FILES.map(|name| self.row_folder(row).join(name));
        let listed = paths.iter().map(|path| Ok(self.pass.run.store.listed(path)?));
        listed.collect()
    }

    fn stage(&self, method: &MethodSpec) -> String {
        format!("fit {}/{}{}", self.hook, method.name, self.pass.label())
    }

    fn checked(&self, method: &MethodSpec) -> Result<Box<dyn DictionaryFit>, RunError> {
        method.fit_params().check().map_err(|problems| RunError::Setting {
            field: format!("methods.{}", method.name),
            problem: problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        })
    }

    /// Dictionaries are comparable only if all were fitted on the same activations.
    fn check_identical_activations(&self, rows: &[FittedRow], set: &ActivationSet) -> Result<(), RunError> {
        let is_other = |row: &&FittedRow| row.dictionary.info().fitted_on != set.digest();
        let Some(row) = rows.iter().find(is_other) else { return Ok(()) };
        Err(RunError::MixedActivations {
            method: row.name.clone(),
            hook: self.hook.to_string(),
            found: row.dictionary.info().fitted_on.short(),
            expected: set.digest().short(),
        })
    }

    fn fit_anew(
        &self,
        method: &MethodSpec,
        reference: Option<Reference>,
        set: &ActivationSet,
        tell: &Tell<'_>,
    ) -> Result<Vec<FittedRow>, RunError> {
        let mut progress = |progress: FitProgress| {
            tell(Event::work(self.stage(method), progress.step, progress.steps, "steps"));
        };
        let input = text_input(self.pass);
        let only = method.only_features();
        let mut context = FitContext {
            method: &method.name,
            seed: self.pass.run.suite.seed,
            training: method.nth_training(),
            input,
            only: only.as_deref(),
            device: self.pass.subject.device(),
            progress: &mut progress,
        };
        let l0 = reference.map(|reference| reference.mean_l0);
        let fitted = self.checked(method)?.fit_variants(set, &mut context, method.variants(), l0);
        let fitted = fitted.map_err(|source| self.failed(&method.name, source))?;
        self.saved(method, fitted, tell)
    }

    /// Saves the dictionaries of a fit to their row folders.
    fn saved(
        &self,
        method: &MethodSpec,
        fitted: Vec<Fitted>,
        tell: &Tell<'_>,
    ) -> Result<Vec<FittedRow>, RunError> {
        let mut rows = Vec::new();
        for (name, fitted) in method.row_names().into_iter().zip(fitted) {
            fitted.dictionary.save(&self.row_folder(&name))?;
            rows.push(FittedRow { name, dictionary: fitted.dictionary, report: fitted.report });
        }
        // Some solvers stop early, so progress is completed here.
        tell(Event::work(self.stage(method), 1, 1, "steps"));
        Ok(rows)
    }

    /// Dictionaries of an earlier run; none if one is missing, damaged or fitted on other activations.
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
            (dictionary.info().fitted_on == set.digest()).then_some(FittedRow { name, dictionary, report })
        };
        names.into_iter().zip(reports).map(open).collect()
    }

    fn row_folder(&self, row: &str) -> PathBuf {
        self.pass.dictionary_folder(self.hook, row)
    }

    /// The reference for methods that are matched to `row`.
    pub fn reference(&self, row: &FittedRow, set: &ActivationSet) -> Result<Reference, RunError> {
        let mean_l0 =
            mean_l0(row.dictionary.as_ref(), set).map_err(|source| self.failed(&row.name, source))?;
        Ok(Reference { digest: row.dictionary.info().digest, mean_l0 })
    }

    fn failed(&self, method: &str, source: FitError) -> RunError {
        RunError::Fit { method: method.to_string(), hook: self.hook.to_string(), source }
    }
}
