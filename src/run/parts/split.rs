//! Shares out units by their usual time, so that parts end together.

use std::collections::BTreeSet;

use super::units::{Place, Unit, Units};

/// What one part has been given so far.
#[derive(Default)]
struct Load<'a> {
    seconds: f64,
    places: BTreeSet<Place>,
    methods: BTreeSet<(Place, &'a str)>,
}

/// The part of each unit, from 1 to `parts`: longest units first, each to the part that would end first with it.
///
/// A part that has no unit of the hook point yet also needs the activations, and for a matched method the fit of its
/// reference: it makes them or waits for them. So the units of a hook point stay together as long as the shares permit.
pub fn split(all: &Units, parts: usize) -> Vec<usize> {
    let mut loads: Vec<Load<'_>> = (0..parts).map(|_| Load::default()).collect();
    let mut owners = vec![1; all.units.len()];
    let mut order: Vec<usize> = (0..all.units.len()).collect();
    // A stable sort: equal units keep the order of the tables.
    order.sort_by(|&a, &b| all.units[b].seconds.total_cmp(&all.units[a].seconds));
    for nth in order {
        let unit = &all.units[nth];
        let with = |load: &Load<'_>| load.seconds + added(all, load, unit);
        let first = (0..parts).min_by(|&a, &b| with(&loads[a]).total_cmp(&with(&loads[b]))).unwrap_or(0);
        let load = &mut loads[first];
        load.seconds += added(all, load, unit);
        load.places.insert(unit.place);
        load.methods.insert((unit.place, unit.method.as_str()));
        owners[nth] = first + 1;
    }
    owners
}

/// Seconds that a unit adds to a part.
fn added(all: &Units, load: &Load<'_>, unit: &Unit) -> f64 {
    let before = match load.places.contains(&unit.place) {
        true => 0.0,
        false => all.before.get(&unit.place).copied().unwrap_or(0.0),
    };
    let reference = unit.matched.as_deref().filter(|name| !load.methods.contains(&(unit.place, *name)));
    let fit = reference.and_then(|name| {
        let is_it = |other: &&Unit| other.place == unit.place && other.method == name;
        all.units.iter().find(is_it).map(|other| other.fit)
    });
    unit.seconds + before + fit.unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{HookPoint, Stream};

    fn hook(layer: usize) -> HookPoint {
        format!("blocks.{layer}.hook_resid_post").parse().expect("a hook point")
    }

    fn unit(layer: usize, method: &str, matched: Option<&str>, seconds: f64) -> Unit {
        Unit {
            place: (None, hook(layer)),
            method: method.into(),
            matched: matched.map(Into::into),
            rows: 1,
            fit: seconds / 2.0,
            seconds,
        }
    }

    fn loads(all: &Units, owners: &[usize], parts: usize) -> Vec<f64> {
        let of_part = |part: usize| {
            let own = || all.units.iter().zip(owners).filter(move |(_, owner)| **owner == part);
            let places: BTreeSet<Place> = own().map(|(unit, _)| unit.place).collect();
            own().map(|(unit, _)| unit.seconds).sum::<f64>()
                + places.iter().map(|place| all.before[place]).sum::<f64>()
        };
        (1..=parts).map(of_part).collect()
    }

    #[test]
    fn every_unit_has_one_part_and_parts_end_together() {
        let mut stream = Stream::new(1, "split");
        for parts in [1, 2, 3, 5] {
            let mut all = Units::default();
            for layer in 0..12 {
                all.before.insert((None, hook(layer)), 3.0);
                for method in 0..8 {
                    all.units.push(unit(layer, &format!("m{method}"), None, 1.0 + 9.0 * stream.unit()));
                }
            }
            let owners = split(&all, parts);
            assert_eq!(owners.len(), all.units.len());
            assert!(owners.iter().all(|owner| (1..=parts).contains(owner)));
            let loads = loads(&all, &owners, parts);
            let most = loads.iter().copied().fold(0.0, f64::max);
            let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
            assert!(most < 1.15 * least, "{loads:?}");
            assert_eq!(owners, split(&all, parts), "the same on every machine");
        }
    }

    #[test]
    fn a_matched_method_stays_with_its_reference_where_that_is_cheaper() {
        let mut all = Units::default();
        for layer in 0..2 {
            all.before.insert((None, hook(layer)), 1.0);
            all.units.push(unit(layer, "sae", None, 20.0));
            all.units.push(unit(layer, "pca", Some("sae"), 4.0));
        }
        let owners = split(&all, 2);
        assert_eq!((owners[0], owners[2]), (owners[1], owners[3]));
        assert_ne!(owners[0], owners[2]);
    }

    #[test]
    fn more_parts_than_units_leave_some_without() {
        let mut all = Units::default();
        all.before.insert((None, hook(0)), 1.0);
        all.units.push(unit(0, "topk", None, 2.0));
        assert_eq!(split(&all, 4), [1]);
        assert!(split(&Units::default(), 3).is_empty());
    }
}
