//! The built program, driven as a person would: arguments in; exit code, stdout and stderr out.

use std::path::Path;
use std::process::Command;

/// Variables that choose where things are or carry secrets: no test depends on the caller's.
const CLEARED: [&str; 11] = [
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "NO_COLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "RAYON_NUM_THREADS",
    "RUST_BACKTRACE",
];

/// What a finished program leaves.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The program, offline, with its cache and its home below `home`.
pub fn autointerp(home: &Path, args: &[&str]) -> Command {
    let mut command = online(home, args);
    command.args(["--offline", "--progress", "none"]);
    command
}

/// The same with the network on. A test gives it an endpoint on this machine.
pub fn online(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_autointerp"));
    CLEARED.iter().for_each(|name| {
        command.env_remove(name);
    });
    command.env("HOME", home).env("HF_HOME", home.join("huggingface"));
    command.env("AUTOINTERP_CACHE", home.join("cache"));
    command.args(args);
    command
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Done {
    let output = command.output().expect("the program starts");
    Done {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on stdout"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on stderr"),
    }
}

/// Runs the program to its end.
pub fn call(home: &Path, args: &[&str]) -> Done {
    finish(&mut autointerp(home, args))
}

impl Done {
    /// Asserts success.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts an orderly end: the exit code, one `error:` line, every one of `named` in what it says.
    pub fn refused(self, code: i32, named: &[&str]) -> Self {
        let shown = format!("stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{shown}");
        let errors = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "one `error:` line expected\n{shown}");
        for text in named {
            assert!(self.stderr.contains(text), "`{text}` is not named\n{shown}");
        }
        for text in ["panicked", "RUST_BACKTRACE"] {
            assert!(!self.stderr.contains(text), "a panic reached the user\n{shown}");
        }
        assert_eq!(self.stdout, "", "an error leaves stdout empty");
        self
    }
}
