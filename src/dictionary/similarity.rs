//! Cosine similarity of dictionaries' directions.
//!
//! ```text
//! MMCS(A → B) = mean over a in A of max over b in B of cos(a, b)      |cos| where a sign has no meaning
//! ```

use std::collections::HashSet;

use crate::base::{Digest, Matrix};
use crate::linalg::matmul_bt;

/// Mean maximum cosine similarity. It is not symmetric, so both ways are given.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mmcs {
    /// From the first to the second.
    pub forward: f64,
    /// From the second to the first.
    pub backward: f64,
}

/// MMCS of unit rows `[n, d]` and `[m, d]`, of absolute cosines if `signed`.
pub fn mmcs_of_directions(a: &Matrix, b: &Matrix, signed: bool) -> Mmcs {
    Mmcs { forward: one_way(a, b, signed), backward: one_way(b, a, signed) }
}

fn one_way(from: &Matrix, to: &Matrix, signed: bool) -> f64 {
    let mut total = 0.0;
    let rows: Vec<usize> = (0..from.rows()).collect();
    // In blocks, so that no matrix of all pairs is stored.
    for part in rows.chunks(1024) {
        let cosines = matmul_bt(&from.select_rows(part), to);
        total += cosines
            .iter_rows()
            .map(|row| {
                let size = |cosine: f32| f64::from(if signed { cosine.abs() } else { cosine });
                row.iter().map(|&cosine| size(cosine)).fold(-1.0, f64::max)
            })
            .sum::<f64>();
    }
    total / from.rows().max(1) as f64
}

/// A direction close to another one.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Neighbour {
    /// The feature of this direction.
    pub feature: usize,
    /// Cosine of both directions.
    pub cosine: f32,
}

impl Neighbour {
    /// The cosine, or its absolute value if `signed`.
    pub fn closeness(&self, signed: bool) -> f32 {
        if signed { self.cosine.abs() } else { self.cosine }
    }
}

/// Rows of `to` per block, so that no matrix of all pairs is stored.
const NEIGHBOUR_ROWS: usize = 4096;

/// For each unit row of `from` `[m, d]`, its `n` closest unit rows of `to` `[k, d]`, closest first; ties by row. `signed`
/// uses absolute cosines. For row `i` of `from`, row `itself[i]` of `to` is skipped. Rows of zeros have no neighbours and
/// are none.
pub fn nearest(
    from: &Matrix,
    to: &Matrix,
    n: usize,
    signed: bool,
    itself: Option<&[usize]>,
) -> Vec<Vec<Neighbour>> {
    let has_direction = |row: &[f32]| row.iter().any(|&value| value != 0.0);
    let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); from.rows()];
    let usable: Vec<usize> = (0..to.rows()).filter(|&row| has_direction(to.row(row))).collect();
    for part in usable.chunks(NEIGHBOUR_ROWS) {
        let cosines = matmul_bt(from, &to.select_rows(part));
        for (query, (kept, row)) in found.iter_mut().zip(cosines.iter_rows()).enumerate() {
            if !has_direction(from.row(query)) {
                continue;
            }
            for (&feature, &cosine) in part.iter().zip(row) {
                // Rounding can make the cosine of a unit row with itself exceed 1.
                let candidate = Neighbour { feature, cosine: cosine.clamp(-1.0, 1.0) };
                if itself.is_some_and(|itself| itself[query] == feature) {
                    continue;
                }
                let closeness = candidate.closeness(signed);
                let place = kept.partition_point(|other| other.closeness(signed) >= closeness);
                if place < n {
                    kept.insert(place, candidate);
                    kept.truncate(n);
                }
            }
        }
    }
    found
}

/// The exact directions of a dictionary up to sign. They are equal for all variants of one fit, and for neuron and
/// identity.
#[derive(Debug)]
pub struct DirectionSet(HashSet<Digest>);

impl DirectionSet {
    /// From unit rows.
    pub fn of(directions: &Matrix) -> Self {
        let up_to_sign = |row: &[f32]| {
            let turn = row.iter().find(|value| **value != 0.0).is_some_and(|first| *first < 0.0);
            // Adding 0 turns −0 into 0.
            let value = |value: &f32| (if turn { -value } else { *value }) + 0.0;
            Digest::of(&row.iter().flat_map(|entry| value(entry).to_le_bytes()).collect::<Vec<u8>>())
        };
        Self(directions.iter_rows().map(up_to_sign).collect())
    }

    /// Whether all directions of one set are in the other.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0) || other.0.is_subset(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    fn units(n: usize, d: usize, name: &str) -> Matrix {
        let mut stream = Stream::new(5, name);
        let mut rows = Matrix::from_fn(n, d, |_, _| stream.normal() as f32);
        for row in rows.data_mut().chunks_exact_mut(d) {
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            row.iter_mut().for_each(|value| *value /= norm);
        }
        rows
    }

    /// All pairs, sorted.
    fn by_force(from: &Matrix, to: &Matrix, n: usize, signed: bool, skip: bool) -> Vec<Vec<usize>> {
        let of = |query: usize| {
            let cosine = |row: usize| -> f64 {
                from.row(query).iter().zip(to.row(row)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let mut all: Vec<usize> = (0..to.rows()).filter(|&row| !skip || row != query).collect();
            let size = |row: usize| if signed { cosine(row).abs() } else { cosine(row) };
            all.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
            all.truncate(n);
            all
        };
        (0..from.rows()).map(of).collect()
    }

    #[test]
    fn neighbours_are_those_of_all_pairs() {
        let (from, to) = (units(13, 6, "from"), units(5000, 6, "to"));
        let features = |found: &[Vec<Neighbour>]| -> Vec<Vec<usize>> {
            found.iter().map(|list| list.iter().map(|neighbour| neighbour.feature).collect()).collect()
        };
        for signed in [false, true] {
            let found = nearest(&from, &to, 5, signed, None);
            assert_eq!(features(&found), by_force(&from, &to, 5, signed, false), "signed {signed}");
            let negative = found.iter().flatten().any(|neighbour| neighbour.cosine < 0.0);
            assert_eq!(negative, signed, "among 5,000 random rows some are nearly opposite");
            let itself: Vec<usize> = (0..13).collect();
            let found = nearest(&from, &from, 3, signed, Some(&itself));
            assert_eq!(features(&found), by_force(&from, &from, 3, signed, true), "signed {signed}");
        }
    }

    #[test]
    fn few_rows_and_rows_without_a_direction() {
        let to = Matrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 0.0, -0.6, 0.8]).expect("three rows");
        let from = Matrix::from_vec(2, 2, vec![1.0, 0.0, 0.0, 0.0]).expect("two rows");
        let found = nearest(&from, &to, 5, true, None);
        let expected = [Neighbour { feature: 0, cosine: 1.0 }, Neighbour { feature: 2, cosine: -0.6 }];
        assert_eq!(found, vec![expected.to_vec(), Vec::new()]);
    }

    #[test]
    fn readings_of_one_fit_have_the_same_directions() {
        let a = units(4, 3, "a");
        let turned = Matrix::from_fn(8, 3, |row, col| a.at(row % 4, col) * if row < 4 { 1.0 } else { -1.0 });
        let set = DirectionSet::of(&a);
        assert!(set.same_as(&DirectionSet::of(&turned)));
        assert!(DirectionSet::of(&turned).same_as(&set));
        assert!(set.same_as(&DirectionSet::of(&a.select_rows(&[2, 1]))), "some of them");
        assert!(!set.same_as(&DirectionSet::of(&units(4, 3, "b"))));
        let zeros = Matrix::from_vec(1, 3, vec![0.0, -0.0, 1.0]).expect("a row");
        let other = Matrix::from_vec(1, 3, vec![-0.0, 0.0, -1.0]).expect("a row");
        assert!(DirectionSet::of(&zeros).same_as(&DirectionSet::of(&other)));
    }
}
