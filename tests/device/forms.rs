//! Every instruction of the shipped kernels that computes something, in a kernel of its own.
//!
//! A thread has four inputs of 64 bits, `%d0` to `%d3`. `%w0` to `%w3` are their lower halves,
//! `%w8` to `%w11` the upper ones, `%h0` to `%h3` their lowest 16 bits. The result is `%d4`, `%w4`,
//! `%h4` or `%p4`; products of matrices make four words from `%w4` on.

use kinglet_backends::Ptx;

/// Threads of a block.
pub const THREADS: u32 = 64;
/// 64-bit numbers that a thread reads.
pub const INPUTS: usize = 4;
/// 64-bit numbers that a thread writes.
pub const OUTPUTS: usize = 2;

/// What an instruction's result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
    /// Bits, of which none may differ.
    Bits,
    /// A number of 32 bits. Which NaN comes out, the manual leaves open.
    Single,
    /// A number of 16 bits; of NaN, as above.
    Half,
}

/// An instruction under test.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// What its result is.
    pub result: Result,
    /// Instructions before it.
    prepare: &'static str,
    /// The instruction; behind it may be others that fetch its result.
    text: &'static str,
}

const fn bits(text: &'static str) -> Form {
    Form { result: Result::Bits, prepare: "", text }
}

const fn after(prepare: &'static str, text: &'static str) -> Form {
    Form { result: Result::Bits, prepare, text }
}

const fn single(text: &'static str) -> Form {
    Form { result: Result::Single, prepare: "", text }
}

/// Half of all inputs hold.
const CHOICE: &str = "setp.gt.s32 %p1, %w2, 0;";
/// And half of these and of the others.
const CHOICES: &str = "setp.gt.s32 %p1, %w2, 0; setp.gt.s32 %p2, %w3, 0;";

const FORMS: [Form; 82] = [
    bits("add.s16 %h4, %h0, %h1;"),
    bits("add.s32 %w4, %w0, %w1;"),
    bits("add.s64 %d4, %d0, %d1;"),
    bits("sub.s32 %w4, %w0, %w1;"),
    bits("neg.s32 %w4, %w0;"),
    bits("mul.lo.s32 %w4, %w0, %w1;"),
    bits("mul.lo.s64 %d4, %d0, %d1;"),
    bits("mul.wide.u16 %w4, %h0, %h1;"),
    bits("mul.wide.u32 %d4, %w0, %w1;"),
    bits("mad.lo.s32 %w4, %w0, %w1, %w2;"),
    bits("mad.lo.s64 %d4, %d0, %d1, %d2;"),
    // What division by 0 gives, the manual leaves open.
    after("max.u32 %w1, %w1, 1;", "div.u32 %w4, %w0, %w1;"),
    bits("min.u32 %w4, %w0, %w1;"),
    bits("max.u32 %w4, %w0, %w1;"),
    bits("min.u64 %d4, %d0, %d1;"),
    bits("dp4a.u32.s32 %w4, %w0, %w1, %w2;"),
    bits("dp4a.s32.s32 %w4, %w0, %w1, %w2;"),
    bits("dp2a.lo.s32.s32 %w4, %w0, %w1, %w2;"),
    bits("dp2a.hi.s32.s32 %w4, %w0, %w1, %w2;"),
    bits("and.b16 %h4, %h0, %h1;"),
    bits("and.b32 %w4, %w0, %w1;"),
    bits("and.b64 %d4, %d0, %d1;"),
    bits("or.b32 %w4, %w0, %w1;"),
    bits("or.b64 %d4, %d0, %d1;"),
    bits("xor.b32 %w4, %w0, %w1;"),
    bits("not.b32 %w4, %w0;"),
    bits("shl.b32 %w4, %w0, %w1;"),
    bits("shl.b64 %d4, %d0, %w1;"),
    bits("shr.u32 %w4, %w0, %w1;"),
    bits("shr.s32 %w4, %w0, %w1;"),
    bits("shr.u64 %d4, %d0, %w1;"),
    bits("bfe.u32 %w4, %w0, %w1, %w2;"),
    bits("bfe.s32 %w4, %w0, %w1, %w2;"),
    bits("prmt.b32 %w4, %w0, %w1, %w2;"),
    bits("lop3.b32 %w4, %w0, %w1, %w2, 202;"),
    bits("popc.b32 %w4, %w0;"),
    bits("cvt.u64.u32 %d4, %w0;"),
    bits("cvt.u32.u64 %w4, %d0;"),
    bits("cvt.u16.u32 %h4, %w0;"),
    bits("cvt.s32.s8 %w4, %w0;"),
    bits("cvt.rzi.s32.f32 %w4, %w0;"),
    bits("cvt.rzi.s16.f32 %h4, %w0;"),
    single("cvt.rn.f32.s16 %w4, %h0;"),
    single("cvt.rn.f32.s32 %w4, %w0;"),
    single("cvt.rn.f32.u32 %w4, %w0;"),
    single("cvt.f32.f16 %w4, %h0;"),
    Form { result: Result::Half, prepare: "", text: "cvt.rn.f16.f32 %h4, %w0;" },
    single("add.rn.f32 %w4, %w0, %w1;"),
    single("sub.rn.f32 %w4, %w0, %w1;"),
    single("mul.rn.f32 %w4, %w0, %w1;"),
    single("div.rn.f32 %w4, %w0, %w1;"),
    single("rcp.rn.f32 %w4, %w0;"),
    single("sqrt.rn.f32 %w4, %w0;"),
    single("min.f32 %w4, %w0, %w1;"),
    single("max.f32 %w4, %w0, %w1;"),
    single("abs.f32 %w4, %w0;"),
    single("neg.f32 %w4, %w0;"),
    bits("setp.eq.b32 %p4, %w0, %w1;"),
    bits("setp.ne.b32 %p4, %w0, %w1;"),
    bits("setp.lt.s32 %p4, %w0, %w1;"),
    bits("setp.lt.u32 %p4, %w0, %w1;"),
    bits("setp.le.u32 %p4, %w0, %w1;"),
    bits("setp.gt.u32 %p4, %w0, %w1;"),
    bits("setp.ge.u32 %p4, %w0, %w1;"),
    bits("setp.eq.f32 %p4, %w0, %w1;"),
    bits("setp.lt.f32 %p4, %w0, %w1;"),
    bits("setp.geu.f32 %p4, %w0, %w1;"),
    after(CHOICE, "selp.b16 %h4, %h0, %h1, %p1;"),
    after(CHOICE, "selp.b32 %w4, %w0, %w1, %p1;"),
    after(CHOICE, "selp.b64 %d4, %d0, %d1, %p1;"),
    after(CHOICE, "selp.f32 %w4, %w0, %w1, %p1;"),
    after(CHOICES, "and.pred %p4, %p1, %p2;"),
    after(CHOICES, "or.pred %p4, %p1, %p2;"),
    after(CHOICES, "not.pred %p4, %p1;"),
    bits("shfl.sync.bfly.b32 %w4, %w0, 16, 31, -1;"),
    bits("shfl.sync.bfly.b32 %w4, %w0, 5, 31, -1;"),
    bits("shfl.sync.idx.b32 %w4, %w0, 0, 31, -1;"),
    bits("shfl.sync.idx.b32 %w4, %w0, %w1, 31, -1;"),
    after(CHOICE, "vote.sync.ballot.b32 %w4, %p1, -1;"),
    after(
        "mov.b32 %w5, 0; st.shared.b32 [sum], %w5; bar.sync 0;",
        "atom.shared.add.u32 %w5, [sum], %w0; bar.sync 0; ld.shared.b32 %w4, [sum];",
    ),
    bits(
        "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32
        {%w4, %w5, %w6, %w7}, {%w0, %w1}, {%w2}, {%w8, %w9, %w10, %w11};",
    ),
    bits(
        "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32
        {%w4, %w5, %w6, %w7}, {%w0, %w1, %w2, %w3}, {%w8, %w9}, {%w10, %w11, %w0, %w1};",
    ),
];

impl Form {
    /// The instruction's name with its types.
    pub fn opcode(&self) -> &'static str {
        self.text.split_whitespace().next().unwrap_or_default()
    }

    fn is_of_tensors(&self) -> bool {
        self.opcode().starts_with("mma.")
    }

    /// The result as two longs.
    fn widen(&self) -> &'static str {
        match ["%w4", "%d4", "%h4", "%p4"].into_iter().find(|name| self.text.contains(name)) {
            _ if self.is_of_tensors() => "mov.b64 %d4, {%w4, %w5}; mov.b64 %d5, {%w6, %w7};",
            Some("%w4") => "cvt.u64.u32 %d4, %w4;",
            Some("%h4") => "cvt.u64.u16 %d4, %h4;",
            Some("%p4") => "selp.b64 %d4, 1, 0, %p4;",
            _ => "",
        }
    }

    /// The kernel of this name.
    fn kernel(&self, name: &str) -> String {
        let halves = |at: u32| {
            let upper = at + 8;
            format!("mov.b64 {{%w{at}, %w{upper}}}, %d{at}; cvt.u16.u64 %h{at}, %d{at};")
        };
        let halves: String = (0..INPUTS as u32).map(halves).collect();
        let Self { prepare, text, .. } = self;
        let widen = self.widen();
        format!(
            ".visible .entry {name}(.param .u64 source, .param .u64 target)
            {{
            .reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %w<24>; .reg .b64 %d<16>;
            .shared .align 4 .b8 sum[4];
            ld.param.u64 %d8, [source]; ld.param.u64 %d9, [target];
            cvta.to.global.u64 %d8, %d8; cvta.to.global.u64 %d9, %d9;
            mov.u32 %w16, %ctaid.x; mov.u32 %w17, %ntid.x; mov.u32 %w18, %tid.x;
            mad.lo.s32 %w16, %w16, %w17, %w18;
            mad.wide.u32 %d8, %w16, 32, %d8; mad.wide.u32 %d9, %w16, 16, %d9;
            ld.global.v2.u64 {{%d0, %d1}}, [%d8]; ld.global.v2.u64 {{%d2, %d3}}, [%d8+16];
            {halves}
            mov.b64 %d4, 0; mov.b64 %d5, 0;
            {prepare}
            {text}
            {widen}
            st.global.v2.u64 [%d9], {{%d4, %d5}};
            ret;
            }}\n"
        )
    }
}

/// The forms that kernels of a text can have, each with the name of its kernel.
pub fn forms(ptx: Ptx) -> Vec<(String, Form)> {
    let all = FORMS.into_iter().filter(|form| ptx == Ptx::Tensor || !form.is_of_tensors());
    all.enumerate().map(|(at, form)| (format!("form_{at}"), form)).collect()
}

/// A module with a kernel for each of [`forms`], of the version and target of the shipped one.
pub fn module(ptx: Ptx) -> String {
    let header = match ptx {
        Ptx::Dot => ".version 6.5\n.target sm_72\n",
        Ptx::Tensor => ".version 7.0\n.target sm_80\n",
    };
    let kernels = forms(ptx).into_iter().map(|(name, form)| form.kernel(&name));
    format!("{header}.address_size 64\n{}", kernels.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What moves, loads, stores, waits or jumps, and so computes nothing.
    const OTHERS: [&str; 8] = ["mov", "ld", "st", "cvta", "bar", "bra", "brx", "ret"];

    /// The opcodes in a text that computes something, as `build` writes it: one on a line.
    fn computing(text: &str) -> impl Iterator<Item = &str> {
        text.lines().filter_map(|line| {
            let mut words = line.split([' ', '\t']).filter(|word| !word.starts_with('@'));
            let opcode = words.next()?.trim_end_matches(';');
            let name = opcode.split('.').next()?;
            let is_one = name.starts_with(|c: char| c.is_ascii_lowercase());
            let is_known = line.ends_with(';') && !OTHERS.contains(&name);
            (is_one && is_known).then_some(opcode)
        })
    }

    #[test]
    fn forms_are_what_the_shipped_kernels_compute_with() {
        let shipped = [
            include_str!("../../backends/src/cuda/ptx/sm_72.ptx"),
            include_str!("../../backends/src/cuda/ptx/sm_80.ptx"),
        ];
        let shipped: BTreeSet<&str> = shipped.into_iter().flat_map(computing).collect();
        let tested: BTreeSet<&str> = FORMS.iter().map(Form::opcode).collect();
        assert_eq!(tested, shipped);
    }
}
