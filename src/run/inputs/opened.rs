//! Opens what a suite names, after a look at all headers.

use crate::run::inputs::dictionaries::with_dictionaries;
use crate::run::inputs::prepare::{OpenSubject, expand_hooks, open_subject};
use crate::run::plan::headers::{check_places, read_headers};
use crate::run::{Event, Places, RunError};
use crate::suite::Suite;

/// Open inputs of a run.
pub struct OpenInputs {
    /// The suite with every dictionary trained elsewhere located.
    pub suite: Suite,
    /// The subject model.
    pub subject: OpenSubject,
}

/// Reads all headers, finds the dictionaries trained elsewhere, opens the subject model, and compares them.
/// `warnings` gets what readers of the results must know.
pub fn open_inputs(
    suite: &Suite,
    places: &Places,
    on: &dyn Fn(Event),
    warnings: &mut Vec<String>,
) -> Result<OpenInputs, RunError> {
    read_headers(suite, places).checked()?;
    let mut suite = with_dictionaries(suite, places, on)?;
    let subject = open_subject(&suite.subject, places)?;
    subject.note.iter().for_each(|note| on(Event::Note(note.clone())));
    let model = subject.loaded.model();
    let found = check_places(&suite, places, model, &expand_hooks(&suite, model)?)?;
    found.warnings.iter().for_each(|warning| on(Event::Warning(warning.clone())));
    found.mark(&mut suite.methods);
    warnings.extend(found.warnings);
    warnings.extend(subject.loaded.notes());
    Ok(OpenInputs { suite, subject })
}
