//! A budget for the whole process is kept, and chooses what fits.

use kinglet::{Code, KvType, SessionOptions, Type};
use kinglet_tests::models::{SMALL, small};

/// What a process may grow by between two looks at it.
const JITTER_BYTES: usize = 1 << 16;

fn a_budget_chooses_the_context() {
    let model = small(SMALL[0], Type::Q8);
    let options = SessionOptions { texts: 8, kv: KvType::F16, ..SessionOptions::default() };
    let most = model.config().max_context as usize;
    let bytes = |context| {
        let options = SessionOptions { context: Some(context), ..options.clone() };
        model.footprint(&options).unwrap().total_bytes()
    };
    let (all, half) = (bytes(most), bytes(most / 2));
    assert!(all - half > 4 * JITTER_BYTES, "the caches of this model are too small for this test");
    let budget = usize::midpoint(all, half);
    let fitted = model.fit(&options, budget).unwrap();
    let context = fitted.context.unwrap();
    assert!((most / 2..most).contains(&context) && context.is_multiple_of(64), "{context}");
    assert_eq!((fitted.batch, fitted.logit_rows), (options.batch, options.logit_rows));
    let options = SessionOptions { memory_budget_bytes: Some(budget), ..options };
    let batch = model.batch(&options).unwrap();
    assert!(batch.plan().limits().context.abs_diff(context) <= 64);
    drop(batch);
    let ample = SessionOptions { memory_budget_bytes: Some(2 * all), ..options.clone() };
    assert_eq!(model.batch(&ample).unwrap().plan().limits().context, most.min(2048));
    let none = SessionOptions { memory_budget_bytes: Some(model.file_bytes()), ..options };
    let error = model.batch(&none).err().unwrap();
    assert_eq!(error.code(), Code::BudgetTooSmall);
    assert!(error.message().contains("the least is"), "{}", error.message());
}

/// A context that is named stays: passes get smaller instead.
fn a_budget_makes_passes_smaller_where_the_context_is_named() {
    let model = small(SMALL[0], Type::Q8);
    let wanted = SessionOptions { context: Some(64), batch: 2048, ..SessionOptions::default() };
    let total = |options: &SessionOptions| model.footprint(options).unwrap().total_bytes();
    let usual = total(&SessionOptions { batch: 64, ..wanted.clone() });
    assert!(total(&wanted) > usual + 2 * JITTER_BYTES, "passes of this model are too small");
    let fitted = model.fit(&wanted, total(&wanted) + JITTER_BYTES).unwrap();
    assert_eq!(fitted, wanted);
    let fitted = model.fit(&wanted, usual + JITTER_BYTES).unwrap();
    assert_eq!((fitted.context, fitted.batch), (Some(64), 64));
    assert_eq!(model.fit(&wanted, 1).err().unwrap().code(), Code::BudgetTooSmall);
}

/// One test after the other: what the process has taken is part of every sum.
#[test]
fn budgets_choose_what_fits() {
    a_budget_chooses_the_context();
    a_budget_makes_passes_smaller_where_the_context_is_named();
}
