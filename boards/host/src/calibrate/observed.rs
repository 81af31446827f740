//! The moments of the inputs of every matrix, from runs of the model over a text.

use crate::{Backend, Model, Session, SessionOptions};
use kinglet_core::engine::Site;
use kinglet_quant::calibrate::moments::{LayerMoments, Moments};
use kinglet_quant::convert::Calibration;
use kinglet_quant::tensor::NO_LAYER;
use kinglet_quant::{Code, Result, ensure};
use std::collections::VecDeque;
use std::ops::Range;

/// A model's inputs on some texts, gathered for as many layers at a time as memory allows.
pub struct Observed<'a> {
    session: Session,
    /// Texts of at most the session's context.
    texts: &'a [Vec<u32>],
    threads: usize,
    /// Layers gathered by one run.
    span: usize,
    /// The moments of the next layers.
    ready: VecDeque<LayerMoments>,
    /// The layer of the first of these.
    next: u16,
    goes_on: &'a mut dyn FnMut(f64) -> bool,
}

impl<'a> Observed<'a> {
    /// Will run `model` over the texts, which must not be empty, and keep about `budget_bytes` of
    /// moments at a time. `goes_on` is told the share of a run that is done.
    pub fn new(
        model: &Model,
        texts: &'a [Vec<u32>],
        threads: usize,
        budget_bytes: usize,
        goes_on: &'a mut dyn FnMut(f64) -> bool,
    ) -> Result<Self> {
        let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
        ensure!(longest > 0, Code::BadArgument, "the calibration text is empty: take a longer one");
        let options = SessionOptions {
            context: Some(longest),
            threads: Some(threads),
            // Whole texts, so that threads seldom meet.
            batch: longest,
            // Other engines cannot be observed.
            backend: Some(Backend::best()),
            ..SessionOptions::default()
        };
        let config = model.config();
        let widths = [config.hidden as usize, config.q_dim(), config.ffn as usize];
        let [hidden, q_dim, ffn] = widths.map(Moments::bytes);
        let most = (budget_bytes / (2 * hidden + q_dim + ffn)).max(1);
        // Runs of about the same size, so that none is for a few layers only.
        let runs = (config.layers as usize).div_ceil(most);
        let span = (config.layers as usize).div_ceil(runs);
        let session = model.session(&options)?;
        Ok(Self { session, texts, threads, span, ready: VecDeque::new(), next: 0, goes_on })
    }

    /// Runs over all texts and hands every input of every matrix to `each`.
    fn run(&mut self, each: &mut dyn FnMut(Site, u16, &[f32])) -> Result<()> {
        for (done, text) in self.texts.iter().enumerate() {
            ensure!(
                (self.goes_on)(done as f64 / self.texts.len() as f64),
                Code::Interrupted,
                "interrupted while calibrating"
            );
            self.session.reset();
            self.session.observe(text, each)?;
        }
        Ok(())
    }

    fn tokens(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    /// Gathers the moments of some layers.
    fn gather(&mut self, layers: Range<u16>) -> Result<VecDeque<LayerMoments>> {
        let (tokens, threads) = (self.tokens(), self.threads);
        let config = *self.session.model().config();
        let new = |width: usize| Moments::new(width, tokens);
        let mut all: VecDeque<LayerMoments> = layers
            .clone()
            .map(|_| LayerMoments {
                attention: new(config.hidden as usize),
                output: new(config.q_dim()),
                feed_forward: new(config.hidden as usize),
                down: new(config.ffn as usize),
            })
            .collect();
        self.run(&mut |site, layer, values| {
            if !layers.contains(&layer) {
                return;
            }
            let layer = &mut all[usize::from(layer - layers.start)];
            let moments = match site {
                Site::Attention => &mut layer.attention,
                Site::Output => &mut layer.output,
                Site::FeedForward => &mut layer.feed_forward,
                Site::Down => &mut layer.down,
                Site::Head => return,
            };
            moments.add(values, threads);
        })?;
        Ok(all)
    }
}

impl Calibration for Observed<'_> {
    fn layer(&mut self, layer: u16) -> Result<LayerMoments> {
        while self.next < layer && self.ready.pop_front().is_some() {
            self.next += 1;
        }
        if self.ready.is_empty() {
            let layers = self.session.model().config().layers as u16;
            self.next = layer;
            self.ready = self.gather(layer..layers.min(layer + self.span as u16))?;
        }
        self.next += 1;
        Ok(self.ready.pop_front().expect("gathered above"))
    }

    fn head(&mut self) -> Result<Moments> {
        self.ready.clear();
        let hidden = self.session.model().config().hidden as usize;
        let mut moments = Moments::new(hidden, self.tokens());
        let threads = self.threads;
        self.run(&mut |site, layer, values| {
            if site == Site::Head {
                assert_eq!(layer, NO_LAYER);
                moments.add(values, threads);
            }
        })?;
        Ok(moments)
    }
}
