//! Figure of dictionaries in a plane: one mark per method, a panel per hook point, lines along sweeps. Every mark is at
//! its numbers.

use super::axis::{Area, Coordinate, Scale, panel_width};
use super::callout::{self, Named};
use super::canvas::{Anchor, Canvas};
use super::controls::Key;
use super::frame;
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN};
use super::{Chart, Figure, Heading, Inputs};
use crate::base::distinct;
use crate::report::list::grouped;

/// The sentence about the places of marks, for captions.
pub const EXACT: &str =
    "Every mark is exactly at its numbers; names with a line are those of marks that lie on each other.";

/// One mark.
pub struct Point<'a> {
    pub name: &'a str,
    pub mark: Mark,
    /// The sweep that it belongs to.
    pub sweep: Option<&'a str>,
    pub x: f64,
    pub y: f64,
    pub interval: Option<(f64, f64)>,
    /// Shown when a reader points at the mark.
    pub words: String,
}

impl Point<'_> {
    /// The values that the vertical scale must cover.
    fn extent(&self) -> [f64; 3] {
        let (low, high) = self.interval.unwrap_or((self.y, self.y));
        [low, high, self.y]
    }
}

/// The points of one hook point.
pub struct Panel<'a> {
    pub title: String,
    pub points: Vec<Point<'a>>,
}

/// Panels that share a vertical scale.
pub struct Band<'a> {
    pub y_label: String,
    /// Whether heights are counts.
    pub counts: bool,
    pub panels: Vec<Panel<'a>>,
}

struct Scatter<'a> {
    bands: Vec<Band<'a>>,
    x_label: &'static str,
    legend: Legend,
}

const LEFT: f64 = 64.0;
const PANEL_HEIGHT: f64 = 210.0;
const GAP: f64 = 20.0;
const PER_LINE: usize = 4;
const RADIUS: f64 = 4.6;

fn points<'p, 'a>(bands: &'p [Band<'a>]) -> impl Iterator<Item = &'p Point<'a>> {
    bands.iter().flat_map(|band| &band.panels).flat_map(|panel| &panel.points)
}

/// The chart with a legend of the marks drawn; none without marks.
pub fn finish<'a>(
    inputs: &Inputs<'a>,
    bands: Vec<Band<'a>>,
    x_label: &'static str,
    heading: Heading<'a>,
) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let methods = view.methods.iter().zip(marks);
    let drawn = methods.filter(|(_, mark)| points(&bands).any(|point| point.mark == **mark));
    let entries =
        distinct(drawn.map(|(method, mark)| (Key::Method(*mark), view.line_of(method).to_string())));
    (!entries.is_empty()).then(|| heading.over(Scatter { bands, x_label, legend: Legend(entries) }))
}

impl Scatter<'_> {
    fn columns(&self) -> usize {
        self.bands.iter().map(|band| band.panels.len()).max().unwrap_or(1).clamp(1, PER_LINE)
    }

    fn panel_width(&self) -> f64 {
        panel_width(self.columns(), 236.0)
    }

    fn width(&self) -> f64 {
        LEFT + self.columns() as f64 * (self.panel_width() + GAP)
    }

    fn scales(&self, band: &Band<'_>) -> Option<(Scale, Scale)> {
        let x = Scale::log(points(&self.bands).map(|point| point.x))?;
        let y = Scale::linear(points(std::slice::from_ref(band)).flat_map(Point::extent)).with_room_below();
        Some((x, if band.counts { y.counting() } else { y }))
    }
}

/// Values along a sweep vary if they differ by more than this factor. Smaller differences are noise, and no line
/// joins such points.
pub const VARIES: f64 = 1.15;

/// The points of each sweep along which x varies, from left to right.
fn lines(points: &[Point<'_>]) -> Vec<Vec<usize>> {
    let of_sweeps = points.iter().enumerate().filter_map(|(nth, point)| Some((point.sweep?, nth)));
    let sorted = |(_, mut line): (&str, Vec<usize>)| {
        line.sort_by(|&a, &b| points[a].x.total_cmp(&points[b].x));
        line
    };
    let varies = |line: &Vec<usize>| match (line.first(), line.last()) {
        (Some(&first), Some(&last)) => points[last].x > VARIES * points[first].x,
        _ => false,
    };
    grouped(of_sweeps).into_iter().map(sorted).filter(varies).collect()
}

fn draw_panel(canvas: &mut Canvas, area: Area, panel: &Panel<'_>, scales: &(Scale, Scale), labelled: bool) {
    let x_scale = scales.0.over(area.x, area.right());
    let y_scale = scales.1.over(area.bottom(), area.y);
    frame::draw_x(canvas, area, &x_scale);
    frame::draw_y(canvas, area, &y_scale, labelled);
    frame::draw_frame(canvas, area, Some(&x_scale), &panel.title);
    let place = |point: &Point<'_>| (x_scale.place(point.x), y_scale.place(point.y));
    let places: Vec<(Coordinate, Coordinate)> = panel.points.iter().map(place).collect();
    let px = |nth: usize| (places[nth].0.px(), places[nth].1.px());
    for line in lines(&panel.points) {
        for pair in line.windows(2) {
            canvas.line(px(pair[0]), px(pair[1]), panel.points[pair[0]].mark.ink, 1.1);
        }
    }
    for (nth, point) in panel.points.iter().enumerate() {
        if let Some((low, high)) = point.interval {
            let x = px(nth).0;
            canvas.line((x, y_scale.at(low)), (x, y_scale.at(high)), point.mark.ink, 1.1);
        }
    }
    for (point, (x, y)) in panel.points.iter().zip(&places) {
        canvas.begin(&point.words);
        marks::draw_rimmed(canvas, point.mark, *x, *y, RADIUS);
        canvas.end();
    }
    // Lines tell the points of sweeps apart wherever they are.
    let single = panel.points.iter().enumerate().filter(|(_, point)| point.sweep.is_none());
    let named: Vec<Named<'_>> = single.map(|(nth, point)| Named { name: point.name, at: px(nth) }).collect();
    callout::draw(canvas, area, &named, RADIUS);
}

impl Figure for Scatter<'_> {
    fn size(&self) -> (f64, f64) {
        let lines: usize = self.bands.iter().map(|band| band.panels.len().div_ceil(self.columns())).sum();
        let panels = lines as f64 * (PANEL_HEIGHT + 50.0) + self.bands.len() as f64 * 18.0;
        (self.width(), 22.0 + panels + self.legend.height(self.width() - 2.0 * MARGIN) + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let (columns, width) = (self.columns(), self.panel_width());
        let mut y = top + 22.0;
        for band in &self.bands {
            let Some(scales) = self.scales(band) else { continue };
            for line in band.panels.chunks(columns) {
                for (i, panel) in line.iter().enumerate() {
                    let x = LEFT + i as f64 * (width + GAP);
                    let area = Area { x, y, width, height: PANEL_HEIGHT };
                    draw_panel(canvas, area, panel, &scales, i == 0);
                }
                canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, &band.y_label, LABEL_SIZE, Ink::Text);
                y += PANEL_HEIGHT + 50.0;
            }
            let used = band.panels.len().min(columns) as f64;
            let middle = LEFT + (used * (width + GAP) - GAP) / 2.0;
            canvas.text(middle, y - 14.0, self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
            y += 18.0;
        }
        self.legend.draw(canvas, MARGIN, y, self.width() - 2.0 * MARGIN);
    }
}
