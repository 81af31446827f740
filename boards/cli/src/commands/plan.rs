//! `kinglet plan`: the memory of a session, before anything is loaded.

use crate::args::PlanArgs;
use crate::units::Bytes;
use crate::{interrupt, models, out, settings, system};
use kinglet::{Code, Model, Part, Plan, Result, SessionOptions};
use kinglet_quant::ensure;
use serde_json::{Value, json};
use std::fmt::Write;

/// Prints every part of the plan and their sum.
pub fn run(args: &PlanArgs) -> Result<()> {
    let texts = args.texts as usize;
    let options = SessionOptions { texts, ..settings::session_options(&args.session)? };
    interrupt::install();
    let model = models::open(&args.model)?;
    let plan = model.plan(&options)?;
    if args.json {
        out::json(&document(&model, &plan))?;
    } else {
        out::text(&table(&model, &plan))?;
    }
    warn_when_scarce((model.file_bytes() + plan.total_bytes()) as u64);
    let budget = options.budget_bytes.unwrap_or(usize::MAX);
    ensure!(
        plan.total_bytes() <= budget,
        Code::BudgetTooSmall,
        "the session needs {} bytes, the budget is {budget}: lower the context or the batch",
        plan.total_bytes()
    );
    Ok(())
}

fn table(model: &Model, plan: &Plan) -> String {
    let mut table = String::new();
    let mut line = |name: &str, bytes: usize| {
        writeln!(table, "{name:<24} {bytes:>14} {:>10}", Bytes(bytes as u64))
            .expect("strings take everything");
    };
    for part in plan.parts() {
        line(part.name, part.bytes);
    }
    line("session", plan.total_bytes());
    line("file, mapped", model.file_bytes());
    line("together", plan.total_bytes() + model.file_bytes());
    table
}

fn document(model: &Model, plan: &Plan) -> Value {
    let part = |part: &Part| json!({ "name": part.name, "bytes": part.bytes });
    let parts: Vec<Value> = plan.parts().iter().map(part).collect();
    let limits = plan.limits();
    json!({
        "total_bytes": plan.total_bytes(),
        "parts": parts,
        "file_bytes": model.file_bytes(),
        "texts": limits.texts,
        "context": limits.context,
        "batch": limits.batch,
        "threads": limits.workers,
        "available_bytes": system::available_bytes(),
    })
}

fn warn_when_scarce(needed: u64) {
    if let Some(available) = system::available_bytes().filter(|&available| needed > available) {
        out::note(format_args!(
            "warning: file and session take {}, this machine has {} available",
            Bytes(needed),
            Bytes(available)
        ));
    }
}
