//! The data of the long tables of the index page, which `index.js` draws. Repeated texts are numbers into a list.

use serde::Serialize;

use super::file;
use crate::report::escape::visible;
use crate::report::list::Numbering;
use crate::report::pages::names::Names;
use crate::report::schema::Family;
use crate::report::table::{COUNTS, differences, row};
use crate::report::view::View;

#[derive(Serialize)]
pub struct Data {
    pairings: Vec<String>,
    hooks: Vec<String>,
    methods: Vec<String>,
    controls: Vec<String>,
    scorers: Vec<String>,
    counts: [&'static str; 8],
    /// File of the page of a method at a hook point.
    files: Vec<Vec<Option<String>>>,
    /// Hook point and method of dictionaries that are not applied where they were trained.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<[usize; 2]>,
    texts: Vec<String>,
    cells: Vec<CellRow>,
    exploratory: Vec<Vec<usize>>,
}

/// Pairing, hook point, method, control + 1, text of each score, counts.
#[derive(Serialize)]
struct CellRow(usize, usize, usize, usize, Vec<Option<String>>, Vec<usize>);

pub fn data(view: &View<'_>, names: &Names) -> Data {
    let mut texts = Numbering::default();
    let mut cells = cell_rows(view, &mut texts);
    let mut exploratory = exploratory(view, &mut texts);
    let texts = by_frequency(texts.items, &mut cells, &mut exploratory);
    let visible_all = |names: &[&str]| names.iter().map(|name| visible(name)).collect::<Vec<_>>();
    let files = |hook: &&str| {
        let files = view.methods.iter().map(|method| file(names, hook, method, None).map(str::to_string));
        files.collect()
    };
    let places =
        (0..view.hooks.len()).flat_map(|hook| (0..view.methods.len()).map(move |method| [hook, method]));
    let is_marked =
        |[hook, method]: &[usize; 2]| !view.mark(view.hooks[*hook], view.methods[*method]).is_empty();
    Data {
        marks: places.filter(is_marked).collect(),
        pairings: view.pairings.iter().map(|pairing| visible(&pairing.label())).collect(),
        hooks: visible_all(&view.hooks),
        methods: visible_all(&view.methods),
        controls: visible_all(&view.controls),
        scorers: visible_all(&view.scorers),
        counts: COUNTS,
        files: view.hooks.iter().map(files).collect(),
        texts,
        cells,
        exploratory,
    }
}

fn cell_rows(view: &View<'_>, texts: &mut Numbering<String>) -> Vec<CellRow> {
    let place = |list: &[&str], name: &str| list.iter().position(|other| *other == name).unwrap_or(0);
    let mut rows = Vec::new();
    for (pairing_nth, pairing) in view.pairings.iter().enumerate() {
        for (hook_nth, hook) in view.hooks.iter().enumerate() {
            for key in view.rows(*pairing, hook) {
                let row = row(view, *pairing, key);
                let scores = view.scorers.iter().zip(row.scores);
                rows.push(CellRow(
                    pairing_nth,
                    hook_nth,
                    place(&view.methods, key.method),
                    key.control.map_or(0, |control| place(&view.controls, control) + 1),
                    scores.map(|(scorer, text)| view.cell(*pairing, key, scorer).map(|_| text)).collect(),
                    row.counts.iter().map(|text| texts.number(visible(text))).collect(),
                ));
            }
        }
    }
    rows
}

/// The comparisons that were not planned. Their p-values are not adjusted, so that column is left out.
fn exploratory(view: &View<'_>, texts: &mut Numbering<String>) -> Vec<Vec<usize>> {
    let rows = differences(&view.summary.differences, Family::Exploratory, view.summary.margin);
    let numbers = |row: [String; 9]| {
        let [hook, pairing, scorer, compared, n, difference, p, _, verdict] = row;
        let cells = [hook, pairing, scorer, compared, n, difference, p, verdict];
        cells.iter().map(|cell| texts.number(visible(cell))).collect()
    };
    rows.into_iter().map(numbers).collect()
}

/// Renumbers texts by falling frequency, so that frequent texts have short numbers. Returns them in that order.
fn by_frequency(texts: Vec<String>, cells: &mut [CellRow], exploratory: &mut [Vec<usize>]) -> Vec<String> {
    let mut rows: Vec<&mut Vec<usize>> = cells.iter_mut().map(|row| &mut row.5).chain(exploratory).collect();
    let mut used = vec![0; texts.len()];
    for number in rows.iter().flat_map(|row| row.iter()) {
        used[*number] += 1;
    }
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(used[number]));
    let mut numbers = vec![0; order.len()];
    for (new, &old) in order.iter().enumerate() {
        numbers[old] = new;
    }
    for number in rows.iter_mut().flat_map(|row| row.iter_mut()) {
        *number = numbers[*number];
    }
    order.iter().map(|&old| texts[old].clone()).collect()
}
