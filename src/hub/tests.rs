use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::listing::matches_pattern;
use super::{Download, HubClient, HubError};
use crate::base::{Digest, write_atomic};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_verysecret";

/// What the server does with a file.
#[derive(Clone, Default)]
struct Served {
    bytes: Vec<u8>,
    /// Stated instead of the true hash.
    stated_sha256: Option<String>,
    /// Bytes sent per request before the connection is cut.
    cut_after: Option<usize>,
    /// Answer whole files to range requests.
    no_ranges: bool,
    /// Redirect to the other host first.
    elsewhere: bool,
}

impl Served {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), ..Self::default() }
    }
}

/// One request as the server saw it.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    range: Option<String>,
    authorization: Option<String>,
}

struct Server {
    endpoint: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Serves one repository under `api` (`models/ID` or `datasets/ID`) until the test ends.
    fn start(api: &str, files: &[(&str, Served)]) -> Self {
        let files: BTreeMap<String, Served> =
            files.iter().map(|(name, served)| (name.to_string(), served.clone())).collect();
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, api) = (seen.clone(), api.to_string());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &api, &files, &log, port);
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), seen }
    }

    fn client(&self, cache: &Path) -> HubClient {
        HubClient::new(&self.endpoint, Some(TOKEN), cache, false).expect("client").without_pauses()
    }

    fn requests(&self) -> Vec<Seen> {
        self.seen.lock().expect("log").clone()
    }
}

fn request(stream: &TcpStream) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let path = first.split(' ').nth(1)?.to_string();
    let mut seen = Seen { path, range: None, authorization: None };
    for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = Some(value.trim().to_string()),
            "authorization" => seen.authorization = Some(value.trim().to_string()),
            _ => {}
        }
    }
    Some(seen)
}

fn reply(mut stream: &TcpStream, status: &str, headers: &str, len: usize, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n{headers}\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn listing(files: &BTreeMap<String, Served>) -> String {
    let siblings: Vec<serde_json::Value> = files
        .iter()
        .map(|(name, served)| {
            let sha256 = served.stated_sha256.clone().unwrap_or_else(|| Digest::of(&served.bytes).hex());
            let size = served.bytes.len();
            if name.ends_with(".json") {
                return serde_json::json!({"rfilename": name, "size": size});
            }
            serde_json::json!({"rfilename": name, "size": size, "lfs": {"sha256": sha256, "size": size}})
        })
        .collect();
    serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string()
}

fn answer(stream: TcpStream, api: &str, files: &BTreeMap<String, Served>, log: &Mutex<Vec<Seen>>, port: u16) {
    let Some(seen) = request(&stream) else { return };
    log.lock().expect("log").push(seen.clone());
    if seen.path.contains("gated") {
        return reply(&stream, "401 Unauthorized", "", 0, b"");
    }
    if seen.path.contains("busy") {
        return reply(&stream, "503 Busy", "", 0, b"");
    }
    for revision in ["main", "v1.0", COMMIT] {
        if seen.path == format!("/api/{api}/revision/{revision}?blobs=true") {
            let body = listing(files);
            return reply(&stream, "200 OK", "", body.len(), body.as_bytes());
        }
    }
    let prefix = format!("/{}/resolve/{COMMIT}/", api.strip_prefix("models/").unwrap_or(api));
    let name = seen.path.strip_prefix(&prefix).or_else(|| seen.path.strip_prefix("/storage/"));
    let Some(served) = name.and_then(|name| files.get(name)) else {
        return reply(&stream, "404 Not Found", "", 0, b"");
    };
    if served.elsewhere && !seen.path.starts_with("/storage/") {
        let location = format!("location: http://localhost:{port}/storage/{}\r\n", name.expect("a name"));
        return reply(&stream, "302 Found", &location, 0, b"");
    }
    send(&stream, served, &seen);
}

fn send(stream: &TcpStream, served: &Served, seen: &Seen) {
    let total = served.bytes.len();
    let start: usize = match &seen.range {
        Some(range) if !served.no_ranges => {
            range.trim_start_matches("bytes=").trim_end_matches('-').parse().expect("a range")
        }
        _ => 0,
    };
    let rest = &served.bytes[start..];
    let sent = &rest[..served.cut_after.unwrap_or(total).min(rest.len())];
    if start > 0 {
        let range = format!("content-range: bytes {start}-{}/{total}\r\n", total - 1);
        reply(stream, "206 Partial Content", &range, rest.len(), sent);
    } else {
        reply(stream, "200 OK", "", rest.len(), sent);
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}

fn sharded() -> Vec<(&'static str, Served)> {
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
    vec![
        ("config.json", Served::new(b"{}")),
        ("tokenizer.json", Served::new(b"{\"t\":1}")),
        ("model.safetensors.index.json", Served::new(index)),
        ("model-1.safetensors", Served::new(&noise(3000))),
        ("model-2.safetensors", Served::new(&noise(40))),
        ("pytorch_model.bin", Served::new(b"not wanted")),
    ]
}

fn single(weights: Served) -> Vec<(&'static str, Served)> {
    vec![("config.json", Served::new(b"{}")), ("model.safetensors", weights)]
}

#[test]
fn a_sharded_model_is_fetched_whole_once_and_the_branch_is_resolved() {
    let server = Server::start("models/owner/name", &sharded());
    let cache = tempfile::tempdir().expect("folder");
    let snapshot = server.client(cache.path()).model_files("owner/name", "main").expect("fetched");
    assert_eq!(snapshot.commit, COMMIT);
    assert!(snapshot.folder.ends_with(format!("hub/models--owner--name/{COMMIT}")));
    let names: Vec<_> =
        snapshot.files.iter().map(|f| f.file_name().expect("name").to_string_lossy().into_owned()).collect();
    let expected = [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ];
    assert_eq!(names, expected);
    assert_eq!(std::fs::read(snapshot.folder.join("model-1.safetensors")).expect("read"), noise(3000));
    let bearer = format!("Bearer {TOKEN}");
    assert!(server.requests().iter().all(|seen| seen.authorization.as_deref() == Some(&bearer)));

    let before = server.requests().len();
    let again = server.client(cache.path()).model_files("owner/name", COMMIT).expect("cached");
    assert_eq!(again, snapshot);
    assert_eq!(server.requests().len(), before, "a commit that is in the cache asks nothing of the hub");

    let offline = HubClient::new(&server.endpoint, None, cache.path(), true).expect("client");
    assert_eq!(offline.model_files("owner/name", "main").expect("cached"), snapshot);
    assert_eq!(server.requests().len(), before);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let bytes = noise(100_000);
    let cut = Served { cut_after: Some(30_000), ..Served::new(&bytes) };
    let server = Server::start("models/m", &single(cut));
    let cache = tempfile::tempdir().expect("folder");
    let progress = Arc::new(Mutex::new(Vec::new()));
    let log = progress.clone();
    let client = server
        .client(cache.path())
        .with_progress(Arc::new(move |d: Download<'_>| log.lock().expect("log").push((d.done, d.total))));
    let snapshot = client.model_files("m", "main").expect("fetched");
    assert_eq!(std::fs::read(snapshot.folder.join("model.safetensors")).expect("read"), bytes);
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter(|seen| seen.path.ends_with("model.safetensors"))
        .map(|seen| seen.range.clone())
        .collect();
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[3].as_deref(), Some("bytes=90000-"));
    assert_eq!(progress.lock().expect("log").last(), Some(&(100_000, Some(100_000))));
    let left: Vec<_> = std::fs::read_dir(&snapshot.folder)
        .expect("listed")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"))
        .collect();
    assert!(left.is_empty());
}

#[test]
fn what_a_killed_run_left_is_used_and_wrong_leftovers_are_not() {
    let bytes = noise(5_000);
    let server = Server::start("models/m", &single(Served::new(&bytes)));
    for (left, requests) in [(bytes[..2_000].to_vec(), 1), (vec![7; 2_000], 2), (vec![7; 9_000], 1)] {
        let cache = tempfile::tempdir().expect("folder");
        let folder = cache.path().join("hub/models--m").join(COMMIT);
        write_atomic(&folder.join(".model.safetensors.part"), &left).expect("written");
        let before = server.requests().len();
        let snapshot = server.client(cache.path()).model_files("m", "main").expect("fetched");
        assert_eq!(std::fs::read(snapshot.folder.join("model.safetensors")).expect("read"), bytes);
        let made =
            server.requests()[before..].iter().filter(|s| s.path.ends_with("model.safetensors")).count();
        assert_eq!(made, requests);
    }
}

#[test]
fn a_server_without_ranges_that_always_breaks_is_given_up() {
    let cut = Served { cut_after: Some(1_000), no_ranges: true, ..Served::new(&noise(5_000)) };
    let server = Server::start("models/m", &single(cut));
    let cache = tempfile::tempdir().expect("folder");
    let error = server.client(cache.path()).model_files("m", "main").expect_err("never whole");
    assert!(matches!(error, HubError::Network { .. }), "{error}");
    assert!(error.is_missing());
    let whole = Served { no_ranges: true, ..Served::new(&noise(5_000)) };
    let server = Server::start("models/m", &single(whole));
    let snapshot = server.client(cache.path()).model_files("m", "main").expect("restarted");
    assert_eq!(std::fs::read(snapshot.folder.join("model.safetensors")).expect("read"), noise(5_000));
}

#[test]
fn a_wrong_hash_is_refused_and_leaves_nothing() {
    let wrong = Served { stated_sha256: Some("ab".repeat(32)), ..Served::new(&noise(500)) };
    let server = Server::start("models/m", &single(wrong));
    let cache = tempfile::tempdir().expect("folder");
    let error = server.client(cache.path()).model_files("m", "main").expect_err("damaged");
    let HubError::Damaged { what, expected, got, .. } = &error else { panic!("{error}") };
    assert_eq!((*what, expected.as_str()), ("SHA-256", "ab".repeat(32).as_str()));
    assert_eq!(*got, Digest::of(&noise(500)).hex());
    assert!(!error.is_missing() && !error.is_write());
    let folder = cache.path().join("hub/models--m").join(COMMIT);
    let names: Vec<_> = std::fs::read_dir(folder).expect("listed").flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["config.json"]);
}

#[test]
fn the_token_stays_with_the_endpoint() {
    let moved = Served { elsewhere: true, ..Served::new(&noise(500)) };
    let server = Server::start("models/m", &single(moved));
    let cache = tempfile::tempdir().expect("folder");
    let client = server.client(cache.path());
    client.model_files("m", "main").expect("fetched");
    let (storage, hub): (Vec<_>, Vec<_>) =
        server.requests().into_iter().partition(|seen| seen.path.starts_with("/storage/"));
    assert_eq!(storage.len(), 1);
    assert_eq!(storage[0].authorization, None);
    assert!(hub.iter().all(|seen| seen.authorization.is_some()));
    assert!(!format!("{client:?}").contains(TOKEN));
}

#[test]
fn refusals_say_what_was_wanted_and_never_the_token() {
    let server = Server::start("models/m", &single(Served::new(b"x")));
    let cache = tempfile::tempdir().expect("folder");
    let client = server.client(cache.path());
    let anonymous = HubClient::new(&server.endpoint, None, cache.path(), false).expect("client");
    let offline = HubClient::new(&server.endpoint, Some(TOKEN), cache.path(), true).expect("client");
    let cases = [
        (client.model_files("owner/gated", "main"), "the token in `HF_TOKEN` may have no access"),
        (anonymous.model_files("owner/gated", "main"), "then set `HF_TOKEN`"),
        (client.model_files("owner/absent", "v1"), "no model `owner/absent` at revision `v1`"),
        (client.model_files("busy", "main"), "status 503"),
        (offline.model_files("m", "main"), "model `m` at revision `main` is not in the cache"),
        (client.model_files("../etc", "main"), "hub id `../etc` is not valid"),
        (client.model_files("a/b/c", "main"), "expected `owner/name`"),
        (client.model_files("m", "a/../b"), "hub revision `a/../b` is not valid"),
    ];
    let unknown = client.dataset("m", "main", None).expect_err("a model's id");
    assert!(unknown.to_string().contains("no data set `m`"), "{unknown}");
    for (result, part) in cases {
        let error = result.expect_err(part);
        assert!(error.to_string().contains(part), "{error}");
        assert!(!error.to_string().contains(TOKEN) && !format!("{error:?}").contains(TOKEN));
        assert!(error.is_missing());
    }
    let error = HubClient::new("huggingface.co", None, cache.path(), false).expect_err("no scheme");
    assert!(error.to_string().contains("a full address"), "{error}");
    let error = HubClient::new(&server.endpoint, Some("a\nb"), cache.path(), false).expect_err("not a token");
    assert!(!error.to_string().contains("a\nb"), "{error}");
}

#[test]
fn offline_names_the_file_that_is_missing() {
    let server = Server::start("models/m", &single(Served::new(&noise(50))));
    let cache = tempfile::tempdir().expect("folder");
    let snapshot = server.client(cache.path()).model_files("m", COMMIT).expect("fetched");
    std::fs::remove_file(snapshot.folder.join("model.safetensors")).expect("removed");
    let offline = HubClient::new(&server.endpoint, None, cache.path(), true).expect("client");
    let error = offline.model_files("m", COMMIT).expect_err("a file is gone");
    assert!(error.to_string().starts_with("`model.safetensors` of model `m`"), "{error}");
}

#[test]
fn a_model_without_safetensors_is_refused_by_what_it_has() {
    let files = [("config.json", Served::new(b"{}")), ("pytorch_model.bin", Served::new(b"x"))];
    let server = Server::start("models/m", &files);
    let cache = tempfile::tempdir().expect("folder");
    let error = server.client(cache.path()).model_files("m", "main").expect_err("no weights");
    assert!(error.to_string().contains("it has `config.json`, `pytorch_model.bin`"), "{error}");
}

#[test]
fn data_set_files_are_chosen_by_pattern() {
    let files = [
        ("README.md", Served::new(b"card")),
        ("data/test.jsonl", Served::new(b"{\"text\":\"b\"}\n")),
        ("data/train-0.jsonl.gz", Served::new(b"gz")),
        ("data/train-0.parquet", Served::new(b"PAR1")),
    ];
    let server = Server::start("datasets/owner/set", &files);
    let cache = tempfile::tempdir().expect("folder");
    let client = server.client(cache.path());
    let all = client.dataset("owner/set", "main", None).expect("listed");
    assert_eq!(all.commit(), COMMIT);
    assert_eq!(all.names().collect::<Vec<_>>(), ["data/test.jsonl", "data/train-0.jsonl.gz"]);
    assert_eq!(server.requests().len(), 1, "nothing is fetched before it is asked for");
    let path = all.fetch("data/train-0.jsonl.gz").expect("fetched");
    assert_eq!(std::fs::read(path).expect("read"), b"gz");
    assert!(matches!(all.fetch("README.md"), Err(HubError::NotFound { .. })));
    let one = client.dataset("owner/set", "main", Some("data/te*.jsonl")).expect("listed");
    assert_eq!(one.names().collect::<Vec<_>>(), ["data/test.jsonl"]);
    let error = client.dataset("owner/set", "main", Some("*.jsonl")).expect_err("none at the top");
    assert!(error.to_string().contains("file that matches `*.jsonl`"), "{error}");
}

const SCOPE: &str = "owner/scope";
const FOLDER: &str = "layer_1/width_16k/average_l0_8";

/// A repository of two dictionaries in folders.
fn dictionaries(weights: Served) -> Vec<(&'static str, Served)> {
    vec![
        ("README.md", Served::new(b"card")),
        ("layer_0/width_16k/average_l0_7/params.npz", Served::new(&noise(80))),
        ("layer_1/width_16k/average_l0_8/params.npz", weights),
        ("layer_1/width_16k/average_l0_8/figure.png", Served::new(&noise(90))),
        ("layer_1/width_16k/average_l0_8/notes.json", Served::new(b"{}")),
    ]
}

fn no_figures(files: &[&str]) -> Result<Vec<String>, String> {
    let inside = files.iter().filter(|name| name.starts_with(FOLDER) && !name.ends_with(".png"));
    Ok(inside.map(|name| (*name).to_string()).collect())
}

#[test]
fn only_the_chosen_files_of_a_folder_are_fetched_and_then_found_offline() {
    let server = Server::start("models/owner/scope", &dictionaries(Served::new(&noise(900))));
    let cache = tempfile::tempdir().expect("folder");
    let client = server.client(cache.path());
    let files = client.dictionary_files(SCOPE, "v1.0", FOLDER, &no_figures).expect("listed");
    assert_eq!((files.commit(), files.bytes_to_fetch()), (COMMIT, 902));
    assert_eq!(server.requests().len(), 1, "nothing is fetched before it is asked for");
    let snapshot = files.fetch().expect("fetched");
    assert!(snapshot.folder.ends_with(format!("hub/models--owner--scope/{COMMIT}/{FOLDER}")));
    assert_eq!(std::fs::read(snapshot.folder.join("params.npz")).expect("read"), noise(900));
    let asked: Vec<String> = server.requests().into_iter().map(|seen| seen.path).collect();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[1..].iter().all(|path| path.contains(FOLDER) && !path.contains("png")), "{asked:?}");
    assert_eq!(files.bytes_to_fetch(), 0);

    let offline = HubClient::new(&server.endpoint, None, cache.path(), true).expect("client");
    for revision in ["v1.0", COMMIT] {
        let again = offline.dictionary_files(SCOPE, revision, FOLDER, &no_figures).expect("cached");
        assert_eq!(again.fetch().expect("cached"), snapshot);
    }
    let error = offline.dictionary_files(SCOPE, "main", FOLDER, &no_figures).expect_err("never seen");
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    let whole = |files: &[&str]| -> Result<Vec<String>, String> {
        Ok(files.iter().map(|name| (*name).to_string()).collect())
    };
    let more = offline.dictionary_files(SCOPE, COMMIT, "", &whole).expect("listed").fetch();
    assert!(matches!(more, Err(HubError::Offline { .. })), "the others were not fetched");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn the_file_of_a_dictionary_is_resumed_and_checked_and_the_token_stays() {
    let fetch = |weights: Served| {
        let server = Server::start("models/owner/scope", &dictionaries(weights));
        let cache = tempfile::tempdir().expect("folder");
        let file = format!("{FOLDER}/params.npz");
        let client = server.client(cache.path());
        let files = client.dictionary_files(SCOPE, "main", &file, &no_figures).expect("listed");
        let fetched = files.fetch().map(|snapshot| std::fs::read(snapshot.folder).expect("read"));
        (fetched, server.requests())
    };
    let (cut, requests) = fetch(Served { cut_after: Some(400), ..Served::new(&noise(900)) });
    assert_eq!(cut.expect("resumed"), noise(900));
    let ranges: Vec<_> =
        requests.iter().filter(|seen| seen.path.ends_with("npz")).map(|seen| seen.range.clone()).collect();
    assert_eq!(ranges, [None, Some("bytes=400-".to_string()), Some("bytes=800-".to_string())]);

    let (wrong, _) = fetch(Served { stated_sha256: Some("ab".repeat(32)), ..Served::new(&noise(900)) });
    assert!(matches!(wrong, Err(HubError::Damaged { what: "SHA-256", .. })), "{wrong:?}");

    let (moved, requests) = fetch(Served { elsewhere: true, ..Served::new(&noise(900)) });
    assert_eq!(moved.expect("fetched"), noise(900));
    let storage: Vec<_> = requests.iter().filter(|seen| seen.path.starts_with("/storage/")).collect();
    assert_eq!(storage.len(), 1);
    assert!(storage.iter().all(|seen| seen.authorization.is_none()));
}

#[test]
fn a_folder_that_is_missing_or_not_clear_is_named_with_what_there_is() {
    let server = Server::start("models/owner/scope", &dictionaries(Served::new(b"x")));
    let cache = tempfile::tempdir().expect("folder");
    let client = server.client(cache.path());
    let refused = |folder: &str| {
        let error = client.dictionary_files(SCOPE, "main", folder, &no_figures).expect_err(folder);
        assert!(error.is_missing());
        error.to_string()
    };
    let near = refused("layer_1/width_16k/average_l0_9");
    assert!(near.contains("the nearest folders are `layer_1/width_16k/average_l0_8`, `layer_0"), "{near}");
    assert!(refused("resid").contains("its folders are `layer_0/width_16k/average_l0_7`"));
    assert!(refused("layer_1/width_16k/average_l0_8/params.pt").contains("the nearest files are"));
    assert!(refused("layer_1/width_16k/average_l0").contains("no folder or file"), "no part of a name");
    let unclear = |_: &[&str]| -> Result<Vec<String>, String> { Err("two of them".to_string()) };
    let error = client.dictionary_files(SCOPE, "main", FOLDER, &unclear).expect_err("not clear");
    assert!(error.to_string().ends_with("at revision `main`: two of them"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_dictionary_that_another_program_cached_in_part_is_taken_or_said_to_be_missing() {
    let shared = tempfile::tempdir().expect("folder");
    let repo = shared.path().join("models--owner--scope");
    write_atomic(&repo.join("refs/main"), COMMIT.as_bytes()).expect("written");
    let weights = repo.join("snapshots").join(COMMIT).join(FOLDER).join("params.npz");
    write_atomic(&weights, &noise(900)).expect("written");
    let cache = tempfile::tempdir().expect("folder");
    let offline = HubClient::new("https://huggingface.co", None, cache.path(), true)
        .expect("client")
        .with_shared_cache(shared.path());
    let files = offline.dictionary_files(SCOPE, "main", FOLDER, &no_figures).expect("listed");
    assert_eq!(files.bytes_to_fetch(), 0);
    let found = files.fetch().expect("taken over");
    assert_eq!(std::fs::read(found.folder.join("params.npz")).expect("read"), noise(900));
    let error = offline.dictionary_files(SCOPE, "main", "layer_0", &no_figures).expect_err("not cached");
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
    assert!(error.to_string().starts_with("`layer_0` of model repository"), "{error}");
}

#[test]
#[cfg(unix)]
fn files_in_the_shared_cache_are_checked_and_taken_over() {
    let shared = tempfile::tempdir().expect("folder");
    let repo = shared.path().join("models--m");
    let weights = noise(900);
    let snapshot = repo.join("snapshots").join(COMMIT);
    write_atomic(&repo.join("refs/main"), COMMIT.as_bytes()).expect("written");
    write_atomic(&snapshot.join("config.json"), b"{}").expect("written");
    let blob = repo.join("blobs").join(Digest::of(&weights).hex());
    write_atomic(&blob, &weights).expect("written");
    std::os::unix::fs::symlink(&blob, snapshot.join("model.safetensors")).expect("linked");

    let cache = tempfile::tempdir().expect("folder");
    let offline = HubClient::new("https://huggingface.co", None, cache.path(), true)
        .expect("client")
        .with_shared_cache(shared.path());
    let found = offline.model_files("m", "main").expect("taken over");
    assert_eq!(found.commit, COMMIT);
    assert_eq!(std::fs::read(found.folder.join("model.safetensors")).expect("read"), weights);

    write_atomic(&blob, &noise(901)).expect("written");
    let fresh = tempfile::tempdir().expect("folder");
    let offline = HubClient::new("https://huggingface.co", None, fresh.path(), true)
        .expect("client")
        .with_shared_cache(shared.path());
    let error = offline.model_files("m", "main").expect_err("not what its name says");
    assert!(matches!(error, HubError::Offline { .. }), "{error}");
}

#[test]
fn names_from_the_hub_stay_inside_the_repository() {
    let outside =
        Server::start("models/m", &[("config.json", Served::new(b"{}")), ("../../x", Served::new(b"x"))]);
    let cache = tempfile::tempdir().expect("folder");
    let error = outside.client(cache.path()).model_files("m", "main").expect_err("refused").to_string();
    assert!(error.contains("`../../x` leaves the repository"), "{error}");

    let index = br#"{"weight_map": {"a": "../../x"}}"#;
    let files = [("config.json", Served::new(b"{}")), ("model.safetensors.index.json", Served::new(index))];
    let server = Server::start("models/m", &files);
    let error = server.client(cache.path()).model_files("m", "main").expect_err("refused");
    assert!(matches!(error, HubError::Answer { .. }) && error.to_string().contains("`../../x`"), "{error}");

    for id in ["a/b--c", "a--b/c", "../m", "a/..", "/m", "a/b/c", ""] {
        let error = server.client(cache.path()).model_files(id, "main").expect_err("refused");
        assert!(matches!(error, HubError::Name { .. }), "{id}: {error}");
    }
    assert!(!cache.path().with_file_name("x").exists() && !cache.path().join("x").exists());
}

#[test]
fn patterns_match() {
    let cases = [
        ("**/*.txt", "a.txt", true),
        ("**/*.txt", "a/b/c.txt", true),
        ("*.txt", "a/c.txt", false),
        ("data/**", "data/a/b.jsonl", true),
        ("t?st.txt", "test.txt", true),
        ("t?st.txt", "t/st.txt", false),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abcd", false),
    ];
    for (pattern, name, expected) in cases {
        assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
    }
}
