//! Figure of values by layer: one panel per row, one column per hook point, in each column a mark for every method
//! and, in grey, for every control of it.

use super::axis::{self, Area, Scale};
use super::canvas::{Anchor, Canvas};
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, TICK_SIZE};
use super::{Figure, text};
use crate::base::HookPoint;
use crate::report::list::grouped;
use crate::report::view::{RowKey, View};

/// The value of a row.
pub struct Value {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    /// Shown when a reader points at the mark.
    pub words: String,
}

/// One mark.
pub struct Point {
    column: usize,
    /// Position within the column, in steps.
    step: f64,
    mark: Mark,
    is_control: bool,
    value: Value,
}

pub struct Panel {
    pub title: String,
    pub points: Vec<Point>,
}

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

/// A hook point and its label on the axis.
type Column<'a> = (&'a str, String);

/// Hook points that share an axis.
pub struct Site<'a> {
    /// Their site within a block; empty for hook points without a layer.
    pub name: String,
    /// By layer.
    pub columns: Vec<Column<'a>>,
}

impl Site<'_> {
    pub fn axis(&self) -> String {
        if self.name.is_empty() { "hook point".to_string() } else { format!("layer ({})", self.name) }
    }

    pub fn file_part(&self) -> &str {
        if self.name.is_empty() { "unlayered" } else { &self.name }
    }
}

/// Hook points grouped by site and sorted by layer; those without a layer form one group.
pub fn sites<'a>(hooks: &[&'a str]) -> Vec<Site<'a>> {
    let by_site = hooks.iter().map(|&hook| match hook.parse::<HookPoint>() {
        Ok(HookPoint::Block { layer, site }) => (site.name().to_string(), (layer, (hook, layer.to_string()))),
        _ => (String::new(), (0, (hook, hook.to_string()))),
    });
    let sorted = |(name, mut columns): (String, Vec<(usize, Column<'a>)>)| {
        columns.sort_by_key(|(layer, _)| *layer);
        Site { name, columns: columns.into_iter().map(|(_, column)| column).collect() }
    };
    grouped(by_site).into_iter().map(sorted).collect()
}

/// The methods of a column, each followed by its controls.
pub struct Places {
    /// Index of the method, index of the control if it is one, and position in steps.
    at: Vec<(usize, Option<usize>, f64)>,
    steps: f64,
}

/// The row of a method, or of its control, at a hook point; methods and controls by index.
fn key<'a>(view: &View<'a>, hook: &'a str, method: usize, control: Option<usize>) -> RowKey<'a> {
    RowKey { hook, method: view.methods[method], control: control.map(|control| view.controls[control]) }
}

impl Places {
    /// Places for `methods` and those of their controls that `exists` finds at some hook point of the site.
    pub fn new<'a>(
        view: &View<'a>,
        site: &Site<'a>,
        methods: &[usize],
        exists: impl Fn(RowKey<'a>) -> bool,
    ) -> Self {
        let exists = |method: usize, control: Option<usize>| {
            site.columns.iter().any(|(hook, _)| exists(key(view, hook, method, control)))
        };
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

    /// The marks of all columns, where `value` returns a row's value.
    pub fn points<'a>(
        &self,
        view: &View<'a>,
        marks: &[Mark],
        site: &Site<'a>,
        value: impl Fn(RowKey<'a>) -> Option<Value>,
    ) -> Vec<Point> {
        let mut points = Vec::new();
        for (column, (hook, _)) in site.columns.iter().enumerate() {
            for &(method, control, step) in &self.at {
                let key = key(view, hook, method, control);
                let Some(found) = value(key).filter(|found| found.value.is_finite()) else { continue };
                let name = key.control.map_or(String::new(), |control| format!(" (control: {control})"));
                let value = Value { words: format!("{}{name}: {}", key.method, found.words), ..found };
                let mark = control.map_or(marks[method], marks::control_mark);
                points.push(Point { column, step, mark, is_control: control.is_some(), value });
            }
        }
        points
    }

    /// The legend of methods and controls, where `label` names a method.
    pub fn legend(&self, view: &View<'_>, marks: &[Mark], label: impl Fn(&str) -> String) -> Legend {
        let methods = self.at.iter().filter(|(_, control, _)| control.is_none());
        let methods = methods.map(|(method, _, _)| (marks[*method], label(view.methods[*method])));
        let is_drawn = |control: &usize| self.at.iter().any(|(_, other, _)| *other == Some(*control));
        let controls = (0..view.controls.len()).filter(is_drawn);
        let controls = controls.map(|c| (marks::control_mark(c), format!("control: {}", view.controls[c])));
        Legend(methods.chain(controls).collect())
    }
}

impl ByLayer {
    pub fn new(
        site: &Site<'_>,
        (y_label, counts): (&'static str, bool),
        places: &Places,
        panels: Vec<Panel>,
        legend: Legend,
    ) -> Self {
        let columns = site.columns.iter().map(|(_, label)| label.clone()).collect();
        Self { columns, x_label: site.axis(), y_label, counts, steps: places.steps, panels, legend }
    }

    fn plot_width(&self) -> f64 {
        let steps = self.steps * self.columns.len() as f64;
        (steps * 8.6).clamp(520.0, 1000.0_f64.max(steps * 5.6).min(2400.0))
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel) {
        let values = panel.points.iter().flat_map(|Point { value, .. }| {
            let (low, high) = value.interval.unwrap_or((value.value, value.value));
            [low, high, value.value]
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
        for Point { column, step, mark, is_control, value } in &panel.points {
            let x = area.x + (*column as f64 + step / self.steps) * column_width;
            let (width, r) = if *is_control { (1.1, 2.7) } else { (1.5, 3.7) };
            canvas.begin(&value.words);
            if let Some((low, high)) = value.interval {
                canvas.line((x, scale.at(low)), (x, scale.at(high)), mark.ink, width);
            }
            marks::draw(canvas, *mark, x, scale.at(value.value), r);
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
            canvas.text_up(16.0, y + PANEL_HEIGHT / 2.0, self.y_label, LABEL_SIZE, Ink::Text);
            y += PANEL_PITCH;
        }
        canvas.text(LEFT + width / 2.0, y - 4.0, &self.x_label, LABEL_SIZE, Anchor::Middle, Ink::Text);
        self.legend.draw(canvas, MARGIN, y + 16.0, LEFT + width + RIGHT - 2.0 * MARGIN);
    }
}
