//! Commands as people use them, in one program: building each of its own takes as long as most of
//! their tests.

mod boards;
mod files;
mod imports;
mod page;
mod power;
mod run;
mod schema;
mod serve;
mod serve_faults;
mod service;
mod shapes;
mod terminal;
