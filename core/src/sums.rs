//! The order in which numbers are added: in sums side by side, as vector registers hold them, so
//! that plain loops and vectors that round alike give the same bits.

/// Sums that run side by side: as many as the widest registers have floats. The `i`-th number
/// belongs to sum `i % SIDE_BY_SIDE`.
pub const SIDE_BY_SIDE: usize = 16;

/// The sum of sums, whose number is a power of two from 4 on: halves are added to one another until
/// four are left, then neighbours in pairs.
#[inline(never)]
pub fn total(sums: &mut [f32]) -> f32 {
    let mut count = sums.len();
    while count > 4 {
        count /= 2;
        for i in 0..count {
            sums[i] += sums[i + count];
        }
    }
    (sums[0] + sums[1]) + (sums[2] + sums[3])
}
