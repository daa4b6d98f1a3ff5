//! Grades of explanations by interval of activation: one panel per method and hook point, in each interval a stacked bar
//! with the best grade at the bottom, beside it the bar of a control (Templeton et al. 2024, *Scaling
//! Monosemanticity*).

use super::axis::{Area, Coordinate, Scale, panel_width};
use super::by_layer::is_interval;
use super::canvas::{Anchor, Canvas};
use super::frame;
use super::marks::{self, Mark, Shape};
use super::style::{Ink, LABEL_SIZE, MARGIN, SMALL_SIZE, TICK_SIZE};
use super::{Chart, Figure, Heading, Inputs, Kind, text};
use crate::report::number::{count, estimate};
use crate::report::specificity::{GradedInterval, GradedRow};
use crate::report::view::{Pairing, RowKey, View};

/// The control beside each method.
const CONTROL: &str = "shuffled";

/// Opacity of each grade, from 0 to 3.
const OPACITIES: [f64; 4] = [0.1, 0.32, 0.6, 0.92];

/// Meaning of each grade, from 0 to 3.
const MEANINGS: [&str; 4] = [
    "0: nothing to do with the text",
    "1: with the text, not with the mark",
    "2: roughly, or what stands next to it",
    "3: precisely the marked token",
];

struct Panel<'a> {
    title: String,
    mark: Mark,
    row: &'a GradedRow,
    control: Option<&'a GradedRow>,
}

struct Specificity<'a> {
    panels: Vec<Panel<'a>>,
    legend: Vec<(Key, String)>,
}

/// The sign of a legend's entry.
#[derive(Clone, Copy)]
enum Key {
    Block(Ink, f64),
    Dot,
}

const LEFT: f64 = 62.0;
const GAP: f64 = 20.0;
const PER_LINE: usize = 4;
/// Narrowest panel, px.
const NARROW: f64 = 220.0;
const HEIGHT: f64 = 136.0;
const PITCH: f64 = HEIGHT + 62.0;
const ABOVE: f64 = 24.0;
const LEGEND_COLUMN: f64 = 250.0;
const LEGEND_ROW: f64 = 20.0;
/// Share of an interval's width that its bars take, and of that the control's part.
const BARS: f64 = 0.8;
const CONTROL_PART: f64 = 0.3;

/// The chart of one explainer; none where nothing was graded.
pub fn chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let is_graded = |row: &&GradedRow| row.n_features > 0;
    let panel = |hook: &'a str, (nth, method): (usize, &'a str)| {
        let key = RowKey::of(hook, method);
        let row = find(view, pairing, key).filter(is_graded)?;
        let title = if view.hooks.len() > 1 { format!("{method} · {hook}") } else { method.to_string() };
        let control = find(view, pairing, RowKey { control: Some(CONTROL), ..key }).filter(is_graded);
        Some(Panel { title, mark: marks[nth], row, control })
    };
    let all = view.hooks.iter().flat_map(|hook| {
        view.methods.iter().copied().enumerate().filter_map(move |method| panel(hook, method))
    });
    let panels: Vec<Panel<'a>> = all.collect();
    let first = panels.first()?.row;
    let caption = caption(first, panels.iter().any(|panel| panel.control.is_some()));
    let keys = OPACITIES.iter().zip(MEANINGS).rev();
    let mut legend: Vec<(Key, String)> =
        keys.map(|(&opacity, meaning)| (Key::Block(Ink::Text, opacity), meaning.to_string())).collect();
    legend.push((Key::Dot, "share of grade 3, with interval".into()));
    if panels.iter().any(|panel| panel.control.is_some()) {
        legend.push((Key::Block(Ink::Control, 0.8), format!("narrow bar: control {CONTROL}")));
    }
    let title = "Specificity by activation";
    let heading = Heading::of_pairing(view, pairing, (Kind::Specificity, None), title, caption);
    Some(heading.over(Specificity { panels, legend }))
}

fn find<'a>(view: &View<'a>, pairing: Pairing<'a>, key: RowKey<'_>) -> Option<&'a GradedRow> {
    view.summary.specificity.iter().find(|row| {
        let of_row =
            Pairing { protocol: &row.protocol, explainer: &row.explainer, simulator: &row.simulator };
        of_row == pairing
            && RowKey { hook: &row.hook, method: &row.method, control: row.control.as_deref() } == key
    })
}

fn caption(row: &GradedRow, has_control: bool) -> String {
    let percent = (row.confidence * 1000.0).round() / 10.0;
    let mut text = format!(
        "Share of each grade that a language model gave to the explanation on held-out fragments, drawn from {} \
         intervals of equal width between 0 and the feature's maximum; mean over features, with the strongest token \
         marked and its activation not told. Dot: share of grade 3 with {percent} % interval over features. Above a bar: \
         features with fragments in the interval; without any there is no bar.",
        row.intervals.len()
    );
    if has_control {
        text.push_str(&format!(
            " Narrow grey bar: control {CONTROL}, another feature's explanation on the same fragments."
        ));
    }
    text + " Given these dictionaries, this corpus and this judge."
}

/// What a reader sees who points at a bar.
fn words(row: &GradedRow, interval: &GradedInterval) -> String {
    let control = row.control.as_ref().map_or(String::new(), |name| format!(" (control: {name})"));
    let shares = interval.shares.iter().rev();
    let shares =
        shares.map(|one| format!("grade {} {}", one.grade, estimate(one.share, one.ci_low, one.ci_high)));
    format!(
        "{}{control}, {:.0} to {:.0} % of the maximum: {}; {} fragments of {} features, {} features have none",
        row.method,
        100.0 * interval.from,
        100.0 * interval.to,
        shares.collect::<Vec<_>>().join(", "),
        count(interval.n_fragments),
        count(interval.n_features),
        count(interval.n_empty)
    )
}

/// Draws the shares from `left` on, `width` px wide, the best grade at the bottom.
fn draw_bar(
    canvas: &mut Canvas,
    scale: &Scale,
    interval: &GradedInterval,
    ink: Ink,
    (left, width): (f64, f64),
) {
    let mut below = 0.0;
    for share in interval.shares.iter().rev() {
        let Some(value) = share.share.filter(|value| *value > 0.0) else { continue };
        let (top, bottom) = (scale.at(below + value), scale.at(below));
        let opacity = OPACITIES.get(usize::from(share.grade)).copied().unwrap_or(1.0);
        canvas.block(left, top, width, bottom - top, ink, opacity);
        below += value;
    }
}

/// Draws the mark at the share of the best grade, over the line of its interval.
fn draw_best(canvas: &mut Canvas, scale: &Scale, interval: &GradedInterval, x: f64) {
    let Some(best) = interval.shares.last() else { return };
    let Some(share) = best.share else { return };
    if let Some((low, high)) = best.ci_low.zip(best.ci_high).filter(is_interval) {
        for (ink, width) in [(Ink::Paper, 3.4), (Ink::Text, 1.4)] {
            canvas.line((x, scale.at(low)), (x, scale.at(high)), ink, width);
        }
    }
    let mark = Mark { ink: Ink::Text, shape: Shape::Circle };
    marks::draw_rimmed(canvas, mark, Coordinate::Category(x), scale.place(share), 2.8);
}

impl Specificity<'_> {
    fn columns(&self) -> usize {
        self.panels.len().clamp(1, PER_LINE)
    }

    fn width(&self) -> f64 {
        let columns = self.columns();
        LEFT + columns as f64 * (panel_width(columns, NARROW) + GAP)
    }

    fn legend_columns(&self) -> usize {
        (((self.width() - 2.0 * MARGIN) / LEGEND_COLUMN) as usize).max(1)
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel<'_>, labelled: bool) {
        // Room above 1 for the numbers of features.
        let scale = Scale::linear([1.12].into_iter()).over(area.bottom(), area.y);
        frame::draw_y(canvas, area, &scale, labelled);
        frame::draw_frame(canvas, area, None, &panel.title);
        let n = panel.row.intervals.len().max(1);
        let pitch = area.width / n as f64;
        for (nth, interval) in panel.row.intervals.iter().enumerate() {
            let left = area.x + (nth as f64 + 0.5 - BARS / 2.0) * pitch;
            let control = panel.control.and_then(|row| Some((row, row.intervals.get(nth)?)));
            let own = BARS * pitch * if control.is_some() { 1.0 - CONTROL_PART } else { 1.0 };
            canvas.begin(&words(panel.row, interval));
            draw_bar(canvas, &scale, interval, panel.mark.ink, (left, own));
            draw_best(canvas, &scale, interval, left + own / 2.0);
            canvas.end();
            if let Some((row, interval)) = control {
                canvas.begin(&words(row, interval));
                let width = BARS * pitch * CONTROL_PART;
                draw_bar(canvas, &scale, interval, Ink::Control, (left + own + 1.0, width - 1.0));
                canvas.end();
            }
            let (x, y) = (area.x + (nth as f64 + 0.5) * pitch, area.y + 11.0);
            canvas.text(x, y, &interval.n_features.to_string(), SMALL_SIZE, Anchor::Middle, Ink::Muted);
        }
        let step = n.div_ceil(5);
        for nth in (0..=n).step_by(step) {
            let (x, percent) = (area.x + nth as f64 * pitch, 100.0 * nth as f64 / n as f64);
            let label = format!("{percent:.0}");
            canvas.text(x, area.bottom() + 16.0, &label, TICK_SIZE, Anchor::Middle, Ink::Text);
        }
    }

    fn draw_legend(&self, canvas: &mut Canvas, top: f64) {
        let columns = self.legend_columns();
        for (nth, (key, label)) in self.legend.iter().enumerate() {
            let x = MARGIN + (nth % columns) as f64 * LEGEND_COLUMN;
            let y = top + (nth / columns) as f64 * LEGEND_ROW + LEGEND_ROW / 2.0;
            match key {
                Key::Block(ink, opacity) => canvas.block(x, y - 5.0, 10.0, 10.0, *ink, *opacity),
                Key::Dot => {
                    let mark = Mark { ink: Ink::Text, shape: Shape::Circle };
                    marks::draw_key(canvas, mark, x + 5.0, y, 2.8);
                }
            }
            let label = text::cut(label, f64::from(TICK_SIZE), LEGEND_COLUMN - 24.0);
            canvas.text(x + 17.0, y + 4.0, &label, TICK_SIZE, Anchor::Start, Ink::Text);
        }
    }
}

impl Figure for Specificity<'_> {
    fn size(&self) -> (f64, f64) {
        let lines = self.panels.len().div_ceil(self.columns());
        let legend = self.legend.len().div_ceil(self.legend_columns());
        (self.width(), ABOVE + lines as f64 * PITCH + legend as f64 * LEGEND_ROW + 8.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let columns = self.columns();
        let width = panel_width(columns, NARROW);
        for (nth, panel) in self.panels.iter().enumerate() {
            let (line, column) = (nth / columns, nth % columns);
            let x = LEFT + column as f64 * (width + GAP);
            let area = Area { x, y: top + ABOVE + line as f64 * PITCH, width, height: HEIGHT };
            self.draw_panel(canvas, area, panel, column == 0);
            if column == 0 {
                let middle = area.y + HEIGHT / 2.0;
                canvas.text_up(MARGIN + 2.0, middle, "share of fragments", LABEL_SIZE, Ink::Text);
            }
        }
        let below = top + ABOVE + self.panels.len().div_ceil(columns) as f64 * PITCH;
        let middle = LEFT + (self.width() - LEFT - GAP) / 2.0;
        let label = "activation, % of the feature's maximum";
        canvas.text(middle, below - 22.0, label, LABEL_SIZE, Anchor::Middle, Ink::Text);
        self.draw_legend(canvas, below - 6.0);
    }
}
