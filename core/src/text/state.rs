//! A text as bytes: saved to the caller's memory, restored, and copied between engines.
//!
//! A state holds what cannot be had cheaply: tokens, keys and values. Logits are not in it, since a
//! step with the last token computes them again:
//!
//! | part | bytes |
//! |---|---|
//! | [`Header`] | 96 |
//! | tokens | 4 each |
//! | for each layer and key-value head: keys, values, scales of both | [`KvLayout::prefix`] |
//!
//! [`KvLayout::prefix`]: crate::kv::KvLayout::prefix

use super::Text;
use crate::engine::{BlockPrefix, Engine};
use crate::kv::KvType;
use bytemuck::{Pod, Zeroable};
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
    /// Positions of the text's cache.
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

impl<E: Engine> Text<'_, '_, E> {
    /// Bytes of the state of the text as it is.
    pub fn state_bytes(&self) -> usize {
        self.prefix_bytes(self.tokens().len())
    }

    /// Bytes of the state of a text of so many tokens.
    pub fn prefix_bytes(&self, tokens: usize) -> usize {
        size_of::<Header>() + self.body_bytes(tokens)
    }

    /// Writes the state to the front of `out` and returns its [`Text::state_bytes`].
    ///
    /// `draws` is that of the text's sampler. The same text has the same bytes. `BufferTooSmall`
    /// when `out` is; then nothing is written.
    pub fn save(&mut self, draws: u64, out: &mut [u8]) -> Result<usize> {
        self.save_prefix(self.tokens().len(), draws, out)
    }

    /// [`Text::save`] of the first `count` tokens alone: the state of a text that has no more.
    /// Returns its [`Text::prefix_bytes`]. `BadArgument` when the text is shorter.
    pub fn save_prefix(&mut self, count: usize, draws: u64, out: &mut [u8]) -> Result<usize> {
        ensure!(
            count <= self.tokens().len(),
            Code::BadArgument,
            "a prefix of {count} tokens: the text has {}",
            self.tokens().len()
        );
        let bytes = self.prefix_bytes(count);
        ensure!(
            out.len() >= bytes,
            Code::BufferTooSmall,
            "the state has {bytes} bytes, there is room for {}",
            out.len()
        );
        if self.texts.state(self.number).cached < count {
            self.texts.compute_logits(self.number, None)?;
        }
        let (head, body) = out[..bytes].split_at_mut(size_of::<Header>());
        let own: &[u8] = bytemuck::cast_slice(&self.tokens()[..count]);
        let (tokens, mut rest) = body.split_at_mut(own.len());
        tokens.copy_from_slice(own);
        let (layout, number) = (self.texts.plan().layout, self.number);
        for block in 0..self.texts.plan().blocks_of_text() {
            let prefix = self.texts.engine.read_block(number, block, count)?;
            let mut parts = prefix.map(|part| {
                let (own, behind) = core::mem::take(&mut rest).split_at_mut(part.len());
                rest = behind;
                own.copy_from_slice(part);
                own
            });
            // What earlier texts left in the last tile is none of this state's.
            layout.clear_behind(count, &mut parts);
        }
        let mut header = self.header(count, draws);
        header.sha256 = checksum(&header, body);
        head.copy_from_slice(bytemuck::bytes_of(&header));
        Ok(bytes)
    }

    /// Replaces the text by a saved one and returns its `draws`.
    ///
    /// `StateMismatch` for a state of another model, context or number format, `UnknownVersion` for
    /// one of a later program, `Truncated` and `Corrupt` for an altered one; the text is unchanged
    /// then.
    pub fn restore(&mut self, state: &[u8]) -> Result<u64> {
        let Some((head, body)) = state.split_at_checked(size_of::<Header>()) else {
            fail!(Code::Truncated, "a state of {} bytes ends within its header", state.len());
        };
        let header: Header = bytemuck::pod_read_unaligned(head);
        self.check_state(&header, body)?;
        let count = header.tokens as usize;
        let (tokens, mut rest) = body.split_at(count * size_of::<u32>());
        // If the engine fails half-way, the text is empty.
        self.texts.state_mut(self.number).cut(0);
        self.texts.state_mut(self.number).drop_logits();
        let lengths = self.texts.plan().layout.prefix(count).map(|range| range.len());
        for block in 0..self.texts.plan().blocks_of_text() {
            let prefix: BlockPrefix<'_> = lengths.map(|length| {
                let (part, behind) = rest.split_at(length);
                rest = behind;
                part
            });
            self.texts.engine.write_block(self.number, block, count, prefix)?;
        }
        let own = self.texts.state_mut(self.number);
        bytemuck::cast_slice_mut(&mut own.history[..count]).copy_from_slice(tokens);
        (own.length, own.cached) = (count, count);
        Ok(header.draws)
    }

    /// Replaces the text by the first `count` tokens of another engine's.
    ///
    /// `StateMismatch` when the engines differ in model or number format, `BadArgument` when the
    /// other text is shorter, `ContextFull` when this context is; the text is unchanged then.
    pub fn copy_from<F: Engine>(
        &mut self,
        source: &mut Text<'_, '_, F>,
        count: usize,
    ) -> Result<()> {
        let (own, other) = (self.texts.plan().limits(), source.texts.plan().limits());
        ensure!(
            source.texts.model.fingerprint() == self.texts.model.fingerprint()
                && own.kv == other.kv,
            Code::StateMismatch,
            "the sessions have different models or keep keys and values differently"
        );
        ensure!(
            count <= source.tokens().len(),
            Code::BadArgument,
            "a prefix of {count} tokens: the text has {}",
            source.tokens().len()
        );
        ensure!(
            count <= own.context,
            Code::ContextFull,
            "a prefix of {count} tokens does not fit into a context of {}",
            own.context
        );
        let cached = count.min(source.texts.state(source.number).cached);
        let own = self.texts.state_mut(self.number);
        own.cut(0);
        own.drop_logits();
        for block in 0..self.texts.plan().blocks_of_text() {
            let prefix = source.texts.engine.read_block(source.number, block, cached)?;
            self.texts.engine.write_block(self.number, block, cached, prefix)?;
        }
        let own = self.texts.state_mut(self.number);
        own.history[..count].copy_from_slice(&source.tokens()[..count]);
        (own.length, own.cached) = (count, cached);
        Ok(())
    }

    /// Bytes behind the header of a state of as many tokens.
    fn body_bytes(&self, tokens: usize) -> usize {
        let plan = self.texts.plan();
        let kept: usize = plan.layout.prefix(tokens).iter().map(|range| range.len()).sum();
        tokens * size_of::<u32>() + plan.blocks_of_text() * kept
    }

    fn header(&self, tokens: usize, draws: u64) -> Header {
        let limits = self.texts.plan().limits();
        Header {
            magic: MAGIC,
            version: VERSION,
            kv: u32::from(limits.kv == KvType::Int8),
            context: limits.context as u32,
            tokens: tokens as u32,
            draws,
            model: self.texts.model.fingerprint(),
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
            count <= self.texts.plan().limits().context,
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
        let vocab = self.texts.model.config().vocab_size;
        ensure!(
            tokens[..count].iter().all(|&token| u32::from_le_bytes(token) < vocab),
            Code::Corrupt,
            "the state has tokens that are not in the vocabulary of {vocab}"
        );
        Ok(())
    }
}

fn checksum(header: &Header, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&bytemuck::bytes_of(header)[..CHECKED_HEADER_BYTES]);
    hash.update(body);
    hash.finalize().into()
}
