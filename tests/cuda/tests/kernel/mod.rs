//! Small kernels for tests.
#![allow(dead_code, reason = "no test needs all of it")]

use kinglet_stand_in::counters;
use kinglet_stand_in::edges::EDGES;
use kinglet_stand_in::exec::{self, Launch, Settings};
use kinglet_stand_in::fault::Fault;
use kinglet_stand_in::memory::{Memory, Origin};
use kinglet_stand_in::ptx::{self, Kernel};
use std::sync::Arc;

/// The kernel of a module with a body between these braces and two pointers as parameters.
pub fn with_body(body: &str) -> String {
    format!(
        ".version 7.0\n.target sm_72\n.address_size 64\n\
         .visible .entry k(.param .u64 first, .param .u64 second)\n{{\n\
         .reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %w<24>;\n.reg .b64 %d<16>;\n\
         .reg .f32 %f<8>;\n{body}\n}}\n"
    )
}

/// The kernel `k` of a module.
pub fn kernel(text: &str, memory: &mut Memory) -> Result<Arc<Kernel>, Fault> {
    let module = ptx::parse(text, &mut |data| {
        let start = memory.allocate(data.len() as u64, Origin::Module)?;
        write(start, data);
        Ok(start)
    })?;
    Ok(module.kernels["k"].clone())
}

/// Writes bytes to an allocation.
pub fn write(start: u64, bytes: &[u8]) {
    // SAFETY: callers give the start of an allocation of as many bytes.
    unsafe { (start as *mut u8).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
}

/// Reads an allocation.
pub fn read(start: u64, bytes: usize) -> Vec<u8> {
    // SAFETY: callers give the start of an allocation of as many bytes.
    unsafe { std::slice::from_raw_parts(start as *const u8, bytes) }.to_vec()
}

/// A run of a kernel with two buffers.
pub struct Run<'a> {
    pub text: &'a str,
    pub grid: u32,
    pub block: u32,
    pub dynamic: usize,
    pub input: &'a [u8],
    pub output: usize,
    pub settings: Settings,
    pub is_cooperative: bool,
}

impl<'a> Run<'a> {
    /// One block of this many threads.
    pub fn new(text: &'a str, block: u32) -> Self {
        let settings = Settings { order: 0, finds_races: true, counts_accesses: true };
        let (grid, dynamic, output, is_cooperative) = (1, 0, 4 * block as usize, false);
        Self { text, grid, block, dynamic, input: &[0; 64], output, settings, is_cooperative }
    }

    /// What the kernel has written, and what was counted.
    pub fn run(&self) -> Result<(Vec<u8>, counters::Kernel), Fault> {
        let mut memory = Memory::new(1 << 30, false);
        let kernel = kernel(self.text, &mut memory)?;
        let first = memory.allocate(self.input.len() as u64, Origin::Device)?;
        let second = memory.allocate(self.output as u64, Origin::Device)?;
        write(first, self.input);
        write(second, &vec![0; self.output]);
        let parameters: Vec<u8> = [first, second].iter().flat_map(|p| p.to_le_bytes()).collect();
        let launch = Launch {
            kernel: &kernel,
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            dynamic: self.dynamic,
            parameters: &parameters,
            is_cooperative: self.is_cooperative,
        };
        let mut counters = counters::Kernel::default();
        exec::run(&launch, &memory, self.settings, &mut counters)?;
        Ok((read(second, self.output), counters))
    }

    /// The words that the kernel has written.
    pub fn words(&self) -> Result<Vec<u32>, Fault> {
        let (bytes, _) = self.run()?;
        let words = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(words.collect())
    }
}

/// What one instruction makes of many operands: words `%w0` to `%w3`, longs `%d0` to `%d3` and
/// halves `%h0` to `%h3` have the same bits, the result is `%w4`, `%d4`, `%h4` or `%p4`.
pub fn results(instruction: &str, cases: &[[u64; 4]]) -> Vec<u64> {
    let target = ["%w4", "%d4", "%h4", "%p4"].into_iter().find(|name| instruction.contains(name));
    let widen = match target {
        Some("%w4") => "cvt.u64.u32 %d4, %w4;",
        Some("%h4") => "cvt.u64.u16 %d4, %h4;",
        Some("%p4") => "selp.b64 %d4, 1, 0, %p4;",
        _ => "",
    };
    let narrow = |at: u32| format!("cvt.u32.u64 %w{at}, %d{at}; cvt.u16.u64 %h{at}, %d{at};");
    let narrow: String = (0..4).map(narrow).collect();
    let body = format!(
        "ld.param.u64 %d8, [first]; ld.param.u64 %d9, [second];
        mov.u32 %w7, %ctaid.x; mov.u32 %w6, %ntid.x; mov.u32 %w5, %tid.x;
        mad.lo.s32 %w7, %w7, %w6, %w5;
        mad.wide.u32 %d8, %w7, 32, %d8; mad.wide.u32 %d9, %w7, 8, %d9;
        ld.global.v2.u64 {{%d0, %d1}}, [%d8]; ld.global.v2.u64 {{%d2, %d3}}, [%d8+16];
        {narrow} mov.b32 %w4, 0; mov.b64 %d4, 0;
        {instruction} {widen}
        st.global.u64 [%d9], %d4; ret;"
    );
    let mut padded = cases.to_vec();
    padded.resize(cases.len().next_multiple_of(32), [1; 4]);
    let input: Vec<u8> = padded.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let text = with_body(&body);
    let run = Run {
        grid: padded.len() as u32 / 32,
        input: &input,
        output: 8 * padded.len(),
        settings: Settings::default(),
        ..Run::new(&text, 32)
    };
    let (bytes, _) = run.run().unwrap_or_else(|fault| panic!("{instruction}: {fault}"));
    let longs = bytes.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().unwrap()));
    longs.take(cases.len()).collect()
}

/// Compares an instruction with another definition of it.
pub fn compare(instruction: &str, cases: &[[u64; 4]], definition: impl Fn(&[u64; 4]) -> u64) {
    for (case, found) in cases.iter().zip(results(instruction, cases)) {
        let want = definition(case);
        assert_eq!(found, want, "{instruction} of {case:x?}: {found:#x} instead of {want:#x}");
    }
}

/// A generator of bits, SplitMix64.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// All pairs of edges with a third and a fourth operand, and random bits.
pub fn cases() -> Vec<[u64; 4]> {
    let mut state = 7;
    let mut cases = Vec::new();
    for a in EDGES {
        for b in EDGES {
            cases.push([a, b, EDGES[cases.len() % EDGES.len()], random(&mut state)]);
        }
    }
    cases.extend((0..300).map(|_| std::array::from_fn(|_| random(&mut state))));
    cases
}
