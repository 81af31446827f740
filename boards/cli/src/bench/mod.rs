//! Parts of `kinglet bench`: its flags, the tests they ask for, measuring speed and energy, and
//! printing.

pub mod energy;
pub mod flags;
pub mod lap;
pub mod list;
pub mod measure;
pub mod plan;
pub mod record;
pub mod report;
pub mod settings;
pub mod table;
pub mod watch;
