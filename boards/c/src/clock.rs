//! Time for deadlines.

use crate::abi;
use crate::handle::User;
use kinglet_quant::{Code, Result, fail};

/// Tells milliseconds.
pub(crate) enum Clock {
    /// The caller's function.
    Caller(unsafe extern "C" fn(*mut core::ffi::c_void) -> u64, User),
    /// The operating system, since this moment.
    #[cfg(feature = "std")]
    System(std::time::Instant),
    /// There is none.
    #[cfg(not(feature = "std"))]
    None,
}

impl Clock {
    /// The caller's clock, else the system's.
    pub fn new(clock: abi::Clock, user: User) -> Self {
        match clock {
            Some(clock) => Self::Caller(clock, user),
            #[cfg(feature = "std")]
            None => Self::System(std::time::Instant::now()),
            #[cfg(not(feature = "std"))]
            None => Self::None,
        }
    }

    /// Milliseconds since some moment. `Resource` without a clock.
    pub fn now_ms(&self) -> Result<u64> {
        match self {
            // SAFETY: the caller has given the function for this use, with this argument.
            Self::Caller(clock, user) => Ok(unsafe { clock(user.0) }),
            #[cfg(feature = "std")]
            Self::System(start) => Ok(start.elapsed().as_millis() as u64),
            #[cfg(not(feature = "std"))]
            Self::None => fail!(Code::Resource, "deadlines need a clock in the session's options"),
        }
    }
}

/// When a call must end.
#[derive(Clone, Copy)]
pub(crate) struct Deadline {
    end_ms: Option<u64>,
}

impl Deadline {
    /// As many milliseconds from now on; 0 is never.
    pub fn after(clock: &Clock, milliseconds: u32) -> Result<Self> {
        let end_ms = match milliseconds {
            0 => None,
            milliseconds => Some(clock.now_ms()?.saturating_add(milliseconds.into())),
        };
        Ok(Self { end_ms })
    }

    /// `DeadlinePassed` when it has.
    pub fn check(self, clock: &Clock) -> Result<()> {
        match self.end_ms {
            Some(end_ms) if clock.now_ms()? >= end_ms => {
                fail!(Code::DeadlinePassed, "the deadline passed; the text so far stays")
            }
            _ => Ok(()),
        }
    }
}
