//! Measuring one test.

use crate::bench::lap::Lap;
use crate::bench::plan::Test;
use crate::bench::settings::Settings;
use crate::bench::watch::{Watch, Watched};
use crate::{interrupt, models, settings, system};
use kinglet::{
    Batch, Code, Config, GenerateOptions, Model, ReadStream, Result, Role, Selection, Type,
};
use kinglet_machine::Cooler;
use kinglet_quant::{Error, ensure};
use std::ops::ControlFlow;
use std::time::{Duration, Instant, SystemTime};

/// What a test found; times in nanoseconds.
#[derive(Debug)]
pub struct Measured {
    /// What was timed.
    pub test: Test,
    /// When it started.
    pub started: SystemTime,
    /// Number format of the layers' weights.
    pub kind: Type,
    /// Bytes of the weight file.
    pub file_bytes: u64,
    /// Weights of the model.
    pub parameters: u64,
    /// Layers of the model.
    pub layers: u32,
    /// Multiply-adds of a token in all layers together, and in the head; attention is left out.
    pub multiply_adds_per_token: [u64; 2],
    /// What it ran on, and why.
    pub selection: Selection,
    /// Opening the file and making the session.
    pub load: Duration,
    /// From opening the file to the first token; `None` without a warm-up.
    pub first_token: Option<Duration>,
    /// Each timed run.
    pub samples: Vec<Duration>,
    /// Each generated token of all runs, ascending.
    pub latencies: Vec<Duration>,
    /// Bytes per second read from memory, beside each run.
    pub bandwidths: Vec<f64>,
    /// Bytes that a step of generation reads at the mean depth; `None` when a prompt is timed too.
    pub bytes_per_token: Option<f64>,
    /// Multiply-adds of the prompt's matrix products; `None` when generation is timed too.
    pub multiply_adds: Option<f64>,
    /// The largest resident memory, before the buffer that measures bandwidth.
    pub peak_rss_bytes: u64,
    /// Time without work that keeping the board cool took; `None` where that is not asked.
    pub rested: Option<Duration>,
    /// Heat, throttling and energy.
    pub watched: Watched,
}

/// Runs a test.
pub fn measure(test: &Test, settings: &Settings<'_>) -> Result<Measured> {
    // Fetching and converting the model do not count as loading it.
    models::open_named(&test.model, settings.kind, settings.trust)?;
    Run::new(test, settings)?.finish(settings)
}

/// A test under way.
struct Run {
    batch: Batch,
    random: fastrand::Rng,
    vocabulary: u32,
    cooler: Option<Cooler>,
    measured: Measured,
}

impl Run {
    /// Loads the model and runs it once.
    fn new(test: &Test, settings: &Settings<'_>) -> Result<Self> {
        system::reset_peak_rss();
        let (started, start) = (SystemTime::now(), Instant::now());
        let model = models::open_named(&test.model, settings.kind, settings.trust)?;
        let options = settings::fitted(&model, &test.session_options(), &settings.memory)?;
        let batch = model.batch(&options)?;
        let load = start.elapsed();
        let measured = Measured {
            test: test.clone(),
            started,
            kind: model.file().matrix(Role::Q, 0).kind(),
            file_bytes: model.file_bytes() as u64,
            parameters: model.config().parameters(),
            layers: model.config().layers,
            multiply_adds_per_token: {
                let config = model.config();
                [config.layer_multiply_adds(), config.head_multiply_adds()]
            },
            selection: batch.selection().clone(),
            load,
            first_token: None,
            samples: Vec::with_capacity(settings.repetitions as usize),
            latencies: Vec::with_capacity(settings.repetitions as usize * test.generated),
            bandwidths: Vec::with_capacity(settings.repetitions as usize),
            bytes_per_token: (test.prompt == 0).then(|| bytes_per_token(&model, test)),
            multiply_adds: (test.generated == 0).then(|| multiply_adds(model.config(), test)),
            peak_rss_bytes: 0,
            rested: None,
            watched: Watched::default(),
        };
        let vocabulary = model.config().vocab_size;
        let random = fastrand::Rng::with_seed(1);
        let cool = settings.cool.map(|limit| Cooler::new(settings.root.clone(), limit));
        let mut run = Self { batch, random, vocabulary, cooler: cool.transpose()?, measured };
        if settings.warmup {
            let prompt = run.tokens(test.prompt.max(1));
            run.prefill(&prompt)?;
            run.generate(1, &mut |_| {})?;
            run.measured.first_token = Some(start.elapsed());
        }
        Ok(run)
    }

    /// Fills the context and takes the samples.
    fn finish(mut self, settings: &Settings<'_>) -> Result<Measured> {
        self.rewind(0)?;
        let Test { depth, texts, .. } = self.measured.test;
        let context = self.tokens(depth);
        self.prefill(&context)?;
        for text in 1..texts {
            self.batch.copy(0, text, depth)?;
        }
        let mut watch = Watch::start(settings);
        watch.add(self.repeat()?);
        self.measured.peak_rss_bytes = system::peak_rss_bytes();
        let stream = ReadStream::new()?;
        self.measured.bandwidths.push(self.batch.read_bandwidth(&stream));
        if settings.goal.is_long() {
            watch = self.go_on(settings)?;
            self.measured.bandwidths.push(self.batch.read_bandwidth(&stream));
        } else {
            for _ in 1..settings.repetitions {
                watch.add(self.repeat()?);
                self.measured.bandwidths.push(self.batch.read_bandwidth(&stream));
            }
        }
        self.measured.watched = watch.finish(&self.measured.test, settings);
        self.measured.rested = self.cooler.as_ref().map(Cooler::rested);
        self.measured.latencies.sort_unstable();
        Ok(self.measured)
    }

    /// Runs with nothing between them, anew, until the goal is reached. The runs so far were not
    /// what the sensor shows.
    fn go_on(&mut self, settings: &Settings<'_>) -> Result<Watch> {
        self.measured.samples.clear();
        self.measured.latencies.clear();
        let mut watch = Watch::start(settings);
        let least = settings.repetitions as usize;
        while watch.laps() < least || !watch.is_reached(&settings.goal, &self.measured.test) {
            watch.add(self.repeat()?);
            watch.look();
        }
        Ok(watch)
    }

    /// One timed run behind the filled context.
    fn repeat(&mut self) -> Result<Lap> {
        let Test { prompt, generated, texts, depth, .. } = self.measured.test;
        self.rewind(depth)?;
        let prompt = self.tokens(prompt);
        let first: Vec<(usize, u32)> = self.tokens(texts).into_iter().enumerate().collect();
        let mut latencies = std::mem::take(&mut self.measured.latencies);
        let start = Instant::now();
        self.prefill(&prompt)?;
        let read = Instant::now();
        if generated > 0 {
            let mut last = read;
            self.batch.push(&first)?;
            self.generate(generated, &mut |now| {
                latencies.push(now - last);
                last = now;
            })?;
        }
        let end = Instant::now();
        self.measured.samples.push(end - start);
        self.measured.latencies = latencies;
        Ok(Lap { start, read, end })
    }

    fn tokens(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.random.u32(..self.vocabulary)).collect()
    }

    fn prefill(&mut self, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return interrupt::check();
        }
        let cooler = &mut self.cooler;
        self.batch.text(0).prefill(tokens, &mut |_| {
            pause(cooler)?;
            ensure!(!interrupt::requested(), Code::Interrupted, "interrupted");
            Ok(())
        })
    }

    fn rewind(&mut self, position: usize) -> Result<()> {
        (0..self.batch.texts()).try_for_each(|text| self.batch.text(text).rewind(position))
    }

    /// `count` tokens of each text behind its last; tells when one is there for every text.
    fn generate(&mut self, count: usize, on_token: &mut dyn FnMut(Instant)) -> Result<()> {
        let options = GenerateOptions {
            max_tokens: count,
            ignore_eos: true,
            // Guesses would measure how much the text repeats itself.
            speculation: false,
            ..GenerateOptions::default()
        };
        let texts = (0..self.batch.texts()).filter(|&text| !self.batch.tokens(text).is_empty());
        let replies: Vec<_> = texts.map(|text| (text, options)).collect();
        let last = replies.len() - 1;
        let cooler = &mut self.cooler;
        let mut failure: Option<Error> = None;
        self.batch.generate(&replies, &mut |reply, piece| {
            if piece.token.is_some() && reply == last {
                failure = pause(cooler).err();
                on_token(Instant::now());
            }
            if failure.is_some() || interrupt::requested() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        failure.map_or_else(interrupt::check, Err)
    }
}

/// Rests where the board is to be kept cool.
fn pause(cooler: &mut Option<Cooler>) -> Result<()> {
    match cooler {
        Some(cooler) => cooler.pause(&mut || !interrupt::requested()),
        None => Ok(()),
    }
}

/// Weights and cache that a token reads, on average over the passes: texts share the weights.
fn bytes_per_token(model: &Model, test: &Test) -> f64 {
    let positions = test.depth as f64 + (test.generated as f64 + 1.0) / 2.0;
    model.read_bytes_per_token() as f64 / test.texts as f64
        + model.cache_bytes_per_token(test.kv) as f64 * positions
}

/// Those of every layer for each token, and of the head for the last one.
fn multiply_adds(config: &Config, test: &Test) -> f64 {
    (config.layer_multiply_adds() * test.prompt as u64 + config.head_multiply_adds()) as f64
}
