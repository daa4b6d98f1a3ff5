//! `table.md`: all tables as GitHub-flavoured Markdown.

use super::erasure::push_erasure;
use super::lines::{push_head, push_row};
use super::patching::push_patching;
use super::quadrants::{QUADRANT_HEAD, quadrant_cells, quadrant_note};
use super::rows::{
    COUNTS, QUALITY_HEAD, control_label, control_words, dead_unit, differences, interval_of_differences,
    quality_cells, row, table_note,
};
use super::verdict::push_verdict;
use crate::report::escape::markdown as escape;
use crate::report::schema::Family;
use crate::report::verdict::Findings;
use crate::report::view::{Pairing, View};

pub fn markdown(view: &View<'_>) -> String {
    let summary = view.summary;
    let mut text = format!("# {}\n\nRun {}.", escape(&summary.suite), escape(&summary.run));
    if !summary.deviations.is_empty() {
        let names: Vec<String> = summary.deviations.iter().map(|name| escape(name)).collect();
        text.push_str(&format!(" Deviations from the protocol: {}.", names.join(", ")));
    }
    text.push('\n');
    push_verdict(&mut text, &Findings::of(view));
    text.push_str(
        "\n## Scores\n\nScores say how well an explanation predicts a feature's activations on text. `top_and_random` can be \
         high because the explanation knows which token it looks at; `beyond_token` compares only occurrences of \
         the same token type, so token identity alone earns nothing in it. Read both, beside their controls.\n",
    );
    if view.has_output_scores() {
        text.push_str(
            "\nOutput scores say what a feature does to the model's output: `ablation_effect` and `steering_effect` (nats), \
             `effect_agreement` (rank correlation) and `damage` (nats per token, lower is better). They do not depend \
             on the explanation, so they stand under the first explainer only.\n",
        );
    }
    if !view.controls.is_empty() {
        text.push_str("\nControls:");
        for control in &view.controls {
            text.push_str(&format!(" *{}*: {}.", escape(control), control_words(control)));
        }
        text.push('\n');
    }
    for pairing in &view.pairings {
        push_scores(&mut text, view, *pairing);
    }
    push_quadrants(&mut text, view);
    push_quality(&mut text, view);
    push_patching(&mut text, summary);
    push_erasure(&mut text, summary);
    push_differences(&mut text, view);
    text
}

fn push_scores(text: &mut String, view: &View<'_>, pairing: Pairing<'_>) {
    text.push_str(&format!(
        "\n## {}\n\nprotocol {}, explainer {}, simulator {}\n\n",
        escape(&pairing.label()),
        escape(pairing.protocol),
        escape(pairing.explainer),
        escape(pairing.simulator)
    ));
    let scorers = view.scorers.iter().map(|scorer| escape(scorer));
    let head = ["hook point", "method"].map(str::to_string).into_iter().chain(scorers);
    push_head(text, &head.chain(COUNTS.map(str::to_string)).collect::<Vec<_>>(), 2);
    for key in view.hooks.iter().flat_map(|hook| view.rows(pairing, hook)) {
        let row = row(view, pairing, key);
        let method = match &row.control {
            Some(control) => format!("*{} ({})*", escape(&row.method), escape(&control_label(control))),
            None => escape(&row.method),
        };
        let counts = row.counts.map(|cell| escape(&cell));
        push_row(text, [escape(&row.hook), method].into_iter().chain(row.scores).chain(counts));
    }
    text.push_str(&format!("\n{}\n", table_note(view, pairing)));
}

fn push_quadrants(text: &mut String, view: &View<'_>) {
    let Some(quadrants) = &view.summary.quadrants else { return };
    text.push_str("\n## Input and output scores\n\n");
    push_head(text, &QUADRANT_HEAD, 2);
    for row in &quadrants.rows {
        push_row(text, quadrant_cells(row).map(|cell| escape(&cell).replace(r"\[", "[").replace(r"\]", "]")));
    }
    text.push_str(&format!("\n{}\n", escape(&quadrant_note(quadrants))));
}

fn push_quality(text: &mut String, view: &View<'_>) {
    let rows = &view.summary.quality;
    if rows.is_empty() {
        return;
    }
    text.push_str("\n## Dictionaries\n\n");
    push_head(text, &QUALITY_HEAD, 2);
    for row in rows {
        push_row(text, quality_cells(row).map(|cell| escape(&cell)));
    }
    text.push_str(&format!(
        "\nDead: fires on none of {}; near-dead counts the dead too. FVU: fraction of variance unexplained. \
         Loss recovered: share of the loss that an ablation costs and the reconstruction wins back.\n",
        dead_unit(rows)
    ));
}

fn push_differences(text: &mut String, view: &View<'_>) {
    let summary = view.summary;
    let families = [
        (Family::Primary, "Differences, planned", "p adjusted over this table (Holm)."),
        (
            Family::Exploratory,
            "Differences, exploratory",
            "Nothing here was planned and no p-value is adjusted: some small ones are chance.",
        ),
    ];
    let head =
        ["hook point", "explainer", "score", "compared", "n", "difference", "p", "p adjusted", "verdict"];
    for (family, title, note) in families {
        let rows = differences(&summary.differences, family, summary.margin);
        if rows.is_empty() {
            continue;
        }
        text.push_str(&format!("\n## {title}\n\n"));
        push_head(text, &head, 4);
        for row in rows {
            push_row(text, row.map(|cell| escape(&cell).replace(r"\[", "[").replace(r"\]", "]")));
        }
        let interval = interval_of_differences(&summary.differences, family);
        text.push_str(&format!(
            "\n{note} In brackets: {interval}. *No difference detected* is not *equal*.\n"
        ));
    }
}
