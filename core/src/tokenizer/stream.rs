//! Text from the bytes of tokens as they come.

use core::str;

/// Longest beginning of a character that is not yet the character.
const MAX_PENDING: usize = 3;

/// Turns bytes into text piece by piece. All pieces together are what `String::from_utf8_lossy`
/// makes of all bytes together: a character whose bytes lie in several tokens is held back until it
/// is complete, and broken bytes become U+FFFD.
#[derive(Clone, Debug, Default)]
pub struct TextStream {
    /// The beginning of a character.
    pending: heapless::Vec<u8, { MAX_PENDING + 1 }>,
}

impl TextStream {
    /// A stream at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the bytes of the next token and hands on the text that is complete with them.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        let mut rest = self.complete_pending(bytes, &mut emit);
        while let Err(error) = str::from_utf8(rest) {
            let (valid, broken) = rest.split_at(error.valid_up_to());
            emit_valid(valid, &mut emit);
            let Some(broken_bytes) = error.error_len() else {
                self.pending.extend(broken.iter().copied());
                return;
            };
            emit("\u{FFFD}");
            rest = &broken[broken_bytes..];
        }
        emit_valid(rest, &mut emit);
    }

    /// Ends the text: an incomplete character becomes U+FFFD. The stream can be used again.
    pub fn finish(&mut self, mut emit: impl FnMut(&str)) {
        if !self.pending.is_empty() {
            emit("\u{FFFD}");
            self.pending.clear();
        }
    }

    /// Resolves the pending bytes with the first of `bytes` and returns those not used up.
    fn complete_pending<'b>(&mut self, bytes: &'b [u8], emit: &mut impl FnMut(&str)) -> &'b [u8] {
        let mut rest = bytes;
        while let Some((&next, behind)) = rest.split_first()
            && !self.pending.is_empty()
        {
            self.pending.extend([next]);
            match str::from_utf8(&self.pending) {
                Ok(character) => emit(character),
                Err(error) if error.error_len().is_none() => {
                    rest = behind;
                    continue;
                }
                // What was pending was fine up to here: `next` breaks it and starts afresh.
                Err(_) => {
                    emit("\u{FFFD}");
                    self.pending.clear();
                    return rest;
                }
            }
            self.pending.clear();
            rest = behind;
        }
        rest
    }
}

/// Hands on bytes that were found to be valid, unless there are none.
fn emit_valid(bytes: &[u8], emit: &mut impl FnMut(&str)) {
    let text = str::from_utf8(bytes).expect("checked by the caller");
    if !text.is_empty() {
        emit(text);
    }
}
