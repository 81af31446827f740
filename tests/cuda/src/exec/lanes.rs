//! The registers of a warp, and functions that do the same in every lane.

use crate::ptx::instruction::{Op, Register};
use crate::ptx::names::Names;

/// Lanes of a warp.
pub const LANES: usize = 32;

/// A register: a value for every lane.
pub type Row<T> = [T; LANES];

/// The registers of a warp.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    /// Registers of 32 bits and less; upper bits beyond 16 say nothing.
    pub words: Vec<Row<u32>>,
    /// Registers of 64 bits.
    pub longs: Vec<Row<u64>>,
    /// Predicates, a bit for every lane.
    pub flags: Vec<u32>,
}

/// A function of registers in the lanes of a mask: the destination comes first.
pub type Run = fn(&mut Lanes, &[Register; 5], u32);

/// A comparison of two registers: a bit for every lane.
pub type Test = fn(&Lanes, [Register; 2]) -> u32;

/// What a lane of a register may be read as.
pub trait Value: Copy {
    /// What the register holds.
    type Cell: Cell;
    /// Whether it has 64 bits.
    const WIDE: bool;
    /// The register's values.
    fn row(lanes: &Lanes, register: Register) -> &Row<Self::Cell>;
    /// The register's values, to be written.
    fn row_mut(lanes: &mut Lanes, register: Register) -> &mut Row<Self::Cell>;
    /// The value of a lane.
    fn read(cell: Self::Cell) -> Self;
    /// What the register holds for this value.
    fn write(self) -> Self::Cell;
}

macro_rules! value {
    ($type:ty, $cell:ty, $rows:ident, $wide:literal, $read:expr, $write:expr) => {
        impl Value for $type {
            type Cell = $cell;
            const WIDE: bool = $wide;

            #[inline(always)]
            fn row(lanes: &Lanes, register: Register) -> &Row<$cell> {
                &lanes.$rows[usize::from(register)]
            }

            #[inline(always)]
            fn row_mut(lanes: &mut Lanes, register: Register) -> &mut Row<$cell> {
                &mut lanes.$rows[usize::from(register)]
            }

            #[inline(always)]
            fn read(cell: $cell) -> Self {
                ($read)(cell)
            }

            #[inline(always)]
            fn write(self) -> $cell {
                ($write)(self)
            }
        }
    };
}

value!(u8, u32, words, false, |cell| cell as u8, u32::from);
value!(i8, u32, words, false, |cell| cell as i8, |value: i8| value as u32);
value!(u16, u32, words, false, |cell| cell as u16, u32::from);
value!(i16, u32, words, false, |cell| cell as i16, |value: i16| value as u32);
value!(u32, u32, words, false, |cell| cell, |value| value);
value!(i32, u32, words, false, |cell| cell as i32, |value: i32| value as u32);
value!(f32, u32, words, false, f32::from_bits, f32::to_bits);
value!(u64, u64, longs, true, |cell| cell, |value| value);
value!(i64, u64, longs, true, |cell| cell as i64, |value: i64| value as u64);
value!(f64, u64, longs, true, f64::from_bits, f64::to_bits);

/// What a register holds in a lane.
pub trait Cell: Copy + Default {
    /// The bits of `new` where those of `mask` are set, otherwise those of `self`.
    fn blend(self, new: Self, mask: u32) -> Self;
}

impl Cell for u32 {
    #[inline(always)]
    fn blend(self, new: Self, mask: u32) -> Self {
        self & !mask | new & mask
    }
}

impl Cell for u64 {
    #[inline(always)]
    fn blend(self, new: Self, mask: u32) -> Self {
        let mask = i64::from(mask as i32) as u64;
        self & !mask | new & mask
    }
}

/// All ones in the lanes of a mask.
#[inline(always)]
fn ones(mask: u32) -> Row<u32> {
    all(|lane| (mask >> lane & 1).wrapping_neg())
}

/// Writes the lanes of a mask.
#[inline(always)]
pub fn fill<T: Cell>(row: &mut Row<T>, mask: u32, value: impl Fn(usize) -> T) {
    let new = all(value);
    if mask == u32::MAX {
        *row = new;
    } else {
        let mask = ones(mask);
        let old = *row;
        *row = all(|lane| old[lane].blend(new[lane], mask[lane]));
    }
}

/// A value for every lane. (`std::array::from_fn` makes slower code of long closures.)
#[inline(always)]
pub fn all<T: Copy + Default>(value: impl Fn(usize) -> T) -> Row<T> {
    let mut row = [T::default(); LANES];
    for (lane, cell) in row.iter_mut().enumerate() {
        *cell = value(lane);
    }
    row
}

/// Does work with the widest vectors that this processor has.
#[inline(always)]
pub fn widest<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<T>(work: impl FnOnce() -> T) -> T {
            work()
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has what the function needs.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

impl Lanes {
    /// A function of one register.
    #[inline(always)]
    pub fn map1<A: Value, D: Value>(
        &mut self,
        registers: &[Register; 5],
        mask: u32,
        f: impl Fn(A) -> D,
    ) {
        widest(|| {
            let a = A::row(self, registers[1]);
            let new = all(|i| f(A::read(a[i])).write());
            fill(D::row_mut(self, registers[0]), mask, |i| new[i]);
        });
    }

    /// A function of two registers.
    #[inline(always)]
    pub fn map2<A: Value, B: Value, D: Value>(
        &mut self,
        registers: &[Register; 5],
        mask: u32,
        f: impl Fn(A, B) -> D,
    ) {
        widest(|| {
            let (a, b) = (A::row(self, registers[1]), B::row(self, registers[2]));
            let new = all(|i| f(A::read(a[i]), B::read(b[i])).write());
            fill(D::row_mut(self, registers[0]), mask, |i| new[i]);
        });
    }

    /// A function of three registers.
    #[inline(always)]
    pub fn map3<A: Value, B: Value, C: Value, D: Value>(
        &mut self,
        registers: &[Register; 5],
        mask: u32,
        f: impl Fn(A, B, C) -> D,
    ) {
        widest(|| {
            let (a, b) = (A::row(self, registers[1]), B::row(self, registers[2]));
            let c = C::row(self, registers[3]);
            let new = all(|i| f(A::read(a[i]), B::read(b[i]), C::read(c[i])).write());
            fill(D::row_mut(self, registers[0]), mask, |i| new[i]);
        });
    }

    /// A function of four registers.
    #[inline(always)]
    pub fn map4<A: Value, B: Value, C: Value, E: Value, D: Value>(
        &mut self,
        registers: &[Register; 5],
        mask: u32,
        f: impl Fn(A, B, C, E) -> D,
    ) {
        widest(|| {
            let (a, b) = (A::row(self, registers[1]), B::row(self, registers[2]));
            let (c, e) = (C::row(self, registers[3]), E::row(self, registers[4]));
            let value = |i| f(A::read(a[i]), B::read(b[i]), C::read(c[i]), E::read(e[i]));
            let new = all(|i| value(i).write());
            fill(D::row_mut(self, registers[0]), mask, |i| new[i]);
        });
    }

    /// A comparison of two registers.
    #[inline(always)]
    pub fn test<A: Value>(&self, registers: [Register; 2], f: impl Fn(A, A) -> bool) -> u32 {
        widest(|| {
            let (a, b) = (A::row(self, registers[0]), A::row(self, registers[1]));
            let bit = |lane: usize| u32::from(f(A::read(a[lane]), A::read(b[lane]))) << lane;
            (0..LANES).fold(0, |bits, lane| bits | bit(lane))
        })
    }
}

/// A function of every lane by itself, and the sizes of its operands.
#[derive(Clone, Copy, Debug)]
pub struct Each {
    /// The function.
    pub run: Run,
    /// Whether the destination and the sources have 64 bits.
    pub wide: &'static [bool],
}

impl Each {
    /// The instruction with these operands.
    pub fn with(self, operands: &[&str], names: &mut Names) -> Result<Op, String> {
        if operands.len() != self.wide.len() {
            return Err(format!("it has {} operands, not {}", self.wide.len(), operands.len()));
        }
        let mut registers = [0; 5];
        registers[0] = names.target(operands[0], self.wide[0])?;
        for at in 1..operands.len() {
            registers[at] = names.source(operands[at], self.wide[at])?;
        }
        Ok(Op::Each { run: self.run, registers })
    }
}

/// An [`Each`] from a closure whose types say how registers are read and written.
macro_rules! each {
    (|$a:ident: $at:ty| -> $dt:ty $body:block) => {
        $crate::exec::lanes::Each {
            run: |lanes, registers, mask| lanes.map1(registers, mask, |$a: $at| -> $dt { $body }),
            wide: const {
                use $crate::exec::lanes::Value;
                &[<$dt>::WIDE, <$at>::WIDE]
            },
        }
    };
    (|$a:ident: $at:ty, $b:ident: $bt:ty| -> $dt:ty $body:block) => {
        $crate::exec::lanes::Each {
            run: |lanes, registers, mask| {
                lanes.map2(registers, mask, |$a: $at, $b: $bt| -> $dt { $body })
            },
            wide: const {
                use $crate::exec::lanes::Value;
                &[<$dt>::WIDE, <$at>::WIDE, <$bt>::WIDE]
            },
        }
    };
    (|$a:ident: $at:ty, $b:ident: $bt:ty, $c:ident: $ct:ty| -> $dt:ty $body:block) => {
        $crate::exec::lanes::Each {
            run: |lanes, registers, mask| {
                lanes.map3(registers, mask, |$a: $at, $b: $bt, $c: $ct| -> $dt { $body })
            },
            wide: const {
                use $crate::exec::lanes::Value;
                &[<$dt>::WIDE, <$at>::WIDE, <$bt>::WIDE, <$ct>::WIDE]
            },
        }
    };
    (
        |$a:ident: $at:ty, $b:ident: $bt:ty, $c:ident: $ct:ty, $e:ident: $et:ty| -> $dt:ty
        $body:block
    ) => {
        $crate::exec::lanes::Each {
            run: |lanes, registers, mask| {
                let f = |$a: $at, $b: $bt, $c: $ct, $e: $et| -> $dt { $body };
                lanes.map4(registers, mask, f)
            },
            wide: const {
                use $crate::exec::lanes::Value;
                &[<$dt>::WIDE, <$at>::WIDE, <$bt>::WIDE, <$ct>::WIDE, <$et>::WIDE]
            },
        }
    };
}

pub(crate) use each;
