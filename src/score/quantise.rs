//! Quantises activations to integers 0–10 (Bills et al. 2023): q = min(10, ⌊10·x/`max`⌋), and 0 for negative x. All
//! zeros if `max` is not positive.
//!
//! `max` is the largest activation among the fragments shown together. Values below a tenth of it become 0, and
//! only `max` itself becomes 10.

/// Quantised `values`; `max` is the largest value shown.
pub fn quantise(values: &[f64], max: f64) -> Vec<u8> {
    let level = |value: &f64| {
        if max > 0.0 && *value > 0.0 { (10.0 * value / max).floor().min(10.0) as u8 } else { 0 }
    };
    values.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_and_caps() {
        assert_eq!(
            quantise(&[-1.0, 0.0, 0.39, 0.4, 2.0, 3.99, 4.0, 9.0], 4.0),
            vec![0, 0, 0, 1, 5, 9, 10, 10]
        );
        assert_eq!(quantise(&[1.0, 2.0], 0.0), vec![0, 0]);
        assert_eq!(quantise(&[f64::NAN], 1.0), vec![0]);
    }
}
