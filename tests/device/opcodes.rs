//! Instructions on a device, against the interpreter of the stand-in.

use crate::forms::{Form, INPUTS, OUTPUTS, Result as Kind, THREADS, forms, module};
use kinglet_backends::{Cuda, Program, Ptx};
use kinglet_core::check::Random;
use kinglet_stand_in::counters;
use kinglet_stand_in::edges::EDGES;
use kinglet_stand_in::exec::{self, Launch, Settings};
use kinglet_stand_in::fault::Fault;
use kinglet_stand_in::memory::{Memory, Origin};
use kinglet_stand_in::ptx;
use std::ffi::CString;

/// Numbers at borders of floats and of what they are converted to.
const FLOATS: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    0.1,
    127.5,
    -128.6,
    32_767.5,
    65_504.0,
    65_520.0,
    6e-8,
    -3e-5,
    6.1e-5,
    2_147_483_647.0,
    -2_147_483_648.0,
    4_294_967_296.0,
    1e-40,
    -1e-45,
    f32::MAX,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

/// What a thread reads.
type Case = [u64; INPUTS];

/// All pairs of edges, then numbers of any bits and of moderate size in turns.
fn cases(count: usize) -> Vec<Case> {
    let mut random = Random::new(17);
    let mut cases = Vec::new();
    for a in EDGES {
        for b in EDGES {
            cases.push([a, b, EDGES[cases.len() % EDGES.len()], random.bits()]);
        }
    }
    let upper = |random: &mut Random| random.bits() << 32;
    for a in FLOATS {
        for b in FLOATS {
            let [a, b] = [a, b].map(|x| u64::from(x.to_bits()) | upper(&mut random));
            cases.push([a, b, random.bits(), random.bits()]);
        }
    }
    assert!(cases.len() <= count && count.is_multiple_of(THREADS as usize));
    while cases.len() < count {
        let is_moderate = cases.len() % 2 == 1;
        cases.push(std::array::from_fn(|_| {
            let float = u64::from((random.unit() * 400.0).to_bits());
            if is_moderate { float | upper(&mut random) } else { random.bits() }
        }));
    }
    cases
}

/// A module in the interpreter.
struct Interpreted {
    module: ptx::Module,
    memory: Memory,
}

impl Interpreted {
    fn new(text: &str) -> Result<Self, Fault> {
        let mut memory = Memory::new(1 << 32, false);
        let place = &mut |data: &[u8]| memory.allocate(data.len() as u64, Origin::Module);
        Ok(Self { module: ptx::parse(text, place)?, memory })
    }

    /// What a kernel writes.
    fn run(&mut self, kernel: &str, input: &[u64], outputs: usize) -> Result<Vec<u64>, Fault> {
        let [first, second] = [input.len(), outputs].map(|count| 8 * count as u64);
        let source = self.memory.allocate(first, Origin::Device)?;
        let target = self.memory.allocate(second, Origin::Device)?;
        // SAFETY: the allocations have as many bytes.
        unsafe {
            (source as *mut u64).copy_from_nonoverlapping(input.as_ptr(), input.len());
            (target as *mut u64).write_bytes(0, outputs);
        }
        let addresses = [source, target];
        let launch = Launch {
            kernel: &self.module.kernels[kernel],
            grid: [(input.len() / INPUTS) as u32 / THREADS, 1, 1],
            block: [THREADS, 1, 1],
            dynamic: 0,
            parameters: bytemuck::cast_slice(&addresses),
            is_cooperative: false,
        };
        let counters = &mut counters::Kernel::default();
        exec::run(&launch, &self.memory, Settings::default(), counters)?;
        // SAFETY: the allocation has as many bytes, all of which were set.
        let output = unsafe { std::slice::from_raw_parts(target as *const u64, outputs) }.to_vec();
        self.memory.free(source, Origin::Device)?;
        self.memory.free(target, Origin::Device)?;
        Ok(output)
    }
}

/// Whether two results of a form are the same.
fn is_same(kind: Kind, found: u64, expected: u64) -> bool {
    let are_nan = match kind {
        Kind::Bits => false,
        Kind::Single => [found, expected].iter().all(|&x| f32::from_bits(x as u32).is_nan()),
        Kind::Half => [found, expected].iter().all(|&x| x & 0x7FFF > 0x7C00),
    };
    found == expected || are_nan
}

/// The first input for which results differ, in words.
fn difference(form: &Form, inputs: &[Case], found: &[u64], expected: &[u64]) -> Option<String> {
    let pairs = found.iter().zip(expected);
    let at = pairs.into_iter().position(|(a, b)| !is_same(form.result, *a, *b))?;
    let (found, expected) = (found[at], expected[at]);
    let (opcode, case) = (form.opcode(), inputs[at / OUTPUTS]);
    Some(format!("{opcode} of {case:x?} is {found:#x}, in the interpreter {expected:#x}"))
}

/// Runs every form on the device and in the interpreter, on `count` inputs: a sentence about each
/// form that differs, and how many there are.
pub fn compare(cuda: Cuda, ptx: Ptx, count: usize) -> (Vec<String>, usize) {
    let (text, inputs) = (module(ptx), cases(count));
    let input = inputs.as_flattened();
    let program = Program::new(cuda, &text).unwrap();
    let mut interpreted = Interpreted::new(&text).unwrap();
    let forms = forms(ptx);
    let differences = forms.iter().filter_map(|(name, form)| {
        let kernel = CString::new(name.as_str()).unwrap();
        let mut found = vec![0u64; OUTPUTS * count];
        let (source, target) = (bytemuck::cast_slice(input), bytemuck::cast_slice_mut(&mut found));
        // SAFETY: `module` has such a kernel, whose threads each read a case and write its results.
        unsafe { program.run(&kernel, [count as u32 / THREADS, THREADS], source, target) }.unwrap();
        let expected = interpreted.run(name, input, OUTPUTS * count).unwrap();
        difference(form, &inputs, &found, &expected)
    });
    (differences.collect(), forms.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every form computes something, and a bit that another device would have is found.
    #[test]
    fn differences_are_found() {
        let inputs = cases(2048);
        let mut interpreted = Interpreted::new(&module(Ptx::Tensor)).unwrap();
        for (name, form) in forms(Ptx::Tensor) {
            let count = OUTPUTS * inputs.len();
            let expected = interpreted.run(&name, inputs.as_flattened(), count).unwrap();
            let first = expected[0];
            assert!(expected.iter().any(|result| *result != first), "{}", form.opcode());
            assert_eq!(difference(&form, &inputs, &expected, &expected), None);
            let mut found = expected.clone();
            found[OUTPUTS * 7] ^= 1;
            let said = difference(&form, &inputs, &found, &expected).unwrap();
            assert!(said.starts_with(form.opcode()), "{said}");
        }
    }

    #[test]
    fn only_numbers_have_many_nans() {
        let [a, b] = [0x7FFF_FFFF, 0x7FC0_0001];
        assert!(is_same(Kind::Single, a, b) && !is_same(Kind::Bits, a, b));
        assert!(!is_same(Kind::Single, a, 0x7F80_0000) && !is_same(Kind::Single, 0, 1 << 31));
        assert!(is_same(Kind::Half, 0x7FFF, 0x7E00) && !is_same(Kind::Half, 0x7C00, 0x7E00));
    }
}
