//! The language models of a suite: connected once, shared by all rows, counted together.

use std::collections::BTreeMap;
use std::future::Future;

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::runtime::Runtime;

use super::asked::{explainer_of, simulator_of};
use super::{Places, RunError};
use crate::base::{Digest, FileError};
use crate::llm::{ChatClient, ChatError, ClientKind, Endpoint, Llm, LlmSpec, Usage, connect};
use crate::suite::{ExplainerSpec, SimulatorSpec, Suite};

/// Versions of the questions that a suite's language models are asked, by name in tables.
pub fn prompt_digests(suite: &Suite) -> BTreeMap<String, Digest> {
    let mut digests = BTreeMap::new();
    for pair in &suite.pairs {
        if let ExplainerSpec::Model(spec) = &pair.explainer {
            digests.insert(spec.name.clone(), explainer_of(spec.kind).digest());
        }
        if let SimulatorSpec::Model(spec) = &pair.simulator {
            digests.insert(spec.name.clone(), simulator_of(spec.kind).digest());
        }
    }
    digests
}

/// Every language model that a suite asks, with the threads that wait for answers.
pub struct Models {
    runtime: Runtime,
    connected: Vec<(LlmSpec, Llm)>,
}

impl Models {
    /// Connects what the suite's pairs ask; none where all of them are offline. Nothing is asked yet.
    pub fn connect(suite: &Suite, places: &Places) -> Result<Option<Self>, RunError> {
        let mut connected: Vec<(LlmSpec, Llm)> = Vec::new();
        for spec in suite.pairs.iter().flat_map(|pair| pair.models()) {
            if connected.iter().any(|(known, _)| known == spec) {
                continue;
            }
            let endpoint = Endpoint {
                spec: spec.clone(),
                key: places.keys.get(spec.key_variable()).cloned(),
                base_url: (spec.client != ClientKind::Anthropic)
                    .then(|| places.openai_base_url.clone())
                    .flatten(),
                offline: places.offline,
                cache_folder: places.cache.join("answers"),
                budget: places.budget.clone(),
            };
            connected.push((spec.clone(), connect(&endpoint)?));
        }
        if connected.is_empty() {
            return Ok(None);
        }
        let threads =
            |source| FileError { action: "start threads for", path: "language models".into(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(threads)?;
        Ok(Some(Self { runtime, connected }))
    }

    /// The client of a model of the suite.
    pub fn client(&self, spec: &LlmSpec) -> Result<&dyn ChatClient, RunError> {
        let known = self.connected.iter().find(|(known, _)| known == spec);
        known.map(|(_, llm)| llm.client.as_ref()).ok_or_else(|| RunError::Setting {
            field: "llm.model".into(),
            problem: format!("`{}` was never connected", spec.model),
        })
    }

    /// Waits for all of `work`, in order, with at most `at_once` begun and not ended. The first
    /// failure of an endpoint ends it.
    pub fn all<T: Send>(
        &self,
        work: impl Iterator<Item = impl Future<Output = Result<T, ChatError>> + Send> + Send,
        at_once: usize,
    ) -> Result<Vec<T>, ChatError> {
        self.runtime.block_on(iter(work).buffered(at_once.max(1)).try_collect())
    }

    /// What each model was asked and what it cost, by the model's name.
    pub fn usage(&self) -> BTreeMap<String, Usage> {
        let mut all: BTreeMap<String, Usage> = BTreeMap::new();
        for (spec, llm) in &self.connected {
            let usage = llm.meter.usage();
            all.entry(spec.model.clone()).and_modify(|sum| *sum = sum.plus(&usage)).or_insert(usage);
        }
        all
    }
}
