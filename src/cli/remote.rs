//! Run folders in object storage, for the verbs that write or read one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::args::{Common, Env};
use super::setting;
use crate::base::{FileError, ListedFile, read_regular};
use crate::remote::{Address, Mirror, Use};
use crate::report::{Layout, Part, listed_files};
use crate::run::{Places, RunError};
use crate::suite::Limits;

/// Bytes of a gigabyte.
const GB: f64 = 1e9;

/// The address that a path is, if it is one.
fn address_of(path: &Path, flag: &str) -> Result<Option<Address>, RunError> {
    Address::parse(path).transpose().map_err(|problem| setting(flag, problem))
}

/// Where nothing may be sent or fetched, an address is an error that names it.
fn refuse_offline(address: &Address, offline: bool) -> Result<(), RunError> {
    if !offline {
        return Ok(());
    }
    let source = std::io::Error::other("`--offline` forbids the network");
    Err(FileError { action: "read", path: address.to_string().into(), source }.into())
}

/// The cache lies on this disk.
pub fn check_cache(env: &Env) -> Result<(), RunError> {
    match Address::parse(&env.cache) {
        None => Ok(()),
        Some(_) => {
            let problem = "is an address in object storage, where only run folders can lie (`run --out s3://…`): expected a \
                           folder of this disk";
            Err(setting("AUTOINTERP_CACHE", problem))
        }
    }
}

/// Connects a run whose folder is an address: its files are then written to a local folder and sent from there.
pub fn attach(places: &mut Places, disk_gb: f64, env: &Env) -> Result<(), RunError> {
    check_cache(env)?;
    let Some(address) = address_of(&places.out, "--out")? else { return Ok(()) };
    refuse_offline(&address, places.offline)?;
    let limit = (disk_gb * GB) as u64;
    let mirror = Mirror::open(&address, &env.object_storage, (&places.cache, Use::Run), limit)?;
    places.out = mirror.folder().to_path_buf();
    places.remote = Some(Arc::new(mirror));
    Ok(())
}

/// The part of a run that is read, on this disk.
pub struct RunHere {
    folder: PathBuf,
    mirror: Option<Mirror>,
}

/// What the manifest says of the space that the run's files may take.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stated {
    suite: StatedSuite,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StatedSuite {
    limits: Limits,
}

impl RunHere {
    /// Opens a run folder. From object storage, the part is fetched first.
    pub fn open(run: &Path, part: Part, common: &Common, env: &Env) -> Result<Self, RunError> {
        let Some(address) = address_of(run, "RUN")? else {
            return Ok(Self { folder: run.to_path_buf(), mirror: None });
        };
        refuse_offline(&address, common.offline)?;
        let limit = (Limits::default().disk_gb * GB) as u64;
        let mirror = Mirror::open(&address, &env.object_storage, (&env.cache, Use::Read), limit)?;
        let mirror = fetch(mirror, part).map_err(invalid)?;
        Ok(Self { folder: mirror.folder().to_path_buf(), mirror: Some(mirror) })
    }

    /// The run folder, or the local folder of its address.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder that a verb writes to. What others would find in the run folder must have a place of its own if that is
    /// not on this disk.
    pub fn out(&self, given: Option<&Path>, default: impl FnOnce() -> PathBuf) -> Result<PathBuf, RunError> {
        match (given, &self.mirror) {
            (Some(given), _) => Ok(given.to_path_buf()),
            (None, None) => Ok(default()),
            (None, Some(_)) => Err(setting("--out", "is needed, because the run is in object storage")),
        }
    }

    /// Sends files that were drawn again, and at last the list of all files.
    pub fn push(&self, drawn: &[PathBuf]) -> Result<(), RunError> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let listed = drawn.iter().map(|path| ListedFile::read(&self.folder, path));
        mirror.push(&listed.collect::<Result<Vec<_>, _>>()?)?;
        let digests = Layout::new(&self.folder).digests();
        if digests.exists() {
            mirror.push_file(&digests)?;
        }
        Ok(())
    }
}

/// Fetches a part of a run. The limit is that of its suite.
fn fetch(mirror: Mirror, part: Part) -> Result<Mirror, RunError> {
    let layout = Layout::new(mirror.folder());
    if !mirror.bring(&layout.digests(), true)? {
        // It is not finished. A list from before is not of these files.
        let _ = std::fs::remove_file(layout.digests());
        if mirror.bring_all(|name| part.has(name))? == 0 {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "there is no run");
            return Err(FileError { action: "read", path: mirror.address().into(), source }.into());
        }
        return Ok(mirror);
    }
    let listed = listed_files(mirror.folder())?.unwrap_or_default();
    let (results, others): (Vec<_>, Vec<_>) = listed
        .into_iter()
        .filter(|file| part.has(&file.path))
        .partition(|file| Part::Results.has(&file.path));
    mirror.bring_listed(&results)?;
    let manifest = read_regular(&layout.manifest()).ok();
    let stated: Option<Stated> = manifest.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mirror = match stated {
        Some(stated) => mirror.with_limit((stated.suite.limits.disk_gb * GB) as u64),
        None => mirror,
    };
    mirror.bring_listed(&others)?;
    Ok(mirror)
}

/// A file of other content than listed is invalid, not missing.
fn invalid(error: RunError) -> RunError {
    match error {
        RunError::File(FileError { path, source, .. })
            if source.kind() == std::io::ErrorKind::InvalidData =>
        {
            RunError::Input { path, why: source.to_string() }
        }
        error => error,
    }
}
