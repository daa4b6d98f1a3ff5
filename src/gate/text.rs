//! Comparisons and gate reports as terminal text and as Markdown.

use std::ops::Range;

use super::compare::{CellChange, Comparison, QualityChange};
use super::inputs::InputChange;
use super::patching::PatchingChange;
use super::regress::{GateGroup, GateLine, GateReport};
use crate::base::distinct;
use crate::report::{Column, DASH, Grid, Look, PatchedNumber, fixed, markdown, p_value, visible, wrap};
use crate::stats::Family;

/// The scorer shown beside the primary one without `--all`.
const BESIDE_PRIMARY: &str = "beyond_token";

/// Smallest width of the verdict column: that of `no difference detected`, since a verdict is never cut. With less,
/// the verdict goes below its row.
const VERDICT_WIDTH: usize = 22;

/// A table for a terminal or for Markdown. The last column is text.
struct Table {
    heads: &'static [&'static str],
    /// Columns of numbers.
    numbers: Range<usize>,
    /// Columns that a narrow terminal drops, in this order.
    dropped_first: &'static [usize],
    rows: Vec<Vec<String>>,
}

impl Table {
    fn text(self, look: Look) -> String {
        let last = self.heads.len() - 1;
        let column = |(nth, head): (usize, &&str)| {
            let column = if self.numbers.contains(&nth) { Column::number(head) } else { Column::text(head) };
            match self.dropped_first.iter().position(|dropped| *dropped == nth) {
                _ if nth == last => column.folds(VERDICT_WIDTH),
                Some(rank) => column.drops(rank as u32),
                None => column,
            }
        };
        let mut grid = Grid::new(self.heads.iter().enumerate().map(column).collect());
        self.rows.into_iter().for_each(|row| grid.row(row));
        let drawn = grid.draw(look);
        match drawn.dropped.is_empty() {
            true => drawn.text,
            false => format!("{}no room for: {}\n", drawn.text, drawn.dropped.join(", ")),
        }
    }

    fn markdown(&self) -> String {
        let heads = self.heads.iter().map(|head| head.to_string()).collect();
        let rule = |nth| if self.numbers.contains(&nth) { "--:" } else { "---" }.to_string();
        let rules = (0..self.heads.len()).map(rule).collect();
        let rows = self.rows.iter().map(|row| row.iter().map(|cell| markdown(cell)).collect());
        let lines = [heads, rules].into_iter().chain(rows);
        lines.map(|cells: Vec<String>| format!("| {} |\n", cells.join(" | "))).collect()
    }
}

/// Appends one paragraph per line, each after `kind`.
fn push_all(text: &mut String, kind: &str, lines: &[String], look: Look) {
    text.extend(lines.iter().map(|line| paragraph(&format!("{kind} · {line}"), look)));
}

/// Running text, wrapped to the terminal. Lines after the first one are indented.
fn paragraph(text: &str, look: Look) -> String {
    wrap(text, look.width.saturating_sub(2)).join("\n  ") + "\n"
}

fn signed(value: f64) -> String {
    let text = fixed(Some(value), 3);
    if text.starts_with('-') { text } else { format!("+{text}") }
}

fn with_interval(change: f64, low: f64, high: f64) -> String {
    format!("{} [{}, {}]", signed(change), signed(low), signed(high))
}

/// A comparison for a terminal. Without `all`, only the primary scorer and `beyond_token`, without controls.
pub fn comparison_text(comparison: &Comparison, all: bool, look: Look) -> String {
    let (a, b) = (visible(&comparison.a), visible(&comparison.b));
    let mut text = format!("{a} → {b}: differences are second minus first\n");
    push_inputs(&mut text, &comparison.inputs);
    push_all(&mut text, "not compared", &comparison.not_compared, look);
    let shown = |cell: &&CellChange| {
        let asked = cell.scorer == comparison.primary || cell.scorer == BESIDE_PRIMARY;
        all || (cell.control.is_none() && asked)
    };
    let kind = |cell: &CellChange| {
        [&cell.scorer, &cell.explainer, &cell.simulator, &cell.protocol].map(String::clone)
    };
    for of_table in distinct(comparison.cells.iter().filter(shown).map(kind)) {
        let cells: Vec<&CellChange> =
            comparison.cells.iter().filter(shown).filter(|cell| kind(cell) == of_table).collect();
        let [scorer, explainer, simulator, protocol] = of_table;
        let planned = cells.iter().filter(|cell| cell.family == Family::Primary).count();
        let family = match planned {
            0 => "exploratory: p is not adjusted".to_string(),
            n => format!(
                "planned: p and intervals are adjusted over {n} cells (Holm), those of controls are not"
            ),
        };
        let pair = if explainer == simulator { explainer } else { format!("{explainer} → {simulator}") };
        text.push('\n');
        text.push_str(&paragraph(&format!("{scorer} · {pair} · {protocol} · {family}"), look));
        text.push_str(&cell_table(&cells).text(look));
    }
    text.push('\n');
    let verdicts = format!(
        "verdicts: within the margin means that the 90 % interval lies inside ±{}; no difference detected does not \
         mean that there is none: the interval says how large it may be.",
        comparison.margin
    );
    text.push_str(&paragraph(&verdicts, look));
    if comparison.quality.iter().any(|row| row.control.is_none()) {
        text.push_str("\ndictionaries, first → second\n");
        text.push_str(&quality_table(&comparison.quality).text(look));
    }
    let first_order = comparison.patching.first().map(|change| change.order.as_str());
    let patching: Vec<&PatchingChange> = comparison
        .patching
        .iter()
        .filter(|change| all || Some(change.order.as_str()) == first_order)
        .collect();
    if !patching.is_empty() {
        let about =
            "patching on a task, lower is better: intervals are those of independent runs, none is adjusted";
        text.push_str(&format!("\n{}", paragraph(about, look)));
        text.push_str(&patching_table(&patching).text(look));
    }
    if !all {
        let hidden = comparison.cells.iter().filter(|cell| !shown(cell)).count();
        text.push_str(&format!("\n{hidden} more cells, other scorers and controls: --all\n"));
    }
    text
}

fn push_inputs(text: &mut String, changes: &[InputChange]) {
    if changes.is_empty() {
        text.push_str("inputs · all equal, except possibly the seed\n");
        return;
    }
    text.push_str("inputs that differ (check these before the code):\n");
    const SHOWN: usize = 12;
    text.extend(changes.iter().take(SHOWN).map(|change| format!("  {}\n", visible(&change.to_string()))));
    if changes.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", changes.len() - SHOWN));
    }
}

fn cell_table(cells: &[&CellChange]) -> Table {
    let rows = cells.iter().map(|cell| {
        let control = cell.control.as_deref().map_or(String::new(), |name| format!(" ({name})"));
        let (low, high) = match cell.family {
            Family::Primary => (cell.adjusted_low, cell.adjusted_high),
            Family::Exploratory => (cell.ci_low, cell.ci_high),
        };
        let interval = match (cell.difference, low, high) {
            (Some(difference), Some(low), Some(high)) => with_interval(difference, low, high),
            (Some(difference), ..) => signed(difference),
            _ => DASH.to_string(),
        };
        let n = match cell.n_pairs {
            Some(pairs) => format!("{pairs} pairs"),
            None => format!("{}, {}", cell.n_a, cell.n_b),
        };
        let verdict = match (cell.identical, cell.verdict) {
            (true, _) => "identical".to_string(),
            (false, Some(verdict)) => verdict.to_string(),
            (false, None) => cell.reason.clone().unwrap_or_default(),
        };
        vec![
            cell.hook.clone(),
            format!("{}{control}", cell.method),
            fixed(cell.mean_a, 3),
            fixed(cell.mean_b, 3),
            interval,
            n,
            p_value(cell.p_adjusted.or(cell.p)),
            verdict,
        ]
    });
    Table {
        heads: &["hook point", "method", "first", "second", "difference [95 %]", "n", "p", "verdict"],
        numbers: 2..7,
        dropped_first: &[2, 6, 3, 5],
        rows: rows.collect(),
    }
}

fn quality_table(rows: &[QualityChange]) -> Table {
    let real = rows.iter().filter(|row| row.control.is_none());
    let lines = real.map(|row| {
        let value = |name: &str, digits: usize| {
            let [a, b] = row.values.get(name).copied().unwrap_or_default();
            let (a, b) = (fixed(a, digits), fixed(b, digits));
            if a == b { a } else { format!("{a} → {b}") }
        };
        vec![
            row.hook.clone(),
            row.method.clone(),
            value("l0", 1),
            value("fvu", 3),
            value("loss_recovered_zero", 3),
            value("dead", 0),
            if row.same_dictionary { "same" } else { "other" }.to_string(),
        ]
    });
    Table {
        heads: &["hook point", "method", "L0", "FVU", "loss recovered", "dead", "dictionary"],
        numbers: 2..6,
        dropped_first: &[5, 4],
        rows: lines.collect(),
    }
}

fn patching_table(changes: &[&PatchingChange]) -> Table {
    let number = |number: &PatchedNumber| fixed(number.value, 3);
    let rows = changes.iter().map(|change| {
        let interval = match (change.difference, change.ci_low, change.ci_high) {
            (Some(difference), Some(low), Some(high)) => with_interval(difference, low, high),
            (Some(difference), ..) => signed(difference),
            _ => DASH.to_string(),
        };
        let reason = [&change.a, &change.b].into_iter().find_map(|number| number.reason.clone());
        let verdict = match (change.identical, &change.verdict) {
            (true, _) => "identical".to_string(),
            (false, Some(verdict)) => verdict.clone(),
            (false, None) => reason.unwrap_or_default(),
        };
        let (hook, method, order) = (change.hook.clone(), change.method.clone(), change.order.clone());
        let quantity = change.number.clone();
        vec![hook, method, order, quantity, number(&change.a), number(&change.b), interval, verdict]
    });
    Table {
        heads: &[
            "hook point",
            "method",
            "order",
            "number",
            "first",
            "second",
            "difference [95 %]",
            "verdict",
        ],
        numbers: 4..7,
        dropped_first: &[4, 5],
        rows: rows.collect(),
    }
}

/// Numbers of a line as text: scores and shares as they are, ratios in percent.
struct Shown {
    former: String,
    now: String,
    change: String,
    detectable: String,
}

impl Shown {
    fn of(line: &GateLine) -> Self {
        let change = &line.change;
        let places = |value| fixed(Some(value), 3);
        if !line.relative {
            return Self {
                former: format!("{} ± {}", places(change.former), places(change.between_runs_sd)),
                now: places(change.now),
                change: with_interval(change.change, change.adjusted_low, change.adjusted_high),
                detectable: places(change.smallest_detectable),
            };
        }
        let percent = |log: f64| {
            let percent = 100.0 * log.exp_m1();
            if percent.abs() < 1000.0 { format!("{percent:+.1} %") } else { format!("{percent:+.0} %") }
        };
        let [low, high] = [change.adjusted_low, change.adjusted_high].map(percent);
        let sd = 100.0 * change.between_runs_sd.exp_m1();
        Self {
            former: format!("{} ± {sd:.1} %", quantity(change.former.exp())),
            now: quantity(change.now.exp()),
            change: format!("{} [{low}, {high}]", percent(change.change)),
            detectable: percent(change.smallest_detectable).trim_start_matches('+').to_string(),
        }
    }
}

/// A count or an amount, with a precision that fits its size.
fn quantity(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1} M", value / 1e6)
    } else if value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn gate_table(lines: &[GateLine], quantities: bool) -> Table {
    let rows = lines.iter().map(|line| {
        let shown = Shown::of(line);
        vec![
            if quantities { format!("{} {}", line.subject, line.quantity) } else { line.subject.clone() },
            shown.former,
            shown.now,
            shown.change,
            p_value(Some(line.change.p_adjusted)),
            shown.detectable,
            line.change.verdict.to_string(),
        ]
    });
    Table {
        heads: &["quantity", "accepted ± sd", "now", "change [adjusted]", "p", "would find", "verdict"],
        numbers: 1..6,
        dropped_first: &[4, 2, 1],
        rows: rows.collect(),
    }
}

/// What a worse line of the group means.
fn level(group: &GateGroup) -> String {
    match group.gates {
        true => format!("gate: worse by chance in {} % of nights at most", percent_of(group.level)),
        false => "shown, does not fail the gate".into(),
    }
}

fn percent_of(share: f64) -> String {
    format!("{}", (share * 1000.0).round() / 10.0)
}

/// The gate's verdict in one line.
fn headline(report: &GateReport) -> String {
    if report.passed {
        let tested: usize =
            report.groups.iter().filter(|group| group.gates).map(|group| group.lines.len()).sum();
        return format!("nothing is worse: {tested} quantities tested");
    }
    const SHOWN: usize = 6;
    let failures = report.failures();
    let names = failures.iter().take(SHOWN).map(|(_, line)| format!("{} {}", line.subject, line.quantity));
    let mut parts = Vec::new();
    if !failures.is_empty() {
        let more = failures.len().saturating_sub(SHOWN);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("worse: {}{tail}", names.collect::<Vec<_>>().join(", ")));
    }
    if !report.missing.is_empty() {
        parts.push(format!("missing: {} that every accepted run has", report.missing.len()));
    }
    visible(&parts.join("; "))
}

/// A worse line with its numbers.
fn failure_line(group: &GateGroup, line: &GateLine) -> String {
    let shown = Shown::of(line);
    let rests = match line.n_features {
        Some(n) => format!("{} hook points, {n} features", line.n_hooks),
        None => format!("{} hook points", line.n_hooks),
    };
    visible(&format!(
        "{} · {} {}: {} → {}, change {}, p {} ({rests}, {} accepted runs)",
        group.name,
        line.subject,
        line.quantity,
        shown.former,
        shown.now,
        shown.change,
        p_value(Some(line.change.p_adjusted)),
        line.change.n_runs
    ))
}

/// A gate report for a terminal. Without `all`, only the groups that can fail the gate.
pub fn gate_text(report: &GateReport, all: bool, look: Look) -> String {
    let mut text = format!(
        "{} (suite {}, seed {}) against {}: {} accepted runs\n",
        visible(&report.run),
        visible(&report.suite),
        report.seed,
        visible(&report.against),
        report.n_runs
    );
    push_inputs(&mut text, &report.inputs);
    push_all(&mut text, "note", &report.notes, look);
    for group in report.groups.iter().filter(|group| all || group.gates) {
        text.push('\n');
        text.push_str(&paragraph(&format!("{} · {}; {}", group.name, group.what, level(group)), look));
        if let Some(first) = group.lines.first() {
            let several = group.lines.iter().any(|line| line.quantity != first.quantity);
            text.push_str(&gate_table(&group.lines, several || first.subject == "run").text(look));
        }
        push_all(&mut text, "not tested", &group.not_tested, look);
    }
    text.push('\n');
    push_all(&mut text, "missing", &report.missing, look);
    let failures = report.failures();
    let failures: Vec<String> = failures.iter().map(|(group, line)| failure_line(group, line)).collect();
    push_all(&mut text, "worse", &failures, look);
    text.push_str(&paragraph(&headline(report), look));
    text
}

/// A gate report as Markdown, for the summary page of a CI job.
pub fn gate_markdown(report: &GateReport) -> String {
    let sign = if report.passed { "✅" } else { "❌" };
    let mut text = format!("## {sign} {}\n\n", markdown(&headline(report)));
    text.push_str(&format!(
        "`{}`, suite {}, seed {}, against {} accepted runs (`{}`).\n\n",
        report.run.replace('`', "'"),
        markdown(&report.suite),
        report.seed,
        report.n_runs,
        report.against.replace('`', "'")
    ));
    if !report.inputs.is_empty() {
        text.push_str("**Inputs that differ** (check these before the code):\n\n");
        text.extend(report.inputs.iter().map(|change| format!("- {}\n", markdown(&change.to_string()))));
        text.push('\n');
    }
    text.extend(report.notes.iter().map(|note| format!("> {}\n\n", markdown(note))));
    text.extend(report.missing.iter().map(|missing| format!("- **missing**: {}\n", markdown(missing))));
    for (group, line) in report.failures() {
        text.push_str(&format!("- **worse**: {}\n", markdown(&failure_line(group, line))));
    }
    for group in &report.groups {
        let worse = group.failures().count();
        let open = if group.name == "scores" || worse > 0 { " open" } else { "" };
        text.push_str(&format!(
            "\n<details{open}><summary>{} ({} tested, {worse} worse)</summary>\n\n{}; {}.\n\n",
            group.name,
            group.lines.len(),
            markdown(&group.what),
            level(group)
        ));
        if !group.lines.is_empty() {
            text.push_str(&gate_table(&group.lines, true).markdown());
        }
        text.extend(group.not_tested.iter().map(|why| format!("\nNot tested: {}.\n", markdown(why))));
        text.push_str("\n</details>\n");
    }
    text.push_str("\n*Change*: in brackets an interval that excludes 0 exactly if the verdict's test does. *Would find*: the smallest worsening that this test calls worse with probability 0.8. *No change detected* does not mean that there is none.\n");
    text
}

/// A line's verdict with its margin and numbers.
pub(super) fn line_text(group: &GateGroup, line: &GateLine) -> String {
    let margin =
        if line.relative { format!("{} %", percent_of(line.margin)) } else { format!("{}", line.margin) };
    format!("{} (margin {margin}): {}", line.change.verdict, failure_line(group, line))
}
