//! Finds, for each explained feature, the features with the nearest directions in all dictionaries of the hook
//! point. It runs after all rows, because it needs all dictionaries.

use serde::{Deserialize, Serialize};

use crate::base::{HookPoint, Matrix};
use crate::dictionary::{DirectionSet, Neighbour, SignPolicy, load, nearest};
use crate::report::EvidenceFile;
use crate::run::rows::row::RowResult;
use crate::run::{Event, JsonLines, RunError, StageKey, SubjectPass};

/// Version of the stage. Raise it when the same dictionaries give other neighbours.
const VERSION: u32 = 1;

/// Number of neighbours kept per list.
const N_NEIGHBOURS: usize = 5;

/// One line of `neighbours/HOOK/DICTIONARY.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct NeighbourLine {
    feature: usize,
    /// Nearest in its own dictionary.
    same: Vec<Neighbour>,
    /// Nearest in dictionaries with other directions.
    others: Vec<OtherNeighbour>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OtherNeighbour {
    dictionary: String,
    #[serde(flatten)]
    neighbour: Neighbour,
}

/// Explained features of one row.
struct Explained {
    name: String,
    features: Vec<usize>,
    /// Their unit directions.
    directions: Matrix,
    signed: bool,
    /// Where its directions are written: those of different places are not compared.
    place: HookPoint,
    /// All directions of its dictionary.
    set: DirectionSet,
}

/// Computes (or loads) the neighbours of all rows of a hook point and writes one file per row.
pub fn write_neighbours(
    pass: &SubjectPass<'_>,
    hook: HookPoint,
    rows: &[RowResult],
    on: &dyn Fn(Event),
) -> Result<(), RunError> {
    let mut key = StageKey::new("neighbours", VERSION).word(&hook.to_string());
    for row in rows {
        key = key.word(&row.name).input(row.dictionary.digest).params(&row.explained);
    }
    let stage = format!("neighbours {hook}");
    on(Event::work(stage.as_str(), 0, rows.len(), "rows"));
    let found: Vec<Vec<NeighbourLine>> = pass.run.store.stage(&key, on, || find(pass, hook, rows))?;
    on(Event::work(stage, rows.len(), rows.len(), "rows"));
    for (row, lines) in rows.iter().zip(found) {
        let place = pass.place(hook, &row.name);
        let path = pass.run.places.layout().evidence(&place, EvidenceFile::Neighbours);
        let mut file = JsonLines::create(&path)?;
        lines.iter().try_for_each(|line| file.line(line))?;
        file.commit()?;
    }
    Ok(())
}

fn find(
    pass: &SubjectPass<'_>,
    hook: HookPoint,
    rows: &[RowResult],
) -> Result<Vec<Vec<NeighbourLine>>, RunError> {
    // Of a dictionary that was read for some features alone, only those have directions.
    let open = |row: &RowResult| -> Result<(Option<Matrix>, Matrix, bool, HookPoint), RunError> {
        let dictionary = load(&pass.dictionary_folder(hook, &row.name))?;
        let info = dictionary.info();
        let place = info.output.unwrap_or(info.hook);
        let explained = dictionary.directions_of(&row.explained)?;
        let all = match dictionary.as_affine().kept() {
            Some(_) => None,
            None => Some(dictionary.directions()?),
        };
        Ok((all, explained, info.sign == SignPolicy::Signed, place))
    };
    let explained = |row: &RowResult| -> Result<Explained, RunError> {
        let (all, directions, signed, place) = open(row)?;
        Ok(Explained {
            name: row.name.clone(),
            features: row.explained.clone(),
            set: DirectionSet::of(all.as_ref().unwrap_or(&directions)),
            directions,
            signed,
            place,
        })
    };
    let explained: Vec<Explained> = rows.iter().map(explained).collect::<Result<_, _>>()?;
    let new = |of: &Explained| of.features.iter().map(|&feature| Closest::of(feature)).collect();
    let mut closest: Vec<Vec<Closest>> = explained.iter().map(new).collect();
    for (place, row) in rows.iter().enumerate() {
        // One dictionary is loaded at a time, because all of them may exceed memory.
        let (Some(directions), _, signed, _) = open(row)? else { continue };
        let candidate = &explained[place];
        // Among dictionaries with equal directions only the first is searched.
        let again = explained[..place].iter().any(|earlier| earlier.set.same_as(&candidate.set));
        for (other, closest) in explained.iter().zip(&mut closest) {
            if other.name == candidate.name {
                let found =
                    nearest(&other.directions, &directions, N_NEIGHBOURS, signed, Some(&other.features));
                closest.iter_mut().zip(found).for_each(|(closest, found)| closest.same = found);
            } else if !again && other.place == candidate.place && !other.set.same_as(&candidate.set) {
                let signed = signed || other.signed;
                let found = nearest(&other.directions, &directions, N_NEIGHBOURS, signed, None);
                closest
                    .iter_mut()
                    .zip(found)
                    .for_each(|(closest, found)| closest.add(&row.name, found, signed));
            }
        }
    }
    Ok(closest.into_iter().map(|all| all.into_iter().map(Closest::line).collect()).collect())
}

/// Nearest features of one feature so far.
struct Closest {
    feature: usize,
    same: Vec<Neighbour>,
    /// Each with its closeness. The cosine alone does not give it: its sign counts only for some pairs.
    others: Vec<(f32, OtherNeighbour)>,
}

impl Closest {
    fn of(feature: usize) -> Self {
        Self { feature, same: Vec::new(), others: Vec::new() }
    }

    /// Keeps the nearest. In a tie the earlier dictionary comes first.
    fn add(&mut self, dictionary: &str, found: Vec<Neighbour>, signed: bool) {
        for neighbour in found {
            let closeness = neighbour.closeness(signed);
            let place = self.others.partition_point(|(other, _)| *other >= closeness);
            let neighbour = OtherNeighbour { dictionary: dictionary.to_string(), neighbour };
            self.others.insert(place, (closeness, neighbour));
        }
        self.others.truncate(N_NEIGHBOURS);
    }

    fn line(self) -> NeighbourLine {
        let others = self.others.into_iter().map(|(_, other)| other).collect();
        NeighbourLine { feature: self.feature, same: self.same, others }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_cosine_is_close_only_where_a_sign_is_arbitrary() {
        let list = |cosines: &[f32]| -> Vec<Neighbour> {
            cosines.iter().enumerate().map(|(feature, &cosine)| Neighbour { feature, cosine }).collect()
        };
        let mut closest = Closest::of(3);
        closest.add("pca", list(&[-0.9, 0.5]), true);
        closest.add("topk", list(&[0.7, 0.5, -0.2]), false);
        closest.add("random", list(&[0.1, 0.05]), false);
        let line = closest.line();
        let shown: Vec<(&str, f32)> =
            line.others.iter().map(|other| (other.dictionary.as_str(), other.neighbour.cosine)).collect();
        let expected = [("pca", -0.9), ("topk", 0.7), ("pca", 0.5), ("topk", 0.5), ("random", 0.1)];
        assert_eq!(shown, expected);
        let json = serde_json::to_string(&line).expect("JSON");
        assert!(json.starts_with(
            r#"{"feature":3,"same":[],"others":[{"dictionary":"pca","feature":0,"cosine":-0.9}"#
        ));
    }
}
