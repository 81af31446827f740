//! What `GET /metrics` tells, in Prometheus' text format.

use super::queue::Queue;
use crate::system;
use kinglet::Root;
use kinglet_machine::Resident;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations: how many, and their sum.
#[derive(Default)]
pub struct Times {
    count: Number,
    sum_us: Number,
}

impl Times {
    /// Adds a duration.
    pub fn add(&self, time: Duration) {
        self.count.add(1);
        self.sum_us.add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The numbers of a server since it began.
#[derive(Default)]
pub struct Metrics {
    /// Tokens of prompts.
    pub prompt_tokens: Number,
    /// Those of them that were known from earlier texts.
    pub reused_tokens: Number,
    /// Tokens of replies.
    pub reply_tokens: Number,
    /// Jobs that have a text now.
    pub running: Number,
    /// Replies whose clients left before their end.
    pub abandoned: Number,
    /// Answers with an error status.
    pub failures: Number,
    /// Requests that found the queue full.
    pub refused: Number,
    /// From a request to its reply's first token.
    pub first_token: Times,
    /// From a request to its reply's end.
    pub replies: Times,
}

impl Metrics {
    /// The page.
    pub fn page(&self, queue: &Queue) -> String {
        let resident = Resident::read(&Root::here());
        let mut page = String::new();
        let counters = [
            ("prompt_tokens_total", "Tokens of prompts", &self.prompt_tokens),
            (
                "reused_tokens_total",
                "Tokens of prompts that were not computed again",
                &self.reused_tokens,
            ),
            ("reply_tokens_total", "Tokens of replies", &self.reply_tokens),
            ("abandoned_total", "Replies whose clients left before their end", &self.abandoned),
            ("failures_total", "Answers with an error status", &self.failures),
            ("refused_total", "Requests that found the queue full", &self.refused),
        ];
        for (name, help, number) in counters {
            tell(&mut page, name, help, "counter", number.get());
        }
        let gauges = [
            ("running_replies", "Replies that are being made", self.running.get()),
            ("waiting_replies", "Replies that wait in the queue", queue.length() as u64),
            ("resident_bytes", "Memory of the process", resident.bytes),
            ("anonymous_bytes", "Memory without pages of files", resident.anonymous_bytes),
            ("peak_resident_bytes", "The most memory so far", system::peak_rss_bytes()),
        ];
        for (name, help, number) in gauges {
            tell(&mut page, name, help, "gauge", number);
        }
        let times = [
            ("first_token_seconds", "From a request to the first token", &self.first_token),
            ("reply_seconds", "From a request to the end of its reply", &self.replies),
        ];
        for (name, help, times) in times {
            let seconds = Duration::from_micros(times.sum_us.get()).as_secs_f64();
            let count = times.count.get();
            let _ = write!(
                page,
                "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} summary\n\
                 kinglet_{name}_sum {seconds}\nkinglet_{name}_count {count}\n"
            );
        }
        page
    }
}

fn tell(page: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    let _ = write!(
        page,
        "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} {kind}\nkinglet_{name} {value}\n"
    );
}
