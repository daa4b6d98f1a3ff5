//! Opens what a run reads — subject, tokens, stored stages, language models — and goes through its subjects.

use crate::base::HookPoint;
use crate::run::inputs::opened::{OpenInputs, open_inputs};
use crate::run::inputs::prepare::{expand_hooks, open_corpus, run_with_prefix};
use crate::run::plan::planned::plan_of_models;
use crate::run::results::finish::{RunRecord, remarks};
use crate::run::results::gather::Gathered;
use crate::run::{Event, Places, RunContext, RunError, Stop, SubjectPass};
use crate::subject::{LoadedSubject, SubjectModel, WithPrefix};
use crate::suite::{Controls, Suite};

/// A run with everything open.
pub struct OpenRun<'a> {
    pub run: &'a RunContext<'a>,
    /// Hook points, in the suite's order.
    pub hooks: &'a [HookPoint],
    /// The subject behind its prefix.
    pub model: &'a dyn SubjectModel,
    /// Progress callback.
    pub on: &'a dyn Fn(Event),
    loaded: &'a LoadedSubject,
    /// Tokens in front of every text.
    prefix: &'a [u32],
}

/// Opens the inputs of a suite and does `work` with them. `work` also gets what the manifest says of the inputs.
pub fn with_inputs<T>(
    suite: &Suite,
    places: &Places,
    (fresh, stop): (bool, Stop),
    on: &dyn Fn(Event),
    work: impl FnOnce(&OpenRun<'_>, RunRecord<'_>, Gathered) -> Result<T, RunError>,
) -> Result<T, RunError> {
    let mut gathered = Gathered::default();
    // Dictionaries trained elsewhere, and the subject with the prefix (BOS) that precedes every text.
    let OpenInputs { suite, subject } = open_inputs(suite, places, on, &mut gathered.warnings)?;
    let loaded = &subject.loaded;
    let prefix = loaded.prefix(suite.subject.bos)?;
    let suite = &run_with_prefix(loaded, &prefix, &suite);
    let model = &WithPrefix::new(loaded.model(), &prefix.ids);
    let hooks = expand_hooks(suite, model)?;
    let (name, n_hooks, n_methods) = (&model.info().name, hooks.len(), suite.methods.len());
    on(Event::Note(format!("subject {name} · {n_hooks} hook points · {n_methods} methods")));
    if !(prefix.is_empty() && prefix.setting.is_auto()) {
        on(Event::Note(format!("in front of every text: {prefix}")));
    }

    // Tokens of both splits.
    let mut corpus = gathered.clock.time("corpus", || open_corpus(suite, loaded, places, on))?;
    gathered.warnings.append(&mut corpus.warnings);
    stop.check()?;
    let tokenizer = loaded.tokenizer()?;
    let run = &RunContext::new(suite, places, (model, tokenizer), &corpus.tokens, &hooks, (fresh, stop))?;
    remarks(run).for_each(|remark| on(Event::Note(remark)));
    let planned = plan_of_models(run, n_hooks, on)?;
    let open = OpenRun { run, hooks: &hooks, model, on, loaded, prefix: &prefix.ids };
    let (prefix, revision) = (prefix.clone(), corpus.revision.clone());
    work(&open, RunRecord { subject: loaded.model().info(), prefix, revision, planned }, gathered)
}

impl OpenRun<'_> {
    /// Does `work` for the subject, then for each control subject with permuted weights, where `is_wanted`.
    pub fn each_subject(
        &self,
        is_wanted: &dyn Fn(Option<&'static str>) -> bool,
        work: &mut dyn FnMut(&SubjectPass<'_>) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let run = self.run;
        if is_wanted(None) {
            let methods = run.suite.methods.iter().collect();
            work(&SubjectPass { run, subject: self.model, methods, control: None })?;
        }
        for (control, methods) in
            run.suite.on_permuted_weights().filter(|(control, _)| is_wanted(Some(*control)))
        {
            let embeddings = control == Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS;
            let permuted = self.loaded.with_permuted_weights(run.suite.seed, embeddings)?;
            let permuted = &WithPrefix::new(permuted.model(), self.prefix);
            work(&SubjectPass { run, subject: permuted, methods, control: Some(control) })?;
        }
        Ok(())
    }
}
