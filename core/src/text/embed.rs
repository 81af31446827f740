//! Embeddings: what the model makes of a text, as one vector.

use super::Text;
use crate::engine::{Engine, OnStates};
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

impl Pooling {
    /// Takes the hidden states of further tokens, `[tokens, hidden]`, into an embedding,
    /// `[hidden]`, which begins as zeros.
    pub fn add(self, embedding: &mut [f32], states: &[f32]) {
        for state in states.chunks_exact(embedding.len()) {
            match self {
                Self::Mean => embedding.iter_mut().zip(state).for_each(|(sum, x)| *sum += x),
                Self::Last => embedding.copy_from_slice(state),
            }
        }
    }

    /// Scales an embedding that has the states of all tokens to a length of 1.
    pub fn finish(embedding: &mut [f32]) {
        let squares: f32 = embedding.iter().map(|x| x * x).sum();
        let length = libm::sqrtf(squares);
        if length > 0.0 {
            embedding.iter_mut().for_each(|x| *x /= length);
        }
    }
}

impl<E: Engine> Text<'_, '_, E> {
    /// Replaces the text by these tokens and writes its embedding to `out`, `[hidden]`: the hidden
    /// states behind the final norm, pooled and scaled to a length of 1.
    ///
    /// `BadArgument` for no tokens, and what [`Text::hidden_states`] returns.
    pub fn embed(&mut self, tokens: &[u32], pooling: Pooling, out: &mut [f32]) -> Result<()> {
        assert_eq!(out.len(), self.texts.model().config().hidden as usize);
        ensure!(!tokens.is_empty(), Code::BadArgument, "there is no text to embed");
        self.rewind(0)?;
        out.fill(0.0);
        self.hidden_states(tokens, &mut |states| pooling.add(out, states))?;
        Pooling::finish(out);
        Ok(())
    }

    /// Appends tokens and hands out the hidden states behind the final norm of each,
    /// `[tokens, hidden]`, in order, some of them at a time.
    ///
    /// `PromptTooLong`, `TokenOutOfRange`, and what [`Engine::hidden_states`] returns.
    pub fn hidden_states(&mut self, tokens: &[u32], on_states: OnStates<'_>) -> Result<()> {
        self.take_chunks(tokens, &mut |engine, chunk| engine.hidden_states(chunk, on_states))
    }
}
