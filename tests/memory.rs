//! The plan is the truth, to the byte.

use kinglet::{Code, GenerateOptions, KvType, SessionOptions, StopReason, Type};
use kinglet_core::Texts;
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::scalar::Scalar;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{REAL, SMALL, converted_path, real, small};
use std::ops::ControlFlow;

/// Limits from the smallest to more than any step needs.
fn all_limits() -> impl Iterator<Item = Limits> {
    let kinds = [KvType::F16, KvType::Int8];
    kinds.into_iter().flat_map(|kv| {
        [(1, 1, 1, 1, 1), (1, 17, 3, 2, 2), (3, 130, 16, 16, 3), (8, 256, 64, 8, 8)].map(
            |(texts, context, batch, logit_rows, workers)| Limits {
                texts,
                context,
                batch,
                logit_rows,
                workers,
                kv,
            },
        )
    })
}

#[test]
fn a_session_fits_into_its_plan_and_into_nothing_less() {
    for model in SMALL.map(|name| small(name, Type::Q4)) {
        for limits in all_limits() {
            let plan = Plan::new(&model.file(), &limits).unwrap();
            assert_eq!(plan.total_bytes(), plan.parts().iter().map(|p| p.bytes).sum::<usize>());
            let mut memory = Aligned::zeroed(plan.total_bytes());
            let tokens: Vec<u32> = (20..20 + limits.batch.min(limits.context) as u32).collect();
            let memory = memory.as_mut();
            let mut texts = Texts::on_cpu(model.file(), &limits, Scalar, Alone, memory).unwrap();
            for text in 0..limits.texts {
                texts.text(text).prefill(&tokens, &mut |_| Ok(())).unwrap();
            }
        }
    }
}

#[test]
fn too_little_memory_is_refused_until_the_planned_size() {
    let model = small(SMALL[0], Type::Q8);
    let kv = KvType::Int8;
    let limits = Limits { texts: 1, context: 32, batch: 4, logit_rows: 1, workers: 1, kv };
    let make =
        |memory: &mut [u8]| Texts::on_cpu(model.file(), &limits, Scalar, Alone, memory).map(|_| ());
    let planned = Plan::new(&model.file(), &limits).unwrap().total_bytes();
    let mut memory = Aligned::zeroed(planned);
    for bytes in (0..planned).step_by(997).chain([planned - 64, planned - 1]) {
        let error = make(&mut memory.as_mut()[..bytes]).unwrap_err();
        assert_eq!(error.code(), Code::BudgetTooSmall);
    }
    let misaligned = make(&mut Aligned::zeroed(planned + 8).as_mut()[8..]).unwrap_err();
    assert_eq!(misaligned.code(), Code::Misaligned);
    make(memory.as_mut()).unwrap();
}

#[test]
fn a_full_context_ends_the_reply_and_keeps_the_session() {
    let model = small(SMALL[1], Type::Q8);
    let options = SessionOptions { context: Some(32), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let prompt: Vec<u32> = (20..50).collect();
    let generate = GenerateOptions { ignore_eos: true, ..GenerateOptions::default() };
    let mut first = Vec::new();
    let run = |session: &mut kinglet::Session, tokens: &mut Vec<u32>| {
        let generation = session.generate(&prompt, &generate, &mut |piece| {
            tokens.extend(piece.token);
            ControlFlow::Continue(())
        });
        generation.unwrap().stop_reason
    };
    assert_eq!(run(&mut session, &mut first), StopReason::ContextFull);
    assert_eq!(session.room(), 0);
    assert_eq!(session.push(20).unwrap_err().code(), Code::ContextFull);
    assert_eq!(session.prefill(&[20]).unwrap_err().code(), Code::PromptTooLong);
    assert_eq!(session.tokens().len(), 32);
    session.reset();
    let mut second = Vec::new();
    assert_eq!(run(&mut session, &mut second), StopReason::ContextFull);
    assert_eq!(first, second);
}

#[test]
fn resident_memory_is_the_file_and_the_plan() {
    /// What the program itself may take: code, stacks, the copy of the prompt.
    const PROGRAM_BYTES: u64 = 8_000_000;
    if real("resident_memory_is_the_file_and_the_plan", Type::Q4).is_none() {
        return;
    }
    let path = converted_path(REAL, Type::Q4);
    let home = tempfile::tempdir().unwrap();
    let prompt = "The quick brown fox jumps over the lazy dog. ".repeat(150);
    let mut run = kinglet(home.path());
    run.arg("run").arg(&path).args(["--ctx", "2048", "--kv", "int8", "-n", "200", "--json"]);
    let said = Said::by(run.args(["--temp", "0", "--ignore-eos", "-p", &prompt])).json();
    let bytes = |key: &str| said[key].as_u64().unwrap();
    assert!(bytes("prompt_tokens") > 1000 && said["tokens"].as_array().unwrap().len() == 200);
    let resident = bytes("peak_rss_bytes");
    let allowed = bytes("file_bytes") + bytes("plan_bytes") + PROGRAM_BYTES;
    println!("{resident} bytes resident, {allowed} allowed");
    assert!(resident <= allowed);
    assert!(resident >= bytes("file_bytes") / 2, "the weights cannot have been read");
}
