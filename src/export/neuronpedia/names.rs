//! Names of models, sources and rows. A source is `LAYER-SET`, as Neuronpedia splits it: `2-smoke-topk-resid_post`.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::{Digest, HookPoint};
use crate::export::run_folder::{Entry, RunFolder};

/// The account of Neuronpedia's own exports. Rows need an account that the importing server has.
pub const CREATOR: &str = "clkht01d40000jv08hvalcvly";

/// Where one dictionary goes.
pub struct Source {
    /// Id of the model.
    pub model: String,
    /// `LAYER-SET`.
    pub id: String,
    /// Name of the set: all layers of one method at one site.
    pub set: String,
}

impl Source {
    /// None if the hook point is unknown.
    pub fn of(run: &RunFolder, entry: &Entry) -> Option<Self> {
        let (layer, site) = (entry.layer()?, site(entry)?);
        let (mut sets, mut taken) = (BTreeMap::new(), BTreeSet::new());
        // Names depend on the whole run, so that filters change none.
        for other in run.entries().iter().filter(|other| other.place.control.is_none()) {
            if let Some(site) = self::site(other) {
                let wanted = id(&format!("{}-{}-{site}", run.summary.suite, other.place.dictionary));
                let key = (other.place.dictionary.as_str(), site);
                sets.entry(key).or_insert_with(|| free_id(wanted, &mut taken));
            }
        }
        let set = sets.remove(&(entry.place.dictionary.as_str(), site))?;
        Some(Self { model: model(run), id: format!("{layer}-{set}"), set })
    }
}

/// The model's id: the name of its repository or folder.
fn model(run: &RunFolder) -> String {
    let name = run.facts.subject.name.as_deref().unwrap_or("model");
    id(name.rsplit(['/', '\\']).next().unwrap_or(name))
}

/// The place in a block, without `hook_`.
fn site(entry: &Entry) -> Option<String> {
    let site = match entry.hook? {
        HookPoint::Embed => "embed",
        HookPoint::Block { site, .. } => site.name(),
    };
    Some(site.replace("hook_", ""))
}

/// Lower-case letters, digits, `-` and `_`, at most 100.
fn id(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let id: String = text.chars().take(100).map(kept).collect();
    if id.is_empty() { "_".to_string() } else { id }
}

/// `id`, or the first of `id-2`, `id-3`, … that is free.
fn free_id(id: String, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|nth| format!("{id}-{nth}"));
    let free = [id.clone()].into_iter().chain(numbered).find(|id| taken.insert(id.clone()));
    free.unwrap_or(id)
}

/// The id of a row: 25 characters, as the database's own, from what the row is about.
pub fn row_id(run: &RunFolder, entry: &Entry, table: &str, about: &[&str]) -> String {
    let place = &entry.place;
    let mut parts = vec![run.summary.run.as_str(), &place.hook, &place.dictionary, table];
    parts.extend(about);
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    format!("c{}", &Digest::of(text.as_bytes()).hex()[..24])
}

/// The name of one of our explainers, scores or simulators, which can be no other's.
pub fn own(name: &str) -> String {
    format!("autointerp_{name}")
}
