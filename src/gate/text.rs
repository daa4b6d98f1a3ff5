//! Comparisons and gate reports as text for a terminal and as Markdown for a job's summary.

use super::compare::{CellChange, Comparison, QualityChange};
use super::regress::{GateGroup, GateLine, GateReport, Watched};
use crate::report::{markdown, visible};
use crate::stats::{Family, RunVerdict};

/// What stands where there is no number.
const DASH: &str = "—";

/// Exploratory cells are shown on a terminal for these scorers beside the primary one, unless all are asked for.
const BESIDE_PRIMARY: &str = "beyond_token";

/// A table: heads, then rows of as many cells; `left` of them, from the left, are text.
struct Table {
    heads: Vec<&'static str>,
    left: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn text(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.heads[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let last = self.heads.len() - 1;
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .enumerate()
                .map(|(column, cell)| {
                    let missing = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                    if column < self.left || column == last {
                        format!("{cell}{missing}")
                    } else {
                        format!("{missing}{cell}")
                    }
                })
                .collect();
            format!("{indent}{}\n", padded.join("  ").trim_end())
        };
        let heads: Vec<String> = self.heads.iter().map(ToString::to_string).collect();
        std::iter::once(line(&heads)).chain(self.rows.iter().map(|row| line(row))).collect()
    }

    fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule =
            (0..self.heads.len()).map(|column| if column < self.left { "---" } else { "--:" }.to_string());
        let mut text = line(self.heads.iter().map(ToString::to_string).collect());
        text.push_str(&line(rule.collect()));
        self.rows
            .iter()
            .for_each(|row| text.push_str(&line(row.iter().map(|cell| markdown(cell)).collect())));
        text
    }
}

fn signed(value: f64) -> String {
    format!("{value:+.3}")
}

fn optional(value: Option<f64>) -> String {
    value.map_or(DASH.into(), |value| format!("{value:.3}"))
}

fn p_value(p: f64) -> String {
    if p < 0.001 { "<0.001".into() } else { format!("{p:.3}") }
}

/// A comparison for a terminal. Without `all`, the primary scorer and `beyond_token` of what is no control.
pub fn comparison_text(comparison: &Comparison, all: bool) -> String {
    let mut text = format!("{} → {}: differences are second minus first\n", comparison.a, comparison.b);
    push_inputs(&mut text, &comparison.inputs.iter().map(ToString::to_string).collect::<Vec<_>>());
    for line in &comparison.not_compared {
        text.push_str(&format!("{}\n", wrapped(&format!("not compared · {line}"))));
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
        text.push_str(&format!("\n{} · {} · {protocol} · {family}\n", visible(scorer), visible(&who)));
        text.push_str(&cell_table(&cells).text("  "));
    }
    text.push_str(&format!(
        "\nverdicts: within the margin means that the 90 % interval lies inside ±{}; no difference\n",
        comparison.margin
    ));
    text.push_str("detected does not mean that there is none: the interval says how large it may be.\n");
    if comparison.quality.iter().any(|row| row.control.is_none()) {
        text.push_str("\ndictionaries, first → second\n");
        text.push_str(&quality_table(&comparison.quality).text("  "));
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
            (Some(difference), Some(low), Some(high)) => {
                format!("{} [{}, {}]", signed(difference), signed(low), signed(high))
            }
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
            visible(&cell.hook),
            visible(&format!("{}{control}", cell.method)),
            optional(cell.mean_a),
            optional(cell.mean_b),
            interval,
            n,
            cell.p_adjusted.or(cell.p).map_or(DASH.into(), p_value),
            verdict,
        ]
    });
    Table {
        heads: vec!["hook point", "method", "first", "second", "difference [95 %]", "n", "p", "verdict"],
        left: 2,
        rows: rows.collect(),
    }
}

fn quality_table(rows: &[QualityChange]) -> Table {
    let real = rows.iter().filter(|row| row.control.is_none());
    let lines = real.map(|row| {
        let value = |name: &str, digits: usize| {
            let [a, b] = row.values.get(name).copied().unwrap_or_default();
            let one =
                |value: Option<f64>| value.map_or(DASH.to_string(), |value| format!("{value:.digits$}"));
            if a == b { one(a) } else { format!("{} → {}", one(a), one(b)) }
        };
        vec![
            visible(&row.hook),
            visible(&row.method),
            value("l0", 1),
            value("fvu", 3),
            value("loss_recovered_zero", 3),
            value("dead", 0),
            if row.same_dictionary { "same" } else { "other" }.to_string(),
        ]
    });
    Table {
        heads: vec!["hook point", "method", "L0", "FVU", "loss recovered", "dead", "dictionary"],
        left: 2,
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
        if !line.relative {
            return Self {
                former: format!("{:.3} ± {:.3}", change.former, change.between_runs_sd),
                now: format!("{:.3}", change.now),
                change: format!(
                    "{} [{}, {}]",
                    signed(change.change),
                    signed(change.ci_low),
                    signed(change.ci_high)
                ),
                detectable: format!("{:.3}", change.smallest_detectable),
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

/// Four significant digits.
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
            visible(&name),
            shown.former,
            shown.now,
            shown.change,
            p_value(line.change.p_adjusted),
            shown.detectable,
            line.change.verdict.to_string(),
        ]
    });
    Table {
        heads: vec!["", "accepted ± sd", "now", "change [95 %]", "p", "would find", "verdict"],
        left: 1,
        rows: rows.collect(),
    }
}

/// Widest line of running text.
const WIDTH: usize = 100;

/// Text in lines of at most [`WIDTH`] characters, broken at spaces; all but the first are indented.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in visible(text).split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        if last > 0 && last + 1 + word.chars().count() > WIDTH {
            lines.push(format!("  {word}"));
        } else if let Some(line) = lines.last_mut() {
            if last > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}

/// How a gate's level reads.
fn level(group: &GateGroup) -> String {
    match group.gates {
        Watched::Gates => format!("gate: worse by chance in {} % of nights at most", percent_of(group.level)),
        Watched::Shown => "shown, does not fail the gate".into(),
    }
}

fn percent_of(share: f64) -> String {
    format!("{}", (share * 1000.0).round() / 10.0)
}

/// The verdict in a line.
fn headline(report: &GateReport) -> String {
    let failures = report.failures();
    if report.passed {
        let tested: usize = report
            .groups
            .iter()
            .filter(|group| group.gates == Watched::Gates)
            .map(|group| group.lines.len())
            .sum();
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
        p_value(line.change.p_adjusted),
        line.change.n_runs
    ))
}

/// A gate report for a terminal. Without `all`, what fails the gate and what gates it; with it, the rest too.
pub fn gate_text(report: &GateReport, all: bool) -> String {
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
        text.push_str(&format!("{}\n", wrapped(&format!("note · {note}"))));
    }
    for group in report.groups.iter().filter(|group| all || group.gates == Watched::Gates) {
        text.push_str(&format!(
            "\n{}\n",
            wrapped(&format!("{} · {}; {}", group.name, group.what, level(group)))
        ));
        let lines: Vec<&GateLine> = group.lines.iter().collect();
        if !lines.is_empty() {
            let several = lines.iter().any(|line| line.quantity != lines[0].quantity);
            text.push_str(&gate_table(&lines, several || lines[0].subject == "run").text("  "));
        }
        for why in &group.not_tested {
            text.push_str(&format!("  {}\n", wrapped(&format!("not tested · {why}"))));
        }
    }
    text.push('\n');
    for missing in &report.missing {
        text.push_str(&format!("{}\n", wrapped(&format!("missing · {missing}"))));
    }
    for (group, line) in report.failures() {
        text.push_str(&format!("{}\n", wrapped(&format!("worse · {}", failure_line(group, line)))));
    }
    text.push_str(&format!("{}\n", wrapped(&headline(report))));
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
    let verdict = match line.change.verdict {
        RunVerdict::Worse => "worse",
        RunVerdict::Better => "better",
        RunVerdict::WithinMargin => "within the margin",
        RunVerdict::NoChangeDetected => "no change detected",
    };
    format!("{verdict} (margin {margin}): {}", failure_line(group, line))
}
