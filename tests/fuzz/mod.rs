//! Everything that takes foreign bytes, each as a function of bytes: what a fuzzer calls.
//!
//! A target may refuse what it is given. What it accepts, it uses as a program would, and checks
//! what must hold then. `main.rs` lets libFuzzer choose the bytes, `../seeds.rs` takes those that
//! are kept in `seeds/`.

mod adapter;
mod c_calls;
#[expect(dead_code, reason = "what c_fuzz.rs tells of sequences")]
mod calls;
mod checkpoint;
mod gguf;
mod kinglet_file;
mod parts;
mod safetensors;
mod schema;
mod server;
mod settings;
mod state;
mod store;
mod template;
mod tokenizer;

/// One kind of bytes.
pub struct Target {
    /// Its name, also that of its folder of seeds.
    pub name: &'static str,
    /// Does everything with an input, and tells whether it was accepted. Panics where something is
    /// wrong with Kinglet.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to begin with, all of which are accepted.
    pub seeds: fn() -> Vec<(&'static str, Vec<u8>)>,
}

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target { name: stringify!($name), run: $name::run, seeds: $name::seeds }),+
        ];
    };
}

targets! {
    adapter,
    c_calls,
    gguf,
    kinglet_file,
    safetensors,
    schema,
    server,
    settings,
    state,
    store,
    template,
    tokenizer,
}

/// The target of a name.
pub fn target(name: &str) -> &'static Target {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name:?}: take one of {names:?}"))
}
