//! Dictionaries trained elsewhere: what their files say of themselves, and where they are applied.

use crate::base::{HookPoint, Site};
use crate::dictionary::{DictionaryPath, FileParams, Stated, hook_of};
use crate::run::inputs::dictionaries::{locate_dictionary, on_disk};
use crate::run::inputs::shape::ModelShape;
use crate::run::{Event, Places, RunError};

/// Sites that are tried for a dictionary whose files name none, by width.
const SITES: [Site; 3] = [Site::ResidPost, Site::MlpPost, Site::AttnZ];

/// Longest name of a method.
const LONGEST_NAME: usize = 40;

/// Names of the other methods of a starter, which no dictionary may have.
const TAKEN: [&str; 5] = ["topk", "random", "neuron", "pca", "ica"];

/// A dictionary trained elsewhere.
#[derive(Debug)]
pub struct Given {
    /// Name of the method.
    pub name: String,
    /// The path as it was given.
    pub path: String,
    /// The program that wrote it.
    pub format: String,
    /// Number of features.
    pub features: usize,
    /// Where it is applied.
    pub hook: HookPoint,
    /// What its files say.
    pub stated: Stated,
}

/// Reads the headers of dictionaries; those on the hub are fetched.
pub fn read(
    paths: &[String],
    shape: &ModelShape,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<Vec<Given>, RunError> {
    let mut all: Vec<Given> = Vec::new();
    for path in paths {
        let wrong = |problem: String| RunError::Setting { field: "--sae".into(), problem };
        let local = match DictionaryPath::parse(path).map_err(wrong)? {
            DictionaryPath::Local(written) => on_disk(&written, places)?,
            place => locate_dictionary(&place, places, on)?.path,
        };
        let blueprint = FileParams { written: Some(path.clone()), ..FileParams::at(local) }.open_at(None)?;
        let dictionary = blueprint.shape()?;
        let hook = place(path, &blueprint.stated, dictionary.d_in, shape)?;
        let name = free_name(path, &all);
        all.push(Given {
            name,
            path: path.clone(),
            format: blueprint.card.format.clone(),
            features: dictionary.features,
            hook,
            stated: blueprint.stated.clone(),
        });
    }
    Ok(all)
}

/// The hook point that the files name, or else one of the middle layer that has the width.
fn place(path: &str, stated: &Stated, width: usize, shape: &ModelShape) -> Result<HookPoint, RunError> {
    let wrong = |problem: String| Err(RunError::Setting { field: "--sae".into(), problem });
    let model = &shape.header.name;
    if let Some(name) = &stated.hook {
        let Some(hook) = hook_of(name) else {
            return wrong(format!(
                "`{path}` was trained at `{name}`, which is no hook point here (`autointerp list hooks MODEL` lists them)"
            ));
        };
        let there = shape.header.width(hook)?;
        if there == width {
            return Ok(hook);
        }
        return wrong(format!(
            "`{path}` is a dictionary of width {width}, and `{hook}` of `{model}` has width {there}: it was trained on \
             another model"
        ));
    }
    let layer = shape.header.architecture.n_layers / 2;
    let points = SITES.map(|site| HookPoint::Block { layer, site });
    match points.into_iter().find(|hook| shape.header.width(*hook).is_ok_and(|there| there == width)) {
        Some(hook) => Ok(hook),
        None => wrong(format!(
            "`{path}` is a dictionary of width {width}, and no hook point of `{model}` has that width: it was trained \
             on another model"
        )),
    }
}

/// The last part of the path as a name that no other method has.
fn free_name(path: &str, others: &[Given]) -> String {
    let place = path.split('@').next().unwrap_or(path);
    let last = place.rsplit(['/', '\\', ':']).find(|part| !part.trim_matches('.').is_empty());
    let name = super::lines::name_of(last.unwrap_or_default(), "sae");
    let name: String = name.chars().take(LONGEST_NAME).collect();
    let is_taken = |name: &str| {
        let names = others.iter().map(|other| other.name.as_str()).chain(TAKEN);
        names.into_iter().any(|other| other.eq_ignore_ascii_case(name))
    };
    if !is_taken(&name) {
        return name;
    }
    (2..).map(|nth| format!("{name}_{nth}")).find(|name| !is_taken(name)).unwrap_or(name)
}
