//! What the parts of a run have agreed on: which run it is, and who does which units. The first part writes it, and all
//! others compare it with their own.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Part;
use super::split::split;
use super::units::{Unit, Units};
use crate::base::{DeviceName, Digest, cpu_name, instruction_set, read, write_new};
use crate::run::RunError;
use crate::suite::Suite;

/// Version of the file.
const SCHEMA: u32 = 1;

/// A field of the suite that changes no number.
const LIMITS: &str = "limits";

/// Content of `parts/plan.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Division {
    schema: u32,
    /// Version of the program.
    version: String,
    /// Number of parts.
    parts: usize,
    /// Digest of the suite and its inputs.
    run: Digest,
    /// Digest of each field of the suite, to name those that differ.
    suite: BTreeMap<String, Digest>,
    /// Instruction set and kind of device, which decide how numbers are rounded.
    instruction_set: String,
    device: String,
    /// Name of the first part's processor.
    processor: Option<String>,
    units: Vec<Assigned>,
}

/// A unit with its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Assigned {
    control: Option<String>,
    hook: String,
    method: String,
    /// Number of the part.
    part: usize,
    /// Usual seconds on one core.
    seconds: f64,
}

impl Assigned {
    fn is(&self, unit: &Unit) -> bool {
        let (control, hook) = unit.place;
        self.control.as_deref() == control && self.hook == hook.to_string() && self.method == unit.method
    }
}

impl Division {
    /// What this process would agree on.
    pub fn new(suite: &Suite, run: Digest, device: DeviceName, all: &Units, parts: usize) -> Self {
        let value = serde_json::to_value(suite).unwrap_or_default();
        let fields = value.as_object().into_iter().flatten();
        let assigned = |(unit, part): (&Unit, usize)| Assigned {
            control: unit.place.0.map(Into::into),
            hook: unit.place.1.to_string(),
            method: unit.method.clone(),
            part,
            seconds: unit.seconds,
        };
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            parts,
            run,
            suite: fields
                .map(|(name, value)| (name.clone(), Digest::of(value.to_string().as_bytes())))
                .collect(),
            instruction_set: instruction_set().into(),
            device: match device {
                DeviceName::Cpu => "cpu".into(),
                DeviceName::Cuda(_) => "cuda".into(),
            },
            processor: cpu_name(),
            units: all.units.iter().zip(split(all, parts)).map(assigned).collect(),
        }
    }

    /// The division in force: that of the file, or this one, which is then written there.
    pub fn agree(&self, path: &Path, part: Part) -> Result<Self, RunError> {
        let bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        if write_new(path, &bytes)? {
            return Ok(self.clone());
        }
        let remedy =
            "remove the folder `parts` in the run folder, and start the parts again: rows that are done stay";
        let unusable = |why: String| RunError::Input {
            path: path.to_path_buf(),
            why: format!("does not say who does which rows ({why}): {remedy}"),
        };
        let found: Self =
            serde_json::from_slice(&read(path)?).map_err(|error| unusable(error.to_string()))?;
        if let Some(what) = self.differences(&found) {
            let folder = path.parent().and_then(Path::parent).unwrap_or(path).display();
            let problem = format!(
                "is {part}, but `{folder}` holds parts of another run: {what}. Give every part the same command, or \
                 another folder with `--out`"
            );
            return Err(RunError::Setting { field: "--part".into(), problem });
        }
        Ok(found)
    }

    /// What keeps this process from doing a part of the run that was found; none if nothing does.
    fn differences(&self, found: &Self) -> Option<String> {
        let mut all = Vec::new();
        let mut compare = |what: &str, own: &str, theirs: &str| {
            if own != theirs {
                all.push(format!("{what} there is {theirs}, here {own}"));
            }
        };
        compare("the number of parts", &self.parts.to_string(), &found.parts.to_string());
        compare("the version of this program", &self.version, &found.version);
        compare("the instruction set", &self.instruction_set, &found.instruction_set);
        compare("the device", &self.device, &found.device);
        compare("the version of the division", &self.schema.to_string(), &found.schema.to_string());
        if self.run != found.run {
            let names = self.suite.keys().chain(found.suite.keys());
            let differs = |name: &&String| *name != LIMITS && self.suite.get(*name) != found.suite.get(*name);
            let mut fields: Vec<String> = names.filter(differs).map(|name| format!("`{name}`")).collect();
            fields.sort();
            fields.dedup();
            all.push(match fields.as_slice() {
                [] => "the model, the text or a dictionary that the suite names differs".into(),
                fields => format!("the suite has another {}", fields.join(", ")),
            });
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The part of each unit; none if the file lacks one.
    pub fn owners(&self, units: &[Unit]) -> Option<Vec<usize>> {
        let owner = |unit: &Unit| self.units.iter().find(|assigned| assigned.is(unit)).map(|one| one.part);
        units.iter().map(owner).collect()
    }

    /// What to tell if the first part ran on another processor.
    pub fn other_processor(&self) -> Option<String> {
        let (there, here) = (self.processor.as_ref()?, cpu_name()?);
        (*there != here).then(|| {
            format!(
                "the first part ran on another processor ({there}) than this one ({here}): activations are the same \
                 files, but other numbers can differ in their last digits"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn division(parts: usize, seed: u64, run: &str) -> Division {
        let unit = Unit {
            place: (None, "hook_embed".parse().expect("a hook point")),
            method: "topk".into(),
            matched: None,
            rows: 1,
            fit: 1.0,
            seconds: 2.0,
        };
        let all = Units { units: vec![unit], ..Units::default() };
        let suite = crate::suite::parse(
            &format!(
                "name: s\nseed: {seed}\nsubject: {{model: embedded}}\ncorpus: {{source: embedded, fit_tokens: 60_000, \
                 ctx_tokens: 128, eval_fragments: 1_500}}\nhooks: [hook_embed]\nmethods: [{{kind: random}}]\npairs: [token_lookup_fit]\ncontrols: []\n\
                 statistics: {{reference: random}}\n"
            ),
            Path::new("s.yaml"),
            &[],
        )
        .expect("a suite");
        Division::new(&suite, Digest::of(run.as_bytes()), DeviceName::Cpu, &all, parts)
    }

    #[test]
    fn the_first_part_decides_and_others_are_told_what_differs() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("parts/plan.json");
        let part = |of| Part { nth: 1, of };
        let first = division(3, 7, "a");
        first.agree(&path, part(3)).expect("written");
        let again = first.agree(&path, part(3)).expect("the same");
        assert_eq!(again.units, first.units);
        for (other, said) in [
            (division(4, 7, "a"), "the number of parts there is 3, here 4"),
            (division(3, 8, "b"), "the suite has another `seed`"),
            (division(3, 7, "b"), "the model, the text or a dictionary"),
            (Division { version: "0.0.0".into(), ..first.clone() }, "the version of this program there is"),
            (Division { instruction_set: "other".into(), ..first.clone() }, "the instruction set there is"),
            (Division { device: "cuda".into(), ..first.clone() }, "the device there is cpu, here cuda"),
        ] {
            let told = other.agree(&path, part(other.parts)).expect_err("refused").to_string();
            assert!(told.contains(said) && told.contains("`--out`"), "{told}");
        }
        crate::base::write_atomic(&path, b"{").expect("written");
        let told = first.agree(&path, part(3)).expect_err("damaged").to_string();
        assert!(told.contains("does not say who does which rows"), "{told}");
    }
}
