//! The output folder. It is written beside its place and renamed when complete, so that a stopped export leaves the
//! former one. `export.json` lists its files, by which the next export knows that it may replace them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ExportError;
use super::exported::{Exported, ExportedDictionary, SkippedDictionary};
use super::run_folder::RunFolder;
use crate::base::{FileError, FileName, create_dir_all, read, write_atomic};

/// Name of the file that lists the others.
const LIST: &str = "export.json";

/// `format` in that file.
const FORMAT: &str = "autointerp-export";

/// The content of `export.json`.
#[derive(Serialize)]
struct List<'a> {
    format: &'static str,
    version: u32,
    form: &'static str,
    program: &'static str,
    /// Digest of the run, as in `summary.json`.
    run: &'a str,
    exported: &'a [ExportedDictionary],
    skipped: &'a [SkippedDictionary],
    files: &'a BTreeSet<String>,
}

/// What an earlier export says of itself.
#[derive(Deserialize)]
struct Earlier {
    format: String,
    files: BTreeSet<String>,
}

/// A folder under construction.
pub struct Output {
    target: PathBuf,
    part: PathBuf,
    /// Relative paths with `/`.
    files: BTreeSet<String>,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FileError + 'a {
    move |source| FileError { action, path: path.to_path_buf(), source }
}

/// A hidden name beside the folder, which belongs to this process.
fn beside(target: &Path, suffix: &str) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.{suffix}", std::process::id()))
}

impl Output {
    /// Starts a folder that will replace `target`, which must be missing, empty, or written by an export.
    pub fn create(target: &Path) -> Result<Self, ExportError> {
        check_free(target)?;
        let part = beside(target, "part");
        if part.exists() {
            fs::remove_dir_all(&part).map_err(failed("remove", &part))?;
        }
        create_dir_all(&part)?;
        Ok(Self { target: target.to_path_buf(), part, files: BTreeSet::new() })
    }

    /// The path of a new file in folders of these names. Names become [`FileName`]s; the ending is added as it is.
    pub fn file(
        &mut self,
        folders: &[&str],
        name: &str,
        ending: &'static str,
    ) -> Result<PathBuf, ExportError> {
        let mut parts: Vec<String> = folders.iter().map(|folder| FileName::of(folder).to_string()).collect();
        parts.push(FileName::of(name).with(ending));
        let path = self.part.join(parts.join("/"));
        if let Some(folder) = path.parent() {
            create_dir_all(folder)?;
        }
        self.files.insert(parts.join("/"));
        Ok(path)
    }

    /// Writes a JSON file: several lines for people, or one for programs that read lines.
    pub fn json(
        &mut self,
        folders: &[&str],
        name: &str,
        ending: &'static str,
        value: &Value,
    ) -> Result<(), ExportError> {
        let text = if ending == ".jsonl" { format!("{value}\n") } else { format!("{value:#}\n") };
        Ok(write_atomic(&self.file(folders, name, ending)?, text.as_bytes())?)
    }

    /// Writes a file of one JSON value on each line.
    pub fn json_lines(&mut self, folders: &[&str], name: &str, values: &[Value]) -> Result<(), ExportError> {
        let path = self.file(folders, name, ".jsonl")?;
        let text: String = values.iter().map(|value| format!("{value}\n")).collect();
        Ok(write_atomic(&path, text.as_bytes())?)
    }

    /// Starts a compressed file of one JSON value on each line.
    pub fn packed_lines(&mut self, folders: &[&str], name: &str) -> Result<PackedLines, ExportError> {
        PackedLines::create(self.file(folders, name, ".jsonl.gz")?)
    }

    /// Puts the folder in its place and returns the number of its files.
    pub fn commit(self, run: &RunFolder, result: &Exported) -> Result<usize, ExportError> {
        let list = List {
            format: FORMAT,
            version: 1,
            form: result.form,
            program: env!("CARGO_PKG_VERSION"),
            run: &run.summary.run,
            exported: &result.exported,
            skipped: &result.skipped,
            files: &self.files,
        };
        let path = self.part.join(LIST);
        let mut text = serde_json::to_vec_pretty(&list).map_err(|error| FileError {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        text.push(b'\n');
        write_atomic(&path, &text)?;
        check_free(&self.target)?;
        let old = beside(&self.target, "old");
        let replaces = self.target.exists();
        if replaces {
            fs::rename(&self.target, &old).map_err(failed("replace", &self.target))?;
        }
        if let Err(error) = fs::rename(&self.part, &self.target) {
            if replaces {
                let _ = fs::rename(&old, &self.target);
            }
            return Err(failed("write", &self.target)(error).into());
        }
        if replaces {
            fs::remove_dir_all(&old).map_err(failed("remove", &old))?;
        }
        Ok(self.files.len() + 1)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nothing is left there after a commit.
        let _ = fs::remove_dir_all(&self.part);
    }
}

/// A folder that may be replaced is missing, empty, or holds nothing but the files of an earlier export.
fn check_free(target: &Path) -> Result<(), ExportError> {
    let taken = |problem: String| ExportError::Taken { path: target.to_path_buf(), problem };
    let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(()) };
    if metadata.is_symlink() {
        return Err(taken("is a link".into()));
    }
    if !metadata.is_dir() {
        return Err(taken("is a file".into()));
    }
    let found = files_below(target)?;
    if found.is_empty() {
        return Ok(());
    }
    let earlier =
        read(&target.join(LIST)).ok().and_then(|text| serde_json::from_slice::<Earlier>(&text).ok());
    let Some(earlier) = earlier.filter(|earlier| earlier.format == FORMAT) else {
        return Err(taken("is not empty, and no export wrote it".into()));
    };
    match found.iter().find(|file| *file != LIST && !earlier.files.contains(*file)) {
        Some(file) => Err(taken(format!("holds `{file}`, which no export wrote"))),
        None => Ok(()),
    }
}

/// Relative paths, with `/`, of everything below a folder that is not a folder. Links are not followed.
fn files_below(folder: &Path) -> Result<Vec<String>, ExportError> {
    let (mut found, mut folders) = (Vec::new(), vec![String::new()]);
    while let Some(inside) = folders.pop() {
        let path = folder.join(&inside);
        for entry in fs::read_dir(&path).map_err(failed("read", &path))? {
            let entry = entry.map_err(failed("read", &path))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let relative = if inside.is_empty() { name } else { format!("{inside}/{name}") };
            if entry.file_type().map_err(failed("read", &path))?.is_dir() {
                folders.push(relative);
            } else {
                found.push(relative);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A gzip file of one JSON value on each line. Equal values give equal bytes.
pub struct PackedLines {
    path: PathBuf,
    writer: GzEncoder<BufWriter<File>>,
}

impl PackedLines {
    fn create(path: PathBuf) -> Result<Self, ExportError> {
        let file = File::create(&path).map_err(failed("write", &path))?;
        Ok(Self { writer: GzEncoder::new(BufWriter::new(file), Compression::default()), path })
    }

    /// Adds one line.
    pub fn line(&mut self, value: &Value) -> Result<(), ExportError> {
        Ok(writeln!(self.writer, "{value}").map_err(failed("write", &self.path))?)
    }

    /// Completes the file.
    pub fn finish(self) -> Result<(), ExportError> {
        let Self { path, writer } = self;
        let flushed = writer.finish().and_then(|mut file| file.flush());
        Ok(flushed.map_err(failed("write", &path))?)
    }
}
