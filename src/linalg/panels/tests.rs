use super::*;
use crate::base::Stream;

/// Every kernel that this processor can run.
fn kernels() -> impl Iterator<Item = Simd> {
    [Simd::Portable, Simd::Avx2, Simd::Avx512].into_iter().filter(|&simd| simd <= Simd::detect())
}

#[test]
fn products_match_plain_sums_at_odd_sizes_and_do_not_depend_on_neighbours() {
    let mut stream = Stream::new(3, "panels");
    let mut panels = Panels::default();
    for (m, n, d) in [(1, 1, 1), (13, 33, 7), (29, 64, 50), (5, 31, 129), (12, 32, 16), (40, 95, 3)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let (rows, x, bias) = (draw(n * d), draw(m * d), draw(n));
        for simd in kernels() {
            panels.fill_for(simd, &rows, d);
            let mut out = vec![0.0; m * n];
            panels.multiply(&x, &bias, &mut out);
            for (row, out) in out.chunks_exact(n).enumerate() {
                for (col, got) in out.iter().enumerate() {
                    let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(rows[col * d + k]));
                    let exact = f64::from(bias[col]) + products.sum::<f64>();
                    assert!((f64::from(*got) - exact).abs() < 1e-4, "{simd:?} {m} {n} {d} at {row} {col}");
                }
                let mut alone = vec![0.0; n];
                panels.multiply(&x[row * d..(row + 1) * d], &bias, &mut alone);
                assert_eq!(alone, out, "{simd:?} {m} {n} {d} at {row}");
            }
        }
    }
}

#[test]
fn panels_are_packed_at_every_size() {
    for simd in kernels() {
        for (count, d) in [(1, 1), (16, 16), (32, 256), (31, 40), (17, 35), (32, 5)] {
            let rows: Vec<f32> = (0..count * d).map(|i| i as f32).collect();
            let mut panel = vec![f32::NAN; d * NR];
            pack_panel_for(simd, &rows, d, 0..d, &mut panel);
            for (at, got) in panel.iter().enumerate() {
                let (column, row) = (at / NR, at % NR);
                let expected = if row < count { rows[row * d + column] } else { 0.0 };
                assert_eq!(*got, expected, "{simd:?} {count} x {d} at {row} {column}");
            }
            let some = d / 3..d - d / 4;
            let mut part = vec![f32::NAN; some.len() * NR];
            pack_panel_for(simd, &rows, d, some.clone(), &mut part);
            assert_eq!(part, panel[some.start * NR..some.end * NR], "{simd:?} {count} x {d}");
        }
    }
}

#[test]
fn every_kernel_adds_up_the_same_products() {
    let mut stream = Stream::new(5, "arranged");
    for (m, d) in [(1, 1), (2, 130), (25, 300), (13, 128), (12, 16), (24, 17), (36, 40)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let (x, panel) = (draw(m * d), draw(d * NR));
        for simd in kernels() {
            let left = PackedTiles::pack(simd, &x, d, true);
            let mut sums = vec![1.0; 2 * m * NR];
            for start in (0..d).step_by(KC - 1) {
                let columns = start..d.min(start + KC - 1);
                let panel = &panel[columns.start * NR..columns.end * NR];
                left.add_products(columns, &[panel, panel].concat(), &mut sums, start == 0);
            }
            assert_eq!(sums[..m * NR], sums[m * NR..], "two panels that are the same");
            for (at, got) in sums[..m * NR].iter().enumerate() {
                let (row, lane) = (at / NR, at % NR);
                let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(panel[k * NR + lane]));
                assert!((f64::from(*got) - products.sum::<f64>()).abs() < 1e-4, "{simd:?} {m} {d} at {at}");
            }
        }
    }
}

#[test]
fn thin_products_equal_packed_ones() {
    let mut stream = Stream::new(8, "few");
    for (m, d) in [(1, 16), (2, 48), (3, 160), (4, 64)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let stride = d + 5;
        let (x, rows, before) = (draw(m * d), draw(NR * stride), draw(m * NR));
        let panel: Vec<f32> = (0..d * NR).map(|at| rows[at % NR * stride + at / NR]).collect();
        for simd in kernels() {
            let left = PackedTiles::pack(simd, &x, d, true);
            assert_eq!(left.can_multiply_thin(NR, d), simd != Simd::Portable && m <= simd.mr());
            for fresh in [true, false] {
                let (mut whole, mut few) = (before.clone(), before.clone());
                for start in (0..d).step_by(KC) {
                    let columns = start..d.min(start + KC);
                    let panel = &panel[columns.start * NR..columns.end * NR];
                    left.add_products(columns, panel, &mut whole, fresh && start == 0);
                }
                if left.can_multiply_thin(NR, d) {
                    left.add_thin_products(0, (&rows, stride), d, &mut few, fresh);
                    assert_eq!(few, whole, "{simd:?} {m} {d} {fresh}");
                }
            }
        }
    }
}
