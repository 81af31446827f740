//! The seam between texts and engines lets nothing through but tokens, rows of logits and blocks of
//! a cache: an engine whose memory is its own, which lends copies alone, makes the same texts.

use kinglet::{KvType, Model, Pooling, Sampling, Type};
use kinglet_core::engine::{BlockPrefix, Chunk, Engine, Logits, OnStates};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::Plan;
use kinglet_core::sample::Sampler;
use kinglet_core::scalar::Scalar;
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Texts};
use kinglet_quant::{Code, Error, Result};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::{SMALL, small};
use kinglet_tests::observe::{self, TEXTS, bits, embedding, everything, limits};
use std::cell::Cell;

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

    fn hidden_states(&mut self, chunk: &Chunk<'_>, on_states: OnStates<'_>) -> Result<()> {
        self.call()?;
        let Self { inner, logits, .. } = self;
        inner.hidden_states(chunk, &mut |states| {
            *logits = states.to_vec();
            on_states(logits);
        })
    }
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
    observe::on_cpu(model, &limits(kv), check)
}

#[test]
fn a_device_makes_the_same_texts() {
    for (name, kv) in SMALL.into_iter().zip([KvType::Int8, KvType::F16].into_iter().cycle()) {
        let model = small(name, Type::Q8);
        let expected = on_cpu(&model, kv, |texts| everything(texts).unwrap());
        let found = on_device(&model, kv, usize::MAX, |texts| everything(texts).unwrap());
        for reply in 0..TEXTS {
            assert_eq!(found.of_reply(reply), expected.of_reply(reply), "{name}");
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

#[test]
fn passes_that_do_not_fit_change_nothing() {
    let model = small("gqa3-head64", Type::Q8);
    on_cpu(&model, KvType::Int8, |texts| {
        texts.text(0).prefill(&[30, 31, 32], &mut |_| Ok(())).unwrap();
        let beyond = [model.config().vocab_size];
        let chunk = |text, first, tokens| {
            let logits = Logits::All;
            Chunk { text, first, tokens, logits, screen: None }
        };
        let long = [30; 17];
        let wrong: [(Code, &[Chunk<'_>]); 8] = [
            (Code::BadArgument, &[chunk(1, 0, &[30]), chunk(0, 3, &[31])]),
            (Code::BadArgument, &[chunk(0, 1, &[30]), chunk(0, 2, &[31])]),
            (Code::BadArgument, &[chunk(TEXTS, 0, &[30])]),
            (Code::BadArgument, &[chunk(0, 4, &[30])]),
            (Code::BadArgument, &[chunk(0, 3, &[])]),
            (Code::BadArgument, &[chunk(0, 3, &long[..10])]),
            (Code::BadArgument, &[Chunk { logits: Logits::Last, ..chunk(0, 3, &long) }]),
            (Code::TokenOutOfRange, &[chunk(0, 1, &[30]), chunk(1, 0, &beyond)]),
        ];
        for (code, pass) in wrong {
            let error = texts.run_pass(pass, &mut |_, _, _| unreachable!()).unwrap_err();
            assert_eq!((error.code(), texts.tokens(0)), (code, &[30, 31, 32][..]), "{pass:?}");
        }
        let rest: Vec<u32> = (0..texts.room(0) as u32).map(|i| 30 + i % 7).collect();
        texts.text(0).prefill(&rest, &mut |_| Ok(())).unwrap();
        let context = texts.tokens(0).len();
        let full = texts.run_pass(&[chunk(0, context, &[30])], &mut |_, _, _| unreachable!());
        assert_eq!(full.unwrap_err().code(), Code::ContextFull);
        assert_eq!(texts.tokens(0).len(), context);
        texts.run_pass(&[], &mut |_, _, _| unreachable!()).unwrap();
    });
}

/// An engine that cannot be observed gives hidden states by a method of its own.
#[test]
fn a_device_makes_the_same_embeddings() {
    let model = small(SMALL[0], Type::Q8);
    for pooling in [Pooling::Mean, Pooling::Last] {
        let expected = on_cpu(&model, KvType::Int8, |texts| embedding(texts, pooling).unwrap());
        on_device(&model, KvType::Int8, usize::MAX, |texts| {
            assert_eq!(embedding(texts, pooling).unwrap(), expected);
            let observed = texts.text(0).observe(&[30], &mut |_, _, _| ());
            assert_eq!(observed.unwrap_err().code(), Code::BadArgument);
        });
        let lost = on_device(&model, KvType::Int8, 2, |texts| embedding(texts, pooling));
        assert_eq!(lost.unwrap_err().code(), Code::Resource);
    }
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
