//! The speed of a model on a board that nobody has measured: its roofline.
//!
//! A token takes the longer of two times: that in which memory delivers its bytes, and that in
//! which the cores execute its multiply-adds. On a GPU each launch of a kernel takes a time of its
//! own. The source of the method: Williams, Waterman and Patterson, "Roofline" (2009).

use crate::{Profile, profile::Cores};

/// Threads that a session has at most unless told otherwise.
const MAX_THREADS: u64 = 8;
/// A core counts as fast from this capacity on: see [`crate::Cpus::fastest`].
const FAST_CAPACITY: u64 = 1024 * 7 / 8;
/// Tokens of a prompt that share one launch on a GPU.
const GPU_PASS: f64 = 64.0;
/// Share of a GPU's theoretical bandwidth that reading reaches.
const GPU_BANDWIDTH_SHARE: f64 = 0.8;
/// Seconds of a launch in a graph, and of one outside; neither is measured on a board.
const GPU_GRAPH_LAUNCH: f64 = 2e-6;
const GPU_LAUNCH: f64 = 5e-6;
/// By how much the power while decoding may differ from that of cores under full load, as a share.
const POWER_UNCERTAINTY: f64 = 0.35;
/// Launches of Kinglet's decoding: for a layer, and beside the layers.
const GPU_LAUNCHES_OF_LAYER: f64 = 11.0;
const GPU_LAUNCHES: f64 = 7.0;

/// What a core needs for a thousand multiply-adds, in cycles, with all data in its first cache:
/// decoding and prefill below 8 bits, decoding and prefill with 8. Made by
/// `tests/bench/predict.py` and, for Gracemont, `predict_gracemont.py`.
const CYCLES: [(&str, [f64; 4]); 7] = [
    ("Cortex-A53", [718.0, 549.0, 672.0, 567.0]),
    ("Cortex-A57", [217.0, 174.0, 205.0, 181.0]),
    ("Cortex-A72", [218.0, 174.0, 205.0, 181.0]),
    ("Cortex-A76", [116.0, 87.0, 100.0, 70.0]),
    ("Cortex-A78AE", [116.0, 87.0, 100.0, 70.0]),
    ("Neoverse-V3AE", [108.0, 63.0, 75.0, 54.0]),
    ("Gracemont", [94.0, 50.0, 79.0, 50.0]),
];

/// Multiply-adds of a prompt that a multiprocessor does in a cycle, below 8 bits and with 8: on
/// tensor cores, and without. Made by `tests/bench/predict_cuda.py`.
const GPU_TENSOR: [f64; 2] = [320.0, 430.0];
const GPU_DOT: [f64; 2] = [175.0, 175.0];

/// What a model asks of a board.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Bytes that a token reads while decoding: weights, and cache at the depth in question.
    pub decode_bytes: f64,
    /// Layers.
    pub layers: f64,
    /// Multiply-adds of a token in all layers together.
    pub layer_multiply_adds: f64,
    /// Multiply-adds of the head.
    pub head_multiply_adds: f64,
    /// How the layers' weights are stored.
    pub width: Width,
}

/// How weights are stored, as far as computing with them differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Codes of less than 8 bits.
    Below8,
    /// Codes of 8 bits.
    Bits8,
    /// Floats.
    Floats,
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The processor's fast cores.
    Processor,
    /// The GPU.
    Gpu,
}

/// What an engine makes of a board's memory.
#[derive(Clone, Copy, Debug)]
pub struct Engine {
    /// Share of the bandwidth that decoding reaches.
    pub bandwidth_share: f64,
    /// Seconds that a layer takes beside reading.
    pub seconds_per_layer: f64,
    /// Seconds that a token takes beside its layers.
    pub seconds_per_token: f64,
}

impl Engine {
    /// Kinglet on a processor.
    pub const PROCESSOR: Self =
        Self { bandwidth_share: 1.0, seconds_per_layer: 0.0, seconds_per_token: 0.0 };
    /// Kinglet on a GPU.
    pub const GPU: Self = Self {
        bandwidth_share: GPU_BANDWIDTH_SHARE,
        seconds_per_layer: GPU_LAUNCHES_OF_LAYER * GPU_GRAPH_LAUNCH,
        seconds_per_token: GPU_LAUNCHES * GPU_GRAPH_LAUNCH,
    };

    /// Seconds of a token that reads `bytes`, where memory is the limit.
    pub fn decode_seconds(&self, bytes: f64, layers: f64, gb_per_s: f64) -> f64 {
        let read = bytes / (gb_per_s * 1e9 * self.bandwidth_share);
        read + self.seconds_per_layer * layers + self.seconds_per_token
    }
}

/// What limits decoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Reading weights and cache.
    Memory,
    /// Executing multiply-adds.
    Cores,
    /// Launching kernels.
    Launches,
}

impl Limit {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cores => "cores",
            Self::Launches => "launches",
        }
    }
}

/// What a board can do at most, which are the lines of its roofline.
#[derive(Clone, Copy, Debug)]
pub struct Roof {
    /// What computes.
    pub unit: Unit,
    /// Bytes that reading weights delivers, GB/s.
    pub gb_per_s: f64,
    /// Multiply-adds per second of decoding; `None` where nothing is known about the cores, and for
    /// a GPU, whose decoding is never limited by computing.
    pub decode_multiply_adds_per_s: Option<f64>,
    /// Multiply-adds per second of reading a prompt; `None` where nothing is known.
    pub prefill_multiply_adds_per_s: Option<f64>,
}

impl Roof {
    /// The limits of `unit` with weights of this width; `None` for a GPU that Kinglet does not run
    /// on.
    pub fn new(board: &Profile, unit: Unit, width: Width) -> Option<Self> {
        let (gb_per_s, decode, prefill) = match unit {
            Unit::Processor => {
                let rates =
                    computing(board, width).map(|(hertz, cycles)| cycles.map(|c| hertz / c));
                (board.read_gb_per_s, rates.map(|rates| rates[0]), rates.map(|rates| rates[1]))
            }
            Unit::Gpu => {
                board.gpu.as_ref().filter(|gpu| gpu.runs_kinglet)?;
                let rate = board.theoretical_gb_per_s * Engine::GPU.bandwidth_share;
                (rate, None, gpu_computing(board, width))
            }
        };
        Some(Self {
            unit,
            gb_per_s,
            decode_multiply_adds_per_s: decode,
            prefill_multiply_adds_per_s: prefill,
        })
    }
}

/// A predicted speed. Nothing of it was measured with Kinglet.
#[derive(Clone, Copy, Debug)]
pub struct Prediction {
    /// What computes.
    pub unit: Unit,
    /// Decoding, tokens/s.
    pub decode: f64,
    /// Reading a prompt, tokens/s; `None` where nothing is known about the cores.
    pub prefill: Option<f64>,
    /// What limits decoding.
    pub limit: Limit,
    /// By how much the speeds may be wrong, as a share: 0.35 where the bandwidth has a source,
    /// which is what published results were within, and 0.5 where it has none.
    pub uncertainty: f64,
    /// Joules of a decoded token at the board's power under load; `None` where nobody has published
    /// it.
    pub joules_per_token: Option<f64>,
    /// By how much the energy may be wrong, as a share: speed and power together.
    pub energy_uncertainty: f64,
}

impl Prediction {
    /// What `unit` of the board would reach; `None` for a GPU that Kinglet does not run on.
    pub fn new(board: &Profile, unit: Unit, work: &Work) -> Option<Self> {
        let (decode, limit, prefill, watts) = match unit {
            Unit::Processor => {
                let (decode, limit, prefill) = on_processor(board, work);
                (decode, limit, prefill, board.power.load_watts)
            }
            Unit::Gpu => {
                let gpu = board.gpu.as_ref().filter(|gpu| gpu.runs_kinglet)?;
                let (decode, limit) = on_gpu(board, work);
                (decode, limit, gpu_prefill(board, work), gpu.load_watts)
            }
        };
        let rate = ["read_gb_per_s", "theoretical_gb_per_s"][usize::from(unit == Unit::Gpu)];
        let has_source = board.fact("memory", rate).is_some_and(|fact| fact.source.is_some());
        let uncertainty = if has_source { 0.35 } else { 0.5 };
        Some(Self {
            unit,
            decode: 1.0 / decode,
            prefill: prefill.map(|seconds| 1.0 / seconds),
            limit,
            uncertainty,
            energy_uncertainty: f64::hypot(uncertainty, POWER_UNCERTAINTY),
            joules_per_token: watts.map(|watts| watts * decode),
        })
    }
}

/// Seconds of a decoded token, its limit, and seconds of a prompt's token.
fn on_processor(board: &Profile, work: &Work) -> (f64, Limit, Option<f64>) {
    let Work { decode_bytes, layers, layer_multiply_adds, head_multiply_adds, width } = *work;
    let read = Engine::PROCESSOR.decode_seconds(decode_bytes, layers, board.read_gb_per_s);
    let Some((hertz, [decode, prefill])) = computing(board, width) else {
        return (read, Limit::Memory, None);
    };
    let computed = (layer_multiply_adds + head_multiply_adds) * decode / hertz;
    let prompt = Some(layer_multiply_adds * prefill / hertz);
    if computed > read { (computed, Limit::Cores, prompt) } else { (read, Limit::Memory, prompt) }
}

/// Threads that a session has on a board unless told otherwise: one for each core of its first fast
/// cluster, at most 8.
pub fn threads(board: &Profile) -> u64 {
    fast_cores(board).map_or(1, |cores| cores.count.min(MAX_THREADS))
}

fn fast_cores(board: &Profile) -> Option<&Cores> {
    board.cores.iter().find(|cores| cores.capacity >= FAST_CAPACITY)
}

/// Clock cycles per second of all threads, and cycles of a multiply-add in decoding and in prefill;
/// `None` for cores and weights that nothing is known about.
fn computing(board: &Profile, width: Width) -> Option<(f64, [f64; 2])> {
    let cluster = fast_cores(board)?;
    let (_, thousand) = CYCLES.iter().find(|(kind, _)| *kind == cluster.kind)?;
    let [below_8, with_8] = [&thousand[..2], &thousand[2..]];
    let cycles = match width {
        Width::Below8 => below_8,
        Width::Bits8 => with_8,
        Width::Floats => return None,
    };
    let hertz = threads(board) as f64 * cluster.ghz * 1e9;
    Some((hertz, [cycles[0] / 1e3, cycles[1] / 1e3]))
}

fn on_gpu(board: &Profile, work: &Work) -> (f64, Limit) {
    let rate = board.theoretical_gb_per_s;
    let all = Engine::GPU.decode_seconds(work.decode_bytes, work.layers, rate);
    let launches = Engine::GPU.decode_seconds(0.0, work.layers, rate);
    (all, if launches * 2.0 > all { Limit::Launches } else { Limit::Memory })
}

/// Seconds of a prompt's token; `None` for floats.
fn gpu_prefill(board: &Profile, work: &Work) -> Option<f64> {
    let launches = (GPU_LAUNCHES_OF_LAYER * work.layers + 1.0) * GPU_LAUNCH / GPU_PASS;
    Some(launches + work.layer_multiply_adds / gpu_computing(board, work.width)?)
}

/// Multiply-adds per second of a prompt; `None` for floats.
fn gpu_computing(board: &Profile, width: Width) -> Option<f64> {
    let gpu = board.gpu.as_ref()?;
    let width = match width {
        Width::Below8 => 0,
        Width::Bits8 => 1,
        Width::Floats => return None,
    };
    // Tensor cores with integers begin with Ampere.
    let major: u32 = gpu.compute_capability.split('.').next()?.parse().ok()?;
    let each = if major >= 8 { GPU_TENSOR } else { GPU_DOT }[width];
    Some(each * gpu.multiprocessors as f64 * gpu.ghz * 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: Work = Work {
        decode_bytes: 75e6,
        layers: 30.0,
        layer_multiply_adds: 106e6,
        head_multiply_adds: 28e6,
        width: Width::Below8,
    };

    fn predicted(board: &str, unit: Unit, work: &Work) -> Option<Prediction> {
        Prediction::new(&Profile::named(board).unwrap(), unit, work)
    }

    #[test]
    fn the_slower_of_memory_and_cores_counts() {
        let pi = predicted("pi-5", Unit::Processor, &WORK).unwrap();
        assert_eq!(pi.limit, Limit::Memory);
        assert!((pi.decode - 11e9 / 75e6).abs() < 1e-6);
        let small = Work { decode_bytes: 1e6, ..WORK };
        let pi = predicted("pi-5", Unit::Processor, &small).unwrap();
        assert_eq!(pi.limit, Limit::Cores);
        assert!((pi.decode - 4.0 * 2.4e9 / (134e6 * 0.116)).abs() < 1e-6);
        assert!((pi.joules_per_token.unwrap() - 9.7 / pi.decode).abs() < 1e-9);
    }

    #[test]
    fn what_is_unknown_is_not_predicted() {
        let pc = predicted("n100", Unit::Processor, &WORK).unwrap();
        assert!(pc.prefill.is_some() && pc.uncertainty == 0.5, "bandwidth without a source");
        let carmel = predicted("xavier-nx", Unit::Processor, &WORK).unwrap();
        assert!(carmel.prefill.is_none() && carmel.limit == Limit::Memory);
        let floats = Work { width: Width::Floats, ..WORK };
        assert!(predicted("pi-5", Unit::Processor, &floats).unwrap().prefill.is_none());
        assert!(predicted("pi-5", Unit::Gpu, &WORK).is_none());
        assert!(predicted("jetson-nano", Unit::Gpu, &WORK).is_none(), "too old for Kinglet");
        assert!(predicted("thor", Unit::Gpu, &WORK).unwrap().joules_per_token.is_none());
    }

    #[test]
    fn no_prediction_exceeds_the_roof() {
        for board in Profile::all() {
            for unit in [Unit::Processor, Unit::Gpu] {
                let Some(roof) = Roof::new(&board, unit, WORK.width) else { continue };
                let found = Prediction::new(&board, unit, &WORK).unwrap();
                let most = |rate: Option<f64>, adds: f64| rate.map_or(f64::MAX, |rate| rate / adds);
                let decode = most(
                    roof.decode_multiply_adds_per_s,
                    WORK.layer_multiply_adds + WORK.head_multiply_adds,
                );
                let read = roof.gb_per_s * 1e9 / WORK.decode_bytes;
                assert!(found.decode <= decode.min(read) * 1.0001, "{} {unit:?}", board.id);
                let prefill = most(roof.prefill_multiply_adds_per_s, WORK.layer_multiply_adds);
                assert!(found.prefill.is_none_or(|p| p <= prefill * 1.0001), "{}", board.id);
            }
        }
    }

    #[test]
    fn small_models_on_a_gpu_wait_for_launches() {
        let small = predicted("agx-orin", Unit::Gpu, &WORK).unwrap();
        assert_eq!(small.limit, Limit::Launches);
        let large = Work { decode_bytes: 1e9, ..WORK };
        assert_eq!(predicted("agx-orin", Unit::Gpu, &large).unwrap().limit, Limit::Memory);
    }
}
