//! What a whole process takes with a model, and what of a session fits in a budget for it.

use crate::options::SessionOptions;
use crate::{KvType, Model, Part, Plan, Root};
use kinglet_core::budget::{self, CONTEXT_STEP, STACK_BYTES};
use kinglet_machine::Resident;
use kinglet_quant::{Code, Error, Result};

/// What the program takes beside what it has taken already: pages of its code and of its libraries
/// that are in use while a session works, and the heap that this work adds. `tests/budget.rs` runs
/// sessions in exactly the sum of all. Code that is not optimised has more pages.
const PROGRAM_BYTES: usize = if cfg!(debug_assertions) { 4 << 20 } else { 107 << 15 };
/// Tokens of a pass and rows of logits, from the fastest to the smallest.
const PASSES: [(usize, usize); 4] = [(64, 6), (32, 4), (16, 2), (8, 1)];

/// The memory of a process that runs one session, pages of files included.
#[derive(Clone, Debug)]
pub struct Footprint {
    /// The mapped file, of which every page is read in time.
    pub file_bytes: usize,
    /// The session.
    pub plan: Plan,
    /// What a device takes beside it: see [`Model::device_parts`].
    pub device: Vec<Part>,
    /// Stacks of the session's threads.
    pub stack_bytes: usize,
    /// The program: its heap and stacks as they are now, and 3.5 MB for the code that a session
    /// uses and for what its work adds.
    pub program_bytes: usize,
}

impl Footprint {
    /// Everything together.
    pub fn total_bytes(&self) -> usize {
        self.file_bytes + self.session_bytes() + self.stack_bytes + self.program_bytes
    }

    /// The session, on the device too.
    pub fn session_bytes(&self) -> usize {
        self.plan.total_bytes() + self.device.iter().map(|part| part.bytes).sum::<usize>()
    }
}

impl Model {
    /// What this process takes with a session of these options, without taking it. Where a session
    /// exists already, its memory counts as the program's.
    pub fn footprint(&self, options: &SessionOptions) -> Result<Footprint> {
        let plan = self.plan(options)?;
        let taken = Resident::read(&Root::here()).anonymous_bytes as usize;
        Ok(Footprint {
            file_bytes: self.file_bytes(),
            stack_bytes: plan.limits().workers * STACK_BYTES,
            program_bytes: taken + PROGRAM_BYTES,
            device: self.device_parts(options)?,
            plan,
        })
    }

    /// The options with what a budget for the whole process leaves room for.
    ///
    /// A context that is not named becomes the largest that fits, at most the usual one; one that
    /// is named stays, and passes get smaller. `BudgetTooSmall` says what would fit.
    pub fn fit(&self, options: &SessionOptions, budget_bytes: usize) -> Result<SessionOptions> {
        let needs = Needs::new(self, options)?;
        let usual = self.usual_context(options);
        for passes in smaller_passes(options) {
            let fits = match options.context {
                Some(context) => {
                    let needed = needs.bytes(&passes, context)?;
                    (needed <= budget_bytes).then_some(context)
                }
                None => needs.largest_context(&passes, usual, budget_bytes)?,
            };
            if fits.is_some() {
                return Ok(SessionOptions { context: fits, ..passes });
            }
        }
        Err(self.refusal(options, budget_bytes, &needs)?)
    }

    /// The largest context, up to the model's own, with which a process of these options stays
    /// within a budget; `None` where not even the smallest does.
    pub fn largest_context(
        &self,
        options: &SessionOptions,
        budget_bytes: usize,
    ) -> Result<Option<usize>> {
        let most = self.config().max_context as usize;
        Needs::new(self, options)?.largest_context(options, most, budget_bytes)
    }

    /// The context of a session that has all the memory it wants.
    fn usual_context(&self, options: &SessionOptions) -> usize {
        options.limits(self, self.select(options).backend()).context
    }

    /// Why nothing fits, and what would.
    fn refusal(
        &self,
        options: &SessionOptions,
        budget_bytes: usize,
        needs: &Needs<'_>,
    ) -> Result<Error> {
        let context = self.usual_context(options);
        let smallest = smaller_passes(options).pop().expect("there is at least one");
        let wanted = needs.bytes(&smallest, context)?;
        let (short, kv) = (CONTEXT_STEP.min(context), Some(KvType::Int8));
        let least = needs.bytes(&SessionOptions { kv, ..smallest }, short)?;
        Ok(Error::new(
            Code::BudgetTooSmall,
            format_args!(
                "the process needs {wanted} bytes for a context of {context}, the budget is \
                 {budget_bytes}; the least is {least} bytes, for a context of {short} and an int8 \
                 cache: raise the budget, lower the context or take a smaller model"
            ),
        ))
    }
}

/// What sessions of a model need, all of the process counted.
struct Needs<'a> {
    model: &'a Model,
    /// Bytes of everything but the session.
    fixed_bytes: usize,
}

impl<'a> Needs<'a> {
    fn new(model: &'a Model, options: &SessionOptions) -> Result<Self> {
        let least = SessionOptions { context: Some(1), ..options.clone() };
        let footprint = model.footprint(&least)?;
        Ok(Self { model, fixed_bytes: footprint.total_bytes() - footprint.session_bytes() })
    }

    fn bytes(&self, options: &SessionOptions, context: usize) -> Result<usize> {
        let options = SessionOptions { context: Some(context), ..options.clone() };
        let device = self.model.device_parts(&options)?;
        let device: usize = device.iter().map(|part| part.bytes).sum();
        Ok(self.fixed_bytes + self.model.plan(&options)?.total_bytes() + device)
    }

    /// As [`budget::largest_context`], of everything together.
    fn largest_context(
        &self,
        options: &SessionOptions,
        most: usize,
        budget_bytes: usize,
    ) -> Result<Option<usize>> {
        budget::largest_context(most, budget_bytes, &|context| self.bytes(options, context))
    }
}

/// The options as they are, then with smaller and smaller passes.
fn smaller_passes(options: &SessionOptions) -> Vec<SessionOptions> {
    let smaller = PASSES.iter().map(|&(batch, logit_rows)| SessionOptions {
        batch: options.batch.min(batch.max(options.texts)),
        logit_rows: options.logit_rows.min(logit_rows),
        ..options.clone()
    });
    let mut all = vec![options.clone()];
    all.extend(smaller.filter(|smaller| smaller != options));
    all.dedup();
    all
}
