//! Loops compiled for several vector widths, and the f32 primitives used in them.

/// Work that gains from wide vectors. Only inlined code is compiled for the instruction set chosen at run
/// time: `run` and the functions in its loops must be `#[inline(always)]`.
pub trait Vectorised {
    /// Result of the work.
    type Output;
    /// Does the work.
    fn run(self) -> Self::Output;
}

/// Runs `work` with the widest vectors of this processor. Results have the same bits on every processor.
pub fn vectorised<W: Vectorised>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the features were just detected.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            return unsafe { with_avx512(work) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the features were just detected.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            return unsafe { with_avx2(work) };
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2")]
fn with_avx512<W: Vectorised>(work: W) -> W::Output {
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Vectorised>(work: W) -> W::Output {
    work.run()
}

/// `a·b + c`, fused if `FMA`.
#[inline(always)]
pub fn mul_add<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Partial sums of a dot product. Fixed, so that the result does not depend on the vector width.
const LANES: usize = 32;

/// `Σ left·right` in f32, over `LANES` partial sums.
#[inline(always)]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (left_blocks, right_blocks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let (left_rest, right_rest) = (left_blocks.remainder(), right_blocks.remainder());
    for (a, b) in left_blocks.zip(right_blocks) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    // Without the barrier, this reduction makes the compiler use vectors of two in the loop above.
    let mut sums = std::hint::black_box(sums);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + left_rest.iter().zip(right_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// `Σ values²`.
#[inline(always)]
pub fn sum_of_squares(values: &[f32]) -> f32 {
    dot(values, values)
}

/// `out += scale · row`.
#[inline(always)]
pub fn add_scaled(out: &mut [f32], scale: f32, row: &[f32]) {
    for (slot, &value) in out.iter_mut().zip(row) {
        *slot += scale * value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum<'a>(&'a [f32]);

    impl Vectorised for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn run(self) -> f32 {
            sum_of_squares(self.0)
        }
    }

    #[test]
    fn vector_width_changes_no_bit() {
        let values: Vec<f32> = (0..77).map(|i| (i as f32 * 0.37).sin()).collect();
        let plain = sum_of_squares(&values);
        assert_eq!(vectorised(Sum(&values)).to_bits(), plain.to_bits());
        let exact: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        assert!((f64::from(plain) - exact).abs() < 1e-4);
    }
}
