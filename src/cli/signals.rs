//! Signals: what ends the program from outside, and what must not.

use std::sync::atomic::{AtomicBool, Ordering};

use super::errors::{Failure, print_failure};
use super::progress::say;
use crate::base::remove_unfinished;

/// Exit code of a program that was told to stop.
const STOPPED: u8 = 130;

/// Set by the first Ctrl-C or SIGTERM. Runs check it between pieces of work.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// How a verb ends on a signal.
#[derive(Debug)]
pub struct Ending {
    /// Whether it checks [`STOP`] between pieces of work. Otherwise the first signal ends it.
    pub checks_stop: bool,
    /// Whether a failure is printed as JSON.
    pub json: bool,
    /// The command that continues a run.
    pub resume: Option<String>,
}

impl Ending {
    fn requested(&self) {
        let again = STOP.swap(true, Ordering::SeqCst);
        if self.checks_stop && !again {
            return say("stopping after the current piece of work (press Ctrl-C again to stop at once)");
        }
        remove_unfinished();
        let failure = Failure::new("stopped on request".into(), STOPPED);
        print_failure(&failure.resumed_by(self.resume.as_deref()), self.json);
        end();
    }
}

#[cfg(unix)]
pub use unix::{fail_large_writes, listen};

#[cfg(unix)]
mod unix {
    use std::io::{IsTerminal, Read};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU, SIGXFSZ};
    use signal_hook::{flag, low_level::pipe};

    use crate::cli::signals::{Ending, STOP};

    /// Lets a write beyond the limit on the size of files (`ulimit -f`) fail with an error that names the file. The
    /// signal would end the process without a message.
    pub fn fail_large_writes() {
        // Without a handler the signal ends the process, as before.
        let _ = flag::register(SIGXFSZ, Arc::default());
    }

    /// Handles Ctrl-C, SIGTERM, SIGHUP and, where the verb checks [`STOP`], the limit on processor time.
    pub fn listen(ending: Ending) -> std::io::Result<()> {
        let (mut arrivals, arrival) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal != SIGHUP || !hangup_is_ignored() {
                pipe::register(signal, arrival.try_clone()?)?;
            }
        }
        // Repeated every second until the hard limit, so a second one must not end the process.
        if ending.checks_stop {
            flag::register(SIGXCPU, &STOP)?;
        }
        let wait = move || {
            let mut byte = [0];
            while arrivals.read_exact(&mut byte).is_ok() {
                ending.requested();
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }

    /// Whether the program was started by `nohup`, which must stay so. A system without `/proc` does not tell; `nohup`
    /// leaves no terminal on stderr.
    fn hangup_is_ignored() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        match ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()) {
            Some(mask) => mask & (1 << (SIGHUP - 1)) != 0,
            None => !std::io::stderr().is_terminal(),
        }
    }
}

#[cfg(unix)]
fn end() {
    signal_hook::low_level::exit(STOPPED.into());
}

#[cfg(not(unix))]
fn end() {
    std::process::abort();
}

#[cfg(not(unix))]
pub fn fail_large_writes() {}

#[cfg(not(unix))]
pub fn listen(ending: Ending) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(move || ending.requested())
}
