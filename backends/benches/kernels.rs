//! Speed of every kernel of every tier that this CPU can run: `cargo bench -p kinglet-backends`.
//!
//! Prints the best of several rounds: GB/s of weights or cache and multiply-adds per cycle of the
//! time stamp counter. Products run once over weights that fit into the cache and once over a
//! stream that does not.

use kinglet_backends::{Tier, UseKernels};
use kinglet_core::Kernels;
use kinglet_core::arena::Columns;
use kinglet_core::check::{Aligned, CURVED, Inputs, Product, Random};
use kinglet_core::kernels::{Output, panel_floats};
use kinglet_core::kv::{ATTEND_CHUNK, KvLayout, KvType};
use kinglet_quant::Type;
use kinglet_quant::format::{LINEAR, TILE_ROWS};
use std::hint::black_box;
use std::time::Instant;

/// Short and many, so that some of them run undisturbed.
const ROUNDS: usize = 200;

struct Bench {
    tier: Tier,
    cycles_per_second: f64,
}

impl UseKernels for Bench {
    type Output = ();

    fn run<K: Kernels>(self, k: K) {
        println!("{}", self.tier.name());
        self.products(k);
        self.vectors(k);
        self.attention(k);
    }
}

impl Bench {
    /// The best time of one call, in seconds.
    fn time(&self, calls: usize, mut work: impl FnMut()) -> f64 {
        let mut best = f64::INFINITY;
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for _ in 0..calls {
                work();
            }
            best = best.min(start.elapsed().as_secs_f64() / calls as f64);
        }
        best
    }

    fn print(&self, what: &str, seconds: f64, bytes: usize, products: usize) {
        let gigabytes = bytes as f64 / seconds / 1e9;
        let per_cycle = products as f64 / seconds / self.cycles_per_second;
        let micros = seconds * 1e6;
        println!("  {what:28} {micros:10.2} µs {gigabytes:8.2} GB/s {per_cycle:8.2} MAC/cycle");
    }

    fn products<K: Kernels>(&self, k: K) {
        let formats = [
            ("q4 g16 linear", Type::Q4, 16, LINEAR),
            ("q4 g32 linear", Type::Q4, 32, LINEAR),
            ("q4 g16 table", Type::Q4, 16, CURVED),
            ("q8", Type::Q8, 32, LINEAR),
            ("bf16", Type::Bf16, 32, LINEAR),
        ];
        for (name, kind, group, table) in formats {
            for (rows, tokens) in [(1536, 1), (3072 * 40, 1), (1536, 4), (1536, 128)] {
                let cols = 576;
                let case = Product { kind, group, table, rows, cols, tokens, extreme: false };
                let seconds = self.product(k, &case);
                let what = format!("{name} {rows}×{cols} ×{tokens}");
                self.print(&what, seconds, case.weight_bytes(), rows * cols * tokens);
            }
        }
    }

    fn product<K: Kernels>(&self, k: K, case: &Product) -> f64 {
        let mut random = Random::new(7);
        let mut memory = Aligned::zeroed(case.weight_bytes());
        case.fill(memory.bytes_mut(), &mut random);
        let w = case.matrix(memory.bytes());
        let values = random.vector(case.tokens * case.cols, 1.0);
        let inputs = Inputs::new(values, case.tokens, case.cols);
        let width = w.tile_count() * TILE_ROWS;
        let mut out = vec![0.0; case.tokens * width];
        let mut scratch = vec![0.0; panel_floats(&w)];
        let calls = (10_000_000 / (case.rows * case.cols * case.tokens)).max(1);
        self.time(calls, || {
            let mut out = Columns::all(&mut out, width);
            let x = black_box(inputs.view());
            k.matmul(&w, 0..w.tile_count(), &x, &mut out, Output::Store, &mut scratch);
        })
    }

    fn vectors<K: Kernels>(&self, k: K) {
        let mut random = Random::new(8);
        let width = 1536;
        let (x, gain) = (random.vector(width, 1.0), random.vector(width, 1.0));
        let mut out = vec![0.0; width];
        let (mut codes, mut scales, mut sums) =
            (vec![0; width], vec![0.0; width / 32], vec![0; width / 16]);
        let seconds =
            self.time(100, || k.quantize(black_box(&x), &mut codes, &mut scales, &mut sums));
        self.print("quantize 1536", seconds, 4 * width, 0);
        let seconds = self.time(100, || k.rms_norm(black_box(&x), &gain, 1e-5, &mut out));
        self.print("rms_norm 1536", seconds, 4 * width, 0);
        let seconds = self.time(100, || {
            out.copy_from_slice(black_box(&x));
            k.silu_mul(&mut out, &gain);
        });
        self.print("silu_mul 1536", seconds, 8 * width, 0);
        let seconds = self.time(100, || k.rope(black_box(&mut out[..64]), &x[..32], &gain[..32]));
        self.print("rope 64", seconds, 256, 0);
    }

    fn attention<K: Kernels>(&self, k: K) {
        let mut random = Random::new(9);
        for kind in [KvType::Int8, KvType::F16] {
            for group in [1, 3] {
                let (dim, layout) = (64, KvLayout::new(kind, 64, ATTEND_CHUNK));
                let mut memory = Aligned::zeroed(layout.block_bytes());
                for position in 0..ATTEND_CHUNK {
                    let (key, value) = (random.vector(dim, 1.0), random.vector(dim, 1.0));
                    layout.store(memory.bytes_mut(), position, &key, &value);
                }
                let (key, value) = (random.vector(dim, 1.0), random.vector(dim, 1.0));
                let seconds = self.time(100, || {
                    layout.store(memory.bytes_mut(), 5, black_box(&key), &value);
                });
                self.print(&format!("store {} 64", kind.name()), seconds, 8 * dim, 0);
                let kv = layout.head(memory.bytes());
                let queries = random.vector(group * dim, 1.0);
                let mut partials = vec![0.0; group * (dim + 2)];
                let span = 0..ATTEND_CHUNK;
                let seconds = self
                    .time(100, || k.attend(black_box(&queries), &kv, span.clone(), &mut partials));
                let what = format!("attend {} 64 ×{group}, 128", kind.name());
                self.print(&what, seconds, layout.block_bytes(), 2 * group * dim * ATTEND_CHUNK);
            }
        }
    }
}

/// Ticks of the time stamp counter per second.
fn cycles_per_second() -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 CPU has the instruction; it reads a counter.
        let ticks = || unsafe { core::arch::x86_64::_rdtsc() };
        let (start, first) = (Instant::now(), ticks());
        while start.elapsed().as_millis() < 50 {}
        (ticks() - first) as f64 / start.elapsed().as_secs_f64()
    }
    #[cfg(not(target_arch = "x86_64"))]
    f64::NAN
}

fn main() {
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let cycles_per_second = cycles_per_second();
    for tier in Tier::available().skip(1) {
        if wanted.as_ref().is_none_or(|name| name == tier.name()) {
            tier.with(Bench { tier, cycles_per_second });
        }
    }
}
