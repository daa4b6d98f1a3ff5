//! Cache of answers on disk.
//!
//! Answers are cached under a hash of the client's identity and the full request, one file per answer. Several
//! processes can share the folder: one of them asks a question, and the others wait for its answer. If it dies, another
//! one asks.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::answer_file::{AnswerFile, Asked, Found, Reply, Turn, key};
use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, Meter, PromptReply, PromptRequest, ReplyFuture, locked,
};
use crate::base::{Digest, Lease};

/// First and longest pause between two looks at a question that another process asks.
const PAUSES: [Duration; 2] = [Duration::from_millis(25), Duration::from_millis(200)];

/// Client that caches answers. Errors are not cached. A file that is damaged, or that answers another question, is set
/// aside and counts as missing. Identical requests in flight share one call and its outcome.
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

/// What a question that this process has to ask holds until its answer is stored.
type OwnTurn = (Option<Lease>, Option<OwnedSemaphorePermit>);

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

    fn file<R: Asked>(&self, request: &R) -> (Digest, AnswerFile) {
        let key = key(self.inner.identity(), request);
        (key, AnswerFile::new(&self.folder, key))
    }

    /// Returns true if the answer was read from the folder and its file is now removed.
    fn drop_stored<R: Asked>(&self, request: &R) -> bool {
        if !self.forgets {
            return false;
        }
        let (key, file) = self.file(request);
        // A failure is harmless: another process removed the file, or the next run reads the answer again.
        let removed = std::fs::remove_file(file.path()).is_ok();
        locked(&self.found).remove(&key) && removed
    }

    async fn remembered<R: Asked>(
        &self,
        calls: &Calls<R::Reply>,
        request: &R,
        ask: ReplyFuture<'_, R::Reply>,
    ) -> Result<R::Reply, ChatError> {
        let (key, file) = self.file(request);
        let call = locked(calls).entry(key).or_default().clone();
        let mut is_first = false;
        // If the first task is dropped during its call, the next one makes the call.
        let outcome = call.get_or_init(|| {
            is_first = true;
            self.found_or_asked(key, file, request, ask)
        });
        let outcome = outcome.await.clone();
        if is_first {
            locked(calls).remove(&key);
        } else if outcome.is_ok() {
            self.meter.count(|usage| usage.cached += 1);
        }
        outcome
    }

    async fn found_or_asked<R: Asked>(
        &self,
        key: Digest,
        file: AnswerFile,
        request: &R,
        ask: ReplyFuture<'_, R::Reply>,
    ) -> Result<R::Reply, ChatError> {
        let there = file.clone();
        // Disk access must not block the few threads of the async runtime.
        let found = tokio::task::spawn_blocking(move || there.load::<R::Reply>()).await;
        if let Ok(Found::Reply(reply)) = found {
            self.meter.count(|usage| usage.cached += 1);
            locked(&self.found).insert(key);
            return Ok(reply);
        }
        let turn = match self.own_turn::<R::Reply>(&file).await {
            Ok(turn) => turn,
            Err(reply) => {
                self.meter.count(|usage| usage.cached += 1);
                return Ok(reply);
            }
        };
        let reply = ask.await?;
        let (kept, identity, excerpt) = (reply.clone(), self.inner.identity().to_string(), request.excerpt());
        let stored = tokio::task::spawn_blocking(move || {
            let is_stored = file.store(identity, excerpt, kept);
            // Others look for the answer as soon as the lease ends.
            drop(turn);
            is_stored
        });
        if !matches!(stored.await, Ok(true)) {
            // The answer is paid for, so it is used even though it is not stored.
            self.meter.count(|usage| usage.not_stored += 1);
        }
        Ok(reply)
    }

    /// Waits until this process has to ask the question, or returns the answer that another one got.
    async fn own_turn<T: Reply>(&self, file: &AnswerFile) -> Result<OwnTurn, T> {
        // Held during the first look only: a question that others ask must not keep one of ours from being asked.
        let mut permit = self.permit().await;
        let (mut claim, mut pause) = (file.claim(), PAUSES[0]);
        loop {
            let there = file.clone();
            let look = tokio::task::spawn_blocking(move || (there.turn::<T>(&mut claim), claim));
            // The runtime is shutting down, or the look panicked: ask without a lease.
            let Ok((turn, back)) = look.await else { return Ok((None, permit)) };
            claim = back;
            match turn {
                Turn::Answered(reply) => return Err(reply),
                Turn::Ours { lease, unsound } => {
                    self.meter.count(|usage| usage.damaged += u64::from(unsound));
                    if permit.is_none() {
                        permit = self.permit().await;
                    }
                    return Ok((lease, permit));
                }
                Turn::Theirs => {}
            }
            permit = None;
            if claim.is_elsewhere() {
                self.meter.waits_for_another();
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(PAUSES[1]);
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed, so this cannot fail.
        self.unsaved.clone().acquire_owned().await.ok()
    }
}

impl ChatClient for Cached {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.remembered(&self.chats, request, self.inner.chat(request)))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(self.remembered(&self.prompts, request, self.inner.score_prompt(request)))
    }

    fn forget(&self, request: &ChatRequest) -> bool {
        self.drop_stored(request)
    }

    fn forget_prompt(&self, request: &PromptRequest) {
        self.drop_stored(request);
    }
}
