//! Warps: lanes that part at branches (9.7.12), meet again, and wait at barriers (9.7.13.1).

use super::lanes::{LANES, Lanes};
use super::{Context, Launch};
use crate::fault::{Fault, code};
use crate::memory::Range;
use crate::ptx::Kernel;
use crate::ptx::instruction::{Barrier, Instruction, Op};
use crate::ptx::names::Names;
use crate::ptx::opcode::Opcode;

/// Why lanes do not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// They do.
    Nothing,
    /// Other lanes of their warp must come to the same instruction.
    Lanes,
    /// Other threads of their block must come to a barrier.
    Block { number: u32, threads: Option<u32> },
}

/// Lanes at the same instruction.
#[derive(Clone, Copy, Debug)]
struct Group {
    at: u32,
    mask: u32,
    wait: Wait,
}

/// A warp.
#[derive(Debug)]
pub struct Warp {
    /// Its registers.
    pub lanes: Lanes,
    /// Local memory, that of each lane by itself.
    pub local: Vec<u8>,
    /// Ranges of global memory that it has used, of which the newest replaces the oldest.
    pub ranges: Recent,
    /// Its number in the block.
    pub index: u32,
    /// Instructions so far.
    pub steps: u64,
    /// Lanes that exist at all.
    all: u32,
    groups: Vec<Group>,
    was_interrupted: bool,
}

/// A few ranges of global memory: finding one anew takes as long as several instructions.
#[derive(Debug, Default)]
pub struct Recent {
    ranges: [Option<Range>; 8],
    next: usize,
}

impl Recent {
    /// The range that holds an address, if it is here.
    pub fn find(&self, address: u64) -> Option<&Range> {
        self.ranges.iter().flatten().find(|range| range.holds(address, 1))
    }

    /// Keeps a range.
    pub fn keep(&mut self, range: Range) {
        self.ranges[self.next] = Some(range);
        self.next = (self.next + 1) % self.ranges.len();
    }
}

/// What comes next in a warp.
enum Next {
    /// The following instruction.
    Following,
    /// Other lanes, or the same at another place.
    Pick,
}

impl Warp {
    /// A warp of a launch, with the registers that do not depend on the block.
    pub fn new(launch: &Launch, index: u32) -> Self {
        let kernel = launch.kernel;
        let [words, longs, flags] = kernel.counts;
        let mut lanes = Lanes {
            words: vec![[0xDEAD_BEEF; LANES]; words],
            longs: vec![[0xDEAD_BEEF_DEAD_BEEF; LANES]; longs],
            flags: vec![0; flags],
        };
        lanes.flags[0] = u32::MAX;
        for (register, value) in &kernel.constants.words {
            lanes.words[usize::from(*register)] = [*value; LANES];
        }
        for (register, value) in &kernel.constants.longs {
            lanes.longs[usize::from(*register)] = [*value; LANES];
        }
        for (register, name) in &kernel.constants.specials {
            let value = |lane| special(name, launch, [0; 3], 0, index, lane as u32);
            lanes.words[usize::from(*register)] = std::array::from_fn(value);
        }
        let count = (launch.threads() - index * LANES as u32).min(LANES as u32);
        Self {
            lanes,
            local: vec![0; kernel.local_bytes * LANES],
            ranges: Recent::default(),
            index,
            steps: 0,
            all: u32::MAX >> (LANES as u32 - count),
            groups: Vec::new(),
            was_interrupted: false,
        }
    }

    /// Begins the block at a position.
    pub fn begin(&mut self, launch: &Launch, position: [u32; 3], block: u32) {
        for (register, name) in &launch.kernel.constants.specials {
            // The others are what they were.
            if name.starts_with("ctaid") || name == "smid" {
                let value = special(name, launch, position, block, 0, 0);
                self.lanes.words[usize::from(*register)] = [value; LANES];
            }
        }
        self.groups.clear();
        self.groups.push(Group { at: 0, mask: self.all, wait: Wait::Nothing });
    }

    /// Whether all lanes have ended.
    pub fn is_done(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether any lane can go on.
    pub fn is_ready(&self) -> bool {
        self.groups.iter().any(|group| group.wait == Wait::Nothing)
    }

    /// Whether it had to stop for others after many jumps back.
    pub fn was_interrupted(&self) -> bool {
        self.was_interrupted
    }

    /// Lanes that have not ended.
    pub fn live(&self) -> u32 {
        self.groups.iter().fold(0, |mask, group| mask | group.mask)
    }

    /// Where lanes wait, in words.
    pub fn waits(&self, kernel: &Kernel) -> Option<String> {
        let place = |group: &Group| {
            let line = kernel.code[group.at as usize].line;
            format!(
                "warp {} lanes {:08x} on line {line} ({:?})",
                self.index, group.mask, group.wait
            )
        };
        let places: Vec<String> = self.groups.iter().map(place).collect();
        (!places.is_empty()).then(|| places.join(", "))
    }

    /// Adds lanes at a place; those that are there already go on together with them.
    fn add(&mut self, at: u32, mask: u32, wait: Wait) {
        match self.groups.iter_mut().find(|group| group.at == at) {
            Some(group) => {
                group.mask |= mask;
                group.wait = Wait::Nothing;
            }
            None => self.groups.push(Group { at, mask, wait }),
        }
    }

    /// Takes the lanes that are furthest behind, so that others can be caught up with.
    fn pick(&mut self) -> Option<Group> {
        let ready = self.groups.iter().enumerate().filter(|(_, g)| g.wait == Wait::Nothing);
        let (index, _) = ready.min_by_key(|(_, group)| group.at)?;
        Some(self.groups.swap_remove(index))
    }

    /// Runs until all lanes wait or have ended, or one group has jumped back `jumps` times.
    pub fn run(&mut self, context: &mut Context<'_>, jumps: u32) -> Result<(), Fault> {
        let kernel = context.launch.kernel;
        let mut left = jumps;
        let before = self.steps;
        let mut result = Ok(());
        self.was_interrupted = false;
        while let Some(group) = self.pick() {
            if left == 0 {
                self.was_interrupted = true;
                self.groups.push(group);
                break;
            }
            result = self.run_group(context, &kernel.code, group, &mut left);
            if result.is_err() {
                break;
            }
        }
        context.counters.instructions += self.steps - before;
        result
    }

    /// Runs lanes together until they part, meet others, wait or end.
    fn run_group(
        &mut self,
        context: &mut Context<'_>,
        code: &[Instruction],
        group: Group,
        left: &mut u32,
    ) -> Result<(), Fault> {
        let Group { mut at, mask, .. } = group;
        // Where other lanes are: there both go on together.
        let ahead = self.groups.iter().map(|group| group.at).filter(|other| *other > at);
        let meeting = ahead.min().unwrap_or(u32::MAX);
        if self.groups.iter().any(|group| group.at == at) {
            self.add(at, mask, Wait::Nothing);
            return Ok(());
        }
        loop {
            let instruction = &code[at as usize];
            let guard = instruction.guard;
            let active = mask & (self.lanes.flags[usize::from(guard.register)] ^ guard.negate);
            self.steps += 1;
            match &instruction.op {
                Op::Each { run, registers } => run(&mut self.lanes, registers, active),
                Op::Compare(compare) => compare.run(&mut self.lanes, active),
                Op::Branch(target) if active == mask && self.groups.is_empty() => {
                    if *target <= at {
                        *left -= 1;
                        if *left == 0 {
                            self.add(*target, mask, Wait::Nothing);
                            return Ok(());
                        }
                    }
                    at = *target;
                    continue;
                }
                _ => {
                    let next = self.step(context, instruction, at, mask, active, left);
                    match next.map_err(|fault| self.located(fault, context, instruction))? {
                        Next::Following => {}
                        Next::Pick => return Ok(()),
                    }
                }
            }
            at += 1;
            if at >= meeting {
                self.add(at, mask, Wait::Nothing);
                return Ok(());
            }
        }
    }

    /// An instruction that is more than a function of every lane by itself.
    fn step(
        &mut self,
        context: &mut Context<'_>,
        instruction: &Instruction,
        at: u32,
        mask: u32,
        active: u32,
        left: &mut u32,
    ) -> Result<Next, Fault> {
        match &instruction.op {
            Op::Load(access) => access.load(self, context, active, instruction.line)?,
            Op::Store(access) => access.store(self, context, active, instruction.line)?,
            Op::Atomic(atomic) => atomic.run(self, context, active, instruction.line)?,
            Op::Fence if context.settings.finds_races => context.global_races.fence(context.block),
            Op::Each { .. } | Op::Compare(_) | Op::Fence | Op::Nothing => {}
            Op::Clock { to, is_wide: true } => {
                self.lanes.longs[usize::from(*to)] = [self.steps; LANES];
            }
            Op::Clock { to, is_wide: false } => {
                self.lanes.words[usize::from(*to)] = [self.steps as u32; LANES];
            }
            Op::ActiveMask(to) => {
                let row = &mut self.lanes.words[usize::from(*to)];
                super::lanes::fill(row, active, |_| active);
            }
            Op::Branch(target) => {
                if *target <= at && active != 0 {
                    *left = left.saturating_sub(1);
                }
                self.part(at, mask, active, |_| *target);
                return Ok(Next::Pick);
            }
            Op::BranchIndex { index, targets } => {
                let rows = self.lanes.words[usize::from(*index)];
                let is_inside = |lane: u32| (rows[lane as usize] as usize) < targets.len();
                if (0..32).any(|lane| active >> lane & 1 == 1 && !is_inside(lane)) {
                    return Err(Fault::new(code::LAUNCH_FAILED, "brx.idx beyond its targets"));
                }
                *left = left.saturating_sub(1);
                self.part(at, mask, active, |lane| targets[rows[lane] as usize]);
                return Ok(Next::Pick);
            }
            Op::Exit => {
                if active != mask {
                    self.add(at + 1, mask & !active, Wait::Nothing);
                }
                return Ok(Next::Pick);
            }
            Op::Barrier(barrier) if active != 0 => {
                return self.come_to(*barrier, at, mask, active);
            }
            Op::Barrier(_) => {}
            Op::Shuffle(_) | Op::Vote(_) | Op::Reduce(_) | Op::Multiply(_) | Op::WarpBarrier(_) => {
                return self.together(&instruction.op, at, mask, active);
            }
        }
        Ok(Next::Following)
    }

    /// Sends active lanes to their targets and the others on.
    fn part(&mut self, at: u32, mask: u32, active: u32, target: impl Fn(usize) -> u32) {
        if mask != active {
            self.add(at + 1, mask & !active, Wait::Nothing);
        }
        let mut left = active;
        while left != 0 {
            let place = target(left.trailing_zeros() as usize);
            let same = (0..LANES).filter(|lane| left >> lane & 1 == 1 && target(*lane) == place);
            let same = same.fold(0, |mask, lane| mask | 1 << lane);
            self.add(place, same, Wait::Nothing);
            left &= !same;
        }
    }

    /// Lanes wait at a barrier (9.7.13.1). Others that are still to come there join them.
    fn come_to(
        &mut self,
        barrier: Barrier,
        at: u32,
        mask: u32,
        active: u32,
    ) -> Result<Next, Fault> {
        let lane = active.trailing_zeros() as usize;
        let number = self.lanes.words[usize::from(barrier.number)][lane];
        let threads = barrier.threads.map(|row| self.lanes.words[usize::from(row)][lane]);
        let is_elsewhere =
            |group: &&Group| matches!(group.wait, Wait::Block { .. }) && group.at != at;
        if barrier.is_aligned && self.groups.iter().any(|group| is_elsewhere(&group)) {
            let text = "lanes of a warp wait at different places of an aligned barrier";
            return Err(Fault::new(code::LAUNCH_FAILED, text));
        }
        if mask != active {
            self.add(at + 1, mask & !active, Wait::Nothing);
        }
        self.groups.push(Group { at, mask: active, wait: Wait::Block { number, threads } });
        Ok(Next::Pick)
    }

    /// An instruction of several lanes together (9.7.9.6, 9.7.13.2, 9.7.13.9, 9.7.13.12, 9.7.14):
    /// it waits until all its members are there.
    fn together(&mut self, op: &Op, at: u32, mask: u32, active: u32) -> Result<Next, Fault> {
        if active == 0 {
            return Ok(Next::Following);
        }
        let members = super::warp::members(op, &self.lanes, active)?;
        let missing = members & self.live() & !mask;
        if missing != 0 {
            if mask != active {
                let text = "lanes under different predicates wait for each other";
                return Err(Fault::new(code::LAUNCH_FAILED, text));
            }
            self.groups.push(Group { at, mask, wait: Wait::Lanes });
            return Ok(Next::Pick);
        }
        super::warp::run(op, &mut self.lanes, active, members)?;
        Ok(Next::Following)
    }

    fn located(&self, fault: Fault, context: &Context<'_>, instruction: &Instruction) -> Fault {
        let (launch, line) = (context.launch, instruction.line);
        let position = launch.position(context.block);
        let name = &launch.kernel.name;
        let text = launch.kernel.lines.get(&line).map_or("", String::as_str);
        let place = format!("kernel {name} block {position:?} warp {}", self.index);
        fault.at(&format!("{place} line {line} ({text})"))
    }
}

/// The value of a special register (10) in a lane.
fn special(
    name: &str,
    launch: &Launch,
    position: [u32; 3],
    block: u32,
    warp: u32,
    lane: u32,
) -> u32 {
    let thread = warp * LANES as u32 + lane;
    let [x, y, _] = launch.block;
    let axis = match name.split_once('.') {
        Some((_, "y")) => 1,
        Some((_, "z")) => 2,
        _ => 0,
    };
    let bit = 1u32 << lane;
    match name.split('.').next().unwrap_or_default() {
        "tid" => [thread % x, thread / x % y, thread / x / y][axis],
        "ntid" => launch.block[axis],
        "ctaid" => position[axis],
        "nctaid" => launch.grid[axis],
        "laneid" => lane,
        "warpid" => warp,
        "nwarpid" => launch.threads().div_ceil(LANES as u32),
        "smid" => block % 8,
        "nsmid" => 8,
        "lanemask_eq" => bit,
        "lanemask_lt" => bit - 1,
        "lanemask_le" => bit | (bit - 1),
        "lanemask_gt" => !(bit | (bit - 1)),
        "lanemask_ge" => !(bit - 1),
        "dynamic_smem_size" => launch.dynamic as u32,
        "total_smem_size" => (launch.kernel.shared_bytes + launch.dynamic) as u32,
        "WARP_SZ" => LANES as u32,
        _ => 0,
    }
}

/// Lets threads pass the barriers at which all that are awaited have come. Whether any did.
pub fn pass_barriers(warps: &mut [Warp]) -> bool {
    if warps.iter().any(Warp::is_ready) {
        return false;
    }
    let waits = |warp: &Warp| warp.groups.iter().map(|group| (group.wait, group.mask)).collect();
    let all: Vec<Vec<(Wait, u32)>> = warps.iter().map(waits).collect();
    let live: u32 = warps.iter().map(|warp| warp.live().count_ones()).sum();
    let mut passed = false;
    for wait in all.iter().flatten().map(|(wait, _)| *wait) {
        let Wait::Block { threads, .. } = wait else { continue };
        let there = |warp: &Vec<(Wait, u32)>| {
            let lanes = warp.iter().filter(|(other, _)| *other == wait);
            lanes.map(|(_, mask)| mask.count_ones()).sum::<u32>()
        };
        if all.iter().map(there).sum::<u32>() == threads.unwrap_or(live) {
            passed = true;
            release(warps, wait);
        }
    }
    passed
}

/// Sends the threads that wait for this behind their barriers.
fn release(warps: &mut [Warp], wait: Wait) {
    for warp in warps {
        let (released, kept) = warp.groups.iter().partition(|group| group.wait == wait);
        let released: Vec<Group> = released;
        warp.groups = kept;
        for group in released {
            warp.add(group.at + 1, group.mask, Wait::Nothing);
        }
    }
}

/// Decodes instructions of control (9.7.12) and of barriers (9.7.13).
pub fn decode(opcode: &Opcode, operands: &[&str], names: &mut Names) -> Result<Op, String> {
    match (opcode.name, operands) {
        ("bra", [label]) => Ok(Op::Branch(names.label(label)?)),
        ("brx", [index, label]) => {
            let index = names.source(index, false)?;
            let list = names.targets.get(*label).ok_or_else(|| format!("no targets {label}"))?;
            let targets = list.iter().map(|label| names.label(label));
            Ok(Op::BranchIndex { index, targets: targets.collect::<Result<_, _>>()? })
        }
        ("ret" | "exit", []) => Ok(Op::Exit),
        ("membar" | "fence", []) => Ok(Op::Fence),
        ("nanosleep" | "prefetch" | "prefetchu" | "discard" | "applypriority", _) => {
            Ok(Op::Nothing)
        }
        ("bar", [members]) if opcode.has("warp") => {
            Ok(Op::WarpBarrier(names.source(members, false)?))
        }
        ("bar" | "barrier", [number, rest @ ..]) if opcode.has("sync") && rest.len() <= 1 => {
            let number = names.source(number, false)?;
            let threads = rest.first().map(|count| names.source(count, false)).transpose()?;
            let is_aligned = opcode.name == "bar" || opcode.has("aligned");
            Ok(Op::Barrier(Barrier { number, threads, is_aligned }))
        }
        ("activemask", [to]) => Ok(Op::ActiveMask(names.target(to, false)?)),
        _ => Err(opcode.unsupported()),
    }
}
