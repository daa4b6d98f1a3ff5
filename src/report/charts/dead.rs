//! Charts of dead and near-dead features: by layer for methods outside sweeps, against L0 for sweeps.

use super::across::{L0_LABEL, hooks_of_quality, panels_of_quality};
use super::controls::Value;
use super::layers::{ByLayer, Panel, Places, Site, sites};
use super::scatter::{Band, EXACT, finish};
use super::{Chart, Heading, Inputs, Kind};
use crate::report::number::{count, span};
use crate::report::schema::QualityRow;
use crate::report::view::{RowKey, View};

/// A count of one dictionary.
type Count = fn(&QualityRow) -> Option<usize>;

/// The counts: name, definition and value.
const COUNTS: [(&str, &str, Count); 2] = [
    ("dead", "fires on no token", |row| row.dead),
    ("near-dead", "density below 0.001, dead ones included", |row| row.near_dead),
];

/// The charts; none where nothing was counted.
pub fn charts<'a>(inputs: &Inputs<'a>) -> Vec<Chart<'a>> {
    let hooks = hooks_of_quality(inputs.view);
    let by_layer = sites(&hooks).into_iter().filter_map(|site| by_layer(inputs, &site));
    by_layer.chain(by_sparsity(inputs)).collect()
}

fn by_layer<'a>(inputs: &Inputs<'a>, site: &Site<'a>) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let methods: Vec<usize> = view.single_methods().map(|(nth, _)| nth).collect();
    let is_counted = |key: RowKey<'a>| view.quality(key).is_some_and(|row| row.dead.is_some());
    let places = Places::new(view, site, &methods, is_counted);
    let panel = |(name, definition, count_of): (&str, &str, Count)| {
        let value = |key: RowKey<'a>| {
            let row = view.quality(key)?;
            let n = count_of(row)?;
            let words = format!("{} of {}", count(n), count(row.n_features));
            Some(Value { value: n as f64, interval: None, words })
        };
        let print = |value: f64| count(value as usize);
        places.panel((view, marks), site, format!("{name}: {definition}"), value, print)
    };
    let panels: Vec<Panel> = COUNTS.into_iter().map(panel).filter(|panel| !panel.points.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let label = |method: &str| {
        let rows = view.summary.quality.iter().filter(|row| row.method == method && row.control.is_none());
        let sizes: Vec<usize> = rows.map(|row| row.n_features).collect();
        span(&sizes, count).map_or_else(|| method.to_string(), |sizes| format!("{method} (of {sizes})"))
    };
    let legend = places.legend(view, marks, false, label);
    let caption = format!(
        "Each mark counts the features of one dictionary that {}; in brackets of how many. Counts, so without \
         interval.",
        definition(view)
    );
    let title = format!("Dead features by {}", site.axis());
    let heading = Heading::of_dictionaries(Kind::Dead, Some(site.file_part()), title, caption);
    Some(heading.over(ByLayer::new(site, ("features", true), &places, panels, legend)))
}

/// Dead and near-dead in words, with the number of tokens if all dictionaries have the same.
fn definition(view: &View<'_>) -> String {
    let counted = view.summary.quality.iter().filter(|row| row.dead.is_some());
    let mut tokens = counted.map(|row| row.n_tokens);
    let first = tokens.next();
    let n = first.filter(|first| tokens.all(|n| n == *first));
    let tokens = n.map_or_else(|| "the".to_string(), count);
    format!("fire on none, or on fewer than one in 1,000, of {tokens} evaluation tokens")
}

fn by_sparsity<'a>(inputs: &Inputs<'a>) -> Option<Chart<'a>> {
    let view = inputs.view;
    if view.sweeps.iter().all(Option::is_none) {
        return None;
    }
    let band = |(name, _, count_of): (&str, &str, Count)| Band {
        y_label: format!("{name} features"),
        counts: true,
        panels: panels_of_quality(inputs, (name, true), |row| Some((count_of(row)? as f64, None))),
    };
    let caption = format!(
        "Each mark counts the features of one dictionary that {} (means of trainings where there are several). Lines \
         join the points of a sweep along which L0 changes. {EXACT} Counts, so without interval.",
        definition(view)
    );
    let title = "Dead features and sparsity".to_string();
    let heading = Heading::of_dictionaries(Kind::Dead, Some("sparsity"), title, caption);
    finish(inputs, COUNTS.into_iter().map(band).collect(), L0_LABEL, heading)
}
