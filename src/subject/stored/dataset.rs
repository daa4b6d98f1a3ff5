//! Finds the data files of a folder: a data set saved by Hugging Face `datasets`, its shards in sub-folders, or files of
//! activations.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::{is_inside, read_regular};
use crate::nn::NnError;
use crate::subject::SubjectError;

/// Describes a saved data set.
const STATE: &str = "state.json";

/// Names the splits of a folder of several data sets.
const SPLITS: &str = "dataset_dict.json";

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    data_files: Vec<DataFile>,
    /// Older versions store the order of a shuffled data set apart.
    #[serde(rename = "_indices_data_files", default)]
    indices: Option<Vec<serde_json::Value>>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

/// Data files of `folder` in the order of their rows.
pub(super) fn data_files(folder: &Path) -> Result<Vec<PathBuf>, SubjectError> {
    let wrong = |why: &str| SubjectError::Activations { path: folder.to_path_buf(), why: why.to_string() };
    if folder.join(STATE).is_file() {
        return listed(folder);
    }
    if folder.join(SPLITS).is_file() {
        return Err(wrong(
            "holds several splits (`dataset_dict.json`): name the sub-folder of one, `…/train`",
        ));
    }
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries(folder)?.into_iter().partition(|path| path.is_dir());
    for extension in ["arrow", "safetensors"] {
        let has_extension = |path: &&PathBuf| path.extension().is_some_and(|found| found == extension);
        let found: Vec<PathBuf> = files.iter().filter(has_extension).cloned().collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let shards: Vec<PathBuf> = folders.into_iter().filter(|shard| shard.join(STATE).is_file()).collect();
    if !shards.is_empty() {
        return Ok(shards.iter().map(|shard| listed(shard)).collect::<Result<Vec<_>, _>>()?.concat());
    }
    if files.iter().any(|path| path.extension().is_some_and(|found| found == "parquet")) {
        return Err(wrong(
            "holds Parquet files: load them with `datasets` and save them with `save_to_disk`",
        ));
    }
    Err(wrong(
        "holds no activations: expected a data set saved by `datasets` (`state.json` with `data-….arrow` files), its \
         shards in sub-folders, or safetensors files that `harvest` wrote",
    ))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SubjectError> {
    let failed =
        |source| NnError::from(crate::base::FileError { action: "read", path: folder.to_path_buf(), source });
    let listed = std::fs::read_dir(folder).map_err(failed)?;
    let mut paths =
        listed.map(|entry| Ok(entry.map_err(failed)?.path())).collect::<Result<Vec<_>, NnError>>()?;
    paths.sort();
    Ok(paths)
}

/// The files that `state.json` lists.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, SubjectError> {
    let path = folder.join(STATE);
    let wrong = |why: String| SubjectError::Activations { path: path.clone(), why };
    let bytes = read_regular(&path).map_err(NnError::from)?;
    let state: State = serde_json::from_slice(&bytes).map_err(|error| {
        wrong(format!("is no description of a data set ({error}): save the data set again"))
    })?;
    if state.indices.is_some_and(|indices| !indices.is_empty()) {
        return Err(wrong(
            "keeps the order of rows apart: call `flatten_indices()` and save the data set again".into(),
        ));
    }
    if state.data_files.is_empty() {
        return Err(wrong("lists no data files: the data set is empty".into()));
    }
    let inside = |DataFile { filename }: DataFile| {
        let plain = is_inside(&filename) && !filename.contains('/');
        let outside =
            || wrong(format!("names the data file {filename:?}, expected files of the same folder"));
        if plain { Ok(folder.join(&filename)) } else { Err(outside()) }
    };
    state.data_files.into_iter().map(inside).collect()
}
