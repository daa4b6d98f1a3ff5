//! The interface of all fits: what they get, what they return, and their report.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::Stream;
use crate::nn::Device;

use super::{Dictionary, FitError, Kind, Read, Recipe, TextInput, Variant};

/// Progress of a fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitProgress {
    /// Steps or iterations done.
    pub step: usize,
    /// Largest number of steps.
    pub steps: usize,
    /// Loss of the last step.
    pub loss: f64,
    /// Mean number of active features; None for methods without sparsity.
    pub l0: Option<f64>,
}

/// What a fit needs besides its parameters and the activations.
pub struct FitContext<'a> {
    /// Name of the method in tables. Variants append to it.
    pub method: &'a str,
    /// Seed of all random draws.
    pub seed: u64,
    /// Number of this training among several of the same method, from 0. All use the same row order; other draws differ.
    pub training: u32,
    /// How the subject model ran the texts of the activations.
    pub input: TextInput,
    /// The only features that are needed, ascending. A fit may leave the others out.
    pub only: Option<&'a [usize]>,
    /// Device that trains autoencoders. All other fits run on the CPU.
    pub device: &'a Device,
    /// Called from time to time. It must not influence the fit.
    pub progress: &'a mut dyn FnMut(FitProgress),
}

/// The stream of one of several trainings. The first has the stream of a single training.
pub(super) fn stream(seed: u64, training: u32, parts: &[&str]) -> Stream {
    match training {
        0 => Stream::named(seed, parts),
        nth => Stream::named(seed, &[parts, &[&format!("training {}", nth + 1)]].concat()),
    }
}

/// Floating-point operations that take about as long as to draw one entry of a random direction, and to save it.
const DRAWN_ENTRY: f64 = 1000.0;

/// Floating-point operations of a fit, about. A multiply-add counts as two; other work counts as the operations of a
/// product that take as long.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FitWork {
    /// Besides the steps.
    pub before: f64,
    /// One of the first steps or iterations, when codes are not sparse yet.
    pub first_step: f64,
    /// A step or iteration on average.
    pub step: f64,
    /// Steps or iterations: as many as are asked for, or as a solver usually takes.
    pub steps: f64,
}

/// What a fit computes and moves on any machine, by its formula: at least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct FitCost {
    /// Floating-point operations. A multiply-add counts as two.
    pub flops: [f64; 2],
    /// Bytes between processor and memory, f32.
    pub moved: [f64; 2],
    /// Rows read from the store, each as often as it is read.
    pub rows_read: f64,
}

/// Checked parameters from which a dictionary can be fitted.
pub trait DictionaryFit: Send + Sync {
    /// Kind of the resulting dictionary.
    fn kind(&self) -> Kind;

    /// Fits to all rows of `set`. The result depends on parameters, set and seed, and not on the number of threads.
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

    /// Number of features of the dictionary on activations of this width, before it is fitted: an upper bound where
    /// directions without variance are left out, None where only the fit knows. Variants with two sides have twice as
    /// many.
    fn most_features(&self, width: usize) -> Option<usize> {
        self.recipe(width, "")?.ok().map(|recipe| recipe.features)
    }

    /// Floating-point operations of a fit on `rows` rows. Here those of the directions alone, which are drawn or read.
    fn work(&self, _rows: f64, width: usize) -> FitWork {
        let entries = (self.most_features(width).unwrap_or(0) * width) as f64;
        FitWork { before: DRAWN_ENTRY * entries, ..FitWork::default() }
    }

    /// What a fit on `rows` rows computes and moves. Here that of a training, or of directions that are drawn or read.
    fn cost(&self, _rows: f64, width: usize) -> FitCost {
        if let Some(Ok(recipe)) = self.recipe(width, "") {
            return recipe.cost(width);
        }
        let entries = self.most_features(width).unwrap_or(0) as f64 * width as f64;
        FitCost { flops: [0.0, 2.0 * entries], moved: [4.0 * entries, 8.0 * entries], rows_read: 0.0 }
    }

    /// The same fit with at most `steps` steps or iterations, to time them; None for a fit without any.
    fn shortened(&self, _steps: usize) -> Option<Box<dyn DictionaryFit>> {
        None
    }

    /// Memory that a fit on `rows` rows takes at least, in bytes: here encoder and decoder in f32.
    fn memory(&self, _rows: f64, width: usize) -> f64 {
        8.0 * self.most_features(width).unwrap_or(0) as f64 * width as f64
    }

    /// Whether a code of the dictionary depends on the other features, as in TopK.
    fn couples_features(&self, variant: Variant) -> bool {
        variant == Variant::Topk
    }

    /// Whether so many codes are not zero that they are held dense: half of all random directions fire.
    fn has_dense_codes(&self) -> bool {
        false
    }
}

impl fmt::Debug for dyn DictionaryFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DictionaryFit({})", self.kind())
    }
}

/// A dictionary and the report of its fit.
pub struct Fitted {
    /// The dictionary.
    pub dictionary: Box<dyn Dictionary>,
    /// The report.
    pub report: FitReport,
}

/// Report of a fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FitReport {
    /// Whether the solver met its tolerance, or the training loss had stopped falling. None for methods without
    /// iterations.
    pub converged: Option<bool>,
    /// Steps or iterations taken.
    pub steps: usize,
    /// Rows that the fit saw, repeats included.
    pub rows: usize,
    /// (step, loss). For autoencoders the loss is the mean squared error per unit of input mean square, for ICA the
    /// largest gradient entry. About a hundred points at most.
    pub loss_curve: Vec<(usize, f64)>,
    /// Mean number of active features over the last tenth of training.
    pub l0: Option<f64>,
    /// L1 weight at the end, times the width.
    pub l1_weight: Option<f64>,
    /// Wall-clock time. Only this field differs between two runs.
    pub seconds: f64,
    /// Reasons to doubt the dictionary: not converged, under-trained, L0 out of range.
    pub warnings: Vec<String>,
    /// Other facts about the fit: rows subsampled, features resampled.
    pub notes: Vec<String>,
    /// What was read, for a dictionary trained elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Box<Read>>,
}
