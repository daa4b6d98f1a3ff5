//! Causes of a feature across layers: which earlier features, ablated one at a time, change its activation (Cunningham
//! et al. 2023, arXiv 2309.08600, §5 and appendix D).
//!
//! ```text
//! effect of j on fragment i      c_i − c_i(without j)
//! without j                      x′ = x − Σ_p c_jp · d_j
//! attribution of j               Σ_p c_jp · (∇_p c_i · d_j)
//! ```
//!
//! c_i is the later feature's code at its strongest position, and p runs over the scored positions. The reconstruction
//! error stays in x′. One backward pass gives the attributions of all features.
//!
//! Fragments are those where the later feature has at least half of its largest activation, evenly spaced by rank; where
//! they are too few, its strongest ones. All active features of the nearest earlier hook point get an attribution. The
//! best ones by |attribution| are ablated. Those with the largest |effect| are kept, and traced in turn.

mod ablate;
mod pool;
mod target;

use crate::base::HookPoint;
use crate::nn::NnError;
use crate::report::TracedMean;
use crate::subject::{SubjectError, SubjectModel};

use super::{CausalError, Writer};

pub use pool::Pool;

/// A feature of one of a trace's dictionaries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceFeature {
    /// Index of the dictionary.
    pub dictionary: usize,
    /// Index of the feature.
    pub feature: usize,
}

/// How causes are searched.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceParams {
    /// Steps back from the traced feature.
    pub depth: usize,
    /// Causes kept of each feature.
    pub top: usize,
    /// Fragments of each feature.
    pub fragments: usize,
    /// Earlier features ablated of each feature.
    pub max_exact: usize,
    /// Random directions of each control.
    pub random_directions: usize,
    /// First position of a fragment that counts: codes before it are neither read nor ablated.
    pub first_scored: usize,
    /// Resamples of the intervals.
    pub resamples: usize,
    /// Nominal coverage of the intervals.
    pub confidence: f64,
    /// Root of the seed streams.
    pub seed: u64,
}

/// Why a feature has no causes in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum NoCauses {
    /// It is as many steps back as asked for.
    DepthReached,
    /// No dictionary of the trace is at an earlier hook point that it depends on.
    NothingEarlier,
    /// It is active at no scored position of the fragments.
    NeverFires,
}

/// Why a feature cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The subject or a dictionary failed.
    #[error(transparent)]
    Causal(#[from] CausalError),
    /// The traced feature has no causes.
    #[error("{feature} {}", match why {
        NoCauses::NeverFires => "fires on none of the fragments that the run has stored",
        _ => "depends on no dictionary of an earlier hook point: give the suite several hook points, as in \
              `hooks: [blocks.*.hook_resid_post]`, or name other dictionaries with `--method`",
    })]
    NoCauses {
        /// `HOOK/METHOD/FEATURE`.
        feature: String,
        /// Why.
        why: NoCauses,
    },
}

impl From<SubjectError> for TraceError {
    fn from(error: SubjectError) -> Self {
        Self::Causal(error.into())
    }
}

impl From<crate::dictionary::DictionaryError> for TraceError {
    fn from(error: crate::dictionary::DictionaryError) -> Self {
        Self::Causal(error.into())
    }
}

/// The search for the causes of a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Hook point whose activations were changed.
    pub hook: HookPoint,
    /// Dictionaries whose features were tried.
    pub dictionaries: Vec<usize>,
    /// Fragments on which effects are measured.
    pub fragments: usize,
    /// Those with at least half of the feature's largest activation.
    pub in_upper_half: usize,
    /// Mean activation at the strongest position, without an ablation.
    pub activation: f64,
    /// Features that are active in a fragment, up to its strongest position.
    pub active: usize,
    /// Features that were ablated.
    pub tried: usize,
}

/// An earlier feature's effect on a later one.
#[derive(Debug, Clone, PartialEq)]
pub struct Cause {
    /// The earlier feature.
    pub from: TraceFeature,
    /// The later feature.
    pub to: TraceFeature,
    /// Estimate by the gradient: mean over fragments, in units of the later feature's activation.
    pub attribution: f64,
    /// Drop of the activation, in its units.
    pub effect: TracedMean,
    /// The same as a share of the activation.
    pub share: TracedMean,
    /// Share under edits of the same norm in random directions: mean over directions.
    pub random: TracedMean,
    /// Mean over random directions of |mean share over fragments|.
    pub random_size: f64,
    /// Fragments in which the earlier feature is active.
    pub active_fragments: usize,
}

/// A feature of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TracedFeature {
    /// The feature.
    pub id: TraceFeature,
    /// Steps back from the traced feature.
    pub step: usize,
    /// How its causes were found.
    pub found: Result<Found, NoCauses>,
}

/// A feature's causes, their causes, and so on.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// The traced feature first, then step by step. None is listed twice.
    pub features: Vec<TracedFeature>,
    /// The causes of each feature in that order, strongest first.
    pub causes: Vec<Cause>,
}

/// What happens with the causes of one feature.
type Step = Result<(Found, Vec<Cause>), NoCauses>;

/// Traces features of some dictionaries of one subject.
pub struct Tracer<'a> {
    subject: &'a dyn SubjectModel,
    writers: Vec<Writer<'a>>,
    pool: Pool,
    params: TraceParams,
}

impl<'a> Tracer<'a> {
    /// The pool has the codes of these dictionaries in this order.
    pub fn new(
        subject: &'a dyn SubjectModel,
        writers: Vec<Writer<'a>>,
        pool: Pool,
        params: TraceParams,
    ) -> Self {
        Self { subject, writers, pool, params }
    }

    /// The fragments.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// `HOOK/METHOD/FEATURE`.
    pub fn name(&self, of: TraceFeature) -> String {
        let info = self.writers[of.dictionary].dictionary().info();
        format!("{}/{}/{}", info.hook, info.method, of.feature)
    }

    /// Traces a feature. Fails if it never fires or nothing is earlier; of its causes this is recorded instead. `on` gets
    /// the number of features done and known so far.
    pub fn trace(&self, target: TraceFeature, on: &dyn Fn(usize, usize)) -> Result<Traced, TraceError> {
        self.writers[target.dictionary].check(target.feature)?;
        let mut known = vec![(target, 0)];
        let mut traced = Traced { features: Vec::new(), causes: Vec::new() };
        while let Some(&(id, step)) = known.get(traced.features.len()) {
            on(traced.features.len(), known.len());
            let found = match self.step(id, step)? {
                Ok((found, causes)) => {
                    for cause in &causes {
                        if !known.iter().any(|(other, _)| *other == cause.from) {
                            known.push((cause.from, step + 1));
                        }
                    }
                    traced.causes.extend(causes);
                    Ok(found)
                }
                Err(why) if step == 0 => return Err(TraceError::NoCauses { feature: self.name(id), why }),
                Err(why) => Err(why),
            };
            traced.features.push(TracedFeature { id, step, found });
        }
        on(known.len(), known.len());
        Ok(traced)
    }

    /// The causes of one feature at the nearest earlier hook point that it depends on.
    fn step(&self, target: TraceFeature, step: usize) -> Result<Step, TraceError> {
        if step >= self.params.depth {
            return Ok(Err(NoCauses::DepthReached));
        }
        for (hook, group) in self.earlier(self.writers[target.dictionary].reads()) {
            match self.causes(target, hook, &group) {
                // In a block whose parts run in parallel, an earlier part need not reach a later one.
                Err(TraceError::Causal(CausalError::Subject(SubjectError::Nn(NnError::NoGradient {
                    ..
                })))) => (),
                found => return found,
            }
        }
        Ok(Err(NoCauses::NothingEarlier))
    }

    /// The dictionaries that change activations before a hook point, by the hook point they change, nearest first.
    fn earlier(&self, before: HookPoint) -> Vec<(HookPoint, Vec<usize>)> {
        let is_earlier = |writer: &Writer<'_>| writer.writes().computed() < before.computed();
        let mut hooks: Vec<HookPoint> =
            self.writers.iter().filter(|writer| is_earlier(writer)).map(Writer::writes).collect();
        hooks.sort_by_key(|hook| std::cmp::Reverse(hook.computed()));
        hooks.dedup();
        let group = |hook: HookPoint| {
            let at = self.writers.iter().enumerate().filter(|(_, writer)| writer.writes() == hook);
            (hook, at.map(|(nth, _)| nth).collect())
        };
        hooks.into_iter().map(group).collect()
    }
}

#[cfg(test)]
mod tests;
