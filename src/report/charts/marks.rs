//! Marks: a colour and a symbol. Which method has which is said in `palette.rs`.

use strum::VariantArray;

use super::axis::Coordinate;
use super::canvas::Canvas;
use super::style::Ink;

/// How a method is marked in every chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub ink: Ink,
    pub shape: Shape,
}

/// Symbols that can be told apart when small. The centre of each, the mean of its corners, is the place of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
pub enum Shape {
    Circle,
    Square,
    Diamond,
    Up,
    Down,
    Left,
    Right,
    Plus,
    Cross,
    Asterisk,
    OpenCircle,
    OpenSquare,
    OpenDiamond,
    OpenUp,
    OpenDown,
    OpenLeft,
    OpenRight,
    /// A circle with a dot inside.
    Bullseye,
}

/// Width of outlines, px.
const OUTLINE: f64 = 1.4;

/// Draws a mark of radius `r` px.
pub fn draw(canvas: &mut Canvas, mark: Mark, x: Coordinate, y: Coordinate, r: f64) {
    #[cfg(test)]
    canvas.note(0, x, y);
    stroke(canvas, mark, (x.px(), y.px()), r, 0.0);
}

/// Draws a mark over a rim in the colour of the paper, so that marks on each other stay apart.
pub fn draw_rimmed(canvas: &mut Canvas, mark: Mark, x: Coordinate, y: Coordinate, r: f64) {
    stroke(canvas, Mark { ink: Ink::Paper, ..mark }, (x.px(), y.px()), r, 1.8);
    draw(canvas, mark, x, y, r);
}

/// Draws a mark in a legend or beside a title.
pub fn draw_key(canvas: &mut Canvas, mark: Mark, x: f64, y: f64, r: f64) {
    stroke(canvas, mark, (x, y), r, 0.0);
}

/// Corners of a triangle that points to the right; its centre is the mean of its corners.
const RIGHT: [(f64, f64); 3] = [(1.3, 0.0), (-0.65, 1.1), (-0.65, -1.1)];

/// The corners of a symbol with straight edges, for a radius of 1.
fn corners(shape: Shape) -> Vec<(f64, f64)> {
    let turned = |turn: fn((f64, f64)) -> (f64, f64)| RIGHT.into_iter().map(turn).collect();
    match shape {
        Shape::Square | Shape::OpenSquare => vec![(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        Shape::Diamond | Shape::OpenDiamond => vec![(0.0, -1.25), (1.1, 0.0), (0.0, 1.25), (-1.1, 0.0)],
        Shape::Up | Shape::OpenUp => turned(|(x, y)| (y, -x)),
        Shape::Down | Shape::OpenDown => turned(|(x, y)| (y, x)),
        Shape::Left | Shape::OpenLeft => turned(|(x, y)| (-x, y)),
        Shape::Right | Shape::OpenRight => turned(|corner| corner),
        _ => Vec::new(),
    }
}

/// Lines through the centre at these angles from the horizontal, in eighths of a turn.
fn spokes((x, y): (f64, f64), length: f64, angles: &[f64]) -> Vec<[(f64, f64); 2]> {
    let spoke = |angle: &f64| {
        let (sine, cosine) = (angle * std::f64::consts::FRAC_PI_4).sin_cos();
        let (dx, dy) = (length * cosine, length * sine);
        [(x - dx, y - dy), (x + dx, y + dy)]
    };
    angles.iter().map(spoke).collect()
}

/// The shapes of a mark, with strokes so many px wider than usual.
fn stroke(canvas: &mut Canvas, Mark { ink, shape }: Mark, at: (f64, f64), r: f64, wider: f64) {
    let (x, y) = at;
    let width = OUTLINE + wider;
    match shape {
        Shape::Circle => canvas.circle(x, y, r, Some(ink), ink, width),
        Shape::OpenCircle => canvas.circle(x, y, r, None, ink, width),
        Shape::Bullseye => {
            canvas.circle(x, y, 1.1 * r, None, ink, width);
            canvas.circle(x, y, 0.35 * r, Some(ink), ink, width);
        }
        Shape::Plus => canvas.lines(&spokes(at, 1.3 * r, &[0.0, 2.0]), ink, width + 0.6),
        Shape::Cross => canvas.lines(&spokes(at, 1.35 * r, &[1.0, 3.0]), ink, width + 0.4),
        Shape::Asterisk => {
            canvas.lines(&spokes(at, 1.35 * r, &[2.0, 2.0 / 3.0, -2.0 / 3.0]), ink, width + 0.2);
        }
        _ => {
            let points: Vec<(f64, f64)> =
                corners(shape).into_iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
            canvas.polygon(&points, (!is_open(shape)).then_some(ink), ink, width);
        }
    }
}

fn is_open(shape: Shape) -> bool {
    use Shape::{OpenDiamond, OpenDown, OpenLeft, OpenRight, OpenSquare, OpenUp};
    matches!(shape, OpenSquare | OpenDiamond | OpenUp | OpenDown | OpenLeft | OpenRight)
}

/// Dots of radius `r` px, one for each place. Dots take turns in a few shapes, so that where many lie on each other,
/// the colour is darker.
pub fn draw_dots(canvas: &mut Canvas, places: &[(Coordinate, Coordinate)], r: f64, ink: Ink) {
    const SHAPES: usize = 4;
    const OPACITY: f64 = 0.55;
    for first in 0..SHAPES.min(places.len()) {
        let mut centres = Vec::with_capacity(places.len() / SHAPES + 1);
        for &(x, y) in places.iter().skip(first).step_by(SHAPES) {
            #[cfg(test)]
            canvas.note(centres.len(), x, y);
            centres.push((x.px(), y.px()));
        }
        canvas.dots(&centres, r, ink, OPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charts::style::Paper;
    use crate::report::charts::tests::centre;

    #[test]
    fn the_centre_of_every_symbol_is_its_place() {
        for &shape in Shape::VARIANTS {
            let mut canvas = Canvas::new(100.0, 100.0, Paper::File);
            let mark = Mark { ink: Ink::Series(1), shape };
            draw_rimmed(&mut canvas, mark, Coordinate::Category(40.3), Coordinate::Category(61.7), 4.6);
            let (x, y) = centre(&canvas, &canvas.plotted()[0]);
            assert!((x - 40.3).abs() < 0.1 && (y - 61.7).abs() < 0.1, "{shape:?} at {x}, {y}");
        }
    }
}
