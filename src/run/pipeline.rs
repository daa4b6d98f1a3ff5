//! The stages of a run, in order: subject, tokens, activations, dictionaries, quality, records, explanations,
//! simulations, scores, patching, erasure, estimates, report.

use crate::base::HookPoint;
use crate::run::evaluate::evidence::EvidenceFiles;
use crate::run::evaluate::{Evaluated, Evaluation, Walked};
use crate::run::inputs::harvest::Harvester;
use crate::run::inputs::opened::{OpenInputs, open_inputs};
use crate::run::inputs::prepare::{expand_hooks, open_corpus, run_with_prefix};
use crate::run::plan::planned::plan_of_models;
use crate::run::results::finish::{RunRecord, finish, remarks};
use crate::run::results::gather::Gathered;
use crate::run::results::neighbours::write_neighbours;
use crate::run::rows::row::{HookRows, complete, stored_rows, take_activations};
use crate::run::{Event, Finished, Places, RunContext, RunError, Stop, SubjectPass};
use crate::subject::{SubjectModel, WithPrefix};
use crate::suite::{Controls, Suite};

/// Runs a suite and writes the run folder `places.out`. Stored stages are reused unless `fresh`.
pub fn run(
    suite: &Suite,
    places: &Places,
    fresh: bool,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    let mut gathered = Gathered::default();
    // Dictionaries trained elsewhere, and the subject with the prefix (BOS) that precedes every text.
    let OpenInputs { suite, subject } = open_inputs(suite, places, on, &mut gathered.warnings)?;
    let prefix = subject.loaded.prefix(suite.subject.bos)?;
    let suite = &run_with_prefix(&subject.loaded, &prefix, &suite);
    let model = &WithPrefix::new(subject.loaded.model(), &prefix.ids);
    let hooks = expand_hooks(suite, model)?;
    let (name, n_hooks, n_methods) = (&model.info().name, hooks.len(), suite.methods.len());
    on(Event::Note(format!("subject {name} · {n_hooks} hook points · {n_methods} methods")));
    if !(prefix.is_empty() && prefix.setting.is_auto()) {
        on(Event::Note(format!("in front of every text: {prefix}")));
    }

    // Tokens of both splits.
    let mut corpus = gathered.clock.time("corpus", || open_corpus(suite, &subject.loaded, places, on))?;
    gathered.warnings.append(&mut corpus.warnings);
    stop.check()?;
    let tokenizer = subject.loaded.tokenizer()?;
    let run = &RunContext::new(suite, places, (model, tokenizer), &corpus.tokens, &hooks, (fresh, stop))?;
    remarks(run).for_each(|remark| on(Event::Note(remark)));
    let planned = plan_of_models(run, n_hooks, on)?;
    on(run.rows.begin(&planned));

    // Activations to scores: for the subject, then for each control subject with permuted weights.
    let methods = suite.methods.iter().collect();
    subject_pass(&SubjectPass { run, subject: model, methods, control: None }, &hooks, on, &mut gathered)?;
    for (control, methods) in suite.on_permuted_weights() {
        let embeddings = control == Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS;
        let permuted = subject.loaded.with_permuted_weights(suite.seed, embeddings)?;
        let permuted = &WithPrefix::new(permuted.model(), &prefix.ids);
        let pass = SubjectPass { run, subject: permuted, methods, control: Some(control) };
        subject_pass(&pass, &hooks, on, &mut gathered)?;
    }

    // Estimates and report.
    let subject = subject.loaded.model().info();
    finish(run, RunRecord { subject, prefix, revision: corpus.revision, planned }, gathered, on)
}

/// All hook points of one subject. If a hook point has unusable activations, the others are finished first, and
/// then the run fails: a later run does not repeat them.
fn subject_pass(
    pass: &SubjectPass<'_>,
    hooks: &[HookPoint],
    on: &dyn Fn(Event),
    gathered: &mut Gathered,
) -> Result<(), RunError> {
    let label = pass.label();
    let harvester = Harvester { pass, on };
    let mut unusable = None;
    for group in harvester.groups(hooks)? {
        let mut rows: Vec<HookRows> = group.iter().map(|&hook| stored_rows(pass, hook, on)).collect();
        let missing: Vec<HookPoint> =
            rows.iter().filter(|one| !one.is_complete()).map(|one| one.hook).collect();
        if !missing.is_empty() {
            let harvested =
                gathered.clock.time(&format!("harvest{label}"), || harvester.harvest(&missing))?;
            unusable = unusable.or(take_activations(&mut rows, harvested, on));
        }
        for one in rows.iter().filter(|one| one.is_complete()) {
            gathered.clock.reused(format!("{}{label}", one.hook));
            on(pass.run.rows.add(one.stored.len()));
        }
        // Dictionaries, their quality and their scores.
        if rows.iter().any(|one| one.activations.is_some()) {
            let name = format!("fit and score{label}");
            gathered.clock.time(&name, || complete(pass, &mut rows, &evaluate, on))?;
        }
        for one in rows {
            let (hook, rows) = one.finished();
            if pass.control.is_none() {
                let neighbours = || write_neighbours(pass, hook, &rows, on);
                gathered.clock.time(&format!("neighbours {hook}"), neighbours)?;
                gathered.experiments(pass, hook, &rows, on)?;
            }
            gathered.add(pass, hook, rows, on)?;
        }
    }
    unusable.map_or(Ok(()), Err)
}

/// Evaluates one dictionary: quality, records, explanations, simulations, scores.
fn evaluate(row: &Evaluation<'_>) -> Result<Evaluated, RunError> {
    // Quality, with statistics of every feature.
    let survey = row.survey()?;
    let walk = row.walk(&survey.summaries);
    // Records of the features to explain.
    let (records, shapes) = row.records(&walk, &survey)?;
    let (evidence, held) = row.with_written(row.split(&records)?, &survey.summaries)?;
    let mut files = EvidenceFiles::create(row, shapes.is_some())?;
    files.records(row, &records, (&evidence, &held))?;
    let effects = row.effects(&held, &survey)?;
    let profiles = shapes.map_or(Ok(Vec::new()), |shapes| row.profiles(&evidence, shapes, &effects))?;
    files.profiles(&profiles)?;
    let walked = Walked::new(&walk, &survey.summaries, &profiles, &effects);
    let means = row.fit_means(&evidence)?;
    let mut outcomes = Vec::new();
    row.with_inputs(&evidence, &means, |inputs| -> Result<(), RunError> {
        let pairs = row.pairs();
        for (nth, pair) in pairs.iter().enumerate() {
            row.pass.run.stop.check()?;
            row.tell("explain", nth, pairs.len(), "explainers");
            let (control, held) = (row.control_of(pair), held.of(pair));
            // Explanations.
            let explained = row.explain(pair, inputs)?;
            files.explanations(row, pair, &evidence, &explained)?;
            let explanations = &explained.explanations;
            // Simulations and judgements.
            let simulations = row.simulate(pair, held, explanations)?;
            files.simulations(pair, held, simulations.as_deref().unwrap_or_default())?;
            let judged = row.judge(pair, held, explanations)?;
            files.judgements(pair, held, &judged)?;
            let scores = row.score(held, explanations, simulations.as_deref(), &judged);
            outcomes.extend(row.outcomes(pair, control, &walked, explanations, held, scores));
            if let Some((others, scores)) = row.shuffled(pair, control, explanations, held)? {
                outcomes.extend(row.outcomes(pair, Some(Controls::SHUFFLED), &walked, &others, held, scores));
            }
        }
        row.tell("explain", pairs.len(), pairs.len(), "explainers");
        Ok(())
    })?;
    let (quality, explained) = (survey.quality, walk.eligible().collect());
    Ok(Evaluated { outcomes, quality, explained, files: files.commit()? })
}
