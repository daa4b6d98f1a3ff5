//! The dictionaries that have a page, and the file names of these pages.

use std::collections::{BTreeSet, HashMap};

use crate::report::layout::{Layout, Place};
use crate::report::schema::{Summary, dictionary_name};
use crate::report::scores::FeatureLine;

/// The pages of features, in the order of the tables.
#[derive(Debug, Default)]
pub struct Names {
    places: Vec<Place>,
    files: HashMap<Place, String>,
    /// Controls with dictionaries of their own; the others explain or score the subject's.
    own_dictionaries: BTreeSet<String>,
}

impl Names {
    /// One page for each dictionary of the summary's quality rows or of a line.
    pub fn of(summary: &Summary, lines: &[FeatureLine]) -> Self {
        let own_dictionaries = summary.quality.iter().filter_map(|row| row.control.clone()).collect();
        let mut names = Self { own_dictionaries, ..Self::default() };
        for row in &summary.quality {
            for nth in 0..row.trainings.unwrap_or(1) {
                let dictionary = dictionary_name(&row.method, u32::try_from(nth).ok());
                let place = Place { hook: row.hook.clone(), dictionary, control: row.control.clone() };
                names.add(place);
            }
        }
        for line in lines {
            names.add(names.place_of(line));
        }
        names
    }

    fn add(&mut self, place: Place) {
        if !self.files.contains_key(&place) {
            self.files.insert(place.clone(), Layout::feature_page(&place));
            self.places.push(place);
        }
    }

    pub fn place_of(&self, line: &FeatureLine) -> Place {
        let control = line.control.clone().filter(|control| self.own_dictionaries.contains(control));
        Place { hook: line.hook.clone(), dictionary: dictionary_name(&line.method, line.training), control }
    }

    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The file of a dictionary's page, inside `features/`.
    pub fn file(&self, place: &Place) -> Option<&str> {
        self.files.get(place).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::schema::QualityRow;

    #[test]
    fn trainings_and_controls_have_pages_of_their_own_and_names_stay_apart() {
        let row = |method: &str, trainings, control: Option<&str>| QualityRow {
            hook: "blocks.0.hook_resid_post".into(),
            method: method.into(),
            trainings,
            control: control.map(Into::into),
            ..QualityRow::default()
        };
        let quality = vec![
            row("topk", Some(2), None),
            row("topk", None, Some("random_weights")),
            row("a/b", None, None),
            row("A:b", None, None),
        ];
        let names = Names::of(&Summary { quality, ..Summary::default() }, &[]);
        let files: Vec<&str> = names.places().iter().filter_map(|place| names.file(place)).collect();
        assert_eq!(
            files,
            [
                "blocks.0.hook_resid_post--topk.html",
                "blocks.0.hook_resid_post--topk.seed2.html",
                "blocks.0.hook_resid_post--topk--random_weights.html",
                "blocks.0.hook_resid_post--a@2fb.html",
                "blocks.0.hook_resid_post--A@3ab@u80000.html",
            ]
        );
    }
}
