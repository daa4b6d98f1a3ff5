//! The stages of a run, in order: subject, tokens, activations, dictionaries, quality, records, explanations,
//! simulations, scores, patching, erasure, estimates, report.

use crate::base::HookPoint;
use crate::run::evaluate::evidence::EvidenceFiles;
use crate::run::evaluate::{Evaluated, Evaluation, Walked};
use crate::run::inputs::harvest::Harvester;
use crate::run::open::with_inputs;
use crate::run::parts::Part;
use crate::run::parts::share::{PartDone, Round, Share};
use crate::run::parts::work::rows_of_subject;
use crate::run::results::finish::finish;
use crate::run::results::gather::Gathered;
use crate::run::results::neighbours::write_neighbours;
use crate::run::rows::row::{HookRows, complete, stored_rows, take_activations};
use crate::run::rows::turns::Everything;
use crate::run::{Event, Finished, Places, RunError, Stop, SubjectPass};
use crate::suite::{Controls, Suite};

/// Runs a suite and writes the run folder `places.out`. Stored stages are reused unless `fresh`.
pub fn run(
    suite: &Suite,
    places: &Places,
    fresh: bool,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    // Subject and tokens.
    with_inputs(suite, places, (fresh, stop), on, |open, record, mut gathered| {
        on(open.run.rows.begin(&record.planned));
        // Activations to scores: for the subject, then for each control subject with permuted weights.
        open.each_subject(&|_| true, &mut |pass| subject_pass(pass, open.hooks, on, &mut gathered))?;
        // Estimates and report.
        finish(open.run, record, gathered, on)
    })
}

/// Does one part of a run on several machines: its share of the rows, from activations to scores. What it stores in the
/// run folder, [`run`] finds there.
pub fn run_part(
    suite: &Suite,
    places: &Places,
    part: Part,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<PartDone, RunError> {
    with_inputs(suite, places, (false, stop), on, |open, record, _| {
        let share = Share::agree(part, open, &record)?;
        let on = &|event| on(share.of_part(event));
        on(share.begin());
        for round in Round::ALL {
            let is_wanted = |control| share.wants_any(control, round);
            let mut work =
                |pass: &SubjectPass<'_>| rows_of_subject(&share, pass, round, open.hooks, &evaluate, on);
            open.each_subject(&is_wanted, &mut work)?;
        }
        share.done(open)
    })
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
        let mut rows: Vec<HookRows> =
            group.iter().map(|&hook| stored_rows(pass, hook, &Everything, on)).collect();
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
            gathered.clock.time(&name, || complete(pass, &mut rows, &evaluate, &Everything, on))?;
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
