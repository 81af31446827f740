//! What of a session fits into the budget that its options name.

use crate::session::Request;
#[cfg(feature = "std")]
use kinglet_core::Limits;
#[cfg(feature = "std")]
use kinglet_core::budget::{CONTEXT_STEP, STACK_BYTES, largest_context};
use kinglet_quant::{Code, File, Result, ensure};

impl Request {
    /// The request with the context that fits, where the options name a budget.
    #[cfg(feature = "std")]
    pub fn within_budget(self, file: &File<'_>) -> Result<Self> {
        let (budget, most) = (self.options.memory_budget_bytes, self.limits.context);
        if budget == 0 {
            return Ok(self);
        }
        let with = |context| Self { limits: Limits { context, ..self.limits }, ..self };
        let needed = |context| with(context).bytes_in_all(file);
        let fits = match self.options.context {
            0 => largest_context(most, budget, &needed)?,
            _ => (needed(most)? <= budget).then_some(most),
        };
        let (all, short) = (needed(most)?, CONTEXT_STEP.min(most));
        let least = needed(short)?;
        ensure!(
            fits.is_some(),
            Code::BudgetTooSmall,
            "file and session need {all} bytes for a context of {most}, the budget is {budget}; \
             the least is {least} bytes, for a context of {short}"
        );
        Ok(with(fits.unwrap_or(most)))
    }

    /// Without an operating system the budget is the caller's memory.
    #[cfg(not(feature = "std"))]
    pub fn within_budget(self, _file: &File<'_>) -> Result<Self> {
        let has_none = self.options.memory_budget_bytes == 0;
        ensure!(has_none, Code::BadArgument, "a reserved field is not zero");
        Ok(self)
    }

    /// Bytes of the file, of the session on the processor's side and a device's, and of stacks.
    #[cfg(feature = "std")]
    fn bytes_in_all(&self, file: &File<'_>) -> Result<usize> {
        let plan = self.backend.plan(file, &self.limits)?;
        let device = self.backend.device_parts(file, &plan);
        let device: usize = device.iter().map(|part| part.bytes).sum();
        Ok(file.len() + self.bytes(file)? + device + self.limits.workers * STACK_BYTES)
    }
}
