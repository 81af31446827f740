//! The memory of plans, as stacked bars.

use crate::report::canvas::Picture;
use crate::report::figure::{Figure, Titled};
use crate::report::format::short;
use crate::report::ink::{SERIES, TEXT};
use crate::report::plan::{PARTS, Plan};
use crate::report::points::Entry;
use crate::report::scale::Scale;
use crate::report::table::Table;

/// Pixels of a bar with its title, of the title alone, and of the bar alone.
const ROW: f64 = 54.0;
const TITLE: f64 = 20.0;
const BAR: f64 = 22.0;

const MEGABYTE: f64 = 1e6;

/// A bar for each plan.
pub fn figure(plans: &[Plan]) -> Figure {
    let mut figure = Figure { title: "Memory", ..Figure::default() };
    if plans.is_empty() {
        figure.lack = Some(
            "The picture needs plans: kinglet plan MODEL --json > plan.json, with --board BOARD \
             for another machine."
                .into(),
        );
        return figure;
    }
    figure.about.push("What a process with one session takes, as kinglet plan says.".into());
    figure.pictures.push(titled(plans));
    figure.tables.push(table(plans));
    figure
}

/// What plans are called: the model, the board and the context, and what else differs.
fn titles(plans: &[Plan]) -> Vec<String> {
    let differs = |of: fn(&Plan) -> String| plans.iter().any(|plan| of(plan) != of(&plans[0]));
    let kv: fn(&Plan) -> String = |plan| format!(", {} cache", plan.kv);
    let texts: fn(&Plan) -> String = |plan| format!(", {} texts", plan.texts);
    let details: Vec<_> = [kv, texts].into_iter().filter(|detail| differs(*detail)).collect();
    let title = |plan: &Plan| {
        let board = plan.board.as_ref().map_or(String::new(), |board| format!(" on {board}"));
        let details: String = details.iter().map(|detail| detail(plan)).collect();
        format!("{}{board}, context {}{details}", plan.model, short(plan.context))
    };
    plans.iter().map(title).collect()
}

/// Which parts any plan has.
fn is_used(plans: &[Plan]) -> [bool; PARTS.len()] {
    std::array::from_fn(|part| plans.iter().any(|plan| plan.parts[part] > 0.0))
}

/// The memory that a plan must not exceed.
fn limit(plan: &Plan) -> Option<f64> {
    plan.budget_bytes.or(plan.available_bytes)
}

fn titled(plans: &[Plan]) -> Titled {
    let most = plans.iter().map(|plan| plan.process_bytes).fold(0.0, f64::max);
    // Limits far above all bars would squeeze them; the table has those, too.
    let shown = |plan: &Plan| limit(plan).filter(|&limit| limit <= most * 1.6);
    let widest = plans.iter().filter_map(shown).fold(most, f64::max);
    let height = (plans.len() as f64 * ROW) as i32 + 54;
    let label = format!(
        "Memory of {} plans in MB, as bars of their parts. The table below has the figures.",
        plans.len()
    );
    let titles = titles(plans);
    let picture = Picture::new(label, height, |canvas| {
        let x = Scale::from_zero(widest / MEGABYTE, canvas.size.marks());
        let mut plane = canvas.bars((x, "MB"));
        for (i, plan) in plans.iter().enumerate() {
            let top = -(i as f64 * ROW);
            let (from, to) = (top - TITLE, top - TITLE - BAR);
            plane.text((0.0, top - 4.0), &titles[i]);
            let mut left = 0.0;
            for (bytes, ink) in plan.parts.iter().zip(SERIES) {
                let right = left + bytes / MEGABYTE;
                plane.area([(left, from), (right, to)], ink, 1.0);
                left = right;
            }
            if let Some(limit) = shown(plan) {
                let limit = limit / MEGABYTE;
                plane.line(&[(limit, from + 4.0), (limit, to - 4.0)], TEXT);
            }
        }
    });
    let is_used = is_used(plans);
    let used = (0..PARTS.len()).filter(|&part| is_used[part]);
    let mut legend: Vec<Entry> =
        used.map(|part| Entry::area(SERIES[part], 1.0, PARTS[part])).collect();
    if plans.iter().any(|plan| shown(plan).is_some()) {
        legend.push(Entry::line(TEXT, false, "what a process may have"));
    }
    Titled { title: "Memory of a process".into(), picture, legend }
}

fn table(plans: &[Plan]) -> Table {
    let mut heads: Vec<String> = vec!["plan".into()];
    heads.extend(PARTS.iter().map(|part| format!("{part}, MB")));
    heads.extend(["together, MB".into(), "allowed, MB".into(), "fits".into()]);
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let is_used = is_used(plans);
    let megabytes = |bytes: f64| short(bytes / MEGABYTE);
    let row = |(plan, title): (&Plan, String)| {
        let mut row = vec![title];
        row.extend(plan.parts.iter().zip(is_used).map(|(&bytes, is_used)| match is_used {
            true => megabytes(bytes),
            false => String::new(),
        }));
        row.push(megabytes(plan.process_bytes));
        row.push(limit(plan).map_or("unknown".into(), megabytes));
        row.push(match limit(plan) {
            Some(limit) if plan.process_bytes <= limit => "yes".into(),
            Some(_) => "no".into(),
            None => "unknown".into(),
        });
        row
    };
    Table::new("Memory of every plan", &heads, plans.iter().zip(titles(plans)).map(row).collect())
}
