//! The engine on a device: passes of texts in the device's own memory.

use super::device::Device;
use super::functions::Functions;
use super::graph::Graph;
use super::memory::{Arena, Pinned, Way, Weights};
use super::plan::{DevicePlan, LISTED, Uploads, list_bytes};
use super::probe::Cuda;
use super::ptx::Ptx;
use super::shapes::{Row, Wanted};
use super::step::Step;
use crate::tier::Tier;
use kinglet_core::engine::{BlockPrefix, Chunk, Engine, LogitRows, OnStates};
use kinglet_core::plan::{Part, Plan};
use kinglet_core::rotary;
use kinglet_core::screen::{Screen, rows_of};
use kinglet_quant::config::{FEATURE_ATTENTION_BIAS, FEATURE_FFN_BIAS};
use kinglet_quant::format::TILE_ROWS;
use kinglet_quant::{Code, File, Result, ensure};
use std::sync::Arc;
use std::vec::Vec;

/// Tokens of a pass that is replayed as a graph; larger ones are launched phase by phase.
const GRAPH_TOKENS: usize = 8;
/// What each further token of a small pass costs, in hundredths of a single one: it shares the
/// weights, which a single one waits for. Not measured on a device.
const FURTHER_TOKEN_COST: u8 = 15;

/// A model on a device, and the memory of its passes.
#[derive(Debug)]
pub struct CudaEngine<'a> {
    model: File<'a>,
    plan: Plan,
    device_plan: DevicePlan,
    /// Graphs of small passes, by their tokens less one, of whole and of screened heads.
    graphs: [[Option<Graph>; 2]; GRAPH_TOKENS],
    memory: Arena,
    /// What is copied from and to the device, see [`Pins`].
    pinned: Pinned,
    pins: Pins,
    weights: Weights<'a>,
    functions: Functions,
    device: Arc<Device>,
    /// Tokens of the last pass.
    count: usize,
    /// Rows of logits that it computed.
    rows: LogitRows,
}

/// Where things lie in the pinned memory.
#[derive(Clone, Copy, Debug)]
struct Pins {
    /// What a pass uploads, [`Uploads`], at the start; then lists of survivors.
    lists: usize,
    /// A row of logits, a bit for each of its survivors, or hidden states.
    row: usize,
    /// A block of a cache.
    block: usize,
    /// All.
    end: usize,
}

impl Pins {
    fn new(model: &File<'_>, plan: &Plan, device_plan: &DevicePlan) -> Self {
        let (limits, head_dim) = (plan.limits(), model.config().head_dim as usize);
        let upload = Uploads::new(limits.batch, limits.logit_rows, head_dim).end;
        let lists = upload.next_multiple_of(64);
        let row = (lists + limits.logit_rows * list_bytes()).next_multiple_of(64);
        let row_floats = device_plan.logit_width.max(model.config().hidden as usize);
        let block = (row + row_floats * size_of::<f32>()).next_multiple_of(64);
        Self { lists, row, block, end: block + plan.layout().block_bytes() }
    }
}

/// What an engine takes beside the plan of its texts: its buffers on the device, then page-locked
/// memory of the processor's.
pub(crate) fn device_parts(model: &File<'_>, plan: &Plan) -> Vec<Part> {
    let device_plan = DevicePlan::new(model, plan);
    let bytes = Pins::new(model, plan, &device_plan).end;
    let mut parts = device_plan.parts;
    parts.push(Part { name: "page_locked_copies", bytes });
    parts
}

impl<'a> CudaEngine<'a> {
    /// An engine for a model on a device, which takes its memory now. `plan` is one
    /// [without an engine](Plan::without_engine).
    ///
    /// `Resource` when the memory does not suffice, `TierUnavailable` when the device cannot run
    /// the kernels.
    pub fn new(cuda: Cuda, model: File<'a>, plan: Plan) -> Result<Self> {
        Self::of_kernels(cuda, Ptx::of(cuda), model, plan)
    }

    /// [`CudaEngine::new`] with these kernels, whatever the device could take.
    pub(super) fn of_kernels(cuda: Cuda, ptx: Ptx, model: File<'a>, plan: Plan) -> Result<Self> {
        let config = model.config();
        ensure!(
            !config.has(FEATURE_ATTENTION_BIAS) && !config.has(FEATURE_FFN_BIAS),
            Code::TierUnavailable,
            "the model has biases, which the kernels for NVIDIA devices do not add: choose the \
             tier {}",
            Tier::best().name()
        );
        let device = Device::open(cuda)?;
        let functions = Functions::load(&device, ptx)?;
        let device_plan = DevicePlan::new(&model, &plan);
        let pins = Pins::new(&model, &plan, &device_plan);
        Ok(Self {
            weights: Weights::new(&device, model.weights())?,
            memory: Arena::new(&device, device_plan.offsets.end, "the session")?,
            pinned: Pinned::new(&device, pins.end, "copies of the session")?,
            pins,
            functions,
            graphs: Default::default(),
            model,
            plan,
            device_plan,
            device,
            count: 0,
            rows: LogitRows::default(),
        })
    }

    /// The device.
    pub fn cuda(&self) -> Cuda {
        self.device.cuda()
    }

    /// How the device sees the weights.
    pub fn way(&self) -> Way {
        self.weights.way()
    }

    /// Bytes of its buffers, of page-locked memory and of weights that were copied.
    pub fn device_bytes(&self) -> usize {
        self.device_plan.offsets.end + self.pins.end + self.copied_bytes()
    }

    /// Bytes of weights that were copied to the device.
    pub fn copied_bytes(&self) -> usize {
        self.weights.copied_bytes()
    }

    /// The step of the last pass.
    #[cfg(feature = "check")]
    pub(super) fn last_step(&self) -> (Step<'_>, &Arc<Device>, LogitRows) {
        (self.step(self.count, self.rows.count), &self.device, self.rows)
    }

    /// A step of as many tokens, of which `kept` get logits.
    fn step(&self, count: usize, kept: usize) -> Step<'_> {
        Step {
            device: &self.device,
            functions: &self.functions,
            model: &self.model,
            weights: &self.weights,
            plan: &self.plan,
            device_plan: &self.device_plan,
            memory: self.memory.pointer(),
            count,
            kept,
        }
    }

    fn uploads(&self) -> Uploads {
        Uploads::new(self.count, self.rows.count, self.model.config().head_dim as usize)
    }

    /// Writes what a pass uploads to the pinned memory.
    fn describe(&mut self, pass: &[Chunk<'_>]) -> Result<()> {
        let uploads = self.uploads();
        let bytes = &mut self.pinned.bytes()?[..uploads.end];
        let (rows, rest) = bytes.split_at_mut(uploads.kept);
        let (kept, rest) = rest.split_at_mut(uploads.wanted - uploads.kept);
        let (wanted, rest) = rest.split_at_mut(uploads.cos - uploads.wanted);
        let (cos, sin) = rest.split_at_mut(uploads.sin - uploads.cos);
        let rows: &mut [Row] = bytemuck::cast_slice_mut(rows);
        let mut kept = bytemuck::cast_slice_mut::<u8, Row>(kept).iter_mut();
        let mut wanted = wanted.chunks_exact_mut(size_of::<Wanted>());
        let places = pass.iter().flat_map(|chunk| chunk.places());
        let positions = places.map(|place| place.position);
        let [cos, sin] = [cos, sin].map(bytemuck::cast_slice_mut);
        rotary::angles(&self.model, positions, cos, sin);
        let mut row = 0;
        for chunk in pass {
            let first_kept = chunk.tokens.len() - chunk.logits.rows(chunk.tokens.len());
            for (i, place) in chunk.places().enumerate() {
                rows[row] = Row::new(place, row);
                if i >= first_kept {
                    *kept.next().expect("a row for each token with logits") = rows[row];
                    let wanted = wanted.next().expect("as many as rows with logits");
                    wanted.copy_from_slice(bytemuck::bytes_of(&Wanted::of(chunk.screen)));
                }
                row += 1;
            }
        }
        Ok(())
    }

    /// Copies what [`CudaEngine::describe`] wrote to the device.
    fn upload(&mut self) -> Result<()> {
        let (end, start) = (self.uploads().end, self.device_plan.offsets.upload);
        self.pinned.send(0, self.memory.range().part(start..start + end))
    }

    /// Copies, launches and copies back: what a graph of a small pass holds.
    fn launch(&mut self) -> Result<()> {
        self.upload()?;
        self.step(self.count, self.rows.count).run(self.rows.are_screened)?;
        self.fetch_lists()
    }

    /// Copies the lists of survivors back, if there are any.
    fn fetch_lists(&mut self) -> Result<()> {
        if !self.rows.are_screened {
            return Ok(());
        }
        let first = self.device_plan.offsets.lists;
        let lists = self.memory.range().part(first..first + self.rows.count * list_bytes());
        self.pinned.receive(self.pins.lists, lists)
    }

    /// Launches a pass, as a graph if it is small and all of its tokens get logits.
    fn launch_or_replay(&mut self) -> Result<()> {
        if self.count > GRAPH_TOKENS || self.rows.count != self.count {
            return self.launch();
        }
        let (size, kind) = (self.count - 1, usize::from(self.rows.are_screened));
        if self.graphs[size][kind].is_none() {
            let device = Arc::clone(&self.device);
            self.graphs[size][kind] = Some(Graph::capture(&device, || self.launch())?);
        }
        let graph = self.graphs[size][kind].as_ref().expect("captured above");
        // SAFETY: `self` has all memory and the module of what was captured, which never move,
        // and waits for the stream before it drops or touches any of it.
        unsafe { graph.launch() }
    }

    /// A row's list of survivors; `None` where there are more than a list holds.
    fn list(&mut self, row: usize) -> Result<Option<[&[u32]; 2]>> {
        let first = self.pins.lists + row * list_bytes();
        Ok(listed(&self.pinned.bytes()?[first..]))
    }

    /// One block of a text's cache in the device's memory.
    fn block(&self, text: usize, block: usize) -> usize {
        let bytes = self.plan.layout().block_bytes();
        self.device_plan.offsets.cache + text * self.plan.text_cache_bytes() + block * bytes
    }
}

/// Tokens and bits of logits of the list at the start of some memory; `None` where there are more
/// survivors than a list holds.
fn listed(memory: &[u8]) -> Option<[&[u32]; 2]> {
    let list: &[u32] = bytemuck::cast_slice(&memory[..list_bytes()]);
    let count = list[0] as usize;
    (count <= LISTED).then(|| [&list[1..][..count], &list[1 + LISTED..][..count]])
}

impl Engine for CudaEngine<'_> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn further_token_cost(&self) -> u8 {
        FURTHER_TOKEN_COST
    }

    fn run(&mut self, pass: &[Chunk<'_>]) -> Result<()> {
        self.device.enter()?;
        self.count = pass.iter().map(|chunk| chunk.tokens.len()).sum();
        self.rows = LogitRows::of(pass);
        self.describe(pass)?;
        self.launch_or_replay()?;
        self.device.synchronize()
    }

    fn repeat_head(&mut self, screen: Option<Screen>) -> Result<()> {
        if self.rows.count == 0 {
            return Ok(());
        }
        self.device.enter()?;
        self.rows.are_screened = screen.is_some();
        let (uploads, offsets) = (self.uploads(), self.device_plan.offsets);
        let span = uploads.wanted..uploads.wanted + self.rows.count * size_of::<Wanted>();
        for wanted in self.pinned.bytes()?[span.clone()].chunks_exact_mut(size_of::<Wanted>()) {
            wanted.copy_from_slice(bytemuck::bytes_of(&Wanted::of(screen)));
        }
        let on_device = offsets.upload + span.start..offsets.upload + span.end;
        self.pinned.send(span.start, self.memory.range().part(on_device))?;
        let wanted = self.memory.pointer() + (offsets.upload + span.start) as u64;
        self.step(self.count, self.rows.count).head(self.rows.are_screened, wanted)?;
        self.fetch_lists()?;
        self.device.synchronize()
    }

    fn logits(&mut self, row: usize) -> Result<&mut [f32]> {
        assert!(row < self.rows.count, "the last pass has logits in {} rows", self.rows.count);
        self.device.enter()?;
        let (width, start) = (self.device_plan.logit_width, self.pins.row);
        let vocab = self.model.config().vocab_size as usize;
        if self.rows.are_screened && self.list(row)?.is_some() {
            let (lists, out) = self.pinned.bytes()?.split_at_mut(start);
            let out: &mut [f32] = bytemuck::cast_slice_mut(&mut out[..width * size_of::<f32>()]);
            if let Some([tokens, logits]) = listed(&lists[self.pins.lists + row * list_bytes()..]) {
                for (&token, &logit) in tokens.iter().zip(logits) {
                    out[token as usize] = f32::from_bits(logit);
                }
            }
            return Ok(&mut out[..vocab]);
        }
        let first = self.device_plan.offsets.logits + row * width * size_of::<f32>();
        let logits = self.memory.range().part(first..first + width * size_of::<f32>());
        self.pinned.receive(start, logits)?;
        let bytes = &mut self.pinned.bytes()?[start..][..vocab * size_of::<f32>()];
        Ok(bytemuck::cast_slice_mut(bytes))
    }

    fn survivors(&mut self, row: usize, tokens: &mut [u32]) -> Result<Option<usize>> {
        assert!(row < self.rows.count, "the last pass has logits in {} rows", self.rows.count);
        if !self.rows.are_screened {
            return Ok(None);
        }
        self.device.enter()?;
        if let Some([listed, _]) = self.list(row)? {
            tokens[..listed.len()].copy_from_slice(listed);
            return Ok(Some(listed.len()));
        }
        let (tiles, start) = (self.device_plan.search_tiles, self.pins.row);
        let bytes = tiles * size_of::<u16>();
        let first = self.device_plan.offsets.survivors + row * bytes;
        let masks = self.memory.range().part(first..first + bytes);
        self.pinned.receive(start, masks)?;
        let masks: &[u16] = bytemuck::cast_slice(&self.pinned.bytes()?[start..][..bytes]);
        let survivors = (0..).zip(masks).flat_map(|(tile, &mask)| {
            rows_of(mask).map(move |r| tile * TILE_ROWS as u32 + r as u32)
        });
        Ok(Some(tokens.iter_mut().zip(survivors).map(|(out, token)| *out = token).count()))
    }

    fn read_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
    ) -> Result<BlockPrefix<'_>> {
        self.device.enter()?;
        let (on_device, here) = (self.block(text, block), self.pins.block);
        let ranges = self.plan.layout().prefix(positions);
        for range in &ranges {
            let part = self.memory.range().part(on_device + range.start..on_device + range.end);
            self.pinned.receive(here + range.start, part)?;
        }
        let bytes = &self.pinned.bytes()?[here..];
        Ok(ranges.map(|range| &bytes[range]))
    }

    fn write_block(
        &mut self,
        text: usize,
        block: usize,
        positions: usize,
        prefix: BlockPrefix<'_>,
    ) -> Result<()> {
        self.device.enter()?;
        let (on_device, here) = (self.block(text, block), self.pins.block);
        let ranges = self.plan.layout().prefix(positions);
        let pinned = &mut self.pinned.bytes()?[here..];
        for (range, bytes) in ranges.iter().zip(prefix) {
            pinned[range.clone()].copy_from_slice(bytes);
        }
        for range in ranges {
            let part = self.memory.range().part(on_device + range.start..on_device + range.end);
            self.pinned.send(here + range.start, part)?;
        }
        self.device.synchronize()
    }

    fn copy_text(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.device.enter()?;
        let memory = self.memory.range();
        for block in 0..self.plan.blocks_of_text() {
            let (from, to) = (self.block(from, block), self.block(to, block));
            for range in self.plan.layout().prefix(positions) {
                let source = memory.part(from + range.start..from + range.end);
                memory.part(to + range.start..to + range.end).copy_from(source)?;
            }
        }
        self.device.synchronize()
    }

    fn hidden_states(&mut self, chunk: &Chunk<'_>, on_states: OnStates<'_>) -> Result<()> {
        self.device.enter()?;
        self.count = chunk.tokens.len();
        self.rows = LogitRows::default();
        self.describe(&[*chunk])?;
        self.upload()?;
        self.step(self.count, 0).states()?;
        let bytes = self.model.config().hidden as usize * size_of::<f32>();
        let (first, here) = (self.device_plan.offsets.input, self.pins.row);
        let at_once = (self.pins.block - here) / bytes;
        for token in (0..self.count).step_by(at_once) {
            let length = at_once.min(self.count - token) * bytes;
            let states = first + token * bytes;
            self.pinned.receive(here, self.memory.range().part(states..states + length))?;
            on_states(bytemuck::cast_slice(&self.pinned.bytes()?[here..][..length]));
        }
        Ok(())
    }
}
