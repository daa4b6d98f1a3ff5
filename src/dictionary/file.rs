//! Dictionaries trained elsewhere, in the files of the program that trained them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{HookPoint, Stopwatch};

use super::affine::{AffineDictionary, Label};
use super::error::{ParamProblem, Problems};
use super::formats::{self, Ask, Blueprint, Scale, Shape, ThresholdUnits};
use super::path::DictionaryPath;
use super::stated::hook_of;
use super::tensors::squared_norm;
use super::{
    Card, DictionaryError, DictionaryFit, FileFormat, FitContext, FitError, FitReport, Fitted, Kind, Stated,
};

/// A dictionary trained elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileParams {
    /// The folder of the dictionary, or its file: a path, or `hub:OWNER/NAME/FOLDER@REVISION` with folder and revision
    /// left out where they are not needed.
    pub path: PathBuf,
    /// Program that wrote it. If absent: recognised by names of files, settings and tensors.
    #[serde(default)]
    pub format: Option<FileFormat>,
    /// Unknown settings or tensors to leave out. Tables and pages say so.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub ignore: Vec<String>,
    /// Factor on activations during training, for files that scaled them and do not hold the factor. If absent:
    /// estimated from the fit split.
    #[serde(default)]
    #[schemars(range(min = 1e-12, max = 1e12))]
    pub input_scale: Option<f64>,
    /// Number of codes that are kept, for files that do not hold it (Qwen-Scope).
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub k: Option<usize>,
    /// Units of the thresholds of Llama Scope, whose meaning is disputed: `scaled` multiplies them by the factor on
    /// inputs, `stored` takes them as they are. If absent: as SAELens does.
    #[serde(default)]
    pub threshold: Option<ThresholdUnits>,
    /// Which dictionary, where one file holds several (e2e_sae): its hook point. If absent: the one of this hook point.
    #[serde(default)]
    pub part: Option<String>,
    /// Measure FVU and L0 at neighbouring hook points and under the usual wrong scalings, on a small sample.
    #[serde(default = "yes")]
    pub load_proof: bool,
    /// Apply it also at hook points and to a model that it was not trained on, and mark its rows.
    #[serde(default)]
    pub elsewhere: bool,
    /// The path that the suite gives, where `path` is the place in which its files were found.
    #[serde(skip)]
    pub written: Option<String>,
}

fn yes() -> bool {
    true
}

/// What was read of a dictionary trained elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Read {
    /// How it was recognised, and what was done with it.
    pub card: Card,
    /// What its files state of its training.
    pub stated: Stated,
    /// Factor on inputs that is folded into the encoder; 1 without one.
    pub input_factor: f64,
}

/// Checked [`FileParams`].
#[derive(Debug, Clone)]
pub struct FileFit {
    params: FileParams,
}

impl FileParams {
    /// The dictionary at a path, recognised by its files.
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            format: None,
            ignore: Vec::new(),
            input_scale: None,
            k: None,
            threshold: None,
            part: None,
            load_proof: true,
            elsewhere: false,
            written: None,
        }
    }

    /// Returns all problems at once. The file itself is read by the fit.
    pub fn check(&self) -> Result<FileFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        let path = DictionaryPath::parse(&self.path.to_string_lossy());
        problems.require(path.is_ok(), "path", || path.err().unwrap_or_default());
        problems.positive("input_scale", self.input_scale.unwrap_or(1.0));
        problems.at_least("k", self.k.unwrap_or(1), 1);
        problems.finish(FileFit { params: self.clone() })
    }

    /// Locates the tensors and reads the configuration. Reads no tensor. Where one file holds several dictionaries, the
    /// hook point chooses one.
    pub fn open_at(&self, hook: Option<HookPoint>) -> Result<Blueprint, DictionaryError> {
        let ask = Ask {
            format: self.format,
            ignore: self.ignore.clone(),
            input_scale: self.input_scale,
            k: self.k,
            threshold: self.threshold,
            part: self.part.clone(),
            hook,
            place: self.written.clone().unwrap_or_else(|| self.path.display().to_string()),
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
        let mut warnings = blueprint.stated.warnings(context.input);
        let (is_reconstruction, output) = match Output::of(&blueprint, shape, set.hook()) {
            Output::Input => (true, None),
            Output::At(output) => (true, Some(output)),
            Output::Unknown(warning) => {
                warnings.push(warning);
                (false, None)
            }
        };
        let label = Label { output, ..Label::new(Kind::File, context.method, set, is_reconstruction) };
        let only = context.only.filter(|_| blueprint.has_independent_codes());
        let only = only.filter(|only| only.iter().all(|&feature| feature < shape.features));
        let tensors = blueprint.build(only)?;
        let dictionary = Box::new(match only {
            Some(only) => AffineDictionary::of_some(label, tensors, only.to_vec(), shape.features),
            None => AffineDictionary::new(label, tensors),
        });
        if let Some(only) = only {
            let note = format!("only the {} chosen features of {} were read", only.len(), shape.features);
            blueprint.card.notes.push(note);
        }
        warnings
            .extend(blueprint.card.dropped.iter().map(|what| format!("left out as `ignore` says: {what}")));
        notes.extend(blueprint.card.notes.iter().cloned());
        notes.extend(blueprint.stated.notes(context.input));
        let Blueprint { card, stated, scale, .. } = blueprint;
        let read = Some(Box::new(Read { card, stated, input_factor: scale.input }));
        let report = FitReport { seconds: started.seconds(), notes, warnings, read, ..FitReport::default() };
        Ok(Fitted { dictionary, report })
    }
}

/// What a dictionary reconstructs.
enum Output {
    /// Its input.
    Input,
    /// The activations at another hook point.
    At(HookPoint),
    /// Something that has no place here, with the reason.
    Unknown(String),
}

impl Output {
    fn of(blueprint: &Blueprint, shape: Shape, hook: HookPoint) -> Self {
        let stated = &blueprint.stated;
        let known = stated.hook_out.as_deref().and_then(hook_of);
        match (&stated.hook_out, known) {
            (Some(_), Some(output)) if output != hook => Self::At(output),
            (Some(name), None) if Some(name) != stated.hook.as_ref() => Self::Unknown(format!(
                "reconstructs `{name}`, which is no hook point here: its features are evaluated, its reconstruction is \
                 not"
            )),
            (None, _) if shape.d_in != shape.d_out || blueprint.skip.is_some() => Self::Unknown(
                "is a transcoder that does not name its output: its features are evaluated, its reconstruction is not"
                    .to_string(),
            ),
            _ => Self::Input,
        }
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
