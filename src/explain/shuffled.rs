//! Random assignment of explanations for the `shuffled` control.

use crate::base::Stream;

/// A uniformly random permutation of `0..n` without fixed points, for the `shuffled` control; none for `n < 2`.
pub fn derangement(n: usize, stream: &mut Stream) -> Option<Vec<usize>> {
    if n < 2 {
        return None;
    }
    // A random permutation has no fixed point with probability above 1/3, so the loop is short.
    loop {
        let order = stream.permutation(n);
        if order.iter().enumerate().all(|(place, &other)| place != other) {
            return Some(order);
        }
    }
}
