//! Conversations become tokens, inside the buffer for the tokens.
//!
//! The text around messages is a model's [`Frame`], which `kinglet convert` has made of its chat
//! template. Control tokens are recognised in the frame's own texts only: `<|im_end|>` in a message
//! stays text, whoever wrote it. Otherwise the tokens are those of the whole text, so words may
//! reach from a frame's text into a message.

use crate::tokenizer::{Span, Specials, Tokenizer};
pub use kinglet_quant::frame::{Conversation, Frame, Functions, Message, Piece};
use kinglet_quant::{Code, Result, ensure};

/// Bytes of a conversation's text. `BadArgument` when the frame does not take it.
pub fn text_bytes<'a>(frame: &Frame<'a>, conversation: &Conversation<'a>) -> Result<usize> {
    Ok(frame.pieces(conversation)?.map(|piece| piece.text.len()).sum())
}

/// Entries that [`encode`] needs for a text of as many bytes: one for each byte's token, those that
/// the tokenizer puts before texts, and the text itself behind them.
pub fn room(tokenizer: &Tokenizer<'_>, text_bytes: usize) -> usize {
    let tokens = text_bytes.saturating_add(tokenizer.put_before());
    tokens.saturating_add(text_bytes.div_ceil(size_of::<u32>()))
}

/// Writes the tokens of a conversation to the front of `out` and returns their number.
///
/// `BadArgument` when the frame does not take the conversation, `PromptTooLong` when `out` has less
/// than [`room`] for [`text_bytes`]. What lies behind the tokens is overwritten.
pub fn encode<'a>(
    tokenizer: &Tokenizer<'_>,
    frame: &Frame<'a>,
    conversation: &Conversation<'a>,
    out: &mut [u32],
) -> Result<usize> {
    let pieces = frame.pieces(conversation)?;
    let bytes = text_bytes(frame, conversation)?;
    let needed = room(tokenizer, bytes);
    ensure!(
        out.len() >= needed,
        Code::PromptTooLong,
        "the conversation needs room for {needed} tokens while it is tokenized, there is room for \
         {}",
        out.len()
    );
    let (tokens, behind) = out.split_at_mut(bytes + tokenizer.put_before());
    let text = &mut bytemuck::cast_slice_mut::<u32, u8>(behind)[..bytes];
    let mut end = 0;
    for piece in pieces.clone() {
        text[end..][..piece.text.len()].copy_from_slice(piece.text.as_bytes());
        end += piece.text.len();
    }
    let mut end = 0;
    let mut spans = pieces.map(|piece| {
        end += piece.text.len();
        Span { end, specials: if piece.is_own { Specials::Parse } else { Specials::AsText } }
    });
    tokenizer.encode_spans(text, &mut spans, tokens)
}
