//! Progress on stderr: bars for people, lines for logs, JSON lines for programs, or nothing.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::args::ProgressKind;
use crate::run::Event;

/// How often a line is printed for a stage that goes on.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows events as they come.
pub struct Progress {
    kind: ProgressKind,
    quiet: bool,
    state: Mutex<State>,
}

struct State {
    bar: Option<ProgressBar>,
    stage: String,
    started: Instant,
    last_line: Instant,
}

impl Progress {
    /// `Auto` becomes bars where stderr is a terminal, lines elsewhere.
    pub fn new(kind: ProgressKind, quiet: bool) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the time of progress lines decides no result")]
        let now = Instant::now();
        let state = State { bar: None, stage: String::new(), started: now, last_line: now };
        Self { kind, quiet, state: Mutex::new(state) }
    }

    /// One event of a run.
    pub fn show(&self, event: &Event) {
        let Ok(mut state) = self.state.lock() else { return };
        match (self.kind, event) {
            (_, Event::Warning(_)) if self.quiet && self.kind != ProgressKind::Json => {}
            (ProgressKind::Json, event) => {
                if let Ok(line) = serde_json::to_string(event) {
                    say(&line);
                }
            }
            (_, Event::Warning(text)) => state.above(&format!("warning: {text}")),
            (ProgressKind::None, _) => {}
            _ if self.quiet => {}
            (_, Event::Note(text)) => state.above(text),
            (kind, Event::Work { stage, done, total, unit }) => state.work(kind, stage, *done, *total, unit),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Ok(mut state) = self.state.lock()
            && let Some(bar) = state.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

impl State {
    /// A line that stays, above the bar.
    fn above(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn work(&mut self, kind: ProgressKind, stage: &str, done: u64, total: u64, unit: &str) {
        #[expect(clippy::disallowed_methods, reason = "the time of progress lines decides no result")]
        let now = Instant::now();
        let bars = kind == ProgressKind::Auto && std::io::stderr().is_terminal();
        let new_stage = self.stage != stage;
        if new_stage {
            if let Some(bar) = self.bar.take() {
                bar.finish_and_clear();
            }
            self.stage = stage.to_string();
            self.started = now;
            if bars {
                let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template(
                    "{msg:38!} {bar:30} {human_pos}/{human_len} {per_sec} eta {eta}",
                ) {
                    bar.set_style(style);
                }
                bar.set_message(stage.to_string());
                self.bar = Some(bar);
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let due = now.duration_since(self.last_line) >= LINE_EVERY;
        if (new_stage || due) && !bars {
            self.last_line = now;
            let seconds = now.duration_since(self.started).as_secs_f64();
            let pace = if done > 0 && seconds > 0.5 && done < total {
                let rate = done as f64 / seconds;
                format!(", {rate:.0} {unit}/s, {:.0} s left", (total - done) as f64 / rate)
            } else {
                String::new()
            };
            say(&format!("{stage}: {done}/{total} {unit}{pace}"));
        }
    }
}

/// One line on stderr; a closed stderr is nobody's loss.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
