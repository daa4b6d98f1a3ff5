//! `list`: what a suite can name, from the catalogues.

use clap::Subcommand;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env};
use super::harvest::model_places;
use super::{print_json, print_result};
use crate::base::DeviceName;
use crate::dictionary::{Kind, file_formats};
use crate::explain::catalog::{ExplainerRow, explainers};
use crate::nn::{Family, is_in_gguf};
use crate::report::{Column, Grid, Look, count, wrap};
use crate::run::{RunError, model_shape};
use crate::score::Direction;
use crate::score::catalog::{By, SCORERS, ScoreRow, ScorerRow, Standing};
use crate::simulate::catalog::{SimulatorKind, SimulatorRow};
use crate::suite::{baseline_of, reference};

/// What to list.
#[derive(Debug, Clone, Subcommand)]
pub enum What {
    /// Kinds of methods, with the baseline file that has each.
    Methods,
    /// Scorers, each with what computes it.
    Scorers,
    /// Explainers.
    Explainers,
    /// Simulators.
    Simulators,
    /// Formats of dictionaries trained elsewhere.
    Formats,
    /// Families of models that run.
    Families,
    /// Hook points of a model, with their widths, and those that it lacks. Weights are not read.
    Hooks {
        /// Model folder, GGUF file, hub id, or `embedded`.
        model: String,
        /// Commit, tag or branch of a hub id.
        #[arg(long)]
        revision: Option<String>,
    },
    /// The JSON Schema of suite files, for editors.
    Schema,
}

/// Output of `list --json`, except of `list schema`, which is a JSON Schema itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "list", content = "rows")]
pub enum List {
    /// Kinds of methods.
    Methods(Vec<MethodFacts>),
    /// Scorers.
    Scorers(Vec<ScorerFacts>),
    /// Explainers.
    Explainers(Vec<StepFacts>),
    /// Simulators.
    Simulators(Vec<StepFacts>),
    /// Formats of dictionaries trained elsewhere.
    Formats(Vec<FormatFacts>),
    /// Families of models.
    Families(Vec<FamilyFacts>),
    /// Hook points of a model.
    Hooks(Vec<HookFacts>),
}

/// A kind of method.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MethodFacts {
    /// `kind` in a suite.
    kind: &'static str,
    /// What it is.
    what: &'static str,
    /// Whether few of its features are active at once.
    sparse: bool,
    /// Whether another seed gives another dictionary.
    draws: bool,
    /// What `use:` names; null if there is no baseline of this kind.
    baseline: Option<&'static str>,
    /// Fields of this kind, beside those of every method.
    fields: Vec<String>,
}

/// A scorer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScorerFacts {
    /// Name in `scorers`.
    name: &'static str,
    /// What it measures.
    what: &'static str,
    /// What computes it.
    needs: &'static str,
    /// Whether suites that list no scorers compute it.
    default: bool,
    /// Its scores.
    scores: Vec<ScoreFacts>,
}

/// A score.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScoreFacts {
    /// Name in results.
    name: &'static str,
    /// Unit.
    unit: &'static str,
    /// Whether a higher value is better.
    higher_is_better: bool,
    /// Value of an explanation without information.
    chance: f64,
}

/// An explainer or a simulator.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StepFacts {
    /// `kind` in a suite.
    kind: &'static str,
    /// What it does.
    what: &'static str,
    /// What it needs.
    needs: &'static str,
}

/// A format of dictionaries trained elsewhere.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FormatFacts {
    /// `format` in a suite.
    format: &'static str,
    /// The program that writes it.
    program: &'static str,
    /// What recognises it.
    recognised_by: &'static str,
    /// Whether it is read. The others are refused with the reason.
    read: bool,
}

/// A family of models.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FamilyFacts {
    /// `model_type` in `config.json`.
    family: &'static str,
    /// The models that it stands for.
    models: &'static str,
    /// Whether GGUF files of it are read too.
    gguf: bool,
}

/// Hook points of one kind.
#[derive(Debug, Serialize, JsonSchema)]
pub struct HookFacts {
    /// As a suite writes it: `*` for every layer, `{0,2}` for some.
    hook: String,
    /// Number of these layers; null for the embedding.
    layers: Option<usize>,
    /// Width of the activations; null if the model lacks them.
    width: Option<usize>,
    /// What the activation is.
    what: &'static str,
    /// Why the model lacks it; null if it has it.
    missing: Option<&'static str>,
}

/// Lists what was asked for.
pub fn list(what: &What, common: &Common, env: &Env) -> Result<u8, RunError> {
    let listed = match what {
        What::Methods => List::Methods(Kind::ALL.iter().map(|kind| method(*kind)).collect()),
        What::Scorers => List::Scorers(SCORERS.iter().filter(|row| row.is_offered()).map(scorer).collect()),
        What::Explainers => List::Explainers(explainers().map(|row| explainer(&row)).collect()),
        What::Simulators => List::Simulators(simulators()),
        What::Formats => List::Formats(formats()),
        What::Families => List::Families(Family::ALL.iter().map(|family| family_facts(*family)).collect()),
        What::Hooks { model, revision } => List::Hooks(hooks(model, revision.as_deref(), common, env)?),
        What::Schema => {
            print_json(&reference::schema())?;
            return Ok(0);
        }
    };
    print_result(common, &listed, |listed| text(listed, env.look))?;
    Ok(0)
}

fn method(kind: Kind) -> MethodFacts {
    let fields = kind.fields();
    let fields = fields["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    MethodFacts {
        kind: kind.name(),
        what: kind.words(),
        sparse: kind.is_sparse(),
        draws: kind.draws(),
        baseline: baseline_of(kind.name()),
        fields: fields.collect(),
    }
}

fn scorer(row: &ScorerRow) -> ScorerFacts {
    let score = |score: &ScoreRow| ScoreFacts {
        name: score.name,
        unit: score.unit,
        higher_is_better: score.direction == Direction::Higher,
        chance: score.chance,
    };
    ScorerFacts {
        name: row.name,
        what: row.words,
        needs: match row.by {
            By::Judge(judging) if judging.compares_written() => "a judge and the subject model",
            By::Judge(_) => "a judge",
            By::Effect(_) => "the subject model",
            By::Simulation(_) => "a simulator",
        },
        default: row.standing == Standing::Default,
        scores: row.scores.iter().map(score).collect(),
    }
}

fn explainer(row: &ExplainerRow) -> StepFacts {
    let needs = if row.reads_output() {
        "a language model and the subject model"
    } else if row.asks_model() {
        "a language model"
    } else if row.probes() {
        "the subject model"
    } else {
        "nothing"
    };
    StepFacts { kind: row.name, what: row.words, needs }
}

/// Simulators of offline explainers, and those that ask a language model.
fn simulators() -> Vec<StepFacts> {
    let offline = explainers().filter(|row| !row.asks_model());
    let offline =
        offline.map(|row| StepFacts { kind: row.name, what: row.words, needs: "the explainer of this kind" });
    let asking = SimulatorKind::all().map(|row| {
        let SimulatorRow { name, words, needs_local_model, .. } = *row;
        let needs = if needs_local_model { "a local language model" } else { "a language model" };
        StepFacts { kind: name, what: words, needs }
    });
    offline.chain(asking).collect()
}

fn formats() -> Vec<FormatFacts> {
    let facts = file_formats().into_iter().map(|row| FormatFacts {
        format: row.name,
        program: row.words,
        recognised_by: row.recognised_by,
        read: row.supported,
    });
    facts.collect()
}

fn family_facts(family: Family) -> FamilyFacts {
    FamilyFacts { family: family.model_type(), models: family.words(), gguf: is_in_gguf(family) }
}

fn hooks(
    model: &str,
    revision: Option<&str>,
    common: &Common,
    env: &Env,
) -> Result<Vec<HookFacts>, RunError> {
    let shape = model_shape(model, revision, &model_places(env, DeviceName::Cpu, common))?;
    let facts = shape.hooks().into_iter().map(|row| HookFacts {
        hook: row.hook,
        layers: row.layers,
        width: row.width.ok(),
        what: row.words,
        missing: row.width.err(),
    });
    Ok(facts.collect())
}

/// Wider than any terminal: a description that does not fit beside its row moves below it.
const WHOLE: usize = 10_000;

fn text(listed: &List, look: Look) -> String {
    let yes = |value: bool| if value { "yes" } else { "" }.to_string();
    let what = || Column::text("what it is").folds(WHOLE);
    let texts = |cells: &[&str]| cells.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut below = String::new();
    let (columns, rows) = match listed {
        List::Methods(rows) => (
            vec![Column::text("kind"), Column::text("use"), what()],
            rows.iter().map(|row| texts(&[row.kind, row.baseline.unwrap_or_default(), row.what])).collect(),
        ),
        List::Scorers(rows) => (
            vec![Column::text("scorer"), Column::text("needs"), Column::text("default"), what()],
            rows.iter()
                .map(|row| vec![row.name.into(), row.needs.into(), yes(row.default), row.what.into()])
                .collect(),
        ),
        List::Explainers(rows) | List::Simulators(rows) => (
            vec![Column::text("kind"), Column::text("needs"), what()],
            rows.iter().map(|row| texts(&[row.kind, row.needs, row.what])).collect(),
        ),
        List::Formats(rows) => (
            vec![
                Column::text("format"),
                Column::text("read"),
                Column::text("program"),
                Column::text("recognised by").folds(WHOLE),
            ],
            rows.iter()
                .map(|row| {
                    let read = if row.read { "yes" } else { "refused" };
                    texts(&[row.format, read, row.program, row.recognised_by])
                })
                .collect(),
        ),
        List::Families(rows) => (
            vec![Column::text("family"), Column::text("GGUF too"), Column::text("models").folds(WHOLE)],
            rows.iter().map(|row| vec![row.family.into(), yes(row.gguf), row.models.into()]).collect(),
        ),
        List::Hooks(rows) => {
            below = missing(rows, look);
            (vec![Column::text("hook point"), Column::number("width"), what()], present(rows))
        }
    };
    let mut grid = Grid::new(columns);
    let rows: Vec<Vec<String>> = rows;
    rows.into_iter().for_each(|row| grid.row(row));
    grid.draw(look).text + &below
}

fn present(rows: &[HookFacts]) -> Vec<Vec<String>> {
    let present = rows.iter().filter_map(|row| Some((row, row.width?)));
    present.map(|(row, width)| vec![row.hook.clone(), count(width), row.what.into()]).collect()
}

/// What a model lacks, each with its reason.
fn missing(rows: &[HookFacts], look: Look) -> String {
    let lines = rows.iter().filter_map(|row| Some(format!("no {}: {}", row.hook, row.missing?)));
    lines.flat_map(|line| wrap(&line, look.width)).map(|line| format!("{line}\n")).collect()
}
