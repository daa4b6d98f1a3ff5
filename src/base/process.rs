//! Which processes of this machine are alive: leases and temporary files name the process that they belong to.

use std::sync::OnceLock;

use super::Digest;

/// Digits of a machine's tag. A tag is part of file names, so it is short.
const TAG_DIGITS: usize = 8;

/// What is known of a process.
#[cfg_attr(not(unix), allow(dead_code, reason = "where processes are not looked up, all are unknown"))]
enum State {
    Gone,
    /// It runs, and this tells it from a later process with the same number; empty if nothing does.
    Alive(String),
    Unknown,
}

/// A tag of the process table that this process is listed in: of the machine and, in a container, of the container.
/// Empty if nothing identifies it.
pub fn machine_tag() -> &'static str {
    static TAG: OnceLock<String> = OnceLock::new();
    TAG.get_or_init(|| table::identity().map_or(String::new(), |text| tag_of(&text)))
}

fn tag_of(text: &str) -> String {
    Digest::of(text.as_bytes()).hex()[..TAG_DIGITS].to_string()
}

/// What tells this process from others with its number, before and after it; empty if nothing does.
pub fn own_start() -> String {
    match table::state(std::process::id()) {
        State::Alive(start) => start,
        _ => String::new(),
    }
}

/// Whether a process has certainly ended. False for processes of other machines and where this cannot be known.
pub fn is_gone(machine: &str, process: u32, start: &str) -> bool {
    if machine.is_empty() || machine != machine_tag() {
        return false;
    }
    match table::state(process) {
        State::Gone => true,
        State::Alive(known) => !start.is_empty() && !known.is_empty() && start != known,
        State::Unknown => false,
    }
}

#[cfg(target_os = "linux")]
mod table {
    use std::fs;
    use std::io::ErrorKind;
    use std::path::Path;

    use super::State;

    /// The boot and the namespace of process numbers: containers on one machine have tables of their own.
    pub fn identity() -> Option<String> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
        Some(format!("{} {}", boot.trim(), namespace.display()))
    }

    pub fn state(process: u32) -> State {
        // Where other users' processes are hidden, a missing entry says nothing.
        if !Path::new("/proc/1").exists() {
            return State::Unknown;
        }
        match fs::read_to_string(format!("/proc/{process}/stat")) {
            Ok(line) => read(&line).unwrap_or(State::Unknown),
            Err(error) if error.kind() == ErrorKind::NotFound => State::Gone,
            Err(_) => State::Unknown,
        }
    }

    /// `number (name) state … start …`: the start is the 20th field behind the name, which may hold any character.
    fn read(line: &str) -> Option<State> {
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        match *fields.first()? {
            "Z" | "X" => Some(State::Gone),
            _ => Some(State::Alive(fields.get(19)?.to_string())),
        }
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
mod table {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    use super::State;

    pub fn identity() -> Option<String> {
        Some(rustix::system::uname().nodename().to_string_lossy().into_owned())
    }

    pub fn state(process: u32) -> State {
        let Some(number) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return State::Unknown };
        match test_kill_process(number) {
            Err(Errno::SRCH) => State::Gone,
            _ => State::Alive(String::new()),
        }
    }
}

#[cfg(not(unix))]
mod table {
    use super::State;

    pub fn identity() -> Option<String> {
        None
    }

    pub fn state(_process: u32) -> State {
        State::Unknown
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_it_has_ended_and_never_while_it_runs() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let (machine, number) = (machine_tag(), child.id());
        assert!(!machine.is_empty() && !is_gone(machine, std::process::id(), &own_start()));
        assert!(!is_gone(machine, number, ""));
        assert!(is_gone(machine, number, "1"), "another process had this number");
        child.kill().expect("ended");
        child.wait().expect("ended");
        assert!(is_gone(machine, number, ""));
        assert!(!is_gone("elsewhere", number, "") && !is_gone("", number, ""));
    }
}
