//! Speed of every kernel of every tier that this CPU can run: `cargo bench -p kinglet-backends`,
//! with a part of a name behind `--` for some of them, such as `avx512/matmul`.
//!
//! Reports time, GB/s of weights, vectors or cache, and multiply-adds per cycle. Products run over
//! weights that fit into the cache, and once over a stream that does not.

mod ticks;

use criterion::measurement::Measurement;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use kinglet_backends::{Choice, Tier, UseKernels};
use kinglet_core::Kernels;
use kinglet_core::arena::Columns;
use kinglet_core::check::{Aligned, CURVED, Inputs, Product, Random};
use kinglet_core::kernels::{Output, panel_floats};
use kinglet_core::kv::{ATTEND_CHUNK, KvLayout, KvType};
use kinglet_quant::Type;
use kinglet_quant::format::{LINEAR, TILE_ROWS};
use std::hint::black_box;
use std::time::Duration;
use ticks::Ticks;

/// Rows of weights that fit into the second cache.
const CACHED_ROWS: usize = 1536;
/// Rows of weights that fit into no cache.
const STREAM_ROWS: usize = 3072 * 40;
const COLS: usize = 576;
const BATCHES: [usize; 4] = [1, 4, 8, 64];

/// The kernels of one tier in one group of benchmarks.
struct Suite<'s, 'c, M: Measurement> {
    group: &'s mut BenchmarkGroup<'c, M>,
}

impl<M: Measurement> UseKernels for Suite<'_, '_, M> {
    type Output = ();

    fn run<K: Kernels>(mut self, k: K) {
        self.products(k);
        self.vectors(k);
        self.attention(k);
    }
}

impl<M: Measurement> Suite<'_, '_, M> {
    fn bench(&mut self, name: &str, bytes: usize, multiply_adds: usize, mut work: impl FnMut()) {
        let (elements, bytes) = (multiply_adds as u64, bytes as u64);
        self.group.throughput(match elements {
            0 => Throughput::Bytes(bytes),
            _ => Throughput::ElementsAndBytes { elements, bytes },
        });
        self.group.bench_function(name, |bencher| bencher.iter(&mut work));
    }

    fn products<K: Kernels>(&mut self, k: K) {
        let formats = [
            ("q4 g16 linear", Type::Q4, 16, LINEAR),
            ("q4 g32 linear", Type::Q4, 32, LINEAR),
            ("q4 g16 table", Type::Q4, 16, CURVED),
            ("q8", Type::Q8, 32, LINEAR),
            ("bf16", Type::Bf16, 32, LINEAR),
        ];
        for (name, kind, group, table) in formats {
            let shapes = BATCHES.map(|tokens| (CACHED_ROWS, tokens));
            for (rows, tokens) in shapes.into_iter().chain([(STREAM_ROWS, 1)]) {
                let extreme = false;
                let case = Product { kind, group, table, rows, cols: COLS, tokens, extreme };
                self.product(k, &format!("matmul {name} {rows}×{COLS} ×{tokens}"), &case);
            }
        }
    }

    fn product<K: Kernels>(&mut self, k: K, name: &str, case: &Product) {
        let mut random = Random::new(7);
        let mut memory = Aligned::zeroed(case.weight_bytes());
        case.fill(memory.bytes_mut(), &mut random);
        let w = case.matrix(memory.bytes());
        let values = random.vector(case.tokens * case.cols, 1.0);
        let inputs = Inputs::new(values, case.tokens, case.cols);
        let width = w.tile_count() * TILE_ROWS;
        let mut out = vec![0.0; case.tokens * width];
        let mut scratch = vec![0.0; panel_floats(&w)];
        self.bench(name, case.weight_bytes(), case.rows * case.cols * case.tokens, || {
            let mut out = Columns::all(&mut out, width);
            let x = black_box(inputs.view());
            k.matmul(&w, 0..w.tile_count(), &x, &mut out, Output::Store, &mut scratch);
        });
    }

    fn vectors<K: Kernels>(&mut self, k: K) {
        let mut random = Random::new(8);
        let width = 1536;
        let (x, gain) = (random.vector(width, 1.0), random.vector(width, 1.0));
        let mut out = vec![0.0; width];
        let (mut codes, mut scales, mut starts) =
            (vec![0; width], vec![0.0; width / 32], vec![0; width / 16]);
        self.bench("quantize 1536", 4 * width, 0, || {
            k.quantize(black_box(&x), &mut codes, &mut scales, &mut starts);
        });
        self.bench("rms_norm 1536", 4 * width, 0, || {
            k.rms_norm(black_box(&x), &gain, 1e-5, &mut out);
        });
        self.bench("silu_mul 1536", 8 * width, 0, || {
            out.copy_from_slice(black_box(&x));
            k.silu_mul(&mut out, &gain);
        });
        self.bench("rope 64", 256, 0, || k.rope(black_box(&mut out[..64]), &x[..32], &gain[..32]));
    }

    fn attention<K: Kernels>(&mut self, k: K) {
        let mut random = Random::new(9);
        let dim = 64;
        for kind in [KvType::Int8, KvType::F16] {
            let layout = KvLayout::new(kind, dim, ATTEND_CHUNK);
            let mut memory = Aligned::zeroed(layout.block_bytes());
            for position in 0..ATTEND_CHUNK {
                let (key, value) = (random.vector(dim, 1.0), random.vector(dim, 1.0));
                layout.store(memory.bytes_mut(), position, &key, &value);
            }
            let (key, value) = (random.vector(dim, 1.0), random.vector(dim, 1.0));
            self.bench(&format!("append {} {dim}", kind.name()), 8 * dim, 0, || {
                k.append(&layout, memory.bytes_mut(), 5, black_box(&key), &value);
            });
            let kv = layout.head(memory.bytes());
            for group in [1, 3] {
                let queries = random.vector(group * dim, 1.0);
                let mut partials = vec![0.0; group * (dim + 2)];
                let name = format!("attend {} {dim} ×{group}, {ATTEND_CHUNK}", kind.name());
                let multiply_adds = 2 * group * dim * ATTEND_CHUNK;
                self.bench(&name, layout.block_bytes(), multiply_adds, || {
                    k.attend(black_box(&queries), &kv, 0..ATTEND_CHUNK, &mut partials);
                });
            }
        }
    }
}

fn main() {
    // Many short benchmarks: each is steady after milliseconds.
    let mut criterion = Criterion::default()
        .with_measurement(Ticks::new())
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20)
        .configure_from_args();
    for tier in Tier::available() {
        let mut group = criterion.benchmark_group(tier.name());
        tier.with(Suite { group: &mut group });
        group.finish();
    }
    criterion.final_summary();
}
