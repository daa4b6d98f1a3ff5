//! Collects the results of all rows over hook points and subjects.

use std::collections::BTreeMap;

use crate::base::HookPoint;
use crate::dictionary::{SignPolicy, hook_of, load};
use crate::report::Role;
use crate::run::inputs::dictionaries::commit_note;
use crate::run::inputs::outliers::Outlier;
use crate::run::results::erased::{ErasedRow, Eraser};
use crate::run::results::experiment::experiment_rows;
use crate::run::results::grouped::QualityInput;
use crate::run::results::manifest::{DictionaryRecord, DictionarySource, OutlierRecord, StageClock};
use crate::run::results::patched::{PatchedRow, Patcher};
use crate::run::rows::row::{RowResult, StoredDictionary};
use crate::run::{Event, Outcome, RunContext, RunError, SubjectPass};
use crate::suite::{MethodSpec, QualityPass};

/// Outliers per hook point listed on the screen. The manifest lists more.
const OUTLIERS_NAMED: usize = 3;

/// Results of all rows so far.
#[derive(Default)]
pub struct Gathered {
    /// Lines of `scores.jsonl`.
    pub outcomes: Vec<Outcome>,
    /// Rows of the quality table.
    pub quality: Vec<QualityInput>,
    /// Dictionaries by `HOOK/ROW`.
    pub dictionaries: BTreeMap<String, DictionaryRecord>,
    /// Patching with each dictionary, on the suite's task.
    pub patched: Vec<PatchedRow>,
    /// Erasure of the suite's concepts with each dictionary.
    pub erased: Vec<ErasedRow>,
    /// Warnings for readers of the results.
    pub warnings: Vec<String>,
    /// Time and memory of each stage.
    pub clock: StageClock,
}

impl Gathered {
    /// Runs the experiments on the rows of one hook point that the suite asks for: patching and erasure.
    pub fn experiments(
        &mut self,
        pass: &SubjectPass<'_>,
        hook: HookPoint,
        rows: &[RowResult],
        on: &dyn Fn(Event),
    ) -> Result<(), RunError> {
        let (run, place) = (pass.run, (pass, hook));
        if let Some((spec, task)) = run.suite.task.as_ref().zip(run.task.as_ref()) {
            let patch = || experiment_rows(&Patcher { spec, task }, place, rows, on);
            self.patched.extend(self.clock.time(&format!("patch {hook}"), patch)?);
        }
        if let Some((params, concepts)) = run.suite.erasure.as_ref().zip(run.concepts.as_ref()) {
            let erase = || experiment_rows(&Eraser { params, concepts }, place, rows, on);
            self.erased.extend(self.clock.time(&format!("erase {hook}"), erase)?);
        }
        Ok(())
    }

    /// Adds the rows of one hook point.
    pub fn add(
        &mut self,
        pass: &SubjectPass<'_>,
        hook: HookPoint,
        rows: Vec<RowResult>,
        on: &dyn Fn(Event),
    ) -> Result<(), RunError> {
        if let Some(left_out) = rows.first().and_then(|row| left_out(pass.run, &row.dictionary)) {
            on(Event::Note(format!("{hook}{}: {left_out}", pass.label())));
        }
        let place = pass.control.map_or(String::new(), |control| format!(" ({control})"));
        for mut row in rows {
            let method = pass.run.suite.methods.iter().find(|method| method.row_names().contains(&row.name));
            row.dictionary.report.notes.extend(method.and_then(commit_note));
            let name = format!("{hook}/{}", row.name);
            let warnings = row.dictionary.report.warnings.iter();
            self.warnings.extend(warnings.map(|warning| format!("{name}{place}: {warning}")));
            self.quality.push(quality(pass, hook, &row)?);
            self.dictionaries.insert(format!("{name}{place}"), record(pass.run, method, row.dictionary));
            self.outcomes.extend(row.outcomes);
        }
        Ok(())
    }
}

fn quality(pass: &SubjectPass<'_>, hook: HookPoint, row: &RowResult) -> Result<QualityInput, RunError> {
    let of = |spec: &'_ MethodSpec| {
        let nth = spec.row_names().iter().position(|other| *other == row.name)?;
        Some((spec.clone(), spec.row_methods().swap_remove(nth)))
    };
    let (spec, method) = match pass.run.suite.methods.iter().find_map(of) {
        Some((spec, method)) => (Some(spec), method),
        None => (None, row.name.clone()),
    };
    let mut directions = None;
    let compared = |spec: &MethodSpec| spec.training.is_some() && spec.quality != QualityPass::Off;
    if spec.as_ref().is_some_and(compared) {
        let dictionary = load(&pass.dictionary_folder(hook, &row.name))?;
        directions = Some((dictionary.directions()?, dictionary.info().sign == SignPolicy::Signed));
    }
    Ok(QualityInput {
        hook: hook.to_string(),
        method,
        elsewhere: elsewhere(hook, spec.as_ref(), row),
        role: spec.as_ref().map(role),
        sweep: spec.and_then(|spec| spec.sweep),
        control: pass.control.map(Into::into),
        measured: row.measured.clone(),
        report: row.dictionary.report.clone(),
        directions,
    })
}

fn role(method: &MethodSpec) -> Role {
    let kind = method.params.kind();
    match (kind.is_baseline(), method.params.path().is_some()) {
        (true, _) => Role::Baseline,
        (false, true) => Role::Read,
        (false, false) => Role::Trained,
    }
}

/// Where a dictionary was trained, if it is applied at another hook point or, as the suite says, to another model.
fn elsewhere(hook: HookPoint, method: Option<&MethodSpec>, row: &RowResult) -> Option<String> {
    let stated = &row.dictionary.report.read.as_ref()?.stated;
    if let Some(name) = stated.hook.as_ref().filter(|name| hook_of(name) != Some(hook)) {
        return Some(format!("trained at {name}"));
    }
    let trained_on = stated.model.as_ref().map(|model| format!("trained on {model}"));
    trained_on.filter(|_| method.is_some_and(|method| method.of_other_model))
}

fn record(
    run: &RunContext<'_>,
    method: Option<&MethodSpec>,
    dictionary: StoredDictionary,
) -> DictionaryRecord {
    let StoredDictionary {
        digest,
        fitted_on,
        rows,
        rows_left_out,
        outliers,
        report,
        proof,
        evaluate_seconds,
    } = dictionary;
    let outliers = outliers.iter().map(|outlier| outlier_record(run, outlier)).collect();
    let source = method.and_then(source);
    DictionaryRecord {
        digest,
        fitted_on,
        rows_left_out,
        outliers,
        rows,
        source,
        report,
        proof,
        evaluate_seconds,
    }
}

/// Origin of a dictionary trained elsewhere.
fn source(method: &MethodSpec) -> Option<DictionarySource> {
    let located = method.located.as_ref()?;
    let path = method.params.path()?.ok()?.to_string();
    Some(DictionarySource { path, revision: located.commit.clone(), files: located.digest })
}

/// Describes the tokens excluded from fitting because of their norm, if any.
fn left_out(run: &RunContext<'_>, dictionary: &StoredDictionary) -> Option<String> {
    let named = dictionary.outliers.iter().take(OUTLIERS_NAMED).map(|outlier| {
        let OutlierRecord { position, text, count, .. } = outlier_record(run, outlier);
        format!("{text:?} at position {position} × {count}")
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let n = dictionary.rows_left_out;
    (n > 0).then(|| format!("{n} tokens of over 10 × the median norm are left out of fitting: {named}"))
}

fn outlier_record(run: &RunContext<'_>, outlier: &Outlier) -> OutlierRecord {
    let &Outlier { position, token, count } = outlier;
    let text = run.token_texts.get(token as usize).cloned().unwrap_or_default();
    OutlierRecord { position, token, text, count }
}
