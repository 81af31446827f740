//! Texts with memory and threads of their own.

use crate::options::SessionOptions;
use crate::select::Selection;
#[cfg(feature = "cuda")]
use crate::trial;
use crate::{Model, Pool, Root, resident};
use kinglet_backends::AnyEngine;
use kinglet_core::texts;
use kinglet_machine::Binding;
use kinglet_quant::{Code, Error, Result};
use memmap2::MmapMut;

/// The texts of the core on an engine with threads.
pub type Texts = kinglet_core::Texts<'static, AnyEngine<'static, Pool>>;

/// A model, the memory of some texts, and the threads that work on them.
pub(crate) struct Runtime {
    /// Borrows from `memory` and from `model`'s mapping, both below. In a box, since references
    /// that a function gets by value must hold until it returns, also where it drops all of this.
    pub texts: Box<Texts>,
    _memory: MmapMut,
    /// Keeps the thread that made this on the processors that the options name.
    _binding: Option<Binding>,
    pub model: Model,
    pub selection: Selection,
}

impl Runtime {
    pub fn new(model: Model, options: &SessionOptions) -> Result<Self> {
        options.cpus.as_ref().map_or(Ok(()), |cpus| cpus.check(&Root::here()))?;
        if options.pin_threads {
            Binding::check()?;
        }
        let fitted = options.memory_budget_bytes.map(|budget| model.fit(options, budget));
        let options = &fitted.transpose()?.unwrap_or_else(|| options.clone());
        let selection = model.select(options);
        let backend = selection.backend();
        let limits = options.limits(&model, backend);
        let plan = backend.plan(&model.file(), &limits)?;
        let needed = plan.total_bytes();
        let mut memory = MmapMut::map_anon(needed).map_err(|error| {
            Error::new(Code::Resource, format_args!("cannot take {needed} bytes: {error}"))
        })?;
        // SAFETY: the mapping does not move when `memory` does, nothing else touches it, and it is
        // dropped after `texts`, the only user (field order).
        let bytes = unsafe {
            std::slice::from_raw_parts_mut::<'static, u8>(memory.as_mut_ptr(), memory.len())
        };
        texts::check_memory(&plan, bytes)?;
        if options.lock_memory {
            resident::keep([&memory, model.bytes()])?;
        }
        let binding = options.cpus.as_ref().and_then(Binding::new);
        let pool = Pool::on(&options.cpus(), limits.workers, options.pin_threads)?;
        let (own, rest) = bytes.split_at_mut(plan.engine_bytes());
        let file = model.file_for_session();
        let engine = AnyEngine::new(backend, pool, file, plan, own)?;
        let texts = Box::new(Texts::new(file, engine, rest));
        Ok(Self { texts, _memory: memory, _binding: binding, model, selection })
    }
}

/// Runs the tokens of a trial with a session of the model.
#[cfg(feature = "cuda")]
pub(crate) fn lap(model: &Model, options: &SessionOptions) -> Result<trial::Lap> {
    let (mut runtime, start) = (Runtime::new(model.clone(), options)?, std::time::Instant::now());
    trial::lap(&mut runtime.texts, &mut || Ok(start.elapsed()))
}
