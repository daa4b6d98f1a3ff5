use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Meter, PromptReply, PromptRequest, locked,
};
use crate::base::{Digest, Digester, read, write_atomic};

const KIND: &str = "llm-answer";
const VERSION: u32 = 1;

/// Remembers answers in a folder, one file each, named by the digest of the client's identity and
/// the whole request. Several processes can share the folder. Answers that came to nothing are forgotten when
/// whoever asked says so; errors are never kept; a damaged file is as good as none. Identical requests under way at
/// once share one call and its outcome.
pub struct Cached {
    inner: Arc<dyn ChatClient>,
    folder: PathBuf,
    meter: Meter,
    in_hand: Arc<Semaphore>,
    forgets: bool,
    /// Questions whose answers were in the folder.
    found: Mutex<HashSet<Digest>>,
    chats: Flights<ChatReply>,
    prompts: Flights<PromptReply>,
}

/// A stored answer.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    kind: String,
    version: u32,
    /// For people who look into the folder; the name of the file is the key.
    identity: String,
    /// Of the reply's JSON.
    digest: Digest,
    reply: T,
}

impl Cached {
    /// A client that asks `inner` what is not in `folder` yet and counts the rest as cached.
    pub fn new(inner: Arc<dyn ChatClient>, folder: &Path, meter: Meter) -> Self {
        Self {
            inner,
            folder: folder.to_path_buf(),
            meter,
            in_hand: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            forgets: true,
            found: Mutex::default(),
            chats: Flights::default(),
            prompts: Flights::default(),
        }
    }

    /// The same, with no more questions at once asked and not stored yet than `in_hand` has permits: these
    /// are what a process that is killed loses, and it may be shared by several clients.
    pub fn losing_at_most(self, in_hand: Arc<Semaphore>) -> Self {
        Self { in_hand, ..self }
    }

    /// The same for a model that gives the same answer each time: what came to nothing is kept too.
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

    /// True where the answer had been found in the folder.
    fn drop_stored(&self, key: &Digest) -> bool {
        if !self.forgets {
            return false;
        }
        // Where it can't be removed, or another process was faster, the next run reads it again.
        let removed = std::fs::remove_file(self.path(key)).is_ok();
        locked(&self.found).remove(key) && removed
    }

    async fn remembered<T: Reply>(
        &self,
        flights: &Flights<T>,
        key: Digest,
        ask: BoxFuture<'_, Result<T, ChatError>>,
    ) -> Result<T, ChatError> {
        let boarded = flights.board(key);
        let mut outcome = boarded.flight.lock().await;
        if let Some(shared) = outcome.as_ref() {
            if shared.is_ok() {
                self.meter.count_cached();
            }
            return shared.clone();
        }
        let fresh = self.found_or_asked(key, ask).await;
        *outcome = Some(fresh.clone());
        fresh
    }

    async fn found_or_asked<T: Reply>(
        &self,
        key: Digest,
        ask: BoxFuture<'_, Result<T, ChatError>>,
    ) -> Result<T, ChatError> {
        let path = self.path(&key);
        let looked = path.clone();
        // Disks can be slow, and the threads of the runtime are few.
        let found = tokio::task::spawn_blocking(move || load::<T>(&looked)).await;
        if let Ok(Some(reply)) = found {
            self.meter.count_cached();
            locked(&self.found).insert(key);
            return Ok(reply);
        }
        // The semaphore is never closed, so there always is a permit.
        let _in_hand = self.in_hand.acquire().await.ok();
        let reply = ask.await?;
        let (kept, identity) = (reply.clone(), self.inner.identity().to_string());
        let stored = tokio::task::spawn_blocking(move || store(&path, identity, kept)).await;
        if !matches!(stored, Ok(true)) {
            // The answer is paid for, so it is used all the same.
            self.meter.count_not_stored();
        }
        Ok(reply)
    }
}

impl ChatClient for Cached {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        let key = self.key("chat", request);
        Box::pin(self.remembered(&self.chats, key, self.inner.chat(request)))
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
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

/// A stored answer; none where there is no file or it is not what was written.
fn load<T: Reply>(path: &Path) -> Option<T> {
    let stored: Stored<T> = serde_json::from_slice(&read(path).ok()?).ok()?;
    let sound =
        stored.kind == KIND && stored.version == VERSION && digest_of(&stored.reply) == Some(stored.digest);
    sound.then_some(stored.reply)
}

/// Whether the answer is on disk now, by this process or by another that was faster.
fn store<T: Reply>(path: &Path, identity: String, reply: T) -> bool {
    let Some(digest) = digest_of(&reply) else { return false };
    let stored = Stored { kind: KIND.into(), version: VERSION, identity, digest, reply };
    let Ok(bytes) = serde_json::to_vec(&stored) else { return false };
    write_atomic(path, &bytes).is_ok() || load::<T>(path).is_some()
}

/// The outcome of a call, held locked by the one that makes it until it is there. Where that one is
/// dropped, the next in line finds nothing and makes the call.
type Flight<T> = tokio::sync::Mutex<Option<Result<T, ChatError>>>;

/// A call under way, with the number of those who share it.
struct Shared<T> {
    sharers: usize,
    flight: Arc<Flight<T>>,
}

/// Calls under way by key.
struct Flights<T>(Mutex<HashMap<Digest, Shared<T>>>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Flights<T> {
    fn board(&self, key: Digest) -> Boarded<'_, T> {
        let mut flights = locked(&self.0);
        let shared =
            flights.entry(key).or_insert_with(|| Shared { sharers: 0, flight: Arc::new(Flight::new(None)) });
        shared.sharers += 1;
        Boarded { flights: self, key, flight: shared.flight.clone() }
    }
}

/// A share in a call; the last one to leave takes it off the list.
struct Boarded<'a, T> {
    flights: &'a Flights<T>,
    key: Digest,
    flight: Arc<Flight<T>>,
}

impl<T> Drop for Boarded<'_, T> {
    fn drop(&mut self) {
        let mut flights = locked(&self.flights.0);
        if let Some(shared) = flights.get_mut(&self.key) {
            shared.sharers -= 1;
            if shared.sharers == 0 {
                flights.remove(&self.key);
            }
        }
    }
}
