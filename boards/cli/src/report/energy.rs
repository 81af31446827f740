//! Joules per token, by model and type.

use crate::report::canvas::Picture;
use crate::report::figure::{Figure, Titled};
use crate::report::format::{joules, known, short};
use crate::report::ink::{Ink, SERIES};
use crate::report::points::Entry;
use crate::report::power::{Phase, Power};
use crate::report::scale::Scale;
use crate::report::series::Series;
use crate::report::table::Table;
use crate::report::test::{Task, Test};

/// Pixels of a bar with its title, of the title alone, and of the bar alone.
const ROW: f64 = 46.0;
const TITLE: f64 = 20.0;
const BAR: f64 = 16.0;

/// The colour of each phase, here and over time.
pub fn ink(task: Task) -> Ink {
    match task {
        Task::Prefill => SERIES[0],
        Task::Decode => SERIES[1],
        Task::Both => SERIES[3],
    }
}

/// A phase of a test whose energy is known.
struct Bar<'a> {
    title: String,
    kind: &'a str,
    task: Task,
    phase: &'a Phase,
    power: &'a Power,
    joules_per_token: f64,
}

/// Bars for each test and phase.
pub fn figure(tests: &[Test], series: &Series) -> Figure {
    let mut figure = Figure { title: "Energy of a token", ..Figure::default() };
    let bars = bars(tests, series);
    let most = bars.iter().map(|bar| bar.joules_per_token).fold(0.0, f64::max);
    if most == 0.0 {
        figure.lack = Some(
            "The picture needs a sensor: kinglet bench MODEL --power auto -o json. kinglet bench \
             --help lists the sensors."
                .into(),
        );
        return figure;
    }
    let (times, unit) = joules(most);
    let mut boundaries: Vec<String> = Vec::new();
    for Bar { power: Power { source, boundary, .. }, .. } in &bars {
        let sentence = format!("{source} measured {boundary}.");
        if !boundaries.contains(&sentence) {
            boundaries.push(sentence);
        }
    }
    figure.about.extend(boundaries);
    figure.about.push("Bars include what the idle board takes; the table has both.".into());
    figure.pictures.push(titled(&bars, times, unit));
    figure.tables.push(table(&bars, times, unit));
    figure
}

fn bars<'a>(tests: &'a [Test], series: &Series) -> Vec<Bar<'a>> {
    let mut bars = Vec::new();
    for (i, test) in tests.iter().enumerate() {
        let Some(power) = &test.power else { continue };
        let depth = match test.depth {
            0.0 => String::new(),
            depth => format!(" at {}", short(depth)),
        };
        for (task, phase) in [(Task::Prefill, &power.prefill), (Task::Decode, &power.decode)] {
            let Some(phase) = phase else { continue };
            let Some(joules_per_token) = phase.joules_per_token else { continue };
            let title = format!("{}, {}{depth}", series.name(series.of(i)), test.name());
            bars.push(Bar { title, kind: &test.kind, task, phase, power, joules_per_token });
        }
    }
    bars
}

fn titled(bars: &[Bar<'_>], times: f64, unit: &str) -> Titled {
    let most = bars.iter().map(|bar| bar.joules_per_token).fold(0.0, f64::max) * times;
    let height = (bars.len() as f64 * ROW) as i32 + 54;
    let label = format!(
        "Energy of a token in {unit}, a bar for each of {} phases of tests. The table below has \
         the figures.",
        bars.len()
    );
    let picture = Picture::new(label, height, |canvas| {
        // Room behind the longest bar for its figure.
        let x = Scale::linear(0.0, most * 1.3, canvas.size.marks());
        let mut plane = canvas.bars((x, &format!("{unit} per token")));
        for (i, bar) in bars.iter().enumerate() {
            let top = -(i as f64 * ROW);
            let value = bar.joules_per_token * times;
            let (from, to) = (top - TITLE, top - TITLE - BAR);
            plane.text((0.0, top - 4.0), &bar.title);
            plane.area([(0.0, from), (value, to)], ink(bar.task), 1.0);
            plane.text_behind((value, from - BAR / 2.0), &short(value));
        }
    });
    let tasks = [Task::Prefill, Task::Decode];
    let used = tasks.into_iter().filter(|task| bars.iter().any(|bar| bar.task == *task));
    let legend = used.map(|task| Entry::area(ink(task), 1.0, task.title())).collect();
    Titled { title: "Joules per token".into(), picture, legend }
}

fn table(bars: &[Bar<'_>], times: f64, unit: &str) -> Table {
    let (gross, net) = (format!("{unit}/token"), format!("{unit}/token without idle"));
    let spread = format!("± {unit}/token");
    let heads = [
        "model and test",
        "type",
        "phase",
        &gross,
        &spread,
        &net,
        "tokens/J",
        "W",
        "idle W",
        "seconds",
        "tokens",
        "°C",
    ];
    let row = |bar: &Bar<'_>| {
        let Phase { net_joules_per_token: net, spread_joules_per_token: spread, .. } = bar.phase;
        let celsius = match bar.power.celsius {
            [Some(before), Some(after)] => format!("{before:.1} → {after:.1}"),
            _ => String::new(),
        };
        vec![
            bar.title.clone(),
            bar.kind.to_owned(),
            if bar.task == Task::Prefill { "prefill" } else { "decode" }.to_owned(),
            short(bar.joules_per_token * times),
            spread.map_or(String::new(), |spread| short(spread * times)),
            known(net.map(|net| net * times)),
            short(1.0 / bar.joules_per_token),
            known(bar.phase.watts),
            known(bar.power.idle_watts),
            short(bar.phase.seconds),
            short(bar.phase.tokens),
            celsius,
        ]
    };
    Table::new("Energy of every phase", &heads, bars.iter().map(row).collect())
}
