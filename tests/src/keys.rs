//! Keys of minisign for tests, in `tests/keys`, and what they sign.

use ed25519_compact::SecretKey;
use kinglet_quant::key::{SECRET_BYTES, decode};
use kinglet_quant::signature::{OFFSET, Signature};
use kinglet_quant::{PublicKey, Result};
use std::path::{Path, PathBuf};

/// The public key that tests trust, as minisign has written it.
pub const PUBLIC: &str = include_str!("../keys/fleet.pub");
/// Its number.
pub const KEY_ID: &str = "ECF451784A7C464C";
/// The public key of another pair.
pub const OTHER_PUBLIC: &str = include_str!("../keys/other.pub");

/// Where a key lies.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keys").join(name)
}

/// The key that tests trust.
pub fn public() -> PublicKey {
    PublicKey::parse(PUBLIC).expect("a key")
}

/// Signs a weight file as the key that tests trust. Fails as [`Signature::unsigned`] does.
pub fn sign(file: &mut [u8], model_id: &str, version: u64) -> Result<()> {
    const SECRET: &str = include_str!("../keys/fleet.key");
    let bytes = decode::<SECRET_BYTES>(SECRET).expect("a secret key");
    let secret = SecretKey::from_slice(&bytes[62..126]).expect("seed and public key");
    let unsigned = Signature::unsigned(model_id, version, public().id())?;
    let signed = unsigned.with(*secret.sign(unsigned.signed(file)?.concat(), None));
    file[OFFSET..][..size_of::<Signature>()].copy_from_slice(bytemuck::bytes_of(&signed));
    Ok(())
}
