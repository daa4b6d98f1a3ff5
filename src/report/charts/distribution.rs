//! Distribution of the scores of single features by method. For each method: the upper half of a violin (Gaussian
//! kernel density) with a dot for every feature, above a box of the middle half with the median. A grey tick is the
//! median of the first control.

use super::axis::{Area, Coordinate, Scale, panel_width};
use super::canvas::{Anchor, Canvas};
use super::frame;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, SMALL_SIZE, TICK_SIZE};
use super::{Chart, Figure, Heading, Inputs, Kind, text};
use crate::report::scores::FeatureScores;
use crate::report::view::{Pairing, RowKey};
use crate::stats::{kernel_density, quantile_sorted};

struct Strip {
    mark: Mark,
    label: String,
    /// Ascending.
    scores: Vec<f64>,
    /// Features with a constant prediction: 0 in means, not among the dots.
    n_constant: usize,
    /// Median of the first control, if there is one.
    control: Option<f64>,
}

struct Panel {
    title: String,
    strips: Vec<Strip>,
}

struct Distribution {
    /// Scorer, and a panel for each hook point.
    bands: Vec<(String, Vec<Panel>)>,
    label_width: f64,
}

const ROW: f64 = 30.0;
const GAP: f64 = 22.0;
const PER_LINE: usize = 4;
const DOT: f64 = 1.6;
/// Height of a half violin, px.
const VIOLIN: f64 = 18.0;
/// Fewest features of a violin; a density of fewer carries no information.
const FEWEST: usize = 5;
/// Room for counts at the right of a panel, px.
const COUNT_ROOM: f64 = 50.0;
/// Narrowest panel of a figure, px.
const PANEL_WIDTH: f64 = 262.0;

/// One chart of the main scores; none where no feature has one.
pub fn chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let (view, scores) = (inputs.view, inputs.scores?);
    let band = |scorer: &'a str| {
        let panels = view.hooks.iter().map(|hook| panel(inputs, pairing, scores, hook, scorer));
        (format!("{scorer} of a feature ({})", view.unit(scorer)), panels.collect())
    };
    let bands: Vec<(String, Vec<Panel>)> = view.main_scorers().into_iter().map(band).collect();
    let mut strips = bands.iter().flat_map(|(_, panels)| panels).flat_map(|panel| &panel.strips);
    if strips.all(|strip| strip.scores.is_empty()) {
        return None;
    }
    let size = f64::from(TICK_SIZE);
    let widest = view.single_methods().map(|(_, method)| text::width(method, size)).fold(0.0, f64::max);
    let mut caption =
        "Each dot is one feature; shade: their density, a violin's upper half (Gaussian kernel of Silverman's \
                       width, each as high as the others); box: middle half, line: median. At the right their \
                       number, and after a plus that of features whose prediction is constant: those have no score \
                       of their own, count as 0 in means and are not drawn."
            .to_string();
    if let Some(control) = view.controls.first() {
        caption.push_str(&format!(" Grey tick: median of the control {control}."));
    }
    caption.push_str(" Given these dictionaries and this corpus.");
    let title = "Scores of single features";
    let heading = Heading::of_pairing(view, pairing, (Kind::Distribution, None), title, caption);
    Some(heading.over(Distribution { bands, label_width: widest.min(170.0) + 36.0 }))
}

fn panel<'a>(
    inputs: &Inputs<'a>,
    pairing: Pairing<'a>,
    scores: &FeatureScores,
    hook: &'a str,
    scorer: &'a str,
) -> Panel {
    let Inputs { view, marks, .. } = inputs;
    let sorted = |pairing, key| {
        let mut sorted: Vec<f64> = scores.of(pairing, key).filter_map(|line| line.score(scorer)).collect();
        sorted.sort_by(f64::total_cmp);
        sorted
    };
    let strip = |(nth, method): (usize, &'a str)| {
        let key = RowKey::of(hook, method);
        let control = view.controls.first().and_then(|control| {
            let key = RowKey { control: Some(control), ..key };
            quantile(&sorted(view.source(pairing, key), key), 0.5)
        });
        let n_constant = view.cell(pairing, key, scorer).map_or(0, |cell| cell.n_constant);
        let scores = sorted(pairing, key);
        Strip { mark: marks[nth], label: method.to_string(), scores, n_constant, control }
    };
    Panel { title: hook.to_string(), strips: view.single_methods().map(strip).collect() }
}

/// The `share` quantile; none without values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    (!sorted.is_empty()).then(|| quantile_sorted(sorted, share))
}

/// The outline of a half violin over ascending `xs`, [`VIOLIN`] px high above `base`. None for fewer than
/// [`FEWEST`] values, or where all are equal.
fn violin(xs: &[f64], base: f64) -> Option<Vec<(f64, f64)>> {
    const POINTS: usize = 64;
    let (first, last) = (*xs.first()?, *xs.last()?);
    if xs.len() < FEWEST {
        return None;
    }
    let at: Vec<f64> = (0..=POINTS).map(|i| first + (last - first) * i as f64 / POINTS as f64).collect();
    let density = kernel_density(xs, &at).ok()??;
    let highest = density.iter().copied().fold(0.0, f64::max);
    let curve = at.iter().zip(density).map(|(&x, density)| (x, base - VIOLIN * density / highest));
    Some([(first, base)].into_iter().chain(curve).chain([(last, base)]).collect())
}

/// Heights of dots at ascending `xs`: a dot that would touch another is higher, by at most `room` px in all. Along the
/// axis of scores no dot moves.
fn stack(xs: &[f64], room: f64) -> Vec<f64> {
    let width = 2.0 * DOT;
    let mut last: Vec<f64> = Vec::new();
    let mut level = |x: &f64| {
        let free = last.iter().position(|other| x - other >= width).unwrap_or(last.len());
        match last.get_mut(free) {
            Some(other) => *other = *x,
            None => last.push(*x),
        }
        free
    };
    let levels: Vec<usize> = xs.iter().map(&mut level).collect();
    let pitch = width.min(room / last.len().saturating_sub(1).max(1) as f64);
    levels.into_iter().map(|level| level as f64 * pitch).collect()
}

impl Distribution {
    fn columns(&self) -> usize {
        self.bands.iter().map(|(_, panels)| panels.len()).max().unwrap_or(1).clamp(1, PER_LINE)
    }

    fn panel_height(&self) -> f64 {
        let rows = self.bands.iter().flat_map(|(_, panels)| panels).map(|panel| panel.strips.len()).max();
        rows.unwrap_or(0) as f64 * ROW + 10.0
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel, scale: &Scale, labelled: bool) {
        let scale = scale.over(area.x + 4.0, area.right() - COUNT_ROOM);
        frame::draw_x(canvas, area, &scale);
        frame::draw_frame(canvas, area, None, &panel.title);
        for (i, strip) in panel.strips.iter().enumerate() {
            let base = area.y + 3.0 + (i + 1) as f64 * ROW;
            if labelled {
                let size = f64::from(TICK_SIZE);
                let label = text::cut(&strip.label, size, self.label_width - 36.0);
                canvas.text(area.x - 26.0, base - 8.0, &label, TICK_SIZE, Anchor::End, Ink::Text);
                marks::draw_key(canvas, strip.mark, area.x - 14.0, base - 12.0, 4.0);
            }
            draw_strip(canvas, strip, &scale, base);
            let n = match (strip.scores.len(), strip.n_constant) {
                (n, 0) => n.to_string(),
                (n, constant) => format!("{n} + {constant}"),
            };
            canvas.text(area.right() - 4.0, base - 8.0, &n, SMALL_SIZE, Anchor::End, Ink::Muted);
        }
    }
}

fn draw_strip(canvas: &mut Canvas, strip: &Strip, scale: &Scale, base: f64) {
    let ink = strip.mark.ink;
    let xs: Vec<f64> = strip.scores.iter().map(|score| scale.at(*score)).collect();
    if let Some(outline) = violin(&xs, base - 7.5) {
        canvas.shade(&outline, ink, 0.22);
    }
    let place = |(score, up): (&f64, f64)| (scale.place(*score), Coordinate::Category(base - 9.5 - up));
    let dots: Vec<(Coordinate, Coordinate)> = strip.scores.iter().zip(stack(&xs, 10.0)).map(place).collect();
    marks::draw_dots(canvas, &dots, DOT, ink);
    if let Some(control) = strip.control {
        let x = scale.at(control);
        canvas.line((x, base - 8.0), (x, base - 0.5), Ink::Control, 2.0);
    }
    let quartiles = [0.25, 0.5, 0.75].map(|share| quantile(&strip.scores, share));
    if let [Some(low), Some(middle), Some(high)] = quartiles {
        let (left, right) = (scale.at(low), scale.at(high));
        let width = (right - left).max(1.0);
        canvas.block((left + right - width) / 2.0, base - 6.0, width, 3.5, ink, 0.45);
        let x = scale.at(middle);
        canvas.line((x, base - 7.5), (x, base - 1.0), ink, 2.0);
    }
}

impl Figure for Distribution {
    fn size(&self) -> (f64, f64) {
        let columns = self.columns();
        let lines: usize = self.bands.iter().map(|(_, panels)| panels.len().div_ceil(columns)).sum();
        let panels = columns as f64 * panel_width(columns, PANEL_WIDTH);
        let width = self.label_width + panels + (columns as f64 - 1.0) * GAP + 20.0;
        let pitch = self.panel_height() + 52.0;
        (width, lines as f64 * pitch + self.bands.len() as f64 * 26.0 + 8.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let columns = self.columns();
        let (height, width) = (self.panel_height(), panel_width(columns, PANEL_WIDTH));
        let mut y = top + 22.0;
        for (label, panels) in &self.bands {
            let all = panels.iter().flat_map(|panel| &panel.strips);
            let values = all.flat_map(|strip| strip.scores.iter().copied().chain(strip.control));
            let scale = Scale::linear(values);
            for line in panels.chunks(columns) {
                for (i, panel) in line.iter().enumerate() {
                    let x = self.label_width + i as f64 * (width + GAP);
                    let area = Area { x, y, width, height };
                    self.draw_panel(canvas, area, panel, &scale, i == 0);
                }
                y += height + 52.0;
            }
            let middle = self.label_width + (columns as f64 * (width + GAP) - GAP) / 2.0;
            canvas.text(middle, y - 16.0, label, LABEL_SIZE, Anchor::Middle, Ink::Text);
            y += 26.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violin_spans_its_dots_and_is_highest_where_they_are_dense() {
        let xs = [0.0, 10.0, 11.0, 12.0, 40.0];
        let outline = violin(&xs, 100.0).expect("an outline");
        assert_eq!((outline[0], outline[outline.len() - 1]), ((0.0, 100.0), (40.0, 100.0)));
        let (highest, y) = outline.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).expect("points");
        assert!((10.0..=12.0).contains(&highest) && (y - (100.0 - VIOLIN)).abs() < 1e-9, "{highest} {y}");
        assert_eq!(violin(&xs[..4], 100.0), None);
        assert_eq!(violin(&[3.0; 9], 100.0), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn stacked_dots_neither_touch_nor_leave_their_row() {
        let xs = [10.0, 10.1, 10.2, 13.25, 30.0];
        let ups = stack(&xs, 10.0);
        for (i, (x, up)) in xs.iter().zip(&ups).enumerate() {
            assert!(*up <= 10.0);
            for (other, other_up) in xs.iter().zip(&ups).take(i) {
                assert!((x - other).hypot(up - other_up) >= 2.0 * DOT - 1e-9, "{x} on {other}: {ups:?}");
            }
        }
        assert_eq!((ups[3], ups[4]), (0.0, 0.0));
        assert!(stack(&[5.0; 500], 10.0).iter().all(|up| *up <= 10.0));
        assert!(stack(&[], 10.0).is_empty());
    }
}
