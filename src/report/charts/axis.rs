//! Scales, ticks and the frame of a panel.

use super::canvas::{Anchor, Canvas};
use super::style::{Ink, LABEL_SIZE, TICK_SIZE};
use super::text;

/// A map from the numbers `low` to `high` to the px `from` to `to` along one axis.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Whether ticks are at whole numbers only.
    whole: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// A linear scale that covers the values and 0.
    pub fn linear(values: impl Iterator<Item = f64>) -> Self {
        let finite = values.filter(|value| value.is_finite());
        let (low, mut high) =
            finite.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
        if high - low < 1e-9 {
            high = low + 1.0;
        }
        let room = (high - low) * 0.06;
        let low = if low < 0.0 { low - room } else { low };
        Self { low, high: high + room, log: false, whole: false, from: 0.0, to: 1.0 }
    }

    /// The same scale with room below its lowest value, for marks at the edge.
    pub fn with_room_below(self) -> Self {
        Self { low: self.low - (self.high - self.low) * 0.06, ..self }
    }

    /// The same scale for counts, with ticks at whole numbers only.
    pub fn counting(self) -> Self {
        Self { whole: true, ..self }
    }

    /// A logarithmic scale that covers the positive values; none without any.
    pub fn log(values: impl Iterator<Item = f64>) -> Option<Self> {
        let positive: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).collect();
        let low = positive.iter().copied().reduce(f64::min)?;
        let high = positive.iter().copied().reduce(f64::max)?;
        Some(Self { low: low / 1.35, high: high * 1.35, log: true, whole: false, from: 0.0, to: 1.0 })
    }

    /// The same scale over the px from `from` to `to`.
    pub fn over(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    pub fn at(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(1e-300) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Ticks with their labels, about `wanted`.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        if self.log { self.log_ticks(wanted) } else { self.linear_ticks(wanted) }
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let raw = (self.high - self.low) / wanted.max(1) as f64;
        let power = 10f64.powf(raw.log10().floor());
        let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|f| f * power >= raw * 0.999).unwrap_or(10.0);
        let step = if self.whole { (factor * power).max(1.0) } else { factor * power };
        let decimals = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        let values = (first..=last).map(|i| i as f64 * step);
        values.map(|value| (value, format!("{value:.decimals$}").replace('-', "−"))).collect()
    }

    fn log_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let within = |factors: &[f64]| -> Vec<f64> {
            decades
                .clone()
                .flat_map(|decade| factors.iter().map(move |factor| factor * 10f64.powi(decade)))
                .filter(|value| (self.low..=self.high).contains(value))
                .collect()
        };
        let mut values = within(&[1.0, 2.0, 5.0]);
        if values.len() > wanted {
            values = within(&[1.0]);
        } else if values.len() < 2 {
            values = within(&[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
        }
        values.into_iter().map(|value| (value, short(value))).collect()
    }
}

fn short(value: f64) -> String {
    if value >= 1e6 {
        format!("{}M", value / 1e6)
    } else if value >= 1e4 {
        format!("{}k", value / 1e3)
    } else if value >= 1.0 {
        format!("{value}")
    } else {
        let decimals = (-value.log10()).ceil().clamp(0.0, 9.0) as usize;
        format!("{value:.decimals$}")
    }
}

/// The plotting area of a panel, px.
#[derive(Debug, Clone, Copy)]
pub struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Area {
    pub fn right(&self) -> f64 {
        self.x + self.width
    }

    pub fn bottom(&self) -> f64 {
        self.y + self.height
    }
}

/// Width of a panel in px: `narrow` where there are many columns, wider where titles need the room.
pub fn panel_width(columns: usize, narrow: f64) -> f64 {
    match columns {
        0 | 1 => 480.0,
        2 => 320.0,
        _ => narrow,
    }
}

/// Colour and width of the grid line at a value: 0 on a linear scale stands out.
fn grid_line(scale: &Scale, value: f64) -> (Ink, f64) {
    if !scale.log && value == 0.0 { (Ink::Muted, 1.2) } else { (Ink::Grid, 1.0) }
}

/// Grid lines and labels of a vertical axis at the left edge.
pub fn draw_y(canvas: &mut Canvas, area: Area, scale: &Scale, labelled: bool) {
    for (value, label) in scale.ticks(5) {
        let y = scale.at(value);
        let (ink, width) = grid_line(scale, value);
        canvas.line((area.x, y), (area.right(), y), ink, width);
        if labelled {
            canvas.text(area.x - 7.0, y + 4.0, &label, TICK_SIZE, Anchor::End, Ink::Text);
        }
    }
}

/// How far a label may reach beyond its panel, px. Another panel may be beside it.
const OVERHANG: f64 = 8.0;

/// Grid lines and labels of a horizontal axis at the lower edge.
pub fn draw_x(canvas: &mut Canvas, area: Area, scale: &Scale) {
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in scale.ticks(6) {
        let x = scale.at(value);
        let (ink, width) = grid_line(scale, value);
        canvas.line((x, area.y), (x, area.bottom()), ink, width);
        let half = text::width(&label, f64::from(TICK_SIZE)) / 2.0;
        let x = x.clamp((area.x - OVERHANG + half).min(x), (area.right() + OVERHANG - half).max(area.x));
        if x - half > free_from {
            canvas.text(x, area.bottom() + 17.0, &label, TICK_SIZE, Anchor::Middle, Ink::Text);
            free_from = x + half + 6.0;
        }
    }
}

/// The outline of a panel, and its title above.
pub fn draw_frame(canvas: &mut Canvas, area: Area, title: &str) {
    let corners =
        [(area.x, area.y), (area.right(), area.y), (area.right(), area.bottom()), (area.x, area.bottom())];
    canvas.polygon_outline(&corners, Ink::Grid);
    let shown = text::cut(title, f64::from(LABEL_SIZE), area.width);
    canvas.text(area.x, area.y - 8.0, &shown, LABEL_SIZE, Anchor::Start, Ink::Text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_inside() {
        let scale = Scale::linear([0.83, -0.05].into_iter());
        let ticks: Vec<String> = scale.ticks(5).into_iter().map(|(_, label)| label).collect();
        assert_eq!(ticks, ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert!(Scale::linear(std::iter::empty()).at(0.5).is_finite());
    }

    #[test]
    fn counts_have_no_ticks_between() {
        let labels = |most: f64| -> Vec<String> {
            Scale::linear([most].into_iter())
                .counting()
                .ticks(5)
                .into_iter()
                .map(|(_, label)| label)
                .collect()
        };
        assert_eq!(labels(2.0), ["0", "1", "2"]);
        assert_eq!(labels(0.0), ["0", "1"]);
        assert_eq!(labels(30.0), ["0", "10", "20", "30"]);
    }

    #[test]
    fn log_ticks_cover_decades() {
        let scale = Scale::log([3.0, 900.0].into_iter()).expect("positive values");
        let ticks: Vec<String> = scale.ticks(8).into_iter().map(|(_, label)| label).collect();
        assert_eq!(ticks, ["5", "10", "20", "50", "100", "200", "500", "1000"]);
        assert!(Scale::log([0.0, -1.0].into_iter()).is_none());
        let scale = Scale::log([2e4, 4e6].into_iter()).expect("positive values");
        let ticks: Vec<String> = scale.ticks(9).into_iter().map(|(_, label)| label).collect();
        assert_eq!(ticks, ["20k", "50k", "100k", "200k", "500k", "1M", "2M", "5M"]);
    }
}
