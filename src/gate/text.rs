//! Comparisons and gate reports as text for a terminal and as Markdown for a job's summary.

use super::compare::{CellChange, Comparison, QualityChange};
use super::regress::{GateGroup, GateLine, GateReport};
use crate::report::{Column, DASH, Grid, Look, fixed, markdown, p_value, visible, wrap};
use crate::stats::Family;

/// Exploratory cells are shown on a terminal for these scorers beside the primary one, unless all are asked for.
const BESIDE_PRIMARY: &str = "beyond_token";

/// Columns of a verdict that must be there beside the others, or it stands below its row.
const VERDICT: usize = 18;

/// A table for a terminal or for Markdown: heads, and whether numbers stand below them; the last column is text.
struct Table {
    heads: Vec<(&'static str, bool)>,
    /// Columns that a narrow terminal loses, the first one first.
    dropped_first: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn text(self, look: Look) -> String {
        let last = self.heads.len() - 1;
        let column = |(nth, (head, is_number)): (usize, &(&str, bool))| {
            let column = if *is_number { Column::number(head) } else { Column::text(head) };
            match self.dropped_first.iter().position(|dropped| *dropped == nth) {
                _ if nth == last => column.folds(VERDICT),
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
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.heads.iter().map(|(head, _)| head.to_string()).collect());
        let rule = |(_, is_number): &(&str, bool)| if *is_number { "--:" } else { "---" }.to_string();
        text.push_str(&line(self.heads.iter().map(rule).collect()));
        self.rows
            .iter()
            .for_each(|row| text.push_str(&line(row.iter().map(|cell| markdown(cell)).collect())));
        text
    }
}

/// Running text in the width of a terminal; what follows the first line is indented.
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

/// A comparison for a terminal. Without `all`, the primary scorer and `beyond_token` of what is no control.
pub fn comparison_text(comparison: &Comparison, all: bool, look: Look) -> String {
    let mut text = format!("{} → {}: differences are second minus first\n", comparison.a, comparison.b);
    push_inputs(&mut text, &comparison.inputs.iter().map(ToString::to_string).collect::<Vec<_>>());
    for line in &comparison.not_compared {
        text.push_str(&paragraph(&format!("not compared · {line}"), look));
    }
    let shown = |cell: &&CellChange| {
        let asked = cell.scorer == comparison.primary || cell.scorer == BESIDE_PRIMARY;
        all || (cell.control.is_none() && asked)
    };
    let mut kinds: Vec<(&str, &str, &str, &str)> = Vec::new();
    for cell in comparison.cells.iter().filter(shown) {
        let kind =
            (cell.scorer.as_str(), cell.explainer.as_str(), cell.simulator.as_str(), cell.protocol.as_str());
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for (scorer, explainer, simulator, protocol) in kinds {
        let of_kind = |cell: &&CellChange| {
            (cell.scorer.as_str(), cell.explainer.as_str(), cell.simulator.as_str(), cell.protocol.as_str())
                == (scorer, explainer, simulator, protocol)
        };
        let cells: Vec<&CellChange> = comparison.cells.iter().filter(shown).filter(of_kind).collect();
        let planned = cells.iter().filter(|cell| cell.family == Family::Primary).count();
        let family = match planned {
            0 => "exploratory: p is not adjusted".to_string(),
            n => format!("planned: p is adjusted over {n} cells (Holm)"),
        };
        let who = if explainer == simulator {
            explainer.to_string()
        } else {
            format!("{explainer} → {simulator}")
        };
        text.push('\n');
        text.push_str(&paragraph(&format!("{scorer} · {who} · {protocol} · {family}"), look));
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
    if !all {
        let hidden = comparison.cells.iter().filter(|cell| !shown(cell)).count();
        text.push_str(&format!("\n{hidden} more cells, other scorers and controls: --all\n"));
    }
    text
}

fn push_inputs(text: &mut String, changes: &[String]) {
    if changes.is_empty() {
        text.push_str("inputs · nothing differs but, perhaps, the seed\n");
        return;
    }
    text.push_str("inputs that differ (look here before at the code):\n");
    const SHOWN: usize = 12;
    for change in changes.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", visible(change)));
    }
    if changes.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", changes.len() - SHOWN));
    }
}

fn cell_table(cells: &[&CellChange]) -> Table {
    let rows = cells.iter().map(|cell| {
        let control = cell.control.as_deref().map_or(String::new(), |name| format!(" ({name})"));
        let interval = match (cell.difference, cell.ci_low, cell.ci_high) {
            (Some(difference), Some(low), Some(high)) => with_interval(difference, low, high),
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
        heads: vec![
            ("hook point", false),
            ("method", false),
            ("first", true),
            ("second", true),
            ("difference [95 %]", true),
            ("n", true),
            ("p", true),
            ("verdict", false),
        ],
        dropped_first: vec![2, 6, 3, 5],
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
        heads: vec![
            ("hook point", false),
            ("method", false),
            ("L0", true),
            ("FVU", true),
            ("loss recovered", true),
            ("dead", true),
            ("dictionary", false),
        ],
        dropped_first: vec![5, 4],
        rows: lines.collect(),
    }
}

/// Numbers of a line in the form that people read: shares and scores as they are, ratios in percent.
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
                change: with_interval(change.change, change.ci_low, change.ci_high),
                detectable: places(change.smallest_detectable),
            };
        }
        let percent = |log: f64| {
            let percent = 100.0 * log.exp_m1();
            if percent.abs() < 1000.0 { format!("{percent:+.1} %") } else { format!("{:+.0} %", percent) }
        };
        Self {
            former: format!(
                "{} ± {:.1} %",
                quantity(change.former.exp()),
                100.0 * change.between_runs_sd.exp_m1()
            ),
            now: quantity(change.now.exp()),
            change: format!(
                "{} [{}, {}]",
                percent(change.change),
                percent(change.ci_low),
                percent(change.ci_high)
            ),
            detectable: percent(change.smallest_detectable).trim_start_matches('+').to_string(),
        }
    }
}

/// A count or an amount of any size.
fn quantity(value: f64) -> String {
    if value >= 1e6 {
        format!("{:.1} M", value / 1e6)
    } else if value >= 1000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

fn gate_table(lines: &[&GateLine], quantities: bool) -> Table {
    let rows = lines.iter().map(|line| {
        let shown = Shown::of(line);
        let name = match quantities {
            true => format!("{} {}", line.subject, line.quantity),
            false => line.subject.clone(),
        };
        vec![
            name,
            shown.former,
            shown.now,
            shown.change,
            p_value(Some(line.change.p_adjusted)),
            shown.detectable,
            line.change.verdict.to_string(),
        ]
    });
    Table {
        heads: vec![
            ("quantity", false),
            ("accepted ± sd", true),
            ("now", true),
            ("change [95 %]", true),
            ("p", true),
            ("would find", true),
            ("verdict", false),
        ],
        dropped_first: vec![4, 2, 1],
        rows: rows.collect(),
    }
}

/// How a gate's level reads.
fn level(group: &GateGroup) -> String {
    match group.gates {
        true => format!("gate: worse by chance in {} % of nights at most", percent_of(group.level)),
        false => "shown, does not fail the gate".into(),
    }
}

fn percent_of(share: f64) -> String {
    format!("{}", (share * 1000.0).round() / 10.0)
}

/// The verdict in a line.
fn headline(report: &GateReport) -> String {
    let failures = report.failures();
    if report.passed {
        let tested: usize =
            report.groups.iter().filter(|group| group.gates).map(|group| group.lines.len()).sum();
        return format!("nothing is worse: {tested} quantities tested");
    }
    let names: Vec<String> =
        failures.iter().map(|(_, line)| format!("{} {}", line.subject, line.quantity)).collect();
    let mut parts = Vec::new();
    if !names.is_empty() {
        const SHOWN: usize = 6;
        let more = names.len().saturating_sub(SHOWN);
        let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("worse: {}{tail}", names[..names.len() - more].join(", ")));
    }
    if !report.missing.is_empty() {
        parts.push(format!("missing: {} that every accepted run has", report.missing.len()));
    }
    visible(&parts.join("; "))
}

/// What a worse line says of itself.
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

/// A gate report for a terminal. Without `all`, what fails the gate and what gates it; with it, the rest too.
pub fn gate_text(report: &GateReport, all: bool, look: Look) -> String {
    let mut text = format!(
        "{} (suite {}, seed {}) against {}: {} accepted runs\n",
        report.run,
        visible(&report.suite),
        report.seed,
        report.against,
        report.n_runs
    );
    push_inputs(&mut text, &report.inputs.iter().map(ToString::to_string).collect::<Vec<_>>());
    for note in &report.notes {
        text.push_str(&paragraph(&format!("note · {note}"), look));
    }
    for group in report.groups.iter().filter(|group| all || group.gates) {
        text.push('\n');
        text.push_str(&paragraph(&format!("{} · {}; {}", group.name, group.what, level(group)), look));
        let lines: Vec<&GateLine> = group.lines.iter().collect();
        if !lines.is_empty() {
            let several = lines.iter().any(|line| line.quantity != lines[0].quantity);
            text.push_str(&gate_table(&lines, several || lines[0].subject == "run").text(look));
        }
        for why in &group.not_tested {
            text.push_str(&paragraph(&format!("not tested · {why}"), look));
        }
    }
    text.push('\n');
    for missing in &report.missing {
        text.push_str(&paragraph(&format!("missing · {missing}"), look));
    }
    for (group, line) in report.failures() {
        text.push_str(&paragraph(&format!("worse · {}", failure_line(group, line)), look));
    }
    text.push_str(&paragraph(&headline(report), look));
    text
}

/// A gate report for the summary page of a job.
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
        text.push_str("**Inputs that differ** (look here before at the code):\n\n");
        for change in &report.inputs {
            text.push_str(&format!("- {}\n", markdown(&change.to_string())));
        }
        text.push('\n');
    }
    for note in &report.notes {
        text.push_str(&format!("> {}\n\n", markdown(note)));
    }
    for missing in &report.missing {
        text.push_str(&format!("- **missing**: {}\n", markdown(missing)));
    }
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
        let lines: Vec<&GateLine> = group.lines.iter().collect();
        if !lines.is_empty() {
            text.push_str(&gate_table(&lines, true).markdown());
        }
        for why in &group.not_tested {
            text.push_str(&format!("\nNot tested: {}.\n", markdown(why)));
        }
        text.push_str("\n</details>\n");
    }
    text.push_str("\n*Would find*: the smallest worsening that this test calls worse with probability 0.8. *No change detected* does not mean that there is none.\n");
    text
}

/// A line's verdict with what it rests on, for a machine-readable report.
pub(super) fn line_text(group: &GateGroup, line: &GateLine) -> String {
    let margin =
        if line.relative { format!("{} %", percent_of(line.margin)) } else { format!("{}", line.margin) };
    format!("{} (margin {margin}): {}", line.change.verdict, failure_line(group, line))
}
