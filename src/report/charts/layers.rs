//! Figure of values by layer: one panel per row, one column per hook point, in each column a mark for every method
//! over the bands of its controls.

use super::axis::{Area, Coordinate, Scale};
use super::canvas::{Anchor, Canvas};
use super::controls::{self, Axis, Key, Range, Style, Value};
use super::frame;
use super::legend::Legend;
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE, MARGIN, TICK_SIZE};
use super::{Figure, text};
use crate::base::{HookPoint, distinct};
use crate::report::list::grouped;
use crate::report::view::{RowKey, View};

/// One mark and the controls behind it.
pub struct Point {
    column: usize,
    /// Number of the method within the column.
    place: usize,
    mark: Mark,
    /// None if only controls have a value.
    value: Option<Value>,
    controls: Vec<(Style, Value)>,
}

pub struct Panel {
    pub title: String,
    pub points: Vec<Point>,
    /// Bands over a column, with the column.
    pub ranges: Vec<(usize, Range)>,
}

impl Panel {
    /// The numbers that the panel's scale must cover.
    fn extent(&self) -> impl Iterator<Item = f64> {
        let of_points = self.points.iter().flat_map(|point| {
            let values = point.value.iter().chain(point.controls.iter().map(|(_, value)| value));
            values.flat_map(Value::extent)
        });
        of_points.chain(self.ranges.iter().flat_map(|(_, range)| [range.low, range.high]))
    }
}

pub struct ByLayer {
    columns: Vec<String>,
    x_label: String,
    y_label: &'static str,
    /// Whether values are counts.
    counts: bool,
    /// Methods per column.
    methods: usize,
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

/// What a column shows: methods and their controls, by index.
pub struct Places {
    methods: Vec<usize>,
    controls: Vec<usize>,
}

/// The row of a method, or of its control, at a hook point; methods and controls by index.
fn key<'a>(view: &View<'a>, hook: &'a str, method: usize, control: Option<usize>) -> RowKey<'a> {
    RowKey { hook, method: view.methods[method], control: control.map(|control| view.controls[control]) }
}

impl Places {
    /// Those of `methods`, and those of their controls, that `exists` finds at some hook point of the site.
    pub fn new<'a>(
        view: &View<'a>,
        site: &Site<'a>,
        methods: &[usize],
        exists: impl Fn(RowKey<'a>) -> bool,
    ) -> Self {
        let exists = |method: usize, control: Option<usize>| {
            site.columns.iter().any(|(hook, _)| exists(key(view, hook, method, control)))
        };
        let methods: Vec<usize> = methods.iter().copied().filter(|method| exists(*method, None)).collect();
        let controls = 0..view.controls.len();
        let controls =
            controls.filter(|control| methods.iter().any(|method| exists(*method, Some(*control))));
        Self { controls: controls.collect(), methods }
    }

    /// A panel, where `value` returns a row's value and `print` a number in words.
    pub fn panel<'a>(
        &self,
        (view, marks): (&View<'a>, &[Mark]),
        site: &Site<'a>,
        title: String,
        value: impl Fn(RowKey<'a>) -> Option<Value>,
        print: impl Fn(f64) -> String,
    ) -> Panel {
        let named = |key: RowKey<'a>| {
            let found = value(key).filter(|found| found.value.is_finite())?;
            let name = key.control.map_or(String::new(), |control| format!(" (control: {control})"));
            Some(Value { words: format!("{}{name}: {}", key.method, found.words), ..found })
        };
        let mut panel = Panel { title, points: Vec::new(), ranges: Vec::new() };
        for (column, (hook, _)) in site.columns.iter().enumerate() {
            let of = |method: usize, control: usize| named(key(view, hook, method, Some(control)));
            let (ranged, own): (Vec<usize>, Vec<usize>) =
                self.controls.iter().partition(|control| Style::of(view.controls[**control]) == Style::Range);
            for control in ranged {
                let values: Vec<f64> =
                    self.methods.iter().filter_map(|method| Some(of(*method, control)?.value)).collect();
                let range = Range::of(view.controls[control], &values, &print);
                panel.ranges.extend(range.map(|range| (column, range)));
            }
            for (place, &method) in self.methods.iter().enumerate() {
                let styled =
                    |control: &usize| Some((Style::of(view.controls[*control]), of(method, *control)?));
                let controls: Vec<(Style, Value)> = own.iter().filter_map(styled).collect();
                let value = named(key(view, hook, method, None));
                if value.is_some() || !controls.is_empty() {
                    panel.points.push(Point { column, place, mark: marks[method], value, controls });
                }
            }
        }
        panel
    }

    /// The legend of methods and controls, where `label` names a method.
    pub fn legend(
        &self,
        view: &View<'_>,
        marks: &[Mark],
        has_intervals: bool,
        label: impl Fn(&str) -> String,
    ) -> Legend {
        let method = |&nth: &usize| (Key::Method(marks[nth]), label(view.methods[nth]));
        let control = |&nth: &usize| {
            let style = Style::of(view.controls[nth]);
            (Key::Control(style), style.meaning(view.controls[nth], has_intervals))
        };
        Legend(distinct(self.methods.iter().map(method).chain(self.controls.iter().map(control))))
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
        Self { columns, x_label: site.axis(), y_label, counts, methods: places.methods.len(), panels, legend }
    }

    fn plot_width(&self) -> f64 {
        let slots = (self.methods + 1) as f64 * self.columns.len() as f64;
        (slots * 17.5).clamp(520.0, 1000.0_f64.max(slots * 11.0).min(2400.0))
    }

    fn draw_panel(&self, canvas: &mut Canvas, area: Area, panel: &Panel) {
        let scale = Scale::linear(panel.extent());
        let scale = if self.counts { scale.counting().with_room_below() } else { scale };
        let scale = scale.over(area.bottom(), area.y);
        let column_width = area.width / self.columns.len() as f64;
        let left = |column: usize| area.x + column as f64 * column_width;
        for i in (0..self.columns.len()).step_by(2) {
            canvas.block(left(i), area.y, column_width, area.height, Ink::Band, 1.0);
        }
        frame::draw_y(canvas, area, &scale, true);
        frame::draw_frame(canvas, area, None, &panel.title);
        for (column, range) in &panel.ranges {
            let across = (left(*column), left(*column) + column_width);
            controls::draw_range(canvas, Axis::Upright(&scale), range, across);
        }
        let slot = column_width / (self.methods + 1) as f64;
        let x = |point: &Point| left(point.column) + (point.place + 1) as f64 * slot;
        let half = (0.4 * slot).min(7.0);
        for point in &panel.points {
            for control in &point.controls {
                controls::draw_own(canvas, Axis::Upright(&scale), control, point.mark.ink, (x(point), half));
            }
        }
        for point in &panel.points {
            let Some(value) = &point.value else { continue };
            canvas.begin(&value.words);
            if let Some((low, high)) = value.interval {
                canvas.line((x(point), scale.at(low)), (x(point), scale.at(high)), point.mark.ink, 1.5);
            }
            let at = (Coordinate::Category(x(point)), scale.place(value.value));
            marks::draw(canvas, point.mark, at.0, at.1, 3.7);
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
