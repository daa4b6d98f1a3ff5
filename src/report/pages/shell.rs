//! The shell of every page: head, content security policy, style and script.

use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, context};

use super::packed::base64;
use crate::base::Digest;
use crate::report::ReportError;

const STYLE: &str = include_str!("style.css");
/// Runs before anything is drawn, so that a page does not flash in the other theme.
const THEME: &str = include_str!("theme.js");
const SHARED: &str = include_str!("shared.js");

/// A kind of page: its template and its script.
#[derive(Clone, Copy)]
pub struct Kind {
    template: &'static str,
    script: &'static str,
    /// Whether it shows other pages in frames.
    frames: bool,
}

/// `index.html`.
pub const INDEX: Kind = Kind {
    template: "index.html",
    script: concat!(include_str!("index.js"), include_str!("index/charts.js")),
    frames: false,
};
/// `features.html`.
pub const EXPLORER: Kind = Kind {
    template: "explorer.html",
    script: concat!(include_str!("compare.js"), include_str!("explorer.js")),
    frames: true,
};
/// The features of one dictionary.
pub const FEATURE: Kind = Kind {
    template: "feature.html",
    script: concat!(
        include_str!("frame.js"),
        include_str!("feature/packed.js"),
        include_str!("feature/glance.js"),
        include_str!("feature.js")
    ),
    frames: false,
};

/// The causes of a feature.
pub const TRACE: Kind = Kind { template: "trace.html", script: include_str!("trace.js"), frames: false };

pub fn environment() -> Result<Environment<'static>, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let templates = [
        ("shell.html", include_str!("shell.html.jinja")),
        ("index.html", include_str!("index.html.jinja")),
        ("verdict.html", include_str!("index/verdict.html.jinja")),
        ("patching.html", include_str!("index/patching.html.jinja")),
        ("erasure.html", include_str!("index/erasure.html.jinja")),
        ("explorer.html", include_str!("explorer.html.jinja")),
        ("feature.html", include_str!("feature.html.jinja")),
        ("trace.html", include_str!("trace.html.jinja")),
    ];
    for (name, text) in templates {
        environment.add_template(name, text).map_err(ReportError::Page)?;
    }
    Ok(environment)
}

/// Fills a page. `json` must be inert; `images` says whether charts are linked as images.
pub fn page(
    environment: &Environment<'_>,
    kind: Kind,
    page: Value,
    json: &str,
    images: bool,
) -> Result<String, ReportError> {
    let script = format!("{SHARED}{}", kind.script);
    let images = if images { "'self'" } else { "'none'" };
    // Not every browser counts a file beside a file as 'self'.
    let frames = if kind.frames { "'self' file:" } else { "'none'" };
    let policy = format!(
        "default-src 'none'; script-src {} {}; style-src {}; img-src {images}; frame-src {frames}; base-uri 'none'; \
         form-action 'none'",
        source(THEME),
        source(&script),
        source(STYLE)
    );
    let safe = |text: &str| Value::from_safe_string(text.to_string());
    let shell = context! {
        policy => safe(&policy),
        style => safe(STYLE),
        theme => safe(THEME),
        script => safe(&script),
        data => safe(json),
        ..page
    };
    let template = environment.get_template(kind.template).map_err(ReportError::Page)?;
    template.render(shell).map_err(ReportError::Page)
}

fn source(text: &str) -> String {
    format!("'sha256-{}'", base64(&Digest::of(text.as_bytes()).bytes()))
}
