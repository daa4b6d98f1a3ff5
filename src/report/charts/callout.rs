//! Names of marks that lie on each other: beside them, with a line to their place. The marks themselves stay where their
//! numbers are.

use super::axis::Area;
use super::canvas::{Anchor, Canvas};
use super::style::{Ink, SMALL_SIZE};
use super::text;

/// A mark that may lie on others.
pub struct Named<'n> {
    pub name: &'n str,
    pub at: (f64, f64),
}

/// Distance of marks that hide each other, in radii.
const TOGETHER: f64 = 1.1;
/// Names that are written; more are counted.
const NAMED: usize = 8;
const LINE: f64 = 12.5;

fn distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    (a.0 - b.0).hypot(a.1 - b.1)
}

/// Groups of two or more marks of radius `r` that hide each other: each is near another of its group.
fn groups(marks: &[Named<'_>], r: f64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for nth in 0..marks.len() {
        let touches = |group: &Vec<usize>| {
            group.iter().any(|&other| distance(marks[nth].at, marks[other].at) <= TOGETHER * r)
        };
        let (near, mut rest): (Vec<_>, Vec<_>) = groups.into_iter().partition(touches);
        let mut joined: Vec<usize> = near.into_iter().flatten().chain([nth]).collect();
        joined.sort_unstable();
        rest.push(joined);
        groups = rest;
    }
    groups.retain(|group| group.len() > 1);
    groups
}

fn lines(names: &[&str], limit: f64) -> Vec<String> {
    let cut = |name: &&str| text::cut(name, f64::from(SMALL_SIZE), limit);
    let mut lines: Vec<String> = names.iter().take(NAMED).map(cut).collect();
    if names.len() > NAMED {
        lines.push(format!("and {} more", names.len() - NAMED));
    }
    lines
}

fn overlap(a: &Area, b: &Area) -> bool {
    a.x < b.right() && b.x < a.right() && a.y < b.bottom() && b.y < a.bottom()
}

/// A free rectangle of this size near a point and inside the panel; none if there is no room.
fn room(area: Area, at: (f64, f64), (width, height): (f64, f64), taken: &[Area]) -> Option<Area> {
    let directions = (0..16).map(|eighth| f64::from(eighth) * std::f64::consts::TAU / 16.0);
    let steps = (0..14).map(|step| 12.0 + 9.0 * f64::from(step));
    let spot = |(gap, angle): (f64, f64)| {
        // Upwards to the left first: most groups are at the right edge of a panel, at the bottom.
        let (dx, dy) = (-angle.cos(), -angle.sin());
        let x = at.0 + dx * gap + (dx - 1.0) / 2.0 * width;
        let y = at.1 + dy * gap + (dy - 1.0) / 2.0 * height;
        Area { x, y, width, height }
    };
    let is_free = |spot: &Area| {
        let inside = spot.x >= area.x + 3.0
            && spot.right() <= area.right() - 3.0
            && spot.y >= area.y + 2.0
            && spot.bottom() <= area.bottom() - 2.0;
        inside && !taken.iter().any(|other| overlap(spot, other))
    };
    steps.flat_map(|gap| directions.clone().map(move |angle| (gap, angle))).map(spot).find(is_free)
}

/// The names of the marks of each group, with a line from the names to the marks.
pub fn draw(canvas: &mut Canvas, area: Area, marks: &[Named<'_>], r: f64) {
    let around = |(x, y): (f64, f64)| Area {
        x: x - r - 2.0,
        y: y - r - 2.0,
        width: 2.0 * r + 4.0,
        height: 2.0 * r + 4.0,
    };
    let mut taken: Vec<Area> = marks.iter().map(|mark| around(mark.at)).collect();
    for group in groups(marks, r) {
        let names: Vec<&str> = group.iter().map(|&nth| marks[nth].name).collect();
        let lines = lines(&names, area.width / 2.0);
        let widths = lines.iter().map(|line| text::width(line, f64::from(SMALL_SIZE)));
        let size = (widths.fold(0.0, f64::max) + 4.0, LINE * lines.len() as f64 + 2.0);
        let at = marks[group[0]].at;
        let Some(spot) = room(area, at, size, &taken) else { continue };
        // From the nearest point of the names to the rim of the marks.
        let near = (at.0.clamp(spot.x, spot.right()), at.1.clamp(spot.y, spot.bottom()));
        let share = (r + 1.0) / distance(near, at).max(r + 1.0);
        let rim = (at.0 + share * (near.0 - at.0), at.1 + share * (near.1 - at.1));
        canvas.line(near, rim, Ink::Muted, 0.9);
        for (nth, line) in lines.iter().enumerate() {
            let y = spot.y + LINE * (nth + 1) as f64 - 2.0;
            let (x, anchor) = match near.0 > spot.x + spot.width / 2.0 {
                true => (spot.right() - 2.0, Anchor::End),
                false => (spot.x + 2.0, Anchor::Start),
            };
            canvas.text(x, y, line, SMALL_SIZE, anchor, Ink::Text);
        }
        taken.push(spot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AREA: Area = Area { x: 0.0, y: 0.0, width: 240.0, height: 200.0 };

    fn named(at: &[(f64, f64)]) -> Vec<Named<'static>> {
        at.iter().map(|at| Named { name: "pca_oriented", at: *at }).collect()
    }

    #[test]
    fn marks_that_hide_each_other_form_a_group() {
        let marks =
            named(&[(50.0, 50.0), (90.0, 50.0), (51.0, 50.0), (90.0, 53.0), (150.0, 9.0), (94.0, 55.0)]);
        assert_eq!(groups(&marks, 4.6), [vec![0, 2], vec![1, 3, 5]]);
    }

    #[test]
    fn names_are_inside_the_panel_and_on_nothing_else() {
        let at = (230.0, 190.0);
        let taken = [Area { x: 224.0, y: 184.0, width: 12.0, height: 12.0 }];
        let spot = room(AREA, at, (90.0, 52.0), &taken).expect("room");
        assert!(
            spot.x >= 3.0 && spot.right() <= 237.0 && spot.y >= 2.0 && spot.bottom() <= 198.0,
            "{spot:?}"
        );
        assert!(!overlap(&spot, &taken[0]));
        let second = room(AREA, at, (90.0, 52.0), &[taken[0], spot]).expect("room");
        assert!(!overlap(&spot, &second));
        assert!(room(AREA, at, (900.0, 52.0), &taken).is_none());
    }
}
