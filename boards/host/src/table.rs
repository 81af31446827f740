//! Tables that say what a reply may be.

use crate::Model;
use crate::grammar::{Constraint, Grammar};
use kinglet_core::automaton::{Automaton, MAGIC};
use kinglet_core::walk::Walk;
use kinglet_quant::Result;
use std::fmt;
use std::sync::Arc;

/// A compiled schema, or compiled functions, for replies of a model: see
/// [`crate::GenerateOptions::grammar`].
///
/// It is what firmware does with the table, and needs no feature: `kinglet compile-schema` makes
/// tables, and so does `kinglet::schema` with the feature `grammar`.
#[derive(Clone)]
pub struct Table {
    model: Model,
    table: Arc<[u8]>,
}

impl Table {
    /// A table in memory. `NotKinglet`, `UnknownVersion`, `Truncated` or `Corrupt` for one that is
    /// none.
    pub fn new(model: &Model, table: &[u8]) -> Result<Self> {
        Automaton::open(table)?;
        Ok(Self { model: model.clone(), table: table.into() })
    }

    /// States of a table in memory. The same errors as from [`Table::new`].
    pub fn states(table: &[u8]) -> Result<usize> {
        Ok(Automaton::open(table)?.states())
    }

    /// Whether bytes are meant to be a table.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("bytes", &self.table.len()).finish_non_exhaustive()
    }
}

impl Grammar for Table {
    fn begin(&self) -> Result<Box<dyn Constraint + '_>> {
        Ok(Box::new(Walk::new(Automaton::open(&self.table)?, &self.model.file())))
    }
}
