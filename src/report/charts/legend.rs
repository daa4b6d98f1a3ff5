//! The legend of a chart: below the panels, in columns.

use super::canvas::{Anchor, Canvas};
use super::controls::{self, Key};
use super::marks;
use super::style::{Ink, LABEL_SIZE as SIZE};
use super::text;

const ROW: f64 = 21.0;
const MARK_ROOM: f64 = 20.0;
const GAP: f64 = 22.0;

/// Marks and bands with their meanings, in reading order.
#[derive(Clone)]
pub struct Legend(pub Vec<(Key, String)>);

/// Entries that share columns.
struct Group<'l>(Vec<&'l (Key, String)>);

impl Group<'_> {
    fn column_width(&self) -> f64 {
        let widths = self.0.iter().map(|(_, label)| text::width(label, f64::from(SIZE)));
        MARK_ROOM + widths.fold(0.0, f64::max) + GAP
    }

    fn rows(&self, width: f64) -> usize {
        let columns = (width / self.column_width()).floor() as usize;
        self.0.len().div_ceil(columns.clamp(1, self.0.len().max(1)))
    }

    /// Draws it; entries run down each column.
    fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        let rows = self.rows(width).max(1);
        let step = self.column_width();
        for (i, (key, label)) in self.0.iter().enumerate() {
            let left = x + (i / rows) as f64 * step;
            let middle = y + (i % rows) as f64 * ROW + ROW / 2.0;
            match key {
                Key::Method(mark) => marks::draw_key(canvas, *mark, left + 7.0, middle, 4.6),
                Key::Control(style) => controls::draw_key(canvas, *style, left + 7.0, middle),
                Key::Line(ink, dashed) => {
                    canvas.polyline(&[(left, middle), (left + 14.0, middle)], *ink, 1.4, *dashed);
                }
            }
            let label = text::cut(label, f64::from(SIZE), width - MARK_ROOM);
            canvas.text(left + MARK_ROOM, middle + 4.5, &label, SIZE, Anchor::Start, Ink::Text);
        }
    }
}

impl Legend {
    /// Methods, then controls.
    fn groups(&self) -> [Group<'_>; 2] {
        let (methods, controls) = self.0.iter().partition(|(key, _)| matches!(key, Key::Method(_)));
        [Group(methods), Group(controls)]
    }

    pub fn height(&self, width: f64) -> f64 {
        self.groups().iter().map(|group| group.rows(width) as f64 * ROW).sum()
    }

    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        let mut y = y;
        for group in self.groups() {
            group.draw(canvas, x, y, width);
            y += group.rows(width) as f64 * ROW;
        }
    }
}
