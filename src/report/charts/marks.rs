//! One colour and one shape per method. Variants of a method (`pca_split` beside `pca`) share its
//! colour and differ in shape, so the eye finds families first.

use super::canvas::Canvas;
use super::style::{Ink, N_COLOURS};
use crate::report::view::View;

/// How a method is marked in every chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its colour.
    pub ink: Ink,
    /// Its shape.
    pub shape: Shape,
}

/// Shapes that stay apart when small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Circle,
    Square,
    Up,
    Diamond,
    Down,
    Plus,
    Cross,
    OpenCircle,
    OpenSquare,
    OpenUp,
    OpenDiamond,
    OpenDown,
}

const SHAPES: [Shape; 12] = [
    Shape::Circle,
    Shape::Square,
    Shape::Up,
    Shape::Diamond,
    Shape::Down,
    Shape::Plus,
    Shape::Cross,
    Shape::OpenCircle,
    Shape::OpenSquare,
    Shape::OpenUp,
    Shape::OpenDiamond,
    Shape::OpenDown,
];

/// The mark of each control, in order of appearance; all grey.
pub fn control_mark(index: usize) -> Mark {
    let shapes = [Shape::Cross, Shape::OpenDiamond, Shape::OpenSquare, Shape::Plus];
    Mark { ink: Ink::Control, shape: shapes[index % shapes.len()] }
}

/// The method itself, or the shorter method that it is a variant of.
fn family<'a>(method: &'a str, methods: &[&'a str]) -> &'a str {
    methods
        .iter()
        .copied()
        .filter(|other| method.strip_prefix(other).is_some_and(|rest| rest.starts_with('_')))
        .min_by_key(|other| other.len())
        .unwrap_or(method)
}

/// A mark for each method of a view, in order; the points of a sweep have one in common.
pub fn of_view(view: &View<'_>) -> Vec<Mark> {
    let mut lines: Vec<&str> = Vec::new();
    let line_of: Vec<usize> = view
        .methods
        .iter()
        .map(|method| {
            let line = view.line_of(method);
            lines.iter().position(|other| *other == line).unwrap_or_else(|| {
                lines.push(line);
                lines.len() - 1
            })
        })
        .collect();
    let marks = assign(&lines);
    line_of.into_iter().map(|line| marks[line]).collect()
}

/// A mark for each method, in order; no two alike while there are enough.
pub fn assign(methods: &[&str]) -> Vec<Mark> {
    let mut families: Vec<&str> = Vec::new();
    let mut marks: Vec<Mark> = Vec::new();
    for (i, method) in methods.iter().enumerate() {
        let family = family(method, methods);
        let colour = families.iter().position(|known| *known == family).unwrap_or_else(|| {
            families.push(family);
            families.len() - 1
        });
        let ink = Ink::Series(colour % N_COLOURS);
        let variant = methods[..i].iter().filter(|other| self::family(other, methods) == family).count();
        // Families start at different shapes; variants follow on.
        let start = if variant == 0 && family == *method { colour % 4 } else { colour % 4 + variant };
        let free = (0..SHAPES.len())
            .map(|step| Mark { ink, shape: SHAPES[(start + step) % SHAPES.len()] })
            .find(|mark| !marks.contains(mark));
        marks.push(free.unwrap_or(Mark { ink, shape: SHAPES[i % SHAPES.len()] }));
    }
    marks
}

/// Draws a mark of radius `r` px.
pub fn draw(canvas: &mut Canvas, mark: Mark, x: f64, y: f64, r: f64) {
    let polygon: &[(f64, f64)] = match mark.shape {
        Shape::Circle => {
            canvas.circle(x, y, r, Some(mark.ink), mark.ink);
            return;
        }
        Shape::OpenCircle => {
            canvas.circle(x, y, r, None, mark.ink);
            return;
        }
        Shape::Plus => {
            canvas.line((x - r * 1.1, y), (x + r * 1.1, y), mark.ink, 2.0);
            canvas.line((x, y - r * 1.1), (x, y + r * 1.1), mark.ink, 2.0);
            return;
        }
        Shape::Cross => {
            let d = r * 0.85;
            canvas.line((x - d, y - d), (x + d, y + d), mark.ink, 1.8);
            canvas.line((x - d, y + d), (x + d, y - d), mark.ink, 1.8);
            return;
        }
        Shape::Square | Shape::OpenSquare => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        Shape::Up | Shape::OpenUp => &[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        Shape::Down | Shape::OpenDown => &[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
        Shape::Diamond | Shape::OpenDiamond => &[(0.0, -1.25), (1.1, 0.0), (0.0, 1.25), (-1.1, 0.0)],
    };
    let open = matches!(mark.shape, Shape::OpenSquare | Shape::OpenUp | Shape::OpenDiamond | Shape::OpenDown);
    let points: Vec<(f64, f64)> = polygon.iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
    canvas.polygon(&points, (!open).then_some(mark.ink), mark.ink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_own_mark_and_variants_share_a_colour() {
        let methods = [
            "sae",
            "topk",
            "neuron",
            "random",
            "pca",
            "pca_oriented",
            "pca_split",
            "pca_topk",
            "ica",
            "ica_oriented",
            "ica_split",
            "ica_topk",
        ];
        let marks = assign(&methods);
        for (i, mark) in marks.iter().enumerate() {
            assert!(!marks[..i].contains(mark), "{} has another method's mark", methods[i]);
        }
        assert_eq!(marks[4].ink, marks[7].ink);
        assert_ne!(marks[1].ink, marks[7].ink);
        assert_ne!(marks[4].ink, marks[8].ink);
    }

    #[test]
    fn many_methods_are_still_kept_apart() {
        let names: Vec<String> = (0..40).map(|i| format!("method{i}")).collect();
        let methods: Vec<&str> = names.iter().map(String::as_str).collect();
        let marks = assign(&methods);
        for (i, mark) in marks.iter().enumerate() {
            assert!(!marks[..i].contains(mark), "{} has another method's mark", methods[i]);
        }
    }
}
