//! The seam between texts and engines lets nothing through but tokens, rows of logits and blocks of
//! a cache: an engine whose memory is its own, which lends copies alone, makes the same texts.

use kinglet::{KvType, Model, Sampling, Type};
use kinglet_core::engine::{BlockPrefix, Chunk, Engine};
use kinglet_core::generate::{Reply, ReplyOptions, generate};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::scalar::Scalar;
use kinglet_core::screen::Screen;
use kinglet_core::top::Candidate;
use kinglet_core::{Cpu, Texts};
use kinglet_quant::{Code, Error, Result};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::{SMALL, small};
use std::cell::Cell;
use std::ops::ControlFlow;

/// A device: it computes in memory that nobody else sees, and lends copies, which are spoilt as
/// soon as it is called again.
struct Device<'a> {
    inner: Cpu<'a, Scalar, Alone>,
    logits: Vec<f32>,
    block: Vec<u8>,
    /// Calls until the device is lost.
    left: Cell<usize>,
}

impl<'a> Device<'a> {
    fn new(model: &'a Model, plan: Plan, memory: &'a mut [u8]) -> Self {
        let inner = Cpu::new(Scalar, Alone, model.file(), plan, memory);
        Self { inner, logits: Vec::new(), block: Vec::new(), left: Cell::new(usize::MAX) }
    }

    /// Spoils what was lent.
    fn call(&mut self) -> Result<()> {
        self.logits.fill(f32::NAN);
        self.block.fill(0xAA);
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            return Err(Error::new(Code::Resource, format_args!("the device is lost")));
        }
        Ok(())
    }
}

impl Engine for Device<'_> {
    fn plan(&self) -> &Plan {
        self.inner.plan()
    }

    fn further_token_cost(&self) -> u8 {
        // So that guesses are made, which scalar kernels do not pay for.
        10
    }

    fn run(&mut self, pass: &[Chunk<'_>]) -> Result<()> {
        self.call()?;
        self.inner.run(pass)
    }

    fn repeat_head(&mut self, screen: Option<Screen>) -> Result<()> {
        self.call()?;
        self.inner.repeat_head(screen)
    }

    fn logits(&mut self, row: usize) -> Result<&mut [f32]> {
        self.call()?;
        self.logits = self.inner.logits(row)?.to_vec();
        Ok(&mut self.logits)
    }

    fn survivors(&mut self, row: usize, tokens: &mut [u32]) -> Result<Option<usize>> {
        self.call()?;
        self.inner.survivors(row, tokens)
    }

    fn read_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
    ) -> Result<BlockPrefix<'_>> {
        self.call()?;
        let prefix = self.inner.read_block(text, block, positions)?;
        let lengths = prefix.map(<[u8]>::len);
        self.block = prefix.concat();
        let mut rest = &*self.block;
        Ok(lengths.map(|length| {
            let (part, behind) = rest.split_at(length);
            rest = behind;
            part
        }))
    }

    fn write_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
        prefix: BlockPrefix<'_>,
    ) -> Result<()> {
        self.call()?;
        self.inner.write_block(text, block, positions, prefix)
    }

    fn copy_text(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.call()?;
        self.inner.copy_text(from, to, positions)
    }
}

const TEXTS: usize = 3;

fn limits(kv: KvType) -> Limits {
    Limits { texts: TEXTS, context: 80, batch: 16, logit_rows: 9, workers: 1, kv }
}

/// What can be observed of texts, whatever computes them.
#[derive(Debug, PartialEq)]
struct Observed {
    tokens: Vec<Vec<u32>>,
    pieces: Vec<(usize, Option<u32>, String)>,
    logits: Vec<Vec<u32>>,
    top: Vec<Candidate>,
    states: Vec<Vec<u8>>,
}

/// Everything that texts can do, one thing after the other.
fn everything<E: Engine>(texts: &mut Texts<'_, E>) -> Result<Observed> {
    let prompt: Vec<u32> = (0..50).map(|i| 30 + i % 7).collect();
    texts.text(0).prefill(&prompt[..33], &mut |_| Ok(()))?;
    texts.copy(0, 2, 20)?;
    texts.text(1).prefill(&prompt[3..12], &mut |_| Ok(()))?;
    texts.push(&[(2, 44), (1, 45)])?;
    let mut sampler = Sampler::new(Sampling { temperature: 0.7, ..Sampling::default() });
    for _ in 0..3 {
        texts.text(1).next(&mut sampler)?;
    }
    let model = *texts.model();
    let options = ReplyOptions {
        max_tokens: 20,
        stop: &[],
        ignore_eos: true,
        speculation: true,
        exact_head: false,
    };
    let mut replies = Vec::new();
    for text in [2, 0, 1] {
        let temperature = text as f32 * 0.4;
        let sampling = Sampling { temperature, seed: text as u64, ..Sampling::default() };
        replies.push(Reply::new(&model, text, Sampler::new(sampling), options)?);
    }
    let mut pieces = Vec::new();
    generate(texts, &mut replies, &mut |_| Ok(None), &mut |reply, piece| {
        pieces.push((reply, piece.token, piece.text.to_owned()));
        ControlFlow::Continue(())
    })?;
    texts.text(0).rewind(37)?;
    let mut top = vec![Candidate::default(); 9];
    texts.text(0).top(&mut top)?;
    let mut scored = Vec::new();
    texts.text(1).score(&prompt[..11], &mut |_, logits| scored.extend(bits(logits)))?;
    let mut states = Vec::new();
    let mut logits = vec![scored];
    for text in 0..TEXTS {
        let mut state = vec![0; texts.text(text).state_bytes()];
        texts.text(text).save(text as u64, &mut state)?;
        texts.text(text).rewind(0)?;
        texts.text(text).restore(&state)?;
        logits.push(bits(texts.text(text).logits()?).collect());
        states.push(state);
    }
    let tokens = (0..TEXTS).map(|text| texts.tokens(text).to_vec()).collect();
    Ok(Observed { tokens, pieces, logits, top, states })
}

fn bits(logits: &[f32]) -> impl Iterator<Item = u32> {
    logits.iter().map(|logit| logit.to_bits())
}

/// Runs `check` with texts on a device that is lost after some calls.
fn on_device<T>(
    model: &Model,
    kv: KvType,
    calls: usize,
    check: impl FnOnce(&mut Texts<'_, Device<'_>>) -> T,
) -> T {
    let plan = Plan::new(&model.file(), &limits(kv)).unwrap();
    let mut own = Aligned::zeroed(plan.engine_bytes());
    let mut rest = Aligned::zeroed(plan.total_bytes() - plan.engine_bytes());
    let device = Device::new(model, plan, own.as_mut());
    device.left.set(calls);
    check(&mut Texts::new(model.file(), device, rest.as_mut()))
}

fn on_cpu<T>(
    model: &Model,
    kv: KvType,
    check: impl FnOnce(&mut Texts<'_, Cpu<'_, Scalar, Alone>>) -> T,
) -> T {
    let plan = Plan::new(&model.file(), &limits(kv)).unwrap();
    let mut memory = Aligned::zeroed(plan.total_bytes());
    let texts = Texts::on_cpu(model.file(), &limits(kv), Scalar, Alone, memory.as_mut());
    check(&mut texts.unwrap())
}

#[test]
fn a_device_makes_the_same_texts() {
    for (name, kv) in SMALL.into_iter().zip([KvType::Int8, KvType::F16].into_iter().cycle()) {
        let model = small(name, Type::Q8);
        let expected = on_cpu(&model, kv, |texts| everything(texts).unwrap());
        let found = on_device(&model, kv, usize::MAX, |texts| everything(texts).unwrap());
        // Guesses let replies take turns in another order.
        let of_reply = |observed: &Observed, reply: usize| -> Vec<_> {
            observed.pieces.iter().filter(|piece| piece.0 == reply).cloned().collect()
        };
        for reply in 0..TEXTS {
            assert_eq!(of_reply(&found, reply), of_reply(&expected, reply), "{name}");
        }
        assert_eq!(found.tokens, expected.tokens, "{name}");
        assert!(found.logits == expected.logits, "{name}: logits differ");
        assert_eq!(found.top, expected.top, "{name}");
        assert!(found.states == expected.states, "{name}: states differ");
    }
}

#[test]
fn texts_move_between_engines() {
    let model = small(SMALL[1], Type::Q8);
    on_cpu(&model, KvType::Int8, |here| {
        on_device(&model, KvType::Int8, usize::MAX, |there| {
            here.text(0).prefill(&[30, 31, 32, 33, 34], &mut |_| Ok(())).unwrap();
            there.text(2).copy_from(&mut here.text(0), 4).unwrap();
            here.text(1).copy_from(&mut there.text(2), 4).unwrap();
            here.text(0).rewind(4).unwrap();
            let expected = here.text(0).logits().unwrap().to_vec();
            assert_eq!(there.text(2).logits().unwrap(), expected);
            assert_eq!(here.text(1).logits().unwrap(), expected);
        });
    });
}

/// Logits behind some tokens, computed anew.
fn logits_behind(model: &Model, tokens: &[u32]) -> Vec<u32> {
    on_cpu(model, KvType::Int8, |texts| {
        texts.text(0).prefill(tokens, &mut |_| Ok(())).unwrap();
        bits(texts.text(0).logits().unwrap()).collect()
    })
}

/// Whatever call fails, texts still are what their tokens say, and go on as soon as the engine
/// does.
#[test]
fn a_lost_device_loses_no_text() {
    let model = small(SMALL[0], Type::Q8);
    let (mut failures, mut compared) = (0, 0);
    for calls in (1..).step_by(5) {
        let outcome = on_device(&model, KvType::Int8, calls, |texts| {
            let outcome = everything(texts).map(|_| ());
            texts.engine().left.set(usize::MAX);
            for text in (0..TEXTS).filter(|_| outcome.is_err()) {
                let tokens = texts.tokens(text).to_vec();
                if !tokens.is_empty() {
                    let found: Vec<u32> = bits(texts.text(text).logits().unwrap()).collect();
                    assert!(found == logits_behind(&model, &tokens), "{calls} calls, text {text}");
                    compared += 1;
                }
            }
            outcome
        });
        match outcome {
            Ok(()) => break,
            Err(error) => assert_eq!(error.code(), Code::Resource),
        }
        failures += 1;
    }
    assert!(failures > 20 && compared > failures, "{failures} failures, {compared} texts");
}

/// A token behind one that is chosen but not in the cache yet.
#[test]
fn every_way_to_go_on_takes_a_chosen_token_first() {
    let model = small(SMALL[3], Type::Q8);
    let mut greedy = Sampler::new(Sampling::default());
    type Step = fn(&mut Texts<'_, Cpu<'_, Scalar, Alone>>);
    let steps: [Step; 4] = [
        |texts| texts.text(1).push(41, None).unwrap(),
        |texts| texts.push(&[(1, 41)]).unwrap(),
        |texts| texts.text(1).prefill(&[41], &mut |_| Ok(())).unwrap(),
        |texts| texts.text(1).score(&[41], &mut |_, _| ()).unwrap(),
    ];
    on_cpu(&model, KvType::Int8, |texts| {
        for step in steps {
            texts.text(1).rewind(0).unwrap();
            texts.text(1).prefill(&[30, 31, 32, 33], &mut |_| Ok(())).unwrap();
            texts.text(1).next(&mut greedy).unwrap();
            step(texts);
            let tokens = texts.tokens(1).to_vec();
            assert_eq!((tokens.len(), tokens[5]), (6, 41));
            let found: Vec<u32> = bits(texts.text(1).logits().unwrap()).collect();
            assert!(found == logits_behind(&model, &tokens));
        }
    });
}
