//! How to cite a run: in words, and as a BibTeX entry. Nothing in it depends on time or path.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::escape::visible;
use super::layout::Layout;
use super::manifest::ManifestView;
use super::schema::Summary;
use super::{ReportError, read_json};

/// Author of the program, as in `CITATION.cff`.
const AUTHOR: &str = "The autointerp authors";

/// Digits of a run's digest in the key of its entry.
const KEY_DIGITS: usize = 8;

/// How to cite a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Citation {
    /// In words: the program with its version, the suite, the run's digest, models and corpus with their revisions.
    pub text: String,
    /// The same as a BibTeX entry.
    pub bibtex: String,
}

impl Citation {
    /// How to cite the run of a folder.
    pub fn read(run_folder: &Path) -> Result<Self, ReportError> {
        let layout = Layout::new(run_folder);
        if !layout.summary().exists() {
            return Err(ReportError::NoSummary(run_folder.to_path_buf()));
        }
        let manifest: Option<serde_json::Value> = read_json(&layout.manifest())?;
        let manifest = manifest.as_ref().map(ManifestView::from_value);
        Ok(Self::of(&Summary::read(&layout.summary())?, manifest.as_ref()))
    }

    /// How to cite a run. What the manifest does not tell is left out.
    pub(super) fn of(summary: &Summary, manifest: Option<&ManifestView>) -> Self {
        let version = manifest.and_then(|manifest| manifest.version.as_deref()).map(visible);
        let (suite, run) = (visible(&summary.suite), visible(&summary.run));
        let mut about = vec![format!("Run {run} of the suite {suite}")];
        about.extend(manifest.into_iter().flat_map(inputs));
        let about = about.join("; ");
        let of_version = version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
        let text = format!("{AUTHOR}. autointerp{of_version} [computer program]. {about}.");
        let key: String = run.chars().filter(char::is_ascii_alphanumeric).take(KEY_DIGITS).collect();
        let mut fields =
            vec![("author", format!("{{{AUTHOR}}}")), ("title", "{autointerp} [computer program]".into())];
        fields.extend(version.map(|version| ("version", bibtex(&version))));
        fields.push(("note", bibtex(&about)));
        let lines: Vec<String> =
            fields.into_iter().map(|(name, value)| format!("  {name:<7} = {{{value}}}")).collect();
        Self { text, bibtex: format!("@software{{autointerp-{key},\n{}\n}}", lines.join(",\n")) }
    }
}

/// Models and corpus with their revisions, each with its part in the run.
fn inputs(manifest: &ManifestView) -> impl Iterator<Item = String> + '_ {
    let fact =
        |name: &str| manifest.facts.iter().find(|(known, _)| known == name).map(|(_, value)| visible(value));
    let with_revision = |what: &str, revision: &str| {
        let revision = fact(revision).map_or(String::new(), |revision| format!(" (revision {revision})"));
        Some(format!("{what} {}{revision}", fact(what)?))
    };
    let subject = with_revision("subject model", "revision of the model");
    let corpus = with_revision("corpus", "revision of the corpus");
    let models = manifest.usage.iter().map(|used| format!("language model {}", visible(&used.model)));
    subject.into_iter().chain(corpus).chain(models)
}

/// Text as the value of a BibTeX field: characters that TeX acts on are written out, braces in pairs too.
fn bibtex(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => written.push_str("{\\textbackslash}"),
            '{' => written.push_str("{\\textbraceleft}"),
            '}' => written.push_str("{\\textbraceright}"),
            '~' => written.push_str("{\\textasciitilde}"),
            '^' => written.push_str("{\\textasciicircum}"),
            '"' => written.push_str("{\\textquotedbl}"),
            '#' | '$' | '%' | '&' | '_' => written.extend(['\\', character]),
            other => written.push(other),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cited(suite: &str, manifest: Option<serde_json::Value>) -> Citation {
        let summary = Summary { suite: suite.into(), run: "0123456789abcdef".into(), ..Summary::default() };
        Citation::of(&summary, manifest.as_ref().map(ManifestView::from_value).as_ref())
    }

    #[test]
    fn a_citation_names_version_suite_digest_models_and_revisions() {
        let found = cited(
            "residual",
            Some(json!({
                "version": "0.1.0",
                "subject": {"name": "EleutherAI/pythia-70m", "revision": "a39f36b"},
                "suite": {"corpus": {"source": "hub:some/text"}},
                "corpus": {"revision": "beef"},
                "llm_usage": {"gpt_x": {}},
            })),
        );
        assert_eq!(
            found.text,
            "The autointerp authors. autointerp, version 0.1.0 [computer program]. Run 0123456789abcdef of the suite \
             residual; subject model EleutherAI/pythia-70m (revision a39f36b); corpus hub:some/text (revision beef); \
             language model gpt_x."
        );
        assert_eq!(
            found.bibtex,
            "@software{autointerp-01234567,\n  author  = {{The autointerp authors}},\n  \
             title   = {{autointerp} [computer program]},\n  version = {0.1.0},\n  note    = {Run 0123456789abcdef of \
             the suite residual; subject model EleutherAI/pythia-70m (revision a39f36b); corpus hub:some/text \
             (revision beef); language model gpt\\_x}\n}"
        );
    }

    #[test]
    fn a_run_without_a_manifest_is_cited_by_its_digest() {
        let found = cited("a {b}\n%", None);
        assert!(found.text.ends_with("Run 0123456789abcdef of the suite a {b} %."), "{}", found.text);
        assert!(!found.bibtex.contains("version"));
        assert!(found.bibtex.contains("a {\\textbraceleft}b{\\textbraceright} \\%}"), "{}", found.bibtex);
    }

    #[test]
    fn the_author_and_the_version_are_those_of_the_citation_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read_to_string(root.join("CITATION.cff")).expect("CITATION.cff");
        assert!(file.contains(&format!("\nauthors:\n  - name: {AUTHOR}\n")), "{file}");
        assert!(file.contains(&format!("\nversion: {}\n", env!("CARGO_PKG_VERSION"))), "{file}");
    }
}
