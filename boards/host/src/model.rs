//! A weight file, mapped.

use crate::batch::Batch;
use crate::map::Mapping;
use crate::options::SessionOptions;
use crate::select::Selection;
use crate::session::Session;
#[cfg(feature = "cuda")]
use crate::trial::Trials;
use kinglet_backends::Backend;
use kinglet_core::kv::{KvLayout, KvType};
use kinglet_core::plan::{Part, Plan};
use kinglet_core::tokenizer::{Specials, Tokenizer};
use kinglet_quant::{Config, Error, File, Result, Role, Trust};
use std::path::Path;
use std::sync::Arc;

/// A model: its weight file mapped read-only. Clones share the mapping.
#[derive(Clone, Debug)]
pub struct Model {
    mapped: Arc<Mapped>,
}

/// The mapping and the view of it.
#[derive(Debug)]
struct Mapped {
    /// Borrows from `map`; only handed out with a lifetime bound to the model's.
    file: File<'static>,
    map: Mapping,
    #[cfg(feature = "cuda")]
    trials: Trials,
}

impl Model {
    /// Maps and validates a weight file. Weights are not read: pages come in as they are used.
    ///
    /// `NotFound`, `Unreadable`, and what [`File::open`] returns. The file must be neither modified
    /// nor shortened while it is mapped: the behaviour is undefined then.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path.as_ref(), File::open)
    }

    /// [`Model::open`], once the file is known to be what a trusted key has signed. This reads all
    /// of it, unless [`Trust::checks_weights`] is off.
    ///
    /// `NotFound`, `Unreadable`, and what [`File::open_signed`] returns. What is altered after that
    /// is not noticed: nobody but who is trusted may write to the file.
    pub fn open_signed(path: impl AsRef<Path>, trust: &Trust<'_>) -> Result<Self> {
        Self::open_as(path.as_ref(), |bytes| File::open_signed(bytes, trust))
    }

    fn open_as(
        path: &Path,
        open: impl FnOnce(&'static [u8]) -> Result<File<'static>>,
    ) -> Result<Self> {
        let map = Mapping::open(path)?;
        let (start, length) = (map.bytes().as_ptr(), map.bytes().len());
        // SAFETY: `map` owns the bytes, does not move them, and is dropped after `file` (field
        // order).
        let bytes = unsafe { std::slice::from_raw_parts::<'static, u8>(start, length) };
        let file = open(bytes).map_err(|error| {
            let message = format_args!("{}: {}", path.display(), error.message());
            Error::new(error.code(), message)
        })?;
        let mapped = Mapped {
            file,
            map,
            #[cfg(feature = "cuda")]
            trials: Trials::default(),
        };
        Ok(Self { mapped: Arc::new(mapped) })
    }

    /// The validated file.
    pub fn file(&self) -> File<'_> {
        self.mapped.file
    }

    /// The file with the lifetime of the mapping, which the caller must keep.
    pub(crate) fn file_for_session(&self) -> File<'static> {
        self.mapped.file
    }

    /// The shape of the model.
    pub fn config(&self) -> &Config {
        self.file().config()
    }

    /// The mapped file.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.mapped.map.bytes()
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> usize {
        self.bytes().len()
    }

    /// Bytes of weights that one generated token reads.
    pub fn read_bytes_per_token(&self) -> usize {
        self.file().read_bytes_per_token()
    }

    /// Bytes of keys and values that one generated token reads for every token before it.
    pub fn cache_bytes_per_token(&self, kv: KvType) -> usize {
        // A context that needs no padding.
        const CONTEXT: usize = 64;
        let config = self.config();
        let layout = KvLayout::new(kv, config.head_dim as usize, CONTEXT);
        (config.layers * config.kv_heads) as usize * layout.block_bytes() / CONTEXT
    }

    /// How keys and values are stored unless told otherwise: as int8 beside quantized weights;
    /// where weights are whole, a cache in f16 keeps what they are exact for.
    pub fn default_kv(&self) -> KvType {
        let kind = self.file().matrix(Role::Q, 0).kind();
        if kind.is_quantized() { KvType::Int8 } else { KvType::F16 }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> Tokenizer<'_> {
        Tokenizer::new(self.file().vocab())
    }

    /// The tokens of a text; special tokens in it are recognised.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.tokenize_as(text.as_bytes(), Specials::Parse)
    }

    /// The tokens of a text, with special tokens recognised or taken as plain text.
    pub fn tokenize_as(&self, text: &[u8], specials: Specials) -> Result<Vec<u32>> {
        let mut tokens = vec![0; Tokenizer::max_tokens(text.len())];
        let count = self.tokenizer().encode(text, specials, &mut tokens)?;
        tokens.truncate(count);
        Ok(tokens)
    }

    /// What a session with these options runs on, and why. Where the options leave it open and
    /// there is a device, the first call tries both.
    pub fn select(&self, options: &SessionOptions) -> Selection {
        options.backend.map_or_else(|| self.select_freely(options), Selection::named)
    }

    #[cfg(feature = "cuda")]
    fn select_freely(&self, options: &SessionOptions) -> Selection {
        let trial = |device| {
            self.mapped
                .trials
                .outcome(options, device, &|options| crate::runtime::lap(self, options))
        };
        Selection::by_trial(options.work, trial)
    }

    #[cfg(not(feature = "cuda"))]
    fn select_freely(&self, _options: &SessionOptions) -> Selection {
        Selection::only()
    }

    /// The memory that a session with these options takes, without taking it.
    pub fn plan(&self, options: &SessionOptions) -> Result<Plan> {
        self.plan_on(self.select(options).backend(), options)
    }

    fn plan_on(&self, backend: Backend, options: &SessionOptions) -> Result<Plan> {
        backend.plan(&self.file(), &options.limits(self, backend))
    }

    /// What a device takes beside [`Model::plan`], without taking it; nothing where the processor
    /// runs the session. A copy of the weights comes on top where the device cannot read the
    /// mapped file.
    pub fn device_parts(&self, options: &SessionOptions) -> Result<Vec<Part>> {
        let backend = self.select(options).backend();
        Ok(backend.device_parts(&self.file(), &self.plan_on(backend, options)?))
    }

    /// [`SessionOptions::texts`] texts that go on in one pass: takes their memory and starts the
    /// threads.
    pub fn batch(&self, options: &SessionOptions) -> Result<Batch> {
        Batch::new(self.clone(), options)
    }

    /// A session: takes its memory and starts its threads.
    pub fn session(&self, options: &SessionOptions) -> Result<Session> {
        Session::new(self.clone(), options)
    }
}
