//! Activations made elsewhere, in the place of a model: what `harvest` writes, or SAELens's cached activations.
//!
//! A [`StoredSubject`] answers for texts whose place in the stored sequences is known, and refuses everything that needs a
//! model: losses, logits and new texts. The activations of a fragment are those of the longer sequence that it is cut
//! from. Files are read by position, a few rows at a time, and are never in memory as a whole.

mod arrow;
mod column;
mod dataset;
mod files;
mod flatbuffer;
mod open_file;
mod recorded;
mod tensors;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use rayon::prelude::*;

pub use files::ActivationFiles;
pub use recorded::{RECORDED, Recorded, TOKEN_IDS};

use super::{Bos, Prefix, Pullback, SubjectError, SubjectInfo, SubjectModel, Wanted, Writing};
use crate::base::{Digest, Digester, HookPoint, HookSelector, Matrix, Site, TokenBatch};
use crate::nn::{Device, Edit, Tokenizer};

/// Shown as the model's family.
const FAMILY: &str = "stored activations";

/// Most tokens in front of every sequence.
const MAX_PREFIX: usize = 8;

/// Where a text is stored.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: usize,
    /// Position at which the text begins.
    start: usize,
    /// Tokens in front of the text, which are at the sequence's start.
    in_front: usize,
}

/// Stored activations as a subject. It runs on no new text.
#[derive(Debug, Clone)]
pub struct StoredSubject {
    info: SubjectInfo,
    files: Arc<ActivationFiles>,
    /// The first tokens that all sequences share.
    shared_start: Vec<u32>,
    device: Device,
    /// Texts by the digest of their ids.
    places: Arc<RwLock<HashMap<Digest, Place>>>,
}

impl StoredSubject {
    /// Checks the token ids of `files` against a tokenizer. `digest` is that of the files' bytes.
    ///
    /// # Errors
    /// An id that the tokenizer lacks.
    pub fn new(files: ActivationFiles, tokenizer: &Tokenizer, digest: Digest) -> Result<Self, SubjectError> {
        let shared_start = shared_start(&files, tokenizer)?;
        let recorded = files.recorded();
        let hooks: Vec<HookPoint> = files.hooks().collect();
        let layer_of = |hook: &HookPoint| match hook {
            HookPoint::Embed => 0,
            HookPoint::Block { layer, .. } => *layer,
        };
        let stream = hooks
            .iter()
            .find(|hook| !matches!(hook, HookPoint::Block { site: Site::AttnZ | Site::MlpPost, .. }));
        let d_model = stream.or(hooks.first()).map(|&hook| files.width(hook)).transpose()?.unwrap_or(0);
        let mut digester = Digester::new("stored activations");
        digester.digest(&digest).digest(&tokenizer.digest()).json(&hooks);
        let info = SubjectInfo {
            name: if recorded.model.is_empty() { name_of(files.path()) } else { recorded.model.clone() },
            revision: recorded.revision.clone(),
            family: FAMILY.to_string(),
            weights_digest: digester.finish(),
            n_layers: hooks.iter().map(layer_of).max().unwrap_or(0) + 1,
            d_model,
            d_mlp: 0,
            n_heads: 0,
            vocab: tokenizer.vocab_size(),
            n_ctx: files.positions(),
            half_products: recorded.half_products,
            processing: recorded.processing.clone(),
            needs_lead_token: false,
        };
        let places = Arc::default();
        Ok(Self { info, files: Arc::new(files), shared_start, device: Device::Cpu, places })
    }

    /// Sets the device on which dictionaries are trained.
    pub fn on_device(mut self, device: &Device) -> Self {
        self.device = device.clone();
        self
    }

    /// The files.
    pub fn files(&self) -> &ActivationFiles {
        &self.files
    }

    /// The tokens in front of every stored sequence. Activations cannot be made again, so a setting that contradicts them
    /// is an error.
    pub fn prefix(&self, setting: Bos, tokenizer: &Tokenizer) -> Result<Prefix, SubjectError> {
        let begins = |ids: &[u32]| !ids.is_empty() && self.shared_start.starts_with(ids);
        let (lead, bos) = (tokenizer.lead_tokens(), tokenizer.forced_bos_token());
        let (ids, because) = match &self.files.recorded().prefix {
            Some(ids) if ids.is_empty() || begins(ids) => {
                (ids.clone(), "as recorded with the activations".to_string())
            }
            Some(ids) => {
                let why = format!(
                    "records the tokens {ids:?} in front of every sequence, which do not stand there"
                );
                return Err(self.files.wrong(&why));
            }
            None if begins(lead) => (lead.to_vec(), "every stored sequence begins so".to_string()),
            None => match bos.filter(|&bos| begins(&[bos])) {
                Some(bos) => (vec![bos], "every stored sequence begins so".to_string()),
                None => (Vec::new(), "no BOS token begins every stored sequence".to_string()),
            },
        };
        if matches!((setting, ids.is_empty()), (Bos::Always, true) | (Bos::Never, false)) {
            let made = if ids.is_empty() { "without" } else { "with" };
            return Err(SubjectError::StoredBos {
                setting: setting.to_string(),
                made,
                path: self.files.path().to_path_buf(),
            });
        }
        let texts = tokenizer.token_texts(&ids);
        Ok(Prefix { setting, ids, texts, because })
    }

    /// Notes for readers of the results.
    pub fn notes(&self, tokenizer: &Tokenizer) -> Vec<String> {
        let recorded = self.files.recorded().tokenizer_digest;
        let differs = recorded.is_some_and(|digest| digest != tokenizer.digest());
        let note = "the tokenizer is not the file, or not with the settings beside it, that the activations were made with; \
                    texts are shown by it as it is";
        differs.then(|| note.to_string()).into_iter().collect()
    }

    /// Says where the texts of a batch are: sequence and position of the first token. `prefix` precedes each of them
    /// when they are asked for.
    pub fn place(&self, prefix: &[u32], texts: &TokenBatch, starts: &[(usize, usize)]) {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        for (row, &(sequence, start)) in starts.iter().enumerate().take(texts.rows()) {
            let ids = [prefix, texts.row(row)].concat();
            places.entry(digest_of(&ids)).or_insert(Place { sequence, start, in_front: prefix.len() });
        }
    }

    fn place_of(&self, ids: &[u32]) -> Result<Place, SubjectError> {
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.get(&digest_of(ids)).copied().ok_or_else(|| self.needs_model("activations of new texts"))
    }

    fn needs_model(&self, what: &'static str) -> SubjectError {
        SubjectError::WithoutModel { what, path: self.files.path().to_path_buf() }
    }

    /// Fills `rows` `[positions, width]` with the activations of one text.
    fn fill(
        &self,
        hook: HookPoint,
        place: Place,
        width: usize,
        rows: &mut [f32],
    ) -> Result<(), SubjectError> {
        let (front, text) = rows.split_at_mut(place.in_front * width);
        self.files.read(hook, place.sequence, 0, front)?;
        self.files.read(hook, place.sequence, place.start, text)?;
        let Some(at) = rows.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let position = at / width;
        let col = if position < place.in_front { position } else { place.start + position - place.in_front };
        let (model, hook, row) = (self.files.path().display().to_string(), hook.to_string(), place.sequence);
        Err(SubjectError::NotFinite { model, hook, row, col, value: rows[at] })
    }
}

fn digest_of(ids: &[u32]) -> Digest {
    Digest::of(&ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>())
}

fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The first tokens that all sequences share. Fails on an id that the tokenizer lacks.
fn shared_start(files: &ActivationFiles, tokenizer: &Tokenizer) -> Result<Vec<u32>, SubjectError> {
    let mut shared: Option<Vec<u32>> = None;
    for sequence in 0..files.sequences() {
        let ids = files.ids(sequence)?;
        if let Some(position) = ids.iter().position(|&id| id as usize >= tokenizer.vocab_size()) {
            return Err(files.wrong(&format!(
                "holds token id {} at sequence {sequence}, position {position}, and the tokenizer `{}` has ids 0 to {}: \
                 name the tokenizer of the model that made the activations (`subject.tokenizer`)",
                ids[position],
                tokenizer.file(),
                tokenizer.vocab_size().saturating_sub(1)
            )));
        }
        let shared = shared.get_or_insert_with(|| ids.iter().take(MAX_PREFIX).copied().collect());
        let equal = shared.iter().zip(&ids).take_while(|(a, b)| a == b).count();
        shared.truncate(equal);
    }
    Ok(shared.unwrap_or_default())
}

impl SubjectModel for StoredSubject {
    fn info(&self) -> &SubjectInfo {
        &self.info
    }

    fn without_model(&self) -> Option<String> {
        let documents =
            if self.files.documents().is_some() { "" } else { ", each of which counts as a document" };
        let n = self.files.positions();
        Some(format!(
            "loss recovered: no model; fragments are cut from stored sequences of {n} tokens{documents}"
        ))
    }

    fn is_centred(&self) -> Option<bool> {
        self.files.recorded().centred
    }

    /// `*` means the stored layers.
    fn hooks(&self, selector: &HookSelector) -> Result<Vec<HookPoint>, usize> {
        let HookSelector::EveryLayer(wanted) = selector else { return selector.expand(usize::MAX) };
        let of_site = |hook: &HookPoint| matches!(hook, HookPoint::Block { site, .. } if site == wanted);
        let stored: Vec<HookPoint> = self.files.hooks().filter(of_site).collect();
        // A hook point that is not stored lets the check name those that are.
        let none = HookPoint::Block { layer: 0, site: *wanted };
        Ok(if stored.is_empty() { vec![none] } else { stored })
    }

    fn activations(&self, tokens: &TokenBatch, hooks: &[HookPoint]) -> Result<Vec<Matrix>, SubjectError> {
        let places = (0..tokens.rows()).map(|row| self.place_of(tokens.row(row)));
        let places = places.collect::<Result<Vec<Place>, SubjectError>>()?;
        let of_hook = |&hook: &HookPoint| {
            let width = self.width(hook)?;
            let mut rows = Matrix::zeros(tokens.ids().len(), width);
            let texts = rows.data_mut().par_chunks_mut(tokens.cols() * width).zip(&places);
            texts.try_for_each(|(rows, &place)| self.fill(hook, place, width, rows))?;
            Ok(rows)
        };
        hooks.iter().map(of_hook).collect()
    }

    fn last_token_activations(&self, _: &[&[u32]], _: HookPoint) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("activations of new texts"))
    }

    fn token_losses(&self, _: &TokenBatch, _: Option<Edit<'_>>) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("losses"))
    }

    fn token_losses_given(&self, _: &TokenBatch, _: HookPoint, _: &Matrix) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("losses"))
    }

    fn given(&self, _: &TokenBatch, _: (HookPoint, &Matrix), _: Wanted) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("passes from other activations"))
    }

    fn logits_at(
        &self,
        _: &TokenBatch,
        _: (HookPoint, &Matrix),
        _: &[usize],
    ) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("passes from other activations"))
    }

    fn edited(&self, _: &TokenBatch, _: &[Edit<'_>], _: Wanted) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("edits"))
    }

    fn pullback(
        &self,
        _: &TokenBatch,
        _: (HookPoint, &Matrix),
        _: Wanted,
        _: &(dyn Fn(usize, &Matrix) -> Matrix + Sync),
    ) -> Result<Pullback, SubjectError> {
        Err(self.needs_model("gradients"))
    }

    fn continuation(
        &self,
        _: &[u32],
        _: usize,
        _: &[Edit<'_>],
        _: &Writing<'_>,
    ) -> Result<Vec<u32>, SubjectError> {
        Err(self.needs_model("continuations of text"))
    }

    fn logits(&self, _: &TokenBatch) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("logits"))
    }

    fn direct_logits(&self, _: &Matrix) -> Result<Matrix, SubjectError> {
        Err(self.needs_model("effects on logits"))
    }

    fn width(&self, hook: HookPoint) -> Result<usize, SubjectError> {
        self.files.width(hook)
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn check_tokens(&self, tokens: &TokenBatch) -> Result<(), SubjectError> {
        (0..tokens.rows()).try_for_each(|row| self.place_of(tokens.row(row)).map(|_| ()))
    }
}
