//! Charts: composed here from a few shapes, written as SVG and PNG by kuva's backends.

mod across;
mod axis;
mod by_layer;
mod canvas;
mod cloud;
mod dead;
mod distribution;
mod facts;
mod kind;
mod layers;
mod legend;
mod marks;
mod scatter;
mod style;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::ReportError;
use super::escape::file_stem;
use super::scores::FeatureScores;
use super::view::{Pairing, View};
use crate::base::FileError;
use canvas::{Anchor, Canvas, Paper};
use style::{Ink, MARGIN, TICK_SIZE, TITLE_SIZE};

pub use facts::Facts;
pub use kind::Kind;

/// Something that can be drawn below a title.
trait Figure: Send + Sync {
    /// Width and height in px.
    fn size(&self) -> (f64, f64);
    /// Draws into the rectangle that starts at `(0, top)`.
    fn draw(&self, canvas: &mut Canvas, top: f64);
}

/// One chart, ready to be drawn.
pub struct Chart<'a> {
    /// File name without extension.
    pub name: String,
    /// What it shows.
    pub kind: Kind,
    /// Which explainer and simulator it is about, if about one.
    pub pairing: Option<Pairing<'a>>,
    /// Heading.
    pub title: String,
    /// What must be known to read it, with the conditions of its numbers.
    pub caption: String,
    figure: Box<dyn Figure + 'a>,
    /// The same with the main scores alone, for a page that must stay small.
    brief: Option<Box<dyn Figure + 'a>>,
}

/// What a chart is called and what must be known to read it: all of it but the figure.
struct Heading<'a> {
    name: String,
    kind: Kind,
    pairing: Option<Pairing<'a>>,
    title: String,
    caption: String,
}

impl<'a> Heading<'a> {
    fn over(self, figure: impl Figure + 'a) -> Chart<'a> {
        let Self { name, kind, pairing, title, caption } = self;
        Chart { name, kind, pairing, title, caption, figure: Box::new(figure), brief: None }
    }
}

impl<'a> Chart<'a> {
    /// The same, and what a page that must stay small shows of it.
    fn with_brief(self, figure: impl Figure + 'a) -> Self {
        Self { brief: Some(Box::new(figure)), ..self }
    }
}

impl Chart<'_> {
    fn draw(&self, paper: Paper) -> Canvas {
        let figure = self.brief.as_ref().filter(|_| paper == Paper::Page).unwrap_or(&self.figure);
        let (width, height) = figure.size();
        // A page prints title and caption as text of its own.
        let framed = paper == Paper::File;
        let title = text::wrap(&self.title, f64::from(TITLE_SIZE), width - 2.0 * MARGIN);
        let caption = text::wrap(&self.caption, f64::from(TICK_SIZE), width - 2.0 * MARGIN);
        let top = if framed { 18.0 + 22.0 * title.len() as f64 } else { 4.0 };
        let bottom = if framed { 14.0 + 17.0 * caption.len() as f64 } else { 4.0 };
        let mut canvas = Canvas::new(width, top + height + bottom, paper);
        if framed {
            for (i, line) in title.iter().enumerate() {
                let y = 26.0 + 22.0 * i as f64;
                canvas.text(MARGIN, y, line, TITLE_SIZE, Anchor::Start, Ink::Text);
            }
            for (i, line) in caption.iter().enumerate() {
                let y = top + height + 16.0 + 17.0 * i as f64;
                canvas.text(MARGIN, y, line, TICK_SIZE, Anchor::Start, Ink::Muted);
            }
        }
        figure.draw(&mut canvas, top);
        canvas
    }

    /// Whether a page shows less of it than the file.
    pub fn is_brief(&self) -> bool {
        self.brief.is_some()
    }

    /// As an SVG for a page: no background, colours from the page's style sheet, no ids, no comments.
    pub fn inline_svg(&self) -> String {
        let svg = self.draw(Paper::Page).into_svg();
        let svg = shared_strokes(&compact(&svg));
        match (svg.find("<!--"), svg.find("-->")) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &svg[..from], &svg[to + 3..]),
            _ => svg,
        }
    }
}

/// Decimals from which on a number is an artefact of rounding in the backend, and none that a text shows.
const JUNK_DECIMALS: usize = 8;

/// The same drawing in fewer bytes: coordinates without the digits that rounding left over.
fn compact(svg: &str) -> String {
    let mut short = String::with_capacity(svg.len());
    let mut rest = svg;
    while let Some(from) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(from);
        let to = number.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(number.len());
        let (number, after) = number.split_at(to);
        short.push_str(before);
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        match number.parse::<f64>() {
            Ok(value) if decimals >= JUNK_DECIMALS => {
                let rounded = format!("{value:.2}");
                short.push_str(rounded.trim_end_matches('0').trim_end_matches('.'));
            }
            _ => short.push_str(number),
        }
        rest = after;
    }
    short.push_str(rest);
    short
}

/// The same drawing in fewer bytes: what is grouped as one mark has one colour, given once.
fn shared_strokes(svg: &str) -> String {
    let stroke = |element: &str| -> Option<String> {
        let (_, after) = element.split_once(" stroke=\"")?;
        Some(format!(" stroke=\"{}\"", after.split_once('"')?.0))
    };
    let mut parts = svg.split("<g data-tip=");
    let mut short = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let whole = part.split_once('>').and_then(|(tip, rest)| Some((tip, rest.split_once("</g>")?)));
        let shared = whole.and_then(|(tip, (marks, after))| {
            let shared = stroke(marks)?;
            let elements = marks.matches("/>").count();
            let alike = marks.matches(&shared).count();
            (elements > 1 && alike == elements)
                .then(|| format!("<g data-tip={tip}{shared}>{}</g>{after}", marks.replace(&shared, "")))
        });
        short.push_str(&shared.unwrap_or_else(|| format!("<g data-tip={part}")));
    }
    short
}

/// Every chart of the kinds `wanted` that the data allow.
pub fn plan<'a>(
    view: &'a View<'a>,
    scores: Option<&'a FeatureScores>,
    facts: &Facts,
    wanted: &[Kind],
) -> Vec<Chart<'a>> {
    let marks = marks::of_view(view);
    let mut charts = Vec::new();
    for &pairing in &view.pairings {
        for kind in Kind::ALL.into_iter().filter(|kind| wanted.contains(kind)) {
            charts.extend(of_pairing(kind, view, pairing, scores, facts, &marks));
        }
    }
    if wanted.contains(&Kind::SparsityFvu) {
        charts.extend(across::fvu_chart(view, &marks));
    }
    if wanted.contains(&Kind::Dead) {
        charts.extend(dead::charts(view, &marks));
    }
    name_apart(&mut charts);
    charts
}

/// The charts of one kind about one explainer and simulator; of dictionaries alone there are none.
fn of_pairing<'a>(
    kind: Kind,
    view: &'a View<'a>,
    pairing: Pairing<'a>,
    scores: Option<&'a FeatureScores>,
    facts: &Facts,
    marks: &[marks::Mark],
) -> Vec<Chart<'a>> {
    let one = match kind {
        Kind::ByLayer => return by_layer::charts(view, pairing, marks),
        Kind::TopkBaselines => return by_layer::topk_charts(view, pairing, marks, facts),
        Kind::Distribution => scores.and_then(|scores| distribution::chart(view, pairing, scores, marks)),
        Kind::ScoreL0 => across::l0_chart(view, pairing, marks),
        Kind::ScoreSize => across::size_chart(view, pairing, marks),
        Kind::ScoreTraining => across::training_chart(view, pairing, marks, facts),
        Kind::ScoreKurtosis => scores.and_then(|scores| cloud::kurtosis_chart(view, pairing, scores, marks)),
        Kind::ScoreDensity => scores.and_then(|scores| cloud::density_chart(view, pairing, scores, marks)),
        Kind::SparsityFvu | Kind::Dead => None,
    };
    one.into_iter().collect()
}

/// File names from prefix and pairing, kept apart where cleaning made two alike.
fn name_apart(charts: &mut [Chart<'_>]) {
    let mut taken = BTreeSet::new();
    for chart in charts {
        let mut name = chart.name.clone();
        let mut n = 2;
        while !taken.insert(name.to_lowercase()) {
            name = format!("{}-{n}", chart.name);
            n += 1;
        }
        chart.name = name;
    }
}

/// `scores_by_layer.hook_resid_post.neuron_to_graph`
fn chart_name(kind: Kind, parts: &[&str]) -> String {
    let parts: Vec<String> = parts.iter().map(|part| file_stem(part)).collect();
    std::iter::once(kind.name().to_string()).chain(parts).collect::<Vec<_>>().join(".")
}

/// The parts of a file name that say which pairing; the protocol only where there are several.
fn pairing_parts<'a>(view: &View<'a>, pairing: Pairing<'a>) -> Vec<&'a str> {
    let mut parts = vec![pairing.explainer];
    if pairing.simulator != pairing.explainer {
        parts.push(pairing.simulator);
    }
    if view.pairings.iter().any(|other| other.protocol != pairing.protocol) {
        parts.push(pairing.protocol);
    }
    parts
}

/// A path and what is to be written there.
pub type NewFile = (PathBuf, Vec<u8>);

/// SVG and PNG of every chart with their paths.
pub fn files(charts: &[Chart<'_>], folder: &Path) -> Result<Vec<NewFile>, ReportError> {
    let drawn: Result<Vec<[NewFile; 2]>, ReportError> = charts
        .par_iter()
        .map(|chart| {
            let canvas = chart.draw(Paper::File);
            let png = canvas.png().map_err(|why| ReportError::Draw { chart: chart.name.clone(), why })?;
            let svg = canvas.into_svg();
            Ok([
                (folder.join(format!("{}.svg", chart.name)), svg.into_bytes()),
                (folder.join(format!("{}.png", chart.name)), png),
            ])
        })
        .collect();
    Ok(drawn?.into_iter().flatten().collect())
}

/// Removes charts of the kinds `drawn` of an earlier drawing that this one did not write. Other files stay.
pub fn remove_stale(folder: &Path, drawn: &[Kind], written: &[PathBuf]) -> Result<(), ReportError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours =
            drawn.iter().any(|kind| name.strip_prefix(kind.name()).is_some_and(|rest| rest.starts_with('.')));
        let drawing = name.ends_with(".svg") || name.ends_with(".png");
        if ours && drawing && !written.contains(&path) {
            std::fs::remove_file(&path).map_err(|source| FileError {
                action: "remove",
                path: path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}
