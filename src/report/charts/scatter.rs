//! One mark per method in a plane, a panel per hook point: sparsity against unexplained variance, and scores
//! against sparsity, size or training.

use super::axis::{self, Area, Scale};
use super::canvas::{Anchor, Canvas};
use super::facts::Facts;
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN};
use super::{Chart, Figure, Heading, Kind, chart_name, pairing_parts};
use crate::report::schema::QualityRow;
use crate::report::view::{Pairing, RowKey, View};

pub struct Point<'a> {
    mark: Mark,
    /// The sweep that it is a point of.
    sweep: Option<&'a str>,
    x: f64,
    y: f64,
    interval: Option<(f64, f64)>,
    /// Whether it may be moved up and down too: what is wanted is its neighbourhood, and its interval, if it has
    /// one, is but the range of what several trainings gave.
    movable: bool,
}

pub struct Panel<'a> {
    title: String,
    points: Vec<Point<'a>>,
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

/// What the horizontal axis of most charts counts.
pub const L0_LABEL: &str = "L0: features active per token (log scale)";

fn quality<'a>(view: &View<'a>, hook: &str, method: &str) -> Option<&'a QualityRow> {
    view.summary.quality.iter().find(|row| row.hook == hook && row.method == method && row.control.is_none())
}

fn sparsity(view: &View<'_>, hook: &str, method: &str) -> Option<f64> {
    quality(view, hook, method)?.l0.filter(|l0| l0.is_finite() && *l0 > 0.0)
}

/// Hook points with scores, then those that have dictionaries alone.
pub fn hooks_of_quality<'a>(view: &View<'a>) -> Vec<&'a str> {
    let mut hooks = view.hooks.clone();
    for row in &view.summary.quality {
        if !hooks.contains(&row.hook.as_str()) {
            hooks.push(&row.hook);
        }
    }
    hooks
}

/// A panel for each hook point: L0 against what `value` says of a dictionary, with its range over trainings.
/// Marks of `counts` stay at their heights.
pub fn panels_of_quality<'a>(
    view: &View<'a>,
    marks: &[Mark],
    counts: bool,
    value: impl Fn(&QualityRow) -> Option<(f64, Option<(f64, f64)>)>,
) -> Vec<Panel<'a>> {
    let panel = |hook: &str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps);
        let points = methods.filter_map(|((method, mark), sweep)| {
            let x = sparsity(view, hook, method)?;
            let (y, interval) = value(quality(view, hook, method)?).filter(|(y, _)| y.is_finite())?;
            let movable = !counts;
            Some(Point { mark: *mark, sweep: *sweep, x, y, interval, movable })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    hooks_of_quality(view).into_iter().map(panel).collect()
}

/// L0 against fraction of variance unexplained; none where nothing reconstructs.
pub fn fvu_chart<'a>(view: &View<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let panels =
        panels_of_quality(view, marks, false, |row| Some((row.fvu?, row.fvu_least.zip(row.fvu_largest))));
    let without_fvu = |method: &&str| {
        let rows = || view.summary.quality.iter().filter(|row| row.method == **method);
        rows().next().is_some() && rows().all(|row| row.fvu.is_none())
    };
    let left_out: Vec<&str> = view.methods.iter().copied().filter(without_fvu).collect();
    let mut caption =
        "Each mark is one dictionary, over all evaluation tokens. Down and to the left is better: fewer \
                       features active, less variance lost. Given these dictionaries and this corpus."
            .to_string();
    if view.sweeps.contains(&None) {
        caption.push_str(" Marks that would hide each other are moved apart, with a line to their place.");
    }
    if view.sweeps.iter().any(Option::is_some) {
        caption.push_str(" Lines join the points of a sweep along which L0 changes.");
    }
    caption.push_str(match view.summary.quality.iter().any(|row| row.fvu_least.is_some()) {
        true => " Bars: least and largest of several trainings.",
        false => " One training each, so no interval.",
    });
    if !left_out.is_empty() {
        caption.push_str(&format!(" Not reconstructions, so not drawn: {}.", left_out.join(", ")));
    }
    let heading = Heading {
        name: chart_name(Kind::SparsityFvu, &[]),
        kind: Kind::SparsityFvu,
        pairing: None,
        title: "Sparsity and reconstruction".to_string(),
        caption,
    };
    let band = Band { y_label: "FVU: variance unexplained".to_string(), counts: false, panels };
    finish(view, marks, vec![band], L0_LABEL, heading)
}

/// What mean scores are drawn against.
struct Across<'x> {
    kind: Kind,
    title: &'static str,
    label: &'static str,
    /// What the caption calls it.
    what: String,
    /// Its value at a hook point for a method.
    x: &'x dyn Fn(&str, &str) -> Option<f64>,
    /// Whether only sweeps along which it changes are drawn.
    sweeps_only: bool,
}

/// Mean scores against L0; none where L0 is unknown.
pub fn l0_chart<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let across = Across {
        kind: Kind::ScoreL0,
        title: "Score and sparsity",
        label: L0_LABEL,
        what: "the number of features active per token".to_string(),
        x: &|hook, method| sparsity(view, hook, method),
        sweeps_only: false,
    };
    score_chart(view, pairing, marks, &across)
}

/// Mean scores against the number of features; none where no sweep varies it, for other methods of different
/// sizes differ in all else too.
pub fn size_chart<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let size = |hook: &str, method: &str| Some(quality(view, hook, method)?.n_features as f64);
    if !view.methods.iter().any(|method| varies(view, method, &size)) {
        return None;
    }
    let across = Across {
        kind: Kind::ScoreSize,
        title: "Score and dictionary size",
        label: "features in the dictionary (log scale)",
        what: "the number of features in the dictionary".to_string(),
        x: &size,
        sweeps_only: true,
    };
    score_chart(view, pairing, marks, &across)
}

/// Mean scores against the rows that a training saw where a sweep varies those, else against the seconds that a
/// fit took; none where neither is known of two methods.
pub fn training_chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    facts: &Facts,
) -> Option<Chart<'a>> {
    let rows = |hook: &str, method: &str| facts.rows(hook, method);
    if view.methods.iter().any(|method| varies(view, method, &rows)) {
        let across = Across {
            kind: Kind::ScoreTraining,
            title: "Score and length of training",
            label: "activations seen in training, repeats included (log scale)",
            what: "the activations that the fit saw".to_string(),
            x: &rows,
            sweeps_only: true,
        };
        return score_chart(view, pairing, marks, &across);
    }
    // Less than this is the clock's own grain: directions that are drawn, not searched for.
    let seconds = |hook: &str, method: &str| facts.seconds(hook, method).filter(|seconds| *seconds >= 1e-3);
    let timed = |method: &&&str| view.hooks.iter().any(|hook| seconds(hook, method).is_some());
    if view.methods.iter().filter(timed).count() < 2 {
        return None;
    }
    let across = Across {
        kind: Kind::ScoreTraining,
        title: "Score and time of the fit",
        label: "seconds of the fit (log scale)",
        what: "the wall-clock time of the fit, on the machine of this run and with other fits beside it"
            .to_string(),
        x: &seconds,
        sweeps_only: false,
    };
    score_chart(view, pairing, marks, &across)
}

/// Whether a method is a point of a sweep along which `x` changes.
fn varies(view: &View<'_>, method: &str, x: &dyn Fn(&str, &str) -> Option<f64>) -> bool {
    let points = || view.methods.iter().zip(&view.sweeps);
    let Some((_, Some(sweep))) = points().find(|(other, _)| **other == method) else { return false };
    let others = || points().filter(|(_, of)| **of == Some(*sweep));
    view.hooks.iter().any(|hook| {
        let values: Vec<f64> = others().filter_map(|(other, _)| x(hook, other)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        values.iter().any(|value| *value > VARIES * least)
    })
}

fn score_chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    across: &Across<'_>,
) -> Option<Chart<'a>> {
    let wanted = |method: &str| !across.sweeps_only || varies(view, method, across.x);
    let wanted: Vec<bool> = view.methods.iter().map(|method| wanted(method)).collect();
    let mut counts = Vec::new();
    let mut drawn = vec![false; view.methods.len()];
    let mut panel = |hook: &'a str, scorer: &'a str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps).enumerate();
        let points = methods.filter_map(|(nth, ((method, mark), sweep))| {
            let x = (across.x)(hook, method).filter(|x| x.is_finite() && *x > 0.0 && wanted[nth])?;
            let cell = view.cell(pairing, RowKey { hook, method, control: None }, scorer)?;
            let y = cell.mean.filter(|mean| mean.is_finite())?;
            counts.push(cell.n_scored);
            drawn[nth] = true;
            let interval = cell.ci_low.zip(cell.ci_high);
            Some(Point { mark: *mark, sweep: *sweep, x, y, interval, movable: false })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    let mut bands = Vec::new();
    for scorer in view.main_scorers() {
        let panels = view.hooks.iter().map(|hook| panel(hook, scorer)).collect();
        bands.push(Band { y_label: scorer.to_string(), counts: false, panels });
    }
    let caption = score_caption(view, pairing, across, &counts, &drawn)?;
    let heading = Heading {
        name: chart_name(across.kind, &pairing_parts(view, pairing)),
        kind: across.kind,
        pairing: Some(pairing),
        title: format!("{}: explained and simulated by {}", across.title, pairing.label()),
        caption,
    };
    finish(view, marks, bands, across.label, heading)
}

/// What the marks are, from the features that each rests on, and which methods have one; none where none has.
fn score_caption<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    across: &Across<'_>,
    counts: &[usize],
    drawn: &[bool],
) -> Option<String> {
    let n = match (counts.iter().min()?, counts.iter().max()?) {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let lines = match view.sweeps.iter().zip(drawn).any(|(sweep, drawn)| sweep.is_some() && *drawn) {
        true => " Lines join the points of a sweep along which that changes.",
        false => "",
    };
    let mut left_out: Vec<&str> = Vec::new();
    for (method, _) in view.methods.iter().zip(drawn).filter(|(_, drawn)| !**drawn) {
        if !left_out.contains(&view.line_of(method)) {
            left_out.push(view.line_of(method));
        }
    }
    let left_out = match (left_out.is_empty(), across.sweeps_only) {
        (true, _) => String::new(),
        (false, true) => format!(" Not drawn, for they do not vary it: {}.", left_out.join(", ")),
        (false, false) => format!(" Not drawn, for it is not known of them: {}.", left_out.join(", ")),
    };
    Some(format!(
        "Each mark is the mean score over {n} features of one dictionary, with {}, against {}; constant predictions \
         count as 0.{lines} Given these dictionaries and this corpus. Marks that would hide each other are moved \
         sideways, with a line to their place.{left_out}",
        view.interval_name(pairing),
        across.what
    ))
}

/// The chart with a legend of what is drawn; none where nothing is.
pub fn finish<'a>(
    view: &View<'a>,
    marks: &[Mark],
    bands: Vec<Band<'a>>,
    x_label: &'static str,
    heading: Heading<'a>,
) -> Option<Chart<'a>> {
    let drawn = |mark: &Mark| {
        bands.iter().flat_map(|band| &band.panels).flat_map(|panel| &panel.points).any(|p| p.mark == *mark)
    };
    let mut entries: Vec<(Mark, String)> = view
        .methods
        .iter()
        .zip(marks)
        .filter(|(_, mark)| drawn(mark))
        .map(|(method, mark)| (*mark, view.line_of(method).to_string()))
        .collect();
    entries.dedup();
    if entries.is_empty() {
        return None;
    }
    Some(heading.over(Scatter { bands, x_label, legend: Legend::new(entries) }))
}

/// Where a mark is drawn so that it hides no other: at its place, or at the nearest free one around
/// it.
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

/// The same for marks with intervals, from `top` to `bottom` in px: heights mean something, so they
/// move sideways only, and no interval lies on another.
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

/// Where each point of a panel is drawn, given where it belongs.
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
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            (*x, y_scale.at(high).min(y - RADIUS), y_scale.at(low).max(y + RADIUS))
        })
        .collect();
    move_sideways(&extents, area).into_iter().zip(places).map(|(x, (_, y))| (x, *y)).collect()
}

impl Scatter<'_> {
    fn columns(&self) -> usize {
        self.bands.iter().map(|band| band.panels.len()).max().unwrap_or(1).clamp(1, PER_LINE)
    }

    /// Width of a panel in px, so that few panels fill the room that titles need.
    fn panel_width(&self) -> f64 {
        match self.columns() {
            1 => 480.0,
            2 => 320.0,
            _ => 236.0,
        }
    }

    fn width(&self) -> f64 {
        LEFT + self.columns() as f64 * (self.panel_width() + GAP)
    }

    fn scales(&self, band: &Band<'_>) -> Option<(Scale, Scale)> {
        let points = || self.bands.iter().flat_map(|band| &band.panels).flat_map(|panel| &panel.points);
        let x = Scale::log(points().map(|point| point.x))?;
        let values = band.panels.iter().flat_map(|panel| &panel.points).flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.y, point.y));
            [low, high, point.y]
        });
        let y = Scale::linear(values).with_room_below();
        Some((x, if band.counts { y.counting() } else { y }))
    }
}

/// Values along a sweep that differ by less than this factor are the same but for noise, and no line joins them.
const VARIES: f64 = 1.15;

/// Of each sweep along which the horizontal value changes its points, from the left on.
fn lines(points: &[Point<'_>]) -> Vec<Vec<usize>> {
    let mut lines: Vec<(&str, Vec<usize>)> = Vec::new();
    for (nth, point) in points.iter().enumerate() {
        let Some(sweep) = point.sweep else { continue };
        match lines.iter_mut().find(|(name, _)| *name == sweep) {
            Some((_, line)) => line.push(nth),
            None => lines.push((sweep, vec![nth])),
        }
    }
    let sorted = |mut line: Vec<usize>| {
        line.sort_by(|&a, &b| points[a].x.total_cmp(&points[b].x));
        line
    };
    let varies = |line: &Vec<usize>| match (line.first(), line.last()) {
        (Some(&first), Some(&last)) => points[last].x > VARIES * points[first].x,
        _ => false,
    };
    lines.into_iter().map(|(_, line)| sorted(line)).filter(varies).collect()
}

fn draw_panel(canvas: &mut Canvas, area: Area, panel: &Panel<'_>, scales: &(Scale, Scale), labelled: bool) {
    let x_scale = scales.0.over(area.x, area.right());
    let y_scale = scales.1.over(area.bottom(), area.y);
    axis::draw_x(canvas, area, &x_scale, true);
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
        marks::draw(canvas, point.mark, at.0, at.1, RADIUS);
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
