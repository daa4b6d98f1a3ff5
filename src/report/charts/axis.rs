//! Scales, ticks and the area of a panel.

/// A map from the numbers `low` to `high` to the px `from` to `to` along one axis.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
    /// Whether a logarithmic scale has a place for 0, before an axis break.
    zero: bool,
    /// Whether ticks are at whole numbers only.
    whole: bool,
    /// Whether places are those of log2(1 + value).
    one_more: bool,
    from: f64,
    to: f64,
}

/// Room for 0 at the start of a logarithmic scale, px.
const ZERO_ROOM: f64 = 30.0;
/// Distance of 0 from the start, px.
const ZERO_AT: f64 = 9.0;
/// Distance of the axis break from the start, px.
const BREAK_AT: f64 = 19.0;

/// Where something is drawn along one axis.
#[derive(Debug, Clone, Copy)]
pub enum Coordinate {
    /// A number: the scale alone decides the place.
    Number(f64, Scale),
    /// The px of a category, for example of a method.
    Category(f64),
}

impl Coordinate {
    pub fn px(self) -> f64 {
        match self {
            Self::Number(value, scale) => scale.at(value),
            Self::Category(px) => px,
        }
    }
}

/// The number if a logarithmic axis has a place for it: 0 and everything above.
pub fn on_log_axis(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
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
        Self {
            low,
            high: high + room,
            log: false,
            zero: false,
            whole: false,
            one_more: false,
            from: 0.0,
            to: 1.0,
        }
    }

    /// The same scale with room below its lowest value, for marks at the edge.
    pub fn with_room_below(self) -> Self {
        Self { low: self.low - (self.high - self.low) * 0.06, ..self }
    }

    /// The same scale for counts, with ticks at whole numbers only.
    pub fn counting(self) -> Self {
        Self { whole: true, ..self }
    }

    /// A logarithmic scale that covers the positive values, with a place for 0 if it is among the values; none
    /// without positive ones.
    pub fn log(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter_map(on_log_axis).collect();
        let positive = || values.iter().copied().filter(|value| *value > 0.0);
        let low = positive().reduce(f64::min)? / 1.35;
        let high = positive().reduce(f64::max)? * 1.35;
        let zero = values.contains(&0.0);
        Some(Self { low, high, log: true, zero, whole: false, one_more: false, from: 0.0, to: 1.0 })
    }

    /// A scale of log2(1 + value) from 0 to the largest value, with ticks at 0, 1, 2, 4, 8 and so on.
    pub fn doubling(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(1.0f64, f64::max);
        let room = 0.05 * most.ln_1p();
        Self {
            low: (-room).exp_m1(),
            high: (most.ln_1p() + room).exp_m1(),
            log: false,
            zero: false,
            whole: true,
            one_more: true,
            from: 0.0,
            to: 1.0,
        }
    }

    /// The same scale over the px from `from` to `to`.
    pub fn over(self, from: f64, to: f64) -> Self {
        Self { from, to, ..self }
    }

    /// The px that is `distance` px from the start.
    fn inside(&self, distance: f64) -> f64 {
        self.from + distance * (self.to - self.from).signum()
    }

    /// The px of the lowest value, behind the room for 0.
    fn start(&self) -> f64 {
        if self.zero { self.inside(ZERO_ROOM) } else { self.from }
    }

    pub fn at(&self, value: f64) -> f64 {
        if self.zero && value == 0.0 {
            return self.inside(ZERO_AT);
        }
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else if self.one_more {
            (value.ln_1p() - self.low.ln_1p()) / (self.high.ln_1p() - self.low.ln_1p())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start() + share * (self.to - self.start())
    }

    /// The value at a px: the inverse of [`Self::at`].
    #[cfg(test)]
    pub fn value(&self, px: f64) -> f64 {
        if self.zero && (px - self.inside(ZERO_AT)).abs() <= 0.5 {
            return 0.0;
        }
        let share = (px - self.start()) / (self.to - self.start());
        if self.log {
            self.low * (self.high / self.low).powf(share)
        } else if self.one_more {
            (self.low.ln_1p() + share * (self.high.ln_1p() - self.low.ln_1p())).exp_m1()
        } else {
            self.low + share * (self.high - self.low)
        }
    }

    pub fn is_log(&self) -> bool {
        self.log
    }

    /// Where a number is drawn.
    pub fn place(&self, value: f64) -> Coordinate {
        Coordinate::Number(value, *self)
    }

    /// The px of the axis break, if the scale has one.
    pub fn axis_break(&self) -> Option<f64> {
        self.zero.then(|| self.inside(BREAK_AT))
    }

    /// Ticks with their labels, about `wanted`.
    pub fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        if self.one_more {
            let powers = (0..63).map(|power| (1u64 << power) as f64);
            let values = std::iter::once(0.0).chain(powers.take_while(|value| *value <= self.high));
            return values.map(|value| (value, format!("{value}"))).collect();
        }
        if !self.log {
            return self.linear_ticks(wanted);
        }
        let zero = self.zero.then(|| (0.0, "0".to_string()));
        zero.into_iter().chain(self.log_ticks(wanted)).collect()
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

#[cfg(test)]
mod tests {
    use super::super::canvas::Canvas;
    use super::super::frame::{draw_frame, draw_x};
    use super::*;
    use crate::base::Stream;
    use crate::report::charts::style::Paper;

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
        assert!(!ticks.contains(&"0".to_string()), "no value is 0");
        let scale = Scale::log([2e4, 4e6].into_iter()).expect("positive values");
        let ticks: Vec<String> = scale.ticks(9).into_iter().map(|(_, label)| label).collect();
        assert_eq!(ticks, ["20k", "50k", "100k", "200k", "500k", "1M", "2M", "5M"]);
    }

    #[test]
    fn doublings_are_equally_far_apart() {
        let scale = Scale::doubling([0.0, 100.0].into_iter()).over(0.0, 400.0);
        let ticks = scale.ticks(6);
        let labels: Vec<&str> = ticks.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels, ["0", "1", "2", "4", "8", "16", "32", "64"]);
        let step = scale.at(1.0) - scale.at(0.0);
        assert!((scale.at(3.0) - scale.at(1.0) - step).abs() < 1e-9 && step > 0.0);
        assert!(scale.at(0.0) > 0.0 && scale.at(100.0) < 400.0, "room at both ends");
        assert!((scale.value(scale.at(37.0)) - 37.0).abs() < 1e-9);
        assert!(Scale::doubling(std::iter::empty()).at(0.0).is_finite());
    }

    #[test]
    fn zero_on_a_logarithmic_scale_has_a_place_of_its_own_before_a_break() {
        let scale = Scale::log([0.0, 3.0, 900.0].into_iter()).expect("positive values").over(100.0, 400.0);
        assert_eq!(scale.ticks(8)[0], (0.0, "0".to_string()));
        let axis_break = scale.axis_break().expect("a break");
        assert!(scale.at(0.0) < axis_break && axis_break < scale.at(3.0), "{} {axis_break}", scale.at(0.0));
        assert!(scale.at(0.0) > 100.0 && scale.at(900.0) < 400.0);
        assert_eq!(scale.value(scale.at(0.0)), 0.0);
        let mut canvas = Canvas::new(500.0, 300.0, Paper::File);
        let area = Area { x: 100.0, y: 10.0, width: 300.0, height: 200.0 };
        draw_x(&mut canvas, area, &scale);
        let lines = canvas.shapes().len();
        draw_frame(&mut canvas, area, Some(&scale), "");
        assert!(canvas.shapes().len() > lines + 3, "an outline, a gap, two strokes and a title");
        assert_eq!(on_log_axis(-1.0), None);
        assert_eq!(on_log_axis(f64::NAN), None);
    }

    #[test]
    fn every_value_is_where_the_scale_says_and_back() {
        let mut stream = Stream::new(11, "scales");
        for _ in 0..200 {
            let values: Vec<f64> = (0..8).map(|_| 10f64.powf(4.0 * stream.normal())).collect();
            // A panel is wider than the room for 0.
            let (from, to) = (500.0 * stream.unit(), 600.0 + 300.0 * stream.unit());
            let mut scales = vec![
                Scale::linear(values.iter().map(|value| -value)).over(to, from),
                Scale::linear(values.iter().copied()).with_room_below().over(from, to),
            ];
            scales.extend(Scale::log(values.iter().copied()).map(|scale| scale.over(from, to)));
            scales.extend(Scale::log(values.iter().copied().chain([0.0])).map(|scale| scale.over(from, to)));
            assert_eq!(scales.len(), 4);
            for (nth, scale) in scales.iter().enumerate() {
                for value in values.iter().map(|value| if nth == 0 { -value } else { *value }).chain([0.0]) {
                    if value == 0.0 && scale.log && !scale.zero {
                        continue;
                    }
                    let px = scale.place(value).px();
                    assert!((from.min(to) - 1e-6..=from.max(to) + 1e-6).contains(&px), "{value} is outside");
                    assert!((scale.at(scale.value(px)) - px).abs() < 1e-6, "{value} at {px}: {scale:?}");
                }
            }
        }
    }
}
