use super::*;
use crate::convert::{Options, convert};
use crate::file::{File, SECTION_ALIGN, SECTIONS, SectionKind};
use crate::source::testing::Checkpoint;
use crate::{Code, Source, Type, signature};
use ct_codecs::{Base64, Encoder};
use ed25519_compact::{KeyPair, Seed};
use std::fs;
use std::ops::ControlFlow;

/// A weight file at a multiple of 64 bytes.
struct Signed {
    memory: Vec<[u64; 8]>,
    skip: usize,
    bytes: usize,
    pair: KeyPair,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("model.kinglet");
        let source = Source::open(Checkpoint::new().write().path()).unwrap();
        let options = Options::new(Type::Q8, 1);
        convert(&source, &output, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        let bytes = fs::read(output).unwrap();
        let memory = vec![[0u64; 8]; bytes.len().div_ceil(64) + 1];
        let start = memory.as_ptr().addr();
        let skip = start.next_multiple_of(64) - start;
        let pair = KeyPair::from_seed(Seed::new([3; 32]));
        let mut signed = Self { memory, skip, bytes: bytes.len(), pair };
        signed.file().copy_from_slice(&bytes);
        signed
    }

    fn file(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.memory)[self.skip..][..self.bytes]
    }

    fn key(&self) -> PublicKey {
        let bytes: Vec<u8> = b"Ed\x01\x02\x03\x04\x05\x06\x07\x08"[..]
            .iter()
            .chain(&self.pair.pk[..])
            .copied()
            .collect();
        let mut text = [0; 56];
        PublicKey::parse(Base64::encode_to_str(&mut text, bytes).unwrap()).unwrap()
    }

    fn sign(&mut self, id: &str, version: u64) {
        let unsigned = Signature::unsigned(id, version, self.key().id()).unwrap();
        let parts = unsigned.signed(self.file()).unwrap().concat();
        let signed = unsigned.with(*self.pair.sk.sign(parts, None));
        let place = signature::OFFSET..signature::OFFSET + size_of::<Signature>();
        self.file()[place].copy_from_slice(bytemuck::bytes_of(&signed));
    }

    fn open(&mut self, trust: &Trust<'_>) -> Option<Code> {
        File::open_signed(self.file(), trust).err().map(|error| error.code())
    }

    /// Opens the file with an altered byte.
    fn open_altered(&mut self, place: usize, trust: &Trust<'_>) -> Option<Code> {
        self.file()[place] ^= 0x40;
        let code = self.open(trust);
        self.file()[place] ^= 0x40;
        code
    }
}

#[test]
fn older_versions_and_other_models_are_refused() {
    let mut signed = Signed::new();
    let trust = Trust::new(signed.key());
    assert_eq!(signed.open(&trust), Some(Code::NotSigned));
    signed.sign("bird", 7);
    for least_version in [0, 1, 7, 8, u64::MAX] {
        for model_id in [None, Some("bird"), Some("bir"), Some("birds"), Some("")] {
            let trust = Trust { least_version, model_id, ..trust };
            let is_accepted = least_version <= 7 && model_id.is_none_or(|id| id == "bird");
            let expected = (!is_accepted).then_some(Code::Replayed);
            assert_eq!(signed.open(&trust), expected, "{least_version} {model_id:?}");
        }
    }
    signed.sign("bird", u64::MAX);
    assert_eq!(signed.open(&Trust { least_version: u64::MAX, ..trust }), None);
}

#[test]
fn signing_changes_nothing_for_those_who_do_not_ask() {
    let mut signed = Signed::new();
    let before = signed.file().to_vec();
    signed.sign("bird", 1);
    let place = signature::OFFSET..signature::OFFSET + size_of::<Signature>();
    let file = File::open(signed.file()).unwrap();
    file.verify().unwrap();
    assert_eq!(file.signature().unwrap().model_id(), "bird");
    signed.file()[place].fill(0);
    assert_eq!(signed.file(), before);
    assert_eq!(File::open(signed.file()).unwrap().signature(), None);
}

/// Every byte that is ever looked at is either signed, or has a checksum that is.
#[test]
fn altered_files_are_refused_before_they_are_parsed() {
    let mut signed = Signed::new();
    signed.sign("bird", 1);
    let trust = Trust::new(signed.key());
    let lax = Trust { checks_weights: false, ..trust };
    assert_eq!(signed.open(&trust), None);
    let sections = File::open(signed.file()).unwrap().sections().to_vec();
    for place in 0..64 + sections.len() * 64 {
        let code = signed.open_altered(place, &trust).unwrap();
        let expected = match place {
            0..8 => Code::NotKinglet,
            12..16 => Code::Corrupt,
            _ => Code::WrongSignature,
        };
        assert_eq!(code, expected, "byte {place}");
    }
    for (section, (kind, name)) in sections.iter().zip(SECTIONS) {
        let step = (section.bytes / 300).max(1) as usize;
        for at in (0..section.bytes).step_by(step).chain([section.bytes - 1]) {
            let place = (section.offset + at) as usize;
            assert_eq!(signed.open_altered(place, &trust), Some(Code::Corrupt), "{name} {at}");
            let expected = (kind != SectionKind::Weights).then_some(Code::Corrupt);
            assert_eq!(signed.open_altered(place, &lax), expected, "{name} {at}");
        }
    }
    // What lies between sections belongs to none.
    let gap = SECTION_ALIGN as usize - 1;
    assert_eq!(signed.open_altered(gap, &trust), None);
}

#[test]
fn random_files_are_refused() {
    let mut signed = Signed::new();
    signed.sign("bird", 1);
    let whole = signed.file().to_vec();
    let trust = Trust::new(signed.key());
    let mut random = fastrand::Rng::with_seed(5);
    for _ in 0..2000 {
        let file = signed.file();
        file.copy_from_slice(&whole);
        // The first page, or what begins somewhere in it, with the magic left as it is.
        let start = random.usize(8..signature::OFFSET + size_of::<Signature>());
        let end = random.usize(start..=SECTION_ALIGN as usize);
        random.fill(&mut file[start..end]);
        let is_same = file[..384] == whole[..384]
            && file[signature::OFFSET..][..160] == whole[signature::OFFSET..][..160];
        assert_eq!(signed.open(&trust).is_none(), is_same, "{start}..{end}");
    }
    for length in [0, 8, 64, 2047, 2048, 2207, 2208, 65536, whole.len() - 1] {
        let file = &signed.file()[..length];
        assert!(File::open_signed(file, &trust).is_err(), "{length}");
    }
    let misaligned = &signed.file()[8..];
    let error = File::open_signed(misaligned, &trust).unwrap_err();
    assert_eq!(error.code(), Code::Misaligned);
}
