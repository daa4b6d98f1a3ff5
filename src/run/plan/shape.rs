//! The sizes of a run: hook points, passes over subjects, rows with their features. Everything that is counted starts
//! here, for a plan before a run and for the remaining time during one.

use crate::base::HookPoint;
use crate::dictionary::{DictionaryFit, Variant};
use crate::features::WalkOrder;
use crate::run::parallel::MAX_JOBS;
use crate::run::plan::headers::{features_in_files, params_here};
use crate::run::{Places, RunError};
use crate::subject::SubjectModel;
use crate::suite::{MethodSpec, Pair, QualityPass, Suite};

/// Features per dimension of a dictionary whose size is not known before it is fetched.
const USUAL_EXPANSION: usize = 8;

/// Active codes of a token in a dictionary trained elsewhere.
const USUAL_ACTIVE: f64 = 64.0;

/// The sizes of a run.
pub struct Shape<'a> {
    pub suite: &'a Suite,
    pub model: ModelShape,
    pub hooks: Vec<HookShape>,
    /// Tokens of the fit split, in contexts of `context` tokens.
    pub fit_tokens: usize,
    pub context: usize,
    /// Evaluation fragments, of `positions` tokens each.
    pub fragments: usize,
    pub positions: usize,
    /// Tokens in front of each context and fragment.
    pub prefix: usize,
    /// The real subject, then the controls with permuted weights.
    pub passes: Vec<PassShape<'a>>,
    pub threads: usize,
}

/// The sizes of a subject model.
#[derive(Debug, Clone, Copy)]
pub struct ModelShape {
    pub layers: usize,
    pub d_model: usize,
    pub d_mlp: usize,
    pub vocab: usize,
    /// Whether there is a model to run, and not only stored activations.
    pub runs: bool,
}

/// A hook point.
#[derive(Debug, Clone, Copy)]
pub struct HookShape {
    pub hook: HookPoint,
    pub width: usize,
    /// Blocks that run to get its activations.
    pub depth: usize,
}

impl HookShape {
    /// A hook point with activations of this width.
    pub fn new(hook: HookPoint, width: usize) -> Self {
        Self { hook, width, depth: depth(hook) }
    }
}

/// The methods of one subject.
pub struct PassShape<'a> {
    /// Name of the control; none for the real subject.
    pub control: Option<&'static str>,
    pub methods: Vec<MethodShape<'a>>,
}

impl PassShape<'_> {
    /// Suffix of its stages' names, as in [`SubjectPass::label`](crate::run::SubjectPass::label).
    pub fn label(&self) -> String {
        pass_label(self.control)
    }
}

/// Suffix of stage names: empty for the real subject, ` (random weights)` for a control.
pub fn pass_label(control: Option<&'static str>) -> String {
    control.map_or(String::new(), |control| format!(" ({})", control.replace('_', " ")))
}

/// A method.
pub struct MethodShape<'a> {
    pub spec: &'a MethodSpec,
    pub fit: Option<Box<dyn DictionaryFit>>,
    /// Features of its files, where it was trained elsewhere and they are here.
    in_files: Option<usize>,
}

/// A row of the table: one dictionary.
#[derive(Debug, Clone)]
pub struct RowShape {
    pub name: String,
    /// Features of the dictionary.
    pub features: usize,
    /// Whether that is their number, and not an upper bound or a guess.
    pub is_exact: bool,
    /// Features to score, if enough are eligible.
    pub scored: usize,
    /// Features that are walked where too few are eligible.
    pub walked_at_most: usize,
    /// About how many codes of a token are not 0.
    pub active: f64,
    /// Features that are encoded on all fragments: all, unless they are known beforehand and no quality is measured.
    pub encoded: usize,
    /// Whether a feature's code depends on the other features.
    pub couples: bool,
    /// How its quality is measured.
    pub quality: QualityPass,
}

impl<'a> Shape<'a> {
    /// The sizes of a suite's run on an open subject.
    pub fn of(
        suite: &'a Suite,
        model: &dyn SubjectModel,
        hooks: &[HookPoint],
        prefix: usize,
        places: &Places,
    ) -> Result<Self, RunError> {
        let info = model.info();
        let hooks = hooks
            .iter()
            .map(|&hook| Ok(HookShape::new(hook, model.width(hook)?)))
            .collect::<Result<Vec<_>, RunError>>()?;
        let model = ModelShape {
            layers: info.n_layers,
            d_model: info.d_model,
            d_mlp: info.d_mlp,
            vocab: info.vocab,
            runs: model.without_model().is_none(),
        };
        Ok(Self::of_sizes(suite, model, hooks, prefix, places))
    }

    /// The sizes of a suite's run on a model of these sizes, which need not be open.
    pub fn of_sizes(
        suite: &'a Suite,
        model: ModelShape,
        hooks: Vec<HookShape>,
        prefix: usize,
        places: &Places,
    ) -> Self {
        let context = suite.corpus.ctx_tokens.saturating_sub(prefix).max(1);
        let of_method = |spec: &'a MethodSpec| MethodShape {
            spec,
            fit: params_here(spec, places).and_then(|params| params.check().ok()),
            in_files: hooks.first().and_then(|at| features_in_files(spec, at.hook, places)),
        };
        let real = PassShape { control: None, methods: suite.methods.iter().map(of_method).collect() };
        let permuted = suite.on_permuted_weights().map(|(control, methods)| PassShape {
            control: Some(control),
            methods: methods.into_iter().map(of_method).collect(),
        });
        let passes = std::iter::once(real).chain(permuted).collect();
        Self {
            suite,
            model,
            // Contexts are whole.
            fit_tokens: suite.corpus.fit_tokens.div_ceil(context).saturating_mul(context),
            context,
            fragments: suite.corpus.eval_fragments,
            positions: suite.protocol.fragment_tokens,
            prefix,
            hooks,
            passes,
            threads: rayon::current_num_threads(),
        }
    }

    /// Tokens of the evaluation fragments.
    pub fn evaluate_tokens(&self) -> usize {
        self.fragments.saturating_mul(self.positions)
    }

    /// Workers that fit and evaluate dictionaries at the same time, and the threads of each.
    pub fn workers(&self) -> (usize, usize) {
        let workers = self.threads.clamp(1, MAX_JOBS);
        (workers, (self.threads / workers).max(1))
    }

    /// Explainers with their simulators on the real subject or on a control, the `oracle` control among them.
    pub fn pairs(&self, pass: &PassShape<'_>) -> Vec<Pair> {
        let oracle = (pass.control.is_none() && self.suite.controls.oracle).then(Pair::oracle).flatten();
        self.suite.pairs.iter().cloned().chain(oracle).collect()
    }

    /// Score lines of a feature on the real subject or on a control: one for each explainer, and again for `shuffled`.
    pub fn lines(&self, pass: &PassShape<'_>) -> usize {
        let again = pass.control.is_none() && self.suite.controls.shuffled;
        self.pairs(pass).len() + if again { self.suite.pairs.len() } else { 0 }
    }

    /// The methods with rows at a hook point, in the suite's order.
    pub fn methods_at<'s>(
        &self,
        pass: &'s PassShape<'a>,
        at: &HookShape,
    ) -> impl Iterator<Item = &'s MethodShape<'a>> + use<'s, 'a> {
        let hook = at.hook;
        pass.methods.iter().filter(move |method| method.spec.is_at(hook))
    }

    /// Every hook point and method of a pass that has rows there, in the order of the tables.
    pub fn fits<'s>(
        &'s self,
        pass: &'s PassShape<'a>,
    ) -> impl Iterator<Item = (&'s HookShape, &'s MethodShape<'a>)> {
        self.hooks.iter().flat_map(|at| self.methods_at(pass, at).map(move |method| (at, method)))
    }

    /// The rows of a method at a hook point.
    pub fn rows(&self, at: &HookShape, method: &MethodShape<'_>) -> Vec<RowShape> {
        let spec = method.spec;
        let known = method.fit.as_ref().and_then(|fit| fit.most_features(at.width)).or(method.in_files);
        let own = known.unwrap_or(USUAL_EXPANSION * at.width);
        let row = |(name, variant): (String, &Variant)| {
            let features = own * variant.sides();
            let couples = method.fit.as_ref().is_some_and(|fit| fit.couples_features(*variant));
            let (scored, walked_at_most) = (self.scored(spec, features), self.walked_at_most(spec, features));
            let alone = spec.quality != QualityPass::Full && !couples && walked_at_most == scored;
            RowShape {
                name,
                features,
                is_exact: method.in_files.is_some() || method.is_trained_here(at.width),
                scored,
                walked_at_most,
                encoded: if alone { scored } else { features },
                active: self.active(method, *variant, features).min(features as f64),
                couples,
                quality: spec.quality,
            }
        };
        spec.row_names().into_iter().zip(spec.variants()).map(row).collect()
    }

    /// The rows at a hook point whose features are patched on the suite's task.
    pub fn patched(&self, at: &HookShape, pass: &PassShape<'a>) -> impl Iterator<Item = RowShape> {
        self.first_trainings(at, pass, self.suite.task.is_some()).into_iter()
    }

    /// The rows at a hook point with which the suite's concepts are erased.
    pub fn erased(&self, at: &HookShape, pass: &PassShape<'a>) -> impl Iterator<Item = RowShape> {
        self.first_trainings(at, pass, self.suite.erasure.is_some()).into_iter()
    }

    /// The rows of first trainings, if they are wanted.
    fn first_trainings(&self, at: &HookShape, pass: &PassShape<'a>, wanted: bool) -> Vec<RowShape> {
        let methods = self.methods_at(pass, at).filter(|method| wanted && method.spec.nth_training() == 0);
        methods.flat_map(|method| self.rows(at, method)).collect()
    }

    /// Features to score of a row: as many as are asked for, if there are so many.
    fn scored(&self, spec: &MethodSpec, features: usize) -> usize {
        match (spec.ids(), self.suite.protocol.walk) {
            (Some(ids), _) => ids.len(),
            (None, WalkOrder::First(n)) => n.min(features),
            (None, WalkOrder::Permutation) => self.suite.n_features(spec).min(features),
        }
    }

    /// Features that are walked at most: all, unless they are chosen or the protocol says which.
    fn walked_at_most(&self, spec: &MethodSpec, features: usize) -> usize {
        match (spec.ids(), self.suite.protocol.walk) {
            (None, WalkOrder::Permutation) => features,
            _ => self.scored(spec, features),
        }
    }

    /// About how many codes of a token are not 0: what the suite asks for, or else half of the features, or all.
    fn active(&self, method: &MethodShape<'_>, variant: Variant, features: usize) -> f64 {
        let asked = |spec: &MethodSpec| -> Option<f64> {
            let stated = serde_json::to_value(&spec.params).ok()?;
            ["k", "target_l0"].into_iter().find_map(|field| stated[field].as_f64())
        };
        let has_variants = !method.spec.params.variants().is_empty();
        let dense = method.fit.as_ref().is_some_and(|fit| fit.has_dense_codes());
        match variant {
            Variant::Topk => {
                let reference = method.spec.params.matched().and_then(|name| {
                    self.suite.methods.iter().find(|other| other.name == name).and_then(asked)
                });
                asked(method.spec).or(reference).unwrap_or(features as f64 / 2.0)
            }
            Variant::Split => features as f64 / 2.0,
            _ if has_variants => features as f64,
            _ if dense => features as f64 / 2.0,
            _ => asked(method.spec).unwrap_or(match method.spec.params.path() {
                Some(_) => USUAL_ACTIVE,
                None => features as f64 / 2.0,
            }),
        }
    }
}

impl MethodShape<'_> {
    /// Whether it is trained in steps: then its dictionary has exactly the features that it is made with.
    pub fn is_trained_here(&self, width: usize) -> bool {
        self.fit.as_ref().is_some_and(|fit| fit.recipe(width, "").is_some())
    }
}

/// Blocks that run to get a hook point's activations.
fn depth(hook: HookPoint) -> usize {
    match hook {
        HookPoint::Embed => 0,
        HookPoint::Block { layer, .. } => layer + 1,
    }
}
