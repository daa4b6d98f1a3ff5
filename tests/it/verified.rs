//! What is stored is believed only as it was stored: damage is named, made again, and changes no result.

use std::fs;
use std::path::{Path, PathBuf};

use autointerp::base::write_atomic;
use serde_json::Value;

use crate::program::{Done, call};
use crate::smoke::{kill_after, results};
use crate::toy::Toy;

const HOOK: &str = "blocks.1.hook_resid_post";

fn run(toy: &Toy, out: &str) -> Done {
    call(toy.home(), &["run", &toy.arg("suite.yaml"), "--out", &toy.arg(out)]).ok()
}

/// Every file below a folder whose path contains `part`, sorted.
fn files(folder: &Path, part: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(inside) = folders.pop() {
        for entry in fs::read_dir(inside).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.to_string_lossy().contains(part) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

/// One way to damage a file.
#[derive(Debug, Clone, Copy)]
enum Damage {
    Flip,
    Cut,
    Delete,
}

impl Damage {
    const ALL: [Self; 3] = [Self::Flip, Self::Cut, Self::Delete];

    fn apply(self, path: &Path) {
        let mut bytes = fs::read(path).expect("a stored file");
        match self {
            Self::Flip => {
                let place = bytes.len() / 2;
                bytes[place] ^= 1;
            }
            Self::Cut => bytes.truncate(bytes.len() / 2),
            Self::Delete => return fs::remove_file(path).expect("removed"),
        }
        write_atomic(path, &bytes).expect("written");
    }
}

/// Changes the bytes of a file.
type Alter<'a> = &'a dyn Fn(&mut Vec<u8>);

/// Removes the summary, runs again, and compares the results. Returns what the run says.
fn again(toy: &Toy, out: &str, whole: &(String, String)) -> String {
    let _ = fs::remove_file(toy.path(out).join("summary.json"));
    let said = run(toy, out).stderr;
    assert!(results(&toy.path(out)) == *whole, "damage changes the results; the run says:\n{said}");
    said
}

#[test]
fn damaged_evidence_and_dictionaries_are_named_and_made_again() {
    let toy = Toy::new();
    run(&toy, "out");
    let whole = results(&toy.path("out"));
    let stored = [
        format!("records/{HOOK}/topk.jsonl"),
        format!("explanations/{HOOK}/random.jsonl"),
        format!("simulations/{HOOK}/pca.jsonl"),
        format!("profiles/{HOOK}/pca_topk.jsonl"),
        format!("dictionaries/{HOOK}/topk/dictionary.safetensors"),
        format!("dictionaries/{HOOK}/pca/config.json"),
        format!("controls/random_weights/records/{HOOK}/topk.jsonl"),
    ];
    let undisturbed: Vec<Vec<u8>> =
        stored.iter().map(|name| fs::read(toy.path("out").join(name)).expect("a file")).collect();
    for damage in Damage::ALL {
        stored.iter().for_each(|name| damage.apply(&toy.path("out").join(name)));
        let said = again(&toy, "out", &whole);
        for (name, bytes) in stored.iter().zip(&undisturbed) {
            let line = said.lines().filter(|line| line.contains(&format!("`{name}`"))).collect::<Vec<_>>();
            assert_eq!(line.len(), 1, "{damage:?} of {name} is named once:\n{said}");
            assert!(line[0].contains("made again"), "{line:?}");
            let path = toy.path("out").join(name);
            assert!(fs::read(&path).expect("a file") == *bytes, "{name} is as it was");
            let was_set_aside = line[0].contains(".damaged");
            assert_eq!(was_set_aside, !matches!(damage, Damage::Delete), "{line:?}");
        }
        assert!(!again(&toy, "out", &whole).contains("made again"), "nothing is damaged any more");
    }
}

#[test]
fn damaged_stages_are_named_and_made_again() {
    let toy = Toy::new();
    run(&toy, "out");
    let whole = results(&toy.path("out"));
    let stages = toy.path("out/stages");
    let name = |path: &Path| format!("`stages/{}`", path.file_name().expect("a name").display());
    let of = |kind: &str| {
        files(&stages, kind)
            .into_iter()
            .filter(|path| path.extension().is_some_and(|end| end == "json"))
            .collect()
    };
    for damage in [Damage::Flip, Damage::Cut] {
        let [rows, neighbours]: [Vec<PathBuf>; 2] = ["row-", "neighbours-"].map(of);
        assert_eq!((rows.len(), neighbours.len()), (5, 1));
        for path in [&rows[0], &rows[3], &neighbours[0]] {
            damage.apply(path);
        }
        let said = again(&toy, "out", &whole);
        for path in [&rows[0], &rows[3], &neighbours[0]] {
            assert!(said.contains(&name(path)), "{damage:?} of {} is not named:\n{said}", name(path));
        }
        // Fits are read where a row is missing.
        let (rows, fits): (Vec<PathBuf>, Vec<PathBuf>) = (of("row-"), of("fit-"));
        rows.iter().for_each(|path| fs::remove_file(path).expect("removed"));
        fits.iter().for_each(|path| damage.apply(path));
        let said = again(&toy, "out", &whole);
        for path in &fits {
            assert!(said.contains(&name(path)), "{damage:?} of {} is not named:\n{said}", name(path));
        }
    }
    // The first case that people try: a number in a stage of a finished run.
    let rows: Vec<PathBuf> = of("row-");
    let edited = |path: &&PathBuf| fs::read_to_string(path).expect("text").contains("\"top_and_random\":0.");
    let path = rows.iter().find(edited).expect("a score");
    let text = fs::read_to_string(path).expect("text").replacen(
        "\"top_and_random\":0.",
        "\"top_and_random\":0.9",
        1,
    );
    write_atomic(path, text.as_bytes()).expect("written");
    assert!(again(&toy, "out", &whole).contains(&name(path)));
    // Two stages under each other's name.
    let spare = stages.join("spare");
    for (from, to) in [(&rows[1], &spare), (&rows[2], &rows[1]), (&spare, &rows[2])] {
        fs::rename(from, to).expect("renamed");
    }
    let said = again(&toy, "out", &whole);
    for path in &rows[1..3] {
        assert!(said.contains(&name(path)), "the swap of {} is not named:\n{said}", name(path));
    }
}

#[test]
fn damaged_activations_are_named_and_harvested_again() {
    let toy = Toy::new();
    run(&toy, "whole");
    let whole = results(&toy.path("whole"));
    let not_a_number = |bytes: &mut Vec<u8>| bytes[..4].copy_from_slice(&[0xff; 4]);
    let flip_token = |bytes: &mut Vec<u8>| *bytes.last_mut().expect("bytes") ^= 1;
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(1000);
    let flip = |bytes: &mut Vec<u8>| {
        let place = bytes.len() / 2;
        bytes[place] ^= 1;
    };
    let ways: [(&str, Alter<'_>); 5] =
        [(".act", &not_a_number), (".act", &flip_token), (".act", &cut), (".act", &flip), (".json", &flip)];
    for (nth, (extension, alter)) in ways.into_iter().enumerate() {
        let out = format!("out{nth}");
        assert!(kill_after(&toy, &out, "fit-"), "the run ended before it could be killed");
        let stored = files(&toy.path("cache/activations"), extension);
        assert_eq!(stored.len(), 2, "the activations of both splits");
        assert_eq!(call(toy.home(), &["cache", "--verify"]).code, Some(0));
        for path in &stored {
            let mut bytes = fs::read(path).expect("a file");
            alter(&mut bytes);
            write_atomic(path, &bytes).expect("written");
        }
        let shown = call(toy.home(), &["cache", "--verify"]);
        assert_eq!(shown.code, Some(8), "{}", shown.stdout);
        let said = again(&toy, &out, &whole);
        for path in &stored {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(shown.stdout.contains(&name), "{}", shown.stdout);
            assert!(said.contains(&name) && said.contains("made again"), "{name} is not named:\n{said}");
        }
        fs::remove_dir_all(toy.path("cache/activations")).expect("removed");
    }
}

#[test]
fn the_files_of_a_finished_run_can_be_checked_and_are_before_they_are_read() {
    let toy = Toy::new();
    let out = toy.arg("out");
    assert_eq!(call(toy.home(), &["report", &out, "--verify"]).code, Some(6), "no run");
    run(&toy, "out");
    let verify = |code: i32| -> Value {
        let done = call(toy.home(), &["report", &out, "--verify", "--json"]);
        assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).expect("JSON")
    };
    let sound = verify(0);
    let n_files = sound["sound_files"].as_u64().expect("a count");
    assert!(n_files > 30 && sound["unlisted"] == serde_json::json!([]), "{sound}");
    // Drawing again lists what was drawn.
    call(toy.home(), &["report", &out]).ok();
    assert_eq!(verify(0)["sound_files"], n_files);
    let record = format!("records/{HOOK}/topk.jsonl");
    for (name, readers) in [
        ("summary.json", vec![vec!["report", &out], vec!["inspect", &out], vec!["compare", &out, &out]]),
        ("scores.jsonl", vec![vec!["report", &out], vec!["inspect", &out], vec!["compare", &out, &out]]),
        (record.as_str(), vec![vec!["report", &out], vec!["export", &out, "--to", "neuronpedia"]]),
        ("index.html", vec![]),
        ("digests.json", vec![vec!["report", &out], vec!["inspect", &out]]),
    ] {
        let path = toy.path("out").join(name);
        let bytes = fs::read(&path).expect("a file");
        Damage::Flip.apply(&path);
        for args in readers {
            call(toy.home(), &args).refused(8, &[name, "does not hold what was written"]);
        }
        if name == "digests.json" {
            call(toy.home(), &["report", &out, "--verify"]).refused(8, &[name]);
        } else {
            let shown = verify(8);
            assert_eq!(shown["damaged"][0]["path"], name, "{shown}");
            fs::remove_file(&path).expect("removed");
            let shown = verify(8);
            assert_eq!(shown["missing"], serde_json::json!([name]), "{shown}");
        }
        write_atomic(&path, &bytes).expect("written");
    }
    toy.write("out/records/extra.jsonl", "{}");
    assert_eq!(verify(0)["unlisted"], serde_json::json!(["records/extra.jsonl"]));
    // A folder of an earlier version has no list, and is read as before.
    fs::remove_file(toy.path("out/digests.json")).expect("removed");
    Damage::Delete.apply(&toy.path("out").join(&record));
    call(toy.home(), &["inspect", &out]).ok();
    call(toy.home(), &["report", &out, "--verify"]).refused(6, &["digests.json"]);
}
