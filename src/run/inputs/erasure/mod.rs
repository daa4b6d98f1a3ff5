//! Prompts of the concepts that the suite erases: read or generated, tokenized, divided, and checked.
//!
//! A text that cannot be used is left out and counted by reason:
//! - `too_short`, `too_long`: fewer than two tokens, or more than the model's context.
//! - `repeated`: the same tokens came before, with either label.

mod lines;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use strum::VariantArray;

use crate::base::{Digest, Digester, Stream};
use crate::causal::{ConceptPrompts, ErasureParams};
use crate::corpus::generator::{Generator, LabelledConcept};
use crate::nn::Tokenizer;
use crate::run::inputs::prompt_file::PromptFile;
use crate::run::inputs::task::{counted, room};
use crate::run::{Places, RunError};
use crate::subject::{SubjectError, SubjectModel};
use crate::suite::Suite;
use lines::{LabelledTexts, concepts_of};

/// Fewest prompts of a label.
const FEWEST: usize = 8;

/// Concepts of the embedded generator, and about as many in a file.
pub const N_CONCEPTS: usize = 3;

/// Generated texts that are drawn for each wanted one before giving up.
const DRAWS: usize = 50;

/// The concepts of a run.
#[derive(Debug)]
pub struct Concepts {
    /// Prompts of each concept.
    pub prompts: Vec<ConceptPrompts>,
    /// Texts of each concept that were left out, by reason.
    pub skipped: Vec<BTreeMap<String, usize>>,
    /// Digest of the prompts.
    pub digest: Digest,
    /// Digest of the file; none for embedded concepts.
    pub file: Option<Digest>,
    /// What readers of the results must know.
    pub warnings: Vec<String>,
}

/// Where labelled texts come from.
pub struct ConceptSource {
    texts: Option<Vec<LabelledTexts>>,
    path: PathBuf,
    file: Option<Digest>,
}

impl ConceptSource {
    /// Reads the file that the suite names.
    pub fn open(params: &ErasureParams, places: &Places) -> Result<Self, RunError> {
        if params.is_embedded() {
            return Ok(Self { texts: None, path: PathBuf::from(ErasureParams::EMBEDDED), file: None });
        }
        let file = PromptFile::open(&params.concepts, places)?;
        let stem = file.path.file_stem().map_or("file".into(), |stem| stem.to_string_lossy().into_owned());
        let texts = Some(concepts_of(&file.text, &stem).map_err(|why| file.wrong(why))?);
        Ok(Self { texts, path: file.path, file: Some(file.digest) })
    }

    /// The texts of each concept in a seeded order, many more than `wanted` of each label if they are generated.
    fn texts(self, seed: u64, wanted: usize) -> Vec<LabelledTexts> {
        if let Some(mut all) = self.texts {
            for one in &mut all {
                Stream::named(seed, &["erasure", "order", &one.name]).shuffle(&mut one.texts);
            }
            return all;
        }
        let generator = Generator::new(seed);
        let of_concept = |&concept: &LabelledConcept| {
            let text = |nth: usize| Some((generator.labelled_prompt(concept, nth)?, nth % 2 == 1));
            let mut left = [2 * wanted; 2];
            let mut texts = Vec::new();
            for (text, label) in (0..2 * wanted * DRAWS).filter_map(text) {
                let left_of = &mut left[usize::from(label)];
                if *left_of > 0 {
                    *left_of -= 1;
                    texts.push((text, label));
                }
                if left == [0, 0] {
                    break;
                }
            }
            LabelledTexts { name: concept.name().into(), labels: concept.labels().map(String::from), texts }
        };
        LabelledConcept::VARIANTS.iter().map(of_concept).collect()
    }
}

/// Opens the concepts of a suite; none if it erases none.
pub fn open_concepts(
    suite: &Suite,
    places: &Places,
    subject: &dyn SubjectModel,
    tokenizer: &Tokenizer,
) -> Result<Option<Concepts>, RunError> {
    let Some(params) = &suite.erasure else { return Ok(None) };
    let source = ConceptSource::open(params, places)?;
    let (path, file) = (source.path.clone(), source.file);
    let (mut prompts, mut skipped, mut warnings) = (Vec::new(), Vec::new(), Vec::new());
    for texts in source.texts(suite.seed, params.prompts) {
        let name = texts.name.clone();
        let (found, left_out) = tokenized(texts, params, room(subject), tokenizer)?;
        let count = |class: bool| found.classes.iter().filter(|one| **one == class).count();
        let counts = [count(false), count(true)];
        if counts.iter().any(|n| *n < FEWEST) {
            let why = format!(
                "gives {} and {} usable prompts of the labels of `{name}` for this model, and erasure needs {FEWEST} of \
                 each; left out: {}. Give more texts of each label, or another model",
                counts[0],
                counts[1],
                counted(&left_out)
            );
            return Err(RunError::Input { path, why });
        }
        if params.is_embedded() && counts.iter().any(|n| *n < params.prompts) {
            warnings.push(format!(
                "erasure: {} and {} prompts of the labels of {name} in place of {} each",
                counts[0], counts[1], params.prompts
            ));
        }
        prompts.push(divided(found, params, suite.seed));
        skipped.push(left_out);
    }
    let digest = Digester::new("erasure").json(&prompts).clone().finish();
    Ok(Some(Concepts { prompts, skipped, digest, file, warnings }))
}

/// At most as many prompts of each label as the suite asks for, and the texts that were left out.
fn tokenized(
    texts: LabelledTexts,
    params: &ErasureParams,
    room: usize,
    tokenizer: &Tokenizer,
) -> Result<(ConceptPrompts, BTreeMap<String, usize>), RunError> {
    let mut found = ConceptPrompts { name: texts.name, labels: texts.labels, ..ConceptPrompts::default() };
    let (mut skipped, mut seen) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    let mut left = [params.prompts; 2];
    for (text, label) in texts.texts {
        let left = &mut left[usize::from(label)];
        if *left == 0 {
            continue;
        }
        let ids = tokenizer.encode(&text).map_err(SubjectError::from)?;
        let reason = match ids.len() {
            0 | 1 => Some("too_short"),
            n if n > room => Some("too_long"),
            _ if seen.contains(&ids) => Some("repeated"),
            _ => None,
        };
        if let Some(reason) = reason {
            *skipped.entry(reason.to_string()).or_default() += 1;
            continue;
        }
        *left -= 1;
        seen.insert(ids.clone());
        found.prompts.push(ids);
        found.classes.push(label);
    }
    Ok((found, skipped))
}

/// Holds out a share of the prompts of each label, drawn at random.
fn divided(mut prompts: ConceptPrompts, params: &ErasureParams, seed: u64) -> ConceptPrompts {
    prompts.is_test = vec![false; prompts.prompts.len()];
    for class in [false, true] {
        let of_class: Vec<usize> =
            (0..prompts.classes.len()).filter(|&place| prompts.classes[place] == class).collect();
        let mut stream = Stream::named(seed, &["erasure", "held out", &prompts.name, &class.to_string()]);
        let order = stream.permutation(of_class.len());
        let held_out = order.iter().take(params.n_test(of_class.len()));
        held_out.for_each(|&nth| prompts.is_test[of_class[nth]] = true);
    }
    prompts
}

impl Concepts {
    /// A line about the prompts.
    pub fn note(&self) -> String {
        let of_concept = |(prompts, skipped): (&ConceptPrompts, &BTreeMap<String, usize>)| {
            format!("{} {} (left out: {})", prompts.name, prompts.prompts.len(), counted(skipped))
        };
        let concepts: Vec<String> = self.prompts.iter().zip(&self.skipped).map(of_concept).collect();
        format!("erasure: prompts of each concept: {}", concepts.join(", "))
    }
}
