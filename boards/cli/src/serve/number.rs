//! A number that threads count on with.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that threads change.
#[derive(Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Counts on.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
