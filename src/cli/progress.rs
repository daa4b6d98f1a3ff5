//! Progress on stderr: bars for people, lines for logs, JSON lines for programs, or nothing.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::args::ProgressKind;
use crate::base::Stopwatch;
use crate::run::Event;

/// How often a line is printed for a stage that goes on.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows events as they come. Several stages may be at work at the same time.
pub struct Progress {
    kind: ProgressKind,
    quiet: bool,
    bars: MultiProgress,
    stages: Mutex<BTreeMap<String, Stage>>,
}

/// A stage that has begun and not ended.
struct Stage {
    bar: Option<ProgressBar>,
    started: Stopwatch,
    last_line: Stopwatch,
}

impl Progress {
    /// `Auto` becomes bars where stderr is a terminal, lines elsewhere.
    pub fn new(kind: ProgressKind, quiet: bool) -> Self {
        Self { kind, quiet, bars: MultiProgress::new(), stages: Mutex::default() }
    }

    /// One event of a run.
    pub fn show(&self, event: &Event) {
        match (self.kind, event) {
            (_, Event::Warning(_)) if self.quiet && self.kind != ProgressKind::Json => {}
            (ProgressKind::Json, event) => {
                if let Ok(line) = serde_json::to_string(event) {
                    say(&line);
                }
            }
            (_, Event::Warning(text)) => self.bars.suspend(|| say(&format!("warning: {text}"))),
            (ProgressKind::None, _) => {}
            _ if self.quiet => {}
            (_, Event::Note(text)) => self.bars.suspend(|| say(text)),
            (_, Event::Work { stage, done, total, unit }) => self.work(stage, *done, *total, unit),
        }
    }

    /// Takes the bars away.
    pub fn finish(&self) {
        if let Ok(mut stages) = self.stages.lock() {
            for bar in std::mem::take(&mut *stages).into_values().filter_map(|stage| stage.bar) {
                bar.finish_and_clear();
            }
        }
    }

    fn work(&self, name: &str, done: u64, total: u64, unit: &str) {
        let Ok(mut stages) = self.stages.lock() else { return };
        let new = !stages.contains_key(name);
        let stage = stages.entry(name.to_string()).or_insert_with(|| {
            let now = Stopwatch::start();
            Stage { bar: self.bar(name, total), started: now, last_line: now }
        });
        match &stage.bar {
            Some(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            None if new || done >= total || stage.last_line.elapsed() >= LINE_EVERY => {
                stage.last_line = Stopwatch::start();
                let seconds = stage.started.seconds();
                let pace = if done > 0 && seconds > 0.5 && done < total {
                    let rate = done as f64 / seconds;
                    format!(", {rate:.0} {unit}/s, {:.0} s left", (total - done) as f64 / rate)
                } else {
                    String::new()
                };
                say(&format!("{name}: {done}/{total} {unit}{pace}"));
            }
            None => {}
        }
        if done >= total
            && let Some(bar) = stages.remove(name).and_then(|stage| stage.bar)
        {
            bar.finish_and_clear();
        }
    }

    /// A bar, where there is a terminal to draw it on.
    fn bar(&self, name: &str, total: u64) -> Option<ProgressBar> {
        if self.kind != ProgressKind::Auto || !std::io::stderr().is_terminal() {
            return None;
        }
        let bar = self.bars.add(ProgressBar::new(total));
        let template = "{msg:38!} {bar:30} {human_pos}/{human_len} {per_sec} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_string());
        Some(bar)
    }
}

/// One line on stderr; a closed stderr is nobody's loss.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
