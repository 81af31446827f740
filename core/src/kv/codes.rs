//! How keys and values become codes, and where those lie.

use super::turn::{stored_factor, turn};
use super::{KvLayout, MAX_HEAD_DIM, QUAD, QUAD_PAIR};
use crate::kernels::NIBBLE_OFFSET;
use crate::round::round_to_byte;
use half::f16;
use kinglet_quant::format::{BLOCK, TILE_ROWS};

/// Codes that are made side by side; every head is a multiple.
const CODES: usize = 16;

impl KvLayout {
    /// Returns the scale.
    #[inline(always)]
    pub(super) fn store_key_bytes(&self, keys: &mut [u8], position: usize, key: &[f32]) -> f16 {
        let scale = byte_scale(key);
        let (tile_bytes, row) = (TILE_ROWS * self.head_dim, position % TILE_ROWS * QUAD);
        let tile = &mut keys[position / TILE_ROWS * tile_bytes..][..tile_bytes];
        let lines = tile.chunks_exact_mut(TILE_ROWS * CODES);
        for (lines, key) in lines.zip(key.chunks_exact(CODES)) {
            let codes = to_bytes(key, scale.worth);
            let lines = lines.chunks_exact_mut(TILE_ROWS * QUAD);
            for (line, quad) in lines.zip(codes.chunks_exact(QUAD)) {
                line[row..row + QUAD].copy_from_slice(quad);
            }
        }
        scale.stored
    }

    /// Returns the scale.
    #[inline(always)]
    pub(super) fn store_value_bytes(
        &self,
        values: &mut [u8],
        position: usize,
        value: &[f32],
    ) -> f16 {
        let scale = byte_scale(value);
        let quads = &mut values[position / QUAD * QUAD * self.head_dim..][..QUAD * self.head_dim];
        let lines = quads.chunks_exact_mut(QUAD * CODES);
        for (line, value) in lines.zip(value.chunks_exact(CODES)) {
            let codes = to_bytes(value, scale.worth);
            for (quad, code) in line.chunks_exact_mut(QUAD).zip(codes) {
                quad[position % QUAD] = code;
            }
        }
        scale.stored
    }

    #[inline(never)]
    pub(super) fn store_key_nibbles(
        &self,
        keys: &mut [u8],
        scales: &mut [f16],
        position: usize,
        key: &[f32],
    ) {
        let mut turned = [0f32; MAX_HEAD_DIM];
        let turned = turned_head(key, &mut turned, self.stored_dim());
        let (tile_bytes, row) = (TILE_ROWS * self.stored_dim() / 2, position % TILE_ROWS * QUAD);
        let tile = &mut keys[position / TILE_ROWS * tile_bytes..][..tile_bytes];
        let lines = tile.chunks_exact_mut(TILE_ROWS * QUAD * (BLOCK / QUAD_PAIR));
        for (group, (lines, x)) in lines.zip(turned.chunks_exact(BLOCK)).enumerate() {
            let scale = nibble_scale(x);
            scales[self.key_scale_index(position, group * BLOCK)] = scale.stored;
            let nibbles = to_nibbles(x, scale.worth);
            let lines = lines.chunks_exact_mut(TILE_ROWS * QUAD);
            for (line, pair) in lines.zip(nibbles.chunks_exact(QUAD_PAIR)) {
                put_pairs(&mut line[row..row + QUAD], pair, 1);
            }
        }
    }

    /// Returns the scale.
    #[inline(never)]
    pub(super) fn store_value_nibbles(
        &self,
        values: &mut [u8],
        position: usize,
        value: &[f32],
    ) -> f16 {
        let mut turned = [0f32; MAX_HEAD_DIM];
        let turned = turned_head(value, &mut turned, self.stored_dim());
        let scale = nibble_scale(turned);
        let quad_bytes = QUAD * self.stored_dim() / 2;
        let quads = &mut values[position / QUAD * quad_bytes..][..quad_bytes];
        let lines = quads.chunks_exact_mut(TILE_ROWS * QUAD);
        for (line, x) in lines.zip(turned.chunks_exact(BLOCK)) {
            put_pairs(&mut line[position % QUAD..], &to_nibbles(x, scale.worth), QUAD);
        }
        scale.stored
    }
}

/// A key or value as it is stored, zeros behind it.
#[inline(never)]
fn turned_head<'a>(x: &[f32], zeros: &'a mut [f32; MAX_HEAD_DIM], stored: usize) -> &'a [f32] {
    let head = &mut zeros[..x.len()];
    head.copy_from_slice(x);
    turn(head, stored_factor(x.len()));
    &zeros[..stored]
}

/// Puts the first half of the nibbles into the low halves of every `step`-th byte, the second half
/// into the high ones.
#[inline(never)]
fn put_pairs(bytes: &mut [u8], nibbles: &[u8], step: usize) {
    let (low, high) = nibbles.split_at(nibbles.len() / 2);
    for ((byte, low), high) in bytes.iter_mut().step_by(step).zip(low).zip(high) {
        *byte = low | high << 4;
    }
}

/// The nearest f16: one function, because without an instruction for it it is much code.
#[inline(never)]
pub(super) fn to_half(x: f32) -> f16 {
    f16::from_f32(x)
}

/// What an f16 is worth: one function, as [`to_half`] is.
#[inline(never)]
pub(crate) fn from_half(x: f16) -> f32 {
    x.to_f32()
}

/// A scale as it is stored, and what that is worth.
#[derive(Clone, Copy)]
struct Scale {
    stored: f16,
    worth: f32,
}

impl Scale {
    /// The nearest f16, or the next larger one where `reaches` must hold: `worth ≥ exact`.
    #[inline(never)]
    fn new(exact: f32, reaches: bool) -> Self {
        let mut stored = to_half(exact);
        if reaches && from_half(stored) < exact {
            stored = f16::from_bits(stored.to_bits() + 1);
        }
        Self { stored, worth: from_half(stored) }
    }
}

/// The smallest scale that keeps every code within ±127.
#[inline(always)]
fn byte_scale(x: &[f32]) -> Scale {
    Scale::new(largest(x) / 127.0, true)
}

/// The scale with which the number of the largest magnitude becomes −8: negative where that number
/// is above zero.
#[inline(never)]
fn nibble_scale(x: &[f32]) -> Scale {
    let (mut max, mut min) = (0f32, 0f32);
    for &x in x {
        max = if x > max { x } else { max };
        min = if x < min { x } else { min };
    }
    let largest = if max >= -min { max } else { min };
    Scale::new(-largest / NIBBLE_OFFSET as f32, false)
}

/// The largest magnitude.
#[inline(always)]
fn largest(x: &[f32]) -> f32 {
    // Several maxima side by side become vector instructions; a single one would be a chain.
    let mut max = [0f32; CODES];
    for x in x.chunks_exact(CODES) {
        for (max, x) in max.iter_mut().zip(x) {
            *max = if x.abs() > *max { x.abs() } else { *max };
        }
    }
    max.iter().fold(0f32, |max, &x| max.max(x))
}

/// `round_half_even(x / scale)` as bytes.
#[inline(always)]
fn to_bytes(x: &[f32], scale: f32) -> [u8; CODES] {
    let mut codes = [0; CODES];
    if scale != 0.0 {
        for (code, x) in codes.iter_mut().zip(x) {
            *code = round_to_byte(x / scale);
        }
    }
    codes
}

/// `round_half_even(x / scale)` within −8 to 7, raised by 8.
#[inline(never)]
fn to_nibbles(x: &[f32], scale: f32) -> [u8; BLOCK] {
    let mut nibbles = [NIBBLE_OFFSET as u8; BLOCK];
    if scale != 0.0 {
        for (nibble, x) in nibbles.iter_mut().zip(x) {
            // A scale that was rounded down to a subnormal number gives codes up to ±12.
            let code = round_to_byte(x / scale) as i8;
            *nibble = nibble.wrapping_add_signed(code.clamp(-8, 7));
        }
    }
    nibbles
}

/// What the nibble of this number, among bytes that hold two each, stands for.
pub(crate) fn signed_nibble(bytes: &[u8], index: usize) -> i32 {
    i32::from(bytes[index / 2] >> (index % 2 * 4) & 15) - NIBBLE_OFFSET
}

/// Makes one of two nibbles of a byte zero.
pub(super) fn clear_nibble(bytes: &mut [u8], index: usize) {
    bytes[index / 2] &= 0xf0 >> (index % 2 * 4);
}
