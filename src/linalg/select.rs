//! Top-k selection without sorting.
//!
//! Rows of one matrix are similar. So a threshold slightly below the previous row's k-th largest entry is
//! tried first: usually few more than k entries reach it, and only these are ranked. If fewer than k reach
//! it, the entries are divided into groups; at least k entries reach the k-th largest group maximum. The
//! threshold affects speed only, never the selection.

#[cfg(target_arch = "x86_64")]
use super::panels::has_avx512;

/// Selects the k largest positive entries of rows of one width; `select.rs` opens with the method.
#[derive(Debug, Clone)]
pub struct Selector {
    groups: usize,
    maxima: Vec<f32>,
    found: AboveThreshold,
    reaching: Vec<(f32, u32)>,
    /// Ranks of `reaching`, partially sorted.
    ranked: Vec<u64>,
    /// Threshold to try first.
    guess: f32,
}

/// Entries compared together; groups are a multiple of it.
const STRIP: usize = 16;

/// First threshold for a row, relative to the previous row's k-th largest entry.
const GUESS_FACTOR: f32 = 0.7;

impl Selector {
    /// For rows of `width` entries and the `k` largest of each.
    pub fn new(width: usize, k: usize) -> Self {
        // Four groups per wanted entry keep the threshold close to the k-th largest entry.
        let groups = (4 * k).next_multiple_of(STRIP).min(width);
        Self {
            groups,
            maxima: vec![0.0; groups],
            found: AboveThreshold::default(),
            reaching: Vec::new(),
            ranked: Vec::new(),
            guess: 0.0,
        }
    }

    /// The at most `k` largest positive entries (value, index), ascending by index. Ties go to the lower
    /// index.
    #[inline(always)]
    pub fn positive(&mut self, row: &[f32], k: usize) -> &[(f32, u32)] {
        self.reaching.clear();
        if k == 0 || self.groups == 0 {
            return &self.reaching;
        }
        if self.guess > 0.0 {
            self.collect_reaching(row, self.guess);
        }
        if self.reaching.len() < k {
            self.reaching.clear();
            let threshold = if self.groups > k { self.threshold(row, k) } else { 0.0 };
            self.collect_reaching(row, threshold);
        }
        self.guess = 0.0;
        if self.reaching.len() >= k {
            self.ranked.clear();
            self.ranked.extend(self.reaching.iter().map(rank));
            let (_, &mut last, _) = self.ranked.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
            self.reaching.retain(|entry| rank(entry) >= last);
            self.guess = GUESS_FACTOR * f32::from_bits((last >> 32) as u32);
        }
        &self.reaching
    }

    /// The k-th largest group maximum, or 0 if it is not positive.
    #[inline(always)]
    fn threshold(&mut self, row: &[f32], k: usize) -> f32 {
        self.maxima.fill(0.0);
        for part in row.chunks(self.groups) {
            for (best, &value) in self.maxima.iter_mut().zip(part) {
                *best = if value > *best { value } else { *best };
            }
        }
        let (_, threshold, _) = self.maxima.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        *threshold
    }

    #[inline(always)]
    fn collect_reaching(&mut self, row: &[f32], threshold: f32) {
        // The smallest positive f32: one comparison then checks both conditions.
        let threshold = if threshold > 0.0 { threshold } else { f32::from_bits(1) };
        self.found.find(row, threshold);
        let (indices, values) = self.found.parts();
        self.reaching.extend(values.iter().copied().zip(indices.iter().copied()));
    }
}

/// Orders positive entries by value, then by lower index: the bits of positive floats sort like the floats.
#[inline(always)]
fn rank(&(value, index): &(f32, u32)) -> u64 {
    u64::from(value.to_bits()) << 32 | u64::from(!index)
}

/// The entries of a row that are at least a threshold, with ascending indices.
#[derive(Debug, Clone, Default)]
pub struct AboveThreshold {
    indices: Vec<u32>,
    values: Vec<f32>,
    found: usize,
}

impl AboveThreshold {
    /// Finds the entries of `row` that are at least `threshold`, replacing the former ones; never NaN.
    #[inline(always)]
    pub fn find(&mut self, row: &[f32], threshold: f32) {
        #[cfg(target_arch = "x86_64")]
        if has_avx512() {
            let capacity = row.len() + STRIP;
            if self.indices.len() < capacity {
                self.indices.resize(capacity, 0);
                self.values.resize(capacity, 0.0);
            }
            let whole = row.len() / STRIP * STRIP;
            self.found = avx512::find(&row[..whole], threshold, &mut self.indices, &mut self.values);
            for (index, &value) in
                row.iter().enumerate().skip(whole).filter(|(_, value)| **value >= threshold)
            {
                (self.indices[self.found], self.values[self.found]) = (index as u32, value);
                self.found += 1;
            }
            return;
        }
        self.indices.clear();
        self.values.clear();
        for_each_at_least(row, threshold, |index, value| {
            self.indices.push(index);
            self.values.push(value);
        });
        self.found = self.indices.len();
    }

    /// Indices and values.
    pub fn parts(&self) -> (&[u32], &[f32]) {
        (&self.indices[..self.found], &self.values[..self.found])
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_loadu_ps, _mm512_maskz_compress_epi32,
        _mm512_maskz_compress_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setr_epi32, _mm512_storeu_ps,
        _mm512_storeu_si512,
    };

    use super::STRIP;

    /// Writes indices and values of entries ≥ `threshold` and returns their number.
    ///
    /// The processor must have AVX-512. `row` is whole strips; the outputs hold one strip more than `row`.
    pub fn find(row: &[f32], threshold: f32, indices: &mut [u32], values: &mut [f32]) -> usize {
        let capacity = row.len() + STRIP;
        assert!(row.len().is_multiple_of(STRIP) && indices.len() >= capacity && values.len() >= capacity);
        // SAFETY: the caller detected AVX-512, and the assertion bounds the lengths.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            compress(row, threshold, indices.as_mut_ptr(), values.as_mut_ptr())
        }
    }

    /// # Safety
    /// The processor has AVX-512. `row` is whole strips; `indices` and `values` have room for one strip more.
    #[target_feature(enable = "avx512f,popcnt")]
    #[expect(unsafe_code, reason = "vectors are written through pointers")]
    unsafe fn compress(row: &[f32], threshold: f32, indices: *mut u32, values: *mut f32) -> usize {
        let threshold = _mm512_set1_ps(threshold);
        let mut positions = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        let mut found = 0;
        for strip in row.chunks_exact(STRIP) {
            // SAFETY: a strip is one vector; `found` never exceeds the entries read, so one more vector fits.
            unsafe {
                let entries = _mm512_loadu_ps(strip.as_ptr());
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(entries, threshold);
                _mm512_storeu_si512(indices.add(found).cast(), _mm512_maskz_compress_epi32(mask, positions));
                _mm512_storeu_ps(values.add(found), _mm512_maskz_compress_ps(mask, entries));
                found += mask.count_ones() as usize;
            }
            positions = _mm512_add_epi32(positions, _mm512_set1_epi32(STRIP as i32));
        }
        found
    }
}

/// Calls `found` with the index and value of each entry that is at least `threshold`, in ascending order.
#[inline(always)]
pub fn for_each_at_least(row: &[f32], threshold: f32, mut found: impl FnMut(u32, f32)) {
    for (strip, part) in row.chunks(STRIP).enumerate() {
        let mut mask = 0u32;
        for (lane, &value) in part.iter().enumerate() {
            mask |= u32::from(value >= threshold) << lane;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            found((strip * STRIP + lane) as u32, part[lane]);
            mask &= mask - 1;
        }
    }
}

/// Keeps the `k` largest of `entries`, in ascending order of index. Ties go to the lower index.
pub fn keep_largest(entries: &mut Vec<(f32, u32)>, k: usize) {
    if entries.len() > k {
        entries.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        entries.truncate(k);
        entries.sort_unstable_by_key(|(_, index)| *index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    fn select_top(row: &[f32], k: usize) -> Vec<(f32, u32)> {
        Selector::new(row.len(), k).positive(row, k).to_vec()
    }

    fn by_sorting(row: &[f32], k: usize) -> Vec<(f32, u32)> {
        let mut all: Vec<(f32, u32)> =
            row.iter().enumerate().map(|(i, &v)| (v, i as u32)).filter(|(v, _)| *v > 0.0).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        all.truncate(k);
        all.sort_by_key(|entry| entry.1);
        all
    }

    #[test]
    fn entries_above_a_threshold_are_found_in_order() {
        let mut stream = Stream::new(6, "reaching");
        let mut reaching = AboveThreshold::default();
        for width in [0, 1, 15, 16, 17, 100, 1000] {
            for threshold in [-10.0, -0.5, 0.0, 1.5, 10.0] {
                let mut row: Vec<f32> = (0..width).map(|_| stream.normal() as f32).collect();
                row.iter_mut().step_by(9).for_each(|value| *value = f32::NAN);
                row.iter_mut().step_by(7).for_each(|value| *value = threshold);
                reaching.find(&row, threshold);
                let expected: Vec<(u32, f32)> = row
                    .iter()
                    .enumerate()
                    .filter(|(_, v)| **v >= threshold)
                    .map(|(i, v)| (i as u32, *v))
                    .collect();
                let (indices, values) = reaching.parts();
                assert_eq!(indices.iter().copied().zip(values.iter().copied()).collect::<Vec<_>>(), expected);
            }
        }
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
    fn a_selection_does_not_depend_on_former_rows() {
        let mut stream = Stream::new(6, "rows");
        for k in [1, 3, 12, 64] {
            let mut selector = Selector::new(256, k);
            // Rows that are similar, much larger, much smaller, and with fewer than k positive entries.
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
