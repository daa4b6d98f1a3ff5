//! `trace`: the causes of a feature, on a run with three hook points.

use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::write_atomic;
use serde_json::Value;

use crate::browser::Browser;
use crate::pages::assert_quiet;
use crate::program::call;
use crate::schemas::assert_fits;
use crate::toy::Toy;

const HOOKS: &str = "hooks=[hook_embed, blocks.0.hook_resid_post, blocks.1.hook_resid_post]";

fn run(toy: &Toy, hooks: &str) -> String {
    let (suite, out) = (toy.arg("suite.yaml"), toy.arg("run"));
    call(toy.home(), &["run", &suite, "--out", &out, "--quiet", "--set", hooks]).ok();
    out
}

/// A scored feature of topk at the last hook point.
fn feature(toy: &Toy, out: &str) -> String {
    let list = call(toy.home(), &["inspect", out, "blocks.1.hook_resid_post/topk", "--json"]).ok().stdout;
    let list: Value = serde_json::from_str(&list).expect("JSON");
    let lines = list["features"].as_array().expect("a list");
    let line = lines.iter().find(|line| line["status"] == "scored").expect("a scored feature");
    format!("blocks.1.hook_resid_post/topk/{}", line["feature"])
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).expect("UTF-8")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// What must hold of every trace.
fn assert_sound(trace: &Value) {
    let nodes = trace["nodes"].as_array().expect("nodes");
    let edges = trace["edges"].as_array().expect("edges");
    assert!(!edges.is_empty());
    for (nth, node) in nodes.iter().enumerate() {
        assert!(node["causes"].is_null() != node["reason"].is_null(), "{node}");
        assert!(nth == 0 || edges.iter().any(|edge| edge["from"] == nth), "{node} is the cause of nothing");
        let counts = node["histogram"]["counts"].as_array().expect("counts");
        assert!(counts.iter().any(|count| count.as_u64() > Some(0)), "{node}");
    }
    for edge in edges {
        let [from, to] = ["from", "to"].map(|end| edge[end].as_u64().expect("an index") as usize);
        assert_eq!(nodes[from]["step"].as_u64(), nodes[to]["step"].as_u64().map(|step| step + 1));
        let share = &edge["share"];
        if share["reason"].is_null() {
            assert!(number(&share["ci_low"]) <= number(&share["mean"]), "{edge}");
            assert!(number(&share["mean"]) <= number(&share["ci_high"]), "{edge}");
        }
        assert!(number(&edge["random_size"]) >= 0.0 && edge["random"]["mean"].is_f64(), "{edge}");
    }
    let searched = &nodes[0]["causes"];
    assert!(searched["n_tried"].as_u64() <= searched["n_active"].as_u64());
    assert!(searched["n_active"].as_u64() <= searched["n_features"].as_u64());
}

#[test]
fn a_feature_is_traced_back_to_the_embedding_whatever_the_threads() {
    let toy = Toy::new();
    let out = run(&toy, HOOKS);
    let feature = feature(&toy, &out);
    let (one, two) = (toy.arg("one"), toy.arg("two"));
    let args = ["trace", &out, &feature, "--top", "2", "--fragments", "6", "--max-exact", "9"];
    let told = call(toy.home(), &[&args[..], &["--out", &one, "--threads", "1"]].concat()).ok().stdout;
    assert!(told.contains("share lost") && told.contains(&feature) && told.contains("index.html"), "{told}");
    let json = call(toy.home(), &[&args[..], &["--out", &two, "--threads", "2", "--json"]].concat()).ok();
    assert_fits("trace", &json.stdout);
    assert_fits("trace-file", &read(Path::new(&two), "trace.json"));
    let drawn: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(drawn["files"].as_array().map(Vec::len), Some(4));
    for name in ["trace.json", "trace.dot", "trace.svg", "index.html"] {
        let [one, two] = [&one, &two].map(|folder| read(Path::new(folder), name));
        assert!(one == two, "the number of threads changes {name}");
    }
    let trace: Value = serde_json::from_str(&read(Path::new(&one), "trace.json")).expect("JSON");
    assert_eq!(trace, drawn["trace"]);
    assert_sound(&trace);
    let nodes = trace["nodes"].as_array().expect("nodes");
    let hooks = ["blocks.1.hook_resid_post", "blocks.0.hook_resid_post", "hook_embed"];
    for node in nodes {
        assert_eq!(node["hook"], hooks[node["step"].as_u64().expect("a step") as usize], "{node}");
        assert_eq!(node["dictionary"], "topk");
    }
    let last: Vec<&Value> = nodes.iter().filter(|node| node["hook"] == "hook_embed").collect();
    assert!(!last.is_empty() && last.iter().all(|node| node["reason"] == "nothing_earlier"), "{last:?}");
    assert!(nodes[0]["label"].is_string(), "a scored feature is explained");
    let dot = read(Path::new(&one), "trace.dot");
    assert_eq!(dot.matches(" -> ").count(), trace["edges"].as_array().expect("edges").len(), "{dot}");
    assert!(dot.starts_with("digraph") && dot.trim_end().ends_with('}'), "{dot}");
}

#[test]
fn other_dictionaries_can_be_causes_and_the_folder_is_inside_the_run() {
    let toy = Toy::new();
    let out = run(&toy, HOOKS);
    let feature = feature(&toy, &out);
    let methods = ["--method", "pca", "--method", "random", "--depth", "1", "--fragments", "5", "--json"];
    let json = call(toy.home(), &[&["trace", &out, &feature], &methods[..]].concat()).ok().stdout;
    let drawn: Value = serde_json::from_str(&json).expect("JSON");
    assert_sound(&drawn["trace"]);
    let nodes = drawn["trace"]["nodes"].as_array().expect("nodes");
    assert!(nodes[1..].iter().all(|node| node["dictionary"] == "pca" || node["dictionary"] == "random"));
    assert!(nodes[1..].iter().all(|node| node["reason"] == "depth_reached"));
    let traces = format!("traces/{}", feature.replace('/', "--"));
    let folder: PathBuf = toy.path("run").join("traces").join(feature.replace('/', "--"));
    assert_eq!(drawn["out"].as_str(), folder.to_str());
    // The two pages link each other, also after the run folder is drawn again.
    let (file, traced) = ("blocks.1.hook_resid_post--topk.html", read(&folder, "index.html"));
    let link = format!("../../features/{file}#{feature}");
    assert!(traced.replace("&#x2f;", "/").contains(&link), "{traced}");
    let links = || read(&toy.path("run").join("features"), file).contains(&format!("../{traces}/index.html"));
    assert!(links());
    call(toy.home(), &["report", &out, "--verify"]).ok();
    call(toy.home(), &["report", &out]).ok();
    assert!(links());
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_reason() {
    let toy = Toy::new();
    let out = run(&toy, HOOKS);
    let traced = |args: &[&str]| call(toy.home(), &[&["trace", &out], args].concat());
    let first = "hook_embed/topk/0";
    traced(&[first]).refused(2, &[first, "earlier hook point", "several hook points"]);
    traced(&["blocks.1.hook_resid_post/topk/9999"]).refused(2, &["9999", "features 0 to"]);
    traced(&["no/such/9"]).refused(2, &["no/such/9", "HOOK/METHOD/FEATURE"]);
    let feature = feature(&toy, &out);
    traced(&[&feature, "--method", "nobody"]).refused(2, &["--method", "nobody", "topk", "pca"]);
    traced(&[&feature, "--fragments", "1"]).refused(2, &["--fragments", "at least 2"]);
    traced(&[&feature, "--depth", "0"]).refused(2, &["--depth", "at least 1"]);
    call(toy.home(), &["trace", &toy.arg("nowhere"), &feature]).refused(6, &["nowhere"]);
    let path = toy.path("run").join("manifest.json");
    let mut manifest: Value = serde_json::from_str(&read(&toy.path("run"), "manifest.json")).expect("JSON");
    manifest["suite"]["subject"]["activations"] = "acts.safetensors".into();
    fs::remove_file(toy.path("run").join("digests.json")).expect("removed");
    write_atomic(&path, manifest.to_string().as_bytes()).expect("written");
    traced(&[&feature]).refused(2, &["stored activations", "acts.safetensors"]);
}

#[test]
fn a_run_with_one_hook_point_has_no_causes() {
    let toy = Toy::new();
    let out = run(&toy, "hooks=[blocks.1.hook_resid_post]");
    call(toy.home(), &["trace", &out, &feature(&toy, &out)]).refused(2, &["several hook points", "hooks:"]);
}

#[test]
fn the_page_of_a_trace_in_a_browser() {
    let Some(browser) = Browser::open(1280, 900) else { return };
    let toy = Toy::new();
    let out = run(&toy, HOOKS);
    let folder = toy.arg("traced");
    let feature = feature(&toy, &out);
    call(toy.home(), &["trace", &out, &feature, "--fragments", "6", "--out", &folder]).ok();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        browser.go(&Path::new(&folder).join("index.html"), "");
        browser.wait("document.querySelectorAll('#causes th button').length > 0");
        let shapes = browser.run("return document.querySelectorAll('figure svg path').length");
        assert!(shapes.as_u64() > Some(5), "{shapes}");
        browser.picture(&format!("trace-{scheme}"));
        assert_quiet(&browser, "the page of a trace");
    }
}
