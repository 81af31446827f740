//! Tables in Markdown.

use crate::bench::watch::Point;

/// Rows of a curve that a table shows at most.
const CURVE_ROWS: usize = 12;

/// A row of cells, each with the title of its column; the first row comes with the table's head.
pub fn row(cells: &[(&'static str, String)], is_first: bool) -> String {
    // The first column, the model, is aligned as text, the others as numbers.
    let width = |title: &str| if title == "model" { 20 } else { title.len().max(10) };
    let line = |show: &dyn Fn(usize, &(&'static str, String)) -> String| {
        let cells: Vec<String> = cells.iter().enumerate().map(|(i, cell)| show(i, cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let padded = |i: usize, title: &str, text: &str| {
        let width = width(title);
        if i == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
    };
    let row = line(&|i, (title, text)| padded(i, title, text));
    if !is_first {
        return row;
    }
    let head = line(&|i, (title, _)| padded(i, title, title));
    let rule = line(&|i, (title, _)| {
        let dashes = "-".repeat(width(title) - usize::from(i > 0));
        if i == 0 { dashes } else { dashes + ":" }
    });
    head + &rule + &row
}

/// How a sustained test went on, in some of its points.
pub fn curve(test: &str, points: &[Point]) -> String {
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or(String::new(), |value| format!("{value:.digits$}"))
    };
    let mut text = format!("\n{test}, sustained:\n\n");
    text.push_str("| seconds | t/s | W | °C | MHz |\n| --: | --: | --: | --: | --: |\n");
    let step = points.len().div_ceil(CURVE_ROWS).max(1);
    // The last point is always among them.
    let first = points.len().saturating_sub(1) % step;
    for point in points.iter().skip(first).step_by(step) {
        text.push_str(&format!(
            "| {:.0} | {:.2} | {} | {} | {} |\n",
            point.seconds,
            point.tokens_per_second,
            shown(point.watts, 2),
            shown(point.celsius, 1),
            shown(point.megahertz, 0)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_thinned_out_and_keep_their_end() {
        let point = |seconds: u32| Point {
            seconds: f64::from(seconds),
            tokens_per_second: 20.0,
            watts: None,
            celsius: Some(60.04),
            megahertz: Some(2400.0),
        };
        for count in [1, 12, 13, 60, 61] {
            let points: Vec<Point> = (1..=count).map(point).collect();
            let text = curve("tg8", &points);
            let rows: Vec<&str> = text.lines().skip(5).collect();
            assert!((1..=12).contains(&rows.len()), "{text}");
            let last = format!("| {count} | 20.00 |  | 60.0 | 2400 |");
            assert_eq!(rows.last(), Some(&last.as_str()));
        }
    }
}
