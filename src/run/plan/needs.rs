//! Memory and disk of a run, from its sizes.

use serde::Serialize;

use crate::run::evaluate::survey::BLOCK_FRAGMENTS;
use crate::run::plan::shape::{HookShape, MethodShape, PassShape, RowShape, Shape};

/// Tokens of a batch of a harvest, and rows that wait until the median norm is known.
const HARVESTED_ROWS: f64 = 4_096.0 + 16_384.0;
/// Most bytes of cached codes of a dictionary, and of cached probes.
const CODES: f64 = 32e6;
const PROBES: f64 = 64e6;
/// Probes for each fragment that a feature is explained on.
const PROBES_OF_FRAGMENT: f64 = 28.0;
/// Memory of jobs that the allocator keeps, as a multiple of what they hold at a time.
const KEPT: f64 = 1.4;
/// Bytes of a token's id and activation in memory, and as text in `records/`.
const RECORDED: f64 = 8.0;
const RECORDED_TEXT: f64 = 12.5;
/// Memory in which charts are drawn.
const DRAWN: f64 = 1.1e8;
/// Bytes of a score line in memory, held until the end of the run.
const LINE: f64 = 4_000.0;
/// Bytes of a predicted activation in `simulations/`.
const SIMULATED_TEXT: f64 = 1.1;
/// Bytes of an explanation, a score line with its parts on pages, and a stored stage.
const EXPLANATION_TEXT: f64 = 9_000.0;
const LINE_TEXT: f64 = 2_200.0;
/// Bytes of a feature's page.
const PAGE: f64 = 32_000.0;
/// Bytes of charts and tables, whatever they show, and for each hook point.
const CHARTS: f64 = 2.2e6;
const CHARTS_OF_HOOK: f64 = 1.9e6;
/// Bytes of an entry of a dictionary: encoder and decoder in f32.
pub const DICTIONARY_ENTRY: f64 = 8.0;

/// Bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Disk {
    /// What stays in the run folder.
    pub run_folder: f64,
    /// Activations in the cache folder, removed when their hook points are done.
    pub scratch: f64,
}

impl Shape<'_> {
    /// Bytes of the stored activations of one hook point: f16 to fit on, f32 to score on. Each row has its token.
    pub fn activation_bytes(&self, at: &HookShape) -> f64 {
        let width = at.width as f64;
        self.fit_tokens as f64 * (2.0 * width + 4.0) + self.evaluate_tokens() as f64 * (4.0 * width + 4.0)
    }

    /// Hook points in order, as many together as `room` bytes of activations allow.
    pub fn hooks_at_once(&self, room: f64) -> Vec<Vec<HookShape>> {
        let mut groups: Vec<Vec<HookShape>> = Vec::new();
        let mut used = 0.0;
        for at in &self.hooks {
            let bytes = self.activation_bytes(at);
            if groups.is_empty() || used + bytes > room {
                groups.push(Vec::new());
                used = 0.0;
            }
            used += bytes;
            if let Some(group) = groups.last_mut() {
                group.push(*at);
            }
        }
        groups
    }

    /// Bytes on disk, with hook points harvested in these groups. A run on stored activations copies the rows that it
    /// reads.
    pub fn disk(&self, groups: &[Vec<HookShape>]) -> Disk {
        let of_group = |group: &Vec<HookShape>| group.iter().map(|at| self.activation_bytes(at)).sum::<f64>();
        let scratch = groups.iter().map(of_group).fold(0.0, f64::max);
        let rows = self.passes.iter().map(|pass| self.bytes_of_pass(pass)).sum::<f64>();
        Disk { run_folder: CHARTS + CHARTS_OF_HOOK * self.hooks.len() as f64 + rows, scratch }
    }

    fn bytes_of_pass(&self, pass: &PassShape<'_>) -> f64 {
        let rows = self
            .fits(pass)
            .flat_map(|(at, method)| self.rows(at, method).into_iter().map(move |row| (at, row)));
        let of_feature = self.bytes_of_feature(pass);
        rows.map(|(at, row)| {
            DICTIONARY_ENTRY * (row.features * at.width) as f64 + row.scored as f64 * of_feature
        })
        .sum()
    }

    /// Bytes of a scored feature in the run folder.
    pub fn bytes_of_feature(&self, pass: &PassShape<'_>) -> f64 {
        let simulated = self.pairs(pass).len() as f64 * (self.held_fragments() * self.positions) as f64;
        RECORDED_TEXT * (self.recorded() * self.positions) as f64
            + SIMULATED_TEXT * simulated
            + EXPLANATION_TEXT * self.pairs(pass).len() as f64
            + LINE_TEXT * self.lines(pass) as f64
            + if pass.control.is_none() { PAGE } else { 0.0 }
    }

    /// Fragments of a feature that are written with their activations.
    fn recorded(&self) -> usize {
        let protocol = &self.suite.protocol;
        protocol.n_top
            + protocol.n_random
            + protocol.n_quantiles * protocol.per_quantile
            + protocol.n_non_firing
    }

    /// Peak memory in bytes, that of drawing charts included. `opened`: what the process takes with the subject open.
    pub fn memory(&self, opened: f64, groups: &[Vec<HookShape>]) -> f64 {
        let tokens = 8.0 * (self.fit_tokens + self.evaluate_tokens()) as f64;
        let widths = |group: &Vec<HookShape>| group.iter().map(|at| at.width).sum::<usize>() as f64;
        let harvest = 4.0 * HARVESTED_ROWS * groups.iter().map(widths).fold(0.0, f64::max);
        let jobs = self.passes.iter().map(|pass| self.memory_of_jobs(pass)).fold(0.0, f64::max);
        // A permuted model stands beside the real one.
        let permuted = if self.passes.len() > 1 { 4.0 * self.model.weights() } else { 0.0 };
        opened + permuted + tokens + harvest.max(KEPT * jobs) + LINE * self.all_lines() + DRAWN
    }

    /// Lines of `scores.jsonl`, if enough features are eligible.
    fn all_lines(&self) -> f64 {
        let of_pass = |pass: &PassShape<'_>| -> usize {
            let rows = self.fits(pass).flat_map(|(at, method)| self.rows(at, method));
            rows.map(|row| row.scored * self.lines(pass)).sum()
        };
        self.passes.iter().map(of_pass).sum::<usize>() as f64
    }

    /// Bytes of the largest jobs that can run at the same time.
    fn memory_of_jobs(&self, pass: &PassShape<'_>) -> f64 {
        let mut jobs: Vec<f64> = Vec::new();
        for (at, method) in self.fits(pass) {
            let rows = self.rows(at, method);
            let dictionaries: f64 =
                rows.iter().map(|row| DICTIONARY_ENTRY * (row.features * at.width) as f64).sum();
            let fit = method.fit.as_ref().map_or(0.0, |fit| fit.memory(self.fit_tokens as f64, at.width));
            let evaluated = rows.iter().map(|row| self.memory_of_row(at, method, row)).fold(0.0, f64::max);
            jobs.push(dictionaries + fit.max(evaluated));
        }
        jobs.sort_by(|a, b| b.total_cmp(a));
        jobs.iter().take(self.workers().0).sum()
    }

    fn memory_of_row(&self, at: &HookShape, method: &MethodShape<'_>, row: &RowShape) -> f64 {
        let block = (BLOCK_FRAGMENTS * self.positions) as f64;
        let dense = method.fit.as_ref().is_some_and(|fit| fit.has_dense_codes());
        let codes = if dense || row.active > row.features as f64 / 4.0 {
            4.0 * block * row.features as f64
        } else {
            0.0
        };
        let cached = (8.0 * self.evaluate_tokens() as f64 * row.active).min(CODES);
        let protocol = &self.suite.protocol;
        let kept = protocol.n_top + protocol.n_random + protocol.n_more_random + protocol.n_non_firing;
        let records = RECORDED * (row.scored * kept.min(self.fragments) * self.positions) as f64;
        let n_probes = PROBES_OF_FRAGMENT * (row.scored * self.explained_on()) as f64;
        let probing = self.suite.pairs.iter().any(|pair| pair.explainer.kind().probes());
        let probes = if probing { (4.0 * n_probes * at.width as f64).min(PROBES) } else { 0.0 };
        let share = row.active / (row.features as f64).max(1.0);
        let of_scored = (8.0 * self.evaluate_tokens() as f64 * row.scored as f64 * share).min(CODES);
        8.0 * block * at.width as f64 + codes + cached.max(of_scored) + 2.0 * records + probes
    }
}
