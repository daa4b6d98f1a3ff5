//! Cache of answers on disk.
//!
//! Answers are cached under a hash of the client's identity and the full request, one file per answer. Several
//! processes can share the folder.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};

use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, Meter, PromptReply, PromptRequest, ReplyFuture, locked,
};
use crate::base::{Digest, Digester, read, write_atomic};

const KIND: &str = "llm-answer";
const VERSION: u32 = 1;

/// Client that caches answers. Errors are not cached, and a damaged file counts as missing. Identical requests in
/// flight share one call and its outcome.
pub struct Cached {
    inner: Arc<dyn ChatClient>,
    folder: PathBuf,
    meter: Meter,
    unsaved: Arc<Semaphore>,
    forgets: bool,
    /// Keys of the answers that were read from the folder.
    found: Mutex<HashSet<Digest>>,
    chats: Calls<ChatReply>,
    prompts: Calls<PromptReply>,
}

/// Calls in flight by key, each with its outcome.
type Calls<T> = Mutex<HashMap<Digest, Arc<OnceCell<Result<T, ChatError>>>>>;

/// Contents of a cache file.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    kind: String,
    version: u32,
    /// For people who read the file; the file name is the key.
    identity: String,
    /// Digest of the reply's JSON.
    digest: Digest,
    reply: T,
}

impl Cached {
    /// Wraps `inner`. Answers from the folder, or shared with a call in flight, count as cached.
    pub fn new(inner: Arc<dyn ChatClient>, folder: &Path, meter: Meter) -> Self {
        Self {
            inner,
            folder: folder.to_path_buf(),
            meter,
            unsaved: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            forgets: true,
            found: Mutex::default(),
            chats: Calls::default(),
            prompts: Calls::default(),
        }
    }

    /// Limits the requests that are sent but whose answers are not stored yet: a killed process loses these.
    /// Several clients may share the semaphore.
    pub fn losing_at_most(self, unsaved: Arc<Semaphore>) -> Self {
        Self { unsaved, ..self }
    }

    /// For a deterministic model: [`ChatClient::forget`] then keeps unusable answers too.
    pub fn of_fixed_answers(self) -> Self {
        Self { forgets: false, ..self }
    }

    fn key<R: Serialize>(&self, what: &str, request: &R) -> Digest {
        let mut digester = Digester::new(KIND);
        digester.text(self.inner.identity()).text(what).json(request);
        digester.finish()
    }

    fn path(&self, key: &Digest) -> PathBuf {
        let name = key.hex();
        self.folder.join(&name[..2]).join(format!("{name}.json"))
    }

    /// Returns true if the answer was read from the folder and its file is now removed.
    fn drop_stored(&self, key: &Digest) -> bool {
        if !self.forgets {
            return false;
        }
        // A failure is harmless: another process removed the file, or the next run reads the answer again.
        let removed = std::fs::remove_file(self.path(key)).is_ok();
        locked(&self.found).remove(key) && removed
    }

    async fn remembered<T: Reply>(
        &self,
        calls: &Calls<T>,
        key: Digest,
        ask: ReplyFuture<'_, T>,
    ) -> Result<T, ChatError> {
        let call = locked(calls).entry(key).or_default().clone();
        let mut is_first = false;
        // If the first task is dropped during its call, the next one makes the call.
        let outcome = call.get_or_init(|| {
            is_first = true;
            self.found_or_asked(key, ask)
        });
        let outcome = outcome.await.clone();
        if is_first {
            locked(calls).remove(&key);
        } else if outcome.is_ok() {
            self.meter.count(|usage| usage.cached += 1);
        }
        outcome
    }

    async fn found_or_asked<T: Reply>(&self, key: Digest, ask: ReplyFuture<'_, T>) -> Result<T, ChatError> {
        let path = self.path(&key);
        let file = path.clone();
        // Disk access must not block the few threads of the async runtime.
        let found = tokio::task::spawn_blocking(move || load::<T>(&file)).await;
        if let Ok(Some(reply)) = found {
            self.meter.count(|usage| usage.cached += 1);
            locked(&self.found).insert(key);
            return Ok(reply);
        }
        // The semaphore is never closed, so this cannot fail.
        let _permit = self.unsaved.acquire().await.ok();
        let reply = ask.await?;
        let (kept, identity) = (reply.clone(), self.inner.identity().to_string());
        let stored = tokio::task::spawn_blocking(move || store(&path, identity, kept)).await;
        if !matches!(stored, Ok(true)) {
            // The answer is paid for, so it is used even though it is not stored.
            self.meter.count(|usage| usage.not_stored += 1);
        }
        Ok(reply)
    }
}

impl ChatClient for Cached {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        let key = self.key("chat", request);
        Box::pin(self.remembered(&self.chats, key, self.inner.chat(request)))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        let key = self.key("score_prompt", request);
        Box::pin(self.remembered(&self.prompts, key, self.inner.score_prompt(request)))
    }

    fn forget(&self, request: &ChatRequest) -> bool {
        self.drop_stored(&self.key("chat", request))
    }

    fn forget_prompt(&self, request: &PromptRequest) {
        self.drop_stored(&self.key("score_prompt", request));
    }
}

trait Reply: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl Reply for ChatReply {}

impl Reply for PromptReply {}

fn digest_of<T: Serialize>(reply: &T) -> Option<Digest> {
    serde_json::to_vec(reply).ok().map(|bytes| Digest::of(&bytes))
}

/// Reads a stored answer; `None` if the file is missing or damaged.
fn load<T: Reply>(path: &Path) -> Option<T> {
    let stored: Stored<T> = serde_json::from_slice(&read(path).ok()?).ok()?;
    let sound =
        stored.kind == KIND && stored.version == VERSION && digest_of(&stored.reply) == Some(stored.digest);
    sound.then_some(stored.reply)
}

/// Stores an answer. Returns whether it is on disk now, written by this process or by a faster one.
fn store<T: Reply>(path: &Path, identity: String, reply: T) -> bool {
    let Some(digest) = digest_of(&reply) else { return false };
    let stored = Stored { kind: KIND.into(), version: VERSION, identity, digest, reply };
    let Ok(bytes) = serde_json::to_vec(&stored) else { return false };
    write_atomic(path, &bytes).is_ok() || load::<T>(path).is_some()
}
