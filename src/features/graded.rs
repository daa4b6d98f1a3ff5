//! Fragments for grading an explanation by interval of activation (Templeton et al. 2024, *Scaling Monosemanticity*).

use std::collections::{BTreeMap, HashSet};

use super::record::{ActivationRecord, FeatureRecord};
use super::split::{Evidence, Held, HeldFragment, JudgedFragment};
use crate::base::Stream;

impl Held {
    /// Fragments for grading, the weakest interval first; empty unless [`Held::with_graded`] drew them.
    pub fn graded(&self) -> &[JudgedFragment] {
        &self.graded
    }

    /// Draws at most `per_interval` fragments from each of `n_intervals` intervals of activation. Interval i of n holds
    /// the fragments whose maximum m satisfies i/n < m/M ≤ (i + 1)/n, where M is the feature's maximum.
    ///
    /// Candidates are the firing fragments of the top, random and more-random lists, each once, without documents that
    /// explain. The draw within an interval is uniform. An interval without candidates stays empty.
    pub fn with_graded(
        mut self,
        record: &FeatureRecord,
        evidence: &Evidence,
        (n_intervals, per_interval): (usize, usize),
        stream: &mut Stream,
    ) -> Self {
        let explained: HashSet<usize> = evidence.records().iter().map(|record| record.document).collect();
        let lists = record.top.iter().chain(&record.random).chain(&record.more_random);
        let mut candidates: BTreeMap<usize, &ActivationRecord> = BTreeMap::new();
        for fragment in lists.filter(|fragment| !explained.contains(&fragment.document)) {
            candidates.entry(fragment.fragment).or_insert(fragment);
        }
        let mut intervals: Vec<Vec<&ActivationRecord>> = vec![Vec::new(); n_intervals];
        for fragment in candidates.into_values() {
            let scored = fragment.activations.iter().skip(record.first_scored);
            let strongest = scored.copied().fold(0.0, f32::max);
            if let Some(interval) = interval_of(strongest, record.max_activation, n_intervals) {
                intervals[interval].push(fragment);
            }
        }
        self.graded.clear();
        for (interval, of) in intervals.iter().enumerate() {
            let drawn = stream.permutation(of.len()).into_iter().take(per_interval).map(|place| of[place]);
            self.graded.extend(drawn.map(|fragment| JudgedFragment {
                held: HeldFragment::of(fragment),
                stratum: fragment.stratum,
                fires: true,
                interval: Some(interval),
            }));
        }
        self
    }
}

/// The interval of a fragment's maximum; none if it is not positive.
fn interval_of(strongest: f32, largest: f32, n_intervals: usize) -> Option<usize> {
    let share = f64::from(strongest) / f64::from(largest);
    if strongest <= 0.0 || !share.is_finite() || n_intervals == 0 {
        return None;
    }
    let above = (share * n_intervals as f64).ceil() as usize;
    Some(above.clamp(1, n_intervals) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::{Protocol, Stratum, split};

    /// A feature whose fragment `n` has maximum `maxima[n]` at position 2. A larger value at position 0 does not count.
    fn record(maxima: &[f32]) -> FeatureRecord {
        let protocol = Protocol::standard();
        let of = |fragment: usize, max: f32, stratum: Stratum| ActivationRecord {
            fragment,
            document: fragment,
            stratum,
            probability: 1.0,
            tokens: vec![1, 2, 3, 4],
            activations: vec![99.0, 0.0, max, max / 2.0],
        };
        let list = |from: usize, n: usize, stratum: Stratum| -> Vec<ActivationRecord> {
            (from..from + n).map(|nth| of(nth, maxima[nth % maxima.len()], stratum)).collect()
        };
        FeatureRecord {
            feature: 3,
            first_scored: 1,
            n_tokens: 0,
            firing_tokens: 0,
            density: 0.1,
            firing_fragments: 200,
            firing_documents: 200,
            max_activation: 10.0,
            top: list(0, protocol.n_top, Stratum::Top),
            random: list(100, protocol.n_random, Stratum::Random),
            more_random: list(200, 80, Stratum::MoreRandom),
            non_firing: (300..350).map(|nth| of(nth, 0.0, Stratum::NonFiring)).collect(),
            quantiles: Vec::new(),
        }
    }

    fn graded(record: &FeatureRecord, seed: u64) -> (Evidence, Held) {
        let (evidence, held) = split(record, &Protocol::standard()).expect("a split");
        let held = held.with_graded(record, &evidence, (5, 4), &mut Stream::new(seed, "graded"));
        (evidence, held)
    }

    #[test]
    fn boundaries_belong_to_the_interval_below_and_silence_to_none() {
        let of = |strongest: f32| interval_of(strongest, 10.0, 5);
        assert_eq!([0.01, 2.0, 2.1, 4.0, 9.9, 10.0].map(of), [0, 0, 1, 1, 4, 4].map(Some));
        assert_eq!(of(10.5), Some(4), "beyond the maximum");
        assert_eq!([0.0, -1.0, f32::NAN].map(of), [None; 3]);
        assert_eq!((interval_of(1.0, 0.0, 5), interval_of(1.0, 1.0, 0)), (None, None));
    }

    #[test]
    fn each_interval_gives_its_own_held_out_fragments_and_an_empty_one_none() {
        let record = record(&[1.0, 3.0, 5.0, 9.0, 0.0, 10.0, 2.0]);
        let (evidence, held) = graded(&record, 7);
        let explained: Vec<usize> = evidence.records().iter().map(|record| record.document).collect();
        let mut counts = [0; 5];
        for one in held.graded() {
            let interval = one.interval.expect("an interval");
            counts[interval] += 1;
            let share = one.held.activations[2] / 10.0;
            assert!(share > interval as f32 / 5.0 && share <= (interval + 1) as f32 / 5.0, "{share}");
            assert!(one.fires && !explained.contains(&one.held.document));
        }
        assert_eq!(counts, [4, 4, 4, 0, 4], "no fragment is between 6 and 8");
        assert_eq!(held.protocol_only().graded(), held.graded());
        let again = graded(&record, 7).1;
        assert_eq!(again.graded(), held.graded());
        assert_ne!(graded(&record, 8).1.graded(), held.graded(), "the draw is random");
    }

    #[test]
    fn without_a_draw_nothing_is_graded() {
        let (_, held) = split(&record(&[1.0, 9.0]), &Protocol::standard()).expect("a split");
        assert!(held.graded().is_empty());
        assert!(graded(&record(&[0.0]), 1).1.graded().is_empty());
    }
}
