//! Everything that texts can do, and what can be observed of it, whatever computes them.

use crate::aligned::Aligned;
use kinglet::{Model, Pooling, Sampling};
use kinglet_core::engine::{Chunk, Engine, Logits};
use kinglet_core::generate::{Overflow, Reply, ReplyOptions, generate};
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::scalar::Scalar;
use kinglet_core::top::Candidate;
use kinglet_core::{Cpu, KvType, Texts};
use kinglet_quant::Result;
use std::ops::ControlFlow;

/// Texts that [`everything`] works on.
pub const TEXTS: usize = 3;

/// What [`everything`] needs.
pub fn limits(kv: KvType) -> Limits {
    Limits { texts: TEXTS, context: 80, batch: 16, logit_rows: 9, workers: 1, kv }
}

/// What can be observed of texts.
#[derive(Debug, PartialEq)]
pub struct Observed {
    /// Of every text.
    pub tokens: Vec<Vec<u32>>,
    /// What came from which reply.
    pub pieces: Vec<(usize, Option<u32>, String)>,
    /// Bits of logits that were scored, then of those behind every text.
    pub logits: Vec<Vec<u32>>,
    /// The likeliest tokens behind the first text.
    pub top: Vec<Candidate>,
    /// What every text saved.
    pub states: Vec<Vec<u8>>,
}

impl Observed {
    /// What came from one reply: guesses let replies take turns in another order.
    pub fn of_reply(&self, reply: usize) -> Vec<&(usize, Option<u32>, String)> {
        self.pieces.iter().filter(|piece| piece.0 == reply).collect()
    }
}

/// Everything that texts can do, one thing after the other.
pub fn everything<E: Engine>(texts: &mut Texts<'_, E>) -> Result<Observed> {
    let prompt: Vec<u32> = (0..50).map(|i| 30 + i % 7).collect();
    texts.text(0).prefill(&prompt[..33], &mut |_| Ok(()))?;
    texts.copy(0, 2, 20)?;
    texts.text(1).prefill(&prompt[3..12], &mut |_| Ok(()))?;
    texts.push(&[(2, 44), (1, 45)])?;
    // The head is searched, and most tokens are found.
    let sampling = Sampling { temperature: 0.7, top_k: 1000, ..Sampling::default() };
    let mut sampler = Sampler::new(sampling);
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
        overflow: Overflow::Stop,
    };
    let mut replies = Vec::new();
    for text in [2, 0, 1] {
        // A search finds a token, some, or dozens.
        let (temperature, top_k) = (text as f32 * 0.4, text * 20);
        let sampling = Sampling { temperature, top_k, seed: text as u64, ..Sampling::default() };
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
    let chunk = |text, first, tokens, logits| Chunk { text, first, tokens, logits, screen: None };
    let pass = [
        chunk(0, 30, &prompt[..5], Logits::None),
        chunk(1, texts.tokens(1).len(), &prompt[4..7], Logits::Last),
        chunk(2, 11, &prompt[9..13], Logits::All),
    ];
    texts.run_pass(&pass, &mut |_, _, logits| scored.extend(bits(logits)))?;
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

/// The embedding of some tokens that take several passes.
pub fn embedding<E: Engine>(texts: &mut Texts<'_, E>, pooling: Pooling) -> Result<Vec<f32>> {
    let tokens: Vec<u32> = (0..37).map(|i| 30 + i * i % 97).collect();
    let mut out = vec![0.0; texts.model().config().hidden as usize];
    texts.text(0).embed(&tokens, pooling, &mut out)?;
    assert_eq!(texts.tokens(0), tokens);
    Ok(out)
}

/// The bits of logits.
pub fn bits(logits: &[f32]) -> impl Iterator<Item = u32> {
    logits.iter().map(|logit| logit.to_bits())
}

/// Runs `check` with texts of a model on the processor, computed by the definition.
pub fn on_cpu<T>(
    model: &Model,
    limits: &Limits,
    check: impl FnOnce(&mut Texts<'_, Cpu<'_, Scalar, Alone>>) -> T,
) -> T {
    let plan = Plan::new(&model.file(), limits).unwrap();
    let mut memory = Aligned::zeroed(plan.total_bytes());
    check(&mut Texts::on_cpu(model.file(), limits, Scalar, Alone, memory.as_mut()).unwrap())
}
