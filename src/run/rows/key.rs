//! Under which key the result of a row is stored.

use crate::base::HookPoint;
use crate::llm::READER_VERSION;
use crate::run::evaluate::models::prompt_digests;
use crate::run::{StageKey, SubjectPass};
use crate::suite::{Controls, MethodSpec};

/// Version of the quality measurements. Raise it when the same inputs give other numbers.
const QUALITY_VERSION: u32 = 1;

/// Common version of records, explanations, simulations, scores and profiles.
const EVALUATE_VERSION: u32 = 5;

/// Version of the examples of features.
const EXAMPLES_VERSION: u32 = 1;

/// Version of texts written with features changed.
const WRITTEN_VERSION: u32 = 1;

/// Key of a row's result. It depends on the row's own method and the one it is matched to, so a new method in the
/// suite repeats no other row.
pub fn row_key(pass: &SubjectPass<'_>, hook: HookPoint, method: &MethodSpec, row: &str) -> StageKey {
    let suite = pass.run.suite;
    let matched = method.params.matched();
    let reference = suite.methods.iter().find(|other| Some(other.name.as_str()) == matched);
    let key = StageKey::new("row", EVALUATE_VERSION)
        .word(&hook.to_string())
        .word(pass.control.unwrap_or("real"))
        .word(row)
        .input(pass.subject.info().weights_digest)
        .input(pass.run.tokens.digest)
        .params(&(
            method.keyed(),
            reference.map(MethodSpec::keyed),
            &suite.protocol,
            suite.per_cell,
            &suite.pairs,
        ))
        .params(&(&suite.scorers, suite.controls.shuffled, suite.seed, QUALITY_VERSION))
        .params(&pass.run.fillers)
        .params(&(prompt_digests(suite), READER_VERSION));
    let key = match suite.examples {
        Some(examples) => key.params(&(examples, EXAMPLES_VERSION)),
        None => key,
    };
    let key = match &suite.effects {
        Some(effects) => key.params(effects),
        None => key,
    };
    let writes = suite.explains_output() || suite.compares_written();
    let key = if writes { key.params(&WRITTEN_VERSION) } else { key };
    if pass.has_oracle() { key.word(Controls::ORACLE) } else { key }
}
