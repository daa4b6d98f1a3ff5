//! The causes of a feature as a graph: a column for each step back, the traced feature at the right.
//!
//! A band's width is the share of the later feature's activation that is lost when the earlier one is ablated: solid up
//! to the near end of its interval, shaded up to the far end.

use super::style::{LABEL_SIZE, SMALL_SIZE};
use super::{Anchor, Canvas, Figure, Ink, MARGIN, Paper, inline, on_paper, text};
use crate::report::trace::{FeatureTrace, TraceEdge, TraceHistogram, TraceNode};

/// Width and height of a feature's box, px.
const BOX: (f64, f64) = (216.0, 92.0);
/// Room for bands between columns, px.
const BETWEEN: f64 = 150.0;
/// Room between boxes of a column, px.
const GAP: f64 = 16.0;
/// Room for the hook point above a column, px.
const HEAD: f64 = 30.0;
/// Height of a histogram, px.
const BARS: f64 = 26.0;
/// Width of the widest band, px.
const WIDEST: f64 = 18.0;
/// Boxes in a column. The tables have all features.
const MOST: usize = 10;

const SUPPORTS: Ink = Ink::Series(2);
const SUPPRESSES: Ink = Ink::Series(1);

/// The graph as a file, with title and caption.
pub fn trace_file(trace: &FeatureTrace, title: &str, caption: &str) -> String {
    let graph = Graph::new(trace);
    let caption = format!("{caption}{}", graph.left_out());
    on_paper(&graph, title, &caption, Paper::File).into_svg()
}

/// The graph for a page, and what it leaves out.
pub fn trace_inline(trace: &FeatureTrace) -> (String, String) {
    let graph = Graph::new(trace);
    (inline(on_paper(&graph, "", "", Paper::Page)), graph.left_out())
}

/// A histogram for a page.
pub fn trace_histogram(histogram: &TraceHistogram) -> String {
    let mut canvas = Canvas::new(120.0, BARS + 2.0, Paper::Page);
    bars(&mut canvas, histogram, (0.0, BARS + 1.0), 120.0);
    inline(canvas)
}

/// The features that are drawn, with their places.
struct Graph<'a> {
    trace: &'a FeatureTrace,
    /// By step: indices of nodes from top to bottom.
    columns: Vec<Vec<usize>>,
    left_out: usize,
}

impl<'a> Graph<'a> {
    fn new(trace: &'a FeatureTrace) -> Self {
        let weights = weights(trace);
        let steps = trace.nodes.iter().map(|node| node.step).max().unwrap_or(0);
        let mut columns: Vec<Vec<usize>> = Vec::new();
        for step in 0..=steps {
            let of_step = trace.nodes.iter().enumerate().filter(|(_, node)| node.step == step);
            let mut column: Vec<usize> = of_step.map(|(nth, _)| nth).collect();
            column.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b)));
            column.truncate(MOST);
            // Beside what they act on, so that few bands cross.
            let last = columns.last().cloned().unwrap_or_default();
            let place = |nth: &usize| {
                let targets = trace.edges.iter().filter(|edge| edge.from == *nth);
                let rows = targets.filter_map(|edge| last.iter().position(|other| *other == edge.to));
                let rows: Vec<f64> = rows.map(|row| row as f64).collect();
                if rows.is_empty() { f64::MAX } else { rows.iter().sum::<f64>() / rows.len() as f64 }
            };
            column.sort_by(|a, b| place(a).total_cmp(&place(b)));
            columns.push(column);
        }
        let shown: usize = columns.iter().map(Vec::len).sum();
        Self { trace, columns, left_out: trace.nodes.len() - shown }
    }

    fn left_out(&self) -> String {
        match self.left_out {
            0 => String::new(),
            n => format!(
                " Not drawn: {n} of {} features, those with the least effect.",
                self.trace.nodes.len()
            ),
        }
    }

    /// Top left corner of a node's box; none if it is not drawn.
    fn corner(&self, nth: usize, top: f64) -> Option<(f64, f64)> {
        let step = self.trace.nodes[nth].step;
        let column = self.columns.get(step)?;
        let row = column.iter().position(|other| *other == nth)?;
        let tallest = self.columns.iter().map(Vec::len).max().unwrap_or(0);
        let above = (tallest - column.len()) as f64 / 2.0 + row as f64;
        Some((self.left(step), top + HEAD + above * (BOX.1 + GAP)))
    }

    fn left(&self, step: usize) -> f64 {
        MARGIN + (self.columns.len() - 1 - step) as f64 * (BOX.0 + BETWEEN)
    }
}

/// How much of the traced feature each node accounts for, roughly: the largest product of shares along a path.
fn weights(trace: &FeatureTrace) -> Vec<f64> {
    let mut weights = vec![0.0f64; trace.nodes.len()];
    weights.iter_mut().take(1).for_each(|first| *first = 1.0);
    for edge in &trace.edges {
        weights[edge.from] = weights[edge.from].max(weights[edge.to] * edge.share.mean.abs());
    }
    weights
}

/// Near and far end of a share's interval by size; the near end is 0 where the interval includes 0.
fn ends(edge: &TraceEdge) -> (f64, f64) {
    let share = &edge.share;
    let [low, high] = [share.ci_low, share.ci_high].map(|end| end.unwrap_or(share.mean).abs());
    let near = if share.is_clear() { low.min(high) } else { 0.0 };
    (near, low.max(high))
}

impl Figure for Graph<'_> {
    fn size(&self) -> (f64, f64) {
        let tallest = self.columns.iter().map(Vec::len).max().unwrap_or(0) as f64;
        let columns = self.columns.len() as f64;
        (2.0 * MARGIN + columns * BOX.0 + (columns - 1.0).max(0.0) * BETWEEN, HEAD + tallest * (BOX.1 + GAP))
    }

    fn draw(&self, canvas: &mut Canvas, top: f64) {
        for (step, column) in self.columns.iter().enumerate() {
            let hooks = crate::base::distinct(column.iter().map(|&nth| self.trace.nodes[nth].hook.as_str()));
            let heading = text::cut(&hooks.join(", "), f64::from(SMALL_SIZE), BOX.0);
            canvas.text(self.left(step), top + 18.0, &heading, SMALL_SIZE, Anchor::Start, Ink::Muted);
        }
        let widest = self.trace.edges.iter().map(|edge| ends(edge).1).fold(0.0, f64::max);
        for edge in &self.trace.edges {
            if let (Some(from), Some(to)) = (self.corner(edge.from, top), self.corner(edge.to, top)) {
                self.band(canvas, edge, [from, to], widest);
            }
        }
        for &nth in self.columns.iter().flatten() {
            if let Some(corner) = self.corner(nth, top) {
                feature(canvas, &self.trace.nodes[nth], corner);
            }
        }
    }
}

impl Graph<'_> {
    fn band(&self, canvas: &mut Canvas, edge: &TraceEdge, [from, to]: [(f64, f64); 2], widest: f64) {
        let (x1, y1) = (from.0 + BOX.0, from.1 + BOX.1 / 2.0);
        let (x2, y2) = (to.0, to.1 + BOX.1 / 2.0);
        let ink = match edge.share.is_clear() {
            false => Ink::Control,
            true if edge.share.mean > 0.0 => SUPPORTS,
            true => SUPPRESSES,
        };
        let (near, far) = ends(edge);
        let half = |share: f64| if widest > 0.0 { 0.5 * WIDEST * share / widest } else { 0.0 };
        let outline = |half: f64| [(x1, y1 - half), (x2, y2 - half), (x2, y2 + half), (x1, y1 + half)];
        let name = |nth: usize| self.trace.nodes[nth].address();
        canvas.begin(&format!(
            "{} without {}: {} of the activation lost; random direction {}",
            name(edge.to),
            name(edge.from),
            edge.share.percent(),
            edge.random.percent()
        ));
        canvas.shade(&outline(half(far)), ink, 0.25);
        canvas.shade(&outline(half(near)), ink, 0.85);
        canvas.line((x1, y1), (x2, y2), ink, 1.0);
        canvas.end();
    }
}

/// A feature's box: its name, its label and its histogram.
fn feature(canvas: &mut Canvas, node: &TraceNode, (x, y): (f64, f64)) {
    let room = BOX.0 - 16.0;
    canvas.begin(&format!("{}: {}", node.address(), node.line()));
    canvas.frame(x, y, BOX.0, BOX.1, if node.step == 0 { Ink::Text } else { Ink::Control }, false);
    let name = format!("{}/{}", node.dictionary, node.feature);
    let name = text::cut(&name, f64::from(LABEL_SIZE), room);
    canvas.text(x + 8.0, y + 18.0, &name, LABEL_SIZE, Anchor::Start, Ink::Text);
    let lines = text::wrap(&node.line(), f64::from(SMALL_SIZE), room);
    let shown = match lines.len() {
        0..=2 => lines,
        // The second line takes the rest, which the cut ends with an ellipsis.
        _ => vec![lines[0].clone(), lines[1..].join(" ")],
    };
    for (nth, line) in shown.iter().enumerate() {
        let line = text::cut(line, f64::from(SMALL_SIZE), room);
        canvas.text(x + 8.0, y + 34.0 + 14.0 * nth as f64, &line, SMALL_SIZE, Anchor::Start, Ink::Muted);
    }
    bars(canvas, &node.histogram, (x + 8.0, y + BOX.1 - 8.0), room);
    canvas.end();
}

/// Bars of log(1 + count) on a base line, from its left end.
fn bars(canvas: &mut Canvas, histogram: &TraceHistogram, (x, y): (f64, f64), width: f64) {
    let height = |count: u64| (1.0 + count as f64).ln();
    let tallest = histogram.counts.iter().copied().map(height).fold(0.0, f64::max);
    let step = width / histogram.counts.len().max(1) as f64;
    for (nth, &count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let tall = BARS * height(count) / tallest;
        canvas.block(x + nth as f64 * step, y - tall, (step - 1.0).max(1.0), tall, Ink::Control, 1.0);
    }
    canvas.line((x, y), (x + width, y), Ink::Muted, 1.0);
}
