//! The computer that Kinglet runs on: what its system tells about it, and what is known about
//! boards.
//!
//! Everything is read from files below one [`Root`], which is `/` unless a test gives a recorded
//! tree of some board. Other systems than Linux have none of them, so nothing is known there but
//! how many processors there are.

#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "unbound.rs")]
mod affinity;
#[cfg(feature = "profiles")]
mod board;
mod conditions;
mod cool;
mod cpus;
#[cfg(feature = "profiles")]
mod facts;
mod firmware;
mod limits;
mod memory;
pub mod power;
mod process;
#[cfg(feature = "profiles")]
mod profile;
#[cfg(feature = "profiles")]
pub mod roofline;
mod root;
mod throttle;

pub use affinity::Binding;
#[cfg(feature = "profiles")]
pub use board::Board;
pub use conditions::{Conditions, Settings, hottest_celsius};
pub use cool::{Cooler, Thermometer};
pub use cpus::{Cpus, default_threads};
#[cfg(feature = "profiles")]
pub use facts::Fact;
pub use limits::Limits;
pub use memory::{Memory, Resident};
#[cfg(feature = "profiles")]
pub use profile::{Cores, Detect, Gpu, Power, Profile};
pub use root::Root;
pub use throttle::{Throttle, Throttling};
