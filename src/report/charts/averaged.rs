//! Mean scores over all hook points: a panel for each main score, a row for each method, best first. The chart that a
//! reader sees first, so its marks are few and its names are beside them.

use super::axis::{Area, Coordinate, Scale};
use super::by_layer::is_interval;
use super::canvas::{Anchor, Canvas};
use super::controls::{self, Axis, Key, Range, Style, Value};
use super::frame;
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, SMALL_SIZE, TICK_SIZE};
use super::{Chart, Figure, Heading, Inputs, Kind, text};
use crate::base::distinct;
use crate::report::number::{count, estimate, score, span};
use crate::report::ranking::{RankedMethod, Ranking};
use crate::report::view::{Pairing, RowKey, View};

/// A method, with its controls behind it.
struct Row {
    label: String,
    mark: Mark,
    mean: Value,
    /// Methods that share a letter are not separated; empty without a test.
    letters: String,
    /// Features behind the mean.
    n_scored: usize,
    controls: Vec<(Style, Value)>,
}

struct Panel {
    scorer: String,
    /// Best first.
    rows: Vec<Row>,
    /// Bands over all methods.
    ranges: Vec<Range>,
}

struct Averaged {
    panels: Vec<Panel>,
    legend: Legend,
    label_width: f64,
}

const ROW: f64 = 22.0;
const ABOVE: f64 = 26.0;
const BELOW: f64 = 46.0;
/// Room for means and letters at the right of a panel, px.
const RIGHT: f64 = 96.0;
const RADIUS: f64 = 4.6;

/// Means over hook points under one score.
struct Means<'a> {
    view: &'a View<'a>,
    pairing: Pairing<'a>,
    scorer: &'a str,
    /// None in a run folder without rankings.
    ranking: Option<&'a Ranking>,
    hooks: Vec<&'a str>,
}

/// A mean with its interval, letters and number of features.
type Mean = (Value, String, usize);

impl<'a> Means<'a> {
    fn of(view: &'a View<'a>, pairing: Pairing<'a>, scorer: &'a str) -> Self {
        let is_meant = |ranking: &&Ranking| {
            let of = Pairing {
                protocol: &ranking.protocol,
                explainer: &ranking.explainer,
                simulator: &ranking.simulator,
            };
            ranking.scorer == scorer && of == pairing
        };
        let ranking = view.summary.rankings.iter().find(is_meant);
        let hooks = ranking.map(|ranking| ranking.hooks.iter().map(String::as_str).collect());
        Self { view, pairing, scorer, ranking, hooks: hooks.unwrap_or_else(|| view.hooks.clone()) }
    }

    fn ranked(&self, method: &str, control: Option<&str>) -> Option<&'a RankedMethod> {
        let mut rows = self.ranking?.rows.iter();
        rows.find(|row| row.method == method && row.control.as_deref() == control)
    }

    /// The mean over all hook points, as the ranking has it or else from the cells; none if a hook point has none.
    fn mean(&self, method: &'a str, control: Option<&'a str>) -> Option<Mean> {
        let named = |words: String| {
            let control = control.map_or(String::new(), |control| format!(" (control: {control})"));
            format!("{method}{control}: {words}")
        };
        if let Some(row) = self.ranked(method, control) {
            let value = row.mean.filter(|mean| mean.is_finite())?;
            let interval = row.ci_low.zip(row.ci_high).filter(is_interval);
            let words = named(estimate(row.mean, row.ci_low, row.ci_high));
            return Some((Value { value, interval, words }, row.letters.clone(), row.n_scored));
        }
        let cell = |hook: &&'a str| {
            let cell = self.view.cell(self.pairing, RowKey { hook, method, control }, self.scorer)?;
            Some((cell.mean.filter(|mean| mean.is_finite())?, cell.n_scored))
        };
        let cells: Vec<(f64, usize)> = self.hooks.iter().map(cell).collect::<Option<_>>()?;
        let value = cells.iter().map(|(mean, _)| mean).sum::<f64>() / cells.len() as f64;
        let words = named(score(Some(value)));
        let n = cells.iter().map(|(_, n)| n).sum();
        value.is_finite().then(|| (Value { value, interval: None, words }, String::new(), n))
    }

    /// The rows, best first, and the methods without a mean over all hook points.
    fn rows(&self, marks: &[Mark]) -> (Vec<Row>, Vec<&'a str>) {
        let (mut rows, mut without) = (Vec::new(), Vec::new());
        for (&method, &mark) in self.view.methods.iter().zip(marks) {
            let Some((mean, letters, n_scored)) = self.mean(method, None) else {
                without.push(method);
                continue;
            };
            let own = self.view.controls.iter().filter(|control| Style::of(control) != Style::Range);
            let own =
                own.filter_map(|&control| Some((Style::of(control), self.mean(method, Some(control))?.0)));
            let place = self.ranked(method, None).and_then(|row| row.place).unwrap_or(usize::MAX);
            let controls = own.collect();
            rows.push((place, Row { label: method.to_string(), mark, mean, letters, n_scored, controls }));
        }
        rows.sort_by(|(place, row), (other_place, other)| {
            place.cmp(other_place).then(other.mean.value.total_cmp(&row.mean.value))
        });
        (rows.into_iter().map(|(_, row)| row).collect(), without)
    }

    fn ranges(&self) -> Vec<Range> {
        let ranged = self.view.controls.iter().filter(|control| Style::of(control) == Style::Range);
        let range = |control: &&'a str| {
            let methods = self.view.methods.iter();
            let means = methods.filter_map(|method| Some(self.mean(method, Some(control))?.0.value));
            Range::of_scores(control, &means.collect::<Vec<f64>>())
        };
        ranged.filter_map(range).collect()
    }
}

/// The chart of the main scores; none without a mean over all hook points.
pub fn chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let all = view.main_scorers().into_iter().map(|scorer| Means::of(view, pairing, scorer));
    let drawn: Vec<(Means<'a>, Panel, Vec<&'a str>)> = all
        .filter_map(|means| {
            let (rows, without) = means.rows(marks);
            let panel = Panel { scorer: means.scorer.to_string(), rows, ranges: means.ranges() };
            (!panel.rows.is_empty()).then_some((means, panel, without))
        })
        .collect();
    let hooks = distinct(drawn.iter().flat_map(|(means, _, _)| means.hooks.iter().copied()));
    let title = match hooks.as_slice() {
        [] => return None,
        [hook] => format!("Mean score at {hook}"),
        hooks => format!("Mean score over {} hook points", hooks.len()),
    };
    let caption = caption(view, &drawn);
    let heading = Heading::of_pairing(view, pairing, (Kind::Averaged, None), &title, caption);
    let panels: Vec<Panel> = drawn.into_iter().map(|(_, panel, _)| panel).collect();
    let control = |control: &&str| {
        let style = Style::of(control);
        let of_panel = |panel: &Panel| match style {
            Style::Range => !panel.ranges.is_empty(),
            _ => panel.rows.iter().any(|row| row.controls.iter().any(|(other, _)| *other == style)),
        };
        let has_intervals =
            panels.iter().flat_map(|panel| &panel.rows).any(|row| row.mean.interval.is_some());
        let is_drawn = panels.iter().any(of_panel);
        is_drawn.then(|| (Key::Control(style), style.meaning(control, has_intervals)))
    };
    let legend = Legend(view.controls.iter().filter_map(control).collect());
    let labels =
        panels.iter().flat_map(|panel| &panel.rows).map(|row| text::width(&row.label, f64::from(TICK_SIZE)));
    let label_width = labels.fold(0.0, f64::max).min(170.0) + 14.0 + MARGIN;
    Some(heading.over(Averaged { panels, legend, label_width }))
}

fn caption(view: &View<'_>, drawn: &[(Means<'_>, Panel, Vec<&str>)]) -> String {
    let counts: Vec<usize> =
        drawn.iter().flat_map(|(_, panel, _)| &panel.rows).map(|row| row.n_scored).collect();
    let n = span(&counts, count).unwrap_or_default();
    let mut text = format!(
        "Mean over hook points of the mean scores, {n} features a mark, best first; constant predictions count as 0."
    );
    let rankings: Vec<&Ranking> = drawn.iter().filter_map(|(means, _, _)| means.ranking).collect();
    if let Some(ranking) = rankings.first() {
        let percent = (ranking.confidence * 1000.0).round() / 10.0;
        text.push_str(&format!(
            " Lines: simultaneous {percent} % intervals (with that confidence all intervals of a panel hold together). \
             Methods that share a letter are not separated."
        ));
    }
    if rankings.len() < drawn.len() {
        let of = match rankings.is_empty() {
            true => String::new(),
            false => {
                let without = drawn.iter().filter(|(means, _, _)| means.ranking.is_none());
                format!(" of {}", without.map(|(means, _, _)| means.scorer).collect::<Vec<_>>().join(" and "))
            }
        };
        text.push_str(&format!(
            " This run folder has no ranking{of}, so these means have no interval and their order is not tested."
        ));
    }
    if !view.controls.is_empty() {
        text.push_str(" Bands: controls.");
    }
    for note in distinct(rankings.iter().filter_map(|ranking| ranking.note.as_deref())) {
        text.push_str(&format!(" {note}{}", if note.ends_with('.') { "" } else { "." }));
    }
    let without = distinct(drawn.iter().flat_map(|(_, _, without)| without.iter().copied()));
    if !without.is_empty() {
        text.push_str(&format!(" Without a mean at every hook point, so not drawn: {}.", without.join(", ")));
    }
    text.push_str(" Given these dictionaries and this corpus. The panels have scales of their own.");
    text
}

impl Averaged {
    /// Width of a panel's plotting area.
    fn plot_width(&self) -> f64 {
        if self.panels.len() > 1 { 280.0 } else { 520.0 }
    }

    fn pitch(&self) -> f64 {
        self.label_width + self.plot_width() + RIGHT
    }

    fn panel_height(&self) -> f64 {
        self.panels.iter().map(|panel| panel.rows.len()).max().unwrap_or(0) as f64 * ROW
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel) {
        let of_row = |row: &Row| {
            let values = std::iter::once(&row.mean).chain(row.controls.iter().map(|(_, value)| value));
            values.flat_map(Value::extent).collect::<Vec<f64>>()
        };
        let of_ranges = panel.ranges.iter().flat_map(|range| [range.low, range.high]);
        let scale = Scale::linear(panel.rows.iter().flat_map(of_row).chain(of_ranges));
        let scale = scale.over(area.x, area.right());
        for nth in (0..panel.rows.len()).step_by(2) {
            canvas.block(area.x, area.y + nth as f64 * ROW, area.width, ROW, Ink::Band, 1.0);
        }
        frame::draw_x(canvas, area, &scale);
        frame::draw_frame(canvas, area, None, &panel.scorer);
        canvas.text(area.right() + 40.0, area.y - 8.0, "mean", SMALL_SIZE, Anchor::End, Ink::Muted);
        for range in &panel.ranges {
            controls::draw_range(canvas, Axis::Across(&scale), range, (area.y, area.bottom()));
        }
        for (nth, row) in panel.rows.iter().enumerate() {
            let y = area.y + (nth as f64 + 0.5) * ROW;
            self.draw_row(canvas, area, row, &scale, y);
        }
        let (middle, y) = (area.x + area.width / 2.0, area.bottom() + 36.0);
        canvas.text(middle, y, "mean score", LABEL_SIZE, Anchor::Middle, Ink::Text);
    }

    fn draw_row(&self, canvas: &mut Canvas, area: Area, row: &Row, scale: &Scale, y: f64) {
        let label = text::cut(&row.label, f64::from(TICK_SIZE), self.label_width - 14.0 - MARGIN);
        canvas.text(area.x - 10.0, y + 4.0, &label, TICK_SIZE, Anchor::End, Ink::Text);
        for control in &row.controls {
            controls::draw_own(canvas, Axis::Across(scale), control, row.mark.ink, (y, 0.38 * ROW));
        }
        canvas.begin(&row.mean.words);
        if let Some((low, high)) = row.mean.interval {
            canvas.line((scale.at(low), y), (scale.at(high), y), row.mark.ink, 1.8);
        }
        marks::draw(canvas, row.mark, scale.place(row.mean.value), Coordinate::Category(y), RADIUS);
        canvas.end();
        let mean = score(Some(row.mean.value)).replace('-', "−");
        canvas.text(area.right() + 40.0, y + 4.0, &mean, TICK_SIZE, Anchor::End, Ink::Text);
        let letters = text::cut(&row.letters, f64::from(TICK_SIZE), RIGHT - 52.0);
        canvas.text(area.right() + 48.0, y + 4.0, &letters, TICK_SIZE, Anchor::Start, Ink::Muted);
    }
}

impl Figure for Averaged {
    fn size(&self) -> (f64, f64) {
        let width = self.pitch() * self.panels.len() as f64;
        (width, ABOVE + self.panel_height() + BELOW + self.legend.height(width - 2.0 * MARGIN) + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        for (nth, panel) in self.panels.iter().enumerate() {
            let area = Area {
                x: nth as f64 * self.pitch() + self.label_width,
                y: top + ABOVE,
                width: self.plot_width(),
                height: panel.rows.len() as f64 * ROW,
            };
            self.draw_panel(canvas, area, panel);
        }
        let y = top + ABOVE + self.panel_height() + BELOW;
        self.legend.draw(canvas, MARGIN, y, self.pitch() * self.panels.len() as f64 - 2.0 * MARGIN);
    }
}
