//! Mean score with interval by layer: one panel per score, one mark per method, controls in grey
//! beside the method that they are a control of.

use super::axis::{self, Area, LABEL_SIZE, Scale, TICK_SIZE};
use super::canvas::{Anchor, Canvas, Ink};
use super::legend::Legend;
use super::marks::{self, Mark};
use super::{Chart, Figure, Kind, MARGIN, chart_name, pairing_parts, text};
use crate::base::HookPoint;
use crate::report::number::estimate;
use crate::report::schema::Cell;
use crate::report::view::{BEYOND_TOKEN, Pairing, RowKey, View};

/// One mark with its interval.
struct Point {
    column: usize,
    /// Place within the column, in steps.
    step: f64,
    mark: Mark,
    control: bool,
    mean: f64,
    interval: Option<(f64, f64)>,
    /// Whose it is and its numbers.
    words: String,
}

struct Panel {
    title: String,
    points: Vec<Point>,
}

struct ByLayer {
    columns: Vec<String>,
    x_label: String,
    /// Steps per column.
    steps: f64,
    panels: Vec<Panel>,
    legend: Legend,
}

const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const PANEL_HEIGHT: f64 = 186.0;
const PANEL_PITCH: f64 = PANEL_HEIGHT + 46.0;

/// A hook point and what stands below it on the axis.
type Column<'a> = (&'a str, String);

/// Hook points that share an x axis: those of one site by layer, or all that have no layer.
fn sites<'a>(view: &View<'a>) -> Vec<(String, Vec<Column<'a>>)> {
    let mut sites: Vec<(String, Vec<(usize, Column<'a>)>)> = Vec::new();
    for hook in &view.hooks {
        let (site, order, label) = match hook.parse::<HookPoint>() {
            Ok(HookPoint::Block { layer, site }) => (site.name().to_string(), layer, layer.to_string()),
            _ => (String::new(), 0, hook.to_string()),
        };
        match sites.iter_mut().find(|(name, _)| *name == site) {
            Some((_, members)) => members.push((order, (hook, label))),
            None => sites.push((site, vec![(order, (hook, label))])),
        }
    }
    sites
        .into_iter()
        .map(|(site, mut members)| {
            members.sort_by_key(|(order, _)| *order);
            (site, members.into_iter().map(|(_, column)| column).collect())
        })
        .collect()
}

/// One chart per site.
pub fn charts<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Vec<Chart<'a>> {
    sites(view).into_iter().filter_map(|(site, hooks)| chart(view, pairing, marks, &site, &hooks)).collect()
}

fn chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    site: &str,
    hooks: &[Column<'a>],
) -> Option<Chart<'a>> {
    let (places, steps) = places(view, pairing, hooks);
    let drawn = |scorers: &[&'a str]| -> Vec<Panel> {
        let panels = scorers.iter().map(|scorer| panel(view, pairing, marks, scorer, hooks, &places));
        panels.filter(|panel| !panel.points.is_empty()).collect()
    };
    let (all, main) = (drawn(&view.scorers), drawn(&view.main_scorers()));
    if all.is_empty() {
        return None;
    }
    let counts: Vec<usize> = view
        .summary
        .cells
        .iter()
        .filter(|cell| cell.explainer == pairing.explainer && cell.simulator == pairing.simulator)
        .filter(|cell| cell.protocol == pairing.protocol && hooks.iter().any(|(hook, _)| *hook == cell.hook))
        .filter(|cell| cell.mean.is_some())
        .map(|cell| cell.n_scored)
        .collect();
    let figure = |panels: Vec<Panel>| -> Box<dyn Figure> {
        Box::new(ByLayer {
            columns: hooks.iter().map(|(_, label)| label.clone()).collect(),
            x_label: if site.is_empty() { "hook point".to_string() } else { format!("layer ({site})") },
            steps,
            panels,
            legend: legend(view, marks),
        })
    };
    let named = if site.is_empty() { "hook point".to_string() } else { format!("layer, {site}") };
    let mut parts = vec![if site.is_empty() { "unlayered" } else { site }];
    parts.extend(pairing_parts(view, pairing));
    Some(Chart {
        name: chart_name(Kind::ByLayer, &parts),
        kind: Kind::ByLayer,
        pairing: Some(pairing),
        title: format!("Mean score by {named}: explained and simulated by {}", pairing.label()),
        caption: caption(view, pairing, &counts),
        brief: (!main.is_empty() && main.len() < all.len()).then(|| figure(main)),
        figure: figure(all),
    })
}

fn caption(view: &View<'_>, pairing: Pairing<'_>, counts: &[usize]) -> String {
    let least = counts.iter().min().copied().unwrap_or(0);
    let most = counts.iter().max().copied().unwrap_or(0);
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let mut text = format!(
        "Mean score (a correlation, no unit) with {}, {n} features a mark, protocol {}; constant predictions count as 0.",
        view.interval_name(pairing),
        pairing.protocol
    );
    if !view.controls.is_empty() {
        text.push_str(" Grey: controls, to the right of the method they belong to.");
    }
    text.push_str(" Given these dictionaries and this corpus. The panels have scales of their own.");
    text
}

fn legend(view: &View<'_>, marks: &[Mark]) -> Legend {
    let methods = view.single_methods().map(|(nth, method)| (marks[nth], method.to_string()));
    let controls = view
        .controls
        .iter()
        .enumerate()
        .map(|(i, control)| (marks::control_mark(i), format!("control: {control}")));
    Legend::new(methods.chain(controls).collect())
}

/// Where each method and each of its controls stands within a column, and the steps of a column.
fn places<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    hooks: &[Column<'a>],
) -> (Vec<(usize, Option<usize>, f64)>, f64) {
    let mut places = Vec::new();
    let mut step = 1.2;
    for (m, method) in view.single_methods() {
        places.push((m, None, step));
        for (c, control) in view.controls.iter().enumerate() {
            let exists = hooks.iter().any(|(hook, _)| {
                let key = RowKey { hook, method, control: Some(control) };
                view.scorers.iter().any(|scorer| view.cell(pairing, key, scorer).is_some())
            });
            if exists {
                step += 0.85;
                places.push((m, Some(c), step));
            }
        }
        step += 1.15;
    }
    (places, step + 0.05)
}

fn panel<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    scorer: &'a str,
    hooks: &[Column<'a>],
    places: &[(usize, Option<usize>, f64)],
) -> Panel {
    let mut points = Vec::new();
    for (column, (hook, _)) in hooks.iter().enumerate() {
        for (m, c, step) in places {
            let key = RowKey { hook, method: view.methods[*m], control: c.map(|c| view.controls[c]) };
            let Some(cell) = view.cell(pairing, key, scorer) else { continue };
            let Some(mean) = cell.mean.filter(|mean| mean.is_finite()) else { continue };
            let whose = key.control.map_or(String::new(), |control| format!(" (control: {control})"));
            let numbers = estimate(cell.mean, cell.ci_low, cell.ci_high);
            points.push(Point {
                column,
                step: *step,
                mark: c.map_or(marks[*m], marks::control_mark),
                control: c.is_some(),
                mean,
                interval: interval(cell),
                words: format!("{}{whose}: {numbers}", key.method),
            });
        }
    }
    let title = if scorer == BEYOND_TOKEN {
        format!("{scorer}: within token types, token identity earns nothing")
    } else {
        scorer.to_string()
    };
    Panel { title, points }
}

fn interval(cell: &Cell) -> Option<(f64, f64)> {
    Some((cell.ci_low.filter(|low| low.is_finite())?, cell.ci_high.filter(|high| high.is_finite())?))
}

impl ByLayer {
    fn plot_width(&self) -> f64 {
        let steps = self.steps * self.columns.len() as f64;
        (steps * 8.6).clamp(520.0, 1000.0_f64.max(steps * 5.6).min(2400.0))
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel) {
        let values = panel.points.iter().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.mean, point.mean));
            [low, high, point.mean]
        });
        let scale = Scale::linear(values).over(area.bottom(), area.y);
        let column_width = area.width / self.columns.len() as f64;
        for i in (0..self.columns.len()).step_by(2) {
            let x = area.x + i as f64 * column_width;
            canvas.block(x, area.y, column_width, area.height, Ink::Band, 1.0);
        }
        axis::draw_y(canvas, area, &scale, true);
        axis::draw_frame(canvas, area, &panel.title);
        for point in &panel.points {
            let x = area.x + (point.column as f64 + point.step / self.steps) * column_width;
            let (width, r) = if point.control { (1.1, 2.7) } else { (1.5, 3.7) };
            canvas.begin(&point.words);
            if let Some((low, high)) = point.interval {
                canvas.line((x, scale.at(low)), (x, scale.at(high)), point.mark.ink, width);
            }
            marks::draw(canvas, point.mark, x, scale.at(point.mean), r);
            canvas.end();
        }
        for (i, label) in self.columns.iter().enumerate() {
            let x = area.x + (i as f64 + 0.5) * column_width;
            let label = text::cut(label, f64::from(TICK_SIZE), column_width - 6.0);
            canvas.text(x, area.bottom() + 16.0, &label, TICK_SIZE, Anchor::Middle, Ink::Text);
        }
    }
}

impl Figure for ByLayer {
    fn size(&self) -> (f64, f64) {
        let width = LEFT + self.plot_width() + RIGHT;
        let panels = self.panels.len() as f64 * PANEL_PITCH;
        (width, 24.0 + panels + 28.0 + self.legend.height(width - 2.0 * MARGIN) + 4.0)
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        let width = self.plot_width();
        let mut y = top + 24.0;
        for panel in &self.panels {
            let area = Area { x: LEFT, y, width, height: PANEL_HEIGHT };
            self.draw_panel(canvas, area, panel);
            canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, "mean score", LABEL_SIZE, Ink::Text);
            y += PANEL_PITCH;
        }
        canvas.text(LEFT + width / 2.0, y - 4.0, &self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
        self.legend.draw(canvas, MARGIN, y + 16.0, LEFT + width + RIGHT - 2.0 * MARGIN);
    }
}
