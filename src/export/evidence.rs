//! The evidence of a run, read line by line. Of long files only the places of lines are kept in memory.

use std::collections::HashMap;
use std::fs::File;
use std::hash::Hash;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ExportError;
use super::run_folder::Entry;
use crate::base::{FileError, read};
use crate::report::{EvidenceFile, FeatureLine, Layout, ReportError, dictionary_name};

pub(crate) use crate::report::{Effect, Histogram, Neighbours, Profile};

/// A line of `records/`.
#[derive(Debug, Deserialize)]
pub struct Record {
    pub feature: usize,
    #[serde(default)]
    pub first_scored: usize,
    pub density: Option<f64>,
    pub max_activation: Option<f64>,
    #[serde(default)]
    pub top: Vec<Fragment>,
    #[serde(default)]
    pub random: Vec<Fragment>,
}

/// One fragment with the feature's activation on each token.
#[derive(Debug, Deserialize)]
pub struct Fragment {
    pub fragment: usize,
    pub tokens: Vec<u32>,
    pub activations: Vec<f64>,
}

/// A line of `simulations/`.
#[derive(Debug, Deserialize)]
pub struct Simulation {
    pub explainer: String,
    pub simulator: String,
    pub fragment: usize,
    #[serde(default)]
    pub strata: Vec<String>,
    /// By token; none where the simulator gave no number.
    pub predicted: Vec<Option<f64>>,
}

/// Reads a file of JSON lines from its start.
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    bytes: Vec<u8>,
    number: usize,
    /// Where the next byte to read stands in the file.
    at: u64,
}

impl Lines {
    /// None if the file does not exist.
    fn open(path: PathBuf) -> Result<Option<Self>, ExportError> {
        if !path.exists() {
            return Ok(None);
        }
        let file =
            File::open(&path).map_err(|source| FileError { action: "read", path: path.clone(), source })?;
        Ok(Some(Self {
            path,
            file: BufReader::with_capacity(1 << 17, file),
            bytes: Vec::new(),
            number: 0,
            at: 0,
        }))
    }

    /// The next line that is not blank, with its place in the file.
    fn next<T: DeserializeOwned>(&mut self) -> Result<Option<(u64, T)>, ExportError> {
        loop {
            let start = self.at;
            let length = self.fill()?;
            if length == 0 {
                return Ok(None);
            }
            self.at += length as u64;
            self.number += 1;
            if !self.bytes.trim_ascii().is_empty() {
                return Ok(Some((start, self.parse(Some(self.number))?)));
            }
        }
    }

    /// The line at a place. Lines close to each other are read from the disk once.
    fn line_at<T: DeserializeOwned>(&mut self, place: u64) -> Result<T, ExportError> {
        let distance = place.cast_signed() - self.at.cast_signed();
        let sought = self.file.seek_relative(distance);
        sought.map_err(|source| FileError { action: "read", path: self.path.clone(), source })?;
        self.at = place;
        self.at += self.fill()? as u64;
        self.parse(None)
    }

    fn fill(&mut self) -> Result<usize, ExportError> {
        self.bytes.clear();
        let filled = self.file.read_until(b'\n', &mut self.bytes);
        Ok(filled.map_err(|source| FileError { action: "read", path: self.path.clone(), source })?)
    }

    fn parse<T: DeserializeOwned>(&self, line: Option<usize>) -> Result<T, ExportError> {
        let unreadable = |source| ReportError::Json { path: self.path.clone(), line, source };
        Ok(serde_json::from_slice(&self.bytes).map_err(unreadable)?)
    }
}

/// The lines of a file by a key. A file that does not exist has none.
pub struct LineIndex<K> {
    lines: Option<Lines>,
    places: HashMap<K, Vec<u64>>,
}

impl<K: Eq + Hash> LineIndex<K> {
    /// `key` says under which key a line is found; none for a line that nobody needs.
    fn read<T: DeserializeOwned>(
        path: Option<PathBuf>,
        key: impl Fn(T) -> Option<K>,
    ) -> Result<Self, ExportError> {
        let mut lines = path.map_or(Ok(None), Lines::open)?;
        let mut places: HashMap<K, Vec<u64>> = HashMap::new();
        if let Some(lines) = &mut lines {
            while let Some((place, line)) = lines.next()? {
                if let Some(key) = key(line) {
                    places.entry(key).or_default().push(place);
                }
            }
        }
        Ok(Self { lines, places })
    }

    /// The lines of a key, in the order of the file.
    pub fn of<T: DeserializeOwned>(&mut self, key: &K) -> Result<Vec<T>, ExportError> {
        let (Some(lines), Some(places)) = (&mut self.lines, self.places.get(key)) else {
            return Ok(Vec::new());
        };
        places.iter().map(|&place| lines.line_at(place)).collect()
    }
}

/// The lines of `scores.jsonl` that belong to no control, by hook point, dictionary and feature.
pub struct Scores(LineIndex<(String, String, usize)>);

impl Scores {
    /// No line.
    pub fn none() -> Self {
        Self(LineIndex { lines: None, places: HashMap::new() })
    }

    /// Finds the lines of a run folder.
    pub fn read(run: &Layout) -> Result<Self, ExportError> {
        #[derive(Deserialize)]
        struct Key {
            hook: String,
            method: String,
            training: Option<u32>,
            feature: usize,
            control: Option<String>,
        }
        let key = |line: Key| {
            let dictionary = dictionary_name(&line.method, line.training);
            line.control.is_none().then_some((line.hook, dictionary, line.feature))
        };
        Ok(Self(LineIndex::read(Some(run.scores()), key)?))
    }

    /// The lines of a feature, one for each explainer with its simulator.
    pub fn of(&mut self, entry: &Entry, feature: usize) -> Result<Vec<FeatureLine>, ExportError> {
        self.0.of(&(entry.place.hook.clone(), entry.place.dictionary.clone(), feature))
    }
}

#[derive(Deserialize)]
struct OfFeature {
    feature: usize,
}

/// The evidence files of one dictionary.
pub struct Evidence {
    records: Option<Lines>,
    pub simulations: LineIndex<usize>,
    pub profiles: LineIndex<usize>,
    pub neighbours: LineIndex<usize>,
}

impl Evidence {
    /// Opens the files of a dictionary. `simulated`: whether simulations are needed, which are long.
    pub fn open(run: &Layout, entry: &Entry, simulated: bool) -> Result<Self, ExportError> {
        let file = |kind: EvidenceFile| Some(run.evidence(&entry.place, kind));
        let index = |path: Option<PathBuf>| LineIndex::read(path, |line: OfFeature| Some(line.feature));
        Ok(Self {
            records: Lines::open(run.evidence(&entry.place, EvidenceFile::Records))?,
            simulations: index(file(EvidenceFile::Simulations).filter(|_| simulated))?,
            profiles: index(file(EvidenceFile::Profiles).filter(|_| !simulated))?,
            neighbours: index(file(EvidenceFile::Neighbours).filter(|_| !simulated))?,
        })
    }

    /// The next feature's record.
    pub fn next_record(&mut self) -> Result<Option<Record>, ExportError> {
        let Some(records) = &mut self.records else { return Ok(None) };
        Ok(records.next()?.map(|(_, record)| record))
    }
}

/// The text of every token by id; none if the file is missing.
pub fn token_texts(run: &Layout) -> Result<Option<Vec<String>>, ExportError> {
    let path = run.token_texts();
    if !path.exists() {
        return Ok(None);
    }
    let unreadable = |source| ReportError::Json { path: path.clone(), line: None, source };
    Ok(Some(serde_json::from_slice(&read(&path)?).map_err(unreadable)?))
}

/// The texts of tokens; an id without text is shown as a number.
pub fn texts_of(tokens: &[u32], texts: &[String]) -> Vec<String> {
    let text = |id: &u32| texts.get(*id as usize).cloned().unwrap_or_else(|| format!("<{id}>"));
    tokens.iter().map(text).collect()
}
