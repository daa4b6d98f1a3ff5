//! Plans the use of language models. The actual prompts are rendered on a sample of the corpus and counted, with
//! the model's own tokenizer if it is known.

use std::path::Path;

use crate::base::{Stream, TokenBatch};
use crate::explain::language_model::USUAL_EXPLANATION;
use crate::features::{
    ActivationRecord, Evidence, FeatureRecord, Held, HeldFragment, JudgedFragment, Protocol, QuantilePick,
    Stratum, split,
};
use crate::llm::{ClientKind, Example, LlmSpec, TokenCounter};
use crate::nn::{Tokenizer, context_length, gguf_tokenizer, weight_count};
use crate::run::evaluate::score::simulated;
use crate::run::inputs::prepare::SAMPLE_FRAGMENTS;
use crate::run::plan::written::{sample_output, sample_pairs};
use crate::run::{Event, Planned, RunContext, RunError, Step, Who};
use crate::score::{JudgeTask, Judging, TEXTS_COMPARED, judge_batches, shown_pair};
use crate::suite::{Grading, JudgeSpec, MethodSpec, ModelExplainer, ModelSimulator, Pair, Suite, resolve};

/// One token in this many fires in the sample: the density of a typical sparse feature.
const FIRES_EVERY: usize = 16;

/// Assumed latency of a hosted model, and seconds per output token. Only the planned minutes depend on them.
pub const SECONDS_TO_BEGIN: f64 = 0.6;
pub const SECONDS_PER_TOKEN: f64 = 0.015;

/// Multiply-adds per second and thread of a local model, one per weight and token. Two processors with 512-bit
/// vectors gave 4e10 and 1.1e11. The speed does not depend on the weight format, because weights are unpacked
/// before multiplication.
const WEIGHTS_PER_SECOND_AND_THREAD: f64 = 6.0e10;

/// Number of features sent to language models.
#[derive(Debug, Clone, Copy)]
pub struct Walked {
    /// Features of the real subject.
    pub real: usize,
    /// Features of subjects with permuted weights.
    pub permuted: usize,
}

impl Walked {
    /// Number of explained features.
    fn explained(self) -> f64 {
        self.real as f64 + self.permuted as f64
    }

    /// Number of tested explanations: the `shuffled` control tests each real one again.
    fn tested(self, suite: &Suite) -> f64 {
        self.explained() + if suite.controls.shuffled { self.real as f64 } else { 0.0 }
    }
}

/// Planned use of all language models, explainers first. `fragments` is a sample of the corpus; `texts` maps token
/// ids to text.
pub fn planned(
    suite: &Suite,
    walked: Walked,
    fragments: &TokenBatch,
    texts: &(dyn Fn(u32) -> String + Sync),
    suite_folder: &Path,
) -> Result<Vec<Planned>, RunError> {
    let (mut evidence, mut held) = sample(fragments, &suite.protocol)?;
    if let Some(settings) = &suite.effects {
        evidence = evidence.with_output(Ok(sample_output(fragments, settings)));
        held = held.with_written(Ok(sample_pairs(fragments, settings, settings.prompts)));
    }
    let plan = Plan { suite, walked, evidence, held, texts, suite_folder };
    let mut all: Vec<Planned> = Vec::new();
    for (nth, pair) in suite.pairs.iter().enumerate() {
        for step in plan.pair(pair, &suite.pairs[..nth]) {
            match all.iter_mut().find(|other| other.who == step.who) {
                Some(other) => other.add(&step),
                None => all.push(step),
            }
        }
    }
    all.sort_by_key(|planned| planned.who.step);
    all.iter().try_for_each(check_length)?;
    Ok(all)
}

/// Maximum number of features sent to language models, over `n_hooks` hook points.
pub fn walked(suite: &Suite, n_hooks: usize) -> Walked {
    let of_hooks = |features: usize| features.saturating_mul(n_hooks);
    let permuted = suite.on_permuted_weights().map(|(_, methods)| of_hooks(n_features(suite, methods)));
    Walked {
        real: of_hooks(n_features(suite, &suite.methods)),
        permuted: permuted.fold(0, usize::saturating_add),
    }
}

/// Features to score at one hook point, over all rows of these methods.
pub fn n_features<'a>(suite: &Suite, methods: impl IntoIterator<Item = &'a MethodSpec>) -> usize {
    let of_rows = |method: &MethodSpec| method.row_names().len().saturating_mul(suite.n_features(method));
    methods.into_iter().map(of_rows).fold(0, usize::saturating_add)
}

/// Remarks on the accuracy of a plan.
pub fn remarks(llm: &[Planned]) -> Vec<String> {
    let mut notes = Vec::new();
    if llm.iter().any(|planned| !planned.exact_tokens) {
        notes.push(
            "tokens of models whose tokenizer is not known are worked out from the questions' characters"
                .into(),
        );
    }
    let unpriced = llm.iter().filter(|planned| planned.dollars.is_none());
    let mut unpriced: Vec<&str> = unpriced.map(|planned| planned.who.model.as_str()).collect();
    unpriced.dedup();
    for model in unpriced {
        notes.push(format!("prices of `{model}` are not given: `price_in` and `price_out` under its `llm`"));
    }
    notes
}

/// Plans the use of language models and reports it before the first request. Empty in an offline run.
pub fn plan_of_models(
    run: &RunContext<'_>,
    n_hooks: usize,
    on: &dyn Fn(Event),
) -> Result<Vec<Planned>, RunError> {
    let evaluate = &run.tokens.evaluate;
    let n = evaluate.rows().min(SAMPLE_FRAGMENTS) * evaluate.cols();
    let sample = TokenBatch::new(evaluate.ids()[..n].to_vec(), evaluate.cols());
    let Some(sample) = sample.filter(|_| run.models.is_some()) else { return Ok(Vec::new()) };
    let texts = |id: u32| run.token_texts.get(id as usize).cloned().unwrap_or_default();
    let walked = walked(run.suite, n_hooks);
    let planned = planned(run.suite, walked, &sample, &texts, &run.places.suite_folder)?;
    planned.iter().for_each(|step| on(Event::Note(step.to_string())));
    remarks(&planned).into_iter().for_each(|remark| on(Event::Note(remark)));
    Ok(planned)
}

/// Fails if the longest question of a step exceeds the model's context length.
fn check_length(step: &Planned) -> Result<(), RunError> {
    let Some(context) = step.context_tokens.filter(|&context| step.longest > context) else { return Ok(()) };
    let (field, shorter) = match step.who.step {
        Step::Explain => (
            "explainer",
            "use fewer worked examples (`explainer.shots`), or the kind `strongest`, which has the shortest prompt",
        ),
        Step::Choose | Step::Simulate => {
            ("simulator", "use fewer worked examples (`simulator.shots`), or shorter fragments (`protocol`)")
        }
        Step::Judge => ("judge", "put fewer fragments into a question (`judge.per_question`)"),
    };
    let problem = format!(
        "has questions of {}{} tokens including the answer ({}), but the model reads {context}: {shorter}, \
         or name a model with a longer context",
        if step.exact_tokens { "" } else { "about " },
        step.longest,
        step.who
    );
    Err(RunError::Setting { field: field.into(), problem })
}

/// Requests and tokens, as sums over questions.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    requests: f64,
    tokens_in: f64,
    /// Input tokens shared with the beginning of the previous question.
    tokens_shared: f64,
    tokens_out: f64,
    /// Tokens of the longest question and its answer.
    longest: f64,
}

impl Size {
    fn times(self, n: f64) -> Self {
        Self {
            requests: self.requests * n,
            tokens_in: self.tokens_in * n,
            tokens_shared: self.tokens_shared * n,
            tokens_out: self.tokens_out * n,
            longest: self.longest,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_shared: self.tokens_shared + other.tokens_shared,
            tokens_out: self.tokens_out + other.tokens_out,
            longest: self.longest.max(other.longest),
        }
    }
}

struct Plan<'a> {
    suite: &'a Suite,
    walked: Walked,
    evidence: Evidence,
    held: Held,
    texts: &'a (dyn Fn(u32) -> String + Sync),
    suite_folder: &'a Path,
}

impl Plan<'_> {
    /// The steps of a pair. A pair with the same explainer before it has the same explanations, and their answers
    /// are cached.
    fn pair(&self, pair: &Pair, before: &[Pair]) -> Vec<Planned> {
        let Some(explainer) = pair.explainer.model() else { return Vec::new() };
        let same: Vec<&Pair> = before.iter().filter(|other| other.explainer == pair.explainer).collect();
        let mut steps = Vec::new();
        if same.is_empty() {
            steps.push(self.explain(explainer));
        }
        if let Some(simulator) = pair.simulator.model() {
            if explainer.best_of > 1 {
                let (_, calibration) = self.evidence.divide();
                let n = self.walked.explained() * explainer.best_of as f64;
                steps.push(self.simulations(Step::Choose, simulator, calibration.fragments(), n));
            }
            if simulated(&self.suite.scorers).next().is_some() {
                let (held, n) = (self.held.protocol_only(), self.walked.tested(self.suite));
                steps.push(self.simulations(Step::Simulate, simulator, held.fragments(), n));
            }
        }
        if let Some(judge) = &pair.judge
            && (explainer.best_of > 1 || same.iter().all(|other| other.judge != pair.judge))
        {
            steps.extend(self.suite.judgings().into_iter().map(|judging| self.judge(judge, judging)));
        }
        steps
    }

    fn explain(&self, spec: &ModelExplainer) -> Planned {
        let counter = self.counter(&spec.llm);
        let kept = self.evidence.divide().0;
        let evidence = if spec.best_of > 1 { &kept } else { &self.evidence };
        let example = spec.question().map(|question| question.example(evidence, self.texts));
        let one = size(&counter, example.as_slice());
        let all = one.times(self.walked.explained() * spec.best_of as f64);
        self.step(Step::Explain, &spec.name, &spec.llm, all, &counter)
    }

    /// The simulation of `fragments`, `times` times.
    fn simulations(
        &self,
        step: Step,
        spec: &ModelSimulator,
        fragments: &[HeldFragment],
        times: f64,
    ) -> Planned {
        let simulator = spec.kind.question(spec.shots);
        let examples = fragments.iter().flat_map(|fragment| {
            let texts: Vec<String> = fragment.tokens.iter().map(|&token| (self.texts)(token)).collect();
            simulator.examples(USUAL_EXPLANATION, &texts)
        });
        let counter = self.counter(&spec.llm);
        let all = size(&counter, &examples.collect::<Vec<_>>()).times(times);
        self.step(step, &spec.name, &spec.llm, all, &counter)
    }

    fn judge(&self, spec: &JudgeSpec, judging: Judging) -> Planned {
        let counter = self.counter(&spec.llm);
        let texts = self.judged_texts(spec, judging);
        let per_question = if judging.compares_written() { TEXTS_COMPARED } else { spec.per_question };
        let (mut explained, mut shared) = (Size::default(), Size::default());
        for batch in judge_batches(texts.len(), per_question) {
            let texts = &texts[batch];
            explained = explained.plus(size(&counter, &judging.examples(USUAL_EXPLANATION, texts)));
            shared = shared.plus(size(&counter, &judging.shared_examples(texts)));
        }
        let all = explained.times(self.walked.tested(self.suite)).plus(shared.times(self.walked.explained()));
        self.step(Step::Judge, judging.name(), &spec.llm, all, &counter)
    }

    /// The texts of a feature's questions, in order.
    fn judged_texts(&self, spec: &JudgeSpec, judging: Judging) -> Vec<String> {
        if judging.compares_written() {
            let pairs = self.held.written().and_then(|written| written.as_ref().ok());
            return pairs.into_iter().flatten().flat_map(|pair| shown_pair(pair, 1, self.texts)).collect();
        }
        let task = judging.task().unwrap_or(JudgeTask::Detection);
        let mut stream = Stream::new(self.suite.seed, "plan");
        let graded = spec.grading.filter(|_| judging.grades()).map(|grading| self.graded(grading));
        let fragments = graded.as_deref().unwrap_or(self.held.judged());
        let shown = task.shown(fragments, self.held.first_scored(), self.texts, &mut stream);
        shown.into_iter().map(|shown| shown.text).collect()
    }

    /// Fragments for grading, with none of the intervals empty.
    fn graded(&self, grading: Grading) -> Vec<JudgedFragment> {
        let all = self.held.fragments().iter().cycle().take(grading.intervals * grading.per_interval);
        let fragment = |held: &HeldFragment| JudgedFragment {
            held: held.clone(),
            stratum: Stratum::Top,
            fires: true,
            interval: None,
        };
        all.map(fragment).collect()
    }

    fn step(&self, step: Step, name: &str, llm: &LlmSpec, size: Size, counter: &TokenCounter) -> Planned {
        let dollars = llm
            .prices()
            .map(|prices| (size.tokens_in * prices.price_in + size.tokens_out * prices.price_out) / 1e6);
        let in_flight = llm.max_in_flight.max(1) as f64;
        let seconds = if llm.client == ClientKind::Local {
            let weights = weight_count(&resolve(&llm.model, self.suite_folder)).unwrap_or(0) as f64;
            let threads = rayon::current_num_threads() as f64;
            let tokens = size.tokens_in - size.tokens_shared + size.tokens_out;
            tokens * weights / (threads * WEIGHTS_PER_SECOND_AND_THREAD)
        } else {
            (size.requests * SECONDS_TO_BEGIN + size.tokens_out * SECONDS_PER_TOKEN) / in_flight
        };
        let of_files = || context_length(&resolve(&llm.model, self.suite_folder)).ok().flatten();
        let context_tokens =
            llm.context_tokens.or_else(|| (llm.client == ClientKind::Local).then(of_files).flatten());
        let by_minute = |amount: f64, limit: Option<f64>| limit.map_or(0.0, |limit| amount / limit);
        let minutes = (seconds / 60.0)
            .max(by_minute(size.requests, llm.requests_per_minute))
            .max(by_minute(size.tokens_in + size.tokens_out, llm.tokens_per_minute));
        Planned {
            who: Who { step, name: name.to_string(), model: llm.model.clone() },
            requests: size.requests.round() as u64,
            tokens_in: size.tokens_in.round() as u64,
            tokens_out: size.tokens_out.round() as u64,
            dollars,
            minutes,
            exact_tokens: matches!(counter, TokenCounter::Exact(_)),
            longest: size.longest.round() as u64,
            context_tokens: context_tokens.map(|tokens| tokens as u64),
        }
    }

    /// The model's own tokenizer, if the model is a local folder or GGUF file.
    fn counter(&self, llm: &LlmSpec) -> TokenCounter {
        let path = resolve(&llm.model, self.suite_folder);
        let file = path.join("tokenizer.json");
        let tokenizer = if file.is_file() {
            Tokenizer::from_file(&file).ok()
        } else {
            (llm.client == ClientKind::Local).then(|| gguf_tokenizer(&path).ok()).flatten()
        };
        tokenizer.map_or(TokenCounter::Approximate, |tokenizer| TokenCounter::Exact(Box::new(tokenizer)))
    }
}

/// Sums over questions, in the order they are asked.
fn size(counter: &TokenCounter, examples: &[Example]) -> Size {
    let mut sum = Size::default();
    let mut before: Option<&Example> = None;
    for example in examples {
        let (tokens_in, tokens_out) = counter.example(example);
        let shared = before.map_or(0, |before| counter.text(&example.question.shared_with(&before.question)));
        sum = sum.plus(Size {
            requests: 1.0,
            tokens_in: tokens_in as f64,
            tokens_shared: shared.min(tokens_in) as f64,
            tokens_out: tokens_out as f64,
            longest: (tokens_in + example.room(tokens_out)) as f64,
        });
        before = Some(example);
    }
    sum
}

/// A synthetic feature whose lists have the full length of the protocol. Fragments repeat if there are too few.
fn sample(fragments: &TokenBatch, protocol: &Protocol) -> Result<(Evidence, Held), RunError> {
    let mut next = 0;
    let mut list = |n: usize, stratum: Stratum| -> Vec<ActivationRecord> {
        let record = |_| {
            let number = next;
            next += 1;
            let tokens = fragments.row(number % fragments.rows()).to_vec();
            let fires = |place: usize| (7 * place + 3 * number).is_multiple_of(FIRES_EVERY);
            let level = |place: usize| match stratum {
                Stratum::NonFiring => 0.0,
                _ if fires(place) => 1.0 + (place % 5) as f32,
                _ => 0.0,
            };
            let activations = (0..tokens.len()).map(level).collect();
            ActivationRecord {
                fragment: number,
                document: number,
                stratum,
                probability: 1.0,
                tokens,
                activations,
            }
        };
        (0..n).map(record).collect()
    };
    let top = list(protocol.n_top, Stratum::Top);
    let random = list(protocol.n_random, Stratum::Random);
    let more_random = list(protocol.n_quantiles * protocol.per_quantile, Stratum::MoreRandom);
    let non_firing = list(protocol.n_non_firing, Stratum::NonFiring);
    let picks: Vec<QuantilePick> = more_random
        .iter()
        .map(|record| QuantilePick { fragment: record.fragment, probability: 1.0 })
        .collect();
    let quantiles = picks.chunks(protocol.per_quantile.max(1)).map(<[QuantilePick]>::to_vec).collect();
    let record = FeatureRecord {
        feature: 0,
        first_scored: protocol.first_scored(),
        n_tokens: 0,
        firing_tokens: 0,
        density: 0.0,
        firing_fragments: next,
        firing_documents: next,
        max_activation: 0.0,
        top,
        random,
        more_random,
        non_firing,
        quantiles,
    };
    Ok(split(&record, protocol)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::catalog::explainers;
    use crate::simulate::catalog::SimulatorKind;

    const POSITIONS: usize = 64;

    /// Fragments of one of the shared corpora, cut by a tokenizer.
    fn fragments(folder: &Path, corpus: &str, tokenizer: &Tokenizer) -> TokenBatch {
        let text = crate::base::read_to_string(&folder.join("corpora").join(corpus)).expect("a corpus");
        let part: String = text.chars().take(60_000).collect();
        let mut ids = tokenizer.encode(&part).expect("encoded");
        ids.truncate(SAMPLE_FRAGMENTS * POSITIONS);
        TokenBatch::new(ids, POSITIONS).expect("whole fragments")
    }

    /// One example of every kind of question.
    fn examples(
        batch: &TokenBatch,
        texts: &(dyn Fn(u32) -> String + Sync),
    ) -> Vec<(&'static str, Vec<Example>)> {
        let (evidence, held) = sample(batch, &Protocol::standard()).expect("a sample");
        let mut all = Vec::new();
        for kind in explainers() {
            if let Some(question) = kind.question(1.0, None) {
                all.push((kind.name, vec![question.example(&evidence, texts)]));
            }
        }
        for kind in SimulatorKind::all() {
            let of_fragment = held.top().iter().flat_map(|pick| {
                let tokens = &held.fragments()[pick.fragment].tokens;
                let texts: Vec<String> = tokens.iter().map(|&id| texts(id)).collect();
                let examples = kind.question(None).examples(USUAL_EXPLANATION, &texts);
                // For one question per token, four of them are enough.
                let step = examples.len().div_ceil(4);
                examples.into_iter().step_by(step).collect::<Vec<_>>()
            });
            all.push((kind.name, of_fragment.collect()));
        }
        for judging in Judging::ALL {
            let task = judging.task().unwrap_or(JudgeTask::Detection);
            let shown = task.shown(held.judged(), 1, texts, &mut Stream::new(1, "shown"));
            let shown: Vec<String> = shown.into_iter().map(|shown| shown.text).collect();
            let batches = shown.chunks(5).flat_map(|batch| judging.examples(USUAL_EXPLANATION, batch));
            all.push((judging.name(), batches.collect()));
        }
        all
    }

    /// The figures that `approximate_tokens` states.
    #[test]
    fn worked_out_tokens_are_near_those_of_real_tokenizers() {
        let Some(folder) = std::env::var_os("AUTOINTERP_SHARED").map(std::path::PathBuf::from) else {
            println!("skipped: AUTOINTERP_SHARED is not set");
            return;
        };
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for name in ["gpt2", "pythia"] {
            let file = folder.join("tokenizers").join(name).join("tokenizer.json");
            let tokenizer = Tokenizer::from_file(&file).expect("a tokenizer");
            for corpus in ["openwebtext-1k.txt", "tinystories.txt", "french.txt", "code-rust.txt"] {
                let batch = fragments(&folder, corpus, &tokenizer);
                let texts = |id: u32| tokenizer.token_texts(&[id]).swap_remove(0);
                let exact = TokenCounter::Exact(Box::new(Tokenizer::from_file(&file).expect("a tokenizer")));
                for (kind, examples) in examples(&batch, &texts) {
                    let (by_kind, counted) =
                        (size(&TokenCounter::Approximate, &examples), size(&exact, &examples));
                    let share = by_kind.tokens_in / counted.tokens_in;
                    let out = by_kind.tokens_out / counted.tokens_out.max(1.0);
                    println!("{name} {corpus} {kind}: {share:.2} in, {out:.2} out");
                    (least, most) = (least.min(share), most.max(share));
                }
            }
        }
        println!("{least:.2} to {most:.2}");
        assert!(least > 0.75 && most < 1.2, "{least:.2} to {most:.2}");
    }
}
