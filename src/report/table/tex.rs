//! `table.tex`: all tables for `\input`, in LaTeX with `booktabs` and `longtable`.

use super::patching::{PatchedRow, head, rows, what};
use super::rows::{
    COUNTS, QUALITY_HEAD, Row, control_label, dead_unit, differences, interval_of_differences, quality_cells,
    row, table_note,
};
use crate::report::escape::tex as escape;
use crate::report::number::DASH;
use crate::report::patched::Patched;
use crate::report::schema::Family;
use crate::report::view::{Pairing, View};

fn words(text: &str) -> String {
    if text == DASH { "---".to_string() } else { escape(text).replace('−', "$-$").replace('±', "$\\pm$") }
}

/// A number or interval: hyphens are minus signs.
fn math(text: &str) -> String {
    words(&text.replace('-', "−")).replace('†', "$^{\\dagger}$")
}

/// A table that may span pages, with its head on each.
fn push_table(into: &mut String, caption: &str, columns: &str, head: &[String], rows: &[Vec<String>]) {
    let head = head.join(" & ");
    into.push_str(&format!("\n{{\\scriptsize\n\\begin{{longtable}}{{{columns}}}\n"));
    into.push_str(&format!(
        "\\caption{{{caption}}} \\\\\n\\toprule\n{head} \\\\\n\\midrule\n\\endfirsthead\n"
    ));
    into.push_str(&format!("\\toprule\n{head} \\\\\n\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"));
    for row in rows {
        // `{}` first: LaTeX would read a leading bracket as the argument of the previous row's `\\`.
        into.push_str(&format!("{{}}{} \\\\\n", row.join(" & ")));
    }
    into.push_str("\\end{longtable}}\n");
}

/// All tables; they need `booktabs`, `longtable` and, for quotation marks, `[T1]{fontenc}`.
pub fn tex(view: &View<'_>) -> String {
    let mut text =
        String::from("% Needs \\usepackage[T1]{fontenc}, \\usepackage{textcomp,booktabs,longtable}.\n");
    for pairing in &view.pairings {
        push_scores(&mut text, view, *pairing);
    }
    push_quality(&mut text, view);
    push_patching(&mut text, view);
    push_differences(&mut text, view);
    text
}

/// The cells of a row: hook point, method with its control, and `rest`.
fn cells(row: &Row, rest: impl Iterator<Item = String>) -> Vec<String> {
    let method = match &row.control {
        Some(control) => format!("\\textit{{{} ({})}}", escape(&row.method), escape(&control_label(control))),
        None => escape(&row.method),
    };
    [escape(&row.hook), method].into_iter().chain(rest).collect()
}

fn push_scores(text: &mut String, view: &View<'_>, pairing: Pairing<'_>) {
    let keys = view.hooks.iter().flat_map(|hook| view.rows(pairing, hook));
    let rows: Vec<Row> = keys.map(|key| row(view, pairing, key)).collect();
    let setting = format!(
        "Protocol {}, explainer {}, simulator {}.",
        escape(pairing.protocol),
        escape(pairing.explainer),
        escape(pairing.simulator)
    );
    let first = ["hook point", "method"].map(str::to_string);
    let head: Vec<String> =
        first.iter().cloned().chain(view.scorers.iter().map(|scorer| escape(scorer))).collect();
    let scores = rows.iter().map(|row| cells(row, row.scores.iter().map(|score| math(score))));
    let columns = format!("ll{}", "r".repeat(view.scorers.len()));
    let caption = format!("{setting} {}", words(&table_note(view, pairing)));
    push_table(text, &caption, &columns, &head, &scores.collect::<Vec<_>>());

    // Repeating tokens and notes would make the page too wide.
    let head: Vec<String> = first.into_iter().chain(COUNTS[..6].iter().map(ToString::to_string)).collect();
    let counts = rows.iter().map(|row| cells(row, row.counts[..6].iter().map(|count| words(count))));
    let caption = format!("{setting} What became of the features.");
    push_table(text, &caption, "llrrrrlr", &head, &counts.collect::<Vec<_>>());
}

fn push_quality(text: &mut String, view: &View<'_>) {
    let rows = &view.summary.quality;
    if rows.is_empty() {
        return;
    }
    let numbers = 2..QUALITY_HEAD.len() - 1;
    let cell = |(i, cell): (usize, &String)| if numbers.contains(&i) { math(cell) } else { words(cell) };
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| quality_cells(row).iter().enumerate().map(cell).collect()).collect();
    let head = QUALITY_HEAD.map(escape);
    let caption = format!("Dictionaries. Dead: fires on none of {}.", escape(&dead_unit(rows)));
    push_table(text, &caption, "llrrrrrrrrrrll", &head, &cells);
}

/// A table for each order, without the columns of p-values.
fn push_patching(text: &mut String, view: &View<'_>) {
    let Some(patched) = Patched::of(view.summary) else { return };
    let columns = [0, 1, 2, 3, 4, 5, 7, 9];
    let head = head(&patched);
    let first = ["hook point", "method"].map(str::to_string);
    let heads: Vec<String> = first.into_iter().chain(columns.map(|nth| words(&head[nth]))).collect();
    let about = words(&what(&patched)).replace('‖', "$\\Vert$").replace('′', "$'$");
    for order in &patched.orders {
        let cells = |row: PatchedRow| {
            let method = escape(&row.method);
            let method = if row.is_control { format!("\\textit{{{method}}}") } else { method };
            let cell = |nth: usize| {
                let is_number =
                    row.cells[nth].starts_with(|first: char| first.is_ascii_digit() || first == '-');
                if is_number { math(&row.cells[nth]) } else { words(&row.cells[nth]) }
            };
            [escape(&row.hook), method].into_iter().chain(columns.map(cell)).collect::<Vec<_>>()
        };
        let rows: Vec<Vec<String>> = rows(&patched, order).into_iter().map(cells).collect();
        let caption = format!("Patching, order {}. {about}", escape(order));
        push_table(text, &caption, "llrrrrrrrl", &heads, &rows);
    }
}

fn push_differences(text: &mut String, view: &View<'_>) {
    let summary = view.summary;
    let families = [
        (Family::Primary, "Planned differences; $p$ adjusted over this table (Holm)."),
        (Family::Exploratory, "Exploratory differences; no $p$ is adjusted."),
    ];
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
    for (family, caption) in families {
        let cells = |row: [String; 9]| {
            let [hook, pairing, scorer, compared, n, difference, p, p_adjusted, verdict] = row;
            vec![
                escape(&hook),
                words(&pairing).replace('→', "$\\to$"),
                escape(&scorer),
                words(&compared),
                n,
                math(&difference),
                words(&p),
                words(&p_adjusted),
                words(&verdict),
            ]
        };
        let rows = differences(&summary.differences, family, summary.margin);
        let rows: Vec<Vec<String>> = rows.into_iter().map(cells).collect();
        if !rows.is_empty() {
            let interval = words(interval_of_differences(&summary.differences, family));
            let caption = format!("{caption} In brackets: {interval}.");
            push_table(text, &caption, "llllrrrrl", &head.map(str::to_string), &rows);
        }
    }
}
