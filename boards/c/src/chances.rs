//! How probable the tokens of a reply were, in memory of the caller's.

use crate::abi::{Candidate, GenerateOptions, KINGLET_NO_TOKEN};
use crate::handle::{self, Bytes};
use core::slice;
use kinglet_core::chances::Chances;
use kinglet_core::top;
use kinglet_quant::{Code, Result, ensure};

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<top::Candidate>() == size_of::<Candidate>());
    assert!(align_of::<top::Candidate>() == align_of::<Candidate>());
    assert!(offset_of!(top::Candidate, token) == offset_of!(Candidate, token));
    assert!(offset_of!(top::Candidate, log_probability) == offset_of!(Candidate, log_probability));
    // What is computed takes as much for each token of the vocabulary.
    assert!(size_of::<Candidate>() == size_of::<f32>() + size_of::<u32>());
    assert!(align_of::<Candidate>() == align_of::<f32>() && align_of::<f32>() == align_of::<u32>());
};

/// The caller's candidates as the core has them.
pub(crate) fn as_core(candidates: &mut [Candidate]) -> &mut [top::Candidate] {
    // SAFETY: the two structs are the same, see above.
    unsafe { slice::from_raw_parts_mut(candidates.as_mut_ptr().cast(), candidates.len()) }
}

/// Where the candidates of a reply's tokens go: the caller sees the first ones, what is behind them
/// is for computing.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    start: *mut Candidate,
    /// Those that the caller sees: the chosen one, then the most probable ones.
    count: usize,
    vocabulary: usize,
}

impl Told {
    /// What options ask for; `None` where they ask for nothing. `BadArgument`, `BufferTooSmall`.
    pub fn read(options: &GenerateOptions, vocabulary: usize) -> Result<Option<Self>> {
        let GenerateOptions { candidates: start, candidate_capacity, top_count, .. } = *options;
        ensure!(options.reserved == 0, Code::BadArgument, "the reserved field is not zero");
        if start.is_null() {
            ensure!(
                (candidate_capacity, top_count) == (0, 0),
                Code::BadArgument,
                "the buffer for candidates is null"
            );
            return Ok(None);
        }
        handle::check_array(start, candidate_capacity, "the buffer for candidates")?;
        let count = (top_count as usize).saturating_add(1);
        let needed = count.saturating_mul(2).saturating_add(vocabulary);
        ensure!(
            candidate_capacity >= needed,
            Code::BufferTooSmall,
            "there is room for {candidate_capacity} candidates: {needed} are needed"
        );
        Ok(Some(Self { start, count, vocabulary }))
    }

    /// The caller's buffer, as far as it is used.
    pub fn bytes(&self) -> Bytes<'static> {
        let used = 2 * self.count + self.vocabulary;
        Bytes::of(self.start, used, "the buffer for candidates")
    }

    /// The memory behind what the caller sees.
    ///
    /// # Safety
    ///
    /// The buffer that was read must be there for `'r`, and nobody else may use this part of it.
    pub unsafe fn chances<'r>(&self) -> Chances<'r> {
        let Self { start, count, vocabulary } = *self;
        // SAFETY: the three lie one behind the other in the buffer, whose size was checked. Its
        // bytes may be any, which numbers can have.
        unsafe {
            let own = start.add(count);
            let logits = own.add(count).cast::<f32>();
            Chances::new(
                slice::from_raw_parts_mut(logits, vocabulary),
                slice::from_raw_parts_mut(logits.add(vocabulary).cast::<u32>(), vocabulary),
                slice::from_raw_parts_mut(own.cast::<top::Candidate>(), count),
            )
        }
    }

    /// Shows the caller what was found.
    ///
    /// # Safety
    ///
    /// As for [`Told::chances`], of the part that the caller sees.
    pub unsafe fn tell(&self, found: &[top::Candidate]) {
        for i in 0..self.count {
            let none = Candidate { token: KINGLET_NO_TOKEN, log_probability: f32::NEG_INFINITY };
            let candidate = found.get(i).map_or(none, |found| Candidate {
                token: found.token,
                log_probability: found.log_probability,
            });
            // SAFETY: the buffer has as many.
            unsafe { self.start.add(i).write(candidate) };
        }
    }
}
