use crate::base::Stream;

/// Who gets whose explanation in the `shuffled` control: a permutation of `0..n` without a fixed
/// point, every such one equally likely. None for fewer than two, where there is no such permutation.
pub fn derangement(n: usize, stream: &mut Stream) -> Option<Vec<usize>> {
    if n < 2 {
        return None;
    }
    // A permutation has no fixed point with probability above one third, so this ends soon.
    loop {
        let order = stream.permutation(n);
        if order.iter().enumerate().all(|(place, &other)| place != other) {
            return Some(order);
        }
    }
}
