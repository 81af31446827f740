//! Secret keys in the format of minisign, and what they sign.

use ed25519_compact::{KeyPair, Seed};
use kinglet::{Code, Result, Signature};
use kinglet_quant::key::{ALGORITHM, KeyId, SECRET_BYTES, decode};
use kinglet_quant::{ensure, fail};

/// Where the parts of minisign's format begin: how a password protects the rest, the id, the seed
/// with the public key behind it.
const PROTECTION: usize = 2;
const ID: usize = 54;
const SEED: usize = 62;
const POINT: usize = 94;
const CHECKSUM: usize = 126;

/// What signs. It is not to be shown, so it cannot be.
pub struct SecretKey {
    id: KeyId,
    pair: KeyPair,
}

impl SecretKey {
    /// Reads a key file of minisign's.
    ///
    /// `BadArgument` for what is none, and for keys that are protected by a password.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(bytes) = decode::<SECRET_BYTES>(text) else {
            fail!(
                Code::BadArgument,
                "this is no secret key of minisign: make one with `minisign -G -W`"
            );
        };
        ensure!(
            bytes[..PROTECTION] == ALGORITHM,
            Code::BadArgument,
            "this secret key is of another algorithm than Ed25519"
        );
        ensure!(
            bytes[PROTECTION..PROTECTION + 2] == [0, 0],
            Code::BadArgument,
            "this secret key is protected by a password, which `kinglet sign` does not ask for: \
             copy it, take the password off the copy with `minisign -C -W -s COPY`, and remove the \
             copy when the file is signed"
        );
        let seed = Seed::from_slice(&bytes[SEED..POINT]).expect("it has the length of a seed");
        let pair = KeyPair::try_from_seed(seed).ok();
        let Some(pair) = pair.filter(|pair| pair.pk[..] == bytes[POINT..CHECKSUM]) else {
            fail!(Code::BadArgument, "this secret key is damaged: its halves do not fit");
        };
        let id = u64::from_le_bytes(bytes[ID..SEED].try_into().expect("8 bytes"));
        Ok(Self { id: KeyId(id), pair })
    }

    /// The number that its public key has, too.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Signs a file. Returns what [`Signature::signed`] returns.
    pub fn sign(&self, unsigned: Signature, file: &[u8]) -> Result<Signature> {
        let message = unsigned.signed(file)?.concat();
        Ok(unsigned.with(*self.pair.sk.sign(message, None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What minisign 0.11 has written: without a password, and with one.
    const OPEN: &str = "untrusted comment: minisign encrypted secret key\n\
        RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAATEZ8SnhR\
        9Owg7GQF2uNc6E8NmpWzITz9jI9hRMbFj/cnxKq44ZexxNQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISr\
        HAdyrrxFAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    const PROTECTED: &str = "untrusted comment: minisign encrypted secret key\n\
        RWRTY0IyIMQGyu1l1FzZkSlD+aRDHL51qGN2f1eLmKiZkrQ0RF8AAAACAAAAAAAAAEAAAAAAFCoZ/40f\
        b4qZslEQG7LlXf/nEkrwH/8dDHLfd9roA/dsnjt4dqOK1vRSAPAvejyv7YZQkqMsmbIbzigatIOZOLxU\
        O8wgjtIq/TC7ohFCXcWTBlnSg2MhoGFcL45tuqtasGk8ForLqPc=\n";
    const PUBLIC: &str = "RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF";

    #[test]
    fn what_a_key_signs_is_right_for_its_public_key() {
        let public = kinglet::PublicKey::parse(PUBLIC).unwrap();
        let secret = SecretKey::parse(OPEN).unwrap();
        assert_eq!(secret.id(), public.id());
        let file = vec![0; 4096];
        let unsigned = Signature::unsigned("bird", 3, secret.id()).unwrap();
        secret.sign(unsigned, &file).unwrap().check(&public, &file).unwrap();
        assert!(unsigned.check(&public, &file).is_err());
    }

    #[test]
    fn what_cannot_sign_is_refused_by_name() {
        let refused = |text: &str, because: &str| {
            let error = SecretKey::parse(text).err().unwrap();
            assert_eq!(error.code(), Code::BadArgument, "{text}");
            assert!(error.message().contains(because), "{error}");
        };
        refused(PROTECTED, "minisign -C -W");
        refused(PUBLIC, "no secret key");
        refused("", "no secret key");
        refused(&OPEN.replace("RWQ", "RXQ"), "another algorithm");
        // Another letter in the seed, and in the public half.
        refused(&OPEN.replace("6E8N", "6E8M"), "damaged");
        refused(&OPEN.replace("g7GQF", "g7GQG"), "damaged");
        refused(&OPEN.replace("hnISr", "hnISs"), "damaged");
    }
}
