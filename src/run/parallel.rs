//! Runs jobs on worker threads. A job can add further jobs.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::run::{Event, RunError};

/// Maximum number of jobs at once: each needs its own memory.
pub const MAX_JOBS: usize = 8;

/// Progress callback, callable from any thread.
pub type Tell<'a> = dyn Fn(Event) + Sync + 'a;

/// What a job returns.
pub struct Done<J, R> {
    /// Jobs that had to wait for this one.
    pub next: Vec<J>,
    /// Its result, if it has one.
    pub result: Option<R>,
}

/// Runs `jobs` and all jobs they add. Jobs of lower rank start first; equal ranks run in queue order. Results come
/// in no fixed order, so each carries its own place. After a failure no further job starts, and the first failure
/// is returned. `on` is called on the caller's thread.
///
/// A result must not depend on which jobs run beside it. Each worker has its own thread pool with an equal share of
/// the threads. Nested parallel loops stay inside that pool, so a waiting job never starts another job on its
/// stack. A job that is alone uses all threads.
pub fn do_all<J: Send, R: Send>(
    jobs: Vec<J>,
    rank: impl Fn(&J) -> usize + Sync,
    on: &dyn Fn(Event),
    work: impl Fn(J, &Tell<'_>) -> Result<Done<J, R>, RunError> + Sync,
) -> Result<Vec<R>, RunError> {
    let threads = rayon::current_num_threads();
    let workers = threads.min(MAX_JOBS);
    let queue = Queue {
        state: Mutex::new(State { waiting: VecDeque::new(), running: 0 }),
        changed: Condvar::new(),
        rank: &rank,
    };
    queue.lock().add(jobs, &rank);
    let (sender, messages) = mpsc::channel();
    let (mut results, mut failure) = (Vec::new(), None);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, work, queue) = (sender.clone(), &work, &queue);
            scope.spawn(move || {
                let share = (threads / workers).max(1);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(share).build().ok();
                // The receiver outlives every worker, so nothing sent is lost.
                let tell = |event| drop(sender.send(Message::Event(event)));
                while let Some((job, alone)) = queue.take() {
                    // A worker that panicked must not leave the others waiting for its jobs.
                    let turn = RunningJob { queue, next: Vec::new(), stop: true };
                    let done = match &pool {
                        Some(pool) if !alone => pool.install(|| work(job, &tell)),
                        _ => work(job, &tell),
                    };
                    match done {
                        Ok(done) => {
                            turn.end(done.next);
                            done.result.map(|result| sender.send(Message::Result(result)));
                        }
                        Err(error) => {
                            drop(turn);
                            let _ = sender.send(Message::Failure(error));
                        }
                    }
                }
            });
        }
        drop(sender);
        for message in messages {
            match message {
                Message::Event(event) => on(event),
                Message::Result(result) => results.push(result),
                Message::Failure(error) => failure = failure.take().or(Some(error)),
            }
        }
    });
    failure.map_or(Ok(results), Err)
}

enum Message<R> {
    Event(Event),
    Result(R),
    Failure(RunError),
}

struct Queue<'a, J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    rank: &'a (dyn Fn(&J) -> usize + Sync),
}

struct State<J> {
    waiting: VecDeque<J>,
    running: usize,
}

impl<J> State<J> {
    fn add(&mut self, jobs: Vec<J>, rank: &dyn Fn(&J) -> usize) {
        for job in jobs {
            let place = self.waiting.partition_point(|other| rank(other) <= rank(&job));
            self.waiting.insert(place, job);
        }
    }
}

impl<J> Queue<'_, J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next job, and whether it is the only one; none when all are done.
    fn take(&self) -> Option<(J, bool)> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                state.running += 1;
                return Some((job, state.running == 1 && state.waiting.is_empty()));
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// One running job. If it is dropped early (panic or failure), all waiting jobs are discarded.
struct RunningJob<'a, J> {
    queue: &'a Queue<'a, J>,
    next: Vec<J>,
    stop: bool,
}

impl<J> RunningJob<'_, J> {
    fn end(mut self, next: Vec<J>) {
        (self.next, self.stop) = (next, false);
    }
}

impl<J> Drop for RunningJob<'_, J> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.running -= 1;
        if self.stop {
            state.waiting.clear();
        } else {
            state.add(std::mem::take(&mut self.next), self.queue.rank);
        }
        self.queue.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn jobs_call_for_others_and_events_reach_the_caller() {
        let heard = Cell::new(0);
        let on = |_: Event| heard.set(heard.get() + 1);
        // A job of n adds two jobs of n − 1: a full binary tree.
        let count = do_all(
            vec![5u32],
            |_| 0,
            &on,
            |n, tell| {
                tell(Event::Note(n.to_string()));
                let next = if n > 0 { vec![n - 1; 2] } else { Vec::new() };
                Ok(Done { next, result: Some(n) })
            },
        );
        assert_eq!(count.expect("no failure").len(), 63);
        assert_eq!(heard.get(), 63);
        let nothing =
            do_all(Vec::<u8>::new(), |_| 0, &on, |_, _| Ok(Done { next: Vec::new(), result: Some(()) }));
        assert!(nothing.expect("no failure").is_empty());
    }

    #[test]
    fn lower_ranks_go_first() {
        let begun = Mutex::new(Vec::new());
        // A single worker starts jobs in queue order.
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
        let all = one.install(|| {
            do_all(
                vec![3usize, 1, 2, 1, 0],
                |rank| *rank,
                &|_| (),
                |rank, _| {
                    begun.lock().expect("no panic").push(rank);
                    Ok(Done { next: Vec::new(), result: Some(()) })
                },
            )
        });
        assert_eq!(all.expect("no failure").len(), 5);
        assert_eq!(begun.into_inner().expect("no panic"), [0, 1, 1, 2, 3]);
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = Mutex::new(0);
        let result: Result<Vec<()>, RunError> = do_all(
            (0..1000).collect(),
            |_| 0,
            &|_| (),
            |item, _| {
                *begun.lock().expect("no panic") += 1;
                if item == 3 {
                    return Err(RunError::Setting { field: "third".into(), problem: "is wrong".into() });
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
                Ok(Done { next: Vec::new(), result: Some(()) })
            },
        );
        assert!(result.expect_err("one fails").to_string().contains("third"));
        assert!(*begun.lock().expect("no panic") < 100);
    }
}
