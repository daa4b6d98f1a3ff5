//! Tables of scores (one for each protocol, explainer and simulator), of dictionaries, of differences and of patching on a
//! task.

mod csv;
mod erasure;
mod lines;
mod markdown;
mod patching;
mod quadrants;
mod rows;
mod tex;
mod verdict;

pub use csv::{cells_csv, differences_csv, quality_csv, specificity_csv};
pub use erasure::{ERASURE_HEAD, concept_line, erasure_csv, erasure_rows, erasure_what, share_text};
pub use markdown::markdown;
pub use patching::{
    head as patched_head, patching_csv, patching_differences_csv, rows as patched_rows, what as patched_what,
};
pub use quadrants::{QUADRANT_HEAD, quadrant_cells, quadrant_note};
pub use rows::{
    COUNTS, QUALITY_HEAD, control_label, control_words, dead_unit, differences, interval_of_differences,
    quality_cells, row, table_note,
};
pub use tex::tex;
