use super::*;
use crate::report::trace_files;

const HOSTILE: &str = "\"a\\b\n</script><img src=x onerror=alert(1)>\u{202e}";

fn mean(mean: f64, low: f64, high: f64) -> TracedMean {
    TracedMean { mean, ci_low: Some(low), ci_high: Some(high), reason: None }
}

fn node(step: usize, feature: usize) -> TraceNode {
    TraceNode {
        hook: format!("blocks.{}.hook_resid_post", 2 - step),
        dictionary: "topk".into(),
        feature,
        step,
        label: (feature == 1).then(|| HOSTILE.to_string()),
        tokens: vec![" the".into(), HOSTILE.into()],
        histogram: TraceHistogram { low: 0.0, high: 3.5, counts: vec![9, 3, 0, 1] },
        causes: None,
        reason: Some("depth_reached".into()),
    }
}

/// One feature with a supporting, a suppressing and an unclear cause, and `more` weak ones.
fn example(more: usize) -> FeatureTrace {
    let edge = |from: usize, share: TracedMean| TraceEdge {
        from,
        to: 0,
        attribution: 2.0 * share.mean,
        effect: share.clone(),
        share,
        random: mean(0.0, -0.01, 0.01),
        random_size: 0.005,
        n_active_fragments: 7,
    };
    let mut edges =
        vec![edge(1, mean(0.4, 0.3, 0.5)), edge(2, mean(-0.2, -0.3, -0.1)), edge(3, mean(0.05, -0.1, 0.2))];
    edges.extend((4..4 + more).map(|from| edge(from, mean(0.01, 0.005, 0.02))));
    let found = TraceCauses {
        hook: "blocks.1.hook_resid_post".into(),
        dictionaries: vec!["topk".into()],
        n_fragments: 20,
        n_upper_half: 18,
        activation: 2.5,
        n_features: 256,
        n_active: 90,
        n_tried: 50,
    };
    let first = TraceNode { causes: Some(found), reason: None, ..node(0, 0) };
    let causes = (1..4 + more).map(|feature| node(1, feature));
    FeatureTrace {
        schema: TRACE_SCHEMA,
        run: "ab12".into(),
        suite: HOSTILE.into(),
        subject: "embedded".into(),
        settings: TraceSettings {
            depth: 1,
            top: 3,
            fragments: 20,
            max_exact: 50,
            random_directions: 4,
            pool_fragments: 400,
            seed: 7,
            confidence: 0.95,
        },
        nodes: std::iter::once(first).chain(causes).collect(),
        edges,
    }
}

fn file(trace: &FeatureTrace, name: &str) -> String {
    let files = trace_files(trace, None).expect("drawn");
    let (_, bytes) = files.into_iter().find(|(other, _)| *other == name).expect("the file");
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_json_is_the_trace() {
    let trace = example(0);
    let read: FeatureTrace = serde_json::from_str(&file(&trace, "trace.json")).expect("JSON");
    assert_eq!(read, trace);
}

#[test]
fn graphviz_gets_one_line_for_each_node_and_edge() {
    let dot = file(&example(0), "trace.dot");
    assert!(dot.starts_with("digraph causes {\n") && dot.ends_with("}\n"), "{dot}");
    let lines: Vec<&str> =
        dot.lines().filter(|line| line.starts_with("  n") && !line.contains("node [")).collect();
    assert_eq!(lines.len(), 4 + 3, "{dot}");
    for line in &lines {
        // Every quote inside a string is escaped, so what is left of quotes are the pairs around the strings.
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count(), 2, "{line}");
        assert!(line.ends_with("];") && !line.contains('\u{202e}'), "{line}");
    }
    assert!(lines[4].contains("n1 -> n0") && lines[4].contains("40.0 % [30.0, 50.0]"), "{}", lines[4]);
    for (line, colour) in lines[4..].iter().zip(["blue3", "darkorange3", "gray50"]) {
        assert!(line.contains(colour), "{line}");
    }
}

#[test]
fn the_drawing_shows_what_fits_and_counts_the_rest() {
    let svg = file(&example(0), "trace.svg");
    assert!(
        svg.contains("<svg ") && svg.contains("topk/3") && svg.contains("blocks.1.hook_resid_post"),
        "{svg}"
    );
    assert!(!svg.contains("<img") && !svg.contains("Not drawn"));
    let many = example(20);
    let svg = file(&many, "trace.svg");
    assert!(svg.contains("topk/9") && !svg.contains("topk/23"), "ten of 23 causes are drawn");
    assert!(file(&many, "index.html").contains("Not drawn: 13 of 24 features"));
}

#[test]
fn the_page_has_all_numbers_and_runs_no_text() {
    let page = file(&example(20), "index.html").replace("&#x2f;", "/");
    for shown in
        ["40.0 % [30.0, 50.0]", "-20.0 % [-30.0, -10.0]", "50 of 90 of 256", "topk/23", "depth_reached"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    assert!(!page.contains("<img") && !page.contains("\u{202e}") && page.contains("&lt;img"), "{page}");
    assert!(
        !page.contains(" style=") && !page.contains(" onerror=\"") && page.contains("default-src 'none'")
    );
    for table in page.split("<table").skip(1) {
        assert!(table.split_once('>').is_some_and(|(_, rest)| rest.starts_with("<caption")), "{table}");
    }
}
