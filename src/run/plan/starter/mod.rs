//! A first suite for a model, a text and dictionaries trained elsewhere. Every value is chosen by a rule that stands in
//! a comment beside it.
//!
//! - `given` reads what the dictionaries say of themselves.
//! - `text_size` finds how much of the text both splits can have.
//! - `lines` writes the file.

mod given;
mod lines;
mod text_size;

use std::path::Path;

use crate::base::{HookPoint, Site};
use crate::features::Protocol;
use crate::nn::Tokenizer;
use crate::run::inputs::shape::{ModelShape, model_shape, selector};
use crate::run::plan::headers::read_headers;
use crate::run::{Event, Places, RunError};
use crate::subject::{Bos, Prefix, embedded};
use crate::suite::{self, Suite};
use given::Given;
use text_size::{TextSize, text_size};

/// Models up to this width get three hook points, larger samples, ICA and the control on permuted weights.
const SMALL_WIDTH: usize = 768;

/// Features of an autoencoder trained here, in units of the width.
const EXPANSION: usize = 4;

/// The width divided by this is the number of active features.
const WIDTH_PER_ACTIVE: usize = 16;

/// Fewest and most active features.
const ACTIVE: [usize; 2] = [4, 64];

/// Context that a dictionary does not change.
const CONTEXT: usize = 128;

/// Longest context, whatever dictionaries were trained on.
const LONGEST_CONTEXT: usize = 1_024;

/// Widest hook point at which principal components are fitted: they take 24 · width² bytes.
const PCA_WIDTH: usize = 8_192;

/// What a suite is written for.
#[derive(Debug, Clone)]
pub struct StarterAsk<'a> {
    /// Folder, GGUF file, hub id, or `embedded`.
    pub model: &'a str,
    /// Revision of a hub id.
    pub revision: Option<&'a str>,
    /// The text, as `corpus.source`; none for the embedded one.
    pub text: Option<&'a str>,
    /// Field of JSON texts.
    pub field: Option<&'a str>,
    /// Dictionaries trained elsewhere: paths, or places on the hub.
    pub dictionaries: &'a [String],
    /// The file that will hold the suite. Its name becomes the suite's.
    pub file: &'a Path,
    /// How the file names its JSON Schema.
    pub schema: &'a str,
}

/// A suite, as text, with its main choices.
#[derive(Debug, Clone)]
pub struct Starter {
    /// The file's text.
    pub text: String,
    /// The same, checked.
    pub suite: Suite,
    /// What its reader should know.
    pub notes: Vec<String>,
}

/// What was chosen, for [`lines`].
struct Choices<'a> {
    ask: &'a StarterAsk<'a>,
    shape: &'a ModelShape,
    given: Vec<Given>,
    bos: Bos,
    is_centred: bool,
    /// Tokens of a context and of a fragment.
    context: usize,
    fragment: usize,
    /// Hook points as the suite lists them, and their widths.
    hooks: Vec<String>,
    widths: Vec<usize>,
    size: TextSize,
}

/// Writes a suite and checks it as `check` does. `on` gets notes on what is fetched.
pub fn starter(ask: &StarterAsk<'_>, places: &Places, on: &dyn Fn(Event)) -> Result<Starter, RunError> {
    if ask.text.is_none() && ask.model != embedded::NAME {
        let problem =
            "is needed beside `--model`: a file or folder of text or JSON lines, or `hub:OWNER/NAME`";
        return Err(RunError::Setting { field: "--text".into(), problem: problem.into() });
    }
    let shape = model_shape(ask.model, ask.revision, places)?;
    let tokenizer = shape.tokenizer()?;
    let mut choices = choose(ask, &shape, &tokenizer, places, on)?;
    let draft = suite::parse(&lines::write(&choices)?, ask.file, &[])?;
    if let Some(size) = text_size(&draft, &shape, &tokenizer, places)? {
        choices.size = size;
    }
    let text = lines::write(&choices)?;
    let suite = suite::parse(&text, ask.file, &[])?;
    let mut notes = read_headers(&suite, places).checked()?.warnings;
    notes.extend(choices.size.note.clone());
    Ok(Starter { text, suite, notes })
}

fn choose<'a>(
    ask: &'a StarterAsk<'a>,
    shape: &'a ModelShape,
    tokenizer: &Tokenizer,
    places: &Places,
    on: &dyn Fn(Event),
) -> Result<Choices<'a>, RunError> {
    let given = given::read(ask.dictionaries, shape, places, on)?;
    let model = &shape.header.architecture;
    let stated = |flag: fn(&Given) -> Option<bool>| given.iter().find_map(flag);
    let (bos, in_front) = prefix(stated(|given| given.stated.prepend_bos), shape, tokenizer)?;
    let longest = given.iter().filter_map(|given| given.stated.context_size).max();
    let points = hook_points(&given, shape);
    let widths: Result<Vec<usize>, _> = points.iter().map(|hook| shape.header.width(*hook)).collect();
    Ok(Choices {
        bos,
        is_centred: model.can_be_centred() && stated(|given| given.stated.centred) == Some(true),
        context: longest.unwrap_or(CONTEXT).min(LONGEST_CONTEXT).min(model.n_ctx).max(in_front + 2),
        fragment: Protocol::standard().fragment_tokens.min(model.n_ctx.saturating_sub(in_front)),
        hooks: hook_names(&given, &points, model.n_layers),
        widths: widths?,
        size: TextSize::usual(shape.is_small()),
        ask,
        shape,
        given,
    })
}

/// The setting of BOS and the number of tokens that it puts in front: what the dictionaries were trained with, if the
/// tokenizer allows it.
fn prefix(
    trained_with: Option<bool>,
    shape: &ModelShape,
    tokenizer: &Tokenizer,
) -> Result<(Bos, usize), RunError> {
    let prefix = |bos| Prefix::of(bos, tokenizer, &shape.header.name);
    let auto = prefix(Bos::Auto)?;
    match (trained_with, auto.is_empty()) {
        (Some(true), true) => {
            Ok(prefix(Bos::Always).map_or((Bos::Auto, 0), |prefix| (Bos::Always, prefix.ids.len())))
        }
        (Some(false), false) => Ok((Bos::Never, 0)),
        _ => Ok((Bos::Auto, auto.ids.len())),
    }
}

/// Where dictionaries were trained; without any, the residual stream at a quarter, half and three quarters of a small
/// model, or in the middle of a wide one.
fn hook_points(given: &[Given], shape: &ModelShape) -> Vec<HookPoint> {
    let n = shape.header.architecture.n_layers;
    let of_model = || -> Vec<HookPoint> {
        let quarters: &[usize] = if shape.is_small() { &[1, 2, 3] } else { &[2] };
        let layers = quarters.iter().map(|quarter| quarter * n / 4);
        layers.map(|layer| HookPoint::Block { layer, site: Site::ResidPost }).collect()
    };
    let mut points = if given.is_empty() { of_model() } else { given.iter().map(|one| one.hook).collect() };
    points.sort_unstable();
    points.dedup();
    points
}

/// Several layers of one kind without dictionaries are one name, `blocks.{1,2}.…`.
fn hook_names(given: &[Given], points: &[HookPoint], n_layers: usize) -> Vec<String> {
    let layers: Vec<usize> = points
        .iter()
        .filter_map(|point| match point {
            HookPoint::Block { layer, .. } => Some(*layer),
            HookPoint::Embed => None,
        })
        .collect();
    match given.is_empty() {
        true => vec![selector(&layers, n_layers, Site::ResidPost)],
        false => points.iter().map(HookPoint::to_string).collect(),
    }
}

impl ModelShape {
    fn is_small(&self) -> bool {
        self.header.architecture.d_model <= SMALL_WIDTH
    }
}

impl Choices<'_> {
    /// Whether an autoencoder is trained here.
    fn trains(&self) -> bool {
        self.given.is_empty() || self.shape.is_small()
    }

    /// The narrowest hook point decides the number of active features.
    fn width(&self) -> usize {
        self.widths.iter().copied().min().unwrap_or(0)
    }

    fn features(&self) -> usize {
        EXPANSION * self.width()
    }

    /// Active features, and why as many.
    fn active(&self) -> (usize, String) {
        let most = (self.features() / 2).max(1);
        let stated = self.given.iter().find_map(|given| Some((given, given.stated.l0?)));
        if let Some((given, l0)) = stated.filter(|(_, l0)| l0.is_finite() && *l0 >= 1.0) {
            return ((l0.round() as usize).min(most), format!("the mean L0 that {} states", given.name));
        }
        let [least, usual_most] = ACTIVE;
        let k = (self.width() / WIDTH_PER_ACTIVE).clamp(least, usual_most).min(most);
        (k, format!("width / {WIDTH_PER_ACTIVE}, at least {least} and at most {usual_most}"))
    }

    /// The method that the others are compared with, and matched to. A dictionary counts if it is at every hook point.
    fn reference(&self) -> &str {
        match (&self.given[..], self.hooks.len()) {
            ([first, ..], 1) => &first.name,
            _ if self.trains() => lines::TRAINED,
            ([first, ..], _) => &first.name,
            ([], _) => lines::TRAINED,
        }
    }
}
