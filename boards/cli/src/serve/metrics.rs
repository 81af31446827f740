//! What `GET /metrics` tells, in Prometheus' text format.

use super::energy::Energy;
use super::histogram::Histogram;
use super::number::Number;
use super::queue::Queue;
use crate::system;
use kinglet::Root;
use kinglet_machine::Resident;
use std::fmt::Write;

/// The numbers of a server since it began.
#[derive(Default)]
pub struct Metrics {
    /// Tokens of prompts.
    pub prompt_tokens: Number,
    /// Those of them that were known from earlier texts.
    pub reused_tokens: Number,
    /// Those of these that came from the store on disk.
    pub restored_tokens: Number,
    /// Beginnings of texts that were written to the store.
    pub kept: Number,
    /// Beginnings that could not be written.
    pub keep_failures: Number,
    /// What the store's files take.
    pub store_bytes: Number,
    /// Tokens of replies.
    pub reply_tokens: Number,
    /// How often the engine went on.
    pub turns: Number,
    /// Jobs that have a text now.
    pub running: Number,
    /// Replies whose clients left before their end.
    pub abandoned: Number,
    /// Answers with an error status.
    pub failures: Number,
    /// Requests that found the queue full.
    pub refused: Number,
    /// From a request to when its prompt began to be read.
    pub queue: Histogram,
    /// From a request to its reply's first token.
    pub first_token: Histogram,
    /// From a token of a reply to the next.
    pub token: Histogram,
    /// From a request to its reply's end.
    pub replies: Histogram,
    /// What the machine has used.
    pub energy: Energy,
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
            (
                "restored_tokens_total",
                "Tokens of prompts that came from the store on disk",
                &self.restored_tokens,
            ),
            ("kept_total", "Beginnings of texts written to the store on disk", &self.kept),
            (
                "keep_failures_total",
                "Beginnings of texts that could not be written",
                &self.keep_failures,
            ),
            ("reply_tokens_total", "Tokens of replies", &self.reply_tokens),
            ("turns_total", "Passes over the model at most, and looks for work", &self.turns),
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
            ("store_bytes", "What the store on disk takes", self.store_bytes.get()),
            ("resident_bytes", "Memory of the process", resident.bytes),
            ("anonymous_bytes", "Memory without pages of files", resident.anonymous_bytes),
            ("peak_resident_bytes", "The most memory so far", system::peak_rss_bytes()),
        ];
        for (name, help, number) in gauges {
            tell(&mut page, name, help, "gauge", number);
        }
        let times = [
            ("queue_seconds", "From a request to the reading of its prompt", &self.queue),
            ("first_token_seconds", "From a request to the first token", &self.first_token),
            ("token_seconds", "From a token to the next one of its reply", &self.token),
            ("reply_seconds", "From a request to the end of its reply", &self.replies),
        ];
        for (name, help, times) in times {
            times.tell(&mut page, name, help);
        }
        self.energy.tell(&mut page);
        page
    }
}

fn tell(page: &mut String, name: &str, help: &str, kind: &str, value: u64) {
    let _ = write!(
        page,
        "# HELP kinglet_{name} {help}\n# TYPE kinglet_{name} {kind}\nkinglet_{name} {value}\n"
    );
}
