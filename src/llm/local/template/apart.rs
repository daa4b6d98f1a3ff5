//! A chat template tried in a process of its own.
//!
//! A template is a program out of a stranger's file. The engine counts its steps but not what one of them makes: a
//! text doubled sixty times, a number padded to 10¹¹ places, an expression nested deeper than the stack. Such a step
//! ends the process it runs in, so each template first writes a few conversations in one with little memory and time.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChatTemplate;
use crate::base::Stopwatch;
use crate::llm::{Message, Role};

/// The argument that makes a program try a template.
pub const ARGUMENT: &str = "try-chat-template";
/// Memory of the process, the program itself included.
const MOST_MEMORY: u64 = 512 << 20;
/// Seconds that it may take.
const MOST_SECONDS: f64 = 10.0;
/// How often its end is looked for.
const PAUSE: Duration = Duration::from_millis(2);
/// Its exit code where it was told no template.
const NO_TEMPLATE: u8 = 2;

/// What the process is told.
#[derive(Serialize, Deserialize)]
struct Trial {
    source: String,
    tokens: BTreeMap<String, String>,
}

/// Conversations as they are asked: with and without a system's message, and with worked examples.
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

/// In the process itself: reads a template from `input` and writes the conversations with it. Returns the exit code. What
/// the engine itself refuses is no failure here: whoever asks the model is told.
pub fn try_template(mut input: impl Read) -> u8 {
    limit();
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
    // Where a limit cannot be set, the clock still holds.
    let _ = setrlimit(Resource::As, most(MOST_MEMORY));
    let _ = setrlimit(Resource::Core, most(0));
}

#[cfg(not(unix))]
fn limit() {}

/// Tries a template with `program`, which is run with [`ARGUMENT`] alone. Says what is wrong with a template that a
/// process does not survive.
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
    // A process that ended early reads no more; its exit code says why.
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

/// How the process ended; none where it had to be ended.
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
    fn a_program_that_is_not_there_is_no_fault_of_the_template() {
        let told = check(Path::new("no/such/program"), "{{ 1 }}", &BTreeMap::new()).expect_err("no process");
        assert!(told.starts_with("could not be tried in a process of its own"), "{told}");
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_goes_on_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        assert_eq!(ended(&mut child, 0.01).expect("ended"), None);
        assert!(child.try_wait().expect("known").is_some());
    }
}
