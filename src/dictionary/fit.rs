use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{Stopwatch, Stream};
use crate::nn::Device;

use super::{Dictionary, FitError, Kind, Recipe, TextInput, Variant};

/// How far a fit is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitProgress {
    /// Steps or iterations done.
    pub step: usize,
    /// Steps to do, at most.
    pub steps: usize,
    /// What is minimised, lately.
    pub loss: f64,
    /// Mean number of active features, where the method has one.
    pub l0: Option<f64>,
}

/// What a fit needs beside its parameters and the activations.
pub struct FitContext<'a> {
    /// Name of the method in tables; variants append to it.
    pub method: &'a str,
    /// Seed of the named streams the fit draws from.
    pub seed: u64,
    /// Which of several trainings of the same method this is, from 0. All take rows in the same order; what else
    /// is drawn differs.
    pub training: u32,
    /// How the texts were run that the activations are of.
    pub input: TextInput,
    /// Where autoencoders are trained; all other fits are made in main memory.
    pub device: &'a Device,
    /// Called now and then; it must not change anything.
    pub progress: &'a mut dyn FnMut(FitProgress),
}

impl FitContext<'_> {
    /// A stream of this training's own.
    pub(super) fn stream(&self, parts: &[&str]) -> Stream {
        stream(self.seed, self.training, parts)
    }
}

/// The stream of one of several trainings; the first one's name is that of a single training.
pub(super) fn stream(seed: u64, training: u32, parts: &[&str]) -> Stream {
    match training {
        0 => Stream::named(seed, parts),
        nth => Stream::named(seed, &[parts, &[&format!("training {}", nth + 1)]].concat()),
    }
}

/// Checked parameters that can learn a dictionary.
pub trait DictionaryFit: Send + Sync {
    /// What kind it makes.
    fn kind(&self) -> Kind;

    /// Learns from all rows of `set`. The same parameters, set and seed give the same dictionary
    /// for any number of threads.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError>;

    /// The dictionaries of all variants asked for, in their order, from one fit. `l0` is the mean L0 of the method
    /// that a `topk` variant is matched to.
    fn fit_variants(
        &self,
        set: &ActivationSet,
        context: &mut FitContext<'_>,
        _wanted: &[Variant],
        _l0: Option<f64>,
    ) -> Result<Vec<Fitted>, FitError> {
        Ok(vec![self.fit(set, context)?])
    }

    /// The training, where it goes in steps on batches that several methods can share.
    fn recipe(&self, _width: usize, _method: &str) -> Option<Result<Recipe, FitError>> {
        None
    }

    /// Floating-point operations of a fit on `rows` rows, to the nearest order. A multiply-add counts as two.
    fn work(&self, rows: f64, width: usize) -> f64 {
        2.0 * rows * (width * width) as f64
    }
}

/// A dictionary and how making it went.
pub struct Fitted {
    /// The dictionary.
    pub dictionary: Box<dyn Dictionary>,
    /// How it went.
    pub report: FitReport,
}

/// How a fit went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FitReport {
    /// Whether the solver met its tolerance, or training had stopped improving. None where there
    /// is nothing to converge.
    pub converged: Option<bool>,
    /// Steps or iterations taken.
    pub steps: usize,
    /// Rows the fit saw, repeats included.
    pub rows: usize,
    /// (step, loss): mean squared error per unit of input mean square for autoencoders, the largest
    /// gradient entry for ICA. At most about a hundred points.
    pub loss_curve: Vec<(usize, f64)>,
    /// Mean number of active features over the last tenth of training.
    pub l0: Option<f64>,
    /// Weight of the L1 term in force at the end, times the width.
    pub l1_weight: Option<f64>,
    /// Wall-clock time; the only field that differs between two runs.
    pub seconds: f64,
    /// What puts the dictionary in doubt: not converged, under-trained, L0 out of range.
    pub warnings: Vec<String>,
    /// What else a reader of the table may want to know: subsampled, features given a new direction.
    pub notes: Vec<String>,
}

impl FitReport {
    /// A report of something that needed no search.
    pub(super) fn immediate(started: Stopwatch) -> Self {
        Self { seconds: started.seconds(), ..Self::default() }
    }
}
