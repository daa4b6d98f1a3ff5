//! The legend: below the panels, in columns, never over data.

use super::canvas::{Anchor, Canvas};
use super::marks::{self, Mark};
use super::style::{Ink, LABEL_SIZE as SIZE};
use super::text;

const ROW: f64 = 21.0;
const MARK_ROOM: f64 = 20.0;
const GAP: f64 = 22.0;

/// What the marks mean.
pub struct Legend {
    entries: Vec<(Mark, String)>,
}

impl Legend {
    /// Entries in reading order.
    pub fn new(entries: Vec<(Mark, String)>) -> Self {
        Self { entries }
    }

    fn column_width(&self) -> f64 {
        let widest =
            self.entries.iter().map(|(_, label)| text::width(label, f64::from(SIZE))).fold(0.0, f64::max);
        MARK_ROOM + widest + GAP
    }

    fn columns(&self, width: f64) -> usize {
        ((width / self.column_width()).floor() as usize).clamp(1, self.entries.len().max(1))
    }

    /// Height in px when laid out in `width` px.
    pub fn height(&self, width: f64) -> f64 {
        self.entries.len().div_ceil(self.columns(width)) as f64 * ROW
    }

    /// Draws it; entries run down each column.
    pub fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64) {
        let rows = self.entries.len().div_ceil(self.columns(width)).max(1);
        let step = self.column_width();
        for (i, (mark, label)) in self.entries.iter().enumerate() {
            let left = x + (i / rows) as f64 * step;
            let middle = y + (i % rows) as f64 * ROW + ROW / 2.0;
            marks::draw(canvas, *mark, left + 7.0, middle, 4.6);
            let label = text::cut(label, f64::from(SIZE), width - MARK_ROOM);
            canvas.text(left + MARK_ROOM, middle + 4.5, &label, SIZE, Anchor::Start, Ink::Text);
        }
    }
}
