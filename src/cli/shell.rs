//! `completions` and `man`: shell completions and manual pages, generated from the arguments.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;
use super::{print_own, setting};
use crate::run::RunError;

/// Prints completions for a shell, without hidden verbs.
pub fn completions(shell: Shell) -> Result<u8, RunError> {
    let all = Cli::command();
    let mut program = Command::new("autointerp")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, "autointerp", &mut text);
    print_own(&String::from_utf8_lossy(&text))?;
    Ok(0)
}

/// Prints the manual page of the program or of one verb.
pub fn man(verb: Option<&str>) -> Result<u8, RunError> {
    let mut program = Cli::command();
    program.build();
    let page = match verb {
        None => Man::new(program),
        Some(verb) => {
            let known = program.find_subcommand(verb).cloned();
            let problem = || format!("is `{verb}`, expected a verb; `autointerp --help` lists them");
            Man::new(known.ok_or_else(|| setting("VERB", problem()))?).title(format!("autointerp-{verb}"))
        }
    };
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| setting("man", error.to_string()))?;
    print_own(&String::from_utf8_lossy(&text))?;
    Ok(0)
}
