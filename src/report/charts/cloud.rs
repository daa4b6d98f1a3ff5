//! Scores of single features against kurtosis, density or output score: a panel for each method, with the rank correlation.

use super::axis::{Area, Coordinate, Scale, on_log_axis, panel_width};
use super::canvas::{Anchor, Canvas};
use super::frame;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, SMALL_SIZE};
use super::{Chart, Figure, Heading, Inputs, Kind, text};
use crate::report::number::score;
use crate::report::scores::{FeatureLine, FeatureScores};
use crate::report::view::{Pairing, RowKey, View};
use crate::stats::{spearman, spearman_interval};

/// Nominal coverage of the interval of a rank correlation.
const CONFIDENCE: f64 = 0.95;

struct Panel {
    mark: Mark,
    title: String,
    /// The rank correlation and its number of features.
    correlation: String,
    points: Vec<(f64, f64)>,
}

/// A scorer and its panels, one for each method.
type Band = (String, Vec<Panel>);

struct Cloud {
    bands: Vec<Band>,
    x_label: &'static str,
}

/// The output score that input scores are drawn against.
const STEERING_EFFECT: &str = "steering_effect";

const LEFT: f64 = 64.0;
const PANEL_HEIGHT: f64 = 150.0;
const ABOVE: f64 = 38.0;
const BELOW: f64 = 30.0;
const GAP: f64 = 20.0;
const PER_LINE: usize = 4;
const DOT: f64 = 2.0;

/// A quantity that scores are drawn against.
struct Against {
    kind: Kind,
    title: &'static str,
    label: &'static str,
    remark: &'static str,
    x: fn(&FeatureLine) -> Option<f64>,
}

/// Scores against the kurtosis of a feature's code.
pub fn kurtosis_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let against = Against {
        kind: Kind::ScoreKurtosis,
        title: "Score and kurtosis of single features",
        label: "kurtosis of the code: m₄ / m₂², 3 for a normal distribution (log scale)",
        remark: "Kurtosis is over all evaluation tokens, zeros included.",
        // Excess kurtosis is at least −2, so this is at least 1 and fits a log scale.
        x: |line| line.kurtosis.map(|excess| excess + 3.0),
    };
    chart(inputs, pairing, &against)
}

/// Scores against the share of tokens on which a feature fires.
pub fn density_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let against = Against {
        kind: Kind::ScoreDensity,
        title: "Score and density of single features",
        label: "density: share of tokens on which the feature fires (log scale)",
        remark: "A feature fires where its code is above 0.",
        x: |line| line.density,
    };
    chart(inputs, pairing, &against)
}

/// Input scores against the steering effect.
pub fn effect_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let against = Against {
        kind: Kind::ScoreEffect,
        title: "Input and output score of single features",
        label: "steering_effect in nats (log scale)",
        remark: "A feature without any effect has no place on the log scale and is left out.",
        x: |line| line.score(STEERING_EFFECT),
    };
    chart(inputs, pairing, &against)
}

fn chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>, against: &Against) -> Option<Chart<'a>> {
    let view = inputs.view;
    let bands = bands(inputs, pairing, inputs.scores?, against).into_iter();
    let (bands, constant): (Vec<Band>, Vec<Band>) = bands.partition(|(_, panels)| varies(panels));
    if bands.is_empty() {
        return None;
    }
    let pooled = match (view.hooks.len() > 1, view.sweeps.iter().any(Option::is_some)) {
        (true, true) => ", of all hook points and all points of a sweep",
        (true, false) => ", of all hook points",
        (false, true) => ", of all points of a sweep",
        (false, false) => "",
    };
    let constant: String = constant
        .iter()
        .map(|(scorer, _)| format!(" {scorer} is the same for all features, so it is not drawn."))
        .collect();
    let caption = format!(
        "Each dot is one explained feature{pooled}; constant predictions count as 0. ρ: Spearman's rank correlation \
         with an approximate 95 % interval (Bonett and Wright 2000), n: features. {} Given these dictionaries and \
         this corpus; a correlation within one method says nothing of differences between methods.{constant}",
        against.remark
    );
    let heading = Heading::of_pairing(view, pairing, (against.kind, None), against.title, caption);
    Some(heading.over(Cloud { bands, x_label: against.label }))
}

/// The bands of the main scores that have points. The points of a panel are pooled over hook points and over the
/// methods of a sweep.
fn bands<'a>(
    inputs: &Inputs<'a>,
    pairing: Pairing<'a>,
    scores: &FeatureScores,
    against: &Against,
) -> Vec<Band> {
    let view: &View<'a> = inputs.view;
    let mut lines: Vec<(&str, Mark)> = Vec::new();
    for (method, mark) in view.methods.iter().zip(&inputs.marks) {
        if !lines.iter().any(|(line, _)| *line == view.line_of(method)) {
            lines.push((view.line_of(method), *mark));
        }
    }
    let panel = |scorer: &str, line: &str, mark: Mark| -> Option<Panel> {
        let methods = view.methods.iter().filter(|method| view.line_of(method) == line);
        let rows = methods.flat_map(|method| view.hooks.iter().map(move |hook| RowKey::of(hook, method)));
        let point = |line: &FeatureLine| {
            let x = (against.x)(line).and_then(on_log_axis)?;
            Some((x, line.entering(scorer)?))
        };
        let points: Vec<(f64, f64)> =
            rows.flat_map(|row| scores.of(pairing, row)).filter_map(point).collect();
        if points.is_empty() {
            return None;
        }
        Some(Panel { mark, title: line.to_string(), correlation: correlation(&points), points })
    };
    let band = |scorer: &str| -> Band {
        let panels = lines.iter().filter_map(|(line, mark)| panel(scorer, line, *mark));
        (scorer.to_string(), panels.collect())
    };
    let is_itself = |scorer: &&str| against.kind == Kind::ScoreEffect && *scorer == STEERING_EFFECT;
    let bands = view.main_scorers().into_iter().filter(|scorer| !is_itself(scorer)).map(band);
    bands.filter(|(_, panels)| !panels.is_empty()).collect()
}

/// Whether the scores of these panels are not all equal.
fn varies(panels: &[Panel]) -> bool {
    let mut scores = panels.iter().flat_map(|panel| &panel.points).map(|(_, score)| *score);
    let first = scores.next();
    scores.any(|score| Some(score) != first)
}

/// `ρ 0.31 [0.16, 0.44], n 158`
fn correlation(points: &[(f64, f64)]) -> String {
    let (x, y): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    let n = points.len();
    let number = |value: f64| score(Some(value)).replace('-', "−");
    match spearman(&x, &y) {
        // Ranks of two or three features carry no information.
        Ok(rho) if n > 3 => match spearman_interval(rho, n, CONFIDENCE) {
            Some((low, high)) => format!("ρ {} [{}, {}], n {n}", number(rho), number(low), number(high)),
            None => format!("ρ {}, n {n}", number(rho)),
        },
        _ => format!("ρ —, n {n}"),
    }
}

impl Cloud {
    /// As few lines as hold all panels, of equal length as far as possible.
    fn columns(&self) -> usize {
        let most = self.bands.iter().map(|(_, panels)| panels.len()).max().unwrap_or(1).max(1);
        most.div_ceil(most.div_ceil(PER_LINE))
    }

    fn panel_width(&self) -> f64 {
        panel_width(self.columns(), 222.0)
    }

    fn band_height(&self, panels: usize) -> f64 {
        panels.div_ceil(self.columns()) as f64 * (ABOVE + PANEL_HEIGHT + BELOW) + 30.0
    }
}

fn draw_panel(canvas: &mut Canvas, area: Area, panel: &Panel, (x, y): (&Scale, &Scale), labelled: bool) {
    let x_scale = x.over(area.x, area.right());
    let y_scale = y.over(area.bottom(), area.y);
    frame::draw_x(canvas, area, &x_scale);
    frame::draw_y(canvas, area, &y_scale, labelled);
    frame::draw_frame(canvas, area, Some(&x_scale), "");
    marks::draw_key(canvas, panel.mark, area.x + 6.0, area.y - 27.0, 4.6);
    let title = text::cut(&panel.title, f64::from(LABEL_SIZE), area.width - 18.0);
    canvas.text(area.x + 17.0, area.y - 22.5, &title, LABEL_SIZE, Anchor::Start, Ink::Text);
    canvas.text(area.x, area.y - 7.0, &panel.correlation, SMALL_SIZE, Anchor::Start, Ink::Muted);
    let place = |(x, y): &(f64, f64)| (x_scale.place(*x), y_scale.place(*y));
    let dots: Vec<(Coordinate, Coordinate)> = panel.points.iter().map(place).collect();
    marks::draw_dots(canvas, &dots, DOT, panel.mark.ink);
}

impl Figure for Cloud {
    fn size(&self) -> (f64, f64) {
        let width = LEFT + self.columns() as f64 * (self.panel_width() + GAP);
        (width, self.bands.iter().map(|(_, panels)| self.band_height(panels.len())).sum::<f64>() + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let (columns, width) = (self.columns(), self.panel_width());
        let all = || self.bands.iter().flat_map(|(_, panels)| panels).flat_map(|panel| &panel.points);
        let Some(x_scale) = Scale::log(all().map(|(x, _)| *x)) else { return };
        let mut y = top;
        for (scorer, panels) in &self.bands {
            let values = panels.iter().flat_map(|panel| &panel.points).map(|(_, score)| *score);
            let y_scale = Scale::linear(values).with_room_below();
            for line in panels.chunks(columns) {
                y += ABOVE;
                for (i, panel) in line.iter().enumerate() {
                    let area = Area { x: LEFT + i as f64 * (width + GAP), y, width, height: PANEL_HEIGHT };
                    draw_panel(canvas, area, panel, (&x_scale, &y_scale), i == 0);
                }
                canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, scorer, LABEL_SIZE, Ink::Text);
                y += PANEL_HEIGHT + BELOW;
            }
            let used = panels.len().min(columns) as f64;
            let middle = (LEFT + (used * (width + GAP) - GAP) / 2.0)
                .max(MARGIN + text::width(self.x_label, f64::from(LABEL_SIZE)) / 2.0);
            canvas.text(middle, y + 8.0, self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
            y += 30.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_says_what_it_rests_on() {
        let rising: Vec<(f64, f64)> = (1..=50).map(|i| (f64::from(i), f64::from(i * i % 37))).collect();
        let text = correlation(&rising);
        assert!(text.starts_with("ρ ") && text.contains('[') && text.ends_with("n 50"), "{text}");
        assert_eq!(correlation(&[(1.0, 2.0), (2.0, 3.0)]), "ρ —, n 2");
        assert_eq!(correlation(&[(1.0, 2.0); 9]), "ρ —, n 9");
        let falling: Vec<(f64, f64)> = (1..=9).map(|i| (f64::from(i), -f64::from(i))).collect();
        assert_eq!(correlation(&falling), "ρ −1.00, n 9");
    }
}
