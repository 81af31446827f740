//! The operations on vectors, written once for every instruction set with float [`Lanes`].

use crate::lanes::Lanes;
use crate::sums::{SIDE_BY_SIDE, Sums};
use kinglet_core::exp::{LN2_HIGH, LN2_LOW, POLYNOMIAL, RANGE};
use kinglet_core::kernels::{NIBBLE_OFFSET, START_GROUP};
use kinglet_core::round::block_scale;
use kinglet_quant::format::BLOCK;

/// [`kinglet_core::exp::exp`] of every lane, to the bit.
#[inline(always)]
pub(crate) fn exp<L: Lanes>(cpu: L, x: L::F32) -> L::F32 {
    let x = cpu.min(cpu.max(x, cpu.splat(RANGE[0])), cpu.splat(RANGE[1]));
    let n = cpu.round(cpu.mul(x, cpu.splat(core::f32::consts::LOG2_E)));
    let whole = cpu.to_f32(n);
    // Negated constants: a sum with a negated product is the difference, to the bit.
    let rest = cpu.add(x, cpu.mul(whole, cpu.splat(-LN2_HIGH)));
    let rest = cpu.add(rest, cpu.mul(whole, cpu.splat(-LN2_LOW)));
    let mut sum = cpu.splat(POLYNOMIAL[0]);
    for coefficient in &POLYNOMIAL[1..] {
        sum = cpu.add(cpu.mul(sum, rest), cpu.splat(*coefficient));
    }
    let sum = cpu.add(cpu.mul(sum, cpu.mul(rest, rest)), cpu.add(rest, cpu.splat(1.0)));
    cpu.mul(sum, cpu.power_of_two(n))
}

/// [`kinglet_core::Kernels::quantize`]: the same codes, scales and starts as the scalar definition.
#[inline(always)]
pub(crate) fn quantize<L: Lanes>(
    cpu: L,
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [f32],
    starts: &mut [i32],
) {
    assert!(x.len().is_multiple_of(BLOCK) && codes.len() == x.len());
    assert!(scales.len() == x.len() / BLOCK && starts.len() == x.len() / START_GROUP);
    let blocks = x.chunks_exact(BLOCK).zip(codes.chunks_exact_mut(BLOCK));
    for ((x, codes), scale) in blocks.zip(scales) {
        let mut max = cpu.splat(0.0);
        for x in x.chunks_exact(L::COUNT) {
            max = cpu.max(max, cpu.abs(cpu.load(x)));
        }
        let inverse;
        (*scale, inverse) = block_scale(cpu.max_of_lanes(max));
        for (x, codes) in x.chunks_exact(L::COUNT).zip(codes.chunks_exact_mut(L::COUNT)) {
            cpu.store_i8(cpu.round(cpu.mul(cpu.load(x), cpu.splat(inverse))), codes);
        }
    }
    let (groups, _) = codes.as_chunks::<START_GROUP>();
    for (start, codes) in starts.iter_mut().zip(groups) {
        *start = -NIBBLE_OFFSET * cpu.sum_of_bytes(codes);
    }
}

/// [`kinglet_core::Kernels::rms_norm`].
#[inline(always)]
pub(crate) fn rms_norm<L: Lanes>(cpu: L, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    assert!(gain.len() == x.len() && out.len() == x.len());
    // Two, because each alone is a chain of operations that wait for one another.
    let (mut even, mut odd) = (Sums::none(cpu), Sums::none(cpu));
    let mut strides = x.chunks_exact(2 * SIDE_BY_SIDE);
    for x in &mut strides {
        let (first, second) = x.split_at(SIDE_BY_SIDE);
        for register in 0..Sums::<L>::REGISTERS {
            let [a, b] = [first, second].map(|x| cpu.load(&x[register * L::COUNT..]));
            even.add_products(cpu, register, a, a);
            odd.add_products(cpu, register, b, b);
        }
    }
    let rest = strides.remainder().chunks(SIDE_BY_SIDE);
    for (x, squares) in rest.zip([&mut even, &mut odd]) {
        for (register, x) in x.chunks(L::COUNT).enumerate() {
            let x = cpu.load_part(x);
            squares.add_products(cpu, register, x, x);
        }
    }
    let mean_square = even.and(cpu, odd).total(cpu) / x.len() as f32;
    let factor = cpu.div(cpu.splat(1.0), cpu.sqrt(cpu.splat(mean_square + eps)));
    let whole = x.len() / L::COUNT * L::COUNT;
    let inputs = x.chunks_exact(L::COUNT).zip(gain.chunks_exact(L::COUNT));
    for ((x, gain), out) in inputs.zip(out.chunks_exact_mut(L::COUNT)) {
        cpu.store(scale(cpu, cpu.load(x), factor, cpu.load(gain)), out);
    }
    if whole < x.len() {
        let tail = scale(cpu, cpu.load_part(&x[whole..]), factor, cpu.load_part(&gain[whole..]));
        cpu.store_part(tail, &mut out[whole..]);
    }
}

#[inline(always)]
fn scale<L: Lanes>(cpu: L, x: L::F32, factor: L::F32, gain: L::F32) -> L::F32 {
    cpu.mul(cpu.mul(x, factor), gain)
}

/// [`kinglet_core::Kernels::rope`].
#[inline(always)]
pub(crate) fn rope<L: Lanes>(cpu: L, head: &mut [f32], cos: &[f32], sin: &[f32]) {
    assert!(head.len() == 2 * cos.len() && cos.len() == sin.len());
    let (first, second) = head.split_at_mut(cos.len());
    let whole = cos.len() / L::COUNT * L::COUNT;
    for i in (0..whole).step_by(L::COUNT) {
        let (a, b) = (cpu.load(&first[i..]), cpu.load(&second[i..]));
        let (a, b) = rotate(cpu, [a, b], cpu.load(&cos[i..]), cpu.load(&sin[i..]));
        cpu.store(a, &mut first[i..]);
        cpu.store(b, &mut second[i..]);
    }
    if whole < cos.len() {
        let (first, second) = (&mut first[whole..], &mut second[whole..]);
        let (a, b) = (cpu.load_part(first), cpu.load_part(second));
        let (cos, sin) = (cpu.load_part(&cos[whole..]), cpu.load_part(&sin[whole..]));
        let (a, b) = rotate(cpu, [a, b], cos, sin);
        cpu.store_part(a, first);
        cpu.store_part(b, second);
    }
}

#[inline(always)]
fn rotate<L: Lanes>(cpu: L, [a, b]: [L::F32; 2], cos: L::F32, sin: L::F32) -> (L::F32, L::F32) {
    let first = cpu.mul_sub_from(b, sin, cpu.mul(a, cos));
    (first, cpu.mul_add(a, sin, cpu.mul(b, cos)))
}

/// [`kinglet_core::Kernels::silu_mul`].
#[inline(always)]
pub(crate) fn silu_mul<L: Lanes>(cpu: L, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    let whole = gate.len() / L::COUNT * L::COUNT;
    let mut pairs = gate.chunks_exact_mut(2 * L::COUNT);
    let mut up_pairs = up.chunks_exact(2 * L::COUNT);
    // Two at a time, because each alone is a chain of operations that wait for one another.
    for (gate, up) in (&mut pairs).zip(&mut up_pairs) {
        let first = gated(cpu, cpu.load(gate), cpu.load(up));
        let second = gated(cpu, cpu.load(&gate[L::COUNT..]), cpu.load(&up[L::COUNT..]));
        cpu.store(first, gate);
        cpu.store(second, &mut gate[L::COUNT..]);
    }
    let rest = pairs.into_remainder().chunks_exact_mut(L::COUNT);
    for (gate, up) in rest.zip(up_pairs.remainder().chunks_exact(L::COUNT)) {
        cpu.store(gated(cpu, cpu.load(gate), cpu.load(up)), gate);
    }
    if whole < gate.len() {
        let tail = gated(cpu, cpu.load_part(&gate[whole..]), cpu.load_part(&up[whole..]));
        cpu.store_part(tail, &mut gate[whole..]);
    }
}

#[inline(always)]
fn gated<L: Lanes>(cpu: L, gate: L::F32, up: L::F32) -> L::F32 {
    let power = exp(cpu, cpu.mul(gate, cpu.splat(-1.0)));
    cpu.mul(cpu.div(gate, cpu.add(power, cpu.splat(1.0))), up)
}

#[cfg(test)]
pub(crate) mod test {
    use crate::lanes::Lanes;

    /// `exp` gives the bits that the definition gives.
    pub(crate) fn exponentials<L: Lanes>(cpu: L) {
        for step in -900_000..=900_000 {
            let x = step as f32 * 1e-4;
            let mut result = [0f32; 16];
            cpu.store(super::exp(cpu, cpu.splat(x)), &mut result);
            let expected = kinglet_core::exp::exp(x);
            assert_eq!(result[0].to_bits(), expected.to_bits(), "exp({x})");
        }
    }
}
