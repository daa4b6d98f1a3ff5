//! Figure of dictionaries in a plane: one mark per method, a panel per hook point, lines along sweeps.

use super::axis::{self, Area, Scale, panel_width};
use super::canvas::{Anchor, Canvas};
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN};
use super::{Chart, Figure, Heading, Inputs};
use crate::report::list::grouped;

/// One mark.
pub struct Point<'a> {
    pub mark: Mark,
    /// The sweep that it belongs to.
    pub sweep: Option<&'a str>,
    pub x: f64,
    pub y: f64,
    pub interval: Option<(f64, f64)>,
    /// Whether it may be moved vertically too, because an approximate position is enough. Its interval, if any, is
    /// only the range over trainings.
    pub movable: bool,
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
    let mut entries: Vec<(Mark, String)> =
        drawn.map(|(method, mark)| (*mark, view.line_of(method).to_string())).collect();
    entries.dedup();
    (!entries.is_empty()).then(|| heading.over(Scatter { bands, x_label, legend: Legend(entries) }))
}

/// Moves marks so that none hides another: each to its own place, or to the nearest free one on rings around it.
fn move_apart(places: &[(f64, f64)], area: Area) -> Vec<(f64, f64)> {
    let apart = 2.3 * RADIUS;
    let mut placed: Vec<(f64, f64)> = Vec::with_capacity(places.len());
    for (x, y) in places {
        let rings = (0..12).flat_map(|ring| {
            let d = f64::from(ring) * apart * 0.55;
            [(d, 0.0), (-d, 0.0), (0.0, d), (0.0, -d), (d, d), (-d, d), (d, -d), (-d, -d)]
        });
        let free = rings.map(|(dx, dy)| (x + dx, y + dy)).find(|(a, b)| {
            let inside = *a > area.x + RADIUS
                && *a < area.right() - RADIUS
                && *b > area.y + RADIUS
                && *b < area.bottom() - RADIUS;
            inside && placed.iter().all(|(c, d)| (a - c).hypot(b - d) >= apart)
        });
        placed.push(free.unwrap_or((*x, *y)));
    }
    placed
}

/// The same for marks (x, top, bottom) with intervals, in px. Their heights are exact, so they move sideways only,
/// and no interval covers another.
fn move_sideways(places: &[(f64, f64, f64)], area: Area) -> Vec<f64> {
    let apart = 2.0 * RADIUS + 1.5;
    let mut placed: Vec<(f64, f64, f64)> = Vec::with_capacity(places.len());
    for (x, top, bottom) in places {
        let steps = (0..160).map(|step| {
            let d = f64::from((step + 1) / 2) * apart / 4.0;
            if step % 2 == 1 { d } else { -d }
        });
        let free = steps.map(|d| x + d).find(|a| {
            let inside = *a > area.x + RADIUS && *a < area.right() - RADIUS;
            let clear = |other: &(f64, f64, f64)| {
                (a - other.0).abs() >= apart || *top > other.2 + 1.0 || *bottom < other.1 - 1.0
            };
            inside && placed.iter().all(clear)
        });
        placed.push((free.unwrap_or(*x), *top, *bottom));
    }
    placed.into_iter().map(|(x, _, _)| x).collect()
}

/// The position at which each point of a panel is drawn, from its true position.
fn drawn_at(points: &[Point<'_>], places: &[(f64, f64)], y_scale: &Scale, area: Area) -> Vec<(f64, f64)> {
    if points.iter().all(|point| point.movable) {
        // Lines tell the points of sweeps apart wherever they are.
        let on_lines = points.iter().all(|point| point.sweep.is_some());
        return if on_lines { places.to_vec() } else { move_apart(places, area) };
    }
    let extents: Vec<(f64, f64, f64)> = points
        .iter()
        .zip(places)
        .map(|(point, (x, y))| {
            let [low, high, _] = point.extent();
            (*x, y_scale.at(high).min(y - RADIUS), y_scale.at(low).max(y + RADIUS))
        })
        .collect();
    move_sideways(&extents, area).into_iter().zip(places).map(|(x, (_, y))| (x, *y)).collect()
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
    axis::draw_x(canvas, area, &x_scale);
    axis::draw_y(canvas, area, &y_scale, labelled);
    axis::draw_frame(canvas, area, &panel.title);
    let places: Vec<(f64, f64)> =
        panel.points.iter().map(|point| (x_scale.at(point.x), y_scale.at(point.y))).collect();
    let drawn = drawn_at(&panel.points, &places, &y_scale, area);
    for line in lines(&panel.points) {
        for pair in line.windows(2) {
            canvas.line(drawn[pair[0]], drawn[pair[1]], panel.points[pair[0]].mark.ink, 1.1);
        }
    }
    for ((point, place), at) in panel.points.iter().zip(&places).zip(&drawn) {
        if (place.0 - at.0).hypot(place.1 - at.1) > 0.5 {
            canvas.line(*place, *at, Ink::Muted, 0.8);
        }
        if let Some((low, high)) = point.interval {
            canvas.line((at.0, y_scale.at(low)), (at.0, y_scale.at(high)), point.mark.ink, 1.3);
        }
    }
    for (point, at) in panel.points.iter().zip(&drawn) {
        canvas.begin(&point.words);
        marks::draw(canvas, point.mark, at.0, at.1, RADIUS);
        canvas.end();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { x: 0.0, y: 0.0, width: 200.0, height: 200.0 };

    #[test]
    fn marks_at_one_place_are_moved_apart_inside_the_panel() {
        let drawn = move_apart(&[(50.0, 50.0); 6], AREA);
        assert_eq!(drawn[0], (50.0, 50.0));
        for (i, a) in drawn.iter().enumerate() {
            for b in &drawn[..i] {
                assert!((a.0 - b.0).hypot(a.1 - b.1) >= 2.0 * RADIUS, "{a:?} hides {b:?}");
            }
        }
    }

    #[test]
    fn intervals_never_lie_on_each_other() {
        let places = [(50.0, 40.0, 80.0), (51.0, 70.0, 90.0), (50.0, 100.0, 120.0), (49.0, 60.0, 110.0)];
        let drawn = move_sideways(&places, AREA);
        assert_eq!(drawn[0], 50.0);
        assert_eq!(drawn[2], 50.0);
        for i in 0..places.len() {
            for j in 0..i {
                let overlap = places[i].1 <= places[j].2 && places[j].1 <= places[i].2;
                assert!(!overlap || (drawn[i] - drawn[j]).abs() >= 2.0 * RADIUS, "{i} on {j}: {drawn:?}");
            }
        }
    }
}
