//! Methods: files of `use`, sweeps, trainings, and the checks of their kind.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::{Rules, Usual, matched};
use crate::dictionary::{Kind, MethodParams};
use crate::features::Protocol;
use crate::report::dictionary_name;
use crate::suite::baselines;
use crate::suite::checked::{MethodSpec, TrainingSpec};
use crate::suite::features::FeatureChoice;
use crate::suite::names::{Names, only_case};
use crate::suite::node::{Node, Value, shortened};
use crate::suite::read::{Reader, unknown};
use crate::suite::schema::{self, MOST_ROWS};
use crate::suite::spec::MethodFields;

/// Most features scored at each hook point, over all rows.
const MOST_FEATURES: usize = 10_000_000;

/// How many rows and scored features a suite may still have at each hook point.
struct Room {
    rows: usize,
    features: usize,
}

impl Room {
    /// Takes the rows of a method, or says which field asks for too many.
    fn take(&mut self, rows: usize, features: Option<&FeatureChoice>) -> Option<(&'static str, String)> {
        let each = match features {
            Some(FeatureChoice::PerCell(n)) => *n,
            Some(FeatureChoice::Ids(ids)) => ids.len(),
            None => 0,
        };
        let Some(left) = self.rows.checked_sub(rows) else {
            let message = format!(
                "asks for {rows} rows at each hook point (methods, with each value of `sweep`, each of `seeds` and each \
                 of `variants`), and {} of {MOST_ROWS} are left: divide the suite into several",
                self.rows
            );
            return Some(("", message));
        };
        let Some(left_features) = self.features.checked_sub(rows * each) else {
            let message = format!(
                "asks for {rows} times {each} features at each hook point, and {} of {MOST_FEATURES} are left: score \
                 fewer",
                self.features
            );
            return Some((".features", message));
        };
        (self.rows, self.features) = (left, left_features);
        None
    }
}

impl Rules {
    /// Merges the fields of the file named by `use` into each method. The method's own fields take precedence.
    pub(super) fn merge_used_files(&mut self, folder: &Path) {
        let Value::Map(entries) = &mut self.root.value else { return };
        let Some((_, _, methods)) = entries.iter_mut().find(|(key, _, _)| key == "methods") else { return };
        let mut items: Vec<(String, &mut Node)> = match &mut methods.value {
            Value::List(items) => {
                items.iter_mut().enumerate().map(|(nth, item)| (format!("methods.{nth}"), item)).collect()
            }
            _ => vec![("methods".to_string(), methods)],
        };
        // A longer list is refused, and no file need be read for it.
        if items.len() > MOST_ROWS {
            return;
        }
        for (path, item) in &mut items {
            self.uses.push(merge_used_file(item, path, folder, &mut self.reader));
        }
    }

    /// The methods with sweeps and trainings expanded.
    pub(super) fn methods(
        &mut self,
        entries: &[Option<Map<String, Json>>],
        usual: &Usual<'_>,
    ) -> Vec<MethodSpec> {
        let mut methods: Vec<(MethodSpec, usize)> = Vec::new();
        let mut room = Room { rows: MOST_ROWS, features: MOST_FEATURES };
        for (nth, entry) in entries.iter().enumerate() {
            let Some(entry) = entry else { continue };
            let read = self.method(nth, entry, usual, &mut room).unwrap_or_default();
            methods.extend(read.into_iter().map(|method| (method, nth)));
        }
        self.check_names(&methods);
        methods.into_iter().map(|(method, _)| method).collect()
    }

    fn method(
        &mut self,
        nth: usize,
        entry: &Map<String, Json>,
        usual: &Usual<'_>,
        room: &mut Room,
    ) -> Option<Vec<MethodSpec>> {
        let path = &format!("methods.{nth}");
        let all = &*schema::METHOD;
        // As a number, `features` belongs to the kind.
        let is_own_number = |key: &str, value: &Json| key == "features" && value.is_number();
        let is_common =
            |key: &str, value: &Json| !all["properties"][key].is_null() && !is_own_number(key, value);
        let entries = entry.iter().map(|(key, value)| (key.clone(), value.clone()));
        let (common, mut own): (Map<String, Json>, Map<String, Json>) =
            entries.partition(|(key, value)| is_common(key, value));
        let fields: MethodFields = self.typed(path, Json::Object(common))?;
        let kind = Kind::named(&fields.kind)?;
        if let Some(protocol) = usual.published {
            publish(kind, &mut own, protocol);
        }
        let features = self.features_of(path, &fields, usual);
        if fields.seeds > 1 && !kind.draws() {
            let message =
                format!("`{kind}` draws nothing at random, so all trainings would be equal: leave it out");
            self.wrong(&format!("{path}.seeds"), message);
            return None;
        }
        let family = fields.name.clone().unwrap_or_else(|| fields.kind.clone());
        self.check_name(&format!("{path}.name"), &family);
        let points = self.sweep(path, kind, &fields)?;
        self.match_usual(path, &mut own, &fields, usual)?;
        self.take_room(
            path,
            room,
            points.len() * fields.seeds as usize,
            &own,
            features.as_ref().or(usual.features.as_ref()),
        )?;
        let mut methods = Vec::new();
        for point in points {
            let mut own = own.clone();
            let mut name = family.clone();
            if let Some((field, value, _)) = &point {
                name = format!("{family}_{value}");
                own.insert(field.clone(), value.clone());
            }
            self.check_ids(path, features.as_ref(), &own);
            let params = self.params(path, kind, own, point.as_ref())?;
            for training in 0..fields.seeds {
                methods.push(MethodSpec {
                    name: dictionary_name(&name, Some(training)),
                    params: params.clone(),
                    training: (fields.seeds > 1)
                        .then(|| TrainingSpec { method: name.clone(), nth: training }),
                    sweep: point.as_ref().map(|_| family.clone()),
                    located: None,
                    only_at: None,
                    of_other_model: false,
                    features: features.clone(),
                    quality: fields.quality.unwrap_or(usual.quality),
                });
            }
        }
        Some(methods)
    }

    /// Fills in `match`, if a `topk` variant needs it. None if the suite has no method to match.
    fn match_usual(
        &mut self,
        path: &str,
        own: &mut Map<String, Json>,
        fields: &MethodFields,
        usual: &Usual<'_>,
    ) -> Option<()> {
        if !matched::is_open(own, fields) {
            return Some(());
        }
        let Some(name) = &usual.matched else {
            self.wrong(&format!("{path}.match"), matched::NOTHING);
            return None;
        };
        own.insert("match".into(), name.as_str().into());
        Some(())
    }

    /// Counts the rows of a method, before they are made. None if there are too many.
    fn take_room(
        &mut self,
        path: &str,
        room: &mut Room,
        fits: usize,
        own: &Map<String, Json>,
        features: Option<&FeatureChoice>,
    ) -> Option<()> {
        let rows = fits * own.get("variants").and_then(Json::as_array).map_or(1, Vec::len);
        let Some((field, message)) = room.take(rows, features) else { return Some(()) };
        self.wrong(&format!("{path}{field}"), message);
        None
    }

    /// One point (field, value, path of the value) per swept value, or a single none without a sweep.
    fn sweep(
        &mut self,
        path: &str,
        kind: Kind,
        fields: &MethodFields,
    ) -> Option<Vec<Option<(String, Json, String)>>> {
        let Some((field, values)) = fields.sweep.as_ref().and_then(|sweep| sweep.iter().next()) else {
            return Some(vec![None]);
        };
        let own = kind.fields();
        let Some(schema) = own["properties"].get(field) else {
            let known: Vec<&str> =
                own["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            self.wrong(&format!("{path}.sweep"), unknown(field, "field", &known));
            return None;
        };
        let mut points = Vec::new();
        for (nth, value) in values.iter().enumerate() {
            let place = format!("{path}.sweep.{field}.{nth}");
            let node = self.root.find(&place)?.clone();
            self.reader.value(schema, &node, &format!("{path}.{field}"))?;
            points.push(Some((field.clone(), Json::Number(value.clone()), place)));
        }
        Some(points)
    }

    /// The checked parameters of a kind. A problem of the swept field is reported at the path of `point`.
    fn params(
        &mut self,
        path: &str,
        kind: Kind,
        own: Map<String, Json>,
        point: Option<&(String, Json, String)>,
    ) -> Option<MethodParams> {
        if self.reader.is_wrong(path) {
            return MethodParams::of_kind(kind, Json::Object(own)).ok();
        }
        let params = match MethodParams::of_kind(kind, Json::Object(own)) {
            Ok(params) => params,
            Err(error) => {
                self.wrong(path, error.to_string());
                return None;
            }
        };
        for found in params.check().err().unwrap_or_default() {
            let field = format!("{path}.{}", found.field);
            let place = point.filter(|(name, ..)| *name == found.field).map(|(.., place)| place);
            let at = self.root.place(place.unwrap_or(&field));
            self.reader.wrong(&field, at, found.message);
        }
        Some(params)
    }

    /// Row names must be distinct, and `match` must name a sparse method of the suite.
    fn check_names(&mut self, methods: &[(MethodSpec, usize)]) {
        let mut rows = Names::default();
        for (method, nth) in methods {
            for row in method.row_names() {
                let message = match rows.add(&row) {
                    None => continue,
                    Some(same) if same == row => {
                        format!("`{row}` is used twice: give one of them another `name`")
                    }
                    Some(other) => only_case(&row, &other),
                };
                self.wrong(&format!("methods.{nth}"), message);
            }
        }
        let names: Vec<&str> = methods.iter().map(|(other, _)| other.name.as_str()).collect();
        for (method, nth) in methods {
            let Some(name) = method.params.matched() else { continue };
            if names.contains(&name) && name != method.name {
                continue;
            }
            let from = self.uses.get(*nth).cloned().flatten();
            let others: Vec<&str> = names.iter().copied().filter(|other| *other != method.name).collect();
            let message = match from {
                Some(file) => format!(
                    "takes its k from the method `{name}` (set in `{file}`), but the suite has no method of that name: \
                     write `match: NAME` beside `use:` (methods here: {})",
                    if others.is_empty() { "none".to_string() } else { others.join(", ") }
                ),
                None => unknown(name, "method", &others),
            };
            self.wrong(&format!("methods.{nth}.match"), message);
        }
    }
}

/// Merges the file of `use` into a method and returns the file's name.
fn merge_used_file(item: &mut Node, path: &str, folder: &Path, reader: &mut Reader) -> Option<String> {
    let Value::Map(entries) = &mut item.value else { return None };
    let (_, at, file) = entries.iter().find(|(key, _, _)| key == "use")?.clone();
    let Value::Text(file) = &file.value else { return None };
    let base = match baselines::load(file, folder) {
        Ok(Node { value: Value::Map(base), .. }) => base,
        Ok(other) => {
            reader.wrong(
                path,
                at,
                format!("`{}` holds {}, expected a mapping", shortened(file), other.kind()),
            );
            Vec::new()
        }
        Err(message) => {
            reader.wrong(&format!("{path}.use"), at, message);
            Vec::new()
        }
    };
    for (key, _, mut value) in base {
        if !entries.iter().any(|(other, _, _)| *other == key) {
            value.at = at;
            entries.push((key, at, value));
        }
    }
    Some(file.clone())
}

/// Defaults of the published comparison: autoencoders on raw activations with the published L1 weight and learning
/// rate, PCA without centring (Cunningham et al. 2023 and its code).
fn publish(kind: Kind, own: &mut Map<String, Json>, protocol: &Protocol) {
    const RESIDUAL_ALPHA: f64 = 8.577e-4;
    const MLP_ALPHA: f64 = 3.2e-4;
    let mut default = |field: &str, value: Json| {
        own.entry(field).or_insert(value);
    };
    match kind {
        Kind::Sae | Kind::SaeUntied => {
            let alpha = if kind == Kind::Sae { RESIDUAL_ALPHA } else { MLP_ALPHA };
            default("alpha", alpha.into());
            default("raw_inputs", true.into());
            default("centred", protocol.centred.into());
            default("lr", 1e-3.into());
        }
        Kind::Pca => default("centred", protocol.centred.into()),
        _ => {}
    }
}
