//! Weight files. An input has the sections without the space between them: what stands in front of
//! them follows from the sections, and then changes as the first part of the input says.

use super::checkpoint::{TEMPLATE, converted};
use super::parts::{join, split};
use kinglet::{Tier, Type};
use kinglet_quant::File;
use kinglet_quant::file::{
    Header, MAGIC, SECTION_ALIGN, SECTIONS, Section, SectionKind, TextKey, VERSION,
};
use kinglet_quant::write::text_section;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::hostile_file::{HEADER_BYTES, repair_checksums, use_file};

/// Bytes of weights that an input can ask for.
const MOST_WEIGHTS: usize = 1 << 18;

pub fn run(input: &[u8]) -> bool {
    use_file(assembled(input).as_ref(), Tier::best()).is_ok()
}

/// The file that an input means.
fn assembled(input: &[u8]) -> Aligned {
    let [changes, bodies @ ..]: [&[u8]; SECTIONS.len()] = split(input);
    let (weights, changes) = changes.split_at(changes.len().min(4));
    let weights = weights.iter().rfold(0, |all, &byte| all << 8 | usize::from(byte));
    let weights = weights % (MOST_WEIGHTS + 1);
    let mut random = fastrand::Rng::with_seed(weights as u64);
    let weights: Vec<u8> = (0..weights).map(|_| random.u8(..)).collect();
    let mut offset = SECTION_ALIGN;
    let all = bodies.into_iter().chain([&weights[..]]);
    let mut sections = Vec::new();
    for (body, (kind, _)) in all.clone().zip(SECTIONS) {
        let bytes = body.len() as u64;
        sections.push(Section { kind: kind as u32, offset, bytes, ..bytemuck::Zeroable::zeroed() });
        offset = (offset + bytes).next_multiple_of(SECTION_ALIGN);
    }
    let end = sections.last().map_or(0, |last| last.offset + last.bytes);
    let header = Header {
        magic: MAGIC,
        version: VERSION,
        sections: sections.len() as u32,
        file_bytes: end,
        ..bytemuck::Zeroable::zeroed()
    };
    let mut file = Aligned::zeroed(end as usize);
    let bytes = file.as_mut();
    bytes[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&header));
    bytes[size_of::<Header>()..HEADER_BYTES].copy_from_slice(bytemuck::cast_slice(&sections));
    for (section, body) in sections.iter().zip(all) {
        bytes[section.offset as usize..][..body.len()].copy_from_slice(body);
    }
    repair_checksums(bytes);
    let (changes, rest) = changes.as_chunks::<3>();
    for &[low, high, value] in changes {
        bytes[usize::from(u16::from_le_bytes([low, high])) % HEADER_BYTES] = value;
    }
    if rest.is_empty() && !changes.is_empty() {
        repair_checksums(bytes);
    }
    file
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    [("q4", Type::Q4), ("q8", Type::Q8), ("bf16", Type::Bf16)]
        .map(|(name, kind)| {
            let bytes = converted(kind);
            let file = File::open(bytes.as_ref()).unwrap();
            // The texts without those that nothing is made of.
            let frame = file.text(TextKey::ChatFrame).unwrap();
            let text =
                text_section(&[(TextKey::ChatTemplate, TEMPLATE), (TextKey::ChatFrame, frame)]);
            let body = |kind: SectionKind| {
                let section = file.sections().iter().find(|s| s.kind == kind as u32).unwrap();
                &bytes.as_ref()[section.offset as usize..][..section.bytes as usize]
            };
            let weights = (body(SectionKind::Weights).len() as u32).to_le_bytes();
            let [config, tensors, vocab] =
                [SectionKind::Config, SectionKind::Tensors, SectionKind::Vocab].map(body);
            (name, join(&[&weights, config, tensors, vocab, &text]))
        })
        .to_vec()
}
