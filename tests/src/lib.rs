//! .

pub mod shared;
pub mod strings;
