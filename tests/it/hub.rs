//! Dictionaries and models by hub id, from a hub on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use autointerp::base::{Digest, Matrix, Stream, write_atomic};
use autointerp::dictionary::{Activation, AffineDictionary, RowScale, Tensors, export_saelens};
use serde_json::Value;

use crate::program::{Done, autointerp, finish, online};
use crate::toy::{Toy, WIDTH};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_verysecret";
const REPOSITORY: &str = "maker/saes";
const FOLDER: &str = "layer_1/small";
const HOOK: &str = "blocks.1.hook_resid_post";

/// Files by `OWNER/NAME/PATH`.
type Files = BTreeMap<String, Vec<u8>>;

/// A hub with one commit, on which the branch `main` and the tag `v1.0` are. It ends with the test's process.
struct Hub {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(&stream, &files, &log);
            }
        });
        Self { endpoint, asked }
    }

    /// Paths asked for so far.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }

    /// Runs the program with this hub.
    fn call(&self, toy: &Toy, args: &[&str]) -> Done {
        let mut command = online(toy.home(), args);
        finish(command.current_dir(toy.home()).env("HF_ENDPOINT", &self.endpoint).env("HF_TOKEN", TOKEN))
    }
}

fn answer(mut stream: &TcpStream, files: &Files, log: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let Some(Ok(first)) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let with_token =
        lines.map_while(Result::ok).take_while(|line| !line.is_empty()).any(|line| line.contains(TOKEN));
    log.lock().expect("no panic").push(path.clone());
    let found = if with_token { content(&path, files) } else { None };
    let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// The listing of a repository, or a file.
fn content(path: &str, files: &Files) -> Option<Vec<u8>> {
    if let Some(rest) = path.strip_prefix("/api/models/") {
        let (id, revision) = rest.strip_suffix("?blobs=true")?.split_once("/revision/")?;
        let inside = files.iter().filter_map(|(name, bytes)| {
            let name = name.strip_prefix(id)?.strip_prefix('/')?;
            let (sha256, size) = (Digest::of(bytes).hex(), bytes.len());
            Some(
                serde_json::json!({"rfilename": name, "size": size, "lfs": {"sha256": sha256, "size": size}}),
            )
        });
        let siblings: Vec<Value> = inside.collect();
        let known = ["main", "v1.0", COMMIT].contains(&revision) && !siblings.is_empty();
        return known
            .then(|| serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string().into_bytes());
    }
    let (id, name) = path.strip_prefix('/')?.split_once(&format!("/resolve/{COMMIT}/"))?;
    files.get(&format!("{id}/{name}")).cloned()
}

/// A folder in the layout of SAELens with a ReLU dictionary of random directions.
pub fn write_dictionary(folder: &Path, seed: u64) {
    let mut stream = Stream::named(seed, &["hub"]);
    let directions = Matrix::from_fn(2 * WIDTH, WIDTH, |_, _| stream.normal() as f32 / 4.0);
    let tensors = Tensors {
        encoder_bias: vec![0.0; 2 * WIDTH],
        decoder_bias: vec![0.0; WIDTH],
        encoder: directions.clone(),
        decoder: directions,
        subtract_decoder_bias: false,
        activation: Activation::Relu,
        row_scale: RowScale::Plain,
        skip: None,
    };
    let hook = HOOK.parse().expect("a hook point");
    export_saelens(&AffineDictionary::of_file(tensors, hook), folder).expect("exported");
}

/// A suite with one dictionary trained elsewhere, small enough for a second.
fn write_suite(toy: &Toy, path: &str) {
    let head = toy.suite_text();
    let head = head.split("methods:").next().expect("a head");
    let rest = "features: {per_cell: 2}\nexplainer: token_lookup_fit\nstatistics: {resamples: 100, permutations: 100}\n";
    toy.write(
        "mine.yaml",
        &format!(
            "{head}methods:\n  - {{name: theirs, kind: file, format: saelens, path: \"{path}\"}}\n{rest}"
        ),
    );
}

/// A hub with a dictionary, and with the toy's model under the id of GPT-2.
fn hub(toy: &Toy) -> Hub {
    write_dictionary(&toy.path("made"), 1);
    let mut files = Files::new();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        let bytes = fs::read(toy.path("made").join(name)).expect("a file");
        files.insert(format!("{REPOSITORY}/{FOLDER}/{name}"), bytes);
    }
    for name in [
        "README.md",
        "layer_1/small/sparsity.safetensors",
        "layer_1/small/trainer_state.pt",
        "layer_0/small/cfg.json",
    ] {
        files.insert(format!("{REPOSITORY}/{name}"), b"not wanted".to_vec());
    }
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let bytes = fs::read(toy.path("model").join(name)).expect("a file");
        files.insert(format!("openai-community/gpt2/{name}"), bytes);
    }
    Hub::start(files)
}

fn manifest(toy: &Toy, out: &str) -> Value {
    let bytes = fs::read(toy.path(out).join("manifest.json")).expect("a manifest");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[test]
fn a_dictionary_on_the_hub_is_planned_run_and_found_again_offline() {
    let toy = Toy::new();
    let hub = hub(&toy);
    write_suite(&toy, &format!("hub:{REPOSITORY}/{FOLDER}"));
    hub.call(&toy, &["check", "mine.yaml"]).ok();
    assert_eq!(hub.asked(), [""; 0], "a check uses no network");
    finish(autointerp(toy.home(), &["run", "mine.yaml", "--out", "out"]).current_dir(toy.home()))
        .refused(6, &["`maker/saes`", "--offline"]);

    let plan = hub.call(&toy, &["plan", "mine.yaml"]).ok().stdout;
    assert!(plan.contains("0123456789ab") && plan.contains("MB to fetch"), "{plan}");
    assert!(hub.asked().iter().all(|path| path.starts_with("/api/")), "{:?}", hub.asked());

    let run = hub.call(&toy, &["run", "mine.yaml", "--out", "out"]).ok();
    assert!(run.stderr.contains("hub:maker/saes/layer_1/small at commit 0123456789ab"), "{}", run.stderr);
    let asked = hub.asked();
    let mut fetched: Vec<&str> =
        asked.iter().filter_map(|path| path.rsplit_once("/small/")).map(|(_, name)| name).collect();
    fetched.sort_unstable();
    assert_eq!(fetched, ["cfg.json", "sae_weights.safetensors"], "only what a reader needs");
    let manifest = manifest(&toy, "out");
    let source = &manifest["dictionaries"][format!("{HOOK}/theirs")]["source"];
    assert_eq!(source["revision"], COMMIT);
    assert_eq!(source["path"], "hub:maker/saes/layer_1/small");
    let table = fs::read_to_string(toy.path("out/table.md")).expect("a table");
    assert!(table.contains("maker/saes at commit 0123456789ab"), "{table}");
    for text in [run.stdout, run.stderr, manifest.to_string(), table] {
        assert!(!text.contains(TOKEN));
    }

    let summary = fs::read(toy.path("out/summary.json")).expect("a summary");
    let mut offline = autointerp(toy.home(), &["run", "mine.yaml", "--out", "again"]);
    finish(offline.current_dir(toy.home())).ok();
    assert_eq!(fs::read(toy.path("again/summary.json")).expect("a summary"), summary);
    assert_eq!(hub.asked(), asked);

    // The same files in a local folder are the same dictionary: nothing is computed again.
    write_suite(&toy, "./made");
    let mut local = autointerp(toy.home(), &["run", "mine.yaml", "--out", "out"]);
    finish(local.current_dir(toy.home())).ok();
    let stages = self::manifest(&toy, "out")["stages"].clone();
    let reused = |stage: &Value| stage["name"] == HOOK && stage["reused"] == true;
    assert!(stages.as_array().expect("stages").iter().any(reused), "{stages}");
}

#[test]
fn a_place_on_the_hub_that_does_not_exist_is_said_before_any_work() {
    let toy = Toy::new();
    let hub = hub(&toy);
    for (place, named) in [
        ("hub:maker/saes/layer_1/smal", vec!["no folder or file `layer_1/smal`", "`layer_1/small`"]),
        ("hub:maker/saes/layer_1/small@v9", vec!["no model repository `maker/saes` at revision `v9`"]),
        ("hub:maker/other", vec!["no model repository `maker/other`"]),
        ("hub:maker/saes/layer_0", vec!["`layer_0` has no dictionary"]),
        ("hub:maker/saes/layer_1", vec!["may be: `layer_1/small`"]),
        ("./nowhere", vec!["no dictionary `./nowhere`", "hub:OWNER/NAME/FOLDER"]),
    ] {
        write_suite(&toy, place);
        for verb in ["plan", "run"] {
            hub.call(&toy, &[verb, "mine.yaml"]).refused(6, &named);
        }
        assert!(!toy.path("results").exists(), "{place}");
    }
    for place in ["hub:maker", "hub:maker/saes/../x", "hub:C:/saes/x", "hub:maker/saes/a//b", "https://a/b"] {
        write_suite(&toy, place);
        hub.call(&toy, &["check", "mine.yaml"])
            .refused(2, &["methods.0.path", "hub:OWNER/NAME/FOLDER@REVISION"]);
    }
    write_suite(&toy, &format!("hub:{REPOSITORY}/{FOLDER}@v1.0"));
    hub.call(&toy, &["run", "mine.yaml", "--out", "out"]).ok();
    let manifest = manifest(&toy, "out");
    assert_eq!(manifest["dictionaries"][format!("{HOOK}/theirs")]["source"]["revision"], COMMIT);
    let table = fs::read_to_string(toy.path("out/table.md")).expect("a table");
    assert!(!table.contains("at commit"), "the suite names the revision");
}

#[test]
fn an_edited_dictionary_is_read_again() {
    let toy = Toy::new();
    write_suite(&toy, "made");
    let run = |toy: &Toy| {
        let mut command = autointerp(toy.home(), &["run", "mine.yaml", "--out", "out"]);
        finish(command.current_dir(toy.home())).ok();
        let manifest = manifest(toy, "out");
        let record = &manifest["dictionaries"][format!("{HOOK}/theirs")];
        let reused =
            manifest["stages"].as_array().expect("stages").iter().any(|stage| stage["reused"] == true);
        (record["digest"].clone(), record["source"]["files"].clone(), manifest["run"].clone(), reused)
    };
    write_dictionary(&toy.path("made"), 1);
    let first = run(&toy);
    write_atomic(&toy.path("made/README.md"), b"a remark").expect("written");
    let same = run(&toy);
    assert_eq!((&same.0, &same.1, &same.2, same.3), (&first.0, &first.1, &first.2, true));
    write_dictionary(&toy.path("made"), 2);
    let other = run(&toy);
    assert!(!other.3, "nothing of the former dictionary is reused");
    assert!(other.0 != first.0 && other.1 != first.1 && other.2 != first.2);
}

#[test]
fn gpt2_is_found_without_its_owner() {
    let toy = Toy::new();
    let hub = hub(&toy);
    write_suite(&toy, &format!("hub:{REPOSITORY}/{FOLDER}"));
    let run = hub.call(&toy, &["run", "mine.yaml", "--out", "out", "--set", "subject.model=gpt2"]).ok();
    assert!(run.stderr.contains("`gpt2` is `openai-community/gpt2` on the hub"), "{}", run.stderr);
    let subject = &manifest(&toy, "out")["subject"];
    assert_eq!((&subject["name"], &subject["revision"]), (&"openai-community/gpt2".into(), &COMMIT.into()));

    toy.write("ids.json", "[[1, 2, 3]]");
    let harvest =
        ["harvest", "--model", "gpt2", "--token-ids", "ids.json", "--hooks", HOOK, "--out", "a.safetensors"];
    let done = hub.call(&toy, &harvest).ok();
    assert!(done.stderr.contains("`openai-community/gpt2`"), "{}", done.stderr);
    let doctor = hub.call(&toy, &["doctor", "gpt2", "--json"]).ok().stdout;
    let doctor: Value = serde_json::from_str(&doctor).expect("JSON");
    assert_eq!(doctor["model"]["name"], "openai-community/gpt2");

    let unknown =
        ["harvest", "--model", "gpt3", "--token-ids", "ids.json", "--hooks", HOOK, "--out", "b.safetensors"];
    hub.call(&toy, &unknown)
        .refused(6, &["`gpt3`", "no folder or file of that name", "OWNER/NAME", "gpt2-medium"]);
}

#[test]
fn a_first_suite_fetches_no_weights_of_the_model() {
    let toy = Toy::new();
    let hub = hub(&toy);
    let place = format!("hub:{REPOSITORY}/{FOLDER}");
    let args = ["init", "--model", "gpt2", "--text", "corpus.txt", "--sae", &place, "--out", "mine.yaml"];
    hub.call(&toy, &args).ok();
    let text = fs::read_to_string(toy.path("mine.yaml")).expect("a suite");
    for part in ["subject: {model: gpt2}", &format!("path: {place}}}"), &format!("hooks: [{HOOK}]")] {
        assert!(text.contains(part), "`{part}` is not in\n{text}");
    }
    let hooks = hub.call(&toy, &["list", "hooks", "gpt2"]).ok().stdout;
    assert!(hooks.contains("blocks.*.hook_resid_post"), "{hooks}");
    let asked = hub.asked();
    assert!(asked.iter().any(|path| path.contains("gpt2/resolve")), "{asked:?}");
    assert!(!asked.iter().any(|path| path.ends_with("/model.safetensors")), "{asked:?}");
    hub.call(&toy, &["check", "mine.yaml"]).ok();
    hub.call(&toy, &["plan", "mine.yaml"]).ok();
}
