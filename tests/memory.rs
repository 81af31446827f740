//! The plan is the truth: to the byte, and nothing is allocated behind its back.

use kinglet::{Code, GenerateOptions, KvType, Model, Sampling, SessionOptions, StopReason, Type};
use kinglet_core::Session;
use kinglet_core::kernels::Alone;
use kinglet_core::plan::{Limits, Plan};
use kinglet_core::scalar::Scalar;
use kinglet_core::session::Logits;
use kinglet_tests::aligned::Aligned;
use kinglet_tests::command::{Said, kinglet};
use kinglet_tests::models::{REAL, SMALL, converted_path, real, small};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts what the whole process allocates.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: the count is of the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Limits from the smallest to more than any step needs.
fn all_limits() -> impl Iterator<Item = Limits> {
    let kinds = [KvType::F16, KvType::Int8];
    kinds.into_iter().flat_map(|kv| {
        [(1, 1, 1, 1), (17, 3, 2, 2), (130, 16, 16, 3), (256, 64, 1, 8)].map(
            |(context, batch, logit_rows, workers)| Limits {
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
    let _alone = alone();
    for model in SMALL.map(|name| small(name, Type::Q4)) {
        for limits in all_limits() {
            let plan = Plan::new(&model.file(), &limits).unwrap();
            assert_eq!(plan.total_bytes(), plan.parts().iter().map(|p| p.bytes).sum::<usize>());
            let mut memory = Aligned::zeroed(plan.total_bytes());
            let tokens: Vec<u32> = (20..20 + limits.batch.min(limits.context) as u32).collect();
            let mut session = Session::new(model.file(), &limits, memory.as_mut()).unwrap();
            session.step(Scalar, &Alone, &tokens, Logits::Last).unwrap();
        }
    }
}

#[test]
fn too_little_memory_is_refused_until_the_planned_size() {
    let _alone = alone();
    let model = small(SMALL[0], Type::Q8);
    let limits = Limits { context: 32, batch: 4, logit_rows: 1, workers: 1, kv: KvType::Int8 };
    let planned = Plan::new(&model.file(), &limits).unwrap().total_bytes();
    let mut memory = Aligned::zeroed(planned);
    for bytes in (0..planned).step_by(997).chain([planned - 64, planned - 1]) {
        let error = Session::new(model.file(), &limits, &mut memory.as_mut()[..bytes]).unwrap_err();
        assert_eq!(error.code(), Code::BudgetTooSmall);
    }
    let misaligned =
        Session::new(model.file(), &limits, &mut Aligned::zeroed(planned + 8).as_mut()[8..])
            .unwrap_err();
    assert_eq!(misaligned.code(), Code::Misaligned);
    Session::new(model.file(), &limits, memory.as_mut()).unwrap();
}

#[test]
fn a_budget_is_kept() {
    let _alone = alone();
    let model = small(SMALL[0], Type::Q8);
    let mut options = SessionOptions { context: Some(64), ..SessionOptions::default() };
    let planned = model.plan(&options).unwrap().total_bytes();
    options.budget_bytes = Some(planned - 1);
    assert_eq!(model.session(&options).err().unwrap().code(), Code::BudgetTooSmall);
    options.budget_bytes = Some(planned);
    model.session(&options).unwrap();
}

/// Allocations while a session reads a prompt and writes a reply.
fn allocations_of(model: &Model, kv: KvType, prompt: &[u32], temperature: f32) -> usize {
    let context = model.config().max_context.min(256) as usize;
    let options = SessionOptions {
        context: Some(context),
        kv,
        threads: Some(2),
        ..SessionOptions::default()
    };
    let mut session = model.session(&options).unwrap();
    let sampling = Sampling {
        temperature,
        top_k: 40,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.1,
        ..Sampling::default()
    };
    let generate = GenerateOptions {
        max_tokens: 48,
        sampling,
        stop: &["a stop string that never comes"],
        ignore_eos: true,
    };
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let mut bytes = 0;
    let generation = session.generate(prompt, &generate, &mut |piece| {
        bytes += piece.text.len();
        ControlFlow::Continue(())
    });
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    let generation = generation.unwrap();
    assert_eq!(generation.stop_reason, StopReason::MaxTokens);
    assert!(generation.tokens == 48 && bytes > 0);
    after - before
}

#[test]
fn generation_allocates_nothing() {
    let _alone = alone();
    for name in SMALL {
        for kind in [Type::Q8, Type::Q4] {
            let model = small(name, kind);
            let prompt: Vec<u32> = (20..120).collect();
            for (kv, temperature) in [(KvType::F16, 0.0), (KvType::Int8, 0.8)] {
                assert_eq!(allocations_of(&model, kv, &prompt, temperature), 0, "{name} {kind:?}");
            }
        }
        // Long prompts of unquantized models run through a library that allocates.
        assert_eq!(allocations_of(&small(name, Type::Bf16), KvType::F16, &[20], 0.8), 0, "{name}");
    }
}

#[test]
fn a_full_context_ends_the_reply_and_keeps_the_session() {
    let _alone = alone();
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
    let _alone = alone();
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
