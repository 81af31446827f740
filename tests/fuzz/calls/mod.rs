//! Sequences of calls through the C interface, right and wrong, as bytes decide.

#[path = "../../../boards/c/src/abi.rs"]
#[expect(dead_code, reason = "the library's own half of it")]
mod abi;
mod input;
pub mod library;
mod models;
mod replies;
mod sessions;
mod tools;
pub mod world;

use input::Input;
use kinglet_tests::aligned::Aligned;
use library::Library;
use world::{Slot, Tally, World};

/// Does what the bytes say, and counts statuses. Ends with all handles closed.
pub fn run(library: &Library, files: &[Aligned], bytes: &[u8], tally: &Tally) {
    let mut world = World::new(library, files, tally);
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        step(&mut world, &mut input);
    }
}

fn step(world: &mut World<'_>, input: &mut Input<'_>) {
    let has_none = |slots: &[Slot]| slots.iter().all(|slot| !slot.is_open);
    if has_none(&world.models) && !input.rarely(8) {
        return world.open(input);
    }
    if has_none(&world.sessions) && !input.rarely(4) {
        return world.make(input);
    }
    match input.pick(64) {
        0..8 => world.open(input),
        8 => world.open_wrong_path(input),
        9 if input.rarely(2) => world.set_log(input),
        9 => world.close_model(input),
        10 => world.look_at_model(input),
        11..14 => world.tokenize(input),
        14 if input.rarely(2) => world.read_calls(input),
        14 => world.detokenize(input),
        15 if input.rarely(2) => world.talk_with_functions(input),
        15 => world.render(input),
        16..26 => world.make(input),
        26 => world.destroy(input),
        27 => world.look_at_session(input),
        28 => world.cancel(input),
        29..32 => world.set_sampling(input),
        32 => world.set_deadline(input),
        33..42 => world.prefill(input),
        42..46 => world.next(input),
        46..49 => world.generate(input),
        49 => world.generate_all(input),
        50 => world.choose_text(input),
        51 => world.generate_twice(input),
        52..53 => world.read_logits(input),
        53 => world.embed(input),
        54..56 => world.rewind(input),
        56..58 => world.fork(input),
        58 => world.read_tokens(input),
        59..62 => world.save(input),
        _ => world.restore(input),
    }
}
