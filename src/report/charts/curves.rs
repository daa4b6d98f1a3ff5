//! Figure of curves in a plane: a panel for each hook point with common scales, in each a line with a band for every
//! method over the lines of its controls.

use super::Figure;
use super::axis::{Area, Coordinate, Scale, panel_width};
use super::canvas::{Anchor, Canvas};
use super::frame;
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, SMALL_SIZE};

/// One point of a curve.
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub interval: Option<(f64, f64)>,
    /// Shown when a reader points at its mark.
    pub words: String,
}

/// One curve, its points from left to right.
pub struct Curve {
    pub ink: Ink,
    pub dashed: bool,
    /// The symbol at each point; none for a control.
    pub mark: Option<Mark>,
    pub points: Vec<Point>,
    /// Shown when a reader points at the line of a control.
    pub words: String,
}

/// The curves of one hook point, controls first.
pub struct Panel {
    pub title: String,
    pub curves: Vec<Curve>,
    /// A height with its name, drawn as a dashed line.
    pub level: Option<(f64, &'static str)>,
}

pub struct Curves {
    pub panels: Vec<Panel>,
    pub x_label: &'static str,
    /// Whether x counts features, on an axis of log2(1 + x).
    pub doubling: bool,
    pub y_label: String,
    pub legend: Legend,
}

const LEFT: f64 = 64.0;
const PANEL_HEIGHT: f64 = 230.0;
const GAP: f64 = 20.0;
const PER_LINE: usize = 4;
const PITCH: f64 = PANEL_HEIGHT + 50.0;
const RADIUS: f64 = 3.2;
const SHADE: f64 = 0.13;
/// Controls of many methods lie on each other.
const CONTROL_SHADE: f64 = 0.08;

impl Curves {
    fn columns(&self) -> usize {
        self.panels.len().clamp(1, PER_LINE)
    }

    fn panel_width(&self) -> f64 {
        panel_width(self.columns(), 262.0)
    }

    fn width(&self) -> f64 {
        LEFT + self.columns() as f64 * (self.panel_width() + GAP)
    }

    fn scales(&self) -> (Scale, Scale) {
        let points = || self.panels.iter().flat_map(|panel| &panel.curves).flat_map(|curve| &curve.points);
        let x = points().map(|point| point.x);
        let x = if self.doubling { Scale::doubling(x) } else { Scale::linear(x).with_room_below() };
        let ends = points().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [low, point.y, high]
        });
        (x, Scale::linear(ends).with_room_below())
    }
}

/// The outline of a curve's band: the upper ends from left to right, then the lower ones back.
fn band(curve: &Curve, x: &Scale, y: &Scale) -> Vec<(f64, f64)> {
    let ends = || curve.points.iter().filter_map(|point| Some((x.at(point.x), point.interval?)));
    let upper = ends().map(|(x, (_, high))| (x, y.at(high)));
    let lower: Vec<(f64, f64)> = ends().map(|(x, (low, _))| (x, y.at(low))).collect();
    upper.chain(lower.into_iter().rev()).collect()
}

fn draw_curve(canvas: &mut Canvas, curve: &Curve, x: &Scale, y: &Scale) {
    let places: Vec<(Coordinate, Coordinate)> =
        curve.points.iter().map(|point| (x.place(point.x), y.place(point.y))).collect();
    let line: Vec<(f64, f64)> = places.iter().map(|(x, y)| (x.px(), y.px())).collect();
    let Some(mark) = curve.mark else {
        canvas.begin(&curve.words);
        canvas.polyline(&line, curve.ink, 1.2, curve.dashed);
        canvas.end();
        return;
    };
    canvas.polyline(&line, curve.ink, 1.5, curve.dashed);
    for (point, (x, y)) in curve.points.iter().zip(&places) {
        canvas.begin(&point.words);
        marks::draw(canvas, mark, *x, *y, RADIUS);
        canvas.end();
    }
}

fn draw_panel(canvas: &mut Canvas, area: Area, panel: &Panel, (x, y): &(Scale, Scale), labelled: bool) {
    let (x, y) = (x.over(area.x, area.right()), y.over(area.bottom(), area.y));
    frame::draw_x(canvas, area, &x);
    frame::draw_y(canvas, area, &y, labelled);
    frame::draw_frame(canvas, area, Some(&x), &panel.title);
    if let Some((level, name)) = panel.level {
        let level = y.at(level);
        canvas.polyline(&[(area.x, level), (area.right(), level)], Ink::Muted, 1.0, true);
        canvas.text(area.right() - 4.0, level - 4.0, name, SMALL_SIZE, Anchor::End, Ink::Muted);
    }
    for curve in &panel.curves {
        let outline = band(curve, &x, &y);
        if outline.len() > 2 {
            let shade = if curve.mark.is_some() { SHADE } else { CONTROL_SHADE };
            canvas.shade(&outline, curve.ink, shade);
        }
    }
    for curve in panel.curves.iter().filter(|curve| !curve.points.is_empty()) {
        draw_curve(canvas, curve, &x, &y);
    }
}

impl Figure for Curves {
    fn size(&self) -> (f64, f64) {
        let lines = self.panels.len().div_ceil(self.columns());
        let legend = self.legend.height(self.width() - 2.0 * MARGIN);
        (self.width(), 22.0 + lines as f64 * PITCH + 18.0 + legend + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let (columns, width, scales) = (self.columns(), self.panel_width(), self.scales());
        let mut y = top + 22.0;
        for line in self.panels.chunks(columns) {
            for (nth, panel) in line.iter().enumerate() {
                let x = LEFT + nth as f64 * (width + GAP);
                draw_panel(canvas, Area { x, y, width, height: PANEL_HEIGHT }, panel, &scales, nth == 0);
            }
            canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, &self.y_label, LABEL_SIZE, Ink::Text);
            y += PITCH;
        }
        let middle = LEFT + (columns as f64 * (width + GAP) - GAP) / 2.0;
        canvas.text(middle, y - 14.0, self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
        self.legend.draw(canvas, MARGIN, y + 18.0, self.width() - 2.0 * MARGIN);
    }
}
