//! Public keys, in the format of [minisign](https://jedisct1.github.io/minisign).

use crate::{Code, Result, ensure, fail};
use core::fmt;
use ct_codecs::{Base64, Decoder};

/// What minisign calls Ed25519, at the start of its keys.
pub const ALGORITHM: [u8; 2] = *b"Ed";
/// Bytes of a public key in minisign's format: algorithm, id, point.
const PUBLIC_BYTES: usize = 42;
/// Bytes of a secret key in minisign's format.
pub const SECRET_BYTES: usize = 158;

/// The number by which people tell keys apart; it is written as minisign writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// Whose signatures are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    point: [u8; 32],
}

impl PublicKey {
    /// Reads a key as minisign writes it: all of a `.pub` file, or its line of base64 alone.
    ///
    /// `BadArgument` for anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let Some(bytes) = decode::<PUBLIC_BYTES>(text) else {
            ensure!(
                decode::<SECRET_BYTES>(text).is_none(),
                Code::BadArgument,
                "this is a secret key, where the public one belongs: give the .pub file"
            );
            fail!(
                Code::BadArgument,
                "this is no public key: give a .pub file of minisign, or its line that begins \
                 with RW"
            );
        };
        let [id, point] = [&bytes[2..10], &bytes[10..]];
        let key = Self {
            id: KeyId(u64::from_le_bytes(id.try_into().expect("8 bytes"))),
            point: point.try_into().expect("32 bytes"),
        };
        let is_key = bytes[..2] == ALGORITHM && key.ed25519().validate().is_ok();
        ensure!(
            is_key,
            Code::BadArgument,
            "this public key is damaged, or of another algorithm than Ed25519"
        );
        Ok(key)
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn ed25519(&self) -> ed25519_compact::PublicKey {
        ed25519_compact::PublicKey::new(self.point)
    }
}

/// The bytes that a key of minisign's has, if the text is a key of so many: the base64 of its last
/// line, behind a comment for people.
pub fn decode<const BYTES: usize>(text: &str) -> Option<[u8; BYTES]> {
    let text = text.as_bytes().trim_ascii();
    let line = text.rsplit(|&byte| byte == b'\n').next()?;
    let mut bytes = [0; BYTES];
    let count = Base64::decode(&mut bytes, line, None).ok()?.len();
    (count == BYTES).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ct_codecs::Encoder;

    fn encoded(bytes: &[u8]) -> String {
        let mut text = vec![0; 4 * bytes.len().div_ceil(3)];
        Base64::encode_to_str(&mut text, bytes).unwrap().to_owned()
    }

    /// What minisign 0.11 has written.
    const FILE: &str = "untrusted comment: minisign public key ECF451784A7C464C\n\
                        RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF\n";

    fn refused(text: &str, because: &str) {
        let error = PublicKey::parse(text).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument, "{text}");
        assert!(error.message().contains(because), "{text}: {error}");
    }

    #[test]
    fn keys_are_read_as_minisign_writes_them() {
        let key = PublicKey::parse(FILE).unwrap();
        assert_eq!(key.id().to_string(), "ECF451784A7C464C");
        let line = FILE.lines().nth(1).unwrap();
        for other in [line.to_owned(), format!(" {line} "), FILE.replace('\n', "\r\n")] {
            assert_eq!(PublicKey::parse(&other).unwrap(), key);
        }
        // A comment is for people.
        let other = FILE.replace("ECF451784A7C464C", "of the fleet");
        assert_eq!(PublicKey::parse(&other).unwrap(), key);
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        let line = FILE.lines().nth(1).unwrap();
        for text in ["", "key", &line[..55], &format!("{line}AAAA"), &format!("{line}\nmore")] {
            refused(text, "no public key");
        }
        refused(&encoded(&[7; SECRET_BYTES]), "secret key");
        // Another algorithm, and what is no point of the curve or one that any signature fits.
        refused(&format!("RX{}", &line[2..]), "another algorithm");
        let with_point = |point: [u8; 32]| {
            let bytes: Vec<u8> = ALGORITHM.into_iter().chain([1; 8]).chain(point).collect();
            encoded(&bytes)
        };
        refused(&with_point([0xFF; 32]), "damaged");
        refused(&with_point([0; 32]), "damaged");
    }
}
