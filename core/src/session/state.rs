//! A session's text as bytes: saved to the caller's memory, restored, and copied between sessions.
//!
//! A state holds what cannot be had cheaply: tokens, keys and values. Logits are not in it, since a
//! step with the last token computes them again:
//!
//! | part | bytes |
//! |---|---|
//! | [`Header`] | 96 |
//! | tokens | 4 each |
//! | for each layer and key-value head: keys, values, scales of both | [`KvLayout::prefix`] |

use super::Session;
use crate::kv::{KvLayout, KvType, MAX_HEAD_DIM};
use bytemuck::{Pod, Zeroable};
use core::ops::Range;
use kinglet_quant::format::TILE_ROWS;
use kinglet_quant::{Code, Result, ensure, fail};
use sha2::{Digest, Sha256};

/// The first bytes of every state.
const MAGIC: [u8; 8] = *b"KINGSTAT";
/// The version of the format.
const VERSION: u32 = 1;
/// Bytes of the header in front of its checksum.
const CHECKED_HEADER_BYTES: usize = 64;

/// The start of a state.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    /// 0 for f16, 1 for int8.
    kv: u32,
    /// Positions of the session's cache.
    context: u32,
    tokens: u32,
    /// See [`crate::sample::Sampler::draws`].
    draws: u64,
    /// [`kinglet_quant::File::fingerprint`].
    model: [u8; 32],
    /// SHA-256 of the state without this field.
    sha256: [u8; 32],
}

const _: () = assert!(size_of::<Header>() == CHECKED_HEADER_BYTES + 32);

impl Session<'_> {
    /// Bytes of the state of the text as it is.
    pub fn state_bytes(&self) -> usize {
        size_of::<Header>() + self.body_bytes(self.position)
    }

    /// Writes the state to the front of `out` and returns its [`Session::state_bytes`].
    ///
    /// `draws` is that of the text's sampler. The same text has the same bytes. `BufferTooSmall`
    /// when `out` is; then nothing is written.
    pub fn save(&mut self, draws: u64, out: &mut [u8]) -> Result<usize> {
        let bytes = self.state_bytes();
        ensure!(
            out.len() >= bytes,
            Code::BufferTooSmall,
            "the state has {bytes} bytes, there is room for {}",
            out.len()
        );
        self.clear_behind();
        let (head, body) = out[..bytes].split_at_mut(size_of::<Header>());
        let (tokens, mut rest) = body.split_at_mut(self.position * size_of::<u32>());
        tokens.copy_from_slice(bytemuck::cast_slice(self.tokens()));
        for block in self.buffers.cache().chunks_exact(self.plan.layout.block_bytes()) {
            for range in self.kept(self.position) {
                let (part, behind) = rest.split_at_mut(range.len());
                part.copy_from_slice(&block[range]);
                rest = behind;
            }
        }
        let mut header = self.header(self.position, draws);
        header.sha256 = checksum(&header, body);
        head.copy_from_slice(bytemuck::bytes_of(&header));
        Ok(bytes)
    }

    /// Replaces the text by a saved one and returns its `draws`. The session has no logits then:
    /// they come with the next token.
    ///
    /// `StateMismatch` for a state of another model, context or number format, `UnknownVersion` for
    /// one of a later program, `Truncated` and `Corrupt` for an altered one; the session is
    /// unchanged then.
    pub fn restore(&mut self, state: &[u8]) -> Result<u64> {
        let Some((head, body)) = state.split_at_checked(size_of::<Header>()) else {
            fail!(Code::Truncated, "a state of {} bytes ends within its header", state.len());
        };
        let header: Header = bytemuck::pod_read_unaligned(head);
        self.check_state(&header, body)?;
        let count = header.tokens as usize;
        let (tokens, mut rest) = body.split_at(count * size_of::<u32>());
        bytemuck::cast_slice_mut(&mut self.buffers.history[..count]).copy_from_slice(tokens);
        let ranges = self.kept(count);
        let block_bytes = self.plan.layout.block_bytes();
        for block in self.buffers.cache_mut().chunks_exact_mut(block_bytes) {
            for range in ranges.clone() {
                let (part, behind) = rest.split_at(range.len());
                block[range].copy_from_slice(part);
                rest = behind;
            }
        }
        (self.position, self.rows) = (count, 0);
        Ok(header.draws)
    }

    /// Replaces the text by the first `count` tokens of another session's. The session has no
    /// logits then: they come with the next token.
    ///
    /// `StateMismatch` when the sessions differ in model or number format, `BadArgument` when the
    /// other text is shorter, `ContextFull` when this context is; the session is unchanged then.
    pub fn copy_prefix(&mut self, source: &Session<'_>, count: usize) -> Result<()> {
        ensure!(
            source.model.fingerprint() == self.model.fingerprint()
                && source.plan.limits().kv == self.plan.limits().kv,
            Code::StateMismatch,
            "the sessions have different models or keep keys and values differently"
        );
        ensure!(
            count <= source.position,
            Code::BadArgument,
            "a prefix of {count} tokens: the text has {}",
            source.position
        );
        ensure!(
            count <= self.plan.limits().context,
            Code::ContextFull,
            "a prefix of {count} tokens does not fit into a context of {}",
            self.plan.limits().context
        );
        self.buffers.history[..count].copy_from_slice(&source.buffers.history[..count]);
        let (from, to) = (source.kept(count), self.kept(count));
        let source_bytes = source.plan.layout.block_bytes();
        let target_bytes = self.plan.layout.block_bytes();
        let sources = source.buffers.cache().chunks_exact(source_bytes);
        for (target, source) in self.buffers.cache_mut().chunks_exact_mut(target_bytes).zip(sources)
        {
            for (from, to) in from.iter().zip(&to) {
                target[to.clone()].copy_from_slice(&source[from.clone()]);
            }
        }
        (self.position, self.rows) = (count, 0);
        Ok(())
    }

    /// Bytes behind the header of a state of as many tokens.
    fn body_bytes(&self, tokens: usize) -> usize {
        let blocks = self.buffers.cache().len() / self.plan.layout.block_bytes();
        let kept: usize = self.kept(tokens).iter().map(|range| range.len()).sum();
        tokens * size_of::<u32>() + blocks * kept
    }

    fn kept(&self, positions: usize) -> [Range<usize>; 4] {
        self.plan.layout.prefix(positions)
    }

    fn header(&self, tokens: usize, draws: u64) -> Header {
        let limits = self.plan.limits();
        Header {
            magic: MAGIC,
            version: VERSION,
            kv: u32::from(limits.kv == KvType::Int8),
            context: limits.context as u32,
            tokens: tokens as u32,
            draws,
            model: self.model.fingerprint(),
            sha256: [0; 32],
        }
    }

    /// Checks everything that a state says about itself, and its checksum last.
    fn check_state(&self, header: &Header, body: &[u8]) -> Result<()> {
        let own = self.header(0, 0);
        ensure!(header.magic == MAGIC, Code::Corrupt, "these bytes are no saved state");
        ensure!(
            header.version == VERSION,
            Code::UnknownVersion,
            "the state has version {}, this program reads {VERSION}",
            header.version
        );
        ensure!(
            (header.kv, header.context, header.model) == (own.kv, own.context, own.model),
            Code::StateMismatch,
            "the state is of another model, context or type of keys and values"
        );
        let count = header.tokens as usize;
        ensure!(
            count <= self.plan.limits().context,
            Code::Corrupt,
            "a state of {count} tokens does not fit into its own context"
        );
        let needed = self.body_bytes(count);
        ensure!(
            body.len() == needed,
            Code::Truncated,
            "the state has {} bytes behind its header instead of {needed}",
            body.len()
        );
        ensure!(
            checksum(header, body) == header.sha256,
            Code::Corrupt,
            "the state's checksum is wrong: it was altered"
        );
        let (tokens, _) = body.as_chunks::<4>();
        let vocab = self.model.config().vocab_size;
        ensure!(
            tokens[..count].iter().all(|&token| u32::from_le_bytes(token) < vocab),
            Code::Corrupt,
            "the state has tokens that are not in the vocabulary of {vocab}"
        );
        Ok(())
    }

    /// Zeroes what earlier texts left in the last tile of positions, which a state holds as well.
    fn clear_behind(&mut self) {
        let (layout, position): (KvLayout, usize) = (self.plan.layout, self.position);
        let zeros = &[0f32; MAX_HEAD_DIM][..layout.head_dim];
        for block in self.buffers.cache_mut().chunks_exact_mut(layout.block_bytes()) {
            for behind in position..position.next_multiple_of(TILE_ROWS) {
                layout.store(block, behind, zeros, zeros);
            }
        }
    }
}

fn checksum(header: &Header, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&bytemuck::bytes_of(header)[..CHECKED_HEADER_BYTES]);
    hash.update(body);
    hash.finalize().into()
}
