//! The verdict at the top of the index page: paragraphs, and a table for each scorer with a drawing in each row.

use minijinja::context;
use minijinja::value::Value;

use crate::report::escape::visible;
use crate::report::number::{DASH, score};
use crate::report::verdict::{Findings, Rule, Sentence, Standing, StandingRow};

/// Size of a row's drawing, in its own units.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 14.0;
/// Room at both ends for half a mark.
const MARGIN: f64 = 5.0;

/// Marks of controls, around 0, in the order of the columns; the last one serves all further ones.
const MARKS: [&str; 4] =
    ["m-3-3 6 6m0-6-6 6", "m0-3.5 3.5 3.5-3.5 3.5-3.5-3.5z", "m-3-3h6v6h-6z", "m0-3.5 3.5 6h-7z"];

/// The verdict for the template.
pub fn verdict(findings: &Findings) -> Value {
    let of_run = |next: bool| {
        let of_run = findings.sentences.iter().filter(|sentence| sentence.scorer.is_none());
        parts(of_run.filter(|sentence| (sentence.rule == Rule::Next) == next))
    };
    let main = findings.main().into_iter().map(|(scorer, standing)| {
        let of_scorer = findings.sentences.iter().filter(|one| one.scorer.as_deref() == Some(scorer));
        context! { text => parts(of_scorer), table => standing.map(table) }
    });
    context! {
        main => main.collect::<Vec<_>>(),
        run => of_run(false),
        next => of_run(true),
        others => findings.others().map(table).collect::<Vec<_>>(),
    }
}

/// Sentences as pieces of text and of code, which alternate at backticks.
fn parts<'s>(sentences: impl Iterator<Item = &'s Sentence>) -> Vec<Value> {
    let text = sentences.map(|sentence| sentence.text.as_str()).collect::<Vec<_>>().join(" ");
    let pieces = text.split('`').enumerate().filter(|(_, piece)| !piece.is_empty());
    pieces.map(|(nth, piece)| context! { code => nth % 2 == 1, text => piece }).collect()
}

/// A column's name in parts between which a line may break.
fn breakable(name: &str) -> Vec<String> {
    visible(name).split_inclusive('_').map(str::to_string).collect()
}

fn table(standing: &Standing) -> Value {
    let scale = Scale::of(standing);
    let beside = standing.beside().enumerate().map(|(nth, name)| {
        context! { name => breakable(name), mark => Value::from_safe_string(key(nth)) }
    });
    context! {
        scorer => visible(&standing.scorer),
        caption => visible(&standing.caption()),
        beside => beside.collect::<Vec<_>>(),
        several_n => standing.has_several_n(),
        chance => standing.chance.to_string(),
        rows => standing.rows.iter().map(|row| table_row(standing, row, &scale)).collect::<Vec<_>>(),
    }
}

fn table_row(standing: &Standing, row: &StandingRow, scale: &Scale) -> Value {
    let beside =
        row.beside(standing).map(|other| context! { text => score(other), high => row.is_reached_by(other) });
    let interval = row.ci_low.zip(row.ci_high);
    context! {
        place => row.place.map_or_else(|| DASH.to_string(), |place| place.to_string()),
        label => breakable(&row.label()),
        mean => score(row.mean),
        interval => interval.map(|(low, high)| format!("[{}, {}]", score(Some(low)), score(Some(high)))),
        letters => visible(&row.letters),
        reason => row.reason.as_deref().map(visible),
        n => row.n(),
        beside => beside.collect::<Vec<_>>(),
        drawing => Value::from_safe_string(scale.draw(standing, row)),
    }
}

/// Places of values in the drawings of one table.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(standing: &Standing) -> Self {
        let of_row = |row: &StandingRow| {
            let own = [row.mean, row.ci_low, row.ci_high];
            own.into_iter().chain(row.beside(standing)).flatten().collect::<Vec<f64>>()
        };
        let values = standing.rows.iter().flat_map(of_row).filter(|value| value.is_finite());
        let (mut low, mut high) = (standing.chance, standing.chance);
        for value in values {
            (low, high) = (low.min(value), high.max(value));
        }
        Self { low, high }
    }

    fn x(&self, value: f64) -> f64 {
        let span = (self.high - self.low).max(f64::MIN_POSITIVE);
        let x = MARGIN + (value - self.low) / span * (WIDTH - 2.0 * MARGIN);
        (x * 10.0).round() / 10.0
    }

    /// Chance as a line, the interval, the mean, and a mark for each control. All of it is numbers.
    fn draw(&self, standing: &Standing, row: &StandingRow) -> String {
        let middle = HEIGHT / 2.0;
        let mut inside = format!("<path class=\"chance\" d=\"M{} 0v{HEIGHT}\"/>", self.x(standing.chance));
        if let Some((low, high)) = row.ci_low.zip(row.ci_high) {
            inside.push_str(&format!(
                "<path class=\"range\" d=\"M{} {middle}H{}\"/>",
                self.x(low),
                self.x(high)
            ));
        }
        for (nth, other) in row.beside(standing).enumerate() {
            if let Some(x) = other.map(|other| self.x(other)) {
                inside.push_str(&format!("<path class=\"mark\" d=\"M{x} {middle}{}\"/>", mark(nth)));
            }
        }
        if let Some(x) = row.mean.map(|mean| self.x(mean)) {
            inside.push_str(&format!("<circle class=\"mean\" cx=\"{x}\" cy=\"{middle}\" r=\"3\"/>"));
        }
        format!("<svg class=\"bar\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-hidden=\"true\">{inside}</svg>")
    }
}

fn mark(nth: usize) -> &'static str {
    MARKS[nth.min(MARKS.len() - 1)]
}

/// The mark of a column, for its head.
fn key(nth: usize) -> String {
    format!(
        "<svg class=\"key-mark\" viewBox=\"0 0 10 10\" aria-hidden=\"true\"><path class=\"mark\" d=\"M5 5{}\"/></svg>",
        mark(nth)
    )
}
