//! Load proof: whether a dictionary trained elsewhere explains the activations it is applied to, and whether it would
//! explain those of a neighbouring hook point, or scaled in one of the usual wrong ways, clearly better.
//!
//! ```text
//! FVU = Σ‖x − x̂‖² / Σ‖x − x̄‖²    over one small sample of tokens, x̄ its mean
//! ```
//!
//! Places are searched outwards, from the best one so far to its neighbours, until none is better.
//!
//! A variant of scaling is tried on the input: `x̂ = D(f x) / f` for a factor f, `D(x − m) + m` with m the mean of a row
//! over its dimensions, and the dictionary with the decoder bias subtracted or not, or with unit decoder rows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{HookPoint, Matrix, Site, TokenBatch};
use crate::dictionary::{AffineDictionary, Dictionary, Read, Tensors, fvu_of_rows};
use crate::run::RunError;
use crate::subject::SubjectModel;

/// Fragments of the sample: 1,024 tokens if fragments have 64.
const SAMPLE_FRAGMENTS: usize = 16;
/// Fragments of the sample for the largest dictionaries.
const LEAST_FRAGMENTS: usize = 2;
/// Products of one trial's encoding, to which the sample is cut down: about a second on two cores.
const MOST_PRODUCTS: usize = 40_000_000_000;
/// Another place or scaling explains clearly more if its FVU is below this share of the FVU as read, …
const CLEARLY: f64 = 0.75;
/// … and lower by at least this.
const LEAST_GAIN: f64 = 0.02;
/// Trials whose FVU is larger by at most this share of the FVU as read are about as good.
const ABOUT: f64 = 0.05;
/// Rows whose norm exceeds this multiple of the median are attention sinks: they are left out, as in fitting.
const SINK_NORM: f64 = 10.0;
/// A measured L0 that differs from the stated one by more than this factor is reported.
const L0_FACTOR: f64 = 2.0;

/// The card of a dictionary at one hook point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LoadProof {
    /// Tokens of the sample.
    pub n_tokens: usize,
    /// Hook point whose activations are reconstructed.
    pub output: String,
    /// As read, at this hook point.
    pub here: Trial,
    /// The same at other hook points, and with other scalings here.
    pub others: Vec<Trial>,
    /// What explains clearly more, in words; none where nothing does.
    pub looks_like: Option<String>,
    /// Other reasons for doubt: a measured L0 far from the stated one, more variance left than there was.
    pub doubts: Vec<String>,
    /// Smallest, mean and largest norm of decoder rows.
    pub decoder_norms: [f64; 3],
    /// Smallest, mean and largest threshold, for JumpReLU.
    pub thresholds: Option<[f64; 3]>,
}

/// One place and scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trial {
    /// Hook point of the input.
    pub hook: String,
    /// Scaling, in words; `as read` changes nothing.
    pub scaling: String,
    /// Mean number of active features.
    pub l0: f64,
    /// Fraction of variance unexplained; none where activations do not vary.
    pub fvu: Option<f64>,
}

/// One way to apply the dictionary.
struct Variant {
    words: String,
    tensors: Option<Tensors>,
    /// Factor on inputs.
    factor: f64,
    /// Whether the mean of a row over its dimensions is taken off.
    centres_rows: bool,
}

/// Applies a dictionary at its hook point and around it.
pub struct Prover<'a> {
    pub subject: &'a dyn SubjectModel,
    pub fragments: &'a TokenBatch,
    pub hook: HookPoint,
}

/// Activations of the sample at one hook point, sinks left out.
struct Sample {
    x: Matrix,
    /// What a reconstruction is compared with: `x`, or the output of a transcoder.
    y: Matrix,
}

impl Prover<'_> {
    /// Tries the dictionary here, around and under other scalings. `read` says what its files state.
    pub fn prove(&self, dictionary: &AffineDictionary, read: &Read) -> Result<LoadProof, RunError> {
        let output = dictionary.info().output;
        if output.is_some_and(|output| self.subject.check_hook(output).is_err()) {
            return Ok(LoadProof::unmeasured(self.hook, dictionary.tensors()));
        }
        let entries = dictionary.info().n_features * dictionary.info().d_in;
        let most = MOST_PRODUCTS / (entries * self.fragments.cols()).max(1);
        let n_fragments = most.clamp(LEAST_FRAGMENTS, SAMPLE_FRAGMENTS);
        let as_read = Variant::as_read();
        let mut trials: Vec<(HookPoint, Trial)> = Vec::new();
        let mut samples: BTreeMap<HookPoint, Sample> = BTreeMap::new();
        // Neighbours of the best place so far, until none is better: a dictionary may be many layers away.
        let mut centre = self.hook;
        loop {
            let mut places = self.places(centre, dictionary.info().d_in);
            places.retain(|place| !samples.contains_key(place));
            let new = self.samples(&places, output, n_fragments)?;
            for (&hook, sample) in &new {
                trials.push((hook, self.trial(dictionary, hook, sample, &as_read)?));
            }
            samples.extend(new);
            let best = trials.iter().min_by(|a, b| by_fvu(&a.1, &b.1)).map_or(centre, |(hook, _)| *hook);
            if best == centre || places.is_empty() {
                break;
            }
            centre = best;
        }
        let Some(own) = samples.get(&self.hook) else {
            return Ok(LoadProof::unmeasured(self.hook, dictionary.tensors()));
        };
        let variants = variants(dictionary.tensors(), own, read);
        for variant in &variants {
            trials.push((self.hook, self.trial(dictionary, self.hook, own, variant)?));
        }
        // Both at once: the scalings at the best other place.
        let best = trials.iter().filter(|(hook, _)| *hook != self.hook).min_by(|a, b| by_fvu(&a.1, &b.1));
        if let Some(place) = best.map(|(hook, _)| *hook) {
            for variant in &variants {
                trials.push((place, self.trial(dictionary, place, &samples[&place], variant)?));
            }
        }
        let mut trials: Vec<Trial> = trials.into_iter().map(|(_, trial)| trial).collect();
        let here = trials
            .iter()
            .position(|trial| trial.hook == self.hook.to_string() && trial.scaling == as_read.words)
            .map_or_else(|| Trial::unmeasured(self.hook), |at| trials.remove(at));
        Ok(LoadProof {
            n_tokens: own.x.rows(),
            output: output.unwrap_or(self.hook).to_string(),
            looks_like: looks_like(&here, &trials),
            doubts: doubts(&here, read),
            here,
            others: trials,
            ..LoadProof::unmeasured(self.hook, dictionary.tensors())
        })
    }

    /// A hook point and its neighbours: the residual stream of the same block, the same site one block before and
    /// after. Those that the model lacks, or that have another width, are left out.
    fn places(&self, centre: HookPoint, width: usize) -> Vec<HookPoint> {
        let HookPoint::Block { layer, site } = centre else { return vec![centre] };
        let block = |layer, site| HookPoint::Block { layer, site };
        let mut places = vec![centre];
        let near = [Site::ResidPre, Site::ResidMid, Site::ResidPost].map(|site| block(layer, site));
        let before = layer.checked_sub(1).map(|layer| block(layer, site));
        for place in before.into_iter().chain([block(layer + 1, site)]).chain(near) {
            let fits = self.subject.width(place).is_ok_and(|found| found == width);
            if fits && self.subject.check_hook(place).is_ok() && !places.contains(&place) {
                places.push(place);
            }
        }
        // The stream between two blocks has two names.
        let mut seen: Vec<usize> = Vec::new();
        places.retain(|place| {
            let Some(stream) = between(*place) else { return true };
            let is_new = !seen.contains(&stream);
            seen.push(stream);
            is_new
        });
        places
    }

    fn samples(
        &self,
        places: &[HookPoint],
        output: Option<HookPoint>,
        n_fragments: usize,
    ) -> Result<BTreeMap<HookPoint, Sample>, RunError> {
        let cols = self.fragments.cols();
        let n = n_fragments.min(self.fragments.rows()) * cols;
        let Some(tokens) = TokenBatch::new(self.fragments.ids()[..n].to_vec(), cols) else {
            return Ok(BTreeMap::new());
        };
        let hooks: Vec<HookPoint> = places.iter().copied().chain(output).collect();
        let mut found = self.subject.activations(&tokens, &hooks)?;
        let target = output.and_then(|_| found.pop());
        let first = usize::from(self.subject.prefix().is_empty());
        let mut samples = BTreeMap::new();
        for (&place, x) in places.iter().zip(&found) {
            let rows: Vec<usize> = (0..x.rows()).filter(|row| row % cols >= first).collect();
            let mut norms: Vec<f64> = rows.iter().map(|&row| norm(x.row(row))).collect();
            norms.sort_by(f64::total_cmp);
            let bar = SINK_NORM * norms.get(norms.len() / 2).copied().unwrap_or(0.0);
            let kept: Vec<usize> = rows.into_iter().filter(|&row| norm(x.row(row)) <= bar).collect();
            let y = target.as_ref().unwrap_or(x).select_rows(&kept);
            samples.insert(place, Sample { x: x.select_rows(&kept), y });
        }
        Ok(samples)
    }

    fn trial(
        &self,
        dictionary: &AffineDictionary,
        hook: HookPoint,
        sample: &Sample,
        variant: &Variant,
    ) -> Result<Trial, RunError> {
        let other = variant.tensors.clone().map(|tensors| AffineDictionary::of_file(tensors, hook));
        let dictionary = other.as_ref().unwrap_or(dictionary);
        let (input, means) = variant.applied(&sample.x);
        let (codes, estimate) = dictionary.encode_and_reconstruct(&input)?;
        let l0 = codes.n_entries() as f64 / sample.x.rows().max(1) as f64;
        let fvu = estimate.and_then(|estimate| variant.fvu(&sample.y, &estimate, &means));
        Ok(Trial { hook: hook.to_string(), scaling: variant.words.clone(), l0, fvu })
    }
}

/// Index of the residual stream between two blocks: before block i it is i.
fn between(place: HookPoint) -> Option<usize> {
    match place {
        HookPoint::Block { layer, site: Site::ResidPre } => Some(layer),
        HookPoint::Block { layer, site: Site::ResidPost } => Some(layer + 1),
        _ => None,
    }
}

impl Variant {
    fn as_read() -> Self {
        Self { words: "as read".into(), tensors: None, factor: 1.0, centres_rows: false }
    }

    /// The input as the dictionary gets it, and the mean taken off each row.
    fn applied(&self, x: &Matrix) -> (Matrix, Vec<f64>) {
        let mean =
            |row: &[f32]| row.iter().map(|&value| f64::from(value)).sum::<f64>() / row.len().max(1) as f64;
        let means: Vec<f64> =
            x.iter_rows().map(|row| if self.centres_rows { mean(row) } else { 0.0 }).collect();
        let input = Matrix::from_fn(x.rows(), x.cols(), |row, col| {
            ((f64::from(x.at(row, col)) - means[row]) * self.factor) as f32
        });
        (input, means)
    }

    /// FVU of an estimate of `y`, with the scaling undone.
    fn fvu(&self, y: &Matrix, estimate: &Matrix, means: &[f64]) -> Option<f64> {
        let undone = Matrix::from_fn(estimate.rows(), estimate.cols(), |row, col| {
            (f64::from(estimate.at(row, col)) / self.factor + means[row]) as f32
        });
        fvu_of_rows(y, &undone)
    }
}

impl LoadProof {
    /// The facts that need no activations.
    fn unmeasured(hook: HookPoint, tensors: &Tensors) -> Self {
        let thresholds = tensors.activation.thresholds();
        Self {
            n_tokens: 0,
            output: hook.to_string(),
            here: Trial::unmeasured(hook),
            others: Vec::new(),
            looks_like: None,
            doubts: Vec::new(),
            decoder_norms: spread(tensors.decoder.iter_rows().map(norm)).unwrap_or([0.0; 3]),
            thresholds: thresholds.and_then(|all| spread(all.iter().map(|&threshold| f64::from(threshold)))),
        }
    }
}

impl Trial {
    fn unmeasured(hook: HookPoint) -> Self {
        Self { hook: hook.to_string(), scaling: "as read".into(), l0: 0.0, fvu: None }
    }
}

/// The usual wrong ways to read a dictionary.
fn variants(tensors: &Tensors, own: &Sample, read: &Read) -> Vec<Variant> {
    let root = (own.x.cols() as f64).sqrt();
    let mean_norm = own.x.iter_rows().map(norm).sum::<f64>() / own.x.rows().max(1) as f64;
    let factor = |words: &str, factor: f64| Variant { words: words.into(), factor, ..Variant::as_read() };
    let mut all = vec![
        factor("inputs × √d", root),
        factor("inputs ÷ √d", 1.0 / root),
        Variant { words: "mean over dimensions subtracted".into(), centres_rows: true, ..Variant::as_read() },
    ];
    if mean_norm > 0.0 {
        all.push(factor("inputs scaled to mean norm √d", root / mean_norm));
    }
    if read.input_factor != 1.0 {
        all.push(factor("unscaled", 1.0 / read.input_factor));
    }
    if tensors.decoder_bias.len() == tensors.encoder.cols()
        && tensors.decoder_bias.iter().any(|bias| *bias != 0.0)
    {
        let subtract_decoder_bias = !tensors.subtract_decoder_bias;
        let words =
            if subtract_decoder_bias { "decoder bias subtracted" } else { "decoder bias not subtracted" };
        let changed = Tensors { subtract_decoder_bias, ..tensors.clone() };
        all.push(Variant { words: words.into(), tensors: Some(changed), ..Variant::as_read() });
    }
    let norms: Vec<f64> = tensors.decoder.iter_rows().map(norm).collect();
    if norms.iter().any(|norm| (norm - 1.0).abs() > 1e-3 && *norm > 0.0) {
        let mut changed = tensors.clone();
        for (feature, norm) in norms.iter().enumerate().filter(|(_, norm)| **norm > 0.0) {
            let row = changed.decoder.row_mut(feature).iter_mut();
            row.for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
        all.push(Variant { words: "unit decoder rows".into(), tensors: Some(changed), ..Variant::as_read() });
    }
    all
}

fn by_fvu(a: &Trial, b: &Trial) -> std::cmp::Ordering {
    a.fvu.unwrap_or(f64::INFINITY).total_cmp(&b.fvu.unwrap_or(f64::INFINITY))
}

/// The best other trial, where it explains clearly more than `here`. Of trials that are about as good, the one that
/// changes least.
fn looks_like(here: &Trial, others: &[Trial]) -> Option<String> {
    let own = here.fvu?;
    let least = others.iter().min_by(|a, b| by_fvu(a, b))?.fvu?;
    let changes =
        |trial: &&Trial| usize::from(trial.hook != here.hook) + usize::from(trial.scaling != here.scaling);
    let about_as_good = others.iter().filter(|trial| trial.fvu.is_some_and(|fvu| fvu <= least + ABOUT * own));
    let best = about_as_good.min_by(|a, b| changes(a).cmp(&changes(b)).then(by_fvu(a, b)))?;
    let fvu = best.fvu?;
    // Where even the best explains less than the mean does, nothing fits.
    (fvu < CLEARLY * own && own - fvu >= LEAST_GAIN && fvu < 1.0).then(|| {
        if best.hook == here.hook {
            return format!("looks scaled otherwise, {}: FVU {fvu:.3} so, {own:.3} as read", best.scaling);
        }
        let scaling =
            if best.scaling == here.scaling { String::new() } else { format!(", {}", best.scaling) };
        format!("looks like `{}`{scaling}: FVU {fvu:.3} there, {own:.3} here as read", best.hook)
    })
}

fn doubts(here: &Trial, read: &Read) -> Vec<String> {
    let mut doubts = Vec::new();
    let is_near = |stated: f64| here.l0 <= L0_FACTOR * stated && here.l0 >= stated / L0_FACTOR;
    let stated = read.stated.l0.filter(|stated| *stated > 0.0 && here.fvu.is_some());
    if let Some(stated) = stated.filter(|stated| !is_near(*stated)) {
        doubts.push(format!("L0 is {:.1} here, and its files state {stated:.1}", here.l0));
    }
    if let Some(fvu) = here.fvu.filter(|fvu| *fvu >= 1.0) {
        doubts.push(format!("FVU is {fvu:.2}: it explains less than the mean does"));
    }
    doubts
}

fn norm(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// Smallest, mean and largest.
fn spread(values: impl Iterator<Item = f64>) -> Option<[f64; 3]> {
    let values: Vec<f64> = values.collect();
    let smallest = values.iter().copied().reduce(f64::min)?;
    let largest = values.iter().copied().reduce(f64::max)?;
    Some([smallest, values.iter().sum::<f64>() / values.len() as f64, largest])
}
