//! Electric power: the sensors of boards, and energy over stretches of time.
//!
//! A [`Source`] is a sensor. [`Request`] finds one in a tree of files. A [`Sampler`] reads it in a
//! thread of its own, and gives the energy of any [`Interval`] afterwards; a [`Tally`] keeps the
//! sum alone. Nothing here is ever zero because it is unknown: what cannot be told is an error or
//! `None`.

mod clock;
mod command;
mod hwmon;
mod ina238;
mod ina3221;
mod meter;
mod pmic;
mod rapl;
mod record;
mod request;
mod sampler;
mod source;
mod tally;
mod trace;

pub use clock::{Clock, Monotonic};
pub use record::{Figures, Phase, Run};
pub use request::Request;
pub use sampler::Sampler;
pub use source::{Quantity, Source};
pub use tally::{Tally, Total};
pub use trace::{Interval, Trace, Window};
