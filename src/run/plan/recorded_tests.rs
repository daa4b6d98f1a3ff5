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
        remote: None,
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

/// Calls `work` with the sizes of a committed suite on the embedded model, run on two threads.
fn with_shape<T: Send>(suite: &str, work: impl FnOnce(&Shape<'_>) -> T + Send) -> T {
    let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads");
    two.install(|| with_shape_here(suite, work))
}

fn with_shape_here<T>(suite: &str, work: impl FnOnce(&Shape<'_>) -> T) -> T {
    let suite = load(&file(&format!("suites/{suite}.yaml")), &[]).expect("a suite");
    let subject = embedded::load().expect("the embedded model");
    let hooks: Vec<HookPoint> = expand_hooks(&suite, subject.model()).expect("hook points");
    work(&Shape::of(&suite, subject.model(), &hooks, 0, &places()).expect("a shape"))
}

/// The work of a committed suite, without what precedes it.
fn pieces(suite: &str) -> Vec<Piece> {
    with_shape(suite, |shape| {
        let work = work(shape, &shape.hooks_at_once(f64::INFINITY));
        work.pieces().skip(work.before.len()).cloned().collect()
    })
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

#[test]
fn activations_take_what_they_are_stored_in() {
    with_shape("residual", |shape| {
        // 304,000 tokens are whole contexts of 128; f16 to fit on, f32 for 4,000 fragments of 64 tokens, and each id.
        let bytes = 304_000.0 * (2.0 * 128.0 + 4.0) + 256_000.0 * (4.0 * 128.0 + 4.0);
        assert_eq!(shape.activation_bytes(&shape.hooks[0]), bytes);
        let sizes = |room: f64| shape.hooks_at_once(room).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(f64::INFINITY), [4]);
        assert_eq!(sizes(2.5 * bytes), [2, 2]);
        assert_eq!(sizes(3.0 * bytes), [3, 1]);
        let (all, two) =
            (shape.disk(&shape.hooks_at_once(f64::INFINITY)), shape.disk(&shape.hooks_at_once(2.5 * bytes)));
        assert_eq!((all.scratch, two.scratch), (4.0 * bytes, 2.0 * bytes));
        assert_eq!(all.run_folder, two.run_folder, "what stays does not depend on what is there meanwhile");
        let opened = 1e8;
        let harvested = |groups: &[Vec<_>]| shape.memory(opened, groups);
        assert!(harvested(&shape.hooks_at_once(f64::INFINITY)) > opened);
        assert_eq!(shape.memory(2.0 * opened, &[]) - shape.memory(opened, &[]), opened);
    });
}

/// Sizes of the run folder and peak memory of runs on two threads: 24 and 537 MB, 296 and 559 MB.
#[test]
fn sizes_are_those_of_recorded_runs() {
    for (suite, folder, peak) in [("smoke", 24e6, 296e6), ("residual", 537e6, 559e6)] {
        with_shape(suite, |shape| {
            let groups = shape.hooks_at_once(f64::INFINITY);
            let (disk, memory) = (shape.disk(&groups).run_folder, shape.memory(80e6, &groups));
            println!("{suite}: {:.0} MB on disk, {:.0} MB in memory", disk / 1e6, memory / 1e6);
            assert!(disk < MOST * folder && folder < MOST * disk, "{suite}: {disk}");
            assert!(memory < 2.0 * peak && peak < 2.0 * memory, "{suite}: {memory}");
        });
    }
}

/// One line for each feature and explainer, again for `shuffled`, once for `oracle`; on permuted weights one each.
#[test]
fn score_lines_are_those_of_the_committed_suites() {
    let lines = |suite: &str| {
        with_shape(suite, |shape| {
            let of_pass = |pass| {
                let rows = shape.fits(pass).flat_map(|(at, method)| shape.rows(at, method));
                rows.map(|row| row.scored * shape.lines(pass)).sum::<usize>()
            };
            shape.passes.iter().map(of_pass).sum::<usize>()
        })
    };
    assert_eq!(lines("smoke"), 5 * 12 * (3 * 2 + 1) + 12 * 3);
    assert_eq!(lines("residual"), 4 * (12 * 40 * (3 * 2 + 1) + 40 * 3));
    assert_eq!(lines("sweep"), 75 * 20 * 2);
}
