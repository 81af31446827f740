//! Time in ticks of the processor's time stamp counter, so that multiply-adds per cycle can be
//! told; in nanoseconds on processors that have none.

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter};
use std::time::{Duration, Instant};

#[cfg(target_arch = "x86_64")]
const PER_TICK: &str = "MAC/cycle";
#[cfg(not(target_arch = "x86_64"))]
const PER_TICK: &str = "MAC/ns";

/// A clock that counts ticks.
pub struct Ticks {
    start: Instant,
    per_second: f64,
}

impl Ticks {
    /// Finds out how long a tick is.
    pub fn new() -> Self {
        let clock = Self { start: Instant::now(), per_second: 1.0 };
        let first = clock.now();
        while clock.start.elapsed() < Duration::from_millis(50) {}
        let per_second = (clock.now() - first) as f64 / clock.start.elapsed().as_secs_f64();
        Self { per_second, ..clock }
    }

    #[cfg(target_arch = "x86_64")]
    fn now(&self) -> u64 {
        // SAFETY: every x86-64 CPU has the instruction; it reads a counter.
        unsafe { core::arch::x86_64::_rdtsc() }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

impl Measurement for Ticks {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        self.now()
    }

    fn end(&self, start: u64) -> u64 {
        self.now() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, ticks: &u64) -> f64 {
        *ticks as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Ticks {
    fn scale_values(&self, _typical: f64, values: &mut [f64]) -> &'static str {
        values.iter_mut().for_each(|ticks| *ticks *= 1e6 / self.per_second);
        "µs"
    }

    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let (amount, unit) = match throughput {
            Throughput::Elements(multiply_adds) => (*multiply_adds as f64, PER_TICK),
            Throughput::Bytes(bytes) => (*bytes as f64 * self.per_second / 1e9, "GB/s"),
            other => unreachable!("no benchmark counts {other:?}"),
        };
        values.iter_mut().for_each(|ticks| *ticks = amount / *ticks);
        unit
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.scale_values(0.0, values)
    }
}
