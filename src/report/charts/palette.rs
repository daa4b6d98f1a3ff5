//! The colour and symbol of every method: the one table of known names, and the rule for all others.
//!
//! Both depend on names alone, so a method looks the same in every chart, in every run, and whatever stands beside it.
//! Symbols in the table are all different, so colour is never the only difference. Methods of one family (`pca…`,
//! `ica…`) share a colour.

use strum::VariantArray;

use super::facts::{Facts, base_of_variant};
use super::marks::{Mark, Shape};
use super::style::{Ink, N_COLOURS};
use crate::base::Digest;
use crate::report::list::Numbering;
use crate::report::view::View;

const BLACK: usize = 0;
const VERMILLION: usize = 1;
const BLUE: usize = 2;
const GREEN: usize = 3;
const PURPLE: usize = 4;
const SKY: usize = 5;
const ORANGE: usize = 6;
const YELLOW: usize = 7;

/// Known names. They are also names of kinds.
const KNOWN: [(&str, usize, Shape); 18] = [
    ("sae", BLACK, Shape::Circle),
    ("sae_untied", BLACK, Shape::OpenCircle),
    ("topk", VERMILLION, Shape::Square),
    ("batch_topk", VERMILLION, Shape::OpenSquare),
    ("gated", ORANGE, Shape::Diamond),
    ("jumprelu", ORANGE, Shape::OpenDiamond),
    ("matryoshka", YELLOW, Shape::Bullseye),
    ("neuron", BLUE, Shape::Plus),
    ("identity", BLUE, Shape::Asterisk),
    ("random", GREEN, Shape::Cross),
    ("pca", PURPLE, Shape::Up),
    ("pca_oriented", PURPLE, Shape::OpenUp),
    ("pca_split", PURPLE, Shape::Right),
    ("pca_topk", PURPLE, Shape::OpenRight),
    ("ica", SKY, Shape::Down),
    ("ica_oriented", SKY, Shape::OpenDown),
    ("ica_split", SKY, Shape::Left),
    ("ica_topk", SKY, Shape::OpenLeft),
];

fn known(name: &str) -> Option<Mark> {
    let (_, colour, shape) = KNOWN.iter().find(|(known, _, _)| *known == name)?;
    Some(Mark { ink: Ink::Series(*colour), shape: *shape })
}

/// The mark of each method of a view; the methods of a sweep share one.
pub fn of_view(view: &View<'_>, facts: &Facts) -> Vec<Mark> {
    let mut lines = Numbering::default();
    let numbers: Vec<usize> = view.methods.iter().map(|method| lines.number(view.line_of(method))).collect();
    let kind = |line: &str| {
        let methods = view.methods.iter().filter(|method| view.line_of(method) == line);
        std::iter::once(line).chain(methods.copied()).find_map(|method| facts.kind(method))
    };
    let named: Vec<(&str, Option<&str>)> = lines.items.iter().map(|line| (*line, kind(line))).collect();
    let marks = assign(&named);
    numbers.into_iter().map(|number| marks[number]).collect()
}

/// The mark of each name, given with its recorded kind if there is one. An unknown name takes the colour of its kind,
/// or of the known name that it begins with, and a symbol by its digest. Where two unknown names want the same mark,
/// the first in the alphabet has it and the other takes the next free one.
pub fn assign(methods: &[(&str, Option<&str>)]) -> Vec<Mark> {
    let mut unknown: Vec<&(&str, Option<&str>)> =
        methods.iter().filter(|(name, _)| known(name).is_none()).collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut given: Vec<(&str, Mark)> = Vec::new();
    for (name, kind) in unknown {
        let is_free = |mark: &Mark| {
            let in_table = KNOWN.iter().any(|(known_name, _, _)| known(known_name) == Some(*mark));
            !in_table && given.iter().all(|(_, other)| other != mark)
        };
        let mut wanted = wishes(name, *kind);
        let mark = wanted.clone().find(is_free).or_else(|| wanted.next());
        given.extend(mark.map(|mark| (*name, mark)));
    }
    let of = |name: &str| {
        let other = given.iter().find(|(given, _)| *given == name).map(|(_, mark)| *mark);
        known(name).or(other).unwrap_or(Mark { ink: Ink::Text, shape: Shape::Circle })
    };
    methods.iter().map(|(name, _)| of(name)).collect()
}

/// All marks in the order in which an unknown name wants them: every symbol in its own colour, then the other colours.
fn wishes(name: &str, kind: Option<&str>) -> impl Iterator<Item = Mark> + Clone {
    let shapes = Shape::VARIANTS.len();
    let (colour, shape) = (colour(name, kind), number(name) % shapes);
    (0..N_COLOURS * shapes).map(move |step| Mark {
        ink: Ink::Series((colour + step / shapes) % N_COLOURS),
        shape: Shape::VARIANTS[(shape + step) % shapes],
    })
}

fn colour(name: &str, kind: Option<&str>) -> usize {
    let of_known = |name: &str| KNOWN.iter().find(|(known, _, _)| *known == name);
    let begins = |known: &&(&str, usize, Shape)| {
        name.strip_prefix(known.0).is_some_and(|rest| rest.starts_with(['_', '-', '.']))
    };
    let of_prefix = || KNOWN.iter().filter(begins).max_by_key(|(known, _, _)| known.len());
    let found = kind.and_then(of_known).or_else(of_prefix).map(|(_, colour, _)| *colour);
    found.unwrap_or_else(|| number(base_of_variant(name).unwrap_or(name)) % N_COLOURS)
}

/// A number that depends on a text alone.
fn number(text: &str) -> usize {
    let [first, second, ..] = Digest::of(text.as_bytes()).bytes();
    usize::from(u16::from_be_bytes([first, second]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(names: &[&str]) -> Vec<Mark> {
        assign(&names.iter().map(|name| (*name, None)).collect::<Vec<_>>())
    }

    #[test]
    fn symbols_of_known_methods_are_all_different_and_families_share_a_colour() {
        for (i, (name, colour, shape)) in KNOWN.iter().enumerate() {
            for (other, other_colour, other_shape) in &KNOWN[..i] {
                assert_ne!(shape, other_shape, "{name} and {other}");
                let family = |name: &str| ["pca", "ica"].into_iter().find(|family| name.starts_with(family));
                if family(name).is_some() || family(other).is_some() {
                    assert_eq!(family(name) == family(other), colour == other_colour, "{name} and {other}");
                }
            }
        }
    }

    #[test]
    fn a_method_looks_the_same_in_every_run_and_subset() {
        let all = ["sae", "topk", "mine", "random", "pca", "pca_topk", "pca_64", "ica_split", "theirs"];
        let full = marks(&all);
        let mut turned = all;
        turned.reverse();
        assert_eq!(marks(&turned).into_iter().rev().collect::<Vec<_>>(), full, "the order changes nothing");
        for left_out in 0..all.len() {
            let kept: Vec<usize> = (0..all.len()).filter(|nth| *nth != left_out).collect();
            let names: Vec<&str> = kept.iter().map(|nth| all[*nth]).collect();
            for (nth, mark) in kept.iter().zip(marks(&names)) {
                let is_known = known(all[*nth]).is_some();
                assert!(!is_known || mark == full[*nth], "{} without {}", all[*nth], all[left_out]);
                assert!(is_known || known(all[left_out]).is_none() || mark == full[*nth], "{}", all[*nth]);
            }
        }
        assert_eq!(full[0], Mark { ink: Ink::Series(BLACK), shape: Shape::Circle });
        assert_eq!((full[6].ink, full[5].ink), (full[4].ink, full[4].ink), "pca_64 is of the family of pca");
    }

    #[test]
    fn a_recorded_kind_decides_the_colour_of_a_free_name() {
        let marks = assign(&[("mine", Some("topk")), ("topk", Some("topk")), ("odd", Some("file"))]);
        assert_eq!(marks[0].ink, marks[1].ink);
        assert_ne!(marks[0].shape, marks[1].shape);
        assert_eq!(assign(&[("odd", Some("file"))]), assign(&[("odd", None)]), "such a kind says nothing");
    }

    #[test]
    fn many_methods_are_still_kept_apart() {
        let names: Vec<String> = (0..60).map(|i| format!("method{i}")).collect();
        let mut methods: Vec<&str> = names.iter().map(String::as_str).collect();
        methods.extend(KNOWN.iter().map(|(name, _, _)| *name));
        let marks = marks(&methods);
        for (i, mark) in marks.iter().enumerate() {
            assert!(!marks[..i].contains(mark), "{} has another method's mark", methods[i]);
        }
    }
}
