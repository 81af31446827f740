use super::*;
use crate::file::{self, VERSION};
use ct_codecs::{Base64, Encoder};
use ed25519_compact::{KeyPair, SecretKey, Seed};
use proptest::prelude::*;

/// A pair of keys as minisign 0.11 has made it with `-W`, that is without a password.
const PUBLIC: &str = "RWRMRnxKeFH07NQaiYnoqbSphZF/8G46tBYPQ4SoJIVhnISrHAdyrrxF";
const SECRET: &str = "RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\
                      TEZ8SnhR9Owg7GQF2uNc6E8NmpWzITz9jI9hRMbFj/cnxKq44ZexxNQaiYnoqbSphZF/8G46\
                      tBYPQ4SoJIVhnISrHAdyrrxFAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// What `minisign -S -l` of version 0.11 has made of the parts of [`example`], one behind the
/// other.
const PROOF: &str = "0f96dcf94154eed79c362cd11a33438c17c197c31952029e503dc9e4becf6737\
                     ccce6defb7df983f621b449a3cab049ec49fdbe1bd5a6470bdf6740ef60f0001";

fn public() -> PublicKey {
    PublicKey::parse(PUBLIC).unwrap()
}

fn secret() -> SecretKey {
    let bytes = crate::key::decode::<{ crate::key::SECRET_BYTES }>(SECRET).unwrap();
    SecretKey::new(bytes[62..126].try_into().unwrap())
}

fn unhex<const BYTES: usize>(text: &str) -> [u8; BYTES] {
    assert_eq!(text.len(), 2 * BYTES);
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
}

/// The first bytes of a file with a section table of two entries, and its signature.
fn example() -> (Vec<u8>, Signature) {
    let mut file = vec![0; OFFSET + size_of::<Signature>()];
    file[..8].copy_from_slice(&file::MAGIC);
    file[8..12].copy_from_slice(&VERSION.to_le_bytes());
    file[12..16].copy_from_slice(&2u32.to_le_bytes());
    for (i, byte) in file[16..64].iter_mut().enumerate() {
        *byte = 16 + i as u8;
    }
    for (i, byte) in file[64..192].iter_mut().enumerate() {
        *byte = (7 * i) as u8;
    }
    let signature = Signature::unsigned("smollm2-135m", 7, public().id()).unwrap();
    let parts = signature.signed(&file).unwrap().concat();
    let proof = *secret().sign(parts, None);
    let signature = signature.with(proof);
    file[OFFSET..].copy_from_slice(bytemuck::bytes_of(&signature));
    (file, signature)
}

/// What somebody finds who checks a file.
fn found(file: &[u8], key: &PublicKey) -> Result<()> {
    Signature::of(file).map_or(Ok(()), |signature| signature.check(key, file))
}

/// Section 7.1 of RFC 8032, tests 1, 2, 3 and SHA(abc): secret key, public key, message, signature.
const RFC_8032: [[&str; 4]; 4] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e397\
         01cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f361\
         3d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76\
         0984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
    [
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c2\
         3a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c\
         66431e0303dca179c138ac17ad9bef1177331a704",
    ],
];

#[test]
fn signatures_are_those_of_the_rfc() {
    for [seed, point, message, proof] in RFC_8032 {
        let pair = KeyPair::from_seed(Seed::new(unhex(seed)));
        assert_eq!(*pair.pk, unhex(point));
        let bytes = (0..message.len() / 2).map(|i| &message[2 * i..2 * i + 2]);
        let message: Vec<u8> = bytes.map(|hex| u8::from_str_radix(hex, 16).unwrap()).collect();
        assert_eq!(*pair.sk.sign(&message, None), unhex(proof));
        let proof = ed25519_compact::Signature::new(unhex(proof));
        assert!(pair.pk.verify(&message, &proof).is_ok());
        assert!(pair.pk.verify([&message[..], &[0]].concat(), &proof).is_err());
    }
}

#[test]
fn signatures_are_those_of_minisign() {
    let (file, signature) = example();
    assert_eq!(signature.ed25519, unhex(PROOF));
    assert_eq!((signature.version(), signature.model_id()), (7, "smollm2-135m"));
    assert_eq!(Signature::of(&file), Some(signature));
    signature.check(&public(), &file).unwrap();
}

#[test]
fn every_altered_byte_is_refused() {
    let (file, _) = example();
    let table_end = 64 + 2 * 64;
    for place in (0..table_end).chain(OFFSET..file.len()) {
        for flip in [0x01, 0x80, 0xFF] {
            let mut altered = file.clone();
            altered[place] ^= flip;
            let is_lost = Signature::of(&altered).is_none();
            // Without its magic a signature is none; the caller refuses that.
            assert_eq!(is_lost, (OFFSET..OFFSET + MAGIC.len()).contains(&place));
            if !is_lost {
                let code = found(&altered, &public()).unwrap_err().code();
                let is_count = (12..16).contains(&place);
                let is_expected = code == Code::WrongSignature || is_count && code == Code::Corrupt;
                assert!(is_expected, "byte {place}: {code:?}");
            }
        }
    }
    // What lies between the table and the signature belongs to nobody.
    let mut altered = file;
    altered[table_end] ^= 1;
    found(&altered, &public()).unwrap();
}

#[test]
fn other_keys_and_short_files_are_refused() {
    let (file, signature) = example();
    // Another key, and another one that claims the same number.
    for id in ["RWR", "RWRMRnxKeFH07"] {
        let pair = KeyPair::from_seed(Seed::new([9; 32]));
        let mut bytes = crate::key::decode::<42>(PUBLIC).unwrap();
        bytes[10..].copy_from_slice(&*pair.pk);
        bytes[2] ^= u8::from(id.len() == 3);
        let mut text = [0; 56];
        let text = Base64::encode_to_str(&mut text, bytes).unwrap();
        let other = PublicKey::parse(text).unwrap();
        let error = signature.check(&other, &file).unwrap_err();
        assert_eq!(error.code(), Code::WrongSignature);
        assert!(error.message().contains(&other.id().to_string()), "{error}");
    }
    for length in [0, 63, 64, 191, OFFSET - 1] {
        let code = signature.check(&public(), &file[..length]).unwrap_err().code();
        assert_eq!(code, Code::Truncated, "{length}");
        assert_eq!(Signature::of(&file[..length]), None);
    }
    assert_eq!(Signature::of(&file[..file.len() - 1]), None);
}

#[test]
fn model_ids_are_printable() {
    let id = public().id();
    for bad in ["", "a b", "é", "a\n", &"x".repeat(ID_BYTES + 1)] {
        let error = Signature::unsigned(bad, 1, id).unwrap_err();
        assert_eq!(error.code(), Code::BadArgument, "{bad}");
    }
    for good in ["x", "smollm2/135m:fleet-7", &"x".repeat(ID_BYTES)] {
        assert_eq!(Signature::unsigned(good, 1, id).unwrap().model_id(), good);
    }
    // What nobody has signed may be anything, and must not reach a terminal.
    let mut signature = Signature::unsigned("good", 1, id).unwrap();
    signature.model_id[4..8].copy_from_slice(b"\x1b[2J");
    assert_eq!(signature.model_id(), "good");
}

proptest! {
    #[test]
    fn what_is_random_is_never_a_signature(bytes in prop::array::uniform32(any::<u8>()),
                                           more in prop::array::uniform32(any::<u8>()),
                                           start in 0..OFFSET) {
        let (mut file, signature) = example();
        let proof: Vec<u8> = [bytes, more].concat();
        let forged = signature.with(proof.clone().try_into().unwrap());
        prop_assert!(forged.check(&public(), &file).is_err());
        // The half that is a number may be random with a point that is right.
        let mut half = signature.ed25519;
        half[32..].copy_from_slice(&more);
        prop_assert!(signature.with(half).check(&public(), &file).is_err());
        // Anything over the head.
        let end = (start + proof.len()).min(OFFSET);
        let before = file.clone();
        file[start..end].copy_from_slice(&proof[..end - start]);
        let is_signed_part = file[..192] != before[..192];
        prop_assert_eq!(found(&file, &public()).is_err(), is_signed_part);
    }
}
