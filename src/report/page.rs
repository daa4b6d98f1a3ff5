//! `index.html`: one page that needs nothing else, neither network nor script. The template escapes
//! every value; only drawings made here are let through, and their texts are escaped by the drawing.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use super::ReportError;
use super::charts::Chart;
use super::escape::visible;
use super::manifest::ManifestView;
use super::number::{DASH, count, estimate, fixed, range};
use super::schema::{Cell, Family, Summary};
use super::table::{
    DifferenceText, QUALITY_HEAD, Row, control_label, control_words, dead_unit, differences, quality_cells,
    row, table_note,
};
use super::view::{BEYOND_TOKEN, Pairing, RowKey, View};

const TEMPLATE: &str = include_str!("index.html.jinja");

/// Side-by-side scores of one row of the first table.
#[derive(Serialize)]
struct GlanceRow {
    label: String,
    control: bool,
    cells: Vec<String>,
}

#[derive(Serialize)]
struct GlanceHook {
    hook: String,
    rows: Vec<GlanceRow>,
}

#[derive(Serialize)]
struct Head {
    label: String,
    span: usize,
}

#[derive(Serialize)]
struct Figure {
    title: String,
    caption: String,
    file: String,
    svg: Value,
}

#[derive(Serialize)]
struct TableRow {
    hook: String,
    first: bool,
    method: String,
    control: Option<String>,
    scores: Vec<String>,
    counts: Vec<String>,
}

#[derive(Serialize)]
struct Section {
    label: String,
    protocol: String,
    explainer: String,
    simulator: String,
    figures: Vec<Figure>,
    rows: Vec<TableRow>,
    note: String,
}

#[derive(Serialize)]
struct DifferenceLine {
    cells: Vec<String>,
    verdict: String,
}

#[derive(Serialize)]
struct Stage {
    name: String,
    seconds: String,
    memory: String,
    reused: bool,
}

/// The page. `has_scores` says whether per-feature scores were in the folder.
pub fn render(
    view: &View<'_>,
    manifest: Option<&ManifestView>,
    has_scores: bool,
    charts: &[Chart<'_>],
) -> Result<String, ReportError> {
    let summary = view.summary;
    let main = view.main_scorers();
    let sections: Vec<Section> =
        view.pairings.iter().map(|pairing| section(view, *pairing, charts)).collect();
    let controls: Vec<(String, &str)> =
        view.controls.iter().map(|control| (visible(control), control_words(control))).collect();
    let mut deviations = summary.deviations.clone();
    deviations.extend(manifest.map(|m| m.deviations.clone()).unwrap_or_default());
    deviations.dedup();

    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("index.html", TEMPLATE).map_err(ReportError::Page)?;
    let template = environment.get_template("index.html").map_err(ReportError::Page)?;
    let page = context! {
        suite => visible(&summary.suite),
        run => visible(&summary.run),
        warnings => warnings(summary, manifest, has_scores),
        deviations => deviations.iter().map(|name| visible(name)).collect::<Vec<_>>(),
        controls,
        has_beyond => view.scorers.contains(&BEYOND_TOKEN),
        heads => view.pairings.iter().map(|p| Head { label: visible(&p.label()), span: main.len() }).collect::<Vec<_>>(),
        main => main.iter().map(|scorer| visible(scorer)).collect::<Vec<_>>(),
        glance => glance(view, &main),
        interval => view.pairings.first().map(|pairing| view.interval_name(*pairing)),
        scorers => view.scorers.iter().map(|scorer| visible(scorer)).collect::<Vec<_>>(),
        sections,
        shared_figures => figures(charts, None),
        quality_head => QUALITY_HEAD,
        quality => summary.quality.iter().map(|row| quality_cells(row).map(|cell| visible(&cell)).to_vec()).collect::<Vec<_>>(),
        dead_unit => dead_unit(&summary.quality),
        planned => difference_lines(summary, Family::Primary),
        exploratory => difference_lines(summary, Family::Exploratory),
        margin => summary.margin,
        primary => summary.primary.as_deref().map(visible),
        reference => summary.reference.as_deref().map(visible),
        manifest => manifest.map(manifest_context),
    };
    template.render(page).map_err(ReportError::Page)
}

fn warnings(summary: &Summary, manifest: Option<&ManifestView>, has_scores: bool) -> Vec<String> {
    let mut warnings: Vec<String> =
        manifest.map(|m| m.warnings.iter().map(|text| visible(text)).collect()).unwrap_or_default();
    if summary.cells.is_empty() {
        warnings.push("No feature was eligible at any hook point, so there are no scores.".to_string());
    }
    if !has_scores {
        warnings.push("`scores.jsonl` is not in this folder, so no distributions are drawn.".to_string());
    }
    if manifest.is_none() {
        warnings.push("`manifest.json` is not in this folder, so what was asked is unknown.".to_string());
    }
    warnings
}

fn glance<'a>(view: &View<'a>, main: &[&'a str]) -> Vec<GlanceHook> {
    let columns: Vec<(Pairing<'a>, &'a str)> =
        view.pairings.iter().flat_map(|pairing| main.iter().map(move |scorer| (*pairing, *scorer))).collect();
    view.hooks
        .iter()
        .map(|hook| {
            let methods = view.methods.iter().map(|method| RowKey { hook, method, control: None });
            let mut rows: Vec<GlanceRow> =
                methods.filter_map(|key| glance_row(view, &columns, key)).collect();
            rows.extend(
                view.controls.iter().filter_map(|control| glance_control(view, &columns, hook, control)),
            );
            GlanceHook { hook: visible(hook), rows }
        })
        .collect()
}

fn one(cell: &Cell) -> String {
    estimate(cell.mean, cell.ci_low, cell.ci_high)
}

fn glance_row<'a>(view: &View<'a>, columns: &[(Pairing<'a>, &'a str)], key: RowKey<'a>) -> Option<GlanceRow> {
    let cells: Vec<Option<&Cell>> =
        columns.iter().map(|(pairing, scorer)| view.cell(*pairing, key, scorer)).collect();
    cells.iter().any(Option::is_some).then(|| GlanceRow {
        label: visible(key.method),
        control: false,
        cells: cells.iter().map(|cell| cell.map_or_else(|| DASH.to_string(), one)).collect(),
    })
}

/// A control in one row: of one method its score, of several the lowest and highest mean.
fn glance_control<'a>(
    view: &View<'a>,
    columns: &[(Pairing<'a>, &'a str)],
    hook: &'a str,
    control: &'a str,
) -> Option<GlanceRow> {
    let cells: Vec<Vec<&Cell>> =
        columns.iter().map(|(pairing, scorer)| view.control_cells(*pairing, hook, control, scorer)).collect();
    let most = cells.iter().max_by_key(|cells| cells.len()).filter(|cells| !cells.is_empty())?;
    let whose = match most.as_slice() {
        [only] => format!("of {}", only.method),
        many => format!("of {} methods", many.len()),
    };
    let shown = cells.iter().map(|cells| match cells.as_slice() {
        [only] => one(only),
        many => range(many),
    });
    Some(GlanceRow {
        label: visible(&format!("{} {whose}", control_label(control))),
        control: true,
        cells: shown.collect(),
    })
}

fn figures(charts: &[Chart<'_>], pairing: Option<Pairing<'_>>) -> Vec<Figure> {
    charts
        .iter()
        .filter(|chart| chart.pairing == pairing)
        .map(|chart| Figure {
            title: visible(&chart.title),
            caption: visible(&chart.caption),
            file: chart.name.clone(),
            svg: Value::from_safe_string(described(chart)),
        })
        .collect()
}

/// The drawing with a name for those who cannot see it.
fn described(chart: &Chart<'_>) -> String {
    let name = chart.kind.in_words();
    let attributes = format!("<svg role=\"img\" aria-label=\"{name}; the numbers are in the tables\" ");
    chart.inline_svg().replacen("<svg ", &attributes, 1)
}

fn section<'a>(view: &View<'a>, pairing: Pairing<'a>, charts: &[Chart<'_>]) -> Section {
    let rows = view.hooks.iter().flat_map(|hook| {
        view.rows(pairing, hook)
            .into_iter()
            .enumerate()
            .map(|(i, key)| table_row(row(view, pairing, key), i == 0))
            .collect::<Vec<_>>()
    });
    Section {
        label: visible(&pairing.label()),
        protocol: visible(pairing.protocol),
        explainer: visible(pairing.explainer),
        simulator: visible(pairing.simulator),
        figures: figures(charts, Some(pairing)),
        rows: rows.collect(),
        note: visible(&table_note(view, pairing)),
    }
}

fn table_row(row: Row, first: bool) -> TableRow {
    let counts =
        [row.n, row.constant, row.undefined, row.failed, row.skipped, row.eligible, row.repeating, row.note];
    TableRow {
        hook: visible(&row.hook),
        first,
        method: visible(&row.method),
        control: row.control.map(|control| visible(&control_label(&control))),
        scores: row.scores,
        counts: counts.iter().map(|text| visible(text)).collect(),
    }
}

fn difference_lines(summary: &Summary, family: Family) -> Vec<DifferenceLine> {
    differences(&summary.differences, family, summary.margin)
        .into_iter()
        .map(|row: DifferenceText| {
            let cells = [
                row.hook,
                row.pairing,
                row.scorer,
                row.compared,
                row.n,
                row.difference,
                row.p,
                row.p_adjusted,
            ];
            DifferenceLine {
                cells: cells.iter().map(|cell| visible(cell)).collect(),
                verdict: visible(&row.verdict),
            }
        })
        .collect()
}

fn manifest_context(manifest: &ManifestView) -> Value {
    let stages: Vec<Stage> = manifest
        .stages
        .iter()
        .map(|stage| Stage {
            name: visible(&stage.name),
            seconds: fixed(stage.seconds, 1),
            memory: stage.peak_memory_bytes.map_or_else(
                || DASH.to_string(),
                |bytes| format!("{} MB", count((bytes / 1_000_000) as usize)),
            ),
            reused: stage.reused.unwrap_or(false),
        })
        .collect();
    let digests: Vec<(String, String)> =
        manifest.digests.iter().map(|(name, digest)| (visible(name), visible(digest))).collect();
    let optional = |text: &Option<String>| text.as_deref().map(visible);
    // Lines of the suite stay lines; each is made visible for itself.
    let suite = manifest.suite.as_ref().map(|text| text.lines().map(visible).collect::<Vec<_>>().join("\n"));
    context! {
        version => optional(&manifest.version),
        suite_name => optional(&manifest.suite_name),
        seed => manifest.seed,
        cpu => optional(&manifest.cpu),
        instruction_set => optional(&manifest.instruction_set),
        stages,
        digests,
        suite,
    }
}
