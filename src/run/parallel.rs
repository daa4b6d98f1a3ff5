//! Pieces of work that do not need each other, run at the same time on threads of their own.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};

use super::{Event, RunError};

/// Pieces in hand at once, at most: each holds memory of its own.
const MOST_AT_ONCE: usize = 8;

/// Tells whoever watches, from any thread.
pub type Tell<'a> = dyn Fn(Event) + 'a;

/// Runs `work` on every item, as many at once as there are threads, and gives the results in the
/// items' order. Items are begun in order; after a failure none is begun any more, and of several
/// failures the one of the earliest item is returned. `on` is called on the caller's thread.
///
/// A result must not depend on what runs beside it. Parallel loops inside `work` share the global
/// pool; the item's own thread is none of the pool's, so waiting for a loop never begins another
/// item underneath it.
pub fn side_by_side<T: Send, R: Send>(
    items: Vec<T>,
    on: &dyn Fn(Event),
    work: impl Fn(T, &Tell<'_>) -> Result<R, RunError> + Sync,
) -> Result<Vec<R>, RunError> {
    let total = items.len();
    let workers = rayon::current_num_threads().min(MOST_AT_ONCE).min(total);
    let waiting: Mutex<VecDeque<(usize, T)>> = Mutex::new(items.into_iter().enumerate().collect());
    let lock = || waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let (sender, messages) = mpsc::channel();
    let mut results: Vec<Option<Result<R, RunError>>> = (0..total).map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, work, lock) = (sender.clone(), &work, &lock);
            scope.spawn(move || {
                let tell = |event| {
                    // The receiver outlives every worker.
                    let _ = sender.send(Message::Event(event));
                };
                loop {
                    let Some((place, item)) = lock().pop_front() else { break };
                    let result = work(item, &tell);
                    if result.is_err() {
                        lock().clear();
                    }
                    let _ = sender.send(Message::Done(place, result));
                }
            });
        }
        drop(sender);
        for message in messages {
            match message {
                Message::Event(event) => on(event),
                Message::Done(place, result) => results[place] = Some(result),
            }
        }
    });
    // Items that were never begun follow the failure that kept them from it.
    results.into_iter().flatten().collect()
}

enum Message<R> {
    Event(Event),
    Done(usize, Result<R, RunError>),
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn failed(place: usize) -> RunError {
        RunError::Setting { field: place.to_string(), problem: "is wrong".into() }
    }

    #[test]
    fn results_come_in_order_and_events_reach_the_caller() {
        let heard = RefCell::new(0);
        let on = |_: Event| *heard.borrow_mut() += 1;
        let squares = side_by_side((0..40u64).collect(), &on, |item, tell| {
            // Later items are quicker, so results arrive out of order.
            std::thread::sleep(std::time::Duration::from_micros(400 - item * 10));
            tell(Event::Note(item.to_string()));
            Ok(item * item)
        });
        assert_eq!(squares.expect("no failure"), (0..40).map(|item| item * item).collect::<Vec<u64>>());
        assert_eq!(*heard.borrow(), 40);
        assert!(side_by_side(Vec::<u8>::new(), &on, |item, _| Ok(item)).expect("nothing").is_empty());
    }

    #[test]
    fn the_earliest_failure_is_returned_and_nothing_is_begun_after_it() {
        let begun = Mutex::new(0);
        let result: Result<Vec<()>, RunError> = side_by_side((0..1000).collect(), &|_| (), |item, _| {
            *begun.lock().expect("no panic") += 1;
            if item >= 3 { Err(failed(item)) } else { Ok(()) }
        });
        let message = result.expect_err("item 3 fails").to_string();
        assert!(message.contains("`3`"), "{message}");
        assert!(*begun.lock().expect("no panic") < 20);
    }
}
