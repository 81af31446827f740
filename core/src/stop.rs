//! Stop strings: the end of a reply, found in the text as it streams.

use kinglet_quant::{Code, Result, ensure};

/// Stop strings that can be watched for at once.
pub const MAX_STOPS: usize = 8;
/// Bytes of the longest stop string.
pub const MAX_STOP_BYTES: usize = 64;
/// Text held back at most: a stop string without its end, and the character that may end it.
const MAX_HELD: usize = MAX_STOP_BYTES + 4;

/// Watches streamed text for the first stop string to be complete.
///
/// Text that could be the start of a stop string is held back until it is known not to be. The stop
/// string itself and what follows it never come out. Where several stop strings end at the same
/// character the longest counts. The outcome does not depend on how the text is cut into pieces.
#[derive(Clone, Debug, Default)]
pub struct StopMatcher {
    stops: heapless::Vec<heapless::String<MAX_STOP_BYTES>, MAX_STOPS>,
    /// The longest end of the text so far that begins a stop string.
    held: heapless::String<MAX_HELD>,
    is_stopped: bool,
}

impl StopMatcher {
    /// Watches for up to [`MAX_STOPS`] strings of 1 to [`MAX_STOP_BYTES`] bytes; `BadArgument`
    /// else.
    pub fn new(stops: &[&str]) -> Result<Self> {
        ensure!(
            stops.len() <= MAX_STOPS,
            Code::BadArgument,
            "{} stop strings: at most {MAX_STOPS} are supported",
            stops.len()
        );
        let mut matcher = Self::default();
        for stop in stops {
            ensure!(
                (1..=MAX_STOP_BYTES).contains(&stop.len()),
                Code::BadArgument,
                "a stop string of {} bytes: give 1 to {MAX_STOP_BYTES}",
                stop.len()
            );
            // Both have room: the lengths were checked above.
            let mut own = heapless::String::new();
            assert!(own.push_str(stop).is_ok(), "the length was checked");
            assert!(matcher.stops.push(own).is_ok(), "the number was checked");
        }
        Ok(matcher)
    }

    /// Takes the next piece of text, hands on what is certainly not part of a stop string, and
    /// returns whether a stop string was found; then the rest of the text is dropped.
    pub fn push(&mut self, text: &str, mut emit: impl FnMut(&str)) -> bool {
        let mut rest = text;
        while !self.is_stopped && !rest.is_empty() {
            if self.held.is_empty() {
                let (safe, candidate) = rest.split_at(self.first_candidate(rest));
                emit_some(safe, &mut emit);
                rest = candidate;
            }
            if let Some(character) = rest.chars().next() {
                self.take(character, &mut emit);
                rest = &rest[character.len_utf8()..];
            }
        }
        self.is_stopped
    }

    /// Ends the text: hands on what was held back. The matcher can be used again.
    pub fn finish(&mut self, mut emit: impl FnMut(&str)) {
        emit_some(&self.held, &mut emit);
        self.held.clear();
        self.is_stopped = false;
    }

    /// Where a stop string could start in `text`; its end when nowhere.
    fn first_candidate(&self, text: &str) -> usize {
        let is_first = |c: char| self.stops.iter().any(|stop| stop.starts_with(c));
        text.find(is_first).unwrap_or(text.len())
    }

    /// Takes the character that follows the held text.
    fn take(&mut self, character: char, emit: &mut impl FnMut(&str)) {
        // The held text is shorter than a stop string, so a character always fits behind it.
        assert!(self.held.push(character).is_ok(), "room for a character");
        let complete = self.stops.iter().filter(|stop| self.held.ends_with(stop.as_str()));
        if let Some(stop_bytes) = complete.map(|stop| stop.len()).max() {
            emit_some(&self.held[..self.held.len() - stop_bytes], emit);
            self.held.clear();
            self.is_stopped = true;
            return;
        }
        let starts_stop = |end: &str| self.stops.iter().any(|stop| stop.starts_with(end));
        let mut starts = self.held.char_indices().map(|(at, _)| at);
        let keep = starts.find(|&at| starts_stop(&self.held[at..])).unwrap_or(self.held.len());
        emit_some(&self.held[..keep], emit);
        self.held.drain(..keep);
    }
}

/// Hands on a piece of text unless it is empty.
fn emit_some(text: &str, emit: &mut impl FnMut(&str)) {
    if !text.is_empty() {
        emit(text);
    }
}
