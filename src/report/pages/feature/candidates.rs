//! The fragments of a feature in the order in which a page takes them, and what each was used for.

use std::collections::{HashMap, HashSet};

use List::{NonFiring, Quantile, Random, Top};
use Role::{Calibrated, Explained, Neither, NotScored, Scored};

use super::data::Member;
use crate::report::manifest::{Picks, Splits, Stride};
use crate::report::pages::evidence::{Fragment, Record};

/// The lists of fragments of a feature, numbered as on the page.
#[derive(Debug, Clone, Copy)]
enum List {
    Top,
    Random,
    Quantile,
    NonFiring,
}

/// What a fragment was used for, numbered as on the page.
#[derive(Debug, Clone, Copy)]
enum Role {
    Neither,
    Explained,
    Scored,
    /// Candidates for an explanation were compared on it.
    Calibrated,
    /// Not scored on; without the protocol it is unknown whether it was used to explain.
    NotScored,
}

/// The lists in the order in which their fragments are taken in turn. Neighbouring ranks of the top and random lists
/// alternate between explaining and scoring, so both kinds are taken.
const CYCLE: [List; 8] = [Top, Random, Top, Quantile, Random, Top, Quantile, NonFiring];

/// Selects the ranks of one list.
type Ranks = fn(&Picks) -> Stride;

/// A fragment with its memberships in lists.
pub struct Candidate<'a> {
    pub fragment: &'a Fragment,
    pub members: Vec<Member>,
}

impl<'a> Candidate<'a> {
    fn new(fragment: &'a Fragment) -> Self {
        Self { fragment, members: Vec::new() }
    }
}

/// How the fragments of a feature were used.
pub struct Uses<'a> {
    /// None without a manifest.
    pub protocol: Option<&'a Splits>,
    /// Fragments with a simulation.
    pub simulated: HashSet<usize>,
    /// Fragments on which candidates for an explanation were compared.
    pub calibrated: HashSet<usize>,
}

impl Uses<'_> {
    fn role(&self, fragment: usize, place: usize, ranks: Ranks) -> Role {
        match self.protocol {
            _ if self.calibrated.contains(&fragment) => Calibrated,
            Some(splits) if ranks(&splits.score).has(place) => Scored,
            Some(splits) if ranks(&splits.explain).has(place) => Explained,
            Some(_) => Neither,
            None if self.simulated.contains(&fragment) => Scored,
            None => NotScored,
        }
    }
}

/// The fragments of a record, most useful to a reader first: lists take turns as in [`CYCLE`].
pub fn candidates<'a>(record: &'a Record, uses: &Uses<'_>) -> Vec<Candidate<'a>> {
    let mut by_number: HashMap<usize, Candidate<'a>> = HashMap::new();
    let mut order: [Vec<usize>; 4] = Default::default();
    let lists: [(List, &'a [Fragment], Ranks); 3] = [
        (Top, &record.top, |picks| picks.top),
        (Random, &record.random, |picks| picks.random),
        (NonFiring, &record.non_firing, |picks| picks.non_firing),
    ];
    for (list, fragments, ranks) in lists {
        for (place, fragment) in fragments.iter().enumerate() {
            let role = uses.role(fragment.fragment, place, ranks);
            let candidate = by_number.entry(fragment.fragment).or_insert_with(|| Candidate::new(fragment));
            candidate.members.push((list as u8, place, role as u8));
            order[list as usize].push(fragment.fragment);
        }
    }
    for fragment in &record.quantile_fragments {
        by_number.entry(fragment.fragment).or_insert_with(|| Candidate::new(fragment));
    }
    let most = record.quantiles.iter().map(Vec::len).max().unwrap_or(0);
    for nth in 0..most {
        for (group, picks) in record.quantiles.iter().enumerate() {
            if let Some(candidate) = picks.get(nth).and_then(|pick| by_number.get_mut(&pick.fragment)) {
                candidate.members.push((Quantile as u8, group, Neither as u8));
                order[Quantile as usize].push(candidate.fragment.fragment);
            }
        }
    }
    in_turn(by_number, order)
}

/// Takes fragments from the lists in turn, each once, until the lists are empty.
fn in_turn<'a>(mut by_number: HashMap<usize, Candidate<'a>>, order: [Vec<usize>; 4]) -> Vec<Candidate<'a>> {
    let mut queues = order.map(Vec::into_iter);
    let mut taken = Vec::with_capacity(by_number.len());
    while queues.iter().any(|queue| queue.len() > 0) {
        for list in CYCLE {
            taken.extend(queues[list as usize].find_map(|number| by_number.remove(&number)));
        }
    }
    taken
}
