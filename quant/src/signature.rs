//! Who vouches for a file, and for which version of which model.
//!
//! A signature lies in the first page, behind the section table and outside of what the header's
//! checksum covers: signing changes nothing else, and readers that ask for no signature see none.

use crate::file::{Header, MAX_SECTIONS, Section};
use crate::key::KeyId;
use crate::{Code, PublicKey, Result, ensure};
use bytemuck::{Pod, Zeroable};
use core::str;

/// The first bytes of every signature.
pub const MAGIC: [u8; 16] = *b"KINGLET SIGNED 1";
/// Where a signature is, in bytes from the start of the file. All of it lies in one block of 512
/// bytes, the least that a disk writes.
pub const OFFSET: usize = 2048;
/// Bytes of the longest model id.
pub const ID_BYTES: usize = 64;

/// What is signed, and the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Signature {
    magic: [u8; 16],
    version: u64,
    key_id: u64,
    model_id: [u8; ID_BYTES],
    /// Ed25519 over everything above, the header and the section table, in this order.
    ed25519: [u8; 64],
}

const _: () = assert!(size_of::<Signature>() == 160);
const _: () = {
    assert!(OFFSET >= size_of::<Header>() + MAX_SECTIONS * size_of::<Section>());
    assert!(OFFSET / 512 == (OFFSET + size_of::<Signature>() - 1) / 512);
};

impl Signature {
    /// A signature that nobody has signed yet.
    ///
    /// `BadArgument` when the model id is none, see [`id_bytes`].
    pub fn unsigned(model_id: &str, version: u64, key: KeyId) -> Result<Self> {
        let model_id = id_bytes(model_id)?;
        Ok(Self { magic: MAGIC, version, key_id: key.0, model_id, ed25519: [0; 64] })
    }

    /// With the proof: Ed25519 over what [`Signature::signed`] returns.
    pub fn with(self, ed25519: [u8; 64]) -> Self {
        Self { ed25519, ..self }
    }

    /// The signature of a file, right or wrong, if there is one.
    pub fn of(file: &[u8]) -> Option<Self> {
        let bytes = file.get(OFFSET..OFFSET + size_of::<Self>())?;
        let signature: Self = bytemuck::pod_read_unaligned(bytes);
        (signature.magic == MAGIC).then_some(signature)
    }

    /// The version of the model, which only grows.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The key that signed, as the signature says.
    pub fn key_id(&self) -> KeyId {
        KeyId(self.key_id)
    }

    /// Which model this is a version of, as far as it is an id: something of [`id_bytes`].
    pub fn model_id(&self) -> &str {
        let end = self.model_id.iter().position(|byte| !byte.is_ascii_graphic());
        let id = &self.model_id[..end.unwrap_or(ID_BYTES)];
        str::from_utf8(id).expect("all of it is ASCII")
    }

    /// What is signed of a file that begins with these bytes, in two parts that follow one another.
    ///
    /// `Truncated`, and `Corrupt` for more sections than a file may have; nothing else of the file
    /// is looked at.
    pub fn signed<'a>(&'a self, file: &'a [u8]) -> Result<[&'a [u8]; 2]> {
        let own = &bytemuck::bytes_of(self)[..size_of::<Self>() - size_of_val(&self.ed25519)];
        let is_whole = file.len() >= OFFSET;
        ensure!(is_whole, Code::Truncated, "the file ends within its first page: fetch it again");
        let header: Header = bytemuck::pod_read_unaligned(&file[..size_of::<Header>()]);
        let sections = header.sections as usize;
        ensure!(sections <= MAX_SECTIONS, Code::Corrupt, "the file claims {sections} sections");
        Ok([own, &file[..size_of::<Header>() + sections * size_of::<Section>()]])
    }

    /// Whether the key has signed this for a file that begins with these bytes.
    ///
    /// `WrongSignature`, and what [`Signature::signed`] returns.
    pub fn check(&self, key: &PublicKey, file: &[u8]) -> Result<()> {
        ensure!(
            self.key_id() == key.id(),
            Code::WrongSignature,
            "the file is signed with key {}, not with the required {}: get one that is",
            self.key_id(),
            key.id()
        );
        let parts = self.signed(file)?;
        let proof = ed25519_compact::Signature::new(self.ed25519);
        let is_right = key.ed25519().verify_incremental(&proof).is_ok_and(|mut state| {
            parts.iter().for_each(|part| state.absorb(part));
            state.verify().is_ok()
        });
        ensure!(
            is_right,
            Code::WrongSignature,
            "the file is not what key {} has signed: fetch it again",
            key.id()
        );
        Ok(())
    }
}

/// A model id as it is stored: 1 to 64 printable characters of ASCII without blanks, then zeros.
///
/// `BadArgument` for anything else.
pub fn id_bytes(id: &str) -> Result<[u8; ID_BYTES]> {
    let is_id = (1..=ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    ensure!(
        is_id,
        Code::BadArgument,
        "a model id has 1 to {ID_BYTES} characters of ASCII and no blanks"
    );
    let mut bytes = [0; ID_BYTES];
    bytes[..id.len()].copy_from_slice(id.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests;
