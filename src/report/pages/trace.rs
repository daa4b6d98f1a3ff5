//! The files of a trace. Its page has the graph, and tables of causes and features.

use minijinja::context;
use minijinja::value::Value;

use super::shell;
use crate::report::ReportError;
use crate::report::charts::{trace_file, trace_histogram, trace_inline};
use crate::report::escape::{token, visible, xml};
use crate::report::layout::{Layout, Place, TRACE_PAGE};
use crate::report::number::{DASH, count, fixed};
use crate::report::trace::{FeatureTrace, TraceEdge, TraceNode, TracedMean, dot};

/// The files of a trace by name: `trace.json`, `trace.dot`, `trace.svg` and the page `index.html`. With the layout of
/// the run folder that they are written into, the page links those of its features.
pub fn trace_files(
    trace: &FeatureTrace,
    within: Option<&Layout>,
) -> Result<Vec<(&'static str, Vec<u8>)>, ReportError> {
    let json = serde_json::to_string_pretty(trace).map_err(ReportError::Unwritable)? + "\n";
    let title = format!("Causes of {}", trace.address());
    Ok(vec![
        ("trace.json", json.into_bytes()),
        ("trace.dot", dot(trace).into_bytes()),
        ("trace.svg", trace_file(trace, &title, &trace.caption()).into_bytes()),
        (TRACE_PAGE, trace_page(trace, within)?.into_bytes()),
    ])
}

/// An HTML document that needs no other file.
fn trace_page(trace: &FeatureTrace, within: Option<&Layout>) -> Result<String, ReportError> {
    let (svg, left_out) = trace_inline(trace);
    let described = format!(
        "<svg role=\"img\" aria-label=\"Causes of {}; the numbers are in the tables\" ",
        xml(&trace.address())
    );
    let settings = &trace.settings;
    let facts = [
        ("subject model", visible(&trace.subject)),
        ("steps back", settings.depth.to_string()),
        ("causes kept of each feature", settings.top.to_string()),
        ("stored fragments", count(settings.pool_fragments)),
        ("seed", settings.seed.to_string()),
        ("run", trace.run.chars().take(12).collect()),
    ];
    let page = context! {
        title => format!("Causes of {}", visible(&trace.address())),
        suite => visible(&trace.suite),
        within => within.is_some(),
        page => trace.nodes.first().and_then(|node| page_of(node, within)),
        feature => visible(&trace.address()),
        label => trace.nodes.first().map(|node| visible(&node.line())),
        facts => facts.to_vec(),
        svg => Value::from_safe_string(svg.replacen("<svg ", &described, 1)),
        caption => format!("{}{left_out}", trace.caption()),
        edges => trace.edges.iter().map(|edge| row_of_edge(trace, edge)).collect::<Vec<_>>(),
        nodes => trace.nodes.iter().map(|node| row_of_node(node, within)).collect::<Vec<_>>(),
    };
    shell::page(&shell::environment()?, shell::TRACE, page, "null", false)
}

fn row_of_edge(trace: &FeatureTrace, edge: &TraceEdge) -> Value {
    let name = |nth: usize| visible(&trace.nodes[nth].address());
    context! {
        from => name(edge.from),
        to => name(edge.to),
        share => edge.share.percent(),
        random => edge.random.percent(),
        random_size => format!("{} %", fixed(Some(100.0 * edge.random_size), 1)),
        effect => with_interval(&edge.effect),
        attribution => fixed(Some(edge.attribution), 3),
        fragments => edge.n_active_fragments,
    }
}

fn with_interval(mean: &TracedMean) -> String {
    let [point, low, high] = [Some(mean.mean), mean.ci_low, mean.ci_high].map(|value| fixed(value, 3));
    format!("{point} [{low}, {high}]")
}

/// Address of a feature on the page of its dictionary, seen from the page of a trace inside the run folder. Features
/// without an explanation may not be there.
fn page_of(node: &TraceNode, within: Option<&Layout>) -> Option<String> {
    let place = Place { hook: node.hook.clone(), dictionary: node.dictionary.clone(), control: None };
    let file = Layout::feature_page(&place);
    let exists = within?.feature_pages().join(&file).is_file() && node.label.is_some();
    let [hook, dictionary] = [&node.hook, &node.dictionary].map(|part| encoded(part));
    exists.then(|| format!("../../features/{}#{hook}/{dictionary}/{}", encoded(&file), node.feature))
}

/// A part of an address, percent-encoded.
fn encoded(part: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    part.bytes().map(letter).collect()
}

fn row_of_node(node: &TraceNode, within: Option<&Layout>) -> Value {
    let causes = node.causes.as_ref();
    let [fragments, upper] = [causes.map(|found| found.n_fragments), causes.map(|found| found.n_upper_half)]
        .map(|n| n.map_or(DASH.to_string(), count));
    let tried = causes.map(|found| {
        format!("{} of {} of {}", count(found.n_tried), count(found.n_active), count(found.n_features))
    });
    context! {
        feature => visible(&node.address()),
        page => page_of(node, within),
        step => node.step,
        label => node.label.as_deref().map_or(DASH.to_string(), visible),
        tokens => node.tokens.iter().map(|text| token(text)).collect::<Vec<_>>(),
        histogram => Value::from_safe_string(trace_histogram(&node.histogram)),
        range => format!("{} to {}", fixed(Some(node.histogram.low), 2), fixed(Some(node.histogram.high), 2)),
        fragments,
        upper,
        activation => fixed(causes.map(|found| found.activation), 3),
        tried => tried.unwrap_or_else(|| DASH.to_string()),
        note => node.reason.as_deref().unwrap_or_default(),
    }
}
