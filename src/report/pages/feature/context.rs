//! What the parts of a feature page share: the run folder's data, the explainers, and the features with their evidence.

use std::collections::{HashMap, HashSet};

use super::candidates::Candidate;
use crate::report::layout::{Layout, Place};
use crate::report::manifest::ManifestView;
use crate::report::pages::evidence::{Record, Simulation};
use crate::report::pages::names::Names;
use crate::report::pages::packed::Bytes;
use crate::report::scores::{FeatureLine, FeatureScores};
use crate::report::view::Pairing;

/// The highest level that a language model predicts.
const HIGHEST_LEVEL: f64 = 10.0;

/// What all feature pages of a run folder share.
pub struct Context<'a> {
    pub layout: &'a Layout,
    pub names: &'a Names,
    /// Text of every token, by id.
    pub tokens: Option<&'a [String]>,
    pub manifest: Option<&'a ManifestView>,
    /// All lines of the run, for the places of scores.
    pub scores: Option<&'a FeatureScores>,
    /// In the order of the tables.
    pub scorers: &'a [&'a str],
    /// The scorers at a glance, see [`View::glance_scorers`](crate::report::view::View::glance_scorers).
    pub glance_scorers: &'a [(usize, &'a str, bool)],
    /// The scorers whose chance level is 0.5.
    pub chance_is_half: &'a [&'a str],
    /// The features of each dictionary that are on its page.
    pub walked: &'a HashMap<Place, HashSet<usize>>,
}

/// An explainer with its simulator.
pub struct Explainer<'a> {
    pub pairing: Pairing<'a>,
    /// Whether it predicts levels from 0 to 10.
    pub ten_point: bool,
}

impl Explainer<'_> {
    pub fn simulated(&self, line: &Simulation) -> bool {
        line.explainer == self.pairing.explainer && line.simulator == self.pairing.simulator
    }

    /// The activation of a prediction of 1, where level 10 is the feature's largest activation.
    pub fn unit(&self, max_activation: Option<f64>) -> f64 {
        max_activation.filter(|_| self.ten_point).map_or(1.0, |max| max / HIGHEST_LEVEL)
    }
}

/// A feature of the page with its evidence.
pub struct Feature<'a> {
    pub feature: usize,
    pub lines: Vec<&'a FeatureLine>,
    pub record: Option<&'a Record>,
    pub simulations: &'a [Simulation],
    /// The quantisation of its activations.
    pub bytes: Bytes,
    /// Most useful first.
    pub candidates: Vec<Candidate<'a>>,
}
