//! The computer that Kinglet runs on: what its system tells about it.
//!
//! Everything is read from files below one [`Root`], which is `/` unless a test gives a recorded
//! tree of some board.

mod root;

pub use root::Root;
