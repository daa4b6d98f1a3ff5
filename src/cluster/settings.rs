//! `cluster.yaml`: what jobs are given. Every field has a default; see [`Cluster`].

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{FileError, is_invisible};
use crate::suite::{parse_settings, read_settings, reference::section};

/// What each part, and the job that writes the summary, is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cluster {
    /// The program as jobs start it. Slurm needs a path that all nodes see.
    #[schemars(extend("x-default" = "Slurm: the program that runs `submit`; Kubernetes: `autointerp`"))]
    pub program: Option<String>,
    /// Lines of shell that run first in every job, such as `module load cuda`. A line that fails ends the job.
    pub before: Vec<String>,
    /// Environment variables with their values. Keys do not belong here, because job files hold them as text: see
    /// `slurm.export`, `kubernetes.secrets` and `kubernetes.keys`.
    #[schemars(extend("x-default" = "none"))]
    pub environment: BTreeMap<String, String>,
    /// CPU cores of a job, and its `--threads`.
    #[schemars(range(min = 1, max = 4_096))]
    pub cpus: u32,
    /// Memory of a job, in GiB. `autointerp plan SUITE` estimates what a run takes.
    #[schemars(range(min = 1, max = 65_536))]
    pub memory_gib: u32,
    /// GPUs of a job. `submit --device cuda` makes the program itself use one.
    #[schemars(range(min = 0, max = 1_024))]
    pub gpus: u32,
    /// Time limit of a job, in minutes. A job that reaches it loses nothing that was finished: submit again.
    #[schemars(range(min = 1, max = 1_000_000), extend("x-default" = "the cluster's"))]
    pub minutes: Option<u32>,
    /// Settings of Slurm.
    pub slurm: Slurm,
    /// Settings of Kubernetes.
    pub kubernetes: Kubernetes,
}

/// Settings of Slurm. Each is the option of `sbatch` of its name.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Slurm {
    /// Partition.
    #[schemars(extend("x-default" = "the cluster's"))]
    pub partition: Option<String>,
    /// Account that pays.
    #[schemars(extend("x-default" = "the user's"))]
    pub account: Option<String>,
    /// Quality of service.
    #[schemars(extend("x-default" = "the cluster's"))]
    pub qos: Option<String>,
    /// Type of the GPUs: `a100` makes `--gres=gpu:a100:N`.
    #[schemars(extend("x-default" = "any"))]
    pub gpu_type: Option<String>,
    /// Names of the environment variables that jobs inherit, keys among them. The suite's keys are added. Slurm hands
    /// values over; no job file holds them.
    #[schemars(extend("x-default" = "all"))]
    pub export: Vec<String>,
    /// Whether Slurm starts a job again whose node failed.
    pub requeue: bool,
    /// Further options, `--constraint=a100`. Submitting sets `--array`, `--dependency`, `--export`, `--output` itself.
    pub options: Vec<String>,
}

/// Settings of Kubernetes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Kubernetes {
    /// Image with the program and `/bin/sh`. Required for `--engine kubernetes`.
    #[schemars(extend("x-default" = "required"))]
    pub image: Option<String>,
    /// Name of the PersistentVolumeClaim that all jobs mount, access mode ReadWriteMany. Required for
    /// `--engine kubernetes`.
    #[schemars(extend("x-default" = "required"))]
    pub claim: Option<String>,
    /// Where it is mounted. Jobs start there, so relative paths of the suite and `--out` lie below it.
    pub mount_path: String,
    /// Namespace.
    #[schemars(extend("x-default" = "that of the current context"))]
    pub namespace: Option<String>,
    /// Names of secrets. Each of their entries becomes an environment variable (`envFrom`).
    pub secrets: Vec<String>,
    /// Environment variables from single entries of secrets (`secretKeyRef`):
    /// `OPENAI_API_KEY: {secret: openai, key: api-key}`.
    #[schemars(extend("x-default" = "none"))]
    pub keys: BTreeMap<String, SecretKey>,
    /// How often a part starts again after its pod failed (`backoffLimitPerIndex`), and the same for the summary.
    #[schemars(range(min = 0, max = 100))]
    pub retries: u32,
    /// Resource name of the GPUs.
    pub gpu_resource: String,
    /// Labels that a node must have.
    #[schemars(extend("x-default" = "none"))]
    pub node_selector: BTreeMap<String, String>,
}

/// An entry of a Kubernetes Secret.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SecretKey {
    /// Name of the secret.
    pub secret: String,
    /// The entry.
    pub key: String,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            program: None,
            before: Vec::new(),
            environment: BTreeMap::new(),
            cpus: 4,
            memory_gib: 8,
            gpus: 0,
            minutes: None,
            slurm: Slurm::default(),
            kubernetes: Kubernetes::default(),
        }
    }
}

impl Default for Slurm {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            gpu_type: None,
            export: Vec::new(),
            requeue: true,
            options: Vec::new(),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            image: None,
            claim: None,
            mount_path: "/data".into(),
            namespace: None,
            secrets: Vec::new(),
            keys: BTreeMap::new(),
            retries: 3,
            gpu_resource: "nvidia.com/gpu".into(),
            node_selector: BTreeMap::new(),
        }
    }
}

/// Reads `cluster.yaml`. The inner error is about its content and lists every problem with its position.
pub fn read(path: &Path) -> Result<Result<Cluster, String>, FileError> {
    read_settings(path, problems)
}

/// As [`read`], from a text.
pub fn parse(text: &str) -> Result<Cluster, String> {
    parse_settings(text, problems)
}

/// The field reference, in Markdown.
pub fn reference() -> String {
    let sections = [
        section::<Cluster>("`cluster.yaml`"),
        section::<Slurm>("`slurm` in `cluster.yaml`"),
        section::<Kubernetes>("`kubernetes` in `cluster.yaml`"),
        section::<SecretKey>("`keys` of `kubernetes`"),
    ];
    sections.concat()
}

/// What the schema cannot tell: paths of fields, with messages.
fn problems(cluster: &Cluster) -> Vec<(String, String)> {
    let mut found = Problems(Vec::new());
    let (slurm, kubernetes) = (&cluster.slurm, &cluster.kubernetes);
    found.visible("program", cluster.program.as_deref());
    for (nth, line) in cluster.before.iter().enumerate() {
        let breaks = line.replace(['\n', '\t'], " ");
        found.visible(&format!("before.{nth}"), Some(&breaks));
    }
    for (name, value) in &cluster.environment {
        let path = format!("environment.{name}");
        found.variable(&path, name);
        if is_of_key(name) {
            found.add(
                &path,
                "would write a key into job files: set it where you run `submit` and let Slurm hand it over \
                 (`slurm.export`), or name a secret under `kubernetes.keys`",
            );
        }
        if !value.is_empty() {
            found.visible(&path, Some(value));
        }
    }
    for (field, value) in [
        ("partition", &slurm.partition),
        ("account", &slurm.account),
        ("qos", &slurm.qos),
        ("gpu_type", &slurm.gpu_type),
    ] {
        found.visible(&format!("slurm.{field}"), value.as_deref());
    }
    slurm
        .export
        .iter()
        .enumerate()
        .for_each(|(nth, name)| found.variable(&format!("slurm.export.{nth}"), name));
    for (nth, option) in slurm.options.iter().enumerate() {
        found.option(&format!("slurm.options.{nth}"), option);
    }
    found.visible("kubernetes.image", kubernetes.image.as_deref());
    found.visible("kubernetes.gpu_resource", Some(&kubernetes.gpu_resource));
    found.resource("kubernetes.claim", kubernetes.claim.as_deref());
    found.resource("kubernetes.namespace", kubernetes.namespace.as_deref());
    for (nth, name) in kubernetes.secrets.iter().enumerate() {
        found.resource(&format!("kubernetes.secrets.{nth}"), Some(name));
    }
    for (name, from) in &kubernetes.keys {
        found.variable(&format!("kubernetes.keys.{name}"), name);
        found.resource(&format!("kubernetes.keys.{name}.secret"), Some(&from.secret));
        found.visible(&format!("kubernetes.keys.{name}.key"), Some(&from.key));
    }
    let mount = &kubernetes.mount_path;
    if !mount.starts_with('/') || mount.contains(':') || mount.split('/').any(|part| part == "..") {
        found.add("kubernetes.mount_path", "is not an absolute path without `:` and `..`: write `/data`");
    }
    found.visible("kubernetes.mount_path", Some(mount));
    found.0
}

/// Whether a variable of this name usually holds a key.
fn is_of_key(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    ["KEY", "TOKEN", "SECRET", "PASSWORD"]
        .iter()
        .any(|end| name.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
}

/// Options of `sbatch` that submitting sets, or that could hold a key or another command.
const SET: [&str; 9] =
    ["array", "dependency", "export", "export-file", "output", "job-name", "wrap", "parsable", "wait"];

struct Problems(Vec<(String, String)>);

impl Problems {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        self.0.push((path.into(), message.into()));
    }

    /// A value that is neither empty nor holds line breaks and other characters that nobody sees.
    fn visible(&mut self, path: &str, value: Option<&str>) {
        match value {
            Some(text) if text.trim().is_empty() => {
                self.add(path, "is empty: leave the field out, or give a value")
            }
            Some(text) if text.contains(is_invisible) => {
                self.add(path, "holds a line break or another character that does not print: remove it");
            }
            _ => {}
        }
    }

    fn variable(&mut self, path: &str, name: &str) {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_word) || name.starts_with(|c: char| c.is_ascii_digit()) {
            let expected =
                "expected the name of an environment variable, of letters, digits and `_`, without a value";
            self.add(path, format!("is `{}`, {expected}", name.escape_debug()));
        }
    }

    fn resource(&mut self, path: &str, name: Option<&str>) {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        let is_end = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_valid = |name: &str| {
            name.chars().all(is_plain)
                && name.starts_with(is_end)
                && name.ends_with(is_end)
                && name.len() <= 253
        };
        if let Some(name) = name.filter(|name| !is_valid(name)) {
            let expected = "expected the name of a Kubernetes object, of small letters, digits, `-` and `.`";
            self.add(path, format!("is `{}`, {expected}", name.escape_debug()));
        }
    }

    fn option(&mut self, path: &str, option: &str) {
        let name = option.strip_prefix("--").and_then(|rest| rest.split('=').next()).unwrap_or_default();
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
        if name.is_empty() || !name.chars().all(is_name) {
            let expected = "expected one option with its value behind `=`, `--constraint=a100`";
            self.add(path, format!("is `{}`, {expected}", option.escape_debug()));
        } else if SET.contains(&name) {
            self.add(path, format!("is `--{name}`, which `submit` sets itself"));
        } else {
            self.visible(path, Some(option));
        }
    }
}
