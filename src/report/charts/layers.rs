//! Values by layer: panels below each other, a column for each hook point, in it a mark for each method and,
//! in grey, for each of its controls.

use super::axis::{self, Area, Scale};
use super::canvas::{Anchor, Canvas};
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, TICK_SIZE};
use super::{Figure, text};
use crate::base::HookPoint;
use crate::report::view::{RowKey, View};

/// One mark with its interval.
pub struct Point {
    pub column: usize,
    /// Place within the column, in steps.
    pub step: f64,
    pub mark: Mark,
    pub control: bool,
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// One row of columns.
pub struct Panel {
    pub title: String,
    pub points: Vec<Point>,
}

/// The figure.
pub struct ByLayer {
    columns: Vec<String>,
    x_label: String,
    y_label: &'static str,
    /// Whether values are counts.
    counts: bool,
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
pub type Column<'a> = (&'a str, String);

/// Hook points that share an axis.
pub struct Site<'a> {
    /// Their site in each block; empty for those that have no layer.
    pub name: String,
    /// By layer.
    pub columns: Vec<Column<'a>>,
}

impl Site<'_> {
    /// What the axis counts.
    pub fn axis(&self) -> String {
        if self.name.is_empty() { "hook point".to_string() } else { format!("layer ({})", self.name) }
    }

    /// As part of a file name.
    pub fn file_part(&self) -> &str {
        if self.name.is_empty() { "unlayered" } else { &self.name }
    }
}

/// Hook points of one site by layer; all that have no layer together.
pub fn sites<'a>(hooks: &[&'a str]) -> Vec<Site<'a>> {
    let mut sites: Vec<(String, Vec<(usize, Column<'a>)>)> = Vec::new();
    for hook in hooks {
        let (site, order, label) = match hook.parse::<HookPoint>() {
            Ok(HookPoint::Block { layer, site }) => (site.name().to_string(), layer, layer.to_string()),
            _ => (String::new(), 0, hook.to_string()),
        };
        match sites.iter_mut().find(|(name, _)| *name == site) {
            Some((_, members)) => members.push((order, (hook, label))),
            None => sites.push((site, vec![(order, (hook, label))])),
        }
    }
    let in_order = |(name, mut members): (String, Vec<(usize, Column<'a>)>)| {
        members.sort_by_key(|(order, _)| *order);
        Site { name, columns: members.into_iter().map(|(_, column)| column).collect() }
    };
    sites.into_iter().map(in_order).collect()
}

/// Which methods stand in a column, each followed by its controls.
pub struct Places {
    /// Number of a method, number of its control if it is one, and the step that it stands at.
    at: Vec<(usize, Option<usize>, f64)>,
    steps: f64,
}

impl Places {
    /// For `methods` of a view; `exists` says whether there is anything of one or of its control.
    pub fn new(view: &View<'_>, methods: &[usize], exists: impl Fn(usize, Option<usize>) -> bool) -> Self {
        let mut at = Vec::new();
        let mut step = 1.2;
        for &method in methods.iter().filter(|method| exists(**method, None)) {
            at.push((method, None, step));
            for control in (0..view.controls.len()).filter(|control| exists(method, Some(*control))) {
                step += 0.85;
                at.push((method, Some(control), step));
            }
            step += 1.15;
        }
        Self { at, steps: step + 0.05 }
    }

    /// The marks of all columns; `value` gives a row's value and interval.
    pub fn points<'a>(
        &self,
        view: &View<'a>,
        marks: &[Mark],
        columns: &[Column<'a>],
        value: impl Fn(RowKey<'a>) -> Option<(f64, Option<(f64, f64)>)>,
    ) -> Vec<Point> {
        let mut points = Vec::new();
        for (column, (hook, _)) in columns.iter().enumerate() {
            for &(m, c, step) in &self.at {
                let key = RowKey { hook, method: view.methods[m], control: c.map(|c| view.controls[c]) };
                let Some((value, interval)) = value(key).filter(|(value, _)| value.is_finite()) else {
                    continue;
                };
                let mark = c.map_or(marks[m], marks::control_mark);
                points.push(Point { column, step, mark, control: c.is_some(), value, interval });
            }
        }
        points
    }

    /// Its methods and controls, `label` naming a method.
    pub fn legend(&self, view: &View<'_>, marks: &[Mark], label: impl Fn(&str) -> String) -> Legend {
        let methods = self.at.iter().filter(|(_, control, _)| control.is_none());
        let methods = methods.map(|(m, _, _)| (marks[*m], label(view.methods[*m])));
        let drawn = |control: &usize| self.at.iter().any(|(_, other, _)| *other == Some(*control));
        let controls = (0..view.controls.len()).filter(drawn);
        let controls = controls.map(|c| (marks::control_mark(c), format!("control: {}", view.controls[c])));
        Legend::new(methods.chain(controls).collect())
    }
}

impl ByLayer {
    /// Panels over the columns of a site.
    pub fn new(
        site: &Site<'_>,
        y_label: &'static str,
        places: &Places,
        panels: Vec<Panel>,
        legend: Legend,
    ) -> Self {
        Self {
            columns: site.columns.iter().map(|(_, label)| label.clone()).collect(),
            x_label: site.axis(),
            y_label,
            counts: false,
            steps: places.steps,
            panels,
            legend,
        }
    }

    /// The same with values that are counts.
    pub fn counting(self) -> Self {
        Self { counts: true, ..self }
    }

    fn plot_width(&self) -> f64 {
        let steps = self.steps * self.columns.len() as f64;
        (steps * 8.6).clamp(520.0, 1000.0_f64.max(steps * 5.6).min(2400.0))
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel) {
        let values = panel.points.iter().flat_map(|point| {
            let (low, high) = point.interval.unwrap_or((point.value, point.value));
            [low, high, point.value]
        });
        let scale = Scale::linear(values);
        let scale = if self.counts { scale.counting().with_room_below() } else { scale };
        let scale = scale.over(area.bottom(), area.y);
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
            if let Some((low, high)) = point.interval {
                canvas.line((x, scale.at(low)), (x, scale.at(high)), point.mark.ink, width);
            }
            marks::draw(canvas, point.mark, x, scale.at(point.value), r);
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
            canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, self.y_label, LABEL_SIZE, Ink::Text);
            y += PANEL_PITCH;
        }
        canvas.text(LEFT + width / 2.0, y - 4.0, &self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
        self.legend.draw(canvas, MARGIN, y + 16.0, LEFT + width + RIGHT - 2.0 * MARGIN);
    }
}
