//! No kernel touches memory beside its arguments: every one of them ends right before, or starts
//! right behind, a page that nobody may access, so a stray read or write ends the process.
#![cfg(unix)]

use bytemuck::Pod;
use kinglet_backends::{Choice, UseKernels};
use kinglet_core::arena::Columns;
use kinglet_core::check::{Product, Random, products};
use kinglet_core::kernels::{Output, START_GROUP, Screened, panel_floats};
use kinglet_core::kv::{ATTEND_CHUNK, KvLayout, KvType};
use kinglet_core::{Activations, Kernels};
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use kinglet_quant::{Matrix, Type};
use kinglet_tests::tiers;
use std::marker::PhantomData;
use std::ptr;

/// Which neighbour of the data is out of bounds.
#[derive(Clone, Copy, Debug)]
enum Side {
    Front,
    Back,
}

/// `count` elements beside a page without access.
struct Guarded<T> {
    map: *mut libc::c_void,
    map_bytes: usize,
    start: *mut T,
    count: usize,
    owned: PhantomData<T>,
}

impl<T: Pod> Guarded<T> {
    fn new(count: usize, side: Side) -> Self {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = count * size_of::<T>();
        let inner = bytes.next_multiple_of(page).max(page);
        let map_bytes = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the system's choice, then access to its middle.
        let (map, data) = unsafe {
            let map = libc::mmap(ptr::null_mut(), map_bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let data = map.cast::<u8>().add(page);
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert_eq!(libc::mprotect(data.cast(), inner, access), 0);
            (map, data)
        };
        let offset = match side {
            Side::Front => 0,
            Side::Back => inner - bytes,
        };
        // SAFETY: `offset` lies within the accessible pages.
        let start = unsafe { data.add(offset) }.cast();
        Self { map, map_bytes, start, count, owned: PhantomData }
    }

    fn copy(from: &[T], side: Side) -> Self {
        let mut copy = Self::new(from.len(), side);
        copy.as_mut().copy_from_slice(from);
        copy
    }

    fn as_ref(&self) -> &[T] {
        // SAFETY: `new` made room for `count` aligned elements, zero bytes are valid ones (`Pod`).
        unsafe { std::slice::from_raw_parts(self.start, self.count) }
    }

    fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `as_ref`; `&mut self` makes the borrow exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.count) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing borrows from it any more.
        assert_eq!(unsafe { libc::munmap(self.map, self.map_bytes) }, 0);
    }
}

/// Every operation with every argument beside a guard page.
struct Everything(Side);

impl UseKernels for Everything {
    type Output = ();

    fn run<K: Kernels>(self, k: K) {
        let (side, mut random) = (self.0, Random::new(3));
        for case in products().iter().filter(|case| !case.extreme) {
            matmul(k, case, side, &mut random);
        }
        for width in [1, 7, 16, 32, 33, 96, 576] {
            vectors(k, width, side, &mut random);
        }
        // Every remainder by 64, the widest registers that kernels use.
        for head_dim in (16..=256).step_by(48) {
            rope(k, head_dim, side, &mut random);
            for kind in [KvType::Int8, KvType::F16] {
                for len in [1, 15, 16, 17, 127, 128, 145] {
                    attend(k, KvLayout::new(kind, head_dim, len), len, side, &mut random);
                }
            }
        }
    }
}

fn matmul<K: Kernels>(k: K, case: &Product, side: Side, random: &mut Random) {
    let mut weights = Guarded::<u8>::new(case.weight_bytes(), side);
    case.fill(weights.as_mut(), random);
    let w = case.matrix(weights.as_ref());
    let inputs = case.inputs(random);
    let plain = inputs.view();
    let values = Guarded::copy(plain.values, side);
    let codes = Guarded::copy(plain.codes, side);
    let scales = Guarded::copy(plain.scales, side);
    let starts = Guarded::copy(plain.starts, side);
    let x = Activations {
        values: values.as_ref(),
        codes: codes.as_ref(),
        scales: scales.as_ref(),
        starts: starts.as_ref(),
        ..plain
    };
    let width = w.tile_count() * TILE_ROWS;
    let mut out = Guarded::<f32>::new(case.tokens * width, side);
    let mut scratch = Guarded::<f32>::new(panel_floats(&w), side);
    for output in [Output::Store, Output::Add] {
        let mut columns = Columns::all(out.as_mut(), width);
        k.matmul(&w, 0..w.tile_count(), &x, &mut columns, output, scratch.as_mut());
    }
    if case.kind == Type::Q8Planes {
        screen(k, &w, &x, side);
    }
}

/// The search of a head in two planes, and rescoring of few and of all rows.
fn screen<K: Kernels>(k: K, w: &Matrix<'_>, x: &Activations<'_>, side: Side) {
    let tiles = w.tile_count();
    let mut logits = Guarded::<f32>::new(x.tokens * tiles * TILE_ROWS, side);
    let [mut floors, mut ceilings] = [0, 1].map(|_| Guarded::<f32>::new(x.tokens * tiles, side));
    let margins = Guarded::copy(&vec![1.0; x.tokens], side);
    let mut found = Screened {
        logits: Columns::all(logits.as_mut(), tiles * TILE_ROWS),
        floors: Columns::all(floors.as_mut(), tiles),
        ceilings: Columns::all(ceilings.as_mut(), tiles),
    };
    k.screen(w, 0..tiles, x, margins.as_ref(), &mut found);
    let mut one_tile = Guarded::<f32>::new(TILE_ROWS, side);
    for (tile, token) in [(0, 0), (tiles - 1, x.tokens - 1)] {
        for rows in [1, 1 << 15, u16::MAX] {
            k.rescore(w, tile, rows, x, token, one_tile.as_mut());
        }
    }
}

fn vectors<K: Kernels>(k: K, width: usize, side: Side, random: &mut Random) {
    let x = Guarded::copy(&random.vector(width, 1.0), side);
    let gain = Guarded::copy(&random.vector(width, 1.0), side);
    let mut out = Guarded::new(width, side);
    k.rms_norm(x.as_ref(), gain.as_ref(), 1e-5, out.as_mut());
    k.silu_mul(out.as_mut(), gain.as_ref());
    if width.is_multiple_of(BLOCK) {
        let mut codes = Guarded::new(width, side);
        let mut scales = Guarded::new(width / BLOCK, side);
        let mut sums = Guarded::new(width / START_GROUP, side);
        k.quantize(x.as_ref(), codes.as_mut(), scales.as_mut(), sums.as_mut());
    }
}

fn rope<K: Kernels>(k: K, head_dim: usize, side: Side, random: &mut Random) {
    let mut head = Guarded::copy(&random.vector(head_dim, 1.0), side);
    let cos = Guarded::copy(&random.vector(head_dim / 2, 1.0), side);
    let sin = Guarded::copy(&random.vector(head_dim / 2, 1.0), side);
    k.rope(head.as_mut(), cos.as_ref(), sin.as_ref());
}

/// A cache that is as short as its span allows.
fn attend<K: Kernels>(k: K, layout: KvLayout, len: usize, side: Side, random: &mut Random) {
    let dim = layout.head_dim;
    let mut block = Guarded::new(layout.block_bytes(), side);
    for position in 0..len {
        let (key, value) = (random.vector(dim, 1.0), random.vector(dim, 1.0));
        layout.store(block.as_mut(), position, &key, &value);
    }
    for group in [1, 3, 8] {
        let queries = Guarded::copy(&random.vector(group * dim, 1.0), side);
        let spans = len.div_ceil(ATTEND_CHUNK);
        let mut partials = Guarded::new(spans * group * (dim + 2), side);
        k.attend(queries.as_ref(), &layout.head(block.as_ref()), 0..len, partials.as_mut());
        let mut out = Guarded::new(group * dim, side);
        k.join(partials.as_ref(), dim, out.as_mut());
    }
}

#[test]
fn kernels_stay_within_their_arguments() {
    tiers::each(|tier| {
        for side in [Side::Front, Side::Back] {
            // Shown only when the process dies before the test ends.
            eprintln!("guard pages: tier {}, {side:?}", tier.name());
            tier.with(Everything(side));
        }
    });
}
