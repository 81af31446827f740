//! Choosing the token behind a text.

use super::{State, Texts};
use crate::constraint::{Checked, Constraint};
use crate::engine::Engine;
use crate::sample::{Sampler, every_token};
use kinglet_quant::{Code, Result, ensure};

impl<E: Engine> Texts<'_, E> {
    /// Chooses the token behind a text, which is not appended. The logits are used up by that; all
    /// of them are computed and copied where there is a place for a copy.
    pub(crate) fn sample(
        &mut self,
        text: usize,
        sampler: &mut Sampler<'_>,
        constraint: Option<&mut (dyn Constraint + '_)>,
        copy: Option<&mut [f32]>,
    ) -> Result<u32> {
        let screen = if copy.is_some() { None } else { sampler.screen() };
        let row = self.compute_logits(text, screen)?;
        let Self { engine, candidates, states, .. } = self;
        let State { history, length, rows, .. } = &states[text];
        let survivors = match rows.screen {
            Some(_) => engine.survivors(row, candidates)?,
            None => None,
        };
        let logits = engine.logits(row)?;
        if let Some(copy) = copy {
            copy.copy_from_slice(logits);
        }
        let token = match survivors {
            Some(count) => sampler.pick_among(logits, &mut candidates[..count]),
            None => sampler.pick(logits, candidates, &history[..*length]),
        };
        let token = match constraint {
            Some(constraint) => self.fitting(text, row, token, sampler, constraint)?,
            None => token,
        };
        let State { length, rows, .. } = &mut self.states[text];
        let used = *length + 1 - rows.first;
        (rows.row, rows.first, rows.count) = (rows.row + used, *length + 1, rows.count - used);
        Ok(token)
    }

    /// The token that was picked from a row, if the constraint allows it, or another one: drawn
    /// from what the filters left, as far as that is allowed, else chosen among all that are
    /// allowed.
    fn fitting(
        &mut self,
        text: usize,
        row: usize,
        token: u32,
        sampler: &mut Sampler<'_>,
        constraint: &mut dyn Constraint,
    ) -> Result<u32> {
        let mut constraint = Checked::new(constraint, self.candidates.len());
        if constraint.allows(token)? {
            return Ok(token);
        }
        let kept = &mut self.candidates[..sampler.kept()];
        let count = if kept.is_empty() { 0 } else { constraint.filter(kept)? };
        if count > 0 {
            return Ok(sampler.draw_again(self.engine.logits(row)?, &kept[..count]));
        }
        // Whether all logits are there, and none of them has become a weight.
        let are_there = kept.is_empty() && self.states[text].rows.screen.is_none();
        if !are_there {
            self.complete()?;
        }
        let Self { engine, candidates, states, .. } = self;
        let State { history, length, .. } = &states[text];
        let logits = engine.logits(row)?;
        if !are_there {
            sampler.adjust(logits, candidates, &history[..*length]);
        }
        every_token(candidates);
        let count = constraint.filter(candidates)?;
        ensure!(
            count > 0,
            Code::BadGrammar,
            "the grammar allows no token behind what the reply has: no token of the model fits it"
        );
        Ok(sampler.pick_one_of(logits, &mut candidates[..count]))
    }
}
