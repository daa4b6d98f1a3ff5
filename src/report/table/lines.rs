//! Lines of Markdown tables.

/// Appends a row of cells that are escaped already.
pub fn push_row<T: AsRef<str>>(into: &mut String, cells: impl IntoIterator<Item = T>) {
    into.push('|');
    for cell in cells {
        into.push_str(&format!(" {} |", cell.as_ref()));
    }
    into.push('\n');
}

/// A head whose first `left` columns are aligned left.
pub fn push_head<T: AsRef<str>>(into: &mut String, cells: &[T], left: usize) {
    push_row(into, cells);
    push_row(into, (0..cells.len()).map(|i| if i < left { ":--" } else { "--:" }));
}
