//! Texts of sessions as bytes: what is restored or copied goes on as if it had been computed here,
//! and what is altered or foreign is refused and changes nothing.

use kinglet::{Code, KvType, Model, Type};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::scalar::Scalar;
use kinglet_core::{Cpu, Text, Texts};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::{SMALL, small};
use sha2::{Digest, Sha256};

const KINDS: [KvType; 2] = [KvType::F16, KvType::Int8];
/// Positions at and around the edges of tiles of the cache.
const LENGTHS: [usize; 8] = [0, 1, 2, 15, 16, 17, 33, 40];
/// Bytes of a state in front of its checksum, and behind it.
const HEADER: (usize, usize) = (64, 96);

type One<'a> = Texts<'a, Cpu<'a, Scalar, Alone>>;

/// A model's texts in memory that holds anything before.
struct Maker {
    model: Model,
    limits: Limits,
    memory: Aligned,
}

impl Maker {
    fn new(name: &str, kv: KvType, context: usize) -> Self {
        let model = small(name, Type::Q8);
        let limits = Limits { texts: 1, context, batch: 8, logit_rows: 1, workers: 1, kv };
        let mut memory = Aligned::zeroed(Plan::new(&model.file(), &limits).unwrap().total_bytes());
        memory.as_mut().fill(0x7F);
        Self { model, limits, memory }
    }

    fn texts(&mut self) -> One<'_> {
        let memory = self.memory.as_mut();
        Texts::on_cpu(self.model.file(), &self.limits, Scalar, Alone, memory).unwrap()
    }
}

/// Any tokens of any small model.
fn tokens(seed: u64, count: usize) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| random.u32(20..300)).collect()
}

fn take(texts: &mut One<'_>, tokens: &[u32]) {
    if !tokens.is_empty() {
        texts.text(0).prefill(tokens, &mut |_| Ok(())).unwrap();
    }
}

fn forget(texts: &mut One<'_>) {
    texts.text(0).rewind(0).unwrap();
}

fn save(texts: &mut One<'_>, draws: u64) -> Vec<u8> {
    let mut text = texts.text(0);
    let mut state = vec![0; text.state_bytes()];
    assert_eq!(text.save(draws, &mut state).unwrap(), state.len());
    state
}

/// Logits behind each of some more tokens.
fn go_on(texts: &mut One<'_>) -> Vec<f32> {
    let mut logits = Vec::new();
    let mut text = texts.text(0);
    for token in [25, 31, 25] {
        text.push(token, None).unwrap();
        logits.extend_from_slice(text.logits().unwrap());
    }
    logits
}

#[test]
fn a_restored_text_goes_on_to_the_bit() {
    for (name, kv) in SMALL.into_iter().flat_map(|name| KINDS.map(|kv| (name, kv))) {
        let [mut here, mut there] = [(); 2].map(|()| Maker::new(name, kv, 48));
        let (mut here, mut there) = (here.texts(), there.texts());
        for count in LENGTHS {
            forget(&mut here);
            take(&mut here, &tokens(1, count));
            let state = save(&mut here, 12345);
            forget(&mut there);
            take(&mut there, &tokens(2, 20));
            assert_eq!(there.text(0).restore(&state).unwrap(), 12345);
            assert_eq!(there.tokens(0), here.tokens(0));
            assert_eq!(save(&mut there, 12345), state, "{name} {kv:?} {count}");
            assert_eq!(go_on(&mut there), go_on(&mut here), "{name} {kv:?} {count}");
        }
    }
}

/// What a session did before does not show in its states.
#[test]
fn equal_texts_have_equal_states() {
    for kv in KINDS {
        let [mut here, mut there] = [(); 2].map(|()| Maker::new(SMALL[1], kv, 48));
        let (mut here, mut there) = (here.texts(), there.texts());
        take(&mut there, &tokens(3, 48));
        for count in LENGTHS {
            forget(&mut here);
            forget(&mut there);
            take(&mut here, &tokens(4, count));
            take(&mut there, &tokens(4, count));
            assert_eq!(save(&mut here, 7), save(&mut there, 7), "{kv:?} {count}");
            assert_ne!(save(&mut here, 7), save(&mut there, 8));
        }
    }
}

#[test]
fn a_copied_prefix_goes_on_to_the_bit() {
    for kv in KINDS {
        let mut source = Maker::new(SMALL[2], kv, 48);
        // Other contexts lay their caches out in another way.
        for context in [43, 48, 100] {
            let [mut copy, mut whole] = [(); 2].map(|()| Maker::new(SMALL[2], kv, context));
            let (mut copy, mut whole) = (copy.texts(), whole.texts());
            let mut source = source.texts();
            take(&mut source, &tokens(5, 45));
            for count in LENGTHS {
                copy.text(0).copy_from(&mut source.text(0), count).unwrap();
                forget(&mut whole);
                take(&mut whole, &tokens(5, count));
                assert_eq!(copy.tokens(0), whole.tokens(0));
                assert_eq!(go_on(&mut copy), go_on(&mut whole), "{kv:?} {context} {count}");
            }
        }
    }
}

#[test]
fn a_saved_prefix_is_the_state_of_a_text_that_has_no_more() {
    for kv in KINDS {
        let mut maker = Maker::new(SMALL[0], kv, 48);
        let mut texts = maker.texts();
        let all = tokens(6, 40);
        for count in LENGTHS {
            forget(&mut texts);
            take(&mut texts, &all[..count]);
            let expected = save(&mut texts, 3);
            take(&mut texts, &all[count..]);
            let mut text = texts.text(0);
            let mut state = vec![0xEE; text.prefix_bytes(count) + 1];
            let bytes = text.save_prefix(count, 3, &mut state).unwrap();
            assert!(state[..bytes] == expected, "{count} tokens of {kv:?}");
            assert_eq!((state[bytes], text.tokens().len()), (0xEE, all.len()));
            let error = text.save_prefix(all.len() + 1, 3, &mut state).unwrap_err();
            assert_eq!(error.code(), Code::BadArgument);
        }
    }
}

#[test]
fn prefixes_that_do_not_fit_are_refused() {
    let mut source = Maker::new(SMALL[0], KvType::Int8, 48);
    let mut source = source.texts();
    take(&mut source, &tokens(6, 40));
    for (name, kv, context, count, code) in [
        (SMALL[0], KvType::Int8, 48, 41, Code::BadArgument),
        (SMALL[0], KvType::Int8, 20, 21, Code::ContextFull),
        (SMALL[0], KvType::F16, 48, 10, Code::StateMismatch),
        (SMALL[3], KvType::Int8, 48, 10, Code::StateMismatch),
    ] {
        let mut target = Maker::new(name, kv, context);
        let mut target = target.texts();
        take(&mut target, &[30, 31]);
        assert_eq!(target.text(0).copy_from(&mut source.text(0), count).unwrap_err().code(), code);
        assert_eq!(target.tokens(0), [30, 31]);
    }
}

/// A state of a small text, and the place that it is of, with another text.
fn with_state(check: impl FnOnce(&mut Text<'_, '_, Cpu<'_, Scalar, Alone>>, Vec<u8>)) {
    let mut maker = Maker::new(SMALL[0], KvType::Int8, 48);
    let mut texts = maker.texts();
    take(&mut texts, &tokens(7, 18));
    let state = save(&mut texts, 3);
    forget(&mut texts);
    take(&mut texts, &[30, 31, 32]);
    check(&mut texts.text(0), state);
    assert_eq!(texts.tokens(0), [30, 31, 32]);
    // It goes on as if nothing had been tried.
    let behind = go_on(&mut texts);
    forget(&mut texts);
    take(&mut texts, &[30, 31, 32]);
    assert_eq!(go_on(&mut texts), behind);
}

#[test]
fn altered_states_are_refused() {
    with_state(|text, mut state| {
        for place in (0..HEADER.1).chain((HEADER.1..state.len()).step_by(97)) {
            state[place] ^= 0x10;
            let code = text.restore(&state).unwrap_err().code();
            let expected = match place {
                0..8 => Code::Corrupt,
                8..12 => Code::UnknownVersion,
                12..20 | 32..64 => Code::StateMismatch,
                // The number of tokens: other ones need other bytes.
                20..24 => code,
                _ => Code::Corrupt,
            };
            assert_eq!(code, expected, "byte {place}");
            assert!([Code::Corrupt, Code::Truncated].contains(&code) || place < 64);
            state[place] ^= 0x10;
        }
    });
}

#[test]
fn cut_and_lengthened_states_are_refused() {
    with_state(|text, mut state| {
        for length in (0..200).chain((200..state.len()).step_by(61)) {
            let error = text.restore(&state[..length]).unwrap_err();
            assert_eq!(error.code(), Code::Truncated, "{length} bytes");
        }
        state.push(0);
        assert_eq!(text.restore(&state).unwrap_err().code(), Code::Truncated);
    });
}

/// A checksum protects from accidents alone: what it cannot is checked besides.
#[test]
fn unknown_tokens_with_a_right_checksum_are_refused() {
    with_state(|text, mut state| {
        let (head, body) = HEADER;
        state[body + 4..body + 8].copy_from_slice(&u32::MAX.to_le_bytes());
        let hash = Sha256::new().chain_update(&state[..head]).chain_update(&state[body..]);
        state[head..body].copy_from_slice(&hash.finalize());
        assert_eq!(text.restore(&state).unwrap_err().code(), Code::Corrupt);
    });
}

#[test]
fn states_of_other_sessions_are_refused() {
    for (name, kv, context) in
        [(SMALL[0], KvType::Int8, 49), (SMALL[0], KvType::F16, 48), (SMALL[3], KvType::Int8, 48)]
    {
        let mut other = Maker::new(name, kv, context);
        let state = save(&mut other.texts(), 0);
        with_state(|text, _| {
            assert_eq!(text.restore(&state).unwrap_err().code(), Code::StateMismatch);
        });
    }
}

#[test]
fn a_state_needs_all_of_its_bytes() {
    let mut maker = Maker::new(SMALL[0], KvType::F16, 48);
    let mut texts = maker.texts();
    take(&mut texts, &tokens(8, 9));
    let mut room = vec![0xEE; texts.text(0).state_bytes() - 1];
    assert_eq!(texts.text(0).save(0, &mut room).unwrap_err().code(), Code::BufferTooSmall);
    assert!(room.iter().all(|&byte| byte == 0xEE));
}
