//! A screened head chooses the token that all logits would give.

use kinglet::{KvType, Model, Pool, Sampling, Tier, Type};
use kinglet_core::engine::{Chunk, Engine, Logits};
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::sample::Sampler;
use kinglet_core::screen::Screen;
use kinglet_core::{Cpu, Workers};
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

/// A search where the sampler would rather have all logits.
const WIDE: Screen = Screen { reach: 100.0, top: 0 };

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

impl Compare<'_> {
    fn run(self, tier: Tier) -> Vec<Comparison> {
        let pool = Pool::new(2, false).unwrap();
        let context = CONTEXT.min(self.model.config().max_context as usize);
        let (batch, kv) = (BATCH.min(context), KvType::Int8);
        let workers = pool.count();
        let limits = Limits { texts: 1, context, batch, logit_rows: batch, workers, kv };
        let file = self.model.file();
        let plan = Plan::new(&file, &limits).unwrap();
        let mut memory = Aligned::zeroed(plan.engine_bytes());
        let mut engine = Cpu::new(tier, pool, file, plan, memory.as_mut());
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
        let mut first = 0;
        for tokens in self.text.chunks(batch) {
            if first + tokens.len() > context {
                first = 0;
            }
            engine
                .run(&[Chunk { text: 0, first, tokens, logits: Logits::All, screen: None }])
                .unwrap();
            first += tokens.len();
            let mut exact = |row| engine.logits(row).unwrap().to_vec();
            let exact: Vec<Vec<f32>> = (0..tokens.len()).map(&mut exact).collect();
            for comparison in &mut comparisons {
                let is_possible = file.head().kind() == Type::Q8Planes;
                let screen = comparison.screened.screen().unwrap_or(WIDE);
                let screen = Some(screen).filter(|_| is_possible);
                engine.repeat_head(screen).unwrap();
                comparison.add(&mut engine, &exact);
            }
        }
        comparisons
    }
}

impl Comparison {
    fn add(&mut self, engine: &mut impl Engine, exact: &[Vec<f32>]) {
        for (row, logits) in exact.iter().enumerate() {
            let mut candidates = vec![0; logits.len()];
            let survivors = engine.survivors(row, &mut candidates).unwrap();
            self.survivors += survivors.unwrap_or(logits.len());
            let own = engine.logits(row).unwrap();
            let screened = match survivors {
                Some(count) => self.screened.pick_among(own, &mut candidates[..count]),
                None => self.screened.pick(own, &mut candidates, &[]),
            };
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
        for Comparison { name, survivors, different, .. } in compare.run(Tier::best()) {
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
            for Comparison { name: sampling, different, survivors, .. } in compare.run(tier) {
                assert_eq!(different, 0, "{name}, {}, {sampling}", tier.name());
                assert!(survivors >= text.len());
            }
        }
    }
}

#[test]
fn logits_that_were_left_out_are_computed_when_they_are_read() {
    let model = small(SMALL[0], Type::Q8);
    let mut session = model.session(&kinglet::SessionOptions::default()).unwrap();
    let mut sampler = Sampler::new(Sampling::default());
    session.prefill(&[20, 21]).unwrap();
    session.push_for(22, sampler.screen()).unwrap();
    let read = session.logits().unwrap().to_vec();
    let screened = session.sample(&mut sampler).unwrap();
    session.rewind(2);
    session.push(22).unwrap();
    assert_eq!(session.logits().unwrap(), read);
    assert_eq!(session.sample(&mut sampler).unwrap(), screened);
    // Sampling has used them up, so they are computed once more.
    assert_eq!(session.logits().unwrap(), read);
}
