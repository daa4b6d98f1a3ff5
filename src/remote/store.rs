//! The objects below an address. Calls block until they are done.
//!
//! A request that fails for a while (no connection, 429, 500, 503) is sent again with growing pauses, see [`RetryConfig`]; a
//! download that breaks off goes on where it was; of an upload in parts, only the part that failed is sent again.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, GetResult, MultipartUpload, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, RetryConfig, UpdateVersion,
};
use tokio::runtime::Runtime;

use super::address::{Address, Service, Settings};
use super::object::{Object, Version};
use crate::base::{AtomicFile, Content, ContentHasher, Digest, FileError, Stopwatch, open_stored};

/// Files that are sent or fetched at once.
const AT_ONCE: usize = 8;

/// Bytes of a part. Longer files are sent in parts. All parts but the last are of one length, as some services require.
const PART_BYTES: u64 = 16 << 20;

/// Parts of one file that are sent at once.
const PARTS_AT_ONCE: usize = 4;

/// Time after which a request without an answer is sent again.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Time after which a connection that is not made is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A call that failed within this time is repeated. One that took longer was repeated enough by the client.
const REPEATED_WITHIN: Duration = Duration::from_secs(5);

/// Pause before that.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// Most times that it is done.
const TRIES: usize = 3;

/// Name of the metadata with the digest of an object's content.
const BLAKE3: &str = "blake3";

/// The objects below an address.
pub struct Store {
    address: Address,
    objects: Arc<dyn ObjectStore>,
    runtime: Runtime,
    settings: Settings,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.address)
    }
}

impl Store {
    /// Connects to the service of an address. No request is sent yet.
    pub fn connect(address: &Address, settings: &Settings) -> Result<Self, FileError> {
        let failed = |source| FileError { action: "read", path: address.to_string().into(), source };
        let told = |error: Error| failed(io::Error::other(settings.hidden_in(&error.to_string())));
        let objects = open(address, settings).map_err(told)?;
        Self::over(objects, address, settings).map_err(failed)
    }

    /// The objects below an address in any store.
    pub(super) fn over(
        objects: Arc<dyn ObjectStore>,
        address: &Address,
        settings: &Settings,
    ) -> io::Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name("objects").enable_all().build()?;
        Ok(Self { address: address.clone(), objects, runtime, settings: settings.clone() })
    }

    /// The address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The address of an object, as it is told.
    pub fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("{}/{name}", self.address))
    }

    /// Reads a small object; none if there is none.
    pub fn read(&self, name: &str) -> Result<Option<Object>, FileError> {
        self.repeated(|| self.read_now(name)).map_err(|error| self.failed("read", name, &error))
    }

    /// Size and digest of an object; none if there is none, or it was stored without a digest.
    pub fn content(&self, name: &str) -> Result<Option<Content>, FileError> {
        let head = || GetOptions { head: true, ..GetOptions::default() };
        match self.repeated(|| async { self.objects.get_opts(&self.key(name)?, head()).await }) {
            Ok(found) => Ok(stored_content(&found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, &error)),
        }
    }

    /// Creates a small object, if there is none of the name: the first of several writers wins. None if there is one.
    pub fn create(&self, name: &str, bytes: &[u8]) -> Result<Option<Version>, FileError> {
        self.put_if(name, bytes, PutMode::Create)
    }

    /// Replaces a small object, if it still is of that version. None if it is not.
    pub fn replace(&self, name: &str, bytes: &[u8], version: &Version) -> Result<Option<Version>, FileError> {
        let Version { e_tag, number } = version.clone();
        self.put_if(name, bytes, PutMode::Update(UpdateVersion { e_tag, version: number }))
    }

    fn put_if(&self, name: &str, bytes: &[u8], mode: PutMode) -> Result<Option<Version>, FileError> {
        let put = async {
            let options = PutOptions { mode, ..PutOptions::default() };
            let error = match self.objects.put_opts(&self.key(name)?, bytes.to_vec().into(), options).await {
                Ok(done) => return Ok(Some(Version { e_tag: done.e_tag, number: done.version })),
                Err(error) => error,
            };
            // An answer may be lost after the object was stored: what lies there now says whether it was.
            let found = self.read_now(name).await?;
            match (found, error) {
                (Some(found), _) if found.bytes == bytes => Ok(Some(found.version)),
                (_, Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(None),
                (_, error) => Err(error),
            }
        };
        self.runtime.block_on(put).map_err(|error| self.failed("write", name, &error))
    }

    /// Removes an object. It need not exist.
    pub fn remove(&self, name: &str) -> Result<(), FileError> {
        match self.repeated(|| async { self.objects.delete(&self.key(name)?).await }) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("remove", name, &error)),
        }
    }

    /// Names and sizes of all objects, in no order.
    pub fn list(&self) -> Result<Vec<(String, u64)>, FileError> {
        let below = format!("{}/", self.address.prefix);
        let list = || async {
            let listed = self.objects.list(Some(&Key::parse(&self.address.prefix)?));
            let named = listed.try_filter_map(|object| {
                let name = object.location.as_ref().strip_prefix(&below).map(str::to_string);
                std::future::ready(Ok(name.map(|name| (name, object.size))))
            });
            named.try_collect().await
        };
        self.repeated(list).map_err(|error| self.failed("read", "", &error))
    }

    /// Brings objects into files of the same names below a folder, where each replaces a former one. Fails if one does not
    /// hold what is given here or, without that, what it was stored with. Returns those that exist.
    pub fn fetch(
        &self,
        files: Vec<(String, Option<Content>)>,
        folder: &Path,
    ) -> Result<Vec<(String, Content)>, FileError> {
        let fetched = stream::iter(files).map(|(name, expected)| async move {
            let found = self.fetch_one(&name, &folder.join(&name), expected).await?;
            Ok(found.map(|content| (name, content)))
        });
        let existing = fetched.buffer_unordered(AT_ONCE).try_filter_map(|one| std::future::ready(Ok(one)));
        self.runtime.block_on(existing.try_collect())
    }

    async fn fetch_one(
        &self,
        name: &str,
        into: &Path,
        expected: Option<Content>,
    ) -> Result<Option<Content>, FileError> {
        let failed = |error: Error| self.failed("read", name, &error);
        let found = match self.key(name) {
            Ok(key) => self.objects.get(&key).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        let expected = expected.or_else(|| stored_content(&found));
        let mut file = AtomicFile::create(into)?;
        let mut hasher = ContentHasher::default();
        let mut parts = found.into_stream();
        while let Some(part) = parts.next().await {
            let part = part.map_err(failed)?;
            hasher.add(&part);
            file.write(&part)?;
        }
        let content = hasher.finish();
        if expected.is_some_and(|expected| expected != content) {
            let why =
                io::Error::new(ErrorKind::InvalidData, "does not hold what was written (its digest differs)");
            return Err(FileError { action: "read", path: self.path(name), source: why });
        }
        file.commit()?;
        Ok(Some(content))
    }

    /// Sends files below a folder to objects of the same names, with what they hold.
    pub fn send(&self, files: Vec<(String, Content)>, folder: &Path) -> Result<(), FileError> {
        let sent = stream::iter(files).map(|(name, content)| async move {
            let path = folder.join(&name);
            let mut file = open_stored(&path)?;
            let sent = self.send_one(&name, &mut file, content).await;
            sent.map_err(|error| self.failed("write", &name, &error))
        });
        self.runtime.block_on(sent.buffer_unordered(AT_ONCE).try_collect())
    }

    async fn send_one(&self, name: &str, file: &mut std::fs::File, content: Content) -> Result<(), Error> {
        let key = self.key(name)?;
        let digest = (Attribute::Metadata(BLAKE3.into()), content.blake3.to_string());
        let attributes = Attributes::from_iter([digest]);
        if content.bytes <= PART_BYTES {
            let options = PutOptions { attributes, ..PutOptions::default() };
            let bytes = next_part(file)?;
            return self.objects.put_opts(&key, bytes.into(), options).await.map(drop);
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let mut upload = self.objects.put_multipart_opts(&key, options).await?;
        let sent = match send_parts(upload.as_mut(), file).await {
            Ok(()) => upload.complete().await.map(drop),
            Err(error) => Err(error),
        };
        if sent.is_err() {
            // Parts without an object cost space. Where they cannot be removed now, the service's own rules do it.
            let _ = upload.abort().await;
        }
        sent
    }

    /// Does what may be done twice, and again after a failure that the client does not repeat by itself, such as an answer
    /// that breaks off.
    fn repeated<T, F: Future<Output = Result<T, Error>>>(&self, call: impl Fn() -> F) -> Result<T, Error> {
        let watch = Stopwatch::start();
        for _ in 1..TRIES {
            match self.runtime.block_on(call()) {
                Err(Error::Generic { .. }) if watch.elapsed() < REPEATED_WITHIN => {
                    std::thread::sleep(REPEAT_PAUSE);
                }
                outcome => return outcome,
            }
        }
        self.runtime.block_on(call())
    }

    async fn read_now(&self, name: &str) -> Result<Option<Object>, Error> {
        let found = match self.objects.get(&self.key(name)?).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found?,
        };
        let version = Version { e_tag: found.meta.e_tag.clone(), number: found.meta.version.clone() };
        Ok(Some(Object { bytes: found.bytes().await?.to_vec(), version }))
    }

    /// The name of an object in its bucket, of the very characters of the file's name.
    fn key(&self, name: &str) -> Result<Key, Error> {
        Ok(Key::parse(format!("{}/{name}", self.address.prefix))?)
    }

    /// What is told of a failed request: the object and the service's answer, without credentials.
    fn failed(&self, action: &'static str, name: &str, error: &Error) -> FileError {
        let kind = match error {
            Error::NotFound { .. } => ErrorKind::NotFound,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => ErrorKind::PermissionDenied,
            _ => ErrorKind::Other,
        };
        let source = io::Error::new(kind, self.settings.hidden_in(&error.to_string()));
        FileError { action, path: self.path(name), source }
    }
}

/// A client of the address's service.
fn open(address: &Address, settings: &Settings) -> Result<Arc<dyn ObjectStore>, Error> {
    let options = ClientOptions::new()
        .with_timeout(TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(settings.has_http_endpoint());
    let retry = RetryConfig::default();
    // Settings that the client does not know are of other programs.
    macro_rules! set {
        ($builder:expr) => {{
            let builder = $builder.with_client_options(options).with_retry(retry);
            settings.of(address.service).fold(builder, |builder, (name, value)| match name.parse() {
                Ok(key) => builder.with_config(key, value),
                Err(_) => builder,
            })
        }};
    }
    let bucket = address.bucket.as_str();
    Ok(match address.service {
        Service::S3 => Arc::new(set!(AmazonS3Builder::new()).with_bucket_name(bucket).build()?),
        Service::Google => Arc::new(set!(GoogleCloudStorageBuilder::new()).with_bucket_name(bucket).build()?),
        Service::Azure => Arc::new(set!(MicrosoftAzureBuilder::new()).with_container_name(bucket).build()?),
    })
}

/// What an object was stored with; none without a digest.
fn stored_content(found: &GetResult) -> Option<Content> {
    let blake3 = found.attributes.get(&Attribute::Metadata(BLAKE3.into()))?;
    let blake3 = Digest::parse(blake3.as_ref())?;
    Some(Content { bytes: found.meta.size, blake3 })
}

/// Sends the parts of a file, some at a time.
async fn send_parts(upload: &mut dyn MultipartUpload, file: &mut std::fs::File) -> Result<(), Error> {
    let mut on_the_way = FuturesUnordered::new();
    loop {
        let part = next_part(file)?;
        if part.is_empty() {
            break;
        }
        on_the_way.push(upload.put_part(part.into()));
        if on_the_way.len() >= PARTS_AT_ONCE
            && let Some(sent) = on_the_way.next().await
        {
            sent?;
        }
    }
    while let Some(sent) = on_the_way.next().await {
        sent?;
    }
    Ok(())
}

/// The next bytes of a file, at most a part; empty at its end.
fn next_part(file: &mut std::fs::File) -> Result<Vec<u8>, Error> {
    let mut part = Vec::new();
    let read = file.take(PART_BYTES).read_to_end(&mut part);
    read.map_err(|error| Error::Generic { store: "file", source: error.into() })?;
    Ok(part)
}
