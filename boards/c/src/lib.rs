//! Kinglet for C and everything that can call C: `kinglet.h` describes every function.
//!
//! Reading order: [`abi`] (what crosses the boundary), [`status`] (the numbers), [`tag`] (how a
//! handle is told from other memory), [`handle`] (how a pointer from outside is checked, and who
//! may use it), then the functions: [`library`], [`model`], [`signed`] with [`trust`], [`tokens`],
//! [`choice`], [`session`], [`work`], [`replies`], [`state`], [`tools`]. What sessions do is
//! [`kinglet_core::Texts`]; [`sampling`] keeps how tokens are chosen, [`chances`] tells how
//! probable they were. `files` opens weight files, `workers` and `clock` bring the caller's threads
//! and time, `place` the memory, `reserve` a little for when the system has none.
//!
//! Without the feature `std` the crate is `no_std`, and functions that need files, memory of their
//! own or threads return a status.
#![cfg_attr(not(feature = "std"), no_std)]

mod abi;
mod budget;
mod chances;
mod choice;
mod clock;
mod constraint;
#[cfg_attr(not(feature = "std"), path = "files/none.rs")]
mod files;
mod handle;
#[cfg(all(test, miri))]
mod interpreted;
mod library;
mod model;
mod place;
mod replies;
mod sampling;
mod session;
mod signed;
mod state;
mod status;
mod tag;
mod tokens;
mod tools;
mod trust;
mod versioned;
mod work;
mod workers;

#[cfg(not(feature = "std"))]
mod fault;
#[cfg(feature = "std")]
mod reserve;
