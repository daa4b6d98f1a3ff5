//! Charts: composed of a few shapes here, drawn as SVG and PNG by kuva's backends.

mod across;
mod averaged;
mod axis;
mod by_layer;
mod callout;
mod canvas;
mod cloud;
mod controls;
mod curves;
mod dead;
mod distribution;
mod erasure;
mod facts;
mod frame;
mod kind;
mod layers;
mod legend;
mod marks;
mod palette;
mod patching;
mod scatter;
mod specificity;
mod style;
mod svg;
#[cfg(test)]
mod tests;
mod text;
mod trace;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use strum::VariantArray;

use super::ReportError;
use super::scores::FeatureScores;
use super::view::{Pairing, View};
use crate::base::FileName;
use canvas::{Anchor, Canvas};
use style::{Ink, MARGIN, Paper, TICK_SIZE, TITLE_SIZE};
use svg::{compact, shared_strokes};

pub use facts::Facts;
pub use kind::Kind;
pub use trace::{trace_file, trace_histogram, trace_inline};

/// The data of all charts.
struct Inputs<'a> {
    view: &'a View<'a>,
    /// Scores of single features; none without `scores.jsonl`.
    scores: Option<&'a FeatureScores>,
    facts: &'a Facts,
    /// The mark of each method of the view.
    marks: Vec<marks::Mark>,
}

/// Something that can be drawn below a title.
trait Figure: Send + Sync {
    /// Width and height in px.
    fn size(&self) -> (f64, f64);
    /// Draws into the rectangle whose top left corner is `(0, top)`.
    fn draw(&self, canvas: &mut Canvas, top: f64);
}

/// One chart, ready to be drawn.
pub struct Chart<'a> {
    pub heading: Heading<'a>,
    figure: Box<dyn Figure + 'a>,
    /// The same with the main scores only, for a page with a size limit.
    brief: Option<Box<dyn Figure + 'a>>,
}

/// A chart without its figure.
pub struct Heading<'a> {
    /// File name without extension.
    pub name: FileName,
    pub kind: Kind,
    /// Explainer and simulator; none for a chart of dictionaries alone.
    pub pairing: Option<Pairing<'a>>,
    pub title: String,
    /// How to read it, and the conditions of its numbers.
    pub caption: String,
}

impl<'a> Heading<'a> {
    /// Of a chart about dictionaries alone. `part` of the file name tells charts of one kind apart; see [`chart_name`].
    fn of_dictionaries(kind: Kind, part: Option<&str>, title: String, caption: String) -> Self {
        Self { name: chart_name(kind, part, &[]), kind, pairing: None, title, caption }
    }

    /// Of a chart about one explainer and simulator. The file name has the protocol only if there are several.
    fn of_pairing(
        view: &View<'a>,
        pairing: Pairing<'a>,
        (kind, part): (Kind, Option<&str>),
        title: &str,
        caption: String,
    ) -> Self {
        let mut names = vec![pairing.explainer];
        if pairing.simulator != pairing.explainer {
            names.push(pairing.simulator);
        }
        if view.pairings.iter().any(|other| other.protocol != pairing.protocol) {
            names.push(pairing.protocol);
        }
        let title = format!("{title}: explained and simulated by {}", pairing.label());
        Self { name: chart_name(kind, part, &names), kind, pairing: Some(pairing), title, caption }
    }

    fn over(self, figure: impl Figure + 'a) -> Chart<'a> {
        Chart { heading: self, figure: Box::new(figure), brief: None }
    }
}

/// `scores_by_layer.hook_resid_post.neuron_to_graph`. `part` is a site or a fixed
/// word of this program. A kind always has one or never, so dots in it make no two names equal.
fn chart_name(kind: Kind, part: Option<&str>, names: &[&str]) -> FileName {
    let ours: Vec<&str> =
        [kind.name()].into_iter().chain(part.iter().flat_map(|part| part.split('.'))).collect();
    FileName::joined(&[&ours, names].concat(), ".")
}

impl<'a> Chart<'a> {
    fn with_brief(self, figure: impl Figure + 'a) -> Self {
        Self { brief: Some(Box::new(figure)), ..self }
    }

    fn draw(&self, paper: Paper) -> Canvas {
        let figure = self.brief.as_ref().filter(|_| paper == Paper::Page).unwrap_or(&self.figure);
        on_paper(&**figure, &self.heading.title, &self.heading.caption, paper)
    }

    /// Whether a page shows less of it than the file.
    pub fn is_brief(&self) -> bool {
        self.brief.is_some()
    }

    /// An SVG for a page: no background, colours from the page's style sheet, no ids, no comments.
    pub fn inline_svg(&self) -> String {
        inline(self.draw(Paper::Page))
    }
}

/// A figure with its title and caption. A page prints these as text of its own.
fn on_paper(figure: &dyn Figure, title: &str, caption: &str, paper: Paper) -> Canvas {
    let (width, height) = figure.size();
    if paper == Paper::Page {
        let mut canvas = Canvas::new(width, 4.0 + height + 4.0, paper);
        figure.draw(&mut canvas, 4.0);
        return canvas;
    }
    let title = text::wrap(title, f64::from(TITLE_SIZE), width - 2.0 * MARGIN);
    let caption = text::wrap(caption, f64::from(TICK_SIZE), width - 2.0 * MARGIN);
    let top = 18.0 + 22.0 * title.len() as f64;
    let bottom = 14.0 + 17.0 * caption.len() as f64;
    let mut canvas = Canvas::new(width, top + height + bottom, paper);
    for (i, line) in title.iter().enumerate() {
        canvas.text(MARGIN, 26.0 + 22.0 * i as f64, line, TITLE_SIZE, Anchor::Start, Ink::Text);
    }
    for (i, line) in caption.iter().enumerate() {
        let y = top + height + 16.0 + 17.0 * i as f64;
        canvas.text(MARGIN, y, line, TICK_SIZE, Anchor::Start, Ink::Muted);
    }
    figure.draw(&mut canvas, top);
    canvas
}

/// A drawing as SVG for a page.
fn inline(canvas: Canvas) -> String {
    let svg = shared_strokes(&compact(&canvas.into_svg()));
    match (svg.find("<!--"), svg.find("-->")) {
        (Some(from), Some(to)) if from < to => format!("{}{}", &svg[..from], &svg[to + 3..]),
        _ => svg,
    }
}

/// All charts of the kinds `wanted` for which there is data.
pub fn plan<'a>(
    view: &'a View<'a>,
    scores: Option<&'a FeatureScores>,
    facts: &'a Facts,
    wanted: &[Kind],
) -> Vec<Chart<'a>> {
    let inputs = Inputs { view, scores, facts, marks: palette::of_view(view, facts) };
    let mut charts = Vec::new();
    for &pairing in &view.pairings {
        let kinds = Kind::VARIANTS.iter().filter(|kind| wanted.contains(kind));
        charts.extend(kinds.flat_map(|kind| of_pairing(*kind, &inputs, pairing)));
    }
    if wanted.contains(&Kind::SparsityFvu) {
        charts.extend(across::fvu_chart(&inputs));
    }
    if wanted.contains(&Kind::Dead) {
        charts.extend(dead::charts(&inputs));
    }
    charts.extend(patching::charts(&inputs, wanted));
    charts.extend(erasure::charts(&inputs, wanted));
    if let Some(elsewhere) = view.elsewhere_note() {
        charts.iter_mut().for_each(|chart| chart.heading.caption.push_str(&format!(" {elsewhere}")));
    }
    charts
}

/// The charts of one kind about one explainer and simulator.
fn of_pairing<'a>(kind: Kind, inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Vec<Chart<'a>> {
    let one = match kind {
        Kind::Averaged => averaged::chart(inputs, pairing),
        Kind::ByLayer => return by_layer::charts(inputs, pairing),
        Kind::TopkBaselines => return by_layer::topk_charts(inputs, pairing),
        Kind::Distribution => distribution::chart(inputs, pairing),
        Kind::ScoreL0 => across::l0_chart(inputs, pairing),
        Kind::ScoreSize => across::size_chart(inputs, pairing),
        Kind::ScoreTraining => across::training_chart(inputs, pairing),
        Kind::ScoreKurtosis => cloud::kurtosis_chart(inputs, pairing),
        Kind::ScoreDensity => cloud::density_chart(inputs, pairing),
        Kind::Specificity => specificity::chart(inputs, pairing),
        Kind::ScoreEffect => cloud::effect_chart(inputs, pairing),
        Kind::SparsityFvu | Kind::Dead | Kind::PatchingFeatures | Kind::PatchingEdit => None,
        Kind::ErasureAccuracy | Kind::ErasureKl => None,
    };
    Vec::from_iter(one)
}

/// A path and the content to write there.
pub type NewFile = (PathBuf, Vec<u8>);

/// SVG and PNG of every chart.
pub fn files(charts: &[Chart<'_>], folder: &Path) -> Result<Vec<NewFile>, ReportError> {
    let files_of = |chart: &Chart<'_>| -> Result<[NewFile; 2], ReportError> {
        let canvas = chart.draw(Paper::File);
        let name = &chart.heading.name;
        let png = canvas.png().map_err(|why| ReportError::Draw(name.to_string(), why))?;
        let path = |extension| folder.join(name.with(extension));
        Ok([(path(".svg"), canvas.into_svg().into_bytes()), (path(".png"), png)])
    };
    let drawn: Vec<[NewFile; 2]> = charts.par_iter().map(files_of).collect::<Result<_, ReportError>>()?;
    Ok(drawn.into_iter().flatten().collect())
}

/// Whether a file name is that of a chart of one of the kinds.
pub fn is_chart(name: &str, kinds: &[Kind]) -> bool {
    let of_kind = |kind: &Kind| name.strip_prefix(kind.name()).is_some_and(|rest| rest.starts_with('.'));
    kinds.iter().any(of_kind) && (name.ends_with(".svg") || name.ends_with(".png"))
}
