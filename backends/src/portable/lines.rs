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
    core::array::from_fn(|i| u16::from_le_bytes([line[2 * i], line[2 * i + 1]]))
}

/// The low bytes of words, or the high ones, with their signs.
#[inline(always)]
pub(super) fn signed_byte(word: u16, high: bool) -> i16 {
    if high { (word as i16) >> 8 } else { ((word << 8) as i16) >> 8 }
}

/// Activations of 32 columns as half lines need them.
#[inline(always)]
pub(super) fn pairs(codes: &[i8; BLOCK]) -> [Pair; HALF_LINES] {
    let mut even = [0i16; BLOCK / 2];
    let mut odd = even;
    for i in 0..BLOCK / 2 {
        let word = u16::from_le_bytes([codes[2 * i] as u8, codes[2 * i + 1] as u8]);
        (even[i], odd[i]) = (signed_byte(word, false), signed_byte(word, true));
    }
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
/// half lines as `TOGETHER` fit into 16 bits when they are added.
#[inline(always)]
pub(super) fn add_products<const TOGETHER: usize>(
    half_lines: &[HalfLine],
    pairs: &[Pair],
    rows: &mut [i32; TILE_ROWS],
) {
    let (half_lines, _) = half_lines.as_chunks::<TOGETHER>();
    let (pairs, _) = pairs.as_chunks::<TOGETHER>();
    for (half_lines, pairs) in half_lines.iter().zip(pairs) {
        let mut sums = [0; WORDS];
        products(half_lines, pairs, &mut sums);
        for (row, sums) in rows.iter_mut().zip(sums.as_chunks().0) {
            let [first, second]: [i16; 2] = *sums;
            *row += i32::from(first) + i32::from(second);
        }
    }
}

/// The sums of products, word by word. A function of its own, because compilers see the vectors in
/// it best when there is nothing else.
#[inline(never)]
fn products<const N: usize>(
    half_lines: &[HalfLine; N],
    pairs: &[Pair; N],
    sums: &mut [i16; WORDS],
) {
    for first in (0..WORDS).step_by(LANES) {
        for lane in 0..LANES {
            let mut sum = 0i16;
            for (half_line, pair) in half_lines.iter().zip(pairs) {
                sum = sum.wrapping_add(half_line[first + lane].wrapping_mul(pair[lane]));
            }
            sums[first + lane] = sum;
        }
    }
}
