//! Run SmolLM models on small computers.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! let model = kinglet::Model::open("smollm2-135m-instruct-q8.kinglet")?;
//! let mut session = model.session(&kinglet::SessionOptions::default())?;
//! let prompt = model.tokenize("def print_hello_world():")?;
//! session.generate(&prompt, &kinglet::GenerateOptions::default(), &mut |piece| {
//!     print!("{}", piece.text);
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), kinglet::Error>(())
//! ```
//!
//! [`Model::plan`] tells a session's memory before it is taken; a session takes it once, and
//! generation allocates nothing.

mod bandwidth;
mod batch;
mod budget;
#[cfg(feature = "convert")]
pub mod calibrate;
pub mod choices;
mod generate;
pub mod grammar;
#[cfg(feature = "grammar")]
pub mod guide;
#[cfg(all(test, miri))]
mod interpreted;
mod map;
mod model;
mod options;
mod pool;
mod replies;
#[cfg_attr(windows, path = "resident/windows.rs")]
mod resident;
mod runtime;
#[cfg(feature = "grammar")]
pub mod schema;
pub mod score;
mod select;
mod session;
pub mod table;
#[cfg(feature = "chat")]
pub mod template;
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "thread/std.rs")]
mod thread;
#[cfg(all(feature = "chat", feature = "grammar"))]
pub mod tools;
#[cfg(feature = "cuda")]
pub mod trial;
mod work;

pub use bandwidth::ReadStream;
pub use batch::Batch;
pub use budget::Footprint;
pub use generate::{
    GenerateOptions, Generation, MAX_STOP_BYTES, MAX_STOP_STRINGS, Overflow, Piece, StopReason,
};
pub use kinglet_backends::{Backend, Tier};
#[cfg(feature = "cuda")]
pub use kinglet_backends::{Cuda, CudaLack};
pub use kinglet_core::draft::LOOKAHEAD_ROWS;
pub use kinglet_core::kv::KvType;
pub use kinglet_core::plan::MAX_TEXTS;
pub use kinglet_core::plan::{Part, Plan};
pub use kinglet_core::sample::Sampling;
pub use kinglet_core::text::Pooling;
pub use kinglet_core::tokenizer::{Specials, Tokenizer};
pub use kinglet_core::top::Candidate;
pub use kinglet_machine::{Cooler, Cpus, Root, default_threads};
pub use kinglet_quant::file::{File, TextKey};
pub use kinglet_quant::{Code, Config, Error, PublicKey, Result, Role, Signature, Trust, Type};
pub use map::Mapping;
pub use model::Model;
pub use options::SessionOptions;
pub use pool::Pool;
pub use replies::Replies;
pub use select::Selection;
pub use session::{Session, Text};
pub use work::Work;
