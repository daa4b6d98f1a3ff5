//! The file of one stored answer. It says which question it answers, and its digest covers both.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{ChatReply, ChatRequest, PromptReply, PromptRequest};
use crate::base::{Claim, Digest, Digester, Holder, Lease, read, set_aside, write_atomic};

const KIND: &str = "llm-answer";

/// Version 1 did not say which question a file answers, so an exchanged file could not be told from a right one.
const VERSION: u32 = 2;

/// Characters of a question that stand in the file, for people who read it.
const EXCERPT: usize = 200;

/// A request whose answer can be stored.
pub(super) trait Asked: Serialize + Sync {
    type Reply: Reply;
    /// The beginning of the question.
    fn excerpt(&self) -> String;
}

/// An answer that can be stored.
pub(super) trait Reply: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name of its kind of question.
    const WHAT: &str;
}

impl Reply for ChatReply {
    const WHAT: &str = "chat";
}

impl Reply for PromptReply {
    const WHAT: &str = "score_prompt";
}

impl Asked for ChatRequest {
    type Reply = ChatReply;

    fn excerpt(&self) -> String {
        self.messages.last().map_or(String::new(), |message| beginning(&message.content))
    }
}

impl Asked for PromptRequest {
    type Reply = PromptReply;

    fn excerpt(&self) -> String {
        beginning(&self.prompt)
    }
}

fn beginning(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

/// Contents of a file.
#[derive(Serialize, Deserialize)]
struct Stored<T> {
    kind: String,
    version: u32,
    /// Digest of the whole question and of what answers it; also the file's name.
    key: Digest,
    /// `chat` or `score_prompt`.
    what: String,
    /// Protocol, base URL and model.
    identity: String,
    /// The question's beginning.
    question: String,
    /// Digest of all the rest.
    digest: Digest,
    reply: T,
}

/// What any version of a file says first.
#[derive(Deserialize)]
struct Head {
    kind: String,
    version: u32,
    #[serde(default)]
    what: String,
}

impl<T: Reply> Stored<T> {
    fn computed(&self) -> Digest {
        let mut digester = Digester::new(KIND);
        digester.digest(&self.key).text(&self.what).text(&self.identity).text(&self.question);
        digester.json(&self.reply);
        digester.finish()
    }

    /// The reply, if the file is whole and answers this question.
    fn checked(self, key: &Digest) -> Result<T, &'static str> {
        if self.kind != KIND || self.version != VERSION || self.what != T::WHAT {
            return Err("is not a stored answer of this version");
        }
        if self.key != *key {
            return Err("answers another question than its name says");
        }
        if self.computed() != self.digest {
            return Err("does not hold what was stored: its digest differs");
        }
        Ok(self.reply)
    }
}

/// Where the answer to one question lies.
#[derive(Clone)]
pub(super) struct AnswerFile {
    /// Folder of all answers.
    folder: PathBuf,
    key: Digest,
}

/// What lies there.
pub(super) enum Found<T> {
    Reply(T),
    Nothing,
    /// A file of an older version, which is replaced by the next answer.
    Old,
    /// A file that is no answer to this question.
    Damaged,
}

/// Whose turn it is to ask a question.
pub(super) enum Turn<T> {
    /// The answer is there.
    Answered(T),
    /// Ours; no other process asks it while the lease is held. There is no lease where files cannot be created.
    /// `unsound`: what lies there is damaged or of an older version.
    Ours { lease: Option<Lease>, unsound: bool },
    /// Somebody else's.
    Theirs,
}

/// Digest of a request and of what answers it.
pub(super) fn key<R: Asked>(identity: &str, request: &R) -> Digest {
    let mut digester = Digester::new(KIND);
    digester.text(identity).text(R::Reply::WHAT).json(request);
    digester.finish()
}

impl AnswerFile {
    pub fn new(folder: &Path, key: Digest) -> Self {
        Self { folder: folder.to_path_buf(), key }
    }

    pub fn path(&self) -> PathBuf {
        let name = self.key.hex();
        self.folder.join(&name[..2]).join(format!("{name}.json"))
    }

    /// Prepares to become the only process that asks this question.
    pub fn claim(&self) -> Claim {
        let name = self.key.hex();
        // In the folder of the answer: whoever creates a file there sees what others created before.
        let lease = self.folder.join(&name[..2]).join(format!(".{name}.json.lease"));
        Holder::of_process().claim(&self.folder, &lease)
    }

    pub fn load<T: Reply>(&self) -> Found<T> {
        let Ok(bytes) = read(&self.path()) else { return Found::Nothing };
        match serde_json::from_slice::<Stored<T>>(&bytes).map(|stored| stored.checked(&self.key)) {
            Ok(Ok(reply)) => Found::Reply(reply),
            _ if is_older(&bytes) => Found::Old,
            _ => Found::Damaged,
        }
    }

    /// Looks for the answer as the only process that may ask the question. A damaged file is set aside.
    pub fn turn<T: Reply>(&self, claim: &mut Claim) -> Turn<T> {
        let lease = match claim.try_take() {
            Ok(None) => return Turn::Theirs,
            Ok(lease) => lease,
            Err(_) => None,
        };
        // The former holder of the lease may have stored it.
        match self.load() {
            Found::Reply(reply) => Turn::Answered(reply),
            Found::Nothing => Turn::Ours { lease, unsound: false },
            Found::Old => Turn::Ours { lease, unsound: true },
            Found::Damaged => {
                set_aside(&self.path());
                Turn::Ours { lease, unsound: true }
            }
        }
    }

    /// Stores an answer. Returns whether it is on disk now, written by this process or by a faster one.
    pub fn store<T: Reply>(&self, identity: String, question: String, reply: T) -> bool {
        let (kind, what, digest) = (KIND.into(), T::WHAT.into(), self.key);
        let mut stored =
            Stored { kind, version: VERSION, key: self.key, what, identity, question, digest, reply };
        stored.digest = stored.computed();
        let Ok(bytes) = serde_json::to_vec(&stored) else { return false };
        write_atomic(&self.path(), &bytes).is_ok() || matches!(self.load::<T>(), Found::Reply(_))
    }
}

fn is_older(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Head>(bytes).is_ok_and(|head| head.kind == KIND && head.version < VERSION)
}

/// What a sound file of an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerAge {
    /// The answer and its question.
    Current,
    /// An answer of an older version, which did not store the question: it is asked again.
    Older,
}

/// Checks a file of stored answers: that it is whole, and that its name is the question that it answers.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with its name.
pub fn verify_answer(path: &Path) -> Result<AnswerAge, String> {
    let bytes = read(path).map_err(|error| format!("cannot be read ({})", error.source))?;
    let head: Head =
        serde_json::from_slice(&bytes).map_err(|error| format!("is not a stored answer: {error}"))?;
    if is_older(&bytes) {
        return Ok(AnswerAge::Older);
    }
    let key = path.file_stem().and_then(|stem| Digest::parse(stem.to_str()?));
    let key = key.ok_or("is not named by the digest of a question")?;
    match head.what.as_str() {
        ChatReply::WHAT => verify::<ChatReply>(&bytes, &key)?,
        _ => verify::<PromptReply>(&bytes, &key)?,
    }
    Ok(AnswerAge::Current)
}

fn verify<T: Reply>(bytes: &[u8], key: &Digest) -> Result<(), String> {
    let stored: Stored<T> =
        serde_json::from_slice(bytes).map_err(|error| format!("is not a stored answer: {error}"))?;
    stored.checked(key).map(drop).map_err(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Finish;

    #[test]
    fn an_answer_is_believed_only_as_it_was_stored_for_this_question() {
        let folder = tempfile::tempdir().expect("a folder");
        let request = |prompt: &str| PromptRequest { prompt: prompt.into(), top: 1, slots: None };
        let file = |prompt: &str| AnswerFile::new(folder.path(), key("model", &request(prompt)));
        let reply = |tokens_in| PromptReply { tokens_in, ..PromptReply::default() };
        let (one, two) = (file("one"), file("two"));
        for (file, tokens) in [(&one, 1), (&two, 2)] {
            assert!(file.store("model".into(), "a question".into(), reply(tokens)));
            assert_eq!(verify_answer(&file.path()), Ok(AnswerAge::Current));
        }
        let found = |file: &AnswerFile| match file.load::<PromptReply>() {
            Found::Reply(reply) => Some(reply.tokens_in),
            _ => None,
        };
        assert_eq!((found(&one), found(&two)), (Some(1), Some(2)));
        // Another kind of answer under this name.
        assert!(matches!(one.load::<ChatReply>(), Found::Damaged));
        let (bytes, others) = (read(&one.path()).expect("read"), read(&two.path()).expect("read"));
        let swapped = [(&one, &others), (&two, &bytes)];
        for (file, content) in swapped {
            write_atomic(&file.path(), content).expect("written");
            assert!(verify_answer(&file.path()).expect_err("swapped").contains("another question"));
            assert!(matches!(file.load::<PromptReply>(), Found::Damaged));
        }
        // Every byte counts, save those that spell the same JSON in another way.
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            write_atomic(&one.path(), &flipped).expect("written");
            assert_eq!(found(&one).unwrap_or(1), 1, "byte {at}");
            assert_eq!(found(&one).is_some(), verify_answer(&one.path()).is_ok(), "byte {at}");
        }
    }

    #[test]
    fn answers_without_their_question_are_asked_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = AnswerFile::new(folder.path(), Digest::of(b"question"));
        let reply =
            ChatReply { text: "a".into(), finish: Finish::Stop, tokens_in: 1, tokens_out: 1, logprobs: None };
        let digest = Digest::of(&serde_json::to_vec(&reply).expect("JSON"));
        let old = serde_json::json!({
            "kind": KIND, "version": 1, "identity": "model", "digest": digest, "reply": reply,
        });
        write_atomic(&file.path(), old.to_string().as_bytes()).expect("written");
        assert_eq!(verify_answer(&file.path()), Ok(AnswerAge::Older));
        let turn = file.turn::<ChatReply>(&mut file.claim());
        assert!(matches!(turn, Turn::Ours { lease: Some(_), unsound: true }));
        assert!(file.path().exists(), "it stays until the new answer replaces it");
    }
}
