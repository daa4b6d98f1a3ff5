//! The axes and the frame of a panel.

use super::axis::{Area, Scale};
use super::canvas::{Anchor, Canvas};
use super::style::{Ink, LABEL_SIZE, TICK_SIZE};
use super::text;

/// Colour and width of the grid line at a value: 0 on a linear scale stands out.
fn grid_line(scale: &Scale, value: f64) -> (Ink, f64) {
    if !scale.is_log() && value == 0.0 { (Ink::Muted, 1.2) } else { (Ink::Grid, 1.0) }
}

/// Grid lines and labels of a vertical axis at the left edge.
pub fn draw_y(canvas: &mut Canvas, area: Area, scale: &Scale, labelled: bool) {
    for (value, label) in scale.ticks(5) {
        let y = scale.at(value);
        let (ink, width) = grid_line(scale, value);
        canvas.line((area.x, y), (area.right(), y), ink, width);
        if labelled {
            canvas.text(area.x - 7.0, y + 4.0, &label, TICK_SIZE, Anchor::End, Ink::Text);
        }
    }
}

/// How far a label may reach beyond its panel, px. Another panel may be beside it.
const OVERHANG: f64 = 8.0;

/// Grid lines and labels of a horizontal axis at the lower edge.
pub fn draw_x(canvas: &mut Canvas, area: Area, scale: &Scale) {
    let mut free_from = f64::NEG_INFINITY;
    for (value, label) in scale.ticks(6) {
        let x = scale.at(value);
        let (ink, width) = grid_line(scale, value);
        canvas.line((x, area.y), (x, area.bottom()), ink, width);
        let half = text::width(&label, f64::from(TICK_SIZE)) / 2.0;
        let x = x.clamp((area.x - OVERHANG + half).min(x), (area.right() + OVERHANG - half).max(area.x));
        if x - half > free_from {
            canvas.text(x, area.bottom() + 17.0, &label, TICK_SIZE, Anchor::Middle, Ink::Text);
            free_from = x + half + 6.0;
        }
    }
}

/// The break of a horizontal axis between 0 and the rest of a logarithmic scale; drawn over the panel's frame.
fn draw_break(canvas: &mut Canvas, area: Area, scale: &Scale) {
    let Some(x) = scale.axis_break() else { return };
    let y = area.bottom();
    canvas.block(x - 2.0, y - 2.0, 4.0, 4.0, Ink::Paper, 1.0);
    let slash = |x: f64| [(x - 2.0, y + 4.0), (x + 2.0, y - 4.0)];
    canvas.lines(&[slash(x - 2.5), slash(x + 2.5)], Ink::Muted, 1.2);
}

/// The outline of a panel, broken where the horizontal scale is, and its title above.
pub fn draw_frame(canvas: &mut Canvas, area: Area, x_scale: Option<&Scale>, title: &str) {
    let corners =
        [(area.x, area.y), (area.right(), area.y), (area.right(), area.bottom()), (area.x, area.bottom())];
    canvas.polygon_outline(&corners, Ink::Grid);
    if let Some(scale) = x_scale {
        draw_break(canvas, area, scale);
    }
    let shown = text::cut(title, f64::from(LABEL_SIZE), area.width);
    canvas.text(area.x, area.y - 8.0, &shown, LABEL_SIZE, Anchor::Start, Ink::Text);
}
