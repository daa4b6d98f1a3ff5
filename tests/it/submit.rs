//! `submit`: job files as they are committed, what is handed to a scheduler, and what never stands in a job file.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::committed::compare;
use crate::program::{autointerp, finish};
use crate::toy::Toy;

const SMOKE: &str = include_str!("../../suites/smoke.yaml");

const CLUSTER: &str = "\
program: /opt/autointerp/bin/autointerp
cpus: 8
memory_gib: 16
gpus: 1
minutes: 120
environment: {AUTOINTERP_CACHE: /scratch/me/cache of mine}
before:
  - module load cuda
slurm: {partition: short, account: lab, gpu_type: a100, export: [PATH, HOME], options: [--constraint=a|b]}
kubernetes:
  image: example.org/autointerp:1
  claim: shared
  keys: {OPENAI_API_KEY: {secret: openai, key: api-key}}
";

/// A folder with the smoke suite and settings of a cluster.
fn folder() -> Toy {
    let toy = Toy::new();
    toy.write("smoke.yaml", SMOKE);
    toy.write("cluster.yaml", CLUSTER);
    toy
}

fn submit(toy: &Toy, args: &[&str]) -> Command {
    let mut command = autointerp(toy.home(), &[&["submit", "smoke.yaml", "--parts", "3"], args].concat());
    command.current_dir(toy.home());
    command
}

#[cfg(unix)]
#[test]
fn committed_job_files_of_both_schedulers() {
    let toy = folder();
    for engine in ["slurm", "kubernetes"] {
        let done = finish(&mut submit(&toy, &["--engine", engine, "--budget-usd", "2.5", "--dry-run"])).ok();
        let text = done.stdout.replace(toy.home().to_str().expect("UTF-8"), "HOME");
        let snapshot =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/jobs.{engine}.txt"));
        compare(&snapshot, &text);
    }
    assert!(!toy.path("results").exists(), "`--dry-run` wrote something");
}

#[test]
fn without_the_scheduler_the_files_stay_and_the_message_says_where() {
    let toy = folder();
    for (engine, program, file) in
        [("slurm", "`sbatch`", "parts.sh"), ("kubernetes", "`kubectl`", "parts.yaml")]
    {
        let done = finish(submit(&toy, &["--engine", engine]).env("PATH", toy.path("nowhere")));
        done.refused(6, &[program, "jobs"]);
        assert!(toy.path("results/smoke/jobs").join(file).exists());
    }
}

#[test]
fn no_job_file_holds_a_key() {
    const KEY: &str = "sk-test-0123456789abcdefghij";
    let toy = folder();
    let model = "explainer={kind: token_activation, llm: {client: openai, model: m}}";
    let with_model = ["--engine", "slurm", "--set", model, "--set", "simulator={kind: generated}"];
    let done =
        finish(submit(&toy, &[&with_model[..], &["--dry-run"]].concat()).env("OPENAI_API_KEY", KEY)).ok();
    assert!(
        done.stdout.contains("--export=PATH,HOME,OPENAI_API_KEY") && !done.stdout.contains(KEY),
        "{}",
        done.stdout
    );
    assert!(!done.stderr.contains("warning"), "{}", done.stderr);
    let done = finish(&mut submit(&toy, &[&with_model[..], &["--dry-run"]].concat())).ok();
    assert!(done.stderr.contains("warning: `OPENAI_API_KEY` is not set here"), "{}", done.stderr);
    toy.write("cluster.yaml", &format!("before:\n  - echo {KEY}\n"));
    let mut command = submit(&toy, &with_model);
    let done = finish(command.env("OPENAI_API_KEY", KEY));
    assert!(!done.stderr.contains(KEY), "{}", done.stderr);
    done.refused(2, &["parts.sh", "api_key_env"]);
    toy.write("cluster.yaml", "");
    let set = format!("explainer={{kind: token_activation, llm: {{client: openai, model: {KEY}}}}}");
    let simulator = "simulator={kind: generated}";
    let done = finish(&mut submit(&toy, &["--engine", "slurm", "--set", &set, "--set", simulator]));
    assert!(!done.stderr.contains(KEY), "{}", done.stderr);
    done.refused(2, &["`--set` holds what looks like a key"]);
    toy.write("cluster.yaml", &format!("slurm: {{qos: x}}\nenvironment:\n  OPENAI_API_KEY: {KEY}\n"));
    let done = finish(&mut submit(&toy, &["--engine", "slurm"]));
    assert!(!done.stderr.contains(KEY), "{}", done.stderr);
    done.refused(2, &["cluster.yaml", "3:19", "slurm.export"]);
    assert!(!toy.path("results").exists(), "something was written");
}

/// Writes a program that stands for a scheduler's.
#[cfg(unix)]
fn scheduler(toy: &Toy, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(toy.path("bin")).expect("a folder");
    toy.write(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(toy.path("bin").join(name), fs::Permissions::from_mode(0o755)).expect("executable");
}

#[cfg(unix)]
#[test]
fn the_summary_is_submitted_behind_the_parts_and_the_ids_are_told() {
    let toy = folder();
    let with = |engine: &str| {
        let mut command = submit(&toy, &["--engine", engine]);
        command.env("PATH", toy.path("bin"));
        finish(&mut command)
    };
    scheduler(
        &toy,
        "sbatch",
        "echo \"$@\" >> calls; case \"$2\" in --dep*) echo 42;; *) echo '41;local';; esac",
    );
    let said = with("slurm").ok().stdout;
    for text in
        ["3 parts as job 41, the summary as job 42", "squeue --jobs=41,42", "results/smoke/index.html"]
    {
        assert!(said.contains(text), "{text}\n{said}");
    }
    let calls = fs::read_to_string(toy.path("calls")).expect("calls");
    let expected = "--parsable results/smoke/jobs/parts.sh\n--parsable --dependency=afterany:41 results/smoke/jobs/summary.sh\n";
    assert_eq!(calls, expected);
    scheduler(&toy, "sbatch", "echo 'sbatch: error: invalid partition specified: short' >&2; exit 1");
    with("slurm").refused(2, &["`sbatch` refused", "invalid partition", "results/smoke/jobs"]);
    scheduler(&toy, "kubectl", "echo 'configmap/smoke-files created'; echo 'job.batch/smoke-parts created'");
    let said = with("kubernetes").ok().stdout;
    assert!(said.contains("kubectl wait") && said.contains("summary.yaml"), "{said}");
    scheduler(&toy, "kubectl", "echo 'job.batch/smoke-parts unchanged'");
    with("kubernetes").refused(2, &["`kubectl` knows the Job `smoke-parts` already", "kubectl delete job"]);
}
