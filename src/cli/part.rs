//! `run --part`: one part of a run on several machines.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, RunArgs};
use super::progress::{Progress, say};
use super::{plan, print, print_json, run, setting};
use crate::llm::Usage;
use crate::report::{count, wrap};
use crate::run::{self as runs, Event, Part, PartDone, RunError, Stop};

/// Output of `run --part --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RanPart<'a> {
    /// The part.
    part: Part,
    /// The run folder.
    folder: String,
    /// Rows of its share.
    share: usize,
    /// Rows of its share that it did. The others were stored already, or another part has taken them over.
    done: usize,
    /// Rows of other parts that it did.
    taken_over: usize,
    /// Rows that are not done yet, by the number of their part.
    left: &'a BTreeMap<usize, usize>,
    /// Requests, tokens and dollars of this part by language model.
    llm_usage: &'a BTreeMap<String, Usage>,
}

/// Does one part of a run and says what it did.
pub fn run_part(
    part: Part,
    args: &RunArgs,
    common: &Common,
    env: &Env,
    stop: &'static AtomicBool,
) -> Result<u8, RunError> {
    let suite = &plan::load(&args.plan.suite)?;
    let places = run::places(suite, args, common, env)?;
    if places.remote.is_some() {
        let problem = "needs a run folder that all parts can write to as files: give `--out` a folder of a shared file \
                       system; object storage takes whole runs only";
        return Err(setting("--part", problem));
    }
    if !common.quiet {
        say(&format!("part {part} of suite {} → {}", suite.name, places.out.display()));
    }
    let progress = Progress::new(common.progress, common.quiet);
    let on = |event: Event| progress.show(&event);
    let done = runs::run_part(suite, &places, part, &on, Stop(stop));
    progress.finish();
    show(&done?, common, env)?;
    Ok(0)
}

fn show(done: &PartDone, common: &Common, env: &Env) -> Result<(), RunError> {
    if common.json {
        return print_json(&RanPart {
            part: done.part,
            folder: done.folder.display().to_string(),
            share: done.share,
            done: done.done,
            taken_over: done.taken_over,
            left: &done.left,
            llm_usage: &done.llm_usage,
        });
    }
    print(&sentence(done))?;
    for (model, usage) in &done.llm_usage {
        print(&wrap(&run::usage_line(model, usage), env.look.width).join("\n"))?;
    }
    if !common.quiet {
        say("when all parts have ended, the same command without --part writes the results");
    }
    Ok(())
}

/// What a part did, and what is left to others.
fn sentence(done: &PartDone) -> String {
    let mut text = format!("part {}: did {} of its {}", done.part, done.done, rows(done.share));
    if done.done < done.share {
        text.push_str(" (the others were done already or are done elsewhere)");
    }
    if done.taken_over > 0 {
        text.push_str(&format!(", took over {} of other parts", rows(done.taken_over)));
    }
    let left = done.left.iter().map(|(part, n)| format!("{} of part {part}", rows(*n)));
    match left.collect::<Vec<_>>().join(", ") {
        left if left.is_empty() => text.push_str("; all rows of the run are done"),
        left => text.push_str(&format!("; not done yet: {left}")),
    }
    text
}

fn rows(n: usize) -> String {
    format!("{} row{}", count(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_what_it_did_and_what_is_left() {
        let done = |done, taken_over, left: &[(usize, usize)]| PartDone {
            part: Part { nth: 2, of: 3 },
            folder: "run".into(),
            share: 4,
            done,
            taken_over,
            left: left.iter().copied().collect(),
            llm_usage: BTreeMap::new(),
        };
        assert_eq!(sentence(&done(4, 0, &[])), "part 2/3: did 4 of its 4 rows; all rows of the run are done");
        assert_eq!(
            sentence(&done(3, 1, &[(1, 1), (3, 1200)])),
            "part 2/3: did 3 of its 4 rows (the others were done already or are done elsewhere), took over 1 row of \
             other parts; not done yet: 1 row of part 1, 1,200 rows of part 3"
        );
    }
}
