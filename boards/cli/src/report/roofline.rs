//! The roofline: how near tests come to what memory and computing allow, and to what was predicted.

use crate::planned::unit_name;
use crate::report::canvas::{Picture, Plane};
use crate::report::figure::{Figure, Titled};
use crate::report::format::{known, short};
use crate::report::ink::{AXIS, Ink, TEXT};
use crate::report::points::{Entry, Mark, Shape};
use crate::report::scale::Scale;
use crate::report::series::Series;
use crate::report::table::Table;
use crate::report::test::{Task, Test};
use kinglet_machine::Profile;
use kinglet_machine::roofline::{Prediction, Roof, Unit, Width};

const HEIGHT: i32 = 420;
/// Multiply-adds per second are shown in billions.
const BILLION: f64 = 1e9;

/// A test in the picture.
struct Spot<'a> {
    test: &'a Test,
    series: usize,
    /// Multiply-adds for each byte from memory.
    intensity: f64,
    /// Multiply-adds of a token.
    adds_per_token: f64,
    /// Tokens per second that are predicted for the board, and by how much they may be wrong.
    predicted: Option<(f64, f64)>,
}

/// A limit in the picture.
struct Limit {
    name: String,
    kind: Kind,
    ink: Ink,
    is_dashed: bool,
}

enum Kind {
    /// Bytes per second.
    Memory(f64),
    /// Multiply-adds per second, and bytes per second of the memory that the line begins at.
    Computing(f64, f64),
}

/// The picture, with the limits of a board where it is known.
pub fn figure(tests: &[Test], series: &Series, board: Option<&Profile>) -> Figure {
    let mut figure = Figure { title: "Roofline", ..Figure::default() };
    let spots: Vec<Spot> = tests
        .iter()
        .enumerate()
        .filter_map(|(i, test)| Spot::new(test, series.of(i), board))
        .collect();
    if spots.is_empty() {
        figure.lack = Some(
            "The picture needs tests of a prompt or of a generation alone: kinglet bench MODEL \
             -p 512 -n 128 -o json."
                .into(),
        );
        return figure;
    }
    let limits = limits(&spots, board);
    figure.about.push(
        "A multiply-add needs bytes from memory: few when a prompt is read, many for each \
         generated token. Below the slope, memory is the limit; below a level, computing is."
            .into(),
    );
    figure.about.push(match board {
        Some(board) => format!(
            "Limits and hollow marks are of {}, from its profile: they were predicted, not \
             measured. Filled marks were measured on {}.",
            board.name,
            machines(&spots)
        ),
        None => format!(
            "Measured on {}. With --board BOARD the limits and predictions of a board are drawn, \
             too; kinglet boards lists them.",
            machines(&spots)
        ),
    });
    figure.pictures.push(titled(&spots, &limits, series));
    figure.tables.push(table(&spots, series));
    figure.tables.push(limits_table(&limits));
    figure
}

fn machines(spots: &[Spot<'_>]) -> String {
    let mut names: Vec<&str> = spots.iter().map(|spot| spot.test.machine.as_str()).collect();
    names.dedup();
    names.join(", ")
}

impl<'a> Spot<'a> {
    /// `None` for a test that reads and generates in turn.
    fn new(test: &'a Test, series: usize, board: Option<&Profile>) -> Option<Self> {
        let [layers, head] = test.multiply_adds;
        let prediction = board.and_then(|board| Prediction::new(board, test.unit(), &test.work()));
        let of_board = |speed: Option<f64>| Some((speed?, prediction?.uncertainty));
        let (adds_per_token, bytes_per_token, predicted) = match test.task() {
            Task::Both => return None,
            Task::Decode => {
                let bytes = test.bytes_per_token.filter(|&bytes| bytes > 0.0)?;
                (layers + head, bytes, of_board(prediction.map(|found| found.decode)))
            }
            Task::Prefill => {
                // Each step of a prompt reads the file once.
                let bytes = test.file_bytes * (test.prompt / test.batch).ceil() / test.prompt;
                let predicted = of_board(prediction.and_then(|found| found.prefill));
                (layers + head / test.prompt, bytes, predicted)
            }
        };
        let intensity = adds_per_token / bytes_per_token;
        Some(Self { test, series, intensity, adds_per_token, predicted })
    }

    /// Billions of multiply-adds per second at a speed in tokens per second.
    fn rate(&self, speed: f64) -> f64 {
        speed * self.adds_per_token / BILLION
    }

    /// How it is marked: the colour is the series', the shape tells the task.
    fn mark(&self, series: &Series) -> Mark {
        Mark { shape: shape(self.test.task()), ..series.mark(self.series) }
    }
}

fn shape(task: Task) -> Shape {
    if task == Task::Decode { Shape::Circle } else { Shape::Triangle }
}

/// What limits the board, and the memory that bench has measured.
fn limits(spots: &[Spot<'_>], board: Option<&Profile>) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    let mut add = |limit: Limit| {
        if limits.iter().all(|known| known.name != limit.name) {
            limits.push(limit);
        }
    };
    for Spot { test, .. } in spots {
        let Some(board) = board else { break };
        let Some(roof) = Roof::new(board, test.unit(), test.width()) else { continue };
        let rate = roof.gb_per_s * BILLION;
        add(memory_limit(&format!("memory of {}", board.name), rate, false));
        let (name, task) = (computing_name(test.width(), roof.unit), test.task());
        let level = match task {
            Task::Decode => roof.decode_multiply_adds_per_s,
            _ => roof.prefill_multiply_adds_per_s,
        };
        let Some(level) = level else { continue };
        let is_dashed = task == Task::Decode;
        let task = if is_dashed { "decode" } else { "prefill" };
        let name =
            format!("computing, {task} {name}: {} billion multiply-adds/s", short(level / BILLION));
        add(Limit { name, kind: Kind::Computing(level, rate), ink: TEXT, is_dashed });
    }
    for Spot { test, .. } in spots {
        let machine = &test.machine;
        let rates = spots.iter().filter(|spot| spot.test.machine == *machine);
        let rates: Vec<f64> = rates.filter_map(|spot| spot.test.read_bytes_per_second).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        if mean > 0.0 {
            add(memory_limit(&format!("memory as bench measured it on {machine}"), mean, true));
        }
    }
    limits
}

fn memory_limit(what: &str, bytes_per_second: f64, is_measured: bool) -> Limit {
    let name = format!("{what}: {} GB/s", short(bytes_per_second / BILLION));
    let ink = if is_measured { AXIS } else { TEXT };
    Limit { name, kind: Kind::Memory(bytes_per_second), ink, is_dashed: is_measured }
}

fn computing_name(width: Width, unit: Unit) -> String {
    let width = match width {
        Width::Below8 => "below 8 bits",
        Width::Bits8 => "with 8 bits",
        Width::Floats => "with floats",
    };
    format!("{width} on the {}", unit_name(unit))
}

/// The corners of the picture: intensities, and billions of multiply-adds per second.
fn corners(spots: &[Spot<'_>], limits: &[Limit]) -> [f64; 4] {
    let intensities = || spots.iter().map(|spot| spot.intensity);
    let rates = || {
        let predicted = spots.iter().filter_map(|spot| Some(spot.rate(spot.predicted?.0)));
        let levels = limits.iter().filter_map(|limit| match limit.kind {
            Kind::Computing(level, _) => Some(level / BILLION),
            Kind::Memory(_) => None,
        });
        spots.iter().map(|spot| spot.rate(spot.test.speed)).chain(predicted).chain(levels)
    };
    [
        intensities().fold(f64::MAX, f64::min) / 3.0,
        intensities().fold(0.0, f64::max) * 3.0,
        rates().fold(f64::MAX, f64::min) / 3.0,
        rates().fold(0.0, f64::max) * 3.0,
    ]
}

fn titled(spots: &[Spot<'_>], limits: &[Limit], series: &Series) -> Titled {
    let corners = corners(spots, limits);
    let [left, right, bottom, top] = corners;
    let label = format!(
        "Multiply-adds per second against multiply-adds per byte, both logarithmic: {} tests and \
         {} limits. The tables below have the figures.",
        spots.len(),
        limits.len()
    );
    let picture = Picture::new(label, HEIGHT, |canvas| {
        let x = Scale::log(left, right, canvas.size.marks());
        let y = Scale::log(bottom, top, 7);
        let mut plane = canvas.axes((x, "multiply-adds per byte"), (y, "billion multiply-adds/s"));
        limits.iter().for_each(|limit| draw(limit, &corners, limits, &mut plane));
        for spot in spots {
            plane.point((spot.intensity, spot.rate(spot.test.speed)), spot.mark(series));
        }
        for spot in spots {
            let Some((speed, _)) = spot.predicted else { continue };
            let mark = Mark { is_hollow: true, ..spot.mark(series) };
            plane.point((spot.intensity, spot.rate(speed)), mark);
        }
    });
    Titled { title: "Measured and possible".into(), picture, legend: legend(spots, limits, series) }
}

fn legend(spots: &[Spot<'_>], limits: &[Limit], series: &Series) -> Vec<Entry> {
    let shown = |number: usize| spots.iter().find(|spot| spot.series == number);
    let mut legend = Vec::new();
    for number in (0..series.count()).filter(|&number| shown(number).is_some()) {
        let mark = Mark { shape: Shape::Square, ..series.mark(number) };
        legend.push(mark.entry(series.name(number)));
    }
    for (task, name) in [(Task::Decode, "decode"), (Task::Prefill, "prefill")] {
        let mark = Mark { shape: shape(task), ink: TEXT, is_hollow: false };
        let of_task = || spots.iter().filter(|spot| spot.test.task() == task);
        if of_task().next().is_some() {
            legend.push(mark.entry(format!("{name}, measured")));
        }
        if of_task().any(|spot| spot.predicted.is_some()) {
            let mark = Mark { is_hollow: true, ..mark };
            legend.push(mark.entry(format!("{name}, predicted")));
        }
    }
    legend.extend(limits.iter().map(|l| Entry::line(l.ink, l.is_dashed, l.name.as_str())));
    legend
}

/// Draws what of a limit lies within the picture. A slope ends at the highest level above it.
fn draw(limit: &Limit, corners: &[f64; 4], limits: &[Limit], plane: &mut Plane<'_, '_>) {
    let [left, right, bottom, top] = *corners;
    let (from, to) = match limit.kind {
        Kind::Memory(bytes_per_second) => {
            let levels = limits.iter().filter_map(|other| match other.kind {
                Kind::Computing(level, memory) if memory == bytes_per_second => {
                    Some(level / BILLION)
                }
                _ => None,
            });
            let slope = bytes_per_second / BILLION;
            let end = levels.reduce(f64::max).unwrap_or(top);
            let (from, to) = (left.max(bottom / slope), right.min(end / slope));
            ((from, from * slope), (to, to * slope))
        }
        Kind::Computing(level, bytes_per_second) => {
            let from = left.max(level / bytes_per_second);
            ((from, level / BILLION), (right, level / BILLION))
        }
    };
    if from.0 >= to.0 {
        return;
    }
    if limit.is_dashed {
        plane.dashes([from, to], limit.ink);
    } else {
        plane.line(&[from, to], limit.ink);
    }
}

fn table(spots: &[Spot<'_>], series: &Series) -> Table {
    let heads = [
        "model and tier",
        "type",
        "test",
        "context, tokens",
        "multiply-adds per byte",
        "billion multiply-adds/s",
        "tokens/s",
        "predicted tokens/s",
        "may be wrong by",
    ];
    let has_predictions = spots.iter().any(|spot| spot.predicted.is_some());
    let row = |spot: &Spot<'_>| {
        let Spot { test, predicted, .. } = spot;
        let percent = |share: f64| format!("{} %", short(share * 100.0));
        let of_board = |text: String| if has_predictions { text } else { String::new() };
        vec![
            series.name(spot.series).to_owned(),
            test.kind.clone(),
            test.title(),
            short(test.depth),
            short(spot.intensity),
            short(spot.rate(test.speed)),
            short(test.speed),
            of_board(known(predicted.map(|(speed, _)| speed))),
            of_board(predicted.map_or(String::new(), |(_, share)| percent(share))),
        ]
    };
    Table::new("Points of the picture", &heads, spots.iter().map(row).collect())
}

fn limits_table(limits: &[Limit]) -> Table {
    let row = |limit: &Limit| {
        let (name, value) = limit.name.rsplit_once(": ").expect("every limit has a value");
        vec![name.to_owned(), value.to_owned()]
    };
    Table::new("Limits in the picture", &["limit", "value"], limits.iter().map(row).collect())
}
