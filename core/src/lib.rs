//! What the model means: the Llama step on a weight file, inside memory known to the byte.
//!
//! Reading order: [`plan`] (every buffer with its shape), [`engine`] (what runs a pass), [`cpu`]
//! (the engine over kernels), [`forward`](mod@forward) (the step, as in the paper), [`kernels`]
//! (the operations of an instruction set), [`scalar`] (what they mean), [`kv`] (the cache),
//! [`arena`] (how one buffer is cut and shared between workers), [`texts`] and [`text`](mod@text)
//! (tokens, and how far each text is), [`generate`](mod@generate) (the loop that chooses tokens),
//! [`sample`], [`constraint`], [`automaton`] and [`walk`] (tables of what a reply may be),
//! [`tools`] and [`calls`] (functions that it can call), [`draft`], [`tokenizer`], [`chat`],
//! [`piece`] (the streamed reply).
//!
//! `no_std`, no allocator: the caller hands over one buffer of [`plan::Plan::total_bytes`].
//!
//! What is the same: on one set of [`kernels`], workers change no bit of a token's logits, and with
//! quantized weights ([`Plan::is_batch_exact`]) the batch that it comes in does not either; with
//! others batches change the order of sums, and so what rounding does. Sets of kernels agree with
//! [`scalar`] to the bit in sums of integers. In [`sums`] of floats they do so if they round every
//! operation by itself, else within rounding.
#![no_std]
#![deny(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod arena;
pub mod automaton;
pub mod budget;
pub mod calls;
pub mod chances;
pub mod chat;
#[cfg(feature = "check")]
pub mod check;
pub mod claims;
pub mod constraint;
pub mod cpu;
pub mod draft;
pub mod engine;
pub mod exp;
pub mod forward;
pub mod generate;
pub mod kernels;
pub mod kv;
pub mod piece;
pub mod plan;
pub mod rotary;
pub mod round;
pub mod sample;
pub mod scalar;
pub mod screen;
pub mod stop;
pub mod sums;
pub mod text;
pub mod texts;
pub mod tokenizer;
pub mod tools;
pub mod top;
pub mod unicode;
pub mod walk;

pub use cpu::Cpu;
pub use engine::Engine;
pub use kernels::{Activations, Kernels, Workers};
pub use kv::KvType;
pub use plan::{Limits, Plan};
pub use text::Text;
pub use texts::Texts;
