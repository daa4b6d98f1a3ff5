//! Wall-clock time of a run from the times of its pieces on one core.

use crate::run::plan::pieces::{Job, PassWork, Piece, RunWork, Speed};

/// Threads of a run, and how its jobs share them.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    pub threads: usize,
    /// Jobs at the same time.
    pub workers: usize,
    /// Threads of each.
    pub share: usize,
}

/// A job that waits or runs.
#[derive(Debug, Clone)]
struct Task {
    /// Seconds on one core.
    seconds: f64,
    next: Vec<Task>,
}

impl Cores {
    /// Seconds of a run.
    pub fn seconds(&self, work: &RunWork, speed: &Speed) -> f64 {
        let on_all = |pieces: &[Piece]| self.on_all(pieces, speed);
        let passes = work.passes.iter().map(|pass| self.of_pass(pass, speed));
        on_all(&work.before) + passes.sum::<f64>() + on_all(&work.after)
    }

    fn on_all(&self, pieces: &[Piece], speed: &Speed) -> f64 {
        pieces.iter().map(|piece| speed.seconds(piece)).sum::<f64>() / self.threads.max(1) as f64
    }

    fn of_pass(&self, pass: &PassWork, speed: &Speed) -> f64 {
        let tasks = pass.jobs.iter().flat_map(|jobs| tasks(jobs, speed)).collect();
        self.on_all(&pass.before, speed) + self.of_jobs(tasks) + self.on_all(&pass.after, speed)
    }

    /// Seconds of jobs that are taken in order by `workers` workers; each job can add others. A job that is alone has all
    /// threads.
    fn of_jobs(&self, tasks: Vec<Task>) -> f64 {
        let mut waiting: std::collections::VecDeque<Task> = tasks.into();
        let mut running: Vec<(f64, Vec<Task>)> = Vec::new();
        let mut now = 0.0;
        loop {
            while running.len() < self.workers.max(1)
                && let Some(task) = waiting.pop_front()
            {
                let alone = running.is_empty() && waiting.is_empty();
                let threads = if alone { self.threads } else { self.share };
                running.push((now + task.seconds / threads.max(1) as f64, task.next));
            }
            let first = (0..running.len()).min_by(|&a, &b| running[a].0.total_cmp(&running[b].0));
            let Some(first) = first else { return now };
            let (end, next) = running.swap_remove(first);
            now = end;
            waiting.extend(next);
        }
    }
}

/// The fits of one hook point without those that wait for another, each with what follows it.
fn tasks(jobs: &[Job], speed: &Speed) -> Vec<Task> {
    let is_here = |name: &String| jobs.iter().any(|job| job.method == *name);
    let first = jobs.iter().filter(|job| !job.matched.as_ref().is_some_and(is_here));
    first.map(|job| task(job, jobs, speed)).collect()
}

fn task(job: &Job, jobs: &[Job], speed: &Speed) -> Task {
    let waiting = jobs.iter().filter(|other| other.matched.as_ref() == Some(&job.method));
    let waiting = waiting.filter(|other| other.method != job.method).map(|other| task(other, jobs, speed));
    let row = |pieces: &Vec<Piece>| Task {
        seconds: pieces.iter().map(|piece| speed.seconds(piece)).sum(),
        next: Vec::new(),
    };
    Task { seconds: speed.seconds(&job.fit), next: waiting.chain(job.rows.iter().map(row)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(seconds: f64) -> Task {
        Task { seconds, next: Vec::new() }
    }

    #[test]
    fn jobs_share_threads_and_the_last_one_has_all() {
        let two = Cores { threads: 2, workers: 2, share: 1 };
        assert_eq!(two.of_jobs(vec![leaf(4.0)]), 2.0, "alone");
        assert_eq!(two.of_jobs(vec![leaf(4.0), leaf(4.0)]), 4.0);
        // Two at a time, then the third alone.
        assert_eq!(
            two.of_jobs(vec![leaf(4.0), leaf(4.0), leaf(4.0)]),
            8.0,
            "taken when the first of two ends"
        );
        let many = Cores { threads: 16, workers: 8, share: 2 };
        assert_eq!(many.of_jobs(vec![leaf(8.0), leaf(8.0), leaf(8.0)]), 4.0, "three of eight workers");
        assert_eq!(two.of_jobs(Vec::new()), 0.0);
    }

    #[test]
    fn rows_follow_their_fit() {
        let one = Cores { threads: 1, workers: 1, share: 1 };
        let fit = Task { seconds: 3.0, next: vec![leaf(1.0), leaf(2.0)] };
        assert_eq!(one.of_jobs(vec![fit.clone()]), 6.0);
        let two = Cores { threads: 2, workers: 2, share: 1 };
        assert_eq!(two.of_jobs(vec![fit]), 1.5 + 2.0, "the fit on both, the rows on one each");
    }
}
