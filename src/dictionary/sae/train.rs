//! Trains one or several autoencoders on the same batches of one activation set.

use rayon::prelude::*;

use crate::activations::ActivationSet;
use crate::base::Matrix;
use crate::dictionary::fit::stream;
use crate::dictionary::{FitError, FitProgress, Fitted};
use crate::nn::Device;

use super::feed::{Feed, input_scale};
use super::recipe::Recipe;
use super::training::Training;

/// Steps between two calls of the progress function.
const PROGRESS_STEPS: usize = 25;

/// One of several autoencoders that are trained on the same batches.
pub struct Member<'a> {
    /// What to train.
    pub recipe: Recipe,
    /// Name in tables.
    pub method: &'a str,
    /// See [`FitContext::training`](crate::dictionary::FitContext::training).
    pub training: u32,
}

/// Trains several autoencoders in one pass over the same batches. Each result is the same as when trained alone. All
/// members must [share batches](Recipe::shares_batches_with). The outer error means that no member was trained: rows
/// could not be read, or the device failed.
pub fn train_together(
    members: &[Member<'_>],
    set: &ActivationSet,
    seed: u64,
    device: &Device,
    progress: &mut dyn FnMut(usize, FitProgress),
) -> Result<Vec<Result<Fitted, FitError>>, FitError> {
    let Some(Member { recipe: first, .. }) = members.first() else { return Ok(Vec::new()) };
    assert!(members.iter().all(|member| member.recipe.shares_batches_with(first)), "batches are shared");
    let (d, rows) = (set.width(), first.batch.min(set.rows()));
    let centre: Vec<f32> = match first.centred {
        true => set.mean().iter().map(|&value| value as f32).collect(),
        false => vec![0.0; d],
    };
    let scale = if first.scaled { input_scale(set, first.centred) } else { 1.0 };
    let mut feed = Feed::new(set, seed, rows, centre, scale);
    let new_model = |Member { recipe, training, .. }: &Member<'_>| {
        let mut stream = stream(seed, *training, &[recipe.kind.name(), &set.hook().to_string()]);
        let entry = |_| (stream.normal() / (d as f64).sqrt()) as f32;
        let decoder = (0..recipe.features * d).map(entry).collect();
        Training::from_decoder(recipe, d, rows, decoder, stream, device)
    };
    let mut models: Vec<Training> = members.iter().map(new_model).collect::<Result<_, _>>()?;
    run_steps(&mut models, &mut feed, rows * d, progress)?;
    let finish = |(member, model): (&Member<'_>, Training)| model.finish(member.method, set, &feed);
    Ok(members.iter().zip(models).map(finish).collect())
}

/// Runs all steps of all models.
fn run_steps(
    models: &mut [Training],
    feed: &mut Feed<'_>,
    batch_entries: usize,
    progress: &mut dyn FnMut(usize, FitProgress),
) -> Result<(), FitError> {
    let probe = feed.probe()?;
    let steps = models.iter().map(|model| model.recipe.steps).max().unwrap_or(0);
    let at_once = batches_at_once(models.len(), batch_entries);
    let mut read = || (0..at_once).map(|_| feed.next()).collect::<Result<Vec<Matrix>, FitError>>();
    let mut batches = read()?;
    for start in (0..steps).step_by(at_once) {
        // The next batches are read while these are used.
        let advance = |model: &mut Training| {
            (start..).zip(&batches).try_for_each(|(step, batch)| model.advance(step, batch.data(), &probe))
        };
        let read_next = || if start + at_once < steps { read() } else { Ok(Vec::new()) };
        let (done, next) = rayon::join(|| models.par_iter_mut().try_for_each(advance), read_next);
        done?;
        batches = next?;
        if let Some(step) = (start..start + at_once).find(|step| step.is_multiple_of(PROGRESS_STEPS)) {
            for (nth, model) in models.iter().enumerate().filter(|(_, model)| model.has_step(step)) {
                progress(nth, model.progress(step));
            }
        }
    }
    Ok(())
}

/// Batches that each of several models uses before the next model runs, so that its weights stay in the cache. At most
/// 64 MB of them are held.
fn batches_at_once(models: usize, batch_entries: usize) -> usize {
    const ENTRIES: usize = 1 << 24;
    if models > 1 { (ENTRIES / batch_entries.max(1)).clamp(1, 8) } else { 1 }
}
