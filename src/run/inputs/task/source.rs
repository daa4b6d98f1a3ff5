//! Where the prompts of a task come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::ioi::Lists;
use super::lines::lines_of;
use super::pair::PairText;
use crate::base::{Digest, Stream};
use crate::corpus::generator::{Generator, HeldOut};
use crate::run::inputs::prompt_file::PromptFile;
use crate::run::{Places, RunError};
use crate::suite::TaskSpec;

/// The prompts of a task, before they are tokenized.
pub struct TaskSource {
    content: Content,
    path: PathBuf,
    file: Option<Digest>,
}

enum Content {
    Embedded,
    Lists(Lists),
    Lines(Vec<PairText>),
}

/// Pairs in the order in which they are tried.
type Pairs<'a> = Box<dyn Iterator<Item = PairText> + 'a>;

impl TaskSource {
    /// Reads the file that a task names.
    pub fn open(spec: &TaskSpec, places: &Places) -> Result<Self, RunError> {
        if spec.is_embedded() {
            let path = PathBuf::from(TaskSpec::EMBEDDED);
            return Ok(Self { content: Content::Embedded, path, file: None });
        }
        let file = PromptFile::open(&spec.prompts, places)?;
        let content = if spec.is_ioi() {
            Lists::read(&file.text).map(Content::Lists)
        } else {
            lines_of(&file.text).map(Content::Lines)
        };
        let content = content.map_err(|why| file.wrong(why))?;
        Ok(Self { content, path: file.path, file: Some(file.digest) })
    }

    /// The pairs in a seeded order, at most `most` generated ones, and the digest of the file. `one_token` tells the names
    /// that can be answers.
    pub fn pairs(
        &self,
        seed: u64,
        most: usize,
        one_token: &dyn Fn(&str) -> Result<bool, RunError>,
    ) -> Result<(Pairs<'_>, Option<Digest>), RunError> {
        let pairs: Pairs<'_> = match &self.content {
            Content::Embedded => Box::new((0..most).map(move |nth| generated(seed, nth))),
            Content::Lists(lists) => {
                let lists = lists.with_names(one_token)?.map_err(|why| self.wrong(why))?;
                Box::new((0..most).map(move |nth| lists.pair(seed, nth)))
            }
            Content::Lines(lines) => {
                let order = Stream::named(seed, &["task", "order"]).permutation(lines.len());
                Box::new(order.into_iter().map(|nth| lines[nth].clone()))
            }
        };
        Ok((pairs, self.file))
    }

    /// The error of a source with too few usable pairs.
    pub fn too_few(&self, found: usize, skipped: &BTreeMap<String, usize>) -> RunError {
        self.wrong(format!(
            "gives {found} usable pairs of prompts for this model, and a task needs at least 2; left out: {}. Expected \
             prompts of equal token counts whose answers are one token: give other prompts, or another model",
            counted(skipped)
        ))
    }

    fn wrong(&self, why: String) -> RunError {
        RunError::Input { path: self.path.clone(), why }
    }
}

/// Reasons with their counts.
pub fn counted(skipped: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> = skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    if counts.is_empty() { "none".into() } else { counts.join(", ") }
}

/// A pair of this program's own templates.
fn generated(seed: u64, nth: usize) -> PairText {
    let pair = Generator::new(seed).ioi_pair(nth, HeldOut::Nothing);
    PairText {
        base: pair.base.prompt,
        target: pair.target,
        base_answer: format!(" {}", pair.base.indirect_object),
        target_answer: format!(" {}", pair.other_indirect_object),
        rival: Some(format!(" {}", pair.base.subject)),
    }
}
