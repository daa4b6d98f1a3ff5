//! Test of a chat template in its own process.
//!
//! A template is an untrusted program. The engine limits the number of its steps but not the cost of one step: a text
//! doubled sixty times, a number padded to 10¹¹ digits, an expression nested deeper than the stack. Such a step kills
//! the process. So each template first renders a few conversations in a process with limited memory and time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChatTemplate;
use crate::base::Stopwatch;
use crate::llm::{Message, Role};

/// The command-line argument that makes a program test a template.
pub const ARGUMENT: &str = "try-chat-template";
/// Memory limit of the process in bytes, including the program itself.
const MOST_MEMORY: u64 = 512 << 20;
/// Time limit of the process.
const MOST_SECONDS: f64 = 10.0;
/// Interval at which its state is polled.
const PAUSE: Duration = Duration::from_millis(2);
/// Its exit code if its input is not a template.
const NO_TEMPLATE: u8 = 2;

/// Input of the process.
#[derive(Serialize, Deserialize)]
struct Trial {
    source: String,
    tokens: BTreeMap<String, String>,
}

/// Typical conversations: with and without a system message, and with worked examples.
fn conversations() -> Vec<Vec<Message>> {
    let text = "What do these have in common?\n\"a\"\t10\n".repeat(60);
    let message = |role| Message { role, content: text.clone() };
    let (system, user) = (message(Role::System), message(Role::User));
    let example = [user.clone(), message(Role::Assistant)];
    let examples: Vec<Message> = std::iter::repeat_n(example, 3).flatten().collect();
    vec![
        vec![user.clone()],
        vec![system.clone(), user.clone()],
        [vec![system], examples, vec![user]].concat(),
    ]
}

/// Runs in the process: reads a template from `input`, renders the conversations and returns the exit code. Errors of
/// the template engine are ignored here, because a real request reports them.
pub fn try_template(input: impl Read) -> u8 {
    limit();
    try_template_here(input)
}

/// As [`try_template`], in this process as it is: tests try many templates one after the other.
#[doc(hidden)]
pub fn try_template_here(mut input: impl Read) -> u8 {
    let mut text = Vec::new();
    let trial = input.read_to_end(&mut text).ok().and_then(|_| serde_json::from_slice::<Trial>(&text).ok());
    let Some(Trial { source, tokens }) = trial else { return NO_TEMPLATE };
    let template = ChatTemplate::Given { source, tokens };
    for messages in conversations() {
        std::hint::black_box(template.render(&messages).is_ok());
    }
    0
}

#[cfg(unix)]
fn limit() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let most = |most: u64| Rlimit { current: Some(most), maximum: Some(most) };
    // If a limit cannot be set, the time limit still applies.
    let _ = setrlimit(Resource::As, most(MOST_MEMORY));
    let _ = setrlimit(Resource::Core, most(0));
}

#[cfg(not(unix))]
fn limit() {}

/// Tests a template with `program`, run with [`ARGUMENT`] alone. The error says what the template did to the process.
pub fn check(program: &Path, source: &str, tokens: &BTreeMap<String, String>) -> Result<(), String> {
    let trial = Trial { source: source.to_string(), tokens: tokens.clone() };
    let failed =
        |error: &dyn std::fmt::Display| format!("could not be tried in a process of its own: {error}");
    let told = serde_json::to_vec(&trial).map_err(|error| failed(&error))?;
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    // Fails if the process has ended already; its exit code then says why.
    let _ = child.stdin.take().map(|mut input| input.write_all(&told));
    match ended(&mut child, MOST_SECONDS).map_err(|error| failed(&error))? {
        Some(status) if status.success() => Ok(()),
        Some(status) if status.code() == Some(i32::from(NO_TEMPLATE)) => Err(failed(&status)),
        Some(_) => Err(format!(
            "takes more than {} MB of memory, or nests deeper than the stack, for a short conversation",
            MOST_MEMORY >> 20
        )),
        None => Err(format!("takes more than {MOST_SECONDS} seconds for a short conversation")),
    }
}

/// The exit status of the process; `None` if it was killed after `most_seconds`.
fn ended(child: &mut Child, most_seconds: f64) -> std::io::Result<Option<ExitStatus>> {
    let watch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if watch.seconds() > most_seconds {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_not_blamed_on_the_template() {
        let told = check(Path::new("no/such/program"), "{{ 1 }}", &BTreeMap::new()).expect_err("no process");
        assert!(told.starts_with("could not be tried in a process of its own"), "{told}");
    }

    #[cfg(unix)]
    #[test]
    fn a_process_beyond_its_time_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        assert_eq!(ended(&mut child, 0.01).expect("ended"), None);
        assert!(child.try_wait().expect("known").is_some());
    }
}
