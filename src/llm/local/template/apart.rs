//! Chat templates in a process of their own.
//!
//! A template is an untrusted program. The engine limits the number of its steps but not the cost of one step: a text
//! doubled sixty times, a number padded to 10¹¹ digits, an expression nested deeper than the stack. Such a step kills
//! the process. So every conversation is rendered in a process with limited memory and time. A template is tried on a few
//! conversations before the first request.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChatTemplate;
use crate::base::{Program, Stopwatch};
use crate::llm::{Message, Role};

/// The command-line argument that makes a program test a template.
pub const ARGUMENT: &str = "try-chat-template";
/// Memory limit of the process in bytes, including the program itself.
const MOST_MEMORY: u64 = 512 << 20;
/// Bytes of its answer: a rendered conversation of the largest size, as JSON.
const MOST_ANSWER: u64 = 128 << 20;
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
    /// The conversation to render; none for a trial.
    messages: Option<Vec<Message>>,
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

/// Runs in the process: reads a template from `input`, renders its conversation into `output`, or renders those of a
/// trial. Returns the exit code. Errors of the template engine are ignored in a trial, because a real request reports
/// them.
pub fn try_template(input: impl Read, output: impl Write) -> u8 {
    limit();
    try_template_here(input, output)
}

/// As [`try_template`], in this process as it is: tests try many templates one after the other.
#[doc(hidden)]
pub fn try_template_here(mut input: impl Read, mut output: impl Write) -> u8 {
    let mut text = Vec::new();
    let trial = input.read_to_end(&mut text).ok().and_then(|_| serde_json::from_slice::<Trial>(&text).ok());
    let Some(Trial { source, tokens, messages }) = trial else { return NO_TEMPLATE };
    let template = ChatTemplate::Given { source, tokens };
    if let Some(messages) = messages {
        let rendered = serde_json::to_vec(&template.render(&messages)).unwrap_or_default();
        return u8::from(output.write_all(&rendered).is_err());
    }
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
pub fn check(program: &Program, source: &str, tokens: &BTreeMap<String, String>) -> Result<(), String> {
    run(program, &Trial { source: source.to_string(), tokens: tokens.clone(), messages: None }).map(drop)
}

/// Renders a conversation with `program`, as [`check`] runs it.
pub fn render(
    program: &Program,
    source: &str,
    tokens: &BTreeMap<String, String>,
    messages: &[Message],
) -> Result<String, String> {
    let messages = Some(messages.to_vec());
    let told = run(program, &Trial { source: source.to_string(), tokens: tokens.clone(), messages })?;
    let answer: Result<Result<String, String>, _> = serde_json::from_slice(&told);
    answer.map_err(|error| format!("gave an answer that is cut short: {error}"))?
}

/// What the process wrote.
fn run(program: &Program, trial: &Trial) -> Result<Vec<u8>, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("could not be tried in a process of its own: {error}");
    let told = serde_json::to_vec(trial).map_err(|error| failed(&error))?;
    let mut child = program
        .command()
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&error))?;
    let output = child.stdout.take();
    // Read meanwhile, because the process waits for a reader once the pipe is full.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map(|output| output.take(MOST_ANSWER).read_to_end(&mut bytes));
        read.transpose().map(|_| bytes)
    });
    // Fails if the process has ended already; its exit code then says why.
    let _ = child.stdin.take().map(|mut input| input.write_all(&told));
    let status = ended(&mut child, MOST_SECONDS).map_err(|error| failed(&error))?;
    let answer = reader.join().map_err(|_| failed(&"its answer was not read"))?;
    match status {
        Some(status) if status.success() => answer.map_err(|error| failed(&error)),
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
    use std::process::Command;

    use super::*;

    #[test]
    fn a_missing_program_is_not_blamed_on_the_template() {
        let program = &Program::new("no/such/program", []);
        let told = check(program, "{{ 1 }}", &BTreeMap::new()).expect_err("no process");
        assert!(told.starts_with("could not be tried in a process of its own"), "{told}");
        assert!(render(program, "{{ 1 }}", &BTreeMap::new(), &[]).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_process_beyond_its_time_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        assert_eq!(ended(&mut child, 0.01).expect("ended"), None);
        assert!(child.try_wait().expect("known").is_some());
    }
}
