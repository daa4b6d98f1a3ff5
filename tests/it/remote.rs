//! Run folders in object storage: a run there, with a server that fails and a process that is killed, gives the bytes of a
//! run on this disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::object_server::{Fault, ObjectServer, Proxy};
use crate::program::{Done, call, finish, online};
use crate::toy::Toy;

const SECRET: &str = "a-secret-of-the-test";

/// Requests after which the run is killed: some stages are stored, others are not.
const KILLED_AT: usize = 30;

/// A command that has a cache of its own, as on another machine.
fn command(toy: &Toy, cache: &str, url: &str, args: &[&str]) -> Command {
    let mut command = online(toy.home(), args);
    command.args(["--progress", "none"]).env("AUTOINTERP_CACHE", toy.path(cache));
    for (name, value) in [
        ("AWS_ENDPOINT_URL", url),
        ("AWS_ACCESS_KEY_ID", "the-test"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("NO_PROXY", "127.0.0.1"),
    ] {
        command.env(name, value);
    }
    command.env_remove("AWS_SESSION_TOKEN").stdin(Stdio::null());
    command
}

/// About every third request fails in one way or another.
fn faults(n: usize) -> Option<Fault> {
    match n % 13 {
        2 => Some(Fault::Status(500)),
        5 => Some(Fault::Status(503)),
        7 => Some(Fault::Lost),
        9 => Some(Fault::Torn),
        11 => Some(Fault::Slow),
        _ => None,
    }
}

/// Files of a run that hold the same bytes wherever it ran, by their paths inside its folder.
fn lasting(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut waiting = vec![folder.to_path_buf()];
    let mut found = Vec::new();
    // Times of the machine stand in the manifest and on pages; stages and dictionaries are not read by a report.
    let differs = ["manifest.json", "digests.json", "stages", "dictionaries", "charts", "features"];
    let differs = differs.into_iter().chain(["index.html", "features.html"]).collect::<Vec<_>>();
    while let Some(path) = waiting.pop() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if path != folder && (differs.contains(&name.as_str()) || name.starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).expect("listed").map(|entry| entry.expect("an entry").path()));
        } else {
            let inside = path.strip_prefix(folder).expect("inside").to_path_buf();
            found.push((inside, fs::read(&path).expect("read")));
        }
    }
    found.sort();
    found
}

#[test]
fn a_run_in_object_storage_survives_faults_and_gives_the_bytes_of_one_on_this_disk() {
    let Some(server) = ObjectServer::start() else { return };
    server.put("/runs", b"");
    let toy = Toy::new();
    let (suite, local, there) = (toy.arg("suite.yaml"), toy.arg("local"), "s3://runs/a/toy");
    call(toy.home(), &["run", &suite, "--out", &local, "--quiet"]).ok();

    // Killed in the middle. Its local files are lost with its machine.
    let run = ["run", &suite, "--out", there, "--quiet"];
    let proxy = Proxy::start(&server, Box::new(|_| None));
    let mut first = command(&toy, "first", &proxy.url, &run);
    let mut child = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    while proxy.requests() < KILLED_AT && child.try_wait().expect("its state").is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    assert!(child.try_wait().expect("its state").is_none(), "it was killed before its end");
    let _ = child.kill();
    child.wait().expect("ended");
    let ask = |cache: &str, args: &[&str]| -> Done { finish(&mut command(&toy, cache, &server.url(), args)) };
    ask("reader", &["report", there, "--verify"]).refused(6, &["digests.json"]);

    // Continued on another machine, through faults.
    let proxy = Proxy::start(&server, Box::new(faults));
    let done = finish(&mut command(&toy, "second", &proxy.url, &run)).ok();
    assert!(proxy.requests() > KILLED_AT, "{}", proxy.requests());
    assert!(done.stdout.contains("autointerp report s3://runs/a/toy"), "{}", done.stdout);
    ask("reader", &["report", there, "--quiet"]).ok();
    let mut scratch = fs::read_dir(toy.path("reader/remote")).expect("local files");
    let read = scratch.next().expect("of one run").expect("an entry").path();
    let [expected, found] = [Path::new(&local), &read].map(lasting);
    let names = |files: &[(PathBuf, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for (one, other) in expected.iter().zip(&found) {
        assert!(one.1 == other.1, "{} differs", one.0.display());
    }
    ask("verifier", &["report", there, "--verify"]).ok();
    let list = |run: &str| ask("lister", &["inspect", run, "--limit", "2", "--json"]).ok().stdout;
    assert_eq!(list(there), list(&local));
    ask("lister", &["compare", &local, there]).ok();
    ask("lister", &["export", there, "--to", "saelens"]).refused(2, &["--out"]);

    // What was changed there is noticed, and no message tells a key.
    server.put("/runs/a/toy/summary.json", b"{}");
    let changed =
        ask("fourth", &["compare", &local, there]).refused(8, &["toy/summary.json", "digest differs"]);
    let nowhere = ask("fourth", &["report", "s3://nowhere/toy"]).refused(6, &["s3://nowhere/toy"]);
    assert!(![changed, nowhere].iter().any(|done| done.stderr.contains(SECRET)));
}

#[test]
fn an_address_is_refused_without_a_network_or_a_bucket() {
    let toy = Toy::new();
    let suite = toy.arg("suite.yaml");
    call(toy.home(), &["report", "s3://runs/toy"]).refused(6, &["s3://runs/toy", "--offline"]);
    call(toy.home(), &["run", &suite, "--out", "gs://runs/toy"]).refused(6, &["gs://runs/toy", "--offline"]);
    for wrong in ["s3://", "az://runs/toy?sig=a-secret"] {
        let done = call(toy.home(), &["run", &suite, "--out", wrong]).refused(2, &["s3://BUCKET/PREFIX"]);
        let error = done.stderr.lines().find(|line| line.starts_with("error:")).expect("an error");
        assert!(!error.contains("a-secret"), "{error}");
    }
    let mut cached = command(&toy, "unused", "", &["cache"]);
    finish(cached.env("AUTOINTERP_CACHE", "s3://runs/cache")).refused(2, &["AUTOINTERP_CACHE"]);
}
