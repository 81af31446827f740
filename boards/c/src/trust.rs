//! What crosses the boundary where models are signed: structs of [`abi`](crate::abi)'s kind.

use core::ffi::c_char;

/// `kinglet_trust.flags`: weights are not compared with their checksum, so that opening reads only
/// what comes before them. Altered weights change what the model says, and nothing else.
pub const KINGLET_TRUST_SKIP_WEIGHTS: u32 = 1;

/// Which signed models are accepted.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Size of this struct.
    pub struct_size: usize,
    /// Who must have signed: a public key as minisign writes it, all of its file or the line in it
    /// that begins with RW, terminated by a zero. Needed.
    pub key: *const c_char,
    /// Which model it must be, terminated by a zero; null takes any that the key has signed.
    pub model_id: *const c_char,
    /// Zero.
    pub reserved: usize,
    /// The oldest version that is accepted: where it is the newest one that was ever used, nobody
    /// can bring back an older file. 0 takes all.
    pub least_version: u64,
    /// `KINGLET_TRUST_` flags.
    pub flags: u32,
    /// Zero.
    pub reserved_flags: u32,
}

/// What a model's signature says.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SignatureInfo {
    /// Size of this struct, set by the caller; as much is filled.
    pub struct_size: usize,
    /// Zero.
    pub reserved: usize,
    /// The version of the model, which only grows.
    pub version: u64,
    /// The number of the key that has signed; minisign shows it with 16 hexadecimal digits.
    pub key_id: u64,
    /// Which model it is a version of, filled with zeros.
    pub model_id: [c_char; 72],
}
