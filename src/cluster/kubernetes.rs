//! Manifests for Kubernetes: an Indexed Job of parts, and the Job that writes the summary, to be applied behind it.

use std::path::{Component, Path};

use serde_json::{Map, Value, json};

use super::{Cluster, ClusterError, JobFile, Kubernetes, Work, lines, path_text};

/// Where the suite and the scripts of the jobs are mounted.
const FILES: &str = "/autointerp";

/// The part's number from 1. Kubernetes counts from 0.
const PART: &str = "$((JOB_COMPLETION_INDEX + 1))";

/// Largest suite file, in bytes: a ConfigMap holds at most 1 MiB.
const MOST_BYTES: usize = 900_000;

/// Longest name of a suite in a Job's name. Pods add to it, and host names end at 63 characters.
const MOST_NAME: usize = 40;

/// The manifests of the parts, with a ConfigMap that holds the suite and the shell lines of both jobs, and of the
/// summary. `text` is the suite file.
pub fn jobs(work: &Work<'_>, cluster: &Cluster, text: &str) -> Result<[JobFile; 2], ClusterError> {
    if text.len() > MOST_BYTES {
        let problem = format!(
            "has {} bytes, and a ConfigMap takes {MOST_BYTES}: put long lists into files of their own",
            text.len()
        );
        return Err(ClusterError::new("SUITE", problem));
    }
    let at = &cluster.kubernetes;
    inside(Path::new(&work.out), Path::new(&at.mount_path))?;
    let file = format!("{}.yaml", work.suite);
    let mounted = Work { file: format!("{FILES}/{file}"), ..work.clone() };
    let script = |part| Ok(format!("#!/bin/sh\n{}", lines(&mounted, cluster, None, part)?));
    // A block of YAML text keeps no carriage returns.
    let suite: String = text.lines().flat_map(|line| [line, "\n"]).collect();
    let files = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(at, work, &files_name(work)),
        "data": {file: suite, "part.sh": script(Some(PART))?, "summary.sh": script(None)?},
    });
    let parts = json!({
        "completionMode": "Indexed", "completions": work.parts, "parallelism": work.parts,
        "backoffLimitPerIndex": at.retries, "template": pod(work, cluster, "part.sh")?,
    });
    let summary = json!({"backoffLimit": at.retries, "template": pod(work, cluster, "summary.sh")?});
    let [parts, summary] = [(parts_name(work.suite), parts), (summary_name(work.suite), summary)].map(
        |(name, spec)| json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(at, work, &name), "spec": spec}),
    );
    let of_parts = format!("# The suite `{}` in {} parts, as an Indexed Job.\n", work.suite, work.parts);
    let of_summary = format!(
        "# The summary of `{}`. Apply it when the parts have ended, whatever became of them: it computes what they left undone.\n",
        work.suite
    );
    Ok([
        JobFile { name: "parts.yaml", text: of_parts + &yaml(&files)? + "---\n" + &yaml(&parts)? },
        JobFile { name: "summary.yaml", text: of_summary + &yaml(&summary)? },
    ])
}

/// The Job of the parts.
pub fn parts_name(suite: &str) -> String {
    format!("{}-parts", object_name(suite))
}

/// The Job that writes the summary.
pub fn summary_name(suite: &str) -> String {
    format!("{}-summary", object_name(suite))
}

/// Arguments of `kubectl` that wait until the parts have ended, well or not: the first condition of a Job is its end.
pub fn end_of_parts(suite: &str) -> Vec<String> {
    ["wait", "--for=jsonpath={.status.conditions[0].status}=True", "--timeout=-1s"]
        .map(String::from)
        .into_iter()
        .chain([format!("job/{}", parts_name(suite))])
        .collect()
}

/// Arguments of `kubectl` that remove both Jobs, so that they can be applied again. A finished Job never runs again.
pub fn apply_again(suite: &str) -> Vec<String> {
    ["delete".into(), "job".into(), "--ignore-not-found".into(), parts_name(suite), summary_name(suite)]
        .into()
}

fn files_name(work: &Work<'_>) -> String {
    format!("{}-files", object_name(work.suite))
}

/// A suite's name as Kubernetes takes it: small letters, digits and `-`, with a letter or digit at both ends.
fn object_name(suite: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = suite.chars().map(plain).take(MOST_NAME).collect();
    match name.trim_matches('-') {
        "" => "suite".into(),
        name => name.into(),
    }
}

/// Refuses a run folder outside the shared volume, where no other job would see it.
fn inside(out: &Path, mount: &Path) -> Result<(), ClusterError> {
    let climbs = out.components().any(|part| part == Component::ParentDir);
    if climbs || (out.is_absolute() && !out.starts_with(mount)) {
        let problem = format!(
            "is `{}`, which is not below `{}`, the mount path of the shared volume: give a path relative to it",
            path_text("--out", out)?,
            mount.display()
        );
        return Err(ClusterError::new("--out", problem));
    }
    Ok(())
}

fn metadata(at: &Kubernetes, work: &Work<'_>, name: &str) -> Value {
    let mut metadata = json!({"name": name, "labels": labels(work)});
    if let Some(namespace) = &at.namespace {
        metadata["namespace"] = namespace.as_str().into();
    }
    metadata
}

fn labels(work: &Work<'_>) -> Value {
    json!({"app.kubernetes.io/name": "autointerp", "app.kubernetes.io/instance": object_name(work.suite)})
}

/// The pod of a job that runs one of the scripts.
fn pod(work: &Work<'_>, cluster: &Cluster, script: &str) -> Result<Value, ClusterError> {
    let at = &cluster.kubernetes;
    let required = |field: &str, value: &Option<String>| {
        let problem = "is missing in `cluster.yaml`, and `--engine kubernetes` needs it";
        value.clone().ok_or_else(|| ClusterError::new(&format!("kubernetes.{field}"), problem))
    };
    let mut limits = Map::from_iter([("memory".to_string(), json!(format!("{}Gi", cluster.memory_gib)))]);
    let mut requests = limits.clone();
    requests.insert("cpu".into(), cluster.cpus.to_string().into());
    if cluster.gpus > 0 {
        limits.insert(at.gpu_resource.clone(), cluster.gpus.to_string().into());
    }
    let keys = at.keys.iter().map(|(name, from)| {
        json!({"name": name, "valueFrom": {"secretKeyRef": {"name": from.secret, "key": from.key}}})
    });
    let secrets = at.secrets.iter().map(|name| json!({"secretRef": {"name": name}}));
    let container = json!({
        "name": "autointerp", "image": required("image", &at.image)?,
        "command": ["/bin/sh", format!("{FILES}/{script}")], "workingDir": at.mount_path,
        "env": keys.collect::<Vec<_>>(), "envFrom": secrets.collect::<Vec<_>>(),
        "resources": {"limits": limits, "requests": requests},
        "volumeMounts": [
            {"name": "work", "mountPath": at.mount_path},
            {"name": "files", "mountPath": FILES, "readOnly": true},
        ],
    });
    let mut spec = json!({
        "restartPolicy": "Never", "containers": [container],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": required("claim", &at.claim)?}},
            {"name": "files", "configMap": {"name": files_name(work)}},
        ],
    });
    if let Some(minutes) = cluster.minutes {
        spec["activeDeadlineSeconds"] = (60 * u64::from(minutes)).into();
    }
    if !at.node_selector.is_empty() {
        spec["nodeSelector"] = json!(at.node_selector);
    }
    Ok(json!({"metadata": {"labels": labels(work)}, "spec": spec}))
}

/// A manifest as YAML. Long lines stay whole, so that no reader joins them differently.
fn yaml(manifest: &Value) -> Result<String, ClusterError> {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 1_000_000 };
    serde_saphyr::to_string_with_options(manifest, options)
        .map_err(|error| ClusterError::new("--engine kubernetes", format!("gives no manifest: {error}")))
}
