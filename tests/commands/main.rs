//! Commands as people use them, in one program: building each of its own takes as long as most of
//! their tests.

mod boards;
mod files;
mod imports;
mod page;
mod power;
#[cfg(target_arch = "x86_64")]
mod processors;
mod run;
mod schema;
mod serve;
mod serve_faults;
mod serve_fields;
mod serve_metrics;
mod serve_ollama;
mod serve_responses;
mod serve_store;
mod serve_systemd;
mod service;
mod shapes;
mod signed;
mod surroundings;
mod terminal;
mod update;
mod wasm;
