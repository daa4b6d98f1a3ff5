//! Sparse autoencoders, trained with hand-written gradients: the encoder is a dense product, all
//! that follows the selection of active features touches only those.

mod feed;
mod on_device;
mod params;
mod resample;
mod rows;
mod schedule;
mod step;
mod train;
mod update;

#[cfg(test)]
mod tests;

pub use params::{AutoencoderFit, GatedParams, JumpreluParams, SaeParams, TopkParams};
pub use train::{Member, Recipe, Training, train_together};
