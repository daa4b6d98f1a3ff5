//! `index.html`: what was asked, what came of it, and the warnings a reader needs, on one page that is readable
//! without script. The long tables are data that a script draws; charts stand inside the page as far as its bytes
//! go, the main one first, and are linked otherwise.

use std::collections::{BTreeMap, HashMap};

use minijinja::value::Value;
use minijinja::{Environment, context};
use serde::Serialize;

use super::Sources;
use super::names::{Names, Place};
use super::shell::{self, Kind};
use crate::report::ReportError;
use crate::report::charts::{self, Chart};
use crate::report::escape::{inert_json, visible};
use crate::report::manifest::ManifestView;
use crate::report::number::{DASH, count, estimate, fixed, range};
use crate::report::schema::{Cell, Family, QualityRow, Summary};
use crate::report::table::{
    DifferenceText, QUALITY_HEAD, Row, control_label, control_words, dead_unit, differences, quality_cells,
    row, table_note,
};
use crate::report::view::{BEYOND_TOKEN, Pairing, RowKey, View};

/// What a page may weigh.
const PAGE_BYTES: usize = 300_000;

/// Names given one by one in a warning; more are counted.
const NAMED: usize = 6;

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
    alt: String,
    /// The drawing, where it stands in the page.
    svg: Option<Value>,
}

#[derive(Serialize)]
struct QualityLine {
    cells: Vec<String>,
    file: Option<String>,
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

/// What the script draws the long tables from. Texts that repeat are numbers of `texts`.
#[derive(Serialize)]
struct Data {
    pairings: Vec<String>,
    hooks: Vec<String>,
    methods: Vec<String>,
    controls: Vec<String>,
    scorers: Vec<String>,
    counts: [&'static str; 8],
    /// File of the page of a method at a hook point.
    files: Vec<Vec<Option<String>>>,
    texts: Vec<String>,
    cells: Vec<CellRow>,
    exploratory: Vec<Vec<usize>>,
}

/// Pairing, hook point, method, control + 1, text of each score, counts.
#[derive(Serialize)]
struct CellRow(usize, usize, usize, usize, Vec<Option<String>>, Vec<usize>);

/// Column heads of the counts of a row.
const COUNTS: [&str; 8] = [
    "scored / requested",
    "constant",
    "undefined",
    "failed",
    "skipped",
    "eligible",
    "repeating tokens",
    "note",
];

/// Numbers of texts that repeat.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    texts: Vec<String>,
    used: Vec<usize>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        let shown = visible(text);
        let next = self.texts.len();
        let number = *self.numbers.entry(shown.clone()).or_insert(next);
        if number == next {
            self.texts.push(shown);
            self.used.push(0);
        }
        self.used[number] += 1;
        number
    }

    /// The texts, the commonest first, and the new number of each.
    fn by_use(self) -> (Vec<String>, Vec<usize>) {
        let mut order: Vec<usize> = (0..self.texts.len()).collect();
        order.sort_by_key(|&number| std::cmp::Reverse(self.used[number]));
        let mut numbers = vec![0; order.len()];
        for (new, &old) in order.iter().enumerate() {
            numbers[old] = new;
        }
        (order.iter().map(|&old| self.texts[old].clone()).collect(), numbers)
    }
}

/// The page.
pub fn render(
    sources: &Sources<'_>,
    names: &Names,
    environment: &Environment<'_>,
) -> Result<String, ReportError> {
    let json = serde_json::to_string(&data(sources.view, names)).map_err(ReportError::Unwritable)?;
    let json = inert_json(&json);
    let with = |inline: &[usize], with_details: bool| {
        let figures = figures(sources.charts, inline);
        let linked = figures.iter().any(|figure| figure.svg.is_none());
        shell::page(environment, Kind::Index, page(sources, names, figures, with_details), &json, linked)
    };
    // Measured, not guessed: what is on the page without charts, then each chart while it fits.
    let main = by_worth(sources.charts).first().map_or(0, |&nth| described(&sources.charts[nth]).len());
    let with_details = with(&[], true)?.len() + main <= PAGE_BYTES;
    let mut spent = with(&[], with_details)?.len();
    let mut inline = Vec::new();
    for nth in by_worth(sources.charts) {
        let bytes = described(&sources.charts[nth]).len();
        if spent + bytes <= PAGE_BYTES {
            spent += bytes;
            inline.push(nth);
        }
    }
    with(&inline, with_details)
}

fn page(sources: &Sources<'_>, names: &Names, mut charts: Vec<Figure>, with_details: bool) -> Value {
    let main_chart = by_worth(sources.charts).first().map(|&nth| charts.remove(nth));
    let Sources { view, manifest, scores, .. } = sources;
    let summary = view.summary;
    let main = view.main_scorers();
    let controls: Vec<(String, &str)> =
        view.controls.iter().map(|control| (visible(control), control_words(control))).collect();
    let mut deviations = summary.deviations.clone();
    deviations.extend(manifest.map(|m| m.deviations.clone()).unwrap_or_default());
    deviations.sort();
    deviations.dedup();
    context! {
        title => visible(&summary.suite),
        suite => visible(&summary.suite),
        run => visible(&summary.run),
        facts => facts(view, *manifest),
        warnings => warnings(summary, *manifest, scores.is_some()),
        deviations => deviations.iter().map(|name| visible(name)).collect::<Vec<_>>(),
        controls,
        simulators => simulators(view),
        has_beyond => view.scorers.contains(&BEYOND_TOKEN),
        heads => view.pairings.iter().map(|p| Head { label: visible(&p.label()), span: main.len() }).collect::<Vec<_>>(),
        main => main.iter().map(|scorer| visible(scorer)).collect::<Vec<_>>(),
        glance => glance(view, &main),
        interval => view.pairings.first().map(|pairing| view.interval_name(*pairing)),
        main_chart,
        charts,
        table_notes => table_notes(view),
        quality_head => QUALITY_HEAD,
        quality => summary.quality.iter().map(|row| quality_line(names, row)).collect::<Vec<_>>(),
        dead_unit => dead_unit(&summary.quality),
        planned => planned(summary),
        n_exploratory => summary.differences.iter().filter(|row| row.family == Family::Exploratory).count(),
        margin => summary.margin,
        primary => summary.primary.as_deref().map(visible),
        reference => summary.reference.as_deref().map(visible),
        manifest => manifest.map(|manifest| manifest_context(manifest, with_details)),
    }
}

/// What was asked, in a dozen lines.
fn facts(view: &View<'_>, manifest: Option<&ManifestView>) -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> =
        manifest.map(|manifest| manifest.facts.clone()).unwrap_or_default();
    let list = |names: &[&str]| match names {
        [] => DASH.to_string(),
        few if few.len() <= NAMED => few.join(", "),
        many => format!("{} of them, {} to {}", many.len(), many[0], many[many.len() - 1]),
    };
    facts.push(("hook points".into(), list(&view.hooks)));
    facts.push(("methods".into(), view.methods.join(", ")));
    let pairings: Vec<String> = view.pairings.iter().map(Pairing::label).collect();
    facts.push(("explained and simulated by".into(), pairings.join(", ")));
    if let Some(seed) = manifest.and_then(|manifest| manifest.seed) {
        facts.push(("seed".into(), seed.to_string()));
    }
    if let Some(manifest) = manifest {
        facts.push(("cost of language models".into(), cost(manifest)));
    }
    let readable = |value: String| value.parse().map_or(value, count);
    facts.into_iter().map(|(name, value)| (visible(&name), visible(&readable(value)))).collect()
}

fn cost(manifest: &ManifestView) -> String {
    if manifest.usage.is_empty() {
        return "none was asked".to_string();
    }
    let requests: u64 = manifest.usage.iter().map(|used| used.requests).sum();
    let dollars: Option<f64> = manifest.usage.iter().map(|used| used.dollars).sum();
    let paid =
        dollars.map_or_else(|| "prices not known".to_string(), |dollars| format!("{dollars:.2} dollars"));
    format!("{paid}, {} requests", count(requests as usize))
}

/// Up to a handful of names, then how many more.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn warnings(summary: &Summary, manifest: Option<&ManifestView>, has_scores: bool) -> Vec<String> {
    let mut warnings = manifest.map(|m| m.warnings.clone()).unwrap_or_default();
    let at = |row: &QualityRow| {
        let control =
            row.control.as_ref().map_or(String::new(), |control| format!(" ({})", control_label(control)));
        format!("{}{control} at {}", row.method, row.hook)
    };
    let not_converged: Vec<String> =
        summary.quality.iter().filter(|row| row.converged == Some(false)).map(at).collect();
    if !not_converged.is_empty() {
        warnings.push(format!(
            "Fitting did not converge, so the dictionary is in doubt: {}.",
            named(&not_converged)
        ));
    }
    let dead: Vec<String> = summary
        .quality
        .iter()
        .filter_map(|row| {
            let dead = row.dead.filter(|dead| *dead > 0)?;
            Some(format!("{} of {} in {}", count(dead), count(row.n_features), at(row)))
        })
        .collect();
    if !dead.is_empty() {
        warnings.push(format!("Dead features, which no score speaks of: {}.", named(&dead)));
    }
    if let Some(wanted) = manifest.and_then(|manifest| manifest.per_cell) {
        let few: Vec<String> = too_few(summary, wanted);
        if !few.is_empty() {
            warnings.push(format!("Fewer features scored than the {wanted} asked for: {}.", named(&few)));
        }
    }
    if summary.cells.is_empty() {
        warnings.push("No feature was eligible at any hook point, so there are no scores.".to_string());
    }
    if !has_scores {
        warnings.push("`scores.jsonl` is not in this folder, so no distributions are drawn.".to_string());
    }
    if manifest.is_none() {
        warnings.push("`manifest.json` is not in this folder, so what was asked is unknown.".to_string());
    }
    warnings.iter().map(|text| visible(text)).collect()
}

/// Methods with fewer features in the main score than were wanted, real ones, each with its least.
fn too_few(summary: &Summary, wanted: usize) -> Vec<String> {
    let primary = |cell: &&Cell| match &summary.primary {
        Some(primary) => cell.scorer == *primary,
        None => true,
    };
    let mut least: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for cell in summary.cells.iter().filter(primary).filter(|cell| cell.control.is_none()) {
        let n = least.entry((&cell.hook, &cell.method)).or_insert(usize::MAX);
        *n = (*n).min(cell.n_scored);
    }
    least
        .into_iter()
        .filter(|(_, n)| *n < wanted)
        .map(|((hook, method), n)| format!("{n} of {method} at {hook}"))
        .collect()
}

/// Every simulator with its kind in words.
fn simulators(view: &View<'_>) -> Vec<(String, &'static str)> {
    let mut found: Vec<(String, &'static str)> = Vec::new();
    for pairing in &view.pairings {
        let name = visible(pairing.simulator);
        if found.iter().all(|(other, _)| *other != name) {
            found.push((name, simulator_words(pairing.simulator)));
        }
    }
    found
}

fn simulator_words(name: &str) -> &'static str {
    match name {
        "neuron_to_graph" => "token patterns looked up in text, no language model; elsewhere one number",
        "neuron_to_graph_backoff" => "the same, and elsewhere each token's mean on the evidence",
        "token_lookup" => "each token's mean on the evidence, whatever stands around it",
        "token_lookup_fit" => "each token's mean on the text that dictionaries were fitted on",
        "oracle" => "two means, by whether a labelled concept of the generated text holds",
        _ => "a language model that reads the explanation and says 0 to 10 for each token",
    }
}

fn file<'a>(names: &'a Names, hook: &str, method: &str, control: Option<&str>) -> Option<&'a str> {
    let place = Place {
        hook: hook.to_string(),
        dictionary: method.to_string(),
        control: control.map(str::to_string),
    };
    names.file(&place)
}

fn quality_line(names: &Names, row: &QualityRow) -> QualityLine {
    QualityLine {
        cells: quality_cells(row).iter().map(|cell| visible(cell)).collect(),
        file: file(names, &row.hook, &row.method, row.control.as_deref()).map(str::to_string),
    }
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

/// Places of charts, the worthiest first: of the first explainer the means by layer, then what compares dictionaries,
/// then the rest in the order of the page.
fn by_worth(charts: &[Chart<'_>]) -> Vec<usize> {
    let first = charts.iter().find_map(|chart| chart.pairing);
    let mut order: Vec<usize> = (0..charts.len()).collect();
    order.sort_by_key(|&nth| {
        let chart = &charts[nth];
        let main = chart.kind == charts::Kind::ByLayer && chart.pairing == first;
        (!main, chart.pairing.is_some() && chart.pairing != first, nth)
    });
    order
}

fn figures(charts: &[Chart<'_>], inline: &[usize]) -> Vec<Figure> {
    charts
        .iter()
        .enumerate()
        .map(|(nth, chart)| Figure {
            title: visible(&chart.title),
            caption: caption(chart, inline.contains(&nth)),
            file: chart.name.clone(),
            alt: format!("{}; the numbers are in the tables", visible(&chart.title)),
            svg: inline.contains(&nth).then(|| Value::from_safe_string(described(chart))),
        })
        .collect()
}

fn caption(chart: &Chart<'_>, inline: bool) -> String {
    let caption = visible(&chart.caption);
    if inline && chart.is_brief() {
        format!("{caption} Here are the scores that must be read together; the files have all.")
    } else {
        caption
    }
}

/// The drawing with a name for those who cannot see it. A title is text of the suite, and becomes an attribute.
fn described(chart: &Chart<'_>) -> String {
    let title = visible(&chart.title).replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let attributes = format!("<svg role=\"img\" aria-label=\"{title}; the numbers are in the tables\" ");
    chart.inline_svg().replacen("<svg ", &attributes, 1)
}

/// The notes of the tables, each once.
fn table_notes(view: &View<'_>) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    for pairing in &view.pairings {
        let note = visible(&table_note(view, *pairing));
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

fn data(view: &View<'_>, names: &Names) -> Data {
    let mut texts = Texts::default();
    let mut cells = Vec::new();
    for (nth, pairing) in view.pairings.iter().enumerate() {
        for (hook_nth, hook) in view.hooks.iter().enumerate() {
            for key in view.rows(*pairing, hook) {
                cells.push(cell_row(view, (nth, *pairing), hook_nth, key, &mut texts));
            }
        }
    }
    let exploratory = differences(&view.summary.differences, Family::Exploratory, view.summary.margin)
        .into_iter()
        .map(|row| {
            let cells =
                [row.hook, row.pairing, row.scorer, row.compared, row.n, row.difference, row.p, row.verdict];
            cells.iter().map(|cell| texts.number(cell)).collect()
        })
        .collect();
    let shown = |names: &[&str]| names.iter().map(|name| visible(name)).collect::<Vec<_>>();
    // The commonest texts get the shortest numbers.
    let (texts, numbers) = texts.by_use();
    let renumber = |row: &mut Vec<usize>| row.iter_mut().for_each(|number| *number = numbers[*number]);
    let mut exploratory: Vec<Vec<usize>> = exploratory;
    cells.iter_mut().for_each(|row| renumber(&mut row.5));
    exploratory.iter_mut().for_each(renumber);
    Data {
        pairings: view.pairings.iter().map(|pairing| visible(&pairing.label())).collect(),
        hooks: shown(&view.hooks),
        methods: shown(&view.methods),
        controls: shown(&view.controls),
        scorers: shown(&view.scorers),
        counts: COUNTS,
        files: view
            .hooks
            .iter()
            .map(|hook| {
                view.methods
                    .iter()
                    .map(|method| file(names, hook, method, None).map(str::to_string))
                    .collect()
            })
            .collect(),
        cells,
        exploratory,
        texts,
    }
}

fn cell_row<'a>(
    view: &View<'a>,
    (pairing_nth, pairing): (usize, Pairing<'a>),
    hook_nth: usize,
    key: RowKey<'a>,
    texts: &mut Texts,
) -> CellRow {
    let Row { scores, n, constant, undefined, failed, skipped, eligible, repeating, note, .. } =
        row(view, pairing, key);
    let place = |list: &[&str], name: &str| list.iter().position(|other| *other == name).unwrap_or(0);
    let scores =
        view.scorers.iter().zip(scores).map(|(scorer, text)| view.cell(pairing, key, scorer).map(|_| text));
    CellRow(
        pairing_nth,
        hook_nth,
        place(&view.methods, key.method),
        key.control.map_or(0, |control| place(&view.controls, control) + 1),
        scores.collect(),
        [n, constant, undefined, failed, skipped, eligible, repeating, note]
            .iter()
            .map(|text| texts.number(text))
            .collect(),
    )
}

fn planned(summary: &Summary) -> Vec<DifferenceLine> {
    differences(&summary.differences, Family::Primary, summary.margin)
        .into_iter()
        .map(|row: DifferenceText| DifferenceLine {
            cells: row.cells().map(visible).to_vec(),
            verdict: visible(&row.verdict),
        })
        .collect()
}

fn manifest_context(manifest: &ManifestView, with_details: bool) -> Value {
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
    let usage: Vec<[String; 6]> = manifest
        .usage
        .iter()
        .map(|used| {
            let [requests, cached, tokens_in, tokens_out] =
                [used.requests, used.cached, used.tokens_in, used.tokens_out].map(|n| count(n as usize));
            let dollars =
                used.dollars.map_or_else(|| DASH.to_string(), |dollars| format!("{dollars:.4} dollars"));
            [visible(&used.model), requests, cached, tokens_in, tokens_out, dollars]
        })
        .collect();
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
        digests => if with_details { digests } else { Vec::new() },
        usage,
        details_left_out => !with_details,
        suite => suite.filter(|_| with_details),
    }
}
