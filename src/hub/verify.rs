//! Checks downloaded files against the lists of their repositories.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::listing::{Entry, Listing, is_commit};
use super::transfer::sha256_of;
use super::{Proof, StoredFile};
use crate::base::Flaw;

/// Checks every file below `cache/hub`: its size, and its SHA-256 where the hub states one. Temporary files are left out.
pub fn verify(cache: &Path) -> Vec<StoredFile> {
    let mut checked = Vec::new();
    for repository in paths_in(&cache.join("hub")) {
        for path in paths_in(&repository) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(commit) = name.strip_suffix(".json").filter(|commit| is_commit(commit)) {
                let listing = Listing::load(&path).filter(|listing| listing.commit == commit);
                let found = listing.map(|_| Proof::Size(size(&path)));
                let found =
                    found.ok_or_else(|| Flaw::Damaged("is not the list of a repository's files".into()));
                checked.push(StoredFile { path, found });
            } else if is_commit(name) {
                let listing = Listing::load(&repository.join(format!("{name}.json")));
                check_files(&path, "", listing.as_ref(), &mut checked);
            }
        }
    }
    checked
}

/// The entries of a folder, sorted, without temporary files.
fn paths_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_final = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && !name.ends_with(".part") && !name.ends_with(".damaged")
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_final).collect();
    paths.sort();
    paths
}

fn check_files(folder: &Path, prefix: &str, listing: Option<&Listing>, checked: &mut Vec<StoredFile>) {
    for path in paths_in(folder) {
        let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
        if path.is_dir() {
            check_files(&path, &format!("{name}/"), listing, checked);
            continue;
        }
        let found = match listing.and_then(|listing| listing.entry(&name)) {
            Some(entry) => check_file(&path, entry),
            None => Ok(Proof::None),
        };
        checked.push(StoredFile { path, found });
    }
}

fn check_file(path: &Path, entry: &Entry) -> Result<Proof, Flaw> {
    let found = size(path);
    if let Some(expected) = entry.size.filter(|expected| *expected != found) {
        return Err(Flaw::Damaged(format!("has {found} bytes; the hub states {expected}")));
    }
    let Some(expected) = entry.sha256 else {
        return Ok(if entry.size.is_some() { Proof::Size(found) } else { Proof::None });
    };
    let unreadable = |error: std::io::Error| Flaw::Damaged(format!("cannot be read ({error})"));
    match File::open(path).and_then(sha256_of).map_err(unreadable)? == expected {
        true => Ok(Proof::Digest(found)),
        false => Err(Flaw::Damaged("does not have the SHA-256 that the hub states".into())),
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Digest, write_atomic};

    #[test]
    fn size_and_hash_of_downloads_are_compared_with_the_list() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (repository, commit) = (folder.path().join("hub/models--a--b"), "0123456789".repeat(4));
        let entry = |name: &str, text: &str, large: bool| Entry {
            name: name.into(),
            size: Some(text.len() as u64),
            sha256: large.then(|| Digest::of(text.as_bytes())),
        };
        let files = vec![
            entry("config.json", "{}", false),
            entry("model.safetensors", "weights", true),
            entry("sub/more.safetensors", "more", true),
        ];
        let listing = Listing { commit: commit.clone(), files };
        listing.save(&repository.join(format!("{commit}.json"))).expect("saved");
        let write = |name: &str, text: &str| {
            write_atomic(&repository.join(&commit).join(name), text.as_bytes()).expect("written");
        };
        write("config.json", "{}");
        write("model.safetensors", "weights");
        write("sub/more.safetensors", "moRe");
        write("own.txt", "mine");
        write("refs", "x");
        let found: Vec<(String, Result<Proof, Flaw>)> = verify(folder.path())
            .into_iter()
            .map(|file| (file.path.file_name().expect("a name").to_string_lossy().into_owned(), file.found))
            .collect();
        let of = |name: &str| &found.iter().find(|(other, _)| other == name).expect("checked").1;
        assert_eq!(found.len(), 6);
        assert_eq!(of("config.json"), &Ok(Proof::Size(2)));
        assert_eq!(of("model.safetensors"), &Ok(Proof::Digest(7)));
        assert_eq!(of("own.txt"), &Ok(Proof::None));
        assert!(matches!(of("more.safetensors"), Err(Flaw::Damaged(why)) if why.contains("SHA-256")));
        write("model.safetensors", "cut");
        write_atomic(&repository.join(format!("{commit}.json")), b"[]").expect("written");
        let damaged = verify(folder.path()).into_iter().filter(|file| file.found.is_err()).count();
        assert_eq!(damaged, 1, "without a list, files prove nothing");
    }
}
