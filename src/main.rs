//! The `autointerp` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(autointerp::cli::main())
}
