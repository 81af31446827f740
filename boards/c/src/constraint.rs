//! What the caller lets a reply be: functions of the caller's, or a table.

use crate::abi::{self, GenerateOptions, KINGLET_NO_TOKEN};
use crate::handle::array;
use crate::versioned;
use core::ffi::c_void;
use kinglet_core::automaton::Automaton;
use kinglet_core::constraint::Constraint;
use kinglet_core::walk::Walk;
use kinglet_quant::{Code, File, Result, ensure};

/// What decides which tokens a reply may have.
#[expect(clippy::large_enum_variant, reason = "there may be no heap")]
pub(crate) enum Rule<'a> {
    /// Functions of the caller's.
    Callbacks(Callbacks),
    /// A table.
    Walk(Walk<'a>),
}

impl<'a> Rule<'a> {
    /// The rule that options name, if they name one. `BadArgument` for two, and for one that lacks
    /// a function; what [`Automaton::open`] returns for a table.
    ///
    /// # Safety
    ///
    /// The constraint must be null or what [`versioned::read`] takes; the schema null or as many
    /// bytes as the options say, which nobody changes for `'a`.
    pub unsafe fn read(options: &GenerateOptions, model: &File<'a>) -> Result<Option<Self>> {
        if options.schema.is_null() {
            ensure!(
                options.schema_bytes == 0,
                Code::BadArgument,
                "the schema is null, but has {} bytes",
                options.schema_bytes
            );
            // SAFETY: as promised by the caller.
            let callbacks = unsafe { Callbacks::read(options.constraint) }?;
            return Ok(callbacks.map(Self::Callbacks));
        }
        ensure!(
            options.constraint.is_null(),
            Code::BadArgument,
            "a reply has either a schema or a constraint: leave one of them out"
        );
        // SAFETY: as promised by the caller.
        let table = unsafe { array(options.schema.cast(), options.schema_bytes, "the schema") }?;
        Ok(Some(Self::Walk(Walk::new(Automaton::open(table)?, model))))
    }

    /// The rule as the core knows it.
    pub fn constraint(&mut self) -> &mut dyn Constraint {
        match self {
            Self::Callbacks(callbacks) => callbacks,
            Self::Walk(walk) => walk,
        }
    }
}

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
    unsafe fn read(given: *const abi::Constraint) -> Result<Option<Self>> {
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
