use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};

use super::{Encoding, Packed};
use crate::base::Stream;
use crate::linalg::multiply_stored;

const QUANTISED: [(Encoding, GgmlDType); 8] = [
    (Encoding::Q4_0, GgmlDType::Q4_0),
    (Encoding::Q4_1, GgmlDType::Q4_1),
    (Encoding::Q5_0, GgmlDType::Q5_0),
    (Encoding::Q5_1, GgmlDType::Q5_1),
    (Encoding::Q8_0, GgmlDType::Q8_0),
    (Encoding::Q4K, GgmlDType::Q4K),
    (Encoding::Q5K, GgmlDType::Q5K),
    (Encoding::Q6K, GgmlDType::Q6K),
];

fn random(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Stream::new(7, name);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// Random rows quantised by candle, and the numbers that candle decodes from them.
fn quantised(rows: usize, cols: usize, encoding: Encoding, kind: GgmlDType) -> (Packed, Vec<f32>) {
    let entries = Tensor::from_vec(random(rows * cols, "weights"), (rows, cols), &Device::Cpu);
    let quantised = QTensor::quantize(&entries.expect("tensor"), kind).expect("quantises");
    let bytes = quantised.data().expect("bytes").to_vec();
    let read = quantised.dequantize(&Device::Cpu).expect("reads");
    let read = read.flatten_all().and_then(|all| all.to_vec1::<f32>()).expect("entries");
    (Packed::new(encoding, bytes, rows, cols).expect("fits"), read)
}

fn multiply(w: &Packed, x: &[f32]) -> Option<Vec<f32>> {
    Some(Packed::multiply_each(x, &[w], false)?.swap_remove(0))
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&value| half::f16::from_f32(value).to_le_bytes()).collect()
}

#[test]
fn every_quantised_encoding_is_decoded_as_in_candle() {
    for (encoding, kind) in QUANTISED {
        let (packed, expected) = quantised(5, 512, encoding, kind);
        for (at, (got, expected)) in packed.to_f32().iter().zip(&expected).enumerate() {
            assert!((got - expected).abs() <= 1e-6 * expected.abs(), "{encoding:?} {at}: {got} {expected}");
        }
        let plain = random(5 * 512, "weights");
        let error: f32 = packed.to_f32().iter().zip(&plain).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f32 = plain.iter().map(|x| x * x).sum();
        let bound = if encoding.block_bytes() * 8 >= 8 * encoding.block() { 0.01 } else { 0.12 };
        assert!((error / size).sqrt() < bound, "{encoding:?}: {}", (error / size).sqrt());
    }
}

#[test]
fn halves_are_decoded_exactly() {
    let every: Vec<u16> = (0..=u16::MAX).filter(|bits| bits & 0x7C00 != 0x7C00).collect();
    let bytes = every.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let packed = Packed::new(Encoding::F16, bytes, 1, every.len()).expect("fits");
    for (got, bits) in packed.to_f32().iter().zip(&every) {
        assert_eq!(got.to_bits(), half::f16::from_bits(*bits).to_f32().to_bits(), "{bits:#x}");
    }
    assert_eq!(packed.first_not_finite(), None);
    let infinite = Packed::new(Encoding::F16, halves(&[1.0, f32::INFINITY]), 1, 2).expect("fits");
    assert_eq!(infinite.first_not_finite(), Some((1, f32::INFINITY)));
    let brain: Vec<u8> = [1.5f32, -3.0].iter().flat_map(|x| half::bf16::from_f32(*x).to_le_bytes()).collect();
    assert_eq!(Packed::new(Encoding::Bf16, brain, 2, 1).expect("fits").to_f32(), [1.5, -3.0]);
}

#[test]
fn products_equal_those_of_unpacked_rows_and_do_not_depend_on_other_rows() {
    // Not a multiple of the row panel, and several steps over the columns.
    let (rows, cols, n) = (131, 1536, 23);
    let x = random(n * cols, "x");
    let mut all = vec![Packed::from_f32(&random(rows * cols, "weights"), rows, cols).expect("fits")];
    all.extend(QUANTISED.map(|(encoding, kind)| quantised(rows, cols, encoding, kind).0));
    for w in all {
        let unpacked = w.to_f32();
        let out = multiply(&w, &x).expect("fits");
        for row in 0..n {
            for to in 0..rows {
                let pairs = x[row * cols..][..cols].iter().zip(&unpacked[to * cols..][..cols]);
                let exact: f64 = pairs.clone().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let size: f64 = pairs.map(|(a, b)| (f64::from(*a) * f64::from(*b)).abs()).sum();
                assert!((f64::from(out[row * rows + to]) - exact).abs() < 1e-6 * size);
            }
        }
        for some in [0..1, 3..5, 0..6, 1..20] {
            let alone = multiply(&w, &x[some.start * cols..some.end * cols]).expect("fits");
            assert_eq!(alone, out[some.start * rows..some.end * rows], "{:?} {some:?}", w.encoding);
        }
        let part = w.narrow(70, 40).expect("inside");
        let some = multiply(&part, &x[..cols]).expect("fits");
        assert_eq!(some, out[70..110]);
        assert_eq!(
            part.select(&[2, 0]),
            [&unpacked[72 * cols..73 * cols], &unpacked[70 * cols..71 * cols]].concat()
        );
    }
}

#[test]
fn tiled_rows_give_the_bits_of_rows_decoded_one_by_one() {
    let cols = 768;
    let x = random(13 * cols, "x");
    for (encoding, kind) in QUANTISED {
        // Not whole panels or tiles, and with an offset in rows.
        let part = quantised(90, cols, encoding, kind).0.narrow(3, 85).expect("inside");
        let plain = part.to_f32();
        for m in [1, 2, 3, 4, 5, 13] {
            let x = &x[..m * cols];
            let (got, expected) =
                (multiply_stored(x, &part, true), multiply_stored(x, &(plain.as_slice(), cols), true));
            assert_eq!(got, expected, "{encoding:?} {m}");
        }
    }
}

#[test]
fn bytes_and_rows_that_do_not_fit_are_refused() {
    assert!(Packed::new(Encoding::Q8_0, vec![0; 34], 1, 32).is_some());
    assert!(Packed::new(Encoding::Q8_0, vec![0; 34], 2, 16).is_none(), "a row is no whole block");
    assert!(Packed::new(Encoding::Q8_0, vec![0; 33], 1, 32).is_none());
    assert!(Packed::new(Encoding::F32, vec![0; 8], usize::MAX, 2).is_none());
    let small = Packed::from_f32(&[1.0, 2.0], 2, 1).expect("fits");
    assert!(small.narrow(1, 2).is_none() && small.narrow(usize::MAX, 2).is_none());
    assert!(multiply(&small, &[]).is_some_and(|out| out.is_empty()));
}
