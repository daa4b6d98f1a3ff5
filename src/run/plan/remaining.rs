//! The time that is left of a run, from its progress events.
//!
//!   left = Σ over kinds of work: usual seconds not done yet × seconds per usual second so far
//!
//! The speed of a kind of work that has hardly begun is that of everything else so far.

use std::collections::BTreeMap;

use crate::run::Event;
use crate::run::plan::pieces::{Piece, Work};

/// Weight of the speed of everything in the speed of one kind of work: this share of all usual seconds.
const PRIOR: f64 = 0.05;

/// Least share of the work, and least time in seconds, behind an answer.
const LEAST_SHARE: f64 = 0.01;
const LEAST_SECONDS: f64 = 1.0;

/// Follows the events of a run.
#[derive(Debug, Default)]
pub struct Remaining {
    pieces: Vec<Followed>,
    /// Pieces by name, in order.
    by_name: BTreeMap<String, Vec<usize>>,
    /// Pieces that have begun and not ended.
    active: Vec<usize>,
    /// Seconds taken by kind of work.
    taken: BTreeMap<Work, f64>,
    began: Option<f64>,
    last: f64,
}

#[derive(Debug)]
struct Followed {
    name: String,
    work: Work,
    /// Usual seconds; 0 where a stored result is reused.
    usual: f64,
    /// Share that is done.
    done: f64,
}

impl Followed {
    /// Whether it runs alone, before the pieces behind it.
    fn is_before_others(&self) -> bool {
        matches!(self.work, Work::Open | Work::Text | Work::Permute | Work::Harvest)
    }

    /// Whether it goes on between other pieces: each dictionary's losses come at its end.
    fn is_in_between(&self) -> bool {
        self.work == Work::Losses
    }

    fn skip(&mut self) {
        // A harvest that told nothing was stored; the others tell nothing of themselves.
        if self.work == Work::Harvest {
            self.usual = 0.0;
        }
        self.done = 1.0;
    }
}

impl Remaining {
    /// Hears an event, `now` seconds after the program began.
    pub fn hear(&mut self, event: &Event, now: f64) {
        match event {
            Event::Begin { pieces, .. } => self.begin(pieces, now),
            Event::Work { stage, done, total, .. } => self.advance(stage, *done, *total, now),
            Event::Reused(what) => self.reuse(what),
            Event::Overall { .. } | Event::Note(_) | Event::Warning(_) => {}
        }
    }

    fn begin(&mut self, pieces: &[Piece], now: f64) {
        *self = Self { began: Some(now), last: now, ..Self::default() };
        for piece in pieces {
            let Some(work) = piece.main_work() else { continue };
            self.by_name.entry(piece.name.clone()).or_default().push(self.pieces.len());
            let (name, usual) = (piece.name.clone(), piece.usual_seconds());
            self.pieces.push(Followed { name, work, usual, done: 0.0 });
        }
    }

    fn advance(&mut self, stage: &str, done: u64, total: u64, now: f64) {
        let Some(places) = self.by_name.get(stage) else { return };
        let place = places.iter().copied().find(|&place| self.pieces[place].done < 1.0);
        let Some(place) = place else { return };
        self.pass_time(now, place);
        for before in self.pieces[..place].iter_mut().filter(|before| before.is_before_others()) {
            if before.done == 0.0 {
                before.skip();
            }
            before.done = 1.0;
        }
        let share = if total == 0 { 1.0 } else { done as f64 / total as f64 };
        let piece = &mut self.pieces[place];
        piece.done = share.clamp(piece.done, 1.0);
        let pieces = &self.pieces;
        self.active.retain(|&other| other != place && pieces[other].done < 1.0);
        if pieces[place].done < 1.0 && !pieces[place].is_in_between() {
            self.active.push(place);
        }
    }

    /// Gives the time since the last event to all active pieces in equal parts, or else to the one that told it.
    fn pass_time(&mut self, now: f64, teller: usize) {
        let tellers = if self.active.is_empty() { vec![teller] } else { self.active.clone() };
        let each = (now - self.last).max(0.0) / tellers.len() as f64;
        for place in tellers {
            *self.taken.entry(self.pieces[place].work).or_default() += each;
        }
        self.last = now.max(self.last);
    }

    /// Drops the pieces of a stored result: one by its name, or all about one dictionary by its place.
    fn reuse(&mut self, what: &str) {
        let of_place = format!(" {what}");
        for piece in
            self.pieces.iter_mut().filter(|piece| piece.name == what || piece.name.ends_with(&of_place))
        {
            (piece.usual, piece.done) = (0.0, 1.0);
        }
    }

    /// Share of the work that is done, by its usual time; none before the run has begun.
    pub fn share_done(&self) -> Option<f64> {
        let all: f64 = self.pieces.iter().map(|piece| piece.usual).sum();
        let done: f64 = self.pieces.iter().map(|piece| piece.usual * piece.done).sum();
        (all > 0.0).then(|| done / all)
    }

    /// Seconds that are left at `now`; none before there is enough to go by.
    pub fn seconds_left(&self, now: f64) -> Option<f64> {
        let elapsed = now - self.began?;
        let share = self.share_done().filter(|share| *share >= LEAST_SHARE && elapsed >= LEAST_SECONDS)?;
        let all: f64 = self.pieces.iter().map(|piece| piece.usual).sum();
        let mut sums: BTreeMap<Work, (f64, f64)> = BTreeMap::new();
        for piece in &self.pieces {
            let (done, left) = sums.entry(piece.work).or_default();
            *done += piece.usual * piece.done;
            *left += piece.usual * (1.0 - piece.done);
        }
        let overall = elapsed / (share * all);
        let prior = PRIOR * all;
        let left = sums.iter().map(|(work, (done, left))| {
            let taken = self.taken.get(work).copied().unwrap_or(0.0);
            left * (taken + overall * prior) / (done + prior)
        });
        Some(left.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::pieces::Part;

    fn piece(name: &str, work: Work, seconds: f64) -> Piece {
        Piece { name: name.into(), parts: vec![Part { work, method: None, seconds }] }
    }

    fn begun(pieces: Vec<Piece>) -> Remaining {
        let mut remaining = Remaining::default();
        remaining.hear(&Event::Begin { total: 2, unit: "rows", pieces }, 10.0);
        remaining
    }

    fn hear(remaining: &mut Remaining, stage: &str, done: usize, total: usize, now: f64) {
        remaining.hear(&Event::work(stage, done, total, "steps"), now);
    }

    #[test]
    fn the_rest_is_as_slow_as_what_is_done() {
        let pieces = vec![piece("harvest fit", Work::Harvest, 10.0), piece("fit x", Work::Steps, 30.0)];
        let mut remaining = begun(pieces);
        assert_eq!(remaining.seconds_left(11.0), None, "nothing is done");
        hear(&mut remaining, "harvest fit", 0, 100, 10.0);
        hear(&mut remaining, "harvest fit", 50, 100, 20.0);
        // Five usual seconds took ten.
        let left = remaining.seconds_left(20.0).expect("known");
        assert!((left - 70.0).abs() < 1e-9, "{left}");
        assert_eq!(remaining.share_done(), Some(0.125));
        hear(&mut remaining, "harvest fit", 100, 100, 30.0);
        hear(&mut remaining, "fit x", 0, 10, 30.0);
        hear(&mut remaining, "fit x", 5, 10, 37.5);
        // Training is four times as fast: 15 usual seconds in 7.5, against 10 in 20.
        let left = remaining.seconds_left(37.5).expect("known");
        assert!((7.5..9.0).contains(&left), "{left}");
    }

    #[test]
    fn pieces_at_the_same_time_share_the_time() {
        let pieces = vec![piece("fit x", Work::Steps, 10.0), piece("encode y", Work::Encode, 10.0)];
        let mut remaining = begun(pieces);
        hear(&mut remaining, "fit x", 0, 10, 10.0);
        hear(&mut remaining, "encode y", 0, 10, 10.0);
        hear(&mut remaining, "fit x", 5, 10, 20.0);
        hear(&mut remaining, "encode y", 5, 10, 20.0);
        assert_eq!(remaining.taken, BTreeMap::from([(Work::Steps, 5.0), (Work::Encode, 5.0)]));
        let left = remaining.seconds_left(20.0).expect("known");
        assert!((left - 10.0).abs() < 1e-9, "{left}");
    }

    #[test]
    fn stored_results_are_no_work() {
        let pieces = vec![
            piece("harvest fit", Work::Harvest, 50.0),
            piece("fit h/a", Work::Steps, 10.0),
            piece("encode h/a", Work::Encode, 10.0),
            piece("explain h/a", Work::Probes, 10.0),
            piece("encode h/b", Work::Encode, 10.0),
            piece("encode h/b", Work::Encode, 10.0),
        ];
        let mut remaining = begun(pieces);
        remaining.hear(&Event::Reused("h/a".into()), 11.0);
        hear(&mut remaining, "encode h/b", 0, 4, 12.0);
        assert_eq!(remaining.share_done(), Some(0.0), "neither the dictionary nor the harvest counts");
        hear(&mut remaining, "encode h/b", 4, 4, 14.0);
        assert_eq!(remaining.share_done(), Some(0.5));
        // The second of two pieces with one name.
        hear(&mut remaining, "encode h/b", 2, 4, 16.0);
        assert_eq!(remaining.share_done(), Some(0.75));
        hear(&mut remaining, "unknown", 1, 2, 17.0);
        assert_eq!(remaining.share_done(), Some(0.75));
    }
}
