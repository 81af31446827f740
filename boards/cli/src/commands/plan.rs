//! `kinglet plan`: the memory that a model takes and the speed to expect, before anything is
//! loaded.

use crate::args::PlanArgs;
use crate::matrix;
use crate::place::Place;
use crate::planned::Planned;
use crate::{interrupt, models, out, settings};
use kinglet::{Code, Model, Result, SessionOptions};
use kinglet_machine::Profile;
use kinglet_quant::fail;
use serde_json::Value;

/// Prints the plan of each model, or the matrix of models and boards.
pub fn run(args: &PlanArgs) -> Result<()> {
    let texts = args.texts as usize;
    let options = SessionOptions { texts, ..settings::session_options(&args.session)? };
    interrupt::install();
    let open = |name: &String| models::open_named(name, args.kind.map(Into::into), &args.trust);
    let models: Vec<Model> = args.models.iter().map(open).collect::<Result<_>>()?;
    if args.all_boards {
        return matrix::print(&args.models, &models, &options, args.json);
    }
    let place = match &args.board {
        Some(board) => Place::of_board(Profile::named(board)?),
        None => Place::here(),
    };
    let plans = models.iter().zip(&args.models).map(|(model, name)| {
        let plan = Planned::new(model, &place, &options)?;
        Ok((name, plan))
    });
    let plans: Vec<(&String, Planned)> = plans.collect::<Result<_>>()?;
    if args.systemd {
        let largest = plans.iter().map(|(_, plan)| plan.process_bytes()).max();
        let largest = largest.expect("there is at least one model");
        out::text(&format!("[Service]\nMemoryMax={largest}\n"))?;
    } else if args.json {
        let documents: Vec<Value> = plans.iter().map(|(name, plan)| plan.document(name)).collect();
        match &documents[..] {
            [document] => out::json(document)?,
            several => out::json(&several)?,
        }
    } else {
        for (name, plan) in &plans {
            if plans.len() > 1 {
                out::text(&format!("{name}\n"))?;
            }
            out::text(&plan.table())?;
        }
    }
    match plans.iter().find_map(|(name, plan)| plan.refusal(name)) {
        Some(message) => fail!(Code::BudgetTooSmall, "{message}"),
        None => Ok(()),
    }
}
