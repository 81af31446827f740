//! Saved texts. The first byte of an input says whether the rest gets this model's fingerprint and
//! a right checksum, as an attacker would give it.

use super::checkpoint::converted;
use kinglet::{Sampling, Tier, Type};
use kinglet_core::kernels::Alone;
use kinglet_core::kv::KvType;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::{Cpu, Texts};
use kinglet_quant::File;
use kinglet_tests::aligned::Aligned;
use sha2::{Digest, Sha256};
use std::cell::RefCell;

/// Where a state has its model's fingerprint, and its checksum.
const MODEL: std::ops::Range<usize> = 32..64;
const CHECKSUM: std::ops::Range<usize> = 64..96;
const LIMITS: Limits =
    Limits { texts: 1, context: 16, batch: 4, logit_rows: 1, workers: 1, kv: KvType::Int8 };

type Own = Texts<'static, Cpu<'static, Tier, Alone>>;

thread_local! {
    static TEXTS: RefCell<Own> = RefCell::new(texts());
}

/// An engine for the life of the process.
fn texts() -> Own {
    let file = File::open((*Box::leak(Box::new(converted(Type::Q8)))).as_ref()).unwrap();
    let memory = Aligned::zeroed(Plan::new(&file, &LIMITS).unwrap().total_bytes());
    let memory = Box::leak(Box::new(memory)).as_mut();
    Texts::on_cpu(file, &LIMITS, Tier::best(), Alone, memory).unwrap()
}

pub fn run(input: &[u8]) -> bool {
    let Some((&first, state)) = input.split_first() else { return false };
    let mut state = state.to_vec();
    TEXTS.with_borrow_mut(|texts| {
        if first & 1 == 1 && state.len() >= CHECKSUM.end {
            state[MODEL].copy_from_slice(&texts.model().fingerprint());
            let hash = Sha256::new().chain_update(&state[..CHECKSUM.start]);
            let hash = hash.chain_update(&state[CHECKSUM.end..]).finalize();
            state[CHECKSUM].copy_from_slice(&hash);
        }
        restore(texts, &state)
    })
}

/// Whether a state was restored.
fn restore(texts: &mut Own, state: &[u8]) -> bool {
    let vocabulary = texts.model().config().vocab_size;
    let mut text = texts.text(0);
    let Ok(draws) = text.restore(state) else { return false };
    assert!(text.tokens().iter().all(|&token| token < vocabulary));
    let saved = save(&mut text, draws);
    assert_eq!(saved.len(), state.len());
    let draws = text.restore(&saved).expect("what is written can be read");
    assert_eq!(save(&mut text, draws), saved);
    let mut sampler = Sampler::resume(Sampling { temperature: 0.8, ..Sampling::default() }, draws);
    while text.room() > 0 {
        let Ok(token) = text.next(&mut sampler) else { break };
        assert!(token < vocabulary);
    }
    true
}

fn save<E: kinglet_core::engine::Engine>(
    text: &mut kinglet_core::text::Text<'_, '_, E>,
    draws: u64,
) -> Vec<u8> {
    let mut state = vec![0; text.state_bytes()];
    text.save(draws, &mut state).expect("there is room");
    state
}

pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    TEXTS.with_borrow_mut(|texts| {
        let mut state = |tokens: &[u32]| {
            let mut text = texts.text(0);
            text.rewind(0).unwrap();
            text.prefill(tokens, &mut |_| Ok(())).unwrap();
            [&[1], &save(&mut text, 7)[..]].concat()
        };
        vec![("short", state(&[5])), ("long", state(&[1, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]))]
    })
}
