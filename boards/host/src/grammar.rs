//! What replies may be.

use kinglet_quant::Result;
use std::fmt::Debug;

pub use kinglet_core::constraint::{Constraint, keep};

/// A shape that replies must have. One grammar serves any number of replies, also at once.
///
/// With the feature `grammar`, [`crate::guide::Guide`] is one for JSON schemas, regular expressions
/// and grammars in Lark's notation.
pub trait Grammar: Debug {
    /// A constraint at the beginning of a reply.
    fn begin(&self) -> Result<Box<dyn Constraint + '_>>;
}
