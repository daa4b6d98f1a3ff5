use super::*;
use crate::report::fixture::{self, METHODS};
use crate::report::patching_fixture;
use crate::report::verdict::Findings;

fn plain(columns: usize) -> Look {
    Look { width: columns, ink: Ink::None }
}

#[test]
fn the_table_fits_any_terminal_and_has_no_colour_unless_asked() {
    let made = fixture::make(4);
    for columns in [50, 80, 100, 120, 200] {
        let table = terminal_table(&made.summary, plain(columns));
        for line in table.lines() {
            assert!(width(line) <= columns, "{} of {columns} columns: {line}", width(line));
            assert!(!line.contains('\u{1b}') && line.trim_end() == line);
        }
        assert_eq!(table.matches("blocks.").count(), 4, "one block per hook point");
        for name in METHODS.iter().chain(&["topk random_weights", "shuffled (12)"]) {
            assert!(table.contains(name), "`{name}` is not there in {columns} columns");
        }
    }
    let table = terminal_table(&made.summary, plain(80));
    let styled = terminal_table(&made.summary, Look { width: 80, ink: Ink::True });
    let stripped = styled.replace("\u{1b}[1m", "").replace("\u{1b}[2m", "").replace("\u{1b}[0m", "");
    assert_eq!(stripped, table);
    let mut one = made.summary.clone();
    one.cells.retain(|cell| cell.explainer == "neuron_to_graph");
    let all_scores = terminal_table(&one, plain(80));
    assert!(all_scores.contains("population") && all_scores.lines().all(|line| width(line) <= 80));
}

#[test]
fn patching_has_a_table_for_each_hook_point_on_any_terminal() {
    let summary = patching_fixture::summary(2);
    for columns in [50, 80, 120, 240] {
        let text = terminal_table(&summary, plain(columns));
        for line in text.lines() {
            assert!(width(line) <= columns, "{} of {columns} columns: {line}", width(line));
        }
        let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(joined.matches("patching on ioi at blocks.").count(), 2, "{text}");
        for words in ["9 [7.7, 10]", "60 [51, 69]", "more features", "the reference"] {
            assert!(joined.contains(words), "`{words}` is not there in {columns} columns: {text}");
        }
        let is_whole = joined.contains("more features, more divergence than topk")
            && joined.contains("its codes are no share of an activation");
        assert!(is_whole || columns < 240, "{text}");
    }
    let without = Summary { patching: None, ..summary };
    assert_eq!(terminal_table(&without, plain(80)), "no scores: no feature was eligible at any hook point\n");
}

#[test]
fn wide_names_keep_the_table_aligned() {
    let mut made = fixture::make(1);
    for cell in made.summary.cells.iter_mut().filter(|cell| cell.method == "sae") {
        cell.method = "日本語の方法".into();
    }
    let table = terminal_table(&made.summary, plain(80));
    let end = |name: &str| table.lines().find(|line| line.contains(name)).map(width);
    assert_eq!(end("日本語の方法"), end("  topk "), "{table}");
}

fn closing(layers: usize) -> (Closing, fixture::Made) {
    let made = fixture::make(layers);
    let warnings =
        ["blocks.0.hook_resid_post/ica: not converged after 200 iterations".to_string(), "two".into()];
    let closing = Closing::new(&made.summary, &made.lines, &warnings, "results/residual/index.html".into());
    (closing, made)
}

#[test]
fn the_closing_screen_fits_a_small_terminal() {
    let (mut closing, made) = closing(4);
    let feature = next_feature(&closing, &made.lines).expect("a feature with a score");
    closing.next = ["inspect", "report", "compare", "inspect"]
        .map(|verb| format!("autointerp {verb} RUN {feature}"))
        .into();
    for columns in [80, 120] {
        let screen = closing.screen(plain(columns));
        assert!(screen.lines().count() <= 23, "{screen}");
        assert!(screen.lines().all(|line| width(line) <= columns && line.trim_end() == line), "{screen}");
        for text in [
            "top_and_random",
            "beyond_token",
            "highest",
            "lowest",
            "shuffled",
            "warnings",
            "index.html",
            &feature,
        ] {
            assert!(screen.contains(text), "`{text}` is not in\n{screen}");
        }
    }
}

#[test]
fn the_highest_and_lowest_cells_are_those_of_the_summary() {
    let (closing, made) = closing(3);
    assert_eq!(closing.extremes.len(), 2);
    for extremes in &closing.extremes {
        let means: Vec<f64> = made
            .summary
            .cells
            .iter()
            .filter(|cell| cell.control.is_none() && cell.scorer == extremes.scorer)
            .filter(|cell| cell.explainer == extremes.explainer)
            .filter_map(|cell| cell.mean)
            .collect();
        assert_eq!(extremes.n_cells, means.len());
        assert_eq!(extremes.highest.mean, means.iter().copied().reduce(f64::max));
        assert_eq!(extremes.lowest.mean, means.iter().copied().reduce(f64::min));
        assert!(extremes.controls.iter().any(|range| range.control == "shuffled" && range.low <= range.high));
    }
    let real = made.lines.iter().filter(|line| line.control.is_none());
    let without = real.clone().filter(|line| line.status != crate::report::ScoreStatus::Scored).count();
    assert_eq!((closing.unscored.lines, closing.unscored.unscored), (real.count(), without));
    assert_eq!(closing.unscored.reasons.values().sum::<usize>(), without);
}

#[test]
fn a_run_without_scores_ends_with_a_screen_too() {
    let summary = Summary { suite: "empty\u{1b}[2J".into(), ..Summary::default() };
    let closing = Closing::new(&summary, &[], &[], "x/index.html".into());
    let screen = closing.screen(plain(80));
    assert!(
        screen.contains("0 of 0") && screen.contains("x/index.html") && !screen.contains('\u{1b}'),
        "{screen}"
    );
    assert!(next_feature(&closing, &[]).is_none());
}

/// Asserts that a committed text is current, or writes it if a refresh is requested.
fn assert_committed(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("AUTOINTERP_REFRESH").is_some() {
        crate::base::write_atomic(&path, text.as_bytes()).expect("refreshed");
    }
    let found = std::fs::read_to_string(&path).expect("a committed file");
    assert!(
        found == text,
        "{name} is out of date: AUTOINTERP_REFRESH=1 cargo test --release committed\n{text}"
    );
}

#[test]
fn committed_screens_at_two_widths() {
    let (mut closing, made) = closing(4);
    closing.next =
        vec!["autointerp inspect results/residual".into(), "autointerp report results/residual".into()];
    closing.unscored.unscored = 7;
    closing.unscored.reasons = [("too_few_fragments".to_string(), 5), ("dead".to_string(), 2)].into();
    let mut one = fixture::make(1).summary;
    one.cells.retain(|cell| cell.method.starts_with("pca") || cell.method == "topk");
    assert!(!made.lines.is_empty());
    for columns in [80, 120] {
        assert_committed(&format!("closing.{columns}.txt"), &closing.screen(plain(columns)));
        assert_committed(&format!("table.{columns}.txt"), &terminal_table(&one, plain(columns)));
    }
}

#[test]
fn the_verdict_fits_any_terminal_and_cuts_no_name() {
    let summary = fixture::make(4).summary;
    let findings = Findings::new(&summary);
    for columns in [50, 80, 120] {
        let text = terminal_verdict(&findings, plain(columns));
        for line in text.lines() {
            assert!(width(line) <= columns, "{} of {columns} columns: {line}", width(line));
            assert!(!line.contains('\u{1b}') && line.trim_end() == line);
        }
        assert!(!text.contains('…'), "{text}");
        for name in METHODS {
            assert!(
                text.lines().any(|line| line.contains(&format!("  {name}  "))),
                "`{name}` is not in\n{text}"
            );
        }
        // Every word of every sentence is there, in order.
        let said: Vec<&str> = text.split_whitespace().collect();
        for sentence in findings.sentences.iter().map(|sentence| sentence.text.as_str()) {
            let words: Vec<&str> = sentence.split_whitespace().collect();
            assert!(said.windows(words.len()).any(|window| window == words), "{sentence}\n{text}");
        }
        assert!(text.find("top_and_random") < text.find("beyond_token"), "{text}");
    }
    let wide = terminal_verdict(&findings, plain(80));
    for head in ["place", "letters", "shuffled", "token_lookup", "weights"] {
        assert!(wide.contains(head), "`{head}` is not in\n{wide}");
    }
    let styled = terminal_verdict(&findings, Look { width: 80, ink: Ink::True });
    assert_eq!(styled.replace("\u{1b}[2m", "").replace("\u{1b}[0m", ""), wide);
}

#[test]
fn a_hostile_or_endless_name_breaks_no_line_of_the_verdict() {
    let mut summary = fixture::make(1).summary;
    for (method, name) in [("sae", "\u{1b}[2J\u{202e}`x"), ("topk", "n".repeat(100).as_str())] {
        summary
            .cells
            .iter_mut()
            .filter(|cell| cell.method == method)
            .for_each(|cell| cell.method = name.into());
        for row in summary.rankings.iter_mut().flat_map(|ranking| &mut ranking.rows) {
            row.above
                .iter_mut()
                .filter(|(other, _)| other == method)
                .for_each(|(other, _)| *other = name.into());
            if row.method == method {
                row.method = name.into();
            }
        }
    }
    for columns in [50, 80, 120] {
        let text = terminal_verdict(&Findings::new(&summary), plain(columns));
        assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    }
    let empty = terminal_verdict(&Findings::new(&Summary::default()), plain(50));
    assert_eq!(empty, "No feature was eligible at any hook point, so\nthere are no scores.\n\n");
}
