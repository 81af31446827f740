//! The computer that Kinglet runs on: what its system tells about it.
//!
//! Everything is read from files below one [`Root`], which is `/` unless a test gives a recorded
//! tree of some board.

mod conditions;
mod cool;
mod firmware;
pub mod power;
mod process;
mod root;
mod throttle;

pub use conditions::{Conditions, Settings, hottest_celsius};
pub use cool::{Cooler, Thermometer};
pub use root::Root;
pub use throttle::{Throttle, Throttling};
