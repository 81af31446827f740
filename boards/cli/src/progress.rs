//! How far long work is: a bar on a terminal, plain lines elsewhere, always on standard error.

use crate::out;
use crate::units::{self, Bytes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

/// Plain lines come this often, or after every tenth of the work, whichever is later.
const LINE_INTERVAL: Duration = Duration::from_secs(2);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, with a rate.
    Bytes,
    /// Pieces such as chunks, with the time left.
    Pieces,
    /// Parts of work that takes minutes, with the time left.
    Share,
}

/// The progress of one piece of work.
pub struct Meter {
    label: String,
    unit: Unit,
    total: u64,
    style: Style,
}

enum Style {
    Silent,
    Bar(ProgressBar),
    Lines { started: Instant, first: u64, last: Instant, last_done: u64 },
}

impl Meter {
    /// Starts at `done` of `total` units.
    pub fn new(label: &str, unit: Unit, done: u64, total: u64) -> Self {
        let now = Instant::now();
        let style = if out::is_quiet() {
            Style::Silent
        } else if stderr().is_terminal() {
            Style::Bar(bar(label, unit, done, total))
        } else {
            Style::Lines { started: now, first: done, last: now, last_done: done }
        };
        Self { label: label.into(), unit, total, style }
    }

    /// Says that `done` units are complete.
    pub fn set(&mut self, done: u64) {
        let tenth = self.total / 10;
        match &mut self.style {
            Style::Silent => return,
            Style::Bar(bar) => return bar.set_position(done),
            Style::Lines { last, last_done, .. } => {
                if last.elapsed() < LINE_INTERVAL || done < *last_done + tenth.max(1) {
                    return;
                }
                (*last, *last_done) = (Instant::now(), done);
            }
        }
        self.line(done);
    }

    /// Takes the bar away, or prints the last line.
    pub fn finish(self) {
        match &self.style {
            Style::Silent => {}
            Style::Bar(bar) => bar.finish_and_clear(),
            Style::Lines { last_done, .. } if *last_done == self.total => {}
            Style::Lines { .. } => self.line(self.total),
        }
    }

    fn line(&self, done: u64) {
        let Style::Lines { started, first, .. } = &self.style else { return };
        let percent = (done * 100).checked_div(self.total).unwrap_or(100);
        let label = &self.label;
        let part = (done - first.min(&done)) as f64;
        let seconds = started.elapsed().as_secs_f64();
        let left = seconds * (self.total - done.min(self.total)) as f64 / part.max(1.0);
        let left = units::rough_duration(left);
        match self.unit {
            Unit::Pieces if done == self.total => {
                out::note(format_args!("{label}: {done} of {done}"));
            }
            Unit::Pieces => {
                out::note(format_args!("{label}: {done} of {}, about {left} left", self.total));
            }
            Unit::Share => out::note(format_args!("{label}: {percent}%, about {left} left")),
            Unit::Bytes => {
                let (total, rate) = (Bytes(self.total), Bytes((part / seconds) as u64));
                out::note(format_args!("{label}: {percent}% of {total}, {rate}/s"));
            }
        }
    }
}

fn bar(label: &str, unit: Unit, done: u64, total: u64) -> ProgressBar {
    let template = match unit {
        Unit::Bytes => concat!(
            "{msg} [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, ",
            "{decimal_bytes_per_sec}, {eta} left"
        ),
        Unit::Share => "{msg} [{bar:30}] {percent}%, {eta} left",
        Unit::Pieces => "{msg} [{bar:30}] {pos} of {len}, {eta} left",
    };
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(label.to_owned());
    bar.set_position(done);
    bar
}
