//! Traces the causes of a feature of a finished run.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use crate::base::{HookPoint, TokenBatch, distinct};
use crate::causal::{
    CausalError, Found, NoCauses, Pool, TraceError, TraceFeature, TraceParams, Traced, Tracer, Writer,
};
use crate::dictionary::Dictionary;
use crate::report::{
    EvidenceFile, FeatureLine, FeatureTrace, Label, Place, TRACE_SCHEMA, TraceCauses, TraceEdge,
    TraceHistogram, TraceNode, TraceSettings, check_listed, dictionary_name, read_lines,
};
use crate::run::inputs::finished::{FinishedRun, RunFeature};
use crate::run::{Event, Places, RunError};
use crate::subject::{SubjectModel, WithPrefix};

/// Stored fragments on which features are looked up, at most.
const POOL_FRAGMENTS: usize = 400;

/// Random directions of each control.
const RANDOM_DIRECTIONS: usize = 4;

/// Resamples of each interval.
const RESAMPLES: usize = 2_000;

/// Coverage of the intervals.
const CONFIDENCE: f64 = 0.95;

/// Bins of a feature's histogram.
const BINS: usize = 20;

/// Tokens named for a feature.
const TOKENS: usize = 5;

/// How far and how widely causes are searched.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceAsk {
    /// `HOOK/METHOD/FEATURE`.
    pub feature: String,
    /// Dictionaries whose features may be causes; empty for the feature's own.
    pub methods: Vec<String>,
    /// Steps back.
    pub depth: usize,
    /// Causes kept of each feature.
    pub top: usize,
    /// Fragments of each feature.
    pub fragments: usize,
    /// Earlier features ablated of each feature.
    pub max_exact: usize,
    /// Where the model lies now; none for the place that the suite gave.
    pub model: Option<String>,
}

/// The fields used of a line of `records/`.
#[derive(Deserialize)]
struct Record {
    feature: usize,
    #[serde(default)]
    first_scored: usize,
    #[serde(default)]
    top: Vec<Fragment>,
    #[serde(default)]
    random: Vec<Fragment>,
    #[serde(default)]
    quantile_fragments: Vec<Fragment>,
    #[serde(default)]
    non_firing: Vec<Fragment>,
}

#[derive(Deserialize)]
struct Fragment {
    fragment: usize,
    tokens: Vec<u32>,
}

/// The dictionaries of a trace. The traced feature's own is the first.
struct Dictionaries {
    places: Vec<Place>,
    dictionaries: Vec<Box<dyn Dictionary>>,
}

/// What names and draws the features of a trace.
struct Described<'a> {
    run: &'a FinishedRun,
    places: &'a [Place],
    tracer: &'a Tracer<'a>,
    labels: HashMap<(String, String, usize), String>,
    token_texts: Vec<String>,
}

impl From<TraceError> for RunError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Causal(CausalError::Subject(error)) => error.into(),
            TraceError::Causal(CausalError::Dictionary(error)) => error.into(),
            error => Self::Setting { field: "FEATURE".into(), problem: format!("cannot be traced: {error}") },
        }
    }
}

/// Traces a feature of a run, and returns its place in the run folder with the trace.
pub fn trace_feature(
    run: &FinishedRun,
    ask: &TraceAsk,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<(Place, FeatureTrace), RunError> {
    let target = run.feature(&ask.feature)?;
    let (place, feature) = (target.place.clone(), target.feature);
    let found = dictionaries(run, ask, target)?;
    let (tokens, first_scored) = pool_tokens(run, &found.places, feature)?;
    let loaded = run.open_model("causes of a feature", ask.model.as_deref(), places)?;
    let prefix = loaded.prefix(run.subject_spec()?.bos)?;
    let subject = WithPrefix::new(loaded.model(), &prefix.ids);
    let writers = || -> Result<Vec<Writer<'_>>, CausalError> {
        found.dictionaries.iter().map(|one| Writer::new(&**one)).collect()
    };
    let encoding = |done, total| on(Event::work("encode", done, total, "fragments"));
    let pool = Pool::new(&subject, &writers().map_err(TraceError::from)?, tokens, &encoding)?;
    let seed = run.fact("/seed").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let params = TraceParams {
        depth: ask.depth,
        top: ask.top,
        fragments: ask.fragments,
        max_exact: ask.max_exact,
        random_directions: RANDOM_DIRECTIONS,
        first_scored,
        resamples: RESAMPLES,
        confidence: CONFIDENCE,
        seed,
    };
    let settings = TraceSettings {
        depth: ask.depth,
        top: ask.top,
        fragments: ask.fragments,
        max_exact: ask.max_exact,
        random_directions: RANDOM_DIRECTIONS,
        pool_fragments: pool.tokens().rows(),
        seed,
        confidence: CONFIDENCE,
    };
    let tracer = Tracer::new(&subject, writers().map_err(TraceError::from)?, pool, params);
    let tracing = |done, total| on(Event::work("trace", done, total, "features"));
    let traced = tracer.trace(TraceFeature { dictionary: 0, feature }, &tracing)?;
    let described = Described {
        run,
        places: &found.places,
        tracer: &tracer,
        labels: labels(run)?,
        token_texts: run.token_texts()?,
    };
    Ok((place, described.trace(&traced, &found.dictionaries, settings, subject.info().name.clone())))
}

/// The traced feature's dictionary, and those of the asked names at earlier hook points.
fn dictionaries(run: &FinishedRun, ask: &TraceAsk, target: RunFeature) -> Result<Dictionaries, RunError> {
    let known: Vec<(&str, &str)> =
        run.dictionaries().into_iter().filter_map(|name| name.split_once('/')).collect();
    let methods = match ask.methods.is_empty() {
        true => vec![target.place.dictionary.clone()],
        false => distinct(ask.methods.iter().cloned()),
    };
    if let Some(method) = methods.iter().find(|method| !known.iter().any(|(_, name)| name == method)) {
        let names = distinct(known.iter().map(|(_, name)| *name)).join(", ");
        let problem = format!("is `{method}`, expected a dictionary of this run: {names}");
        return Err(RunError::Setting { field: "--method".into(), problem });
    }
    let before = target.dictionary.info().hook.computed();
    let mut all = Dictionaries { places: vec![target.place], dictionaries: vec![target.dictionary] };
    for (hook, name) in known {
        let is_earlier = hook.parse().is_ok_and(|hook: HookPoint| hook.computed() < before);
        if is_earlier && methods.iter().any(|method| method == name) {
            let place = Place { hook: hook.into(), dictionary: name.into(), control: None };
            all.dictionaries.push(run.dictionary(&place)?);
            all.places.push(place);
        }
    }
    Ok(all)
}

/// Fragments that the run stored: those of the traced feature's record, and a spread of all others of these
/// dictionaries. Also the first position of a fragment that is scored.
fn pool_tokens(run: &FinishedRun, places: &[Place], feature: usize) -> Result<(TokenBatch, usize), RunError> {
    let mut own: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut others: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    let mut first_scored = 0;
    for (nth, place) in places.iter().enumerate() {
        let path = run.layout().evidence(place, EvidenceFile::Records);
        check_listed(run.layout().folder(), &[&path])?;
        for record in read_lines::<Record>(&path)?.unwrap_or_default() {
            first_scored = record.first_scored;
            let into = if nth == 0 && record.feature == feature { &mut own } else { &mut others };
            let Record { top, random, quantile_fragments, non_firing, .. } = record;
            let all = [top, random, quantile_fragments, non_firing].into_iter().flatten();
            into.extend(all.map(|fragment| (fragment.fragment, fragment.tokens)));
        }
    }
    others.retain(|fragment, _| !own.contains_key(fragment));
    let room = POOL_FRAGMENTS.saturating_sub(own.len()).min(others.len());
    let spread = (0..room).map(|nth| nth * others.len() / room).collect::<Vec<_>>();
    let others: Vec<Vec<u32>> = others.into_values().collect();
    let chosen: Vec<Vec<u32>> =
        own.into_values().chain(spread.into_iter().map(|nth| others[nth].clone())).collect();
    let cols = chosen.first().map_or(0, Vec::len);
    let is_even = chosen.iter().all(|tokens| tokens.len() == cols);
    let batch = TokenBatch::new(chosen.concat(), cols).filter(|_| is_even);
    let batch = batch.ok_or_else(|| RunError::Input {
        path: run.layout().evidence(&places[0], EvidenceFile::Records),
        why:
            "and the records of the earlier dictionaries hold no fragments of one length: run the suite again"
                .into(),
    })?;
    Ok((batch, first_scored))
}

/// Labels of explained features by hook point, dictionary and feature, under the first explainer that has one.
fn labels(run: &FinishedRun) -> Result<HashMap<(String, String, usize), String>, RunError> {
    let path = run.layout().scores();
    check_listed(run.layout().folder(), &[&path])?;
    let mut labels = HashMap::new();
    for line in read_lines::<FeatureLine>(&path)?.unwrap_or_default() {
        if let (None, Some(explanation)) = (&line.control, &line.explanation) {
            let dictionary = dictionary_name(&line.method, line.training);
            labels
                .entry((line.hook, dictionary, line.feature))
                .or_insert_with(|| Label::of(explanation).line);
        }
    }
    Ok(labels)
}

impl Described<'_> {
    fn trace(
        &self,
        traced: &Traced,
        dictionaries: &[Box<dyn Dictionary>],
        settings: TraceSettings,
        subject: String,
    ) -> FeatureTrace {
        let place_of =
            |id: TraceFeature| traced.features.iter().position(|one| one.id == id).unwrap_or_default();
        let nodes = traced.features.iter().map(|one| {
            let causes = one.found.as_ref().ok().map(|found| self.causes(found, dictionaries));
            self.node(one.id, one.step, causes, one.found.as_ref().err().copied())
        });
        let edges = traced.causes.iter().map(|cause| TraceEdge {
            from: place_of(cause.from),
            to: place_of(cause.to),
            attribution: cause.attribution,
            effect: cause.effect.clone(),
            share: cause.share.clone(),
            random: cause.random.clone(),
            random_size: cause.random_size,
            n_active_fragments: cause.active_fragments,
        });
        let text = |pointer: &str| {
            let found = self.run.fact(pointer).and_then(serde_json::Value::as_str);
            found.unwrap_or_default().to_string()
        };
        FeatureTrace {
            schema: TRACE_SCHEMA,
            run: text("/run"),
            suite: text("/suite_name"),
            subject,
            settings,
            nodes: nodes.collect(),
            edges: edges.collect(),
        }
    }

    fn node(
        &self,
        id: TraceFeature,
        step: usize,
        causes: Option<TraceCauses>,
        why: Option<NoCauses>,
    ) -> TraceNode {
        let Place { hook, dictionary, .. } = self.places[id.dictionary].clone();
        let codes = self.tracer.pool().codes_of(id);
        let reason = why.map(|why| <&str>::from(why).to_string());
        TraceNode {
            label: self.labels.get(&(hook.clone(), dictionary.clone(), id.feature)).cloned(),
            hook,
            dictionary,
            feature: id.feature,
            step,
            tokens: self.strongest_tokens(&codes),
            histogram: histogram(&codes),
            causes,
            reason,
        }
    }

    fn causes(&self, found: &Found, dictionaries: &[Box<dyn Dictionary>]) -> TraceCauses {
        let of = found.dictionaries.iter();
        TraceCauses {
            hook: found.hook.to_string(),
            dictionaries: of.clone().map(|&nth| self.places[nth].dictionary.clone()).collect(),
            n_fragments: found.fragments,
            n_upper_half: found.in_upper_half,
            activation: found.activation,
            n_features: of.map(|&nth| dictionaries[nth].info().n_features).sum(),
            n_active: found.active,
            n_tried: found.tried,
        }
    }

    /// The tokens with the largest sums of positive codes, given the codes of all positions.
    fn strongest_tokens(&self, codes: &[f32]) -> Vec<String> {
        let mut sums: BTreeMap<u32, f64> = BTreeMap::new();
        for (&token, &code) in self.tracer.pool().tokens().ids().iter().zip(codes) {
            if code > 0.0 {
                *sums.entry(token).or_default() += f64::from(code);
            }
        }
        let mut sums: Vec<(u32, f64)> = sums.into_iter().collect();
        sums.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let text = |(token, _): &(u32, f64)| {
            self.token_texts.get(*token as usize).cloned().unwrap_or_else(|| "?".into())
        };
        sums.iter().take(TOKENS).map(text).collect()
    }
}

fn histogram(codes: &[f32]) -> TraceHistogram {
    let codes = codes.iter().copied().filter(|code| *code != 0.0);
    let (low, high) =
        codes.clone().fold((0.0f32, 0.0f32), |(low, high), code| (low.min(code), high.max(code)));
    let (low, high) = (f64::from(low), f64::from(high));
    let mut counts = vec![0; BINS];
    if high > low {
        for code in codes {
            let bin = (f64::from(code) - low) / (high - low) * BINS as f64;
            counts[(bin as usize).min(BINS - 1)] += 1;
        }
    }
    TraceHistogram { low, high, counts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_code_but_zeros() {
        let found = histogram(&[0.0, 0.5, 1.0, 2.0, 0.0, 1.99]);
        assert_eq!((found.low, found.high, found.counts.len()), (0.0, 2.0, BINS));
        assert_eq!(found.counts.iter().sum::<u64>(), 4);
        assert_eq!(found.counts[BINS - 1], 2, "the largest code is in the last bin");
        let signed = histogram(&[-1.0, 1.0]);
        assert_eq!((signed.low, signed.counts[0], signed.counts[BINS - 1]), (-1.0, 1, 1));
        assert_eq!(histogram(&[0.0, 0.0]).counts, vec![0; BINS]);
    }
}
