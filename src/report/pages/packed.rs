//! Compact text for the numbers of fragments: token numbers as varints, activations as bytes with run-length
//! encoding, both as base64. `feature.js` decodes them.

use base64::prelude::{BASE64_STANDARD, Engine};

/// Most different bytes in a row that one length byte announces.
const MOST_SINGLE: usize = 128;
/// Shortest run that is worth its two bytes, and the longest that fits.
const LEAST_REPEATED: usize = 3;
const MOST_REPEATED: usize = 130;

/// Base64 with padding (RFC 4648), as `atob` and the digests of a security policy need it.
pub fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// LEB128: seven bits per byte, the lowest first; the top bit says that more follow.
pub fn varints(values: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for mut value in values {
        while value > 0x7F {
            bytes.push((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
    bytes
}

/// Run-length encoding. A length byte `n < 128` is followed by `n + 1` bytes as they are; one from 128 on by a byte
/// that is repeated `n − 125` times.
pub fn runs(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut single = 0..0;
    let mut at = 0;
    while at < bytes.len() {
        let same = bytes[at..].iter().take(MOST_REPEATED).take_while(|&&byte| byte == bytes[at]).count();
        if same >= LEAST_REPEATED {
            push_single(&mut packed, &bytes[single]);
            packed.extend([(same + 125) as u8, bytes[at]]);
            at += same;
            single = at..at;
        } else {
            at += 1;
            single.end = at;
        }
    }
    push_single(&mut packed, &bytes[single]);
    packed
}

fn push_single(packed: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.chunks(MOST_SINGLE) {
        packed.push((chunk.len() - 1) as u8);
        packed.extend(chunk);
    }
}

/// Quantisation of a feature's activations to bytes: value = (byte − zero) · step, so 0 is exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bytes {
    pub zero: u8,
    pub step: f64,
}

impl Bytes {
    /// Over the range from `low` (0 or below) to `high`.
    pub fn over(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        if high - low <= 0.0 || !(high - low).is_finite() {
            return Self { zero: 0, step: 1.0 };
        }
        let zero = if low < 0.0 { (255.0 * -low / (high - low)).round().clamp(1.0, 254.0) } else { 0.0 };
        let below = if zero > 0.0 { -low / zero } else { 0.0 };
        Self { zero: zero as u8, step: below.max(high / (255.0 - zero)) }
    }

    /// The nearest byte; a value out of range is clamped.
    pub fn of(self, value: f64) -> u8 {
        (f64::from(self.zero) + value / self.step).round().clamp(0.0, 255.0) as u8
    }

    /// Activations as text.
    pub fn pack(self, values: impl Iterator<Item = f64>) -> String {
        let bytes: Vec<u8> = values.map(|value| self.of(value)).collect();
        base64(&runs(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpack(packed: &[u8]) -> Vec<u8> {
        let (mut bytes, mut at) = (Vec::new(), 0);
        while at < packed.len() {
            let n = usize::from(packed[at]);
            if n < 128 {
                bytes.extend(&packed[at + 1..at + 2 + n]);
                at += n + 2;
            } else {
                bytes.extend(std::iter::repeat_n(packed[at + 1], n - 125));
                at += 2;
            }
        }
        bytes
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
        }
    }

    #[test]
    fn small_numbers_take_one_byte_and_large_ones_more() {
        assert_eq!(varints([0, 127, 128, 300, 16_384]), [0, 127, 0x80, 1, 0xAC, 2, 0x80, 0x80, 1]);
    }

    #[test]
    fn silence_packs_into_two_bytes() {
        assert_eq!(runs(&[0; 64]), [189, 0]);
        assert_eq!(runs(&[0, 0, 0, 9, 8, 0, 0, 0, 0]), [128, 0, 1, 9, 8, 129, 0]);
        assert!(runs(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(bytes in prop::collection::vec(0u8..4, 0..600)) {
            prop_assert_eq!(unpack(&runs(&bytes)), bytes);
        }

        #[test]
        fn a_byte_is_within_half_a_step_and_zero_stays_zero(
            low in -9.0f64..0.0, high in 0.01f64..9.0, share in 0.0f64..1.0,
        ) {
            let bytes = Bytes::over(low, high);
            let back = |value: f64| (f64::from(bytes.of(value)) - f64::from(bytes.zero)) * bytes.step;
            prop_assert_eq!(back(0.0), 0.0);
            let value = low + share * (high - low);
            prop_assert!((back(value) - value).abs() <= bytes.step * 0.5001, "{value} is {}", back(value));
            // One byte at least is kept for each side of 0, which costs a short side some range.
            prop_assert!(bytes.step <= (high - low) / 255.0 * 2.0 || low > -high / 100.0 || high < -low / 100.0);
        }
    }

    #[test]
    fn a_range_of_nothing_is_all_zero() {
        let bytes = Bytes::over(0.0, 0.0);
        assert_eq!((bytes.zero, bytes.of(0.0)), (0, 0));
    }
}
