//! How to start this program again, for work that needs a process of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An executable and the arguments that always come first. In a Python process the executable is the interpreter, and
/// the first arguments make it act as this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    leading: Vec<OsString>,
}

impl Program {
    /// The executable of this process; none if the system does not tell it.
    pub fn of_this_process() -> Option<Self> {
        Some(Self::new(std::env::current_exe().ok()?, []))
    }

    /// An executable with its first arguments.
    pub fn new(path: impl Into<PathBuf>, leading: impl IntoIterator<Item = OsString>) -> Self {
        Self { path: path.into(), leading: leading.into_iter().collect() }
    }

    /// The executable.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that starts the program; further arguments follow the first ones.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.leading);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_begins_with_the_first_arguments() {
        let program = Program::new("python3", ["-c".into(), "main()".into()]);
        let mut command = program.command();
        command.arg("try-chat-template");
        assert_eq!(command.get_program(), "python3");
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["-c", "main()", "try-chat-template"]);
        let here = Program::of_this_process().expect("a path");
        assert!(here.path().exists() && here.command().get_args().next().is_none());
    }
}
