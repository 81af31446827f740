//! The context that a budget leaves room for.

use kinglet_quant::Result;

/// What the stack of a thread that computes holds at most: sessions work with as much.
pub const STACK_BYTES: usize = 32 << 10;

/// Contexts that a budget chooses are multiples of this, so that caches need no padding.
pub const CONTEXT_STEP: usize = 64;

/// The largest context up to `most` for which `needed` tells at most `budget_bytes`: `most` itself,
/// or a multiple of [`CONTEXT_STEP`]; `None` where not even the smallest fits.
pub fn largest_context(
    most: usize,
    budget_bytes: usize,
    needed: &dyn Fn(usize) -> Result<usize>,
) -> Result<Option<usize>> {
    if needed(most)? <= budget_bytes {
        return Ok(Some(most));
    }
    let (mut fits, mut exceeds) = (0, most.div_ceil(CONTEXT_STEP));
    while fits + 1 < exceeds {
        let middle = usize::midpoint(fits, exceeds);
        let is_enough = needed(middle * CONTEXT_STEP)? <= budget_bytes;
        *(if is_enough { &mut fits } else { &mut exceeds }) = middle;
    }
    Ok((fits > 0).then_some(fits * CONTEXT_STEP))
}
