//! Dictionaries trained elsewhere, in the files of the program that trained them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{HookPoint, Stopwatch};

use super::affine::{AffineDictionary, Label};
use super::error::{ParamProblem, Problems};
use super::formats::{self, Ask, Blueprint, Scale, ThresholdUnits};
use super::tensors::squared_norm;
use super::{DictionaryError, DictionaryFit, FileFormat, FitContext, FitError, FitReport, Fitted, Kind};

/// A dictionary trained elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileParams {
    /// The folder of the dictionary, or one file.
    pub path: PathBuf,
    /// Program that wrote it. If absent: recognised by names of files, settings and tensors.
    #[serde(default)]
    pub format: Option<FileFormat>,
    /// Unknown settings or tensors to leave out. Tables and pages say so.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Factor on activations during training, for files that scaled them and do not hold the factor. If absent:
    /// estimated from the fit split.
    #[serde(default)]
    pub input_scale: Option<f64>,
    /// Number of codes that are kept, for files that do not hold it (Qwen-Scope).
    #[serde(default)]
    pub k: Option<usize>,
    /// Units of the thresholds of Llama Scope, whose meaning is disputed: `scaled` multiplies them by the factor on
    /// inputs, `stored` takes them as they are. If absent: as SAELens does.
    #[serde(default)]
    pub threshold: Option<ThresholdUnits>,
    /// Which dictionary, where one file holds several (e2e_sae): its hook point. If absent: the one of this hook point.
    #[serde(default)]
    pub part: Option<String>,
}

/// Checked [`FileParams`].
#[derive(Debug, Clone)]
pub struct FileFit {
    params: FileParams,
}

impl FileParams {
    /// Returns all problems at once. The file itself is read by the fit.
    pub fn check(&self) -> Result<FileFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        problems.require(!self.path.as_os_str().is_empty(), "path", || {
            "is empty; expected the folder that holds the dictionary".to_string()
        });
        problems.positive("input_scale", self.input_scale.unwrap_or(1.0));
        problems.at_least("k", self.k.unwrap_or(1), 1);
        problems.finish(FileFit { params: self.clone() })
    }

    /// Locates the tensors and reads the configuration. Reads no tensor.
    pub fn open(&self) -> Result<Blueprint, DictionaryError> {
        self.open_at(None)
    }

    /// As [`Self::open`], for use at a hook point: where one file holds several dictionaries, it chooses one.
    pub fn open_at(&self, hook: Option<HookPoint>) -> Result<Blueprint, DictionaryError> {
        let ask = Ask {
            format: self.format,
            ignore: self.ignore.clone(),
            input_scale: self.input_scale,
            k: self.k,
            threshold: self.threshold,
            part: self.part.clone(),
            hook,
            place: self.path.display().to_string(),
        };
        formats::open(&self.path, &ask)
    }
}

impl DictionaryFit for FileFit {
    fn kind(&self) -> Kind {
        Kind::File
    }

    /// Reads the file. `set` gives the width, and the mean norm where the input scale is estimated.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let started = Stopwatch::start();
        let mut blueprint = self.params.open_at(Some(set.hook()))?;
        let shape = blueprint.shape()?;
        if shape.d_in != set.width() {
            return Err(FitError::DoesNotFit {
                method: context.method.to_string(),
                field: "path",
                got: format!("a dictionary of width {}", shape.d_in),
                expected: format!("activations at `{}` have width {}", set.hook(), set.width()),
            });
        }
        let mut notes = vec!["trained elsewhere".to_string()];
        if blueprint.lacks_scale {
            let scale = scale_to_root_width(set)?;
            notes.push(format!("input scale {scale:.4} estimated from the fit split"));
            blueprint.scale = Scale::of_input(scale);
        }
        let label = Label::new(Kind::File, context.method, set, true);
        let dictionary = Box::new(AffineDictionary::new(label, blueprint.build(None)?));
        let mut warnings = blueprint.stated.warnings(context.input);
        warnings
            .extend(blueprint.card.dropped.iter().map(|what| format!("left out as `ignore` says: {what}")));
        notes.extend(blueprint.card.notes.iter().cloned());
        notes.extend(blueprint.stated.notes(context.input));
        let report = FitReport { seconds: started.seconds(), notes, warnings, ..FitReport::default() };
        Ok(Fitted { dictionary, report })
    }
}

/// `√d / mean ‖x‖`: the factor of `expected_average_only_in`.
fn scale_to_root_width(set: &ActivationSet) -> Result<f64, FitError> {
    let mut norms = 0.0;
    for block in set.blocks(4096) {
        for row in block?.iter_rows() {
            norms += squared_norm(row).sqrt();
        }
    }
    Ok((set.width() as f64).sqrt() * set.rows() as f64 / norms)
}
