//! `trace`: finds the causes of a feature of a run.

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, TraceArgs};
use super::harvest::model_places;
use super::progress::Progress;
use super::remote::RunHere;
use super::{print_result, setting};
use crate::base::write_atomic;
use crate::report::{
    Column, FeatureTrace, Grid, Look, Part, TracedMean, fixed, redraw_dictionary, trace_files,
    update_digests, visible,
};
use crate::run::{FinishedRun, RunError, TraceAsk, trace_feature};

/// Smallest width of a label, in characters.
const LABEL_WIDTH: usize = 24;

/// Fewest fragments that give an interval.
const FEWEST_FRAGMENTS: usize = 2;

/// Output of `trace --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Drawn {
    /// The folder.
    out: String,
    /// The files written there.
    files: Vec<&'static str>,
    /// The content of `trace.json`.
    trace: FeatureTrace,
}

pub fn trace(args: &TraceArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    for (flag, given, least) in [
        ("--depth", args.depth, 1),
        ("--top", args.top, 1),
        ("--fragments", args.fragments, FEWEST_FRAGMENTS),
        ("--max-exact", args.max_exact, 1),
    ] {
        if given < least {
            return Err(setting(flag, format!("is {given}, expected at least {least}")));
        }
    }
    let ask = TraceAsk {
        feature: args.feature.clone(),
        methods: args.method.clone(),
        depth: args.depth,
        top: args.top,
        fragments: args.fragments,
        max_exact: args.max_exact,
        model: args.model.clone(),
    };
    let here = RunHere::open(&args.run, Part::Everything, common, env)?;
    let run = FinishedRun::open(here.folder())?;
    let progress = Progress::new(common.progress, common.quiet);
    let found =
        trace_feature(&run, &ask, &model_places(env, args.device, common), &|event| progress.show(&event));
    progress.finish();
    let (place, trace) = found?;
    let feature = trace.nodes.first().map_or(0, |node| node.feature);
    let out = here.out(args.out.as_deref(), || run.layout().trace(&place, feature))?;
    let mut files = Vec::new();
    let layout = run.layout();
    let within = Some(&layout).filter(|_| args.out.is_none());
    for (name, content) in trace_files(&trace, within)? {
        write_atomic(&out.join(name), &content)?;
        files.push(name);
    }
    if within.is_some() {
        // The feature's page links the trace.
        let drawn = redraw_dictionary(layout.folder(), &place)?;
        update_digests(layout.folder(), drawn.as_slice())?;
    }
    let drawn = Drawn { out: out.display().to_string(), files, trace };
    print_result(common, &drawn, |drawn| text(drawn, env.look))?;
    Ok(0)
}

/// The causes as a table, and where the page is.
fn text(drawn: &Drawn, look: Look) -> String {
    let trace = &drawn.trace;
    let mut grid = Grid::new(vec![
        Column::text("feature"),
        Column::text("cause"),
        Column::number("share lost"),
        Column::text("interval"),
        Column::number("random").drops(1),
        Column::number("attribution").drops(0),
        Column::text("label of the cause").folds(LABEL_WIDTH),
    ]);
    for edge in &trace.edges {
        let (from, to) = (&trace.nodes[edge.from], &trace.nodes[edge.to]);
        let percent = |mean: &TracedMean| format!("{} %", fixed(Some(100.0 * mean.mean), 1));
        let [low, high] =
            [edge.share.ci_low, edge.share.ci_high].map(|end| fixed(end.map(|end| 100.0 * end), 1));
        grid.row(vec![
            to.address(),
            from.address(),
            percent(&edge.share),
            format!("[{low}, {high}]"),
            percent(&edge.random),
            fixed(Some(edge.attribution), 3),
            from.line(),
        ]);
    }
    let mut lines = vec![look.bold(&visible(&format!("Causes of {}", trace.address())))];
    for (node, found) in trace.nodes.iter().filter_map(|node| Some((node, node.causes.as_ref()?))) {
        lines.push(visible(&format!(
            "{}: {} of {} active features ablated at {}, on {} fragments",
            node.address(),
            found.n_tried,
            found.n_active,
            found.hook,
            found.n_fragments
        )));
    }
    let drawn_grid = grid.draw(look);
    lines.push(drawn_grid.text);
    if !drawn_grid.dropped.is_empty() {
        lines.push(format!("not shown in {} columns: {}", look.width, drawn_grid.dropped.join(", ")));
    }
    lines.extend(drawn.files.iter().map(|file| visible(&format!("{}/{file}", drawn.out))));
    lines.join("\n")
}
