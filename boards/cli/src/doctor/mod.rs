//! Parts of `kinglet doctor`: what the machine has, and what to do about what costs speed or
//! memory.

pub mod advice;
pub mod machine;
