//! The shape of a model, as the `CONFIG` section holds it.

use crate::{Code, Float, Result, ensure};
use bytemuck::{Pod, Zeroable};

/// End-of-text tokens that a model can have.
pub const MAX_EOS: usize = 8;
/// The model has rotary frequencies of its own: [`crate::Role::RotaryFrequencies`].
pub const FEATURE_ROTARY_FREQUENCIES: u32 = 1;
/// The projections of attention have biases.
pub const FEATURE_ATTENTION_BIAS: u32 = 2;
/// The projections of the feed-forward layer have biases.
pub const FEATURE_FFN_BIAS: u32 = 4;
/// Features that this reader knows.
const KNOWN_FEATURES: u32 = FEATURE_ROTARY_FREQUENCIES | FEATURE_ATTENTION_BIAS | FEATURE_FFN_BIAS;
/// Written where there is no token: none of a kind in a model, none for a byte in its vocabulary.
pub const NO_TOKEN: u32 = u32::MAX;

/// Hyperparameters of a Llama model; 128 bytes, little-endian, in this order in the file.
///
/// After [`Config::check`] every product that the plan forms from these fits into 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// Rows of the embedding.
    pub vocab_size: u32,
    /// Width of the residual stream; a multiple of 32.
    pub hidden: u32,
    /// Transformer blocks.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads; divides `heads`.
    pub kv_heads: u32,
    /// Width of one head; a multiple of 16.
    pub head_dim: u32,
    /// Width of the feed-forward layer; a multiple of 32.
    pub ffn: u32,
    /// Positions that the model was trained for.
    pub max_context: u32,
    /// Base of the rotary embedding's wavelengths.
    pub rope_theta: f32,
    /// Added to the mean square in RMSNorm.
    pub rms_eps: f32,
    /// 1 when the head is the embedding, else 0.
    pub tied: u32,
    /// The checkpoint's token for the begin of a text, or [`NO_TOKEN`]; SmolLM's tokenizers do not
    /// put it in front of texts.
    pub bos: u32,
    /// Filler token, or [`NO_TOKEN`].
    pub pad: u32,
    /// Entries of `eos` in use.
    pub eos_count: u32,
    /// Tokens that end a reply.
    pub eos: [u32; MAX_EOS],
    /// `FEATURE_…` bits.
    pub features: u32,
    /// Width of a head without the zeros that fill it up to `head_dim`; 0 where there are none.
    pub bare_head_dim: u32,
    /// Zero.
    pub reserved: [u32; 8],
}

const _: () = assert!(size_of::<Config>() == 128);

impl Config {
    /// Checks every limit that other code relies on. `Corrupt` when one is broken.
    pub fn check(&self) -> Result<()> {
        ensure!(
            self.features & !KNOWN_FEATURES == 0,
            Code::UnknownVersion,
            "the model has features that need a newer Kinglet"
        );
        in_range("vocabulary size", self.vocab_size, 1, 1 << 24)?;
        in_range("hidden size", self.hidden, 32, 1 << 16)?;
        in_range("feed-forward size", self.ffn, 32, 1 << 18)?;
        in_range("head size", self.head_dim, 16, 256)?;
        in_range("head size without zeros", self.bare_head_dim, 0, self.head_dim)?;
        in_range("number of heads", self.heads, 1, 1 << 10)?;
        in_range("number of key-value heads", self.kv_heads, 1, self.heads)?;
        in_range("number of layers", self.layers, 1, 1 << 10)?;
        in_range("context", self.max_context, 1, 1 << 24)?;
        in_range("number of end tokens", self.eos_count, 0, MAX_EOS as u32)?;
        in_range("tied flag", self.tied, 0, 1)?;
        multiple("hidden size", self.hidden, 32)?;
        multiple("feed-forward size", self.ffn, 32)?;
        multiple("head size", self.head_dim, 16)?;
        multiple("width of all heads", self.heads * self.head_dim, 32)?;
        multiple("number of heads", self.heads, self.kv_heads)?;
        ensure!(
            self.rope_theta.is_finite() && self.rope_theta >= 1.0,
            Code::Corrupt,
            "rope theta {} is not a number of at least 1",
            Float(self.rope_theta)
        );
        ensure!(
            self.rms_eps.is_finite() && self.rms_eps > 0.0,
            Code::Corrupt,
            "RMSNorm epsilon {} is not a positive number",
            Float(self.rms_eps)
        );
        for &token in self.eos_tokens().iter().chain([&self.bos, &self.pad]) {
            ensure!(
                token == NO_TOKEN || token < self.vocab_size,
                Code::Corrupt,
                "special token {token} lies outside the vocabulary of {}",
                self.vocab_size
            );
        }
        Ok(())
    }

    /// Tokens that end a reply.
    pub fn eos_tokens(&self) -> &[u32] {
        &self.eos[..(self.eos_count as usize).min(MAX_EOS)]
    }

    /// Whether the model has a feature, one of the `FEATURE_…` bits.
    pub fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    /// Width of a head without zeros that fill it up, whose root attention divides by.
    pub fn attended_dim(&self) -> u32 {
        if self.bare_head_dim == 0 { self.head_dim } else { self.bare_head_dim }
    }

    /// Width of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.heads as usize * self.head_dim as usize
    }

    /// Width of all key heads (and of all value heads) together.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads as usize * self.head_dim as usize
    }

    /// Multiply-adds that a token takes in the matrix products of all layers; attention is left
    /// out.
    pub fn layer_multiply_adds(&self) -> u64 {
        let attention = 2 * (self.q_dim() + self.kv_dim()) as u64;
        let layer = u64::from(self.hidden) * (attention + 3 * u64::from(self.ffn));
        u64::from(self.layers) * layer
    }

    /// Multiply-adds that a token takes in the head.
    pub fn head_multiply_adds(&self) -> u64 {
        u64::from(self.vocab_size) * u64::from(self.hidden)
    }

    /// Query heads that share one key head.
    pub fn group(&self) -> usize {
        (self.heads / self.kv_heads) as usize
    }

    /// Weights of the model, a tied head counted once.
    pub fn parameters(&self) -> u64 {
        let (hidden, ffn) = (u64::from(self.hidden), u64::from(self.ffn));
        let attention = hidden * 2 * (self.q_dim() + self.kv_dim()) as u64;
        let mut layer = attention + 3 * hidden * ffn + 2 * hidden;
        if self.has(FEATURE_ATTENTION_BIAS) {
            layer += (self.q_dim() + 2 * self.kv_dim()) as u64 + hidden;
        }
        if self.has(FEATURE_FFN_BIAS) {
            layer += 2 * ffn + hidden;
        }
        let embedding = u64::from(self.vocab_size) * hidden;
        u64::from(self.layers) * layer + hidden + embedding * u64::from(2 - self.tied)
    }
}

fn in_range(what: &str, value: u32, least: u32, most: u32) -> Result<()> {
    ensure!(
        (least..=most).contains(&value),
        Code::Corrupt,
        "the {what} is {value}: {least} to {most} is supported"
    );
    Ok(())
}

fn multiple(what: &str, value: u32, of: u32) -> Result<()> {
    ensure!(
        value.is_multiple_of(of),
        Code::Corrupt,
        "the {what} is {value}, which is not a multiple of {of}"
    );
    Ok(())
}
