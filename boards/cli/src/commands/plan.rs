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
    let device = model.device_parts(&options)?;
    if args.json {
        out::json(&document(&model, &plan, &device))?;
    } else {
        out::text(&table(&model, &plan, &device))?;
    }
    let needed = plan.total_bytes() + sum(&device);
    warn_when_scarce((model.file_bytes() + needed) as u64);
    let budget = options.budget_bytes.unwrap_or(usize::MAX);
    ensure!(
        needed <= budget,
        Code::BudgetTooSmall,
        "the session needs {needed} bytes, the budget is {budget}: lower the context or the batch"
    );
    Ok(())
}

fn sum(parts: &[Part]) -> usize {
    parts.iter().map(|part| part.bytes).sum()
}

fn table(model: &Model, plan: &Plan, device: &[Part]) -> String {
    let mut table = String::new();
    let mut line = |name: &str, bytes: usize| {
        writeln!(table, "{name:<24} {bytes:>14} {:>10}", Bytes(bytes as u64))
            .expect("strings take everything");
    };
    // Where a device has the engine's buffers, the processor's take nothing.
    let is_elsewhere = plan.engine_bytes() == 0;
    for part in plan.parts().iter().filter(|part| part.bytes > 0 || !is_elsewhere) {
        line(part.name, part.bytes);
    }
    for part in device {
        line(&format!("device {}", part.name), part.bytes);
    }
    let session = plan.total_bytes() + sum(device);
    line("session", session);
    line("file, mapped", model.file_bytes());
    line("together", session + model.file_bytes());
    table
}

fn document(model: &Model, plan: &Plan, device: &[Part]) -> Value {
    let part = |part: &Part| json!({ "name": part.name, "bytes": part.bytes });
    let parts: Vec<Value> = plan.parts().iter().map(part).collect();
    let limits = plan.limits();
    json!({
        "total_bytes": plan.total_bytes(),
        "parts": parts,
        "device_bytes": sum(device),
        "device_parts": device.iter().map(part).collect::<Vec<_>>(),
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
