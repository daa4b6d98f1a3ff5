//! `doctor`: what this machine has.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment, key};
use super::harvest::model_places;
use super::{print, print_json};
use crate::base::{DeviceName, cpu_name, instruction_set};
use crate::llm::ClientKind;
use crate::nn::{Tokenizer, gpu_count};
use crate::report::facts as facts_text;
use crate::run::{RunError, open_subject};
use crate::subject::{Bos, Prefix, SubjectInfo, SubjectModel};
use crate::suite::SubjectSpec;

/// What `doctor --json` gives.
#[derive(Serialize, JsonSchema)]
pub struct Report {
    /// Of the program.
    version: &'static str,
    /// Threads that are computed with.
    threads: usize,
    /// The processor's name; null where the system does not tell.
    cpu: Option<String>,
    /// Widest vector instructions used.
    instruction_set: &'static str,
    /// GPUs that `--device cuda` can use; null where the program was built without CUDA.
    gpus: Option<usize>,
    /// Memory that is free; null where the system does not tell.
    memory_available_gb: Option<f64>,
    /// The cache folder.
    cache: String,
    /// Whether it can be written to.
    cache_writable: bool,
    /// Disk free there; null where the system does not tell.
    cache_disk_free_gb: Option<f64>,
    /// Where hub ids are fetched from.
    hub_endpoint: String,
    /// Whether it answers; null with `--offline`.
    hub_reachable: Option<bool>,
    /// Whether there is a token for it, never which.
    hub_token_set: bool,
    /// Where OpenAI-compatible models are asked that name no address.
    openai_endpoint: String,
    /// Whether it answers; null with `--offline`.
    openai_reachable: Option<bool>,
    /// Whether `OPENAI_API_KEY` is set, never its value.
    openai_key_set: bool,
    /// Whether `ANTHROPIC_API_KEY` is set, never its value.
    anthropic_key_set: bool,
    /// Models found in this folder and `models/`.
    local_models: Vec<String>,
    /// The model that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelReport>,
}

/// A model that could be opened.
#[derive(Serialize, JsonSchema)]
pub struct ModelReport {
    /// Its shape.
    #[serde(flatten)]
    info: SubjectInfo,
    /// Pieces of its tokenizer; null where it has none.
    tokenizer_ids: Option<usize>,
    /// What `subject.bos: auto` puts in front of every context and fragment; null without a tokenizer.
    bos: Option<Prefix>,
}

/// Columns of the words on the left.
const LABEL: usize = 23;

/// Looks around and says what it found.
pub fn doctor(model: Option<&str>, common: &Common, environment: &Environment) -> Result<u8, RunError> {
    let model = model.map(|name| model_report(name, common, environment)).transpose()?;
    let endpoint = environment.hub_endpoint.clone().unwrap_or_else(|| "https://huggingface.co".into());
    let openai =
        environment.openai_base_url.as_deref().or(ClientKind::Openai.vendor_url()).unwrap_or_default();
    let openai = without_user(openai);
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        threads: rayon::current_num_threads(),
        cpu: cpu_name(),
        instruction_set: instruction_set(),
        gpus: gpu_count(),
        memory_available_gb: memory_available_gb(),
        cache: environment.cache.display().to_string(),
        cache_writable: writable(&environment.cache),
        cache_disk_free_gb: fs4::available_space(existing(&environment.cache))
            .ok()
            .map(|bytes| bytes as f64 / 1e9),
        hub_reachable: if common.offline { None } else { Some(reachable(&endpoint)) },
        hub_endpoint: endpoint,
        hub_token_set: environment.hub_token.is_some(),
        openai_reachable: if common.offline { None } else { Some(reachable(&openai)) },
        openai_endpoint: openai,
        openai_key_set: key("OPENAI_API_KEY").is_some(),
        anthropic_key_set: key("ANTHROPIC_API_KEY").is_some(),
        local_models: local_models(Path::new(".")),
        model,
    };
    if common.json {
        print_json(&report);
        return Ok(0);
    }
    let yes = |value: bool| if value { "yes" } else { "no" };
    let size = |value: Option<f64>| value.map_or("unknown here".into(), |gb| format!("{gb:.1} GB"));
    let mut facts = vec![
        ("version", report.version.to_string()),
        ("threads", report.threads.to_string()),
        ("processor", report.cpu.unwrap_or_else(|| "unknown here".into())),
        ("instruction set", report.instruction_set.to_string()),
        ("GPUs", report.gpus.map_or("not used (built without CUDA)".into(), |count| count.to_string())),
        ("memory available", size(report.memory_available_gb)),
        ("cache folder", report.cache),
        ("cache writable", yes(report.cache_writable).into()),
        ("disk free there", size(report.cache_disk_free_gb)),
        ("hub", report.hub_endpoint),
        ("hub reachable", report.hub_reachable.map_or("not tried (--offline)", yes).into()),
        ("hub token set", yes(report.hub_token_set).into()),
        ("OpenAI endpoint", report.openai_endpoint),
        ("endpoint reachable", report.openai_reachable.map_or("not tried (--offline)", yes).into()),
        ("OPENAI_API_KEY set", yes(report.openai_key_set).into()),
        ("ANTHROPIC_API_KEY set", yes(report.anthropic_key_set).into()),
        (
            "models here",
            if report.local_models.is_empty() { "none".into() } else { report.local_models.join(", ") },
        ),
    ];
    facts.extend(report.model.iter().flat_map(model_facts));
    print(&facts_text(&facts, LABEL, environment.look.width));
    Ok(0)
}

/// Opens a model as `run` and `harvest` do.
fn model_report(name: &str, common: &Common, environment: &Environment) -> Result<ModelReport, RunError> {
    let spec = SubjectSpec {
        model: name.to_string(),
        revision: None,
        half_products: false,
        bos: Bos::default(),
        processing: Vec::new(),
    };
    let places = model_places(environment, DeviceName::default(), common);
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

/// An address without the user and password that may stand in it.
fn without_user(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("https", address));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The nearest folder above `path` that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("."))
}

fn writable(folder: &Path) -> bool {
    tempfile_in(folder).is_some()
}

/// Tries a small file in `folder`, which is made if it is missing.
fn tempfile_in(folder: &Path) -> Option<()> {
    let probe = folder.join(".writable");
    crate::base::write_atomic(&probe, b"").ok()?;
    std::fs::remove_file(&probe).ok()
}

fn memory_available_gb() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0 / 1e9)
}

/// Whether the endpoint's host answers at all within two seconds.
fn reachable(endpoint: &str) -> bool {
    use std::net::{TcpStream, ToSocketAddrs};
    let (secure, rest) = match endpoint.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some((_, rest)) => (true, rest),
        None => (true, endpoint),
    };
    let host = rest.split('/').next().unwrap_or(rest);
    let address = if host.contains(':') {
        host.to_string()
    } else {
        format!("{host}:{}", if secure { 443 } else { 80 })
    };
    let Ok(mut found) = address.to_socket_addrs() else { return false };
    found.any(|address| TcpStream::connect_timeout(&address, std::time::Duration::from_secs(2)).is_ok())
}

/// Folders in Hugging Face layout, and GGUF files, here and one level below.
fn local_models(folder: &Path) -> Vec<String> {
    let is_model = |folder: &Path| {
        folder.join("config.json").exists()
            && (folder.join("model.safetensors").exists()
                || folder.join("model.safetensors.index.json").exists())
    };
    let gguf_files = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| crate::nn::is_gguf(path)).collect()
    };
    let below = |folder: &Path| -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    let mut found: Vec<String> = std::iter::once(folder.to_path_buf())
        .chain(below(folder))
        .chain(below(&folder.join("models")))
        .flat_map(|path| if is_model(&path) { vec![path] } else { gguf_files(&path) })
        .map(|path| path.display().to_string())
        .collect();
    found.sort();
    found
}
