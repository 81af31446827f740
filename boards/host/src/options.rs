//! What a session or a batch is asked for.

use crate::work::Work;
use crate::{Cpus, Model, Root};
use kinglet_backends::Backend;
use kinglet_core::KvType;
use kinglet_core::draft::LOOKAHEAD_ROWS;
use kinglet_core::plan::Limits;

/// What a session or a batch must be able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Texts that a [`crate::Batch`] goes on with in one pass, each with a cache of its own; at
    /// most [`crate::MAX_TEXTS`]. A session has one.
    pub texts: usize,
    /// Positions of the cache of a text; `None` takes 2048, or the model's context where that is
    /// smaller.
    pub context: Option<usize>,
    /// How keys and values are stored; `None` takes [`Model::default_kv`].
    pub kv: Option<KvType>,
    /// Threads, the caller included; `None` takes [`Cpus::default_threads`], and the caller alone
    /// where a device computes.
    pub threads: Option<usize>,
    /// Tokens per pass of prefill.
    pub batch: usize,
    /// Tokens of one pass that can have logits, at most the batch; as many as there are texts at
    /// least. Each is a row of the vocabulary in f32. With one for each text, generation takes one
    /// token after the other; beyond [`crate::LOOKAHEAD_ROWS`], the default, only
    /// [`crate::Session::score`] and [`crate::choices`] are faster.
    pub logit_rows: usize,
    /// What to run on; `None` takes the processor with its fastest kernels, or an NVIDIA device
    /// where a trial of some tokens finds it faster for [`SessionOptions::work`]. The trial comes
    /// with the first session of a model and takes as long as some 40 tokens of each; see
    /// [`crate::Model::select`].
    pub backend: Option<Backend>,
    /// What the session is going to do, for the choice of a backend.
    pub work: Work,
    /// What the whole process may take, pages of files included: the session takes the context that
    /// fits, see [`crate::Model::fit`], or is refused before anything is touched.
    pub memory_budget_bytes: Option<usize>,
    /// Keeps the file and the session's memory resident; `Resource` where the system refuses.
    pub lock_memory: bool,
    /// Processors that the threads run on. Named ones are the caller's, too, as long as the session
    /// lives; `None` takes [`Cpus::fastest`] and leaves the caller where it is.
    pub cpus: Option<Cpus>,
    /// Binds every thread, the caller's included, to a processor of its own; where there are fewer
    /// processors than threads, to all of them. The caller's is released when the session is
    /// dropped on it. Two processes that do so share processors while others idle.
    pub pin_threads: bool,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            texts: 1,
            context: None,
            kv: None,
            threads: None,
            batch: 64,
            logit_rows: LOOKAHEAD_ROWS,
            backend: None,
            work: Work::default(),
            memory_budget_bytes: None,
            lock_memory: false,
            cpus: None,
            pin_threads: false,
        }
    }
}

/// The context that a text has unless told otherwise.
const DEFAULT_CONTEXT: usize = 2048;

impl SessionOptions {
    pub(crate) fn limits(&self, model: &Model, backend: Backend) -> Limits {
        Limits {
            texts: self.texts,
            context: self
                .context
                .unwrap_or(DEFAULT_CONTEXT.min(model.config().max_context as usize)),
            batch: self.batch,
            logit_rows: self.logit_rows.max(self.texts).min(self.batch),
            workers: self.threads.unwrap_or_else(|| self.default_threads(backend)),
            kv: self.kv.unwrap_or_else(|| model.default_kv()),
        }
    }

    fn default_threads(&self, backend: Backend) -> usize {
        if backend.uses_threads() { self.cpus().default_threads(&Root::here()) } else { 1 }
    }

    pub(crate) fn cpus(&self) -> Cpus {
        self.cpus.clone().unwrap_or_else(|| Cpus::fastest(&Root::here()))
    }
}
