//! What a run takes at least, compared with what this machine has, before anything is allocated or read.

use crate::base::{HookPoint, memory_limit_bytes};
use crate::features::Protocol;
use crate::run::RunError;
use crate::run::evaluate::survey::BLOCK_FRAGMENTS;
use crate::suite::{MethodSpec, Suite};

/// Memory that counts as there where the system does not say.
const UNKNOWN_MEMORY: f64 = 256e9;

/// Something that a run holds in memory.
struct Need {
    /// The field that decides its size.
    field: String,
    /// The field's value; none where the width of the hook point alone decides.
    value: Option<f64>,
    /// What is held, in words: `training 512 features of width 128`.
    what: String,
    bytes: f64,
}

/// Memory that this process may use, in bytes.
pub fn memory() -> f64 {
    memory_limit_bytes().map_or(UNKNOWN_MEMORY, |bytes| bytes as f64)
}

/// Reasons why a run at these hook points cannot fit, with the field of each. Without hook points, what depends on
/// their width is left out.
pub fn check_sizes(suite: &Suite, hooks: &[(HookPoint, usize)], memory: f64) -> Vec<(String, RunError)> {
    let too_large = needs(suite, hooks).into_iter().filter(|need| need.bytes > memory);
    let mut problems: Vec<(String, RunError)> = too_large
        .map(|Need { field, value, what, bytes }| {
            let takes = format!("{what} takes {}, and there are {}", gigabytes(bytes), gigabytes(memory));
            let problem = match value {
                Some(value) => {
                    let most = rounded_down(value * memory / bytes);
                    format!("is {value}, but {takes} of memory: expected at most about {most}")
                }
                None => format!("needs more memory: {takes}; leave it out, or choose narrower hook points"),
            };
            (field.clone(), RunError::Setting { field, problem })
        })
        .collect();
    problems.extend(activations_on_disk(suite, hooks).map(|error| ("limits.disk_gb".to_string(), error)));
    problems
}

/// Activations of one hook point must fit into `limits.disk_gb`. Stored ones are not written again.
fn activations_on_disk(suite: &Suite, hooks: &[(HookPoint, usize)]) -> Option<RunError> {
    let (hook, width) = *hooks.iter().max_by_key(|(_, width)| *width)?;
    let evaluate = (suite.corpus.eval_fragments * suite.protocol.fragment_tokens) as f64;
    let width = width as f64;
    let bytes = suite.corpus.fit_tokens as f64 * (2.0 * width + 4.0) + evaluate * (4.0 * width + 4.0);
    let allowed = suite.limits.disk_gb;
    (suite.subject.activations.is_none() && bytes > allowed * 1e9).then(|| RunError::Disk {
        hook: hook.to_string(),
        needed_gb: bytes / 1e9,
        limit: format!("`limits.disk_gb` allows {allowed:.1} GB"),
    })
}

/// What is held in memory, one by one. Needs grow with the width, so the widest hook point stands for all.
fn needs(suite: &Suite, hooks: &[(HookPoint, usize)]) -> Vec<Need> {
    let corpus = &suite.corpus;
    let tokens = [
        ("corpus.fit_tokens", corpus.fit_tokens, 1),
        ("corpus.eval_fragments", corpus.eval_fragments, suite.protocol.fragment_tokens),
    ];
    let mut all: Vec<Need> = tokens
        .into_iter()
        .map(|(field, value, each)| Need {
            field: field.into(),
            value: Some(value as f64),
            what: "a list of these tokens".into(),
            bytes: 4.0 * value as f64 * each as f64,
        })
        .collect();
    let widest = hooks.iter().map(|(_, width)| *width).max();
    for method in &suite.methods {
        all.extend(widest.and_then(|width| fitted(suite, method, width)));
        all.push(recorded(suite, method, widest));
    }
    all
}

/// The fit of a method, with the field that decides the number of its features.
fn fitted(suite: &Suite, method: &MethodSpec, width: usize) -> Option<Need> {
    let fit = method.params.check().ok()?;
    let rows = suite.corpus.fit_tokens as f64;
    let kind = method.params.kind();
    let of_block = (BLOCK_FRAGMENTS * suite.protocol.fragment_tokens) as f64;
    let n = fit.most_features(width)? as f64;
    let codes = if fit.has_dense_codes() { 4.0 * of_block * n } else { 0.0 };
    let stated = serde_json::to_value(&method.params).ok()?;
    let given =
        ["features", "expansion"].into_iter().find_map(|field| Some((field, stated[field].as_f64()?)));
    let field = given.map(|(field, _)| format!(".{field}")).unwrap_or_default();
    Some(Need {
        field: format!("methods.{}{field}", method.name),
        value: given.map(|(_, value)| value),
        what: format!("fitting `{kind}` with {n} features of width {width}"),
        bytes: fit.memory(rows, width) + codes,
    })
}

/// The records of the scored features of a row, which are held together.
fn recorded(suite: &Suite, method: &MethodSpec, width: Option<usize>) -> Need {
    let asked = suite.n_features(method);
    let most = width
        .and_then(|width| method.params.check().ok()?.most_features(width))
        .map_or(usize::MAX, |n| n.saturating_mul(2));
    let protocol = &suite.protocol;
    let positions = protocol.fragment_tokens as f64;
    let fragments = records(protocol).min(suite.corpus.eval_fragments) as f64;
    // A token id and an activation for each token of a record, and the codes of one block.
    let each = 8.0 * fragments * positions + 4.0 * BLOCK_FRAGMENTS as f64 * positions;
    let field = match method.features {
        None => "features.per_cell".to_string(),
        Some(_) => format!("methods.{}.features", method.name),
    };
    Need {
        field,
        value: Some(asked as f64),
        what: format!("the evidence of so many features of `{}`, {fragments} fragments each,", method.name),
        bytes: asked.min(most) as f64 * each,
    }
}

/// Fragments kept of each feature.
fn records(protocol: &Protocol) -> usize {
    let Protocol { n_top, n_random, n_more_random, n_non_firing, .. } = protocol;
    n_top + n_random + n_more_random + n_non_firing
}

fn gigabytes(bytes: f64) -> String {
    if bytes < 1e11 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.0} GB", bytes / 1e9) }
}

/// Two leading digits, rounded down, since what else a run takes is not counted.
fn rounded_down(value: f64) -> f64 {
    let unit = 10f64.powf(value.abs().max(1e-6).log10().floor() - 1.0);
    let rounded = (value / unit).floor() * unit;
    if rounded >= 10.0 { rounded.round() } else { (rounded * 1e4).round() / 1e4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::write_atomic;

    const MEMORY: f64 = 16e9;

    /// The problems of a suite at one hook point of a width.
    fn problems(lines: &str, width: usize) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        let methods = if lines.contains("methods:") { "" } else { "methods: [{kind: topk}]\n" };
        let text = format!("hooks: [hook_embed]\n{methods}{lines}\n");
        write_atomic(&path, text.as_bytes()).expect("written");
        let suite = crate::suite::load(&path, &[]).expect(lines);
        let found = check_sizes(&suite, &[(HookPoint::Embed, width)], MEMORY);
        found.into_iter().map(|(field, error)| format!("{field}: {error}")).collect()
    }

    #[test]
    fn what_cannot_fit_is_named_with_its_field_and_what_there_is() {
        for (lines, width, expected) in [
            (
                "methods: [{kind: topk, features: 100_000_000}]",
                128,
                "`methods.topk.features` is 100000000, but fitting",
            ),
            ("methods: [{kind: sae, expansion: 1e5}]", 4096, "`methods.sae.expansion` is 100000, but"),
            ("methods: [{kind: random, features: 10_000_000}]", 64, "`methods.random.features` is 10000000"),
            (
                "methods: [{kind: batch_topk, batch: 10_000_000, features: 10_000}]",
                8,
                "`methods.batch_topk.features`",
            ),
            ("methods: [{kind: pca}]", 60_000, "`methods.pca` needs more memory: fitting `pca`"),
            ("methods: [{kind: neuron}]", 100_000, "`methods.neuron` needs more memory"),
            (
                "corpus: {fit_tokens: 100_000_000_000}",
                8,
                "`corpus.fit_tokens` is 100000000000, but a list of these tokens",
            ),
            ("corpus: {eval_fragments: 100_000_000}", 8, "`corpus.eval_fragments` is 100000000"),
            (
                "features: {per_cell: 1_000_000}\nmethods: [{kind: topk, expansion: 1e5}]",
                8,
                "`features.per_cell` is 1000000",
            ),
            ("corpus: {fit_tokens: 100_000_000}", 512, "activations at `hook_embed` need"),
        ] {
            let found = problems(lines, width);
            let named = found.iter().find(|text| text.contains(expected));
            let named = named.unwrap_or_else(|| panic!("{lines}: {found:?}"));
            assert!(named.contains("GB"), "{named}");
        }
        let found = problems("methods: [{kind: topk, features: 100_000_000}]", 128).remove(0);
        assert!(found.ends_with("16.0 GB of memory: expected at most about 4400000"), "{found}");
    }

    #[test]
    fn usual_sizes_fit() {
        let usual = "methods: [{kind: sae, expansion: 32}, {kind: pca}, {kind: ica}, {kind: random}]\nfeatures: {per_cell: 1_000}";
        for width in [64, 512, 2304, 4096] {
            let found = problems(&format!("{usual}\nlimits: {{disk_gb: 1000}}"), width);
            assert!(found.is_empty(), "{width}: {found:?}");
        }
    }
}
