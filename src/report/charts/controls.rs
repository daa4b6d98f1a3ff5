//! Controls, drawn as bands: one over all methods from the lowest to the highest value, or one behind each method with
//! the control's interval and a line at its value.

use super::axis::{Area, Coordinate, Scale};
use super::canvas::Canvas;
use super::marks::Mark;
use super::style::Ink;
use crate::report::number::score;

/// A number of a row, with its interval.
#[derive(Debug, Clone)]
pub struct Value {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    /// Shown when a reader points at the mark.
    pub words: String,
}

impl Value {
    /// The numbers that an axis must cover.
    pub fn extent(&self) -> [f64; 3] {
        let (low, high) = self.interval.unwrap_or((self.value, self.value));
        [low, high, self.value]
    }
}

/// How a control is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// One band over all methods.
    Range,
    /// A shaded band behind its own method, in a lighter tone of the method's colour.
    Shaded,
    /// An outlined band behind its own method.
    Outlined,
    /// The same with a dashed outline.
    Dashed,
}

impl Style {
    pub fn of(control: &str) -> Self {
        match control {
            "shuffled" => Self::Range,
            "random_weights" => Self::Outlined,
            "random_weights_and_embeddings" => Self::Dashed,
            _ => Self::Shaded,
        }
    }

    /// What a legend says of a control in this style.
    pub fn meaning(self, control: &str, has_intervals: bool) -> String {
        let extent = if has_intervals { ", with interval" } else { "" };
        match self {
            Self::Range => format!("control: {control}, all methods, range"),
            _ => format!("control: {control}, behind its method{extent}"),
        }
    }
}

/// The values of one control over all methods.
#[derive(Debug, Clone)]
pub struct Range {
    pub low: f64,
    pub high: f64,
    pub words: String,
}

impl Range {
    /// None without values.
    pub fn of(control: &str, values: &[f64], print: impl Fn(f64) -> String) -> Option<Self> {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        let words = match values.len() {
            1 => format!("control {control}, one method: {}", print(low)),
            n => format!("control {control}, all {n} methods: {} to {}", print(low), print(high)),
        };
        Some(Self { low, high, words })
    }

    /// The same for mean scores.
    pub fn of_scores(control: &str, values: &[f64]) -> Option<Self> {
        Self::of(control, values, |value| score(Some(value)).replace('-', "−"))
    }
}

/// The direction of a chart's values.
#[derive(Debug, Clone, Copy)]
pub enum Axis<'s> {
    Across(&'s Scale),
    Upright(&'s Scale),
}

/// Thinnest band, px.
const THIN: f64 = 1.5;
const RANGE_OPACITY: f64 = 0.35;
const SHADE: f64 = 0.18;

/// A rectangle from `low` to `high` along the axis and over the px `from` to `to` across it.
fn block(axis: Axis<'_>, (low, high): (f64, f64), (from, to): (f64, f64)) -> Area {
    let (Axis::Across(scale) | Axis::Upright(scale)) = axis;
    let (a, b) = (scale.at(low), scale.at(high));
    let length = (b - a).abs().max(THIN);
    let start = (a + b - length) / 2.0;
    match axis {
        Axis::Across(_) => Area { x: start, y: from, width: length, height: to - from },
        Axis::Upright(_) => Area { x: from, y: start, width: to - from, height: length },
    }
}

/// Draws the band of all methods over the px `from` to `to`.
pub fn draw_range(canvas: &mut Canvas, axis: Axis<'_>, range: &Range, across: (f64, f64)) {
    let Area { x, y, width, height } = block(axis, (range.low, range.high), across);
    canvas.begin(&range.words);
    canvas.block(x, y, width, height, Ink::Control, RANGE_OPACITY);
    canvas.end();
}

/// Draws the band behind a method, centred at the px `centre` across the axis and `half` px wide to each side.
pub fn draw_own(
    canvas: &mut Canvas,
    axis: Axis<'_>,
    (style, value): &(Style, Value),
    ink: Ink,
    (centre, half): (f64, f64),
) {
    let across = (centre - half, centre + half);
    canvas.begin(&value.words);
    if let Some(interval) = value.interval {
        let Area { x, y, width, height } = block(axis, interval, across);
        match style {
            Style::Range | Style::Shaded => canvas.block(x, y, width, height, ink, SHADE),
            Style::Outlined => canvas.frame(x, y, width, height, ink, false),
            Style::Dashed => canvas.frame(x, y, width, height, ink, true),
        }
    }
    draw_value(canvas, axis, value.value, ink, across);
    canvas.end();
}

/// The line at a control's value.
fn draw_value(canvas: &mut Canvas, axis: Axis<'_>, value: f64, ink: Ink, (from, to): (f64, f64)) {
    let middle = Coordinate::Category((from + to) / 2.0);
    let (x, y) = match axis {
        Axis::Across(scale) => (scale.place(value), middle),
        Axis::Upright(scale) => (middle, scale.place(value)),
    };
    #[cfg(test)]
    canvas.note(0, x, y);
    let ends = match axis {
        Axis::Across(_) => [(x.px(), from), (x.px(), to)],
        Axis::Upright(_) => [(from, y.px()), (to, y.px())],
    };
    canvas.line(ends[0], ends[1], ink, 1.0);
}

/// Draws the band of a legend.
pub fn draw_key(canvas: &mut Canvas, style: Style, x: f64, y: f64) {
    let (left, width) = (x - 5.0, 10.0);
    match style {
        Style::Range => {
            return canvas.block(left - 1.0, y - 2.0, width + 2.0, 4.0, Ink::Control, RANGE_OPACITY);
        }
        Style::Shaded => canvas.block(left, y - 6.0, width, 12.0, Ink::Muted, SHADE),
        Style::Outlined => canvas.frame(left, y - 6.0, width, 12.0, Ink::Muted, false),
        Style::Dashed => canvas.frame(left, y - 6.0, width, 12.0, Ink::Muted, true),
    }
    canvas.line((left, y), (left + width, y), Ink::Muted, 1.0);
}

/// What a legend explains.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    Method(Mark),
    Control(Style),
    /// A line in a colour, perhaps dashed.
    Line(Ink, bool),
}
