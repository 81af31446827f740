//! What the bytes mean: the Kinglet weight file and the number formats in it.
//!
//! Reading order: [`mod@format`] (number formats and the tile layout), [`tensor`] (which matrices a
//! model has), [`config`], [`vocab`], [`frame`] (how conversations are written), [`file`](mod@file)
//! (how they lie in one file; the full specification is `FORMAT.md` beside this crate),
//! [`signature`], [`key`] and [`trust`] (who vouches for it, and who is believed). These
//! modules are `no_std`, allocate nothing and contain no `unsafe`. The offline half, behind the
//! feature `import`, reads checkpoints and writes files: `source` (Hugging Face folders and GGUF),
//! `quantize`, `arrange` (which tensor is stored how and where), `calibrate`, `convert`,
//! `write`, `partial` (what is being written) and `system` (what systems do differently with
//! files). The feature `template` adds a Jinja engine, which renders chat templates and reduces
//! them to frames.
#![cfg_attr(not(any(feature = "import", feature = "template")), no_std)]
#![forbid(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!(
    "Kinglet maps little-endian files as they are: big-endian targets are not supported"
);

#[cfg(feature = "import")]
pub mod arrange;
#[cfg(feature = "import")]
pub mod calibrate;
pub mod config;
#[cfg(feature = "import")]
pub mod convert;
pub mod error;
pub mod file;
pub mod float;
#[cfg(feature = "import")]
pub mod fold;
pub mod format;
pub mod frame;
#[cfg(feature = "import")]
mod json;
pub mod key;
pub mod matrix;
#[cfg(feature = "import")]
pub mod partial;
#[cfg(feature = "import")]
pub mod quantize;
pub mod signature;
#[cfg(feature = "import")]
pub mod source;
#[cfg(feature = "import")]
pub mod system;
#[cfg(feature = "template")]
pub mod template;
pub mod tensor;
pub mod tile;
pub mod trust;
pub mod vocab;
#[cfg(feature = "import")]
pub mod vocab_build;
#[cfg(feature = "import")]
pub mod write;

pub use config::Config;
pub use error::{Code, Error, Result};
pub use file::File;
pub use float::Float;
pub use format::Type;
pub use key::PublicKey;
pub use matrix::Matrix;
pub use signature::Signature;
#[cfg(feature = "import")]
pub use source::Source;
pub use tensor::Role;
pub use tile::{Strip, Tile};
pub use trust::Trust;
pub use vocab::Vocab;
#[cfg(feature = "import")]
pub use vocab_build::TokenizerTables;
