/// Finds the largest entries of rows of one length without sorting them.
///
/// Rows of one matrix are alike: somewhat less than the last row's k-th entry is a bar that few more
/// than k entries reach, and only those are ranked. Where too few reach it, entries are dealt to
/// groups, and the k-th largest group maximum is a bar that at least k do. What is chosen does not
/// depend on the bar.
#[derive(Debug, Clone)]
pub struct Selector {
    groups: usize,
    maxima: Vec<f32>,
    reaching: Vec<(f32, u32)>,
    /// Ranks of `reaching`, as the search for the k-th leaves them.
    ranked: Vec<u64>,
    /// Bar to try first.
    guess: f32,
}

/// Entries compared at once; groups are a multiple of it.
const STRIP: usize = 16;

/// How far below the last row's k-th entry the next row's bar is tried.
const GUESS: f32 = 0.7;

impl Selector {
    /// For rows of `width` entries of which `k` are wanted.
    pub fn new(width: usize, k: usize) -> Self {
        // About four groups an entry wanted keeps the bar close to the k-th entry itself.
        let groups = (4 * k).next_multiple_of(STRIP).min(width);
        Self { groups, maxima: vec![0.0; groups], reaching: Vec::new(), ranked: Vec::new(), guess: 0.0 }
    }

    /// The at most `k` largest of the entries above zero, as (value, index) in rising order of
    /// indices; of equal entries the lower index is chosen. NaN is never chosen.
    #[inline(always)]
    pub fn positive(&mut self, row: &[f32], k: usize) -> &[(f32, u32)] {
        self.reaching.clear();
        if k == 0 || self.groups == 0 {
            return &self.reaching;
        }
        if self.guess > 0.0 {
            self.gather(row, self.guess);
        }
        if self.reaching.len() < k {
            self.reaching.clear();
            let bar = if self.groups > k { self.bar(row, k) } else { 0.0 };
            self.gather(row, bar);
        }
        self.guess = 0.0;
        if self.reaching.len() >= k {
            self.ranked.clear();
            self.ranked.extend(self.reaching.iter().map(rank));
            let (_, &mut last, _) = self.ranked.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            self.reaching.retain(|entry| rank(entry) >= last);
            self.guess = GUESS * f32::from_bits((last >> 32) as u32);
        }
        &self.reaching
    }

    /// The k-th largest group maximum, or 0 where that is not above zero.
    #[inline(always)]
    fn bar(&mut self, row: &[f32], k: usize) -> f32 {
        self.maxima.fill(0.0);
        for part in row.chunks(self.groups) {
            for (best, &value) in self.maxima.iter_mut().zip(part) {
                *best = if value > *best { value } else { *best };
            }
        }
        let (_, bar, _) = self.maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        *bar
    }

    #[inline(always)]
    fn gather(&mut self, row: &[f32], bar: f32) {
        // The least f32 above zero: one comparison then does for both conditions.
        let bar = if bar > 0.0 { bar } else { f32::from_bits(1) };
        for_each_reaching(row, bar, |index, value| self.reaching.push((value, index)));
    }
}

/// One number for value and index of an entry above zero, larger where the value is, and of equal values where
/// the index is lower: the bits of positive floats are ordered as they are.
#[inline(always)]
fn rank(&(value, index): &(f32, u32)) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(!index)
}

/// Calls `found` with index and value of each entry that is at least `bar`, in rising order.
#[inline(always)]
pub fn for_each_reaching(row: &[f32], bar: f32, mut found: impl FnMut(u32, f32)) {
    for (strip, part) in row.chunks(STRIP).enumerate() {
        let mut mask = 0u32;
        for (lane, &value) in part.iter().enumerate() {
            mask |= u32::from(value >= bar) << lane;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            found((strip * STRIP + lane) as u32, part[lane]);
            mask &= mask - 1;
        }
    }
}

/// The at most `k` largest positive entries of one row; see [`Selector::positive`].
pub fn select_top(row: &[f32], k: usize) -> Vec<(f32, u32)> {
    Selector::new(row.len(), k).positive(row, k).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    fn by_sorting(row: &[f32], k: usize) -> Vec<(f32, u32)> {
        let mut all: Vec<(f32, u32)> =
            row.iter().enumerate().map(|(i, &v)| (v, i as u32)).filter(|(v, _)| *v > 0.0).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all.sort_by_key(|entry| entry.1);
        all
    }

    #[test]
    fn equals_a_full_sort_ties_included() {
        let mut stream = Stream::new(5, "rows");
        for width in [1, 7, 64, 500, 513] {
            for k in [0, 1, 3, 12, 64, 600] {
                for trial in 0..20 {
                    let coarse = trial % 2 == 0;
                    let row: Vec<f32> = (0..width)
                        .map(|_| {
                            let value = stream.normal() as f32;
                            if coarse { value.round() } else { value }
                        })
                        .collect();
                    assert_eq!(select_top(&row, k), by_sorting(&row, k), "width {width} k {k}");
                }
            }
        }
        assert_eq!(select_top(&[f32::NAN, 1.0, -2.0], 2), vec![(1.0, 1)]);
    }

    #[test]
    fn a_row_is_chosen_from_as_if_no_row_came_before_it() {
        let mut stream = Stream::new(6, "rows");
        for k in [1, 3, 12, 64] {
            let mut selector = Selector::new(256, k);
            // Rows alike, much larger, much smaller, and with fewer than k above zero.
            for size in [1.0, 1.1, 50.0, 0.01, 1.0, -1.0, 1.0, 0.0, 1.0] {
                let row: Vec<f32> = (0..256)
                    .map(|_| {
                        let value = stream.normal() as f32;
                        if size < 0.0 { -value.abs() } else { (size * value * 8.0).round() / 8.0 }
                    })
                    .collect();
                assert_eq!(selector.positive(&row, k), by_sorting(&row, k), "size {size} k {k}");
            }
        }
    }
}
