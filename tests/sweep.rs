//! Damaged and hostile files: an error or a normal run, never a crash or a read outside the file.
//!
//! `tests/run` runs this program under valgrind as well, which sees every stray read, and with
//! fewer files on emulated cores.

use kinglet::{Code, File, Tier};
use kinglet_core::chat::{self, Conversation, Message};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_core::{KvType, Texts};
use kinglet_quant::file::{Header, Section, SectionKind, header_hash};
use kinglet_quant::{Result, Type};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::small;
use sha2::{Digest, Sha256};
use std::fs;

/// Bits that are flipped in each file, unless `KINGLET_TEST_FLIPS` says otherwise.
const FLIPS: usize = 1000;
/// The length of the header and section table of a file with five sections.
const HEADER_BYTES: usize = size_of::<Header>() + 5 * size_of::<Section>();
/// Sessions larger than this are planned, not run: a hostile shape may ask for gigabytes.
const MOST_BYTES: usize = 64 << 20;

fn flips() -> usize {
    std::env::var("KINGLET_TEST_FLIPS").map_or(FLIPS, |flips| flips.parse().unwrap())
}

/// The bytes of a small model of `kind`.
fn file_bytes(kind: Type) -> Vec<u8> {
    let path = kinglet_tests::models::converted_path("gqa3-head32-untied", kind);
    drop(small("gqa3-head32-untied", kind));
    fs::read(path).unwrap()
}

/// Everything that a user of a file does: opens it, looks at it, tokenizes, writes a conversation,
/// prefills and decodes.
fn use_file(bytes: &[u8], tier: Tier) -> Result<()> {
    let file = File::open(bytes)?;
    let _ = file.verify();
    let tokenizer = Tokenizer::new(file.vocab());
    let text = "Once upon a time <|im_end|> 123 é".as_bytes();
    let mut tokens = vec![0; Tokenizer::max_tokens(text.len())];
    let count = tokenizer.encode(text, Specials::Parse, &mut tokens)?;
    let known: usize = (0..file.vocab().len() as u32).map(|t| tokenizer.decode(t).len()).sum();
    assert!(known <= bytes.len());
    if let Some(frame) = file.frame()? {
        let message = |_| Message { role: "user", content: "Hi <|im_end|>" };
        let conversation = Conversation { count: 3, message: &message, is_reply_next: true };
        // A frame that was altered may want other roles.
        if let Ok(bytes) = chat::text_bytes(&frame, &conversation) {
            let mut tokens = vec![0; chat::room(&tokenizer, bytes)];
            chat::encode(&tokenizer, &frame, &conversation, &mut tokens)?;
        }
    }
    let kv = KvType::Int8;
    let limits = Limits { texts: 1, context: 16, batch: 4, logit_rows: 1, workers: 1, kv };
    let plan = Plan::new(&file, &limits)?;
    if plan.total_bytes() > MOST_BYTES {
        return Ok(());
    }
    let mut memory = Aligned::zeroed(plan.total_bytes());
    let mut texts = Texts::on_cpu(file, &limits, tier, Alone, memory.as_mut())?;
    let mut text = texts.text(0);
    text.prefill(&tokens[..count.clamp(1, 6)], &mut |_| Ok(()))?;
    let mut sampler = kinglet_core::sample::Sampler::new(kinglet::Sampling::default());
    text.next(&mut sampler)?;
    text.logits()?;
    Ok(())
}

/// Makes the checksums that `File::open` looks at right again, as an attacker would.
fn repair_checksums(bytes: &mut [u8]) {
    let (head, rest) = bytes.split_at(size_of::<Header>());
    let mut header: Header = bytemuck::pod_read_unaligned(head);
    let table = &rest[..HEADER_BYTES - size_of::<Header>()];
    let table = table.chunks_exact(size_of::<Section>());
    let mut sections: Vec<Section> = table.map(bytemuck::pod_read_unaligned).collect();
    for section in &mut sections {
        let checked = [SectionKind::Config as u32, SectionKind::Tensors as u32];
        let end = section.offset.saturating_add(section.bytes);
        let range = section.offset as usize..end as usize;
        if let Some(body) = checked.contains(&section.kind).then(|| bytes.get(range)).flatten() {
            section.sha256 = Sha256::digest(body).into();
        }
    }
    header.sha256 = header_hash(&header, &sections);
    bytes[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&header));
    bytes[size_of::<Header>()..HEADER_BYTES].copy_from_slice(bytemuck::cast_slice(&sections));
}

/// The bytes of a file that describe the rest: header, configuration, tensor table, tokenizer,
/// texts.
fn described(bytes: &[u8]) -> Vec<usize> {
    let file = Aligned::copy_of(bytes);
    let file = File::open(file.as_ref()).unwrap();
    let bodies = file.sections().iter().filter(|s| s.kind != SectionKind::Weights as u32);
    let bodies = bodies.flat_map(|s| s.offset as usize..(s.offset + s.bytes) as usize);
    (0..HEADER_BYTES).chain(bodies).collect()
}

#[test]
fn truncated_files_are_refused() {
    for kind in [Type::Q4, Type::Bf16] {
        let bytes = file_bytes(kind);
        for length in (0..bytes.len()).step_by(4096).chain([1, 63, 64, 100, bytes.len() - 1]) {
            let error = use_file(Aligned::copy_of(&bytes[..length]).as_ref(), Tier::best());
            let code = error.expect_err("a truncated file was accepted").code();
            assert!([Code::NotKinglet, Code::Truncated].contains(&code), "{length}: {code:?}");
        }
        use_file(Aligned::copy_of(&bytes).as_ref(), Tier::best()).unwrap();
    }
}

#[test]
fn flipped_bits_give_an_error_or_a_normal_run() {
    for kind in [Type::Q4, Type::Q8, Type::Bf16] {
        let bytes = file_bytes(kind);
        let mut random = fastrand::Rng::with_seed(kind as u64);
        let mut refused = 0;
        for _ in 0..flips() {
            let mut altered = Aligned::copy_of(&bytes);
            let at = random.usize(..bytes.len());
            altered.as_mut()[at] ^= 1 << random.u32(..8);
            refused += usize::from(use_file(altered.as_ref(), Tier::best()).is_err());
        }
        assert!(refused < flips(), "weights may change without making a file unreadable");
    }
}

#[test]
fn hostile_descriptions_give_an_error_or_a_normal_run() {
    let bytes = file_bytes(Type::Q4);
    let places = described(&bytes);
    let mut random = fastrand::Rng::with_seed(7);
    let mut refused = 0;
    for _ in 0..flips() {
        let mut altered = Aligned::copy_of(&bytes);
        for _ in 0..random.usize(1..4) {
            let at = places[random.usize(..places.len())];
            // Small fields matter most, and those of the header and configuration are few.
            let at = if random.bool() { at } else { places[random.usize(..HEADER_BYTES + 128)] };
            altered.as_mut()[at] = random.u8(..);
        }
        repair_checksums(altered.as_mut());
        refused += usize::from(use_file(altered.as_ref(), Tier::best()).is_err());
    }
    assert!(refused > 0, "no description was refused");
}
