//! Constraints of the caller's: which tokens a reply may have.

use crate::abi::{self, KINGLET_NO_TOKEN};
use crate::versioned;
use core::ffi::c_void;
use kinglet_core::constraint::Constraint;
use kinglet_quant::{Code, Result, ensure};

/// The functions of a reply's constraint.
pub(crate) struct Callbacks {
    user: *mut c_void,
    filter: unsafe extern "C" fn(*mut c_void, *mut u32, usize) -> usize,
    advance: unsafe extern "C" fn(*mut c_void, u32) -> i32,
    forced: abi::ForcedToken,
    is_complete: abi::IsComplete,
}

impl Callbacks {
    /// The constraint that options name, if they name one. `BadArgument` for one that lacks a
    /// function.
    ///
    /// # Safety
    ///
    /// `given` must be null or what [`versioned::read`] takes.
    pub unsafe fn read(given: *const abi::Constraint) -> Result<Option<Self>> {
        if given.is_null() {
            return Ok(None);
        }
        // SAFETY: as promised by the caller.
        let abi::Constraint { user, filter, advance, forced, is_complete, .. } =
            unsafe { versioned::read(given) }?;
        let (Some(filter), Some(advance)) = (filter, advance) else {
            kinglet_quant::fail!(
                Code::BadArgument,
                "the constraint lacks its function filter or advance"
            );
        };
        Ok(Some(Self { user, filter, advance, forced, is_complete }))
    }
}

impl Constraint for Callbacks {
    fn filter(&mut self, tokens: &mut [u32]) -> Result<usize> {
        // SAFETY: the caller has given the function for this use, with this argument.
        Ok(unsafe { (self.filter)(self.user, tokens.as_mut_ptr(), tokens.len()) })
    }

    fn advance(&mut self, token: u32) -> Result<()> {
        // SAFETY: as above.
        let answer = unsafe { (self.advance)(self.user, token) };
        ensure!(answer == 0, Code::BadGrammar, "the constraint's function advance gave up");
        Ok(())
    }

    fn forced(&mut self) -> Result<Option<u32>> {
        // SAFETY: as above.
        let token = self.forced.map(|forced| unsafe { forced(self.user) });
        Ok(token.filter(|&token| token != KINGLET_NO_TOKEN))
    }

    fn is_complete(&mut self) -> Result<bool> {
        // SAFETY: as above.
        Ok(self.is_complete.is_some_and(|is_complete| unsafe { is_complete(self.user) } != 0))
    }
}
