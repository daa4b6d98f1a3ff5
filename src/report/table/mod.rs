//! Tables of scores (one for each protocol, explainer and simulator), of dictionaries and of differences.

mod csv;
mod lines;
mod markdown;
mod rows;
mod tex;
mod verdict;

pub use csv::{cells_csv, differences_csv, quality_csv};
pub use markdown::markdown;
pub use rows::{
    COUNTS, QUALITY_HEAD, control_label, control_words, dead_unit, differences, interval_of_differences,
    quality_cells, row, table_note,
};
pub use tex::tex;
