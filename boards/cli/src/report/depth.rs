//! Throughput against the context that a test began with.

use crate::report::canvas::Picture;
use crate::report::figure::{Figure, Titled};
use crate::report::format::short;
use crate::report::points::Mark;
use crate::report::scale::Scale;
use crate::report::series::Series;
use crate::report::table::Table;
use crate::report::test::{Task, Test};

/// The height of a picture, in pixels.
const HEIGHT: i32 = 340;

/// Tests that differ in their depth only.
struct Line<'a> {
    first: &'a Test,
    series: usize,
    /// Depth, speed and its standard deviation, by depth.
    points: Vec<[f64; 3]>,
}

/// One picture for generating and one for reading prompts.
pub fn figure(tests: &[Test], series: &Series) -> Figure {
    let mut figure = Figure { title: "Throughput against context", ..Figure::default() };
    for (task, title) in
        [(Task::Decode, "Decode: generating tokens"), (Task::Prefill, "Prefill: reading a prompt")]
    {
        let lines = lines(tests, series, task);
        if !lines.is_empty() {
            figure.pictures.push(titled(title, &lines, series));
        }
    }
    if figure.pictures.is_empty() {
        figure.lack = Some(
            "The picture needs tests at several depths of the context: kinglet bench MODEL \
             -d 0,512,1024,2048 -o json."
                .into(),
        );
    } else {
        figure.about.push(
            "The context holds this many tokens before a test starts. Bars show the standard \
             deviation of the repeats."
                .into(),
        );
    }
    figure.tables.extend((!tests.is_empty()).then(|| table(tests, series)));
    figure
}

/// Those with several depths.
fn lines<'a>(tests: &'a [Test], series: &Series, task: Task) -> Vec<Line<'a>> {
    let mut lines: Vec<Line> = Vec::new();
    for (i, test) in tests.iter().enumerate().filter(|(_, test)| test.task() == task) {
        let number = series.of(i);
        let point = [test.depth, test.speed, test.deviation];
        let is_same =
            |line: &&mut Line| line.series == number && line.first.title() == test.title();
        match lines.iter_mut().find(is_same) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { first: test, series: number, points: vec![point] }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a[0].total_cmp(&b[0]));
    }
    lines.retain(|line| line.points[0][0] < line.points[line.points.len() - 1][0]);
    lines
}

fn titled(title: &str, lines: &[Line<'_>], series: &Series) -> Titled {
    // Where a series has several lines, each gets a mark of its own.
    let is_repeated = |i: usize| lines[..i].iter().any(|other| other.series == lines[i].series);
    let has_several = (0..lines.len()).any(is_repeated);
    let mark = |i: usize| Mark::of_series(if has_several { i } else { lines[i].series });
    let name = |line: &Line| match has_several {
        true => format!("{}, {}", series.name(line.series), line.first.title()),
        false => series.name(line.series).to_owned(),
    };
    let all = || lines.iter().flat_map(|line| &line.points);
    let deepest = all().map(|point| point[0]).fold(0.0, f64::max);
    let fastest = all().map(|point| point[1] + point[2]).fold(0.0, f64::max);
    let label = format!(
        "{title}. Tokens per second against context, for {}. The table below has the figures.",
        lines.iter().map(name).collect::<Vec<_>>().join("; ")
    );
    let picture = Picture::new(label, HEIGHT, |canvas| {
        let x = Scale::linear(0.0, deepest * 1.02, canvas.size.marks());
        let y = Scale::from_zero(fastest, 6);
        let mut plane = canvas.axes((x, "context, tokens"), (y, "tokens/s"));
        for (i, line) in lines.iter().enumerate() {
            let path: Vec<_> = line.points.iter().map(|point| (point[0], point[1])).collect();
            plane.line(&path, mark(i).ink);
            for &[depth, speed, deviation] in &line.points {
                plane.spread((depth, speed), deviation.min(speed), mark(i).ink);
                plane.point((depth, speed), mark(i));
            }
        }
    });
    let legend = lines.iter().enumerate().map(|(i, line)| mark(i).entry(name(line))).collect();
    Titled { title: title.into(), picture, legend }
}

fn table(tests: &[Test], series: &Series) -> Table {
    let heads = [
        "model and tier",
        "type",
        "test",
        "context, tokens",
        "tokens/s",
        "± tokens/s",
        "slowed down by",
    ];
    let row = |(i, test): (usize, &Test)| {
        let flags = test.throttle_flags.clone().unwrap_or_else(|| "yes".into());
        vec![
            series.name(series.of(i)).to_owned(),
            test.kind.clone(),
            test.title(),
            short(test.depth),
            short(test.speed),
            short(test.deviation),
            if test.throttled == Some(true) { flags } else { String::new() },
        ]
    };
    Table::new("Speed of every test", &heads, tests.iter().enumerate().map(row).collect())
}
