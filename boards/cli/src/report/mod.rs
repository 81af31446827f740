//! The page that `kinglet report` makes of what `bench` and `plan` have written.

mod canvas;
mod depth;
mod document;
mod energy;
mod fields;
mod figure;
mod format;
mod ink;
mod memory;
mod page;
mod plan;
mod points;
mod power;
mod roofline;
mod scale;
mod series;
mod table;
mod test;
mod time;

pub use document::Documents;
pub use page::page;
