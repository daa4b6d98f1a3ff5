//! The layout of a run folder: the place of every file of a run. Whoever writes or reads one asks here.
//!
//! Names of suites, models and records become [`FileName`]s, so no name leads out of the folder and no two share a file.

use std::path::{Path, PathBuf};

use crate::base::FileName;

/// Name of the list of digests.
pub(super) const DIGESTS: &str = "digests.json";

/// Name of the page of a trace.
pub(super) const TRACE_PAGE: &str = "index.html";

/// What a run stores: results, evidence, dictionaries, and stages for a later run.
pub(super) const DATA: [&str; 13] = [
    "summary.json",
    "scores.jsonl",
    "manifest.json",
    "records",
    "continuations",
    "explanations",
    "simulations",
    "judgements",
    "profiles",
    "neighbours",
    "dictionaries",
    "controls",
    "stages",
];

/// What is drawn from it.
pub(super) const DRAWN: [&str; 13] = [
    "charts",
    "features",
    "features.html",
    "index.html",
    "table.md",
    "table.csv",
    "table.tex",
    "quality.csv",
    "differences.csv",
    "specificity.csv",
    "patching.csv",
    "patching_differences.csv",
    "erasure.csv",
];

/// What of a run somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Estimates, scores and inputs: what a comparison needs.
    Results,
    /// The same with all evidence: what pages are drawn from.
    Evidence,
    /// All files.
    Everything,
}

impl Part {
    /// Whether a file, named by its path inside the run folder, belongs to it.
    pub fn has(self, path: &str) -> bool {
        let top = path.split('/').next().unwrap_or_default();
        match self {
            Self::Results => DATA[..3].contains(&path),
            Self::Evidence => {
                DATA.contains(&top) && top != "stages" && !path.split('/').any(|part| part == "dictionaries")
            }
            Self::Everything => DATA.contains(&top) || DRAWN.contains(&top),
        }
    }
}

/// One dictionary at one hook point, of the subject or of a control's subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The hook point.
    pub hook: String,
    /// Name of the dictionary, see [`super::dictionary_name`].
    pub dictionary: String,
    /// The control whose dictionary this is; none for the subject's own.
    pub control: Option<String>,
}

/// A kind of evidence: JSON lines about the features of a dictionary. The name in `snake_case` is that of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum EvidenceFile {
    /// Fragments with true activations.
    Records,
    /// Texts written with the feature changed.
    Continuations,
    /// What explainers say.
    Explanations,
    /// Simulated activations.
    Simulations,
    /// What judges say of whole fragments.
    Judgements,
    /// Distributions of activations, and effects on the model's output.
    Profiles,
    /// Features with the closest directions.
    Neighbours,
}

impl EvidenceFile {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Records,
        Self::Continuations,
        Self::Explanations,
        Self::Simulations,
        Self::Judgements,
        Self::Profiles,
        Self::Neighbours,
    ];
}

/// A run folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// The layout of a folder, which need not exist.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_path_buf() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What tables and charts are drawn from.
    pub fn summary(&self) -> PathBuf {
        self.folder.join("summary.json")
    }

    /// What the run was made of.
    pub fn manifest(&self) -> PathBuf {
        self.folder.join("manifest.json")
    }

    /// One line per walked feature.
    pub fn scores(&self) -> PathBuf {
        self.folder.join("scores.jsonl")
    }

    /// Size and digest of every file.
    pub fn digests(&self) -> PathBuf {
        self.folder.join(DIGESTS)
    }

    /// Folder of the stored results of stages.
    pub fn stages(&self) -> PathBuf {
        self.folder.join("stages")
    }

    /// Folder of what the parts of a run share: its division, leases, activations, answers, and what was spent. It is
    /// no result: no digest covers it.
    pub fn parts(&self) -> PathBuf {
        self.folder.join("parts")
    }

    /// Who does which rows.
    pub fn division(&self) -> PathBuf {
        self.parts().join("plan.json")
    }

    /// Says that a part has begun.
    pub fn begun_part(&self, nth: usize) -> PathBuf {
        self.parts().join(format!("{nth}.begun"))
    }

    /// Held by a part as long as it is at work.
    pub fn part_lease(&self, nth: usize) -> PathBuf {
        self.parts().join(format!(".{nth}.lease"))
    }

    /// Folder of the leases of fits, rows and harvests, and of marks of rows that were not stored.
    pub fn part_turns(&self) -> PathBuf {
        self.parts().join("turns")
    }

    /// Activations of all parts.
    pub fn part_activations(&self) -> PathBuf {
        self.parts().join("activations")
    }

    /// Answers of language models to all parts.
    pub fn part_answers(&self) -> PathBuf {
        self.parts().join("answers")
    }

    /// What each process has spent and reserved.
    pub fn part_budget(&self) -> PathBuf {
        self.parts().join("budget")
    }

    /// Folder of the job files of a cluster, and of their logs.
    pub fn jobs(&self) -> PathBuf {
        self.folder.join("jobs")
    }

    /// Folder of the charts.
    pub fn charts(&self) -> PathBuf {
        self.folder.join("charts")
    }

    /// Folder of the pages of dictionaries.
    pub fn feature_pages(&self) -> PathBuf {
        self.folder.join("features")
    }

    /// Name of the page of a dictionary in [`Self::feature_pages`]. It is the same in an address.
    pub fn feature_page(place: &Place) -> String {
        let names = [Some(&place.hook), Some(&place.dictionary), place.control.as_ref()];
        let names: Vec<&str> = names.into_iter().flatten().map(String::as_str).collect();
        FileName::joined(&names, "--").with(".html")
    }

    /// Default folder of an export in a form.
    pub fn export(&self, form: &'static str) -> PathBuf {
        self.folder.join("exports").join(form)
    }

    /// Default folder of the causes of a feature.
    pub fn trace(&self, place: &Place, feature: usize) -> PathBuf {
        let name = FileName::joined(&[&place.hook, &place.dictionary, &feature.to_string()], "--");
        self.folder.join("traces").join(name)
    }

    /// The page of the causes of a feature, if it was traced, as an address for pages one folder below the run folder.
    pub fn traced(&self, place: &Place, feature: usize) -> Option<String> {
        let page = self.trace(place, feature).join(TRACE_PAGE);
        let below = page.strip_prefix(&self.folder).ok().filter(|_| page.is_file())?;
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        Some(format!("../{}", parts.join("/")))
    }

    /// The text of every token id.
    pub fn token_texts(&self) -> PathBuf {
        self.folder.join("records").join("tokens.json")
    }

    /// Evidence of a dictionary: `KIND/HOOK/DICTIONARY.jsonl`, of a control inside its folder.
    pub fn evidence(&self, place: &Place, kind: EvidenceFile) -> PathBuf {
        self.below(place, kind.into()).join(FileName::of(&place.dictionary).with(".jsonl"))
    }

    /// Folder of a dictionary: `dictionaries/HOOK/DICTIONARY`, of a control inside its folder.
    pub fn dictionary(&self, place: &Place) -> PathBuf {
        self.below(place, "dictionaries").join(FileName::of(&place.dictionary))
    }

    fn below(&self, place: &Place, kind: &str) -> PathBuf {
        let base = match &place.control {
            Some(control) => self.folder.join("controls").join(FileName::of(control)),
            None => self.folder.clone(),
        };
        base.join(kind).join(FileName::of(&place.hook))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn place(hook: &str, dictionary: &str, control: Option<&str>) -> Place {
        Place { hook: hook.into(), dictionary: dictionary.into(), control: control.map(Into::into) }
    }

    #[test]
    fn files_lie_where_the_documentation_says() {
        let layout = Layout::new(Path::new("run"));
        let usual = place("blocks.0.hook_resid_post", "topk_8.seed2", None);
        let shown = |path: PathBuf| path.to_string_lossy().replace('\\', "/");
        assert_eq!(
            shown(layout.evidence(&usual, EvidenceFile::Records)),
            "run/records/blocks.0.hook_resid_post/topk_8.seed2.jsonl"
        );
        assert_eq!(
            shown(layout.dictionary(&place("hook_embed", "topk", Some("random_weights")))),
            "run/controls/random_weights/dictionaries/hook_embed/topk"
        );
        assert_eq!(Layout::feature_page(&usual), "blocks.0.hook_resid_post--topk_8.seed2.html");
    }

    #[test]
    fn a_part_has_what_its_readers_need() {
        let has = |path: &str| [Part::Results, Part::Evidence, Part::Everything].map(|part| part.has(path));
        assert_eq!(has("summary.json"), [true, true, true]);
        assert_eq!(has("controls/random_weights/records/h/topk.jsonl"), [false, true, true]);
        assert_eq!(has("controls/random_weights/dictionaries/h/topk/card.json"), [false, false, true]);
        assert_eq!(has("stages/row-1.json"), [false, false, true]);
        assert_eq!(has("charts/a.svg"), [false, false, true]);
        assert_eq!(has("notes/summary.json"), [false, false, false]);
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            "(/|\\.\\./|[aA]|--|\\.|con){0,4}",
            Just("../../x".to_string()),
            Just("a".repeat(300)),
            any::<String>()
        ]
    }

    proptest! {
        #[test]
        fn places_have_files_of_their_own_inside_the_folder(
            mut places in proptest::collection::vec((name(), name(), proptest::option::of(name())), 1..8)
        ) {
            places.sort();
            places.dedup();
            let layout = Layout::new(Path::new("run"));
            let (mut files, mut pages) = (BTreeSet::new(), BTreeSet::new());
            for (hook, dictionary, control) in &places {
                let place = place(hook, dictionary, control.as_deref());
                let evidence = EvidenceFile::ALL.map(|kind| layout.evidence(&place, kind));
                for path in evidence.into_iter().chain([layout.dictionary(&place)]) {
                    let depth = if control.is_some() { 6 } else { 4 };
                    prop_assert_eq!(path.components().count(), depth, "{}", path.display());
                    prop_assert!(path.starts_with("run"));
                    prop_assert!(path.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                    prop_assert!(files.insert(path.to_string_lossy().to_lowercase()), "{} twice", path.display());
                }
                let page = Layout::feature_page(&place);
                prop_assert!(pages.insert(page.to_lowercase()), "{} twice", page);
            }
        }
    }
}
