//! Scripts for `sbatch`: an array of parts, and the job that writes the summary behind it.

use std::path::Path;

use super::{Cluster, ClusterError, JobFile, Work, lines, path_text};

/// The part's number, from 1, as the shell finds it.
const PART: &str = "$SLURM_ARRAY_TASK_ID";

/// The scripts of the parts and of the summary. `folder` holds job files and logs, `here` is where relative paths start,
/// both absolute. `keys` are names of the variables that hold the suite's keys.
pub fn jobs(
    work: &Work<'_>,
    cluster: &Cluster,
    folder: &Path,
    here: &Path,
    keys: &[&str],
) -> Result<[JobFile; 2], ClusterError> {
    let folder = path_text("--out", folder)?;
    if folder.contains('\\') {
        return Err(ClusterError::new(
            "--out",
            "holds a `\\`, which Slurm reads as an escape: choose another folder",
        ));
    }
    let script = |note: &str, log: &str, array: Option<String>, part: Option<&str>| {
        let mut text = format!("#!/usr/bin/env bash\n{note}");
        for option in options(work, cluster, &log_path(folder, log), array, keys) {
            text.push_str(&format!("#SBATCH {}\n", directive(&option)));
        }
        Ok(text + &lines(work, cluster, Some(here), part)?)
    };
    let (suite, parts) = (work.suite, work.parts);
    let of_parts = format!(
        "# The suite `{suite}` in {parts} parts, as an array job. By hand: sbatch parts.sh, which prints a job id\n"
    );
    let of_summary = format!(
        "# The summary of `{suite}`. By hand: sbatch --dependency=afterany:ID summary.sh, with the id of the parts.\n\
         # afterany, not afterok: this job computes what a part that died left undone, so it starts whatever became of them.\n"
    );
    Ok([
        JobFile {
            name: "parts.sh",
            text: script(&of_parts, "part-%a.log", Some(format!("1-{parts}")), Some(PART))?,
        },
        JobFile { name: "summary.sh", text: script(&of_summary, "summary.log", None, None)? },
    ])
}

/// A log file's path, in which Slurm replaces `%a` by the part's number.
fn log_path(folder: &str, log: &str) -> String {
    format!("{}/{log}", folder.replace('%', "%%"))
}

/// Options of `sbatch`, without quotes.
fn options(
    work: &Work<'_>,
    cluster: &Cluster,
    log: &str,
    array: Option<String>,
    keys: &[&str],
) -> Vec<String> {
    let slurm = &cluster.slurm;
    let mut all = vec![format!("--job-name={}", work.suite)];
    all.extend(array.map(|indices| format!("--array={indices}")));
    all.extend([format!("--output={log}"), "--open-mode=append".into(), "--ntasks=1".into()]);
    all.extend([format!("--cpus-per-task={}", cluster.cpus), format!("--mem={}G", cluster.memory_gib)]);
    all.extend(cluster.minutes.map(|minutes| format!("--time={minutes}")));
    if cluster.gpus > 0 {
        let kind = slurm.gpu_type.as_ref().map(|kind| format!("{kind}:")).unwrap_or_default();
        all.push(format!("--gres=gpu:{kind}{}", cluster.gpus));
    }
    for (name, value) in [("partition", &slurm.partition), ("account", &slurm.account), ("qos", &slurm.qos)] {
        all.extend(value.as_ref().map(|value| format!("--{name}={value}")));
    }
    all.push(format!("--export={}", exported(&slurm.export, keys)));
    all.push(if slurm.requeue { "--requeue" } else { "--no-requeue" }.into());
    all.extend(slurm.options.iter().cloned());
    all
}

/// Names of the variables that a job inherits; `ALL` without a choice.
fn exported(chosen: &[String], keys: &[&str]) -> String {
    if chosen.is_empty() {
        return "ALL".into();
    }
    let mut names: Vec<&str> = chosen.iter().map(String::as_str).collect();
    for key in keys {
        if !names.contains(key) {
            names.push(key);
        }
    }
    names.join(",")
}

/// An option as `sbatch` reads it in a script: a value with blanks, `#` or quotes stands in double quotes, in which `\`
/// escapes.
fn directive(option: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:+@=,%".contains(c);
    match option.split_once('=') {
        Some((name, value)) if !value.chars().all(is_plain) => {
            format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => option.to_string(),
    }
}
