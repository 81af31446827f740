//! What the launches of a step take, for checks on a device (feature `check`).

use super::{Rows, Step};
use crate::cuda::device::Device;
use crate::cuda::graph::Graph;
use crate::cuda::product::TENSOR_FROM;
use crate::cuda::shapes::Products;
use kinglet_quant::{Result, Role};
use std::sync::Arc;
use std::time::Instant;
use std::vec::Vec;

/// How often a graph of launches is repeated. The shortest time counts: the first ones also take
/// what the driver does only once.
const REPEATS: usize = 5;

/// What a kernel's launches in one phase of a step take.
#[derive(Clone, Copy, Debug)]
pub struct LaunchTime {
    /// The kernel.
    pub kernel: &'static str,
    /// What it is launched for, where it has several uses; otherwise empty.
    pub phase: &'static str,
    /// Launches in a step.
    pub launches: usize,
    /// What one of them takes, in nanoseconds.
    pub launch_ns: u64,
}

/// A step whose phases are repeated, and what they took.
struct Clock<'c> {
    step: &'c Step<'c>,
    device: &'c Arc<Device>,
    rows: Rows,
    times: Vec<LaunchTime>,
}

impl Step<'_> {
    /// What each launch of this step takes, which must have run: each phase is recorded for all
    /// layers, one after the other, and repeated as a whole, so that weights come from memory as
    /// they do in a step. Where a step drops rows, the last layer's launches are counted as if it
    /// kept them. Leaves numbers in the engine's memory that mean nothing.
    pub(in crate::cuda) fn times(
        &self,
        device: &Arc<Device>,
        is_screened: bool,
    ) -> Result<Vec<LaunchTime>> {
        let start = self.at(self.device_plan.offsets.upload);
        let rows = Rows { count: self.count as u32, rows: start };
        let mut clock = Clock { step: self, device, rows, times: Vec::new() };
        // The head first: what it does depends on numbers that the other phases change.
        match (self.kept, is_screened) {
            (0, _) => {}
            (_, true) => clock.search()?,
            (_, false) => {
                let head = |_| self.multiply(&self.whole_head(), &self.input(), self.kept_rows());
                let kernel = clock.product(&self.whole_head(), self.kept_rows());
                clock.time([kernel, "head"], 1, head)?;
            }
        }
        clock.layers()?;
        if 0 < self.kept && self.kept < self.count {
            let uploads = self.uploads();
            let kept = Rows { rows: start + uploads.kept as u64, ..self.kept_rows() };
            clock.time(["keep", "x, q"], 1, |_| self.keep(kept))?;
        }
        Ok(clock.times)
    }
}

impl Clock<'_> {
    /// The kernel that computes these products.
    fn product(&self, products: &Products, rows: Rows) -> &'static str {
        let functions = self.step.functions;
        functions.name(functions.product(products, rows.count, TENSOR_FROM).0)
    }

    /// Takes the time of a phase: a launch for every layer, of which a step makes `launches`.
    fn time(
        &mut self,
        [kernel, phase]: [&'static str; 2],
        launches: usize,
        launch: impl Fn(u16) -> Result<()>,
    ) -> Result<()> {
        let layers = self.step.model.config().layers as u16;
        let graph = Graph::capture(self.device, || (0..layers).try_for_each(&launch))?;
        let mut least_ns = u64::MAX;
        for _ in 0..REPEATS {
            let start = Instant::now();
            // SAFETY: the engine that `step` borrows has all memory and the module of what was
            // captured, and the device is waited for before the graph or anything else is dropped.
            unsafe { graph.launch() }?;
            self.device.synchronize()?;
            least_ns = least_ns.min(start.elapsed().as_nanos() as u64);
        }
        let launch_ns = least_ns / u64::from(layers);
        self.times.push(LaunchTime { kernel, phase, launches, launch_ns });
        Ok(())
    }

    fn multiply(
        &mut self,
        phase: &'static str,
        products: impl Fn(u16) -> Products,
        is_of_gate: bool,
    ) -> Result<()> {
        let (step, rows) = (self.step, self.rows);
        let input = if is_of_gate { step.gate() } else { step.input() };
        let kernel = self.product(&products(0), rows);
        let layers = step.model.config().layers as usize;
        self.time([kernel, phase], layers, |layer| step.multiply(&products(layer), &input, rows))
    }

    fn search(&mut self) -> Result<()> {
        let step = self.step;
        let wanted = step.at(step.device_plan.offsets.upload + step.uploads().wanted);
        let screen = if step.kept == 1 { "screen_one" } else { "screen_many" };
        self.time(["margins", ""], 1, |_| step.margins())?;
        self.time([screen, ""], 1, |_| step.screen())?;
        self.time(["threshold", ""], 1, |_| step.threshold(wanted))?;
        self.time(["rescore", ""], 1, |_| step.rescore())?;
        self.time(["collect", ""], 1, |_| step.collect())
    }

    fn layers(&mut self) -> Result<()> {
        let (step, rows, uploads) = (self.step, self.rows, self.step.uploads());
        let (layers, part) = (step.model.config().layers as usize, step.attended(rows, 0));
        self.time(["embed", ""], 1, |_| step.embed(rows))?;
        let norm = |layer| step.norm(Role::AttnNorm, layer, rows);
        self.time(["norm", ""], 2 * layers + 1, norm)?;
        self.multiply("q, k, v", |layer| step.qkv(layer), false)?;
        self.time(["append", ""], layers, |layer| step.append(layer, rows, &uploads))?;
        let parts = rows.count.div_ceil(part.rows.count) as usize;
        self.time(["attend", ""], parts * layers, |layer| step.attend(layer, part))?;
        self.time(["join", ""], parts * layers, |layer| step.join(layer, part))?;
        self.time(["quantize", ""], layers, |_| step.quantize_attention(rows))?;
        self.multiply("o", |layer| step.projection(Role::O, layer), false)?;
        self.multiply("gate, up", |layer| step.gate_and_up(layer), false)?;
        self.time(["silu_mul", ""], layers, |_| step.silu_mul(rows))?;
        self.multiply("down", |layer| step.projection(Role::Down, layer), true)
    }
}
