//! Explainers with their simulators and judges, checked against each other and against the requested scorers.

use super::Rules;
use crate::explain::catalog::{DEFAULT_EXPLAINER, ExplainerKind, explainers};
use crate::llm::{ClientKind, LlmSpec};
use crate::score::Judging;
use crate::score::catalog::ScorerRow;
use crate::simulate::catalog::SimulatorKind;
use crate::suite::checked::{
    ExplainerSpec, Grading, JudgeSpec, ModelExplainer, ModelSimulator, Pair, SimulatorSpec,
};
use crate::suite::names::{Names, only_case};
use crate::suite::spec::{ExplainerFields, JudgeFields, KindOrFields, PairEntry, SimulatorFields, SuiteFile};

/// What the requested scores need of a pair.
struct Needs<'a> {
    scorers: &'a [(&'static ScorerRow, String)],
    judge: &'a JudgeFields,
}

impl Needs<'_> {
    /// The first judged scorer, with its path.
    fn first_judged(&self) -> Option<&(&'static ScorerRow, String)> {
        self.scorers.iter().find(|(scorer, _)| scorer.is_judged())
    }

    fn simulations(&self) -> bool {
        self.scorers.iter().any(|(scorer, _)| scorer.simulation().is_some())
    }
}

impl Rules {
    pub(super) fn pairs(&mut self, file: &SuiteFile, scorers: &[(&'static ScorerRow, String)]) -> Vec<Pair> {
        let needs = &Needs { scorers, judge: &file.judge };
        if let Some(llm) = &file.judge.llm {
            self.check_llm("judge.llm", llm);
        }
        let mut pairs: Vec<Pair> = Vec::new();
        let explainer = file.explainer.clone().unwrap_or(KindOrFields::Kind(DEFAULT_EXPLAINER.into()));
        if !self.reader.is_wrong("explainer") && !self.reader.is_wrong("simulator") {
            let places = ("explainer", "simulator");
            pairs.extend(self.pair(explainer, file.simulator.clone(), places, needs));
        }
        for (nth, entry) in file.pairs.iter().enumerate() {
            let path = format!("pairs.{nth}");
            let Some(entry) = entry.clone().filter(|_| !self.reader.is_wrong(&path)) else { continue };
            let (inner, other) = (format!("{path}.explainer"), format!("{path}.simulator"));
            let pair = match entry {
                PairEntry::Both(fields) => {
                    self.pair(fields.explainer, fields.simulator, (&inner, &other), needs)
                }
                PairEntry::Alone(explainer) => self.pair(*explainer, None, (&path, &other), needs),
            };
            let Some(pair) = pair else { continue };
            let names = |pair: &Pair| (pair.explainer.name().to_string(), pair.simulator.name().to_string());
            if pairs.iter().any(|other| names(other) == names(&pair)) {
                let (explainer, simulator) = names(&pair);
                let message = format!(
                    "repeats explainer `{explainer}` with simulator `{simulator}`: give one of them another `name`"
                );
                self.wrong(&path, message);
            } else {
                pairs.push(pair);
            }
        }
        self.check_judged_scorers(needs, &pairs);
        self.check_names_of(&pairs);
        pairs
    }

    /// Names of explainers, and of simulators, must differ by more than case. One name may stand in several pairs.
    fn check_names_of(&mut self, pairs: &[Pair]) {
        let (mut explainers, mut simulators) = (Names::default(), Names::default());
        for pair in pairs {
            for (names, name) in
                [(&mut explainers, pair.explainer.name()), (&mut simulators, pair.simulator.name())]
            {
                if let Some(other) = names.add(name).filter(|other| other != name) {
                    self.wrong("pairs", only_case(name, &other));
                }
            }
        }
    }

    fn check_judged_scorers(&mut self, needs: &Needs<'_>, pairs: &[Pair]) {
        let Some((scorer, place)) = needs.first_judged() else { return };
        if pairs.is_empty() || pairs.iter().any(|pair| pair.judge.is_some()) {
            return;
        }
        let message = format!(
            "asks for `{}`, which needs explanations in words, but no explainer writes them: \
             name an explainer with a language model, `explainer: {{kind: …, llm: {{client: …, model: …}}}}` (kinds: \
             {})",
            scorer.name,
            names(explainers().filter(|row| row.asks_model()).map(|row| row.name))
        );
        let at = self.root.place(place);
        self.reader.wrong("scorers", at, message);
    }

    /// An explainer with its simulator, checked against each other.
    fn pair(
        &mut self,
        explainer: KindOrFields<ExplainerFields>,
        simulator: Option<KindOrFields<SimulatorFields>>,
        (path, simulator_path): (&str, &str),
        needs: &Needs<'_>,
    ) -> Option<Pair> {
        let explainer = explainer.fields(|kind| ExplainerFields { kind, ..ExplainerFields::default() });
        let kind = ExplainerKind::named(&explainer.kind)?;
        let of_kind = |kind| SimulatorFields { kind, ..SimulatorFields::default() };
        let simulator = simulator.map(|simulator| simulator.fields(of_kind));
        if !kind.asks_model() {
            return self.offline_pair(kind, simulator, simulator_path);
        }
        let name = explainer.name.clone().unwrap_or_else(|| explainer.kind.clone());
        self.check_name(&format!("{path}.name"), &name);
        // If every score is judged, a simulator only chooses among several explanations.
        let simulates = needs.simulations() || explainer.best_of > 1;
        let reader = match &simulator {
            Some(fields) => Some((self.simulator_kind(&fields.kind, simulator_path)?, fields)),
            None if !simulates => None,
            None => {
                let known = names(SimulatorKind::all().map(|row| row.name));
                let message = format!(
                    "`{name}` writes sentences, but no simulator is named that reads them (known: {known})"
                );
                self.wrong(path, message);
                return None;
            }
        };
        let Some(llm) = explainer.llm.clone() else {
            let message = format!(
                "`{name}` asks a language model, but none is named: add `llm: {{client: …, model: …}}`"
            );
            self.wrong(path, message);
            return None;
        };
        let llm = self.check_llm(&format!("{path}.llm"), &llm);
        self.check_shots(path, explainer.shots, &explainer.kind, kind.n_examples());
        let simulator = match reader {
            None => None,
            Some((kind, fields)) => Some(self.simulator(kind, fields, &llm, simulator_path)?),
        };
        let answering = simulator.as_ref().map_or(&llm, |simulator| &simulator.llm);
        let judge = self.judge(answering, path, needs);
        let usual = ModelExplainer::of(kind, llm.clone());
        let explainer = ModelExplainer {
            name,
            attempts: explainer.attempts,
            best_of: explainer.best_of,
            shots: explainer.shots,
            temperature: explainer.temperature.unwrap_or(usual.temperature),
            ..usual
        };
        let simulator = match simulator.filter(|_| simulates) {
            Some(simulator) => SimulatorSpec::Model(Box::new(simulator)),
            None => SimulatorSpec::Nobody,
        };
        Some(Pair { explainer: ExplainerSpec::Model(Box::new(explainer)), simulator, judge })
    }

    fn simulator_kind(&mut self, kind: &str, path: &str) -> Option<SimulatorKind> {
        let found = SimulatorKind::named(kind);
        if found.is_none() {
            self.wrong(path, format!("`{kind}` reads patterns, not sentences"));
        }
        found
    }

    fn offline_pair(
        &mut self,
        kind: ExplainerKind,
        simulator: Option<SimulatorFields>,
        path: &str,
    ) -> Option<Pair> {
        match simulator {
            Some(other) if other.kind != kind.name => {
                let name = other.name.unwrap_or(other.kind);
                let message = format!(
                    "`{name}` cannot read the patterns of `{}`: an offline explainer needs the simulator of its own kind",
                    kind.name
                );
                self.wrong(path, message);
                None
            }
            _ => Some(Pair::offline(kind)),
        }
    }

    /// The simulator. Its model is the explainer's unless another is given.
    fn simulator(
        &mut self,
        kind: SimulatorKind,
        fields: &SimulatorFields,
        of_explainer: &LlmSpec,
        path: &str,
    ) -> Option<ModelSimulator> {
        let llm = match &fields.llm {
            Some(llm) => self.check_llm(&format!("{path}.llm"), llm),
            None => of_explainer.clone(),
        };
        self.check_shots(path, fields.shots, &fields.kind, kind.n_examples());
        if kind.needs_local_model && llm.client != ClientKind::Local {
            let message = "needs the probabilities of all tokens, which only `client: local` returns: use \
                           `likelihood`, or a local model";
            self.wrong(path, message);
            return None;
        }
        let name = fields.name.clone().unwrap_or_else(|| fields.kind.clone());
        self.check_name(&format!("{path}.name"), &name);
        let usual = ModelSimulator::of(kind, llm);
        Some(ModelSimulator { name, attempts: fields.attempts, shots: fields.shots, ..usual })
    }

    fn check_shots(&mut self, path: &str, shots: Option<usize>, kind: &str, most: usize) {
        if let Some(shots) = shots.filter(|&shots| shots > most) {
            let message =
                format!("is {shots}, but the prompt of `{kind}` has at most {most} worked examples");
            self.wrong(&format!("{path}.shots"), message);
        }
    }

    /// Checks a model and fills in its client's default number of requests in flight.
    fn check_llm(&mut self, path: &str, llm: &LlmSpec) -> LlmSpec {
        let llm = llm.clone().with_client_defaults();
        for wrong in llm.check() {
            self.wrong(&format!("{path}.{}", wrong.field), wrong.why);
        }
        llm
    }

    /// The judge: the model named for it, or else the simulator's, or else the explainer's.
    fn judge(&mut self, others: &LlmSpec, path: &str, needs: &Needs<'_>) -> Option<Box<JudgeSpec>> {
        needs.first_judged()?;
        let JudgeFields { llm, attempts, per_question, probabilities, intervals, per_interval } =
            needs.judge.clone();
        let grades = needs.scorers.iter().any(|(scorer, _)| scorer.judging().is_some_and(Judging::grades));
        let grading = grades.then_some(Grading { intervals, per_interval });
        let path = if llm.is_some() { "judge.llm" } else { path };
        let llm = llm.unwrap_or_else(|| others.clone()).with_client_defaults();
        let reads_prompts = |(scorer, _): &&(&ScorerRow, String)| scorer.needs_prompt_logprobs();
        if let Some((scorer, _)) =
            needs.scorers.iter().find(reads_prompts).filter(|_| llm.client == ClientKind::Anthropic)
        {
            let message = format!(
                "cannot judge `{}`: it needs the log-probabilities of texts, which `anthropic` does not return. Name \
                 another model under `judge: {{llm: …}}`",
                scorer.name
            );
            self.wrong(path, message);
        }
        Some(Box::new(JudgeSpec { llm, attempts, per_question, probabilities, grading }))
    }
}

fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}
