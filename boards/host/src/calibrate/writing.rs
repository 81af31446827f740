//! The model's own text: sampled at temperature 1, many texts side by side.

use crate::{Backend, MAX_TEXTS, Model, SessionOptions};
use fastrand::Rng;
use kinglet_core::sample::arg_max;
use kinglet_quant::{Code, Error, Result, ensure};
use std::collections::VecDeque;
use std::slice::ChunksMut;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How texts begin: an opening, then a line of three dashes, and so on.
const OPENINGS: &str = include_str!("openings.txt");
const SEPARATOR: &str = "\n---\n";
/// Logits this far below the largest are never chosen: less than one in a million.
const REACH: f32 = 14.0;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writing {
    /// Texts.
    pub texts: usize,
    /// Tokens of each.
    pub length: usize,
    /// Other seeds give other texts.
    pub seed: u64,
}

/// Writes texts of the model's own, the same for every number of threads. Where a text ends early
/// another opening follows.
///
/// `goes_on` is told the share that is done, now and then; when it says no, the result is
/// `Interrupted`.
pub fn write(
    model: &Model,
    writing: &Writing,
    threads: usize,
    goes_on: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<Vec<u32>>> {
    let openings = OPENINGS.trim_end().split(SEPARATOR).map(|opening| model.tokenize(opening));
    let openings: Vec<Vec<u32>> = openings.collect::<Result<_>>()?;
    let mut authors: Vec<Author<'_>> =
        (0..writing.texts).map(|number| Author::new(&openings, writing.seed, number)).collect();
    let side_by_side = writing.texts.div_ceil(threads.max(1)).clamp(1, MAX_TEXTS);
    let work = Work {
        model,
        length: writing.length,
        groups: Mutex::new(authors.chunks_mut(side_by_side)),
        steps: AtomicUsize::new(0),
        all_steps: writing.texts.div_ceil(side_by_side) * writing.length,
        is_over: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.max(1) {
            let helper = || work.groups(&mut |_| true);
            if std::thread::Builder::new().spawn_scoped(scope, helper).is_err() {
                // The system gives no more threads: those that there are write it all.
                break;
            }
        }
        work.groups(goes_on);
    });
    if let Some(error) = work.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    ensure!(
        !work.is_over.load(Ordering::Relaxed),
        Code::Interrupted,
        "interrupted while writing the calibration text"
    );
    Ok(authors.into_iter().map(|author| author.tokens).collect())
}

/// What the threads share.
struct Work<'m, 'a, 'o> {
    model: &'m Model,
    length: usize,
    groups: Mutex<ChunksMut<'a, Author<'o>>>,
    /// Steps of any group that are done.
    steps: AtomicUsize,
    all_steps: usize,
    /// Whether to stop before the end.
    is_over: AtomicBool,
    /// What went wrong on some thread.
    failure: Mutex<Option<Error>>,
}

impl Work<'_, '_, '_> {
    /// Takes one group after the other.
    fn groups(&self, goes_on: &mut dyn FnMut(f64) -> bool) {
        loop {
            let group = self.groups.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(authors) = group.filter(|_| !self.is_over.load(Ordering::Relaxed)) else {
                return;
            };
            if let Err(error) = self.group(authors, goes_on) {
                self.is_over.store(true, Ordering::Relaxed);
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(error);
                return;
            }
        }
    }

    /// Lets some authors write side by side, on this thread: they share the reading of the weights.
    fn group(
        &self,
        authors: &mut [Author<'_>],
        goes_on: &mut dyn FnMut(f64) -> bool,
    ) -> Result<()> {
        let options = SessionOptions {
            texts: authors.len(),
            context: Some(self.length),
            threads: Some(1),
            batch: authors.len(),
            // Each thread has some of the authors; a device would be one for all.
            backend: Some(Backend::best()),
            ..SessionOptions::default()
        };
        let mut batch = self.model.batch(&options)?;
        let mut tokens: Vec<(usize, u32)> = Vec::new();
        for (text, author) in authors.iter_mut().enumerate() {
            tokens.push((text, author.next(self.model, &[])));
        }
        for _ in 1..self.length {
            if !self.tick(goes_on) {
                break;
            }
            batch.push(&tokens)?;
            for (author, (text, token)) in authors.iter_mut().zip(&mut tokens) {
                *token = author.next(self.model, batch.logits(*text)?);
            }
        }
        Ok(())
    }

    /// Counts a step and says whether another may follow.
    fn tick(&self, goes_on: &mut dyn FnMut(f64) -> bool) -> bool {
        let done = self.steps.fetch_add(1, Ordering::Relaxed) as f64;
        if !goes_on(done / self.all_steps as f64) {
            self.is_over.store(true, Ordering::Relaxed);
        }
        !self.is_over.load(Ordering::Relaxed)
    }
}

/// Who writes one text.
struct Author<'a> {
    openings: &'a [Vec<u32>],
    tokens: Vec<u32>,
    /// What is left of an opening.
    given: VecDeque<u32>,
    random: Rng,
}

impl<'a> Author<'a> {
    fn new(openings: &'a [Vec<u32>], seed: u64, number: usize) -> Self {
        let random = Rng::with_seed(seed.wrapping_mul(1 << 20).wrapping_add(number as u64));
        let given = openings[number % openings.len()].iter().copied().collect();
        Self { openings, tokens: Vec::new(), given, random }
    }

    /// The next token: of the opening, or what the model says behind the last.
    fn next(&mut self, model: &Model, logits: &[f32]) -> u32 {
        let token = match self.given.pop_front() {
            Some(token) => token,
            None => self.choose(logits),
        };
        if model.config().eos_tokens().contains(&token) && self.given.is_empty() {
            let opening = self.random.usize(..self.openings.len());
            self.given = self.openings[opening].iter().copied().collect();
        }
        self.tokens.push(token);
        token
    }

    /// A token with the probability that the model gives it.
    fn choose(&mut self, logits: &[f32]) -> u32 {
        let largest = logits[arg_max(logits) as usize];
        let likely = || logits.iter().zip(0..).filter(|(logit, _)| **logit > largest - REACH);
        let weight = |logit: f32| (logit - largest).exp();
        let total: f32 = likely().map(|(&logit, _)| weight(logit)).sum();
        let mut left = self.random.f32() * total;
        let mut chosen = arg_max(logits);
        for (&logit, token) in likely() {
            chosen = token;
            left -= weight(logit);
            if left < 0.0 {
                break;
            }
        }
        chosen
    }
}
