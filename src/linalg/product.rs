//! General dense products through the `gemm` crate, for strided views of f32 and f64.

use gemm::Parallelism;
use rayon::prelude::*;

use crate::base::Matrix;

/// Rows of a product computed by one task. Fixed, so that results do not depend on the thread count.
const TASK_ROWS: usize = 256;

/// A number type that `gemm` supports.
pub trait Scalar: Copy + Send + Sync + From<u8> + 'static {}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// A strided view of numbers: a matrix, its transpose, or some of its rows.
#[derive(Debug, Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// `data` as a row-major `[rows, cols]`. Panics if the length differs.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "a view [{rows}, {cols}] needs {rows} * {cols} numbers");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose.
    pub fn transposed(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Rows `start..end`. Panics if they do not exist.
    pub fn rows(self, start: usize, end: usize) -> Self {
        assert!(start <= end && end <= self.rows, "rows {start}..{end} of a view of {} rows", self.rows);
        let data = if start == end { &[] } else { &self.data[start * self.row_stride..] };
        Self { data, rows: end - start, ..self }
    }

    /// Whether every entry lies inside `data`.
    fn in_bounds(&self) -> bool {
        self.rows == 0
            || self.cols == 0
            || (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride < self.data.len()
    }
}

impl<'a> From<&'a Matrix> for View<'a, f32> {
    fn from(matrix: &'a Matrix) -> Self {
        Self::new(matrix.data(), matrix.rows(), matrix.cols())
    }
}

/// `out = left · right`, or `out += …` with `accumulate`, on this thread. Panics if shapes disagree.
pub fn product_into<T: Scalar>(out: &mut [T], left: View<'_, T>, right: View<'_, T>, accumulate: bool) {
    let (m, n, k) = (left.rows, right.cols, left.cols);
    assert_eq!(right.rows, k, "inner sizes of a product differ");
    assert_eq!(out.len(), m * n, "the output of a product must be [{m}, {n}]");
    assert!(left.in_bounds() && right.in_bounds(), "a view reaches beyond its data");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out.fill(T::from(0));
        }
        return;
    }
    // SAFETY: sizes and strides were checked against the slices above. `out` is borrowed mutably, so it
    // overlaps neither operand. T is f32 or f64, which gemm supports.
    #[expect(unsafe_code, reason = "gemm takes raw pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            left.data.as_ptr(),
            left.col_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.col_stride as isize,
            right.row_stride as isize,
            T::from(1),
            T::from(1),
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `left · right`. Panics if shapes disagree.
pub fn matmul(left: &Matrix, right: &Matrix) -> Matrix {
    multiply(left.into(), right.into())
}

/// `left · rightᵀ`. Panics if shapes disagree.
pub fn matmul_bt(left: &Matrix, right: &Matrix) -> Matrix {
    multiply(left.into(), View::from(right).transposed())
}

/// [`product_into`] on all threads, one task per [`TASK_ROWS`] rows of the result.
fn multiply(left: View<'_, f32>, right: View<'_, f32>) -> Matrix {
    let mut out = Matrix::zeros(left.rows, right.cols);
    let cols = right.cols.max(1);
    out.data_mut().par_chunks_mut(TASK_ROWS * cols).enumerate().for_each(|(task, part)| {
        let start = task * TASK_ROWS;
        product_into(part, left.rows(start, start + part.len() / cols), right, false);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    fn random(rows: usize, cols: usize, name: &str) -> Matrix {
        let mut stream = Stream::new(1, name);
        Matrix::from_fn(rows, cols, |_, _| stream.normal() as f32)
    }

    #[test]
    fn products_match_plain_sums_in_every_orientation() {
        let (a, b) = (random(300, 17, "a"), random(17, 9, "b"));
        let expected = |row: usize, col: usize| -> f64 {
            (0..17).map(|i| f64::from(a.at(row, i)) * f64::from(b.at(i, col))).sum()
        };
        let bt = b.transposed();
        let at = a.transposed();
        let mut tn = vec![0.0f32; 300 * 9];
        product_into(&mut tn, View::from(&at).transposed(), (&b).into(), false);
        for (name, got) in [
            ("plain", matmul(&a, &b).into_vec()),
            ("right transposed", matmul_bt(&a, &bt).into_vec()),
            ("left transposed", tn),
        ] {
            for row in 0..300 {
                for col in 0..9 {
                    assert!((f64::from(got[row * 9 + col]) - expected(row, col)).abs() < 1e-4, "{name}");
                }
            }
        }
    }

    #[test]
    fn accumulating_adds() {
        let (a, b) = (random(5, 4, "a"), random(4, 3, "b"));
        let mut out = vec![1.0f32; 15];
        product_into(&mut out, (&a).into(), (&b).into(), true);
        let plain = matmul(&a, &b);
        for (got, plain) in out.iter().zip(plain.data()) {
            assert!((got - plain - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn thread_count_changes_no_bit() {
        let (a, b) = (random(1000, 64, "a"), random(64, 48, "b"));
        let with = |threads: usize| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .expect("pool")
                .install(|| matmul(&a, &b).into_vec())
        };
        assert_eq!(with(1), with(3));
    }
}
