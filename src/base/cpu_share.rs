//! What share of the processor time that this process asked for it got: below 1, other processes had the rest.

use std::collections::BTreeMap;

use super::Stopwatch;

/// Where the kernel lists the threads of this process.
const THREADS: &str = "/proc/self/task";

/// Nanoseconds that a thread ran, and that it waited for a processor while it could have run.
type Times = (u64, u64);

/// Measures a piece of work: wall-clock time, and the share of processor time that it got.
pub struct WorkClock {
    started: Stopwatch,
    before: BTreeMap<u32, Times>,
    /// Threads per core that want to run at the same time, at least 1.
    threads_per_core: f64,
}

/// Time of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkTime {
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Time that the threads of this process ran, of the time that they could have run had they had all cores. None where
    /// the system does not tell: it is known on Linux only.
    pub share: Option<f64>,
}

impl WorkTime {
    /// About the seconds that the work takes when no other process runs.
    pub fn undisturbed(self) -> f64 {
        self.seconds * self.share.unwrap_or(1.0)
    }
}

impl WorkClock {
    /// Starts now, for work on `threads` threads.
    pub fn start(threads: usize) -> Self {
        let threads_per_core = (threads as f64 / cores() as f64).max(1.0);
        Self { before: times(), started: Stopwatch::start(), threads_per_core }
    }

    /// Time since the start. Threads that ended in between are left out of the share.
    pub fn read(&self) -> WorkTime {
        let seconds = self.started.seconds();
        // More threads than cores wait for each other.
        let share = share(&self.before, &times()).map(|share| (share * self.threads_per_core).min(1.0));
        WorkTime { seconds, share }
    }
}

/// Cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Times of all threads of this process; empty where the system does not tell.
fn times() -> BTreeMap<u32, Times> {
    let Ok(entries) = std::fs::read_dir(THREADS) else { return BTreeMap::new() };
    let of_thread = |entry: std::fs::DirEntry| {
        let thread: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((thread, parsed(&std::fs::read_to_string(entry.path().join("schedstat")).ok()?)?))
    };
    entries.flatten().filter_map(of_thread).collect()
}

/// The first two numbers of a `schedstat` file.
fn parsed(text: &str) -> Option<Times> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn share(before: &BTreeMap<u32, Times>, after: &BTreeMap<u32, Times>) -> Option<f64> {
    let (mut ran, mut waited) = (0, 0);
    for (thread, now) in after {
        let then = before.get(thread).copied().unwrap_or_default();
        ran += now.0.saturating_sub(then.0);
        waited += now.1.saturating_sub(then.1);
    }
    (ran > 0).then(|| ran as f64 / (ran + waited) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_of_the_time_between() {
        let at = |times: &[(u32, Times)]| times.iter().copied().collect::<BTreeMap<u32, Times>>();
        let before = at(&[(1, (100, 50)), (2, (10, 0))]);
        // Thread 1 ran 300 and waited 100; thread 3 is new; thread 2 has ended.
        let after = at(&[(1, (400, 150)), (3, (100, 0))]);
        assert_eq!(share(&before, &after), Some(0.8));
        assert_eq!(share(&before, &at(&[])), None);
        assert_eq!(parsed("48401579 28970808 37\n"), Some((48_401_579, 28_970_808)));
        assert_eq!(parsed("0"), None);
        let half = WorkTime { seconds: 4.0, share: Some(0.5) };
        assert_eq!(half.undisturbed(), 2.0);
        assert_eq!(WorkTime { share: None, ..half }.undisturbed(), 4.0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_of_this_process_is_seen() {
        let clock = WorkClock::start(1);
        let mut sum = 0u64;
        while clock.started.seconds() < 0.05 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
        let time = clock.read();
        assert!(time.seconds >= 0.05, "{time:?}");
        assert!(time.share.is_none_or(|share| share > 0.0 && share <= 1.0), "{time:?}");
    }
}
