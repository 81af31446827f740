//! Power and temperature of long tests over time, one test after the other.

use crate::report::canvas::Picture;
use crate::report::energy::ink;
use crate::report::figure::{Figure, Titled};
use crate::report::format::short;
use crate::report::ink::{SERIES, TEXT};
use crate::report::points::{Entry, Mark, Shape};
use crate::report::scale::Scale;
use crate::report::series::Series;
use crate::report::table::Table;
use crate::report::test::{Point, Task, Test};

const HEIGHT: i32 = 260;
/// How strong the shade of a phase is.
const SHADE: f64 = 0.16;
/// The line of an idle board.
const IDLE: crate::report::ink::Ink = SERIES[7];

/// A test on the axis of time.
struct Stretch<'a> {
    test: &'a Test,
    series: usize,
    /// Seconds of all tests before it, and of it.
    start: f64,
    end: f64,
}

/// A quantity that is drawn.
struct Quantity {
    title: &'static str,
    unit: &'static str,
    of: fn(&Point) -> Option<f64>,
    /// Whether it is a mean over the time of a point, and no reading at its end.
    is_mean: bool,
}

const QUANTITIES: [Quantity; 2] = [
    Quantity { title: "Power", unit: "W", of: |point| point.watts, is_mean: true },
    Quantity { title: "Temperature", unit: "°C", of: |point| point.celsius, is_mean: false },
];

impl Quantity {
    /// Its line in a test that starts at `start`.
    fn line(&self, test: &Test, start: f64) -> Vec<(f64, f64)> {
        let mut line = Vec::new();
        let mut before = start;
        for point in &test.curve {
            let now = start + point.seconds;
            if let Some(value) = (self.of)(point) {
                line.extend(self.is_mean.then_some((before, value)));
                line.push((now, value));
            }
            before = now;
        }
        line
    }
}

/// Pictures and a table for each file with long tests.
pub fn figure(tests: &[Test], series: &Series) -> Figure {
    let mut figure = Figure { title: "Power and temperature over time", ..Figure::default() };
    let mut files: Vec<&str> = tests.iter().map(|test| test.file.as_str()).collect();
    files.dedup();
    let several = files.len() > 1;
    for file in files {
        let stretches = stretches(tests, series, file);
        let place = if several { format!(" in {file}") } else { String::new() };
        let drawn = QUANTITIES.iter().filter_map(|quantity| titled(quantity, &stretches, &place));
        let before = figure.pictures.len();
        figure.pictures.extend(drawn);
        if figure.pictures.len() > before {
            figure.tables.push(table(&stretches, series, &place));
        }
    }
    if figure.pictures.is_empty() {
        figure.lack = Some(
            "The picture needs a long test and a sensor: kinglet bench MODEL --sustain 10m --power \
             auto -o json."
                .into(),
        );
    } else {
        figure.about.push(
            "Tests follow one another; the time between them, in which models are loaded and \
             contexts filled, is left out. A point is the mean since the point before, for the \
             temperature the reading at its end."
                .into(),
        );
    }
    figure
}

fn stretches<'a>(tests: &'a [Test], series: &Series, file: &str) -> Vec<Stretch<'a>> {
    let mut start = 0.0;
    let mut stretches = Vec::new();
    for (i, test) in tests.iter().enumerate().filter(|(_, test)| test.file == file) {
        let Some(last) = test.curve.iter().map(|point| point.seconds).reduce(f64::max) else {
            continue;
        };
        stretches.push(Stretch { test, series: series.of(i), start, end: start + last });
        start += last;
    }
    stretches
}

/// The picture of a quantity; `None` where it was not measured.
fn titled(quantity: &Quantity, stretches: &[Stretch<'_>], place: &str) -> Option<Titled> {
    let values = || {
        let points = stretches.iter().flat_map(|stretch| &stretch.test.curve);
        points.filter_map(quantity.of)
    };
    let most = values().reduce(f64::max)?;
    let least = values().fold(most, f64::min);
    let idle = |test: &Test| {
        let power = test.power.as_ref().filter(|_| quantity.is_mean)?;
        power.idle_watts
    };
    let end = stretches.last()?.end;
    let Quantity { title, unit, .. } = quantity;
    let label = format!(
        "{title}{place} in {unit} over {} seconds, from {} to {}. The table below has the figures.",
        short(end),
        short(least),
        short(most)
    );
    let highest = stretches.iter().filter_map(|stretch| idle(stretch.test)).fold(most, f64::max);
    let picture = Picture::new(label, HEIGHT, |canvas| {
        let x = Scale::linear(0.0, end, canvas.size.marks());
        let (low, high) = match quantity.is_mean {
            true => (0.0, highest.max(1e-3) * 1.12),
            false => (least - 2.0, most + 2.0),
        };
        let y = Scale::linear(low, high, 5);
        let mut plane = canvas.axes((x, "time, seconds"), (y, unit));
        for Stretch { test, start, end, .. } in stretches {
            plane.area([(*start, low), (*end, high)], ink(test.task()), SHADE);
            if let Some(watts) = idle(test) {
                plane.dashes([(*start, watts), (*end, watts)], IDLE);
            }
            let line = quantity.line(test, *start);
            plane.line(&line, TEXT);
            if let [only] = line[..] {
                plane.point(only, Mark { shape: Shape::Circle, ink: TEXT, is_hollow: false });
            }
        }
    });
    let is_used = |task: &Task| stretches.iter().any(|stretch| stretch.test.task() == *task);
    let tasks = [Task::Prefill, Task::Decode, Task::Both].into_iter().filter(is_used);
    let mut legend: Vec<Entry> =
        tasks.map(|task| Entry::area(ink(task), SHADE * 2.5, task.title())).collect();
    if stretches.iter().any(|stretch| idle(stretch.test).is_some()) {
        legend.push(Entry::line(IDLE, true, "the idle board"));
    }
    Some(Titled { title: format!("{title}{place}"), picture, legend })
}

fn table(stretches: &[Stretch<'_>], series: &Series, place: &str) -> Table {
    let heads = ["model and tier", "test", "seconds", "tokens/s", "W", "°C", "MHz"];
    let shown = |value: Option<f64>| value.map_or(String::new(), short);
    let mut rows = Vec::new();
    for Stretch { test, series: number, start, .. } in stretches {
        rows.extend(test.curve.iter().map(|point| {
            vec![
                series.name(*number).to_owned(),
                test.name(),
                short(start + point.seconds),
                short(point.speed),
                shown(point.watts),
                shown(point.celsius),
                shown(point.megahertz),
            ]
        }));
    }
    Table::new(format!("Points of the pictures{place}"), &heads, rows)
}
