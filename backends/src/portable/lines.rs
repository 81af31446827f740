//! Products of lines of 16-bit integers with activations.
//!
//! A line is 4 columns of a tile's 16 rows, where each row has 4 bytes. Read as 16-bit words, two
//! to a row, the low bytes of a line are columns 0 and 2 and the high ones columns 1 and 3, so that
//! a shift makes integers of them and no byte has to move. Products are added in 16 bits, word by
//! word, and the two words of a row in 32: all of that are instructions that every processor with
//! vectors has.

use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Words of a line: two to a row.
pub(super) const WORDS: usize = 2 * TILE_ROWS;
/// Half of a line: two columns of 16 rows, as integers.
pub(super) type HalfLine = [i16; WORDS];
/// Half lines of 32 columns: columns 0 and 2, 1 and 3, 4 and 6, 5 and 7 and so on.
pub(super) const HALF_LINES: usize = BLOCK / 2;
/// Words that are multiplied side by side: a vector of 128 bits.
const LANES: usize = 8;
/// What a half line is multiplied with: two activations over and over.
pub(super) type Pair = [i16; LANES];

/// The words of a line.
#[inline(always)]
pub(super) fn words(line: &[u8; 2 * WORDS]) -> [u16; WORDS] {
    bytemuck::cast::<_, [u16; WORDS]>(*line).map(u16::from_le)
}

/// The low bytes of words, or the high ones, with their signs.
#[inline(always)]
pub(super) fn signed_byte(word: u16, high: bool) -> i16 {
    if high { (word as i16) >> 8 } else { ((word << 8) as i16) >> 8 }
}

/// Activations of 32 columns as half lines need them.
#[inline(always)]
pub(super) fn pairs(codes: &[i8; BLOCK]) -> [Pair; HALF_LINES] {
    let words = bytemuck::cast::<_, [u16; BLOCK / 2]>(*codes).map(u16::from_le);
    let (even, odd) = (words.map(|w| signed_byte(w, false)), words.map(|w| signed_byte(w, true)));
    let mut pairs = [[0; LANES]; HALF_LINES];
    for quad in 0..BLOCK / 4 {
        pairs[2 * quad] = repeat([even[2 * quad], even[2 * quad + 1]]);
        pairs[2 * quad + 1] = repeat([odd[2 * quad], odd[2 * quad + 1]]);
    }
    pairs
}

/// Two numbers over and over.
#[inline(always)]
pub(super) fn repeat(pair: [i16; 2]) -> Pair {
    core::array::from_fn(|lane| pair[lane % 2])
}

/// Adds the products of half lines with their pairs to the sums of rows. The products of so many
/// half lines as `TOGETHER`, 2 or a multiple of 8, fit into 16 bits when they are added.
#[inline(always)]
pub(super) fn add_products<const TOGETHER: usize>(
    half_lines: &[HalfLine],
    pairs: &[Pair],
    rows: &mut [i32; TILE_ROWS],
) {
    let (half_lines, pairs) = (half_lines.as_chunks::<TOGETHER>().0, pairs.as_chunks().0);
    for (half_lines, pairs) in half_lines.iter().zip(pairs) {
        let mut sums = [0; WORDS];
        add_words::<TOGETHER>(half_lines, pairs, &mut sums);
        widen(&sums, rows);
    }
}

/// Adds the two words of each row to its sum.
#[inline(never)]
fn widen(sums: &[i16; WORDS], rows: &mut [i32; TILE_ROWS]) {
    for r in 0..TILE_ROWS {
        rows[r] += i32::from(sums[2 * r]) + i32::from(sums[2 * r + 1]);
    }
}

/// Adds products to the sums of words.
#[inline(always)]
fn add_words<const TOGETHER: usize>(
    half_lines: &[HalfLine; TOGETHER],
    pairs: &[Pair; TOGETHER],
    sums: &mut [i16; WORDS],
) {
    if TOGETHER == 2 {
        products::<2>(half_lines, pairs, sums);
    } else {
        products::<8>(half_lines, pairs, sums);
    }
}

/// Adds products to the sums of words, `N` at a time. A function of its own, because compilers see
/// the vectors in it best when there is nothing else: lane by lane, all parts of a line.
#[inline(never)]
fn products<const N: usize>(half_lines: &[HalfLine], pairs: &[Pair], sums: &mut [i16; WORDS]) {
    const PARTS: usize = WORDS / LANES;
    for (half_lines, pairs) in half_lines.as_chunks::<N>().0.iter().zip(pairs.as_chunks::<N>().0) {
        for lane in 0..LANES {
            let mut parts = [0i16; PARTS];
            for (half_line, pair) in half_lines.iter().zip(pairs) {
                for (part, sum) in parts.iter_mut().enumerate() {
                    let product = half_line[part * LANES + lane].wrapping_mul(pair[lane]);
                    *sum = sum.wrapping_add(product);
                }
            }
            for (part, sum) in parts.iter().enumerate() {
                let total = &mut sums[part * LANES + lane];
                *total = total.wrapping_add(*sum);
            }
        }
    }
}
