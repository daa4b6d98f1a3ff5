use super::*;
use crate::base::Stream;

/// Every kernel that this processor can run.
fn all() -> impl Iterator<Item = Vectors> {
    [Vectors::Any, Vectors::Bits256, Vectors::Bits512]
        .into_iter()
        .filter(|&vectors| vectors <= Vectors::here())
}

#[test]
fn products_match_plain_sums_at_odd_sizes_and_do_not_depend_on_neighbours() {
    let mut stream = Stream::new(3, "panels");
    let mut panels = Panels::default();
    for (m, n, d) in [(1, 1, 1), (13, 33, 7), (29, 64, 50), (5, 31, 129), (12, 32, 16), (40, 95, 3)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let (rows, x, bias) = (draw(n * d), draw(m * d), draw(n));
        for vectors in all() {
            panels.fill_for(vectors, &rows, d);
            let mut out = vec![0.0; m * n];
            panels.multiply(&x, &bias, &mut out);
            for (row, out) in out.chunks_exact(n).enumerate() {
                for (col, got) in out.iter().enumerate() {
                    let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(rows[col * d + k]));
                    let exact = f64::from(bias[col]) + products.sum::<f64>();
                    assert!((f64::from(*got) - exact).abs() < 1e-4, "{vectors:?} {m} {n} {d} at {row} {col}");
                }
                let mut alone = vec![0.0; n];
                panels.multiply(&x[row * d..(row + 1) * d], &bias, &mut alone);
                assert_eq!(alone, out, "{vectors:?} {m} {n} {d} at {row}");
            }
        }
    }
}

#[test]
fn rows_that_stand_side_by_side_are_turned_at_every_size() {
    for vectors in all() {
        for (count, d) in [(1, 1), (16, 16), (32, 256), (31, 40), (17, 35), (32, 5)] {
            let rows: Vec<f32> = (0..count * d).map(|i| i as f32).collect();
            let mut panel = vec![f32::NAN; d * PANEL];
            stand_for(vectors, &rows, d, 0..d, &mut panel);
            for (at, got) in panel.iter().enumerate() {
                let (column, row) = (at / PANEL, at % PANEL);
                let expected = if row < count { rows[row * d + column] } else { 0.0 };
                assert_eq!(*got, expected, "{vectors:?} {count} x {d} at {row} {column}");
            }
            let some = d / 3..d - d / 4;
            let mut part = vec![f32::NAN; some.len() * PANEL];
            stand_for(vectors, &rows, d, some.clone(), &mut part);
            assert_eq!(part, panel[some.start * PANEL..some.end * PANEL], "{vectors:?} {count} x {d}");
        }
    }
}

#[test]
fn every_kernel_adds_up_the_same_products() {
    let mut stream = Stream::new(5, "arranged");
    for (m, d) in [(1, 1), (2, 130), (25, 300), (13, 128), (12, 16), (24, 17), (36, 40)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let (x, panel) = (draw(m * d), draw(d * PANEL));
        for vectors in all() {
            let left = Arranged::by(vectors, &x, d, true);
            let mut sums = vec![1.0; 2 * m * PANEL];
            for start in (0..d).step_by(COLUMNS - 1) {
                let columns = start..d.min(start + COLUMNS - 1);
                let panel = &panel[columns.start * PANEL..columns.end * PANEL];
                left.add_products(columns, &[panel, panel].concat(), &mut sums, start == 0);
            }
            assert_eq!(sums[..m * PANEL], sums[m * PANEL..], "two panels that are the same");
            for (at, got) in sums[..m * PANEL].iter().enumerate() {
                let (row, lane) = (at / PANEL, at % PANEL);
                let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(panel[k * PANEL + lane]));
                assert!(
                    (f64::from(*got) - products.sum::<f64>()).abs() < 1e-4,
                    "{vectors:?} {m} {d} at {at}"
                );
            }
        }
    }
}

#[test]
fn few_rows_go_another_way_and_come_out_the_same() {
    let mut stream = Stream::new(8, "few");
    for (m, d) in [(1, 16), (2, 48), (3, 160), (4, 64)] {
        let mut draw = |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
        let stride = d + 5;
        let (x, rows, before) = (draw(m * d), draw(PANEL * stride), draw(m * PANEL));
        let panel: Vec<f32> = (0..d * PANEL).map(|at| rows[at % PANEL * stride + at / PANEL]).collect();
        for vectors in all() {
            let left = Arranged::by(vectors, &x, d, true);
            assert_eq!(left.is_few(PANEL, d), vectors != Vectors::Any && m <= vectors.rows());
            for fresh in [true, false] {
                let (mut whole, mut few) = (before.clone(), before.clone());
                for start in (0..d).step_by(COLUMNS) {
                    let columns = start..d.min(start + COLUMNS);
                    let panel = &panel[columns.start * PANEL..columns.end * PANEL];
                    left.add_products(columns, panel, &mut whole, fresh && start == 0);
                }
                if left.is_few(PANEL, d) {
                    left.add_few(0, (&rows, stride), d, &mut few, fresh);
                    assert_eq!(few, whole, "{vectors:?} {m} {d} {fresh}");
                }
            }
        }
    }
}
