//! Progress on stderr: bars, lines, JSON lines, or nothing.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::ProgressKind;
use crate::base::{Stopwatch, short_message, terminal_json, terminal_text};
use crate::report::cut;
use crate::run::{Event, Remaining};

/// Shortest time between two lines of plain text.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Shortest time between two JSON lines of a stage, except before its last line.
const OBJECT_EVERY: Duration = Duration::from_millis(250);

/// Shortest time between two looks at the time that is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Shortest time from which a rate is computed, in seconds.
const MIN_RATE_SECONDS: f64 = 0.5;

/// Name of the bar of the whole run.
const OVERALL: &str = "overall";

/// A line of `--progress json`.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "event", content = "data")]
pub enum Line {
    /// Progress of a stage.
    Work {
        /// Name of the stage.
        stage: String,
        /// Its progress.
        #[serde(flatten)]
        progress: Measured,
    },
    /// Progress of the whole run: of its rows, with the time that is left of all its work. `remaining_s` is worked out
    /// from the usual time of each piece of work, corrected by the speed so far; null while too little is done.
    Overall {
        /// Rows done.
        #[serde(flatten)]
        progress: Measured,
        /// Share of the work that is done, by its usual time.
        share_done: Option<f64>,
    },
    /// Information.
    Note(String),
    /// A warning that the reader of the results must know.
    Warning(String),
}

/// Progress and speed.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Measured {
    /// Units done.
    pub done: u64,
    /// All units.
    pub total: u64,
    /// What is counted: tokens, steps, rows.
    pub unit: String,
    /// Units per second since the stage began, without units done before; null in the first half second.
    pub rate: Option<f64>,
    /// Seconds left at that rate; null without a rate.
    pub remaining_s: Option<f64>,
}

impl Measured {
    /// `first` units were done when the clock started, `seconds` ago.
    fn new(first: u64, done: u64, total: u64, unit: &str, seconds: f64) -> Self {
        let rate = (done > first && seconds >= MIN_RATE_SECONDS).then(|| (done - first) as f64 / seconds);
        let remaining_s = rate.map(|rate| total.saturating_sub(done) as f64 / rate);
        Self { done, total, unit: unit.into(), rate, remaining_s }
    }

    fn text(&self) -> String {
        let mut text = format!("{}/{} {}", self.done, self.total, self.unit);
        if let (Some(rate), Some(left)) = (self.rate, self.remaining_s) {
            let digits = if rate >= 10.0 { 0 } else { 2 };
            text.push_str(&format!(", {rate:.digits$} {}/s", self.unit));
            if self.done < self.total {
                text.push_str(&format!(", {} left", seconds_text(left)));
            }
        }
        text
    }

    /// The same for a whole run, whose rows are counted but not timed.
    fn text_of_run(&self) -> String {
        let left = self.remaining_s.map(|left| format!(", about {} left", seconds_text(left)));
        format!("{}/{} {}{}", self.done, self.total, self.unit, left.unwrap_or_default())
    }
}

/// `45 s`, `12 min`, `3 h 10 min`.
pub fn seconds_text(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..99.5 => format!("{seconds:.0} s"),
        _ if minutes < 100 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

/// Shows the events of a run. Several stages may run at the same time.
pub struct Progress {
    kind: ProgressKind,
    quiet: bool,
    started: Stopwatch,
    bars: MultiProgress,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Running stages, by name.
    stages: BTreeMap<String, Stage>,
    overall: Option<Stage>,
    /// The time that is left.
    remaining: Remaining,
    /// Time since it was last shown.
    last_look: Option<Stopwatch>,
    /// Time since the last line of plain text.
    last_line: Option<Stopwatch>,
}

/// A stage or the whole run, since its first event.
struct Stage {
    started: Stopwatch,
    first: u64,
    latest: Measured,
    bar: Option<ProgressBar>,
    last_object: Option<Stopwatch>,
}

impl Stage {
    fn begin(done: u64, total: u64, unit: &str, bar: Option<ProgressBar>) -> Self {
        let latest = Measured::new(done, done, total, unit, 0.0);
        Self { started: Stopwatch::start(), first: done, latest, bar, last_object: None }
    }

    fn advance(&mut self, done: u64, total: u64, unit: &str) {
        self.latest = Measured::new(self.first, done, total, unit, self.started.seconds());
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(self.latest.text());
        }
    }

    fn object_is_due(&mut self) -> bool {
        let is_done = self.latest.done >= self.latest.total;
        let due = is_done || self.last_object.is_none_or(|last| last.elapsed() >= OBJECT_EVERY);
        if due {
            self.last_object = Some(Stopwatch::start());
        }
        due
    }
}

impl Progress {
    pub fn new(kind: ProgressKind, quiet: bool) -> Self {
        let (started, bars) = (Stopwatch::start(), MultiProgress::new());
        Self { kind, quiet, started, bars, state: Mutex::default() }
    }

    /// Shows one event. `quiet` hides everything except JSON lines; `none` hides everything except warnings.
    pub fn show(&self, event: &Event) {
        if let Ok(mut state) = self.state.lock() {
            state.remaining.hear(event, self.started.seconds());
        }
        match (self.kind, event) {
            (ProgressKind::Json, Event::Warning(text)) => {
                object(&Line::Warning(short_message(text).into_owned()))
            }
            (ProgressKind::Json, Event::Note(text)) => object(&Line::Note(short_message(text).into_owned())),
            (kind, _) if self.quiet && kind != ProgressKind::Json => {}
            (_, Event::Warning(text)) => self.bars.suspend(|| say(&format!("warning: {text}"))),
            (ProgressKind::None, _) | (_, Event::Reused(_)) => {}
            (_, Event::Note(text)) => self.bars.suspend(|| say(text)),
            (_, Event::Work { stage, done, total, unit }) => self.work(stage, *done, *total, unit),
            (_, Event::Begin { total, unit, .. }) => self.overall(0, *total, unit),
            (_, Event::Overall { done, total, unit }) => self.overall(*done, *total, unit),
        }
    }

    pub fn finish(&self) {
        let Ok(mut state) = self.state.lock() else { return };
        let State { stages, overall, .. } = std::mem::take(&mut *state);
        for bar in stages.into_values().chain(overall).filter_map(|stage| stage.bar) {
            bar.finish_and_clear();
        }
    }

    fn work(&self, name: &str, done: u64, total: u64, unit: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        if state.last_look.is_none_or(|last| last.elapsed() >= LOOK_EVERY) {
            self.look_at_run(&mut state);
        }
        let State { stages, overall, .. } = &mut *state;
        let stage = stages.entry(name.to_string()).or_insert_with(|| {
            let bar = self.bar(name, overall.as_ref().and_then(|overall| overall.bar.as_ref()));
            Stage::begin(done, total, unit, bar)
        });
        stage.advance(done, total, unit);
        if self.kind == ProgressKind::Json && stage.object_is_due() {
            object(&Line::Work { stage: name.to_string(), progress: stage.latest.clone() });
        }
        self.line_if_due(&mut state, name);
        if done >= total
            && let Some(bar) = state.stages.remove(name).and_then(|stage| stage.bar)
        {
            bar.finish_and_clear();
        }
    }

    fn overall(&self, done: u64, total: u64, unit: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        let overall =
            state.overall.get_or_insert_with(|| Stage::begin(done, total, unit, self.bar(OVERALL, None)));
        // Events of several threads may arrive out of order.
        overall.advance(done.max(overall.latest.done), total, unit);
        self.look_at_run(&mut state);
    }

    /// Shows the whole run with the time that is left.
    fn look_at_run(&self, state: &mut State) {
        let State { overall: Some(overall), remaining, last_look, .. } = state else { return };
        overall.latest.remaining_s = remaining.seconds_left(self.started.seconds());
        if let Some(bar) = &overall.bar {
            bar.set_message(overall.latest.text_of_run());
        }
        if self.kind == ProgressKind::Json {
            let share_done = remaining.share_done();
            object(&Line::Overall { progress: overall.latest.clone(), share_done });
        }
        *last_look = Some(Stopwatch::start());
    }

    /// Prints a line of plain text about the run and a stage, at most once per [`LINE_EVERY`].
    fn line_if_due(&self, state: &mut State, name: &str) {
        let Some(stage) = state.stages.get(name) else { return };
        let too_soon = state.last_line.is_some_and(|last| last.elapsed() < LINE_EVERY);
        if self.kind == ProgressKind::Json || stage.bar.is_some() || too_soon {
            return;
        }
        say(&plain_line(state.overall.as_ref().map(|stage| &stage.latest), name, &stage.latest));
        state.last_line = Some(Stopwatch::start());
    }

    /// Adds a bar if stderr is a terminal. It goes above the bar `below`, if given.
    fn bar(&self, name: &str, below: Option<&ProgressBar>) -> Option<ProgressBar> {
        if self.kind != ProgressKind::Auto || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = match below {
            Some(below) => self.bars.insert_before(below, ProgressBar::new(0)),
            None => self.bars.add(ProgressBar::new(0)),
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix:26!} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(cut(&name.replace("blocks.", "").replace("hook_", ""), 26));
        Some(bar)
    }
}

fn plain_line(overall: Option<&Measured>, name: &str, stage: &Measured) -> String {
    let overall = overall.map_or(String::new(), |overall| format!("{OVERALL} {} · ", overall.text_of_run()));
    format!("{overall}{name}: {}", stage.text())
}

fn object(line: &Line) {
    if let Ok(text) = serde_json::to_string(line) {
        write_line(&terminal_json(&text));
    }
}

/// Prints a message on stderr, escaped and of bounded length.
pub fn say(text: &str) {
    write_line(&terminal_text(&short_message(text)));
}

/// A closed stderr is not an error.
fn write_line(text: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_leave_out_what_was_there_before() {
        let measured = Measured::new(40, 60, 100, "rows", 10.0);
        assert_eq!((measured.rate, measured.remaining_s), (Some(2.0), Some(20.0)));
        assert_eq!(measured.text(), "60/100 rows, 2.00 rows/s, 20 s left");
        let begun = Measured::new(40, 40, 100, "rows", 10.0);
        assert_eq!((begun.rate, begun.text().as_str()), (None, "40/100 rows"));
        assert_eq!(Measured::new(0, 5, 9, "steps", 0.1).rate, None, "too early to tell");
        assert_eq!(Measured::new(0, 9, 9, "steps", 0.9).text(), "9/9 steps, 10 steps/s");
    }

    #[test]
    fn times_are_rounded_to_what_they_are_good_for() {
        let texts = [0.4, 45.2, 99.6, 700.0, 11_400.0].map(seconds_text);
        assert_eq!(texts, ["0 s", "45 s", "2 min", "12 min", "3 h 10 min"]);
    }

    #[test]
    fn a_line_has_the_run_and_the_stage() {
        let overall = Measured { remaining_s: Some(130.0), ..Measured::new(0, 12, 52, "rows", 30.0) };
        let stage = Measured::new(0, 1200, 3000, "steps", 3.0);
        assert_eq!(
            plain_line(Some(&overall), "fit blocks.2.hook_resid_post/topk", &stage),
            "overall 12/52 rows, about 2 min left · \
             fit blocks.2.hook_resid_post/topk: 1200/3000 steps, 400 steps/s, 4 s left"
        );
    }

    #[test]
    fn a_json_line_says_how_far_how_fast_and_how_long() {
        let line = Line::Work { stage: "fit x".into(), progress: Measured::new(0, 10, 20, "steps", 1.0) };
        let value = serde_json::to_value(&line).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"event": "work", "data": {"stage": "fit x", "done": 10, "total": 20, "unit": "steps",
                "rate": 10.0, "remaining_s": 1.0}})
        );
    }

    #[test]
    fn a_json_line_of_the_run_has_the_time_that_is_left_of_all_work() {
        let progress = Measured { remaining_s: Some(40.0), ..Measured::new(0, 3, 9, "rows", 6.0) };
        let value = serde_json::to_value(Line::Overall { progress, share_done: Some(0.5) }).expect("JSON");
        assert_eq!(
            value,
            serde_json::json!({"event": "overall", "data": {"done": 3, "total": 9, "unit": "rows", "rate": 0.5,
                "remaining_s": 40.0, "share_done": 0.5}})
        );
    }

    #[test]
    fn stages_end_and_lines_are_few() {
        let progress = Progress::new(ProgressKind::Plain, false);
        for done in 0..=1000 {
            progress.work("fit", done, 1000, "steps");
        }
        let state = progress.state.lock().expect("no panic");
        assert!(state.stages.is_empty() && state.last_line.is_some());
    }
}
