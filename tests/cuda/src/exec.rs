//! A launch: blocks of warps, one after another, or together when they may wait for each other.

pub mod bits;
pub mod compare;
pub mod control;
pub mod convert;
pub mod decode;
pub mod float;
pub mod integer;
pub mod lanes;
pub mod memory;
pub mod moves;
pub mod multiply;
pub mod warp;

use crate::counters;
use crate::fault::{Fault, code};
use crate::memory::Memory;
use crate::ptx::Kernel;
use crate::races::{GlobalRaces, SharedRaces};
use control::Warp;
use lanes::LANES;

/// What a kernel is started with.
#[derive(Clone, Debug)]
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along each axis.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond those that the kernel declares.
    pub dynamic: usize,
    /// The values of the parameters, laid out as the kernel declares.
    pub parameters: &'a [u8],
    /// Whether all blocks run at the same time.
    pub is_cooperative: bool,
}

impl Launch<'_> {
    fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// The position of a block in the grid.
    fn position(&self, block: u32) -> [u32; 3] {
        let [x, y, _] = self.grid;
        [block % x, block / x % y, block / x / y]
    }
}

/// What is looked at beside the results, and in which order warps and blocks run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// 0 for ascending, 1 for descending, anything else for a shuffle of its own.
    pub order: u64,
    /// Whether races are faults.
    pub finds_races: bool,
    /// Whether accesses to memory are counted.
    pub counts_accesses: bool,
}

/// What a warp needs beside its own registers.
#[derive(Debug)]
pub struct Context<'a> {
    launch: &'a Launch<'a>,
    memory: &'a Memory,
    settings: Settings,
    counters: &'a mut counters::Kernel,
    global_races: &'a mut GlobalRaces,
    /// Of the block whose warp runs.
    shared: &'a mut [u8],
    shared_races: &'a mut SharedRaces,
    block: u32,
}

/// A block: its shared memory and its warps.
struct Block {
    number: u32,
    shared: Vec<u8>,
    races: SharedRaces,
    warps: Vec<Warp>,
}

impl Block {
    fn new(launch: &Launch, settings: Settings) -> Self {
        let bytes = launch.kernel.shared_bytes + launch.dynamic;
        let warps = 0..launch.threads().div_ceil(LANES as u32);
        Self {
            number: 0,
            // Of addresses that are multiples of 16 in the window, the places are too.
            shared: vec![0; bytes],
            races: SharedRaces::new(if settings.finds_races { bytes } else { 0 }),
            warps: warps.map(|index| Warp::new(launch, index)).collect(),
        }
    }

    /// Begins the block with a number.
    fn begin(&mut self, launch: &Launch, number: u32) {
        const FRESH: u8 = 0xCD;
        self.number = number;
        self.shared.fill(FRESH);
        self.races.barrier();
        for warp in &mut self.warps {
            warp.begin(launch, launch.position(number), number);
        }
    }

    fn is_done(&self) -> bool {
        self.warps.iter().all(Warp::is_done)
    }

    /// Runs every warp until it waits, ends or has jumped back `jumps` times. Whether any of them
    /// ran.
    fn step(&mut self, context: &mut Step<'_>, jumps: u32) -> Result<bool, Fault> {
        let mut moved = false;
        for index in order(self.warps.len(), context.settings.order) {
            let warp = &mut self.warps[index];
            if warp.is_ready() {
                moved = true;
                let mut context = Context {
                    launch: context.launch,
                    memory: context.memory,
                    settings: context.settings,
                    counters: context.counters,
                    global_races: context.global_races,
                    shared: &mut self.shared,
                    shared_races: &mut self.races,
                    block: self.number,
                };
                warp.run(&mut context, jumps)?;
            }
        }
        let passed = control::pass_barriers(&mut self.warps);
        if passed {
            self.races.barrier();
            context.counters.barriers += 1;
        }
        Ok(moved || passed)
    }
}

/// What the steps of all blocks share.
struct Step<'a> {
    launch: &'a Launch<'a>,
    memory: &'a Memory,
    settings: Settings,
    counters: &'a mut counters::Kernel,
    global_races: &'a mut GlobalRaces,
}

/// Numbers below `count` in the order of the settings.
fn order(count: usize, order: u64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    match order {
        0 => {}
        1 => numbers.reverse(),
        seed => {
            // A linear congruential generator, Knuth's MMIX: any will do.
            let mut state = seed;
            for last in (1..count).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005);
                state = state.wrapping_add(1_442_695_040_888_963_407);
                numbers.swap(last, (state >> 33) as usize % (last + 1));
            }
        }
    }
    numbers
}

/// Jumps back of a warp before others have their turn.
const TURN: u32 = 64;
/// Jumps back of a warp in a block that runs alone.
const LONG_TURN: u32 = 1 << 20;
/// Turns of a block that runs alone: what has not ended then waits for what never comes.
const TURNS: u32 = 64;

/// The same of blocks that run together.
const TURNS_TOGETHER: u32 = 1 << 16;

/// Runs a kernel.
pub fn run(
    launch: &Launch,
    memory: &Memory,
    settings: Settings,
    counters: &mut counters::Kernel,
) -> Result<(), Fault> {
    check(launch)?;
    memory.forget_mappings();
    counters.launches += 1;
    let mut races = GlobalRaces::default();
    let mut step = Step { launch, memory, settings, counters, global_races: &mut races };
    let count = launch.grid.iter().product::<u32>() as usize;
    let numbers = order(count, settings.order);
    if launch.is_cooperative {
        let mut blocks: Vec<Block> = Vec::new();
        for number in numbers {
            let mut block = Block::new(launch, settings);
            block.begin(launch, number as u32);
            blocks.push(block);
        }
        return run_together(&mut blocks, &mut step);
    }
    let mut block = Block::new(launch, settings);
    for number in numbers {
        block.begin(launch, number as u32);
        run_alone(&mut block, &mut step)?;
    }
    Ok(())
}

fn run_alone(block: &mut Block, step: &mut Step<'_>) -> Result<(), Fault> {
    let mut turns = 0;
    while !block.is_done() {
        if !block.step(step, LONG_TURN)? {
            return Err(stuck(block, step.launch));
        }
        let is_long = block.warps.iter().any(Warp::was_interrupted);
        turns = if is_long { turns + 1 } else { 0 };
        if turns > TURNS {
            let text = format!("kernel {} does not end", step.launch.kernel.name);
            return Err(Fault::new(code::LAUNCH_FAILED, text));
        }
    }
    Ok(())
}

fn run_together(blocks: &mut [Block], step: &mut Step<'_>) -> Result<(), Fault> {
    let mut turns = 0;
    while !blocks.iter().all(Block::is_done) {
        for block in blocks.iter_mut().filter(|block| !block.is_done()) {
            if !block.step(step, TURN)? {
                return Err(stuck(block, step.launch));
            }
        }
        turns += 1;
        if turns > TURNS_TOGETHER {
            let text = format!("kernel {} does not end", step.launch.kernel.name);
            return Err(Fault::new(code::LAUNCH_FAILED, text));
        }
    }
    Ok(())
}

/// The error of a block in which nothing can run any more.
fn stuck(block: &Block, launch: &Launch) -> Fault {
    let kernel = launch.kernel;
    let waiting: Vec<String> = block.warps.iter().filter_map(|warp| warp.waits(kernel)).collect();
    let place = format!("kernel {} block {:?}", kernel.name, launch.position(block.number));
    let text = format!("{place}: no thread can go on: {}", waiting.join("; "));
    Fault::new(code::LAUNCH_FAILED, text)
}

/// What a launch must be like to begin at all.
pub fn check(launch: &Launch) -> Result<(), Fault> {
    let kernel = launch.kernel;
    let threads = launch.block.iter().map(|count| u64::from(*count)).product::<u64>();
    let blocks = launch.grid.iter().map(|count| u64::from(*count)).product::<u64>();
    let wrong = |text: String| {
        Err(Fault::new(code::INVALID_VALUE, format!("kernel {}: {text}", kernel.name)))
    };
    if threads == 0 || threads > u64::from(kernel.most_threads) {
        return wrong(format!("{threads} threads, {} at most", kernel.most_threads));
    }
    if kernel.exact_block.is_some_and(|exact| exact != launch.block) {
        return wrong(format!("blocks of {:?}, not those of .reqntid", launch.block));
    }
    if blocks == 0 || blocks > u64::from(u32::MAX) {
        return wrong(format!("{blocks} blocks"));
    }
    if launch.parameters.len() != kernel.parameter_bytes {
        return wrong(format!("{} bytes of parameters", launch.parameters.len()));
    }
    Ok(())
}
