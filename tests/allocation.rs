//! Generation allocates nothing once the session is made. The only test of its program, so that
//! every thread but the main one is its own.

use kinglet::schema::compile;
use kinglet::table::Table;
use kinglet::{GenerateOptions, KvType, Model, Sampling, SessionOptions, StopReason, Type};
use kinglet_tests::models::{SMALL, small};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what all threads but the main one allocate: that one belongs to the test harness.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: both calls only return numbers.
        let is_main_thread = unsafe { libc::gettid() == libc::getpid() };
        if !is_main_thread {
            ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        }
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

/// Allocations while a session reads a prompt and writes a reply.
fn allocations_of(model: &Model, kv: KvType, prompt: &[u32], temperature: f32) -> usize {
    let context = model.config().max_context.min(256) as usize;
    let options = SessionOptions {
        context: Some(context),
        kv: Some(kv),
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
        speculation: true,
        exact_head: false,
        ..GenerateOptions::default()
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

/// Allocations while a reply follows a table.
fn allocations_of_table(model: &Model, table: &Table, temperature: f32) -> usize {
    let options = SessionOptions { context: Some(256), ..SessionOptions::default() };
    let mut session = model.session(&options).unwrap();
    let sampling = Sampling { temperature, ..Sampling::default() };
    let generate = GenerateOptions { sampling, grammar: Some(table), ..GenerateOptions::default() };
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let generation = session.generate(&[20, 21], &generate, &mut |_| ControlFlow::Continue(()));
    let after = ALLOCATIONS.load(Ordering::SeqCst);
    let generation = generation.unwrap();
    assert!(generation.tokens > 10 && generation.forced > 0, "{generation:?}");
    after - before
}

fn check_all() {
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst), before + 1, "allocations are not counted");
    for name in SMALL {
        for kind in [Type::Q8, Type::Q4] {
            let model = small(name, kind);
            let prompt: Vec<u32> = (20..120).collect();
            for (kv, temperature) in [(KvType::F16, 0.0), (KvType::Int8, 0.8)] {
                assert_eq!(allocations_of(&model, kv, &prompt, temperature), 0, "{name} {kind:?}");
            }
        }
        let model = small(name, Type::Q4);
        let schema = r#"{"type": "array", "items": {"enum": ["one two", 3.25]}, "minItems": 9}"#;
        let table = Table::new(&model, &compile(schema, 1).unwrap()).unwrap();
        for temperature in [0.0, 1.0] {
            // The box of the constraint, at the beginning.
            assert_eq!(allocations_of_table(&model, &table, temperature), 1, "{name}");
        }
        // Long prompts of unquantized models run through a library that allocates.
        assert_eq!(allocations_of(&small(name, Type::Bf16), KvType::F16, &[20], 0.8), 0, "{name}");
    }
}

#[test]
fn generation_allocates_nothing() {
    // A thread of its own, because the harness may run the only test on the main one.
    std::thread::spawn(check_all).join().unwrap();
}
