//! The passes of a session, each with the kernels of a tier.

use crate::{Tier, UseKernels};
use kinglet_core::forward::Observer;
use kinglet_core::screen::Screen;
use kinglet_core::session::Logits;
use kinglet_core::{Kernels, Session, Workers};
use kinglet_quant::Result;

impl Tier {
    /// [`Session::prefill`].
    pub fn prefill(
        self,
        session: &mut Session<'_>,
        workers: &dyn Workers,
        tokens: &[u32],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<()> {
        self.with(Prefill { session, workers, tokens, goes_on })
    }

    /// [`Session::step_for`].
    pub fn step(
        self,
        session: &mut Session<'_>,
        workers: &dyn Workers,
        tokens: &[u32],
        wanted: Logits,
        screen: Option<Screen>,
    ) -> Result<()> {
        self.with(OneStep { session, workers, tokens, wanted, screen })
    }

    /// [`Session::repeat_head`] for all logits.
    pub fn complete_head(self, session: &mut Session<'_>, workers: &dyn Workers) {
        self.with(CompleteHead { session, workers });
    }

    /// [`Session::observe`].
    pub fn observe(
        self,
        session: &mut Session<'_>,
        workers: &dyn Workers,
        tokens: &[u32],
        observer: Observer<'_>,
    ) -> Result<()> {
        self.with(Observe { session, workers, tokens, observer })
    }
}

struct Prefill<'s, 'a> {
    session: &'s mut Session<'a>,
    workers: &'s dyn Workers,
    tokens: &'s [u32],
    goes_on: &'s mut dyn FnMut() -> bool,
}

impl UseKernels for Prefill<'_, '_> {
    type Output = Result<()>;

    fn run<K: Kernels>(self, kernels: K) -> Result<()> {
        self.session.prefill(kernels, self.workers, self.tokens, self.goes_on)
    }
}

struct OneStep<'s, 'a> {
    session: &'s mut Session<'a>,
    workers: &'s dyn Workers,
    tokens: &'s [u32],
    wanted: Logits,
    screen: Option<Screen>,
}

impl UseKernels for OneStep<'_, '_> {
    type Output = Result<()>;

    fn run<K: Kernels>(self, kernels: K) -> Result<()> {
        self.session.step_for(kernels, self.workers, self.tokens, self.wanted, self.screen)
    }
}

struct CompleteHead<'s, 'a> {
    session: &'s mut Session<'a>,
    workers: &'s dyn Workers,
}

impl UseKernels for CompleteHead<'_, '_> {
    type Output = ();

    fn run<K: Kernels>(self, kernels: K) {
        self.session.repeat_head(kernels, self.workers, None);
    }
}

struct Observe<'s, 'a> {
    session: &'s mut Session<'a>,
    workers: &'s dyn Workers,
    tokens: &'s [u32],
    observer: Observer<'s>,
}

impl UseKernels for Observe<'_, '_> {
    type Output = Result<()>;

    fn run<K: Kernels>(self, kernels: K) -> Result<()> {
        self.session.observe(kernels, self.workers, self.tokens, self.observer)
    }
}
