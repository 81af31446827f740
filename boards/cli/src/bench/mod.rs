//! Parts of `kinglet bench`: its flags, the tests they ask for, measuring and printing.

pub mod flags;
pub mod list;
pub mod measure;
pub mod plan;
pub mod report;
