//! What every page has in common: head, policy, style and script.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, context};

use super::packed::base64;
use crate::base::Digest;
use crate::report::ReportError;

const STYLE: &str = include_str!("style.css");
/// Runs before anything is drawn, so that a page does not flash in the other theme.
const THEME: &str = include_str!("theme.js");
const SHARED: &str = include_str!("shared.js");

/// Which page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `index.html`.
    Index,
    /// `features.html`.
    Explorer,
    /// One dictionary's features.
    Feature,
}

impl Kind {
    fn template(self) -> &'static str {
        match self {
            Self::Index => "index.html",
            Self::Explorer => "explorer.html",
            Self::Feature => "feature.html",
        }
    }

    /// What it runs.
    fn script(self) -> String {
        let own = match self {
            Self::Index => include_str!("index.js"),
            Self::Explorer => include_str!("explorer.js"),
            Self::Feature => include_str!("feature.js"),
        };
        format!("{SHARED}{own}")
    }
}

/// The templates.
pub fn environment() -> Result<Environment<'static>, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let templates = [
        ("shell.html", include_str!("shell.html.jinja")),
        ("index.html", include_str!("index.html.jinja")),
        ("explorer.html", include_str!("explorer.html.jinja")),
        ("feature.html", include_str!("feature.html.jinja")),
    ];
    for (name, text) in templates {
        environment.add_template(name, text).map_err(ReportError::Page)?;
    }
    Ok(environment)
}

/// A page filled in. `json` must be inert; `images` says whether charts are linked as pictures.
pub fn page(
    environment: &Environment<'_>,
    kind: Kind,
    page: Value,
    json: &str,
    images: bool,
) -> Result<String, ReportError> {
    let script = kind.script();
    let shell = context! {
        policy => Value::from_safe_string(policy(&[THEME, &script], images)),
        style => Value::from_safe_string(STYLE.to_string()),
        theme => Value::from_safe_string(THEME.to_string()),
        script => Value::from_safe_string(script),
        data => Value::from_safe_string(json.to_string()),
        ..page
    };
    let template = environment.get_template(kind.template()).map_err(ReportError::Page)?;
    template.render(shell).map_err(ReportError::Page)
}

/// Nothing but the style and the scripts that stand in the page, each by its digest.
fn policy(scripts: &[&str], images: bool) -> String {
    let scripts: Vec<String> = scripts.iter().map(|script| source(script)).collect();
    let images = if images { "'self'" } else { "'none'" };
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src {images}; base-uri 'none'; form-action 'none'",
        scripts.join(" "),
        source(STYLE)
    )
}

/// How a policy names an inline text.
fn source(text: &str) -> String {
    format!("'sha256-{}'", base64(&Digest::of(text.as_bytes()).bytes()))
}
