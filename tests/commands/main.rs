//! Commands as people use them, in one program: building each of its own takes as long as most of
//! their tests.

mod boards;
mod imports;
mod power;
mod run;
mod schema;
mod serve;
mod serve_faults;
mod serve_fields;
mod serve_ollama;
mod serve_responses;
mod service;
mod shapes;
mod terminal;
