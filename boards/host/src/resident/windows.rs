//! Memory that stays where it is, which Windows promises to services with rights of their own only.

use kinglet_quant::{Code, Result, fail};

/// `Resource`, since nothing is kept in memory here.
pub(crate) fn keep(_mappings: [&[u8]; 2]) -> Result<()> {
    fail!(
        Code::Resource,
        "Windows is not asked to keep a model in memory: leave --mlock out, and enough memory free"
    )
}
