//! How well the remaining time of recorded runs is told. `tests/fixtures/make_progress.py` records them.

use std::path::{Path, PathBuf};

use crate::base::{DeviceName, HookPoint};
use crate::run::inputs::prepare::expand_hooks;
use crate::run::plan::pieces::{Piece, work};
use crate::run::plan::remaining::Remaining;
use crate::run::plan::shape::Shape;
use crate::run::{Event, Places};
use crate::subject::embedded;
use crate::suite::load;

/// The most that the predicted whole may be off, as a factor, after a tenth of the run.
const MOST: f64 = 1.5;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn places() -> Places {
    Places {
        cache: PathBuf::new(),
        out: PathBuf::new(),
        suite_folder: file("suites"),
        device: DeviceName::Cpu,
        hub_endpoint: String::new(),
        hub_token: None,
        hub_shared: None,
        keys: Default::default(),
        openai_base_url: None,
        budget: None,
        offline: true,
        program: None,
    }
}

/// The work of a committed suite on the embedded model, without what precedes it.
fn pieces(suite: &str) -> Vec<Piece> {
    let suite = load(&file(&format!("suites/{suite}.yaml")), &[]).expect("a suite");
    let subject = embedded::load().expect("the embedded model");
    let hooks: Vec<HookPoint> = expand_hooks(&suite, subject.model()).expect("hook points");
    let shape = Shape::of(&suite, subject.model(), &hooks, 0, &places()).expect("a shape");
    let work = work(&shape, &shape.hooks_at_once(f64::INFINITY));
    work.pieces().skip(work.before.len()).cloned().collect()
}

/// (seconds, done, total, stage) of a recorded run.
fn recorded(name: &str) -> Vec<(f64, usize, usize, String)> {
    let path = file(&format!("tests/fixtures/progress/{name}.txt"));
    let text = crate::base::read_to_string(&path).expect("a recorded run");
    let line = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let mut word = || words.next().expect("four words");
        let (seconds, done, total) = (word().parse(), word().parse(), word().parse());
        (seconds.expect("seconds"), done.expect("a count"), total.expect("a count"), word().to_string())
    };
    text.lines().map(line).collect()
}

fn assert_told(name: &str) {
    let (events, pieces) = (recorded(name), pieces(name));
    let (begin, end) = (events[0].0, events[events.len() - 1].0);
    let known: Vec<&str> = pieces.iter().map(|piece| piece.name.as_str()).collect();
    let mut remaining = Remaining::default();
    let mut worst = 1.0f64;
    remaining.hear(&Event::Begin { total: 1, unit: "rows", pieces: pieces.clone() }, begin);
    for (now, done, total, stage) in &events[1..events.len() - 1] {
        assert!(known.contains(&stage.as_str()) || *total == 1, "`{stage}` is no piece of the plan");
        remaining.hear(&Event::work(stage.as_str(), *done, *total, "units"), *now);
        if *now < 0.1 * end {
            continue;
        }
        let left = remaining.seconds_left(*now).expect("after a tenth it is known");
        let off = (now + left) / end;
        println!("{name} at {:.0} %: {off:.2} of the whole, {:.0} s left", 100.0 * now / end, left);
        worst = worst.max(off).max(1.0 / off);
    }
    assert!(worst < MOST, "{name}: off by {worst:.2}");
}

#[test]
fn the_whole_of_a_small_run_is_told_after_a_tenth() {
    assert_told("smoke");
}

#[test]
fn the_whole_of_the_main_comparison_is_told_after_a_tenth() {
    assert_told("residual");
}

#[test]
fn the_whole_of_a_sweep_is_told_after_a_tenth() {
    assert_told("sweep");
}

/// The usual times of all pieces are those of a recorded run, about.
#[test]
fn usual_times_are_those_of_one_core() {
    for name in ["smoke", "residual", "sweep"] {
        let events = recorded(name);
        let taken = events[events.len() - 1].0 - events[0].0;
        let usual: f64 = pieces(name).iter().map(Piece::usual_seconds).sum();
        println!("{name}: {usual:.1} s, recorded {taken:.1} s");
        assert!(usual < MOST * taken && taken < MOST * usual, "{name}: {usual:.1} s, recorded {taken:.1} s");
    }
}
