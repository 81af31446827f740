//! The Hadamard matrix that heads are turned by before they become nibbles: it spreads the few
//! large channels of a key over all, so that 16 steps reach further.
//!
//! Keys and queries are turned alike, which leaves their products as they are; sums of values are
//! turned back. Each block of a head, as wide as the largest power of two that divides the head, is
//! multiplied by `H` and a power of two, which rounds nothing; `H · H` is the width.

use super::MAX_HEAD_DIM;

/// The block of a head that is turned at once.
pub fn turned_width(head_dim: usize) -> usize {
    1 << head_dim.trailing_zeros()
}

/// What a key or value is multiplied by after [`turn`]: `1 / √width`, rounded to a power of two.
pub fn stored_factor(head_dim: usize) -> f32 {
    1.0 / (1u32 << (head_dim.trailing_zeros() / 2)) as f32
}

/// What a query, or a sum of values, is multiplied by after [`turn`]: with [`stored_factor`] it
/// makes `1 / width`.
#[inline(never)]
pub fn asked_factor(head_dim: usize) -> f32 {
    1.0 / (1u32 << head_dim.trailing_zeros().div_ceil(2)) as f32
}

/// Multiplies each block of a head by `H`, and by `factor`.
///
/// Every step is the same, after Pease (1968): sums and differences of the first half and the
/// second take turns. One loop is little code, and vector instructions interleave fast.
#[inline(never)]
pub fn turn(head: &mut [f32], factor: f32) {
    let width = turned_width(head.len());
    let mut steps = [0f32; MAX_HEAD_DIM];
    let steps = &mut steps[..width];
    for block in head.chunks_exact_mut(width) {
        for _ in 0..width.trailing_zeros() {
            let (first, second) = block.split_at(width / 2);
            for ((pair, a), b) in steps.chunks_exact_mut(2).zip(first).zip(second) {
                (pair[0], pair[1]) = (a + b, a - b);
            }
            block.copy_from_slice(steps);
        }
        block.iter_mut().for_each(|x| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turning_twice_gives_the_head_back() {
        for head_dim in (16..=256).step_by(16) {
            let exact: heapless::Vec<f32, 256> =
                (0..head_dim).map(|d| (d * 37 % 101) as f32 - 50.0).collect();
            let mut head = exact.clone();
            turn(&mut head, stored_factor(head_dim));
            assert!(head != exact, "heads of {head_dim} stay as they are");
            turn(&mut head, asked_factor(head_dim));
            assert!(head == exact, "heads of {head_dim}: {head:?}");
        }
    }

    #[test]
    fn one_large_channel_becomes_many_small_ones() {
        let mut head = [0.0; 64];
        head[5] = 8.0;
        turn(&mut head, stored_factor(64));
        assert!(head.iter().all(|x| x.abs() == 1.0));
    }
}
