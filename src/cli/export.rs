//! `export`: writes what a run holds in a form that another program reads.

use std::sync::atomic::{AtomicBool, Ordering};

use super::args::{Common, Env, ExportArgs};
use super::progress::say;
use super::remote::RunHere;
use super::{print_result, setting};
use crate::export::{Exported, Form, Wanted, default_folder, export};
use crate::report::{Part, visible};
use crate::run::RunError;

pub fn export_run(
    args: &ExportArgs,
    common: &Common,
    env: &Env,
    stop: &'static AtomicBool,
) -> Result<u8, RunError> {
    let form = Form::named(&args.to).ok_or_else(|| setting("--to", "is not a form"))?;
    let run = RunHere::open(&args.run, Part::Everything, common, env)?;
    let out = run.out(args.out.as_deref(), || default_folder(run.folder(), form))?;
    let wanted = Wanted { methods: args.method.clone(), hooks: args.hook.clone() };
    let exported = export(run.folder(), form, &wanted, &out, &|| stop.load(Ordering::Relaxed))?;
    if !common.quiet && !common.json {
        for skipped in &exported.skipped {
            let (hook, dictionary) = (visible(&skipped.hook), visible(&skipped.dictionary));
            say(&format!("left out: {dictionary} at {hook}: {}", skipped.reason));
        }
    }
    print_result(common, &exported, text)?;
    Ok(0)
}

/// One line for each dictionary, and the folder.
fn text(exported: &Exported) -> String {
    let lines = exported.exported.iter().map(|one| {
        let features = one.features.map_or(String::new(), |n| format!("  {n} features"));
        let [dictionary, hook, path] = [&one.dictionary, &one.hook, &one.path].map(|text| visible(text));
        format!("{dictionary} at {hook}  {path}{features}")
    });
    let mut lines: Vec<String> = lines.collect();
    lines.push(visible(&exported.out));
    lines.join("\n")
}
