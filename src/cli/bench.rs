//! `bench`: answers every line of stdin with one line.

use std::io::BufRead;

use serde_json::Value;

use super::{print, setting};
use crate::base::{DeviceName, terminal_json};
use crate::bench::{BenchError, Work};
use crate::run::RunError;

pub fn bench(device: DeviceName) -> Result<u8, RunError> {
    let wrong = |problem: String| setting("bench", problem);
    let failed = |error: BenchError| wrong(error.to_string());
    let mut lines = std::io::stdin().lock().lines();
    let mut next = || -> Result<Option<String>, RunError> {
        lines.next().transpose().map_err(|error| wrong(format!("cannot read stdin: {error}")))
    };
    let Some(first) = next()? else { return Ok(0) };
    let work: Work = serde_json::from_str(&first).map_err(|error| wrong(error.to_string()))?;
    let mut work = work.open(device).map_err(failed)?;
    print(&serde_json::json!({"ready": true}).to_string())?;
    while let Some(line) = next()? {
        let turn: Value = serde_json::from_str(&line).map_err(|error| wrong(error.to_string()))?;
        print(&terminal_json(&work(&turn).map_err(failed)?.to_string()))?;
    }
    Ok(0)
}
