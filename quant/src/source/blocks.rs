//! The number formats of GGUF tensors and safetensors, decoded to f32.
//!
//! Layouts and formulas are those of ggml's `ggml-common.h` and `ggml-quants.c`; the goldens in
//! `quant/goldens` come from the Python package `gguf`, the format's reference.

use super::ggml_types::GgmlType;
use crate::{Code, Result, fail};
use half::{bf16, f16};

/// How the elements of a source tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    Iq4Nl,
    Iq4Xs,
}

/// What the codes of IQ4_NL and IQ4_XS stand for.
const IQ4_VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl Encoding {
    /// The encoding with this number (`ggml_type`) in a GGUF file.
    pub fn from_gguf(number: u32, tensor: &str) -> Result<Self> {
        Ok(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            20 => Self::Iq4Nl,
            23 => Self::Iq4Xs,
            30 => Self::Bf16,
            _ => fail!(
                Code::UnsupportedTensorType,
                "tensor {tensor} is stored as {}: use a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1, \
                 Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL or IQ4_XS",
                GgmlType::of(number).map_or("an unknown type", |kind| kind.name)
            ),
        })
    }

    /// `(elements, bytes)` of one block.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq4Nl => (32, 18),
            Self::Iq4Xs => (256, 136),
        }
    }

    /// Bytes of a row of `cols` elements, unless they are no whole blocks.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        let (elements, bytes) = self.block();
        cols.is_multiple_of(elements).then(|| cols / elements * bytes)
    }

    /// Decodes whole blocks onto the end of `out`.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        let (elements, block_bytes) = self.block();
        debug_assert!(bytes.len().is_multiple_of(block_bytes));
        let start = out.len();
        out.resize(start + bytes.len() / block_bytes * elements, 0.0);
        let blocks = bytes.chunks_exact(block_bytes);
        for (block, out) in blocks.zip(out[start..].chunks_exact_mut(elements)) {
            match self {
                Self::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                Self::F16 => out[0] = half_at(block, 0),
                Self::Bf16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
                Self::Q8_0 => q8_0(block, out),
                Self::Q4_0 => q4_0(block, out),
                Self::Q4_1 => q4_1(block, out),
                Self::Q5_0 => q5_0(block, out),
                Self::Q5_1 => q5_1(block, out),
                Self::Q2K => q2_k(block, out),
                Self::Q3K => q3_k(block, out),
                Self::Q4K => q4_k(block, out),
                Self::Q5K => q5_k(block, out),
                Self::Q6K => q6_k(block, out),
                Self::Iq4Nl => iq4(half_at(block, 0), &block[2..], out),
                Self::Iq4Xs => iq4_xs(block, out),
            }
        }
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Bit `index` of little-endian `bits`, as the fifth bit of a code.
fn fifth_bit(bits: &[u8], index: usize) -> u8 {
    (bits[index / 8] >> (index % 8) & 1) << 4
}

/// Code `index` of 32: the low nibbles of 16 bytes, then their high ones.
fn nibble(codes: &[u8], index: usize) -> u8 {
    codes[index % 16] >> (index / 16 * 4) & 15
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (out, &code) in out.iter_mut().zip(&block[2..]) {
        *out = scale * f32::from(code as i8);
    }
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(&block[4..], i)) + minimum;
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    let (high, codes) = block[2..].split_at(4);
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(nibble(codes, i) | fifth_bit(high, i)) - 16.0);
    }
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (high, codes) = block[4..].split_at(4);
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(codes, i) | fifth_bit(high, i)) + minimum;
    }
}

/// Code `index` of 256, two bits each: four codes of a byte lie 32 apart.
fn two_bits(codes: &[u8], index: usize) -> u8 {
    codes[index / 128 * 32 + index % 32] >> (index % 128 / 32 * 2) & 3
}

fn q2_k(block: &[u8], out: &mut [f32]) {
    let (groups, codes) = block.split_at(16);
    let (scale, minimum) = (half_at(block, 80), half_at(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let group = groups[i / 16];
        let (scale, minimum) = (scale * f32::from(group & 15), minimum * f32::from(group >> 4));
        *out = scale * f32::from(two_bits(codes, i)) - minimum;
    }
}

fn q3_k(block: &[u8], out: &mut [f32]) {
    let (high, rest) = block.split_at(32);
    let (codes, packed) = rest.split_at(64);
    let scale = half_at(block, 108);
    for (i, out) in out.iter_mut().enumerate() {
        let group = i / 16;
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let bits = low | (packed[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
        // A code without its high bit is lower by 4.
        let third = (high[i % 32] >> (i / 32) & 1) << 2;
        let code = (two_bits(codes, i) | third) as i8 - 4;
        *out = scale * f32::from(bits as i8 - 32) * f32::from(code);
    }
}

/// The 6-bit scale and minimum of group `g` of 8, from 12 packed bytes.
fn k_scale(packed: &[u8], g: usize) -> (u8, u8) {
    if g < 4 {
        return (packed[g] & 63, packed[g + 4] & 63);
    }
    let low = packed[g + 4];
    (low & 15 | packed[g - 4] >> 6 << 4, low >> 4 | packed[g] >> 6 << 4)
}

/// `(scale, minimum)` of group `g`, from the head that Q4_K and Q5_K share.
fn k_group(block: &[u8], g: usize) -> (f32, f32) {
    let (scale, minimum) = k_scale(&block[4..16], g);
    (half_at(block, 0) * f32::from(scale), half_at(block, 2) * f32::from(minimum))
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let codes = &block[16..];
    for (g, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = k_group(block, g);
        for (out, &code) in out.iter_mut().zip(&codes[g / 2 * 32..]) {
            *out = scale * f32::from(code >> (g % 2 * 4) & 15) - minimum;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (high, codes) = block[16..].split_at(32);
    for (g, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = k_group(block, g);
        let low = codes[g / 2 * 32..].iter().map(|&code| code >> (g % 2 * 4) & 15);
        for ((out, low), &high) in out.iter_mut().zip(low).zip(high) {
            *out = scale * f32::from(low | (high >> g & 1) << 4) - minimum;
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, _) = rest.split_at(16);
    let scale = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let (half, within) = (i / 128, i % 128);
        let low = low[half * 64 + within % 64] >> (within / 64 * 4) & 15;
        let high = high[half * 32 + within % 32] >> (within / 32 * 2) & 3;
        let code = (low | high << 4) as i8 - 32;
        *out = scale * f32::from(scales[i / 16] as i8) * f32::from(code);
    }
}

fn iq4(scale: f32, codes: &[u8], out: &mut [f32]) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(IQ4_VALUES[usize::from(nibble(codes, i))]);
    }
}

fn iq4_xs(block: &[u8], out: &mut [f32]) {
    let high = u16::from_le_bytes([block[2], block[3]]);
    let (low, codes) = block[4..].split_at(4);
    let groups = codes.chunks_exact(16).zip(out.chunks_exact_mut(32));
    for (g, (codes, out)) in groups.enumerate() {
        let low = low[g / 2] >> (g % 2 * 4) & 15;
        let bits = low | ((high >> (2 * g) & 3) as u8) << 4;
        iq4(half_at(block, 0) * f32::from(bits as i8 - 32), codes, out);
    }
}
