//! What patching features changes in one pair of prompts.

use crate::linalg::SparseCodes;

/// Features that are patched, by slot: a place in the list of active features.
pub(in crate::causal) type Set = Vec<bool>;

/// Feature, position and c′ − c times the factor of the row, where it is not 0.
type Entry = (u32, u32, f32);

/// Changes of codes of one pair: slot after slot, ascending, each with the positions at which its code differs.
#[derive(Debug, Clone, Default)]
pub(in crate::causal) struct Changes {
    slots: Vec<u32>,
    /// First entry of each slot, and the number of entries at the end.
    starts: Vec<usize>,
    positions: Vec<u32>,
    /// Added at the position, in units of the feature's direction.
    amounts: Vec<f32>,
}

impl Changes {
    /// Of entries by ascending feature and position, given the active features, ascending, and each one's factor.
    pub fn new(entries: &[Entry], active: &[usize], factors: &[f32]) -> Self {
        let mut all = Self::default();
        for part in entries.chunk_by(|a, b| a.0 == b.0) {
            let Ok(slot) = active.binary_search(&(part[0].0 as usize)) else { continue };
            all.slots.push(slot as u32);
            all.starts.push(all.positions.len());
            all.positions.extend(part.iter().map(|entry| entry.1));
            all.amounts.extend(part.iter().map(|entry| entry.2 * factors[slot]));
        }
        all.starts.push(all.positions.len());
        all
    }

    /// Slot, positions and amounts.
    fn iter(&self) -> impl Iterator<Item = (usize, &[u32], &[f32])> {
        self.slots.iter().zip(self.starts.windows(2)).map(|(&slot, range)| {
            let range = range[0]..range[1];
            (slot as usize, &self.positions[range.clone()], &self.amounts[range])
        })
    }

    /// Whether patching the set changes anything.
    pub fn touch(&self, set: &Set) -> bool {
        self.slots.iter().any(|&slot| set[slot as usize])
    }

    /// Adds Σ amount · direction of the slots in the set to `rows` `[positions, width]`.
    pub fn add(&self, set: &Set, directions: &[&[f32]], width: usize, rows: &mut [f32]) {
        for (slot, positions, amounts) in self.iter().filter(|(slot, ..)| set[*slot]) {
            let direction = directions[slot];
            for (&position, &amount) in positions.iter().zip(amounts) {
                let row = &mut rows[position as usize * width..][..width];
                row.iter_mut().zip(direction).for_each(|(value, d)| *value += amount * d);
            }
        }
    }

    /// Slot and Σ_positions amount · (gradient · direction), given the gradient `[positions, width]`.
    pub fn effects(&self, directions: &[&[f32]], width: usize, gradient: &[f32]) -> Vec<(usize, f64)> {
        let effect = |slot: usize, position: u32, amount: f32| {
            let row = &gradient[position as usize * width..][..width];
            let dot: f64 = row.iter().zip(directions[slot]).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            dot * f64::from(amount)
        };
        let of_slot = |(slot, positions, amounts): (usize, &[u32], &[f32])| {
            let parts = positions.iter().zip(amounts);
            (slot, parts.map(|(&position, &amount)| effect(slot, position, amount)).sum())
        };
        self.iter().map(of_slot).collect()
    }
}

/// Differences of two runs' codes from position `first` on; `place` is the pair's place in the batch and `length` its
/// number of positions. `factors` has one entry per row of the batch.
pub(in crate::causal) fn differences(
    (base, target): (&SparseCodes, &SparseCodes),
    (place, length, first): (usize, usize, usize),
    factors: &[f32],
) -> Vec<Entry> {
    let mut found = Vec::new();
    for position in first..length {
        let row = place * length + position;
        let (mut ours, mut theirs) = (base.iter_row(row).peekable(), target.iter_row(row).peekable());
        loop {
            let feature = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some((feature, _)), None) | (None, Some((feature, _))) => *feature,
                (Some((a, _)), Some((b, _))) => *a.min(b),
            };
            let code = ours.next_if(|entry| entry.0 == feature).map_or(0.0, |entry| entry.1);
            let other = theirs.next_if(|entry| entry.0 == feature).map_or(0.0, |entry| entry.1);
            if code != other {
                found.push((feature as u32, position as u32, (other - code) * factors[row]));
            }
        }
    }
    found.sort_unstable_by_key(|entry| (entry.0, entry.1));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Matrix;

    #[test]
    fn differing_codes_are_found_and_added() {
        let codes =
            |rows: [[f32; 3]; 2]| SparseCodes::from_dense(&Matrix::from_fn(2, 3, |row, col| rows[row][col]));
        let base = codes([[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]);
        let target = codes([[1.0, 4.0, 0.0], [0.0, 0.0, 5.0]]);
        let entries = differences((&base, &target), (0, 2, 0), &[1.0, 2.0]);
        assert_eq!(entries, [(1, 0, 4.0), (2, 0, -2.0), (2, 1, 4.0)]);
        assert_eq!(
            differences((&base, &target), (0, 2, 1), &[1.0, 2.0]),
            [(2, 1, 4.0)],
            "after a common prefix"
        );

        let changes = Changes::new(&entries, &[1, 2], &[1.0, 0.5]);
        let directions: [&[f32]; 2] = [&[1.0, 0.0], &[0.0, 1.0]];
        let mut rows = vec![0.0; 4];
        changes.add(&vec![true, true], &directions, 2, &mut rows);
        assert_eq!(rows, [4.0, -1.0, 0.0, 2.0]);
        let mut rows = vec![0.0; 4];
        changes.add(&vec![false, true], &directions, 2, &mut rows);
        assert_eq!(rows, [0.0, -1.0, 0.0, 2.0]);
        assert!(!changes.touch(&vec![false, false]) && changes.touch(&vec![true, false]));
        let effects = changes.effects(&directions, 2, &[1.0, 10.0, 100.0, 1000.0]);
        assert_eq!(effects, [(0, 4.0), (1, 1990.0)]);
    }
}
