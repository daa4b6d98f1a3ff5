//! `table.tex`: booktabs tables to `\input`.

use super::rows::{QUALITY_HEAD, Row, control_label, dead_unit, differences, quality_cells, row, table_note};
use crate::report::escape::tex as escape;
use crate::report::number::DASH;
use crate::report::schema::Family;
use crate::report::view::{Pairing, View};

/// A number or interval: minus signs and dashes as print wants them.
fn math(text: &str) -> String {
    if text == DASH {
        return "---".to_string();
    }
    escape(text).replace('-', "$-$").replace('†', "$^{\\dagger}$").replace('±', "$\\pm$").replace('−', "$-$")
}

fn words(text: &str) -> String {
    if text == DASH { "---".to_string() } else { escape(text).replace('−', "$-$").replace('±', "$\\pm$") }
}

/// A table that may run over pages, with its head on each.
fn push_table(into: &mut String, caption: &str, columns: &str, head: &[String], rows: &[Vec<String>]) {
    let head = head.join(" & ");
    into.push_str(&format!("\n{{\\scriptsize\n\\begin{{longtable}}{{{columns}}}\n"));
    into.push_str(&format!(
        "\\caption{{{caption}}} \\\\\n\\toprule\n{head} \\\\\n\\midrule\n\\endfirsthead\n"
    ));
    into.push_str(&format!("\\toprule\n{head} \\\\\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"));
    for row in rows {
        // A row may not start with a bracket: the end of the row before would take it as its argument.
        into.push_str(&format!("{{}}{} \\\\\n", row.join(" & ")));
    }
    into.push_str("\\end{longtable}}\n");
}

/// All tables as LaTeX; needs `booktabs`, `longtable` and, for quotation marks, `[T1]{fontenc}`.
pub fn tex(view: &View<'_>) -> String {
    let mut text =
        String::from("% Needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp,booktabs,longtable}.\n");
    for pairing in &view.pairings {
        push_scores(&mut text, view, *pairing);
    }
    push_quality(&mut text, view);
    push_differences(&mut text, view);
    text
}

fn method(row: &Row) -> String {
    match &row.control {
        Some(control) => format!("\\textit{{{} ({})}}", escape(&row.method), escape(&control_label(control))),
        None => escape(&row.method),
    }
}

fn push_scores(text: &mut String, view: &View<'_>, pairing: Pairing<'_>) {
    let rows: Vec<Row> = view
        .hooks
        .iter()
        .flat_map(|hook| view.rows(pairing, hook))
        .map(|key| row(view, pairing, key))
        .collect();
    let setting = format!(
        "Protocol {}, explainer {}, simulator {}.",
        escape(pairing.protocol),
        escape(pairing.explainer),
        escape(pairing.simulator)
    );
    let mut head = vec!["hook point".to_string(), "method".to_string()];
    head.extend(view.scorers.iter().map(|scorer| escape(scorer)));
    let scores: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![escape(&row.hook), method(row)];
            cells.extend(row.scores.iter().map(|score| math(score)));
            cells
        })
        .collect();
    let columns = format!("ll{}", "r".repeat(view.scorers.len()));
    push_table(text, &format!("{setting} {}", words(&table_note(view, pairing))), &columns, &head, &scores);

    let head = [
        "hook point",
        "method",
        "scored/requested",
        "constant",
        "undefined",
        "failed",
        "skipped",
        "eligible",
    ];
    let counts: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let mut cells = vec![escape(&row.hook), method(row)];
            let rest = [&row.n, &row.constant, &row.undefined, &row.failed, &row.skipped, &row.eligible];
            cells.extend(rest.map(|cell| words(cell)));
            cells
        })
        .collect();
    let caption = format!("{setting} What became of the features.");
    push_table(text, &caption, "llrrrrlr", &head.map(str::to_string), &counts);
}

fn push_quality(text: &mut String, view: &View<'_>) {
    let rows = &view.summary.quality;
    if rows.is_empty() {
        return;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let cells = quality_cells(row);
            let last = cells.len() - 1;
            let numbers = 2..last;
            cells
                .iter()
                .enumerate()
                .map(|(i, cell)| if numbers.contains(&i) { math(cell) } else { words(cell) })
                .collect()
        })
        .collect();
    let head: Vec<String> = QUALITY_HEAD.iter().map(|name| escape(name)).collect();
    let caption = format!("Dictionaries. Dead: fires on none of {}.", escape(&dead_unit(rows)));
    push_table(text, &caption, "llrrrrrrrrrrll", &head, &cells);
}

fn push_differences(text: &mut String, view: &View<'_>) {
    let summary = view.summary;
    let families = [
        (Family::Primary, "Planned differences; $p$ adjusted over this table (Holm)."),
        (Family::Exploratory, "Exploratory differences; no $p$ is adjusted."),
    ];
    for (family, caption) in families {
        let rows: Vec<Vec<String>> = differences(&summary.differences, family, summary.margin)
            .into_iter()
            .map(|row| {
                vec![
                    escape(&row.hook),
                    words(&row.pairing).replace('→', "$\\to$"),
                    escape(&row.scorer),
                    words(&row.compared),
                    row.n,
                    math(&row.difference),
                    words(&row.p),
                    words(&row.p_adjusted),
                    words(&row.verdict),
                ]
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let head = [
            "hook point",
            "explainer",
            "score",
            "compared",
            "$n$",
            "difference",
            "$p$",
            "$p$ adjusted",
            "verdict",
        ];
        push_table(text, caption, "llllrrrrl", &head.map(str::to_string), &rows);
    }
}
