//! Features that never or hardly ever fire: by layer for methods that stand alone, against sparsity for the points
//! of sweeps.

use super::across::{L0_LABEL, hooks_of_quality, panels_of_quality};
use super::layers::{ByLayer, Panel, Places, Site, Value, sites};
use super::marks::Mark;
use super::scatter::{Band, finish};
use super::{Chart, Heading, Kind, chart_name};
use crate::report::number::count;
use crate::report::schema::QualityRow;
use crate::report::view::{RowKey, View};

/// A count of one dictionary.
type Count = fn(&QualityRow) -> Option<usize>;

fn dead(row: &QualityRow) -> Option<usize> {
    row.dead
}

fn near_dead(row: &QualityRow) -> Option<usize> {
    row.near_dead
}

/// What is counted, and what its panel is called.
const COUNTS: [(&str, Count); 2] =
    [("dead: fires on no token", dead), ("near-dead: density below 0.001, dead ones included", near_dead)];

/// The charts; none where nothing was counted.
pub fn charts<'a>(view: &View<'a>, marks: &[Mark]) -> Vec<Chart<'a>> {
    let hooks = hooks_of_quality(view);
    let by_layer = sites(&hooks).into_iter().filter_map(|site| by_layer(view, marks, &site));
    by_layer.chain(by_sparsity(view, marks)).collect()
}

fn row<'a>(view: &View<'a>, key: RowKey<'_>) -> Option<&'a QualityRow> {
    view.summary
        .quality
        .iter()
        .find(|row| row.hook == key.hook && row.method == key.method && row.control.as_deref() == key.control)
}

fn by_layer<'a>(view: &View<'a>, marks: &[Mark], site: &Site<'a>) -> Option<Chart<'a>> {
    let methods: Vec<usize> = view.single_methods().map(|(nth, _)| nth).collect();
    let exists = |method: usize, control: Option<usize>| {
        site.columns.iter().any(|(hook, _)| {
            let control = control.map(|control| view.controls[control]);
            row(view, RowKey { hook, method: view.methods[method], control })
                .is_some_and(|row| row.dead.is_some())
        })
    };
    let places = Places::new(view, &methods, exists);
    let panel = |(title, count_of): (&str, Count)| {
        let value = |key| {
            let row = row(view, key)?;
            let n = count_of(row)?;
            let words = format!("{} of {}", count(n), count(row.n_features));
            Some(Value { value: n as f64, interval: None, words })
        };
        Panel { title: title.to_string(), points: places.points(view, marks, &site.columns, value) }
    };
    let panels: Vec<Panel> = COUNTS.into_iter().map(panel).filter(|panel| !panel.points.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let label = |method: &str| {
        let sizes = view.summary.quality.iter().filter(|row| row.method == method && row.control.is_none());
        let mut sizes: Vec<usize> = sizes.map(|row| row.n_features).collect();
        sizes.sort_unstable();
        match (sizes.first(), sizes.last()) {
            (Some(least), Some(most)) if least == most => format!("{method} (of {})", count(*least)),
            (Some(least), Some(most)) => format!("{method} (of {} to {})", count(*least), count(*most)),
            _ => method.to_string(),
        }
    };
    let legend = places.legend(view, marks, label);
    let grey =
        if view.controls.is_empty() { "" } else { " Grey: controls that have a dictionary of their own." };
    let heading = Heading {
        name: chart_name(Kind::Dead, &[site.file_part()]),
        kind: Kind::Dead,
        pairing: None,
        title: format!("Dead features by {}", site.axis()),
        caption: format!(
            "Each mark counts the features of one dictionary that {}; in brackets of how many. Counts, so without \
             interval.{grey}",
            on_how_many(view)
        ),
    };
    Some(heading.over(ByLayer::new(site, "features", &places, panels, legend).counting()))
}

fn on_how_many(view: &View<'_>) -> String {
    let mut tokens: Vec<usize> = view.summary.quality.iter().map(|row| row.n_tokens).collect();
    tokens.sort_unstable();
    tokens.dedup();
    match tokens.as_slice() {
        [n] => format!("fire on none, or on fewer than one in 1,000, of {} evaluation tokens", count(*n)),
        _ => "fire on none, or on fewer than one in 1,000, of the evaluation tokens".to_string(),
    }
}

fn by_sparsity<'a>(view: &View<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    if view.sweeps.iter().all(Option::is_none) {
        return None;
    }
    let band = |(title, count_of): (&str, Count)| Band {
        y_label: title.split(':').next().unwrap_or(title).to_string() + " features",
        counts: true,
        panels: panels_of_quality(view, marks, (title.split(':').next().unwrap_or(title), true), |row| {
            Some((count_of(row)? as f64, None))
        }),
    };
    let caption = format!(
        "Each mark counts the features of one dictionary that {} (means of trainings where there are several). Lines \
         join the points of a sweep along which L0 changes; marks that would hide each other are moved sideways, with \
         a line to their place. Counts, so without interval.",
        on_how_many(view)
    );
    finish(
        view,
        marks,
        COUNTS.into_iter().map(band).collect(),
        L0_LABEL,
        Heading {
            name: chart_name(Kind::Dead, &["sparsity"]),
            kind: Kind::Dead,
            pairing: None,
            title: "Dead features and sparsity".to_string(),
            caption,
        },
    )
}
