//! Files of activations, opened by their headers. Numbers are read when they are asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::column::Column;
use super::dataset::data_files;
use super::open_file::{Contents, DOCUMENT_IDS, OpenFile};
use super::recorded::{Recorded, TOKEN_IDS};
use super::{arrow, tensors};
use crate::base::{Digest, Digester, HookPoint, StoredBlock};
use crate::subject::SubjectError;

/// Other columns listed in a message.
const OTHERS_NAMED: usize = 8;

/// First bytes of an Arrow stream and of an Arrow file.
const ARROW: [&[u8]; 2] = [&[0xFF; 4], b"ARROW1"];

/// Reads a file's header, in the format that its first bytes show.
fn contents_of(file: &OpenFile) -> Result<Contents, SubjectError> {
    for magic in ARROW {
        if file.starts_with(magic)? {
            return arrow::read(file);
        }
    }
    tensors::read(file)
}

/// Where token ids are.
#[derive(Debug)]
enum Ids {
    /// In the record of `harvest`, one sequence after another.
    Recorded(Vec<u32>),
    Column(Column),
}

/// Activations `[sequences, positions, width]` at hook points, with the token ids `[sequences, positions]`.
#[derive(Debug)]
pub struct ActivationFiles {
    path: PathBuf,
    files: Vec<OpenFile>,
    hooks: BTreeMap<HookPoint, Column>,
    ids: Ids,
    documents: Option<Vec<u32>>,
    recorded: Recorded,
    sequences: usize,
    positions: usize,
}

impl ActivationFiles {
    /// Opens a safetensors or Arrow file, or a folder of them. Only headers and offsets are read.
    pub fn open(path: &Path) -> Result<Self, SubjectError> {
        let paths = if path.is_dir() { data_files(path)? } else { vec![path.to_path_buf()] };
        let files = paths.iter().map(|path| OpenFile::open(path)).collect::<Result<Vec<_>, _>>()?;
        let mut all: Option<Contents> = None;
        for (nth, file) in files.iter().enumerate() {
            let contents = contents_of(file)?;
            match &mut all {
                None => all = Some(contents),
                Some(all) => all.append(contents, nth, file)?,
            }
        }
        let nothing =
            || SubjectError::Activations { path: path.to_path_buf(), why: "holds no file".to_string() };
        let contents = all.ok_or_else(nothing)?;
        Parts { path, files: &files }.assemble(contents).map(|found| Self { files, ..found })
    }

    /// Reads the numbers at a hook point from position `first` of a sequence on, as f32.
    pub(super) fn read(
        &self,
        hook: HookPoint,
        sequence: usize,
        first: usize,
        out: &mut [f32],
    ) -> Result<(), SubjectError> {
        let column = self.column(hook)?;
        let (file, offset) =
            column.place(sequence).ok_or_else(|| self.wrong("has fewer sequences than asked for"))?;
        let (width, number) = (column.entries() / self.positions, column.number.bytes());
        let bytes = self.files[file].read(offset + (first * width * number) as u64, out.len() * number)?;
        column.number.floats(&bytes, out);
        Ok(())
    }

    fn column(&self, hook: HookPoint) -> Result<&Column, SubjectError> {
        self.hooks.get(&hook).ok_or_else(|| SubjectError::HookNotStored {
            hook,
            path: self.path.clone(),
            stored: self.hooks.keys().map(|hook| format!("`{hook}`")).collect::<Vec<_>>().join(", "),
        })
    }

    /// Where the numbers `[sequences, positions, width]` at a hook point lie. None if they are in several blocks, or in
    /// bfloat16, which numpy has not.
    pub fn block(&self, hook: HookPoint) -> Result<Option<StoredBlock>, SubjectError> {
        let column = self.column(hook)?;
        let located = column.block().zip(column.number.numpy());
        Ok(located.map(|((file, offset), dtype)| {
            let shape = std::iter::once(column.rows()).chain(column.shape.iter().copied()).collect();
            StoredBlock { path: self.files[file].path.clone(), dtype, offset, shape }
        }))
    }

    /// Token ids of a sequence. Fails on numbers that are no ids.
    pub fn ids(&self, sequence: usize) -> Result<Vec<u32>, SubjectError> {
        let column = match &self.ids {
            Ids::Recorded(ids) => {
                return Ok(ids[sequence * self.positions..(sequence + 1) * self.positions].to_vec());
            }
            Ids::Column(column) => column,
        };
        integers(&self.files, column, sequence)?.into_iter().enumerate().map(|(position, id)| {
            u32::try_from(id).map_err(|_| {
                let why = format!("holds {id} at sequence {sequence}, position {position} of `{TOKEN_IDS}`, which is no token id");
                self.wrong(&why)
            })
        }).collect()
    }

    /// Document of each sequence, if the files say it.
    pub fn documents(&self) -> Option<&[u32]> {
        self.documents.as_deref()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Positions of each sequence, tokens in front of the text included.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Width at a hook point. Fails if the files lack it.
    pub fn width(&self, hook: HookPoint) -> Result<usize, SubjectError> {
        Ok(self.column(hook)?.shape[1])
    }

    /// The hook points, in order of layers.
    pub fn hooks(&self) -> impl Iterator<Item = HookPoint> + '_ {
        self.hooks.keys().copied()
    }

    /// What is recorded of the model; empty fields where nothing is.
    pub fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// The path as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digest of the bytes of all files.
    pub fn digest(&self) -> Result<Digest, SubjectError> {
        let mut digester = Digester::new("activations made elsewhere");
        for file in &self.files {
            digester.digest(&file.digest()?);
        }
        Ok(digester.finish())
    }

    /// An error about these files: `why` goes on after their path.
    pub(super) fn wrong(&self, why: &str) -> SubjectError {
        SubjectError::Activations { path: self.path.clone(), why: why.to_string() }
    }
}

/// The integers of one row.
fn integers(files: &[OpenFile], column: &Column, row: usize) -> Result<Vec<i128>, SubjectError> {
    let Some((file, offset)) = column.place(row) else { return Ok(Vec::new()) };
    let bytes = files[file].read(offset, column.entries() * column.number.bytes())?;
    Ok(column.number.integers(&bytes))
}

/// Checks columns against each other.
struct Parts<'a> {
    path: &'a Path,
    files: &'a [OpenFile],
}

impl Parts<'_> {
    fn wrong(&self, why: String) -> SubjectError {
        SubjectError::Activations { path: self.path.to_path_buf(), why }
    }

    /// Everything but the files themselves.
    fn assemble(&self, contents: Contents) -> Result<ActivationFiles, SubjectError> {
        let Contents { columns, others, recorded } = contents;
        let mut hooks = BTreeMap::new();
        let (mut ids, mut documents) = (None, None);
        for (name, column) in columns {
            match name.parse::<HookPoint>() {
                Ok(hook) => {
                    self.check_hook(&name, &column)?;
                    if hooks.insert(hook, column).is_some() {
                        return Err(self.wrong(format!("holds `{hook}` twice")));
                    }
                }
                Err(_) if name == TOKEN_IDS => ids = Some(column),
                Err(_) => documents = Some(column),
            }
        }
        let Some((hook, first)) = hooks.first_key_value() else { return Err(self.no_hooks(&others)) };
        let (sequences, positions) = (first.rows(), first.shape[0]);
        for (other, column) in &hooks {
            let [rows, cols] = [column.rows(), column.shape[0]];
            if [rows, cols] != [sequences, positions] {
                return Err(self.wrong(format!(
                    "has {sequences} sequences of {positions} positions at `{hook}` and {rows} of {cols} at `{other}`, \
                     expected the same"
                )));
            }
        }
        let mut recorded = recorded.unwrap_or_default();
        let ids = self.ids(ids, &mut recorded, &hook.to_string(), [sequences, positions])?;
        let documents = documents.map(|column| self.documents(&column, sequences)).transpose()?;
        let path = self.path.to_path_buf();
        Ok(ActivationFiles { path, files: Vec::new(), hooks, ids, documents, recorded, sequences, positions })
    }

    fn check_hook(&self, name: &str, column: &Column) -> Result<(), SubjectError> {
        if column.shape.len() != 2 || !column.number.is_float() || column.entries() == 0 || column.rows() == 0
        {
            return Err(self.wrong(format!(
                "has {} rows of {} at `{name}`, expected sequences of floats [positions, width]",
                column.rows(),
                column.words()
            )));
        }
        Ok(())
    }

    fn no_hooks(&self, others: &[String]) -> SubjectError {
        let named: Vec<String> = others.iter().take(OTHERS_NAMED).map(|name| format!("{name:?}")).collect();
        let more = if others.len() > OTHERS_NAMED { ", …" } else { "" };
        let held = if named.is_empty() { "nothing".to_string() } else { named.join(", ") };
        self.wrong(format!(
            "holds no activations at a hook point, but {held}{more}; expected names such as `blocks.2.hook_resid_post`"
        ))
    }

    fn ids(
        &self,
        column: Option<Column>,
        recorded: &mut Recorded,
        hook: &str,
        [sequences, positions]: [usize; 2],
    ) -> Result<Ids, SubjectError> {
        let (found, ids) = match column {
            Some(column) => {
                if column.shape.len() != 1 || column.number.is_float() {
                    let words = column.words();
                    return Err(self.wrong(format!(
                        "has `{TOKEN_IDS}` as rows of {words}, expected integers [positions]"
                    )));
                }
                ([column.rows(), column.shape[0]], Ids::Column(column))
            }
            None if recorded.token_ids.is_empty() => {
                return Err(self.wrong(format!(
                    "holds no `{TOKEN_IDS}` [sequences, positions], so its text is not known; `autointerp harvest` \
                     writes them, and so does SAELens"
                )));
            }
            None => {
                let ids = std::mem::take(&mut recorded.token_ids);
                let whole = recorded.shape[0].checked_mul(recorded.shape[1]) == Some(ids.len());
                if !whole {
                    return Err(self.wrong(format!(
                        "records {} token ids, expected {:?}",
                        ids.len(),
                        recorded.shape
                    )));
                }
                (recorded.shape, Ids::Recorded(ids))
            }
        };
        if found != [sequences, positions] {
            return Err(self.wrong(format!(
                "has {} sequences of {} positions in `{TOKEN_IDS}`, and {sequences} of {positions} at `{hook}`, expected \
                 the same",
                found[0], found[1]
            )));
        }
        Ok(ids)
    }

    fn documents(&self, column: &Column, sequences: usize) -> Result<Vec<u32>, SubjectError> {
        if !column.shape.is_empty() || column.number.is_float() || column.rows() != sequences {
            let (rows, words) = (column.rows(), column.words());
            return Err(self.wrong(format!(
                "has `{DOCUMENT_IDS}` as {rows} rows of {words}, expected one integer for each of {sequences} sequences"
            )));
        }
        let document = |row: usize| {
            let number = integers(self.files, column, row)?.first().copied().unwrap_or(-1);
            let invalid = || {
                self.wrong(format!(
                    "holds {number} at sequence {row} of `{DOCUMENT_IDS}`, which is no document number"
                ))
            };
            u32::try_from(number).map_err(|_| invalid())
        };
        (0..sequences).map(document).collect()
    }
}
