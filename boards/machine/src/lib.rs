//! The computer that Kinglet runs on: what its system tells about it, and what is known about boards.
//!
//! Everything is read from files below one [`Root`], which is `/` unless a test gives a recorded
//! tree of some board.

#[cfg(feature = "profiles")]
mod board;
mod cpus;
#[cfg(feature = "profiles")]
mod facts;
mod limits;
mod memory;
#[cfg(feature = "profiles")]
mod profile;
#[cfg(feature = "profiles")]
pub mod roofline;
mod root;

#[cfg(feature = "profiles")]
pub use board::Board;
pub use cpus::{Cpus, default_threads};
#[cfg(feature = "profiles")]
pub use facts::Fact;
pub use limits::Limits;
pub use memory::{Memory, Resident};
#[cfg(feature = "profiles")]
pub use profile::{Cores, Detect, Gpu, Power, Profile};
pub use root::Root;
