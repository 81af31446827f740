//! One timed run of a test.

use std::time::Instant;

/// One timed run.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// When it began.
    pub start: Instant,
    /// When the prompt was read; the start where there is none.
    pub read: Instant,
    /// When everything was generated.
    pub end: Instant,
}
