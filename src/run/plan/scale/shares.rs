//! The time of a run that is divided among parts, from the hours of its tasks. Plain numbers; nothing is measured.
//!
//! A part that has nothing to do takes the longest task that waits: harvests first, then the dictionaries of places
//! that are harvested (list scheduling; longest first is Graham 1969, SIAM J. Appl. Math. 17). With W hours of tasks on n
//! parts, and a chain of L hours that have to follow one another, Graham's bounds are
//!
//!   max(W/n, L) ≤ hours ≤ W/n + (1 − 1/n)·L

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The hours of a run on one part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// What each part does first: reading model and text.
    pub before: f64,
    /// Places that are harvested once, while what needs them waits.
    pub places: Vec<Place>,
    /// What one part does in the end, when everything else is done.
    pub after: f64,
}

/// A harvest, and the tasks that can follow it in any order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Hours of the harvest.
    pub harvest: f64,
    /// Hours of each task.
    pub tasks: Vec<f64>,
}

/// What happened.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Played {
    /// Hours until the end of the run.
    pub hours: f64,
    /// Hours of work that was lost and done again.
    pub repeated: f64,
    /// Parts that died.
    pub deaths: usize,
}

/// A task that waits or runs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Task {
    hours: f64,
    /// The place that it harvests; none for a task that follows a harvest.
    harvests: Option<usize>,
}

impl Eq for Task {}

impl Ord for Task {
    fn cmp(&self, other: &Self) -> Ordering {
        let harvests = self.harvests.is_some().cmp(&other.harvests.is_some());
        harvests.then(self.hours.total_cmp(&other.hours)).then(other.harvests.cmp(&self.harvests))
    }
}

impl PartialOrd for Task {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The end of a task's turn on a part.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Turn {
    at: f64,
    /// Order of beginning, which decides between turns that end together.
    nth: usize,
    task: Task,
    is_done: bool,
}

impl Eq for Turn {}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.nth.cmp(&other.nth))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Load {
    /// Hours of each task, harvests among them.
    pub fn tasks(&self) -> impl Iterator<Item = f64> {
        self.places.iter().flat_map(|place| std::iter::once(place.harvest).chain(place.tasks.iter().copied()))
    }

    /// Hours of a harvest and of the longest task that follows it, where they are longest.
    pub fn longest_chain(&self) -> f64 {
        let chain =
            |place: &Place| place.harvest + place.tasks.iter().fold(0.0, |most, task| f64::max(most, *task));
        self.places.iter().map(chain).fold(0.0, f64::max)
    }

    /// Hours that no division among `parts` parts can go below.
    pub fn bound(&self, parts: usize) -> f64 {
        let shared = self.tasks().sum::<f64>() / parts.max(1) as f64;
        self.before + shared.max(self.longest_chain()) + self.after
    }

    /// Hours on `parts` parts, if none of them fails.
    pub fn hours(&self, parts: usize) -> f64 {
        self.play(parts, 0.0, &mut |_| None).hours
    }

    /// A run. `dies` is asked when a task of so many hours begins: none if its part survives it, else the hours until
    /// the part dies. Then the task and the part are back after `absence` hours, and the task begins again.
    pub fn play(&self, parts: usize, absence: f64, dies: &mut dyn FnMut(f64) -> Option<f64>) -> Played {
        let harvest = |(nth, place): (usize, &Place)| Task { hours: place.harvest, harvests: Some(nth) };
        let mut waiting: BinaryHeap<Task> = self.places.iter().enumerate().map(harvest).collect();
        let mut running: BinaryHeap<Reverse<Turn>> = BinaryHeap::new();
        let (mut idle, mut begun, mut now) = (parts.max(1), 0, self.before);
        let mut played = Played::default();
        loop {
            while idle > 0
                && let Some(task) = waiting.pop()
            {
                let death = dies(task.hours).filter(|hours| *hours < task.hours);
                if let Some(lost) = death {
                    played.repeated += lost;
                    played.deaths += 1;
                }
                let at = now + death.map_or(task.hours, |lost| lost + absence);
                running.push(Reverse(Turn { at, nth: begun, task, is_done: death.is_none() }));
                (idle, begun) = (idle - 1, begun + 1);
            }
            let Some(Reverse(first)) = running.pop() else { break };
            (now, idle) = (first.at, idle + 1);
            waiting.extend(self.follow(first));
            while let Some(Reverse(next)) = running.peek().copied().filter(|Reverse(next)| next.at <= now) {
                running.pop();
                idle += 1;
                waiting.extend(self.follow(next));
            }
        }
        Played { hours: now + self.after, ..played }
    }

    /// What waits when a turn is over.
    fn follow(&self, turn: Turn) -> Vec<Task> {
        let task = |hours: &f64| Task { hours: *hours, harvests: None };
        match (turn.is_done, turn.task.harvests) {
            (false, _) => vec![turn.task],
            (true, None) => Vec::new(),
            (true, Some(place)) => self.places[place].tasks.iter().map(task).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    fn place(harvest: f64, tasks: &[f64]) -> Place {
        Place { harvest, tasks: tasks.to_vec() }
    }

    #[test]
    fn two_and_three_parts_are_divided_by_hand() {
        let load = Load { before: 0.5, places: vec![place(1.0, &[3.0, 3.0, 2.0, 2.0, 2.0])], after: 0.25 };
        assert_eq!(load.hours(1), 0.5 + 1.0 + 12.0 + 0.25);
        // Longest first: 3 + 2 + 2 and 3 + 2 after the harvest, for which the other part waits.
        assert_eq!((load.hours(2), load.bound(2)), (0.5 + 1.0 + 7.0 + 0.25, 0.5 + 6.5 + 0.25));
        assert_eq!((load.hours(3), load.bound(3)), (0.5 + 1.0 + 5.0 + 0.25, 0.5 + 13.0 / 3.0 + 0.25));
        assert_eq!(
            (load.hours(5), load.hours(1000)),
            (4.75, 4.75),
            "the longest dictionary after its harvest"
        );
        assert_eq!(load.bound(1000), 4.75);
        // Harvests first: two of them at the same time, then the tasks of both.
        let two = Load { places: vec![place(1.0, &[2.0]), place(2.0, &[1.0])], ..Load::default() };
        assert_eq!((two.hours(1), two.hours(2)), (6.0, 3.0));
        assert_eq!(Load::default().hours(3), 0.0);
    }

    #[test]
    fn hours_lie_between_the_bounds() {
        let mut stream = Stream::new(3, "loads");
        for parts in [1, 2, 3, 7, 40] {
            let tasks = |stream: &mut Stream| (0..30).map(|_| stream.unit()).collect();
            let places =
                (0..4).map(|_| Place { harvest: stream.unit(), tasks: tasks(&mut stream) }).collect();
            let load = Load { before: 0.1, places, after: 0.2 };
            let (work, n) = (load.tasks().sum::<f64>(), parts as f64);
            let most = 0.3 + work / n + (1.0 - 1.0 / n) * load.longest_chain();
            let hours = load.hours(parts);
            assert!(load.bound(parts) <= hours + 1e-9 && hours <= most + 1e-9, "{parts}: {hours}, {most}");
        }
    }

    #[test]
    fn a_task_begins_again_when_its_part_dies() {
        let load = Load { places: vec![place(0.0, &[4.0])], ..Load::default() };
        let mut asked = 0;
        let played = load.play(1, 0.5, &mut |hours| {
            asked += usize::from(hours > 0.0);
            (asked == 1 && hours > 0.0).then_some(3.0)
        });
        assert_eq!(played, Played { hours: 3.0 + 0.5 + 4.0, repeated: 3.0, deaths: 1 });
        let survived = load.play(1, 0.5, &mut |_| Some(4.0));
        assert_eq!(survived.deaths, 0, "it dies when the task is done");
    }
}
