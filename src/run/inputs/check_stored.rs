//! Checks a suite against the stored activations that it names, without reading any.

use crate::base::HookPoint;
use crate::run::inputs::prepare::{expand_hooks, open_corpus, run_with_prefix};
use crate::run::inputs::stored::open_stored;
use crate::run::{Places, RunError};
use crate::suite::Suite;

/// What stored activations say of themselves.
#[derive(Debug)]
pub struct StoredHeader {
    /// Name of the model, or of the file.
    pub name: String,
    /// Hook points of the suite with their widths.
    pub hooks: Vec<(HookPoint, usize)>,
}

/// Checks files, token ids, tokenizer, hook points and amount of text. None if the suite names a model.
pub fn check_stored(suite: &Suite, places: &Places) -> Result<Option<StoredHeader>, RunError> {
    let Some(loaded) = open_stored(&suite.subject, places, false)? else { return Ok(None) };
    let prefix = loaded.prefix(suite.subject.bos)?;
    let model = loaded.model();
    let hooks = expand_hooks(suite, model)?.into_iter().map(|hook| Ok((hook, model.width(hook)?)));
    let hooks = hooks.collect::<Result<_, RunError>>()?;
    open_corpus(&run_with_prefix(&loaded, &prefix, suite), &loaded, places, &|_| ())?;
    Ok(Some(StoredHeader { name: model.info().name.clone(), hooks }))
}
