//! Embeddings: what the model makes of a text, as one vector.

use super::Text;
use crate::engine::Engine;
use kinglet_quant::{Code, Result, ensure};

/// How the hidden states of a text's tokens become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    #[default]
    Mean,
    /// That of the last token, which alone has seen the whole text.
    Last,
}

impl<E: Engine> Text<'_, '_, E> {
    /// Replaces the text by these tokens and writes its embedding to `out`, `[hidden]`: the hidden
    /// states behind the final norm, pooled and scaled to a length of 1.
    ///
    /// `BadArgument` for no tokens, `PromptTooLong`, `TokenOutOfRange`, and what
    /// [`Engine::hidden_states`] returns.
    pub fn embed(&mut self, tokens: &[u32], pooling: Pooling, out: &mut [f32]) -> Result<()> {
        let hidden = self.texts.model().config().hidden as usize;
        assert_eq!(out.len(), hidden);
        ensure!(!tokens.is_empty(), Code::BadArgument, "there is no text to embed");
        self.rewind(0)?;
        out.fill(0.0);
        let mut on_states = |states: &[f32]| {
            for state in states.chunks_exact(hidden) {
                match pooling {
                    Pooling::Mean => out.iter_mut().zip(state).for_each(|(sum, x)| *sum += x),
                    Pooling::Last => out.copy_from_slice(state),
                }
            }
        };
        self.take_chunks(tokens, &mut |engine, chunk| engine.hidden_states(chunk, &mut on_states))?;
        let squares: f32 = out.iter().map(|x| x * x).sum();
        let length = libm::sqrtf(squares);
        if length > 0.0 {
            out.iter_mut().for_each(|x| *x /= length);
        }
        Ok(())
    }
}
