//! What a user of a weight file does with it, for files that are damaged or hostile.

use crate::aligned::Aligned;
use kinglet::{File, KvType, Tier};
use kinglet_core::Texts;
use kinglet_core::chat::{self, Conversation, Message};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::Result;
use kinglet_quant::file::{Header, Section, SectionKind, header_hash};
use sha2::{Digest, Sha256};

/// The length of the header and section table of a file with five sections.
pub const HEADER_BYTES: usize = size_of::<Header>() + 5 * size_of::<Section>();
/// Sessions larger than this are planned, not run: a hostile shape may ask for gigabytes.
const MOST_BYTES: usize = 64 << 20;
/// As are those that take more multiplications for a token: all layers may share the same weights.
const MOST_WORK: u64 = 1 << 26;

/// Everything that a user of a file does: opens it, looks at it, tokenizes, writes a conversation,
/// prefills and decodes.
pub fn use_file(bytes: &[u8], tier: Tier) -> Result<()> {
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
        let conversation =
            Conversation { count: 3, message: &message, is_reply_next: true, functions: None };
        // A frame that was altered may want other roles.
        if let Ok(bytes) = chat::text_bytes(&frame, &conversation) {
            let mut tokens = vec![0; chat::room(&tokenizer, bytes)];
            chat::encode(&tokenizer, &frame, &conversation, &mut tokens)?;
        }
    }
    let kv = KvType::Int8;
    let limits = Limits { texts: 1, context: 16, batch: 4, logit_rows: 1, workers: 1, kv };
    let plan = Plan::new(&file, &limits)?;
    let work = file.config().layer_multiply_adds() + file.config().head_multiply_adds();
    if plan.total_bytes() > MOST_BYTES || work > MOST_WORK {
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
pub fn repair_checksums(bytes: &mut [u8]) {
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
