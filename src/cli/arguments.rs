//! Parses the command line. Prints what clap says of it: help, version, or what is wrong.

use std::ffi::OsString;

use clap::Parser;

use super::args::{Cli, stdout_look};
use super::progress::say;
use super::{errors, print_own};
use crate::base::{short_message, terminal_text};
use crate::report::Ink;

/// The arguments, the program's name first, or the exit code of a command that asked for help or is wrong.
pub fn parse(arguments: &[OsString]) -> Result<Cli, u8> {
    Cli::try_parse_from(arguments).map_err(|error| {
        if error.use_stderr() {
            say(about_readable(arguments.iter().cloned()).unwrap_or(error).render().to_string().trim_end());
            return 2;
        }
        let text = error.render();
        let shown = if stdout_look().ink == Ink::None { text.to_string() } else { text.ansi().to_string() };
        print_own(&shown).map_or_else(|error| errors::print(&error, false, None), |()| 0)
    })
}

/// The error about the same arguments with control characters written out. clap drops some of them and prints others.
fn about_readable(arguments: impl Iterator<Item = OsString>) -> Option<clap::Error> {
    let readable = |argument: OsString| {
        let text = argument.to_string_lossy();
        short_message(&terminal_text(&text)).into_owned()
    };
    Cli::try_parse_from(arguments.map(readable)).err().filter(clap::Error::use_stderr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_what_was_given() {
        let error = |arguments: &[&str]| {
            let all = ["autointerp"].iter().chain(arguments).map(OsString::from);
            about_readable(all).expect("an error").render().to_string()
        };
        assert!(error(&["\u{1b}[31mred"]).contains("'\\x1b[31mred'"));
        let seed = error(&["check", "x.yaml", "--seed", "\u{9b}5m\u{202e}"]);
        assert!(seed.contains("'\\x9b5m\\u{202e}' for '--seed <N>'"), "{seed}");
        assert!(error(&[&"x".repeat(1 << 20)]).len() < 10_000);
    }
}
