//! Folders of finished runs, and what the gate accepted.

use std::hint::black_box;

use autointerp::gate::{
    AcceptedRuns, RunFolder, accept, compare, comparison_text, gate_markdown, gate_text, junit_xml, regress,
};
use autointerp::report::{
    Findings, Ink, Look, RenderOptions, Summary, render, terminal_table, terminal_verdict,
};

use super::shown;
use super::with_folder;

/// Rows that are compared and drawn only if there are no more.
const LOOK: Look = Look { width: 80, ink: Ink::None };

/// A run folder with the file of accepted runs: read, compared and judged.
pub fn gate(input: &[u8]) {
    with_folder(input, |folder| {
        black_box(
            shown(Summary::read(&folder.join("summary.json")))
                .map(|read| terminal_verdict(&Findings::new(&read), LOOK) + &terminal_table(&read, LOOK)),
        );
        let run = shown(RunFolder::read(folder));
        let accepted = shown(AcceptedRuns::read(&folder.join("accepted.json")));
        let Some(run) = run else { return };
        black_box(shown(compare(&run, &run)).map(|found| comparison_text(&found, true, LOOK)));
        black_box(shown(accept([&run])).is_some());
        let Some(accepted) = accepted else { return };
        if let Some(judged) = shown(regress(&run, &accepted, "accepted.json")) {
            black_box((gate_text(&judged, true, LOOK), gate_markdown(&judged), junit_xml(&judged)));
        }
    });
}

/// A run folder: tables, charts and pages.
pub fn report(input: &[u8]) {
    with_folder(input, |folder| {
        black_box(shown(render(folder, &RenderOptions::default())).is_some());
    });
}
