//! `completions` and `man`: what a shell and a manual reader want to know, made from the arguments themselves.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Cli;
use super::print;
use crate::run::RunError;

/// Completions for a shell. Verbs that are not in the help are not offered.
pub fn completions(shell: Shell) -> Result<u8, RunError> {
    let all = Cli::command();
    let mut program = Command::new("autointerp")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned());
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, "autointerp", &mut text);
    print(&String::from_utf8_lossy(&text));
    Ok(0)
}

/// The manual page of the program, or of one verb.
pub fn man(verb: Option<&str>) -> Result<u8, RunError> {
    let mut program = Cli::command();
    program.build();
    let page = match verb {
        None => Man::new(program),
        Some(verb) => {
            let known = program.find_subcommand(verb).cloned();
            let found = known.ok_or_else(|| RunError::Setting {
                field: "VERB".into(),
                problem: format!("is `{verb}`, which is none; `autointerp --help` lists them"),
            })?;
            Man::new(found).title(format!("autointerp-{verb}"))
        }
    };
    let mut text = Vec::new();
    let drawn = page.render(&mut text);
    drawn.map_err(|error| RunError::Setting { field: "man".into(), problem: error.to_string() })?;
    print(&String::from_utf8_lossy(&text));
    Ok(0)
}
