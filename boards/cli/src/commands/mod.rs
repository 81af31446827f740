//! One module per command; each has a `run` that takes the command's arguments.

pub mod bench;
pub mod boards;
pub mod chat;
pub mod choices;
pub mod compile_schema;
pub mod completions;
pub mod convert;
pub mod doctor;
pub mod embed;
pub mod eval;
pub mod inspect;
pub mod man;
pub mod plan;
pub mod pull;
pub mod report;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod sign;
pub mod tokenize;
