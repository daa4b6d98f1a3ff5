//! `index.html`: what was asked, the results, and what a reader must know, readable without script. Long tables are
//! data that a script draws. Charts are inlined, the leading ones first, up to the page's size limit, and linked beyond
//! it.

mod cells;
mod charts;
mod erasure;
mod overview;
mod patching;
mod verdict;

use minijinja::context;
use minijinja::value::Value;

use super::Site;
use super::names::Names;
use super::shell;
use crate::base::distinct;
use crate::report::ReportError;
use crate::report::cards::DictionaryCard;
use crate::report::citation::Citation;
use crate::report::escape::{inert_json, visible};
use crate::report::layout::Place;
use crate::report::manifest::ManifestView;
use crate::report::number::{DASH, count, fixed};
use crate::report::schema::{Family, QualityRow};
use crate::report::table::{
    QUADRANT_HEAD, QUALITY_HEAD, control_words, dead_unit, differences, interval_of_differences,
    quadrant_cells, quadrant_note, quality_cells, table_note,
};
use crate::report::verdict::Findings;
use crate::report::view::{BEYOND_TOKEN, View};

/// Size limit of the page.
const PAGE_BYTES: usize = 300_000;

pub fn render(site: &Site<'_>) -> Result<String, ReportError> {
    let Site { sources, names, environment } = site;
    let data = cells::data(sources.view, names);
    let json = inert_json(&serde_json::to_string(&data).map_err(ReportError::Unwritable)?);
    let findings = Findings::of(sources.view);
    let (order, n_lead) = charts::by_worth(sources.charts);
    let with = |inline: &[usize], with_details: bool| {
        let figures = charts::figures(sources.charts, (&order, n_lead), inline);
        let page = page(site, &findings, figures, with_details);
        shell::page(environment, shell::INDEX, page, &json, inline.len() < sources.charts.len())
    };
    // Sizes are measured: first the page without charts, then each chart that still fits.
    let bytes_of = |nth: usize| charts::described(&sources.charts[nth]).len();
    let lead: usize = order[..n_lead].iter().map(|&nth| bytes_of(nth)).sum();
    let with_details = with(&[], true)?.len() + lead <= PAGE_BYTES;
    let mut spent = with(&[], with_details)?.len();
    let mut inline = Vec::new();
    for &nth in &order {
        let bytes = bytes_of(nth);
        if spent + bytes <= PAGE_BYTES {
            spent += bytes;
            inline.push(nth);
        }
    }
    with(&inline, with_details)
}

fn page(site: &Site<'_>, findings: &Findings, figures: charts::Figures, with_details: bool) -> Value {
    let Site { sources, names, .. } = site;
    let view = sources.view;
    let summary = view.summary;
    let manifest = sources.manifest.as_ref();
    let main = view.main_scorers();
    let controls: Vec<(String, &str)> =
        view.controls.iter().map(|control| (visible(control), control_words(control))).collect();
    let head = |label: String| context! { label => visible(&label), span => main.len() };
    context! {
        title => visible(&summary.suite),
        suite => visible(&summary.suite),
        run => visible(&summary.run),
        facts => overview::facts(view, manifest),
        verdict => verdict::verdict(findings),
        warnings => overview::warnings(summary, manifest, sources.scores.is_some()),
        deviations => deviations(view, manifest),
        controls,
        simulators => overview::simulators(view),
        has_beyond => view.scorers.contains(&BEYOND_TOKEN),
        heads => view.pairings.iter().map(|pairing| head(pairing.label())).collect::<Vec<_>>(),
        main => main.iter().map(|scorer| visible(scorer)).collect::<Vec<_>>(),
        glance => overview::glance(view, &main),
        interval => view.pairings.first().map(|pairing| view.interval_name(*pairing)),
        lead_charts => figures.lead,
        patching => patching::section(summary, figures.task),
        erasure => erasure::section(summary, figures.erasure),
        charts => figures.others,
        table_notes => distinct(view.pairings.iter().map(|pairing| visible(&table_note(view, *pairing)))),
        quadrants => quadrants(view),
        quality_head => QUALITY_HEAD,
        quality => summary.quality.iter().map(|row| quality_line(names, row)).collect::<Vec<_>>(),
        cards => manifest.map(|manifest| manifest.cards.iter().map(card).collect::<Vec<_>>()),
        dead_unit => dead_unit(&summary.quality),
        planned => planned(view),
        planned_interval => interval_of_differences(&summary.differences, Family::Primary),
        n_exploratory => summary.differences.iter().filter(|row| row.family == Family::Exploratory).count(),
        margin => summary.margin,
        primary => summary.primary.as_deref().map(visible),
        reference => summary.reference.as_deref().map(visible),
        manifest => manifest.map(|manifest| manifest_context(manifest, with_details)),
        // Its text is visible already.
        citation => Citation::of(summary, manifest),
    }
}

/// The table of quadrants, if the run has it.
fn quadrants(view: &View<'_>) -> Option<Value> {
    let quadrants = view.summary.quadrants.as_ref()?;
    let row = |row| quadrant_cells(row).map(|cell| visible(&cell));
    Some(context! {
        head => QUADRANT_HEAD,
        rows => quadrants.rows.iter().map(row).collect::<Vec<_>>(),
        note => visible(&quadrant_note(quadrants)),
    })
}

/// Deviations from the protocol, of the summary and of the manifest.
fn deviations(view: &View<'_>, manifest: Option<&ManifestView>) -> Vec<String> {
    let of_manifest = manifest.iter().flat_map(|manifest| &manifest.deviations);
    let mut deviations: Vec<&String> = view.summary.deviations.iter().chain(of_manifest).collect();
    deviations.sort();
    deviations.dedup();
    deviations.into_iter().map(|name| visible(name)).collect()
}

fn file<'a>(names: &'a Names, hook: &str, method: &str, control: Option<&str>) -> Option<&'a str> {
    let control = control.map(str::to_string);
    names.file(&Place { hook: hook.to_string(), dictionary: method.to_string(), control })
}

fn quality_line(names: &Names, row: &QualityRow) -> Value {
    let cells = quality_cells(row).map(|cell| visible(&cell));
    context! { cells, file => file(names, &row.hook, &row.method, row.control.as_deref()) }
}

fn card(card: &DictionaryCard) -> Value {
    let facts = card.facts.iter().map(|(name, value)| (visible(name), visible(value)));
    let trials = card.trials.iter().map(|trial| trial.each_ref().map(|cell| visible(cell)));
    context! {
        dictionary => visible(&card.dictionary),
        facts => facts.collect::<Vec<_>>(),
        trials => trials.collect::<Vec<_>>(),
        n_tokens => card.n_tokens.map(count),
        doubts => card.doubts.iter().map(|doubt| visible(doubt)).collect::<Vec<_>>(),
    }
}

fn planned(view: &View<'_>) -> Vec<[String; 9]> {
    let rows = differences(&view.summary.differences, Family::Primary, view.summary.margin);
    rows.into_iter().map(|row| row.map(|cell| visible(&cell))).collect()
}

fn manifest_context(manifest: &ManifestView, with_details: bool) -> Value {
    let stages = manifest.stages.iter().map(|stage| {
        let megabytes = stage.peak_memory_bytes.map(|bytes| count((bytes / 1_000_000) as usize));
        context! {
            name => visible(&stage.name),
            seconds => fixed(stage.seconds, 1),
            memory => megabytes.map_or_else(|| DASH.to_string(), |n| format!("{n} MB")),
            reused => stage.reused.unwrap_or(false),
        }
    });
    let usage = manifest.usage.iter().map(|used| {
        let counts = [used.requests, used.cached, used.tokens_in, used.tokens_out];
        let [requests, cached, tokens_in, tokens_out] = counts.map(|n| count(n as usize));
        let cost = used.dollars.map_or_else(|| DASH.to_string(), |dollars| format!("{dollars:.4} dollars"));
        [visible(&used.model), requests, cached, tokens_in, tokens_out, cost]
    });
    let digests = manifest.digests.iter().filter(|_| with_details);
    let optional = |text: &Option<String>| text.as_deref().map(visible);
    // The suite keeps its line breaks.
    let suite = manifest.suite.as_ref().map(|text| text.lines().map(visible).collect::<Vec<_>>().join("\n"));
    context! {
        version => optional(&manifest.version),
        suite_name => optional(&manifest.suite_name),
        seed => manifest.seed,
        cpu => optional(&manifest.cpu),
        instruction_set => optional(&manifest.instruction_set),
        stages => stages.collect::<Vec<_>>(),
        digests => digests.map(|(name, digest)| (visible(name), visible(digest))).collect::<Vec<_>>(),
        usage => usage.collect::<Vec<_>>(),
        details_left_out => !with_details,
        suite => suite.filter(|_| with_details),
    }
}
