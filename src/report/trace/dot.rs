//! The graph in the language of Graphviz.

use super::{FeatureTrace, TraceEdge};
use crate::report::escape::visible;

/// Pen width of an edge that takes the whole activation.
const WIDEST: f64 = 12.0;

/// A directed graph from earlier features to later ones. Pen widths are shares of the activation.
pub fn dot(trace: &FeatureTrace) -> String {
    let mut text = String::from("digraph causes {\n  rankdir=LR;\n  node [shape=box];\n");
    for (nth, node) in trace.nodes.iter().enumerate() {
        let label = format!("{}\\n{}", quoted(&node.address()), quoted(&node.line()));
        text.push_str(&format!("  n{nth} [label=\"{label}\"];\n"));
    }
    for edge in &trace.edges {
        let TraceEdge { from, to, share, .. } = edge;
        let colour = match share.is_clear() {
            false => "gray50",
            true if share.mean > 0.0 => "blue3",
            true => "darkorange3",
        };
        let width = (WIDEST * share.mean.abs().min(1.0)).max(0.5);
        let label = quoted(&share.percent());
        text.push_str(&format!(
            "  n{from} -> n{to} [label=\"{label}\", penwidth={width:.2}, color={colour}];\n"
        ));
    }
    text + "}\n"
}

/// Text inside a quoted string: a backslash and a quote are themselves.
fn quoted(text: &str) -> String {
    visible(text).replace('\\', "\\\\").replace('"', "\\\"")
}
