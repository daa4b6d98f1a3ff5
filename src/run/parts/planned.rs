//! What each part of a run would do and take.

use schemars::JsonSchema;
use serde::Serialize;

use super::split::split;
use super::units::{Place, Units};
use crate::run::Planned;
use crate::run::plan::pieces::{PassWork, Piece, RunWork, Speed, work};
use crate::run::plan::schedule::Cores;
use crate::run::plan::shape::{HookShape, Shape};

/// Shares of a run in parts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedShares {
    /// One for each part.
    pub parts: Vec<PlannedShare>,
    /// Most that the shared folder holds, in GB: results, and the activations of all hook points and subjects.
    pub storage_gb: f64,
    /// Activations that all parts write and read, in GB: the sum over parts.
    pub traffic_gb: f64,
}

/// The share of one part.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PlannedShare {
    /// Its number, from 1.
    pub part: usize,
    /// Rows of the tables.
    pub rows: usize,
    /// Hook points of which it has rows, each counted once for every subject.
    pub hook_points: usize,
    /// Duration in minutes on a machine like this one, waiting for other parts left out; null where it could not be
    /// measured.
    pub minutes: Option<f64>,
    /// Activations that it writes, in GB: of the hook points where its share is the largest.
    pub writes_gb: f64,
    /// Activations that it reads and another part writes, in GB; each once, as where memory can hold them.
    pub reads_gb: f64,
}

/// The work of the chosen units, in the order of [`Units`]: inputs, activations of their hook points, and the units.
pub fn work_of(shape: &Shape<'_>, own: &[bool]) -> RunWork {
    let each: Vec<Vec<HookShape>> = shape.hooks.iter().map(|&at| vec![at]).collect();
    let RunWork { before, mut passes, .. } = work(shape, &each);
    let mut own = own.iter().copied();
    for jobs in passes.iter_mut().flat_map(|pass| &mut pass.jobs) {
        jobs.retain(|_| own.next().unwrap_or(false));
    }
    // The hook points of one subject are done at the same time.
    let of_subject = |hooks: &[PassWork]| {
        let mut all = PassWork { before: Vec::new(), jobs: Vec::new(), after: Vec::new() };
        for hook in hooks.iter().filter(|hook| hook.jobs.iter().any(|jobs| !jobs.is_empty())) {
            all.before.extend(hook.before.iter().cloned());
            all.jobs.extend(hook.jobs.iter().cloned());
            all.after.extend(hook.after.iter().cloned());
        }
        all
    };
    let passes = passes.chunks(shape.hooks.len().max(1)).map(of_subject);
    RunWork { before, passes: passes.collect(), after: Vec::new() }
}

/// The shares of `parts` parts, at the measured speed of this machine.
pub fn shares(shape: &Shape<'_>, llm: &[Planned], speed: Option<&Speed>, parts: usize) -> PlannedShares {
    // The same division as that of a run, which measures nothing.
    let all = Units::of(shape, llm, &Piece::usual_seconds);
    let owners = split(&all, parts);
    let parts: Vec<PlannedShare> =
        (1..=parts).map(|part| share(shape, llm, speed, (&all, &owners), part)).collect();
    let bytes: f64 = shape.hooks.iter().map(|at| shape.activation_bytes(at)).sum();
    let activations = bytes * shape.passes.len() as f64;
    PlannedShares {
        storage_gb: (shape.disk(&[]).run_folder + activations) / 1e9,
        traffic_gb: parts.iter().map(|part| part.writes_gb + part.reads_gb).sum(),
        parts,
    }
}

fn share(
    shape: &Shape<'_>,
    llm: &[Planned],
    speed: Option<&Speed>,
    (all, owners): (&Units, &[usize]),
    part: usize,
) -> PlannedShare {
    let own: Vec<bool> = owners.iter().map(|owner| *owner == part).collect();
    let rows = |is_counted: &dyn Fn(bool) -> bool| -> usize {
        all.units.iter().zip(&own).filter(|(_, own)| is_counted(**own)).map(|(unit, _)| unit.rows).sum()
    };
    let (of_part, of_all) = (rows(&|own| own), rows(&|_| true));
    let (workers, share) = shape.workers();
    let cores = Cores { threads: shape.threads, workers, share };
    let answers: f64 = llm.iter().map(|planned| planned.minutes).sum();
    let minutes = speed.map(|speed| {
        cores.seconds(&work_of(shape, &own), speed) / 60.0 + answers * of_part as f64 / of_all.max(1) as f64
    });
    let (mut hook_points, mut writes, mut reads) = (0, 0.0, 0.0);
    for pass in &shape.passes {
        for at in &shape.hooks {
            let place = (pass.control, at.hook);
            let has_units = all.units.iter().zip(&own).any(|(unit, own)| *own && unit.place == place);
            if has_units {
                hook_points += 1;
                match writer(all, owners, place) == Some(part) {
                    true => writes += shape.activation_bytes(at) / 1e9,
                    false => reads += shape.activation_bytes(at) / 1e9,
                }
            }
        }
    }
    PlannedShare { part, rows: of_part, hook_points, minutes, writes_gb: writes, reads_gb: reads }
}

/// The part with the largest share of a place, the first of several.
fn writer(all: &Units, owners: &[usize], place: Place) -> Option<usize> {
    let mut sums: std::collections::BTreeMap<usize, f64> = std::collections::BTreeMap::new();
    for (unit, owner) in all.units.iter().zip(owners).filter(|(unit, _)| unit.place == place) {
        *sums.entry(*owner).or_default() += unit.seconds;
    }
    let most = sums.into_iter().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
    most.map(|(owner, _)| owner)
}
