//! Tests of job files: fields, quoting, and what is refused.

use std::path::Path;

use super::*;
use crate::suite::node::{Node, Value};

/// Text that a shell, YAML or Slurm could read otherwise.
const NASTY: &str = "a b'c \"d $HOME `x` #1 %a";

fn work(out: &str) -> Work<'static> {
    Work {
        suite: "Smoke_1.x",
        program: vec!["/opt/my tools/autointerp".into()],
        file: "suites/smoke.yaml".into(),
        out: out.into(),
        flags: vec!["--set".into(), format!("subject.model={NASTY}")],
        parts: 3,
    }
}

fn slurm(cluster: &Cluster, folder: &str) -> Result<[JobFile; 2], ClusterError> {
    slurm_jobs(&work("results/x"), cluster, Path::new(folder), Path::new("/home/me"), &["OPENAI_API_KEY"])
}

fn in_kubernetes(more: &str) -> Cluster {
    parse(&format!("kubernetes:\n  image: i:1\n  claim: shared\n{more}")).expect("valid")
}

#[test]
fn an_empty_file_is_all_defaults_and_a_wrong_one_names_every_problem_with_its_place() {
    assert_eq!(parse("").expect("valid").cpus, 4);
    let wrong = "cpuss: 2\nslurm: {partitn: a}\nmemory_gib: lots\n";
    let found = parse(wrong).expect_err("wrong");
    for text in [
        "has 3 problems",
        "1:1: `cpuss`",
        "did you mean `cpus`?",
        "2:9: `slurm.partitn`",
        "3:13: `memory_gib`",
    ] {
        assert!(found.contains(text), "{text}\n{found}");
    }
    let wrong = "environment:\n  OPENAI_API_KEY: abc\n  a b: c\nslurm: {export: ['A=1'], options: ['--array=1', 'x'], qos: \"a\\nb\"}\n\
                 kubernetes: {claim: A_b, mount_path: work, keys: {K: {secret: s, key: ''}}}\n";
    let found = parse(wrong).expect_err("wrong");
    assert!(found.starts_with("has 9 problems"), "{found}");
    assert!(found.contains("2:19: `environment.OPENAI_API_KEY` would write a key"), "{found}");
    assert!(!found.contains("abc"), "{found}");
    assert!(parse("a: [").expect_err("wrong").starts_with("is not valid YAML"));
}

#[test]
fn a_slurm_script_quotes_what_its_readers_would_change() {
    let text = format!(
        "gpus: 2\nminutes: 90\nbefore: module load cuda\nenvironment: {{CACHE: '{}'}}\n\
         slurm: {{partition: short, gpu_type: a100, export: [PATH], options: ['--constraint=a|b', --exclusive]}}",
        NASTY.replace('\'', "''")
    );
    let cluster = parse(&text).expect("valid");
    let [parts, summary] = slurm(&cluster, &format!("/data/{NASTY}")).expect("written");
    for line in [
        "#SBATCH --array=1-3",
        "#SBATCH --job-name=Smoke_1.x",
        "#SBATCH --output=\"/data/a b'c \\\"d $HOME `x` #1 %%a/part-%a.log\"",
        "#SBATCH --mem=8G",
        "#SBATCH --time=90",
        "#SBATCH --gres=gpu:a100:2",
        "#SBATCH --partition=short",
        "#SBATCH --export=PATH,OPENAI_API_KEY",
        "#SBATCH --constraint=\"a|b\"",
        "#SBATCH --exclusive",
        "cd /home/me",
        "export CACHE='a b'\\''c \"d $HOME `x` #1 %a'",
        "module load cuda",
    ] {
        assert!(parts.text.lines().any(|found| found == line), "{line}\n{}", parts.text);
    }
    let last = parts.text.lines().last().expect("a line");
    assert!(
        last.starts_with(
            "exec '/opt/my tools/autointerp' run suites/smoke.yaml --out results/x --set 'subject"
        ),
        "{last}"
    );
    assert!(last.ends_with("--threads 4 --progress plain --part \"$SLURM_ARRAY_TASK_ID/3\""), "{last}");
    assert!(!summary.text.contains("--array") && !summary.text.contains("--part "), "{}", summary.text);
    assert!(summary.text.contains("afterany, not afterok"), "{}", summary.text);
}

#[test]
fn what_no_job_file_can_show_is_refused() {
    let usual = Cluster::default();
    assert_eq!(slurm(&usual, "/data/a\\b").expect_err("refused").field, "--out");
    assert!(slurm(&usual, "/data/a\nb").expect_err("refused").to_string().contains("U+000A"));
    let hidden = Work { flags: vec!["--set".into(), "a=\u{202e}".into()], ..work("x") };
    assert!(lines(&hidden, &usual, None, None).is_err());
}

#[test]
fn a_manifest_mounts_the_suite_as_it_is_and_takes_keys_from_secrets_alone() {
    let suite = "name: x  \n# \"quoted\": 'text'\r\n  indented: yes\nlast";
    let more = "  namespace: lab\n  secrets: [all]\n  keys: {OPENAI_API_KEY: {secret: openai, key: api-key}}\n  node_selector: {gpu: 'yes'}\n";
    let cluster = Cluster { gpus: 1, minutes: Some(2), ..in_kubernetes(more) };
    let [parts, summary] = kubernetes_jobs(&work("results/x"), &cluster, suite).expect("written");
    let (files, job) = parts.text.split_once("---\n").expect("two documents");
    let (files, job) = (Node::parse(files).expect("YAML"), Node::parse(job).expect("YAML"));
    let text = |node: &Node, path: &str| match node.find(path).map(|found| &found.value) {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Integer(number)) => number.to_string(),
        other => panic!("{path}: {other:?}"),
    };
    let Value::Map(data) = &files.find("data").expect("data").value else { panic!("a mapping") };
    let mounted =
        data.iter().find(|(name, _, _)| name == "Smoke_1.x.yaml").map(|(_, _, node)| node.value.clone());
    assert!(matches!(mounted, Some(Value::Text(text)) if text == suite.replace('\r', "") + "\n"));
    assert_eq!(text(&job, "metadata.name"), "smoke-1-x-parts");
    assert_eq!(text(&job, "metadata.namespace"), "lab");
    assert_eq!(text(&job, "spec.completionMode"), "Indexed");
    assert_eq!(text(&job, "spec.completions"), "3");
    let pod = "spec.template.spec";
    assert_eq!(text(&job, &format!("{pod}.activeDeadlineSeconds")), "120");
    assert_eq!(text(&job, &format!("{pod}.nodeSelector.gpu")), "yes");
    let container = format!("{pod}.containers.0");
    assert_eq!(text(&job, &format!("{container}.command.1")), "/autointerp/part.sh");
    assert_eq!(text(&job, &format!("{container}.env.0.valueFrom.secretKeyRef.name")), "openai");
    assert_eq!(text(&job, &format!("{container}.envFrom.0.secretRef.name")), "all");
    assert!(parts.text.contains("run /autointerp/Smoke_1.x.yaml --out results/x"), "{}", parts.text);
    assert!(parts.text.contains("--part \"$((JOB_COMPLETION_INDEX + 1))/3\""), "{}", parts.text);
    assert!(
        summary.text.contains("/autointerp/summary.sh") && !summary.text.contains("Indexed"),
        "{}",
        summary.text
    );
}

#[test]
fn a_manifest_needs_an_image_a_volume_and_a_folder_on_it() {
    let refused =
        |cluster: &Cluster, out: &str| kubernetes_jobs(&work(out), cluster, "").expect_err("refused").field;
    assert_eq!(refused(&Cluster::default(), "x"), "kubernetes.image");
    assert_eq!(refused(&in_kubernetes(""), "../x"), "--out");
    assert_eq!(refused(&in_kubernetes(""), "/elsewhere/x"), "--out");
    assert!(kubernetes_jobs(&work("/data/x"), &in_kubernetes(""), "").is_ok());
}

#[test]
fn names_of_jobs_are_what_kubernetes_takes() {
    let long = "x".repeat(100);
    for (suite, name) in [("smoke", "smoke-parts"), ("A_b.c-", "a-b-c-parts"), ("___", "suite-parts")] {
        assert_eq!(parts_name(suite), name);
    }
    assert!(summary_name(&long).len() < 50);
}
