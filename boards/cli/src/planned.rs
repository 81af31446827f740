//! The plan of a model on a machine: memory, what fits, and the speed to expect.

use crate::place::Place;
use crate::units::Bytes;
use kinglet::{Code, Footprint, Model, Part, Result, SessionOptions};
use kinglet_machine::roofline::{Limit, Prediction, Unit, Width, Work};
use kinglet_quant::{Role, Type};
use serde_json::{Value, json};
use std::fmt::Write;

/// The plan of one model on one machine.
pub struct Planned<'a> {
    place: &'a Place,
    footprint: Footprint,
    /// Bytes of the file that are weights; the rest is the tokenizer and some texts.
    weight_bytes: usize,
    /// What the user allows.
    budget: Option<usize>,
    /// The largest context within the budget or the machine's memory; `None` where none fits.
    largest_context: Option<usize>,
    /// What the processor and the GPU would reach; nothing where the board is not known.
    predictions: Vec<Prediction>,
}

impl<'a> Planned<'a> {
    /// Plans a session of these options; the context becomes what fits into a budget.
    pub fn new(model: &Model, place: &'a Place, options: &SessionOptions) -> Result<Self> {
        let threads = options.threads.or(place.threads());
        let options = SessionOptions { threads, ..options.clone() };
        let budget = options.memory_budget_bytes;
        let fitted = match budget.map(|budget| model.fit(&options, budget)) {
            Some(Ok(fitted)) => fitted,
            // What is too large is shown as it was asked for.
            Some(Err(error)) if error.code() == Code::BudgetTooSmall => options.clone(),
            Some(Err(error)) => return Err(error),
            None => options.clone(),
        };
        let footprint = model.footprint(&fitted)?;
        let room = budget.or(place.usable_bytes().map(|bytes| bytes as usize));
        let largest_context = match room {
            Some(bytes) => model.largest_context(&fitted, bytes)?,
            None => Some(model.config().max_context as usize),
        };
        let weight_bytes = model.file().weights().len();
        let work = work(model, &fitted, footprint.plan.limits().context);
        let predictions = place.profile().map_or(Vec::new(), |profile| {
            let units = [Unit::Processor, Unit::Gpu];
            units.iter().filter_map(|&unit| Prediction::new(profile, unit, &work)).collect()
        });
        Ok(Self { place, footprint, weight_bytes, budget, largest_context, predictions })
    }

    /// Bytes of the whole process.
    pub fn process_bytes(&self) -> usize {
        self.footprint.total_bytes()
    }

    /// Bytes that are left of the budget or of the machine's memory; negative where it is too
    /// little, `None` where the memory is unknown.
    pub fn left_bytes(&self) -> Option<i64> {
        let room = self.budget.map(|bytes| bytes as u64).or(self.place.usable_bytes())?;
        Some(room as i64 - self.footprint.total_bytes() as i64)
    }

    /// What decodes fastest.
    pub fn fastest(&self) -> Option<&Prediction> {
        self.predictions.iter().max_by(|a, b| a.decode.total_cmp(&b.decode))
    }

    /// Why the plan ends in a failure: what is asked for exceeds the budget.
    pub fn refusal(&self, name: &str) -> Option<String> {
        let budget = self.budget?;
        let missing = self.left_bytes().filter(|&left| left < 0)?.unsigned_abs();
        let rest = match self.largest_context {
            Some(context) => format!("a context of {context} fits"),
            None => "no context fits: take a smaller model or raise the budget".into(),
        };
        Some(format!("{name} exceeds the budget of {budget} bytes by {missing}: {rest}"))
    }

    /// Everything, for people.
    pub fn table(&self) -> String {
        let mut text = self.memory();
        let mut say = |line: String| writeln!(text, "{line}").expect("strings take everything");
        let (place, context) = (&self.place, self.footprint.plan.limits().context);
        say(format!("\n{}", place.title()));
        let room = match (self.budget, place.usable_bytes()) {
            (Some(budget), _) => format!("a budget of {}", Bytes(budget as u64)),
            (None, Some(usable)) => format!("{} for a process", Bytes(usable)),
            (None, None) => "memory that is not known".into(),
        };
        say(match self.left_bytes() {
            Some(left @ 0..) => {
                format!("fits: {} left of {room}, context {context}", Bytes(left as u64))
            }
            Some(left) => {
                format!("does not fit: {} too much for {room}", Bytes(left.unsigned_abs()))
            }
            None => format!("it is unknown whether this fits: {room}"),
        });
        say(match self.largest_context {
            Some(context) => format!("largest context that fits: {context}"),
            None => "no context fits".into(),
        });
        for prediction in &self.predictions {
            say(speed(prediction));
        }
        text
    }

    /// Every part of the memory and their sum.
    fn memory(&self) -> String {
        let mut table = String::new();
        let mut line = |name: &str, bytes: usize| {
            writeln!(table, "{name:<24} {bytes:>14} {:>10}", Bytes(bytes as u64))
                .expect("strings take everything");
        };
        let Footprint { plan, device, file_bytes, stack_bytes, program_bytes } = &self.footprint;
        // Where a device has the engine's buffers, the processor's take nothing.
        let is_elsewhere = plan.engine_bytes() == 0;
        for part in plan.parts().iter().filter(|part| part.bytes > 0 || !is_elsewhere) {
            line(part.name, part.bytes);
        }
        for part in device {
            line(&format!("device {}", part.name), part.bytes);
        }
        line("session", self.footprint.session_bytes());
        line("weights, mapped", self.weight_bytes);
        line("tokenizer, mapped", file_bytes - self.weight_bytes);
        line("stacks of threads", *stack_bytes);
        line("program", *program_bytes);
        line("together", self.footprint.total_bytes());
        table
    }

    /// Everything, for programs.
    pub fn document(&self, name: &str) -> Value {
        let Footprint { plan, device, file_bytes, stack_bytes, program_bytes } = &self.footprint;
        let part = |part: &Part| json!({ "name": part.name, "bytes": part.bytes });
        let limits = plan.limits();
        let on_device = self.footprint.session_bytes() - plan.total_bytes();
        json!({
            "model": name,
            "board": self.place.profile().map(|profile| &profile.id),
            "total_bytes": plan.total_bytes(),
            "parts": plan.parts().iter().map(part).collect::<Vec<_>>(),
            "device_bytes": on_device,
            "device_parts": device.iter().map(part).collect::<Vec<_>>(),
            "file_bytes": file_bytes,
            "weight_bytes": self.weight_bytes,
            "stack_bytes": stack_bytes,
            "program_bytes": program_bytes,
            "process_bytes": self.footprint.total_bytes(),
            "texts": limits.texts,
            "context": limits.context,
            "batch": limits.batch,
            "logit_rows": limits.logit_rows,
            "kv": limits.kv.name(),
            "threads": limits.workers,
            "available_bytes": self.place.usable_bytes(),
            "reserve_bytes": self.place.reserve_bytes(),
            "budget_bytes": self.budget,
            "left_bytes": self.left_bytes(),
            "largest_context": self.largest_context,
            "predictions": self.predictions.iter().map(predicted).collect::<Vec<_>>(),
        })
    }
}

/// What the model asks of a board, on average over a context.
fn work(model: &Model, options: &SessionOptions, context: usize) -> Work {
    let config = model.config();
    let cache =
        model.cache_bytes_per_token(options.kv.unwrap_or_else(|| model.default_kv())) * context / 2;
    Work {
        decode_bytes: (model.read_bytes_per_token() + cache) as f64,
        layers: f64::from(config.layers),
        layer_multiply_adds: config.layer_multiply_adds() as f64,
        head_multiply_adds: config.head_multiply_adds() as f64,
        width: match model.file().matrix(Role::Q, 0).kind() {
            Type::F32 | Type::Bf16 => Width::Floats,
            Type::Q8 | Type::Q8Planes => Width::Bits8,
            Type::Q5 | Type::Q4 | Type::Q3 => Width::Below8,
        },
    }
}

/// What computes, as tables call it.
pub fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Processor => "processor",
        Unit::Gpu => "GPU",
    }
}

fn speed(prediction: &Prediction) -> String {
    let Prediction { unit, decode, prefill, limit, uncertainty, .. } = prediction;
    let share = uncertainty * 100.0;
    let prefill =
        prefill.map_or("unknown".into(), |speed| format!("{speed:.0} tokens/s ±{share:.0}%"));
    let joules = prediction.joules_per_token.map_or("unknown".into(), |joules| {
        format!("{joules:.3} J ±{:.0}%", prediction.energy_uncertainty * 100.0)
    });
    let limit = match limit {
        Limit::Memory => "memory limits it",
        Limit::Cores => "computing limits it",
        Limit::Launches => "launches of kernels limit it",
    };
    format!(
        "predicted on the {}: decode {decode:.0} tokens/s ±{share:.0}% ({limit}), prefill \
         {prefill}, energy of a decoded token {joules}",
        unit_name(*unit)
    )
}

fn predicted(prediction: &Prediction) -> Value {
    json!({
        "unit": unit_name(prediction.unit),
        "decode_tokens_per_second": prediction.decode,
        "prefill_tokens_per_second": prediction.prefill,
        "limit": prediction.limit.name(),
        "uncertainty": prediction.uncertainty,
        "joules_per_token": prediction.joules_per_token,
        "energy_uncertainty": prediction.energy_uncertainty,
    })
}
