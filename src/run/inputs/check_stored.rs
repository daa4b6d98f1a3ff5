//! Checks a suite against the stored activations that it names, without reading any.

use crate::run::inputs::prepare::{expand_hooks, open_corpus, run_with_prefix};
use crate::run::inputs::stored::open_stored;
use crate::run::{Places, RunError};
use crate::suite::Suite;

/// Checks files, token ids, tokenizer, hook points and amount of text. Does nothing if the suite names a model.
pub fn check_stored(suite: &Suite, places: &Places) -> Result<(), RunError> {
    let Some(loaded) = open_stored(&suite.subject, places, false)? else { return Ok(()) };
    let prefix = loaded.prefix(suite.subject.bos)?;
    expand_hooks(suite, loaded.model())?;
    open_corpus(&run_with_prefix(&loaded, &prefix, suite), &loaded, places, &|_, _| ())?;
    Ok(())
}
