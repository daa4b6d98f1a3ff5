//! One colour and one shape per method. Variants of a method (`pca_split` of `pca`) share its colour and differ in
//! shape.

use strum::VariantArray;

use super::canvas::Canvas;
use super::style::{Ink, N_COLOURS};
use crate::report::list::Numbering;
use crate::report::view::View;

/// How a method is marked in every chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub ink: Ink,
    pub shape: Shape,
}

/// Shapes that can be told apart when small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, VariantArray)]
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

/// The shape at an index that wraps around.
fn shape(index: usize) -> Shape {
    Shape::VARIANTS[index % Shape::VARIANTS.len()]
}

pub fn control_mark(index: usize) -> Mark {
    let shapes = [Shape::Cross, Shape::OpenDiamond, Shape::OpenSquare, Shape::Plus];
    Mark { ink: Ink::Control, shape: shapes[index % shapes.len()] }
}

/// The shortest method that this one is a variant of, or the method itself.
fn family<'a>(method: &'a str, methods: &[&'a str]) -> &'a str {
    let is_variant_of =
        |other: &&&str| method.strip_prefix(**other).is_some_and(|rest| rest.starts_with('_'));
    methods.iter().filter(is_variant_of).min_by_key(|other| other.len()).copied().unwrap_or(method)
}

/// The mark of each method of a view; the methods of a sweep share one.
pub fn of_view(view: &View<'_>) -> Vec<Mark> {
    let mut lines = Numbering::default();
    let numbers: Vec<usize> = view.methods.iter().map(|method| lines.number(view.line_of(method))).collect();
    let marks = assign(&lines.items);
    numbers.into_iter().map(|number| marks[number]).collect()
}

/// A mark for each method, all different as long as there are enough.
pub fn assign(methods: &[&str]) -> Vec<Mark> {
    let mut families = Numbering::default();
    let mut marks: Vec<Mark> = Vec::new();
    for (i, method) in methods.iter().enumerate() {
        let family = family(method, methods);
        let colour = families.number(family);
        let ink = Ink::Series(colour % N_COLOURS);
        // Families start at different shapes; variants follow.
        let variant = methods[..i].iter().filter(|other| self::family(other, methods) == family).count();
        let start = colour % 4 + variant;
        let mut free = (0..Shape::VARIANTS.len()).map(|step| Mark { ink, shape: shape(start + step) });
        let free = free.find(|mark| !marks.contains(mark));
        marks.push(free.unwrap_or(Mark { ink, shape: shape(i) }));
    }
    marks
}

/// Draws a mark of radius `r` px.
pub fn draw(canvas: &mut Canvas, mark: Mark, x: f64, y: f64, r: f64) {
    let ink = mark.ink;
    let corners: &[(f64, f64)] = match mark.shape {
        Shape::Circle => return canvas.circle(x, y, r, Some(ink), ink),
        Shape::OpenCircle => return canvas.circle(x, y, r, None, ink),
        Shape::Plus => {
            let d = r * 1.1;
            return canvas.lines(&[[(x - d, y), (x + d, y)], [(x, y - d), (x, y + d)]], ink, 2.0);
        }
        Shape::Cross => {
            let d = r * 0.85;
            let lines = [[(x - d, y - d), (x + d, y + d)], [(x - d, y + d), (x + d, y - d)]];
            return canvas.lines(&lines, ink, 1.8);
        }
        Shape::Square | Shape::OpenSquare => &[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
        Shape::Up | Shape::OpenUp => &[(0.0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
        Shape::Down | Shape::OpenDown => &[(0.0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
        Shape::Diamond | Shape::OpenDiamond => &[(0.0, -1.25), (1.1, 0.0), (0.0, 1.25), (-1.1, 0.0)],
    };
    let open = matches!(mark.shape, Shape::OpenSquare | Shape::OpenUp | Shape::OpenDiamond | Shape::OpenDown);
    let points: Vec<(f64, f64)> = corners.iter().map(|(dx, dy)| (x + dx * r, y + dy * r)).collect();
    canvas.polygon(&points, (!open).then_some(ink), ink);
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
