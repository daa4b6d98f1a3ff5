//! What language models would be asked, counted from the questions themselves: rendered on a sample of
//! the corpus, with the model's own tokenizer where it is known.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::RunError;
use super::models::{explainer_of, simulator_of};
use super::role::{RoleUsage, Step, Who};
use crate::base::{Stream, TokenBatch};
use crate::explain::language_model::USUAL_EXPLANATION;
use crate::features::{
    ActivationRecord, Evidence, FeatureRecord, Held, Protocol, QuantilePick, Stratum, split,
};
use crate::llm::{Example, LlmSpec, TokenCounter};
use crate::nn::Tokenizer;
use crate::score::{JudgeTask, Judging, judge_batches};
use crate::suite::{
    ExplainerSpec, JudgeSpec, ModelExplainer, ModelSimulator, Pair, SimulatorSpec, Suite, resolve,
};

use super::scoring::simulated;

/// Fragments of the corpus that questions are rendered on.
pub const SAMPLE_FRAGMENTS: usize = 64;

/// One token in so many fires in the sample, as often as with a sparse dictionary's feature.
const FIRES_EVERY: usize = 16;

/// Seconds until a hosted model begins to answer, and for each token of its answer: assumed, for the
/// rough minutes of a plan alone.
const SECONDS_TO_BEGIN: f64 = 0.6;
const SECONDS_PER_TOKEN: f64 = 0.015;

/// What one explainer, simulator or scorer would take: at most, as every feature is taken for eligible,
/// no answer for there already, and no question for asked twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// Whose.
    #[serde(flatten)]
    pub who: Who,
    /// Questions.
    pub requests: u64,
    /// Tokens of all questions.
    pub tokens_in: u64,
    /// Tokens of all answers.
    pub tokens_out: u64,
    /// What they cost; none where the prices are not given.
    pub dollars: Option<f64>,
    /// Roughly, by the limits that the suite sets and an assumed speed of answers.
    pub minutes: f64,
    /// Whether tokens are counted with the model's own tokenizer.
    pub exact_tokens: bool,
}

/// `12 M`, `3,400`: as many digits as a plan is good for.
fn amount(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..10_000_000 => format!("{} k", (n + 500) / 1000),
        _ => format!("{} M", (n + 500_000) / 1_000_000),
    }
}

/// A rough time.
pub fn time_text(minutes: f64) -> String {
    if minutes < 1.5 { format!("{:.0} s", (minutes * 60.0).max(1.0)) } else { format!("{minutes:.0} min") }
}

/// Dollars, or that there is no telling.
fn dollars_text(dollars: Option<f64>) -> String {
    match dollars {
        Some(dollars) if dollars > 0.0 && dollars < 0.1 => format!("${dollars:.4}"),
        Some(dollars) => format!("${dollars:.2}"),
        None => "prices not given".into(),
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: at most {} requests, {}{} tokens in and {} out, {}, about {}",
            self.who,
            self.requests,
            if self.exact_tokens { "" } else { "about " },
            amount(self.tokens_in),
            amount(self.tokens_out),
            dollars_text(self.dollars),
            time_text(self.minutes)
        )
    }
}

impl Planned {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.tokens_in += other.tokens_in;
        self.tokens_out += other.tokens_out;
        self.dollars = self.dollars.zip(other.dollars).map(|(mine, theirs)| mine + theirs);
        self.minutes += other.minutes;
        self.exact_tokens &= other.exact_tokens;
    }
}

/// Planned beside taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Beside {
    /// Whose.
    #[serde(flatten)]
    pub who: Who,
    /// What was planned for the whole suite.
    pub planned: Option<Planned>,
    /// What this run took; none where nothing was asked, as all of it was there.
    pub actual: Option<RoleUsage>,
}

/// What was taken beside what was planned, in columns, with a head; nothing where nothing was planned.
pub fn comparison(steps: &[Beside]) -> Vec<String> {
    if steps.is_empty() {
        return Vec::new();
    }
    let head = ["taken of planned at most", "requests", "cached", "tokens in", "tokens out", "cost", "time"];
    let mut rows: Vec<[String; 7]> = vec![head.map(str::to_string)];
    rows.extend(steps.iter().map(Beside::cells));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    rows.iter().map(line).collect()
}

impl Beside {
    fn cells(&self) -> [String; 7] {
        let of = |taken: &dyn Fn(&RoleUsage) -> String, planned: &dyn Fn(&Planned) -> String| {
            let taken = self.actual.as_ref().map_or("0".to_string(), taken);
            let planned = self.planned.as_ref().map_or("—".to_string(), planned);
            format!("{taken} of {planned}")
        };
        [
            self.who.to_string(),
            of(&|usage| usage.taken.requests.to_string(), &|planned| planned.requests.to_string()),
            self.actual.as_ref().map_or("0".to_string(), |usage| usage.taken.cached.to_string()),
            of(&|usage| amount(usage.taken.tokens_in), &|planned| amount(planned.tokens_in)),
            of(&|usage| amount(usage.taken.tokens_out), &|planned| amount(planned.tokens_out)),
            of(&|usage| dollars_text(usage.taken.dollars), &|planned| dollars_text(planned.dollars)),
            of(&|usage| time_text(usage.minutes), &|planned| time_text(planned.minutes)),
        ]
    }
}

/// Puts a plan beside what a run took, in the order of the plan.
pub fn beside(planned: &[Planned], actual: &[RoleUsage]) -> Vec<Beside> {
    let taken = |who: &Who| actual.iter().find(|usage| usage.who == *who).cloned();
    let of_plan = planned.iter().map(|planned| Beside {
        who: planned.who.clone(),
        planned: Some(planned.clone()),
        actual: taken(&planned.who),
    });
    let known = |usage: &&RoleUsage| !planned.iter().any(|planned| planned.who == usage.who);
    let unplanned = actual.iter().filter(known).map(|usage| Beside {
        who: usage.who.clone(),
        planned: None,
        actual: Some(usage.clone()),
    });
    of_plan.chain(unplanned).collect()
}

/// How many features are put to language models.
#[derive(Debug, Clone, Copy)]
pub struct Walked {
    /// Of the dictionaries that are compared.
    pub real: usize,
    /// Of those on permuted weights.
    pub permuted: usize,
}

impl Walked {
    /// How often a feature is explained.
    fn explained(self) -> f64 {
        (self.real + self.permuted) as f64
    }

    /// How often an explanation is put to the test: shuffled ones are tested once more.
    fn tested(self, suite: &Suite) -> f64 {
        self.explained() + if suite.controls.shuffled { self.real as f64 } else { 0.0 }
    }
}

/// Everything that the suite's language models would be asked, explainers first. `fragments` are some of
/// the corpus, as long as the protocol's; `texts` gives a token's text.
pub fn planned(
    suite: &Suite,
    walked: Walked,
    fragments: &TokenBatch,
    texts: &(dyn Fn(u32) -> String + Sync),
    suite_folder: &Path,
) -> Result<Vec<Planned>, RunError> {
    let (evidence, held) = sample(fragments, &suite.protocol)?;
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
    Ok(all)
}

/// Tokens in, tokens out and number of questions.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    requests: f64,
    tokens_in: f64,
    tokens_out: f64,
}

impl Size {
    fn times(self, n: f64) -> Self {
        Self { requests: self.requests * n, tokens_in: self.tokens_in * n, tokens_out: self.tokens_out * n }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            tokens_in: self.tokens_in + other.tokens_in,
            tokens_out: self.tokens_out + other.tokens_out,
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
    /// A pair's steps. Of the pairs before it, one with the same explainer has the same explanations, so
    /// what is asked about them is there already.
    fn pair(&self, pair: &Pair, before: &[Pair]) -> Vec<Planned> {
        let ExplainerSpec::Model(explainer) = &pair.explainer else { return Vec::new() };
        let same: Vec<&Pair> = before.iter().filter(|other| other.explainer == pair.explainer).collect();
        let mut steps = Vec::new();
        if same.is_empty() {
            steps.push(self.explain(explainer));
        }
        if let SimulatorSpec::Model(simulator) = &pair.simulator {
            if explainer.best_of > 1 {
                steps.push(self.choose(explainer, simulator));
            }
            if simulated(&self.suite.scorers).next().is_some() {
                steps.push(self.simulate(simulator));
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
        let one = size(&counter, &[explainer_of(spec.kind).example(evidence, self.texts)]);
        let all = one.times(self.walked.explained() * spec.best_of as f64);
        step(Step::Explain, &spec.name, &spec.llm, all, &counter)
    }

    fn choose(&self, explainer: &ModelExplainer, spec: &ModelSimulator) -> Planned {
        let calibration = self.evidence.divide().1;
        let tokens = calibration.fragments().iter().map(|fragment| fragment.tokens.as_slice());
        let counter = self.counter(&spec.llm);
        let all = self.simulations(spec, tokens, &counter);
        let all = all.times(self.walked.explained() * explainer.best_of as f64);
        step(Step::Choose, &spec.name, &spec.llm, all, &counter)
    }

    fn simulate(&self, spec: &ModelSimulator) -> Planned {
        let held = self.held.protocol_only();
        let tokens = held.fragments().iter().map(|fragment| fragment.tokens.as_slice());
        let counter = self.counter(&spec.llm);
        let all = self.simulations(spec, tokens, &counter).times(self.walked.tested(self.suite));
        step(Step::Simulate, &spec.name, &spec.llm, all, &counter)
    }

    fn simulations<'t>(
        &self,
        spec: &ModelSimulator,
        fragments: impl Iterator<Item = &'t [u32]>,
        counter: &TokenCounter,
    ) -> Size {
        let simulator = simulator_of(spec.kind);
        fragments.fold(Size::default(), |sum, tokens| {
            let texts: Vec<String> = tokens.iter().map(|&token| (self.texts)(token)).collect();
            sum.plus(size(counter, &simulator.examples(USUAL_EXPLANATION, &texts)))
        })
    }

    fn judge(&self, spec: &JudgeSpec, judging: Judging) -> Planned {
        let counter = self.counter(&spec.llm);
        let task = judging.task().unwrap_or(JudgeTask::Detection);
        let mut stream = Stream::new(self.suite.seed, "plan");
        let shown = task.shown(self.held.judged(), self.held.first_scored(), self.texts, &mut stream);
        let texts: Vec<String> = shown.into_iter().map(|shown| shown.text).collect();
        let (mut explained, mut shared) = (Size::default(), Size::default());
        for batch in judge_batches(texts.len(), spec.per_question) {
            let texts = &texts[batch];
            explained = explained.plus(size(&counter, &judging.examples(USUAL_EXPLANATION, texts)));
            shared = shared.plus(size(&counter, &judging.shared_examples(texts)));
        }
        let all = explained.times(self.walked.tested(self.suite)).plus(shared.times(self.walked.explained()));
        step(Step::Judge, judging.name(), &spec.llm, all, &counter)
    }

    /// The model's own tokenizer, where the model is a folder that holds one.
    fn counter(&self, llm: &LlmSpec) -> TokenCounter {
        let file = resolve(&llm.model, self.suite_folder).join("tokenizer.json");
        let tokenizer = file.is_file().then(|| Tokenizer::from_file(&file).ok()).flatten();
        tokenizer.map_or(TokenCounter::Approximate, |tokenizer| TokenCounter::Exact(Box::new(tokenizer)))
    }
}

fn size(counter: &TokenCounter, examples: &[Example]) -> Size {
    examples.iter().fold(Size::default(), |sum, example| {
        let (tokens_in, tokens_out) = counter.example(example);
        sum.plus(Size { requests: 1.0, tokens_in: tokens_in as f64, tokens_out: tokens_out as f64 })
    })
}

fn step(step: Step, name: &str, llm: &LlmSpec, size: Size, counter: &TokenCounter) -> Planned {
    let dollars = match (llm.price_in, llm.price_out) {
        (Some(price_in), Some(price_out)) => {
            Some((size.tokens_in * price_in + size.tokens_out * price_out) / 1e6)
        }
        _ => None,
    };
    let in_flight = llm.max_in_flight.max(1) as f64;
    let answering = size.requests * SECONDS_TO_BEGIN + size.tokens_out * SECONDS_PER_TOKEN;
    let by_minute = |amount: f64, limit: Option<f64>| limit.map_or(0.0, |limit| amount / limit);
    let minutes = (answering / in_flight / 60.0)
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
    }
}

/// A feature with lists as full as the protocol has them, on fragments that come round again where there
/// are fewer.
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
    use crate::suite::{ModelExplainerKind, ModelSimulatorKind};

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
        for (name, kind) in ModelExplainerKind::ALL {
            all.push((name, vec![explainer_of(kind).example(&evidence, texts)]));
        }
        for (name, kind) in ModelSimulatorKind::ALL {
            let of_fragment = held.top().iter().flat_map(|pick| {
                let tokens = &held.fragments()[pick.fragment].tokens;
                let texts: Vec<String> = tokens.iter().map(|&id| texts(id)).collect();
                let examples = simulator_of(kind).examples(USUAL_EXPLANATION, &texts);
                // Of one question per token, a few stand for all.
                let step = examples.len().div_ceil(4);
                examples.into_iter().step_by(step).collect::<Vec<_>>()
            });
            all.push((name, of_fragment.collect()));
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
        assert!(least > 0.8 && most < 1.2, "{least:.2} to {most:.2}");
    }

    #[test]
    fn planned_and_taken_are_paired_by_name_and_none_is_lost() {
        let who = |name: &str| Who { step: Step::Judge, name: name.into(), model: "m".into() };
        let planned = |name| Planned {
            who: who(name),
            requests: 10,
            tokens_in: 12_345,
            tokens_out: 20,
            dollars: None,
            minutes: 0.5,
            exact_tokens: false,
        };
        let usage = crate::llm::Usage { requests: 7, cached: 2, ..Default::default() };
        let taken = |name| RoleUsage { who: who(name), taken: usage, minutes: 0.25 };
        let all = beside(&[planned("a"), planned("b")], &[taken("b"), taken("c")]);
        let names: Vec<&str> = all.iter().map(|beside| beside.who.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!((all[0].actual.is_none(), all[2].planned.is_none()), (true, true));
        assert_eq!(
            all[0].planned.as_ref().map(ToString::to_string).as_deref(),
            Some(
                "judge a by m: at most 10 requests, about 12 k tokens in and 20 out, prices not given, about 30 s"
            )
        );
        let lines = comparison(&all);
        assert_eq!(lines.len(), 4);
        assert!(lines[1].contains("judge a by m") && lines[1].contains("0 of 10"), "{}", lines[1]);
        assert!(lines[2].contains("7 of 10") && lines[2].contains("15 s of 30 s"), "{}", lines[2]);
        assert!(lines[3].contains("7 of —"), "{}", lines[3]);
        assert!(comparison(&[]).is_empty());
    }
}
