//! A screened head chooses the token that all logits would give.

use kinglet::{KvType, Model, Pool, Sampling, Tier, Type};
use kinglet_backends::UseKernels;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::session::Logits;
use kinglet_core::{Kernels, Session};
use kinglet_tests::aligned::Aligned;
use kinglet_tests::models::{SMALL, real, small};
use kinglet_tests::shared::shared;

/// Positions of WikiText-2 that are compared, unless `KINGLET_TEST_POSITIONS` says otherwise.
/// Behind a quarter of them sampling is compared, too. Of 20,480 positions none had another choice.
const POSITIONS: usize = 5_120;
/// Tokens of a chunk, each from an empty cache.
const CONTEXT: usize = 256;
/// Positions of a step.
const BATCH: usize = 64;

/// What the most probable token's way of sampling is called.
const GREEDY: &str = "greedy";

/// Ways of sampling, and how they are called.
fn samplings() -> [(&'static str, Sampling<'static>); 4] {
    let base = Sampling { seed: 11, ..Sampling::default() };
    [
        (GREEDY, base),
        ("temperature 0.2, top-p 0.9", Sampling { temperature: 0.2, top_p: 0.9, ..base }),
        ("top-k 40", Sampling { temperature: 1.0, top_k: 40, ..base }),
        ("everything", Sampling { temperature: 3.0, ..base }),
    ]
}

/// What one way of sampling chose with a screen, and without.
struct Comparison {
    name: &'static str,
    screened: Sampler<'static>,
    exact: Sampler<'static>,
    survivors: usize,
    different: usize,
}

/// Compares samplers behind every token of a text.
struct Compare<'m> {
    model: &'m Model,
    text: &'m [u32],
    samplings: &'m [(&'static str, Sampling<'static>)],
}

impl UseKernels for Compare<'_> {
    type Output = Vec<Comparison>;

    fn run<K: Kernels>(self, kernels: K) -> Vec<Comparison> {
        let pool = Pool::new(2, false).unwrap();
        let context = CONTEXT.min(self.model.config().max_context as usize);
        let (batch, kv) = (BATCH.min(context), KvType::Int8);
        let limits = Limits { context, batch, logit_rows: batch, workers: 2, kv };
        let plan = Plan::new(&self.model.file(), &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.total_bytes());
        let mut session = Session::new(self.model.file(), &limits, memory.as_mut()).unwrap();
        let sampler = |sampling: &Sampling<'static>| Sampler::new(*sampling);
        let mut comparisons: Vec<Comparison> = self
            .samplings
            .iter()
            .map(|(name, sampling)| Comparison {
                name,
                screened: sampler(sampling),
                exact: sampler(sampling),
                survivors: 0,
                different: 0,
            })
            .collect();
        for step in self.text.chunks(batch) {
            if session.room() < step.len() {
                session.rewind(0);
            }
            session.step(kernels, &pool, step, Logits::All).unwrap();
            let exact: Vec<Vec<f32>> = (0..step.len()).map(|r| session.logits(r).into()).collect();
            for comparison in &mut comparisons {
                session.repeat_head(kernels, &pool, comparison.screened.screen());
                comparison.add(&mut session, &exact);
            }
        }
        comparisons
    }
}

impl Comparison {
    fn add(&mut self, session: &mut Session<'_>, exact: &[Vec<f32>]) {
        for (row, logits) in exact.iter().enumerate() {
            self.survivors += session.survivors(row);
            let screened = session.sample_row(row, session.position(), &mut self.screened);
            let mut candidates = vec![0; logits.len()];
            let exact = self.exact.pick(&mut logits.clone(), &mut candidates, &[]);
            self.different += usize::from(screened != exact);
        }
    }
}

#[test]
fn screened_choices_are_those_of_all_logits_on_real_texts() {
    let test = "screened_choices_are_those_of_all_logits_on_real_texts";
    let Some(path) = shared(test, "data/wikitext2-valid.txt") else { return };
    let Some(model) = real(test, Type::Q4) else { return };
    let text = model.tokenize(&std::fs::read_to_string(path).unwrap()).unwrap();
    let positions = std::env::var("KINGLET_TEST_POSITIONS");
    let positions = positions.map_or(POSITIONS, |count| count.parse().unwrap());
    let (sampled, others) = text[..positions].split_at(positions / 4);
    for (text, samplings) in [(sampled, &samplings()[..3]), (others, &samplings()[..1])] {
        let compare = Compare { model: &model, text, samplings };
        for Comparison { name, survivors, different, .. } in Tier::best().with(compare) {
            let mean = survivors / text.len();
            println!("{name}: {mean} survivors, {different} of {} tokens differ", text.len());
            assert_eq!(different, 0, "{name}");
            assert!(name != GREEDY || mean < 500, "{mean} survivors: the screen saves nothing");
        }
    }
}

#[test]
fn screened_choices_are_those_of_all_logits_on_small_models() {
    for name in SMALL {
        let model = small(name, Type::Q8);
        let mut random = fastrand::Rng::with_seed(5);
        let vocabulary = model.config().vocab_size;
        let text: Vec<u32> = (0..256).map(|_| random.u32(..vocabulary)).collect();
        for tier in Tier::available() {
            let compare = Compare { model: &model, text: &text, samplings: &samplings() };
            for Comparison { name: sampling, different, survivors, .. } in tier.with(compare) {
                assert_eq!(different, 0, "{name}, {}, {sampling}", tier.name());
                assert!(survivors >= text.len());
            }
        }
    }
}

#[test]
fn logits_that_are_not_there_cannot_be_read() {
    let model = small(SMALL[0], Type::Q8);
    let mut session = model.session(&kinglet::SessionOptions::default()).unwrap();
    let mut sampler = Sampler::new(Sampling::default());
    session.prefill(&[20, 21]).unwrap();
    session.push_for(22, sampler.screen()).unwrap();
    let screened = session.sample(&mut sampler);
    let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.logits()[0]));
    assert!(read.is_err());
    session.rewind(2);
    session.push(22).unwrap();
    assert_eq!(session.logits().len(), model.config().vocab_size as usize);
    assert_eq!(session.sample(&mut sampler), screened);
}
