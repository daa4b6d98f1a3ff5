//! `doctor`: describes the machine, the cache, the endpoints and a model.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, key};
use super::harvest::model_places;
use super::print_result;
use crate::base::{DeviceName, cpu_name, instruction_set, write_atomic};
use crate::hub::DEFAULT_ENDPOINT;
use crate::llm::ClientKind;
use crate::nn::{Tokenizer, gpu_count, is_gguf};
use crate::report::labelled_list;
use crate::run::{RunError, open_subject};
use crate::subject::{Prefix, SubjectInfo};
use crate::suite::SubjectSpec;

/// Output of `doctor --json`.
#[derive(Serialize, JsonSchema)]
pub struct Report {
    /// Version of the program.
    version: &'static str,
    /// Number of threads used.
    threads: usize,
    /// The processor's name; null if unknown.
    cpu: Option<String>,
    /// Widest vector instructions used.
    instruction_set: &'static str,
    /// Number of GPUs for `--device cuda`; null if the program was built without CUDA.
    gpus: Option<usize>,
    /// Free memory; null if unknown.
    memory_available_gb: Option<f64>,
    /// The cache folder.
    cache: String,
    /// Whether it can be written to.
    cache_writable: bool,
    /// Free disk space there; null if unknown.
    cache_disk_free_gb: Option<f64>,
    /// Endpoint of the Hugging Face hub.
    hub_endpoint: String,
    /// Whether it answers; null with `--offline`.
    hub_reachable: Option<bool>,
    /// Whether a token for it is set. The token itself is never shown.
    hub_token_set: bool,
    /// Default endpoint of OpenAI-compatible models.
    openai_endpoint: String,
    /// Whether it answers; null with `--offline`.
    openai_reachable: Option<bool>,
    /// Whether `OPENAI_API_KEY` is set.
    openai_key_set: bool,
    /// Whether `ANTHROPIC_API_KEY` is set.
    anthropic_key_set: bool,
    /// Models found in this folder and `models/`.
    local_models: Vec<String>,
    /// The model given as an argument.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelReport>,
}

/// A model.
#[derive(Serialize, JsonSchema)]
pub struct ModelReport {
    /// Its name, family and shape.
    #[serde(flatten)]
    info: SubjectInfo,
    /// Vocabulary size of its tokenizer; null without a tokenizer.
    tokenizer_ids: Option<usize>,
    /// Prefix tokens of every context and fragment with `subject.bos: auto`; null without a tokenizer.
    bos: Option<Prefix>,
}

/// Width of the left column, in characters.
const LABEL_WIDTH: usize = 23;

pub fn doctor(model: Option<&str>, common: &Common, env: &Env) -> Result<u8, RunError> {
    let model = model.map(|name| model_report(name, common, env)).transpose()?;
    let report = report(model, common, env);
    print_result(common, &report, |report| labelled_list(&facts(report), LABEL_WIDTH, env.look.width))?;
    Ok(0)
}

fn report(model: Option<ModelReport>, common: &Common, env: &Env) -> Report {
    let hub = env.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into());
    let openai = env.openai_base_url.as_deref().or(ClientKind::Openai.vendor_url());
    let openai = without_user(openai.unwrap_or_default());
    let disk = fs4::available_space(existing(&env.cache));
    Report {
        version: env!("CARGO_PKG_VERSION"),
        threads: rayon::current_num_threads(),
        cpu: cpu_name(),
        instruction_set: instruction_set(),
        gpus: gpu_count(),
        memory_available_gb: memory_available_gb(),
        cache: env.cache.display().to_string(),
        cache_writable: is_writable(&env.cache),
        cache_disk_free_gb: disk.ok().map(|bytes| bytes as f64 / 1e9),
        hub_reachable: (!common.offline).then(|| reachable(&hub)),
        hub_endpoint: hub,
        hub_token_set: env.hub_token.is_some(),
        openai_reachable: (!common.offline).then(|| reachable(&openai)),
        openai_endpoint: openai,
        openai_key_set: key("OPENAI_API_KEY").is_some(),
        anthropic_key_set: key("ANTHROPIC_API_KEY").is_some(),
        local_models: local_models(Path::new(".")),
        model,
    }
}

fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let yes = |value: bool| if value { "yes" } else { "no" };
    let size = |value: Option<f64>| value.map_or("unknown here".into(), |gb| format!("{gb:.1} GB"));
    let reached = |value: Option<bool>| value.map_or("not tried (--offline)", yes).to_string();
    let models = if report.local_models.is_empty() { "none".into() } else { report.local_models.join(", ") };
    let mut facts = vec![
        ("version", report.version.to_string()),
        ("threads", report.threads.to_string()),
        ("processor", report.cpu.clone().unwrap_or_else(|| "unknown here".into())),
        ("instruction set", report.instruction_set.to_string()),
        ("GPUs", report.gpus.map_or("not used (built without CUDA)".into(), |count| count.to_string())),
        ("memory available", size(report.memory_available_gb)),
        ("cache folder", report.cache.clone()),
        ("cache writable", yes(report.cache_writable).into()),
        ("disk free there", size(report.cache_disk_free_gb)),
        ("hub", report.hub_endpoint.clone()),
        ("hub reachable", reached(report.hub_reachable)),
        ("hub token set", yes(report.hub_token_set).into()),
        ("OpenAI endpoint", report.openai_endpoint.clone()),
        ("endpoint reachable", reached(report.openai_reachable)),
        ("OPENAI_API_KEY set", yes(report.openai_key_set).into()),
        ("ANTHROPIC_API_KEY set", yes(report.anthropic_key_set).into()),
        ("models here", models),
    ];
    facts.extend(report.model.iter().flat_map(model_facts));
    facts
}

/// Opens a model as `run` and `harvest` do.
fn model_report(name: &str, common: &Common, env: &Env) -> Result<ModelReport, RunError> {
    let spec = SubjectSpec { model: name.to_string(), ..SubjectSpec::default() };
    let places = model_places(env, DeviceName::default(), common);
    let subject = open_subject(&spec, &places)?.loaded;
    let tokenizer = subject.tokenizer().ok();
    Ok(ModelReport {
        info: subject.model().info().clone(),
        tokenizer_ids: tokenizer.map(Tokenizer::vocab_size),
        bos: tokenizer.map(|_| subject.prefix(spec.bos)).transpose()?,
    })
}

fn model_facts(model: &ModelReport) -> Vec<(&'static str, String)> {
    let info = &model.info;
    let shape = format!(
        "{} layers, width {}, {} MLP neurons, {} heads, context {}",
        info.n_layers, info.d_model, info.d_mlp, info.n_heads, info.n_ctx
    );
    let tokenizer = model.tokenizer_ids.map_or("none".into(), |ids| format!("{ids} ids"));
    let bos = model.bos.as_ref().map_or("unknown without a tokenizer".into(), Prefix::to_string);
    vec![
        ("model", info.name.clone()),
        ("family", info.family.clone()),
        ("shape", shape),
        ("vocabulary", format!("{} embedded; tokenizer: {tokenizer}", info.vocab)),
        ("in front of texts", bos),
    ]
}

/// An address without user and password.
fn without_user(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The nearest existing folder: `path` or one above it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}

/// Writes and removes a small file. A missing folder is created.
fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(".writable");
    write_atomic(&probe, b"").is_ok() && std::fs::remove_file(&probe).is_ok()
}

fn memory_available_gb() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0 / 1e9)
}

/// Whether the endpoint's host accepts a connection within two seconds.
fn reachable(endpoint: &str) -> bool {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split('/').next().unwrap_or(rest);
    let port = if scheme == "http" { 80 } else { 443 };
    let address = if host.contains(':') { host.to_string() } else { format!("{host}:{port}") };
    let connects = |address| TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok();
    address.to_socket_addrs().is_ok_and(|mut found| found.any(connects))
}

/// Models in `folder`, its subfolders and those of `models/`: Hugging Face folders and GGUF files.
fn local_models(folder: &Path) -> Vec<String> {
    let is_model = |folder: &Path| {
        let has = |file: &str| folder.join(file).exists();
        has("config.json") && (has("model.safetensors") || has("model.safetensors.index.json"))
    };
    let entries = |folder: &Path, keep: &dyn Fn(&Path) -> bool| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| keep(path)).collect()
    };
    let subfolders = |folder: &Path| entries(folder, &Path::is_dir);
    let mut found: Vec<String> = std::iter::once(folder.to_path_buf())
        .chain(subfolders(folder))
        .chain(subfolders(&folder.join("models")))
        .flat_map(|path| if is_model(&path) { vec![path] } else { entries(&path, &is_gguf) })
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}
