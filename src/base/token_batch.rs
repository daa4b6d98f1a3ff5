/// Token ids `[rows, cols]`, row-major: `rows` sequences of `cols` positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    ids: Vec<u32>,
    cols: usize,
}

impl TokenBatch {
    /// A batch of `ids`, one sequence after another; none if they are not whole sequences or `cols` is 0.
    pub fn new(ids: Vec<u32>, cols: usize) -> Option<Self> {
        (cols > 0 && ids.len().is_multiple_of(cols)).then_some(Self { ids, cols })
    }

    /// Number of sequences.
    pub fn rows(&self) -> usize {
        self.ids.len() / self.cols
    }

    /// Positions per sequence.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All ids, one sequence after another.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// One sequence.
    pub fn row(&self, row: usize) -> &[u32] {
        &self.ids[row * self.cols..(row + 1) * self.cols]
    }
}
