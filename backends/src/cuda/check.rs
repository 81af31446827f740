//! Single kernels of a device, each as an operation on the processor's memory: for tests (feature
//! `check`), which compare them with [`kinglet_core::scalar`] like any tier.

mod engine;
mod program;

pub use super::step::LaunchTime;
pub use program::Program;

use super::device::Device;
use super::functions::Functions;
use super::launch::Launch;
use super::memory::Arena;
use super::probe::Cuda;
use super::product::{TILE_THREADS, tile_grid};
use super::ptx::Ptx;
use super::shapes::{Cache, Found, Inputs, Out, Products, Quantized, Row, Weight};
use bytemuck::Pod;
use core::ops::Range;
use kinglet_core::Kernels;
use kinglet_core::arena::Columns;
use kinglet_core::engine::Place;
use kinglet_core::kernels::{Activations, Output, START_GROUP, Screened};
use kinglet_core::kv::{ATTEND_CHUNK, KvHead, KvLayout, KvType};
use kinglet_quant::Matrix;
use kinglet_quant::format::{BLOCK, TILE_ROWS};
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

/// Vectors from which on tensor cores multiply here: all but single ones, to check every number.
const TENSOR_FROM: u32 = 2;

/// A device and its kernels.
#[derive(Debug)]
pub struct Checker {
    functions: Functions,
    device: Arc<Device>,
}

/// The operations of a [`Checker`]. Whatever fails on the device is a panic.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'c>(pub &'c Checker);

impl Checker {
    /// These kernels on a device.
    pub fn new(cuda: Cuda, ptx: Ptx) -> kinglet_quant::Result<Self> {
        let device = Device::open(cuda)?;
        Ok(Self { functions: Functions::load(&device, ptx)?, device })
    }

    /// [`Kernels::rope`] of the key, then [`KvLayout::store`], as one kernel does both.
    pub fn rotate_and_append(
        &self,
        layout: &KvLayout,
        block: &mut [u8],
        position: usize,
        [key, value]: [&[f32]; 2],
        [cos, sin]: [&[f32]; 2],
    ) {
        let memory = self.put(block);
        let [q, k, v] = [key, key, value].map(|x| self.put(x));
        let cache = Cache::of_block(layout, memory.pointer(), 1);
        self.append(position, [&q, &k, &v], [cos, sin], &cache);
        self.get(&memory, block);
    }

    /// Rotates a query and a key, and appends the key and a value to a block.
    fn append(&self, position: usize, qkv: [&Arena; 3], angles: [&[f32]; 2], cache: &Cache) {
        let ([cos, sin], rows) = (angles.map(|x| self.put(x)), self.put(&[row(position)]));
        let [q, k, v] = qkv;
        let (addresses, scale) = ([q, k, v, &cos, &sin, &rows].map(Arena::pointer), 1.0f32);
        let mut launch = self.launch([1, 1, 1], 64);
        for address in &addresses {
            launch = launch.with(address);
        }
        launch.with(&scale).with(cache).run(self.functions.append).unwrap();
        self.device.synchronize().unwrap();
    }

    fn launch(&self, grid: [u32; 3], threads: u32) -> Launch<'_> {
        self.device.enter().unwrap();
        // SAFETY: the methods below give each kernel the parameters of its declaration; what they
        // point to are arenas that live until `get` has waited.
        unsafe { Launch::new(&self.device, grid, threads) }
    }

    /// A copy on the device.
    fn put<T: Pod>(&self, values: &[T]) -> Arena {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let arena = Arena::new(&self.device, bytes.len(), "a check").unwrap();
        arena.range().write(bytes).unwrap();
        arena
    }

    /// Waits, and copies back.
    fn get<T: Pod>(&self, arena: &Arena, values: &mut [T]) {
        arena.range().read(bytemuck::cast_slice_mut(values)).unwrap();
    }

    fn inputs(&self, x: &Activations<'_>) -> ([Arena; 4], Inputs) {
        let arenas =
            [self.put(x.values), self.put(x.codes), self.put(x.scales), self.put(x.starts)];
        let [values, codes, scales, starts] = [0, 1, 2, 3].map(|i| arenas[i].pointer());
        (arenas, Inputs { values, codes, scales, starts })
    }

    fn quantized(&self, cols: usize) -> ([Arena; 3], Quantized) {
        let arenas = [
            self.put(&vec![0i8; cols]),
            self.put(&vec![0f32; cols / BLOCK]),
            self.put(&vec![0i32; cols / START_GROUP]),
        ];
        let [codes, scales, starts] = [0, 1, 2].map(|i| arenas[i].pointer());
        (arenas, Quantized { codes, scales, starts })
    }
}

fn row(position: usize) -> Row {
    Row::new(Place { text: 0, position, token: 0 }, 0)
}

impl Kernels for Checked<'_> {
    fn matmul(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        out: &mut Columns<'_, f32>,
        output: Output,
        _scratch: &mut [f32],
    ) {
        let (width, span) = (w.tile_count() * TILE_ROWS, tiles.start * TILE_ROWS);
        let mut values = vec![0f32; x.tokens * width];
        for (token, row) in values.chunks_exact_mut(width).enumerate() {
            let out = out.row(token);
            row[span..][..out.len()].copy_from_slice(out);
        }
        let (weights, results) = (self.0.put(w.bytes()), self.0.put(&values));
        let (_arenas, inputs) = self.0.inputs(x);
        let mut products = Products::default();
        products.w[0] = Weight::new(w, weights.pointer());
        let is_added = (output == Output::Add).into();
        products.out[0] = Out { values: results.pointer(), width: width as u32, is_added };
        let count = x.tokens as u32;
        let (function, grid) = self.0.functions.product(&products, count, TENSOR_FROM);
        let launch = self.0.launch(grid, TILE_THREADS).with(&products).with(&inputs);
        launch.with(&count).run(function).unwrap();
        self.0.get(&results, &mut values);
        for (token, row) in values.chunks_exact(width).enumerate() {
            let out = out.row(token);
            out.copy_from_slice(&row[span..][..out.len()]);
        }
    }

    fn screen(
        self,
        w: &Matrix<'_>,
        tiles: Range<usize>,
        x: &Activations<'_>,
        margins: &[f32],
        found: &mut Screened<'_>,
    ) {
        found.check(w, &tiles, x, margins);
        let (all, width) = (w.tile_count(), w.tile_count() * TILE_ROWS);
        let mut logits = vec![0f32; x.tokens * width];
        let mut bounds = [0, 1].map(|_| vec![0f32; x.tokens * all]);
        let weights = self.0.put(w.bytes());
        let arenas = [&logits, &bounds[0], &bounds[1]].map(|values| self.0.put(values));
        let (_inputs, inputs) = self.0.inputs(x);
        let margins = self.0.put(margins);
        let [logits_at, floors, ceilings] = [0, 1, 2].map(|i| arenas[i].pointer());
        let out = Found { logits: logits_at, floors, ceilings, width: width as u32 };
        let (weight, margins) = (Weight::new(w, weights.pointer()), margins.pointer());
        let count = x.tokens as u32;
        let (grid, is_one) = tile_grid(all as u32, count);
        let launch = self.0.launch(grid, TILE_THREADS);
        let launch = launch.with(&weight).with(&inputs).with(&margins).with(&count).with(&out);
        let functions = &self.0.functions;
        let function = if is_one { functions.screen_one } else { functions.screen_many };
        launch.run(function).unwrap();
        self.0.get(&arenas[0], &mut logits);
        self.0.get(&arenas[1], &mut bounds[0]);
        self.0.get(&arenas[2], &mut bounds[1]);
        let span = tiles.start * TILE_ROWS..tiles.end * TILE_ROWS;
        for token in 0..x.tokens {
            let logits = &logits[token * width..][..width];
            found.logits.row(token).copy_from_slice(&logits[span.clone()]);
            let [floors, ceilings] = &bounds;
            let of_token = token * all..(token + 1) * all;
            found.floors.row(token).copy_from_slice(&floors[of_token.clone()][tiles.clone()]);
            found.ceilings.row(token).copy_from_slice(&ceilings[of_token][tiles.clone()]);
        }
    }

    fn rescore(
        self,
        w: &Matrix<'_>,
        tile: usize,
        rows: u16,
        x: &Activations<'_>,
        token: usize,
        logits: &mut [f32],
    ) {
        // All rows of the tile reach the threshold; those that were not asked for are dropped.
        let (all, width) = (w.tile_count(), w.tile_count() * TILE_ROWS);
        let mut values = vec![0f32; width];
        values[tile * TILE_ROWS..][..TILE_ROWS].copy_from_slice(logits);
        let (weights, results) = (self.0.put(w.bytes()), self.0.put(&values));
        let (_arenas, inputs) = self.0.inputs(&x.quantized_token(token));
        let (ceilings, survivors) = (self.0.put(&vec![0f32; all]), self.0.put(&vec![0u16; all]));
        let (margins, thresholds) = (self.0.put(&[0f32]), self.0.put(&[f32::NEG_INFINITY]));
        let weight = Weight::new(w, weights.pointer()).padded();
        let (margins, thresholds) = (margins.pointer(), thresholds.pointer());
        let found = Found {
            logits: results.pointer(),
            floors: 0,
            ceilings: ceilings.pointer(),
            width: width as u32,
        };
        let survivors = survivors.pointer();
        let launch = self.0.launch([(all as u32).div_ceil(4), 1, 1], 128);
        let launch = launch.with(&weight).with(&inputs).with(&margins).with(&thresholds);
        launch.with(&found).with(&survivors).run(self.0.functions.rescore).unwrap();
        self.0.get(&results, &mut values);
        let values = &values[tile * TILE_ROWS..][..TILE_ROWS];
        kinglet_core::screen::rows_of(rows).for_each(|r| logits[r] = values[r]);
    }

    fn quantize(self, x: &[f32], codes: &mut [i8], scales: &mut [f32], starts: &mut [i32]) {
        let (values, cols) = (self.0.put(x), x.len() as u32);
        let (arenas, quantized) = self.0.quantized(x.len());
        let values = values.pointer();
        let launch = self.0.launch([1, 1, 1], 256).with(&values).with(&cols).with(&quantized);
        launch.run(self.0.functions.quantize).unwrap();
        self.0.get(&arenas[0], codes);
        self.0.get(&arenas[1], scales);
        self.0.get(&arenas[2], starts);
    }

    fn rms_norm(self, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
        let arenas = [self.0.put(x), self.0.put(gain), self.0.put(out)];
        let (_codes, quantized) = self.0.quantized(x.len());
        let ([x_at, gain_at, out_at], cols) =
            ([0, 1, 2].map(|i| arenas[i].pointer()), x.len() as u32);
        let launch = self.0.launch([1, 1, 1], 256);
        let launch = launch.with(&x_at).with(&gain_at).with(&eps).with(&cols).with(&out_at);
        launch.with(&quantized).run(self.0.functions.norm).unwrap();
        self.0.get(&arenas[2], out);
    }

    fn rope(self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        // As a query, beside a key of zeros that goes to a cache of its own.
        let layout = KvLayout::new(KvType::F16, head.len(), 1);
        let block = self.0.put(&vec![0u8; layout.block_bytes()]);
        let (q, zeros) = (self.0.put(head), self.0.put(&vec![0f32; head.len()]));
        let cache = Cache::of_block(&layout, block.pointer(), 1);
        self.0.append(0, [&q, &zeros, &zeros], [cos, sin], &cache);
        self.0.get(&q, head);
    }

    fn silu_mul(self, gate: &mut [f32], up: &[f32]) {
        let (arenas, cols) = ([self.0.put(gate), self.0.put(up)], gate.len() as u32);
        let (_codes, quantized) = self.0.quantized(gate.len());
        let [gate_at, up_at] = [0, 1].map(|i| arenas[i].pointer());
        let launch = self.0.launch([1, 1, 1], 256).with(&gate_at).with(&up_at).with(&cols);
        launch.with(&quantized).run(self.0.functions.silu_mul).unwrap();
        self.0.get(&arenas[0], gate);
    }

    fn attend(
        self,
        queries: &[f32],
        kv: &KvHead<'_>,
        positions: Range<usize>,
        partials: &mut [f32],
    ) {
        let layout = kv.layout;
        let group = queries.len() / layout.head_dim;
        let block: Vec<u8> = [
            kv.keys,
            kv.values,
            bytemuck::cast_slice(kv.key_scales),
            bytemuck::cast_slice(kv.value_scales),
        ]
        .concat();
        let (block, q) = (self.0.put(&block), self.0.put(queries));
        let rows = self.0.put(&[row(positions.end - 1)]);
        // The kernel computes all spans from the first position on.
        let spans = positions.end.div_ceil(ATTEND_CHUNK);
        let width = group * (layout.head_dim + 2);
        let mut all = vec![0f32; spans * width];
        let results = self.0.put(&all);
        let cache = Cache::of_block(&layout, block.pointer(), group);
        let (q, rows, count) = (q.pointer(), rows.pointer(), spans as u32);
        let out = results.pointer();
        let launch = self.0.launch([count, 1, 1], ATTEND_CHUNK as u32);
        let launch = launch.with(&q).with(&rows).with(&count).with(&out).with(&cache);
        launch.run(self.0.functions.attend).unwrap();
        self.0.get(&results, &mut all);
        partials.copy_from_slice(&all[positions.start / ATTEND_CHUNK * width..]);
    }

    fn join(self, partials: &[f32], head_dim: usize, out: &mut [f32]) {
        let group = out.len() / head_dim;
        let spans = partials.len() / (group * (head_dim + 2));
        let layout = KvLayout::new(KvType::F16, head_dim, spans * ATTEND_CHUNK);
        let (parts, results) = (self.0.put(partials), self.0.put(out));
        let rows = self.0.put(&[row(spans * ATTEND_CHUNK - 1)]);
        let cache = Cache::of_block(&layout, 0, group);
        let (parts, rows, count) = (parts.pointer(), rows.pointer(), spans as u32);
        let out_at = results.pointer();
        let launch = self.0.launch([group as u32, 1, 1], 64);
        let launch = launch.with(&parts).with(&rows).with(&count).with(&out_at).with(&cache);
        launch.run(self.0.functions.join).unwrap();
        self.0.get(&results, out);
    }
}
