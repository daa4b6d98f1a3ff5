//! Which features of each method are walked: `per_cell`, `ids` and `ids_file`, of the suite or of the method.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{Rules, Usual};
use crate::base::open;
use crate::suite::baselines::resolve;
use crate::suite::features::{FeatureChoice, Features, MOST_IDS};
use crate::suite::spec::MethodFields;

/// Largest file of ids, in bytes: about a million ids.
const MOST_BYTES: u64 = 8 << 20;

/// Longest text of a line that a message shows, in characters.
const SHOWN: usize = 40;

impl Rules {
    /// The features of a method: its own choice, or else the suite's.
    pub(super) fn features_of(
        &mut self,
        path: &str,
        fields: &MethodFields,
        usual: &Usual<'_>,
    ) -> Option<FeatureChoice> {
        let path = format!("{path}.features");
        let own = fields.features.as_ref().and_then(|own| self.feature_choice(&path, own, usual.folder));
        let chosen = || usual.features.clone().filter(|usual| matches!(usual, FeatureChoice::Ids(_)));
        own.or_else(chosen)
    }

    /// One level's choice; none if it says nothing or is wrong.
    pub(super) fn feature_choice(
        &mut self,
        path: &str,
        features: &Features,
        folder: &Path,
    ) -> Option<FeatureChoice> {
        let Features { per_cell, ids, ids_file } = features;
        let given =
            [("per_cell", per_cell.is_some()), ("ids", ids.is_some()), ("ids_file", ids_file.is_some())];
        let given: Vec<&str> = given.into_iter().filter(|(_, is)| *is).map(|(name, _)| name).collect();
        if let [first, second, ..] = given.as_slice() {
            let message = format!(
                "is given beside `{first}`: keep {} to score exactly the features listed{}",
                if *first == "per_cell" { format!("`{second}`") } else { "one of them".into() },
                if *first == "per_cell" { ", or `per_cell` for a random sample" } else { "" },
            );
            self.wrong(&format!("{path}.{second}"), message);
            return None;
        }
        let found = match (per_cell, ids, ids_file) {
            (Some(n), ..) => return Some(FeatureChoice::PerCell(*n)),
            (_, Some(ids), _) => {
                let place = |nth| (format!("{path}.ids.{nth}"), String::new());
                let ids = ids.iter().enumerate().filter_map(|(nth, id)| Some((place(nth), (*id)?)));
                ids.collect()
            }
            (.., Some(file)) => match read_ids(file, &resolve(file, folder)) {
                Ok(ids) => {
                    let place =
                        |line| (format!("{path}.ids_file"), format!("names `{file}`, whose line {line} "));
                    ids.into_iter().map(|(line, id)| (place(line), id)).collect()
                }
                Err(message) => {
                    self.wrong(&format!("{path}.ids_file"), message);
                    return None;
                }
            },
            (None, None, None) => return None,
        };
        Some(FeatureChoice::Ids(self.distinct_ids(found)))
    }

    /// Ids without duplicates, each of which is a problem. Places are the path, and words in front of the message.
    fn distinct_ids(&mut self, found: Vec<((String, String), usize)>) -> Vec<usize> {
        let mut ids = Vec::with_capacity(found.len());
        let mut seen = std::collections::HashSet::new();
        for ((path, words), id) in found {
            if seen.insert(id) {
                ids.push(id);
            } else {
                self.wrong(&path, format!("{words}repeats feature {id}: name each feature once"));
            }
        }
        ids
    }

    /// Checks the ids against the number of features, where the method itself states it.
    pub(super) fn check_ids(
        &mut self,
        path: &str,
        features: Option<&FeatureChoice>,
        own: &Map<String, Json>,
    ) {
        let Some(FeatureChoice::Ids(ids)) = features else { return };
        let stated =
            ["features", "components"].iter().find_map(|field| Some((*field, own.get(*field)?.as_u64()?)));
        let Some((field, n)) = stated else { return };
        let variants = own.get("variants").and_then(Json::as_array);
        let one_side = |name: &Json| matches!(name.as_str(), Some("fitted" | "oriented"));
        // The row with the fewest features decides, since all rows of a method have the same ids.
        let sides = match variants {
            Some(variants) if !variants.iter().any(one_side) => 2,
            _ => 1,
        };
        let n = sides * n as usize;
        if let Some(id) = ids.iter().find(|&&id| id >= n) {
            let at = format!("{path}.{field}");
            let message =
                format!("gives {n} features, 0 to {}, but the suite chooses feature {id}", n.max(1) - 1);
            self.wrong(&at, message);
        }
    }
}

/// Ids with their lines, counted from 1. `Err` is a message for the field that named the file.
fn read_ids(name: &str, path: &Path) -> Result<Vec<(usize, usize)>, String> {
    let mut bytes = Vec::new();
    let unreadable = |error: std::io::Error| {
        format!("cannot read `{name}` ({error}); expected a file with one feature id a line")
    };
    let file = open(path).map_err(|error| unreadable(error.source))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("names `{name}`, which is larger than {} MB", MOST_BYTES >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        format!("names `{name}`, whose byte {} is not UTF-8", error.utf8_error().valid_up_to())
    })?;
    let mut ids = Vec::new();
    for (nth, line) in text.strip_prefix('\u{feff}').unwrap_or(&text).lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let Ok(id) = word.parse::<u32>() else {
            let shown: String = word.chars().take(SHOWN).collect();
            return Err(format!(
                "names `{name}`, whose line {} is {shown:?}; expected the index of a feature, a whole number from 0",
                nth + 1
            ));
        };
        ids.push((nth + 1, id as usize));
    }
    if ids.len() > MOST_IDS {
        return Err(format!("names `{name}`, which holds {} ids, expected at most {MOST_IDS}", ids.len()));
    }
    if ids.is_empty() {
        return Err(format!("names `{name}`, which holds no feature id; expected one a line"));
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use crate::base::write_atomic;
    use crate::suite::{FeatureChoice, QualityPass, Suite, load};

    /// Loads a suite with these lines, beside a file `ids.txt`.
    fn suite(lines: &str, ids: &str) -> Result<Suite, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("suite.yaml");
        let text = format!("hooks: [hook_embed]\n{lines}\n");
        write_atomic(&path, text.as_bytes()).expect("written");
        write_atomic(&folder.path().join("ids.txt"), ids.as_bytes()).expect("written");
        load(&path, &[]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_method_has_its_own_features_or_those_of_the_suite() {
        let lines = "features: {ids: [7, 3]}\nquality: false\nmethods:\n  - {kind: random, features: 9}\n  \
                     - {kind: pca, features: {per_cell: 5}, quality: sample}\n  \
                     - {kind: topk, features: {ids_file: ids.txt}}\n";
        let suite = suite(lines, "# chosen by hand\n\n12\n 4 # a bracket\r\n").expect("valid");
        let of: Vec<_> = suite.methods.iter().map(|method| method.features.clone()).collect();
        let ids = |ids: &[usize]| Some(FeatureChoice::Ids(ids.to_vec()));
        assert_eq!(of, [ids(&[7, 3]), Some(FeatureChoice::PerCell(5)), ids(&[12, 4])]);
        let quality: Vec<_> = suite.methods.iter().map(|method| method.quality).collect();
        assert_eq!(quality, [QualityPass::Off, QualityPass::Sample, QualityPass::Off]);
        let counts: Vec<_> = suite.methods.iter().map(|method| suite.n_features(method)).collect();
        assert_eq!(counts, [2, 5, 2]);
        assert!(suite.has_chosen_features("topk") && !suite.has_chosen_features("pca"));
        let json = serde_json::to_value(&suite.methods).expect("JSON");
        assert_eq!(json[0]["features"], serde_json::json!({"ids": [7, 3]}));
        assert_eq!(json[0]["params"]["features"], 9);
        assert_eq!(json[1]["quality"], "sample");
    }

    #[test]
    fn a_suite_without_chosen_features_is_written_as_before() {
        let suite =
            suite("features: {per_cell: 6}\nmethods: [{kind: topk, features: 1_000}]", "").expect("valid");
        assert_eq!(suite.per_cell, 6);
        let json = serde_json::to_value(&suite.methods[0]).expect("JSON");
        let keys: Vec<&str> = json.as_object().expect("a mapping").keys().map(String::as_str).collect();
        assert_eq!(keys, ["name", "params"]);
        assert_eq!(json["params"]["features"], 1000);
    }

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let method = "methods: [{kind: random, features: 16}]";
        for (lines, ids, expected) in [
            ("features: {ids: [3, 4, 3]}", "", "`features.ids.2` repeats feature 3"),
            ("features: {ids: [-1]}", "", "`features.ids.0` is -1, expected a whole number from 0"),
            ("features: {ids: [many]}", "", "`features.ids.0` expected a whole number"),
            ("features: {ids: []}", "", "`features.ids` is empty"),
            ("features: {ids: [1], per_cell: 4}", "", "is given beside `per_cell`: keep `ids`"),
            ("features: {ids: [1], ids_file: ids.txt}", "1", "is given beside `ids`"),
            ("features: {ids_file: none.txt}", "", "cannot read `none.txt`"),
            ("features: {ids_file: ids.txt}", "1\n\nx\u{1b}[31m\n", "whose line 3 is \"x\\u{1b}[31m\""),
            ("features: {ids_file: ids.txt}", "1\n-2\n", "whose line 2 is \"-2\""),
            ("features: {ids_file: ids.txt}", "5\n6\n5\n", "line 3 repeats feature 5"),
            ("features: {ids_file: ids.txt}", "# nothing\n", "holds no feature id"),
            ("features: {ids: [16]}", "", "gives 16 features, 0 to 15, but the suite chooses feature 16"),
            ("quality: none", "", "unknown quality `none` (known: full, sample, false)"),
            ("quality: true", "", "expected one of full, sample, false"),
        ] {
            let error = suite(&format!("{lines}\n{method}"), ids).expect_err(lines);
            assert!(error.contains(expected), "{lines}: {error}");
        }
        let both = "methods: [{kind: random, features: {ids: [1], per_cell: 3}}]";
        assert!(suite(both, "").expect_err("refused").contains("`methods.0.features.ids`"));
        assert!(
            suite("features: {ids: [31]}\nmethods: [{kind: pca, components: 16, variants: [split]}]", "")
                .is_ok()
        );
    }
}
