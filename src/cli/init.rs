//! `init`: writes a first suite.

use std::path::{Path, PathBuf};

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::args::{Common, Env};
use super::harvest::model_places;
use super::progress::say;
use super::resume::shell_word;
use super::{print, print_json, print_own, setting};
use crate::base::{DeviceName, read_regular_text, write_atomic};
use crate::run::{Event, RunError, StarterAsk, starter};
use crate::subject::embedded;
use crate::suite::reference;

/// Name of the schema beside a suite.
const SCHEMA: &str = "suite.schema.json";

/// Name of a suite that is printed.
const UNNAMED: &str = "mine.yaml";

#[derive(Debug, Clone, Args)]
pub struct InitArgs {
    /// Model folder, GGUF file, hub id, or `embedded`. Its weights are not read.
    #[arg(long, default_value = embedded::NAME)]
    pub model: String,
    /// Commit, tag or branch of a hub id.
    #[arg(long)]
    pub revision: Option<String>,
    /// File or folder of text or JSON lines, or `hub:OWNER/NAME`. Needed for every model but `embedded`.
    #[arg(long, value_name = "PATH")]
    pub text: Option<String>,
    /// Field of JSON that holds the text. Default: `text`.
    #[arg(long, requires = "text")]
    pub field: Option<String>,
    /// Dictionaries trained elsewhere: folders, files, or `hub:OWNER/NAME/FOLDER@REVISION`. May be given several times.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    pub sae: Vec<String>,
    /// File to write, with the JSON Schema for editors beside it. Default: the suite is printed.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "out")]
    pub force: bool,
}

/// Output of `init --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Started {
    /// The suite, as YAML.
    suite: String,
    /// The file that it was written to; null without `--out`.
    path: Option<String>,
    /// The JSON Schema that was written beside it; null without `--out`.
    schema: Option<String>,
    /// Hook points.
    hooks: Vec<String>,
    /// Names of the methods.
    methods: Vec<String>,
    /// Tokens that dictionaries are fitted on.
    fit_tokens: usize,
    /// Tokens of a context.
    ctx_tokens: usize,
    /// Fragments on which features are explained and scored.
    eval_fragments: usize,
    /// What the reader of the suite should know.
    notes: Vec<String>,
}

pub fn init(args: &InitArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let schema = args.out.as_deref().map(|out| schema_beside(out, args.force)).transpose()?;
    let ask = StarterAsk {
        model: &args.model,
        revision: args.revision.as_deref(),
        text: args.text.as_deref(),
        field: args.field.as_deref(),
        dictionaries: &args.sae,
        file: args.out.as_deref().unwrap_or(Path::new(UNNAMED)),
        schema: SCHEMA,
    };
    let tell = |event| match event {
        Event::Note(text) if !common.quiet => say(&text),
        _ => {}
    };
    let made = starter(&ask, &model_places(env, DeviceName::Cpu, common), &tell)?;
    if let Some((out, schema)) = args.out.as_ref().zip(schema.as_ref()) {
        write_atomic(schema, schema_text().as_bytes())?;
        write_atomic(out, made.text.as_bytes())?;
    }
    if !common.quiet {
        made.notes.iter().for_each(|note| say(&format!("note: {note}")));
    }
    let shown = |path: &PathBuf| path.display().to_string();
    if common.json {
        print_json(&Started {
            suite: made.text,
            path: args.out.as_ref().map(shown),
            schema: schema.as_ref().map(shown),
            hooks: made.suite.hooks.iter().map(|(hook, _)| hook.clone()).collect(),
            methods: made.suite.methods.iter().map(|method| method.name.clone()).collect(),
            fit_tokens: made.suite.corpus.fit_tokens,
            ctx_tokens: made.suite.corpus.ctx_tokens,
            eval_fragments: made.suite.corpus.eval_fragments,
            notes: made.notes,
        })?;
        return Ok(0);
    }
    let Some(out) = &args.out else {
        print_own(&made.text)?;
        return Ok(0);
    };
    print(&shown(out))?;
    if !common.quiet {
        let file = shell_word(out.as_os_str());
        let commands = ["check", "plan", "run"].map(|verb| format!("  autointerp {verb} {file}"));
        print(&format!("next:\n{}", commands.join("\n")))?;
    }
    Ok(0)
}

fn schema_text() -> String {
    format!("{:#}\n", reference::schema())
}

/// Where the schema of a suite goes. Fails if the suite exists, or if a file of another kind has the schema's name.
fn schema_beside(out: &Path, force: bool) -> Result<PathBuf, RunError> {
    if out.exists() && !force {
        let problem =
            format!("names `{}`, which exists: choose another name, or add `--force`", out.display());
        return Err(setting("--out", problem));
    }
    let schema = out.with_file_name(SCHEMA);
    if schema.exists() {
        let text = read_regular_text(&schema)?;
        let title = |schema: &Value| schema["title"].clone();
        let found: Option<Value> = serde_json::from_str(&text).ok();
        if found.as_ref().map(title) != Some(title(&reference::schema())) {
            let problem = format!(
                "would put its schema at `{}`, which is another file: choose another folder",
                schema.display()
            );
            return Err(setting("--out", problem));
        }
    }
    Ok(schema)
}
